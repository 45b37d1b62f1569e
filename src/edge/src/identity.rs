//! Whom a request is from: its headers and query, held against the keys.

use dormouse_domain::auth::{AuthError, Identity};
use dormouse_domain::handshake::{Credentials, identify};
use worker::{Env, Request};

use crate::http::{Refusal, header};
use crate::{clock, keys, settings};

/// The identity a request proves, by its headers or by `query_token`.
///
/// # Errors
/// When the platform refuses to read a header, or the settings are wrong.
pub(crate) async fn of_request(
    request: &Request,
    env: &Env,
    query_token: Option<&str>,
) -> std::result::Result<std::result::Result<Identity, AuthError>, Refusal> {
    let authorization = header(request.headers(), "authorization")?;
    let cookie = header(request.headers(), "cookie")?;
    let origin = header(request.headers(), "origin")?;
    let credentials = Credentials {
        authorization: authorization.as_deref(),
        cookie: cookie.as_deref(),
        origin: origin.as_deref(),
        query_token,
    };
    for token in credentials.tokens(&settings::load(env)?.handshake) {
        keys::ready(env, token).await?;
    }
    let config = settings::load(env)?;
    Ok(identify(
        clock::now(),
        &config.handshake,
        &config.token_keys,
        &credentials,
    ))
}
