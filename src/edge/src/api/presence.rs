//! `/v1/presence`: who is online.

use dormouse_domain::id::UserId;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::service_key::Scope;
use worker::{Env, Request, Response};

use super::{authorize_service, percent_decoded};
use crate::http::Refusal;
use crate::hub_rpc::{HubCall, HubRequest};
use crate::settings;

/// `GET /v1/presence/users/{id}`: asked of the user's own hub, so it is never out of date.
pub(crate) async fn user(request: &Request, env: &Env, segment: &str) -> Result<Response, Refusal> {
    let config = settings::load(env)?;
    authorize_service(request, &config, Scope::PresenceRead)?;
    let user = percent_decoded(segment)
        .ok_or_else(|| "the id is not percent-encoded UTF-8".to_owned())
        .and_then(|text| UserId::parse(&text).map_err(|error| error.to_string()))
        .map_err(|reason| Problem::new(Code::InvalidParameter).detail(reason))?;
    Ok(HubRequest::new(user, HubCall::Presence).send(env).await?)
}
