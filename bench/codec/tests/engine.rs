//! Engine.IO frames beside `engineioxide-core`: every vector that both accept is the same packet to both.
//!
//! Known differences: they read no handshake, keep no data of heartbeats but `probe`, and refuse base64 that is not
//! padded as the standard alphabet has it, where the reference skips what it cannot read.

use dormouse_protocol::engine::Packet;
use engineioxide_core::{Packet as Theirs, ProtocolVersion, Str};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    packets: Vec<Row>,
    base64: Vec<Row>,
    refused: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    wire: Wire,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Binary {
        #[expect(dead_code, reason = "a binary frame has no form of theirs")]
        base64: String,
    },
}

/// Whether it is the same packet, as far as both tell.
fn is_same(ours: &Packet<'_>, theirs: &Theirs) -> bool {
    match (ours, theirs) {
        (Packet::Close, Theirs::Close)
        | (Packet::Upgrade, Theirs::Upgrade)
        | (Packet::Noop, Theirs::Noop) => true,
        (Packet::Ping(data), Theirs::PingUpgrade) | (Packet::Pong(data), Theirs::PongUpgrade) => {
            data == "probe"
        }
        (Packet::Ping(data), Theirs::Ping) | (Packet::Pong(data), Theirs::Pong) => data != "probe",
        (Packet::Message(data), Theirs::Message(text)) => data == text.as_str(),
        (Packet::Binary(data), Theirs::Binary(bytes)) => **data == **bytes,
        _ => false,
    }
}

#[test]
fn frames_that_both_accept_are_the_same_packet() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../../tests/vectors/engine.json")).unwrap();
    let mut both = 0;
    for row in vectors
        .packets
        .iter()
        .chain(&vectors.base64)
        .chain(&vectors.refused)
    {
        let Wire::Text(text) = &row.wire else { continue };
        let theirs = Theirs::parse(ProtocolVersion::V4, Str::from(text.clone()));
        if let (Ok(ours), Ok(theirs)) = (Packet::parse_text(text), &theirs) {
            assert!(is_same(&ours, theirs), "{}: {ours:?}, {theirs:?}", row.name);
            both += 1;
        }
    }
    assert!(both > 20, "only {both} vectors are accepted by both");
}
