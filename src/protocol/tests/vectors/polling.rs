//! Payloads of HTTP long-polling.

use dormouse_protocol::engine::{self, Frame};
use dormouse_protocol::payload;
use serde::Deserialize;

use super::engine_io::{self, PacketVector};
use super::{Wire, check, same};

#[derive(Deserialize)]
struct Vectors {
    parse: Vec<ParseRow>,
    encode: Vec<EncodeRow>,
}

#[derive(Deserialize)]
struct ParseRow {
    name: String,
    wire: String,
    packets: Vec<PacketVector>,
    error: Option<String>,
    max_packets: Option<usize>,
    #[serde(default)]
    one_way: bool,
}

#[derive(Deserialize)]
struct EncodeRow {
    name: String,
    frames: Vec<Wire>,
    max_bytes: usize,
    wire: String,
    count: usize,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../tests/vectors/payload.json")).unwrap()
}

fn kind(error: &payload::ParseError) -> &'static str {
    match error {
        payload::ParseError::TooManyPackets { .. } => "too_many_packets",
        payload::ParseError::Packet(error) => engine_io::kind(error),
    }
}

#[test]
fn payloads_parse_to_packets_up_to_the_first_error_and_back() {
    check(
        &vectors().parse,
        |row| &row.name,
        |row| {
            let mut packets = Vec::new();
            let mut error = None;
            match payload::parse(&row.wire, row.max_packets.unwrap_or(100)) {
                Ok(parsed) => {
                    for packet in parsed {
                        match packet {
                            Ok(packet) => packets.push(packet),
                            Err(refused) => error = Some(kind(&refused).to_owned()),
                        }
                    }
                }
                Err(refused) => error = Some(kind(&refused).to_owned()),
            }
            let wanted: Vec<_> = row.packets.iter().map(PacketVector::packet).collect();
            same("packets", &packets, &wanted)?;
            same("error", &error, &row.error)?;
            if row.one_way || row.error.is_some() {
                return Ok(());
            }
            let frames: Vec<Frame> = packets.into_iter().map(engine::Packet::encode).collect();
            same(
                "payload",
                &payload::encode(&frames, usize::MAX).payload,
                &row.wire,
            )
        },
    );
}

#[test]
fn payloads_take_the_frames_that_fit() {
    check(
        &vectors().encode,
        |row| &row.name,
        |row| {
            let frames: Vec<Frame> = row.frames.iter().map(Wire::frame).collect();
            let encoded = payload::encode(&frames, row.max_bytes);
            let wanted = payload::Encoded {
                payload: row.wire.clone(),
                count: row.count,
            };
            same("payload", &encoded, &wanted)
        },
    );
}
