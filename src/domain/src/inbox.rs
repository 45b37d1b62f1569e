//! One user's inbox: how entries of their room's log, their own commands and the clock change it
//! (DESIGN 5, 6, 7).
//!
//! Every visible change takes the next `seq`; items, `seq` and counts change together. A rule here
//! takes what is stored and gives an [`Outcome`]: what to store and what to send. The hub stores
//! first, in one transaction, then sends.

//!
//! [`Head`] is the inbox as a whole; `edit` is every way to change it; `sending` is for clients that
//! come back; `recount` holds the counts against the items.

mod edit;
mod head;
mod recount;
mod sending;

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use self::edit::Edit;
pub use self::head::{Counts, Erasure, Head, Place};
pub use self::recount::{drift, recount, recount_is_due};
pub use self::sending::{HasMore, Redelivered, batch, gather, replay};
use crate::change::{Change, ItemChanged, ItemDeleted, ReadAll, Seen};
use crate::command::Mark;
use crate::delivery::{DeliveryPolicy, Listeners, Tally, Via};
use crate::event::ServerEvent;
use crate::id::NotificationId;
use crate::item::{Folder, Item, Removal};
use crate::notification::Notification;
use crate::recovery::Offset;
use crate::room::{Room, SharedRoom};
use crate::time::Timestamp;

/// Most items in one `notification:batch` (DESIGN 5).
pub const MAX_BATCH: usize = 100;

/// One entry of a room's log with what it refers to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its number in the room: 1, 2, 3...
    pub n: u64,
    /// What it says.
    pub kind: EntryKind,
}

/// What an entry of a room's log says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A notification was pushed; `None` when retention or its pusher has taken it from the record.
    Push(Option<Box<Notification>>),
    /// The notification was taken back.
    Retract(NotificationId),
    /// The notification, which failed for good, is to be delivered again.
    Retry(NotificationId),
    /// The user was erased, then.
    Erase(Timestamp),
    /// The membership API has put the user in a room. Only in a user's own log.
    MemberAdd {
        /// The room.
        room: SharedRoom,
        /// What was pushed to it after this entry is theirs.
        since: u64,
    },
    /// The membership API has taken the user out of a room. Only in a user's own log.
    MemberRemove {
        /// The room.
        room: SharedRoom,
        /// What was pushed to it up to and including this entry is still theirs.
        until: u64,
        /// When.
        at: Timestamp,
    },
}

impl EntryKind {
    /// What it collapses with, when it pushes something that does.
    #[must_use]
    pub fn collapse_key(&self) -> Option<&str> {
        match self {
            Self::Push(Some(notification)) => notification.content.collapse_key.as_deref(),
            Self::Push(None)
            | Self::Retract(_)
            | Self::Retry(_)
            | Self::Erase(_)
            | Self::MemberAdd { .. }
            | Self::MemberRemove { .. } => None,
        }
    }

    /// The notification it is about.
    #[must_use]
    pub fn notification_id(&self) -> Option<NotificationId> {
        match self {
            Self::Push(notification) => notification.as_ref().map(|notification| notification.id),
            Self::Retract(id) | Self::Retry(id) => Some(*id),
            Self::Erase(_) | Self::MemberAdd { .. } | Self::MemberRemove { .. } => None,
        }
    }
}

/// What to store, in one transaction with the rest of the list.
#[derive(Clone, Debug)]
pub enum Store {
    /// Write the head row.
    Head(Head),
    /// Add an item.
    Insert(Rc<Item>, Debt),
    /// Put an item into its folder; one that is removed loses what it says.
    Move(Rc<Item>),
    /// Write what else an item's state is.
    State(Rc<Item>, Debt),
    /// Log a change for those who missed it.
    Log(Change),
    /// Mark everything unread in the inbox up to and including this item as read.
    ReadAll {
        /// The item.
        up_to: u64,
        /// When.
        at: Timestamp,
    },
    /// Mark everything unseen in the inbox above one item, up to and including the other, as seen.
    Seen {
        /// The item above which.
        above: u64,
        /// The item up to which.
        up_to: u64,
        /// When.
        at: Timestamp,
    },
}

