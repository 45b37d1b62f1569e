//! Who hears that somebody came or went (DESIGN 8).
//!
//! Changes are gathered for a moment and told at once: to every hub with a client that follows presence
//! those that bear on its user, who are never told of themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::roster::{Roster, departments};
use crate::id::UserId;
use crate::presence::UserPresence;
use crate::room::SharedRoom;
use crate::time::Timestamp;

/// How long changes are gathered, in milliseconds.
pub const GATHERED_MS: u64 = 1_000;

/// What is known of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// Online.
    Online {
        /// Since then, at the latest.
        since: Timestamp,
    },
    /// Offline.
    Offline {
        /// Since then.
        since: Timestamp,
    },
    /// Never seen, or none of the asker's business.
    Unknown,
}

impl Known {
    /// What is said of `user`, of whom this is known at `now`.
    #[must_use]
    pub const fn presence(self, user: UserId, now: Timestamp) -> UserPresence {
        match self {
            Self::Online { .. } => UserPresence::online(user, now),
            Self::Offline { since } => UserPresence::offline(user, Some(since)),
            Self::Unknown => UserPresence::offline(user, None),
        }
    }
}

/// A user who came or went, as a hub is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceSeen {
    /// Who.
    pub user: UserId,
    /// And what is known of them now.
    pub known: Known,
}

/// A user who came or went, as switchboards tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceChange {
    /// Who.
    pub user: UserId,
    /// And what is known of them now.
    pub known: Known,
    /// The rooms whose members may know; `None`: everybody may.
    pub rooms: Option<Vec<SharedRoom>>,
}

/// Changes that are yet to be told: of each user the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News(BTreeMap<UserId, (Known, Vec<SharedRoom>)>);

impl News {
    /// A user who is in `rooms` came or went.
    pub fn note(&mut self, user: UserId, known: Known, rooms: &[SharedRoom]) {
        self.0
            .insert(user, (known, departments(rooms).cloned().collect()));
    }

    /// The rooms whose members may have to hear of it.
    #[must_use]
    pub fn rooms(&self) -> BTreeSet<SharedRoom> {
        self.0.values().flat_map(|(_, rooms)| rooms.clone()).collect()
    }

    /// What everybody may know.
    #[must_use]
    pub fn for_all(self) -> Vec<PresenceChange> {
        let change = |(user, (known, _))| PresenceChange {
            user,
            known,
            rooms: None,
        };
        self.0.into_iter().map(change).collect()
    }

    /// What the members of these rooms may know.
    #[must_use]
    pub fn for_rooms(self, allowed: &BTreeSet<SharedRoom>) -> Vec<PresenceChange> {
        let change = |(user, (known, mut rooms)): (_, (_, Vec<_>))| {
            rooms.retain(|room| allowed.contains(room));
            let rooms = Some(rooms).filter(|rooms| !rooms.is_empty())?;
            Some(PresenceChange {
                user,
                known,
                rooms: Some(rooms),
            })
        };
        self.0.into_iter().filter_map(change).collect()
    }
}

