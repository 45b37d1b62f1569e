//! A hub's storage, in memory: what each [`Store`] does to the rows, as the hub's SQL does it. Its own
//! keys and the numbers of changes are checked on the way.

use std::collections::BTreeMap;

use dormouse_domain::change::Change;
use dormouse_domain::delivery::{Delivery, DeliveryColumns, DeliveryStatus, Via};
use dormouse_domain::id::{NotificationId, RecipientId};
use dormouse_domain::inbox::{Affected, Debt, Head, Store};
use dormouse_domain::item::{Folder, Item, Receipt};
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::time::Timestamp;

use crate::client::{Known, List};
use crate::record::DeliveryRow;

const LOG_SLOTS: u64 = 128;

struct Row {
    folder: Folder,
    seq: u64,
    notification: Notification,
    read_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    delivery: DeliveryColumns,
    expires_at: Option<Timestamp>,
    collapse_key: Option<String>,
    receipt: Receipt,
}

impl Row {
    fn item(&self, recipient_id: RecipientId) -> Item {
        Item {
            seq: self.seq,
            recipient_id,
            notification: self.notification.clone(),
            folder: self.folder,
            read_at: self.read_at,
            seen_at: self.seen_at,
            delivery: self.delivery.into_delivery().unwrap(),
            receipt: self.receipt,
        }
    }

    fn is_in_inbox(&self) -> bool {
        self.folder == Folder::Inbox
    }
}

struct Unsettled {
    revision: u64,
    owed: bool,
    due_at: Option<Timestamp>,
}

/// What is owed to the record, and in which revision it was read.
pub(crate) struct Outbox {
    pub(crate) owed: Vec<(NotificationId, DeliveryRow)>,
    revisions: Vec<(RecipientId, u64)>,
}

pub(crate) struct Storage {
    head: Head,
    rows: BTreeMap<RecipientId, Row>,
    places: BTreeMap<(u8, u64), RecipientId>,
    unsettled: BTreeMap<RecipientId, Unsettled>,
    log: BTreeMap<u64, (u64, String)>,
    /// The number of the latest change that was stored.
    changes: u64,
}

const fn place(folder: Folder, seq: u64) -> (u8, u64) {
    let folder = match folder {
        Folder::Inbox => 0,
        Folder::Archived(_) => 1,
        Folder::Removed(..) => 2,
        Folder::Suppressed => 3,
    };
    (folder, seq)
}

impl Storage {
    pub(crate) const fn new(head: Head) -> Self {
        Self {
            head,
            rows: BTreeMap::new(),
            places: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            log: BTreeMap::new(),
            changes: 0,
        }
    }

    // ---- writing ----

    pub(crate) fn apply(&mut self, stores: Vec<Store>) {
        for store in stores {
            match store {
                Store::Head(head) => {
                    assert_eq!(head.seq, self.changes, "every number is one stored change");
                    self.head = head;
                }
                Store::Insert(item, debt) => self.insert(&item, debt),
                Store::Move(item) => self.relocate(&item),
                Store::State(item, debt) => self.write_state(&item, debt),
                Store::Log(change) => {
                    self.number(change.seq());
                    let json = serde_json::to_string(&change).unwrap();
                    self.log.insert(change.seq() % LOG_SLOTS, (change.seq(), json));
                }
                Store::ReadAll { up_to, at } => self.read_all(up_to, at),
                Store::Seen { above, up_to, at } => self.see(above, up_to, at),
            }
        }
        assert_eq!(
            self.head.seq, self.changes,
            "the head is stored with what it counts"
        );
    }

    fn number(&mut self, seq: u64) {
        self.changes += 1;
        assert_eq!(seq, self.changes, "numbers have no gap and none is used twice");
    }

    fn insert(&mut self, item: &Item, debt: Debt) {
        if item.folder != Folder::Suppressed {
            self.number(item.seq);
        }
        let content = &item.notification.content;
        let row = Row {
            folder: item.folder,
            seq: item.seq,
            notification: item.notification.clone(),
            read_at: item.read_at,
            seen_at: item.seen_at,
            delivery: item.delivery.columns(),
            expires_at: content.expires_at,
            collapse_key: content.collapse_key.clone(),
            receipt: item.receipt,
        };
        let taken = self
            .places
            .insert(place(item.folder, item.seq), item.recipient_id);
        assert_eq!(taken, None, "a place holds one item");
        let known = self.rows.insert(item.recipient_id, row);
        assert!(known.is_none(), "a notification is one item");
        self.keep_track(item, debt);
    }

    fn relocate(&mut self, item: &Item) {
        let row = self.rows.get_mut(&item.recipient_id).unwrap();
        assert_ne!(row.folder, item.folder, "an item moves to another folder");
        self.places.remove(&place(row.folder, row.seq));
        let taken = self
            .places
            .insert(place(item.folder, item.seq), item.recipient_id);
        assert_eq!(taken, None, "a place holds one item");
        row.folder = item.folder;
        if !item.is_listed() {
            row.notification.content = item.notification.content.clone();
            row.expires_at = None;
            row.collapse_key = None;
        }
    }

