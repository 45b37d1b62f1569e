//! One notification in one user's inbox, and where it is kept.

use serde::{Deserialize, Serialize};

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
