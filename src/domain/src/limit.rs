//! How much one user and one connection may ask for (DESIGN 10).

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Connections of one user that may have joined a namespace at the same time.
pub const MAX_CONNECTIONS: usize = 100;

/// Connections of one user that may be open at the same time, those that have joined nothing included: these
/// are closed after the connect timeout.
pub const MAX_OPEN_CONNECTIONS: usize = 200;

/// Packets of one connection in [`EVENT_WINDOW_MS`].
pub const MAX_EVENTS: u32 = 1_000;

/// The window in which packets are counted, in milliseconds; also how long a connection may go on over the
/// limit before it is closed.
pub const EVENT_WINDOW_MS: u64 = 60_000;

/// So many refusals within [`BAN_MS`] of each other make a ban.
const REFUSALS_TO_BAN: usize = 3;

/// How long a user who was refused too often may open no further connection, in milliseconds.
const BAN_MS: u64 = 60_000;

/// What a connection has used up of [`MAX_EVENTS`]: a part of its attachment-record, so it costs no row and
/// outlives eviction. A connection by polling ends with its object, and the next one is a handshake more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAllowance {
    /// When the window began.
    #[serde(rename = "at")]
    began_at: Timestamp,
    /// Packets since then.
    #[serde(rename = "n")]
    taken: u32,
    /// Since when it has been over the limit, in this window or the one before.
    #[serde(rename = "over", default, skip_serializing_if = "Option::is_none")]
    over_since: Option<Timestamp>,
}

/// Whether a packet is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// It is.
    Yes,
    /// It is dropped; after so many seconds the next one is taken.
    No {
        /// At least 1.
        retry_after_s: u64,
    },
    /// It has gone on for too long: the connection is closed.
    Never,
}

impl EventAllowance {
    /// Whether nothing was counted yet.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        *self == Self::default()
    }

    /// Counts a packet that came at `now`.
    pub fn take(&mut self, now: Timestamp) -> Allowed {
        if now.since(self.began_at) >= EVENT_WINDOW_MS {
            // A window without a refusal ends the matter.
            let over_since = self.over_since.filter(|_| self.taken > MAX_EVENTS);
            *self = Self {
                began_at: now,
                taken: 0,
                over_since,
            };
        }
        self.taken = self.taken.saturating_add(1);
        if self.taken <= MAX_EVENTS {
            return Allowed::Yes;
        }
        let over_since = *self.over_since.get_or_insert(now);
        if now.since(over_since) >= EVENT_WINDOW_MS {
            return Allowed::Never;
        }
        let left_ms = EVENT_WINDOW_MS.saturating_sub(now.since(self.began_at));
        Allowed::No {
            retry_after_s: seconds(left_ms),
        }
    }
}

/// Who may open a further connection. Kept in memory only: who is forgiven too early is refused again as long
/// as the connections are too many, for those are counted anew each time. What is lost with it is at most the
/// rest of a ban of somebody who has few connections by then, and an object that is tried at does not forget.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    refused_at: Vec<Timestamp>,
    banned_until: Option<Timestamp>,
}

/// Why a user may open no further connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// There are [`MAX_CONNECTIONS`] already, or [`MAX_OPEN_CONNECTIONS`].
    #[error("the user has too many connections")]
    TooManyConnections {
        /// Seconds after which it may be tried again.
        retry_after_s: u64,
    },
    /// They have tried too often.
    #[error("the user has tried to open too many connections")]
    Banned {
        /// Seconds after which it may be tried again.
        retry_after_s: u64,
    },
}

impl AdmissionError {
    /// The code a client sees in `connect_error.data.code`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooManyConnections { .. } => "TOO_MANY_CONNECTIONS",
            Self::Banned { .. } => "BANNED",
        }
    }

    /// Seconds after which it may be tried again.
    #[must_use]
    pub const fn retry_after_s(self) -> u64 {
        match self {
            Self::TooManyConnections { retry_after_s } | Self::Banned { retry_after_s } => retry_after_s,
        }
    }
}

