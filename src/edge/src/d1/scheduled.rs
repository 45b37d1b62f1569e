//! Pushes that wait for their time.

use dormouse_domain::id::NotificationId;
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::{Result, console_error};

use super::{Database, Order, When, corrupt, from_number, missing, timestamp};

/// What became of a wish to cancel a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancellation {
    /// It is canceled, now or since earlier.
    Canceled,
    /// It does not wait: it was delivered, or never there.
    NotScheduled,
}

const READ_DUE: &str = "
SELECT id, deliver_at, content, rooms FROM scheduled
WHERE canceled_at IS NULL AND deliver_at <= ?1 AND (deliver_at, id) > (?3, ?4)
ORDER BY deliver_at, id LIMIT ?2";

/// Once its notification is stored it is too late.
const CANCEL: &str = "
UPDATE scheduled SET canceled_at = ?2
WHERE id = ?1 AND canceled_at IS NULL AND NOT EXISTS (SELECT 1 FROM notifications WHERE id = ?1)";

const READ_CANCELED: &str = "SELECT canceled_at FROM scheduled WHERE id = ?1";

const DELETE_SCHEDULED: &str = "DELETE FROM scheduled WHERE id IN (SELECT value FROM json_each(?1))";

impl Database {
    /// What is due at `now`, longest due first, at most `limit` after the place `after`, as orders for
    /// [`Database::commit`], and the place of the last; `None` when nothing is due. What was stored already
    /// and not [`Database::settle_scheduled`] comes again.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn read_due(
        &self,
        now: Timestamp,
        after: Option<DuePlace>,
        limit: u32,
    ) -> Result<(Vec<Order>, Option<DuePlace>)> {
        let after = after.unwrap_or_default();
        let bound = [
            timestamp(now),
            JsValue::from(limit),
            JsValue::from(after.deliver_at),
            JsValue::from(after.id),
        ];
        let rows: Vec<DueRow> = self.one(READ_DUE, &bound).await?.results()?;
        let last = rows.last().map(|row| DuePlace {
            deliver_at: row.deliver_at,
            id: row.id.clone(),
        });
        let orders = rows.into_iter().filter_map(|row| {
            // It would hold up all that come after it.
            row.into_order(now)
                .inspect_err(|error| console_error!("a scheduled push is passed over: {error}"))
                .ok()
        });
        Ok((orders.collect(), last))
    }

    /// Strikes off pushes that are stored, and of which the users' objects were told.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn settle_scheduled(&self, ids: &[NotificationId]) -> Result<()> {
        let ids = JsValue::from(serde_json::to_string(ids)?);
        self.one(DELETE_SCHEDULED, &[ids]).await.map(|_| ())
    }

    /// Cancels a push that waits.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn cancel(&self, id: NotificationId, now: Timestamp) -> Result<Cancellation> {
        #[derive(Deserialize)]
        struct Row {
            canceled_at: Option<f64>,
        }
        let id = JsValue::from(id.to_string());
        let results = self
            .batch(vec![
                self.statement(CANCEL, &[id.clone(), timestamp(now)])?,
                self.statement(READ_CANCELED, &[id])?,
            ])
            .await?;
        let answer = results.last().ok_or_else(|| missing("an answer"))?;
        let rows: Vec<Row> = answer.results()?;
        Ok(match rows.first().and_then(|row| row.canceled_at) {
            Some(_) => Cancellation::Canceled,
            None => Cancellation::NotScheduled,
        })
    }
}

/// A place among what is due.
#[derive(Default)]
pub(crate) struct DuePlace {
    deliver_at: f64,
    id: String,
}

#[derive(Deserialize)]
struct DueRow {
    id: String,
    deliver_at: f64,
    content: String,
    rooms: String,
}

impl DueRow {
    fn into_order(self, now: Timestamp) -> Result<Order> {
        Ok(Order {
            notification: Notification {
                id: NotificationId::parse(&self.id).map_err(corrupt)?,
                created_at: now,
                content: serde_json::from_str::<Content>(&self.content)?,
            },
            rooms: serde_json::from_str(&self.rooms)?,
            claim: None,
            when: When::Due(from_number(self.deliver_at)),
        })
    }
}
