//! The text of a packet: all of it, or the head of a binary one.

use super::json::{self, Json, Object};
use super::{AckData, ConnectErrorPayload, EventData, Kind, Namespace, Packet, ParseError};
use crate::text::excerpt;

/// The type of a packet on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    /// `0`
    Connect,
    /// `1`
    Disconnect,
    /// `2`
    Event,
    /// `3`
    Ack,
    /// `4`
    ConnectError,
    /// `5`
    BinaryEvent,
    /// `6`
    BinaryAck,
}

impl PacketType {
    fn parse(character: char) -> Result<Self, ParseError> {
        match character {
            '0' => Ok(Self::Connect),
            '1' => Ok(Self::Disconnect),
            '2' => Ok(Self::Event),
            '3' => Ok(Self::Ack),
            '4' => Ok(Self::ConnectError),
            '5' => Ok(Self::BinaryEvent),
            '6' => Ok(Self::BinaryAck),
            unknown => Err(ParseError::UnknownType(unknown)),
        }
    }

    const fn as_char(self) -> char {
        match self {
            Self::Connect => '0',
            Self::Disconnect => '1',
            Self::Event => '2',
            Self::Ack => '3',
            Self::ConnectError => '4',
            Self::BinaryEvent => '5',
            Self::BinaryAck => '6',
        }
    }

    /// The type for this number of attachments.
    pub(super) const fn with_attachments(self, attachments: usize) -> Self {
        match self {
            Self::Event if attachments > 0 => Self::BinaryEvent,
            Self::Ack if attachments > 0 => Self::BinaryAck,
            Self::Connect
            | Self::Disconnect
            | Self::Event
            | Self::Ack
            | Self::ConnectError
            | Self::BinaryEvent
            | Self::BinaryAck => self,
        }
    }
}

/// A text message: a packet, and the number of attachments it still needs.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) packet: Packet<'a>,
    pub(super) attachments: usize,
}

impl<'a> Head<'a> {
    /// Parses a text message.
    pub(super) fn parse(message: &'a str, max_attachments: usize) -> Result<Self, ParseError> {
        let mut chars = message.chars();
        let packet_type = PacketType::parse(chars.next().ok_or(ParseError::Empty)?)?;
        let (attachments, rest) = match packet_type {
            PacketType::BinaryEvent | PacketType::BinaryAck => {
                split_attachments(chars.as_str(), max_attachments)?
            }
            PacketType::Connect
            | PacketType::Disconnect
            | PacketType::Event
            | PacketType::Ack
            | PacketType::ConnectError => (0, chars.as_str()),
        };
        let (namespace, rest) = Namespace::split_from(rest);
        let (ack_id, payload) = split_ack_id(rest)?;
        let kind = parse_kind(
            packet_type,
            ack_id,
            Some(payload).filter(|payload| !payload.is_empty()),
        )?;
        Ok(Self {
            packet: Packet { namespace, kind },
            attachments,
        })
    }
}

/// The parts of a text message that is to be written.
pub(super) struct Parts<'p> {
    pub(super) packet_type: PacketType,
    /// Written for binary types only.
    pub(super) attachments: usize,
    pub(super) namespace: &'p Namespace<'p>,
    pub(super) ack_id: Option<u64>,
    /// The payload, empty if there is none.
    pub(super) json: &'p str,
}

impl Parts<'_> {
    /// Writes the message.
    pub(super) fn message(&self) -> String {
        let mut message = String::with_capacity(self.capacity());
        self.push(&mut message);
        message
    }

    /// Writes the message as an Engine.IO text frame.
    pub(super) fn frame(&self) -> String {
        let mut frame = String::with_capacity(self.capacity());
        frame.push('4');
        self.push(&mut frame);
        frame
    }

    /// Bytes that are enough for the frame.
    fn capacity(&self) -> usize {
        /// Both types, the comma, and two numbers of at most 20 digits with their dash.
        const SMALL_PARTS: usize = 44;
        SMALL_PARTS + self.namespace.as_str().len() + self.json.len()
    }

    /// Appends `<type>[<number of attachments>-][<namespace>,][<ack id>][<JSON>]`.
    fn push(&self, out: &mut String) {
        out.push(self.packet_type.as_char());
        if self.attachments > 0 {
            out.push_str(&self.attachments.to_string());
            out.push('-');
        }
        self.namespace.push(out);
        if let Some(ack_id) = self.ack_id {
            out.push_str(&ack_id.to_string());
        }
        out.push_str(self.json);
    }
}

