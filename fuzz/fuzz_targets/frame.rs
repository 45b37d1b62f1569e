//! Engine.IO frames and the Socket.IO packets in them: nothing panics, and what parses survives the wire.

#![no_main]

use arbitrary::Unstructured;
use dormouse_fuzz::{PacketSpec, check_engine_packet, frames, parse_frame, through_the_wire};
use dormouse_protocol::engine::{self, Frame, Open};
use dormouse_protocol::socket::{
    Decoder, EncodeError, EventName, Json, Kind, MAX_ATTACHMENTS, Namespace, Object, Packet, Progress,
    RESERVED_EVENTS,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    match mode % 3 {
        0 => wire(&frames(rest)),
        1 => {
            if let Ok(specs) = Unstructured::new(rest).arbitrary::<Vec<PacketSpec>>() {
                built(&specs);
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(rest) {
                values(text);
            }
        }
    }
});

/// Frames of one connection, whatever they are.
fn wire(frames: &[Frame]) {
    let mut decoder = Decoder::default();
    for frame in frames {
        let packet = match parse_frame(frame) {
            Ok(packet) => packet,
            Err(error) => {
                assert!(error.to_string().len() < 512);
                continue;
            }
        };
        check_engine_packet(&packet);
        // A connection that sleeps between two messages goes on as if it had not.
        let mut woken = woken(&decoder);
        let (progress, other) = match &packet {
            engine::Packet::Open(json) => {
                if let Ok(open) = Open::parse(json) {
                    assert_eq!(Open::parse(&open.encode()), Ok(open));
                }
                continue;
            }
            engine::Packet::Message(text) => (decoder.text(text), woken.text(text)),
            engine::Packet::Binary(data) => (decoder.binary(data.as_ref()), woken.binary(data.as_ref())),
            engine::Packet::Close
            | engine::Packet::Ping(_)
            | engine::Packet::Pong(_)
            | engine::Packet::Upgrade
            | engine::Packet::Noop => continue,
        };
        assert_eq!(progress, other);
        assert_eq!(decoder.half_received(), woken.half_received());
        match progress {
            Ok(Progress::NeedAttachments { remaining }) => {
                assert!(0 < remaining && remaining <= MAX_ATTACHMENTS);
                assert_eq!(remaining, decoder.attachments_due());
            }
            Ok(Progress::Packet(packet)) => {
                assert_eq!(decoder.attachments_due(), 0);
                check_packet(&packet);
            }
            Err(error) => assert!(error.to_string().len() < 512),
        }
    }
}

fn woken(decoder: &Decoder) -> Decoder {
    let mut woken = Decoder::default();
    if let Some(half) = decoder.half_received() {
        woken.text(&half.head).expect("a stored head parses");
        for attachment in half.attachments {
            woken
                .binary(attachment.clone())
                .expect("a stored attachment is due");
        }
    }
    woken
}

fn check_packet(packet: &Packet<'_>) {
    let frames = packet.clone().into_frames();
    assert_eq!(frames.len(), 1 + packet.attachments().len());
    assert_eq!(
        frames.first(),
        Some(&Frame::Text(format!("4{}", packet.encode_head())))
    );
    assert_eq!(through_the_wire(frames).as_ref(), Some(packet));
    assert_eq!(&packet.clone().into_owned(), packet);
    match &packet.kind {
        Kind::Event { data: Some(data), .. } => {
            match data.name() {
                EventName::Text(name) => assert!(!RESERVED_EVENTS.contains(&name.as_ref())),
                EventName::Number(number) => assert!(Json::new(number).is_ok()),
            }
            check_args(data.as_str(), data.args(), |at| data.arg_at(at), 1);
        }
        Kind::Ack { data, .. } => check_args(data.as_str(), data.args(), |at| data.arg_at(at), 0),
        Kind::Event { data: None, .. }
        | Kind::Connect { .. }
        | Kind::Disconnect
        | Kind::ConnectError { .. } => {}
    }
}

/// The elements are those that another reader of JSON finds.
fn check_args<'j>(
    array: &str,
    args: impl ExactSizeIterator<Item = Json<'j>>,
    arg_at: impl Fn(usize) -> Option<Json<'j>>,
    first: usize,
) {
    let elements: Vec<&serde_json::value::RawValue> = serde_json::from_str(array).expect("is an array");
    let elements = &elements[first..];
    assert_eq!(elements.len(), args.len());
    for (at, (element, arg)) in elements.iter().zip(args).enumerate() {
        assert_eq!(element.get(), arg.as_str());
        assert_eq!(arg_at(at).as_ref(), Some(&arg));
    }
    assert_eq!(arg_at(elements.len()), None);
}

/// Packets that can be sent, one after the other.
fn built(specs: &[PacketSpec]) {
    for spec in specs {
        let Some(packet) = spec.packet() else { continue };
        check_packet(&packet);
        let as_text = packet.clone().into_frames().into_iter();
        let as_text = as_text.map(|frame| Frame::Text(frame.into_text())).collect();
        assert_eq!(through_the_wire(as_text), Some(packet));
    }
}

/// The readers of single values.
fn values(text: &str) {
    match Json::new(text) {
        Ok(json) => {
            assert_eq!(Json::new(json.as_str()).ok().as_ref(), Some(&json));
            assert_eq!(Object::new(text).is_ok(), json.as_str().starts_with('{'));
            let _ = json.parse::<serde_json::Value>();
        }
        Err(error) => assert!(matches!(error, EncodeError::Json(_))),
    }
    let quoted = Json::string(text);
    assert_eq!(quoted.as_str(), serde_json::to_string(text).expect("is text"));
    assert_eq!(quoted.parse::<String>().ok().as_deref(), Some(text));
    assert_eq!(
        Namespace::new(text).is_ok(),
        text.starts_with('/') && !text.contains(',')
    );
}
