//! Which shared rooms a user is in, and how far their logs are applied (DESIGN 6, 8).
//!
//! Memberships come from the user's token and from the membership API. What the API says reaches the hub as
//! entries of the user's own log, so it is ordered with everything else; what a token says is taken at
//! each contact of the user. Everybody is in `broadcast` from their first contact on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::auth::{Identity, Role};
use crate::room::{RoomName, SharedRoom};
use crate::time::Timestamp;

/// Most shared rooms a user is in. Those of a token come first; more from the API are refused.
pub const MAX_ROOMS: usize = 200;

/// What the holder of a token says about rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// When the token was issued, as far as it says so.
    pub issued_at: Option<Timestamp>,
    /// The rooms it puts its user in.
    pub rooms: Vec<SharedRoom>,
}

impl Claims {
    /// What the token of `identity` says.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        let departments = identity.departments.iter();
        let mut rooms: Vec<_> = departments
            .filter_map(|id| RoomName::parse(id).ok())
            .map(SharedRoom::Dept)
            .take(MAX_ROOMS)
            .collect();
        match identity.role {
            Role::Admin => rooms.push(SharedRoom::Admin),
            Role::User => {}
        }
        Self {
            issued_at: identity.issued_at,
            rooms,
        }
    }
}

/// The shared rooms of a user: part of the head of their inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memberships {
    #[serde(default)]
    rooms: BTreeMap<SharedRoom, Membership>,
    /// Rooms the API took the user out of, and when: an older token does not bring them back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    removed: BTreeMap<SharedRoom, Timestamp>,
    /// When the newest token was issued that was heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_issued_at: Option<Timestamp>,
    /// Whether the record knows what the tokens said.
    #[serde(default)]
    recorded: Recorded,
}

/// A user's place in a shared room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Why the user is in it.
    pub standing: Standing,
    /// How far its log is applied.
    pub from: Start,
}

/// Why a user is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Everybody is.
    Everybody,
    /// A token says so.
    Token,
    /// The membership API says so.
    Api,
    /// Both say so.
    TokenAndApi,
    /// No more: what was pushed up to and including this entry is still theirs.
    Left(u64),
}

/// Where a log goes on for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// After this entry.
    After(u64),
    /// With what was pushed from then on: which entry that is, the record will tell.
    Since(Timestamp),
}

/// Whether the record knows what the tokens said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// It does, or there was nothing to say.
    #[default]
    Yes,
    /// It has to be told.
    No,
}

impl Memberships {
    /// Takes note of a contact of the user, at `now`, with the token that says `claims`. The newest token
    /// counts: an older one brings no room and takes none away.
    pub fn meet(&mut self, claims: &Claims, now: Timestamp) {
        self.rooms.entry(SharedRoom::Broadcast).or_insert(Membership {
            standing: Standing::Everybody,
            from: Start::Since(now),
        });
        if claims.issued_at < self.token_issued_at {
            return;
        }
        self.token_issued_at = claims.issued_at;
        for room in &claims.rooms {
            let older = |removed: &Timestamp| claims.issued_at.is_none_or(|issued_at| issued_at <= *removed);
            if !self.removed.get(room).is_some_and(older) {
                self.claim(room, now);
            }
        }
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for (room, membership) in &self.rooms {
            match membership.standing {
                Standing::Token if !claims.rooms.contains(room) => lost.push(room.clone()),
                Standing::TokenAndApi if !claims.rooms.contains(room) => kept.push(room.clone()),
                Standing::Everybody
                | Standing::Token
                | Standing::Api
                | Standing::TokenAndApi
                | Standing::Left(_) => {}
            }
        }
        for room in kept {
            self.stand(&room, Standing::Api);
        }
        for room in lost {
            self.rooms.remove(&room);
            self.recorded = Recorded::No;
        }
    }

    fn claim(&mut self, room: &SharedRoom, now: Timestamp) {
        let standing = self.rooms.get(room).map(|membership| membership.standing);
        match standing {
            Some(Standing::Everybody | Standing::Token | Standing::TokenAndApi) => {}
            Some(Standing::Api) => self.stand(room, Standing::TokenAndApi),
            Some(Standing::Left(_)) | None => {
                self.removed.remove(room);
                self.recorded = Recorded::No;
                let membership = Membership {
                    standing: Standing::Token,
                    from: Start::Since(now),
                };
                self.rooms.insert(room.clone(), membership);
            }
        }
    }

    fn stand(&mut self, room: &SharedRoom, standing: Standing) {
        if let Some(membership) = self.rooms.get_mut(room) {
            membership.standing = standing;
            self.recorded = Recorded::No;
        }
    }

    /// The membership API has put the user in a room: what is pushed after entry `since` is theirs.
    pub fn add(&mut self, room: &SharedRoom, since: u64) {
        self.removed.remove(room);
        match self.rooms.get_mut(room) {
            Some(membership) => match membership.standing {
                Standing::Token => membership.standing = Standing::TokenAndApi,
                // They missed what came between.
                Standing::Left(_) => {
                    *membership = Membership {
                        standing: Standing::Api,
                        from: Start::After(since),
                    };
                }
                Standing::Everybody | Standing::Api | Standing::TokenAndApi => {}
            },
            None => {
                let membership = Membership {
                    standing: Standing::Api,
                    from: Start::After(since),
                };
                self.rooms.insert(room.clone(), membership);
            }
        }
    }

