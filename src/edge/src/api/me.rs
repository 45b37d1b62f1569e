//! `/v1/me`: a user's own inbox. No user id is ever taken from the request.

use dormouse_domain::auth::Identity;
use dormouse_domain::command::{Command, Mark, Which};
use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::id::NotificationId;
use dormouse_domain::page::PageRequest;
use dormouse_domain::preferences::Preferences;
use dormouse_domain::problem::Problem;
use worker::{Env, Request, Response};

use super::query;
use crate::http::{Refusal, header, json_body, no_content, optional_json_body};
use crate::hub_rpc::{HubCall, HubRequest};

/// `GET /v1/me/notifications?filter=&type=&category=&limit=&cursor=`: newest first. What it returns counts
/// as delivered.
pub(crate) async fn list(request: &Request, env: &Env, user: Identity) -> Result<Response, Refusal> {
    let url = request.url()?;
    let call = HubCall::List {
        page: PageRequest::parse(|name| query(&url, name)).map_err(Problem::from)?,
        if_none_match: header(request.headers(), "if-none-match")?,
    };
    ask(env, user, call).await
}

/// `GET /v1/me/notifications/unread-count`.
pub(crate) async fn counts(request: &Request, env: &Env, user: Identity) -> Result<Response, Refusal> {
    let if_none_match = header(request.headers(), "if-none-match")?;
    ask(env, user, HubCall::Counts { if_none_match }).await
}

/// `POST /v1/me/notifications/{id}/{read,unread,archive,unarchive}`.
pub(crate) async fn mark(
    env: &Env,
    user: Identity,
    id: NotificationId,
    mark: Mark,
) -> Result<Response, Refusal> {
    let which = Which::Notification(id);
    ask(env, user, HubCall::Command(Command::Mark { which, mark })).await
}

/// `DELETE /v1/me/notifications/{id}`.
pub(crate) async fn delete(env: &Env, user: Identity, id: NotificationId) -> Result<Response, Refusal> {
    mark(env, user, id, Mark::Delete).await?;
    Ok(no_content()?)
}

/// `POST /v1/me/notifications/read-all`; the body may be missing.
pub(crate) async fn read_all(mut request: Request, env: &Env, user: Identity) -> Result<Response, Refusal> {
    let body = optional_json_body(&mut request, MAX_PAYLOAD_BYTES).await?;
    ask(env, user, HubCall::Command(Command::read_all(&body)?)).await
}

/// `POST /v1/me/notifications/seen`.
pub(crate) async fn seen(mut request: Request, env: &Env, user: Identity) -> Result<Response, Refusal> {
    let body = json_body(&mut request, MAX_PAYLOAD_BYTES).await?;
    ask(env, user, HubCall::Command(Command::seen(&body)?)).await
}

/// `GET /v1/me/preferences`.
pub(crate) async fn preferences(env: &Env, user: Identity) -> Result<Response, Refusal> {
    ask(env, user, HubCall::Preferences).await
}

/// `PUT /v1/me/preferences`.
pub(crate) async fn set_preferences(
    mut request: Request,
    env: &Env,
    user: Identity,
) -> Result<Response, Refusal> {
    let body = json_body(&mut request, MAX_PAYLOAD_BYTES).await?;
    ask(env, user, HubCall::SetPreferences(Preferences::parse(&body)?)).await
}

/// The answer of the user's hub.
///
/// # Errors
/// The hub's own refusals, and whatever keeps it from answering.
async fn ask(env: &Env, user: Identity, call: HubCall) -> Result<Response, Refusal> {
    Refusal::check(HubRequest::of_user(user, call).exchange(env).await?)
}
