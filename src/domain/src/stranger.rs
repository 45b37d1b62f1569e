//! A connection whose HTTP request proved no identity: it is told why, in the one form a stock client
//! can see, and nothing else happens (DESIGN 3.4).

use dormouse_protocol::engine;
use dormouse_protocol::socket::{Decoder, Kind, Progress, connect_error_frame};

use crate::auth::AuthError;
use crate::config::MAX_PAYLOAD_BYTES;
use crate::session::{CloseReason, Namespace, Output, refusal_frame};

/// Most frames that are answered before the connection is closed.
const MAX_FRAMES: u32 = 16;

/// The state of such a connection.
#[derive(Debug)]
pub struct Stranger {
    refusal: AuthError,
    frames: u32,
}

impl Stranger {
    /// A connection refused for this reason.
    #[must_use]
    pub const fn new(refusal: AuthError) -> Self {
        Self { refusal, frames: 0 }
    }

    /// Takes a text frame: each CONNECT is refused, what is no part of a handshake closes.
    pub fn on_text(&mut self, frame: &str) -> Option<Output> {
        self.frames = self.frames.saturating_add(1);
        if frame.len() > MAX_PAYLOAD_BYTES {
            return Some(Output::Close(CloseReason::TooLarge));
        }
        if self.frames > MAX_FRAMES {
            return Some(Output::Close(CloseReason::ForcedClose));
        }
        let Ok(packet) = engine::Packet::parse_text(frame) else {
            return Some(Output::Close(CloseReason::ParseError));
        };
        match packet {
            engine::Packet::Message(message) => Some(self.on_message(&message)),
            engine::Packet::Ping(_) | engine::Packet::Binary(_) => {
                Some(Output::Close(CloseReason::ForcedClose))
            }
            engine::Packet::Open(_)
            | engine::Packet::Close
            | engine::Packet::Pong(_)
            | engine::Packet::Upgrade
            | engine::Packet::Noop => None,
        }
    }

    fn on_message(&self, message: &str) -> Output {
        let mut decoder = Decoder::default();
        match decoder.text(message) {
            Ok(Progress::Packet(packet)) => match packet.kind {
                Kind::Connect { .. } => Output::Send(match Namespace::parse(packet.namespace.as_str()) {
                    Some(namespace) => refusal_frame(&namespace.wire(), self.refusal),
                    None => connect_error_frame(&packet.namespace, "Invalid namespace", None),
                }),
                Kind::Disconnect | Kind::Event { .. } | Kind::Ack { .. } | Kind::ConnectError { .. } => {
                    Output::Close(CloseReason::ForcedClose)
                }
            },
            Ok(Progress::NeedAttachments { .. }) => Output::Close(CloseReason::ForcedClose),
            Err(_) => Output::Close(CloseReason::ParseError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connect_is_answered() {
        for (frame, expected) in [
            (
                "40/notifications,",
                Some(Output::Send(
                    r#"44/notifications,{"message":"Authentication failed","data":{"code":"EXPIRED_TOKEN","message":"the token has expired"}}"#
                        .to_owned(),
                )),
            ),
            ("40/zz,", Some(Output::Send(r#"44/zz,{"message":"Invalid namespace"}"#.to_owned()))),
            ("3", None),
            ("2", Some(Output::Close(CloseReason::ForcedClose))),
            (r#"42["x"]"#, Some(Output::Close(CloseReason::ForcedClose))),
            (r#"451-["x",{"_placeholder":true,"num":0}]"#, Some(Output::Close(CloseReason::ForcedClose))),
            ("40null", Some(Output::Close(CloseReason::ParseError))),
            ("bAAAA", Some(Output::Close(CloseReason::ForcedClose))),
            ("?", Some(Output::Close(CloseReason::ParseError))),
            ("", Some(Output::Close(CloseReason::ParseError))),
        ] {
            assert_eq!(Stranger::new(AuthError::Expired).on_text(frame), expected, "{frame}");
        }
    }

    #[test]
    fn a_stranger_is_heard_a_bounded_number_of_times() {
        let mut stranger = Stranger::new(AuthError::Missing);
        let answers = (0..100)
            .take_while(|_| matches!(stranger.on_text("40"), Some(Output::Send(_))))
            .count();
        assert_eq!(answers, 16);
    }
}
