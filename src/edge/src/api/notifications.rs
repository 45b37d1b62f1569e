//! `/v1/notifications` (DESIGN 7, 9): what services push, and what they can ask about it afterwards.

use dormouse_domain::batch::{self, BatchItem};
use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::id::NotificationId;
use dormouse_domain::idempotency::{IdempotencyKey, fingerprint};
use dormouse_domain::page::UserCursor;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::push::Push;
use dormouse_domain::status::{DeliveryView, RecipientsRequest};
use dormouse_domain::time::Timestamp;
use serde::Serialize;
use worker::{Env, Request, Response};

use super::query;
use crate::d1::{Cancellation, Claim, Origin};
use crate::dispatch::{Asked, Body, dispatch};
use crate::http::{Refusal, header, json, json_body, no_content};
use crate::{bindings, clock, nudges};

/// The header that names a push, so that it is done once.
const KEY_HEADER: &str = "idempotency-key";

/// `POST /v1/notifications`.
pub(crate) async fn push(mut request: Request, env: &Env, credential: &str) -> Result<Response, Refusal> {
    let key = header(request.headers(), KEY_HEADER)?
        .map(|text| IdempotencyKey::parse(&text))
        .transpose()
        .map_err(|error| Problem::new(Code::InvalidIdempotencyKey).detail(error.to_string()))?;
    let body = json_body(&mut request, MAX_PAYLOAD_BYTES).await?;
    let now = clock::now();
    let asked = ask(credential, key, fingerprint(&body), Push::parse(&body, now)?);
    carry_out(env, asked, now).await
}

/// Carries out one push, and answers whoever asked for it.
pub(super) async fn carry_out(env: &Env, asked: Asked, now: Timestamp) -> Result<Response, Refusal> {
    let answer = dispatch(env, vec![asked], now).await?.pop();
    let answer = answer.ok_or_else(|| Problem::new(Code::Unavailable))??;
    let mut response = json(answer.status, &answer.body)?;
    if let Body::Scheduled { id, .. } = &answer.body {
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
pub(crate) async fn batch(mut request: Request, env: &Env, credential: &str) -> Result<Response, Refusal> {
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
        let item = item.map(|item| {
            let BatchItem {
                key,
                fingerprint,
                push,
            } = item;
            ask(credential, key, fingerprint, push)
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
pub(crate) async fn retract(env: &Env, id: NotificationId) -> Result<Response, Refusal> {
    let record = bindings::record(env)?;
    match record.cancel(id, clock::now()).await? {
        Cancellation::Canceled => {}
        Cancellation::NotScheduled => {
            let users = record.retract(id, clock::now()).await?;
            let users = users.ok_or_else(|| Problem::new(Code::NotFound))?;
            nudges::catch_up(env, users).await;
        }
    }
    Ok(no_content()?)
}

/// `POST /v1/notifications/{id}/retry`: another round for deliveries that failed for good.
pub(crate) async fn retry(env: &Env, id: NotificationId) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Requeued {
        requeued: usize,
    }
    let users = bindings::record(env)?.retry(id).await?;
    let users = users.ok_or_else(|| Problem::new(Code::NotFound))?;
    let requeued = users.len();
    nudges::catch_up(env, users).await;
    Ok(json(202, &Requeued { requeued })?)
}
