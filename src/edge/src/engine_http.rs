//! What the reference server answers over HTTP on `/socket.io/`: statuses, types and bodies.

use dormouse_domain::engine_request::EngineError;
use worker::{Response, ResponseBuilder, Result};

/// A poll's payload.
pub(crate) fn payload(body: &str) -> Result<Response> {
    kept_by_no_cache(answer(200, "text/plain; charset=UTF-8", body)?)
}

/// The answer to a POST that was taken.
pub(crate) fn taken() -> Result<Response> {
    kept_by_no_cache(answer(200, "text/html", "ok")?)
}

/// A refusal with the reference's number and words.
pub(crate) fn refusal(error: EngineError) -> Result<Response> {
    answer(400, "application/json", &error.body())
}

/// A refusal without a body, of a request that breaks the transport's rules.
pub(crate) fn broken(status: u16) -> Response {
    ResponseBuilder::new().with_status(status).empty()
}

fn answer(status: u16, content_type: &str, body: &str) -> Result<Response> {
    Ok(ResponseBuilder::new()
        .with_status(status)
        .with_header("content-type", content_type)?
        .fixed(body.as_bytes().to_vec()))
}

fn kept_by_no_cache(mut response: Response) -> Result<Response> {
    response.headers_mut().set("cache-control", "no-store")?;
    Ok(response)
}
