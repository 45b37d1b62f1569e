//! One line for each request, each event of a client, each batch of a queue and each run of a cron: JSON, with the
//! members of [`Line`] and no others (docs/operations.md).
//!
//! A line names what was asked for, never with what: no token, payload, query or user id. A user is a hash that is
//! the same each time. What a client made up, such as the name of an event, is `unknown`.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use dormouse_domain::config::LogLines;
use dormouse_domain::id::UserId;
use dormouse_domain::signature::Purpose;
use dormouse_domain::time::Timestamp;
use serde::Serialize;
use worker::{Env, console_log};

use crate::{clock, settings};

/// What is handled.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum At {
    /// A request of a client or a service.
    Request,
    /// What a client sent over its connection.
    Event,
    /// Messages of a queue.
    Queue,
    /// What is due by the clock.
    Cron,
}

/// What became of it.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// It was answered with this status.
    Status(u16),
    /// It was carried out.
    Done,
    /// It was refused or has failed, with this code.
    Refused(&'static str),
}

impl Outcome {
    const fn is_error(self) -> bool {
        match self {
            Self::Status(status) => status >= 400,
            Self::Done => false,
            Self::Refused(_) => true,
        }
    }

    fn text(self) -> Cow<'static, str> {
        match self {
            Self::Status(status) => Cow::Owned(status.to_string()),
            Self::Done => Cow::Borrowed("ok"),
            Self::Refused(code) => Cow::Borrowed(code),
        }
    }
}

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    at: At,
    request_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    operation: &'static str,
    outcome: Cow<'static, str>,
    duration_ms: u64,
}

/// What is being handled, until its line is written.
pub(crate) struct Trace {
    request_id: String,
    began_at: Timestamp,
    operation: Cell<&'static str>,
    user: RefCell<Option<UserId>>,
}

impl Trace {
    /// Something begins.
    pub(crate) fn begin(request_id: String) -> Self {
        Self {
            request_id,
            began_at: clock::now(),
            operation: Cell::new(UNKNOWN),
            user: RefCell::default(),
        }
    }

    /// What the answer calls the request.
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// It turned out to be this.
    pub(crate) fn operation(&self, operation: &'static str) {
        self.operation.set(operation);
    }

    /// It turned out to be this user's.
    pub(crate) fn user(&self, user: &UserId) {
        self.user.replace(Some(user.clone()));
    }

    /// It is done: writes its line.
    pub(crate) fn end(self, env: &Env, at: At, outcome: Outcome) {
        let Self {
            request_id,
            began_at,
            operation,
            user,
        } = self;
        let user = user.into_inner();
        write(env, outcome, |hash| Line {
            at,
            request_id: Cow::Owned(request_id),
            user: user.map(|user| hash("user", user.as_str())),
            operation: operation.get(),
            outcome: outcome.text(),
            duration_ms: clock::now().since(began_at),
        });
    }
}

/// The operation that is none of ours.
const UNKNOWN: &str = "unknown";

/// The operation of a page's question what it may do.
pub(crate) const PREFLIGHT: &str = "preflight";

/// The code of a CONNECT that was refused.
pub(crate) const REFUSED: &str = "REFUSED";

/// The operation of a CONNECT.
pub(crate) const CONNECT: &str = "connect";

/// Writes the line of what a client sent in the session of this sid, which is a credential: the line has a hash of
/// it in the place of a request's id.
pub(crate) fn event(
    env: &Env,
    sid: &str,
    user: Option<&UserId>,
    operation: &'static str,
    began_at: Timestamp,
    outcome: Outcome,
) {
    write(env, outcome, |hash| Line {
        at: At::Event,
        request_id: Cow::Owned(hash("session", sid)),
        user: user.map(|user| hash("user", user.as_str())),
        operation,
        outcome: outcome.text(),
        duration_ms: clock::now().since(began_at),
    });
}

/// Writes the line of a CONNECT that was refused before anybody knew whose it is.
pub(crate) fn refused(env: &Env, sid: &str) {
    event(env, sid, None, CONNECT, clock::now(), Outcome::Refused(REFUSED));
}

fn write<'a>(env: &Env, outcome: Outcome, line: impl FnOnce(&dyn Fn(&str, &str) -> String) -> Line<'a>) {
    // While a setting is wrong nobody is let in, and nothing can be hashed.
    let config = settings::load(env).ok();
    let lines = config.as_ref().map_or(LogLines::All, |config| config.log_lines);
    let wanted = match lines {
        LogLines::All => true,
        LogLines::Errors => outcome.is_error(),
        LogLines::Off => false,
    };
    if !wanted {
        return;
    }
    let line = line(&|kind, text| {
        let signed = config
            .as_ref()
            .map(|config| config.signer.sign(Purpose::Log, &[kind, text]));
        signed.unwrap_or_default()
    });
    if let Ok(json) = serde_json::to_string(&line) {
        console_log!("{json}");
    }
}
