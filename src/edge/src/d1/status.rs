//! What the record knows of a push.

use dormouse_domain::delivery::DeliveryStatus;
use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::status::{DeliveryRecord, Fate, PushRecord, PushState, RecipientsRequest};
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::{D1Result, Error, Result};

use super::{Database, corrupt, from_number, missing, number};

const READ_SENT: &str = "
SELECT created_at, expires_at, deliver_at, retracted_at, NULL AS canceled_at, audience AS rooms
FROM notifications WHERE id = ?1";

const READ_SCHEDULED: &str = "
SELECT created_at, content ->> 'expires_at' AS expires_at, deliver_at, NULL AS retracted_at, canceled_at, rooms
FROM scheduled WHERE id = ?1";

const COUNT_DELIVERIES: &str = "
SELECT status, COUNT(*) AS deliveries, COUNT(read_at) AS read
FROM deliveries WHERE notification_id = ?1 GROUP BY status";

const READ_DELIVERIES: &str = "
SELECT user_id, status, attempts, next_retry_at, via, delivered_at, seen_at, read_at, archived_at, deleted_at
FROM deliveries
WHERE notification_id = ?1 AND user_id > ?2 AND status IN (SELECT value FROM json_each(?3))
ORDER BY user_id LIMIT ?4";

/// A push, its deliveries by the status the record has of them, and how many users have read it.
pub(crate) struct PushStatus {
    pub(crate) push: PushRecord,
    pub(crate) deliveries: Vec<(DeliveryStatus, u64)>,
    pub(crate) read: u64,
}

impl Database {
    /// A push; `None` when there is none of this id.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn read_push(&self, id: NotificationId) -> Result<Option<PushRecord>> {
        let results = self.read(id, &[READ_SENT, READ_SCHEDULED]).await?;
        let [sent, scheduled] = results.as_slice() else {
            return Err(missing("an answer"));
        };
        found(id, sent, scheduled)
    }

    /// A push and what became of it; `None` when there is none of this id.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn read_status(&self, id: NotificationId) -> Result<Option<PushStatus>> {
        #[derive(Deserialize)]
        struct Row {
            status: String,
            deliveries: u64,
            read: u64,
        }
        let results = self
            .read(id, &[READ_SENT, READ_SCHEDULED, COUNT_DELIVERIES])
            .await?;
        let [sent, scheduled, counted] = results.as_slice() else {
            return Err(missing("an answer"));
        };
        let Some(push) = found(id, sent, scheduled)? else {
            return Ok(None);
        };
        let rows: Vec<Row> = counted.results()?;
        Ok(Some(PushStatus {
            push,
            read: rows.iter().map(|row| row.read).sum(),
            deliveries: rows
                .iter()
                .map(|row| Ok((status(&row.status)?, row.deliveries)))
                .collect::<Result<_>>()?,
        }))
    }

    async fn read(&self, id: NotificationId, queries: &[&str]) -> Result<Vec<D1Result>> {
        let bound = [JsValue::from(id.to_string())];
        let statements = queries.iter().map(|sql| self.statement(sql, &bound));
        self.batch(statements.collect::<Result<_>>()?).await
    }

    /// Deliveries of a push, in the order of the users' ids. One more than the limit is read, so that the
    /// caller sees whether more follow.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn read_deliveries(
        &self,
        id: NotificationId,
        fate: Fate,
        page: &RecipientsRequest,
    ) -> Result<Vec<DeliveryRecord>> {
        let statuses = match page.status {
            Some(wanted) => fate.recorded_as(wanted),
            None => DeliveryStatus::ALL.to_vec(),
        };
        let limit = u64::try_from(page.limit)
            .map_err(|error| Error::RustError(error.to_string()))?
            .saturating_add(1);
        let bound = [
            JsValue::from(id.to_string()),
            JsValue::from(page.after.as_ref().map_or("", UserId::as_str)),
            JsValue::from(serde_json::to_string(&statuses)?),
            number(limit),
        ];
        let rows: Vec<DeliveryRow> = self.one(READ_DELIVERIES, &bound).await?.results()?;
        rows.into_iter().map(DeliveryRow::into_record).collect()
    }
}

/// While the users' objects are being told of a push that waited, it is in both.
fn found(id: NotificationId, sent: &D1Result, scheduled: &D1Result) -> Result<Option<PushRecord>> {
    let sent: Vec<PushRow> = sent.results()?;
    let scheduled: Vec<PushRow> = scheduled.results()?;
    match (sent.into_iter().next(), scheduled.into_iter().next()) {
        (Some(sent), _) => sent.into_sent(id).map(Some),
        (None, Some(scheduled)) => scheduled.into_scheduled(id).map(Some),
        (None, None) => Ok(None),
    }
}

#[derive(Deserialize)]
struct PushRow {
    created_at: f64,
    expires_at: Option<f64>,
    deliver_at: Option<f64>,
    retracted_at: Option<f64>,
    canceled_at: Option<f64>,
    rooms: String,
}

impl PushRow {
    fn into_sent(self, id: NotificationId) -> Result<PushRecord> {
        let rooms: Vec<(String, u64)> = serde_json::from_str(&self.rooms)?;
        let state = time(self.retracted_at).map_or(PushState::Sent, PushState::Retracted);
        Ok(self.into_record(id, state, rooms.into_iter().map(|(room, _)| room).collect()))
    }

    fn into_scheduled(self, id: NotificationId) -> Result<PushRecord> {
        let rooms = serde_json::from_str(&self.rooms)?;
        let state = time(self.canceled_at).map_or(PushState::Scheduled, PushState::Canceled);
        Ok(self.into_record(id, state, rooms))
    }

    fn into_record(self, id: NotificationId, state: PushState, audience: Vec<String>) -> PushRecord {
        PushRecord {
            id,
            created_at: from_number(self.created_at),
            expires_at: time(self.expires_at),
            deliver_at: time(self.deliver_at),
            state,
            audience,
        }
    }
}

#[derive(Deserialize)]
struct DeliveryRow {
    user_id: String,
    status: String,
    attempts: u32,
    next_retry_at: Option<f64>,
    via: Option<String>,
    delivered_at: Option<f64>,
    seen_at: Option<f64>,
    read_at: Option<f64>,
    archived_at: Option<f64>,
    deleted_at: Option<f64>,
}

impl DeliveryRow {
    fn into_record(self) -> Result<DeliveryRecord> {
        Ok(DeliveryRecord {
            user: UserId::parse(&self.user_id).map_err(corrupt)?,
            status: status(&self.status)?,
            attempts: self.attempts,
            next_retry_at: time(self.next_retry_at),
            via: self.via,
            delivered_at: time(self.delivered_at),
            seen_at: time(self.seen_at),
            read_at: time(self.read_at),
            archived_at: time(self.archived_at),
            deleted_at: time(self.deleted_at),
        })
    }
}

fn status(name: &str) -> Result<DeliveryStatus> {
    DeliveryStatus::parse(name).ok_or_else(|| corrupt(format!("the status {name:?}")))
}

fn time(column: Option<f64>) -> Option<Timestamp> {
    column.map(from_number)
}
