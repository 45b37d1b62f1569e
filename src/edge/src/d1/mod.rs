//! All SQL of the record: pushes and deliveries here, templates and types in [`templates`].

mod templates;

use dormouse_domain::delivery::Delivery;
use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::idempotency::IdempotencyKey;
use dormouse_domain::inbox::Entry;
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, D1Result, Error, Result, console_warn};

pub(crate) use self::templates::{Deleted, Put};
use crate::instruments::{FailPoint, Unit, count, reach};

/// The record.
pub(crate) struct Database(D1Database);

/// The use of an `Idempotency-Key`.
pub(crate) struct Claim {
    /// The credential and the route.
    pub(crate) scope: String,
    pub(crate) key: IdempotencyKey,
    /// What the body is.
    pub(crate) fingerprint: String,
}

/// What became of a push.
pub(crate) enum Commit {
    /// It is stored.
    Stored(Committed),
    /// The key stands for this earlier push of the same body.
    Replayed(Committed),
    /// The key stands for a push of another body.
    Mismatch,
}

/// A stored push.
pub(crate) struct Committed {
    /// What is stored, when it is not what was handed in.
    pub(crate) notification: Option<Notification>,
    /// The number of the push in each user's room.
    pub(crate) entries: Vec<(UserId, u64)>,
}

/// A user's delivery state the record does not have yet.
#[derive(Debug)]
pub(crate) struct OwedDelivery {
    pub(crate) notification_id: NotificationId,
    pub(crate) delivery: Delivery,
}

/// How long an `Idempotency-Key` stands for its push (reference draft: the server decides; here 24 h).
const IDEMPOTENCY_WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;

