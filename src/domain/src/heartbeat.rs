//! Who keeps a connection alive, and when its silence ends it (DESIGN 4).

use serde::{Deserialize, Serialize};

use crate::config::{HeartbeatConfig, Timing};
use crate::time::Timestamp;
use crate::wishes::Keepalive;

/// Who keeps the connection alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heartbeat {
    /// The server pings, as stock clients expect.
    Server {
        /// When the next ping is due.
        #[serde(rename = "next")]
        ping_at: Timestamp,
        /// When the ping was sent that has not been answered yet.
        #[serde(rename = "sent", default, skip_serializing_if = "Option::is_none")]
        unanswered_since: Option<Timestamp>,
    },
    /// The client emits the event `ping`, which the platform answers without waking the hub.
    Client {
        /// When it was last heard.
        heard_at: Timestamp,
    },
}

impl Heartbeat {
    /// When the next ping is due, if the server pings.
    #[must_use]
    pub const fn ping_at(self) -> Option<Timestamp> {
        match self {
            Self::Server { ping_at, .. } => Some(ping_at),
            Self::Client { .. } => None,
        }
    }

    /// The heartbeat of a connection opened at `now`. `next_tick` is when the hub pings its others, so
    /// that one alarm serves them all.
    #[must_use]
    pub fn begin(
        keepalive: Keepalive,
        now: Timestamp,
        next_tick: Option<Timestamp>,
        config: HeartbeatConfig,
    ) -> Self {
        let latest = now.after_ms(config.interval_ms);
        match keepalive {
            Keepalive::Client => Self::Client { heard_at: now },
            Keepalive::Server => Self::Server {
                ping_at: next_tick
                    .filter(|tick| *tick > now)
                    .map_or(latest, |tick| tick.min(latest)),
                unanswered_since: None,
            },
        }
    }

    /// Takes note that the client was heard at `at`, by whatever way.
    pub fn hear(&mut self, at: Timestamp) {
        if let Self::Client { heard_at } = self {
            *heard_at = at.max(*heard_at);
        }
    }

    /// The client answered a ping.
    pub fn on_pong(&mut self) {
        if let Self::Server { unanswered_since, .. } = self {
            *unanswered_since = None;
        }
    }

    /// Whether a client that keeps itself alive has not been heard for longer than `grace_ms`.
    #[must_use]
    pub const fn is_silent(self, now: Timestamp, grace_ms: u64) -> bool {
        match self {
            Self::Client { heard_at } => now.since(heard_at) > grace_ms,
            Self::Server { .. } => false,
        }
    }

    /// What is due at `now` by the connection's own clock.
    pub fn on_timer(&mut self, now: Timestamp, config: HeartbeatConfig) -> Beat {
        let Self::Server {
            ping_at,
            unanswered_since,
        } = *self
        else {
            return Beat::Rest;
        };
        match config.timing {
            Timing::Ticked => return Beat::Rest,
            Timing::Exact => {}
        }
        let mut beat = Beat::Rest;
        let mut sent = unanswered_since;
        if sent.is_none() && ping_at <= now {
            // A ping that goes out a little late has to be answered as if it had not.
            let earliest = now.as_ms().saturating_sub(config.timeout_ms / 2);
            let sent_at = ping_at.max(Timestamp::from_ms(earliest));
            sent = Some(sent_at);
            *self = Self::Server {
                ping_at: sent_at.after_ms(config.interval_ms),
                unanswered_since: sent,
            };
            beat = Beat::Ping;
        }
        if sent.is_some_and(|sent| now.since(sent) >= config.timeout_ms) {
            beat = Beat::Silent;
        }
        beat
    }

    /// What a tick of the switchboard asks for, which comes once an interval: a ping, unless the one before was
    /// not answered. A second tick soon after another finds that one's ping under way.
    pub fn on_tick(&mut self, now: Timestamp, config: HeartbeatConfig) -> Beat {
        let Self::Server { unanswered_since, .. } = *self else {
            return Beat::Rest;
        };
        match unanswered_since {
            None => {
                *self = Self::Server {
                    ping_at: now.after_ms(config.interval_ms),
                    unanswered_since: Some(now),
                };
                Beat::Ping
            }
            Some(sent) if now.since(sent) >= silence_limit_ms(config) => Beat::Silent,
            Some(_) => Beat::Rest,
        }
    }

    /// Whether somebody has to tick for it.
    #[must_use]
    pub const fn is_ticked(self, config: HeartbeatConfig) -> bool {
        match (self, config.timing) {
            (Self::Server { .. }, Timing::Ticked) => true,
            (Self::Server { .. }, Timing::Exact) | (Self::Client { .. }, _) => false,
        }
    }

    /// When [`Heartbeat::on_timer`] has something to do next, if ever.
    #[must_use]
    pub fn wakes_at(self, config: HeartbeatConfig) -> Option<Timestamp> {
        match (self, config.timing) {
            (
                Self::Server {
                    ping_at,
                    unanswered_since: Some(sent),
                },
                Timing::Exact,
            ) => Some(ping_at.min(sent.after_ms(config.timeout_ms))),
            (Self::Server { ping_at, .. }, Timing::Exact) => Some(ping_at),
            (Self::Server { .. }, Timing::Ticked) | (Self::Client { .. }, _) => None,
        }
    }
}

/// What a heartbeat asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Rest,
    /// Send a ping.
    Ping,
    /// Close the connection: its client is gone.
    Silent,
}

/// How long a ping may stay unanswered before a tick closes the connection, in milliseconds: until the next
/// tick, a little less, because that may come early after a late one.
const fn silence_limit_ms(config: HeartbeatConfig) -> u64 {
    config.interval_ms.saturating_sub(config.interval_ms / 4)
}
