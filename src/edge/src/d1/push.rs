//! A push's way into the record.

use std::collections::HashMap;
use std::slice;

use dormouse_domain::id::NotificationId;
use dormouse_domain::idempotency::IdempotencyKey;
use dormouse_domain::notification::Notification;
use dormouse_domain::room::Room;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use worker::{D1PreparedStatement, D1Result, Result, console_warn};

use super::{Database, corrupt, from_number, missing, stored, timestamp};
use crate::instruments::{FailPoint, reach};

/// A push to be stored.
pub(crate) struct Order {
    pub(crate) notification: Notification,
    /// Whom it is for, each once.
    pub(crate) rooms: Vec<Room>,
    pub(crate) claim: Option<Claim>,
    pub(crate) when: When,
}

/// When a push is for.
#[derive(Clone, Copy)]
pub(crate) enum When {
    /// Now.
    Now,
    /// Then: until then it is only kept.
    Later(Timestamp),
    /// It was kept until then, and is stored now, unless it was canceled.
    Due(Timestamp),
    /// Nothing is stored any more: asked is only what its key stands for, a push for then or for at once.
    Lapsed(Option<Timestamp>),
}

/// The use of an `Idempotency-Key`.
pub(crate) struct Claim {
    /// The credential and the route.
    pub(crate) scope: String,
    pub(crate) key: IdempotencyKey,
    /// What the body is.
    pub(crate) fingerprint: String,
}

/// What became of orders.
#[derive(Default)]
pub(crate) struct Commits {
    /// Each, in their order.
    pub(crate) commits: Vec<Commit>,
    /// The switchboards that may have members of the shared rooms, in the same transaction.
    pub(crate) switchboards: Vec<SwitchboardName>,
}

impl Commits {
    /// Takes what became of further orders.
    pub(crate) fn append(&mut self, mut further: Self) {
        self.commits.append(&mut further.commits);
        self.switchboards.append(&mut further.switchboards);
        self.switchboards.sort_unstable();
        self.switchboards.dedup();
    }
}

/// What became of an order.
pub(crate) enum Commit {
    /// It is in the rooms' logs.
    Stored(Committed),
    /// It waits for its time.
    Scheduled {
        id: NotificationId,
        deliver_at: Timestamp,
        origin: Origin,
    },
    /// The key stands for a push of another body.
    Mismatch,
    /// The key stands for a push that was erased since.
    Gone,
    /// There is no such push: it was canceled, or it lapsed and its key stands for nothing.
    Nothing,
}

/// A stored push.
pub(crate) struct Committed {
    pub(crate) notification: Notification,
    /// The number of the push in each room.
    pub(crate) places: Vec<(Room, u64)>,
    pub(crate) origin: Origin,
}

/// Which push was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This one.
    Own,
    /// An earlier one of the same key and body.
    Replayed,
}

/// How long an `Idempotency-Key` stands for its push (reference draft: the server decides; here 24 h).
pub(super) const IDEMPOTENCY_WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;

/// Each key is taken unless it already stands for something younger than the window. Orders are taken in
/// order, so of two with one key the first has it.
const CLAIM_KEYS: &str = "
INSERT INTO idempotency (scope, key, fingerprint, notification_id, created_at)
SELECT o.value ->> 'scope', o.value ->> 'key', o.value ->> 'fingerprint', o.value ->> 'id', o.value ->> 'created_at'
FROM json_each(?1) AS o WHERE true
ON CONFLICT (scope, key) DO UPDATE SET
  fingerprint = excluded.fingerprint, notification_id = excluded.notification_id, created_at = excluded.created_at
WHERE created_at < ?2";

/// True while the order `o` is not stored yet; if it has a key, while the key stands for it; and if it was
/// kept until now, while it is there and not canceled. The notification is inserted last, so that within
/// one transaction the condition holds for every statement or none.
const NOT_STORED_YET: &str = "
NOT EXISTS (SELECT 1 FROM notifications WHERE id = o.value ->> 'id')
AND (o.value ->> 'scope' IS NULL OR EXISTS (
  SELECT 1 FROM idempotency
  WHERE scope = o.value ->> 'scope' AND key = o.value ->> 'key' AND notification_id = o.value ->> 'id'))
AND (o.value ->> 'kept' IS NULL OR EXISTS (
  SELECT 1 FROM scheduled WHERE id = o.value ->> 'id' AND canceled_at IS NULL))";

