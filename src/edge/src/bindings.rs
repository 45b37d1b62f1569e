//! What `wrangler.toml` binds, by name. The names stand here and nowhere else.

use worker::{Env, ObjectNamespace, Queue, Result};

use crate::d1::Database;

/// The record.
pub(crate) fn record(env: &Env) -> Result<Database> {
    env.d1("DB").map(Database::new)
}

/// The objects of the users.
pub(crate) fn user_hubs(env: &Env) -> Result<ObjectNamespace> {
    env.durable_object("USER_HUB")
}

/// The objects of polling sessions that have no user yet.
pub(crate) fn lobbies(env: &Env) -> Result<ObjectNamespace> {
    env.durable_object("LOBBY")
}

/// The objects between many hubs and the record.
pub(crate) fn switchboards(env: &Env) -> Result<ObjectNamespace> {
    env.durable_object("SWITCHBOARD")
}

/// The queue for hubs that could not be reached.
pub(crate) fn nudges(env: &Env) -> Result<Queue> {
    env.queue("NUDGES")
}

/// A variable or secret; `None` when it is not set.
pub(crate) fn setting(env: &Env, name: &str) -> Option<String> {
    env.var(name).ok().map(|value| value.to_string())
}