impl Store {
    /// Whether the record is owed something once this is stored.
    #[must_use]
    pub const fn debt(&self) -> Debt {
        match self {
            Self::Insert(_, debt) | Self::State(_, debt) => *debt,
            Self::ReadAll { .. } | Self::Seen { .. } => Debt::Owed,
            Self::Head(_) | Self::Move(_) | Self::Log(_) => Debt::None,
        }
    }

    /// When the clock moves on a delivery that this stores.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Timestamp> {
        match self {
            Self::Insert(item, _) | Self::State(item, _) => item.delivery.wakes_at(),
            Self::Head(_) | Self::Move(_) | Self::Log(_) | Self::ReadAll { .. } | Self::Seen { .. } => None,
        }
    }
}

/// Whether the record is owed an item's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debt {
    /// It knows what it has to.
    None,
    /// It is.
    Owed,
}

/// What a rule makes of an inbox.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Store these, in one transaction.
    pub stores: Vec<Store>,
    /// Then send these, in order.
    pub emissions: Vec<Emission>,
    /// What became of single deliveries by it.
    pub tally: Tally,
}

/// An event for a user's sockets.
#[derive(Clone, Debug)]
pub struct Emission {
    /// The event.
    pub event: ServerEvent,
    /// How far a client has come with it.
    pub offset: Offset,
    /// Who gets it.
    pub to: Listening,
}

/// Which of a user's sockets get an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// All.
    All,
    /// Those whose session acknowledges.
    Acknowledging,
}

/// What an inbox is held against when something comes in.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// When an item counts as delivered.
    pub policy: &'a DeliveryPolicy,
    /// The open sockets.
    pub listeners: Listeners,
    /// The present.
    pub now: Timestamp,
}

/// What the inbox holds that an entry is about.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The notification itself, when it is there already, in whatever folder.
    pub item: Option<Item>,
    /// Unread items with the same `collapse_key`.
    pub collapsing: Vec<Item>,
}

/// Applies an entry of a room the user is in to the stored `head`. The caller has checked that nothing
/// before it is missing.
#[must_use]
pub fn apply(head: &Head, room: &Room, entry: Entry, known: Known, around: &Surroundings<'_>) -> Outcome {
    let mut edit = Edit::of(head, around.now);
    match room {
        Room::User(_) => edit.head.cursor = entry.n,
        Room::Shared(room) => edit.head.memberships.advance(room, entry.n),
    }
    match (entry.kind, known.item) {
        (EntryKind::Push(Some(notification)), None) => {
            edit.arrive(*notification, known.collapsing, around);
        }
        (EntryKind::Retract(_), Some(item)) if item.is_listed() => {
            edit.remove(&item, Removal::Retracted);
        }
        (EntryKind::Retry(_), Some(item)) if item.is_listed() => edit.requeue(item, around),
        (EntryKind::Erase(at), _) => edit.head.erasure = Some(Erasure::Running { at, n: entry.n }),
        (EntryKind::MemberAdd { room, since }, _) => edit.head.memberships.add(&room, since),
        (EntryKind::MemberRemove { room, until, at }, _) => {
            edit.head.memberships.remove(&room, until, at);
        }
        // Known by another room, taken from the record, or gone from the inbox: only the cursor moves.
        (EntryKind::Push(_) | EntryKind::Retract(_) | EntryKind::Retry(_), _) => {}
    }
    edit.finish()
}

/// What the clock does: `due` are items whose delivery it moves on, `expired` those whose time is
/// over. `next_expiry` is when the next item after those expires.
#[must_use]
pub fn on_timer(
    head: &Head,
    due: Vec<Item>,
    expired: Vec<Item>,
    next_expiry: Option<Timestamp>,
    around: &Surroundings<'_>,
) -> Outcome {
    let mut edit = Edit::of(head, around.now);
    edit.head.expires_at = next_expiry;
    for item in expired {
        edit.remove(&item, Removal::Expired);
    }
    for mut item in due {
        let before = item.clone();
        item.delivery = item
            .delivery
            .on_timer(around.policy, around.listeners, around.now);
        edit.try_again(&before, item, around);
    }
    edit.finish()
}

