//! What switchboards ask of the record: the logs of many rooms with one query, for many hubs.

use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::inbox::{Entry, EntryKind};
use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::switchboard::catch_up::{Page, Wanted};
use dormouse_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::Result;

use super::{Database, corrupt, from_number, missing, stored, timestamp};
use crate::switchboard_rpc::Claim;

/// Entries that are read at once, of all logs together: each may hold 30 KB.
const ROWS: u32 = 400;

/// A page of each log: a row that says what it covers, then its entries, as far as `?2` reaches for all. `since` is
/// looked up from the end of the log, and not only to the first entry that is older: pushes of several Workers
/// are numbered a little out of the order of their times. What was taken back or over is not handed out
/// again: the entry is there, its content is not.
const READ_LOGS: &str = "
WITH wanted AS MATERIALIZED (
  SELECT w.key AS i, w.value ->> 'room' AS room, w.value ->> '$.from.after' AS cursor,
    w.value ->> '$.from.since' AS since,
    COALESCE((SELECT MAX(n) FROM audience WHERE room = w.value ->> 'room'), 0) AS head
  FROM json_each(?1) AS w
), begun AS MATERIALIZED (
  SELECT i, room, head, COALESCE(cursor,
    (SELECT n - 1 FROM audience
     WHERE room = wanted.room AND created_at >= wanted.since AND n > COALESCE(
       (SELECT n FROM audience
        WHERE room = wanted.room AND (created_at IS NULL OR created_at < wanted.since - 60000)
        ORDER BY n DESC LIMIT 1), 0)
     ORDER BY n LIMIT 1),
    head) AS after
  FROM wanted
), sized AS MATERIALIZED (
  SELECT i, room, head, after, CASE WHEN after < head THEN
    (SELECT MIN(n) FROM audience WHERE room = begun.room AND n > begun.after) END AS first
  FROM begun
), bounded AS MATERIALIZED (
  SELECT i, room, head, after, CASE WHEN first IS NULL THEN after ELSE MAX(after, MIN(head, first + 99,
    first - 1 + ?2 - COALESCE(SUM(MIN(head - first + 1, 100)) OVER (
      ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0))) END AS up_to
  FROM sized
)
SELECT i, after, up_to, head, NULL AS n, NULL AS kind, NULL AS ref, NULL AS id, NULL AS created_at, NULL AS content
FROM bounded
UNION ALL
SELECT b.i, NULL, NULL, NULL, a.n, a.kind, a.ref, p.id, p.created_at,
  CASE WHEN a.kind = 'push' AND p.retracted_at IS NULL THEN p.content END
FROM bounded AS b CROSS JOIN audience AS a ON a.room = b.room AND a.n > b.after AND a.n <= b.up_to
  LEFT JOIN notifications AS p ON p.id = a.ref";

/// What tokens say of their users' rooms, all of them: rows for those that are new, and an end for those that
/// are not among them any more. What is as it was is not written.
const CLAIM: &str = "
INSERT INTO memberships (user_id, room, source, since, created_at, removed_at)
SELECT c.value ->> 'user', r.value ->> 'room', 'token', COALESCE(r.value ->> '$.from.after',
  (SELECT n - 1 FROM audience
   WHERE room = r.value ->> 'room' AND created_at >= r.value ->> '$.from.since' AND n > COALESCE(
     (SELECT n FROM audience
      WHERE room = r.value ->> 'room' AND (created_at IS NULL OR created_at < (r.value ->> '$.from.since') - 60000)
      ORDER BY n DESC LIMIT 1), 0)
   ORDER BY n LIMIT 1),
  (SELECT MAX(n) FROM audience WHERE room = r.value ->> 'room'), 0), ?2, NULL
FROM json_each(?1) AS c, json_each(c.value, '$.rooms') AS r
WHERE NOT EXISTS (
  SELECT 1 FROM memberships
  WHERE user_id = c.value ->> 'user' AND room = r.value ->> 'room' AND source = 'token' AND removed_at IS NULL)
UNION ALL
SELECT m.user_id, m.room, m.source, m.since, m.created_at, ?2
FROM json_each(?1) AS c CROSS JOIN memberships AS m ON m.user_id = c.value ->> 'user'
WHERE m.source = 'token' AND m.removed_at IS NULL AND NOT EXISTS (
  SELECT 1 FROM json_each(c.value, '$.rooms') AS r WHERE r.value ->> 'room' = m.room)
ON CONFLICT (user_id, room, source) DO UPDATE SET
  since = excluded.since, created_at = excluded.created_at, removed_at = excluded.removed_at";

const REGISTER: &str = "INSERT OR IGNORE INTO switchboards (name) VALUES (?1)";

const UNREGISTER: &str = "DELETE FROM switchboards WHERE name = ?1";

/// Ids are in the order of time.
const COUNT_PUSHES: &str = "SELECT COUNT(*) AS pushes FROM notifications WHERE id >= ?1 AND id < ?2";

/// What a switchboard asks on behalf of many hubs.
pub(crate) struct Reading<'a> {
    /// A switchboard that has its first members: from then on, pushes come to it.
    pub(crate) register: Option<SwitchboardName>,
    /// What users' tokens say of their rooms.
    pub(crate) claims: &'a [UserClaims],
    /// The logs that are wanted.
    pub(crate) wanted: &'a [Wanted],
}

