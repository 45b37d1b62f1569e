//! `POST /v1/events`: a service sends whoever is online an event of its own.

use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::custom_event::CustomEvent;
use dormouse_domain::problem::Problem;
use dormouse_domain::push::{Recipient, rejection};
use dormouse_domain::room::Room;
use serde::Serialize;
use worker::{Env, Request, Response};

use crate::http::{Refusal, json, json_body};
use crate::roster::{self, Reached};

#[derive(Serialize)]
struct Sent<'a> {
    event: &'a str,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    to: String,
    #[serde(flatten)]
    status: Status,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Status {
    #[serde(rename = "accepted")]
    User {
        online: bool,
    },
    #[serde(rename = "accepted")]
    Shared {
        online_users: u64,
    },
    Rejected {
        problem: Problem,
    },
}

/// `POST /v1/events`.
pub(crate) async fn emit(mut request: Request, env: &Env) -> Result<Response, Refusal> {
    let event = CustomEvent::parse(&json_body(&mut request, MAX_PAYLOAD_BYTES).await?)?;
    let reached = roster::emit(env, &event).await?;
    let results = event
        .recipients
        .iter()
        .map(|recipient| outcome(recipient, &reached));
    let results: Vec<_> = results.collect();
    let rejected = results
        .iter()
        .any(|outcome| matches!(outcome.status, Status::Rejected { .. }));
    let sent = Sent {
        event: &event.name,
        results,
    };
    Ok(json(if rejected { 207 } else { 202 }, &sent)?)
}

fn outcome(recipient: &Recipient, reached: &Reached) -> Outcome {
    let (to, status) = match recipient {
        Recipient::Room(room @ Room::User(user)) => {
            let online = reached.users.contains(user);
            (room.to_string(), Status::User { online })
        }
        Recipient::Room(Room::Shared(room)) => {
            let online_users = reached.rooms.get(room).copied().unwrap_or_default();
            (room.to_string(), Status::Shared { online_users })
        }
        Recipient::Rejected { to, reason } => {
            let problem = rejection(reason);
            (to.clone(), Status::Rejected { problem })
        }
    };
    Outcome { to, status }
}
