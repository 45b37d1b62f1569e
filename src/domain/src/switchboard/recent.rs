//! The ends of shared rooms' logs that a switchboard has in memory, so that many hubs who missed the same
//! cost the record one query.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use crate::id::NotificationId;
use crate::inbox::{Entry, EntryKind};
use crate::room::SharedRoom;

/// Most rooms, and most entries and bytes of each.
const MAX_ROOMS: usize = 64;
const MAX_ENTRIES: usize = 64;
const MAX_BYTES: usize = 256 * 1_000;

/// An entry and its size.
#[derive(Clone, Debug)]
pub struct Weighed {
    /// The entry.
    pub entry: Entry,
    /// About how many bytes it takes on its way to a hub.
    pub bytes: usize,
}

impl From<Entry> for Weighed {
    fn from(entry: Entry) -> Self {
        let mut scale = Scale(0);
        // What can't be written weighs what was written of it; it will fail where it matters.
        let _ = serde_json::to_writer(&mut scale, &entry);
        Self {
            entry,
            bytes: scale.0,
        }
    }
}

struct Scale(usize);

impl io::Write for Scale {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The ends of logs.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    rooms: BTreeMap<SharedRoom, Log>,
    uses: u64,
}

/// All entries of a room's log after `low`, up to and including `high`.
#[derive(Clone, Debug)]
struct Log {
    low: u64,
    high: u64,
    entries: VecDeque<Rc<Weighed>>,
    bytes: usize,
    used: u64,
}

/// What follows a place in a log.
#[derive(Clone, Debug)]
pub struct Following {
    /// The entries.
    pub entries: Vec<Rc<Weighed>>,
    /// The entry up to which they are all there are.
    pub up_to: u64,
}

impl Recent {
    /// What follows entry `n` of a room; `None` when that is not known.
    pub fn following(&mut self, room: &SharedRoom, n: u64) -> Option<Following> {
        self.uses = self.uses.saturating_add(1);
        let log = self.rooms.get_mut(room)?;
        if n < log.low || n > log.high {
            return None;
        }
        log.used = self.uses;
        let entries = log.entries.iter().filter(|weighed| weighed.entry.n > n);
        Some(Following {
            entries: entries.cloned().collect(),
            up_to: log.high,
        })
    }

    /// Takes note of an entry that was appended to rooms, with its number in each. What was taken back is not
    /// handed out any more.
    pub fn append(&mut self, places: &[(SharedRoom, u64)], kind: &EntryKind) {
        if let EntryKind::Retract(id) = kind {
            self.withhold(*id);
        }
        for (room, n) in places {
            let entry = Entry {
                n: *n,
                kind: kind.clone(),
            };
            let entry = Rc::new(Weighed::from(entry));
            self.learn(room, n.saturating_sub(1), *n, std::slice::from_ref(&entry));
        }
    }

    /// Takes note of all the entries of a room after `after`, up to and including `up_to`.
    pub fn learn(&mut self, room: &SharedRoom, after: u64, up_to: u64, entries: &[Rc<Weighed>]) {
        self.uses = self.uses.saturating_add(1);
        let uses = self.uses;
        let begin = Log {
            low: after,
            high: after,
            entries: VecDeque::new(),
            bytes: 0,
            used: uses,
        };
        let log = self.rooms.entry(room.clone()).or_insert_with(|| begin.clone());
        if up_to < log.high {
            return;
        }
        if after > log.high || after < log.low {
            *log = begin;
        }
        log.used = uses;
        for weighed in entries {
            if weighed.entry.n > log.high {
                log.bytes = log.bytes.saturating_add(weighed.bytes);
                log.entries.push_back(Rc::clone(weighed));
            }
        }
        log.high = up_to;
        while log.entries.len() > MAX_ENTRIES || log.bytes > MAX_BYTES {
            let Some(oldest) = log.entries.pop_front() else {
                break;
            };
            log.low = oldest.entry.n;
            log.bytes = log.bytes.saturating_sub(oldest.bytes);
        }
        if self.rooms.len() > MAX_ROOMS {
            let least_used = self.rooms.iter().min_by_key(|(_, log)| log.used);
            if let Some(room) = least_used.map(|(room, _)| room.clone()) {
                self.rooms.remove(&room);
            }
        }
    }

