//! `/v1/presence`: who is online.

use worker::{Env, Response};

use super::user_id;
use crate::http::Refusal;
use crate::hub_rpc::{HubCall, HubRequest};

/// `GET /v1/presence/users/{id}`: asked of the user's own hub, so it is never out of date.
pub(crate) async fn user(env: &Env, segment: &str) -> Result<Response, Refusal> {
    let user = user_id(segment)?;
    Ok(HubRequest::new(user, HubCall::Presence).send(env).await?)
}
