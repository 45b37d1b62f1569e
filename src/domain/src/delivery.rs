//! Whether a notification has reached its recipient (DESIGN 7).
//!
//! Status is per recipient, not per device. An attempt exists only when at least one open socket got
//! the event: an offline recipient's item stays pending and spends none, and a retry that falls due
//! while nobody is there is parked until somebody is. Everything that moves a state is in this file.
//!
//! | state | waits for | moved on by |
//! |---|---|---|
//! | [`Pending`](Delivery::Pending) | a socket | sending |
//! | [`Sent`](Delivery::Sent) | an acknowledgement | one, or the clock |
//! | [`Failed`](Delivery::Failed) | its next attempt | sending |
//! | [`PermanentFailure`](Delivery::PermanentFailure) | nothing | the pusher, who may ask for another round |
//! | the others | nothing | nothing |
//!
//! A confirmation makes each of the first four delivered, whenever it comes.

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

/// When an item counts as delivered, and how often it is sent until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryPolicy {
    /// Which sessions must acknowledge.
    pub mode: AckMode,
    /// How long an acknowledgement is waited for, in milliseconds.
    pub ack_timeout_ms: u64,
    /// After which failed attempt the next one follows when, in milliseconds. After the last one there
    /// is no other.
    pub retry_delays_ms: Vec<u64>,
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

    /// Those an item is sent to again: a session that is not known to acknowledge is never sent
    /// anything twice while sending alone counts.
    #[must_use]
    pub const fn for_retry(self, mode: AckMode) -> Self {
        match mode {
            AckMode::Auto => Self { silent: 0, ..self },
            AckMode::Required | AckMode::Off => self,
        }
    }
}

/// How often an item was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// How often it was sent to at least one open socket.
    pub attempts: u32,
    /// How many of [`DeliveryPolicy::retry_delays_ms`] are used up.
    pub retries: u32,
}

/// How a delivery was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// It was sent to a session of which no acknowledgement is awaited.
    Sent,
    /// A device acknowledged it.
    Ack,
    /// It was fetched over HTTP.
    Http,
    /// The user read it, or did something else with it.
    Read,
}

impl Via {
    /// The name in the record and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Ack => "ack",
            Self::Http => "http",
            Self::Read => "read",
        }
    }
}

/// Where an item stands, for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Stored; waits for a socket to be sent to.
    Pending(Tries),
    /// Sent to at least one socket; an acknowledgement may still come in time.
    Sent {
        /// This attempt included.
        tries: Tries,
        /// Until when.
        ack_by: Timestamp,
    },
    /// An attempt was not acknowledged in time.
    Failed {
        /// The attempts made.
        tries: Tries,
        /// When the next one follows; `None` while it is parked until a socket is there.
        retry_at: Option<Timestamp>,
    },
    /// No attempt was acknowledged. The item is listed and unread all the same.
    PermanentFailure(Tries),
    /// Confirmed by some device.
    Delivered {
        /// How often it was sent to at least one open socket.
        attempts: u32,
        /// When the first confirmation came.
        at: Timestamp,
        /// Which it was.
        via: Via,
    },
    /// The user has muted its category: nothing was delivered, and nothing will be.
    Suppressed,
    /// It expired before anybody confirmed it.
    Expired {
        /// How often it was sent to at least one open socket.
        attempts: u32,
    },
    /// It was retracted or replaced before anybody confirmed it.
    Canceled {
        /// How often it was sent to at least one open socket.
        attempts: u32,
    },
}

