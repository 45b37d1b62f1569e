//! Rooms in the record: what is appended to their logs after a push, and the end of a user's.

use std::slice;

use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::notification::Notification;
use dormouse_domain::room::{Room, SharedRoom};
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::Result;

use super::dead_letters::{DELETE_ADDRESSED, LEAVE_LETTERS};
use super::push::{READ_SWITCHBOARDS, switchboards};
use super::{Database, corrupt, missing, number, stored, timestamp, user_room};

/// Appends an entry to every room of a notification's audience, once.
const APPEND_RETRACT: &str = "
INSERT INTO audience (room, n, kind, ref, created_at)
SELECT r.value ->> 0, (SELECT MAX(n) FROM audience WHERE room = r.value ->> 0) + 1, 'retract', ?1, ?2
FROM notifications, json_each(notifications.audience) AS r
WHERE notifications.id = ?1 AND notifications.retracted_at IS NULL";

/// The entries that took it back, now or since earlier.
const READ_RETRACTED: &str = "
SELECT r.value ->> 0 AS room,
  (SELECT n FROM audience WHERE room = r.value ->> 0 AND kind = 'retract' AND ref = ?1 ORDER BY n DESC LIMIT 1) AS n
FROM notifications, json_each(notifications.audience) AS r
WHERE notifications.id = ?1";

const APPEND_ERASE: &str = "
INSERT INTO audience (room, n, kind, ref, created_at)
SELECT ?1, COALESCE((SELECT MAX(n) FROM audience WHERE room = ?1), 0) + 1, 'erase', ?2, CAST(?2 AS INTEGER)";

/// From the log to the deliveries, by their key.
const ERASE_SHARED: &str = "
DELETE FROM deliveries WHERE user_id = ?4 AND notification_id IN (
  SELECT ref FROM audience WHERE room = ?1 AND n > ?2 ORDER BY n LIMIT ?3)";

const LAST_OF_PAGE: &str = "
SELECT MAX(n) AS last FROM (SELECT n FROM audience WHERE room = ?1 AND n > ?2 ORDER BY n LIMIT ?3)";

/// Goes through all that waits, which is little beside what was sent: an index by room would cost every
/// scheduled push a row.
const LEAVE_SCHEDULED: &str = "
UPDATE scheduled SET rooms = (SELECT json_group_array(value) FROM json_each(rooms) WHERE value <> ?1)
WHERE EXISTS (SELECT 1 FROM json_each(scheduled.rooms) WHERE value = ?1)";

const DELETE_UNADDRESSED: &str = "DELETE FROM scheduled WHERE rooms = '[]'";

/// Entries that were appended to rooms' logs.
pub(crate) struct Appended {
    /// The rooms and the entry's number in each.
    pub(crate) places: Vec<(Room, u64)>,
    /// The switchboards that may have members of the shared ones.
    pub(crate) switchboards: Vec<SwitchboardName>,
}

const READ_NOTIFICATION: &str = "
SELECT created_at, content FROM notifications WHERE id = ?1 AND retracted_at IS NULL";

/// Another round for those whose delivery failed for good, at most this many at once.
const RETRY_AT_ONCE: u32 = 1_000;

const FAILED_FOR_GOOD: &str = "
SELECT user_id FROM deliveries WHERE notification_id = ?1 AND status = 'permanent_failure'
ORDER BY user_id LIMIT ?2";

