//! What the record forgets.
//!
//! Each statement deletes a bounded number of rows, so that pushes get their turn in between. Everything
//! is found by primary key, whose ids are in time order, but for keys: an index on their age would cost
//! every push with a key a row written, and again when it is deleted, and a row written costs a thousand
//! rows read; so each run reads them all, a day's worth.

use dormouse_domain::id::{DeadLetterId, NotificationId};
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::{D1Result, Result};

use super::push::IDEMPOTENCY_WINDOW_MS;
use super::{Database, corrupt, missing, timestamp};

/// Keys deleted at once.
const KEYS: u32 = 5_000;
/// Canceled pushes deleted at once.
const CANCELED: u32 = 1_000;
/// Former memberships deleted at once.
const FORMER: u32 = 1_000;
/// Dead letters deleted at once: each may be as long as a message of a queue.
const LETTERS: u32 = 500;
/// Notifications looked at together.
const NOTIFICATIONS: u32 = 500;
/// Entries in logs of the notifications that are deleted at once.
const RECIPIENTS: usize = 5_000;
/// Deliveries deleted at once: one for each member of a room who had to do with what was pushed to it.
const DELIVERIES: u32 = 5_000;

const DELETE_KEYS: &str = "
DELETE FROM idempotency
WHERE (scope, key) IN (SELECT scope, key FROM idempotency WHERE created_at < ?1 LIMIT ?2)";

const DELETE_CANCELED: &str = "
DELETE FROM scheduled WHERE id IN (SELECT id FROM scheduled WHERE canceled_at < ?1 LIMIT ?2)";

const DELETE_FORMER: &str = "
DELETE FROM memberships
WHERE (user_id, room, source) IN (SELECT user_id, room, source FROM memberships WHERE removed_at < ?1 LIMIT ?2)";

/// An id holds when its message was sent, which was before it was given up.
const DELETE_LETTERS: &str = "
DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE id < ?1 AND received_at < ?2 LIMIT ?3)";

/// An id holds when its push was accepted, which for a scheduled one is before it was created.
const READ_OLD: &str = "
SELECT id, audience FROM notifications WHERE id > ?1 AND id < ?2 AND created_at < ?3 ORDER BY id LIMIT ?4";

const DELETE_DELIVERIES: &str = "
DELETE FROM deliveries WHERE (notification_id, user_id) IN (
  SELECT d.notification_id, d.user_id
  FROM json_each(?1) AS old CROSS JOIN deliveries AS d ON d.notification_id = old.value LIMIT ?2)";

/// Whatever is before an old entry of a log is older still. The highest entry of a log stays: the next n
/// is taken from it. So does the last that the membership API said of each room: a user who was away for longer than
/// anything is kept has yet to read it. Of what is left of the deliveries, the log leads to them: it goes last.
const DELETE_AUDIENCE: &str = "
DELETE FROM audience
WHERE (room, n) IN (
    SELECT a.room, a.n
    FROM json_each(?1) AS old CROSS JOIN audience AS a ON a.room = old.value ->> 0 AND a.n <= old.value ->> 1
    WHERE a.n < (SELECT MAX(n) FROM audience WHERE room = a.room)
      AND CASE WHEN a.kind IN ('member_add', 'member_remove') THEN EXISTS (
          SELECT 1 FROM audience AS later
          WHERE later.room = a.room AND later.n > a.n AND later.n <= old.value ->> 1
            AND CASE WHEN later.kind IN ('member_add', 'member_remove') THEN later.ref ->> 0 = a.ref ->> 0 ELSE false END)
        ELSE true END)
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE notification_id IN (SELECT value FROM json_each(?2)))";

const DELETE_NOTIFICATIONS: &str = "
DELETE FROM notifications
WHERE id IN (SELECT value FROM json_each(?1))
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE notification_id IN (SELECT value FROM json_each(?1)))";

/// Whether there is more to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Maybe.
    More,
    /// No.
    Nothing,
}