/// Several orders for one room are numbered one after the other.
const INSERT_AUDIENCE: &str = "
INSERT INTO audience (room, n, kind, ref, created_at)
SELECT r.value, COALESCE((SELECT MAX(n) FROM audience WHERE room = r.value), 0)
  + ROW_NUMBER() OVER (PARTITION BY r.value ORDER BY o.key), 'push', o.value ->> 'id', o.value ->> 'created_at'
FROM json_each(?1) AS o, json_each(o.value, '$.rooms') AS r
WHERE ";

/// The members of a shared room get theirs when something becomes of it.
const INSERT_DELIVERIES: &str = "
INSERT INTO deliveries (notification_id, user_id, status, attempts)
SELECT o.value ->> 'id', substr(r.value, length('user:') + 1), 'pending', 0
FROM json_each(?1) AS o, json_each(o.value, '$.rooms') AS r
WHERE substr(r.value, 1, length('user:')) = 'user:' AND ";

/// Without a content it is the one that was kept.
const INSERT_NOTIFICATIONS: &str = "
INSERT INTO notifications (id, created_at, expires_at, deliver_at, content, audience)
SELECT o.value ->> 'id', o.value ->> 'created_at', o.value ->> 'expires_at', o.value ->> 'deliver_at',
  COALESCE(?2, (SELECT content FROM scheduled WHERE id = o.value ->> 'id')),
  (SELECT json_group_array(json_array(r.value, (
     SELECT n FROM audience WHERE room = r.value AND ref = o.value ->> 'id' ORDER BY n DESC LIMIT 1)))
   FROM json_each(o.value, '$.rooms') AS r)
FROM json_each(?1) AS o
WHERE ";

const INSERT_SCHEDULED: &str = "
INSERT INTO scheduled (id, deliver_at, created_at, content, rooms)
SELECT o.value ->> 'id', o.value ->> 'deliver_at', o.value ->> 'created_at', ?2, o.value -> 'rooms'
FROM json_each(?1) AS o
WHERE NOT EXISTS (SELECT 1 FROM scheduled WHERE id = o.value ->> 'id') AND ";

/// What is new is returned by what inserts it, so that most pushes need no statement that reads them.
const RETURNING_STORED: &str = " RETURNING id, created_at, audience";

/// The same of what is only kept.
const RETURNING_KEPT: &str = " RETURNING id";

/// The stored push each order stands for: its own, or the one its key stood for already. Begins with the
/// orders, a row each, and from there only follows primary keys.
const READ_WINNERS: &str = "
WITH winners AS MATERIALIZED (
  SELECT o.key AS i, o.value ->> 'id' AS own, k.fingerprint,
    CASE WHEN o.value ->> 'scope' IS NULL THEN o.value ->> 'id' ELSE k.notification_id END AS id
  FROM json_each(?1) AS o LEFT JOIN idempotency AS k
    ON k.scope = o.value ->> 'scope' AND k.key = o.value ->> 'key' AND k.created_at >= ?2)
SELECT w.id, w.fingerprint, n.created_at, n.audience, CASE WHEN w.id = w.own THEN NULL ELSE n.content END AS content
FROM winners AS w LEFT JOIN notifications AS n ON n.id = w.id
ORDER BY w.i";

impl Database {
    /// Stores pushes in one transaction: keys, notifications, room logs, deliveries, or what waits; what
    /// became of each, in the same order. What failed is tried once more with the same ids, which is
    /// harmless when only the answer was lost.
    ///
    /// # Errors
    /// When the record could not be written: then nothing of it is stored, or, if the second answer
    /// was lost too, all of it.
    pub(crate) async fn commit(&self, orders: &[Order], now: Timestamp) -> Result<Commits> {
        if orders.is_empty() {
            return Ok(Commits::default());
        }
        match self.try_commit(orders, now).await {
            Ok(commits) => Ok(commits),
            Err(error) => {
                console_warn!("a push was not stored at the first attempt: {error}");
                self.try_commit(orders, now).await
            }
        }
    }