    /// The membership API has taken the user out of a room, at `at`: what was pushed up to and including
    /// entry `until` is still theirs.
    pub fn remove(&mut self, room: &SharedRoom, until: u64, at: Timestamp) {
        self.removed.insert(room.clone(), at);
        if let Some(membership) = self.rooms.get_mut(room) {
            membership.standing = Standing::Left(until);
            self.forget_left(room);
        }
    }

    /// The log of a room is applied up to and including entry `n`.
    pub fn advance(&mut self, room: &SharedRoom, n: u64) {
        if let Some(membership) = self.rooms.get_mut(room) {
            membership.from = Start::After(n);
            self.forget_left(room);
        }
    }

    /// The record has told which entry the log of a room goes on after.
    pub fn begin(&mut self, room: &SharedRoom, after: u64) {
        if let Some(membership) = self.rooms.get_mut(room)
            && let Start::Since(_) = membership.from
        {
            membership.from = Start::After(after);
            self.forget_left(room);
        }
    }

    /// Everything there is of a room was applied: one that was left is not looked at again.
    pub fn settle(&mut self, room: &SharedRoom) {
        let left = self
            .rooms
            .get(room)
            .is_some_and(|membership| matches!(membership.standing, Standing::Left(_)));
        if left {
            self.rooms.remove(room);
        }
    }

    /// The record knows what the tokens said.
    pub const fn record(&mut self) {
        self.recorded = Recorded::Yes;
    }

    fn forget_left(&mut self, room: &SharedRoom) {
        let done = self.rooms.get(room).is_some_and(|membership| {
            matches!((membership.standing, membership.from),
                (Standing::Left(until), Start::After(cursor)) if cursor >= until)
        });
        if done {
            self.rooms.remove(room);
        }
    }

    /// The user's place in a room; `None` when they have none.
    #[must_use]
    pub fn get(&self, room: &SharedRoom) -> Option<&Membership> {
        self.rooms.get(room)
    }

    /// Every room whose log bears on the user, those they have just left included.
    pub fn all(&self) -> impl Iterator<Item = (&SharedRoom, &Membership)> {
        self.rooms.iter()
    }

    /// The rooms the user is in now.
    pub fn present(&self) -> impl Iterator<Item = &SharedRoom> {
        self.rooms
            .iter()
            .filter(|(_, membership)| !matches!(membership.standing, Standing::Left(_)))
            .map(|(room, _)| room)
    }

