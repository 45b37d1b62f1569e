//! All SQL of a hub: its user's inbox.
//!
//! Nothing is created before something is to be stored: a hub that is only asked about a stranger
//! stays empty. SQL here is synchronous; what is written without waiting in between is one transaction,
//! and [`Storage::apply`] makes that hold even when a statement fails.
//!
//! An item's key, its *place*, is its folder and its number in one: pages of a folder read the rows
//! they return and no others. A push that is delivered and acknowledged writes eight rows: item, its
//! two indexes, `hub` and `unsettled` when it comes; item, `unsettled` twice when it is settled.

mod rows;
mod schema;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use dormouse_domain::change::Change;
use dormouse_domain::id::RecipientId;
use dormouse_domain::inbox::{Affected, Debt, Erasure, Head, Store};
use dormouse_domain::item::{Folder, Item, Removal};
use dormouse_domain::page::Filter;
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{Function, Reflect};
use worker::{Result, SqlStorage, SqlStorageValue, State};

use self::rows::{
    FOLDER_SIZE, HeadRow, ItemRow, delivery, instant, integer, location, place, text, unsigned,
};
use self::schema::{FROM_VERSION_1, FROM_VERSION_2, SCHEMA};
use crate::d1::{OwedDelivery, from_number};
use crate::instruments::count_rows;

const ITEM_COLUMNS: &str = "place, recipient_id, notification_id, created_at, content, read_at, seen_at, \
                            moved_at, removal, status, attempts, retries, due_at, delivered_at, via, \
                            expires_at, collapse_key, receipt_status, receipt_online";

/// The same without what it says, for rules that do not look at it.
const BARE_ITEM_COLUMNS: &str = "place, recipient_id, notification_id, created_at, \
                                 '{\"title\":\"\",\"content\":\"\",\"priority\":\"normal\"}' AS content, \
                                 read_at, seen_at, moved_at, removal, status, attempts, retries, due_at, \
                                 delivered_at, via, expires_at, collapse_key, receipt_status, receipt_online";

/// How many changes the log holds. Those missed by more than `MAX_REPLAYED` are not asked for.
const LOG_SLOTS: u64 = 128;

