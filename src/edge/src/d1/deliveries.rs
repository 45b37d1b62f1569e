//! What became of what was pushed, for each user: written for many hubs at once.

use dormouse_domain::delivery::{DeliveryStatus, Via};
use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::item::Item;
use dormouse_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::Result;

use super::Database;

/// A push to users has made its rows, one to rooms has not. What retention has taken stays away.
const WRITE_DELIVERIES: &str = "
INSERT INTO deliveries (notification_id, user_id, status, attempts, next_retry_at, via, delivered_at, seen_at, read_at,
  archived_at, deleted_at)
SELECT o.value ->> 'notification_id', o.value ->> 'user_id', o.value ->> 'status', o.value ->> 'attempts',
  o.value ->> 'next_retry_at', o.value ->> 'via', o.value ->> 'delivered_at', o.value ->> 'seen_at',
  o.value ->> 'read_at', o.value ->> 'archived_at', o.value ->> 'deleted_at'
FROM json_each(?1) AS o
WHERE EXISTS (SELECT 1 FROM notifications WHERE id = o.value ->> 'notification_id')
ON CONFLICT (notification_id, user_id) DO UPDATE SET
  status = excluded.status, attempts = excluded.attempts, next_retry_at = excluded.next_retry_at,
  via = excluded.via, delivered_at = excluded.delivered_at, seen_at = excluded.seen_at, read_at = excluded.read_at,
  archived_at = excluded.archived_at, deleted_at = excluded.deleted_at";

/// A user's state of a notification the record does not have yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OwedDelivery {
    notification_id: NotificationId,
    status: DeliveryStatus,
    attempts: u32,
    next_retry_at: Option<Timestamp>,
    via: Option<Via>,
    delivered_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
    archived_at: Option<Timestamp>,
    deleted_at: Option<Timestamp>,
}

impl OwedDelivery {
    /// The state of `item`.
    pub(crate) fn of(item: &Item) -> Self {
        let (delivered_at, via) = item.delivery.columns().delivered.unzip();
        Self {
            notification_id: item.notification.id,
            status: item.delivery.status(),
            attempts: item.delivery.attempts(),
            next_retry_at: item.delivery.next_retry_at(),
            via,
            delivered_at,
            seen_at: item.seen_at,
            read_at: item.read_at,
            archived_at: item.archived_at(),
            deleted_at: item.deleted_at(),
        }
    }

    /// The notification, when its delivery has failed for good.
    pub(crate) fn failed_for_good(&self) -> Option<NotificationId> {
        (self.status == DeliveryStatus::PermanentFailure).then_some(self.notification_id)
    }
}

/// What a user's hub owes the record.
#[derive(Debug, Serialize)]
pub(crate) struct UserDelivery<'a> {
    pub(crate) user_id: &'a UserId,
    #[serde(flatten)]
    pub(crate) owed: &'a OwedDelivery,
}

impl Database {
    /// Writes what became of notifications.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn write_deliveries(&self, owed: &[UserDelivery<'_>]) -> Result<()> {
        let owed = JsValue::from(serde_json::to_string(owed)?);
        self.one(WRITE_DELIVERIES, &[owed]).await.map(|_| ())
    }
}
