//! `/v1/users`: what an operator does about a user.

use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::id::UserId;
use dormouse_domain::json_object::JsonObject;
use dormouse_domain::page::Cursor;
use dormouse_domain::problem::Problem;
use dormouse_domain::push::MAX_LABEL_CHARS;
use dormouse_domain::time::{Timestamp, iso};
use serde::Serialize;
use worker::{Env, Request, Response, console_log};

use super::{query, user_id};
use crate::http::{Refusal, json, optional_json_body};
use crate::hub_rpc::{HubCall, HubRequest};
use crate::nudges::catch_up;
use crate::{bindings, clock};

/// `POST /v1/users/{id}/disconnect`: ends every connection; stock clients do not come back by
/// themselves.
pub(crate) async fn disconnect(
    mut request: Request,
    env: &Env,
    segment: &str,
    key: &str,
) -> Result<Response, Refusal> {
    let user = user_id(segment)?;
    let body = optional_json_body(&mut request, MAX_PAYLOAD_BYTES).await?;
    if !body.trim().is_empty() {
        let mut object = JsonObject::parse_body(&body)?;
        object.take_text("reason", MAX_LABEL_CHARS);
        object.finish()?;
    }
    console_log!("a user was disconnected by the service key {key}");
    Ok(HubRequest::new(user, HubCall::Disconnect).send(env).await?)
}

/// `GET /v1/users/{id}/export?cursor=`: all there is about a user, in pages.
pub(crate) async fn export(request: &Request, env: &Env, segment: &str) -> Result<Response, Refusal> {
    let user = user_id(segment)?;
    let cursor = query(&request.url()?, "cursor");
    let above = cursor
        .map(|text| Cursor::parse(&text))
        .transpose()
        .map_err(Problem::from)?;
    let call = HubCall::Export {
        above: above.map(|cursor| cursor.before),
    };
    Ok(HubRequest::new(user, call).send(env).await?)
}

/// `DELETE /v1/users/{id}`: the record is told first; the user's hub removes everything, now or when it
/// is next reached, and refuses tokens from before.
pub(crate) async fn erase(env: &Env, segment: &str, key: &str) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Erased<'a> {
        user_id: &'a UserId,
        #[serde(with = "iso")]
        erased_at: Timestamp,
    }
    let user = user_id(segment)?;
    let erased_at = clock::now();
    bindings::record(env)?.mark_erased(&user, erased_at).await?;
    console_log!("a user was erased by the service key {key}");
    catch_up(env, vec![user.clone()]).await;
    Ok(json(
        202,
        &Erased {
            user_id: &user,
            erased_at,
        },
    )?)
}
