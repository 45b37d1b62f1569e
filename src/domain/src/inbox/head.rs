//! The inbox as a whole: what is known of it, and where a room's entries stand against it.

use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::membership::{Membership, Memberships, Standing, Start};
use crate::preferences::Preferences;
use crate::recovery::MAX_REPLAYED;
use crate::room::Room;
use crate::time::Timestamp;

/// What the hub knows about the inbox as a whole: one stored row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose inbox it is.
    pub user: UserId,
    /// The number of the latest visible change.
    pub seq: u64,
    /// Items in the inbox that are not read.
    pub unread: u64,
    /// Items in the inbox that are not seen.
    pub unseen: u64,
    /// The latest entry of the user's own room that was applied.
    pub cursor: u64,
    /// Since when at least one socket is open.
    pub online_since: Option<Timestamp>,
    /// When a socket was last known to be open.
    pub last_seen_at: Option<Timestamp>,
    /// When to try to catch up with the record again, after it could not be read.
    pub catch_up_at: Option<Timestamp>,
    /// Up to and including this item, everything in the inbox was seen.
    pub seen_up_to: u64,
    /// Notifications that never came because their category was muted.
    pub suppressed: u64,
    /// No item expires before this; `None` when none expires.
    pub expires_at: Option<Timestamp>,
    /// What the user does not want to hear of.
    pub preferences: Preferences,
    /// Whether the user was erased.
    pub erasure: Option<Erasure>,
    /// The shared rooms the user is in.
    pub memberships: Memberships,
}

/// The user was erased: what was before is gone or going, and tokens from before are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// Rows are still being removed from the record.
    Running {
        /// When the user was erased.
        at: Timestamp,
        /// The entry of the user's room that said so: what came after it stays.
        n: u64,
    },
    /// Nothing is left.
    Done(Timestamp),
}

impl Erasure {
    /// When the user was erased.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        match self {
            Self::Running { at, .. } | Self::Done(at) => at,
        }
    }
}

impl Head {
    /// An inbox nothing has happened to.
    #[must_use]
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            seq: 0,
            unread: 0,
            unseen: 0,
            cursor: 0,
            online_since: None,
            last_seen_at: None,
            catch_up_at: None,
            seen_up_to: 0,
            suppressed: 0,
            expires_at: None,
            preferences: Preferences::default(),
            erasure: None,
            memberships: Memberships::default(),
        }
    }

    /// What is left of it when its user was erased. Numbers go on, and leap: a client that comes back with an
    /// old one has missed too much to recover.
    #[must_use]
    pub fn erased(self) -> Self {
        Self {
            seq: self.seq.saturating_add(MAX_REPLAYED).saturating_add(1),
            cursor: self.cursor,
            erasure: self.erasure,
            ..Self::new(self.user)
        }
    }

    /// Where entry `n` of a room stands against what was applied.
    #[must_use]
    pub fn place(&self, room: &Room, n: u64) -> Place {
        let cursor = match room {
            Room::User(_) => self.cursor,
            Room::Shared(room) => match self.memberships.get(room) {
                None => return Place::Foreign,
                Some(Membership {
                    standing: Standing::Left(until),
                    ..
                }) if n > *until => return Place::Foreign,
                Some(Membership {
                    from: Start::Since(_),
                    ..
                }) => return Place::Gap,
                Some(Membership {
                    from: Start::After(cursor),
                    ..
                }) => *cursor,
            },
        };
        if n <= cursor {
            Place::Applied
        } else if n == cursor.saturating_add(1) {
            Place::Next
        } else {
            Place::Gap
        }
    }

    /// The counts, as every client may see them.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        Counts {
            unread: self.unread,
            unseen: self.unseen,
            seq: self.seq,
        }
    }

    /// Whether a token that was issued then may speak for the user. After an erasure only those issued
    /// later may; a token that does not say when it was issued may not.
    #[must_use]
    pub fn accepts_token(&self, issued_at: Option<Timestamp>) -> bool {
        match self.erasure {
            None => true,
            Some(erasure) => issued_at.is_some_and(|issued_at| issued_at > erasure.at()),
        }
    }
}

/// Where an entry of a room's log stands against a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The next one: apply it.
    Next,
    /// Applied before: a duplicate.
    Applied,
    /// Entries before it are missing: read them first.
    Gap,
    /// It is not for this user: they are not in the room, or were not then.
    Foreign,
}

/// Absolute counts and the change they are of. A client ignores counts of a lower `seq` than it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items in the inbox that are not read.
    pub unread: u64,
    /// Items in the inbox that are not seen.
    pub unseen: u64,
    /// The latest change.
    pub seq: u64,
}
