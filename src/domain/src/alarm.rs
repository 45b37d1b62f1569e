//! When a hub has to wake up by itself. It has one alarm; an idle hub has none.

use crate::inbox::{Debt, Head};
use crate::session::{Rules, Session};
use crate::time::Timestamp;

/// How long something owed to the record may wait for a wake-up that comes anyway, in milliseconds.
/// Shorter than that an alarm of its own would only cost.
const PATIENCE_MS: u64 = 300_000;

/// How soon an attempt to reach the record is repeated, in milliseconds.
pub const RETRY_MS: u64 = 30_000;

/// How late an alarm may be before it is taken for lost, in milliseconds.
pub(crate) const LOST_MS: u64 = 10_000;

/// What a hub may have to wake up for.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// The sessions of its open connections.
    pub sessions: &'a [Session],
    /// The inbox; `None` before anything happened to it.
    pub head: Option<&'a Head>,
    /// When the clock moves the next delivery on.
    pub delivery_at: Option<Timestamp>,
    /// Whether anything is owed to the record.
    pub debt: Debt,
}

/// The time to set the alarm to; `None` when it may stay as it is.
///
/// An alarm that is set too early is left alone: moving it costs as much as the wake-up it saves.
/// Nobody has to be told at once that an item has expired while nobody is there.
#[must_use]
pub fn to_set(
    set: Option<Timestamp>,
    needs: &Needs<'_>,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Option<Timestamp> {
    let sessions = needs.sessions.iter().map(|session| session.wakes_at(rules)).min();
    let catch_up = needs.head.and_then(|head| head.catch_up_at);
    let expiry = needs
        .head
        .and_then(|head| head.expires_at)
        .filter(|_| !needs.sessions.is_empty());
    let due = [sessions, catch_up, expiry, needs.delivery_at]
        .into_iter()
        .flatten()
        .min();
    // A tick of the switchboard wakes the hub as well as an alarm does, and costs it no row.
    let is_ticked = |session: &Session| session.heartbeat.is_ticked(rules.heartbeat);
    let tick = needs.sessions.iter().any(is_ticked);
    let tick = tick.then(|| now.after_ms(rules.heartbeat.interval_ms));
    let woken = due.into_iter().chain(tick).min();
    let due = match (needs.debt, woken) {
        (Debt::None, _) => due,
        (Debt::Owed, Some(woken)) if woken <= now.after_ms(PATIENCE_MS) => due,
        (Debt::Owed, _) => Some(now.after_ms(RETRY_MS)),
    }?;
    unless_early_enough(set, due, now)
}

/// When to set an alarm to, for what is due: `None` when it is early enough as it is. One that should have gone off
/// long ago is set again.
pub(crate) fn unless_early_enough(
    set: Option<Timestamp>,
    due: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let early_enough = set.is_some_and(|set| set <= due && now.since(set) < LOST_MS);
    (!early_enough).then_some(due)
}

#[cfg(all(test, not(feature = "conformance")))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::id::UserId;
    use crate::session::tests::{joined_session, rules};

    #[test]
    fn the_earliest_need_sets_the_alarm_and_an_early_alarm_stays() {
        let at = Timestamp::from_ms;
        let now = at(1_000_000);
        let session = joined_session(now);
        let end = session.wakes_at(&rules());
        let idle = Head::new(UserId::parse("u1").unwrap());
        let waiting = Head {
            catch_up_at: Some(at(1_000_500)),
            ..idle.clone()
        };
        let expiring = Head {
            expires_at: Some(at(1_000_700)),
            ..idle.clone()
        };
        let nobody = Needs {
            sessions: &[],
            head: Some(&idle),
            delivery_at: None,
            debt: Debt::None,
        };
        let online = Needs {
            sessions: std::slice::from_ref(&session),
            ..nobody
        };
        for (set, needs, expected) in [
            (None, Needs { head: None, ..nobody }, None),
            (None, nobody, None),
            (None, online, Some(end)),
            (Some(end), online, None),
            (Some(now), online, None),
            (Some(at(now.as_ms() + 1 - LOST_MS)), online, None),
            (Some(at(now.as_ms() - LOST_MS)), online, Some(end)),
            (Some(end.after_ms(1)), online, Some(end)),
            (
                None,
                Needs {
                    head: Some(&waiting),
                    ..online
                },
                Some(at(1_000_500)),
            ),
            (
                None,
                Needs {
                    head: Some(&expiring),
                    ..online
                },
                Some(at(1_000_700)),
            ),
            (
                None,
                Needs {
                    head: Some(&expiring),
                    ..nobody
                },
                None,
            ),
            (
                Some(end),
                Needs {
                    delivery_at: Some(at(1_000_300)),
                    ..online
                },
                Some(at(1_000_300)),
            ),
            (
                Some(end),
                Needs {
                    debt: Debt::Owed,
                    ..online
                },
                None,
            ),
            (
                None,
                Needs {
                    debt: Debt::Owed,
                    ..nobody
                },
                Some(now.after_ms(RETRY_MS)),
            ),
            (
                Some(now),
                Needs {
                    debt: Debt::Owed,
                    ..nobody
                },
                None,
            ),
        ] {
            assert_eq!(to_set(set, &needs, &rules(), now), expected, "{set:?} {needs:?}");
        }
    }
}
