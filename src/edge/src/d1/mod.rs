//! All SQL of the record: here what the users' objects read and write.

mod push;
mod retention;
mod scheduled;
mod status;

pub(crate) use self::push::{Claim, Commit, Committed, Order, Origin, When};
pub(crate) use self::retention::Rest;
pub(crate) use self::scheduled::Cancellation;

use dormouse_domain::delivery::Delivery;
use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::inbox::Entry;
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, D1Result, Error, Result};

use crate::instruments::{Unit, count};

/// The record.
pub(crate) struct Database(D1Database);

/// A user's delivery state the record does not have yet.
#[derive(Debug)]
pub(crate) struct OwedDelivery {
    pub(crate) notification_id: NotificationId,
    pub(crate) delivery: Delivery,
}

const READ_ROOM: &str = "
SELECT a.n, n.id, n.created_at, n.content
FROM audience a LEFT JOIN notifications n ON n.id = a.ref
WHERE a.room = ?1 AND a.n > ?2 ORDER BY a.n LIMIT ?3";

const WRITE_DELIVERIES: &str = "
UPDATE deliveries SET status = o.value ->> 's', attempts = o.value ->> 'a', delivered_at = o.value ->> 'd'
FROM json_each(?2) AS o
WHERE deliveries.notification_id = o.value ->> 'n' AND deliveries.user_id = ?1";

impl Database {
    pub(crate) const fn new(database: D1Database) -> Self {
        Self(database)
    }

    /// Entries of a user's room after `cursor`, in order, at most `limit`.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn read_room(&self, user: &UserId, cursor: u64, limit: u32) -> Result<Vec<Entry>> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
            id: Option<String>,
            created_at: Option<f64>,
            content: Option<String>,
        }
        let bound = [
            JsValue::from(user_room(user)),
            number(cursor),
            JsValue::from(limit),
        ];
        let rows: Vec<Row> = self.one(READ_ROOM, &bound).await?.results()?;
        rows.into_iter()
            .map(|row| {
                let notification = match (row.id, row.created_at, row.content) {
                    (Some(id), Some(created_at), Some(content)) => Some(stored(&id, created_at, &content)?),
                    _ => None,
                };
                Ok(Entry {
                    n: row.n,
                    notification,
                })
            })
            .collect()
    }

    /// Writes delivery states of one user.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn write_deliveries(&self, user: &UserId, owed: &[OwedDelivery]) -> Result<()> {
        #[derive(Serialize)]
        struct Row {
            n: NotificationId,
            s: &'static str,
            a: u32,
            d: Option<Timestamp>,
        }
        let rows: Vec<Row> = owed
            .iter()
            .map(|owed| Row {
                n: owed.notification_id,
                s: owed.delivery.status().name(),
                a: owed.delivery.attempts(),
                d: owed.delivery.delivered_at(),
            })
            .collect();
        let bound = [
            JsValue::from(user.as_str()),
            JsValue::from(serde_json::to_string(&rows)?),
        ];
        self.one(WRITE_DELIVERIES, &bound).await.map(|_| ())
    }

    fn statement(&self, sql: &str, bound: &[JsValue]) -> Result<D1PreparedStatement> {
        self.0.prepare(sql).bind(bound)
    }

    async fn one(&self, sql: &str, bound: &[JsValue]) -> Result<D1Result> {
        let results = self.batch(vec![self.statement(sql, bound)?]).await?;
        results.into_iter().next().ok_or_else(|| missing("an answer"))
    }

    async fn batch(&self, statements: Vec<D1PreparedStatement>) -> Result<Vec<D1Result>> {
        count(Unit::RecordBatches, 1);
        count(Unit::RecordStatements, statements.len());
        let results = self.0.batch(statements).await?;
        for meta in results.iter().filter_map(|result| result.meta().ok().flatten()) {
            count(Unit::RecordRowsRead, meta.rows_read.unwrap_or_default());
            count(Unit::RecordRowsWritten, meta.rows_written.unwrap_or_default());
        }
        Ok(results)
    }
}

fn user_room(user: &UserId) -> String {
    format!("user:{user}")
}

fn stored(id: &str, created_at: f64, content: &str) -> Result<Notification> {
    Ok(Notification {
        id: NotificationId::parse(id).map_err(corrupt)?,
        created_at: from_number(created_at),
        content: serde_json::from_str::<Content>(content)?,
    })
}

/// A number as the database takes it: an i64 would become a `BigInt`, which it refuses.
#[expect(
    clippy::cast_precision_loss,
    reason = "counters and milliseconds stay far below 2^53"
)]
fn number(value: u64) -> JsValue {
    JsValue::from_f64(value as f64)
}

fn timestamp(at: Timestamp) -> JsValue {
    number(at.as_ms())
}

/// A timestamp as JavaScript hands it over.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and what is stored was a u64 below 2^53"
)]
pub(crate) fn from_number(value: f64) -> Timestamp {
    Timestamp::from_ms(value as u64)
}

fn missing(what: &str) -> Error {
    Error::RustError(format!("the record did not return {what}"))
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::RustError(format!("the record holds something unreadable: {error}"))
}
