//! All SQL of a hub: its user's inbox.
//!
//! Nothing is created before something is to be stored: a hub that is only asked about a stranger
//! stays empty. SQL here is synchronous; what is written without waiting in between is one transaction,
//! and [`Storage::apply`] makes that hold even when a statement fails.

use std::cell::Cell;
use std::rc::Rc;

use dormouse_domain::delivery::{Delivery, DeliveryStatus};
use dormouse_domain::id::{NotificationId, RecipientId, UserId};
use dormouse_domain::inbox::{Head, Item, Receipt, Store};
use dormouse_domain::notification::Notification;
use dormouse_domain::page::PageRequest;
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{Function, Reflect};
use worker::{Error, Result, SqlStorage, SqlStorageValue, State};

use crate::d1::{OwedDelivery, from_number};
use crate::instruments::{Unit, count};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS head (
  version INTEGER PRIMARY KEY CHECK (version = 1),
  user_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  unread INTEGER NOT NULL,
  unseen INTEGER NOT NULL,
  cursor INTEGER NOT NULL,
  online_since INTEGER,
  last_seen_at INTEGER,
  catch_up_at INTEGER
);
CREATE TABLE IF NOT EXISTS items (
  seq INTEGER PRIMARY KEY,
  recipient_id TEXT NOT NULL UNIQUE,
  notification_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  content TEXT NOT NULL,
  read_at INTEGER,
  attempts INTEGER NOT NULL,
  delivered_at INTEGER,
  receipt_delivered INTEGER NOT NULL,
  receipt_online INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS outbox (
  recipient_id TEXT NOT NULL PRIMARY KEY,
  revision INTEGER NOT NULL
) WITHOUT ROWID;
";

const ITEM_COLUMNS: &str = "seq, recipient_id, notification_id, created_at, content, read_at, attempts, \
                            delivered_at, receipt_delivered, receipt_online";

/// The largest number that survives the way through JavaScript.
const MAX_SEQ: u64 = (1 << 53) - 1;

/// The hub's database.
#[derive(Clone)]
pub(crate) struct Storage {
    raw: Rc<worker::Storage>,
    sql: SqlStorage,
    /// Whether the tables were found; they never go again.
    found: Rc<Cell<bool>>,
}

/// What the hub owes the record, and how to strike it off.
pub(crate) struct Outbox {
    pub(crate) owed: Vec<OwedDelivery>,
    revisions: Vec<(RecipientId, f64)>,
}

impl Storage {
    pub(crate) fn new(state: &State) -> Self {
        let raw = Rc::new(state.storage());
        let sql = raw.sql();
        Self {
            raw,
            sql,
            found: Rc::default(),
        }
    }

    /// The inbox as a whole; `None` before anything happened to it.
    pub(crate) fn head(&self) -> Result<Option<Head>> {
        if !self.exists()? {
            return Ok(None);
        }
        let rows: Vec<HeadRow> = self.rows(
            "SELECT user_id, seq, unread, unseen, cursor, online_since, last_seen_at, catch_up_at FROM head",
            vec![],
        )?;
        rows.into_iter().next().map(HeadRow::into_head).transpose()
    }

    /// An item by the user's record of it.
    pub(crate) fn item(&self, recipient_id: RecipientId) -> Result<Option<Item>> {
        if !self.exists()? {
            return Ok(None);
        }
        let rows: Vec<ItemRow> = self.rows(
            &format!("SELECT {ITEM_COLUMNS} FROM items WHERE recipient_id = ?1"),
            vec![recipient_id.to_string().into()],
        )?;
        rows.into_iter().next().map(ItemRow::into_item).transpose()
    }

    /// Items newest first. One more than `limit` is read, so that the caller sees whether more follow.
    pub(crate) fn page(&self, page: PageRequest) -> Result<Vec<Item>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let before = page.before.unwrap_or(MAX_SEQ).min(MAX_SEQ);
        let limit = page.limit.saturating_add(1);
        let rows: Vec<ItemRow> = self.rows(
            &format!("SELECT {ITEM_COLUMNS} FROM items WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2"),
            vec![
                integer(before)?,
                integer(u64::try_from(limit).unwrap_or(MAX_SEQ))?,
            ],
        )?;
        rows.into_iter().map(ItemRow::into_item).collect()
    }

    /// Items numbered above `seq`, oldest first, at most `limit`.
    pub(crate) fn items_after(&self, seq: u64, limit: u64) -> Result<Vec<Item>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let rows: Vec<ItemRow> = self.rows(
            &format!("SELECT {ITEM_COLUMNS} FROM items WHERE seq > ?1 ORDER BY seq LIMIT ?2"),
            vec![integer(seq.min(MAX_SEQ))?, integer(limit)?],
        )?;
        rows.into_iter().map(ItemRow::into_item).collect()
    }

    /// How many items are numbered above `seq`; counted up to `limit`.
    pub(crate) fn count_after(&self, seq: u64, limit: u64) -> Result<u64> {
        #[derive(Deserialize)]
        struct Row {
            counted: f64,
        }
        if !self.exists()? {
            return Ok(0);
        }
        let rows: Vec<Row> = self.rows(
            "SELECT COUNT(*) AS counted FROM (SELECT 1 FROM items WHERE seq > ?1 LIMIT ?2)",
            vec![integer(seq.min(MAX_SEQ))?, integer(limit)?],
        )?;
        Ok(rows.first().map_or(0, |row| unsigned(row.counted)))
    }

    /// What is owed to the record, at most `limit`.
    pub(crate) fn outbox(&self, limit: i64) -> Result<Outbox> {
        #[derive(Deserialize)]
        struct Row {
            recipient_id: String,
            revision: f64,
            notification_id: String,
            attempts: f64,
            delivered_at: Option<f64>,
        }
        let mut outbox = Outbox {
            owed: Vec::new(),
            revisions: Vec::new(),
        };
        if !self.exists()? {
            return Ok(outbox);
        }
        // CROSS JOIN fixes the order: from the few that are owed to their items, never through all items.
        let rows: Vec<Row> = self.rows(
            "SELECT o.recipient_id, o.revision, i.notification_id, i.attempts, i.delivered_at
             FROM outbox o CROSS JOIN items i ON i.recipient_id = o.recipient_id LIMIT ?1",
            vec![limit.into()],
        )?;
        for row in rows {
            outbox.owed.push(OwedDelivery {
                notification_id: NotificationId::parse(&row.notification_id).map_err(corrupt)?,
                delivery: delivery(row.attempts, row.delivered_at),
            });
            outbox.revisions.push((
                RecipientId::parse(&row.recipient_id).map_err(corrupt)?,
                row.revision,
            ));
        }
        Ok(outbox)
    }

    /// Strikes off what was written to the record, unless it has changed since it was read.
    pub(crate) fn strike_off(&self, outbox: &Outbox) -> Result<()> {
        let rows = serde_json::to_string(&outbox.revisions)?;
        self.rows::<Nothing>(
            "DELETE FROM outbox WHERE EXISTS (
               SELECT 1 FROM json_each(?1) AS s
               WHERE s.value ->> 0 = outbox.recipient_id AND s.value ->> 1 = outbox.revision)",
            vec![rows.into()],
        )
        .map(|_| ())
    }

    /// Writes all of `stores` or nothing.
    pub(crate) fn apply(&self, stores: Vec<Store>) -> Result<()> {
        if stores.is_empty() {
            return Ok(());
        }
        let storage = self.clone();
        let write = Closure::once_into_js(move || -> std::result::Result<(), JsValue> {
            storage.write(&stores).map_err(JsValue::from)
        });
        // `transactionSync` has no binding in the `worker` crate.
        let transaction: Function = Reflect::get(self.raw.as_raw(), &"transactionSync".into())?.dyn_into()?;
        transaction.call1(self.raw.as_raw(), &write)?;
        Ok(())
    }

    fn write(&self, stores: &[Store]) -> Result<()> {
        if !self.exists()? {
            self.sql.exec(SCHEMA, None)?;
        }
        for store in stores {
            match store {
                Store::Head(head) => self.write_head(head),
                Store::Insert(item) => self.insert(item),
                Store::Delivery(recipient_id, delivery) => self.write_delivery(*recipient_id, *delivery),
                Store::Owe(recipient_id) => self.owe(*recipient_id),
            }?;
        }
        Ok(())
    }

    fn write_head(&self, head: &Head) -> Result<()> {
        self.rows::<Nothing>(
            "INSERT INTO head (version, user_id, seq, unread, unseen, cursor, online_since, last_seen_at, catch_up_at)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (version) DO UPDATE SET
               seq = excluded.seq, unread = excluded.unread, unseen = excluded.unseen, cursor = excluded.cursor,
               online_since = excluded.online_since, last_seen_at = excluded.last_seen_at,
               catch_up_at = excluded.catch_up_at",
            vec![
                head.user.as_str().into(),
                integer(head.seq)?,
                integer(head.unread)?,
                integer(head.unseen)?,
                integer(head.cursor)?,
                instant(head.online_since)?,
                instant(head.last_seen_at)?,
                instant(head.catch_up_at)?,
            ],
        )
        .map(|_| ())
    }

    fn insert(&self, item: &Item) -> Result<()> {
        let notification = &item.notification;
        self.rows::<Nothing>(
            &format!("INSERT INTO items ({ITEM_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"),
            vec![
                integer(item.seq)?,
                item.recipient_id.to_string().into(),
                notification.id.to_string().into(),
                integer(notification.created_at.as_ms())?,
                serde_json::to_string(&notification.content)?.into(),
                instant(item.read_at)?,
                integer(u64::from(item.delivery.attempts()))?,
                instant(item.delivery.delivered_at())?,
                i64::from(item.receipt.delivery_status == DeliveryStatus::Delivered).into(),
                i64::from(item.receipt.online).into(),
            ],
        )
        .map(|_| ())
    }

    fn write_delivery(&self, recipient_id: RecipientId, delivery: Delivery) -> Result<()> {
        self.rows::<Nothing>(
            "UPDATE items SET attempts = ?2, delivered_at = ?3 WHERE recipient_id = ?1",
            vec![
                recipient_id.to_string().into(),
                integer(u64::from(delivery.attempts()))?,
                instant(delivery.delivered_at())?,
            ],
        )
        .map(|_| ())
    }

    fn owe(&self, recipient_id: RecipientId) -> Result<()> {
        self.rows::<Nothing>(
            "INSERT INTO outbox (recipient_id, revision) VALUES (?1, 1)
             ON CONFLICT (recipient_id) DO UPDATE SET revision = revision + 1",
            vec![recipient_id.to_string().into()],
        )
        .map(|_| ())
    }

    fn exists(&self) -> Result<bool> {
        if !self.found.get() {
            let tables: Vec<Nothing> =
                self.rows("SELECT name FROM sqlite_master WHERE name = 'head'", vec![])?;
            self.found.set(!tables.is_empty());
        }
        Ok(self.found.get())
    }

    fn rows<T: DeserializeOwned>(&self, sql: &str, bound: Vec<SqlStorageValue>) -> Result<Vec<T>> {
        let cursor = self.sql.exec(sql, bound)?;
        let rows = cursor.to_array()?;
        count(Unit::ObjectRowsRead, cursor.rows_read());
        count(Unit::ObjectRowsWritten, cursor.rows_written());
        Ok(rows)
    }

    /// When the alarm is set for.
    pub(crate) async fn alarm(&self) -> Result<Option<Timestamp>> {
        let at = self.raw.get_alarm().await?;
        Ok(at.and_then(|ms| u64::try_from(ms).ok()).map(Timestamp::from_ms))
    }

    /// Sets the alarm.
    pub(crate) async fn set_alarm(&self, at: Timestamp) -> Result<()> {
        count(Unit::AlarmsSet, 1);
        self.raw.set_alarm(at.to_datetime()).await
    }
}

