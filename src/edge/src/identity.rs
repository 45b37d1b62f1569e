//! Whom a request is from: its headers and query, held against the keys.

use dormouse_domain::auth::{AuthError, Identity};
use dormouse_domain::config::Config;
use dormouse_domain::handshake::{Credentials, identify};
use worker::{Request, Result};

use crate::clock;
use crate::http::header;

/// The identity a request proves, by its headers or by `query_token`.
///
/// # Errors
/// When the platform refuses to read a header.
pub(crate) fn of_request(
    request: &Request,
    config: &Config,
    query_token: Option<&str>,
) -> Result<std::result::Result<Identity, AuthError>> {
    let authorization = header(request.headers(), "authorization")?;
    let cookie = header(request.headers(), "cookie")?;
    let origin = header(request.headers(), "origin")?;
    let credentials = Credentials {
        authorization: authorization.as_deref(),
        cookie: cookie.as_deref(),
        origin: origin.as_deref(),
        query_token,
    };
    Ok(identify(
        clock::now(),
        &config.handshake,
        &config.token_key,
        &credentials,
    ))
}
