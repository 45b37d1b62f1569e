//! An inbox while a rule changes it: every way to change one is here, each with its number and its counts.

use std::rc::Rc;

use super::{Debt, Emission, Head, Listening, Outcome, Redelivered, Store, Surroundings};
use crate::change::{Change, ItemDeleted};
use crate::delivery::{AckMode, Delivery, Via};
use crate::event::ServerEvent;
use crate::item::{Folder, Item, Receipt, Removal};
use crate::notification::{Content, Notification};
use crate::recovery::Offset;
use crate::time::Timestamp;

/// An inbox while a rule changes it.
pub(super) struct Edit<'a> {
    before: &'a Head,
    pub(super) head: Head,
    now: Timestamp,
    pub(super) outcome: Outcome,
}

impl<'a> Edit<'a> {
    pub(super) fn of(head: &'a Head, now: Timestamp) -> Self {
        Self {
            before: head,
            head: head.clone(),
            now,
            outcome: Outcome::default(),
        }
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.head.seq = self.head.seq.saturating_add(1);
        self.head.seq
    }

    pub(super) fn arrive(
        &mut self,
        notification: Notification,
        collapsing: Vec<Item>,
        around: &Surroundings<'_>,
    ) {
        let content = &notification.content;
        if content.expires_at.is_some_and(|at| at <= self.now) {
            return;
        }
        let recipient_id = notification.id.recipient(&self.head.user);
        if self.head.preferences.mutes(content.category.as_deref()) {
            self.suppress(notification);
            return;
        }
        for item in collapsing {
            self.remove(&item, Removal::Collapsed);
        }
        self.head.expires_at = earliest(self.head.expires_at, notification.content.expires_at);
        let seq = self.next_seq();
        self.head.unread = self.head.unread.saturating_add(1);
        self.head.unseen = self.head.unseen.saturating_add(1);
        let delivery = Delivery::NEW.sent(around.policy, around.listeners, self.now);
        self.outcome.tally.note(Delivery::NEW, delivery);
        let online = around.listeners.total() > 0;
        let item = Rc::new(Item {
            seq,
            recipient_id,
            notification,
            folder: Folder::Inbox,
            read_at: None,
            seen_at: None,
            delivery,
            receipt: Receipt {
                recipient_id,
                seq,
                delivery_status: delivery.status(),
                online,
            },
        });
        // The record begins with "pending"; that an attempt is under way is no news to it.
        let debt = if delivery.status() == Delivery::NEW.status() {
            Debt::None
        } else {
            Debt::Owed
        };
        self.outcome.stores.push(Store::Insert(Rc::clone(&item), debt));
        if online {
            self.emit_item(item, Redelivered::No, Offset(seq), Listening::All);
        }
    }

    fn suppress(&mut self, mut notification: Notification) {
        self.head.suppressed = self.head.suppressed.saturating_add(1);
        let recipient_id = notification.id.recipient(&self.head.user);
        notification.content = Content::default();
        let delivery = Delivery::Suppressed;
        let item = Item {
            seq: self.head.suppressed,
            recipient_id,
            notification,
            folder: Folder::Suppressed,
            read_at: None,
            seen_at: None,
            delivery,
            receipt: Receipt {
                recipient_id,
                seq: self.head.seq,
                delivery_status: delivery.status(),
                online: false,
            },
        };
        self.outcome.stores.push(Store::Insert(Rc::new(item), Debt::Owed));
    }

    pub(super) fn requeue(&mut self, mut item: Item, around: &Surroundings<'_>) {
        let before = item.clone();
        item.delivery = item.delivery.requeued();
        if item.delivery != before.delivery {
            self.try_again(&before, item, around);
        }
    }

    /// Makes the attempt that is due, if one is and somebody is there who has to hear of it again. They
    /// know of the item: it brings them no further.
    pub(super) fn try_again(&mut self, before: &Item, mut item: Item, around: &Surroundings<'_>) {
        let again = around.listeners.for_retry(around.policy.mode);
        if !item.delivery.is_due(self.now) || again.total() == 0 {
            self.change(before, item);
            return;
        }
        item.delivery = item.delivery.sent(around.policy, again, self.now);
        let item = self.change(before, item);
        let to = match around.policy.mode {
            AckMode::Auto => Listening::Acknowledging,
            AckMode::Required | AckMode::Off => Listening::All,
        };
        let offset = Offset(self.head.seq);
        self.emit_item(item, redelivered(before.delivery), offset, to);
    }