    async fn try_commit(&self, orders: &[Order], now: Timestamp) -> Result<Commits> {
        let mut statements = self.statements(orders, now)?;
        let is_shared = |room: &Room| matches!(room, Room::Shared(_));
        let fans_out = orders.iter().any(|order| order.rooms.iter().any(is_shared));
        if fans_out {
            statements.push(self.statement(READ_SWITCHBOARDS, &[])?);
        }
        let mut results = self.batch(statements).await?;
        reach(FailPoint::CommitAnswered).await?;
        let switchboards = match (fans_out, results.pop_if(|_| fans_out)) {
            (true, Some(answer)) => switchboards(&answer)?,
            (true, None) => return Err(missing("the switchboards")),
            (false, _) => Vec::new(),
        };
        let winners = match won(orders, &results)? {
            Some(winners) => winners,
            None => self.read_winners(orders, now).await?,
        };
        let settled = orders.iter().zip(winners);
        Ok(Commits {
            commits: settled
                .map(|(order, winner)| winner.settle(order))
                .collect::<Result<_>>()?,
            switchboards,
        })
    }

    /// What each order stands for.
    async fn read_winners(&self, orders: &[Order], now: Timestamp) -> Result<Vec<Winner>> {
        let rows: Vec<Row<'_>> = orders.iter().map(Row::new).collect();
        let all = JsValue::from(serde_json::to_string(&rows)?);
        let read = self.statement(READ_WINNERS, &[all, window(now)])?;
        let results = self.batch(vec![read]).await?;
        let answer = results.last().ok_or_else(|| missing("the stored pushes"))?;
        let winners: Vec<Winner> = answer.results()?;
        if winners.len() != orders.len() {
            return Err(missing("a stored push"));
        }
        Ok(winners)
    }

    /// At most four statements for all, and one for each new content: all together, the contents could be
    /// too long for one.
    fn statements(&self, orders: &[Order], now: Timestamp) -> Result<Vec<D1PreparedStatement>> {
        let rows: Vec<Row<'_>> = orders.iter().map(Row::new).collect();
        let list = |wanted: fn(&Order) -> bool| -> Result<Option<JsValue>> {
            let both = orders.iter().zip(&rows);
            let rows: Vec<_> = both
                .filter(|(order, _)| wanted(order))
                .map(|(_, row)| row)
                .collect();
            if rows.is_empty() {
                return Ok(None);
            }
            Ok(Some(JsValue::from(serde_json::to_string(&rows)?)))
        };
        let gated = |insert: &str, returning: &str, bound: &[JsValue]| {
            self.statement(&format!("{insert}{NOT_STORED_YET}{returning}"), bound)
        };

        let mut statements = Vec::new();
        if let Some(claiming) = list(Order::claims)? {
            statements.push(self.statement(CLAIM_KEYS, &[claiming, window(now)])?);
        }
        if let Some(stored) = list(Order::is_stored)? {
            statements.push(gated(INSERT_AUDIENCE, "", slice::from_ref(&stored))?);
            statements.push(gated(INSERT_DELIVERIES, "", slice::from_ref(&stored))?);
        }
        for (order, row) in orders.iter().zip(&rows) {
            let (insert, returning) = match order.when {
                When::Now => (INSERT_NOTIFICATIONS, RETURNING_STORED),
                When::Later(_) => (INSERT_SCHEDULED, RETURNING_KEPT),
                When::Due(_) | When::Lapsed(_) => continue,
            };
            let one = serde_json::to_string(slice::from_ref(row))?;
            let content = serde_json::to_string(&order.notification.content)?;
            statements.push(gated(
                insert,
                returning,
                &[JsValue::from(one), JsValue::from(content)],
            )?);
        }
        if let Some(kept) = list(Order::is_kept)? {
            let bound = [kept, JsValue::NULL];
            statements.push(gated(INSERT_NOTIFICATIONS, RETURNING_STORED, &bound)?);
        }
        Ok(statements)
    }
}

impl Order {
    const fn claims(&self) -> bool {
        match self.when {
            When::Now | When::Later(_) | When::Due(_) => self.claim.is_some(),
            When::Lapsed(_) => false,
        }
    }

    const fn is_stored(&self) -> bool {
        match self.when {
            When::Now | When::Due(_) => true,
            When::Later(_) | When::Lapsed(_) => false,
        }
    }

    const fn is_kept(&self) -> bool {
        match self.when {
            When::Due(_) => true,
            When::Now | When::Later(_) | When::Lapsed(_) => false,
        }
    }

    const fn deliver_at(&self) -> Option<Timestamp> {
        match self.when {
            When::Now => None,
            When::Later(at) | When::Due(at) => Some(at),
            When::Lapsed(at) => at,
        }
    }
}

