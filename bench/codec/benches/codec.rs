//! The codec beside `socketioxide-parser-common` and `engineioxide-core`, from a frame to what it says and back.
//!
//! Like is compared with like:
//!
//! - Their `decode_str` does not look into the JSON, ours checks all of it and finds the arguments. So `name` is their
//!   decode and `read_event`, which reads the JSON through, beside our parse and `EventData::name`.
//! - Their attachments meet their placeholders in `decode_value` only, ours are checked when the last one comes: in
//!   `name, binary` that is work which theirs have not done yet. So `argument` reads on, up to the typed first
//!   argument, on both sides. (Of the binary event that is its second argument: what is bytes to them is a
//!   placeholder and an attachment to us.)
//! - Each side gets its input in the form that costs it least: theirs a `Str` or `Bytes`, whose clone counts a
//!   reference, ours a slice. Both copy attachments. Both end a `frame` with a text that has the engine's type.
//!
//! Time is the processor's, not the clock's, so that it counts little what else the machine does.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use cpu_time::ThreadTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion as AnyCriterion, criterion_group, criterion_main};
use dormouse_protocol::engine::{self, Frame};
use dormouse_protocol::socket::{Decoder, EventData, EventName, Json, Kind, Namespace, Packet, Progress};
use engineioxide_core::{Packet as TheirEnginePacket, ProtocolVersion, Str};
use serde::{Deserialize, Serialize};
use socketioxide_core::Value;
use socketioxide_core::packet::{Packet as TheirPacket, PacketData};
use socketioxide_core::parser::{Parse, ParseConfig, ParserState};
use socketioxide_parser_common::CommonParser;

type Criterion = AnyCriterion<ProcessorTime>;