    fn withhold(&mut self, id: NotificationId) {
        for log in self.rooms.values_mut() {
            for weighed in &mut log.entries {
                let pushes = matches!(&weighed.entry.kind,
                    EntryKind::Push(Some(notification)) if notification.id == id);
                if pushes {
                    log.bytes = log.bytes.saturating_sub(weighed.bytes);
                    let entry = Entry {
                        n: weighed.entry.n,
                        kind: EntryKind::Push(None),
                    };
                    *weighed = Rc::new(Weighed { entry, bytes: 0 });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::notification::{Content, Notification};
    use crate::time::Timestamp;

    fn room(name: &str) -> SharedRoom {
        SharedRoom::parse(name).unwrap()
    }

    fn id(n: u64) -> NotificationId {
        NotificationId::generate(Timestamp::from_ms(n), [0; 10])
    }

    fn push(n: u64, bytes: usize) -> EntryKind {
        EntryKind::Push(Some(Box::new(Notification {
            id: id(n),
            created_at: Timestamp::from_ms(n),
            content: Content {
                content: "x".repeat(bytes),
                ..Content::default()
            },
        })))
    }

    fn entries(numbers: impl IntoIterator<Item = u64>) -> Vec<Rc<Weighed>> {
        let entry = |n| Entry { n, kind: push(n, 1) };
        numbers
            .into_iter()
            .map(|n| Rc::new(Weighed::from(entry(n))))
            .collect()
    }

    fn append(recent: &mut Recent, n: u64) {
        recent.append(&[(room("dept:a"), n)], &push(n, 1));
    }

    /// What follows entry `n`, and up to where.
    fn following(recent: &mut Recent, n: u64) -> Option<(Vec<u64>, u64)> {
        let following = recent.following(&room("dept:a"), n)?;
        let numbers = following.entries.iter().map(|weighed| weighed.entry.n);
        Some((numbers.collect(), following.up_to))
    }

    #[test]
    fn what_was_appended_one_after_the_other_is_all_there_is() {
        let mut recent = Recent::default();
        assert_eq!(following(&mut recent, 0), None);
        for n in [5, 6, 6, 5, 7] {
            append(&mut recent, n);
        }
        assert_eq!(following(&mut recent, 3), None);
        assert_eq!(following(&mut recent, 4), Some((vec![5, 6, 7], 7)));
        assert_eq!(following(&mut recent, 6), Some((vec![7], 7)));
        assert_eq!(following(&mut recent, 7), Some((vec![], 7)));
        assert_eq!(following(&mut recent, 8), None);
    }

    #[test]
    fn a_gap_begins_anew_and_what_comes_late_changes_nothing() {
        let mut recent = Recent::default();
        for n in [5, 7, 6] {
            append(&mut recent, n);
        }
        assert_eq!(following(&mut recent, 5), None);
        assert_eq!(following(&mut recent, 6), Some((vec![7], 7)));
    }

    #[test]
    fn what_the_record_says_fits_on_or_takes_its_place() {
        for (after, up_to, numbers, from, expected) in [
            // Known: 5 and 6.
            (6, 9, vec![7, 9], 4, Some((vec![5, 6, 7, 9], 9))),
            (5, 8, vec![6, 8], 4, Some((vec![5, 6, 8], 8))),
            (4, 6, vec![5, 6], 4, Some((vec![5, 6], 6))),
            (2, 8, vec![3, 8], 2, Some((vec![3, 8], 8))),
            (2, 8, vec![3, 8], 4, Some((vec![8], 8))),
            (2, 5, vec![3, 5], 4, Some((vec![5, 6], 6))),
            (2, 5, vec![3, 5], 2, None),
            (8, 9, vec![9], 8, Some((vec![9], 9))),
            (8, 9, vec![9], 4, None),
            (6, 6, vec![], 4, Some((vec![5, 6], 6))),
        ] {
            let mut recent = Recent::default();
            append(&mut recent, 5);
            append(&mut recent, 6);
            recent.learn(&room("dept:a"), after, up_to, &entries(numbers));
            assert_eq!(
                following(&mut recent, from),
                expected,
                "({after}, {up_to}] from {from}"
            );
        }
    }

    #[test]
    fn a_room_without_entries_is_known_to_have_none() {
        let mut recent = Recent::default();
        recent.learn(&room("dept:a"), 0, 0, &[]);
        assert_eq!(following(&mut recent, 0), Some((vec![], 0)));
        append(&mut recent, 1);
        assert_eq!(following(&mut recent, 0), Some((vec![1], 1)));
    }

    #[test]
    fn what_was_taken_back_is_not_handed_out() {
        let mut recent = Recent::default();
        append(&mut recent, 1);
        recent.append(&[(room("dept:a"), 2)], &EntryKind::Retract(id(1)));
        let following = recent.following(&room("dept:a"), 0).unwrap();
        assert!(matches!(following.entries[0].entry.kind, EntryKind::Push(None)));
        assert!(matches!(following.entries[1].entry.kind, EntryKind::Retract(_)));
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut recent = Recent::default();
        for n in 1..=100 {
            append(&mut recent, n);
        }
        assert_eq!(following(&mut recent, 35), None);
        assert_eq!(following(&mut recent, 36).unwrap().0.len(), MAX_ENTRIES);
        for n in 101..=110 {
            recent.append(&[(room("dept:a"), n)], &push(n, MAX_BYTES / 4));
        }
        assert_eq!(following(&mut recent, 107), Some((vec![108, 109, 110], 110)));
        assert_eq!(following(&mut recent, 106), None);
        for other in 0..MAX_ROOMS {
            recent.append(&[(room(&format!("room:{other}")), 1)], &push(1, 1));
        }
        assert_eq!(recent.rooms.len(), MAX_ROOMS);
        assert_eq!(following(&mut recent, 110), None, "the least used room went");
    }
}
