//! What the fuzz targets share: how raw input becomes frames, and structures that libFuzzer grows.
//!
//! A target reads its input in one of several ways, which the first byte chooses. Raw input reaches what is wrong
//! with the bytes; structures reach what is wrong with well-formed packets.

pub mod body;

use std::fmt;

use arbitrary::Arbitrary;
use dormouse_domain::token_key::{Algorithm, TokenKey};
use dormouse_domain::token_keys::{Issuer, Terms, TokenKeys};
use dormouse_protocol::engine::{self, Frame};
use dormouse_protocol::socket::{
    AckData, ConnectErrorPayload, Decoder, EventData, Json, Kind, MAX_ATTACHMENTS, Namespace, Object, Packet,
    Progress, RESERVED_EVENTS,
};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Stands between two frames of raw input; no UTF-8 text holds it.
const SEPARATOR: u8 = 0xff;

/// Begins a binary frame of raw input; no UTF-8 text holds it.
const BINARY: u8 = 0xfe;

/// What tokens are held against that are signed with this secret by HS256.
#[must_use]
pub fn keys_of(secret: &[u8]) -> TokenKeys {
    let issuer = Issuer {
        secret: Some(TokenKey::of_secret(Algorithm::Hs256, secret)),
        ..Issuer::default()
    };
    TokenKeys::new(vec![issuer], Terms::default())
}

/// Cuts raw input into frames: text where it is UTF-8, else binary.
#[must_use]
pub fn frames(data: &[u8]) -> Vec<Frame> {
    let frame = |part: &[u8]| match (part.split_first(), std::str::from_utf8(part)) {
        (Some((&BINARY, bytes)), _) => Frame::Binary(bytes.to_vec()),
        (_, Ok(text)) => Frame::Text(text.to_owned()),
        (_, Err(_)) => Frame::Binary(part.to_vec()),
    };
    data.split(|byte| *byte == SEPARATOR).map(frame).collect()
}

/// Parses a frame as its transport does.
pub fn parse_frame(frame: &Frame) -> Result<engine::Packet<'_>, engine::ParseError> {
    match frame {
        Frame::Text(text) => engine::Packet::parse_text(text),
        Frame::Binary(data) => Ok(engine::Packet::parse_binary(data)),
    }
}

/// Checks that an engine packet survives both ways over the wire.
pub fn check_engine_packet(packet: &engine::Packet<'_>) {
    let frame = packet.clone().into_owned().encode();
    assert_eq!(parse_frame(&frame).as_ref(), Ok(packet));
    let bytes = frame.text_bytes();
    let text = frame.into_text();
    assert_eq!(text.len(), bytes);
    assert_eq!(engine::Packet::parse_text(&text).as_ref(), Ok(packet));
}

/// Sends frames through both layers; what the last one led to.
#[must_use]
pub fn through_the_wire(frames: Vec<Frame>) -> Option<Packet<'static>> {
    let mut decoder = Decoder::default();
    let mut arrived = None;
    for frame in frames {
        assert_eq!(arrived, None, "a packet is complete before its last frame");
        let progress = match parse_frame(&frame).expect("an encoded frame parses") {
            engine::Packet::Message(text) => decoder
                .text(&text)
                .expect("an encoded packet parses")
                .into_owned(),
            engine::Packet::Binary(data) => decoder.binary(data).expect("an encoded attachment is due"),
            other => panic!("{other:?} is no part of a packet"),
        };
        if let Progress::Packet(packet) = progress {
            arrived = Some(packet);
        }
    }
    arrived
}

/// The members of a JSON object, in order and with those given twice.
pub fn members(json: &str) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    let members = deserializer.deserialize_map(Members)?;
    deserializer.end()?;
    Ok(members)
}

/// The elements of a JSON list.
pub fn elements(json: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    serde_json::from_str(json)
}

/// Any JSON value.
#[derive(Arbitrary, Clone, Debug)]
pub enum Tree {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Odd(Odd),
    Placeholder(u8),
    Array(Vec<Tree>),
    Object(Vec<(Key, Tree)>),
}

/// JSON that no Rust type writes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Odd {
    NegativeZero,
    Huge,
    LoneSurrogate,
    EscapedText,
    Spaced,
}

/// A key of an object; some mean something to someone.
#[derive(Arbitrary, Clone, Debug)]
pub enum Key {
    Placeholder,
    EscapedPlaceholder,
    Num,
    Any(String),
}

impl Tree {
    #[must_use]
    pub fn json(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => serde_json::Value::from(*value).to_string(),
            Self::Text(text) => Json::string(text).as_str().to_owned(),
            Self::Odd(odd) => odd.json().to_owned(),
            Self::Placeholder(num) => placeholder(usize::from(*num)),
            Self::Array(items) => {
                let items: Vec<_> = items.iter().map(Self::json).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(entries) => object(entries),
        }
    }
}

impl Odd {
    const fn json(self) -> &'static str {
        match self {
            Self::NegativeZero => "-0",
            Self::Huge => "1e999",
            Self::LoneSurrogate => "\"\\ud800\"",
            Self::EscapedText => "\"\\u005f\\\"\\/]}\"",
            Self::Spaced => "[ {\n\"a\" :\t1 } , 2\r]",
        }
    }
}

impl Key {
    fn json(&self) -> String {
        match self {
            Self::Placeholder => "\"_placeholder\"".to_owned(),
            Self::EscapedPlaceholder => "\"\\u005fplaceholder\"".to_owned(),
            Self::Num => "\"num\"".to_owned(),
            Self::Any(text) => Json::string(text).as_str().to_owned(),
        }
    }
}

