//! All SQL of the record.

mod dead_letters;
mod deliveries;
mod figures;
mod logs;
mod memberships;
mod push;
mod retention;
mod rooms;
mod scheduled;
mod status;
mod templates;

pub(crate) use self::deliveries::{OwedDelivery, UserDelivery};
pub(crate) use self::logs::{Reading, UserClaims};
pub(crate) use self::memberships::{MemberChange, MembersChanged};
pub(crate) use self::push::{Claim, Commit, Commits, Committed, Order, Origin, When};
pub(crate) use self::retention::{Forgotten, Rest};
pub(crate) use self::rooms::Appended;
pub(crate) use self::scheduled::Cancellation;
pub(crate) use self::templates::{Deleted, Put};

use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::time::Timestamp;
use wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, D1Result, Error, Result};

use crate::instruments::{Unit, count};

/// The record.
pub(crate) struct Database(D1Database);

impl Database {
    pub(crate) const fn new(database: D1Database) -> Self {
        Self(database)
    }

    fn statement(&self, sql: &str, bound: &[JsValue]) -> Result<D1PreparedStatement> {
        self.0.prepare(sql).bind(bound)
    }

    async fn one(&self, sql: &str, bound: &[JsValue]) -> Result<D1Result> {
        let results = self.batch(vec![self.statement(sql, bound)?]).await?;
        results.into_iter().next().ok_or_else(|| missing("an answer"))
    }

    async fn batch(&self, statements: Vec<D1PreparedStatement>) -> Result<Vec<D1Result>> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        count(Unit::RecordBatches, 1);
        count(Unit::RecordStatements, statements.len());
        let results = self.0.batch(statements).await?;
        if cfg!(feature = "instruments") {
            for meta in results.iter().filter_map(|result| result.meta().ok().flatten()) {
                count(Unit::RecordRowsRead, meta.rows_read.unwrap_or_default());
                count(Unit::RecordRowsWritten, meta.rows_written.unwrap_or_default());
            }
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
