//! A connection that has not said who it is. Until it does, in CONNECT, nothing else happens; whoever
//! can't say it is told why, in the one form a stock client sees (DESIGN 3.3, 3.4).

use dormouse_protocol::engine;
use dormouse_protocol::socket::{Decoder, Kind, Progress, connect_error_frame};
use serde::Deserialize;

use crate::auth::{AuthError, Identity};
use crate::config::MAX_PAYLOAD_BYTES;
use crate::limit::AdmissionError;
use crate::namespace::Namespace;
use crate::session::{CloseReason, admission_frame, refusal_frame};
use crate::time::Timestamp;
use crate::token_keys::TokenKeys;

/// Most packets that are heard before the connection is closed.
const MAX_PACKETS: u32 = 16;

/// The state of such a connection.
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    refusal: AuthError,
    packets: u32,
}

/// What a packet leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Send this text frame.
    Answer(String),
    /// It is this user; the packet is for their hub.
    Identified(Identity),
    /// Close the transport.
    Close(CloseReason),
}

#[derive(Debug, Default, Deserialize)]
struct ConnectAuth<'a> {
    #[serde(borrow, default)]
    token: Option<std::borrow::Cow<'a, str>>,
}

impl Stranger {
    /// A connection whose HTTP request was refused for this reason.
    #[must_use]
    pub const fn new(refusal: AuthError) -> Self {
        Self { refusal, packets: 0 }
    }

    /// Takes a text frame.
    pub fn on_text(&mut self, now: Timestamp, keys: &TokenKeys, frame: &str) -> Heard {
        if frame.len() > MAX_PAYLOAD_BYTES {
            return Heard::Close(CloseReason::TooLarge);
        }
        match engine::Packet::parse_text(frame) {
            Ok(packet) => self.on_packet(now, keys, &packet),
            Err(_) => Heard::Close(CloseReason::ParseError),
        }
    }

    /// Why a binary frame closes the connection, which it always does: no handshake has one.
    #[must_use]
    pub const fn on_binary(frame: &[u8]) -> CloseReason {
        if frame.len() > MAX_PAYLOAD_BYTES {
            CloseReason::TooLarge
        } else {
            CloseReason::ForcedClose
        }
    }

    /// Takes an engine packet: each CONNECT is answered, what is no part of a handshake closes.
    pub fn on_packet(&mut self, now: Timestamp, keys: &TokenKeys, packet: &engine::Packet<'_>) -> Heard {
        self.packets = self.packets.saturating_add(1);
        if self.packets > MAX_PACKETS {
            return Heard::Close(CloseReason::ForcedClose);
        }
        match packet {
            engine::Packet::Message(message) => self.on_message(now, keys, message),
            engine::Packet::Ping(_) => Heard::Close(CloseReason::TransportError),
            engine::Packet::Binary(_) => Heard::Close(CloseReason::ForcedClose),
            engine::Packet::Open(_)
            | engine::Packet::Close
            | engine::Packet::Pong(_)
            | engine::Packet::Upgrade
            | engine::Packet::Noop => Heard::Nothing,
        }
    }

    fn on_message(&self, now: Timestamp, keys: &TokenKeys, message: &str) -> Heard {
        let packet = match Decoder::default().text(message) {
            Ok(Progress::Packet(packet)) => packet,
            Ok(Progress::NeedAttachments { .. }) => return Heard::Close(CloseReason::ForcedClose),
            Err(_) => return Heard::Close(CloseReason::ForcedClose),
        };
        let payload = match packet.kind {
            Kind::Connect { payload } => payload,
            Kind::Disconnect | Kind::Event { .. } | Kind::Ack { .. } | Kind::ConnectError { .. } => {
                return Heard::Close(CloseReason::ForcedClose);
            }
        };
        if Namespace::parse(packet.namespace.as_str()).is_none() {
            return Heard::Answer(connect_error_frame(&packet.namespace, "Invalid namespace", None));
        }
        let auth: ConnectAuth<'_> = payload
            .as_ref()
            .and_then(|payload| payload.parse().ok())
            .unwrap_or_default();
        match auth
            .token
            .map_or(Err(self.refusal), |token| keys.verify(now, &token))
        {
            Ok(identity) => Heard::Identified(identity),
            // A stock client never comes back after a refusal.
            Err(AuthError::KeysUnavailable) => Heard::Close(CloseReason::KeysUnavailable),
            Err(error) => Heard::Answer(refusal_frame(&packet.namespace, error)),
        }
    }
}