/// The states' names in the record and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// See [`Delivery::Pending`] and [`Delivery::Sent`].
    Pending,
    /// See [`Delivery::Failed`].
    Failed,
    /// See [`Delivery::PermanentFailure`].
    PermanentFailure,
    /// See [`Delivery::Delivered`].
    Delivered,
    /// See [`Delivery::Suppressed`].
    Suppressed,
    /// See [`Delivery::Expired`].
    Expired,
    /// See [`Delivery::Canceled`].
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
    pub const NEW: Self = Self::Pending(Tries {
        attempts: 0,
        retries: 0,
    });

    /// After the item was sent to `listeners` at `now`. Sent to nobody, it stays as it is; what needs
    /// no confirmation any more does too.
    #[must_use]
    pub const fn sent(self, policy: &DeliveryPolicy, listeners: Listeners, now: Timestamp) -> Self {
        if listeners.total() == 0 {
            return self;
        }
        let tries = match self {
            Self::Pending(tries) | Self::Sent { tries, .. } => Tries {
                attempts: tries.attempts.saturating_add(1),
                ..tries
            },
            Self::Failed { tries, .. } => Tries {
                attempts: tries.attempts.saturating_add(1),
                retries: tries.retries.saturating_add(1),
            },
            Self::PermanentFailure(_)
            | Self::Delivered { .. }
            | Self::Suppressed
            | Self::Expired { .. }
            | Self::Canceled { .. } => return self,
        };
        let confirmed = match policy.mode {
            AckMode::Off => true,
            AckMode::Required => false,
            AckMode::Auto => listeners.silent > 0,
        };
        if confirmed {
            Self::Delivered {
                attempts: tries.attempts,
                at: now,
                via: Via::Sent,
            }
        } else {
            Self::Sent {
                tries,
                ack_by: now.after_ms(policy.ack_timeout_ms),
            }
        }
    }

    /// After a device confirmed it at `now`.
    #[must_use]
    pub const fn confirmed(self, via: Via, now: Timestamp) -> Self {
        match self {
            Self::Pending(tries)
            | Self::Sent { tries, .. }
            | Self::Failed { tries, .. }
            | Self::PermanentFailure(tries) => Self::Delivered {
                attempts: tries.attempts,
                at: now,
                via,
            },
            Self::Delivered { .. } | Self::Suppressed | Self::Expired { .. } | Self::Canceled { .. } => self,
        }
    }

    /// What the clock does to it. `listeners` are the sockets it could be sent to again at `now`; an
    /// attempt that is due while there are some is the caller's to make, with [`Delivery::sent`].
    #[must_use]
    pub fn on_timer(self, policy: &DeliveryPolicy, listeners: Listeners, now: Timestamp) -> Self {
        let listening = listeners.for_retry(policy.mode).total() > 0;
        match self {
            Self::Sent { tries, ack_by } if ack_by <= now => {
                let used = usize::try_from(tries.retries).unwrap_or(usize::MAX);
                match policy.retry_delays_ms.get(used) {
                    None => Self::PermanentFailure(tries),
                    Some(delay_ms) => Self::Failed {
                        tries,
                        retry_at: listening.then(|| ack_by.after_ms(*delay_ms)),
                    },
                }
            }
            Self::Failed {
                tries,
                retry_at: Some(at),
            } if at <= now && !listening => Self::Failed {
                tries,
                retry_at: None,
            },
            Self::Pending(_)
            | Self::Sent { .. }
            | Self::Failed { .. }
            | Self::PermanentFailure(_)
            | Self::Delivered { .. }
            | Self::Suppressed
            | Self::Expired { .. }
            | Self::Canceled { .. } => self,
        }
    }

    /// Whether an attempt is due at `now`, provided that somebody is there.
    #[must_use]
    pub fn is_due(self, now: Timestamp) -> bool {
        match self {
            Self::Pending(_) | Self::Failed { retry_at: None, .. } => true,
            Self::Failed {
                retry_at: Some(at), ..
            } => at <= now,
            Self::Sent { .. }
            | Self::PermanentFailure(_)
            | Self::Delivered { .. }
            | Self::Suppressed
            | Self::Expired { .. }
            | Self::Canceled { .. } => false,
        }
    }

    /// When the clock moves it on; `None` when only a socket, a confirmation or nothing does.
    #[must_use]
    pub const fn wakes_at(self) -> Option<Timestamp> {
        match self {
            Self::Sent { ack_by, .. } => Some(ack_by),
            Self::Failed { retry_at, .. } => retry_at,
            Self::Pending(_)
            | Self::PermanentFailure(_)
            | Self::Delivered { .. }
            | Self::Suppressed
            | Self::Expired { .. }
            | Self::Canceled { .. } => None,
        }
    }

    /// After it expired.
    #[must_use]
    pub const fn expired(self) -> Self {
        match self.confirmable() {
            Some(tries) => Self::Expired {
                attempts: tries.attempts,
            },
            None => self,
        }
    }

    /// After it was retracted or replaced.
    #[must_use]
    pub const fn canceled(self) -> Self {
        match self.confirmable() {
            Some(tries) => Self::Canceled {
                attempts: tries.attempts,
            },
            None => self,
        }
    }

    /// After the pusher asked for another round of what failed for good.
    #[must_use]
    pub const fn requeued(self) -> Self {
        match self {
            Self::PermanentFailure(Tries { attempts, .. }) => Self::Pending(Tries { attempts, retries: 0 }),
            Self::Pending(_)
            | Self::Sent { .. }
            | Self::Failed { .. }
            | Self::Delivered { .. }
            | Self::Suppressed
            | Self::Expired { .. }
            | Self::Canceled { .. } => self,
        }
    }

    const fn confirmable(self) -> Option<Tries> {
        match self {
            Self::Pending(tries)
            | Self::Sent { tries, .. }
            | Self::Failed { tries, .. }
            | Self::PermanentFailure(tries) => Some(tries),
            Self::Delivered { .. } | Self::Suppressed | Self::Expired { .. } | Self::Canceled { .. } => None,
        }
    }

    /// The state's name.
    #[must_use]
    pub const fn status(self) -> DeliveryStatus {
        match self {
            Self::Pending(_) | Self::Sent { .. } => DeliveryStatus::Pending,
            Self::Failed { .. } => DeliveryStatus::Failed,
            Self::PermanentFailure(_) => DeliveryStatus::PermanentFailure,
            Self::Delivered { .. } => DeliveryStatus::Delivered,
            Self::Suppressed => DeliveryStatus::Suppressed,
            Self::Expired { .. } => DeliveryStatus::Expired,
            Self::Canceled { .. } => DeliveryStatus::Canceled,
        }
    }

    /// How often it was sent to at least one open socket.
    #[must_use]
    pub const fn attempts(self) -> u32 {
        match self {
            Self::Pending(tries)
            | Self::Sent { tries, .. }
            | Self::Failed { tries, .. }
            | Self::PermanentFailure(tries) => tries.attempts,
            Self::Delivered { attempts, .. } | Self::Expired { attempts } | Self::Canceled { attempts } => {
                attempts
            }
            Self::Suppressed => 0,
        }
    }

    /// The state as columns hold it.
    #[must_use]
    pub const fn columns(self) -> DeliveryColumns {
        let (retries, due_at, delivered) = match self {
            Self::Pending(tries) | Self::PermanentFailure(tries) => (tries.retries, None, None),
            Self::Sent { tries, ack_by } => (tries.retries, Some(ack_by), None),
            Self::Failed { tries, retry_at } => (tries.retries, retry_at, None),
            Self::Delivered { at, via, .. } => (0, None, Some((at, via))),
            Self::Suppressed | Self::Expired { .. } | Self::Canceled { .. } => (0, None, None),
        };
        DeliveryColumns {
            status: self.status(),
            attempts: self.attempts(),
            retries,
            due_at,
            delivered,
        }
    }

    /// When the next attempt follows, where a time is set for it.
    #[must_use]
    pub const fn next_retry_at(self) -> Option<Timestamp> {
        match self {
            Self::Failed { retry_at, .. } => retry_at,
            Self::Pending(_)
            | Self::Sent { .. }
            | Self::PermanentFailure(_)
            | Self::Delivered { .. }
            | Self::Suppressed
            | Self::Expired { .. }
            | Self::Canceled { .. } => None,
        }
    }
}