/// Checks that a payload is JSON.
pub(super) fn check_json(payload: &str, packet_type: PacketType) -> Result<(), ParseError> {
    json::check(payload).map_err(|error| ParseError::NotJson {
        packet_type,
        column: error.column(),
    })
}

fn parse_kind(
    packet_type: PacketType,
    ack_id: Option<u64>,
    payload: Option<&str>,
) -> Result<Kind<'_>, ParseError> {
    match packet_type {
        PacketType::Connect => Ok(Kind::Connect {
            payload: payload
                .map(|payload| parse_object(payload, packet_type, "an object"))
                .transpose()?,
        }),
        PacketType::Disconnect if payload.is_some() => Err(ParseError::WrongPayload {
            packet_type,
            expected: "empty",
        }),
        PacketType::Disconnect => Ok(Kind::Disconnect),
        PacketType::Event | PacketType::BinaryEvent => Ok(Kind::Event {
            ack_id,
            data: payload
                .map(|payload| EventData::parse(payload, packet_type))
                .transpose()?,
            attachments: Vec::new(),
        }),
        PacketType::Ack | PacketType::BinaryAck => Ok(Kind::Ack {
            ack_id,
            data: payload
                .map(|payload| AckData::parse(payload, packet_type))
                .transpose()?
                .unwrap_or_default(),
            attachments: Vec::new(),
        }),
        PacketType::ConnectError => Ok(Kind::ConnectError {
            payload: payload
                .map(|payload| parse_connect_error(payload, packet_type))
                .transpose()?,
        }),
    }
}

fn parse_object<'a>(
    payload: &'a str,
    packet_type: PacketType,
    expected: &'static str,
) -> Result<Object<'a>, ParseError> {
    check_json(payload, packet_type)?;
    let payload = json::trim(payload);
    if payload.starts_with('{') {
        Ok(Object::known(payload))
    } else {
        Err(ParseError::WrongPayload {
            packet_type,
            expected,
        })
    }
}

fn parse_connect_error(
    payload: &str,
    packet_type: PacketType,
) -> Result<ConnectErrorPayload<'_>, ParseError> {
    if payload.starts_with('"') {
        check_json(payload, packet_type)?;
        return Ok(ConnectErrorPayload::String(Json::known(json::trim(payload))));
    }
    parse_object(payload, packet_type, "an object or a string").map(ConnectErrorPayload::Object)
}

/// Splits `<number of attachments>-` off the front.
fn split_attachments(text: &str, max_attachments: usize) -> Result<(usize, &str), ParseError> {
    let (digits, rest) = split_digits(text);
    let illegal =
        || ParseError::IllegalAttachments(excerpt(text.split_once('-').map_or(text, |(count, _)| count)));
    let rest = rest.strip_prefix('-').ok_or_else(illegal)?;
    // Too long for 64 bits is too many; no digits and all zeros are none.
    let count = if digits.is_empty() {
        0
    } else {
        digits.parse::<u64>().unwrap_or(u64::MAX)
    };
    if count == 0 {
        return Err(illegal());
    }
    match usize::try_from(count) {
        Ok(attachments) if attachments <= max_attachments => Ok((attachments, rest)),
        Ok(_) | Err(_) => Err(ParseError::TooManyAttachments {
            count,
            max_attachments,
        }),
    }
}

/// Splits `<ack id>` off the front.
fn split_ack_id(text: &str) -> Result<(Option<u64>, &str), ParseError> {
    let (digits, rest) = split_digits(text);
    if rest.starts_with(char::is_whitespace) {
        return Err(ParseError::IllegalAckId(excerpt(text)));
    }
    if digits.is_empty() {
        return Ok((None, rest));
    }
    let ack_id = digits
        .parse()
        .map_err(|_| ParseError::IllegalAckId(excerpt(digits)))?;
    Ok((Some(ack_id), rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(digits).unwrap_or((text, ""))
}