/// The JSON object of these entries.
#[must_use]
pub fn object(entries: &[(Key, Tree)]) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| format!("{}:{}", key.json(), value.json()))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn placeholder(num: usize) -> String {
    format!(r#"{{"_placeholder":true,"num":{num}}}"#)
}

/// Any packet that can be sent.
#[derive(Arbitrary, Clone, Debug)]
pub struct PacketSpec {
    pub namespace: NamespaceSpec,
    pub kind: KindSpec,
}

/// A namespace: mostly one there is.
#[derive(Arbitrary, Clone, Debug)]
pub enum NamespaceSpec {
    Root,
    Notifications,
    Any(String),
}

/// What a packet says.
#[derive(Arbitrary, Clone, Debug)]
pub enum KindSpec {
    Connect(Option<Vec<(Key, Tree)>>),
    Disconnect,
    Event {
        ack_id: Option<u64>,
        name: NameSpec,
        args: Vec<Tree>,
        attachments: Vec<Vec<u8>>,
    },
    BareEvent(Option<u64>),
    Ack {
        ack_id: Option<u64>,
        args: Vec<Tree>,
        attachments: Vec<Vec<u8>>,
    },
    ConnectError(Option<Vec<(Key, Tree)>>),
    ConnectErrorText(String),
}

/// The name of an event that marks one notification.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkName {
    Read,
    Unread,
    Archive,
    Unarchive,
    Delete,
}

/// The name of an event: mostly one there is.
#[derive(Arbitrary, Clone, Debug)]
pub enum NameSpec {
    Acknowledge,
    Mark(MarkName),
    ReadAll,
    Seen,
    Join,
    Ping,
    Any(String),
}

impl NamespaceSpec {
    #[must_use]
    pub fn namespace(&self) -> Namespace<'static> {
        let name = match self {
            Self::Root => "/".to_owned(),
            Self::Notifications => "/notifications".to_owned(),
            Self::Any(text) => format!("/{}", text.replace(',', ";")),
        };
        Namespace::new(name).expect("begins with / and has no comma")
    }
}

impl MarkName {
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Read => "mark:read",
            Self::Unread => "mark:unread",
            Self::Archive => "notification:archive",
            Self::Unarchive => "notification:unarchive",
            Self::Delete => "notification:delete",
        }
    }
}

impl NameSpec {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Acknowledge => "notification:acknowledge",
            Self::Mark(mark) => mark.event(),
            Self::ReadAll => "mark:all:read",
            Self::Seen => "mark:seen",
            Self::Join => "join",
            Self::Ping => "ping",
            Self::Any(text) => text,
        }
    }
}

impl PacketSpec {
    /// The packet; `None` for an event whose name is reserved.
    #[must_use]
    pub fn packet(&self) -> Option<Packet<'static>> {
        Some(Packet {
            namespace: self.namespace.namespace(),
            kind: self.kind.kind()?,
        })
    }
}

impl KindSpec {
    fn kind(&self) -> Option<Kind<'static>> {
        let payload = |entries: &Vec<(Key, Tree)>| Object::new(object(entries)).expect("is an object");
        Some(match self {
            Self::Connect(entries) => Kind::Connect {
                payload: entries.as_ref().map(payload),
            },
            Self::Disconnect => Kind::Disconnect,
            Self::Event {
                ack_id,
                name,
                args,
                attachments,
            } => {
                let attachments = few(attachments);
                Kind::Event {
                    ack_id: *ack_id,
                    data: Some(event(name.name())?.json_args(jsons(args, attachments.len()))),
                    attachments,
                }
            }
            Self::BareEvent(ack_id) => Kind::Event {
                ack_id: *ack_id,
                data: None,
                attachments: Vec::new(),
            },
            Self::Ack {
                ack_id,
                args,
                attachments,
            } => {
                let attachments = few(attachments);
                Kind::Ack {
                    ack_id: *ack_id,
                    data: AckData::new().json_args(jsons(args, attachments.len())),
                    attachments,
                }
            }
            Self::ConnectError(entries) => Kind::ConnectError {
                payload: entries.as_ref().map(payload).map(ConnectErrorPayload::Object),
            },
            Self::ConnectErrorText(text) => Kind::ConnectError {
                payload: Some(ConnectErrorPayload::String(Json::string(text))),
            },
        })
    }
}

/// The event of this name; `None` exactly when it is reserved.
fn event(name: &str) -> Option<EventData<'static>> {
    let event = EventData::new(name);
    assert_eq!(event.is_err(), RESERVED_EVENTS.contains(&name));
    event.ok()
}

fn few(attachments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    attachments.iter().take(MAX_ATTACHMENTS).cloned().collect()
}

/// The arguments, then a placeholder for each attachment. Placeholders among the arguments name attachments there
/// are, where there are any: others are refused by the receiver, as they have to be.
fn jsons(args: &[Tree], attachments: usize) -> Vec<Json<'static>> {
    let args = args.iter().map(|arg| {
        let mut arg = arg.clone();
        if attachments > 0 {
            legalize(&mut arg, attachments);
        }
        arg.json()
    });
    args.chain((0..attachments).map(placeholder))
        .map(|json| Json::new(json).expect("is JSON"))
        .collect()
}

fn legalize(tree: &mut Tree, attachments: usize) {
    match tree {
        Tree::Placeholder(num) => *num = u8::try_from(usize::from(*num) % attachments).unwrap_or(0),
        Tree::Array(items) => items.iter_mut().for_each(|item| legalize(item, attachments)),
        Tree::Object(entries) => {
            entries.retain(|(key, _)| matches!(key, Key::Num | Key::Any(_)));
            entries.retain(|(key, _)| !matches!(key, Key::Any(text) if text == "_placeholder"));
            for (_, value) in entries {
                legalize(value, attachments);
            }
        }
        Tree::Null | Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Text(_) | Tree::Odd(_) => {}
    }
}
