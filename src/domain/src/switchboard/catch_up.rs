//! How many hubs catch up with one query.
//!
//! Each asks for the logs it follows. Of shared rooms many ask for the same, or for nearly the same: the
//! record is asked once for them, and only for what is not in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::recent::{Following, Recent, Weighed};
use crate::inbox::Entry;
use crate::membership::Start;
use crate::room::{Room, SharedRoom};

/// Most entries of a log in one answer, and in one page of the record.
pub const PAGE: usize = 100;

/// Hubs that ask for entries as near to each other as this share a page.
const NEAR: u64 = 50;

/// Most bytes of entries in one answer, and in all answers to the hubs of one query.
const ANSWER_BYTES: usize = 1_000_000;
const ALL_BYTES: usize = 8_000_000;

/// A log, and how far the hub has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wanted {
    /// The log's room.
    pub room: Room,
    /// Where it goes on.
    pub from: Start,
}

/// What a hub has missed: one for each log it wants, in the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Missed {
    /// The logs.
    pub logs: Vec<MissedLog>,
}

/// What a hub has missed of a log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MissedLog {
    /// The entry the log goes on after, for a hub that only knew since when it wants it.
    pub after: u64,
    /// Entries after that one, in order, as many as can be sent at once.
    pub entries: Vec<Entry>,
    /// Whether there are more.
    pub more: More,
}

/// Whether there is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum More {
    /// There is.
    Yes,
    /// There is not.
    No,
}

/// A page of a log as the record holds it.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The entry it begins after.
    pub after: u64,
    /// The entry up to which it is complete.
    pub up_to: u64,
    /// The last entry of the log.
    pub head: u64,
    /// The entries, in order.
    pub entries: Vec<Entry>,
}

/// What the record is asked for on behalf of many hubs.
#[derive(Clone, Debug)]
pub struct Plan {
    pages: Vec<Wanted>,
    hubs: Vec<Vec<Source>>,
}

/// Where what follows a hub's cursor comes from.
#[derive(Clone, Debug)]
struct Source {
    /// `None` when only the record can tell.
    cursor: Option<u64>,
    known: Option<Following>,
    /// The page that goes on from there.
    page: usize,
}

impl Plan {
    /// What to ask for when each of these hubs wants these logs.
    pub fn of<'a>(hubs: impl IntoIterator<Item = &'a [Wanted]>, recent: &mut Recent) -> Self {
        let hubs: Vec<Vec<(&Wanted, Option<Following>)>> = hubs
            .into_iter()
            .map(|wanted| {
                wanted
                    .iter()
                    .map(|wanted| (wanted, in_memory(wanted, recent)))
                    .collect()
            })
            .collect();
        let shared = hubs
            .iter()
            .flatten()
            .filter_map(|(wanted, known)| match (&wanted.room, wanted.from) {
                (Room::Shared(room), Start::After(n)) => {
                    Some((room, known.as_ref().map_or(n, |known| known.up_to)))
                }
                (Room::User(_), _) | (Room::Shared(_), Start::Since(_)) => None,
            });
        let begins = begins(shared);
        let mut pages = Pages::default();
        let hubs = hubs
            .into_iter()
            .map(|wanted| {
                let source = |(wanted, known): (&Wanted, Option<Following>)| {
                    let cursor = match wanted.from {
                        Start::After(n) => Some(n),
                        Start::Since(_) => None,
                    };
                    let from = match (&wanted.room, wanted.from) {
                        (Room::Shared(room), Start::After(n)) => {
                            let n = known.as_ref().map_or(n, |known| known.up_to);
                            let begin = begins.get(room).and_then(|begins| begins.range(..=n).next_back());
                            Start::After(begin.copied().unwrap_or(n))
                        }
                        (Room::User(_), from) | (Room::Shared(_), from @ Start::Since(_)) => from,
                    };
                    let page = pages.place(Wanted {
                        room: wanted.room.clone(),
                        from,
                    });
                    Source { cursor, known, page }
                };
                wanted.into_iter().map(source).collect()
            })
            .collect();
        Self {
            pages: pages.list,
            hubs,
        }
    }

    /// The pages to ask the record for, each once. Those for the first hubs come first.
    #[must_use]
    pub fn pages(&self) -> &[Wanted] {
        &self.pages
    }

    /// What each hub is answered when these are the pages; `None` when they are not those asked for.
    pub fn answer(self, pages: Vec<Page>, recent: &mut Recent) -> Option<Vec<Missed>> {
        if pages.len() != self.pages.len() {
            return None;
        }
        let pages: Vec<(Page, Vec<Rc<Weighed>>)> = pages
            .into_iter()
            .map(|mut page| {
                let entries = std::mem::take(&mut page.entries).into_iter();
                (page, entries.map(|entry| Rc::new(Weighed::from(entry))).collect())
            })
            .collect();
        for (wanted, (page, entries)) in self.pages.iter().zip(&pages) {
            match &wanted.room {
                Room::Shared(room) => recent.learn(room, page.after, page.up_to, entries),
                Room::User(_) => {}
            }
        }
        let mut rest = ALL_BYTES;
        let mut missed = Vec::with_capacity(self.hubs.len());
        for sources in self.hubs {
            let mut allowed = rest.min(ANSWER_BYTES);
            let before = allowed;
            let mut logs = Vec::with_capacity(sources.len());
            for source in sources {
                let (page, entries) = pages.get(source.page)?;
                logs.push(source.log(page, entries, &mut allowed));
            }
            rest = rest.saturating_sub(before.saturating_sub(allowed));
            missed.push(Missed { logs });
        }
        Some(missed)
    }
}

