//! The visible changes of an inbox other than new items: what devices are told, what is logged for
//! those that missed it, and what the one that asked for it is answered.

use serde::{Deserialize, Serialize};

use crate::id::{NotificationId, RecipientId};
use crate::item::{Item, Removal};
use crate::time::{Timestamp, iso};

/// A change. Its JSON with the field `kind` is what a hub's log stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// `notification:read`.
    Read(ItemChanged),
    /// `notification:unread`.
    Unread(ItemChanged),
    /// `notification:archived`.
    Archived(ItemChanged),
    /// `notification:unarchived`.
    Unarchived(ItemChanged),
    /// `notification:deleted`.
    Deleted(ItemDeleted),
    /// `notifications:read_all`.
    ReadAll(ReadAll),
    /// `notifications:seen`.
    Seen(Seen),
}

/// An item's state after a change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemChanged {
    id: NotificationId,
    recipient_id: RecipientId,
    notification_id: NotificationId,
    #[serde(with = "iso::option")]
    read_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    archived_at: Option<Timestamp>,
    unread: u64,
    seq: u64,
}

/// An item is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemDeleted {
    id: NotificationId,
    /// The user's record of it.
    pub recipient_id: RecipientId,
    notification_id: NotificationId,
    reason: Removal,
    unread: u64,
    seq: u64,
}

/// Everything in the inbox up to a number was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAll {
    /// Up to and including this item.
    pub before_seq: u64,
    /// How many items were unread.
    pub marked_count: u64,
    /// When.
    #[serde(with = "iso")]
    pub read_at: Timestamp,
    /// What is still unread.
    pub unread: u64,
    /// The number of the change.
    pub seq: u64,
}

/// Everything up to a number was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Up to and including this item.
    pub up_to_seq: u64,
    /// What is still unseen.
    pub unseen: u64,
    /// The number of the change.
    pub seq: u64,
}

impl ItemChanged {
    /// The state of `item`, with the inbox's count and number.
    #[must_use]
    pub const fn of(item: &Item, unread: u64, seq: u64) -> Self {
        Self {
            id: item.notification.id,
            recipient_id: item.recipient_id,
            notification_id: item.notification.id,
            read_at: item.read_at,
            archived_at: item.archived_at(),
            unread,
            seq,
        }
    }
}

impl ItemDeleted {
    /// That `item` is gone, with the inbox's count and number.
    #[must_use]
    pub const fn of(item: &Item, reason: Removal, unread: u64, seq: u64) -> Self {
        Self {
            id: item.notification.id,
            recipient_id: item.recipient_id,
            notification_id: item.notification.id,
            reason,
            unread,
            seq,
        }
    }
}

impl Change {
    /// The number of the change.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Read(item) | Self::Unread(item) | Self::Archived(item) | Self::Unarchived(item) => item.seq,
            Self::Deleted(item) => item.seq,
            Self::ReadAll(all) => all.seq,
            Self::Seen(seen) => seen.seq,
        }
    }

    /// The change without its kind: what clients get.
    #[must_use]
    pub const fn payload(&self) -> Payload<'_> {
        match self {
            Self::Read(item) | Self::Unread(item) | Self::Archived(item) | Self::Unarchived(item) => {
                Payload::Changed(item)
            }
            Self::Deleted(item) => Payload::Deleted(item),
            Self::ReadAll(all) => Payload::ReadAll(all),
            Self::Seen(seen) => Payload::Seen(seen),
        }
    }
}

/// What clients get of a [`Change`].
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Payload<'a> {
    /// See [`ItemChanged`].
    Changed(&'a ItemChanged),
    /// See [`ItemDeleted`].
    Deleted(&'a ItemDeleted),
    /// See [`ReadAll`].
    ReadAll(&'a ReadAll),
    /// See [`Seen`].
    Seen(&'a Seen),
}
