//! The body of an HTTP long-polling request: text frames with U+001E between them.
//!
//! Not the request itself. Everything is text here: a binary message travels as `b` and base64. A
//! text frame that holds a U+001E of its own is cut there by the receiver; JSON escapes that
//! character, so Socket.IO data never does.
//!
//! Reference: <https://github.com/socketio/engine.io-protocol#http-long-polling-1> and
//! `engine.io-parser` 5.2.3.

use crate::engine::{self, Frame, Packet};

/// What stands between two frames: the record separator of ASCII.
pub const SEPARATOR: char = '\u{1e}';

/// Parses a payload into its packets, lazily and in order.
///
/// The reference acts on the packets before a bad one and then closes, so each packet has its own
/// result; the iterator ends after the first error.
///
/// # Errors
///
/// [`ParseError::TooManyPackets`] if there are more than `max_packets`, before any is parsed.
///
/// ```
/// use dormouse_protocol::{engine::Packet, payload};
///
/// let packets: Vec<Packet> = payload::parse("40\u{1e}2probe", 100)?.collect::<Result<_, _>>()?;
/// assert_eq!(packets, [Packet::Message("0".into()), Packet::Ping("probe".into())]);
/// # Ok::<(), payload::ParseError>(())
/// ```
pub fn parse(payload: &str, max_packets: usize) -> Result<Packets<'_>, ParseError> {
    // The separator is ASCII, so no byte of another character equals it.
    let separators = payload
        .bytes()
        .filter(|&byte| char::from(byte) == SEPARATOR)
        .count();
    let count = separators.saturating_add(1);
    if count > max_packets {
        return Err(ParseError::TooManyPackets { count, max_packets });
    }
    Ok(Packets { rest: Some(payload) })
}

/// The packets of a payload; see [`parse`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let (frame, after) = match rest.split_once(SEPARATOR) {
            Some((frame, after)) => (frame, Some(after)),
            None => (rest, None),
        };
        let packet = Packet::parse_text(frame);
        if packet.is_ok() {
            self.rest = after;
        }
        Some(packet.map_err(ParseError::Packet))
    }
}

/// Encodes as many frames as fit into `max_bytes`, in order.
///
/// The first frame is always taken, however long it is, so that it cannot block the ones behind it:
/// the stock client packs its payloads by the same rule.
///
/// ```
/// use dormouse_protocol::{engine::Frame, payload};
///
/// let frames = [Frame::Text("40".into()), Frame::Binary(vec![1]), Frame::Text("6".into())];
/// let encoded = payload::encode(&frames, 8);
/// assert_eq!(encoded.payload, "40\u{1e}bAQ==");
/// assert_eq!(encoded.count, 2);
/// ```
#[must_use]
pub fn encode<'f>(frames: impl IntoIterator<Item = &'f Frame>, max_bytes: usize) -> Encoded {
    let mut encoded = Encoded {
        payload: String::new(),
        count: 0,
    };
    for frame in frames {
        if encoded.count > 0 {
            let with_frame = encoded
                .payload
                .len()
                .saturating_add(SEPARATOR.len_utf8())
                .saturating_add(frame.text_bytes());
            if with_frame > max_bytes {
                break;
            }
            encoded.payload.push(SEPARATOR);
        }
        frame.push_text(&mut encoded.payload);
        encoded.count += 1;
    }
    encoded
}

/// A payload and what went into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The body of the response or request; empty if there was no frame.
    pub payload: String,
    /// The number of frames in it; those after them have to wait.
    pub count: usize,
}

/// Why a payload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// More packets than allowed.
    #[error("payload of {count} packets, allowed are {max_packets}")]
    TooManyPackets {
        /// Packets in the payload.
        count: usize,
        /// Packets allowed.
        max_packets: usize,
    },
    /// A frame that is no packet.
    #[error(transparent)]
    Packet(#[from] engine::ParseError),
}
