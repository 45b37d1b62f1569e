//! Keys that issuers publish at URLs: fetched when a token needs them, and kept in the configuration of the
//! isolate.
//!
//! A request awaits its own fetch and nobody else's: a pending fetch belongs to the request that made it, and
//! is cancelled with it. Who needs what another one is fetching looks again after a moment.

use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::config::Config;
use dormouse_domain::handshake::offered_token;
use dormouse_domain::jwk::{JwksError, KeySet, MAX_DOCUMENT_BYTES};
use dormouse_domain::problem::Problem;
use dormouse_domain::remote_keys::{Errand, FETCH_TIMEOUT_MS, Failure, JwksUrl, Plan};
use dormouse_protocol::payload::SEPARATOR;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use worker::{
    AbortController, AbortSignal, Delay, Env, Error, Fetch, Headers, Method, Request, RequestInit,
    RequestRedirect, State, console_error, console_log,
};

use crate::{clock, settings};

/// How long whoever waits for another one's fetch sleeps between two looks.
const STEP: Duration = Duration::from_millis(50);

/// Why a fetch has brought no keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("there was no answer in time")]
    Late,
    #[error("the answer was {0}")]
    Status(u16),
    #[error("the answer has more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLong,
    #[error("the answer is not UTF-8")]
    NotText,
    #[error("{0}")]
    Set(#[from] JwksError),
    #[error("{0}")]
    Platform(#[from] Error),
}

/// The configuration, in which everything is now that can be had to verify this token.
///
/// # Errors
/// As [`settings::load`].
pub(crate) async fn ready(env: &Env, token: &str) -> Result<Rc<Config>, Problem> {
    loop {
        let config = settings::load(env)?;
        match config.token_keys.plan(clock::now(), token) {
            Plan::Ready => return Ok(config),
            Plan::Wait => Delay::from(STEP).await,
            Plan::Fetch(errand) => {
                run(&errand).await;
                return settings::load(env);
            }
        }
    }
}

/// The same in an object, for the tokens among what a client sends. The object takes nothing else
/// meanwhile: what the client sends after a CONNECT must come after it.
///
/// # Errors
/// When the platform refuses to hold other events up.
pub(crate) async fn ready_in(state: &State, env: &Env, frames: &str) -> worker::Result<()> {
    for token in frames.split(SEPARATOR).filter_map(offered_token) {
        let plan = settings::load(env).map(|config| config.token_keys.plan(clock::now(), &token));
        match plan {
            Ok(Plan::Wait | Plan::Fetch(_)) => {
                let env = env.clone();
                let waiting = async move {
                    // Wrong settings are told by whoever needs them next.
                    let _ = ready(&env, &token).await;
                    Ok(())
                };
                state.block_concurrency_while(waiting).await?;
            }
            Ok(Plan::Ready) | Err(_) => {}
        }
    }
    Ok(())
}

async fn run(errand: &Errand) {
    settings::change(|config| config.token_keys.begin(clock::now(), errand));
    let url = &errand.url;
    match fetch(url).await {
        Ok(set) => {
            console_log!("the keys at {} were fetched", url.as_str());
            settings::change(|config| config.token_keys.succeed(clock::now(), url, set));
        }
        Err(error) => {
            let failure = settings::change(|config| config.token_keys.fail(clock::now(), url));
            match failure {
                Some(Failure::First) => {
                    console_error!("the keys at {} could not be fetched: {error}", url.as_str());
                }
                Some(Failure::Again) | None => {}
            }
        }
    }
}

async fn fetch(url: &JwksUrl) -> Result<KeySet, FetchError> {
    let abort = AbortController::default();
    let patience = Delay::from(Duration::from_millis(FETCH_TIMEOUT_MS));
    match select(Box::pin(load(url, abort.signal())), patience).await {
        Either::Left((set, _)) => set,
        Either::Right(_) => {
            abort.abort();
            Err(FetchError::Late)
        }
    }
}

async fn load(url: &JwksUrl, signal: AbortSignal) -> Result<KeySet, FetchError> {
    let headers = Headers::new();
    headers.set("accept", "application/jwk-set+json, application/json")?;
    let mut init = RequestInit::new();
    // Where a redirect leads nobody has checked.
    init.with_method(Method::Get)
        .with_headers(headers)
        .with_redirect(RequestRedirect::Manual);
    let request = Request::new_with_init(url.as_str(), &init)?;
    let mut response = Fetch::Request(request).send_with_signal(&signal).await?;
    if response.status_code() != 200 {
        return Err(FetchError::Status(response.status_code()));
    }
    let mut body = Vec::new();
    let mut stream = response.stream()?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if body.len().saturating_add(chunk.len()) > MAX_DOCUMENT_BYTES {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let document = String::from_utf8(body).map_err(|_| FetchError::NotText)?;
    Ok(KeySet::parse(&document)?)
}