/// The time that this thread had a processor.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = ThreadTime;
    type Value = Duration;

    fn start(&self) -> ThreadTime {
        ThreadTime::now()
    }

    fn end(&self, started: ThreadTime) -> Duration {
        started.elapsed()
    }

    fn add(&self, first: &Duration, second: &Duration) -> Duration {
        *first + *second
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

const NAMESPACE: Namespace<'static> = Namespace::from_static("/notifications");
const PLACEHOLDERS: [&str; 2] = [
    r#"{"_placeholder":true,"num":0}"#,
    r#"{"_placeholder":true,"num":1}"#,
];

/// The argument of the small event.
#[derive(Clone, Serialize, Deserialize)]
struct Acknowledge {
    recipient_id: String,
}

/// The argument of the event of 10 KB.
#[derive(Clone, Serialize, Deserialize)]
struct Batch {
    notifications: Vec<Notification>,
    unread_count: u64,
    has_more: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Notification {
    id: String,
    seq: u64,
    title: String,
    content: String,
    content_html: String,
    sender: Option<String>,
    priority: String,
    tags: Vec<String>,
    score: f64,
}

fn acknowledge() -> Acknowledge {
    Acknowledge {
        recipient_id: "470314a0-6846-569f-81e6-a8e84f826fc0".to_owned(),
    }
}

fn batch() -> Batch {
    let notification = |seq: u64| Notification {
        id: format!("01929c3e-0000-7000-8000-{seq:012}"),
        seq,
        title: format!("Order {seq} – paid"),
        content: "Paid by **card** in \"Zürich\".\nThe invoice is attached; reply within 14 days. ".repeat(2),
        content_html: "<p>Paid by <strong>card</strong> in &quot;Zürich&quot;.</p>\n".repeat(2),
        sender: seq.is_multiple_of(2).then(|| "billing".to_owned()),
        priority: "normal".to_owned(),
        tags: vec!["order".to_owned(), "invoice".to_owned()],
        score: 0.25,
    };
    Batch {
        notifications: (0..19).map(notification).collect(),
        unread_count: 19,
        has_more: false,
    }
}

fn attachment() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(1_024).collect()
}

/// An event on the wire: its text frame and its attachments.
struct Wire {
    text: String,
    attachments: Vec<Vec<u8>>,
}

fn wire<T: Serialize>(name: &str, argument: &T) -> Wire {
    let data = EventData::new(name).unwrap().arg(argument).unwrap();
    Wire {
        text: data.frame(&NAMESPACE, Some(12)),
        attachments: Vec::new(),
    }
}

/// Two attachments and an argument between them.
fn binary_wire<T: Serialize>(argument: &T) -> Wire {
    let [first, second] = PLACEHOLDERS;
    let argument = serde_json::to_string(argument).unwrap();
    Wire {
        text: format!(r#"452-/notifications,12["file",{first},{argument},{second}]"#),
        attachments: vec![attachment(), attachment()],
    }
}

/// Our parse, from the frames to the packet; `read` says what is wanted of it.
fn parse<R>(wire: &Wire, read: impl Fn(&EventData<'_>, &[Vec<u8>]) -> R) -> R {
    let mut decoder = Decoder::default();
    let Ok(engine::Packet::Message(text)) = engine::Packet::parse_text(&wire.text) else {
        panic!("is no message");
    };
    let mut progress = decoder.text(&text).unwrap();
    for attachment in &wire.attachments {
        let engine::Packet::Binary(data) = engine::Packet::parse_binary(attachment) else {
            panic!("is not binary");
        };
        progress = decoder.binary(data.as_ref()).unwrap();
    }
    let Progress::Packet(Packet {
        kind: Kind::Event {
            data: Some(data),
            attachments,
            ..
        },
        ..
    }) = progress
    else {
        panic!("is no event");
    };
    read(&data, &attachments)
}

/// The same of theirs.
fn parse_theirs<R>(text: &Str, attachments: &[Bytes], read: impl Fn(&mut Value) -> R) -> R {
    let (config, state) = (ParseConfig::default(), ParserState::default());
    let packet = TheirEnginePacket::parse(ProtocolVersion::V4, text.clone()).unwrap();
    let mut decoded = CommonParser.decode_str(&config, &state, packet.into_message());
    for attachment in attachments {
        decoded = CommonParser.decode_bin(&config, &state, attachment.clone());
    }
    let (PacketData::Event(mut value, _) | PacketData::BinaryEvent(mut value, _)) = decoded.unwrap().inner
    else {
        panic!("is no event");
    };
    read(&mut value)
}

fn name_of(data: &EventData<'_>) -> usize {
    match data.name() {
        EventName::Text(name) => name.len(),
        EventName::Number(_) => 0,
    }
}

/// From the frame to the name of the event.
fn name(criterion: &mut Criterion) {
    for (case, wire) in [
        ("small", wire("notification:acknowledge", &acknowledge())),
        ("10 KB", wire("notification:batch", &batch())),
        ("binary", binary_wire(&acknowledge())),
        ("binary 10 KB", binary_wire(&batch())),
    ] {
        let mut group = criterion.benchmark_group(format!("name, {case}"));
        group.bench_function("ours", |bencher| {
            bencher.iter(|| {
                parse(black_box(&wire), |data, attachments| {
                    name_of(data) + attachments.len()
                })
            });
        });
        let (text, attachments) = theirs(&wire);
        group.bench_function("theirs", |bencher| {
            bencher.iter(|| {
                parse_theirs(black_box(&text), &attachments, |value| {
                    CommonParser.read_event(value).unwrap().len()
                })
            });
        });
    }
}

fn theirs(wire: &Wire) -> (Str, Vec<Bytes>) {
    let attachments = wire.attachments.iter().cloned().map(Bytes::from);
    (Str::from(wire.text.clone()), attachments.collect())
}

/// From the frame to the name and the argument.
fn argument(criterion: &mut Criterion) {
    read_argument::<Acknowledge>(
        criterion,
        "small",
        &wire("notification:acknowledge", &acknowledge()),
    );
    read_argument::<Batch>(criterion, "10 KB", &wire("notification:batch", &batch()));

    read_second::<Acknowledge>(criterion, "binary", &binary_wire(&acknowledge()), |argument| {
        argument.recipient_id.len()
    });
    read_second::<Batch>(criterion, "binary 10 KB", &binary_wire(&batch()), |argument| {
        argument.notifications.len()
    });
}

/// The argument between two attachments.
fn read_second<T: for<'de> Deserialize<'de>>(
    criterion: &mut Criterion,
    case: &str,
    wire: &Wire,
    size: impl Fn(&T) -> usize,
) {
    let mut group = criterion.benchmark_group(format!("argument, {case}"));
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            parse(black_box(wire), |data, attachments| {
                let argument: T = data.arg_at(1).unwrap().parse().unwrap();
                name_of(data) + size(&argument) + attachments.len()
            })
        });
    });
    let (text, attachments) = theirs(wire);
    group.bench_function("theirs", |bencher| {
        bencher.iter(|| {
            parse_theirs(black_box(&text), &attachments, |value| {
                let name = CommonParser.read_event(value).unwrap().len();
                let (first, argument, second): (Bytes, T, Bytes) =
                    CommonParser.decode_value(value, true).unwrap();
                name + first.len() + size(&argument) + second.len()
            })
        });
    });
}