    fn write_state(&mut self, item: &Item, debt: Debt) {
        let row = self.rows.get_mut(&item.recipient_id).unwrap();
        assert_eq!(
            (row.folder, row.seq),
            (item.folder, item.seq),
            "an item that is written is where it was"
        );
        row.read_at = item.read_at;
        row.seen_at = item.seen_at;
        row.delivery = item.delivery.columns();
        self.keep_track(item, debt);
    }

    fn keep_track(&mut self, item: &Item, debt: Debt) {
        let due_at = item.delivery.wakes_at();
        if debt == Debt::None && due_at.is_none() {
            return;
        }
        self.touch(item.recipient_id, debt).due_at = due_at;
    }

    fn touch(&mut self, id: RecipientId, debt: Debt) -> &mut Unsettled {
        let row = self.unsettled.entry(id).or_insert(Unsettled {
            revision: 0,
            owed: false,
            due_at: self.rows[&id].delivery.due_at,
        });
        row.revision += 1;
        row.owed |= debt == Debt::Owed;
        row
    }

    fn read_all(&mut self, up_to: u64, at: Timestamp) {
        let unread = |row: &Row| row.is_in_inbox() && row.read_at.is_none() && row.seq <= up_to;
        for id in self.ids(unread) {
            self.touch(id, Debt::Owed).due_at = None;
            let row = self.rows.get_mut(&id).unwrap();
            row.read_at = Some(at);
            row.seen_at = row.seen_at.or(Some(at));
            row.delivery.retries = 0;
            row.delivery.due_at = None;
            let confirmable = [
                DeliveryStatus::Pending,
                DeliveryStatus::Failed,
                DeliveryStatus::PermanentFailure,
            ];
            if confirmable.contains(&row.delivery.status) {
                row.delivery.delivered = Some((at, Via::Read));
                row.delivery.status = DeliveryStatus::Delivered;
            }
        }
    }

    fn see(&mut self, above: u64, up_to: u64, at: Timestamp) {
        let unseen =
            |row: &Row| row.is_in_inbox() && row.seen_at.is_none() && row.seq > above && row.seq <= up_to;
        for id in self.ids(unseen) {
            self.touch(id, Debt::Owed);
            self.rows.get_mut(&id).unwrap().seen_at = Some(at);
        }
    }

    /// Strikes off what was written to the record, unless it has changed since it was read.
    pub(crate) fn strike_off(&mut self, outbox: &Outbox) {
        for (id, revision) in &outbox.revisions {
            let Some(row) = self.unsettled.get_mut(id) else {
                continue;
            };
            if row.revision == *revision {
                row.owed = false;
                if row.due_at.is_none() {
                    self.unsettled.remove(id);
                }
            }
        }
    }

    // ---- reading ----

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    fn ids(&self, wanted: impl Fn(&Row) -> bool) -> Vec<RecipientId> {
        self.rows
            .iter()
            .filter(|(_, row)| wanted(row))
            .map(|(id, _)| *id)
            .collect()
    }

    /// In the order of their numbers.
    fn items(&self, wanted: impl Fn(&Row) -> bool) -> Vec<Item> {
        let mut items: Vec<Item> = self
            .rows
            .iter()
            .filter(|(_, row)| wanted(row))
            .map(|(id, row)| row.item(*id))
            .collect();
        items.sort_by_key(|item| item.seq);
        items
    }

    pub(crate) fn item(&self, id: RecipientId) -> Option<Item> {
        self.rows.get(&id).map(|row| row.item(id))
    }

    /// Without what they say, as acknowledgements read them.
    pub(crate) fn bare_items(&self, ids: &[RecipientId]) -> Vec<Item> {
        let mut items: Vec<Item> = ids.iter().filter_map(|id| self.item(*id)).collect();
        items.dedup_by_key(|item| item.recipient_id);
        for item in &mut items {
            item.notification.content = Content::default();
        }
        items
    }

    pub(crate) fn everything(&self) -> Vec<Item> {
        self.items(|_| true)
    }

    /// What a user can list.
    pub(crate) fn list(&self) -> List {
        let mut list = List::new();
        for row in self.rows.values() {
            let archived_at = match row.folder {
                Folder::Inbox => None,
                Folder::Archived(at) => Some(at),
                Folder::Removed(..) | Folder::Suppressed => continue,
            };
            let known = Known {
                seq: row.seq,
                read_at: row.read_at,
                archived_at,
            };
            list.insert(row.notification.id, known);
        }
        list
    }

    /// The inbox below `before`, newest first.
    pub(crate) fn page(&self, before: u64, limit: usize) -> Vec<Item> {
        let mut items = self.items(|row| row.is_in_inbox() && row.seq < before);
        items.reverse();
        items.truncate(limit);
        items
    }

    pub(crate) fn items_after(&self, seq: u64) -> Vec<Item> {
        self.items(|row| row.seq > seq && !matches!(row.folder, Folder::Removed(..) | Folder::Suppressed))
    }