/// The answer to a CONNECT whose user may open no further connection; `None` when `frame` is no CONNECT.
#[must_use]
pub fn not_admitted(frame: &str, error: AdmissionError) -> Option<String> {
    let Ok(engine::Packet::Message(message)) = engine::Packet::parse_text(frame) else {
        return None;
    };
    match Decoder::default().text(&message) {
        Ok(Progress::Packet(packet)) if matches!(packet.kind, Kind::Connect { .. }) => {
            Some(admission_frame(&packet.namespace, error))
        }
        Ok(_) | Err(_) => None,
    }
}

#[cfg(all(test, not(feature = "conformance")))]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::tests::{NOW, keys, sign};

    fn hear(frame: &str) -> Heard {
        Stranger::new(AuthError::Expired).on_text(NOW, &keys(), frame)
    }

    #[test]
    fn only_connect_is_answered() {
        let close = Heard::Close;
        for (frame, expected) in [
            (
                "40/notifications,",
                Heard::Answer(
                    r#"44/notifications,{"message":"Authentication failed","data":{"code":"EXPIRED_TOKEN","message":"the token has expired"}}"#
                        .to_owned(),
                ),
            ),
            ("40/zz,", Heard::Answer(r#"44/zz,{"message":"Invalid namespace"}"#.to_owned())),
            ("3", Heard::Nothing),
            ("2", close(CloseReason::TransportError)),
            (r#"42["x"]"#, close(CloseReason::ForcedClose)),
            (r#"451-["x",{"_placeholder":true,"num":0}]"#, close(CloseReason::ForcedClose)),
            ("40null", close(CloseReason::ForcedClose)),
            ("bAAAA", close(CloseReason::ForcedClose)),
            ("?", close(CloseReason::ParseError)),
            ("", close(CloseReason::ParseError)),
        ] {
            assert_eq!(hear(frame), expected, "{frame}");
        }
    }

    #[test]
    fn a_valid_token_says_who_it_is_and_an_invalid_one_why_not() {
        let connect =
            |token: serde_json::Value| hear(&format!("40/notifications,{}", json!({"token": token})));
        let valid = sign(&json!({"sub": "u1", "exp": 1_800_000_060}));
        assert!(
            matches!(connect(json!(valid)), Heard::Identified(identity) if identity.user.as_str() == "u1")
        );
        for (token, code) in [
            (json!("junk"), "INVALID_TOKEN"),
            (json!(null), "EXPIRED_TOKEN"),
            (json!(""), "MISSING_TOKEN"),
        ] {
            assert!(
                matches!(connect(token), Heard::Answer(frame) if frame.contains(code)),
                "{code}"
            );
        }
    }

    #[test]
    fn who_is_not_admitted_hears_it_in_the_namespace_asked_for() {
        let refused = |frame: &str| not_admitted(frame, AdmissionError::Banned { retry_after_s: 7 });
        for (frame, prefix) in [
            ("40", "44{"),
            (r#"40/notifications,{"token":"t"}"#, "44/notifications,{"),
        ] {
            let answer = refused(frame).unwrap_or_default();
            assert!(answer.starts_with(prefix), "{answer}");
            assert!(answer.contains(r#""code":"BANNED""#), "{answer}");
            assert!(answer.contains(r#""retry_after":7"#), "{answer}");
        }
        for frame in ["", "2", r#"42["x"]"#, "40null"] {
            assert_eq!(refused(frame), None, "{frame}");
        }
    }

    #[test]
    fn a_stranger_is_heard_a_bounded_number_of_times() {
        let mut stranger = Stranger::new(AuthError::Missing);
        let answers = (0..100)
            .take_while(|_| matches!(stranger.on_text(NOW, &keys(), "40"), Heard::Answer(_)))
            .count();
        assert_eq!(answers, 16);
    }
}
