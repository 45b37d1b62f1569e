//! `/v1/dead-letters` (DESIGN 9): messages of the queue that were not carried out.

use dormouse_domain::dead_letter::{DeadLetter, DeadLettersRequest};
use dormouse_domain::id::DeadLetterId;
use dormouse_domain::page::DeadLetterCursor;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::queued_push::QueuedPush;
use dormouse_domain::service_key::Caller;
use serde::Serialize;
use worker::{Env, Request, Response};

use super::notifications::{carry_out, may_address};
use super::query;
use crate::d1::Deleted;
use crate::http::{Refusal, json, no_content};
use crate::instruments::{FailPoint, reach};
use crate::{bindings, clock, pushes};

/// `GET /v1/dead-letters?limit=&cursor=`, in the order they were sent.
pub(crate) async fn list(request: &Request, env: &Env) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Page {
        items: Vec<DeadLetter>,
        next_cursor: Option<String>,
    }
    let url = request.url()?;
    let page = DeadLettersRequest::parse(query(&url, "limit").as_deref(), query(&url, "cursor").as_deref())
        .map_err(Problem::from)?;
    let mut items = bindings::record(env)?.list_letters(page).await?;
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let next_cursor = items.last().filter(|_| more).map(|last| {
        DeadLetterCursor {
            after_letter: last.id,
        }
        .encode()
    });
    Ok(json(200, &Page { items, next_cursor })?)
}

/// `POST /v1/dead-letters/{id}/replay`: the message is carried out as if it came now, under its own key. Deleted
/// last: whoever finds it in between has it carried out again, which is the same push.
pub(crate) async fn replay(env: &Env, id: DeadLetterId, caller: &Caller) -> Result<Response, Refusal> {
    let record = bindings::record(env)?;
    let body = record.read_letter(id).await?;
    let body = body.ok_or_else(|| Problem::new(Code::NotFound))?;
    let now = clock::now();
    let queued = QueuedPush::parse(&body, now)?;
    may_address(caller, queued.push.rooms())?;
    let response = carry_out(env, pushes::ask(&queued), now).await?;
    reach(FailPoint::LetterReplayed).await?;
    record.delete_letter(id).await?;
    Ok(response)
}

/// `DELETE /v1/dead-letters/{id}`.
pub(crate) async fn delete(env: &Env, id: DeadLetterId) -> Result<Response, Refusal> {
    match bindings::record(env)?.delete_letter(id).await? {
        Deleted::Deleted => Ok(no_content()?),
        Deleted::NotThere => Err(Problem::new(Code::NotFound).into()),
    }
}
