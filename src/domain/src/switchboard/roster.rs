//! Who of a switchboard's users is online, and in which rooms.
//!
//! Their hubs say so, each by its own clock: what is older than what is known is passed over. Who leaves
//! stays for a moment, since a page that is loaded anew is back by then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::presence::Known;
use super::walk::{Addressed, By, Circle};
use crate::id::UserId;
use crate::room::SharedRoom;
use crate::time::Timestamp;

/// How long somebody who leaves stays, in milliseconds.
pub const LEAVE_GRACE_MS: u64 = 5_000;

/// A user who is online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attendance {
    /// When the hub said so, by its own clock: what is older than what is known is passed over.
    pub at: Timestamp,
    /// The shared rooms the user is in.
    pub rooms: Vec<SharedRoom>,
    /// What else they need.
    #[serde(flatten)]
    pub needs: Needs,
}

/// What a hub needs of its switchboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Whether clients wait for pings.
    pub ticks: Wish,
    /// Whether a client follows the presence of others.
    pub presence: Wish,
}

/// Whether something is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Who is at a hub, as it answers every call of a switchboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubReply {
    /// When, by the hub's clock.
    pub at: Timestamp,
    /// Who.
    pub who: Who,
}

/// Who is at a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// Nobody: the hub leaves the roster.
    Nobody,
    /// Somebody, who belongs to another switchboard by now: the hub leaves this roster.
    Moved,
    /// Somebody.
    Somebody(Needs),
}

/// A user in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Online since then.
    pub since: Timestamp,
    /// What their hub said last.
    #[serde(flatten)]
    pub attendance: Attendance,
}

/// A user who left, for now or for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When they left.
    pub at: Timestamp,
    /// The rooms they were in.
    pub rooms: Vec<SharedRoom>,
}

/// What became of what a hub said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The user was offline.
    Came,
    /// The user was online, in other rooms or with other needs, or was about to leave.
    Changed,
    /// It was known.
    Same,
    /// It is older than what is known.
    Stale,
}

/// What the answer of a hub has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that has to be stored.
    Nothing,
    /// The user has other needs, or does not leave after all.
    Changed,
    /// The user is offline and was taken out.
    Gone(Member, Seen),
    /// The user was taken out and is online elsewhere.
    Moved(Member),
}

/// Who is online.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: BTreeMap<UserId, Member>,
    rooms: BTreeMap<SharedRoom, BTreeSet<UserId>>,
    ticked: BTreeSet<UserId>,
    watching: BTreeSet<UserId>,
    leaving: BTreeMap<UserId, Timestamp>,
}

impl FromIterator<(UserId, Member, Option<Seen>)> for Roster {
    /// The roster as it was stored: who was seen to leave after they came is leaving.
    fn from_iter<T: IntoIterator<Item = (UserId, Member, Option<Seen>)>>(members: T) -> Self {
        let mut roster = Self::default();
        for (user, mut member, seen) in members {
            if let Some(Seen { at, .. }) = seen
                && at > member.attendance.at
            {
                member.attendance.at = at;
                roster.leaving.insert(user.clone(), at.after_ms(LEAVE_GRACE_MS));
            }
            roster.put(user, member);
        }
        roster
    }
}

impl Roster {
    // ---- what hubs say ----

    /// A hub says that its user is there. `seen` is what is known of one who is not in the roster.
    pub fn attend(&mut self, user: &UserId, attendance: Attendance, seen: Option<&Seen>) -> Arrival {
        let Some(known) = self.members.get_mut(user) else {
            if seen.is_some_and(|seen| seen.at > attendance.at) {
                return Arrival::Stale;
            }
            let since = attendance.at;
            self.put(user.clone(), Member { since, attendance });
            return Arrival::Came;
        };
        if attendance.at < known.attendance.at {
            return Arrival::Stale;
        }
        let was_leaving = self.leaving.remove(user).is_some();
        known.attendance.at = attendance.at;
        if known.attendance == attendance {
            return if was_leaving {
                Arrival::Changed
            } else {
                Arrival::Same
            };
        }
        let since = known.since;
        self.take(user);
        self.put(user.clone(), Member { since, attendance });
        Arrival::Changed
    }

