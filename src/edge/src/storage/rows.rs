//! Rows of a hub's tables as the domain knows them, and back.

use dormouse_domain::delivery::{Delivery, DeliveryColumns, DeliveryStatus, Via};
use dormouse_domain::id::{NotificationId, RecipientId, UserId};
use dormouse_domain::inbox::{Erasure, Head};
use dormouse_domain::item::{Folder, Item, Receipt, Removal};
use dormouse_domain::notification::Notification;
use dormouse_domain::preferences::Preferences;
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use worker::{Error, Result, SqlStorageValue};

use crate::d1::from_number;

/// The places of a folder: numbers stay far below this, and four times this survives the way through
/// JavaScript.
pub(super) const FOLDER_SIZE: u64 = 1 << 50;

/// An item's key: its number within the places of its folder.
pub(super) const fn place(folder: Folder, seq: u64) -> u64 {
    let folder: u64 = match folder {
        Folder::Inbox => 0,
        Folder::Archived(_) => 1,
        Folder::Removed(..) => 2,
        Folder::Suppressed => 3,
    };
    folder.saturating_mul(FOLDER_SIZE).saturating_add(seq)
}

/// When an item left the inbox, and why it is gone.
pub(super) const fn location(item: &Item) -> (Option<Timestamp>, Option<&'static str>) {
    match item.folder {
        Folder::Inbox => (None, None),
        Folder::Archived(at) => (Some(at), None),
        Folder::Removed(removal, at) => (Some(at), Some(removal.name())),
        Folder::Suppressed => (Some(item.notification.created_at), None),
    }
}

pub(super) fn delivery(delivery: Delivery) -> Result<[SqlStorageValue; 6]> {
    let columns = delivery.columns();
    let (delivered_at, via) = columns.delivered.unzip();
    Ok([
        columns.status.name().into(),
        integer(u64::from(columns.attempts))?,
        integer(u64::from(columns.retries))?,
        instant(columns.due_at)?,
        instant(delivered_at)?,
        text(via.map(Via::name)),
    ])
}

#[derive(Deserialize)]
pub(super) struct HeadRow {
    user_id: String,
    seq: f64,
    unread: f64,
    unseen: f64,
    cursor: f64,
    online_since: Option<f64>,
    last_seen_at: Option<f64>,
    catch_up_at: Option<f64>,
    seen_up_to: f64,
    suppressed: f64,
    expires_at: Option<f64>,
    preferences: String,
    erased_at: Option<f64>,
    erased_up_to: Option<f64>,
    memberships: String,
}

impl HeadRow {
    pub(super) fn into_head(self) -> Result<Head> {
        let erased_up_to = self.erased_up_to.map(unsigned);
        let erasure = |at| match erased_up_to {
            Some(n) => Erasure::Running { at, n },
            None => Erasure::Done(at),
        };
        Ok(Head {
            user: UserId::parse(&self.user_id).map_err(corrupt)?,
            seq: unsigned(self.seq),
            unread: unsigned(self.unread),
            unseen: unsigned(self.unseen),
            cursor: unsigned(self.cursor),
            online_since: self.online_since.map(from_number),
            last_seen_at: self.last_seen_at.map(from_number),
            catch_up_at: self.catch_up_at.map(from_number),
            seen_up_to: unsigned(self.seen_up_to),
            suppressed: unsigned(self.suppressed),
            expires_at: self.expires_at.map(from_number),
            preferences: serde_json::from_str::<Preferences>(&self.preferences)?,
            erasure: self.erased_at.map(from_number).map(erasure),
            memberships: serde_json::from_str(&self.memberships)?,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct ItemRow {
    pub(super) place: f64,
    recipient_id: String,
    notification_id: String,
    created_at: f64,
    content: String,
    read_at: Option<f64>,
    seen_at: Option<f64>,
    moved_at: Option<f64>,
    removal: Option<String>,
    status: String,
    attempts: f64,
    retries: f64,
    due_at: Option<f64>,
    delivered_at: Option<f64>,
    via: Option<String>,
    receipt_status: String,
    receipt_online: f64,
    /// Of the item in `unsettled`, where that is read as well.
    #[serde(default)]
    pub(super) revision: Option<f64>,
}

impl ItemRow {
    pub(super) fn into_item(self) -> Result<Item> {
        let recipient_id = RecipientId::parse(&self.recipient_id).map_err(corrupt)?;
        let place = unsigned(self.place);
        let seq = place.checked_rem(FOLDER_SIZE).unwrap_or_default();
        let moved_at = self.moved_at.map(from_number);
        let removal = match &self.removal {
            Some(name) => Some(named(&Removal::ALL, Removal::name, name)?),
            None => None,
        };
        let folder = match (
            place.checked_div(FOLDER_SIZE).unwrap_or_default(),
            moved_at,
            removal,
        ) {
            (0, None, None) => Folder::Inbox,
            (1, Some(at), None) => Folder::Archived(at),
            (2, Some(at), Some(removal)) => Folder::Removed(removal, at),
            (3, Some(_), None) => Folder::Suppressed,
            _ => return Err(corrupt(format!("an item at {place} that belongs nowhere"))),
        };
        let via = match &self.via {
            Some(name) => Some(named(
                &[Via::Sent, Via::Ack, Via::Http, Via::Read],
                Via::name,
                name,
            )?),
            None => None,
        };
        let columns = DeliveryColumns {
            status: named(&DeliveryStatus::ALL, DeliveryStatus::name, &self.status)?,
            attempts: small(self.attempts),
            retries: small(self.retries),
            due_at: self.due_at.map(from_number),
            delivered: self.delivered_at.map(from_number).zip(via),
        };
        Ok(Item {
            seq,
            recipient_id,
            notification: Notification {
                id: NotificationId::parse(&self.notification_id).map_err(corrupt)?,
                created_at: from_number(self.created_at),
                content: serde_json::from_str(&self.content)?,
            },
            folder,
            read_at: self.read_at.map(from_number),
            seen_at: self.seen_at.map(from_number),
            delivery: columns
                .into_delivery()
                .ok_or_else(|| corrupt(format!("no delivery is like {columns:?}")))?,
            receipt: Receipt {
                recipient_id,
                seq,
                delivery_status: named(&DeliveryStatus::ALL, DeliveryStatus::name, &self.receipt_status)?,
                online: self.receipt_online != 0.0,
            },
        })
    }
}

/// The value of this name.
pub(super) fn named<T: Copy>(all: &[T], name_of: impl Fn(T) -> &'static str, name: &str) -> Result<T> {
    all.iter()
        .copied()
        .find(|value| name_of(*value) == name)
        .ok_or_else(|| corrupt(format!("nothing is called {name:?}")))
}

pub(super) fn unsigned(value: f64) -> u64 {
    from_number(value).as_ms()
}

pub(super) fn small(value: f64) -> u32 {
    u32::try_from(unsigned(value)).unwrap_or(u32::MAX)
}

pub(super) fn integer(value: u64) -> Result<SqlStorageValue> {
    let value = i64::try_from(value).map_err(|_| Error::RustError(format!("{value} is out of range")))?;
    SqlStorageValue::try_from_i64(value)
}

pub(super) fn instant(at: Option<Timestamp>) -> Result<SqlStorageValue> {
    at.map_or(Ok(SqlStorageValue::Null), |at| integer(at.as_ms()))
}

pub(super) fn text(text: Option<&str>) -> SqlStorageValue {
    text.map_or(SqlStorageValue::Null, SqlStorageValue::from)
}

pub(super) fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::RustError(format!("the inbox holds something unreadable: {error}"))
}
