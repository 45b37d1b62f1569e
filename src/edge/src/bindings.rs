//! What `wrangler.toml` binds, by name. The names stand here and nowhere else.

use worker::{AnalyticsEngineDataset, Env, ObjectNamespace, Queue, RateLimiter, Result};

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

/// The queues whose messages come to this Worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consumed {
    /// Hubs that could not be reached.
    Nudges,
    /// What other Workers push.
    Pushes,
    /// Those of them whose attempts are used up.
    DeadPushes,
}

/// Which queue has this name: its end says so, so that each environment can have queues of its own. `None` for
/// one nobody expected.
pub(crate) fn consumed(queue: &str) -> Option<Consumed> {
    let ends = [
        ("-nudges", Consumed::Nudges),
        ("-pushes", Consumed::Pushes),
        ("-pushes-dead", Consumed::DeadPushes),
    ];
    let found = ends.into_iter().find(|(end, _)| queue.ends_with(end));
    found.map(|(_, consumed)| consumed)
}

/// What the platform counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RateLimit {
    /// Handshakes, by address.
    Handshakes,
    /// Requests of services, by key.
    ServiceRequests,
}

/// What counts; `None` when the operator has taken it out.
pub(crate) fn rate_limiter(env: &Env, limit: RateLimit) -> Option<RateLimiter> {
    let name = match limit {
        RateLimit::Handshakes => "HANDSHAKES",
        RateLimit::ServiceRequests => "SERVICE_REQUESTS",
    };
    env.rate_limiter(name).ok()
}

/// What points are written to; `None` when the operator has taken it out.
pub(crate) fn metrics(env: &Env) -> Option<AnalyticsEngineDataset> {
    env.analytics_engine("METRICS").ok()
}

/// A variable or secret; `None` when it is not set.
pub(crate) fn setting(env: &Env, name: &str) -> Option<String> {
    env.var(name).ok().map(|value| value.to_string())
}
