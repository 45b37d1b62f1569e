//! Answers over HTTP.

use crate::limits::PERIOD_S;
use dormouse_domain::auth::AuthError;
use dormouse_domain::problem::{Code, Problem};
use serde::Serialize;
use worker::{Error, Headers, Request, Response, Result, console_error};

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The caller's doing, or a known state of the service.
    Problem(Problem),
    /// The resource has other methods: these.
    MethodNotAllowed(Vec<&'static str>),
    /// The platform failed.
    Platform(Error),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Platform(error)
    }
}

impl Refusal {
    /// The answer to the request of this path and id. What the platform said is logged, never sent.
    pub(crate) fn into_response(self, path: &str, request_id: &str) -> Result<Response> {
        let mut allow = None;
        let problem = match self {
            Self::Problem(problem) => problem,
            Self::MethodNotAllowed(allowed) => {
                let allowed = allowed.join(", ");
                let detail = format!("the resource takes {allowed}");
                allow = Some(allowed);
                Problem::new(Code::MethodNotAllowed).detail(detail)
            }
            Self::Platform(error) => {
                console_error!("request {request_id} failed: {error}");
                Problem::new(Code::Unavailable)
            }
        };
        let mut response = json(problem.status(), &problem.of_request(path, request_id))?;
        let headers = response.headers_mut();
        headers.set("content-type", "application/problem+json")?;
        if let Some(allow) = allow {
            headers.set("allow", &allow)?;
        }
        if response.status_code() == 429 {
            let headers = response.headers_mut();
            headers.set("retry-after", &PERIOD_S.to_string())?;
        }
        if response.status_code() == 401 {
            response.headers_mut().set("www-authenticate", "Bearer")?;
        }
        Ok(response)
    }

    /// Passes on what a user's hub answers to the user, or says why there is no answer: a hub refuses with a
    /// bare status.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(answer: Response) -> std::result::Result<Response, Self> {
        match answer.status_code() {
            200..=299 | 304 => Ok(answer),
            401 => Err(Problem::from(AuthError::Revoked).into()),
            404 => Err(Problem::new(Code::NotFound).into()),
            status => Err(Error::RustError(format!("hub answered {status}")).into()),
        }
    }
}

/// A JSON answer that no cache keeps.
///
/// # Errors
/// When the platform refuses to make it.
pub(crate) fn json<T: Serialize>(status: u16, body: &T) -> Result<Response> {
    let mut response = Response::from_json(body)?.with_status(status);
    response.headers_mut().set("cache-control", "no-store")?;
    Ok(response)
}

/// Says that an answer is what it says it is, is shown in no frame, runs nothing, and leads nobody to where it
/// came from.
///
/// # Errors
/// When the platform refuses to set a header.
pub(crate) fn harden(headers: &Headers) -> Result<()> {
    headers.set("x-content-type-options", "nosniff")?;
    headers.set(
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    )?;
    headers.set("referrer-policy", "no-referrer")
}

/// The answer that there is nothing to say.
///
/// # Errors
/// When the platform refuses to make it.
pub(crate) fn no_content() -> Result<Response> {
    Ok(Response::empty()?.with_status(204))
}

/// A header's value; `None` when the request has none.
///
/// # Errors
/// When the platform refuses the name.
pub(crate) fn header(headers: &Headers, name: &str) -> Result<Option<String>> {
    headers.get(name)
}

/// The body as text of at most `max_bytes`.
///
/// # Errors
/// [`Code::UnsupportedMediaType`] unless it is `application/json`, [`Code::PayloadTooLarge`],
/// [`Code::MalformedJson`] when it is not UTF-8.
pub(crate) async fn json_body(
    request: &mut Request,
    max_bytes: usize,
) -> std::result::Result<String, Refusal> {
    let content_type = header(request.headers(), "content-type")?.unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(Code::UnsupportedMediaType).into());
    }
    let Some(body) = read_body(request, max_bytes).await? else {
        let detail = format!("at most {max_bytes} bytes are read");
        return Err(Problem::new(Code::PayloadTooLarge).detail(detail).into());
    };
    String::from_utf8(body).map_err(|_| {
        Problem::new(Code::MalformedJson)
            .detail("the body is not UTF-8")
            .into()
    })
}

/// The same for a body that may be missing: then, and when it is empty, it needs no media type.
///
/// # Errors
/// As [`json_body`].
pub(crate) async fn optional_json_body(
    request: &mut Request,
    max_bytes: usize,
) -> std::result::Result<String, Refusal> {
    if header(request.headers(), "content-type")?.is_some() {
        return json_body(request, max_bytes).await;
    }
    match read_body(request, max_bytes).await? {
        Some(body) if body.is_empty() => Ok(String::new()),
        Some(_) | None => Err(Problem::new(Code::UnsupportedMediaType).into()),
    }
}

/// The body as text, whatever its type; bytes that are no UTF-8 read as U+FFFD. `None` when it is
/// longer than `max_bytes`.
///
/// # Errors
/// When the client stops sending.
pub(crate) async fn body_text(request: &mut Request, max_bytes: usize) -> Result<Option<String>> {
    let body = read_body(request, max_bytes).await?;
    Ok(body.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

async fn read_body(request: &mut Request, max_bytes: usize) -> Result<Option<Vec<u8>>> {
    let announced = header(request.headers(), "content-length")?;
    match announced.and_then(|text| text.parse::<usize>().ok()) {
        Some(length) if length > max_bytes => return Ok(None),
        // HTTP holds a body to its length, so it need not be read in pieces.
        Some(_) => {
            let body = request.bytes().await?;
            return Ok((body.len() <= max_bytes).then_some(body));
        }
        None => {}
    }
    let mut body = Vec::new();
    if request.inner().body().is_none() {
        return Ok(Some(body));
    }
    let mut stream = request.stream()?;
    while let Some(chunk) = futures_util::StreamExt::next(&mut stream).await {
        let chunk = chunk?;
        if body.len().saturating_add(chunk.len()) > max_bytes {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