/// The hub's database.
#[derive(Clone)]
pub(crate) struct Storage {
    raw: Rc<worker::Storage>,
    sql: SqlStorage,
    /// Whether the tables were found; they never go again.
    found: Rc<Cell<bool>>,
    /// The head row, once it was read: nobody else writes it.
    head: Rc<RefCell<Option<Head>>>,
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
            head: Rc::default(),
        }
    }

    /// The inbox as a whole; `None` before anything happened to it.
    pub(crate) fn head(&self) -> Result<Option<Head>> {
        if let Some(head) = self.head.borrow().as_ref() {
            return Ok(Some(head.clone()));
        }
        let rows: Vec<HeadRow> = self.rows(
            "SELECT user_id, seq, unread, unseen, cursor, online_since, last_seen_at, catch_up_at, seen_up_to,
               suppressed, expires_at, preferences, erased_at, erased_up_to, memberships FROM hub",
            vec![],
        )?;
        let head = rows.into_iter().next().map(HeadRow::into_head).transpose()?;
        self.head.replace(head.clone());
        Ok(head)
    }

    /// An item by the user's record of it, wherever it is kept.
    pub(crate) fn item(&self, recipient_id: RecipientId) -> Result<Option<Item>> {
        let items = self.items(
            &format!("SELECT {ITEM_COLUMNS} FROM items WHERE recipient_id = ?1"),
            vec![recipient_id.to_string().into()],
        )?;
        Ok(items.into_iter().next())
    }

    /// Those of the named items that there are, without what they say.
    pub(crate) fn bare_items(&self, ids: &[RecipientId]) -> Result<Vec<Item>> {
        self.items(
            &format!(
                "SELECT {BARE_ITEM_COLUMNS} FROM items
                 WHERE recipient_id IN (SELECT value FROM json_each(?1))"
            ),
            vec![serde_json::to_string(ids)?.into()],
        )
    }

    /// Items of a list below `before`, newest first, at most `limit`.
    pub(crate) fn page(&self, filter: Filter, before: Option<u64>, limit: usize) -> Result<Vec<Item>> {
        let (folder, condition) = match filter {
            Filter::All => (Folder::Inbox, ""),
            Filter::Unread => (Folder::Inbox, "(read_at IS NULL) = 1 AND moved_at IS NULL AND"),
            Filter::Read => (Folder::Inbox, "(read_at IS NULL) = 0 AND moved_at IS NULL AND"),
            Filter::Archived => (Folder::Archived(Timestamp::default()), ""),
        };
        let before = before.unwrap_or(FOLDER_SIZE).min(FOLDER_SIZE);
        self.items(
            &format!(
                "SELECT {ITEM_COLUMNS} FROM items
                 WHERE {condition} place >= ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3"
            ),
            vec![
                integer(place(folder, 0))?,
                integer(place(folder, 0).saturating_add(before))?,
                integer(u64::try_from(limit).unwrap_or(u64::from(u32::MAX)))?,
            ],
        )
    }

    /// Items of every folder above this place, in the order of places, at most `limit`: all there is, for
    /// an export.
    pub(crate) fn everything(&self, above: Option<u64>, limit: usize) -> Result<Vec<(u64, Item)>> {
        let rows: Vec<ItemRow> = self.rows(
            &format!("SELECT {ITEM_COLUMNS} FROM items WHERE place > ?1 ORDER BY place LIMIT ?2"),
            vec![
                integer(above.unwrap_or(0).min(FOLDER_SIZE.saturating_mul(4)))?,
                integer(u64::try_from(limit).unwrap_or(u64::from(u32::MAX)))?,
            ],
        )?;
        rows.into_iter()
            .map(|row| Ok((unsigned(row.place), row.into_item()?)))
            .collect()
    }

    /// What a user can list of the items numbered above `seq`, oldest first, at most `limit`.
    pub(crate) fn items_after(&self, seq: u64, limit: u64) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for folder in [Folder::Inbox, Folder::Archived(Timestamp::default())] {
            items.extend(self.items(
                &format!(
                    "SELECT {ITEM_COLUMNS} FROM items WHERE place > ?1 AND place < ?2 ORDER BY place LIMIT ?3"
                ),
                vec![
                    integer(place(folder, seq.min(FOLDER_SIZE)))?,
                    integer(place(folder, FOLDER_SIZE))?,
                    integer(limit)?,
                ],
            )?);
        }
        items.sort_by_key(|item| item.seq);
        Ok(items)
    }

    /// The logged changes numbered above `seq`, in order.
    pub(crate) fn changes_after(&self, seq: u64) -> Result<Vec<Change>> {
        #[derive(Deserialize)]
        struct Row {
            change: String,
        }
        let rows: Vec<Row> = self.rows(
            "SELECT change FROM log WHERE seq > ?1 ORDER BY seq",
            vec![integer(seq.min(FOLDER_SIZE))?],
        )?;
        rows.iter()
            .map(|row| Ok(serde_json::from_str(&row.change)?))
            .collect()
    }

    /// Items that wait for a socket, newest first, at most `limit`.
    pub(crate) fn waiting(&self, limit: usize) -> Result<Vec<Item>> {
        self.items(
            &format!(
                "SELECT {ITEM_COLUMNS} FROM items WHERE status IN ('pending', 'failed') AND due_at IS NULL
                 ORDER BY place DESC LIMIT ?1"
            ),
            vec![integer(u64::try_from(limit).unwrap_or(u64::from(u32::MAX)))?],
        )
    }

    /// Items whose delivery the clock moves on by `now`, at most `limit`.
    pub(crate) fn due(&self, now: Timestamp, limit: u64) -> Result<Vec<Item>> {
        // Sorted here: an ORDER BY would lead through all items instead of the few that are unsettled.
        let mut items = self.items(
            &format!(
                "SELECT {ITEM_COLUMNS} FROM items WHERE recipient_id IN
                   (SELECT recipient_id FROM unsettled WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2)"
            ),
            vec![integer(now.as_ms())?, integer(limit)?],
        )?;
        items.sort_by_key(|item| item.seq);
        Ok(items)
    }

    /// When the clock moves the next delivery on.
    pub(crate) fn next_due(&self) -> Result<Option<Timestamp>> {
        self.moment("SELECT MIN(due_at) AS at FROM unsettled", vec![])
    }

    /// Items whose time is over by `now`, at most `limit`.
    pub(crate) fn expired(&self, now: Timestamp, limit: u64) -> Result<Vec<Item>> {
        self.items(
            &format!(
                "SELECT {ITEM_COLUMNS} FROM items WHERE expires_at IS NOT NULL AND expires_at <= ?1
                 ORDER BY expires_at LIMIT ?2"
            ),
            vec![integer(now.as_ms())?, integer(limit)?],
        )
    }

    /// When the next item after `now` expires.
    pub(crate) fn next_expiry(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.moment(
            "SELECT MIN(expires_at) AS at FROM items WHERE expires_at IS NOT NULL AND expires_at > ?1",
            vec![integer(now.as_ms())?],
        )
    }

    /// Unread items in the inbox with this `collapse_key`.
    pub(crate) fn collapsing(&self, key: &str) -> Result<Vec<Item>> {
        self.items(
            &format!(
                "SELECT {ITEM_COLUMNS} FROM items
                 WHERE collapse_key IS NOT NULL AND read_at IS NULL AND moved_at IS NULL AND collapse_key = ?1"
            ),
            vec![key.into()],
        )
    }

    /// The oldest items of each folder, without what they say: at most `limit` each.
    pub(crate) fn oldest(&self, limit: u64) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for folder in [
            Folder::Inbox,
            Folder::Archived(Timestamp::default()),
            Folder::Removed(Removal::Deleted, Timestamp::default()),
            Folder::Suppressed,
        ] {
            items.extend(self.items(
                &format!(
                    "SELECT {BARE_ITEM_COLUMNS} FROM items WHERE place >= ?1 AND place < ?2
                     ORDER BY place LIMIT ?3"
                ),
                vec![
                    integer(place(folder, 0))?,
                    integer(place(folder, FOLDER_SIZE))?,
                    integer(limit)?,
                ],
            )?);
        }
        Ok(items)
    }

    /// How much of the inbox up to and including `seq` is unread, and how much of that unseen.
    pub(crate) fn unread_up_to(&self, seq: u64) -> Result<Affected> {
        #[derive(Deserialize)]
        struct Row {
            unread: f64,
            unseen: Option<f64>,
        }
        let rows: Vec<Row> = self.rows(
            "SELECT COUNT(*) AS unread, SUM(seen_at IS NULL) AS unseen FROM items
             WHERE (read_at IS NULL) = 1 AND moved_at IS NULL AND place <= ?1",
            vec![integer(seq.min(FOLDER_SIZE))?],
        )?;
        Ok(rows.first().map_or_else(Affected::default, |row| Affected {
            unread: unsigned(row.unread),
            unseen: unsigned(row.unseen.unwrap_or_default()),
        }))
    }

    /// How much of the inbox above one item, up to and including another, is unseen.
    pub(crate) fn unseen_between(&self, above: u64, up_to: u64) -> Result<u64> {
        #[derive(Deserialize)]
        struct Row {
            unseen: f64,
        }
        let rows: Vec<Row> = self.rows(
            "SELECT COUNT(*) AS unseen FROM items
             WHERE place > ?1 AND place <= ?2 AND seen_at IS NULL AND moved_at IS NULL",
            vec![integer(above.min(FOLDER_SIZE))?, integer(up_to.min(FOLDER_SIZE))?],
        )?;
        Ok(rows.first().map_or(0, |row| unsigned(row.unseen)))
    }

    /// What is owed to the record, at most `limit`.
    pub(crate) fn outbox(&self, limit: i64) -> Result<Outbox> {
        let mut outbox = Outbox {
            owed: Vec::new(),
            revisions: Vec::new(),
        };
        // CROSS JOIN fixes the order: from the few that are owed to their items, never through all items.
        let columns = BARE_ITEM_COLUMNS
            .replace("recipient_id", "i.recipient_id AS recipient_id")
            .replace("due_at", "i.due_at AS due_at");
        let rows: Vec<ItemRow> = self.rows(
            &format!(
                "SELECT revision, {columns}
                 FROM unsettled u CROSS JOIN items i ON i.recipient_id = u.recipient_id
                 WHERE u.owed = 1 LIMIT ?1"
            ),
            vec![limit.into()],
        )?;
        for row in rows {
            let revision = row.revision.unwrap_or_default();
            let item = row.into_item()?;
            outbox.revisions.push((item.recipient_id, revision));
            outbox.owed.push(OwedDelivery::of(&item));
        }
        Ok(outbox)
    }

    /// Strikes off what was written to the record, unless it has changed since it was read.
    pub(crate) fn strike_off(&self, outbox: &Outbox) -> Result<()> {
        // From the list to the rows: the other way round, every row would go through the list.
        const WRITTEN: &str =
            "(recipient_id, revision) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";
        let rows = serde_json::to_string(&outbox.revisions)?;
        self.rows::<Nothing>(
            &format!("DELETE FROM unsettled WHERE due_at IS NULL AND {WRITTEN}"),
            vec![rows.clone().into()],
        )?;
        self.rows::<Nothing>(
            &format!("UPDATE unsettled SET owed = 0 WHERE due_at IS NOT NULL AND owed = 1 AND {WRITTEN}"),
            vec![rows.into()],
        )
        .map(|_| ())
    }

    /// Takes these items away without a trace.
    pub(crate) fn purge(&self, ids: &[RecipientId]) -> Result<()> {
        let ids = serde_json::to_string(ids)?;
        for table in ["unsettled", "items"] {
            self.rows::<Nothing>(
                &format!("DELETE FROM {table} WHERE recipient_id IN (SELECT value FROM json_each(?1))"),
                vec![ids.as_str().into()],
            )?;
        }
        Ok(())
    }

    /// Leaves nothing but `head`.
    pub(crate) fn wipe(&self, head: Head) -> Result<()> {
        self.head.replace(None);
        for table in ["unsettled", "items", "log", "hub"] {
            self.rows::<Nothing>(&format!("DELETE FROM {table}"), vec![])?;
        }
        self.apply(vec![Store::Head(head)])
    }

    /// Writes all of `stores` or nothing.
    pub(crate) fn apply(&self, stores: Vec<Store>) -> Result<()> {
        if stores.is_empty() {
            return Ok(());
        }
        let head = stores.iter().rev().find_map(|store| match store {
            Store::Head(head) => Some(head.clone()),
            Store::Insert(..)
            | Store::Move(_)
            | Store::State(..)
            | Store::Log(_)
            | Store::ReadAll { .. }
            | Store::Seen { .. } => None,
        });
        let storage = self.clone();
        let written = self.transaction(move || storage.write(&stores));
        match (&written, head) {
            (Ok(()), None) => {}
            (Ok(()), head @ Some(_)) => {
                self.head.replace(head);
            }
            (Err(_), _) => {
                // The tables may have been made in what was rolled back.
                self.found.set(false);
                self.head.replace(None);
            }
        }
        written
    }

    fn transaction(&self, write: impl FnOnce() -> Result<()> + 'static) -> Result<()> {
        let write = Closure::once_into_js(move || -> std::result::Result<(), JsValue> {
            write().map_err(JsValue::from)
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
                Store::Insert(item, debt) => self.insert(item, *debt),
                Store::Move(item) => self.relocate(item),
                Store::State(item, debt) => self.write_state(item, *debt),
                Store::Log(change) => self.log(change),
                Store::ReadAll { up_to, at } => self.read_all(*up_to, *at),
                Store::Seen { above, up_to, at } => self.see(*above, *up_to, *at),
            }?;
        }
        Ok(())
    }

    fn write_head(&self, head: &Head) -> Result<()> {
        self.rows::<Nothing>(
            "INSERT INTO hub (id, version, user_id, seq, unread, unseen, cursor, online_since, last_seen_at, catch_up_at,
               seen_up_to, suppressed, expires_at, preferences, erased_at, erased_up_to, memberships)
             VALUES (1, 3, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (id) DO UPDATE SET
               seq = excluded.seq, unread = excluded.unread, unseen = excluded.unseen, cursor = excluded.cursor,
               online_since = excluded.online_since, last_seen_at = excluded.last_seen_at,
               catch_up_at = excluded.catch_up_at, seen_up_to = excluded.seen_up_to,
               suppressed = excluded.suppressed, expires_at = excluded.expires_at,
               preferences = excluded.preferences, erased_at = excluded.erased_at,
               erased_up_to = excluded.erased_up_to, memberships = excluded.memberships",
            vec![
                head.user.as_str().into(),
                integer(head.seq)?,
                integer(head.unread)?,
                integer(head.unseen)?,
                integer(head.cursor)?,
                instant(head.online_since)?,
                instant(head.last_seen_at)?,
                instant(head.catch_up_at)?,
                integer(head.seen_up_to)?,
                integer(head.suppressed)?,
                instant(head.expires_at)?,
                serde_json::to_string(&head.preferences)?.into(),
                instant(head.erasure.map(Erasure::at))?,
                match head.erasure {
                    Some(Erasure::Running { n, .. }) => integer(n)?,
                    Some(Erasure::Done(_)) | None => SqlStorageValue::Null,
                },
                serde_json::to_string(&head.memberships)?.into(),
            ],
        )
        .map(|_| ())
    }

    fn insert(&self, item: &Item, debt: Debt) -> Result<()> {
        let notification = &item.notification;
        let (moved_at, removal) = location(item);
        let [status, attempts, retries, due_at, delivered_at, via] = delivery(item.delivery)?;
        self.rows::<Nothing>(
            &format!(
                "INSERT INTO items ({ITEM_COLUMNS}) VALUES
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
            ),
            vec![
                integer(place(item.folder, item.seq))?,
                item.recipient_id.to_string().into(),
                notification.id.to_string().into(),
                integer(notification.created_at.as_ms())?,
                serde_json::to_string(&notification.content)?.into(),
                instant(item.read_at)?,
                instant(item.seen_at)?,
                instant(moved_at)?,
                text(removal),
                status,
                attempts,
                retries,
                due_at,
                delivered_at,
                via,
                instant(notification.content.expires_at)?,
                text(notification.content.collapse_key.as_deref()),
                item.receipt.delivery_status.name().into(),
                i64::from(item.receipt.online).into(),
            ],
        )?;
        self.keep_track(item, debt)
    }

    fn relocate(&self, item: &Item) -> Result<()> {
        let (moved_at, removal) = location(item);
        let id = SqlStorageValue::from(item.recipient_id.to_string());
        self.rows::<Nothing>(
            "UPDATE items SET place = ?2, moved_at = ?3, removal = ?4 WHERE recipient_id = ?1",
            vec![
                id.clone(),
                integer(place(item.folder, item.seq))?,
                instant(moved_at)?,
                text(removal),
            ],
        )?;
        if item.is_listed() {
            return Ok(());
        }
        self.rows::<Nothing>(
            "UPDATE items SET content = ?2, expires_at = NULL, collapse_key = NULL WHERE recipient_id = ?1",
            vec![id, serde_json::to_string(&item.notification.content)?.into()],
        )
        .map(|_| ())
    }

    /// Not its place: a key that is set, be it to what it was, rewrites the row's every index.
    fn write_state(&self, item: &Item, debt: Debt) -> Result<()> {
        let [status, attempts, retries, due_at, delivered_at, via] = delivery(item.delivery)?;
        self.rows::<Nothing>(
            "UPDATE items SET read_at = ?2, seen_at = ?3, status = ?4, attempts = ?5, retries = ?6, due_at = ?7,
               delivered_at = ?8, via = ?9
             WHERE recipient_id = ?1",
            vec![
                item.recipient_id.to_string().into(),
                instant(item.read_at)?,
                instant(item.seen_at)?,
                status,
                attempts,
                retries,
                due_at,
                delivered_at,
                via,
            ],
        )?;
        self.keep_track(item, debt)
    }

    /// Notes what is owed to the record and when the clock moves the delivery on.
    fn keep_track(&self, item: &Item, debt: Debt) -> Result<()> {
        let due_at = item.delivery.wakes_at();
        if debt == Debt::None && due_at.is_none() {
            return Ok(());
        }
        self.rows::<Nothing>(
            "INSERT INTO unsettled (recipient_id, revision, owed, due_at) VALUES (?1, 1, ?2, ?3)
             ON CONFLICT (recipient_id) DO UPDATE SET
               revision = revision + 1, owed = MAX(owed, excluded.owed), due_at = excluded.due_at",
            vec![
                item.recipient_id.to_string().into(),
                i64::from(debt == Debt::Owed).into(),
                instant(due_at)?,
            ],
        )
        .map(|_| ())
    }

    fn log(&self, change: &Change) -> Result<()> {
        let seq = change.seq();
        self.rows::<Nothing>(
            "INSERT INTO log (slot, seq, change) VALUES (?1, ?2, ?3)
             ON CONFLICT (slot) DO UPDATE SET seq = excluded.seq, change = excluded.change",
            vec![
                integer(seq.checked_rem(LOG_SLOTS).unwrap_or_default())?,
                integer(seq)?,
                serde_json::to_string(change)?.into(),
            ],
        )
        .map(|_| ())
    }

    /// [`dormouse_domain::delivery::Delivery::confirmed`] for all of them at once: a thousand items are not loaded for it.
    fn read_all(&self, up_to: u64, at: Timestamp) -> Result<()> {
        const UNREAD: &str = "(read_at IS NULL) = 1 AND moved_at IS NULL AND place <= ?1";
        const CONFIRMABLE: &str = "status IN ('pending', 'failed', 'permanent_failure')";
        let up_to = integer(up_to.min(FOLDER_SIZE))?;
        self.owe_all(UNREAD, vec![up_to.clone()])?;
        self.rows::<Nothing>(
            &format!(
                "UPDATE items SET read_at = ?2, seen_at = COALESCE(seen_at, ?2),
                   delivered_at = CASE WHEN {CONFIRMABLE} THEN ?2 ELSE delivered_at END,
                   via = CASE WHEN {CONFIRMABLE} THEN 'read' ELSE via END,
                   retries = 0, due_at = NULL,
                   status = CASE WHEN {CONFIRMABLE} THEN 'delivered' ELSE status END
                 WHERE {UNREAD}"
            ),
            vec![up_to, integer(at.as_ms())?],
        )
        .map(|_| ())
    }

    fn see(&self, above: u64, up_to: u64, at: Timestamp) -> Result<()> {
        const UNSEEN: &str = "place > ?1 AND place <= ?2 AND seen_at IS NULL AND moved_at IS NULL";
        let bounds = vec![integer(above.min(FOLDER_SIZE))?, integer(up_to.min(FOLDER_SIZE))?];
        self.rows::<Nothing>(
            &format!(
                "INSERT INTO unsettled (recipient_id, revision, owed, due_at)
                 SELECT recipient_id, 1, 1, due_at FROM items WHERE {UNSEEN}
                 ON CONFLICT (recipient_id) DO UPDATE SET revision = revision + 1, owed = 1"
            ),
            bounds.clone(),
        )?;
        let mut bound = bounds;
        bound.push(integer(at.as_ms())?);
        self.rows::<Nothing>(&format!("UPDATE items SET seen_at = ?3 WHERE {UNSEEN}"), bound)
            .map(|_| ())
    }

    /// Owes the record all items of `condition`, whose deliveries are settled by what happens to them.
    fn owe_all(&self, condition: &str, bound: Vec<SqlStorageValue>) -> Result<()> {
        self.rows::<Nothing>(
            &format!(
                "INSERT INTO unsettled (recipient_id, revision, owed, due_at)
                 SELECT recipient_id, 1, 1, NULL FROM items WHERE {condition}
                 ON CONFLICT (recipient_id) DO UPDATE SET revision = revision + 1, owed = 1, due_at = NULL"
            ),
            bound,
        )
        .map(|_| ())
    }

    /// Whether there are tables. Those of an earlier version are brought up to date.
    fn exists(&self) -> Result<bool> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
            sql: String,
        }
        if !self.found.get() {
            let cursor = self.sql.exec(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name IN ('hub', 'head')",
                None,
            )?;
            let tables: Vec<Row> = cursor.to_array()?;
            let is_version_2 = |table: &Row| table.name == "hub" && !table.sql.contains("memberships");
            if tables.iter().any(is_version_2) {
                let storage = self.clone();
                self.transaction(move || storage.sql.exec(FROM_VERSION_2, None).map(|_| ()))?;
            }
            if tables.iter().any(|table| table.name == "head") {
                let storage = self.clone();
                self.transaction(move || {
                    storage.sql.exec(FROM_VERSION_1.0, None)?;
                    storage.sql.exec(SCHEMA, None)?;
                    storage.sql.exec(FROM_VERSION_1.1, None)?;
                    Ok(())
                })?;
            }
            self.found.set(!tables.is_empty());
        }
        Ok(self.found.get())
    }

    fn items(&self, sql: &str, bound: Vec<SqlStorageValue>) -> Result<Vec<Item>> {
        let rows: Vec<ItemRow> = self.rows(sql, bound)?;
        rows.into_iter().map(ItemRow::into_item).collect()
    }

    fn moment(&self, sql: &str, bound: Vec<SqlStorageValue>) -> Result<Option<Timestamp>> {
        #[derive(Deserialize)]
        struct Row {
            at: Option<f64>,
        }
        let rows: Vec<Row> = self.rows(sql, bound)?;
        Ok(rows.first().and_then(|row| row.at).map(from_number))
    }

    /// The rows of a statement; none while there are no tables.
    fn rows<T: DeserializeOwned>(&self, sql: &str, bound: Vec<SqlStorageValue>) -> Result<Vec<T>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let cursor = self.sql.exec(sql, bound)?;
        let rows = cursor.to_array()?;
        count_rows(&cursor);
        Ok(rows)
    }
}

/// A row of which nothing is wanted.
#[derive(Deserialize)]
struct Nothing {}
