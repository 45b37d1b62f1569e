//! Socket.IO v5: packets inside Engine.IO messages.
//!
//! ```text
//! <type>[<number of attachments>-][<namespace>,][<ack id>][<JSON>]
//! ```
//!
//! In reading order: a [`Packet`] is a [`Namespace`] and a [`Kind`]; events and acks carry
//! [`EventData`] and [`AckData`], JSON arrays that stay text until someone asks for an argument; a
//! [`Decoder`] puts binary packets together; [`connect_frame`], [`connect_error_frame`],
//! [`disconnect_frame`], [`EventData::frame`] and [`AckData::frame`] write what a server sends.
//!
//! Not sessions: which packet is allowed when is decided elsewhere. A binary packet is its head
//! (types `5` and `6`, which exist on the wire only) and its attachments, which follow at once; the
//! JSON keeps `{"_placeholder":true,"num":0}` where an attachment belongs.
//!
//! Reference: <https://github.com/socketio/socket.io-protocol> and `socket.io-parser` 4.2.7, which
//! since that version refuses a binary packet without attachments. Its oddities, accepted here as
//! there: digits before the JSON of any type, which only events and acks look at; a bare event
//! (`42`); an ack without an id; a namespace with its query. Stricter than it on purpose:
//!
//! - The reference reads white space where a digit may stand as the number 0 (`" "` is a CONNECT,
//!   `42 ["a"]` has ack id 0, `42 1 2["a"]` has `NaN`) and a number of attachments as JavaScript
//!   does (`0x1`, `1e0`, `+1`). Only digits count here.
//! - An ack id must fit 64 bits; the reference rounds above 2^53 and then answers the wrong id.
//! - A placeholder's `num` must be written in digits (not `0.0`), and every placeholder counts, even
//!   one that a later key of the same name replaces.
//! - The empty message is refused here; there, by the layer above the parser.

mod array;
mod data;
mod decoder;
mod frame;
mod head;
mod json;
mod namespace;
mod packet;
mod placeholder;

pub use array::Args;
pub use data::{AckData, EventData, EventName, RESERVED_EVENTS};
pub use decoder::{Decoder, HalfReceived, MAX_ATTACHMENTS, Progress};
pub use frame::{connect_error_frame, connect_frame, disconnect_frame};
pub use head::PacketType;
pub use json::{Json, Object};
pub use namespace::Namespace;
pub use packet::{ConnectErrorPayload, Kind, Packet};

/// Why a message is refused; the reference closes the connection with `parse error` on each.
///
/// Payloads are not quoted: they hold tokens and user text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The message has no type character.
    #[error("empty message")]
    Empty,
    /// The first character is no packet type.
    #[error("unknown packet type {0:?}")]
    UnknownType(char),
    /// What should be the number of attachments and `-` is not, or the number is 0.
    #[error("illegal number of attachments {0:?}")]
    IllegalAttachments(String),
    /// More attachments than allowed.
    #[error("{count} attachments, allowed are {max_attachments}")]
    TooManyAttachments {
        /// Attachments announced; the largest number of 64 bits if it is more than that.
        count: u64,
        /// Attachments allowed.
        max_attachments: usize,
    },
    /// The ack id does not fit 64 bits, or white space stands where it belongs.
    #[error("illegal ack id {0:?}")]
    IllegalAckId(String),
    /// The payload is not JSON.
    #[error("payload of {packet_type:?} is not JSON at column {column}")]
    NotJson {
        /// The type of the packet.
        packet_type: PacketType,
        /// Where reading stopped, in bytes of the line from 1.
        column: usize,
    },
    /// The payload is JSON, but not what this type of packet carries.
    #[error("payload of {packet_type:?} is not {expected}")]
    WrongPayload {
        /// The type of the packet.
        packet_type: PacketType,
        /// What it carries.
        expected: &'static str,
    },
    /// The event has a name that only the library itself may use; see [`RESERVED_EVENTS`].
    #[error("reserved event name {0:?}")]
    ReservedEvent(String),
    /// A text message while attachments are due.
    #[error("text message while {remaining} attachments are due")]
    UnexpectedText {
        /// Attachments that are due.
        remaining: usize,
    },
    /// A binary message while no attachment is due.
    #[error("binary message of {length} bytes while no attachment is due")]
    UnexpectedBinary {
        /// Bytes of the message.
        length: usize,
    },
    /// A placeholder whose `num` names none of the attachments.
    #[error("placeholder for none of {attachments} attachments")]
    IllegalPlaceholder {
        /// Attachments received.
        attachments: usize,
    },
}

/// Why something cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The event has a name that only the library itself may use; see [`RESERVED_EVENTS`].
    #[error("reserved event name {0:?}")]
    ReservedEvent(String),
    /// A namespace that does not begin with `/` or has a comma.
    #[error("illegal namespace {0:?}")]
    IllegalNamespace(String),
    /// The text is not JSON, or the value has no JSON form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The JSON is not an object.
    #[error("JSON is not an object")]
    NotAnObject,
}