impl Source {
    /// What is missed of the log, as far as the bytes `allowed` reach.
    fn log(self, page: &Page, entries: &[Rc<Weighed>], allowed: &mut usize) -> MissedLog {
        let after = self.cursor.unwrap_or(page.after);
        let Following {
            entries: in_memory,
            up_to: known,
        } = self.known.unwrap_or(Following {
            entries: Vec::new(),
            up_to: after,
        });
        let mut more = if known.max(page.up_to) < page.head {
            More::Yes
        } else {
            More::No
        };
        let read = entries.iter().filter(|weighed| weighed.entry.n > known);
        let mut taken = Vec::new();
        for weighed in in_memory.iter().chain(read) {
            if taken.len() == PAGE || *allowed == 0 {
                more = More::Yes;
                break;
            }
            *allowed = allowed.saturating_sub(weighed.bytes);
            taken.push(weighed.entry.clone());
        }
        MissedLog {
            after,
            entries: taken,
            more,
        }
    }
}

/// What follows a hub's cursor and is in memory.
fn in_memory(wanted: &Wanted, recent: &mut Recent) -> Option<Following> {
    match (&wanted.room, wanted.from) {
        (Room::Shared(room), Start::After(n)) => recent.following(room, n),
        (Room::User(_), _) | (Room::Shared(_), Start::Since(_)) => None,
    }
}

/// Where pages begin so that every place in a room's log is in one of them, or just before.
fn begins<'a>(
    places: impl Iterator<Item = (&'a SharedRoom, u64)>,
) -> BTreeMap<&'a SharedRoom, BTreeSet<u64>> {
    let mut all: BTreeMap<&SharedRoom, BTreeSet<u64>> = BTreeMap::new();
    for (room, n) in places {
        all.entry(room).or_default().insert(n);
    }
    for places in all.values_mut() {
        let mut begin: Option<u64> = None;
        places.retain(|n| {
            let far = begin.is_none_or(|begin| n.saturating_sub(begin) > NEAR);
            if far {
                begin = Some(*n);
            }
            far
        });
    }
    all
}

/// Pages, each once.
#[derive(Default)]
struct Pages {
    list: Vec<Wanted>,
    places: BTreeMap<Wanted, usize>,
}

