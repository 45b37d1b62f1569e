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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::delivery::{Delivery, DeliveryStatus};
    use crate::id::UserId;
    use crate::item::{Folder, Receipt};
    use crate::notification::Notification;

    const AT: Timestamp = Timestamp::from_ms(1_795_158_000_000);
    const LATER: Timestamp = Timestamp::from_ms(1_795_158_000_001);

    fn item() -> Item {
        let id = NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap();
        let recipient_id = id.recipient(&UserId::parse("u1").unwrap());
        Item {
            seq: 4,
            recipient_id,
            notification: Notification {
                id,
                created_at: AT,
                content: serde_json::from_str(r#"{"title":"t","content":"","priority":"normal"}"#).unwrap(),
            },
            folder: Folder::Archived(LATER),
            read_at: Some(AT),
            seen_at: Some(AT),
            delivery: Delivery::NEW,
            receipt: Receipt {
                recipient_id,
                seq: 4,
                delivery_status: DeliveryStatus::Pending,
                online: false,
            },
        }
    }

    #[test]
    fn the_format_of_every_logged_change_is_unchanged_and_clients_get_it_without_its_kind() {
        let ids = r#""id":"01929c3e-0000-7000-8000-000000000001","recipient_id":"470314a0-6846-569f-81e6-a8e84f826fc0","notification_id":"01929c3e-0000-7000-8000-000000000001""#;
        let changed = ItemChanged::of(&item(), 2, 9);
        let state = format!(
            r#"{ids},"read_at":"2026-11-20T07:00:00.000Z","archived_at":"2026-11-20T07:00:00.001Z","unread":2,"seq":9"#
        );
        let bare = Item {
            folder: Folder::Inbox,
            read_at: None,
            ..item()
        };
        let mut table = vec![
            (Change::Read(changed), "read", state.clone()),
            (Change::Unread(changed), "unread", state.clone()),
            (Change::Archived(changed), "archived", state.clone()),
            (Change::Unarchived(changed), "unarchived", state),
            (
                Change::Unread(ItemChanged::of(&bare, 3, 9)),
                "unread",
                format!(r#"{ids},"read_at":null,"archived_at":null,"unread":3,"seq":9"#),
            ),
            (
                Change::ReadAll(ReadAll {
                    before_seq: 7,
                    marked_count: 3,
                    read_at: AT,
                    unread: 2,
                    seq: 9,
                }),
                "read_all",
                r#""before_seq":7,"marked_count":3,"read_at":"2026-11-20T07:00:00.000Z","unread":2,"seq":9"#
                    .to_owned(),
            ),
            (
                Change::Seen(Seen {
                    up_to_seq: 7,
                    unseen: 1,
                    seq: 9,
                }),
                "seen",
                r#""up_to_seq":7,"unseen":1,"seq":9"#.to_owned(),
            ),
        ];
        for (reason, name) in [
            (Removal::Deleted, "deleted"),
            (Removal::Retracted, "retracted"),
            (Removal::Expired, "expired"),
            (Removal::Collapsed, "collapsed"),
        ] {
            table.push((
                Change::Deleted(ItemDeleted::of(&item(), reason, 2, 9)),
                "deleted",
                format!(r#"{ids},"reason":"{name}","unread":2,"seq":9"#),
            ));
        }
        for (change, kind, members) in table {
            let stored = format!(r#"{{"kind":"{kind}",{members}}}"#);
            assert_eq!(serde_json::to_string(&change).unwrap(), stored);
            assert_eq!(serde_json::from_str::<Change>(&stored).unwrap(), change);
            assert_eq!(
                serde_json::to_string(&change.payload()).unwrap(),
                format!("{{{members}}}")
            );
            assert_eq!(change.seq(), 9, "{kind}");
        }
    }

    #[test]
    fn what_is_no_change_is_not_read_as_one() {
        for stored in [
            "{}",
            r#"{"kind":"seen"}"#,
            r#"{"kind":"new","up_to_seq":7,"unseen":1,"seq":9}"#,
            r#"{"up_to_seq":7,"unseen":1,"seq":9}"#,
            r#"{"kind":"read_all","before_seq":7,"marked_count":3,"read_at":"yesterday","unread":2,"seq":9}"#,
        ] {
            assert!(serde_json::from_str::<Change>(stored).is_err(), "{stored}");
        }
    }
}
