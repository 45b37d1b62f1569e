//! One notification in one user's inbox, and where it is kept.

use serde::{Deserialize, Serialize};

use crate::command::Mark;
use crate::delivery::{Delivery, DeliveryStatus};
use crate::id::{NotificationId, RecipientId};
use crate::notification::{Notification, NotificationView};
use crate::time::{Timestamp, iso};

/// One notification in the inbox.
#[derive(Clone, Debug)]
pub struct Item {
    /// The number of the change that brought it; of a suppressed one, its number among those.
    pub seq: u64,
    /// The user's record of it.
    pub recipient_id: RecipientId,
    /// What it says; empty in [`Folder::Removed`] and [`Folder::Suppressed`].
    pub notification: Notification,
    /// Where it is kept.
    pub folder: Folder,
    /// When the user read it.
    pub read_at: Option<Timestamp>,
    /// When the user saw it, in a list for example.
    pub seen_at: Option<Timestamp>,
    /// Where its delivery stands.
    pub delivery: Delivery,
    /// What the pusher was told.
    pub receipt: Receipt,
}

/// Where an item is kept. Only what is in the inbox counts as unread or unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// The inbox.
    Inbox,
    /// The archive, since then.
    Archived(Timestamp),
    /// Nowhere a user sees: a tombstone, so that the same notification does not come again.
    Removed(Removal, Timestamp),
    /// Never shown: the user had muted its category.
    Suppressed,
}

/// Why an item is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// The user deleted it.
    Deleted,
    /// The pusher took it back.
    Retracted,
    /// Its time was over.
    Expired,
    /// A newer one with the same `collapse_key` took its place.
    Collapsed,
}

impl Removal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deleted, Self::Retracted, Self::Expired, Self::Collapsed];

    /// The name on the wire and in storage.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Retracted => "retracted",
            Self::Expired => "expired",
            Self::Collapsed => "collapsed",
        }
    }
}

/// What a pusher is told about one recipient. It is kept with the item, so a repeated push gets the
/// same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The user's record of the notification.
    pub recipient_id: RecipientId,
    /// The number of the change that brought it.
    pub seq: u64,
    /// Where delivery stood when it was stored.
    pub delivery_status: DeliveryStatus,
    /// Whether a socket was open.
    pub online: bool,
}

/// What the record keeps of an item, apart from how often it was sent: that is written along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    status: DeliveryStatus,
    next_retry_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    folder: Folder,
}

impl Item {
    /// Whether it counts as unread.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.folder == Folder::Inbox && self.read_at.is_none()
    }

    /// Whether it counts as unseen.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.folder == Folder::Inbox && self.seen_at.is_none()
    }

    /// Whether the user can list it.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        match self.folder {
            Folder::Inbox | Folder::Archived(_) => true,
            Folder::Removed(..) | Folder::Suppressed => false,
        }
    }

    /// Whether its user can do this with it. What is gone can only be deleted, again.
    #[must_use]
    pub const fn takes(&self, mark: Mark) -> bool {
        match self.folder {
            Folder::Inbox | Folder::Archived(_) => true,
            Folder::Removed(..) => matches!(mark, Mark::Delete),
            Folder::Suppressed => false,
        }
    }

    /// Since when it is archived.
    #[must_use]
    pub const fn archived_at(&self) -> Option<Timestamp> {
        match self.folder {
            Folder::Archived(at) => Some(at),
            Folder::Inbox | Folder::Removed(..) | Folder::Suppressed => None,
        }
    }

    /// Since when it is gone.
    #[must_use]
    pub const fn deleted_at(&self) -> Option<Timestamp> {
        match self.folder {
            Folder::Removed(_, at) => Some(at),
            Folder::Inbox | Folder::Archived(_) | Folder::Suppressed => None,
        }
    }

    /// What the record keeps of it: when this changes, the record is owed the new state.
    #[must_use]
    pub const fn recorded(&self) -> Recorded {
        Recorded {
            status: self.delivery.status(),
            next_retry_at: self.delivery.next_retry_at(),
            read_at: self.read_at,
            seen_at: self.seen_at,
            folder: self.folder,
        }
    }

    /// What every client sees of it.
    #[must_use]
    pub fn view(&self) -> NotificationView<'_> {
        NotificationView::new(&self.notification, self.recipient_id, self.seq)
    }

    /// One entry of `GET /v1/me/notifications`.
    #[must_use]
    pub fn listed(&self) -> ListedItem<'_> {
        ListedItem {
            view: self.view(),
            read_at: self.read_at,
            seen_at: self.seen_at,
            archived_at: self.archived_at(),
            delivery_status: self.delivery.status(),
        }
    }

    /// One entry of a user's export: all there is, tombstones included.
    #[must_use]
    pub fn exported(&self) -> ExportedItem<'_> {
        ExportedItem {
            notification: self.is_listed().then(|| self.view()),
            id: self.notification.id,
            recipient_id: self.recipient_id,
            read_at: self.read_at,
            seen_at: self.seen_at,
            archived_at: self.archived_at(),
            deleted_at: self.deleted_at(),
            removal: match self.folder {
                Folder::Removed(removal, _) => Some(removal),
                Folder::Inbox | Folder::Archived(_) | Folder::Suppressed => None,
            },
            delivery_status: self.delivery.status(),
            attempts: self.delivery.attempts(),
            next_retry_at: self.delivery.next_retry_at(),
            delivered_at: self.delivery.columns().delivered.map(|(at, _)| at),
        }
    }
}