impl Database {
    /// The switchboards that may have members.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn switchboards(&self) -> Result<Vec<SwitchboardName>> {
        switchboards(&self.one(READ_SWITCHBOARDS, &[]).await?)
    }

    /// A notification; `None` when retention has taken it from the record or its pusher has taken it back.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn read_notification(&self, id: NotificationId) -> Result<Option<Notification>> {
        #[derive(Deserialize)]
        struct Row {
            created_at: f64,
            content: String,
        }
        let id = id.to_string();
        let answer = self.one(READ_NOTIFICATION, &[JsValue::from(&id)]).await?;
        let rows: Vec<Row> = answer.results()?;
        let row = rows.first();
        row.map(|row| stored(&id, row.created_at, &row.content))
            .transpose()
    }

    /// Takes a notification back; gives the entries that say so, also when it was taken back before. `None`
    /// when there is no such notification.
    ///
    /// # Errors
    /// When the record could not be written; then nothing is.
    pub(crate) async fn retract(&self, id: NotificationId, now: Timestamp) -> Result<Option<Appended>> {
        #[derive(Deserialize)]
        struct Row {
            room: String,
            n: Option<u64>,
        }
        let id = JsValue::from(id.to_string());
        let results = self
            .batch(vec![
                self.statement(APPEND_RETRACT, &[id.clone(), timestamp(now)])?,
                self.statement(
                    "UPDATE notifications SET retracted_at = ?2 WHERE id = ?1 AND retracted_at IS NULL",
                    &[id.clone(), timestamp(now)],
                )?,
                self.statement(READ_RETRACTED, &[id])?,
                self.statement(READ_SWITCHBOARDS, &[])?,
            ])
            .await?;
        let [.., retracted, names] = results.as_slice() else {
            return Err(missing("an answer"));
        };
        let rows: Vec<Row> = retracted.results()?;
        if rows.is_empty() {
            return Ok(None);
        }
        let places = rows.into_iter().filter_map(|row| Some((row.room, row.n?)));
        Ok(Some(Appended {
            places: places
                .map(|(room, n)| Ok((Room::parse(&room).map_err(corrupt)?, n)))
                .collect::<Result<_>>()?,
            switchboards: switchboards(names)?,
        }))
    }

    /// Asks for another round of deliveries that failed for good; gives whose. `None` when there is no
    /// such notification.
    ///
    /// # Errors
    /// When the record could not be written; then nothing is.
    pub(crate) async fn retry(&self, id: NotificationId, now: Timestamp) -> Result<Option<Vec<UserId>>> {
        #[derive(Deserialize)]
        struct Row {
            user_id: String,
        }
        #[derive(Deserialize)]
        struct Found {}
        let bound = [JsValue::from(id.to_string()), JsValue::from(RETRY_AT_ONCE)];
        let [named, limit] = bound.clone();
        let append = format!(
            "INSERT INTO audience (room, n, kind, ref, created_at)
             SELECT 'user:' || f.user_id,
               COALESCE((SELECT MAX(n) FROM audience WHERE room = 'user:' || f.user_id), 0) + 1, 'retry', ?1, ?3
             FROM ({FAILED_FOR_GOOD}) AS f"
        );
        let requeue = format!(
            "UPDATE deliveries SET status = 'pending', next_retry_at = NULL
             WHERE notification_id = ?1 AND user_id IN ({FAILED_FOR_GOOD})"
        );
        let results = self
            .batch(vec![
                self.statement(FAILED_FOR_GOOD, &bound)?,
                self.statement(&append, &[named, limit, timestamp(now)])?,
                self.statement(&requeue, &bound)?,
                self.statement(
                    "SELECT id FROM notifications WHERE id = ?1",
                    bound.get(..1).unwrap_or_default(),
                )?,
            ])
            .await?;
        let found: Vec<Found> = match results.last() {
            Some(result) => result.results()?,
            None => Vec::new(),
        };
        let rows: Vec<Row> = match results.first() {
            Some(result) => result.results()?,
            None => Vec::new(),
        };
        if found.is_empty() {
            return Ok(None);
        }
        rows.into_iter()
            .map(|row| UserId::parse(&row.user_id).map_err(corrupt))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// Marks a user as erased: the last entry of their log that counts for what was before. What waits for
    /// them will not come, and no dead letter names them.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn mark_erased(&self, user: &UserId, now: Timestamp) -> Result<()> {
        let room = JsValue::from(user_room(user));
        // As a number it would be stored with a fraction in the column of texts.
        let erased_at = JsValue::from(now.as_ms().to_string());
        let statements = vec![
            self.statement(APPEND_ERASE, &[room.clone(), erased_at])?,
            self.statement(LEAVE_SCHEDULED, slice::from_ref(&room))?,
            self.statement(DELETE_UNADDRESSED, &[])?,
            self.statement(DELETE_ADDRESSED, slice::from_ref(&room))?,
            self.statement(LEAVE_LETTERS, &[room])?,
        ];
        self.batch(statements).await.map(|_| ())
    }

    /// Removes what the record holds of these notifications for one user: the deliveries, the user's
    /// name in the audience, and what was for nobody else altogether. A key stays, and says that its push is
    /// gone: repeated, that would come back.
    ///
    /// # Errors
    /// When the record could not be written; then nothing is.
    pub(crate) async fn erase_deliveries(&self, user: &UserId, ids: &[NotificationId]) -> Result<()> {
        let ids = JsValue::from(serde_json::to_string(ids)?);
        let room = JsValue::from(user_room(user));
        let named = "IN (SELECT value FROM json_each(?1))";
        let statements = [
            (
                format!("DELETE FROM deliveries WHERE notification_id {named} AND user_id = ?2"),
                vec![ids.clone(), JsValue::from(user.as_str())],
            ),
            (
                format!(
                    "UPDATE notifications SET audience =
                       (SELECT json_group_array(json(value)) FROM json_each(audience) WHERE value ->> 0 <> ?2)
                     WHERE id {named}"
                ),
                vec![ids.clone(), room],
            ),
            (
                format!("DELETE FROM notifications WHERE id {named} AND audience = '[]'"),
                vec![ids],
            ),
        ];
        let statements = statements
            .iter()
            .map(|(sql, bound)| self.statement(sql, bound))
            .collect::<Result<_>>()?;
        self.batch(statements).await.map(|_| ())
    }

    /// Removes what is left of a user whose deliveries are gone: their log up to and including entry
    /// `n`. Its highest entry stays, since the next number is taken from it.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn erase_room(&self, user: &UserId, n: u64) -> Result<()> {
        self.one(
            "DELETE FROM audience
             WHERE room = ?1 AND n <= ?2 AND n < (SELECT MAX(n) FROM audience WHERE room = ?1)",
            &[JsValue::from(user_room(user)), number(n)],
        )
        .await
        .map(|_| ())
    }

    /// The oldest notifications pushed to a user's room after entry `after`, at most `limit` of them up to
    /// and including entry `n`, with their entries.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn room_notifications(
        &self,
        user: &UserId,
        after: u64,
        n: u64,
        limit: u32,
    ) -> Result<Vec<(u64, NotificationId)>> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
            #[serde(rename = "ref")]
            reference: String,
        }
        let bound = [
            JsValue::from(user_room(user)),
            number(after),
            number(n),
            JsValue::from(limit),
        ];
        let rows: Vec<Row> = self
            .one(
                "SELECT n, ref FROM audience WHERE room = ?1 AND n > ?2 AND n <= ?3 AND kind = 'push' ORDER BY n LIMIT ?4",
                &bound,
            )
            .await?
            .results()?;
        rows.into_iter()
            .map(|row| Ok((row.n, NotificationId::parse(&row.reference).map_err(corrupt)?)))
            .collect()
    }

    /// Removes what the record holds for one user of what was pushed to a shared room, of at most `limit`
    /// entries after entry `after`. Gives the entry after which it goes on, `None` at the end of the log.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn erase_shared_deliveries(
        &self,
        user: &UserId,
        room: &SharedRoom,
        after: u64,
        limit: u64,
    ) -> Result<Option<u64>> {
        #[derive(Deserialize)]
        struct Row {
            last: Option<u64>,
        }
        let room = JsValue::from(room.to_string());
        let bounds = [room.clone(), number(after), number(limit)];
        let results = self
            .batch(vec![
                self.statement(
                    ERASE_SHARED,
                    &[room, number(after), number(limit), JsValue::from(user.as_str())],
                )?,
                self.statement(LAST_OF_PAGE, &bounds)?,
            ])
            .await?;
        let answer = results.last().ok_or_else(|| missing("an answer"))?;
        let rows: Vec<Row> = answer.results()?;
        Ok(rows.into_iter().next().and_then(|row| row.last))
    }
}