impl Admission {
    /// Whether a user who has `connections` others may have one more at `now`.
    ///
    /// # Errors
    /// [`AdmissionError`].
    pub fn admit(&mut self, connections: usize, now: Timestamp) -> Result<(), AdmissionError> {
        if let Some(until) = self.banned_until.filter(|until| *until > now) {
            return Err(AdmissionError::Banned {
                retry_after_s: seconds(until.since(now)),
            });
        }
        if connections < MAX_CONNECTIONS {
            return Ok(());
        }
        self.refused_at.retain(|at| now.since(*at) < BAN_MS);
        self.refused_at.push(now);
        if self.refused_at.len() >= REFUSALS_TO_BAN {
            self.refused_at.clear();
            self.banned_until = Some(now.after_ms(BAN_MS));
        }
        Err(AdmissionError::TooManyConnections {
            retry_after_s: seconds(BAN_MS),
        })
    }
}

/// Why a user who has [`MAX_OPEN_CONNECTIONS`] may open no other.
pub const NO_MORE_OPEN: AdmissionError = AdmissionError::TooManyConnections {
    retry_after_s: BAN_MS / 1_000,
};

/// Whether a user may open a connection beside `open` others, whatever those have joined.
///
/// # Errors
/// [`AdmissionError::TooManyConnections`].
pub const fn may_open(open: usize) -> Result<(), AdmissionError> {
    if open < MAX_OPEN_CONNECTIONS {
        return Ok(());
    }
    Err(NO_MORE_OPEN)
}

/// Whole seconds, rounded up, at least 1.
fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    /// Takes `count` packets at once; what became of the last.
    fn take(allowance: &mut EventAllowance, count: u32, at_ms: u64) -> Allowed {
        let mut last = Allowed::Yes;
        for _ in 0..count {
            last = allowance.take(NOW.after_ms(at_ms));
        }
        last
    }

    #[test]
    fn a_thousand_packets_a_minute_are_taken_and_no_more() {
        let mut allowance = EventAllowance::default();
        assert_eq!(take(&mut allowance, 1_000, 0), Allowed::Yes);
        assert_eq!(take(&mut allowance, 1, 500), Allowed::No { retry_after_s: 60 });
        assert_eq!(take(&mut allowance, 1, 59_999), Allowed::No { retry_after_s: 1 });
        assert_eq!(take(&mut allowance, 1_000, 60_000), Allowed::Yes);
    }

    #[test]
    fn who_goes_on_for_a_minute_is_closed() {
        let mut allowance = EventAllowance::default();
        assert_eq!(take(&mut allowance, 1_001, 0), Allowed::No { retry_after_s: 60 });
        assert_eq!(take(&mut allowance, 1_000, 60_000), Allowed::Yes);
        assert_eq!(take(&mut allowance, 1, 60_001), Allowed::Never);
    }

    #[test]
    fn a_quiet_minute_is_forgiveness() {
        let mut allowance = EventAllowance::default();
        take(&mut allowance, 1_001, 0);
        take(&mut allowance, 10, 60_000);
        assert_eq!(
            take(&mut allowance, 1_001, 120_000),
            Allowed::No { retry_after_s: 60 }
        );
    }

    #[test]
    fn the_third_refusal_in_a_minute_is_a_ban_that_ends() {
        let mut admission = Admission::default();
        let mut admit = |connections, ms| admission.admit(connections, NOW.after_ms(ms));
        let too_many = Err(AdmissionError::TooManyConnections { retry_after_s: 60 });
        assert_eq!(admit(99, 0), Ok(()));
        assert_eq!(admit(100, 0), too_many);
        assert_eq!(admit(100, 1_000), too_many);
        assert_eq!(admit(100, 59_999), too_many);
        assert_eq!(
            admit(0, 60_000),
            Err(AdmissionError::Banned { retry_after_s: 60 })
        );
        assert_eq!(admit(0, 119_999), Ok(()));
        assert_eq!(admit(100, 119_999), too_many);
    }

    #[test]
    fn two_hundred_connections_are_open_at_most() {
        assert_eq!(may_open(0), Ok(()));
        assert_eq!(may_open(199), Ok(()));
        for open in [200, usize::MAX] {
            assert_eq!(
                may_open(open),
                Err(AdmissionError::TooManyConnections { retry_after_s: 60 })
            );
        }
    }

    #[test]
    fn refusals_far_apart_are_no_ban() {
        let mut admission = Admission::default();
        for minute in 0..9 {
            let refused = admission.admit(100, NOW.after_ms(minute * 30_000));
            assert!(
                matches!(refused, Err(AdmissionError::TooManyConnections { .. })),
                "{minute}"
            );
        }
    }
}