    /// A hub says that its user has left, at `at`; it is `now`. Unless they come back they are due by and by.
    /// `seen` is what is known of one who is not in the roster. Gives what is to be stored.
    pub fn leave(
        &mut self,
        user: &UserId,
        at: Timestamp,
        seen: Option<Seen>,
        now: Timestamp,
    ) -> Option<Seen> {
        let Some(member) = self.members.get_mut(user) else {
            // Overtaken by this, what the hub said before must not bring them back.
            let before = seen.unwrap_or_default();
            return (before.at < at).then_some(Seen { at, ..before });
        };
        if at <= member.attendance.at {
            return None;
        }
        member.attendance.at = at;
        self.leaving
            .entry(user.clone())
            .or_insert_with(|| now.after_ms(LEAVE_GRACE_MS));
        let rooms = member.attendance.rooms.clone();
        Some(Seen { at, rooms })
    }

    /// A hub has answered.
    pub fn hear(&mut self, user: &UserId, reply: HubReply) -> Heard {
        let Some(member) = self.members.get_mut(user) else {
            return Heard::Nothing;
        };
        let HubReply { at, who } = reply;
        let known_at = member.attendance.at;
        match who {
            Who::Nobody if at > known_at && !self.leaving.contains_key(user) => {
                self.take(user).map_or(Heard::Nothing, |member| {
                    let rooms = member.attendance.rooms.clone();
                    Heard::Gone(member, Seen { at, rooms })
                })
            }
            Who::Moved if at > known_at => self.take(user).map_or(Heard::Nothing, Heard::Moved),
            Who::Somebody(needs) if at >= known_at => {
                let was_leaving = self.leaving.remove(user).is_some();
                member.attendance.at = at;
                let before = std::mem::replace(&mut member.attendance.needs, needs);
                self.note_needs(user, needs);
                if needs != before || was_leaving {
                    Heard::Changed
                } else {
                    Heard::Nothing
                }
            }
            Who::Nobody | Who::Moved | Who::Somebody(_) => Heard::Nothing,
        }
    }

