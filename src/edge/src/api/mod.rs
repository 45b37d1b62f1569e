//! The HTTP API (DESIGN 9): the service plane for other services, the user plane for a user's own inbox.

pub(crate) mod me;
pub(crate) mod notifications;
pub(crate) mod presence;
pub(crate) mod templates;

use dormouse_domain::auth::Identity;
use dormouse_domain::config::Config;
use dormouse_domain::service_key::{Scope, ServiceKey};
use worker::Request;

use crate::http::{Refusal, header};
use crate::identity;

/// The service key a request carries, when it may do `scope`.
fn authorize_service<'c>(
    request: &Request,
    config: &'c Config,
    scope: Scope,
) -> Result<&'c ServiceKey, Refusal> {
    let authorization = header(request.headers(), "authorization")?;
    let key = config.service_keys.authorize(authorization.as_deref(), scope);
    key.map_err(|error| Refusal::Problem(error.into()))
}

/// The user a request is from: a bearer token, or the cookie from an allowed origin.
fn authorize_user(request: &Request, config: &Config) -> Result<Identity, Refusal> {
    identity::of_request(request, config, None)?.map_err(|error| Refusal::Problem(error.into()))
}

/// A path segment as the client meant it; `None` when it is not percent-encoded UTF-8.
pub(crate) fn percent_decoded(segment: &str) -> Option<String> {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}
