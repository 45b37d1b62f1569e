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

/// How many deliveries moved on, for those who watch the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Confirmed for the first time.
    pub delivered: u64,
    /// Sent again.
    pub retried: u64,
    /// Not acknowledged in any attempt.
    pub failed_for_good: u64,
}

impl Tally {
    /// Counts one that was `before` and is `after`.
    pub fn note(&mut self, before: Delivery, after: Delivery) {
        let count = |happened: bool, count: u64| count.saturating_add(u64::from(happened));
        let became = |status: DeliveryStatus| after.status() == status && before.status() != status;
        self.delivered = count(became(DeliveryStatus::Delivered), self.delivered);
        self.failed_for_good = count(became(DeliveryStatus::PermanentFailure), self.failed_for_good);
        let again = before.attempts() > 0 && after.attempts() > before.attempts();
        self.retried = count(again, self.retried);
    }

    /// Counts what others have counted as well.
    pub const fn add(&mut self, other: Self) {
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.retried = self.retried.saturating_add(other.retried);
        self.failed_for_good = self.failed_for_good.saturating_add(other.failed_for_good);
    }
}

impl Delivery {
    /// An item nobody was sent yet.
    pub const NEW: Self = Self::Pending(Tries {
        attempts: 0,
        retries: 0,
    });

