//! `/v1/notifications` (DESIGN 7, 9): what services push, and what they can ask about it afterwards.

use dormouse_domain::batch::{self, BatchItem};
use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::id::NotificationId;
use dormouse_domain::idempotency::{IdempotencyKey, fingerprint};
use dormouse_domain::inbox::EntryKind;
use dormouse_domain::page::UserCursor;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::push::{self, Push};
use dormouse_domain::room::Room;
use dormouse_domain::service_key::Caller;
use dormouse_domain::status::{DeliveryView, RecipientsRequest};
use dormouse_domain::time::Timestamp;
use serde::Serialize;
use worker::{Env, Request, Response};

use super::query;
use crate::d1::{Appended, Cancellation, Claim, Database, Origin};
use crate::dispatch::{Asked, Body, dispatch, tell};
use crate::http::{Refusal, header, json, json_body, no_content};
use crate::{bindings, clock, nudges};

/// The header that names a push, so that it is done once.
const KEY_HEADER: &str = "idempotency-key";

/// `POST /v1/notifications`.
pub(crate) async fn push(mut request: Request, env: &Env, caller: &Caller) -> Result<Response, Refusal> {
    let key = header(request.headers(), KEY_HEADER)?
        .map(|text| IdempotencyKey::parse(&text))
        .transpose()
        .map_err(|error| Problem::new(Code::InvalidIdempotencyKey).detail(error.to_string()))?;
    let body = json_body(&mut request, MAX_PAYLOAD_BYTES).await?;
    let now = clock::now();
    let push = Push::parse(&body, now)?;
    may_address(caller, push.rooms())?;
    let asked = ask(&caller.id, key, fingerprint(&body), push);
    carry_out(env, asked, now).await
}

/// Carries out one push, and answers whoever asked for it.
pub(super) async fn carry_out(env: &Env, asked: Asked, now: Timestamp) -> Result<Response, Refusal> {
    let answer = dispatch(env, vec![asked], now).await?.pop();
    let answer = answer.ok_or_else(|| Problem::new(Code::Unavailable))??;
    let mut response = json(answer.status, &answer.body)?;
    if let Some(id) = answer.goes_on() {
        response
            .headers_mut()
            .set("location", &format!("/v1/notifications/{id}"))?;
    }
    if answer.origin == Origin::Replayed {
        response.headers_mut().set("idempotent-replayed", "true")?;
    }
    Ok(response)
}

/// `POST /v1/notifications/batch`: many pushes in one transaction; each is answered by itself.
pub(crate) async fn batch(mut request: Request, env: &Env, caller: &Caller) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Answers {
        items: Vec<AnsweredItem>,
    }
    if header(request.headers(), KEY_HEADER)?.is_some() {
        let problem = Problem::new(Code::InvalidIdempotencyKey);
        return Err(problem.detail("each item of a batch has a key of its own").into());
    }
    let body = json_body(&mut request, batch::MAX_BYTES).await?;
    let now = clock::now();
    let mut asked = Vec::new();
    let mut refused = Vec::new();
    for item in batch::parse(&body, now)? {
        let item = item.and_then(|item| {
            let BatchItem {
                key,
                fingerprint,
                push,
            } = item;
            may_address(caller, push.rooms())?;
            Ok(ask(&caller.id, key, fingerprint, push))
        });
        match item {
            Ok(item) => {
                asked.push(item);
                refused.push(None);
            }
            Err(problem) => refused.push(Some(problem)),
        }
    }
    let mut answers = dispatch(env, asked, now).await?.into_iter();
    let mut items = Vec::with_capacity(refused.len());
    for (index, refused) in refused.into_iter().enumerate() {
        let answer = match refused {
            Some(problem) => Err(problem),
            None => answers
                .next()
                .unwrap_or_else(|| Err(Problem::new(Code::Unavailable))),
        };
        items.push(match answer {
            Ok(answer) => AnsweredItem::Done {
                index,
                status: answer.status,
                body: answer.body,
            },
            Err(problem) => AnsweredItem::Refused {
                index,
                status: problem.status(),
                problem,
            },
        });
    }
    Ok(json(207, &Answers { items })?)
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnsweredItem {
    Done {
        index: usize,
        status: u16,
        body: Body,
    },
    Refused {
        index: usize,
        status: u16,
        problem: Problem,
    },
}

