//! What a switchboard knows of itself and of the others of its generation, and must not forget.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::SwitchboardName;
use super::roster::{Roster, Wish};
use crate::time::Timestamp;

/// How often the admins are reported to, in milliseconds.
pub const REPORT_INTERVAL_MS: u64 = 10_000;

/// What a switchboard must not forget, besides its roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// Its name.
    pub name: SwitchboardName,
    /// Whether the record knows that it may have members.
    pub registered: Registered,
    /// When it ticks next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_at: Option<Timestamp>,
    /// What the others were told: whether hubs here follow presence.
    pub watching: Wish,
    /// Which others have hubs that follow presence.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub watchers: BTreeSet<u32>,
    /// Which switchboards have admins: known to the first.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub admins: BTreeSet<u32>,
    /// When the first reports to them; `None` when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporting: Option<Reporting>,
}

/// Whether the record knows that a switchboard may have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registered {
    /// It does: pushes come here.
    Yes,
    /// It may not.
    No,
}

/// Reports to the admins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporting {
    /// What the last one covered ends here; `None` before the first.
    pub since: Option<Timestamp>,
    /// When the next one is due.
    pub due_at: Timestamp,
}

impl Board {
    /// A switchboard of which nothing is known yet.
    #[must_use]
    pub const fn new(name: SwitchboardName) -> Self {
        Self {
            name,
            registered: Registered::No,
            tick_at: None,
            watching: Wish::No,
            watchers: BTreeSet::new(),
            admins: BTreeSet::new(),
            reporting: None,
        }
    }

    /// The roster has changed: it ticks while clients wait for pings.
    pub fn keep_time(&mut self, roster: &Roster, interval_ms: u64, now: Timestamp) {
        self.tick_at = if roster.ticked().is_empty() {
            None
        } else {
            // Whatever is set for later than an interval was set by another clock, or for another interval.
            let latest = now.after_ms(interval_ms);
            Some(self.tick_at.map_or(latest, |at| at.min(latest)))
        };
    }

    /// Whether it is time to tick; then the next time is an interval later.
    pub fn ticks(&mut self, interval_ms: u64, now: Timestamp) -> bool {
        let due = self.tick_at.is_some_and(|at| at <= now);
        if due {
            self.tick_at = Some(now.after_ms(interval_ms));
        }
        due
    }

    /// Another switchboard says whether its hubs follow presence.
    pub fn note_watching(&mut self, index: u32, presence: Wish) {
        match presence {
            Wish::Yes => self.watchers.insert(index),
            Wish::No => self.watchers.remove(&index),
        };
    }

    /// Whether anybody anywhere follows presence.
    #[must_use]
    pub fn is_watched(&self, roster: &Roster) -> bool {
        !roster.watching().is_empty() || !self.watchers.is_empty()
    }

    /// There are admins at a switchboard: reports begin, if they have not.
    pub fn note_admins(&mut self, index: u32, now: Timestamp) {
        self.admins.insert(index);
        self.reporting.get_or_insert(Reporting {
            since: None,
            due_at: now,
        });
    }

    /// A report up to `until` was made, and these switchboards have admins.
    pub fn note_report(&mut self, admins: BTreeSet<u32>, until: Timestamp, now: Timestamp) {
        self.reporting = (!admins.is_empty()).then_some(Reporting {
            since: Some(until),
            due_at: now.after_ms(REPORT_INTERVAL_MS),
        });
        self.admins = admins;
    }

    /// Whether it has no more to do: it is of a generation of another size than `count`, and everybody has
    /// left.
    #[must_use]
    pub fn is_over(&self, roster: &Roster, count: u32) -> bool {
        self.name.count != count && roster.online() == 0
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::id::UserId;
    use crate::switchboard::roster::{Attendance, Needs};

    const NAME: SwitchboardName = SwitchboardName { count: 4, index: 1 };

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn roster(ticks: Wish, presence: Wish) -> Roster {
        let mut roster = Roster::default();
        let attendance = Attendance {
            at: at(1),
            rooms: vec![],
            needs: Needs { ticks, presence },
        };
        roster.attend(&UserId::parse("u1").unwrap(), attendance, None);
        roster
    }

    #[test]
    fn it_ticks_every_interval_while_anybody_waits_for_it() {
        let (waiting, idle) = (roster(Wish::Yes, Wish::No), roster(Wish::No, Wish::No));
        let mut board = Board::new(NAME);
        board.keep_time(&idle, 90, at(100));
        assert_eq!(board.tick_at, None);
        board.keep_time(&waiting, 90, at(100));
        board.keep_time(&waiting, 90, at(150));
        assert_eq!(board.tick_at, Some(at(190)));
        assert!(!board.ticks(90, at(189)));
        assert!(board.ticks(90, at(195)));
        assert_eq!(board.tick_at, Some(at(285)));
        board.keep_time(&waiting, 10, at(200));
        assert_eq!(board.tick_at, Some(at(210)));
        board.keep_time(&idle, 90, at(200));
        assert_eq!(board.tick_at, None);
        assert!(!board.ticks(90, at(999)));
    }

    #[test]
    fn it_is_watched_by_its_own_or_by_others() {
        let (following, idle) = (roster(Wish::No, Wish::Yes), roster(Wish::No, Wish::No));
        let mut board = Board::new(NAME);
        assert!(!board.is_watched(&idle));
        assert!(board.is_watched(&following));
        board.note_watching(3, Wish::Yes);
        assert!(board.is_watched(&idle));
        board.note_watching(3, Wish::No);
        assert!(!board.is_watched(&idle));
    }

    #[test]
    fn reports_begin_with_the_first_admin_and_end_with_the_last() {
        let mut board = Board::new(NAME);
        board.note_admins(2, at(100));
        board.note_admins(3, at(105));
        let first = Reporting {
            since: None,
            due_at: at(100),
        };
        assert_eq!(board.reporting, Some(first));
        board.note_report([3].into(), at(90), at(110));
        let second = Reporting {
            since: Some(at(90)),
            due_at: at(110 + REPORT_INTERVAL_MS),
        };
        assert_eq!((board.reporting, board.admins.len()), (Some(second), 1));
        board.note_report(BTreeSet::new(), at(190), at(200));
        assert_eq!(board.reporting, None);
    }

    #[test]
    fn one_of_a_former_generation_is_over_when_everybody_has_left() {
        let (online, empty) = (roster(Wish::No, Wish::No), Roster::default());
        let board = Board::new(NAME);
        for (roster, count, over) in [(&online, 8, false), (&empty, 4, false), (&empty, 8, true)] {
            assert_eq!(board.is_over(roster, count), over, "{count}");
        }
    }

    #[test]
    fn the_stored_form_is_as_it_was() {
        let mut board = Board::new(NAME);
        let json = r#"{"name":{"count":4,"index":1},"registered":"no","watching":"no"}"#;
        assert_eq!(serde_json::to_string(&board).unwrap(), json);
        assert_eq!(serde_json::from_str::<Board>(json).unwrap(), board);
        board.tick_at = Some(at(5));
        board.registered = Registered::Yes;
        board.note_watching(2, Wish::Yes);
        board.note_admins(3, at(7));
        let json = r#"{"name":{"count":4,"index":1},"registered":"yes","tick_at":5,"watching":"no","watchers":[2],"admins":[3],"reporting":{"since":null,"due_at":7}}"#;
        assert_eq!(serde_json::to_string(&board).unwrap(), json);
        assert_eq!(serde_json::from_str::<Board>(json).unwrap(), board);
    }
}
