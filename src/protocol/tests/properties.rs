//! What holds for every input: no panic on any text or bytes, and parsing undoes encoding.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use dormouse_protocol::engine::{self, Frame, Open, Transport};
use dormouse_protocol::payload;
use dormouse_protocol::socket::{
    AckData, ConnectErrorPayload, Decoder, EventData, EventName, Json, Kind, MAX_ATTACHMENTS, Namespace,
    Object, Packet, Progress, RESERVED_EVENTS, connect_error_frame, connect_frame,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Any Unicode, or pieces of the wire format put together at random.
fn any_text() -> BoxedStrategy<String> {
    let piece = prop_oneof![
        4 => "[0-9]{1,3}",
        4 => prop::sample::select(vec![
            "-", "/", ",", "[", "]", "{", "}", ":", "\"", "\\", " ", "\n", "b", "=", "true", "null",
            "1.5e3", "\"a\"", "\"a\":", "[\"a\"", "{\"_placeholder\":true,\"num\":0}", "\\u0063",
            "\"\\ud800\"", "\"connect\"", "/chat,", "51-", "\"_placeholder\":true", "\"num\":",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => prop::sample::select(vec!['\0', '\u{1e}', '\u{feff}', '\u{2028}', '\u{1f42d}'])
            .prop_map(String::from),
    ];
    prop_oneof![
        1 => any::<String>(),
        3 => ("[0-9b]?", vec(piece, 0..12)).prop_map(|(first, pieces)| first + &pieces.concat()),
    ]
    .boxed()
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..64)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        any_text().prop_map(Frame::Text),
        any_bytes().prop_map(Frame::Binary)
    ]
}

fn any_namespace() -> impl Strategy<Value = Namespace<'static>> {
    prop_oneof![
        Just(Namespace::ROOT),
        any::<String>().prop_map(|name| { Namespace::new(format!("/{}", name.replace(',', ";"))).unwrap() }),
    ]
}

fn any_json() -> impl Strategy<Value = Json<'static>> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "0",
            "-0",
            "1e999",
            "\"\\ud800\"",
            "{}",
            "[]",
            "\"]}\\\\\"",
            "[ 1 , 2 ]",
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| Json::string(&text).as_str().to_owned()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec((any::<String>(), inner), 0..4).prop_map(|entries| object(&entries)),
        ]
    })
    .prop_map(|text| Json::new(text).unwrap())
}

fn any_object() -> impl Strategy<Value = Object<'static>> {
    vec((any::<String>(), any_json()), 0..4).prop_map(|entries| {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(key, json)| (key, json.as_str().to_owned()))
            .collect();
        Object::new(object(&entries)).unwrap()
    })
}

fn object(entries: &[(String, String)]) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, json)| format!("{}:{json}", Json::string(key).as_str()))
        .collect();
    format!("{{{}}}", entries.join(","))
}

/// Arguments with a placeholder for each attachment.
fn any_args() -> impl Strategy<Value = (Vec<Json<'static>>, Vec<Vec<u8>>)> {
    let attachments = prop_oneof![Just(Vec::new()), vec(any_bytes(), 1..=MAX_ATTACHMENTS)];
    (vec(any_json(), 0..4), attachments).prop_map(|(mut args, attachments)| {
        for num in 0..attachments.len() {
            let placeholder = format!(r#"{{"_placeholder":true,"num":{num}}}"#);
            args.push(Json::new(placeholder).unwrap());
        }
        (args, attachments)
    })
}

fn any_kind() -> impl Strategy<Value = Kind<'static>> {
    let event_name =
        any::<String>().prop_filter("reserved", |name| !RESERVED_EVENTS.contains(&name.as_str()));
    let connect_error = prop_oneof![
        any_object().prop_map(ConnectErrorPayload::Object),
        any::<String>().prop_map(|text| ConnectErrorPayload::String(Json::string(&text))),
    ];
    prop_oneof![
        option::of(any_object()).prop_map(|payload| Kind::Connect { payload }),
        Just(Kind::Disconnect),
        option::of(connect_error).prop_map(|payload| Kind::ConnectError { payload }),
        (option::of(any::<u64>()), option::of(event_name), any_args()).prop_map(
            |(ack_id, name, (args, attachments))| Kind::Event {
                ack_id,
                data: name.map(|name| EventData::new(&name).unwrap().json_args(args)),
                attachments,
            }
        ),
        (option::of(any::<u64>()), any_args()).prop_map(|(ack_id, (args, attachments))| {
            Kind::Ack {
                ack_id,
                data: AckData::new().json_args(args),
                attachments,
            }
        }),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet<'static>> {
    (any_namespace(), any_kind()).prop_map(|(namespace, kind)| Packet { namespace, kind })
}

fn any_engine_packet() -> impl Strategy<Value = engine::Packet<'static>> {
    prop_oneof![
        any::<String>().prop_map(|data| engine::Packet::Open(data.into())),
        Just(engine::Packet::Close),
        any::<String>().prop_map(|data| engine::Packet::Ping(data.into())),
        any::<String>().prop_map(|data| engine::Packet::Pong(data.into())),
        any::<String>().prop_map(|data| engine::Packet::Message(data.into())),
        any_bytes().prop_map(|data| engine::Packet::Binary(data.into())),
        Just(engine::Packet::Upgrade),
        Just(engine::Packet::Noop),
    ]
}

