//! What an HTTP request to `/socket.io/` asks for, checked in the reference server's order
//! (`engine.io/lib/server.ts`, `verify`).

use crate::session::Acknowledging;

/// The parts of the request that decide.
#[derive(Clone, Debug, Default)]
pub struct EngineQuery {
    /// `EIO`.
    pub protocol: Option<String>,
    /// `transport`.
    pub transport: Option<String>,
    /// `sid`.
    pub sid: Option<String>,
    /// `token`.
    pub token: Option<String>,
    /// `ack`.
    pub ack: Option<String>,
}

/// Why an engine request is refused, in the reference's numbers and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// 0.
    #[error("Transport unknown")]
    UnknownTransport,
    /// 1.
    #[error("Session ID unknown")]
    UnknownSid,
    /// 2.
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    /// 3.
    #[error("Bad request")]
    BadRequest,
    /// 5.
    #[error("Unsupported protocol version")]
    UnsupportedProtocolVersion,
}

/// Whether the request asks for a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It has `Upgrade: websocket`.
    WebSocket,
    /// It has not.
    None,
}

impl EngineQuery {
    /// Reads the parameters from a URL's query; the first of a name counts, others are ignored.
    pub fn parse<'q>(
        pairs: impl Iterator<Item = (std::borrow::Cow<'q, str>, std::borrow::Cow<'q, str>)>,
    ) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            let field = match name.as_ref() {
                "EIO" => &mut query.protocol,
                "transport" => &mut query.transport,
                "sid" => &mut query.sid,
                "token" => &mut query.token,
                "ack" => &mut query.ack,
                _ => continue,
            };
            if field.is_none() {
                *field = Some(value.into_owned());
            }
        }
        query
    }

    /// Whether a WebSocket may be opened by this request.
    ///
    /// # Errors
    /// [`EngineError`], the first that applies.
    pub fn check(&self, is_get: IsGet, upgrade: Upgrade) -> Result<(), EngineError> {
        if self.transport.as_deref() != Some("websocket") {
            return Err(EngineError::UnknownTransport);
        }
        if self.sid.is_some() {
            return Err(EngineError::UnknownSid);
        }
        if is_get == IsGet::No {
            return Err(EngineError::BadHandshakeMethod);
        }
        if upgrade == Upgrade::None {
            return Err(EngineError::BadRequest);
        }
        if self.protocol.as_deref() != Some("4") {
            return Err(EngineError::UnsupportedProtocolVersion);
        }
        Ok(())
    }

    /// Whether the client said that it acknowledges.
    #[must_use]
    pub fn acknowledging(&self) -> Acknowledging {
        if self.ack.as_deref() == Some("on") {
            Acknowledging::Yes
        } else {
            Acknowledging::Unknown
        }
    }
}

/// Whether the request's method is GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsGet {
    /// GET.
    Yes,
    /// Any other method.
    No,
}

impl EngineError {
    /// The number clients see as `code`.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest => 3,
            Self::UnsupportedProtocolVersion => 5,
        }
    }

    /// The body of the refusal.
    #[must_use]
    pub fn body(self) -> String {
        format!(r#"{{"code":{},"message":"{self}"}}"#, self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> EngineQuery {
        EngineQuery::parse(url::form_urlencoded::parse(text.as_bytes()))
    }

    #[test]
    fn the_first_check_that_fails_decides() {
        for (text, is_get, upgrade, expected) in [
            (
                "EIO=4&transport=websocket",
                IsGet::Yes,
                Upgrade::WebSocket,
                Ok(()),
            ),
            (
                "transport=websocket&EIO=4&t=1795&token=x",
                IsGet::Yes,
                Upgrade::WebSocket,
                Ok(()),
            ),
            ("", IsGet::No, Upgrade::None, Err(EngineError::UnknownTransport)),
            (
                "EIO=4&transport=tcp&sid=x",
                IsGet::Yes,
                Upgrade::None,
                Err(EngineError::UnknownTransport),
            ),
            (
                "EIO=3&transport=websocket&sid=x",
                IsGet::No,
                Upgrade::None,
                Err(EngineError::UnknownSid),
            ),
            (
                "EIO=3&transport=websocket",
                IsGet::No,
                Upgrade::None,
                Err(EngineError::BadHandshakeMethod),
            ),
            (
                "EIO=3&transport=websocket",
                IsGet::Yes,
                Upgrade::None,
                Err(EngineError::BadRequest),
            ),
            (
                "EIO=3&transport=websocket",
                IsGet::Yes,
                Upgrade::WebSocket,
                Err(EngineError::UnsupportedProtocolVersion),
            ),
            (
                "transport=websocket",
                IsGet::Yes,
                Upgrade::WebSocket,
                Err(EngineError::UnsupportedProtocolVersion),
            ),
            (
                "EIO=4&EIO=3&transport=websocket",
                IsGet::Yes,
                Upgrade::WebSocket,
                Ok(()),
            ),
        ] {
            assert_eq!(query(text).check(is_get, upgrade), expected, "{text}");
        }
    }

    #[test]
    fn refusals_read_like_the_reference() {
        assert_eq!(
            EngineError::UnsupportedProtocolVersion.body(),
            r#"{"code":5,"message":"Unsupported protocol version"}"#
        );
    }
}