/// An order as the statements read it.
#[derive(Serialize)]
struct Row<'a> {
    id: NotificationId,
    created_at: Timestamp,
    rooms: &'a [Room],
    #[serde(flatten)]
    claim: Option<ClaimRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<Timestamp>,
    /// There, whatever it is, when the order was kept until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<u8>,
}

#[derive(Serialize)]
struct ClaimRow<'a> {
    scope: &'a str,
    key: &'a str,
    fingerprint: &'a str,
}

impl<'a> Row<'a> {
    fn new(order: &'a Order) -> Self {
        Self {
            id: order.notification.id,
            created_at: order.notification.created_at,
            rooms: &order.rooms,
            claim: order.claim.as_ref().map(|claim| ClaimRow {
                scope: &claim.scope,
                key: claim.key.as_str(),
                fingerprint: &claim.fingerprint,
            }),
            expires_at: order.notification.content.expires_at,
            deliver_at: order.deliver_at(),
            kept: order.is_kept().then_some(1),
        }
    }
}

/// When keys must have been taken to stand for their pushes still.
fn window(now: Timestamp) -> JsValue {
    timestamp(Timestamp::from_ms(
        now.as_ms().saturating_sub(IDEMPOTENCY_WINDOW_MS),
    ))
}

/// The pushes that orders stand for when each was inserted just now; `None` when one was not.
fn won(orders: &[Order], results: &[D1Result]) -> Result<Option<Vec<Winner>>> {
    let mut inserted: HashMap<String, Winner> = HashMap::with_capacity(orders.len());
    for result in results {
        let rows = result.results::<Winner>()?;
        inserted.extend(rows.into_iter().filter_map(|row| Some((row.id.clone()?, row))));
    }
    let won = orders.iter().map(|order| {
        let winner = inserted.remove(&order.notification.id.to_string())?;
        let fingerprint = order.claim.as_ref().map(|claim| claim.fingerprint.clone());
        Some(Winner {
            fingerprint,
            ..winner
        })
    });
    Ok(won.collect())
}

/// The push an order stands for.
#[derive(Deserialize)]
struct Winner {
    id: Option<String>,
    fingerprint: Option<String>,
    created_at: Option<f64>,
    audience: Option<String>,
    /// Absent when it is the order's own.
    content: Option<String>,
}

impl Winner {
    fn settle(self, order: &Order) -> Result<Commit> {
        let Some(id) = self.id else {
            return Ok(Commit::Nothing);
        };
        if let Some(claim) = &order.claim
            && self.fingerprint.as_deref() != Some(&claim.fingerprint)
        {
            return Ok(Commit::Mismatch);
        }
        let own = &order.notification;
        let origin = if id == own.id.to_string() {
            Origin::Own
        } else {
            Origin::Replayed
        };
        if let When::Later(deliver_at) | When::Lapsed(Some(deliver_at)) = order.when {
            return Ok(Commit::Scheduled {
                id: NotificationId::parse(&id).map_err(corrupt)?,
                deliver_at,
                origin,
            });
        }
        let (Some(created_at), Some(audience)) = (self.created_at, self.audience) else {
            return match order.when {
                When::Now | When::Lapsed(_) if origin == Origin::Replayed => Ok(Commit::Gone),
                When::Now => Err(missing("a stored push")),
                When::Later(_) | When::Due(_) | When::Lapsed(_) => Ok(Commit::Nothing),
            };
        };
        let notification = match self.content {
            Some(content) => stored(&id, created_at, &content)?,
            // It may have been stored by another, at another moment.
            None => Notification {
                created_at: from_number(created_at),
                ..own.clone()
            },
        };
        Ok(Commit::Stored(Committed {
            notification,
            places: places(&audience)?,
            origin,
        }))
    }
}

/// A stored `audience` column, `[["user:41", 7], ...]`.
pub(super) fn places(audience: &str) -> Result<Vec<(Room, u64)>> {
    Ok(serde_json::from_str(audience)?)
}

/// The switchboards that may have members. All rows are wanted, and there are as many as switchboards.
pub(super) const READ_SWITCHBOARDS: &str = "SELECT name FROM switchboards";

/// The answer to [`READ_SWITCHBOARDS`].
pub(super) fn switchboards(answer: &D1Result) -> Result<Vec<SwitchboardName>> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let rows: Vec<Row> = answer.results()?;
    let read = |row: Row| {
        SwitchboardName::parse(&row.name).ok_or_else(|| corrupt(format!("a switchboard {:?}", row.name)))
    };
    rows.into_iter().map(read).collect()
}