fn parse_frame(frame: &Frame) -> Result<engine::Packet<'_>, engine::ParseError> {
    match frame {
        Frame::Text(text) => engine::Packet::parse_text(text),
        Frame::Binary(data) => Ok(engine::Packet::parse_binary(data)),
    }
}

/// A way for frames: as they are, or all of them as text.
type Way = fn(Frame) -> Frame;

fn any_way() -> impl Strategy<Value = Way> {
    prop::sample::select(vec![
        (|frame| frame) as Way,
        (|frame| Frame::Text(frame.into_text())) as Way,
    ])
}

/// Sends a packet through both layers; returns what the last frame led to.
fn through_the_wire(packet: Packet<'_>, way: Way) -> Option<Packet<'static>> {
    let mut decoder = Decoder::default();
    let mut arrived = None;
    for frame in packet.into_frames() {
        assert_eq!(arrived, None);
        let frame = way(frame);
        let engine_packet = parse_frame(&frame).unwrap();
        let progress = if let engine::Packet::Binary(data) = engine_packet {
            decoder.binary(data).unwrap()
        } else if let engine::Packet::Message(text) = engine_packet {
            decoder.text(&text).unwrap().into_owned()
        } else {
            return None;
        };
        if let Progress::Packet(packet) = progress {
            arrived = Some(packet);
        }
    }
    arrived
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_frame_makes_the_engine_panic(frame in any_frame()) {
        if let Ok(packet) = parse_frame(&frame) {
            let again = packet.clone().into_owned().encode();
            prop_assert_eq!(parse_frame(&again), Ok(packet));
        }
    }

    #[test]
    fn no_text_makes_the_handshake_panic(text in any_text()) {
        if let Ok(open) = Open::parse(&text) {
            let again = open.encode();
            prop_assert_eq!(Open::parse(&again), Ok(open));
        }
    }

    #[test]
    fn no_text_makes_a_payload_panic(text in any_text(), max_packets in 0..20_usize) {
        if let Ok(packets) = payload::parse(&text, max_packets) {
            prop_assert!(packets.count() <= max_packets);
        }
    }

    #[test]
    fn no_messages_make_a_decoder_panic(frames in vec(any_frame(), 0..12), max in 0..20_usize) {
        let mut decoder = Decoder::new(max);
        for frame in &frames {
            let progress = match frame {
                Frame::Text(text) => decoder.text(text),
                Frame::Binary(data) => decoder.binary(data.as_slice()),
            };
            match progress {
                Ok(Progress::NeedAttachments { remaining }) => {
                    prop_assert!(0 < remaining && remaining <= max);
                    prop_assert_eq!(remaining, decoder.attachments_due());
                }
                Ok(Progress::Packet(packet)) => {
                    prop_assert!(packet.attachments().len() <= max);
                    prop_assert_eq!(decoder.attachments_due(), 0);
                }
                Err(error) => prop_assert!(error.to_string().len() < 512),
            }
        }
    }

    #[test]
    fn what_was_parsed_encodes_to_what_parses_the_same(text in any_text()) {
        if let Ok(Progress::Packet(packet)) = Decoder::default().text(&text) {
            prop_assert_eq!(through_the_wire(packet.clone(), |frame| frame), Some(packet));
        }
    }

    #[test]
    fn engine_packets_round_trip(packet in any_engine_packet()) {
        let frame = packet.clone().encode();
        prop_assert_eq!(frame.clone().into_text().len(), frame.text_bytes());
        prop_assert_eq!(parse_frame(&frame), Ok(packet.clone()));
        let text = Frame::Text(frame.into_text());
        prop_assert_eq!(parse_frame(&text), Ok(packet));
    }

    #[test]
    fn handshakes_round_trip(
        sid in any::<String>(),
        upgrades in vec(
            prop::sample::select(vec![Transport::Polling, Transport::Websocket, Transport::Webtransport]),
            0..3,
        ),
        [ping_interval_ms, ping_timeout_ms, max_payload_bytes] in any::<[u64; 3]>(),
    ) {
        let sid = sid.into();
        let open = Open { sid, upgrades, ping_interval_ms, ping_timeout_ms, max_payload_bytes };
        let json = open.encode();
        prop_assert_eq!(Open::parse(&json), Ok(open));
    }

    #[test]
    fn payloads_round_trip_in_as_many_parts_as_it_takes(
        packets in vec(any_engine_packet(), 0..12),
        max_bytes in 0..200_usize,
    ) {
        // A frame with a separator of its own is cut by the receiver.
        let frames: Vec<Frame> = packets
            .into_iter()
            .map(engine::Packet::encode)
            .filter(|frame| !frame.clone().into_text().contains(payload::SEPARATOR))
            .collect();
        let mut waiting = frames.as_slice();
        let mut parsed = Vec::new();
        while !waiting.is_empty() {
            let encoded = payload::encode(waiting, max_bytes);
            prop_assert!(encoded.count > 0);
            prop_assert!(encoded.count == 1 || encoded.payload.len() <= max_bytes);
            for packet in payload::parse(&encoded.payload, encoded.count).unwrap() {
                parsed.push(packet.unwrap().into_owned().encode());
            }
            waiting = waiting.get(encoded.count..).unwrap();
        }
        prop_assert_eq!(parsed, frames);
    }

    #[test]
    fn packets_round_trip(packet in any_packet(), way in any_way()) {
        prop_assert_eq!(through_the_wire(packet.clone(), way), Some(packet));
    }

    #[test]
    fn events_keep_their_name_and_arguments(name in any::<String>(), (args, _) in any_args()) {
        prop_assume!(!RESERVED_EVENTS.contains(&name.as_str()));
        let built = EventData::new(&name).unwrap().json_args(args.clone());
        let message = format!("2{}", built.as_str());
        let Ok(Progress::Packet(Packet { kind: Kind::Event { data: Some(data), .. }, .. })) =
            Decoder::default().text(&message).map(Progress::into_owned)
        else {
            return Err(TestCaseError::fail("is no event"));
        };
        for data in [&built, &data] {
            prop_assert_eq!(data.name(), EventName::Text(name.as_str().into()));
            prop_assert_eq!(data.args().len(), args.len());
            prop_assert_eq!(data.args().collect::<Vec<_>>(), args.clone());
            prop_assert_eq!(data.arg_at(args.len()), None);
        }
    }

    #[test]
    fn strings_are_written_as_serde_json_writes_them(text in any_text()) {
        let json = Json::string(&text);
        prop_assert_eq!(json.as_str(), serde_json::to_string(&text).unwrap());
        prop_assert_eq!(json.parse::<String>().unwrap(), text);
    }

    #[test]
    fn server_frames_parse(
        namespace in any_namespace(),
        sid in any::<String>(),
        message in any::<String>(),
        data in option::of(any_json()),
    ) {
        for frame in [
            connect_frame(&namespace, &sid, Some(&message)),
            connect_error_frame(&namespace, &message, data.as_ref()),
        ] {
            let message = frame.strip_prefix('4').unwrap();
            let Ok(Progress::Packet(packet)) = Decoder::default().text(message) else {
                return Err(TestCaseError::fail(frame));
            };
            prop_assert_eq!(packet.namespace, namespace.clone());
        }
    }
}

/// Runs on a stack that any recursion over the input would overflow.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    const STACK_BYTES: usize = 256 * 1024;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(test).unwrap().join().unwrap();
}

