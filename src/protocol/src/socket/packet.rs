//! One packet, complete with its attachments.

use super::head::{PacketType, Parts};
use super::json::{Json, Object};
use super::{AckData, EventData, Namespace};
use crate::engine::Frame;

/// One Socket.IO packet; its data is borrowed from the message where that is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The part of the server it is for, or comes from.
    pub namespace: Namespace<'a>,
    /// What it says.
    pub kind: Kind<'a>,
}

/// What a packet says.
///
/// Events and acks with attachments are binary packets: their placeholders
/// (`{"_placeholder":true,"num":0}`) stand for `attachments[num]`. Without attachments such an
/// object is data like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `0`: the client asks to join the namespace, or the server says that it did.
    Connect {
        /// The client's credentials, or the server's `sid` and `pid`.
        payload: Option<Object<'a>>,
    },
    /// `1`: the sender leaves the namespace.
    Disconnect,
    /// `2`, with attachments `5`: an event.
    Event {
        /// If the sender wants an ack: its id, counted by the sender.
        ack_id: Option<u64>,
        /// Name and arguments. Absent in a bare packet (`42`), which is legal and says nothing.
        data: Option<EventData<'a>>,
        /// What the placeholders stand for.
        attachments: Vec<Vec<u8>>,
    },
    /// `3`, with attachments `6`: the answer to an event.
    Ack {
        /// The id of the event. Absent in an ack that answers nothing, which is legal and to be
        /// ignored.
        ack_id: Option<u64>,
        /// The arguments; an absent array counts as an empty one.
        data: AckData<'a>,
        /// What the placeholders stand for.
        attachments: Vec<Vec<u8>>,
    },
    /// `4`: the server refuses the namespace.
    ConnectError {
        /// Why.
        payload: Option<ConnectErrorPayload<'a>>,
    },
}

/// Why a namespace is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectErrorPayload<'a> {
    /// `{"message":..,"data":..}`.
    Object(Object<'a>),
    /// A JSON string, as servers of older versions send it.
    String(Json<'a>),
}

impl Packet<'_> {
    /// Encodes the packet as Engine.IO frames: a text frame and, for a binary packet, one frame per
    /// attachment.
    ///
    /// They have to be sent in this order with nothing between them. A receiver takes
    /// [`MAX_ATTACHMENTS`](super::MAX_ATTACHMENTS) by default.
    ///
    /// ```
    /// use dormouse_protocol::engine::Frame;
    /// use dormouse_protocol::socket::{EventData, Json, Kind, Namespace, Packet};
    ///
    /// let placeholder = Json::new(r#"{"_placeholder":true,"num":0}"#)?;
    /// let packet = Packet {
    ///     namespace: Namespace::ROOT,
    ///     kind: Kind::Event {
    ///         ack_id: None,
    ///         data: Some(EventData::new("file")?.json_arg(&placeholder)),
    ///         attachments: vec![vec![1, 2, 3]],
    ///     },
    /// };
    /// assert_eq!(
    ///     packet.into_frames(),
    ///     [
    ///         Frame::Text(r#"451-["file",{"_placeholder":true,"num":0}]"#.to_owned()),
    ///         Frame::Binary(vec![1, 2, 3]),
    ///     ],
    /// );
    /// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
    /// ```
    #[must_use]
    pub fn into_frames(self) -> Vec<Frame> {
        let count = self.attachments().len();
        let mut frames = Vec::with_capacity(1 + count);
        frames.push(Frame::Text(self.parts(count).frame()));
        match self.kind {
            Kind::Event { attachments, .. } | Kind::Ack { attachments, .. } => {
                frames.extend(attachments.into_iter().map(Frame::Binary));
            }
            Kind::Connect { .. } | Kind::Disconnect | Kind::ConnectError { .. } => {}
        }
        frames
    }

    /// Encodes the message, of a binary packet the head: [`into_frames`](Packet::into_frames)
    /// without the Engine.IO type and the attachments.
    #[must_use]
    pub fn encode_head(&self) -> String {
        self.parts(self.attachments().len()).message()
    }

    /// The attachments, none if the packet is not binary.
    #[must_use]
    pub fn attachments(&self) -> &[Vec<u8>] {
        match &self.kind {
            Kind::Event { attachments, .. } | Kind::Ack { attachments, .. } => attachments,
            Kind::Connect { .. } | Kind::Disconnect | Kind::ConnectError { .. } => &[],
        }
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Packet<'static> {
        let kind = match self.kind {
            Kind::Connect { payload } => Kind::Connect {
                payload: payload.map(Object::into_owned),
            },
            Kind::Disconnect => Kind::Disconnect,
            Kind::Event {
                ack_id,
                data,
                attachments,
            } => Kind::Event {
                ack_id,
                data: data.map(EventData::into_owned),
                attachments,
            },
            Kind::Ack {
                ack_id,
                data,
                attachments,
            } => Kind::Ack {
                ack_id,
                data: data.into_owned(),
                attachments,
            },
            Kind::ConnectError { payload } => Kind::ConnectError {
                payload: payload.map(ConnectErrorPayload::into_owned),
            },
        };
        Packet {
            namespace: self.namespace.into_owned(),
            kind,
        }
    }

    /// The parts of the head, if the packet has, or will have, this number of attachments.
    pub(super) fn parts(&self, attachments: usize) -> Parts<'_> {
        let (packet_type, ack_id, json) = match &self.kind {
            Kind::Connect { payload } => (PacketType::Connect, None, payload.as_ref().map(Object::as_str)),
            Kind::Disconnect => (PacketType::Disconnect, None, None),
            Kind::Event { ack_id, data, .. } => {
                (PacketType::Event, *ack_id, data.as_ref().map(EventData::as_str))
            }
            Kind::Ack { ack_id, data, .. } => (PacketType::Ack, *ack_id, Some(data.as_str())),
            Kind::ConnectError { payload } => (
                PacketType::ConnectError,
                None,
                payload.as_ref().map(ConnectErrorPayload::as_str),
            ),
        };
        Parts {
            packet_type: packet_type.with_attachments(attachments),
            attachments,
            namespace: &self.namespace,
            ack_id,
            json: json.unwrap_or_default(),
        }
    }
}

impl ConnectErrorPayload<'_> {
    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Object(object) => object.as_str(),
            Self::String(string) => string.as_str(),
        }
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> ConnectErrorPayload<'static> {
        match self {
            Self::Object(object) => ConnectErrorPayload::Object(object.into_owned()),
            Self::String(string) => ConnectErrorPayload::String(string.into_owned()),
        }
    }
}
