//! `/v1/me`: a user's own inbox. No user id is ever taken from the request.

use dormouse_domain::page::PageRequest;
use dormouse_domain::problem::Problem;
use worker::{Env, Request, Response};

use super::authorize_user;
use crate::http::{Refusal, parameter};
use crate::hub_rpc::{HubCall, HubRequest};
use crate::settings;

/// `GET /v1/me/notifications?limit=&cursor=`: newest first. What it returns counts as delivered.
pub(crate) async fn list(request: &Request, env: &Env) -> Result<Response, Refusal> {
    let config = settings::load(env)?;
    let identity = authorize_user(request, &config)?;
    let page = PageRequest::parse(
        parameter(request, "limit")?.as_deref(),
        parameter(request, "cursor")?.as_deref(),
    )
    .map_err(Problem::from)?;
    let call = HubCall::List(page);
    Ok(HubRequest::new(identity.user, call).send(env).await?)
}

/// `GET /v1/me/notifications/unread-count`.
pub(crate) async fn counts(request: &Request, env: &Env) -> Result<Response, Refusal> {
    let config = settings::load(env)?;
    let identity = authorize_user(request, &config)?;
    Ok(HubRequest::new(identity.user, HubCall::Counts).send(env).await?)
}
