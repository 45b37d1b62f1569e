//! What an HTTP request to `/socket.io/` asks for, checked in the reference server's order
//! (`engine.io/lib/server.ts`, `verify`).

use serde::{Deserialize, Serialize};

use crate::case::PayloadCase;
use crate::wishes::{Acknowledging, Binary, Keepalive, Recovery, Wishes};

/// The parameters that decide.
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
    /// `recovery`.
    pub recovery: Option<String>,
    /// `keepalive`.
    pub keepalive: Option<String>,
    /// `b64`.
    pub base64: Option<String>,
    /// `case`.
    pub case: Option<String>,
}

/// A request that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineRequest<'q> {
    /// Open a session that begins with polling.
    OpenPolling,
    /// Open a session on a WebSocket.
    OpenWebSocket,
    /// Fetch what waits for this session.
    Get(&'q str),
    /// Take what this session sends.
    Post(&'q str),
    /// Move this session to a WebSocket.
    Upgrade(&'q str),
    /// Something no session takes; whether there is such a session is asked first.
    Misfit(&'q str),
}

/// Why an engine request is refused, in the reference's numbers and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
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
    /// Reads the parameters from a URL's query. The last of a name counts and an empty one is none, as in the
    /// reference.
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
                "recovery" => &mut query.recovery,
                "keepalive" => &mut query.keepalive,
                "case" => &mut query.case,
                "b64" => &mut query.base64,
                _ => continue,
            };
            *field = Some(value.into_owned()).filter(|value| !value.is_empty());
        }
        query
    }

    /// What the request asks for. Whether a sid is known is not decided here.
    ///
    /// # Errors
    /// [`EngineError`], the first that applies.
    pub fn check(&self, method: Method, upgrade: Upgrade) -> Result<EngineRequest<'_>, EngineError> {
        let transport = match self.transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::Websocket,
            Some(_) | None => return Err(EngineError::UnknownTransport),
        };
        if let Some(sid) = self.sid.as_deref() {
            if self.protocol.as_deref() != Some("4") {
                return Ok(EngineRequest::Misfit(sid));
            }
            return match (transport, method, upgrade) {
                (Transport::Websocket, Method::Get, Upgrade::WebSocket) => Ok(EngineRequest::Upgrade(sid)),
                (Transport::Polling, Method::Get, Upgrade::None) => Ok(EngineRequest::Get(sid)),
                (Transport::Polling, Method::Post, Upgrade::None) => Ok(EngineRequest::Post(sid)),
                (Transport::Websocket | Transport::Polling, _, _) => Ok(EngineRequest::Misfit(sid)),
            };
        }
        if method != Method::Get {
            return Err(EngineError::BadHandshakeMethod);
        }
        let request = match (transport, upgrade) {
            (Transport::Polling, Upgrade::None) => EngineRequest::OpenPolling,
            (Transport::Websocket, Upgrade::WebSocket) => EngineRequest::OpenWebSocket,
            (Transport::Websocket, Upgrade::None) | (Transport::Polling, Upgrade::WebSocket) => {
                return Err(EngineError::BadRequest);
            }
        };
        if self.protocol.as_deref() != Some("4") {
            return Err(EngineError::UnsupportedProtocolVersion);
        }
        Ok(request)
    }

    /// What the client asks for besides.
    #[must_use]
    pub fn wishes(&self, recovery: Recovery, case: PayloadCase) -> Wishes {
        Wishes {
            acknowledging: if self.ack.as_deref() == Some("on") {
                Acknowledging::Yes
            } else {
                Acknowledging::Unknown
            },
            recovery: if self.recovery.as_deref() == Some("off") {
                Recovery::Off
            } else {
                recovery
            },
            keepalive: if self.keepalive.as_deref() == Some("client") {
                Keepalive::Client
            } else {
                Keepalive::Server
            },
            binary: if self.base64.is_some() {
                Binary::Base64
            } else {
                Binary::Frames
            },
            case: if self.case.as_deref() == Some("camel") {
                PayloadCase::Camel
            } else {
                case
            },
            #[cfg(feature = "conformance")]
            layer: crate::conformance::Layer::Socket,
        }
    }
}

#[derive(Clone, Copy)]
enum Transport {
    Polling,
    Websocket,
}