/// A row of which nothing is wanted.
#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct HeadRow {
    user_id: String,
    seq: f64,
    unread: f64,
    unseen: f64,
    cursor: f64,
    online_since: Option<f64>,
    last_seen_at: Option<f64>,
    catch_up_at: Option<f64>,
}

impl HeadRow {
    fn into_head(self) -> Result<Head> {
        Ok(Head {
            user: UserId::parse(&self.user_id).map_err(corrupt)?,
            seq: unsigned(self.seq),
            unread: unsigned(self.unread),
            unseen: unsigned(self.unseen),
            cursor: unsigned(self.cursor),
            online_since: self.online_since.map(from_number),
            last_seen_at: self.last_seen_at.map(from_number),
            catch_up_at: self.catch_up_at.map(from_number),
        })
    }
}

#[derive(Deserialize)]
struct ItemRow {
    seq: f64,
    recipient_id: String,
    notification_id: String,
    created_at: f64,
    content: String,
    read_at: Option<f64>,
    attempts: f64,
    delivered_at: Option<f64>,
    receipt_delivered: f64,
    receipt_online: f64,
}

impl ItemRow {
    fn into_item(self) -> Result<Item> {
        let recipient_id = RecipientId::parse(&self.recipient_id).map_err(corrupt)?;
        let seq = unsigned(self.seq);
        Ok(Item {
            seq,
            recipient_id,
            notification: Notification {
                id: NotificationId::parse(&self.notification_id).map_err(corrupt)?,
                created_at: from_number(self.created_at),
                content: serde_json::from_str(&self.content)?,
            },
            read_at: self.read_at.map(from_number),
            delivery: delivery(self.attempts, self.delivered_at),
            receipt: Receipt {
                recipient_id,
                seq,
                delivery_status: if self.receipt_delivered == 0.0 {
                    DeliveryStatus::Pending
                } else {
                    DeliveryStatus::Delivered
                },
                online: self.receipt_online != 0.0,
            },
        })
    }
}

fn delivery(attempts: f64, delivered_at: Option<f64>) -> Delivery {
    let attempts = u32::try_from(unsigned(attempts)).unwrap_or(u32::MAX);
    Delivery::from_columns(attempts, delivered_at.map(from_number))
}

fn unsigned(value: f64) -> u64 {
    from_number(value).as_ms()
}

fn integer(value: u64) -> Result<SqlStorageValue> {
    let value = i64::try_from(value).map_err(|_| Error::RustError(format!("{value} is out of range")))?;
    SqlStorageValue::try_from_i64(value)
}

fn instant(at: Option<Timestamp>) -> Result<SqlStorageValue> {
    at.map_or(Ok(SqlStorageValue::Null), |at| integer(at.as_ms()))
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::RustError(format!("the inbox holds something unreadable: {error}"))
}
