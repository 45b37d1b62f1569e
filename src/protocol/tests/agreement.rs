//! The codec beside `socketioxide-parser-common`: what both accept says the same to both.
//!
//! It is another reading of the protocol, not the reference. Where the two differ in what they accept, the reference
//! decides; [`KNOWN_DIFFERENCES`] lists those places. Names are read with its `read_event`, which its `decode_str`
//! leaves to the caller.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use dormouse_protocol::engine::Frame;
use dormouse_protocol::socket::{
    AckData, Decoder, EventData, EventName, Json, Kind, MAX_ATTACHMENTS, Namespace, Packet, Progress,
    RESERVED_EVENTS,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use socketioxide_core::packet::PacketData;
use socketioxide_core::parser::{Parse, ParseError, ParserState};
use socketioxide_core::{Str, Value};
use socketioxide_parser_common::CommonParser;

/// What a packet says, as far as both tell.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    kind: &'static str,
    namespace: String,
    ack_id: Option<u64>,
    name: Option<String>,
    attachments: Vec<Vec<u8>>,
}

/// Our reading of a message and its attachments; `None` when it is refused or not complete.
fn ours(messages: &[Frame]) -> Option<Facts> {
    let mut decoder = Decoder::default();
    let mut arrived = None;
    for message in messages {
        let progress = match message {
            Frame::Text(text) => decoder.text(text),
            Frame::Binary(data) => decoder.binary(data.as_slice()),
        };
        arrived = match progress.ok()? {
            Progress::Packet(packet) => Some(packet.into_owned()),
            Progress::NeedAttachments { .. } => None,
        };
    }
    let Packet { namespace, kind } = arrived?;
    let (kind, ack_id, name, attachments) = match kind {
        Kind::Connect { .. } => ("connect", None, None, Vec::new()),
        Kind::Disconnect => ("disconnect", None, None, Vec::new()),
        Kind::ConnectError { .. } => ("connect error", None, None, Vec::new()),
        Kind::Event {
            ack_id,
            data,
            attachments,
        } => {
            let name = data.map(|data| match data.name() {
                EventName::Text(name) => name.into_owned(),
                EventName::Number(number) => number.to_owned(),
            });
            ("event", ack_id, name, attachments)
        }
        Kind::Ack {
            ack_id, attachments, ..
        } => ("ack", ack_id, None, attachments),
    };
    Some(Facts {
        kind,
        namespace: namespace.as_str().to_owned(),
        ack_id,
        name,
        attachments,
    })
}

/// Their reading of the same.
fn theirs(messages: &[Frame]) -> Option<Facts> {
    let state = ParserState::default();
    let mut arrived = None;
    for message in messages {
        let decoded = match message {
            Frame::Text(text) => CommonParser.decode_str(&state, Str::from(text.clone())),
            Frame::Binary(data) => CommonParser.decode_bin(&state, data.clone().into()),
        };
        arrived = match decoded {
            Ok(packet) => Some(packet),
            Err(ParseError::NeedsMoreBinaryData) => None,
            Err(_) => return None,
        };
    }
    let packet = arrived?;
    let named = |data: &Value| Some(CommonParser.read_event(data).ok()?.to_owned());
    let (kind, ack_id, name, data) = match packet.inner {
        PacketData::Connect(_) => ("connect", None, None, None),
        PacketData::Disconnect => ("disconnect", None, None, None),
        PacketData::ConnectError(_) => ("connect error", None, None, None),
        PacketData::Event(data, ack_id) | PacketData::BinaryEvent(data, ack_id) => {
            ("event", ack_id, Some(named(&data)?), Some(data))
        }
        PacketData::EventAck(data, ack_id) | PacketData::BinaryAck(data, ack_id) => {
            ("ack", Some(ack_id), None, Some(data))
        }
    };
    let attachments = match data {
        Some(Value::Str(_, Some(attachments))) => attachments.into_iter().map(Vec::from).collect(),
        Some(Value::Str(_, None) | Value::Bytes(_)) | None => Vec::new(),
    };
    Some(Facts {
        kind,
        namespace: packet.ns.as_str().to_owned(),
        ack_id: ack_id.map(|id| u64::try_from(id).unwrap()),
        name,
        attachments,
    })
}

/// A message that one of the two refuses, and why that is right.
struct Difference {
    message: &'static str,
    /// Who accepts it.
    accepted: Accepted,
    #[expect(dead_code, reason = "for who reads the table")]
    why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    ByUs,
    ByThem,
}

/// Where the two differ in what they accept.
const KNOWN_DIFFERENCES: &[Difference] = &[
    Difference {
        message: "4{\"message\":\"m\"}",
        accepted: Accepted::ByUs,
        why: "they are a server, which gets no CONNECT_ERROR; who is connected to one does",
    },
    Difference {
        message: "2",
        accepted: Accepted::ByUs,
        why: "a bare event is legal in the reference and says nothing",
    },
    Difference {
        message: "3[]",
        accepted: Accepted::ByUs,
        why: "an ack without an id is legal in the reference and answers nothing",
    },
    Difference {
        message: "2[7]",
        accepted: Accepted::ByUs,
        why: "a number is a legal name in the reference",
    },
    Difference {
        message: "2[\"\\u0061\"]",
        accepted: Accepted::ByUs,
        why: "they read names without escapes only",
    },
    Difference {
        message: "2[\"connect\"]",
        accepted: Accepted::ByThem,
        why: "the name is reserved",
    },
    Difference {
        message: "2[\"a\"]x",
        accepted: Accepted::ByThem,
        why: "read_event does not look behind the array",
    },
    Difference {
        message: "31[",
        accepted: Accepted::ByThem,
        why: "nothing of theirs reads an ack before its arguments are wanted",
    },
    Difference {
        message: "0[",
        accepted: Accepted::ByThem,
        why: "nothing of theirs reads what CONNECT carries before it is wanted",
    },
    Difference {
        message: "1{}",
        accepted: Accepted::ByThem,
        why: "the reference refuses a DISCONNECT with a payload",
    },
    Difference {
        message: "2 [\"a\"]",
        accepted: Accepted::ByThem,
        why: "the reference takes white space there for an ack id",
    },
    Difference {
        message: "50-[\"a\"]",
        accepted: Accepted::ByThem,
        why: "the reference refuses a binary packet without attachments",
    },
    Difference {
        message: "218446744073709551616[\"a\"]",
        accepted: Accepted::ByThem,
        why: "an id over 64 bits is no id to them; whoever waits for that ack waits for ever",
    },
];