    /// Takes an item away; gives the change of it.
    pub(super) fn remove(&mut self, item: &Item, removal: Removal) -> Change {
        let mut removed = item.clone();
        removed.folder = Folder::Removed(removal, self.now);
        removed.notification.content = Content::default();
        removed.delivery = match removal {
            Removal::Deleted => item.delivery.confirmed(Via::Read, self.now),
            Removal::Expired => item.delivery.expired(),
            Removal::Retracted | Removal::Collapsed => item.delivery.canceled(),
        };
        let seq = self.next_seq();
        let removed = self.change(item, removed);
        let change = Change::Deleted(ItemDeleted::of(&removed, removal, self.head.unread, seq));
        self.tell(change);
        change
    }

    /// Stores what became of an item and counts it anew.
    pub(super) fn change(&mut self, before: &Item, after: Item) -> Rc<Item> {
        let recount = |count: u64, was: bool, is: bool| match (was, is) {
            (true, false) => count.saturating_sub(1),
            (false, true) => count.saturating_add(1),
            (true, true) | (false, false) => count,
        };
        self.head.unread = recount(self.head.unread, before.is_unread(), after.is_unread());
        self.head.unseen = recount(self.head.unseen, before.is_unseen(), after.is_unseen());
        self.outcome.tally.note(before.delivery, after.delivery);
        let debt = if before.recorded() == after.recorded() {
            Debt::None
        } else {
            Debt::Owed
        };
        let same = debt == Debt::None && before.delivery == after.delivery;
        let after = Rc::new(after);
        if before.folder != after.folder {
            self.outcome.stores.push(Store::Move(Rc::clone(&after)));
        }
        if !same {
            self.outcome.stores.push(Store::State(Rc::clone(&after), debt));
        }
        after
    }

    /// Counts an attempt to deliver an item to the only listener.
    pub(super) fn send(&mut self, mut item: Item, around: &Surroundings<'_>) -> Rc<Item> {
        let before = item.clone();
        item.delivery = item.delivery.sent(around.policy, around.listeners, self.now);
        self.change(&before, item)
    }

    /// Logs a change and tells everybody.
    pub(super) fn tell(&mut self, change: Change) {
        self.outcome.stores.push(Store::Log(change));
        self.emit_change(change);
    }

    pub(super) fn emit_change(&mut self, change: Change) {
        self.emit(ServerEvent::Changed(change), Offset(change.seq()), Listening::All);
    }

    pub(super) fn emit_item(
        &mut self,
        item: Rc<Item>,
        redelivered: Redelivered,
        offset: Offset,
        to: Listening,
    ) {
        let unread = self.head.unread;
        self.emit(
            ServerEvent::NotificationNew {
                item,
                unread,
                redelivered,
            },
            offset,
            to,
        );
    }

    pub(super) fn emit_counts(&mut self) {
        let counts = self.head.counts();
        self.emit(
            ServerEvent::UnreadCount(counts),
            Offset(counts.seq),
            Listening::All,
        );
    }

    pub(super) fn emit(&mut self, event: ServerEvent, offset: Offset, to: Listening) {
        self.outcome.emissions.push(Emission { event, offset, to });
    }

    pub(super) fn finish(mut self) -> Outcome {
        if self.head.seq != self.before.seq && !self.outcome.emissions.is_empty() {
            self.emit_counts();
        }
        if self.head != *self.before {
            self.outcome.stores.push(Store::Head(self.head));
        }
        self.outcome
    }
}

/// The earlier of two moments that may never come.
fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

pub(super) fn redelivered(before: Delivery) -> Redelivered {
    if before.attempts() > 0 {
        Redelivered::Yes
    } else {
        Redelivered::No
    }
}