    /// Takes out those who have left and did not come back by `now`.
    pub fn depart(&mut self, now: Timestamp) -> Vec<(UserId, Member)> {
        let due: Vec<UserId> = self
            .leaving
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(user, _)| user.clone())
            .collect();
        let taken = due.into_iter().filter_map(|user| {
            let member = self.take(&user)?;
            Some((user, member))
        });
        taken.collect()
    }

    /// When the next of those who have left is due.
    #[must_use]
    pub fn departs_at(&self) -> Option<Timestamp> {
        self.leaving.values().min().copied()
    }

    /// A user was erased at `at`. Gives what was known of them; `None` when they were not here, or have come
    /// since.
    pub fn forget(&mut self, user: &UserId, at: Timestamp) -> Option<Member> {
        self.members
            .get(user)
            .filter(|member| member.attendance.at <= at)?;
        self.take(user)
    }

    fn take(&mut self, user: &UserId) -> Option<Member> {
        let member = self.members.remove(user)?;
        for room in &member.attendance.rooms {
            if let Some(users) = self.rooms.get_mut(room) {
                users.remove(user);
                if users.is_empty() {
                    self.rooms.remove(room);
                }
            }
        }
        self.ticked.remove(user);
        self.watching.remove(user);
        self.leaving.remove(user);
        Some(member)
    }

    fn put(&mut self, user: UserId, member: Member) {
        for room in &member.attendance.rooms {
            self.rooms.entry(room.clone()).or_default().insert(user.clone());
        }
        self.note_needs(&user, member.attendance.needs);
        self.members.insert(user, member);
    }

    fn note_needs(&mut self, user: &UserId, needs: Needs) {
        for (wish, users) in [
            (needs.ticks, &mut self.ticked),
            (needs.presence, &mut self.watching),
        ] {
            match wish {
                Wish::Yes => users.insert(user.clone()),
                Wish::No => users.remove(user),
            };
        }
    }

    // ---- what is asked ----

    /// A user in the roster.
    #[must_use]
    pub fn get(&self, user: &UserId) -> Option<&Member> {
        self.members.get(user)
    }

    /// How many users are online.
    #[must_use]
    pub fn online(&self) -> usize {
        self.members.len()
    }

    /// How many users are online in a room.
    #[must_use]
    pub fn online_in(&self, room: &SharedRoom) -> usize {
        self.rooms.get(room).map_or(0, BTreeSet::len)
    }

    /// How many rooms have somebody online.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// The users who are online in a room after `after`, in the order of their ids, at most `limit`.
    #[must_use]
    pub fn page(&self, room: &SharedRoom, after: Option<&UserId>, limit: usize) -> Vec<UserId> {
        let users = self.rooms.get(room).into_iter();
        users
            .flat_map(|users| users.range::<UserId, _>(beyond(after)))
            .take(limit)
            .cloned()
            .collect()
    }

    /// Those whose clients wait for pings.
    #[must_use]
    pub const fn ticked(&self) -> &BTreeSet<UserId> {
        &self.ticked
    }

    /// Those whose clients follow the presence of others.
    #[must_use]
    pub const fn watching(&self) -> &BTreeSet<UserId> {
        &self.watching
    }

    /// What somebody who shares `sharing` may know of a user; `None` when the user is not online.
    #[must_use]
    pub fn known(&self, user: &UserId, sharing: Option<&[SharedRoom]>) -> Option<Known> {
        let member = self.members.get(user)?;
        Some(if shares(&member.attendance.rooms, sharing) {
            Known::Online { since: member.since }
        } else {
            Known::Unknown
        })
    }

    /// Those of a circle who are online and come after `after`, each once, in the order of their ids, at most
    /// `limit`.
    #[must_use]
    pub fn batch(&self, circle: &Circle, after: Option<&UserId>, limit: usize) -> Vec<Addressed> {
        let mut users = BTreeSet::new();
        for members in circle.rooms.iter().filter_map(|room| self.rooms.get(room)) {
            users.extend(members.range::<UserId, _>(beyond(after)).take(limit));
        }
        let named = circle.users.range::<UserId, _>(beyond(after));
        users.extend(named.filter(|user| self.members.contains_key(*user)).take(limit));
        let users = users.into_iter().take(limit);
        users.filter_map(|user| self.addressed(circle, user)).collect()
    }

    /// Why something for a circle is for a user; `None` when it is not, or when they are offline.
    #[must_use]
    pub fn addressed(&self, circle: &Circle, user: &UserId) -> Option<Addressed> {
        let member = self.members.get(user)?;
        let by = if circle.users.contains(user) {
            By::Name
        } else {
            let rooms = &member.attendance.rooms;
            let shared = circle.rooms.iter().filter(|room| rooms.contains(room));
            By::Rooms(Some(shared.cloned().collect()).filter(|rooms: &Vec<_>| !rooms.is_empty())?)
        };
        let user = user.clone();
        Some(Addressed { user, by })
    }

    /// Whether anybody of a circle is online.
    #[must_use]
    pub fn any_of(&self, circle: &Circle) -> bool {
        !self.batch(circle, None, 1).is_empty()
    }
}

impl Seen {
    /// What somebody who shares `sharing` may know of the user.
    #[must_use]
    pub fn known(&self, sharing: Option<&[SharedRoom]>) -> Known {
        if shares(&self.rooms, sharing) {
            Known::Offline { since: self.at }
        } else {
            Known::Unknown
        }
    }
}

/// The departments among rooms: whose members may know of each other.
pub fn departments(rooms: &[SharedRoom]) -> impl Iterator<Item = &SharedRoom> {
    rooms.iter().filter(|room| match room {
        SharedRoom::Dept(_) => true,
        SharedRoom::Named(_) | SharedRoom::Broadcast | SharedRoom::Admin => false,
    })
}

fn shares(rooms: &[SharedRoom], sharing: Option<&[SharedRoom]>) -> bool {
    sharing.is_none_or(|sharing| departments(rooms).any(|room| sharing.contains(room)))
}

