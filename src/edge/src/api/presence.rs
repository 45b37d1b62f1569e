//! `/v1/presence`: who is online.

use dormouse_domain::member_changes::shared_room;
use dormouse_domain::page::{UserCursor, limit};
use dormouse_domain::presence::{PresenceList, parse_query};
use dormouse_domain::problem::Problem;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::user_list::MAX_BODY_BYTES;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use worker::{Env, Request, Response, Result as WorkerResult};

use super::{query, room_name, user_id};
use crate::dispatch::HUBS_AT_ONCE;
use crate::http::{Refusal, json, json_body};
use crate::hub_rpc::{HubCall, HubRequest};
use crate::roster;

/// `GET /v1/presence/users/{id}`: asked of the user's own hub, so it is never out of date.
pub(crate) async fn user(env: &Env, segment: &str) -> Result<Response, Refusal> {
    let user = user_id(segment)?;
    Ok(HubRequest::new(user, HubCall::Presence).send(env).await?)
}

/// `POST /v1/presence/query`: asked of the switchboards, which may be a moment behind.
pub(crate) async fn users(mut request: Request, env: &Env) -> Result<Response, Refusal> {
    let users = parse_query(&json_body(&mut request, MAX_BODY_BYTES).await?)?;
    let presence = roster::presence_of(env, users, None).await?;
    Ok(json(200, &PresenceList::of(&presence))?)
}

/// `GET /v1/presence/rooms/{room}?limit=&cursor=`, in the order of the users' ids. The switchboards say who is in
/// it; each user's hub has the last word. So a page may be shorter than was asked for; its cursor leads on.
pub(crate) async fn room(request: &Request, env: &Env, segment: &str) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Page<'a> {
        room: &'a SharedRoom,
        online: u64,
        items: Vec<Box<RawValue>>,
        next_cursor: Option<String>,
    }
    let room = shared_room(&room_name(segment)?)?;
    let url = request.url()?;
    let limit = limit(query(&url, "limit").as_deref()).map_err(Problem::from)?;
    let cursor = query(&url, "cursor").map(|text| UserCursor::parse(&text));
    let after = cursor
        .transpose()
        .map_err(Problem::from)?
        .map(|cursor| cursor.after);
    let mut found = roster::online_in(env, &room, after.as_ref(), limit.saturating_add(1)).await?;
    let more = found.users.len() > limit;
    found.users.truncate(limit);
    let next_cursor = found
        .users
        .last()
        .filter(|_| more)
        .map(|last| UserCursor { after: last.clone() }.encode());
    let asking = found.users.into_iter().map(|user| async move {
        HubRequest::new(user, HubCall::Presence)
            .send_for::<Box<RawValue>>(env)
            .await
    });
    let answers: WorkerResult<Vec<_>> = stream::iter(asking).buffered(HUBS_AT_ONCE).try_collect().await;
    let mut items = Vec::new();
    for answer in answers? {
        if is_online(&answer)? {
            items.push(answer);
        }
    }
    Ok(json(
        200,
        &Page {
            room: &room,
            online: found.online,
            items,
            next_cursor,
        },
    )?)
}

fn is_online(presence: &RawValue) -> WorkerResult<bool> {
    #[derive(Deserialize)]
    struct Online {
        online: bool,
    }
    Ok(serde_json::from_str::<Online>(presence.get())?.online)
}

/// `GET /v1/presence/count`.
pub(crate) async fn count(env: &Env) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Count {
        online_users: u64,
    }
    let online_users = roster::online_count(env).await?;
    Ok(json(200, &Count { online_users })?)
}