/// The key is taken unless it already stands for something younger than the window.
const CLAIM_KEY: &str = "
INSERT INTO idempotency (scope, key, fingerprint, notification_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (scope, key) DO UPDATE SET
  fingerprint = excluded.fingerprint, notification_id = excluded.notification_id, created_at = excluded.created_at
WHERE created_at < ?6";

/// True while this push is not stored yet and, if it has a key, the key stands for it. The notification
/// is inserted last, so that within one transaction the condition holds for every statement or none.
const NOT_STORED_YET: &str = "
NOT EXISTS (SELECT 1 FROM notifications WHERE id = ?1)
AND (?2 IS NULL OR EXISTS (SELECT 1 FROM idempotency WHERE scope = ?2 AND key = ?3 AND notification_id = ?1))";

/// The stored push this request stands for: its own, or the one its key stood for already. Written with
/// subqueries, not a join, which would read every notification.
const READ_WINNER: &str = "
SELECT n.id, n.created_at, n.audience, CASE WHEN n.id = ?1 THEN NULL ELSE n.content END AS content,
  (SELECT fingerprint FROM idempotency WHERE scope = ?2 AND key = ?3) AS fingerprint
FROM notifications n
WHERE n.id = CASE WHEN ?2 IS NULL THEN ?1
  ELSE (SELECT notification_id FROM idempotency WHERE scope = ?2 AND key = ?3) END";

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

    /// Stores a push for `users` in one transaction: key, notification, room logs, deliveries. What
    /// failed is tried once more with the same ids, which is harmless when only the answer was lost.
    ///
    /// # Errors
    /// When the record could not be written: then nothing of it is stored, or, if the second answer
    /// was lost too, all of it.
    pub(crate) async fn commit(
        &self,
        notification: &Notification,
        users: &[UserId],
        claim: Option<&Claim>,
    ) -> Result<Commit> {
        match self.try_commit(notification, users, claim).await {
            Ok(commit) => Ok(commit),
            Err(error) => {
                console_warn!("a push was not stored at the first attempt: {error}");
                self.try_commit(notification, users, claim).await
            }
        }
    }

    async fn try_commit(
        &self,
        notification: &Notification,
        users: &[UserId],
        claim: Option<&Claim>,
    ) -> Result<Commit> {
        let id = JsValue::from(notification.id.to_string());
        let created_at = timestamp(notification.created_at);
        let rooms: Vec<String> = users.iter().map(user_room).collect();
        let rooms = JsValue::from(serde_json::to_string(&rooms)?);
        let scope = claim.map_or(JsValue::NULL, |claim| JsValue::from(&claim.scope));
        let key = claim.map_or(JsValue::NULL, |claim| JsValue::from(claim.key.as_str()));
        let gate = [id.clone(), scope.clone(), key.clone()];

        let mut statements = Vec::with_capacity(5);
        if let Some(claim) = claim {
            statements.push(self.statement(
                CLAIM_KEY,
                &[
                    scope.clone(),
                    key.clone(),
                    JsValue::from(&claim.fingerprint),
                    id.clone(),
                    created_at.clone(),
                    timestamp(window_start(notification.created_at)),
                ],
            )?);
        }
        let gated = |insert: &str, more: &[JsValue]| {
            self.statement(
                &format!("{insert} WHERE {NOT_STORED_YET}"),
                &[gate.as_slice(), more].concat(),
            )
        };
        statements.push(gated(
            "INSERT INTO audience (room, n, kind, ref)
             SELECT j.value, COALESCE((SELECT MAX(n) FROM audience WHERE room = j.value), 0) + 1, 'push', ?1
             FROM json_each(?4) AS j",
            std::slice::from_ref(&rooms),
        )?);
        statements.push(gated(
            "INSERT INTO deliveries (notification_id, user_id, status, attempts)
             SELECT ?1, substr(j.value, length('user:') + 1), 'pending', 0 FROM json_each(?4) AS j",
            std::slice::from_ref(&rooms),
        )?);
        statements.push(gated(
            "INSERT INTO notifications (id, created_at, content, audience)
             SELECT ?1, ?5, ?6, (
               SELECT json_group_array(json_array(j.value, (SELECT MAX(n) FROM audience WHERE room = j.value)))
               FROM json_each(?4) AS j)",
            &[rooms, created_at, JsValue::from(serde_json::to_string(&notification.content)?)],
        )?);
        statements.push(self.statement(READ_WINNER, &gate)?);
        let results = self.batch(statements).await?;
        reach(FailPoint::CommitAnswered).await?;
        let winner: Winner = results
            .last()
            .ok_or_else(|| missing("the stored push"))?
            .results()?
            .into_iter()
            .next()
            .ok_or_else(|| missing("the stored push"))?;
        winner.outcome(claim)
    }

    /// The push that the key of `claim` stands for already; `None` when the key is free at `now`.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn claimed(&self, claim: &Claim, now: Timestamp) -> Result<Option<Commit>> {
        let bound = [
            JsValue::NULL,
            JsValue::from(&claim.scope),
            JsValue::from(claim.key.as_str()),
        ];
        let winners: Vec<Winner> = self.one(READ_WINNER, &bound).await?.results()?;
        let standing = |winner: &Winner| from_number(winner.created_at) >= window_start(now);
        let winner = winners.into_iter().find(standing);
        winner.map(|winner| winner.outcome(Some(claim))).transpose()
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

#[derive(Deserialize)]
struct Winner {
    id: String,
    created_at: f64,
    audience: String,
    fingerprint: Option<String>,
    content: Option<String>,
}

impl Winner {
    /// What it means for the push that asked with `claim`.
    fn outcome(self, claim: Option<&Claim>) -> Result<Commit> {
        if let Some(claim) = claim
            && self.fingerprint.as_deref() != Some(&claim.fingerprint)
        {
            return Ok(Commit::Mismatch);
        }
        let entries = entries(&self.audience)?;
        Ok(match self.content {
            None => Commit::Stored(Committed {
                notification: None,
                entries,
            }),
            Some(content) => Commit::Replayed(Committed {
                notification: Some(stored(&self.id, self.created_at, &content)?),
                entries,
            }),
        })
    }
}

/// The oldest instant whose keys still stand for something at `now`.
const fn window_start(now: Timestamp) -> Timestamp {
    Timestamp::from_ms(now.as_ms().saturating_sub(IDEMPOTENCY_WINDOW_MS))
}

fn user_room(user: &UserId) -> String {
    format!("user:{user}")
}

/// The users' entries of a stored `audience` column, `[["user:41", 7], ...]`.
fn entries(audience: &str) -> Result<Vec<(UserId, u64)>> {
    let rooms: Vec<(String, u64)> = serde_json::from_str(audience)?;
    rooms
        .into_iter()
        .filter_map(|(room, n)| room.strip_prefix("user:").map(|user| (user.to_owned(), n)))
        .map(|(user, n)| Ok((UserId::parse(&user).map_err(corrupt)?, n)))
        .collect()
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
