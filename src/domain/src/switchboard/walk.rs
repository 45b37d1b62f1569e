//! Walks: how a switchboard brings one thing to many hubs (DESIGN 8).
//!
//! A walk goes through the members it is for in the order of their ids, a batch at a time, so that it can
//! go on from any place. Several walks take turns, a batch each, so that a long one does not hold up a
//! short one; but what is for one room comes in order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::room::SharedRoom;

/// Members in the first batch of a walk, so that the first are told early.
const FIRST_BATCH: usize = 6;

/// Members in each batch after that, told at the same time.
pub const BATCH: usize = 50;

/// How long to wait before hubs that could not be reached are tried again, in milliseconds.
pub const RETRY_DELAYS_MS: [u64; 3] = [300, 1_500, 5_000];

/// Whom something is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circle {
    /// Everybody in these rooms.
    pub rooms: Vec<SharedRoom>,
    /// And these users.
    pub users: BTreeSet<UserId>,
}

/// A member of a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// Who.
    pub user: UserId,
    /// Why.
    pub by: By,
}

/// Why something is for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// They were named.
    Name,
    /// They are in these rooms.
    Rooms(Vec<SharedRoom>),
}

/// How far a walk has come: what is stored of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It goes on.
    Walking {
        /// After this member; `None` at the beginning.
        after: Option<UserId>,
        /// Those before whose hubs could not be reached.
        missed: Vec<UserId>,
    },
    /// It has come to the end; the hubs of these could not be reached.
    Retrying(Vec<UserId>),
}

impl Default for Progress {
    fn default() -> Self {
        Self::Walking {
            after: None,
            missed: Vec::new(),
        }
    }
}

/// The walks that are under way.
#[derive(Clone, Debug, Default)]
pub struct Walks {
    /// In the order in which they were begun.
    under_way: BTreeMap<u64, Walk>,
    begun: u64,
    /// Whose turn it was.
    last: u64,
}

#[derive(Clone, Debug)]
struct Walk {
    circle: Circle,
    after: Option<UserId>,
    missed: Vec<UserId>,
}

/// A batch that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The walk.
    pub walk: u64,
    /// Whom it is for.
    pub circle: Circle,
    /// The member it goes on after.
    pub after: Option<UserId>,
    /// How many members to tell.
    pub limit: usize,
}

/// What is left of a walk after a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on: to be stored.
    Goes(Progress),
    /// It has come to the end; the hubs of these could not be reached.
    Ends(Vec<UserId>),
}

impl Walks {
    /// Begins a walk, or goes on with one that had come this far. Gives its number.
    pub fn begin(&mut self, circle: Circle, after: Option<UserId>, missed: Vec<UserId>) -> u64 {
        self.begun = self.begun.saturating_add(1);
        let walk = Walk {
            circle,
            after,
            missed,
        };
        self.under_way.insert(self.begun, walk);
        self.begun
    }

    /// Whose turn it is.
    pub fn turn(&mut self) -> Option<Turn> {
        let later = self.under_way.range(self.last.saturating_add(1)..);
        let earlier = self.under_way.range(..=self.last);
        let (number, walk) = later
            .chain(earlier)
            .find(|(number, walk)| self.is_free(**number, walk))?;
        self.last = *number;
        Some(Turn {
            walk: *number,
            circle: walk.circle.clone(),
            after: walk.after.clone(),
            limit: match walk.after {
                None => FIRST_BATCH,
                Some(_) => BATCH,
            },
        })
    }

    /// Whether no walk begun earlier is for one of its rooms.
    fn is_free(&self, number: u64, walk: &Walk) -> bool {
        let mut before = self.under_way.range(..number);
        !before.any(|(_, other)| {
            walk.circle
                .rooms
                .iter()
                .any(|room| other.circle.rooms.contains(room))
        })
    }

