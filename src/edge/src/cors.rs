//! What a page of another origin may do and read: all there is when its origin is on the allow-list, to the letter,
//! and nothing otherwise (DESIGN 3.6). `*` is never said, and `null` is never on the list.

use dormouse_domain::config::HandshakeConfig;
use dormouse_domain::handshake::origin_allowed;
use worker::{Headers, Request, Response, ResponseBuilder, Result};

use crate::http::header;

/// Headers of an answer that a page may read besides the few that every page may.
const EXPOSED: &str = "etag, idempotent-replayed, location, retry-after, x-request-id";

/// How long a browser need not ask again, in seconds.
const MAX_AGE_S: &str = "600";

/// Where a request comes from, and what its page asks to be allowed.
pub(crate) struct Cors {
    origin: Option<String>,
    asked: Option<String>,
}

impl Cors {
    /// Of `request`.
    ///
    /// # Errors
    /// When the platform refuses to read a header.
    pub(crate) fn of(request: &Request) -> Result<Self> {
        let headers = request.headers();
        Ok(Self {
            origin: header(headers, "origin")?,
            asked: header(headers, "access-control-request-headers")?,
        })
    }

    /// The answer to a page that asks what it may do: these methods, once [`Cors::allow`] says to whom.
    ///
    /// # Errors
    /// When the platform refuses to make it.
    pub(crate) fn preflight(&self, methods: &str) -> Result<Response> {
        let mut response = ResponseBuilder::new().with_status(204).empty();
        let headers = response.headers_mut();
        headers.set("access-control-allow-methods", methods)?;
        if let Some(asked) = &self.asked {
            headers.set("access-control-allow-headers", asked)?;
        }
        headers.set("access-control-max-age", MAX_AGE_S)?;
        Ok(response)
    }

    /// Lets a page of an allowed origin read the answer with these headers, errors included.
    ///
    /// # Errors
    /// When the platform refuses to set a header.
    pub(crate) fn allow(&self, headers: &Headers, config: &HandshakeConfig) -> Result<()> {
        // Also of an answer to nobody's page, or a cache would give it to one.
        headers.append("vary", "Origin")?;
        let Some(origin) = &self.origin else {
            return Ok(());
        };
        if origin_allowed(config, Some(origin)) {
            headers.set("access-control-allow-origin", origin)?;
            headers.set("access-control-allow-credentials", "true")?;
            headers.set("access-control-expose-headers", EXPOSED)?;
        }
        Ok(())
    }
}