/// Which of the members who follow presence have to hear of what.
#[must_use]
pub fn to_tell(roster: &Roster, changes: &[PresenceChange]) -> Vec<(UserId, Vec<PresenceSeen>)> {
    let mut by_room: BTreeMap<&SharedRoom, BTreeSet<usize>> = BTreeMap::new();
    let mut by_all = BTreeSet::new();
    for (at, change) in changes.iter().enumerate() {
        match &change.rooms {
            None => {
                by_all.insert(at);
            }
            Some(rooms) => {
                for room in rooms {
                    by_room.entry(room).or_default().insert(at);
                }
            }
        }
    }
    let bear_on = |user: &UserId| {
        let rooms = roster.get(user).map(|member| &member.attendance.rooms);
        let shared = rooms.into_iter().flatten().filter_map(|room| by_room.get(room));
        let found: BTreeSet<usize> = shared.flatten().chain(&by_all).copied().collect();
        let seen = found.into_iter().filter_map(|at| changes.get(at));
        seen.filter(|change| change.user != *user)
            .map(|change| PresenceSeen {
                user: change.user.clone(),
                known: change.known,
            })
            .collect::<Vec<_>>()
    };
    let told = roster.watching().iter().map(|user| (user.clone(), bear_on(user)));
    told.filter(|(_, seen)| !seen.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::switchboard::roster::{Attendance, Needs, Wish};

    const ONLINE: Known = Known::Online {
        since: Timestamp::from_ms(5),
    };
    const OFFLINE: Known = Known::Offline {
        since: Timestamp::from_ms(6),
    };

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn rooms(names: &[&str]) -> Vec<SharedRoom> {
        names
            .iter()
            .map(|name| SharedRoom::parse(name).unwrap())
            .collect()
    }

    fn roster(members: &[(&str, Wish, &[&str])]) -> Roster {
        let mut roster = Roster::default();
        for (id, presence, names) in members {
            let attendance = Attendance {
                at: Timestamp::from_ms(1),
                rooms: rooms(names),
                needs: Needs {
                    ticks: Wish::No,
                    presence: *presence,
                },
            };
            roster.attend(&user(id), attendance, None);
        }
        roster
    }

    /// Who is told of whom.
    fn told(roster: &Roster, changes: &[PresenceChange]) -> Vec<String> {
        let words = |(user, seen): &(UserId, Vec<PresenceSeen>)| {
            let seen: Vec<_> = seen.iter().map(|seen| seen.user.as_str()).collect();
            format!("{user}: {}", seen.join(" "))
        };
        to_tell(roster, changes).iter().map(words).collect()
    }

    #[test]
    fn who_follows_presence_hears_of_those_who_share_an_allowed_department_and_never_of_themselves() {
        let roster = roster(&[
            ("a", Wish::Yes, &["broadcast", "dept:x"]),
            ("b", Wish::Yes, &["broadcast", "dept:y"]),
            ("c", Wish::No, &["dept:x", "dept:y"]),
            ("d", Wish::Yes, &["broadcast", "dept:x", "dept:y"]),
            ("e", Wish::Yes, &["broadcast", "dept:z", "room:p"]),
        ]);
        let mut news = News::default();
        news.note(user("a"), ONLINE, &rooms(&["broadcast", "dept:x", "room:p"]));
        news.note(user("n"), ONLINE, &rooms(&["dept:y", "dept:z"]));
        news.note(user("n"), OFFLINE, &rooms(&["dept:y", "dept:z"]));
        assert_eq!(
            news.rooms().into_iter().collect::<Vec<_>>(),
            rooms(&["dept:x", "dept:y", "dept:z"])
        );
        let allowed = rooms(&["dept:x", "dept:y"]).into_iter().collect();
        let changes = news.clone().for_rooms(&allowed);
        assert_eq!(told(&roster, &changes), ["b: n", "d: a n"]);
        assert_eq!(changes[1].known, OFFLINE);
        assert_eq!(told(&roster, &news.clone().for_rooms(&BTreeSet::new())), [""; 0]);
        assert_eq!(
            told(&roster, &news.for_all()),
            ["a: n", "b: a n", "d: a n", "e: a n"]
        );
    }

    #[test]
    fn the_form_between_switchboards_is_as_it_was() {
        let change = PresenceChange {
            user: user("a"),
            known: ONLINE,
            rooms: Some(rooms(&["dept:x"])),
        };
        let json = r#"{"user":"a","known":{"online":{"since":5}},"rooms":["dept:x"]}"#;
        assert_eq!(serde_json::to_string(&change).unwrap(), json);
        assert_eq!(serde_json::from_str::<PresenceChange>(json).unwrap(), change);
        assert_eq!(serde_json::to_string(&Known::Unknown).unwrap(), r#""unknown""#);
    }
}