    /// A batch was told: all of `told`, but for `missed`.
    pub fn step(&mut self, turn: &Turn, told: &[Addressed], missed: Vec<UserId>) -> Step {
        let ends = told.len() < turn.limit;
        let Some(walk) = self.under_way.get_mut(&turn.walk) else {
            return Step::Ends(missed);
        };
        walk.missed.extend(missed);
        if let Some(last) = told.last() {
            walk.after = Some(last.user.clone());
        }
        if ends {
            let missed = std::mem::take(&mut walk.missed);
            self.under_way.remove(&turn.walk);
            return Step::Ends(missed);
        }
        Step::Goes(Progress::Walking {
            after: walk.after.clone(),
            missed: walk.missed.clone(),
        })
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    fn user(n: usize) -> UserId {
        UserId::parse(&format!("u{n:04}")).unwrap()
    }

    fn circle(names: &[&str]) -> Circle {
        Circle {
            rooms: names
                .iter()
                .map(|name| SharedRoom::parse(name).unwrap())
                .collect(),
            users: BTreeSet::new(),
        }
    }

    /// The members from `from` on that a turn tells, of `count`.
    fn batch(turn: &Turn, count: usize) -> Vec<Addressed> {
        (0..count)
            .map(user)
            .filter(|user| turn.after.as_ref().is_none_or(|after| user > after))
            .take(turn.limit)
            .map(|user| Addressed { user, by: By::Name })
            .collect()
    }

    /// The numbers of the walks in the order of their turns, when each has so many members.
    fn turns(walks: &mut Walks, members: &BTreeMap<u64, usize>) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(turn) = walks.turn() {
            order.push(turn.walk);
            let told = batch(&turn, members[&turn.walk]);
            walks.step(&turn, &told, Vec::new());
        }
        order
    }

    #[test]
    fn the_first_batch_is_small_and_the_last_one_ends_the_walk() {
        let mut walks = Walks::default();
        let number = walks.begin(circle(&["dept:a"]), None, Vec::new());
        let mut sizes = Vec::new();
        let mut met = Vec::new();
        loop {
            let turn = walks.turn().unwrap();
            assert_eq!(turn.walk, number);
            let told = batch(&turn, 120);
            sizes.push(told.len());
            met.extend(told.iter().map(|addressed| addressed.user.clone()));
            if walks.step(&turn, &told, Vec::new()) == Step::Ends(Vec::new()) {
                break;
            }
        }
        assert_eq!(sizes, [6, 50, 50, 14]);
        assert_eq!(met, (0..120).map(user).collect::<Vec<_>>());
        assert!(walks.is_empty());
        assert_eq!(walks.turn(), None);
    }

    #[test]
    fn those_who_could_not_be_reached_are_left_over_at_the_end() {
        let mut walks = Walks::default();
        walks.begin(circle(&["dept:a"]), Some(user(3)), vec![user(1)]);
        let turn = walks.turn().unwrap();
        assert_eq!((turn.after.clone(), turn.limit), (Some(user(3)), BATCH));
        let told = batch(&turn, 100);
        let progress = Progress::Walking {
            after: Some(user(53)),
            missed: vec![user(1), user(7)],
        };
        assert_eq!(walks.step(&turn, &told, vec![user(7)]), Step::Goes(progress));
        let turn = walks.turn().unwrap();
        let told = batch(&turn, 100);
        let missed = vec![user(1), user(7), user(99)];
        assert_eq!(walks.step(&turn, &told, vec![user(99)]), Step::Ends(missed));
    }

    #[test]
    fn walks_take_turns_and_what_is_for_one_room_comes_in_order() {
        let mut walks = Walks::default();
        let members: BTreeMap<u64, usize> = [
            (circle(&["dept:a"]), 100),
            (circle(&["dept:b"]), 3),
            (circle(&["dept:c", "dept:a"]), 3),
            (circle(&["dept:c"]), 3),
            (circle(&[]), 3),
        ]
        .into_iter()
        .map(|(circle, count)| (walks.begin(circle, None, Vec::new()), count))
        .collect();
        assert_eq!(turns(&mut walks, &members), [1, 2, 5, 1, 1, 3, 4]);
    }

    #[test]
    fn the_stored_form_is_as_it_was() {
        for (progress, json) in [
            (Progress::default(), r#"{"walking":{"after":null,"missed":[]}}"#),
            (
                Progress::Walking {
                    after: Some(user(2)),
                    missed: vec![user(1)],
                },
                r#"{"walking":{"after":"u0002","missed":["u0001"]}}"#,
            ),
            (Progress::Retrying(vec![user(1)]), r#"{"retrying":["u0001"]}"#),
        ] {
            assert_eq!(serde_json::to_string(&progress).unwrap(), json);
            assert_eq!(serde_json::from_str::<Progress>(json).unwrap(), progress);
        }
    }
}