    /// After the item was sent to `listeners` at `now`. Sent to nobody, it stays as it is; what needs
    /// no confirmation any more does too. What failed for good begins no new attempt by being shown to a
    /// client that comes back, but where sending counts it is delivered: else another round would bring it
    /// to the same client again.
    #[must_use]
    pub const fn sent(self, policy: &DeliveryPolicy, listeners: Listeners, now: Timestamp) -> Self {
        if listeners.total() == 0 {
            return self;
        }
        let tries = match self {
            Self::Pending(tries) | Self::Sent { tries, .. } | Self::PermanentFailure(tries) => Tries {
                attempts: tries.attempts.saturating_add(1),
                ..tries
            },
            Self::Failed { tries, .. } => Tries {
                attempts: tries.attempts.saturating_add(1),
                retries: tries.retries.saturating_add(1),
            },
            Self::Delivered { .. } | Self::Suppressed | Self::Expired { .. } | Self::Canceled { .. } => {
                return self;
            }
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
        } else if matches!(self, Self::PermanentFailure(_)) {
            self
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const DUE: Timestamp = Timestamp::from_ms(1_000_000);
    const BEFORE: Timestamp = Timestamp::from_ms(999_999);
    const AFTER: Timestamp = Timestamp::from_ms(1_000_001);
    const MUCH_LATER: Timestamp = Timestamp::from_ms(1_000_000 + 86_400_000);
    const EARLIER: Timestamp = Timestamp::from_ms(500_000);

    const MODES: [AckMode; 3] = [AckMode::Auto, AckMode::Required, AckMode::Off];
    const VIAS: [Via; 4] = [Via::Sent, Via::Ack, Via::Http, Via::Read];
    const RETRY_DELAYS_MS: [u64; 3] = [60_000, 300_000, 900_000];

    const NOBODY: Listeners = listeners(0, 0);
    const SILENT: Listeners = listeners(0, 2);
    const ACKING: Listeners = listeners(1, 0);
    const BOTH: Listeners = listeners(1, 1);
    const AUDIENCES: [Listeners; 4] = [NOBODY, SILENT, ACKING, BOTH];

    pub(crate) const fn listeners(acknowledging: usize, silent: usize) -> Listeners {
        Listeners {
            acknowledging,
            silent,
        }
    }

    pub(crate) fn policy(mode: AckMode) -> DeliveryPolicy {
        DeliveryPolicy {
            mode,
            ack_timeout_ms: 30_000,
            retry_delays_ms: RETRY_DELAYS_MS.to_vec(),
        }
    }

    const fn tries(attempts: u32, retries: u32) -> Tries {
        Tries { attempts, retries }
    }

    const fn pending(attempts: u32, retries: u32) -> Delivery {
        Delivery::Pending(tries(attempts, retries))
    }

    /// Awaits an acknowledgement until [`DUE`].
    const fn sent(attempts: u32, retries: u32) -> Delivery {
        Delivery::Sent {
            tries: tries(attempts, retries),
            ack_by: DUE,
        }
    }

    const fn failed(attempts: u32, retries: u32, retry_at: Option<Timestamp>) -> Delivery {
        Delivery::Failed {
            tries: tries(attempts, retries),
            retry_at,
        }
    }

    const fn for_good(attempts: u32, retries: u32) -> Delivery {
        Delivery::PermanentFailure(tries(attempts, retries))
    }

    const fn delivered(attempts: u32, at: Timestamp, via: Via) -> Delivery {
        Delivery::Delivered { attempts, at, via }
    }

    const DELIVERED: Delivery = delivered(2, EARLIER, Via::Ack);
    const EXPIRED: Delivery = Delivery::Expired { attempts: 1 };
    const CANCELED: Delivery = Delivery::Canceled { attempts: 3 };

    /// Every state, and every number of used retries where it matters.
    const STATES: [Delivery; 19] = [
        Delivery::NEW,
        pending(4, 0),
        sent(1, 0),
        sent(2, 1),
        sent(3, 2),
        sent(4, 3),
        failed(1, 0, Some(DUE)),
        failed(2, 1, Some(DUE)),
        failed(3, 2, Some(DUE)),
        failed(1, 0, None),
        failed(2, 1, None),
        failed(3, 2, None),
        for_good(4, 3),
        delivered(0, EARLIER, Via::Http),
        DELIVERED,
        delivered(1, EARLIER, Via::Sent),
        Delivery::Suppressed,
        EXPIRED,
        CANCELED,
    ];

    /// What sending comes to, in whatever state still needs a confirmation.
    enum Sending {
        Nothing,
        Confirms,
        Awaits,
    }

    #[test]
    fn what_sending_does_in_every_state_mode_and_company() {
        let audiences = [
            (AckMode::Auto, NOBODY, Sending::Nothing),
            (AckMode::Auto, SILENT, Sending::Confirms),
            (AckMode::Auto, ACKING, Sending::Awaits),
            (AckMode::Auto, BOTH, Sending::Confirms),
            (AckMode::Required, NOBODY, Sending::Nothing),
            (AckMode::Required, SILENT, Sending::Awaits),
            (AckMode::Required, ACKING, Sending::Awaits),
            (AckMode::Required, BOTH, Sending::Awaits),
            (AckMode::Off, NOBODY, Sending::Nothing),
            (AckMode::Off, SILENT, Sending::Confirms),
            (AckMode::Off, ACKING, Sending::Confirms),
            (AckMode::Off, BOTH, Sending::Confirms),
        ];
        // Only an attempt that follows a failed one uses up a retry; `None` where nothing is awaited.
        let after = [
            (Delivery::NEW, Some(tries(1, 0))),
            (pending(4, 0), Some(tries(5, 0))),
            (sent(1, 0), Some(tries(2, 0))),
            (sent(2, 1), Some(tries(3, 1))),
            (sent(3, 2), Some(tries(4, 2))),
            (sent(4, 3), Some(tries(5, 3))),
            (failed(1, 0, Some(DUE)), Some(tries(2, 1))),
            (failed(2, 1, Some(DUE)), Some(tries(3, 2))),
            (failed(3, 2, Some(DUE)), Some(tries(4, 3))),
            (failed(1, 0, None), Some(tries(2, 1))),
            (failed(2, 1, None), Some(tries(3, 2))),
            (failed(3, 2, None), Some(tries(4, 3))),
            (for_good(4, 3), Some(tries(5, 3))),
            (delivered(0, EARLIER, Via::Http), None),
            (DELIVERED, None),
            (delivered(1, EARLIER, Via::Sent), None),
            (Delivery::Suppressed, None),
            (EXPIRED, None),
            (CANCELED, None),
        ];
        assert_eq!(after.map(|(state, _)| state), STATES);
        for (mode, listeners, sending) in &audiences {
            for (state, after) in after {
                let expected = match (after, sending) {
                    (None, _) | (Some(_), Sending::Nothing) => state,
                    (Some(tries), Sending::Confirms) => delivered(tries.attempts, AFTER, Via::Sent),
                    // What failed for good waits for the pusher to ask for another round.
                    (Some(_), Sending::Awaits) if state == for_good(4, 3) => state,
                    (Some(tries), Sending::Awaits) => Delivery::Sent {
                        tries,
                        ack_by: AFTER.after_ms(30_000),
                    },
                };
                assert_eq!(
                    state.sent(&policy(*mode), *listeners, AFTER),
                    expected,
                    "{state:?} {mode:?} {listeners:?}"
                );
            }
        }
    }

    #[test]
    fn what_ends_a_delivery_in_every_state() {
        // State; how often it was sent where a confirmation still counts; the state after another round
        // was asked for.
        for (state, attempts, requeued) in [
            (Delivery::NEW, Some(0), Delivery::NEW),
            (pending(4, 0), Some(4), pending(4, 0)),
            (sent(1, 0), Some(1), sent(1, 0)),
            (sent(4, 3), Some(4), sent(4, 3)),
            (failed(1, 0, Some(DUE)), Some(1), failed(1, 0, Some(DUE))),
            (failed(3, 2, None), Some(3), failed(3, 2, None)),
            (for_good(4, 3), Some(4), pending(4, 0)),
            (DELIVERED, None, DELIVERED),
            (
                delivered(0, EARLIER, Via::Http),
                None,
                delivered(0, EARLIER, Via::Http),
            ),
            (Delivery::Suppressed, None, Delivery::Suppressed),
            (EXPIRED, None, EXPIRED),
            (CANCELED, None, CANCELED),
        ] {
            for via in VIAS {
                let confirmed = attempts.map_or(state, |attempts| delivered(attempts, AFTER, via));
                assert_eq!(state.confirmed(via, AFTER), confirmed, "{state:?} {via:?}");
                assert_eq!(
                    confirmed.confirmed(Via::Ack, MUCH_LATER),
                    confirmed,
                    "only the first confirmation counts: {state:?}"
                );
            }
            let expired = attempts.map_or(state, |attempts| Delivery::Expired { attempts });
            assert_eq!(state.expired(), expired, "{state:?}");
            let canceled = attempts.map_or(state, |attempts| Delivery::Canceled { attempts });
            assert_eq!(state.canceled(), canceled, "{state:?}");
            assert_eq!(state.requeued(), requeued, "{state:?}");
        }
    }

    /// What the clock makes of an attempt at and after its deadline, by used retries.
    #[test]
    fn an_attempt_that_nobody_acknowledges_fails_and_waits_for_the_next_delay() {
        for (state, delay_ms) in [
            (sent(1, 0), Some(60_000)),
            (sent(2, 1), Some(300_000)),
            (sent(3, 2), Some(900_000)),
            (sent(4, 3), None),
            (sent(9, u32::MAX), None),
        ] {
            let Delivery::Sent { tries, .. } = state else {
                continue;
            };
            for mode in MODES {
                for audience in AUDIENCES {
                    let clock = |now| state.on_timer(&policy(mode), audience, now);
                    let told_again = audience.for_retry(mode).total() > 0;
                    let expected = match delay_ms {
                        None => Delivery::PermanentFailure(tries),
                        Some(delay_ms) => Delivery::Failed {
                            tries,
                            retry_at: told_again.then(|| DUE.after_ms(delay_ms)),
                        },
                    };
                    assert_eq!(clock(BEFORE), state, "{state:?} {mode:?} {audience:?}");
                    for now in [DUE, AFTER, MUCH_LATER] {
                        assert_eq!(clock(now), expected, "{state:?} {mode:?} {audience:?} {now}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_retry_that_falls_due_is_parked_where_nobody_is_told_again() {
        for (mode, audience, parked) in [
            (AckMode::Auto, NOBODY, true),
            (AckMode::Auto, SILENT, true),
            (AckMode::Auto, ACKING, false),
            (AckMode::Auto, BOTH, false),
            (AckMode::Required, NOBODY, true),
            (AckMode::Required, SILENT, false),
            (AckMode::Required, ACKING, false),
            (AckMode::Required, BOTH, false),
            (AckMode::Off, NOBODY, true),
            (AckMode::Off, SILENT, false),
            (AckMode::Off, ACKING, false),
            (AckMode::Off, BOTH, false),
        ] {
            for retries in 0..3 {
                let state = failed(retries + 1, retries, Some(DUE));
                let clock = |now| state.on_timer(&policy(mode), audience, now);
                let expected = failed(retries + 1, retries, (!parked).then_some(DUE));
                assert_eq!(clock(BEFORE), state, "{mode:?} {audience:?}");
                for now in [DUE, AFTER, MUCH_LATER] {
                    assert_eq!(clock(now), expected, "{mode:?} {audience:?} {now}");
                }
            }
        }
    }

    #[test]
    fn the_clock_moves_no_other_state() {
        for state in STATES {
            let moved = match state {
                Delivery::Sent { .. } => true,
                Delivery::Failed { retry_at, .. } => retry_at.is_some(),
                Delivery::Pending(_)
                | Delivery::PermanentFailure(_)
                | Delivery::Delivered { .. }
                | Delivery::Suppressed
                | Delivery::Expired { .. }
                | Delivery::Canceled { .. } => false,
            };
            assert_eq!(state.wakes_at().is_some(), moved, "{state:?}");
            for mode in MODES {
                for audience in AUDIENCES {
                    for now in [BEFORE, DUE, AFTER, MUCH_LATER] {
                        if !moved || now < DUE {
                            assert_eq!(
                                state.on_timer(&policy(mode), audience, now),
                                state,
                                "{state:?} {mode:?} {audience:?} {now}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_state_says_what_it_is_and_when_it_moves_on() {
        use DeliveryStatus as Status;
        /// Due now, whenever "now" is; from [`DUE`] on; never.
        #[derive(Clone, Copy)]
        enum When {
            Now,
            Due,
            Never,
        }
        for (state, status, attempts, wakes_at, next_retry_at, due) in [
            (Delivery::NEW, Status::Pending, 0, None, None, When::Now),
            (pending(4, 0), Status::Pending, 4, None, None, When::Now),
            (sent(1, 0), Status::Pending, 1, Some(DUE), None, When::Never),
            (sent(4, 3), Status::Pending, 4, Some(DUE), None, When::Never),
            (
                failed(1, 0, Some(DUE)),
                Status::Failed,
                1,
                Some(DUE),
                Some(DUE),
                When::Due,
            ),
            (failed(3, 2, None), Status::Failed, 3, None, None, When::Now),
            (
                for_good(4, 3),
                Status::PermanentFailure,
                4,
                None,
                None,
                When::Never,
            ),
            (DELIVERED, Status::Delivered, 2, None, None, When::Never),
            (
                Delivery::Suppressed,
                Status::Suppressed,
                0,
                None,
                None,
                When::Never,
            ),
            (EXPIRED, Status::Expired, 1, None, None, When::Never),
            (CANCELED, Status::Canceled, 3, None, None, When::Never),
        ] {
            assert_eq!(state.status(), status, "{state:?}");
            assert_eq!(state.attempts(), attempts, "{state:?}");
            assert_eq!(state.wakes_at(), wakes_at, "{state:?}");
            assert_eq!(state.next_retry_at(), next_retry_at, "{state:?}");
            for (now, reached) in [(BEFORE, false), (DUE, true), (AFTER, true)] {
                let expected = match due {
                    When::Now => true,
                    When::Due => reached,
                    When::Never => false,
                };
                assert_eq!(state.is_due(now), expected, "{state:?} {now}");
            }
        }
    }

    #[test]
    fn columns_hold_every_state_and_nothing_else() {
        for state in STATES {
            assert_eq!(state.columns().into_delivery(), Some(state), "{state:?}");
        }
        let nameless = DeliveryColumns {
            delivered: None,
            ..DELIVERED.columns()
        };
        assert_eq!(nameless.into_delivery(), None);
        assert_eq!(
            sent(2, 1).columns(),
            DeliveryColumns {
                status: DeliveryStatus::Pending,
                attempts: 2,
                retries: 1,
                due_at: Some(DUE),
                delivered: None,
            }
        );
    }

    #[test]
    fn the_stored_names_are_unchanged() {
        let statuses = [
            "pending",
            "failed",
            "permanent_failure",
            "delivered",
            "suppressed",
            "expired",
            "canceled",
        ];
        assert_eq!(DeliveryStatus::ALL.map(DeliveryStatus::name), statuses);
        for (status, name) in DeliveryStatus::ALL.into_iter().zip(statuses) {
            assert_eq!(DeliveryStatus::parse(name), Some(status));
            assert_eq!(serde_json::json!(status), name);
        }
        for unknown in ["", "Pending", "sent", "cancelled"] {
            assert_eq!(DeliveryStatus::parse(unknown), None, "{unknown}");
        }
        let vias = ["sent", "ack", "http", "read"];
        assert_eq!(VIAS.map(Via::name), vias);
        assert_eq!(serde_json::json!(VIAS), serde_json::json!(vias));
    }

    #[test]
    fn only_acknowledging_sessions_are_told_again_while_sending_alone_counts() {
        for (mode, of_both) in [
            (AckMode::Auto, ACKING),
            (AckMode::Required, BOTH),
            (AckMode::Off, BOTH),
        ] {
            assert_eq!(BOTH.for_retry(mode), of_both, "{mode:?}");
            assert_eq!(NOBODY.for_retry(mode), NOBODY, "{mode:?}");
            assert_eq!(ACKING.for_retry(mode), ACKING, "{mode:?}");
        }
        assert_eq!(SILENT.for_retry(AckMode::Auto), NOBODY);
        assert_eq!(SILENT.for_retry(AckMode::Required), SILENT);
        assert_eq!(listeners(usize::MAX, 1).total(), usize::MAX);
    }

    /// An item and a clock: wakes up when the item asks for it, as a hub's alarm does.
    struct Watch {
        delivery: Delivery,
        policy: DeliveryPolicy,
        now: Timestamp,
        /// When each attempt was made, in seconds from the first moment.
        attempts_s: Vec<u64>,
    }

    impl Watch {
        fn begin(mode: AckMode) -> Self {
            Self {
                delivery: Delivery::NEW,
                policy: policy(mode),
                now: DUE,
                attempts_s: Vec::new(),
            }
        }

        fn send(&mut self, audience: Listeners) {
            let attempts = self.delivery.attempts();
            self.delivery = self.delivery.sent(&self.policy, audience, self.now);
            if self.delivery.attempts() > attempts {
                self.attempts_s.push(self.now.since(DUE) / 1_000);
            }
        }

        /// Lets time pass, at most so much, with these sockets open.
        fn pass(&mut self, ms: u64, audience: Listeners) {
            let end = self.now.after_ms(ms);
            while let Some(at) = self.delivery.wakes_at().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.delivery = self.delivery.on_timer(&self.policy, audience, self.now);
                if self.delivery.is_due(self.now) {
                    self.send(audience.for_retry(self.policy.mode));
                }
            }
            self.now = end;
        }
    }

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn an_unacknowledged_item_climbs_the_whole_ladder_and_a_late_acknowledgement_counts() {
        for (mode, audience) in [
            (AckMode::Auto, ACKING),
            (AckMode::Required, ACKING),
            (AckMode::Required, SILENT),
            (AckMode::Required, BOTH),
        ] {
            let mut watch = Watch::begin(mode);
            watch.send(audience);
            watch.pass(29_999, audience);
            assert_eq!(watch.delivery.status(), DeliveryStatus::Pending);
            watch.pass(1, audience);
            assert_eq!(watch.delivery.status(), DeliveryStatus::Failed);
            assert_eq!(
                watch.delivery.next_retry_at(),
                Some(DUE.after_ms(90_000)),
                "a minute after the deadline"
            );
            watch.pass(24 * HOUR_MS, audience);
            // 30 s to acknowledge, then 1, 5 and 15 minutes.
            assert_eq!(watch.attempts_s, [0, 90, 420, 1_350], "{mode:?} {audience:?}");
            assert_eq!(watch.delivery, for_good(4, 3));
            assert_eq!(
                watch.delivery.confirmed(Via::Ack, watch.now),
                delivered(4, watch.now, Via::Ack)
            );
        }
    }

    #[test]
    fn an_acknowledgement_between_attempts_ends_the_retries() {
        let mut watch = Watch::begin(AckMode::Auto);
        watch.send(ACKING);
        watch.pass(100_000, ACKING);
        watch.delivery = watch.delivery.confirmed(Via::Ack, watch.now);
        watch.pass(24 * HOUR_MS, ACKING);
        assert_eq!(watch.attempts_s, [0, 90]);
        assert_eq!(watch.delivery.status(), DeliveryStatus::Delivered);
    }

    #[test]
    fn offline_no_attempt_is_spent_and_no_alarm_runs() {
        let mut watch = Watch::begin(AckMode::Auto);
        watch.send(NOBODY);
        watch.pass(24 * HOUR_MS, NOBODY);
        assert_eq!(watch.delivery, Delivery::NEW);
        assert_eq!(watch.delivery.wakes_at(), None);
    }

    #[test]
    fn a_retry_due_while_offline_is_parked_and_resumes_with_the_next_socket() {
        let mut watch = Watch::begin(AckMode::Auto);
        watch.send(ACKING);
        // The client leaves before the deadline, then before the second retry.
        watch.pass(24 * HOUR_MS, NOBODY);
        assert_eq!(watch.delivery, failed(1, 0, None));
        assert_eq!(watch.delivery.wakes_at(), None);
        let back_s = watch.now.since(DUE) / 1_000;
        watch.send(ACKING);
        watch.pass(60_000, ACKING);
        assert_eq!(watch.delivery.status(), DeliveryStatus::Failed);
        watch.pass(24 * HOUR_MS, NOBODY);
        assert_eq!(watch.delivery, failed(2, 1, None));
        let again_s = watch.now.since(DUE) / 1_000;
        watch.send(ACKING);
        watch.pass(24 * HOUR_MS, ACKING);
        assert_eq!(watch.attempts_s, [0, back_s, again_s, again_s + 930]);
        assert_eq!(watch.delivery, for_good(4, 3));
    }

    #[test]
    fn a_hub_that_wakes_late_makes_up_for_it_with_one_attempt() {
        let mut delivery = Delivery::NEW.sent(&policy(AckMode::Auto), ACKING, DUE);
        let late = DUE.after_ms(HOUR_MS);
        delivery = delivery.on_timer(&policy(AckMode::Auto), ACKING, late);
        assert!(delivery.is_due(late));
        assert_eq!(
            delivery.sent(&policy(AckMode::Auto), ACKING, late),
            Delivery::Sent {
                tries: tries(2, 1),
                ack_by: late.after_ms(30_000)
            }
        );
    }

    #[test]
    fn another_round_climbs_the_ladder_again() {
        let mut watch = Watch::begin(AckMode::Auto);
        watch.send(ACKING);
        watch.pass(HOUR_MS, ACKING);
        watch.delivery = watch.delivery.requeued();
        assert_eq!(watch.delivery, pending(4, 0));
        watch.send(ACKING);
        watch.pass(HOUR_MS, ACKING);
        assert_eq!(watch.attempts_s, [0, 90, 420, 1_350, 3_600, 3_690, 4_020, 4_950]);
        assert_eq!(watch.delivery, for_good(8, 3));
    }

    #[test]
    fn auto_never_sends_twice_to_a_session_that_does_not_acknowledge() {
        // In its company an item is delivered when sent; alone it is never told again.
        for audience in [SILENT, BOTH] {
            let mut watch = Watch::begin(AckMode::Auto);
            watch.send(audience);
            watch.pass(24 * HOUR_MS, audience);
            assert_eq!(watch.attempts_s, [0]);
            assert_eq!(watch.delivery, delivered(1, DUE, Via::Sent));
        }
        // The one that acknowledges got it and left: who is silent was not there and is not told now.
        let mut watch = Watch::begin(AckMode::Auto);
        watch.send(ACKING);
        watch.pass(24 * HOUR_MS, SILENT);
        assert_eq!(watch.attempts_s, [0]);
        assert_eq!(watch.delivery, failed(1, 0, None));
    }

    #[test]
    fn without_delays_the_first_failure_is_for_good() {
        let once = DeliveryPolicy {
            retry_delays_ms: Vec::new(),
            ..policy(AckMode::Required)
        };
        assert_eq!(sent(1, 0).on_timer(&once, BOTH, DUE), for_good(1, 0));
    }

    #[test]
    fn what_becomes_of_deliveries_is_counted_once() {
        let tries = |attempts| Tries { attempts, retries: 0 };
        let sent = |attempts| Delivery::Sent {
            tries: tries(attempts),
            ack_by: DUE,
        };
        let delivered = Delivery::Delivered {
            attempts: 2,
            at: DUE,
            via: Via::Ack,
        };
        let failed = Delivery::PermanentFailure(tries(2));
        for (before, after, expected) in [
            (Delivery::NEW, Delivery::NEW, (0, 0, 0)),
            (Delivery::NEW, sent(1), (0, 0, 0)),
            (sent(1), sent(2), (0, 1, 0)),
            (sent(2), delivered, (1, 0, 0)),
            (sent(1), delivered, (1, 1, 0)),
            (delivered, delivered, (0, 0, 0)),
            (sent(2), failed, (0, 0, 1)),
            (failed, failed, (0, 0, 0)),
            (failed, delivered, (1, 0, 0)),
        ] {
            let mut tally = Tally::default();
            tally.note(before, after);
            let counted = (tally.delivered, tally.retried, tally.failed_for_good);
            assert_eq!(counted, expected, "{before:?} {after:?}");
            tally.add(tally);
            assert_eq!(tally.delivered, 2 * expected.0);
        }
    }

    #[test]
    fn a_tally_between_objects_has_a_pinned_shape() {
        let tally = Tally {
            delivered: 1,
            retried: 2,
            failed_for_good: 3,
        };
        let json = r#"{"delivered":1,"retried":2,"failed_for_good":3}"#;
        assert_eq!(serde_json::to_string(&tally).ok().as_deref(), Some(json));
        assert_eq!(serde_json::from_str::<Tally>(json).ok(), Some(tally));
    }
}
