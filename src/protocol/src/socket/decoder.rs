//! The messages of one connection in order, put together to packets.

use super::head::Head;
use super::{Args, Kind, Packet, ParseError, placeholder};

/// Attachments that the reference takes per packet unless told otherwise.
pub const MAX_ATTACHMENTS: usize = 10;

/// Puts the messages of one connection together to packets.
///
/// Holds at most one half-received binary packet. After an error the connection is to be closed;
/// nothing is held then, except by [`ParseError::UnexpectedText`], which leaves what was there.
///
/// ```
/// use dormouse_protocol::socket::{Decoder, Progress};
///
/// let mut decoder = Decoder::default();
/// let head = r#"51-["file",{"_placeholder":true,"num":0}]"#;
/// assert_eq!(decoder.text(head)?, Progress::NeedAttachments { remaining: 1 });
/// let Progress::Packet(packet) = decoder.binary([1, 2, 3])? else {
///     return Err("attachments are due".into());
/// };
/// assert_eq!(packet.attachments(), [[1, 2, 3]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    max_attachments: usize,
    pending: Option<Pending>,
}

impl Decoder {
    /// Begins a connection that takes up to `max_attachments` per packet.
    #[must_use]
    pub const fn new(max_attachments: usize) -> Self {
        Self {
            max_attachments,
            pending: None,
        }
    }

    /// Takes a text message.
    ///
    /// # Errors
    ///
    /// [`ParseError::UnexpectedText`] while attachments are due, else any other variant but
    /// [`ParseError::UnexpectedBinary`] and [`ParseError::IllegalPlaceholder`].
    pub fn text<'a>(&mut self, message: &'a str) -> Result<Progress<'a>, ParseError> {
        let remaining = self.attachments_due();
        if remaining > 0 {
            return Err(ParseError::UnexpectedText { remaining });
        }
        let Head { packet, attachments } = Head::parse(message, self.max_attachments)?;
        if attachments == 0 {
            return Ok(Progress::Packet(packet));
        }
        self.pending = Some(Pending {
            packet: packet.into_owned(),
            announced: attachments,
            received: Vec::new(),
        });
        Ok(Progress::NeedAttachments {
            remaining: attachments,
        })
    }

    /// Takes a binary message.
    ///
    /// # Errors
    ///
    /// [`ParseError::UnexpectedBinary`] while no attachment is due,
    /// [`ParseError::IllegalPlaceholder`] if it was the last one and a placeholder names none of
    /// them.
    pub fn binary(&mut self, message: impl Into<Vec<u8>>) -> Result<Progress<'static>, ParseError> {
        let message = message.into();
        let Some(mut pending) = self.pending.take() else {
            return Err(ParseError::UnexpectedBinary {
                length: message.len(),
            });
        };
        pending.received.push(message);
        let remaining = pending.remaining();
        if remaining > 0 {
            self.pending = Some(pending);
            return Ok(Progress::NeedAttachments { remaining });
        }
        pending.complete().map(Progress::Packet)
    }

    /// Attachments that have to come before the next text message.
    #[must_use]
    pub fn attachments_due(&self) -> usize {
        self.pending.as_ref().map_or(0, Pending::remaining)
    }

    /// The binary packet that is not complete yet, to keep it while the connection sleeps.
    ///
    /// A new decoder is in the same state once it took `head` as a text message and `attachments`
    /// as binary ones.
    #[must_use]
    pub fn half_received(&self) -> Option<HalfReceived<'_>> {
        self.pending.as_ref().map(|pending| HalfReceived {
            head: pending.packet.parts(pending.announced).message(),
            attachments: &pending.received,
        })
    }
}

impl Default for Decoder {
    /// A connection that takes [`MAX_ATTACHMENTS`].
    fn default() -> Self {
        Self::new(MAX_ATTACHMENTS)
    }
}

/// What a message led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A packet is complete.
    Packet(Packet<'a>),
    /// The head or an attachment of a binary packet was taken; the next messages must be binary.
    NeedAttachments {
        /// Attachments that are due, at least 1.
        remaining: usize,
    },
}

impl Progress<'_> {
    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Progress<'static> {
        match self {
            Self::Packet(packet) => Progress::Packet(packet.into_owned()),
            Self::NeedAttachments { remaining } => Progress::NeedAttachments { remaining },
        }
    }
}

/// A binary packet that is not complete; see [`Decoder::half_received`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfReceived<'d> {
    /// The text message, without the Engine.IO type.
    pub head: String,
    /// The attachments received, in order.
    pub attachments: &'d [Vec<u8>],
}

/// A binary packet that is not complete: fewer attachments were received than announced.
#[derive(Clone, Debug)]
struct Pending {
    packet: Packet<'static>,
    announced: usize,
    received: Vec<Vec<u8>>,
}

impl Pending {
    fn remaining(&self) -> usize {
        self.announced.saturating_sub(self.received.len())
    }

    /// Puts the attachments into the packet.
    fn complete(self) -> Result<Packet<'static>, ParseError> {
        let Self {
            mut packet, received, ..
        } = self;
        let all_within =
            |mut args: Args<'_>| args.all(|json| placeholder::all_within(json.as_str(), received.len()));
        let (is_legal, attachments) = match &mut packet.kind {
            Kind::Event {
                data, attachments, ..
            } => (
                data.as_ref().is_none_or(|data| all_within(data.args())),
                attachments,
            ),
            Kind::Ack {
                data, attachments, ..
            } => (all_within(data.args()), attachments),
            // Only events and acks announce attachments.
            Kind::Connect { .. } | Kind::Disconnect | Kind::ConnectError { .. } => {
                return Ok(packet);
            }
        };
        if !is_legal {
            return Err(ParseError::IllegalPlaceholder {
                attachments: received.len(),
            });
        }
        *attachments = received;
        Ok(packet)
    }
}