#[test]
fn nesting_does_not_use_the_stack() {
    const DEPTH: usize = 500_000;
    on_a_small_stack(|| {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
            let whole = [
                format!("2[\"a\",{deep}]"),
                format!("31[{deep}]"),
                format!("0{{\"a\":{deep}}}"),
                format!("4{{\"a\":{deep}}}"),
            ];
            for message in whole {
                let progress = Decoder::default().text(&message).unwrap();
                assert!(matches!(progress, Progress::Packet(_)));
            }
            let broken = format!("2[\"a\",{}", open.repeat(DEPTH));
            assert!(Decoder::default().text(&broken).is_err());

            let mut decoder = Decoder::default();
            decoder.text(&format!("51-[\"a\",{deep}]")).unwrap();
            assert!(matches!(decoder.binary([1]), Ok(Progress::Packet(_))));
            assert!(Json::new(deep).unwrap().parse::<serde_json::Value>().is_err());
        }
    });
}

#[test]
fn errors_keep_little_of_what_was_sent() {
    let long = "9".repeat(100_000);
    for message in [
        format!("2{long}[\"a\"]"),
        format!("5{long}-[\"a\"]"),
        format!("5{long}x"),
        format!("2 {long}"),
        format!("0{{\"token\":\"{long}\"}}x"),
        format!("1\"{long}\""),
    ] {
        let error = Decoder::default().text(&message).unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
    }
}
