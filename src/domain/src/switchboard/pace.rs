//! How often a switchboard turns to the record.
//!
//! What comes in is gathered for a moment, so that many hubs share one query. Two queries may follow each
//! other at once, so that who comes alone need not wait; after that there is one a second.

use crate::time::Timestamp;

/// How long is gathered when nothing else makes it longer, in milliseconds.
pub const WINDOW_MS: u64 = 10;

/// Queries that may follow each other at once.
const BURST: u64 = 2;

/// After how long there may be one more, in milliseconds.
const INTERVAL_MS: u64 = 1_000;

/// When the next query may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// When as many may follow each other at once as ever.
    rested_at: Timestamp,
}

impl Pace {
    /// When to make the query for what comes in at `now`: at most a second later.
    #[must_use]
    pub fn query_at(self, now: Timestamp) -> Timestamp {
        let ahead = BURST.saturating_sub(1).saturating_mul(INTERVAL_MS);
        let earliest = Timestamp::from_ms(self.rested_at.as_ms().saturating_sub(ahead));
        now.after_ms(WINDOW_MS)
            .max(earliest)
            .min(now.after_ms(INTERVAL_MS))
    }

    /// A query is made at `now`.
    pub fn query(&mut self, now: Timestamp) {
        // A clock that was put back must not make anybody wait.
        let furthest = now.after_ms(BURST.saturating_sub(1).saturating_mul(INTERVAL_MS));
        self.rested_at = self.rested_at.clamp(now, furthest).after_ms(INTERVAL_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the queries are made for what comes in at these moments.
    fn queries(arrivals: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut pace = Pace::default();
        let mut made = Vec::new();
        let mut planned: Option<Timestamp> = None;
        for arrival in arrivals.into_iter().map(Timestamp::from_ms) {
            if let Some(at) = planned.filter(|at| *at < arrival) {
                pace.query(at);
                made.push(at.as_ms());
                planned = None;
            }
            planned = planned.or(Some(pace.query_at(arrival)));
        }
        made.extend(planned.map(Timestamp::as_ms));
        made
    }

    #[test]
    fn who_comes_alone_hardly_waits() {
        assert_eq!(queries([50_000]), [50_010]);
        assert_eq!(queries([50_000, 50_020, 60_000]), [50_010, 50_030, 60_010]);
    }

    #[test]
    fn many_who_come_within_ten_seconds_are_served_by_twelve_queries() {
        for between in [1, 10, 40, 997] {
            let arrivals = (0..).map(|n| 100_000 + n * between);
            let made = queries(arrivals.take_while(|at| *at < 110_000));
            assert!(made.len() <= 12, "{between}: {made:?}");
        }
    }

    #[test]
    fn nobody_waits_longer_than_a_second() {
        let mut pace = Pace::default();
        for n in 0..100 {
            let now = Timestamp::from_ms(100_000 + n);
            pace.query(now);
            assert!(pace.query_at(now).since(now) <= INTERVAL_MS);
        }
        let earlier = Timestamp::from_ms(5);
        assert!(pace.query_at(earlier).since(earlier) <= INTERVAL_MS);
    }
}