fn read_argument<T: for<'de> Deserialize<'de>>(criterion: &mut Criterion, case: &str, wire: &Wire) {
    let mut group = criterion.benchmark_group(format!("argument, {case}"));
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            parse(black_box(wire), |data, _| {
                (name_of(data), data.arg_at(0).unwrap().parse::<T>().unwrap())
            })
        });
    });
    let (text, attachments) = theirs(wire);
    group.bench_function("theirs", |bencher| {
        bencher.iter(|| {
            parse_theirs(black_box(&text), &attachments, |value| {
                let name = CommonParser.read_event(value).unwrap().len();
                (name, CommonParser.decode_value::<T>(value, true).unwrap())
            })
        });
    });
}

/// From a value to the frame.
fn frame(criterion: &mut Criterion) {
    write_frame(criterion, "small", "notification:acknowledge", &acknowledge());
    write_frame(criterion, "10 KB", "notification:batch", &batch());

    let attachments = [attachment(), attachment()];
    let placeholders = PLACEHOLDERS.map(|placeholder| Json::new(placeholder).unwrap());
    let mut group = criterion.benchmark_group("frame, binary");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let [first, second] = &placeholders;
            let data = EventData::new("file").unwrap();
            let data = data
                .json_arg(first)
                .arg(black_box(&acknowledge()))
                .unwrap()
                .json_arg(second);
            let kind = Kind::Event {
                ack_id: None,
                data: Some(data),
                attachments: black_box(&attachments).to_vec(),
            };
            let namespace = NAMESPACE;
            Packet { namespace, kind }.into_frames()
        });
    });
    let bytes = attachments
        .each_ref()
        .map(|attachment| Bytes::from(attachment.clone()));
    group.bench_function("theirs", |bencher| {
        bencher.iter(|| {
            let [first, second] = black_box(&bytes);
            let value = CommonParser.encode_value(&(first, black_box(&acknowledge()), second), Some("file"));
            their_frames(value.unwrap())
        });
    });
}

fn write_frame<T: Serialize>(criterion: &mut Criterion, case: &str, name: &str, argument: &T) {
    let mut group = criterion.benchmark_group(format!("frame, {case}"));
    group.bench_function("ours", |bencher| {
        bencher.iter(|| {
            let data = EventData::new(name).unwrap().arg(black_box(argument)).unwrap();
            data.frame(&NAMESPACE, None)
        });
    });
    group.bench_function("theirs", |bencher| {
        bencher.iter(|| {
            their_frames(
                CommonParser
                    .encode_value(black_box(argument), Some(name))
                    .unwrap(),
            )
        });
    });
}

fn their_frames(value: Value) -> (String, Option<std::collections::VecDeque<Bytes>>) {
    let packet = TheirPacket::event("/notifications", value);
    let Value::Str(text, attachments) = CommonParser.encode(packet) else {
        panic!("is no text");
    };
    (String::from(TheirEnginePacket::Message(text)), attachments)
}

/// Binary messages on a transport that has text only.
fn base64(criterion: &mut Criterion) {
    let data: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
    let frame = Frame::Binary(data.clone()).into_text();
    let mut group = criterion.benchmark_group("base64, parse");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| engine::Packet::parse_text(black_box(&frame)).unwrap());
    });
    let text = Str::from(frame.clone());
    group.bench_function("theirs", |bencher| {
        bencher.iter(|| TheirEnginePacket::parse(ProtocolVersion::V4, black_box(&text).clone()).unwrap());
    });
    drop(group);
    let mut group = criterion.benchmark_group("base64, encode");
    group.bench_function("ours", |bencher| {
        bencher.iter(|| Frame::Binary(black_box(&data).clone()).into_text());
    });
    let bytes = Bytes::from(data.clone());
    group.bench_function("theirs", |bencher| {
        bencher.iter(|| {
            String::from(TheirEnginePacket::Binary(Bytes::copy_from_slice(black_box(
                &bytes,
            ))))
        });
    });
}

criterion_group! {
    name = codec;
    config = AnyCriterion::default()
        .with_measurement(ProcessorTime)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(60);
    targets = name, argument, frame, base64
}
criterion_main!(codec);