/// A [`Delivery`] as columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryColumns {
    /// The state.
    pub status: DeliveryStatus,
    /// How often it was sent.
    pub attempts: u32,
    /// How many retries are used up.
    pub retries: u32,
    /// When the clock moves it on.
    pub due_at: Option<Timestamp>,
    /// When and how it was confirmed; a delivered state without it does not exist.
    pub delivered: Option<(Timestamp, Via)>,
}

impl DeliveryColumns {
    /// The state these columns hold; `None` when they hold none.
    #[must_use]
    pub const fn into_delivery(self) -> Option<Delivery> {
        let attempts = self.attempts;
        let tries = Tries {
            attempts,
            retries: self.retries,
        };
        Some(match (self.status, self.due_at, self.delivered) {
            (DeliveryStatus::Pending, None, _) => Delivery::Pending(tries),
            (DeliveryStatus::Pending, Some(ack_by), _) => Delivery::Sent { tries, ack_by },
            (DeliveryStatus::Failed, retry_at, _) => Delivery::Failed { tries, retry_at },
            (DeliveryStatus::PermanentFailure, _, _) => Delivery::PermanentFailure(tries),
            (DeliveryStatus::Delivered, _, Some((at, via))) => Delivery::Delivered { attempts, at, via },
            (DeliveryStatus::Delivered, _, None) => return None,
            (DeliveryStatus::Suppressed, _, _) => Delivery::Suppressed,
            (DeliveryStatus::Expired, _, _) => Delivery::Expired { attempts },
            (DeliveryStatus::Canceled, _, _) => Delivery::Canceled { attempts },
        })
    }
}