    pub(crate) fn changes_after(&self, seq: u64) -> Vec<Change> {
        let mut logged: Vec<&(u64, String)> = self.log.values().filter(|(n, _)| *n > seq).collect();
        logged.sort();
        logged
            .into_iter()
            .map(|(_, json)| serde_json::from_str(json).unwrap())
            .collect()
    }

    /// Newest first.
    pub(crate) fn waiting(&self, limit: usize) -> Vec<Item> {
        let mut items = self.items(|row| {
            [DeliveryStatus::Pending, DeliveryStatus::Failed].contains(&row.delivery.status)
                && row.delivery.due_at.is_none()
        });
        items.sort_by_key(|item| std::cmp::Reverse(place(item.folder, item.seq)));
        items.truncate(limit);
        items
    }

    pub(crate) fn due(&self, now: Timestamp) -> Vec<Item> {
        let mut items: Vec<Item> = self
            .unsettled
            .iter()
            .filter(|(_, row)| row.due_at.is_some_and(|at| at <= now))
            .map(|(id, _)| self.rows[id].item(*id))
            .collect();
        items.sort_by_key(|item| item.seq);
        items
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.unsettled.values().filter_map(|row| row.due_at).min()
    }

    pub(crate) fn expired(&self, now: Timestamp) -> Vec<Item> {
        let mut items = self.items(|row| row.expires_at.is_some_and(|at| at <= now));
        items.sort_by_key(|item| item.notification.content.expires_at);
        items
    }

    pub(crate) fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let expiries = self.rows.values().filter_map(|row| row.expires_at);
        expiries.filter(|at| *at > now).min()
    }

    pub(crate) fn collapsing(&self, key: &str) -> Vec<Item> {
        let mut items = self.items(|row| row.collapse_key.as_deref() == Some(key));
        items.retain(Item::is_unread);
        items
    }

    pub(crate) fn unread_up_to(&self, seq: u64) -> Affected {
        let unread = self.items(|row| row.is_in_inbox() && row.read_at.is_none() && row.seq <= seq);
        let unseen = unread.iter().filter(|item| item.seen_at.is_none()).count();
        Affected {
            unread: u64::try_from(unread.len()).unwrap(),
            unseen: u64::try_from(unseen).unwrap(),
        }
    }

    pub(crate) fn unseen_between(&self, above: u64, up_to: u64) -> u64 {
        let unseen =
            self.ids(|row| row.is_in_inbox() && row.seen_at.is_none() && row.seq > above && row.seq <= up_to);
        u64::try_from(unseen.len()).unwrap()
    }

    pub(crate) fn outbox(&self) -> Outbox {
        let mut outbox = Outbox {
            owed: Vec::new(),
            revisions: Vec::new(),
        };
        for (id, row) in self.unsettled.iter().filter(|(_, row)| row.owed) {
            let item = self.rows[id].item(*id);
            outbox.owed.push((item.notification.id, DeliveryRow::of(&item)));
            outbox.revisions.push((*id, row.revision));
        }
        outbox
    }

    // ---- what always holds ----

    pub(crate) fn check(&self) {
        let count = |wanted: fn(&Row) -> bool| {
            u64::try_from(self.rows.values().filter(|row| wanted(row)).count()).unwrap()
        };
        assert_eq!(
            self.head.unread,
            count(|row| row.is_in_inbox() && row.read_at.is_none()),
            "unread"
        );
        assert_eq!(
            self.head.unseen,
            count(|row| row.is_in_inbox() && row.seen_at.is_none()),
            "unseen"
        );
        assert_eq!(
            self.head.suppressed,
            count(|row| row.folder == Folder::Suppressed),
            "suppressed"
        );
        let seen_up_to = self.head.seen_up_to;
        assert!(
            self.ids(|row| row.is_in_inbox() && row.seen_at.is_none() && row.seq <= seen_up_to)
                .is_empty(),
            "all up to {seen_up_to} is seen"
        );
        for (id, row) in &self.rows {
            let delivery = row.delivery.into_delivery().unwrap();
            let tracked = self.unsettled.get(id).and_then(|row| row.due_at);
            assert_eq!(
                tracked,
                delivery.wakes_at(),
                "the clock is asked about {delivery:?}"
            );
            let settled = !matches!(
                delivery,
                Delivery::Pending(_)
                    | Delivery::Sent { .. }
                    | Delivery::Failed { .. }
                    | Delivery::PermanentFailure(_)
            );
            let over = matches!(row.folder, Folder::Removed(..) | Folder::Suppressed);
            assert!(!over || settled, "what is gone is not delivered: {delivery:?}");
            assert!(
                row.read_at.is_none() || settled,
                "what is read is delivered: {delivery:?}"
            );
            assert!(
                row.expires_at
                    .is_none_or(|at| self.head.expires_at.is_some_and(|first| first <= at)),
                "nothing expires unnoticed"
            );
        }
    }
}
