//! How often one may knock: counted by the platform in each of its places, generously and without a wait (DESIGN 10).
//! What has to be exact is counted by the objects: [`dormouse_domain::limit`].

use dormouse_domain::problem::{Code, Problem};
use worker::{Env, Request, console_warn};

use crate::bindings::{self, RateLimit};
use crate::http::{Refusal, header};

/// Seconds after which the platform counts anew, as `wrangler.toml` says.
pub(crate) const PERIOD_S: u64 = 60;

/// Counts a handshake of the address a request is from, before any object is touched for it.
///
/// # Errors
/// [`Code::RateLimited`].
pub(crate) async fn handshake(env: &Env, request: &Request) -> Result<(), Refusal> {
    // Another Worker that calls by a service binding has none.
    match header(request.headers(), "cf-connecting-ip")? {
        Some(address) => count(env, RateLimit::Handshakes, &address).await,
        None => Ok(()),
    }
}

/// Counts a request of a service key.
///
/// # Errors
/// [`Code::RateLimited`].
pub(crate) async fn service(env: &Env, key: &str) -> Result<(), Refusal> {
    count(env, RateLimit::ServiceRequests, key).await
}

/// When the platform can't count, nobody is kept out.
async fn count(env: &Env, limit: RateLimit, key: &str) -> Result<(), Refusal> {
    let Some(limiter) = bindings::rate_limiter(env, limit) else {
        return Ok(());
    };
    match limiter.limit(key.to_owned()).await {
        Ok(outcome) if !outcome.success => Err(Problem::new(Code::RateLimited).into()),
        Ok(_) => Ok(()),
        Err(error) => {
            console_warn!("requests could not be counted: {error}");
            Ok(())
        }
    }
}