/// An item as a list shows it.
#[derive(Debug, Serialize)]
pub struct ListedItem<'a> {
    #[serde(flatten)]
    view: NotificationView<'a>,
    #[serde(with = "iso::option")]
    read_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    seen_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    archived_at: Option<Timestamp>,
    delivery_status: DeliveryStatus,
}

/// An item as an export shows it.
#[derive(Debug, Serialize)]
pub struct ExportedItem<'a> {
    id: NotificationId,
    recipient_id: RecipientId,
    notification: Option<NotificationView<'a>>,
    #[serde(with = "iso::option")]
    read_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    seen_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    archived_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    deleted_at: Option<Timestamp>,
    removal: Option<Removal>,
    delivery_status: DeliveryStatus,
    attempts: u32,
    #[serde(with = "iso::option")]
    next_retry_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    delivered_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use serde_json::{Value, json};

    use super::*;
    use crate::delivery::Via;
    use crate::id::UserId;

    const AT: Timestamp = Timestamp::from_ms(1_795_158_000_000);
    const LATER: Timestamp = Timestamp::from_ms(1_795_158_000_001);
    const AT_TEXT: &str = "2026-11-20T07:00:00.000Z";
    const LATER_TEXT: &str = "2026-11-20T07:00:00.001Z";

    const FOLDERS: [Folder; 7] = [
        Folder::Inbox,
        Folder::Archived(AT),
        Folder::Removed(Removal::Deleted, AT),
        Folder::Removed(Removal::Retracted, AT),
        Folder::Removed(Removal::Expired, AT),
        Folder::Removed(Removal::Collapsed, AT),
        Folder::Suppressed,
    ];

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
            folder: Folder::Inbox,
            read_at: None,
            seen_at: None,
            delivery: Delivery::NEW,
            receipt: Receipt {
                recipient_id,
                seq: 4,
                delivery_status: DeliveryStatus::Pending,
                online: true,
            },
        }
    }

    #[test]
    fn only_what_is_in_the_inbox_counts_and_only_that_and_the_archive_is_listed() {
        for folder in FOLDERS {
            let is_in_inbox = folder == Folder::Inbox;
            let archived_at = (folder == Folder::Archived(AT)).then_some(AT);
            let is_listed = is_in_inbox || archived_at.is_some();
            let deleted_at = (!is_listed && folder != Folder::Suppressed).then_some(AT);
            for read_at in [None, Some(AT)] {
                for seen_at in [None, Some(AT)] {
                    let item = Item {
                        folder,
                        read_at,
                        seen_at,
                        ..item()
                    };
                    assert_eq!(item.is_unread(), is_in_inbox && read_at.is_none(), "{folder:?}");
                    assert_eq!(item.is_unseen(), is_in_inbox && seen_at.is_none(), "{folder:?}");
                    assert_eq!(item.is_listed(), is_listed, "{folder:?}");
                    assert_eq!(item.archived_at(), archived_at, "{folder:?}");
                    assert_eq!(item.deleted_at(), deleted_at, "{folder:?}");
                }
            }
        }
    }

    #[test]
    fn the_record_is_owed_what_it_keeps_and_nothing_else() {
        let sent = Delivery::Sent {
            tries: crate::delivery::Tries {
                attempts: 1,
                retries: 0,
            },
            ack_by: LATER,
        };
        let failed = |retry_at| Delivery::Failed {
            tries: crate::delivery::Tries {
                attempts: 1,
                retries: 0,
            },
            retry_at,
        };
        let change = |edit: fn(&mut Item)| {
            let mut item = item();
            edit(&mut item);
            item
        };
        let delivery = |delivery| Item { delivery, ..item() };
        for (what, before, after, owed) in [
            ("nothing", item(), item(), false),
            ("an attempt under way", item(), delivery(sent), false),
            (
                "a failed attempt",
                delivery(sent),
                delivery(failed(Some(LATER))),
                true,
            ),
            (
                "a parked retry",
                delivery(failed(Some(LATER))),
                delivery(failed(None)),
                true,
            ),
            (
                "a confirmation",
                delivery(sent),
                delivery(sent.confirmed(Via::Ack, AT)),
                true,
            ),
            ("read", item(), change(|item| item.read_at = Some(AT)), true),
            ("seen", item(), change(|item| item.seen_at = Some(AT)), true),
            (
                "archived",
                item(),
                change(|item| item.folder = Folder::Archived(AT)),
                true,
            ),
            (
                "what it says",
                item(),
                change(|item| item.notification.content.title.clear()),
                false,
            ),
        ] {
            assert_eq!(before.recorded() != after.recorded(), owed, "{what}");
        }
    }

    #[test]
    fn a_listed_item_has_the_view_and_its_state() {
        let item = Item {
            folder: Folder::Archived(LATER),
            read_at: Some(AT),
            seen_at: Some(LATER),
            delivery: Delivery::NEW.confirmed(Via::Read, AT),
            ..item()
        };
        let mut listed: Value = serde_json::to_value(item.listed()).unwrap();
        let view: Value = serde_json::to_value(item.view()).unwrap();
        let members = listed.as_object_mut().unwrap();
        for (key, value) in view.as_object().unwrap() {
            assert_eq!(members.remove(key).as_ref(), Some(value), "{key}");
        }
        assert_eq!(
            listed,
            json!({"read_at": AT_TEXT, "seen_at": LATER_TEXT, "archived_at": LATER_TEXT, "delivery_status": "delivered"})
        );
        let plain: Value = serde_json::to_value(self::item().listed()).unwrap();
        for key in ["read_at", "seen_at", "archived_at"] {
            assert_eq!(plain[key], Value::Null, "{key}");
        }
        assert_eq!(plain["delivery_status"], "pending");
    }

    #[test]
    fn an_export_holds_tombstones_without_what_they_said() {
        for folder in FOLDERS {
            let item = Item {
                folder,
                delivery: Delivery::Delivered {
                    attempts: 2,
                    at: LATER,
                    via: Via::Ack,
                },
                ..item()
            };
            let exported: Value = serde_json::to_value(item.exported()).unwrap();
            let removal = match folder {
                Folder::Removed(removal, _) => json!(removal.name()),
                Folder::Inbox | Folder::Archived(_) | Folder::Suppressed => Value::Null,
            };
            let listed = item.is_listed();
            assert_eq!(
                exported,
                json!({
                    "id": item.notification.id,
                    "recipient_id": item.recipient_id,
                    "notification": if listed { json!(item.view()) } else { Value::Null },
                    "read_at": null,
                    "seen_at": null,
                    "archived_at": if folder == Folder::Archived(AT) { json!(AT_TEXT) } else { Value::Null },
                    "deleted_at": if removal.is_null() { Value::Null } else { json!(AT_TEXT) },
                    "removal": removal,
                    "delivery_status": "delivered",
                    "attempts": 2,
                    "next_retry_at": null,
                    "delivered_at": LATER_TEXT,
                }),
                "{folder:?}"
            );
        }
    }

    #[test]
    fn the_receipt_format_is_unchanged() {
        let stored = r#"{"recipient_id":"470314a0-6846-569f-81e6-a8e84f826fc0","seq":4,"delivery_status":"pending","online":true}"#;
        assert_eq!(serde_json::to_string(&item().receipt).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Receipt>(stored).unwrap(), item().receipt);
    }

    #[test]
    fn the_names_of_removals_are_unchanged() {
        let names = ["deleted", "retracted", "expired", "collapsed"];
        assert_eq!(Removal::ALL.map(Removal::name), names);
        assert_eq!(json!(Removal::ALL), json!(names));
    }
}
