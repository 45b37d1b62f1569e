//! The counts are kept, never counted; here they are held against the items all the same. They can't differ, so a
//! difference is a mistake of the code that somebody has to hear of.

use super::edit::Edit;
use super::{Affected, Emission, Head, Listening, Outcome};
use crate::event::ServerEvent;
use crate::recovery::Offset;
use crate::time::Timestamp;

const HOUR_MS: u64 = 3_600_000;

/// Whether it is time to count: an hour of the clock has begun since a hub last had occasion to. Nothing need be
/// remembered for that, so a hub that is evicted between two ticks counts no more often than one that is not.
#[must_use]
pub const fn recount_is_due(last_occasion: Timestamp, now: Timestamp) -> bool {
    now.as_ms() / HOUR_MS > last_occasion.as_ms() / HOUR_MS
}

/// By how much the counts differ from `counted`, together.
#[must_use]
pub const fn drift(head: &Head, counted: Affected) -> u64 {
    head.unread
        .abs_diff(counted.unread)
        .saturating_add(head.unseen.abs_diff(counted.unseen))
}

/// Makes the counts what was `counted`. That is a change like any other: a client passes over a count whose `seq`
/// it knows already.
#[must_use]
pub fn recount(head: &Head, counted: Affected, now: Timestamp) -> Outcome {
    let mut edit = Edit::of(head, now);
    if drift(head, counted) == 0 {
        return edit.finish();
    }
    edit.next_seq();
    edit.head.unread = counted.unread;
    edit.head.unseen = counted.unseen;
    let counts = edit.head.counts();
    let mut outcome = edit.finish();
    outcome.emissions.push(Emission {
        event: ServerEvent::UnreadCount(counts),
        offset: Offset(counts.seq),
        to: Listening::All,
    });
    outcome
}
