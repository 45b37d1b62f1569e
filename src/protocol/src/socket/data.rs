//! The data of events and acks: JSON arrays of which only the name of the event is looked at.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::array::{Args, Array};
use super::{EncodeError, Json, PacketType, ParseError};
use crate::text::{excerpt, json_string, push_json_string};

/// Event names that only the library itself may use, on either side.
pub const RESERVED_EVENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// The data of an event: a JSON array of its name and its arguments.
///
/// To send it, build it once and make a [`frame`](EventData::frame) of it for each namespace:
///
/// ```
/// use dormouse_protocol::socket::{EventData, Namespace};
///
/// let data = EventData::new("unread:count")?.arg(&[3, 4])?;
/// assert_eq!(data.frame(&Namespace::ROOT, None), r#"42["unread:count",[3,4]]"#);
/// let chat = Namespace::new("/chat")?;
/// assert_eq!(data.frame(&chat, Some(7)), r#"42/chat,7["unread:count",[3,4]]"#);
/// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EventData<'a> {
    /// The first element is the name.
    array: Array<'a>,
}

impl<'a> EventData<'a> {
    /// Begins an event without arguments.
    ///
    /// # Errors
    ///
    /// [`EncodeError::ReservedEvent`] if the name is one of [`RESERVED_EVENTS`].
    pub fn new(name: &str) -> Result<EventData<'static>, EncodeError> {
        if RESERVED_EVENTS.contains(&name) {
            return Err(EncodeError::ReservedEvent(excerpt(name)));
        }
        let mut array = Array::empty();
        array.push_with(name.len(), |json| push_json_string(json, name));
        Ok(EventData { array })
    }

    /// Adds an argument.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Json`] if the value has no JSON form.
    pub fn arg<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, EncodeError> {
        Ok(self.json_arg(&Json::encode(value)?))
    }

    /// Adds an argument that is already JSON.
    #[must_use]
    pub fn json_arg(mut self, json: &Json<'_>) -> Self {
        self.array.push(json);
        self
    }

    /// Adds arguments that are already JSON, such as the [`args`](EventData::args) of another
    /// event.
    #[must_use]
    pub fn json_args<'j>(self, args: impl IntoIterator<Item = Json<'j>>) -> Self {
        args.into_iter().fold(self, |data, json| data.json_arg(&json))
    }

    /// The name of the event.
    #[must_use]
    pub fn name(&self) -> EventName<'_> {
        EventName::parse(self.array.element(0).unwrap_or_default())
    }

    /// The arguments, which come after the name.
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        self.array.args_from(1)
    }

    /// The argument at `index`, from 0.
    #[must_use]
    pub fn arg_at(&self, index: usize) -> Option<Json<'_>> {
        self.array.element(index.checked_add(1)?).map(Json::known)
    }

    /// The JSON array, the name included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.array.as_str()
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> EventData<'static> {
        EventData {
            array: self.array.into_owned(),
        }
    }

    /// Parses the payload of an event packet.
    pub(super) fn parse(payload: &'a str, packet_type: PacketType) -> Result<Self, ParseError> {
        let data = Self {
            array: Array::parse(payload, packet_type)?,
        };
        let first = data.array.element(0).unwrap_or_default();
        if !first.starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
            return Err(ParseError::WrongPayload {
                packet_type,
                expected: "an array that begins with an event name",
            });
        }
        match data.name() {
            EventName::Text(name) if RESERVED_EVENTS.contains(&&*name) => {
                Err(ParseError::ReservedEvent(name.into_owned()))
            }
            EventName::Text(_) | EventName::Number(_) => Ok(data),
        }
    }
}

impl fmt::Debug for EventData<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("EventData").field(&self.as_str()).finish()
    }
}

/// The name of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventName<'a> {
    /// A text; lone surrogates, which only JavaScript strings can hold, are U+FFFD here.
    Text(Cow<'a, str>),
    /// A number as it was written: legal, and no name that Dormouse knows.
    Number(&'a str),
}

impl<'a> EventName<'a> {
    fn parse(token: &'a str) -> Self {
        json_string(token).map_or(Self::Number(token), Self::Text)
    }
}

/// The data of an ack: a JSON array of its arguments.
///
/// ```
/// use dormouse_protocol::socket::{AckData, Namespace};
///
/// let data = AckData::new().arg("ok")?;
/// assert_eq!(data.frame(&Namespace::ROOT, 7), r#"437["ok"]"#);
/// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AckData<'a> {
    array: Array<'a>,
}

impl<'a> AckData<'a> {
    /// Begins an ack without arguments.
    #[must_use]
    pub fn new() -> AckData<'static> {
        AckData {
            array: Array::empty(),
        }
    }

    /// Adds an argument.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Json`] if the value has no JSON form.
    pub fn arg<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, EncodeError> {
        Ok(self.json_arg(&Json::encode(value)?))
    }

    /// Adds an argument that is already JSON.
    #[must_use]
    pub fn json_arg(mut self, json: &Json<'_>) -> Self {
        self.array.push(json);
        self
    }

    /// Adds arguments that are already JSON, such as the [`args`](EventData::args) of an event.
    #[must_use]
    pub fn json_args<'j>(self, args: impl IntoIterator<Item = Json<'j>>) -> Self {
        args.into_iter().fold(self, |data, json| data.json_arg(&json))
    }

    /// The arguments.
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        self.array.args_from(0)
    }

    /// The argument at `index`, from 0.
    #[must_use]
    pub fn arg_at(&self, index: usize) -> Option<Json<'_>> {
        self.array.element(index).map(Json::known)
    }

    /// The JSON array.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.array.as_str()
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> AckData<'static> {
        AckData {
            array: self.array.into_owned(),
        }
    }

    /// Parses the payload of an ack packet.
    pub(super) fn parse(payload: &'a str, packet_type: PacketType) -> Result<Self, ParseError> {
        Ok(Self {
            array: Array::parse(payload, packet_type)?,
        })
    }
}

impl Default for AckData<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AckData<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("AckData").field(&self.as_str()).finish()
    }
}