/// The request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// Any other.
    Other,
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
        use EngineError::{BadHandshakeMethod, BadRequest, UnknownTransport, UnsupportedProtocolVersion};
        use EngineRequest::{Get, OpenPolling, OpenWebSocket, Post};
        for (text, method, upgrade, expected) in [
            (
                "EIO=4&transport=websocket",
                Method::Get,
                Upgrade::WebSocket,
                Ok(OpenWebSocket),
            ),
            (
                "transport=websocket&EIO=4&t=1795&token=x",
                Method::Get,
                Upgrade::WebSocket,
                Ok(OpenWebSocket),
            ),
            (
                "EIO=4&transport=polling",
                Method::Get,
                Upgrade::None,
                Ok(OpenPolling),
            ),
            (
                "EIO=4&transport=polling&sid=a",
                Method::Get,
                Upgrade::None,
                Ok(Get("a")),
            ),
            (
                "EIO=4&transport=polling&sid=a",
                Method::Post,
                Upgrade::None,
                Ok(Post("a")),
            ),
            (
                "EIO=3&transport=polling&sid=a",
                Method::Post,
                Upgrade::None,
                Ok(EngineRequest::Misfit("a")),
            ),
            (
                "EIO=4&transport=websocket&sid=a",
                Method::Get,
                Upgrade::WebSocket,
                Ok(EngineRequest::Upgrade("a")),
            ),
            (
                "EIO=4&transport=websocket&sid=a",
                Method::Get,
                Upgrade::None,
                Ok(EngineRequest::Misfit("a")),
            ),
            (
                "EIO=4&transport=polling&sid=a",
                Method::Other,
                Upgrade::None,
                Ok(EngineRequest::Misfit("a")),
            ),
            ("", Method::Post, Upgrade::None, Err(UnknownTransport)),
            (
                "EIO=4&transport=tcp&sid=x",
                Method::Get,
                Upgrade::None,
                Err(UnknownTransport),
            ),
            (
                "EIO=3&transport=polling",
                Method::Post,
                Upgrade::None,
                Err(BadHandshakeMethod),
            ),
            (
                "EIO=3&transport=websocket",
                Method::Get,
                Upgrade::None,
                Err(BadRequest),
            ),
            (
                "EIO=3&transport=websocket",
                Method::Get,
                Upgrade::WebSocket,
                Err(UnsupportedProtocolVersion),
            ),
            (
                "EIO=3&transport=polling",
                Method::Get,
                Upgrade::None,
                Err(UnsupportedProtocolVersion),
            ),
            (
                "transport=websocket",
                Method::Get,
                Upgrade::WebSocket,
                Err(UnsupportedProtocolVersion),
            ),
        ] {
            assert_eq!(query(text).check(method, upgrade), expected, "{text}");
        }
    }

    #[test]
    fn a_websocket_that_says_it_is_polling_is_refused() {
        for (text, expected) in [
            ("EIO=4&transport=polling", Err(EngineError::BadRequest)),
            ("EIO=4&transport=polling&sid=a", Ok(EngineRequest::Misfit("a"))),
        ] {
            assert_eq!(
                query(text).check(Method::Get, Upgrade::WebSocket),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_last_of_equal_parameters_counts_and_an_empty_one_is_none() {
        for (text, expected) in [
            ("EIO=3&EIO=4&transport=polling", Ok(EngineRequest::OpenPolling)),
            ("EIO=4&transport=polling&sid=", Ok(EngineRequest::OpenPolling)),
            ("EIO=4&transport=polling&sid=a&sid=b", Ok(EngineRequest::Get("b"))),
            (
                "EIO=4&EIO=3&transport=polling",
                Err(EngineError::UnsupportedProtocolVersion),
            ),
        ] {
            assert_eq!(query(text).check(Method::Get, Upgrade::None), expected, "{text}");
        }
        assert_eq!(
            query("b64=").wishes(Recovery::On, PayloadCase::Snake).binary,
            Binary::Frames
        );
    }

    #[test]
    fn refusals_read_like_the_reference() {
        assert_eq!(
            EngineError::UnsupportedProtocolVersion.body(),
            r#"{"code":5,"message":"Unsupported protocol version"}"#
        );
    }
}
