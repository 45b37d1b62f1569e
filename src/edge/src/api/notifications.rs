//! `POST /v1/notifications` (DESIGN 7): validate everything, commit to the record, nudge the hubs,
//! answer.

use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::idempotency::{IdempotencyKey, fingerprint};
use dormouse_domain::inbox::Receipt;
use dormouse_domain::notification::Notification;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::push::{Draft, Mistake, Push, Recipient};
use dormouse_domain::service_key::Scope;
use dormouse_domain::template::Found;
use dormouse_domain::time::{Timestamp, iso};
use futures_util::future::join_all;
use serde::Serialize;
use worker::{Env, Error, Request, Response, console_error};

use super::authorize_service;
use crate::d1::{Claim, Commit};
use crate::http::{Refusal, header, json, json_body};
use crate::hub_rpc::{EntryRecord, HubCall, HubRequest, NudgeReply};
use crate::instruments::{FailPoint, reach};
use crate::{bindings, clock, entropy, nudges, settings};

/// Takes a push.
pub(crate) async fn push(mut request: Request, env: &Env) -> Result<Response, Refusal> {
    let config = settings::load(env)?;
    let credential = authorize_service(&request, &config, Scope::PushUser)?.id.clone();
    let key = header(request.headers(), "idempotency-key")?
        .map(|text| IdempotencyKey::parse(&text))
        .transpose()
        .map_err(|error| Problem::new(Code::InvalidIdempotencyKey).detail(error.to_string()))?;
    let body = json_body(&mut request, MAX_PAYLOAD_BYTES).await?;
    let push = Push::parse(&body)?;
    let claim = key.map(|key| Claim {
        scope: format!("push {credential}"),
        key,
        fingerprint: fingerprint(&body),
    });

    let users: Vec<UserId> = push.users().cloned().collect();
    let Stored {
        winner,
        entries,
        replayed,
    } = store(env, push.draft, &users, claim.as_ref()).await?;
    reach(FailPoint::PushCommitted).await?;

    let nudged = join_all(entries.into_iter().map(|(user, n)| {
        let call = HubCall::Nudge(EntryRecord::new(n, &winner));
        async move { (user.clone(), nudge(env, user, call).await) }
    }))
    .await;
    reach(FailPoint::PushNudged).await?;
    let results: Vec<_> = push
        .recipients
        .iter()
        .map(|recipient| result_for(recipient, &nudged))
        .collect();
    answer(&winner, results, replayed)
}

/// A push that is in the record.
struct Stored {
    winner: Notification,
    entries: Vec<(UserId, u64)>,
    /// Whether it was there before, under the same key.
    replayed: bool,
}

/// Looks up what a push names and stores it, or finds the one that its key stands for already.
async fn store(env: &Env, draft: Draft, users: &[UserId], claim: Option<&Claim>) -> Result<Stored, Refusal> {
    let record = bindings::record(env)?;
    let now = clock::now();
    let found = match draft.lookup() {
        Some(lookup) => record.look_up(&lookup).await?,
        None => Found::default(),
    };
    let (commit, notification) = match draft.resolve(found) {
        Ok(content) => {
            let notification = Notification {
                id: NotificationId::generate(now, entropy::bytes()?),
                created_at: now,
                content,
            };
            reach(FailPoint::PushBeforeCommit).await?;
            (
                record.commit(&notification, users, claim).await?,
                Some(notification),
            )
        }
        // A push may be repeated when its template is gone or wants other data.
        Err(problem) => match claim {
            Some(claim) => (record.claimed(claim, now).await?.ok_or(problem)?, None),
            None => return Err(problem.into()),
        },
    };
    let (committed, replayed) = match commit {
        Commit::Stored(committed) => (committed, false),
        Commit::Replayed(committed) => (committed, true),
        Commit::Mismatch => return Err(Problem::new(Code::IdempotencyMismatch).into()),
    };
    let winner = committed.notification.or(notification);
    Ok(Stored {
        winner: winner.ok_or_else(|| Error::RustError("a stored push without a notification".to_owned()))?,
        entries: committed.entries,
        replayed,
    })
}

/// Brings an entry to its user's hub. The push is stored by now: a hub that can't be reached gets the
/// nudge by the queue, and failing that by its own cursor when it next hears of anything.
async fn nudge(env: &Env, user: UserId, call: HubCall) -> Option<Receipt> {
    let error = match HubRequest::new(user.clone(), call).send_for(env).await {
        Ok(NudgeReply::Applied(receipt)) => return Some(receipt),
        Ok(NudgeReply::Gone) => return None,
        Err(error) => error,
    };
    console_error!("a hub could not be reached after a push was stored: {error}");
    if let Err(error) = nudges::enqueue(env, user).await {
        console_error!("the nudge could not be queued; the hub's next event brings the push: {error}");
    }
    None
}

#[derive(Serialize)]
struct Answer {
    id: NotificationId,
    #[serde(with = "iso")]
    created_at: Timestamp,
    counts: Counts,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Counts {
    created: usize,
    rejected: usize,
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
    Created(Receipt),
    Accepted { seq: Option<u64> },
    Rejected { problem: Problem },
}

fn result_for(recipient: &Recipient, nudged: &[(UserId, Option<Receipt>)]) -> Outcome {
    match recipient {
        Recipient::User(user) => {
            let receipt = nudged
                .iter()
                .find(|(nudged, _)| nudged == user)
                .and_then(|(_, receipt)| *receipt);
            Outcome {
                to: format!("user:{user}"),
                status: receipt.map_or(Status::Accepted { seq: None }, Status::Created),
            }
        }
        Recipient::Rejected { to, reason } => Outcome {
            to: to.clone(),
            status: Status::Rejected {
                problem: Problem::new(Code::InvalidRecipient).errors(vec![Mistake {
                    pointer: String::new(),
                    detail: reason.clone(),
                }]),
            },
        },
    }
}

fn answer(notification: &Notification, results: Vec<Outcome>, replayed: bool) -> Result<Response, Refusal> {
    let rejected = results
        .iter()
        .filter(|outcome| matches!(outcome.status, Status::Rejected { .. }))
        .count();
    let body = Answer {
        id: notification.id,
        created_at: notification.created_at,
        counts: Counts {
            created: results.len().saturating_sub(rejected),
            rejected,
        },
        results,
    };
    let mut response = json(if rejected == 0 { 201 } else { 207 }, &body)?;
    if replayed {
        response.headers_mut().set("idempotent-replayed", "true")?;
    }
    Ok(response)
}
