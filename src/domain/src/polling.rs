//! One HTTP long-polling transport: what waits to be fetched, and what a request for it gets.
//!
//! The rules are those of the reference (`engine.io/lib/transports/polling.ts`, and `socket.ts` for the
//! upgrade). Nothing waits here: whoever holds a request is told when to answer it.

use std::collections::VecDeque;

use dormouse_protocol::engine::{Frame, Packet};
use dormouse_protocol::payload;
use serde::{Deserialize, Serialize};

use crate::config::MAX_PAYLOAD_BYTES;
use crate::time::Timestamp;

/// Most packets in one request.
pub const MAX_PACKETS: usize = 1_000;

/// Most bytes that wait to be fetched. A client that does not fetch is closed.
const MAX_WAITING_BYTES: usize = 4 * 1_024 * 1_024;

/// The state of one polling transport.
#[derive(Debug, Default)]
pub struct Polling {
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
    get: Get,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Get {
    /// No request waits.
    #[default]
    None,
    /// One waits for something to be sent.
    Held,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// There is a WebSocket, which has not been probed.
    Probing,
    /// A WebSocket has been probed: polls are answered at once, so that the client can change over.
    Upgrading,
    /// Over. What still waits can be fetched once.
    Closed,
}

/// What a GET gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// This body, now.
    Answer(String),
    /// Nothing yet: hold it until [`Polling::take`] gives something.
    Hold,
    /// Another GET is held: this one is refused and the transport fails.
    Overlap,
    /// The transport is over.
    Gone,
}

/// How far a transport is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It takes and sends.
    Open,
    /// It is over, but the client has still to fetch that. What it sends is taken and not heard.
    Closing,
    /// It is over.
    Over,
}

/// Whether a session may move to a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgradable {
    /// It may.
    Yes,
    /// It has one already, or is over.
    No,
}

/// What became of something sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits.
    Queued,
    /// The client does not fetch: close it.
    Overflow,
}

/// The attachment-record of a WebSocket that a polling session may move to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The engine's id of the session.
    #[serde(rename = "probe")]
    pub sid: String,
    /// When the WebSocket was opened.
    pub opened_at: Timestamp,
}

/// How long a probe may take, in milliseconds (`upgradeTimeout` of the reference).
pub const UPGRADE_TIMEOUT_MS: u64 = 10_000;

impl Polling {
    /// A GET arrives.
    pub fn on_get(&mut self) -> Poll {
        if self.get == Get::Held {
            return Poll::Overlap;
        }
        if !self.waiting.is_empty() {
            return Poll::Answer(self.drain());
        }
        match self.state {
            State::Open | State::Probing => {
                self.get = Get::Held;
                Poll::Hold
            }
            State::Upgrading => Poll::Answer(noop()),
            State::Closed => Poll::Gone,
        }
    }

    /// The body for the held GET, when there is one and something to answer it with.
    pub fn take(&mut self) -> Option<String> {
        if self.get == Get::None {
            return None;
        }
        let body = if !self.waiting.is_empty() {
            self.drain()
        } else if matches!(self.state, State::Open | State::Probing) {
            return None;
        } else {
            noop()
        };
        self.get = Get::None;
        Some(body)
    }

    /// Queues a frame.
    pub fn send(&mut self, frame: Frame) -> Sent {
        self.waiting_bytes = self.waiting_bytes.saturating_add(frame.text_bytes());
        if self.waiting_bytes > MAX_WAITING_BYTES {
            return Sent::Overflow;
        }
        self.waiting.push_back(frame);
        Sent::Queued
    }

    /// A WebSocket was opened for the session. It may have one at a time.
    pub fn begin_probe(&mut self) -> Upgradable {
        match self.state {
            State::Open => {
                self.state = State::Probing;
                Upgradable::Yes
            }
            State::Probing | State::Upgrading | State::Closed => Upgradable::No,
        }
    }

    /// A WebSocket was probed.
    pub fn begin_upgrade(&mut self) {
        if matches!(self.state, State::Open | State::Probing) {
            self.state = State::Upgrading;
        }
    }

    /// The WebSocket went away: polling goes on.
    pub fn fail_upgrade(&mut self) {
        if matches!(self.state, State::Probing | State::Upgrading) {
            self.state = State::Open;
        }
    }

    /// The client changed over: gives what the WebSocket has to send first.
    pub fn finish_upgrade(&mut self) -> Vec<Frame> {
        self.state = State::Closed;
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting).into()
    }

    /// The server ends the transport in good order: the client fetches what waits and a close packet,
    /// where nothing else waits with a noop before it, as the reference has it.
    pub fn close(&mut self) {
        if self.state != State::Closed {
            if self.waiting.is_empty() && self.get == Get::None {
                self.waiting.push_back(Packet::Noop.encode());
            }
            self.waiting.push_back(Packet::Close.encode());
            self.state = State::Closed;
        }
    }

    /// The transport has failed: a held GET gets a close packet, a later one finds nothing.
    pub fn fail(&mut self) {
        self.end();
        if self.get == Get::Held {
            self.waiting.push_back(Packet::Close.encode());
        }
    }

    /// The client ended the transport: a held GET gets a noop, a later one finds nothing.
    pub fn end(&mut self) {
        self.state = State::Closed;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// How far the transport is from its end.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Open | State::Probing | State::Upgrading => Phase::Open,
            State::Closed if self.waiting.is_empty() => Phase::Over,
            State::Closed => Phase::Closing,
        }
    }

    fn drain(&mut self) -> String {
        let encoded = payload::encode(self.waiting.iter(), MAX_PAYLOAD_BYTES);
        for frame in self.waiting.drain(..encoded.count.min(self.waiting.len())) {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(frame.text_bytes());
        }
        encoded.payload
    }
}