/// The rooms a user's token puts them in, all of them.
#[derive(Debug, Serialize)]
pub(crate) struct UserClaims {
    pub(crate) user: UserId,
    pub(crate) rooms: Vec<Claim>,
}

#[derive(Deserialize)]
struct Row {
    i: usize,
    after: Option<u64>,
    up_to: Option<u64>,
    head: Option<u64>,
    n: Option<u64>,
    kind: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    id: Option<String>,
    created_at: Option<f64>,
    content: Option<String>,
}

impl Row {
    fn entry(self) -> Result<Entry> {
        let (Some(n), Some(kind), Some(reference)) = (self.n, self.kind, self.reference) else {
            return Err(missing("an entry"));
        };
        let kind = match kind.as_str() {
            "push" => EntryKind::Push(match (self.id, self.created_at, self.content) {
                (Some(id), Some(created_at), Some(content)) => {
                    Some(Box::new(stored(&id, created_at, &content)?))
                }
                _ => None,
            }),
            "retract" => EntryKind::Retract(NotificationId::parse(&reference).map_err(corrupt)?),
            "retry" => EntryKind::Retry(NotificationId::parse(&reference).map_err(corrupt)?),
            "erase" => EntryKind::Erase(Timestamp::from_ms(reference.parse().map_err(corrupt)?)),
            "member_add" => {
                let (room, since): (SharedRoom, u64) = serde_json::from_str(&reference)?;
                EntryKind::MemberAdd { room, since }
            }
            "member_remove" => {
                let (room, until, at): (SharedRoom, u64, f64) = serde_json::from_str(&reference)?;
                let at = from_number(at);
                EntryKind::MemberRemove { room, until, at }
            }
            unknown => return Err(corrupt(format!("an entry of the kind {unknown:?}"))),
        };
        Ok(Entry { n, kind })
    }
}

impl Database {
    /// A page of each log that is wanted, in their order, after what else there is to say was written, in
    /// one transaction.
    ///
    /// # Errors
    /// When the record could not be read or written; then nothing is written.
    pub(crate) async fn read_logs(&self, reading: &Reading<'_>, now: Timestamp) -> Result<Vec<Page>> {
        let mut statements = Vec::new();
        if let Some(name) = reading.register {
            statements.push(self.statement(REGISTER, &[JsValue::from(name.to_string())])?);
        }
        if !reading.claims.is_empty() {
            let claims = JsValue::from(serde_json::to_string(reading.claims)?);
            statements.push(self.statement(CLAIM, &[claims, timestamp(now)])?);
        }
        if !reading.wanted.is_empty() {
            let wanted = JsValue::from(serde_json::to_string(reading.wanted)?);
            statements.push(self.statement(READ_LOGS, &[wanted, JsValue::from(ROWS)])?);
        }
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let results = self.batch(statements).await?;
        if reading.wanted.is_empty() {
            return Ok(Vec::new());
        }
        let answer = results.last().ok_or_else(|| missing("the logs"))?;
        pages(answer.results()?, reading.wanted.len())
    }

    /// Takes a switchboard out that has no members and will have none.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn unregister(&self, name: SwitchboardName) -> Result<()> {
        self.one(UNREGISTER, &[JsValue::from(name.to_string())])
            .await
            .map(|_| ())
    }

    /// How many pushes were made from `since` on, before `until`.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn count_pushes(&self, since: Timestamp, until: Timestamp) -> Result<u64> {
        #[derive(Deserialize)]
        struct Row {
            pushes: f64,
        }
        let first = |at| JsValue::from(NotificationId::generate(at, [0; 10]).to_string());
        let rows: Vec<Row> = self
            .one(COUNT_PUSHES, &[first(since), first(until)])
            .await?
            .results()?;
        Ok(rows.first().map_or(0, |row| from_number(row.pushes).as_ms()))
    }
}

/// The pages among these rows, which are in no particular order.
fn pages(mut rows: Vec<Row>, count: usize) -> Result<Vec<Page>> {
    rows.sort_by_key(|row| (row.i, row.n));
    let mut pages: Vec<Page> = Vec::with_capacity(count);
    for row in rows {
        match (row.after, row.up_to, row.head) {
            (Some(after), Some(up_to), Some(head)) if row.i == pages.len() => pages.push(Page {
                after,
                up_to,
                head,
                entries: Vec::new(),
            }),
            _ => {
                let page = pages.last_mut().ok_or_else(|| missing("a log"))?;
                page.entries.push(row.entry()?);
            }
        }
    }
    if pages.len() == count {
        Ok(pages)
    } else {
        Err(missing("a log"))
    }
}
