//! `GET /openapi.json`: the description of this API, the same file that the documentation has.

use worker::Response;

use crate::http::Refusal;

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// The document. It changes only with a deployment.
pub(crate) fn document() -> Result<Response, Refusal> {
    let mut response = Response::ok(DOCUMENT)?;
    let headers = response.headers_mut();
    headers.set("content-type", "application/json")?;
    headers.set("cache-control", "public, max-age=300")?;
    Ok(response)
}