fn noop() -> String {
    Packet::Noop.encode().into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Frame {
        Frame::Text(text.to_owned())
    }

    #[test]
    fn a_poll_is_held_until_something_is_sent() {
        let mut polling = Polling::default();
        assert_eq!(polling.take(), None);
        assert_eq!(polling.on_get(), Poll::Hold);
        assert_eq!(polling.take(), None);
        assert_eq!(polling.send(text("42[\"a\"]")), Sent::Queued);
        polling.send(Frame::Binary(vec![1, 2, 3]));
        assert_eq!(polling.take().as_deref(), Some("42[\"a\"]\u{1e}bAQID"));
        assert_eq!(polling.take(), None);
        polling.send(text("2"));
        assert_eq!(polling.on_get(), Poll::Answer("2".to_owned()));
    }

    #[test]
    fn overlapping_polls_are_refused() {
        let mut polling = Polling::default();
        assert_eq!(polling.on_get(), Poll::Hold);
        assert_eq!(polling.on_get(), Poll::Overlap);
    }

    #[test]
    fn the_stored_probe_format_is_unchanged() {
        let probe = Probe {
            sid: "s".to_owned(),
            opened_at: Timestamp::from_ms(1),
        };
        assert_eq!(
            serde_json::to_string(&probe).ok().as_deref(),
            Some(r#"{"probe":"s","opened_at":1}"#)
        );
    }

    #[test]
    fn an_upgrade_lets_the_poll_go_and_takes_what_waits() {
        let mut polling = Polling::default();
        assert_eq!(polling.on_get(), Poll::Hold);
        polling.begin_upgrade();
        assert_eq!(polling.take().as_deref(), Some("6"));
        assert_eq!(polling.on_get(), Poll::Answer("6".to_owned()));
        polling.send(text("42[\"a\"]"));
        assert_eq!(polling.finish_upgrade(), [text("42[\"a\"]")]);
        assert_eq!(polling.on_get(), Poll::Gone);
    }

    #[test]
    fn a_session_has_one_websocket_at_a_time() {
        let mut polling = Polling::default();
        assert_eq!(polling.begin_probe(), Upgradable::Yes);
        assert_eq!(polling.begin_probe(), Upgradable::No);
        assert_eq!(polling.on_get(), Poll::Hold);
        polling.begin_upgrade();
        assert_eq!(polling.take().as_deref(), Some("6"));
        assert_eq!(polling.begin_probe(), Upgradable::No);
        polling.fail_upgrade();
        assert_eq!(polling.begin_probe(), Upgradable::Yes);
        polling.fail_upgrade();
        polling.close();
        assert_eq!(polling.begin_probe(), Upgradable::No);
    }

    #[test]
    fn a_failed_upgrade_goes_on_polling() {
        let mut polling = Polling::default();
        polling.begin_upgrade();
        polling.fail_upgrade();
        assert_eq!(polling.on_get(), Poll::Hold);
    }

    #[test]
    fn a_closed_transport_says_so_once() {
        let mut polling = Polling::default();
        polling.send(text("2"));
        polling.close();
        polling.close();
        assert_eq!(polling.phase(), Phase::Closing);
        assert_eq!(polling.on_get(), Poll::Answer("2\u{1e}1".to_owned()));
        assert_eq!(polling.phase(), Phase::Over);
        assert_eq!(polling.on_get(), Poll::Gone);
        let mut idle = Polling::default();
        idle.close();
        assert_eq!(idle.on_get(), Poll::Answer("6\u{1e}1".to_owned()));
        let mut held = Polling::default();
        assert_eq!(held.on_get(), Poll::Hold);
        held.close();
        assert_eq!(held.take().as_deref(), Some("1"));
        let mut ended = Polling::default();
        assert_eq!(ended.on_get(), Poll::Hold);
        ended.end();
        assert_eq!(ended.take().as_deref(), Some("6"));
        assert_eq!(ended.on_get(), Poll::Gone);
        let mut failed = Polling::default();
        assert_eq!(failed.on_get(), Poll::Hold);
        failed.send(text("2"));
        failed.fail();
        assert_eq!(failed.take().as_deref(), Some("1"));
        assert_eq!(failed.on_get(), Poll::Gone);
        let mut unheard = Polling::default();
        unheard.fail();
        assert_eq!(unheard.on_get(), Poll::Gone);
    }

    #[test]
    fn what_is_not_fetched_is_bounded() {
        let mut polling = Polling::default();
        let frame = || text(&"x".repeat(90_000));
        let queued = (0..1_000)
            .take_while(|_| polling.send(frame()) == Sent::Queued)
            .count();
        assert_eq!(queued, MAX_WAITING_BYTES / 90_000);
    }
}
