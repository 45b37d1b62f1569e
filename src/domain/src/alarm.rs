//! When a hub has to wake up by itself. It has one alarm; an idle hub has none.

use crate::inbox::Head;
use crate::session::{Rules, Session};
use crate::time::Timestamp;

/// How long something owed to the record may wait for a wake-up that comes anyway, in milliseconds.
/// Shorter than that an alarm of its own would only cost.
const PATIENCE_MS: u64 = 300_000;

/// How soon an attempt to reach the record is repeated, in milliseconds.
pub const RETRY_MS: u64 = 30_000;

/// Whether the hub owes the record anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debt {
    /// The outbox is empty.
    None,
    /// The outbox holds something.
    Some,
}

/// The time to set the alarm to; `None` when it may stay as it is.
///
/// An alarm that is set too early is left alone: moving it costs as much as the wake-up it saves.
#[must_use]
pub fn to_set(
    set: Option<Timestamp>,
    sessions: &[Session],
    head: Option<&Head>,
    debt: Debt,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Option<Timestamp> {
    let sessions = sessions.iter().map(|session| session.wakes_at(rules)).min();
    let catch_up = head.and_then(|head| head.catch_up_at);
    let due = sessions.into_iter().chain(catch_up).min();
    let due = match (debt, due) {
        (Debt::None, due) => due,
        (Debt::Some, Some(due)) if due <= now.after_ms(PATIENCE_MS) => Some(due),
        (Debt::Some, _) => Some(now.after_ms(RETRY_MS)),
    }?;
    let early_enough = set.is_some_and(|set| set <= due);
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
        let tick = session.heartbeat.ping_at().unwrap();
        let idle = Head::new(UserId::parse("u1").unwrap());
        let waiting = Head {
            catch_up_at: Some(at(1_000_500)),
            ..idle.clone()
        };
        let sessions = std::slice::from_ref(&session);
        for (set, sessions, head, debt, expected) in [
            (None, &[][..], None, Debt::None, None),
            (None, &[][..], Some(&idle), Debt::None, None),
            (None, sessions, Some(&idle), Debt::None, Some(tick)),
            (Some(tick), sessions, Some(&idle), Debt::None, None),
            (Some(now), sessions, Some(&idle), Debt::None, None),
            (
                Some(tick.after_ms(1)),
                sessions,
                Some(&idle),
                Debt::None,
                Some(tick),
            ),
            (None, sessions, Some(&waiting), Debt::None, Some(at(1_000_500))),
            (Some(tick), sessions, Some(&idle), Debt::Some, None),
            (
                None,
                &[][..],
                Some(&idle),
                Debt::Some,
                Some(now.after_ms(RETRY_MS)),
            ),
            (Some(at(5)), &[][..], Some(&idle), Debt::Some, None),
        ] {
            assert_eq!(
                to_set(set, sessions, head, debt, &rules(), now),
                expected,
                "{set:?} {debt:?}"
            );
        }
    }
}