/// How far notifications were forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// All that are old enough.
    All,
    /// Those up to and including this one.
    UpTo(NotificationId),
    /// Of the next ones some of the deliveries.
    InPart,
}

impl Rest {
    fn after(deleted: &D1Result, limit: u32) -> Result<Self> {
        let deleted = deleted.meta()?.and_then(|meta| meta.changes).unwrap_or_default();
        Ok(if u32::try_from(deleted).is_ok_and(|deleted| deleted < limit) {
            Self::Nothing
        } else {
            Self::More
        })
    }
}

impl Database {
    /// Forgets keys that stand for nothing any more.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn forget_keys(&self, now: Timestamp) -> Result<Rest> {
        let before = Timestamp::from_ms(now.as_ms().saturating_sub(IDEMPOTENCY_WINDOW_MS));
        let bound = [timestamp(before), JsValue::from(KEYS)];
        Rest::after(&self.one(DELETE_KEYS, &bound).await?, KEYS)
    }

    /// Forgets pushes that were canceled before `before`.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn forget_canceled(&self, before: Timestamp) -> Result<Rest> {
        let bound = [timestamp(before), JsValue::from(CANCELED)];
        Rest::after(&self.one(DELETE_CANCELED, &bound).await?, CANCELED)
    }

    /// Forgets memberships that ended before `before`: whatever came of them is forgotten as well.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn forget_memberships(&self, before: Timestamp) -> Result<Rest> {
        let bound = [timestamp(before), JsValue::from(FORMER)];
        Rest::after(&self.one(DELETE_FORMER, &bound).await?, FORMER)
    }

    /// Forgets dead letters that were given up before `before`.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn forget_letters(&self, before: Timestamp) -> Result<Rest> {
        let bound = [
            JsValue::from(DeadLetterId::first_at(before).to_string()),
            timestamp(before),
            JsValue::from(LETTERS),
        ];
        Rest::after(&self.one(DELETE_LETTERS, &bound).await?, LETTERS)
    }

    /// Forgets notifications created before `before`, with their deliveries and entries in logs, in one
    /// transaction unless there are too many deliveries: then those go first. Begins after the notification `after`.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn forget_notifications(
        &self,
        before: Timestamp,
        after: Option<NotificationId>,
    ) -> Result<Forgotten> {
        #[derive(Deserialize)]
        struct Row {
            id: String,
            audience: String,
        }
        let bound = [
            JsValue::from(after.map(|id| id.to_string()).unwrap_or_default()),
            JsValue::from(NotificationId::generate(before, [0; 10]).to_string()),
            timestamp(before),
            JsValue::from(NOTIFICATIONS),
        ];
        let rows: Vec<Row> = self.one(READ_OLD, &bound).await?.results()?;
        let mut last = None;
        let mut ids = Vec::new();
        let mut entries: Vec<(String, u64)> = Vec::new();
        for row in rows {
            if entries.len() >= RECIPIENTS {
                break;
            }
            let mut rooms: Vec<(String, u64)> = serde_json::from_str(&row.audience)?;
            entries.append(&mut rooms);
            last = Some(NotificationId::parse(&row.id).map_err(corrupt)?);
            ids.push(row.id);
        }
        let Some(last) = last else {
            return Ok(Forgotten::All);
        };
        let ids = JsValue::from(serde_json::to_string(&ids)?);
        let entries = JsValue::from(serde_json::to_string(&entries)?);
        let results = self
            .batch(vec![
                self.statement(DELETE_DELIVERIES, &[ids.clone(), JsValue::from(DELIVERIES)])?,
                self.statement(DELETE_AUDIENCE, &[entries, ids.clone()])?,
                self.statement(DELETE_NOTIFICATIONS, &[ids])?,
            ])
            .await?;
        let deliveries = results.first().ok_or_else(|| missing("an answer"))?;
        Ok(match Rest::after(deliveries, DELIVERIES)? {
            Rest::Nothing => Forgotten::UpTo(last),
            Rest::More => Forgotten::InPart,
        })
    }
}
