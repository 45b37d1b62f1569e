//! When a switchboard has to wake up by itself. It has one alarm; an idle one has none.

use crate::alarm::unless_early_enough;
use crate::time::Timestamp;

/// When a walk that has ended with its process goes on, in milliseconds.
pub const RESUME_MS: u64 = 30_000;

/// What a switchboard may have to wake up for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadlines {
    /// When to go on with what is under way, should nobody have.
    pub resume: Option<Timestamp>,
    /// When the next of those who have left is due.
    pub departure: Option<Timestamp>,
    /// When to tick.
    pub tick: Option<Timestamp>,
    /// When to report to the admins.
    pub report: Option<Timestamp>,
}

/// The time to set the alarm to; `None` when it may stay as it is. One that is set too early is left
/// alone: moving it costs as much as the wake-up it saves. One that should have gone off long ago is set
/// again.
#[must_use]
pub fn to_set(set: Option<Timestamp>, deadlines: &Deadlines, now: Timestamp) -> Option<Timestamp> {
    let Deadlines {
        resume,
        departure,
        tick,
        report,
    } = *deadlines;
    let due = [resume, departure, tick, report].into_iter().flatten().min()?;
    unless_early_enough(set, due.max(now), now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::LOST_MS;

    #[test]
    fn the_earliest_deadline_sets_the_alarm_and_an_early_alarm_stays() {
        let at = |ms| Some(Timestamp::from_ms(ms));
        let idle = Deadlines::default();
        let busy = Deadlines {
            resume: at(30),
            departure: at(5),
            tick: at(20),
            report: at(10),
        };
        for (set, deadlines, now, expected) in [
            (None, idle, 1, None),
            (at(7), idle, 1, None),
            (None, busy, 1, at(5)),
            (at(5), busy, 1, None),
            (at(4), busy, 1, None),
            (at(6), busy, 1, at(5)),
            (None, busy, 8, at(8)),
            (at(5), busy, 4 + LOST_MS, None),
            (at(5), busy, 5 + LOST_MS, at(5 + LOST_MS)),
            (at(5), idle, 5 + LOST_MS, None),
            (
                None,
                Deadlines {
                    departure: None,
                    ..busy
                },
                1,
                at(10),
            ),
            (None, Deadlines { tick: at(3), ..busy }, 1, at(3)),
            (
                None,
                Deadlines {
                    resume: at(2),
                    ..busy
                },
                1,
                at(2),
            ),
        ] {
            let now = Timestamp::from_ms(now);
            assert_eq!(
                to_set(set, &deadlines, now),
                expected,
                "{set:?} {deadlines:?} {now:?}"
            );
        }
    }
}
