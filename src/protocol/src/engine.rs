//! Engine.IO v4: one frame is one packet.
//!
//! Not the payload of HTTP long-polling (see [`payload`](crate::payload)), not heartbeats or
//! upgrades: only their packets.
//!
//! A text frame is a type character `0`-`6` and data, or `b` and base64: a binary message on a
//! transport (or for a client) that has text only. A binary frame is a binary message, without a
//! prefix.
//!
//! Reference: <https://github.com/socketio/engine.io-protocol> and `engine.io-parser` 5.2.3. One
//! difference: in base64, Node.js cuts characters above U+00FF down to their low byte; here they
//! are skipped like other foreign characters.

use std::borrow::Cow;

mod base64;
mod open;

pub use open::{Open, Transport};

use crate::text::excerpt;

/// One Engine.IO packet; its data is borrowed from the frame where that is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `0`: the handshake, a JSON text that [`Open::parse`] reads. Server to client.
    Open(Cow<'a, str>),
    /// `1`: the sender closes the transport. Data is ignored.
    Close,
    /// `2`: heartbeat, server to client; with the data `probe`, a client testing a new transport.
    Ping(Cow<'a, str>),
    /// `3`: the answer to a ping, with the same data.
    Pong(Cow<'a, str>),
    /// `4`: a text message, to Socket.IO one packet or the head of a binary one.
    Message(Cow<'a, str>),
    /// `b` and base64, or a binary frame: a binary message, to Socket.IO one attachment.
    Binary(Cow<'a, [u8]>),
    /// `5`: the client moves to this transport. Data is ignored.
    Upgrade,
    /// `6`: nothing; it ends a waiting poll. Data is ignored.
    Noop,
}

impl<'a> Packet<'a> {
    /// Parses a text frame.
    ///
    /// Base64 after `b` never fails, as in Node.js: both alphabets are read, other characters are
    /// skipped, the first `=` ends it, and a rest of less than a byte is dropped.
    ///
    /// # Errors
    ///
    /// [`ParseError::Empty`] for an empty frame, [`ParseError::UnknownType`] for a first character
    /// that is no type. The reference closes the transport with `parse error` on both.
    ///
    /// ```
    /// use dormouse_protocol::engine::Packet;
    ///
    /// assert_eq!(Packet::parse_text("2probe")?, Packet::Ping("probe".into()));
    /// assert_eq!(Packet::parse_text("bAQID")?, Packet::Binary(vec![1, 2, 3].into()));
    /// # Ok::<(), dormouse_protocol::engine::ParseError>(())
    /// ```
    pub fn parse_text(frame: &'a str) -> Result<Self, ParseError> {
        let mut chars = frame.chars();
        let packet_type = chars.next().ok_or(ParseError::Empty)?;
        let data = chars.as_str();
        match packet_type {
            '0' => Ok(Self::Open(data.into())),
            '1' => Ok(Self::Close),
            '2' => Ok(Self::Ping(data.into())),
            '3' => Ok(Self::Pong(data.into())),
            '4' => Ok(Self::Message(data.into())),
            '5' => Ok(Self::Upgrade),
            '6' => Ok(Self::Noop),
            'b' => Ok(Self::Binary(base64::decode(data).into())),
            unknown => Err(ParseError::UnknownType(unknown)),
        }
    }

    /// Takes a binary frame, which is always a binary message.
    #[must_use]
    pub fn parse_binary(frame: &'a [u8]) -> Self {
        Self::Binary(frame.into())
    }

    /// Encodes the packet for a transport with binary frames; [`Frame::into_text`] is for the
    /// others.
    ///
    /// ```
    /// use dormouse_protocol::engine::{Frame, Packet};
    ///
    /// assert_eq!(Packet::Pong("probe".into()).encode(), Frame::Text("3probe".to_owned()));
    /// ```
    #[must_use]
    pub fn encode(self) -> Frame {
        match self {
            Self::Open(data) => prefixed('0', &data),
            Self::Close => prefixed('1', ""),
            Self::Ping(data) => prefixed('2', &data),
            Self::Pong(data) => prefixed('3', &data),
            Self::Message(data) => prefixed('4', &data),
            Self::Binary(data) => Frame::Binary(data.into_owned()),
            Self::Upgrade => prefixed('5', ""),
            Self::Noop => prefixed('6', ""),
        }
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Packet<'static> {
        match self {
            Self::Open(data) => Packet::Open(data.into_owned().into()),
            Self::Close => Packet::Close,
            Self::Ping(data) => Packet::Ping(data.into_owned().into()),
            Self::Pong(data) => Packet::Pong(data.into_owned().into()),
            Self::Message(data) => Packet::Message(data.into_owned().into()),
            Self::Binary(data) => Packet::Binary(data.into_owned().into()),
            Self::Upgrade => Packet::Upgrade,
            Self::Noop => Packet::Noop,
        }
    }
}

/// One encoded packet, as the transport sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text frame with its type character.
    Text(String),
    /// A binary frame: the data of a binary message.
    Binary(Vec<u8>),
}

impl Frame {
    /// Returns the frame for a receiver without binary frames (`b64=1`, and every polling client):
    /// `b` and base64.
    ///
    /// ```
    /// use dormouse_protocol::engine::Frame;
    ///
    /// assert_eq!(Frame::Binary(vec![1, 2, 3]).into_text(), "bAQID");
    /// assert_eq!(Frame::Text("6".to_owned()).into_text(), "6");
    /// ```
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Binary(data) => {
                let mut text = String::with_capacity(base64::frame_bytes(data.len()));
                base64::push_frame(&mut text, &data);
                text
            }
        }
    }

    /// Bytes of the frame as text, in base64 if it is binary.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => base64::frame_bytes(data.len()),
        }
    }

    /// Appends the frame as text, in base64 if it is binary.
    pub(crate) fn push_text(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Binary(data) => base64::push_frame(out, data),
        }
    }
}

/// Why a frame or a handshake is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The frame has no type character.
    #[error("empty frame")]
    Empty,
    /// The first character is no packet type.
    #[error("unknown packet type {0:?}")]
    UnknownType(char),
    /// The handshake is not the JSON object it has to be; its text is left out because the sid is a
    /// credential.
    #[error("handshake is wrong at column {column}")]
    Open {
        /// Where reading stopped, in bytes from 1.
        column: usize,
    },
    /// The name is no transport.
    #[error("unknown transport {0:?}")]
    UnknownTransport(String),
}

impl ParseError {
    fn unknown_transport(name: &str) -> Self {
        Self::UnknownTransport(excerpt(name))
    }
}

fn prefixed(packet_type: char, data: &str) -> Frame {
    let mut text = String::with_capacity(1 + data.len());
    text.push(packet_type);
    text.push_str(data);
    Frame::Text(text)
}