/// Whether a service may push to all of these rooms.
pub(super) fn may_address<'a>(
    caller: &Caller,
    rooms: impl IntoIterator<Item = &'a Room>,
) -> Result<(), Problem> {
    for room in rooms {
        caller.allows(push::scope(room))?;
    }
    Ok(())
}

/// A push with its key. The same key names the same push, in a batch or alone.
fn ask(credential: &str, key: Option<IdempotencyKey>, fingerprint: String, push: Push) -> Asked {
    let claim = key.map(|key| Claim {
        scope: format!("push {credential}"),
        key,
        fingerprint,
    });
    Asked { push, claim }
}

/// `GET /v1/notifications/{id}`.
pub(crate) async fn status(env: &Env, id: NotificationId) -> Result<Response, Refusal> {
    let found = bindings::record(env)?.read_status(id).await?;
    let status = found.ok_or_else(|| Problem::new(Code::NotFound))?;
    let view = status.push.view(clock::now(), &status.deliveries, status.read);
    Ok(json(200, &view)?)
}

/// `GET /v1/notifications/{id}/recipients?status=&limit=&cursor=`, in the order of the users' ids.
pub(crate) async fn recipients(
    request: &Request,
    env: &Env,
    id: NotificationId,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Page {
        items: Vec<DeliveryView>,
        next_cursor: Option<String>,
    }
    let url = request.url()?;
    let page = RecipientsRequest::parse(
        query(&url, "status").as_deref(),
        query(&url, "limit").as_deref(),
        query(&url, "cursor").as_deref(),
    )?;
    let record = bindings::record(env)?;
    let push = record.read_push(id).await?;
    let fate = push
        .ok_or_else(|| Problem::new(Code::NotFound))?
        .fate(clock::now());
    let mut deliveries = record.read_deliveries(id, fate, &page).await?;
    let more = deliveries.len() > page.limit;
    deliveries.truncate(page.limit);
    let next_cursor = deliveries.last().filter(|_| more).map(|last| {
        UserCursor {
            after: last.user.clone(),
        }
        .encode()
    });
    let items = deliveries.into_iter().map(|delivery| delivery.view(id, fate));
    Ok(json(
        200,
        &Page {
            items: items.collect(),
            next_cursor,
        },
    )?)
}

/// `DELETE /v1/notifications/{id}`: cancels a push that waits, takes back one that was sent.
pub(crate) async fn retract(env: &Env, id: NotificationId, caller: &Caller) -> Result<Response, Refusal> {
    let record = bindings::record(env)?;
    may_address_again(&record, id, caller).await?;
    match record.cancel(id, clock::now()).await? {
        Cancellation::Canceled => {}
        Cancellation::NotScheduled => {
            let appended = record.retract(id, clock::now()).await?;
            let Appended { places, switchboards } = appended.ok_or_else(|| Problem::new(Code::NotFound))?;
            tell(env, &switchboards, places, EntryKind::Retract(id)).await;
        }
    }
    Ok(no_content()?)
}

/// `POST /v1/notifications/{id}/retry`: another round for deliveries that failed for good.
pub(crate) async fn retry(env: &Env, id: NotificationId, caller: &Caller) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Requeued {
        requeued: usize,
    }
    let record = bindings::record(env)?;
    may_address_again(&record, id, caller).await?;
    let users = record.retry(id, clock::now()).await?;
    let users = users.ok_or_else(|| Problem::new(Code::NotFound))?;
    let requeued = users.len();
    nudges::catch_up(env, users).await;
    Ok(json(202, &Requeued { requeued })?)
}

/// Whether a service may do something about a push: it may when it could push to the same rooms.
async fn may_address_again(record: &Database, id: NotificationId, caller: &Caller) -> Result<(), Refusal> {
    let push = record.read_push(id).await?;
    let push = push.ok_or_else(|| Problem::new(Code::NotFound))?;
    let rooms = push.audience.iter().filter_map(|name| Room::parse(name).ok());
    Ok(may_address(caller, &rooms.collect::<Vec<_>>())?)
}