#[test]
fn differences_are_those_that_are_known() {
    for difference in KNOWN_DIFFERENCES {
        let message = [Frame::Text(difference.message.to_owned())];
        let accepted = match (ours(&message), theirs(&message)) {
            (Some(_), None) => Accepted::ByUs,
            (None, Some(_)) => Accepted::ByThem,
            both => unreachable!("{}: {both:?}", difference.message),
        };
        assert_eq!(accepted, difference.accepted, "{}", difference.message);
    }
}

/// An id above 2^63 is none to them; all else that both accept is the same to both.
fn check_agreement(messages: &[Frame]) -> Result<(), TestCaseError> {
    if let (Some(mut ours), Some(theirs)) = (ours(messages), theirs(messages)) {
        ours.ack_id = ours.ack_id.filter(|id| i64::try_from(*id).is_ok());
        prop_assert_eq!(ours, theirs);
    }
    Ok(())
}

/// A message whose parts are mostly legal and mostly in place.
fn any_message() -> impl Strategy<Value = String> {
    let head = prop_oneof![
        6 => "2",
        3 => "3",
        1 => "[0-7]",
        3 => "[56](1|2|002)-",
        1 => "[56][0-9]{0,2}-?",
    ];
    let namespace = "(/chat,)?|(/[a-z?é,]{0,4},)?|(/[a-z?é,]{0,4})?";
    let ack_id = prop_oneof![
        6 => "[0-9]{0,3}",
        1 => any::<u64>().prop_map(|id| id.to_string()),
        1 => "[0-9 ]{0,22}",
    ];
    let item = r#""[a-zé]{0,4}"|\{"a":1\}|\[\]|[0-9]{1,3}|null|true|\{"_placeholder":true,"num":0\}"#;
    let payload = prop_oneof![
        6 => ("[a-zé用 ]{0,6}", vec(item, 0..4)).prop_map(|(name, items)| {
            let name = format!("\"{name}\"");
            let elements: Vec<_> = std::iter::once(name).chain(items).collect();
            format!("[{}]", elements.join(","))
        }),
        1 => ("[a-zé\"\\\\]{0,4}", "[0-9a-z,\\[\\]{}\":]{0,8}")
            .prop_map(|(name, rest)| format!("[\"{name}\"{rest}]")),
        1 => r#"\{"token":"[a-z]{0,3}"\}|"#,
        1 => any::<String>(),
    ];
    (head, namespace, ack_id, payload)
        .prop_map(|(head, namespace, ack_id, payload)| format!("{head}{namespace}{ack_id}{payload}"))
}

/// A packet that both can read.
fn any_packet() -> impl Strategy<Value = Packet<'static>> {
    let namespace = prop_oneof![Just("/".to_owned()), "/[a-zé/]{1,8}"];
    // Without characters that JSON escapes.
    let name =
        "[ !#-\\[\\]-~é用]{0,12}".prop_filter("reserved", |name| !RESERVED_EVENTS.contains(&name.as_str()));
    let args = vec(any::<String>().prop_map(|text| Json::string(&text)), 0..4);
    let attachments = vec(vec(any::<u8>(), 0..16), 0..=MAX_ATTACHMENTS);
    let ack_id = option::of(0..=u64::MAX / 2);
    (namespace, option::of(name), args, attachments, ack_id).prop_map(
        |(namespace, name, args, attachments, ack_id)| {
            let placeholders = (0..attachments.len())
                .map(|num| Json::new(format!(r#"{{"_placeholder":true,"num":{num}}}"#)).unwrap());
            let args = args.into_iter().chain(placeholders);
            let kind = match name {
                Some(name) => Kind::Event {
                    ack_id,
                    data: Some(EventData::new(&name).unwrap().json_args(args)),
                    attachments,
                },
                None => Kind::Ack {
                    ack_id: ack_id.or(Some(0)),
                    data: AckData::new().json_args(args),
                    attachments,
                },
            };
            let namespace = Namespace::new(namespace).unwrap();
            Packet { namespace, kind }
        },
    )
}

/// The messages of a packet, without the type of the engine.
fn messages(packet: Packet<'_>) -> Vec<Frame> {
    let head = Frame::Text(packet.encode_head());
    let attachments = packet.into_frames().into_iter().skip(1);
    std::iter::once(head).chain(attachments).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_both_accept_says_the_same_to_both(
        message in any_message(),
        attachments in vec(vec(any::<u8>(), 0..8), 0..3),
    ) {
        let messages: Vec<Frame> = std::iter::once(Frame::Text(message))
            .chain(attachments.into_iter().map(Frame::Binary))
            .collect();
        for count in 1..=messages.len() {
            check_agreement(messages.get(..count).unwrap())?;
        }
    }

    #[test]
    fn what_we_send_they_read(packet in any_packet()) {
        let messages = messages(packet);
        let read = ours(&messages);
        prop_assert!(read.is_some());
        prop_assert_eq!(read, theirs(&messages));
    }
}
