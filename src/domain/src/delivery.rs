//! Whether a notification has reached its recipient (DESIGN 7).
//!
//! Status is per recipient, not per device. An attempt exists only when at least one open socket got
//! the event; an offline recipient's item stays pending and spends none.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Which sessions must acknowledge before an item counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// Those that said they would, or have done so before; to the others, sent is delivered.
    Auto,
    /// All of them.
    Required,
    /// None: sent is delivered.
    Off,
}

/// The open sockets an item is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// Sockets whose session acknowledges.
    pub acknowledging: usize,
    /// The others.
    pub silent: usize,
}

impl Listeners {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> usize {
        self.acknowledging.saturating_add(self.silent)
    }
}

/// Where an item stands, for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Stored; no socket has confirmed it. Leaves by an acknowledgement or a fetch.
    Pending {
        /// How often it was sent to at least one open socket.
        attempts: u32,
    },
    /// Confirmed by some device. Final.
    Delivered {
        /// How often it was sent to at least one open socket.
        attempts: u32,
        /// When the first confirmation came.
        at: Timestamp,
    },
}

/// The states' names in the record and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// No socket has confirmed it.
    Pending,
    /// An attempt was not acknowledged in time.
    Failed,
    /// No attempt was acknowledged.
    PermanentFailure,
    /// Confirmed by some device.
    Delivered,
    /// The user has muted its category.
    Suppressed,
    /// It expired before anybody confirmed it.
    Expired,
    /// It was retracted or replaced before anybody confirmed it.
    Canceled,
}

impl DeliveryStatus {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Failed,
        Self::PermanentFailure,
        Self::Delivered,
        Self::Suppressed,
        Self::Expired,
        Self::Canceled,
    ];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::PermanentFailure => "permanent_failure",
            Self::Delivered => "delivered",
            Self::Suppressed => "suppressed",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl Delivery {
    /// An item nobody was sent yet.
    pub const NEW: Self = Self::Pending { attempts: 0 };

    /// After the item was sent to `listeners` at `now`.
    #[must_use]
    pub const fn sent(self, mode: AckMode, listeners: Listeners, now: Timestamp) -> Self {
        let Self::Pending { attempts } = self else {
            return self;
        };
        if listeners.total() == 0 {
            return self;
        }
        let attempts = attempts.saturating_add(1);
        let confirmed = match mode {
            AckMode::Off => true,
            AckMode::Required => false,
            AckMode::Auto => listeners.silent > 0,
        };
        if confirmed {
            Self::Delivered { attempts, at: now }
        } else {
            Self::Pending { attempts }
        }
    }

    /// After a device confirmed it at `now`, by acknowledging or by fetching it.
    #[must_use]
    pub const fn confirmed(self, now: Timestamp) -> Self {
        match self {
            Self::Pending { attempts } => Self::Delivered { attempts, at: now },
            Self::Delivered { .. } => self,
        }
    }

    /// The state's name.
    #[must_use]
    pub const fn status(self) -> DeliveryStatus {
        match self {
            Self::Pending { .. } => DeliveryStatus::Pending,
            Self::Delivered { .. } => DeliveryStatus::Delivered,
        }
    }

    /// How often it was sent to at least one open socket.
    #[must_use]
    pub const fn attempts(self) -> u32 {
        match self {
            Self::Pending { attempts } | Self::Delivered { attempts, .. } => attempts,
        }
    }

    /// When the first confirmation came.
    #[must_use]
    pub const fn delivered_at(self) -> Option<Timestamp> {
        match self {
            Self::Pending { .. } => None,
            Self::Delivered { at, .. } => Some(at),
        }
    }

    /// The state that columns of the record describe.
    #[must_use]
    pub const fn from_columns(attempts: u32, delivered_at: Option<Timestamp>) -> Self {
        match delivered_at {
            None => Self::Pending { attempts },
            Some(at) => Self::Delivered { attempts, at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Timestamp = Timestamp::from_ms(1);
    const T2: Timestamp = Timestamp::from_ms(2);

    const NOBODY: Listeners = Listeners {
        acknowledging: 0,
        silent: 0,
    };
    const SILENT: Listeners = Listeners {
        acknowledging: 0,
        silent: 1,
    };
    const ACKING: Listeners = Listeners {
        acknowledging: 1,
        silent: 0,
    };
    const BOTH: Listeners = Listeners {
        acknowledging: 1,
        silent: 1,
    };

    #[test]
    fn what_sending_does_in_every_state_and_mode() {
        let pending = |attempts| Delivery::Pending { attempts };
        let delivered = |attempts, at| Delivery::Delivered { attempts, at };
        for (state, mode, listeners, expected) in [
            (pending(0), AckMode::Auto, NOBODY, pending(0)),
            (pending(0), AckMode::Auto, SILENT, delivered(1, T2)),
            (pending(0), AckMode::Auto, ACKING, pending(1)),
            (pending(0), AckMode::Auto, BOTH, delivered(1, T2)),
            (pending(1), AckMode::Auto, ACKING, pending(2)),
            (pending(0), AckMode::Required, NOBODY, pending(0)),
            (pending(0), AckMode::Required, SILENT, pending(1)),
            (pending(0), AckMode::Required, ACKING, pending(1)),
            (pending(0), AckMode::Required, BOTH, pending(1)),
            (pending(0), AckMode::Off, NOBODY, pending(0)),
            (pending(0), AckMode::Off, SILENT, delivered(1, T2)),
            (pending(0), AckMode::Off, ACKING, delivered(1, T2)),
            (delivered(1, T1), AckMode::Auto, SILENT, delivered(1, T1)),
            (delivered(1, T1), AckMode::Required, ACKING, delivered(1, T1)),
            (delivered(0, T1), AckMode::Off, NOBODY, delivered(0, T1)),
        ] {
            assert_eq!(
                state.sent(mode, listeners, T2),
                expected,
                "{state:?} {mode:?} {listeners:?}"
            );
        }
    }

    #[test]
    fn only_the_first_confirmation_counts() {
        let first = Delivery::Pending { attempts: 3 }.confirmed(T1);
        assert_eq!(first, Delivery::Delivered { attempts: 3, at: T1 });
        assert_eq!(first.confirmed(T2), first);
    }

    #[test]
    fn columns_hold_every_state() {
        for state in [
            Delivery::NEW,
            Delivery::Pending { attempts: 2 },
            Delivery::Delivered { attempts: 1, at: T1 },
        ] {
            assert_eq!(
                Delivery::from_columns(state.attempts(), state.delivered_at()),
                state
            );
        }
    }
}