fn beyond(after: Option<&UserId>) -> (Bound<&UserId>, Bound<&UserId>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    const QUIET: Needs = Needs {
        ticks: Wish::No,
        presence: Wish::No,
    };

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn rooms(names: &[&str]) -> Vec<SharedRoom> {
        names
            .iter()
            .map(|name| SharedRoom::parse(name).unwrap())
            .collect()
    }

    fn attendance(ms: u64, names: &[&str], needs: Needs) -> Attendance {
        Attendance {
            at: at(ms),
            rooms: rooms(names),
            needs,
        }
    }

    fn roster(members: &[(&str, &[&str])]) -> Roster {
        let mut roster = Roster::default();
        for (id, names) in members {
            roster.attend(&user(id), attendance(10, names, QUIET), None);
        }
        roster
    }

    fn circle(names: &[&str], users: &[&str]) -> Circle {
        Circle {
            rooms: rooms(names),
            users: users.iter().map(|id| user(id)).collect(),
        }
    }

    fn seen(ms: u64, names: &[&str]) -> Seen {
        Seen {
            at: at(ms),
            rooms: rooms(names),
        }
    }

    fn reply(ms: u64, who: Who) -> HubReply {
        HubReply { at: at(ms), who }
    }

    #[test]
    fn what_a_hub_says_is_held_against_what_is_known() {
        let ticked = Needs {
            ticks: Wish::Yes,
            ..QUIET
        };
        for (said, expected) in [
            (attendance(10, &["dept:a"], QUIET), Arrival::Same),
            (attendance(11, &["dept:a"], QUIET), Arrival::Same),
            (attendance(9, &["dept:b"], ticked), Arrival::Stale),
            (attendance(10, &["dept:b"], QUIET), Arrival::Changed),
            (attendance(11, &["dept:a"], ticked), Arrival::Changed),
        ] {
            let mut roster = roster(&[("u1", &["dept:a"])]);
            assert_eq!(
                roster.attend(&user("u1"), said.clone(), None),
                expected,
                "{said:?}"
            );
            let now_in = usize::from(expected != Arrival::Stale && said.rooms == rooms(&["dept:b"]));
            assert_eq!(roster.online_in(&rooms(&["dept:b"])[0]), now_in, "{said:?}");
            assert_eq!(roster.get(&user("u1")).unwrap().since, at(10));
        }
    }

    #[test]
    fn what_was_said_before_somebody_left_does_not_bring_them_back() {
        let seen = Seen {
            at: at(20),
            rooms: vec![],
        };
        for (ms, expected) in [(19, Arrival::Stale), (20, Arrival::Came), (21, Arrival::Came)] {
            let mut roster = Roster::default();
            let arrival = roster.attend(&user("u1"), attendance(ms, &[], QUIET), Some(&seen));
            assert_eq!(arrival, expected, "{ms}");
        }
    }

    #[test]
    fn who_has_left_before_they_came_was_there() {
        for (before, expected) in [
            (None, Some(seen(20, &[]))),
            (Some(seen(10, &["dept:a"])), Some(seen(20, &["dept:a"]))),
            (Some(seen(20, &["dept:a"])), None),
        ] {
            let mut roster = Roster::default();
            let left = roster.leave(&user("u1"), at(20), before.clone(), at(100));
            assert_eq!(left, expected, "{before:?}");
            assert_eq!(roster.departs_at(), None);
        }
    }

    #[test]
    fn who_leaves_stays_for_a_moment_and_is_still_walked() {
        let mut roster = roster(&[("u1", &["dept:a"])]);
        assert_eq!(roster.leave(&user("u1"), at(10), None, at(100)), None);
        let left = roster.leave(&user("u1"), at(12), None, at(100));
        assert_eq!(left, Some(seen(12, &["dept:a"])));
        assert_eq!(roster.departs_at(), Some(at(100 + LEAVE_GRACE_MS)));
        assert_eq!(roster.online_in(&rooms(&["dept:a"])[0]), 1);
        assert!(roster.depart(at(99 + LEAVE_GRACE_MS)).is_empty());
        let departed = roster.depart(at(100 + LEAVE_GRACE_MS));
        assert_eq!(departed.first().unwrap().0, user("u1"));
        assert_eq!((roster.online(), roster.departs_at()), (0, None));
        assert_eq!(roster.online_in(&rooms(&["dept:a"])[0]), 0);
    }

    #[test]
    fn who_leaves_still_does_after_an_eviction() {
        for (left, leaves) in [
            (None, None),
            (Some(9), None),
            (Some(10), None),
            (Some(11), Some(11)),
        ] {
            let member = Member {
                since: at(5),
                attendance: attendance(10, &["dept:a"], QUIET),
            };
            let seen = left.map(|ms| seen(ms, &["dept:a"]));
            let roster: Roster = [(user("u1"), member, seen)].into_iter().collect();
            assert_eq!(roster.online(), 1);
            let departs_at = leaves.map(|ms| at(ms + LEAVE_GRACE_MS));
            assert_eq!(roster.departs_at(), departs_at, "{left:?}");
        }
    }

    #[test]
    fn who_comes_back_in_time_stays_and_that_is_stored() {
        let back: [fn(&mut Roster) -> bool; 2] = [
            |roster| roster.attend(&user("u1"), attendance(13, &["dept:a"], QUIET), None) == Arrival::Changed,
            |roster| roster.hear(&user("u1"), reply(13, Who::Somebody(QUIET))) == Heard::Changed,
        ];
        for comes_back in back {
            let mut roster = roster(&[("u1", &["dept:a"])]);
            roster.leave(&user("u1"), at(12), None, at(100));
            // Said before they left.
            let late = roster.attend(&user("u1"), attendance(11, &[], QUIET), None);
            assert_eq!((late, roster.departs_at().is_some()), (Arrival::Stale, true));
            assert!(comes_back(&mut roster));
            assert_eq!(roster.departs_at(), None);
            assert_eq!(roster.get(&user("u1")).unwrap().attendance.at, at(13));
            // Of the one before.
            assert_eq!(roster.leave(&user("u1"), at(12), None, at(100)), None);
            assert_eq!(roster.departs_at(), None);
        }
    }

    #[test]
    fn a_hub_that_answers_is_believed_unless_it_has_said_more_since() {
        let ticked = Needs {
            ticks: Wish::Yes,
            ..QUIET
        };
        for (answer, leaving, expected, online) in [
            (reply(11, Who::Nobody), false, "gone", 0),
            (reply(10, Who::Nobody), false, "nothing", 1),
            (reply(13, Who::Nobody), true, "nothing", 1),
            (reply(11, Who::Moved), false, "moved", 0),
            (reply(13, Who::Moved), true, "moved", 0),
            (reply(10, Who::Moved), false, "nothing", 1),
            (reply(11, Who::Somebody(QUIET)), false, "nothing", 1),
            (reply(11, Who::Somebody(ticked)), false, "changed", 1),
            (reply(9, Who::Somebody(ticked)), false, "nothing", 1),
        ] {
            let mut roster = roster(&[("u1", &["dept:a"])]);
            if leaving {
                roster.leave(&user("u1"), at(12), None, at(100));
            }
            let heard = match roster.hear(&user("u1"), answer) {
                Heard::Nothing => "nothing",
                Heard::Changed => "changed",
                Heard::Gone(..) => "gone",
                Heard::Moved(_) => "moved",
            };
            assert_eq!(
                (heard, roster.online()),
                (expected, online),
                "{answer:?} {leaving}"
            );
            let ticked = usize::from(expected == "changed");
            assert_eq!(roster.ticked().len(), ticked, "{answer:?} {leaving}");
        }
        assert_eq!(
            Roster::default().hear(&user("u1"), reply(11, Who::Nobody)),
            Heard::Nothing
        );
    }

    #[test]
    fn a_walk_meets_everybody_once_and_knows_why() {
        let roster = roster(&[
            ("a", &["broadcast", "dept:x"]),
            ("b", &["broadcast"]),
            ("c", &["dept:x", "dept:y"]),
            ("d", &["dept:y"]),
            ("e", &[]),
        ]);
        let circle = circle(&["dept:x", "dept:y"], &["e", "c", "stranger"]);
        let (mut after, mut met) = (None, Vec::new());
        loop {
            let batch = roster.batch(&circle, after.as_ref(), 2);
            let Some(last) = batch.last() else { break };
            after = Some(last.user.clone());
            met.extend(batch);
        }
        let addressed = |id, by| Addressed { user: user(id), by };
        assert_eq!(
            met,
            [
                addressed("a", By::Rooms(rooms(&["dept:x"]))),
                addressed("c", By::Name),
                addressed("d", By::Rooms(rooms(&["dept:y"]))),
                addressed("e", By::Name),
            ]
        );
        assert!(roster.any_of(&circle));
        assert!(!roster.any_of(&Circle::default()));
        assert_eq!(roster.addressed(&circle, &user("b")), None);
    }

    #[test]
    fn a_page_of_a_room_goes_on_after_the_one_before() {
        let roster = roster(&[
            ("a", &["dept:x"]),
            ("b", &[]),
            ("c", &["dept:x"]),
            ("d", &["dept:x"]),
        ]);
        let room = rooms(&["dept:x"])[0].clone();
        assert_eq!(roster.page(&room, None, 2), [user("a"), user("c")]);
        assert_eq!(roster.page(&room, Some(&user("c")), 2), [user("d")]);
        assert_eq!(roster.page(&room, Some(&user("d")), 2), []);
        assert_eq!(roster.page(&rooms(&["dept:y"])[0], None, 2), []);
    }

    #[test]
    fn only_who_shares_a_department_may_know() {
        let roster = roster(&[("u1", &["broadcast", "dept:a", "room:x"])]);
        let seen = Seen {
            at: at(7),
            rooms: rooms(&["broadcast", "dept:a", "room:x"]),
        };
        for (sharing, knows) in [
            (None, true),
            (Some(rooms(&["dept:b", "dept:a"])), true),
            (Some(rooms(&["dept:b"])), false),
            (Some(rooms(&["broadcast", "room:x"])), false),
            (Some(vec![]), false),
        ] {
            let sharing = sharing.as_deref();
            let (online, offline) = if knows {
                (Known::Online { since: at(10) }, Known::Offline { since: at(7) })
            } else {
                (Known::Unknown, Known::Unknown)
            };
            assert_eq!(roster.known(&user("u1"), sharing), Some(online), "{sharing:?}");
            assert_eq!(seen.known(sharing), offline, "{sharing:?}");
        }
        assert_eq!(roster.known(&user("u2"), None), None);
    }

    #[test]
    fn who_was_erased_is_forgotten_unless_they_have_come_since() {
        let mut roster = roster(&[("u1", &["dept:a"])]);
        assert_eq!(roster.forget(&user("nobody"), at(20)), None);
        assert_eq!(roster.forget(&user("u1"), at(9)), None, "they came at 10");
        assert_eq!(roster.online(), 1);
        roster.leave(&user("u1"), at(12), None, at(12));
        let forgotten = roster.forget(&user("u1"), at(12)).unwrap();
        assert_eq!(forgotten.attendance.rooms, rooms(&["dept:a"]));
        assert_eq!((roster.online(), roster.departs_at()), (0, None));
        assert_eq!(roster.online_in(&SharedRoom::parse("dept:a").unwrap()), 0);
    }

    #[test]
    fn the_stored_forms_are_as_they_were() {
        let member = Member {
            since: at(5),
            attendance: attendance(7, &["dept:a"], QUIET),
        };
        let json = r#"{"since":5,"at":7,"rooms":["dept:a"],"ticks":"no","presence":"no"}"#;
        assert_eq!(serde_json::to_string(&member).unwrap(), json);
        assert_eq!(serde_json::from_str::<Member>(json).unwrap(), member);
        let seen = Seen {
            at: at(9),
            rooms: rooms(&["broadcast"]),
        };
        let json = r#"{"at":9,"rooms":["broadcast"]}"#;
        assert_eq!(serde_json::to_string(&seen).unwrap(), json);
        assert_eq!(serde_json::from_str::<Seen>(json).unwrap(), seen);
        let json = r#"{"at":9,"who":{"somebody":{"ticks":"yes","presence":"no"}}}"#;
        let answer = reply(
            9,
            Who::Somebody(Needs {
                ticks: Wish::Yes,
                presence: Wish::No,
            }),
        );
        assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        assert_eq!(serde_json::from_str::<HubReply>(json).unwrap(), answer);
        assert_eq!(
            serde_json::to_string(&reply(9, Who::Nobody)).unwrap(),
            r#"{"at":9,"who":"nobody"}"#
        );
    }
}
