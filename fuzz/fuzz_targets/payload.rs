//! Bodies of HTTP long-polling and the transport that fills them: limits hold, and no frame is lost or doubled.

#![no_main]

use std::collections::VecDeque;

use arbitrary::{Arbitrary, Unstructured};
use dormouse_domain::config::MAX_PAYLOAD_BYTES;
use dormouse_domain::polling::{Phase, Poll, Polling, Sent, Upgradable};
use dormouse_fuzz::check_engine_packet;
use dormouse_protocol::engine::{Frame, Packet};
use dormouse_protocol::payload::{self, SEPARATOR};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut input = Unstructured::new(rest);
    match mode % 3 {
        0 => {
            if let Some((max_packets, body)) = rest.split_first()
                && let Ok(body) = std::str::from_utf8(body)
            {
                parse(body, usize::from(*max_packets));
            }
        }
        1 => {
            if let (Ok(max_bytes), Ok(frames)) = (input.arbitrary::<u16>(), input.arbitrary()) {
                pack(frames, usize::from(max_bytes));
            }
        }
        _ => {
            if let Ok(steps) = input.arbitrary::<Vec<Step>>() {
                poll(steps);
            }
        }
    }
});

/// A body, whatever it is.
fn parse(body: &str, max_packets: usize) {
    let count = body.split(SEPARATOR).count();
    let packets = match payload::parse(body, max_packets) {
        Ok(packets) => packets,
        Err(error) => {
            assert!(count > max_packets);
            assert!(error.to_string().len() < 512);
            return;
        }
    };
    assert!(count <= max_packets);
    let results: Vec<_> = packets.collect();
    let good = results.iter().filter(|result| result.is_ok()).count();
    assert!(good == count || (good < count && results.len() == good + 1));
    if let Ok(packets) = results.into_iter().collect::<Result<Vec<_>, _>>() {
        packets.iter().for_each(check_engine_packet);
        let frames: Vec<Frame> = packets.iter().cloned().map(Packet::encode).collect();
        let encoded = payload::encode(&frames, usize::MAX);
        assert_eq!(encoded.count, count);
        let again: Result<Vec<_>, _> = payload::parse(&encoded.payload, count)
            .expect("as many as before")
            .collect();
        assert_eq!(again, Ok(packets));
    }
}

/// A frame without a separator of its own, which the receiver would cut.
#[derive(Arbitrary, Clone, Debug)]
enum FrameSpec {
    Message(String),
    Binary(Vec<u8>),
    Ping,
    /// A long message: a few KiB, or more than a body may have.
    Long(u8),
}

impl FrameSpec {
    fn frame(self) -> Frame {
        match self {
            Self::Message(text) => Packet::Message(text.replace(SEPARATOR, "").into()).encode(),
            Self::Binary(data) => Frame::Binary(data),
            Self::Ping => Packet::Ping("".into()).encode(),
            Self::Long(size) => {
                let kib = usize::from(if size < 250 { size / 25 } else { size });
                Packet::Message("x".repeat(kib * 1_024).into()).encode()
            }
        }
    }
}

/// Frames that go out in as many bodies as it takes.
fn pack(frames: Vec<FrameSpec>, max_bytes: usize) {
    let frames: Vec<Frame> = frames.into_iter().map(FrameSpec::frame).collect();
    let mut waiting = frames.as_slice();
    let mut arrived = Vec::new();
    while !waiting.is_empty() {
        let encoded = payload::encode(waiting, max_bytes);
        assert!(encoded.count > 0);
        assert!(encoded.count == 1 || encoded.payload.len() <= max_bytes);
        arrived.extend(unpack(&encoded.payload));
        waiting = &waiting[encoded.count..];
    }
    assert_eq!(arrived, frames);
}

fn unpack(body: &str) -> Vec<Frame> {
    let packets = payload::parse(body, usize::MAX).expect("no limit");
    packets
        .map(|packet| packet.expect("an encoded frame").into_owned().encode())
        .collect()
}

/// What happens to a polling transport.
#[derive(Arbitrary, Clone, Debug)]
enum Step {
    Get,
    Send(FrameSpec),
    Take,
    BeginProbe,
    BeginUpgrade,
    FailUpgrade,
    FinishUpgrade,
    Close,
    Fail,
    End,
}

/// What the client must get, in order, while the transport is open.
#[derive(Default)]
struct Client {
    due: VecDeque<Frame>,
    held: bool,
    has_websocket: bool,
}

impl Client {
    /// Takes a body: what is due, or a packet that only ends the request.
    fn take(&mut self, body: &str) {
        assert!(!body.is_empty());
        let frames = unpack(body);
        assert!(frames.len() == 1 || body.len() <= MAX_PAYLOAD_BYTES);
        for frame in frames {
            if self.due.is_empty() {
                assert!([Packet::Noop.encode(), Packet::Close.encode()].contains(&frame));
            } else {
                assert_eq!(self.due.pop_front(), Some(frame));
            }
        }
    }
}

fn poll(steps: Vec<Step>) {
    let mut polling = Polling::default();
    let mut client = Client::default();
    for step in steps {
        let was = polling.phase();
        let was_closed = was != Phase::Open;
        match step {
            Step::Get => match polling.on_get() {
                Poll::Answer(body) => {
                    assert!(!client.held);
                    client.take(&body);
                }
                Poll::Hold => {
                    assert!(!client.held && client.due.is_empty() && !was_closed);
                    client.held = true;
                }
                Poll::Overlap => assert!(client.held),
                Poll::Gone => assert!(was == Phase::Over && client.due.is_empty()),
            },
            // Whoever holds a transport stops sending once it is over.
            Step::Send(_) if was_closed => {}
            Step::Send(spec) => {
                let frame = spec.frame();
                match polling.send(frame.clone()) {
                    Sent::Queued => client.due.push_back(frame),
                    Sent::Overflow => {
                        polling.fail();
                        client.due.clear();
                    }
                }
            }
            Step::Take => {
                if let Some(body) = polling.take() {
                    assert!(client.held);
                    client.held = false;
                    client.take(&body);
                }
            }
            Step::BeginProbe => {
                let may = polling.begin_probe() == Upgradable::Yes;
                assert_eq!(may, !was_closed && !client.has_websocket);
                client.has_websocket = true;
            }
            Step::BeginUpgrade => {
                polling.begin_upgrade();
                client.has_websocket = true;
            }
            Step::FailUpgrade => {
                polling.fail_upgrade();
                client.has_websocket = false;
            }
            Step::FinishUpgrade => {
                let left = polling.finish_upgrade();
                if !was_closed {
                    assert_eq!(left, client.due.drain(..).collect::<Vec<_>>());
                }
                client.due.clear();
            }
            Step::Close => polling.close(),
            Step::Fail => {
                polling.fail();
                client.due.clear();
            }
            Step::End => {
                polling.end();
                client.due.clear();
            }
        }
        assert!(!was_closed || polling.phase() != Phase::Open);
        // A GET that is held is still told how it went.
        assert!(was != Phase::Over || polling.phase() == Phase::Over || client.held);
    }
}