    /// The rooms the user's token puts them in, when the record has to be told of them.
    #[must_use]
    pub fn to_record(&self) -> Option<Vec<(SharedRoom, Start)>> {
        match self.recorded {
            Recorded::Yes => None,
            Recorded::No => {
                let by_token = |membership: &Membership| match membership.standing {
                    Standing::Token | Standing::TokenAndApi => true,
                    Standing::Everybody | Standing::Api | Standing::Left(_) => false,
                };
                let rooms = self.rooms.iter().filter(|(_, membership)| by_token(membership));
                Some(
                    rooms
                        .map(|(room, membership)| (room.clone(), membership.from))
                        .collect(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn room(name: &str) -> SharedRoom {
        SharedRoom::parse(name).unwrap()
    }

    fn claims(issued_at: Option<u64>, rooms: &[&str]) -> Claims {
        Claims {
            issued_at: issued_at.map(at),
            rooms: rooms.iter().map(|name| room(name)).collect(),
        }
    }

    /// What the user is in, in words.
    fn words(memberships: &Memberships) -> Vec<String> {
        let word = |(room, membership): (&SharedRoom, &Membership)| {
            format!("{room} {:?} {:?}", membership.standing, membership.from)
        };
        memberships
            .all()
            .filter(|(room, _)| **room != SharedRoom::Broadcast)
            .map(word)
            .collect()
    }

    fn after(steps: impl FnOnce(&mut Memberships)) -> Vec<String> {
        let mut memberships = Memberships::default();
        steps(&mut memberships);
        words(&memberships)
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn everybody_is_in_broadcast_from_the_first_contact_on() {
        let mut memberships = Memberships::default();
        memberships.meet(&claims(None, &[]), at(5));
        memberships.meet(&claims(None, &[]), at(9));
        let broadcast = memberships.get(&SharedRoom::Broadcast).unwrap();
        assert_eq!(broadcast.standing, Standing::Everybody);
        assert_eq!(broadcast.from, Start::Since(at(5)));
        assert_eq!(memberships.to_record(), None);
    }

    #[test]
    fn a_token_brings_rooms_and_a_newer_one_takes_them_away() {
        assert_eq!(
            after(|m| m.meet(&claims(Some(1), &["dept:a", "dept:b"]), at(5))),
            [
                "dept:a Token Since(Timestamp(5))",
                "dept:b Token Since(Timestamp(5))"
            ]
        );
        assert_eq!(
            after(|m| {
                m.meet(&claims(Some(1), &["dept:a"]), at(5));
                m.advance(&room("dept:a"), 7);
                m.meet(&claims(Some(2), &["dept:a", "dept:b"]), at(6));
            }),
            ["dept:a Token After(7)", "dept:b Token Since(Timestamp(6))"]
        );
        assert_eq!(
            after(|m| {
                m.meet(&claims(Some(2), &["dept:a"]), at(5));
                m.meet(&claims(Some(3), &["dept:b"]), at(6));
            }),
            ["dept:b Token Since(Timestamp(6))"]
        );
    }

    #[test]
    fn an_older_token_changes_nothing() {
        for older in [Some(1), None] {
            assert_eq!(
                after(|m| {
                    m.meet(&claims(Some(2), &["dept:a"]), at(5));
                    m.meet(&claims(older, &["dept:b"]), at(6));
                }),
                ["dept:a Token Since(Timestamp(5))"],
                "{older:?}"
            );
        }
    }

    #[test]
    fn what_the_api_gave_no_token_takes_away() {
        assert_eq!(
            after(|m| {
                m.meet(&claims(Some(1), &["dept:a"]), at(5));
                m.add(&room("dept:a"), 3);
                m.add(&room("room:x"), 4);
                m.meet(&claims(Some(2), &[]), at(6));
            }),
            ["dept:a Api Since(Timestamp(5))", "room:x Api After(4)"]
        );
    }

    #[test]
    fn what_the_api_took_only_a_newer_token_or_the_api_gives_back() {
        let removed = |m: &mut Memberships| {
            m.meet(&claims(Some(10), &["dept:a"]), at(15));
            m.advance(&room("dept:a"), 3);
            m.remove(&room("dept:a"), 3, at(20));
        };
        assert_eq!(after(removed), NOTHING);
        for (issued_at, expected) in [
            (Some(10), &[] as &[&str]),
            (Some(20), &[]),
            (Some(21), &["dept:a Token Since(Timestamp(30))"]),
        ] {
            let found = after(|m| {
                removed(m);
                m.meet(&claims(issued_at, &["dept:a"]), at(30));
            });
            assert_eq!(found, expected, "{issued_at:?}");
        }
        let undated = after(|m| {
            m.remove(&room("dept:a"), 3, at(20));
            m.meet(&claims(None, &["dept:a"]), at(30));
        });
        assert_eq!(undated, NOTHING);
        assert_eq!(
            after(|m| {
                removed(m);
                m.add(&room("dept:a"), 8);
            }),
            ["dept:a Api After(8)"]
        );
    }

    #[test]
    fn who_leaves_still_gets_what_was_pushed_before() {
        let left = |m: &mut Memberships| {
            m.add(&room("room:x"), 2);
            m.remove(&room("room:x"), 5, at(20));
        };
        assert_eq!(after(left), ["room:x Left(5) After(2)"]);
        assert_eq!(
            after(|m| {
                left(m);
                m.advance(&room("room:x"), 4);
            }),
            ["room:x Left(5) After(4)"]
        );
        for step in [
            (|m: &mut Memberships| m.advance(&room("room:x"), 5)) as fn(&mut Memberships),
            |m| m.settle(&room("room:x")),
        ] {
            let found = after(|m| {
                left(m);
                step(m);
            });
            assert_eq!(found, NOTHING);
        }
        let mut memberships = Memberships::default();
        left(&mut memberships);
        assert_eq!(memberships.present().count(), 0);
    }

    #[test]
    fn the_record_is_told_of_what_tokens_changed_and_of_nothing_else() {
        let mut memberships = Memberships::default();
        memberships.meet(&claims(Some(1), &["dept:a"]), at(5));
        let to_record = vec![(room("dept:a"), Start::Since(at(5)))];
        assert_eq!(memberships.to_record(), Some(to_record));
        memberships.record();
        memberships.meet(&claims(Some(2), &["dept:a"]), at(6));
        memberships.add(&room("room:x"), 0);
        assert_eq!(memberships.to_record(), None);
        memberships.meet(&claims(Some(3), &[]), at(7));
        assert_eq!(memberships.to_record(), Some(Vec::new()));
    }

    #[test]
    fn the_stored_form_is_as_it_was() {
        let mut memberships = Memberships::default();
        memberships.meet(&claims(Some(1), &["dept:a"]), at(5));
        memberships.add(&room("room:x"), 4);
        memberships.remove(&room("room:x"), 9, at(20));
        let json = r#"{"rooms":{"dept:a":{"standing":"token","from":{"since":5}},"room:x":{"standing":{"left":9},"from":{"after":4}},"broadcast":{"standing":"everybody","from":{"since":5}}},"removed":{"room:x":20},"token_issued_at":1,"recorded":"no"}"#;
        assert_eq!(serde_json::to_string(&memberships).unwrap(), json);
        assert_eq!(serde_json::from_str::<Memberships>(json).unwrap(), memberships);
    }
}
