//! The record: one user's room and the table `deliveries`, in memory.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_domain::delivery::{DeliveryStatus, Via};
use dormouse_domain::id::NotificationId;
use dormouse_domain::inbox::{Entry, EntryKind};
use dormouse_domain::item::Item;
use dormouse_domain::notification::Notification;
use dormouse_domain::time::Timestamp;

/// Entries that are read at once. Small, so that pages have ends.
const PAGE: usize = 30;

#[derive(Debug)]
pub(crate) struct Unreachable;

#[derive(Clone, Copy)]
enum Row {
    Push(NotificationId),
    Retract(NotificationId),
    Retry(NotificationId),
}

/// A row of `deliveries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryRow {
    pub(crate) status: DeliveryStatus,
    attempts: u32,
    next_retry_at: Option<Timestamp>,
    via: Option<Via>,
    delivered_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
    archived_at: Option<Timestamp>,
    deleted_at: Option<Timestamp>,
}

impl DeliveryRow {
    pub(crate) fn of(item: &Item) -> Self {
        let (delivered_at, via) = item.delivery.columns().delivered.unzip();
        Self {
            status: item.delivery.status(),
            attempts: item.delivery.attempts(),
            next_retry_at: item.delivery.next_retry_at(),
            via,
            delivered_at,
            seen_at: item.seen_at,
            read_at: item.read_at,
            archived_at: item.archived_at(),
            deleted_at: item.deleted_at(),
        }
    }

    /// The same as far as the record is told of an attempt that is under way: not how many there were.
    pub(crate) fn under_way(&self) -> Self {
        Self {
            attempts: 0,
            ..self.clone()
        }
    }
}

pub(crate) struct Record {
    pub(crate) reachable: bool,
    notifications: BTreeMap<NotificationId, Notification>,
    retracted: BTreeSet<NotificationId>,
    room: Vec<Row>,
    pub(crate) deliveries: BTreeMap<NotificationId, DeliveryRow>,
}

impl Record {
    pub(crate) const fn new() -> Self {
        Self {
            reachable: true,
            notifications: BTreeMap::new(),
            retracted: BTreeSet::new(),
            room: Vec::new(),
            deliveries: BTreeMap::new(),
        }
    }

    /// The highest entry of the room.
    pub(crate) fn last(&self) -> u64 {
        u64::try_from(self.room.len()).unwrap()
    }

    pub(crate) fn push(&mut self, notification: Notification) -> Entry {
        self.deliveries.insert(
            notification.id,
            DeliveryRow {
                status: DeliveryStatus::Pending,
                attempts: 0,
                next_retry_at: None,
                via: None,
                delivered_at: None,
                seen_at: None,
                read_at: None,
                archived_at: None,
                deleted_at: None,
            },
        );
        self.room.push(Row::Push(notification.id));
        self.notifications.insert(notification.id, notification);
        self.entry(self.last())
    }

    /// `None` when it was taken back before.
    pub(crate) fn retract(&mut self, id: NotificationId) -> Option<Entry> {
        if !self.retracted.insert(id) {
            return None;
        }
        self.room.push(Row::Retract(id));
        Some(self.entry(self.last()))
    }

    /// `None` unless it failed for good.
    pub(crate) fn retry(&mut self, id: NotificationId) -> Option<Entry> {
        let row = self.deliveries.get_mut(&id)?;
        if row.status != DeliveryStatus::PermanentFailure {
            return None;
        }
        row.status = DeliveryStatus::Pending;
        row.next_retry_at = None;
        self.room.push(Row::Retry(id));
        Some(self.entry(self.last()))
    }

    pub(crate) fn failed_for_good(&self) -> Vec<NotificationId> {
        self.deliveries
            .iter()
            .filter(|(_, row)| row.status == DeliveryStatus::PermanentFailure)
            .map(|(id, _)| *id)
            .collect()
    }

    fn entry(&self, n: u64) -> Entry {
        let kind = match self.room[usize::try_from(n).unwrap() - 1] {
            Row::Push(id) if self.retracted.contains(&id) => EntryKind::Push(None),
            Row::Push(id) => EntryKind::Push(Some(Box::new(self.notifications[&id].clone()))),
            Row::Retract(id) => EntryKind::Retract(id),
            Row::Retry(id) => EntryKind::Retry(id),
        };
        Entry { n, kind }
    }

    /// Entries after `cursor`.
    pub(crate) fn pull(&self, cursor: u64) -> Result<Vec<Entry>, Unreachable> {
        if !self.reachable {
            return Err(Unreachable);
        }
        Ok((cursor + 1..=self.last())
            .take(PAGE)
            .map(|n| self.entry(n))
            .collect())
    }

    pub(crate) fn settle(&mut self, owed: &[(NotificationId, DeliveryRow)]) -> Result<(), Unreachable> {
        if !self.reachable {
            return Err(Unreachable);
        }
        for (id, row) in owed {
            self.deliveries.insert(*id, row.clone());
        }
        Ok(())
    }
}