/// What a user does with one of their items that is listed, or deletes again what is gone. Gives what
/// they are answered, whether or not anything changed: every mark can be repeated.
#[must_use]
pub fn mark(head: &Head, item: &Item, mark: Mark, now: Timestamp) -> (Change, Outcome) {
    let mut edit = Edit::of(head, now);
    let mut changed = item.clone();
    match mark {
        Mark::Read => changed.read_at = item.read_at.or(Some(now)),
        Mark::Unread => changed.read_at = None,
        Mark::Archive => {
            if item.folder == Folder::Inbox {
                changed.folder = Folder::Archived(now);
            }
        }
        Mark::Unarchive => changed.folder = Folder::Inbox,
        Mark::Delete => {
            let change = if item.is_listed() {
                edit.remove(item, Removal::Deleted)
            } else {
                Change::Deleted(ItemDeleted::of(item, Removal::Deleted, head.unread, head.seq))
            };
            return (change, edit.finish());
        }
    }
    let happens = changed.read_at != item.read_at || changed.folder != item.folder;
    if happens {
        changed.seen_at = item.seen_at.or(Some(now));
        changed.delivery = item.delivery.confirmed(Via::Read, now);
        let seq = edit.next_seq();
        let changed = edit.change(item, changed);
        let change = marked(mark, ItemChanged::of(&changed, edit.head.unread, seq));
        edit.tell(change);
        (change, edit.finish())
    } else {
        let change = marked(mark, ItemChanged::of(item, head.unread, head.seq));
        (change, edit.finish())
    }
}

const fn marked(mark: Mark, item: ItemChanged) -> Change {
    match mark {
        Mark::Unread => Change::Unread(item),
        Mark::Archive => Change::Archived(item),
        Mark::Unarchive => Change::Unarchived(item),
        Mark::Read | Mark::Delete => Change::Read(item),
    }
}

/// How many items something bears on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Unread ones.
    pub unread: u64,
    /// Unseen ones.
    pub unseen: u64,
}

/// Reads everything in the inbox up to and including `up_to`; `affected` is what is unread there, and
/// how much of that is unseen.
#[must_use]
pub fn read_all(head: &Head, up_to: u64, affected: Affected, now: Timestamp) -> (Change, Outcome) {
    let mut edit = Edit::of(head, now);
    if affected.unread > 0 {
        edit.next_seq();
        edit.head.unread = edit.head.unread.saturating_sub(affected.unread);
        edit.head.unseen = edit.head.unseen.saturating_sub(affected.unseen);
        edit.outcome.stores.push(Store::ReadAll { up_to, at: now });
    }
    let change = Change::ReadAll(ReadAll {
        before_seq: up_to,
        marked_count: affected.unread,
        read_at: now,
        unread: edit.head.unread,
        seq: edit.head.seq,
    });
    if affected.unread > 0 {
        edit.tell(change);
    }
    (change, edit.finish())
}

/// Sees everything in the inbox up to and including `up_to`; `unseen` is how much of that is new to
/// the user.
#[must_use]
pub fn see(head: &Head, up_to: u64, unseen: u64, now: Timestamp) -> (Change, Outcome) {
    let mut edit = Edit::of(head, now);
    let up_to = up_to.min(head.seq);
    // Also when nothing there was unseen: it is not looked at again.
    edit.head.seen_up_to = edit.head.seen_up_to.max(up_to);
    if unseen > 0 {
        edit.next_seq();
        edit.head.unseen = edit.head.unseen.saturating_sub(unseen);
        edit.outcome.stores.push(Store::Seen {
            above: head.seen_up_to,
            up_to,
            at: now,
        });
    }
    let change = Change::Seen(Seen {
        up_to_seq: up_to,
        unseen: edit.head.unseen,
        seq: edit.head.seq,
    });
    if unseen > 0 {
        edit.tell(change);
    }
    (change, edit.finish())
}

/// Notes that a device confirmed these items, by acknowledging or by fetching them.
#[must_use]
pub fn confirm(head: &Head, items: Vec<Item>, via: Via, now: Timestamp) -> Outcome {
    let mut edit = Edit::of(head, now);
    for mut item in items {
        let before = item.clone();
        item.delivery = item.delivery.confirmed(via, now);
        edit.change(&before, item);
    }
    edit.finish()
}

#[cfg(test)]
mod tests;
