//! Engine.IO frames and handshakes.

use dormouse_protocol::engine::{self, Frame, Open, Transport};
use serde::Deserialize;

use super::{Wire, bytes, check, same};

#[derive(Deserialize)]
struct Vectors {
    packets: Vec<PacketRow>,
    base64: Vec<PacketRow>,
    refused: Vec<RefusedRow>,
    open: Vec<OpenRow>,
}

#[derive(Deserialize)]
struct PacketRow {
    name: String,
    wire: Wire,
    packet: PacketVector,
    #[serde(default)]
    one_way: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "type", content = "data")]
pub(super) enum PacketVector {
    Open(String),
    Close,
    Ping(String),
    Pong(String),
    Message(String),
    Binary(String),
    Upgrade,
    Noop,
}

impl PacketVector {
    pub(super) fn packet(&self) -> engine::Packet<'_> {
        match self {
            Self::Open(data) => engine::Packet::Open(data.into()),
            Self::Close => engine::Packet::Close,
            Self::Ping(data) => engine::Packet::Ping(data.into()),
            Self::Pong(data) => engine::Packet::Pong(data.into()),
            Self::Message(data) => engine::Packet::Message(data.into()),
            Self::Binary(data) => engine::Packet::Binary(bytes(data).into()),
            Self::Upgrade => engine::Packet::Upgrade,
            Self::Noop => engine::Packet::Noop,
        }
    }
}

#[derive(Deserialize)]
struct RefusedRow {
    name: String,
    wire: String,
    error: String,
}

#[derive(Deserialize)]
struct OpenRow {
    name: String,
    wire: String,
    open: Option<OpenVector>,
    error: Option<String>,
    #[serde(default)]
    one_way: bool,
}

#[derive(Deserialize)]
struct OpenVector {
    sid: String,
    upgrades: Vec<String>,
    ping_interval_ms: u64,
    ping_timeout_ms: u64,
    max_payload_bytes: u64,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../tests/vectors/engine.json")).unwrap()
}

pub(super) fn kind(error: &engine::ParseError) -> &'static str {
    match error {
        engine::ParseError::Empty => "empty",
        engine::ParseError::UnknownType(_) => "unknown_type",
        engine::ParseError::Open { .. } => "open",
        engine::ParseError::UnknownTransport(_) => "unknown_transport",
    }
}

fn parse(wire: &Frame) -> Result<engine::Packet<'_>, String> {
    match wire {
        Frame::Text(text) => engine::Packet::parse_text(text).map_err(|error| kind(&error).to_owned()),
        Frame::Binary(data) => Ok(engine::Packet::parse_binary(data)),
    }
}

fn check_both_ways(rows: &[PacketRow], on_the_way: impl Fn(Frame) -> Frame) {
    check(
        rows,
        |row| &row.name,
        |row| {
            let wire = row.wire.frame();
            let packet = row.packet.packet();
            same("packet", &parse(&wire)?, &packet)?;
            same("owned packet", &packet.clone().into_owned(), &row.packet.packet())?;
            let encoded = on_the_way(packet.encode());
            match row.one_way {
                false => same("frame", &encoded, &wire),
                true if encoded == wire => Err("is canonical".to_owned()),
                true => Ok(()),
            }
        },
    );
}

#[test]
fn frames_parse_to_packets_and_packets_encode_to_frames() {
    check_both_ways(&vectors().packets, |frame| frame);
}

#[test]
fn base64_frames_parse_to_binary_packets_and_back() {
    check_both_ways(&vectors().base64, |frame| Frame::Text(frame.into_text()));
}

#[test]
fn frames_that_are_no_packet_are_refused() {
    check(
        &vectors().refused,
        |row| &row.name,
        |row| {
            let wire = Frame::Text(row.wire.clone());
            same("outcome", &parse(&wire), &Err(row.error.clone()))
        },
    );
}

#[test]
fn handshakes_have_exactly_five_keys() {
    check(
        &vectors().open,
        |row| &row.name,
        |row| {
            let parsed = Open::parse(&row.wire);
            let Some(wanted) = &row.open else {
                let error = parsed.err().map(|error| kind(&error).to_owned());
                return same("error", &error, &row.error);
            };
            let open = Open {
                sid: wanted.sid.as_str().into(),
                upgrades: wanted.upgrades.iter().map(|name| name.parse().unwrap()).collect(),
                ping_interval_ms: wanted.ping_interval_ms,
                ping_timeout_ms: wanted.ping_timeout_ms,
                max_payload_bytes: wanted.max_payload_bytes,
            };
            same("handshake", &parsed.as_ref(), &Ok(&open))?;
            same("canonical", &(open.encode() == row.wire), &!row.one_way)
        },
    );
}

#[test]
fn transports_are_known_by_name_in_lower_case() {
    for transport in [Transport::Polling, Transport::Websocket, Transport::Webtransport] {
        assert_eq!(transport.as_str().parse(), Ok(transport));
    }
    for name in ["", "Polling", "websocket ", "flashsocket"] {
        assert_eq!(
            name.parse::<Transport>(),
            Err(engine::ParseError::UnknownTransport(name.to_owned()))
        );
    }
}