impl Pages {
    fn place(&mut self, wanted: Wanted) -> usize {
        if let Some(place) = self.places.get(&wanted) {
            return *place;
        }
        let place = self.list.len();
        self.list.push(wanted.clone());
        self.places.insert(wanted, place);
        place
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::id::NotificationId;
    use crate::inbox::EntryKind;
    use crate::notification::{Content, Notification};
    use crate::time::Timestamp;

    fn push(n: u64, bytes: usize) -> EntryKind {
        EntryKind::Push(Some(Box::new(Notification {
            id: NotificationId::generate(Timestamp::from_ms(n), [0; 10]),
            created_at: Timestamp::from_ms(n),
            content: Content {
                content: "x".repeat(bytes),
                ..Content::default()
            },
        })))
    }

    fn wanted(room: &str, n: u64) -> Wanted {
        Wanted {
            room: Room::parse(room).unwrap(),
            from: Start::After(n),
        }
    }

    fn since(room: &str, ms: u64) -> Wanted {
        Wanted {
            room: Room::parse(room).unwrap(),
            from: Start::Since(Timestamp::from_ms(ms)),
        }
    }

    fn shared(name: &str) -> SharedRoom {
        SharedRoom::parse(name).unwrap()
    }

    /// A record in which each log has entries 1 to `heads`, of so many bytes, and a `Since` means that entry.
    fn record(pages: &[Wanted], heads: &[(&str, u64)], bytes: usize) -> Vec<Page> {
        let page = |wanted: &Wanted| {
            let name = wanted.room.to_string();
            let head = heads
                .iter()
                .find(|(room, _)| *room == name)
                .map_or(0, |(_, head)| *head);
            let after = match wanted.from {
                Start::After(n) => n,
                Start::Since(at) => at.as_ms(),
            };
            let up_to = head.min(after + u64::try_from(PAGE).unwrap()).max(after);
            let entry = |n| Entry {
                n,
                kind: push(n, bytes),
            };
            Page {
                after,
                up_to,
                head,
                entries: (after + 1..=up_to).map(entry).collect(),
            }
        };
        pages.iter().map(page).collect()
    }

    /// A log as a hub is answered: after which entry, the first and last entry, whether there is more.
    type Log = (u64, Option<(u64, u64)>, More);

    /// What is asked of the record, and what the hubs are answered.
    fn served(
        hubs: &[Vec<Wanted>],
        recent: &mut Recent,
        heads: &[(&str, u64)],
        bytes: usize,
    ) -> (Vec<String>, Vec<Vec<Log>>) {
        let plan = Plan::of(hubs.iter().map(Vec::as_slice), recent);
        let asked = plan.pages().iter();
        let asked = asked
            .map(|page| format!("{} {:?}", page.room, page.from))
            .collect();
        let pages = record(plan.pages(), heads, bytes);
        let words = |log: &MissedLog| {
            let numbers: Vec<u64> = log.entries.iter().map(|entry| entry.n).collect();
            assert!(
                numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
                "{numbers:?}"
            );
            let ends = numbers.first().copied().zip(numbers.last().copied());
            (log.after, ends, log.more)
        };
        let missed = plan.answer(pages, recent).unwrap();
        (
            asked,
            missed
                .iter()
                .map(|missed| missed.logs.iter().map(words).collect())
                .collect(),
        )
    }

    #[test]
    fn every_hub_gets_what_it_wants_in_its_order_and_the_record_is_asked_once() {
        let hubs = [
            vec![wanted("user:1", 3), wanted("broadcast", 7), wanted("dept:a", 0)],
            vec![wanted("user:2", 0), wanted("dept:a", 0), wanted("broadcast", 7)],
        ];
        let heads = [("user:1", 5), ("broadcast", 9)];
        let (asked, answers) = served(&hubs, &mut Recent::default(), &heads, 1);
        assert_eq!(
            asked,
            [
                "user:1 After(3)",
                "broadcast After(7)",
                "dept:a After(0)",
                "user:2 After(0)"
            ]
        );
        let broadcast = (7, Some((8, 9)), More::No);
        let nothing = (0, None, More::No);
        assert_eq!(
            answers,
            [
                vec![(3, Some((4, 5)), More::No), broadcast, nothing],
                vec![nothing, nothing, broadcast],
            ]
        );
    }

    #[test]
    fn what_is_in_memory_is_not_asked_for_again() {
        let mut recent = Recent::default();
        for n in 5..=8 {
            recent.append(&[(shared("broadcast"), n)], &push(n, 1));
        }
        let hubs: Vec<_> = [4, 6, 8].map(|n| vec![wanted("broadcast", n)]).into();
        let (asked, answers) = served(&hubs, &mut recent, &[("broadcast", 9)], 1);
        assert_eq!(asked, ["broadcast After(8)"]);
        let firsts: Vec<_> = answers.iter().map(|logs| logs[0]).collect();
        assert_eq!(
            firsts,
            [
                (4, Some((5, 9)), More::No),
                (6, Some((7, 9)), More::No),
                (8, Some((9, 9)), More::No),
            ]
        );
        // Meanwhile learned.
        assert_eq!(recent.following(&shared("broadcast"), 4).unwrap().up_to, 9);
    }

    #[test]
    fn hubs_that_are_near_each_other_share_a_page() {
        let hubs: Vec<_> = [10, 60, 61, 35, 300].map(|n| vec![wanted("broadcast", n)]).into();
        let (asked, answers) = served(&hubs, &mut Recent::default(), &[("broadcast", 400)], 1);
        assert_eq!(
            asked,
            [
                "broadcast After(10)",
                "broadcast After(61)",
                "broadcast After(300)"
            ]
        );
        let firsts: Vec<_> = answers.iter().map(|logs| logs[0]).collect();
        assert_eq!(
            firsts,
            [
                (10, Some((11, 110)), More::Yes),
                (60, Some((61, 110)), More::Yes),
                (61, Some((62, 161)), More::Yes),
                (35, Some((36, 110)), More::Yes),
                (300, Some((301, 400)), More::No),
            ]
        );
    }

    #[test]
    fn since_when_is_for_the_record_to_tell() {
        let hubs = [
            vec![since("broadcast", 7)],
            vec![since("broadcast", 7)],
            vec![since("dept:a", 3)],
        ];
        let heads = [("broadcast", 9), ("dept:a", 3)];
        let (asked, answers) = served(&hubs, &mut Recent::default(), &heads, 1);
        assert_eq!(
            asked,
            ["broadcast Since(Timestamp(7))", "dept:a Since(Timestamp(3))"]
        );
        let broadcast = vec![(7, Some((8, 9)), More::No)];
        assert_eq!(answers, [broadcast.clone(), broadcast, vec![(3, None, More::No)]]);
    }

    #[test]
    fn answers_are_bounded_and_whoever_comes_first_is_served() {
        let hubs: Vec<_> = (0..20)
            .map(|_| vec![wanted("broadcast", 0), wanted("dept:a", 0)])
            .collect();
        let heads = [("broadcast", 90), ("dept:a", 1)];
        let (_, answers) = served(&hubs, &mut Recent::default(), &heads, 15_000);
        let full = |logs: &Vec<Log>| logs[0].1.is_some_and(|(_, last)| last >= 66);
        let served = answers.iter().filter(|logs| full(logs)).count();
        assert_eq!(served, 8);
        assert!(answers[..8].iter().all(full));
        for logs in &answers {
            assert_eq!((logs[0].2, logs[1]), (More::Yes, (0, None, More::Yes)));
        }
        assert_eq!(answers[19][0], (0, None, More::Yes));
    }

    #[test]
    fn an_answer_of_another_length_is_none() {
        let mut recent = Recent::default();
        let hub = vec![wanted("user:1", 0)];
        let plan = Plan::of([hub.as_slice()], &mut recent);
        assert!(plan.answer(Vec::new(), &mut recent).is_none());
    }

    #[test]
    fn the_form_between_objects_is_as_it_was() {
        let json = r#"{"room":"dept:a","from":{"since":5}}"#;
        assert_eq!(serde_json::to_string(&since("dept:a", 5)).unwrap(), json);
        assert_eq!(serde_json::from_str::<Wanted>(json).unwrap(), since("dept:a", 5));
        let missed = Missed {
            logs: vec![MissedLog {
                after: 4,
                entries: vec![Entry {
                    n: 5,
                    kind: EntryKind::Push(None),
                }],
                more: More::Yes,
            }],
        };
        let json = r#"{"logs":[{"after":4,"entries":[{"n":5,"kind":{"push":null}}],"more":"yes"}]}"#;
        assert_eq!(serde_json::to_string(&missed).unwrap(), json);
        assert_eq!(
            serde_json::to_string(&serde_json::from_str::<Missed>(json).unwrap()).unwrap(),
            json
        );
    }
}
