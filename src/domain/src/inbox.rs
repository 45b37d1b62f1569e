//! One user's inbox: how entries of their room's log, their own commands and the clock change it
//! (DESIGN 5, 6, 7).
//!
//! Every visible change takes the next `seq`; items, `seq` and counts change together. A rule here
//! takes what is stored and gives an [`Outcome`]: what to store and what to send. The hub stores
//! first, in one transaction, then sends.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::change::{Change, ItemChanged, ItemDeleted, ReadAll, Seen};
use crate::command::Mark;
use crate::delivery::{AckMode, Delivery, DeliveryPolicy, Listeners, Via};
use crate::event::{MAX_BATCH_BYTES, ServerEvent};
use crate::id::{NotificationId, UserId};
use crate::item::{Folder, Item, Receipt, Removal};
use crate::notification::Notification;
use crate::preferences::Preferences;
use crate::recovery::Offset;
use crate::time::Timestamp;

/// Most items in one `notification:batch` (DESIGN 5).
pub const MAX_BATCH: usize = 100;

/// What the hub knows about the inbox as a whole: one stored row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose inbox it is.
    pub user: UserId,
    /// The number of the latest visible change.
    pub seq: u64,
    /// Items in the inbox that are not read.
    pub unread: u64,
    /// Items in the inbox that are not seen.
    pub unseen: u64,
    /// The latest entry of the user's own room that was applied.
    pub cursor: u64,
    /// Since when at least one socket is open.
    pub online_since: Option<Timestamp>,
    /// When a socket was last known to be open.
    pub last_seen_at: Option<Timestamp>,
    /// When to try to catch up with the record again, after it could not be read.
    pub catch_up_at: Option<Timestamp>,
    /// Up to and including this item, everything in the inbox was seen.
    pub seen_up_to: u64,
    /// Notifications that never came because their category was muted.
    pub suppressed: u64,
    /// No item expires before this; `None` when none expires.
    pub expires_at: Option<Timestamp>,
    /// What the user does not want to hear of.
    pub preferences: Preferences,
    /// Whether the user was erased.
    pub erasure: Option<Erasure>,
}

/// The user was erased: what was before is gone or going, and tokens from before are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// Rows are still being removed.
    Running(Timestamp),
    /// Nothing is left.
    Done(Timestamp),
}

impl Erasure {
    /// When the user was erased.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        match self {
            Self::Running(at) | Self::Done(at) => at,
        }
    }
}

impl Head {
    /// An inbox nothing has happened to.
    #[must_use]
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            seq: 0,
            unread: 0,
            unseen: 0,
            cursor: 0,
            online_since: None,
            last_seen_at: None,
            catch_up_at: None,
            seen_up_to: 0,
            suppressed: 0,
            expires_at: None,
            preferences: Preferences::default(),
            erasure: None,
        }
    }

    /// Where entry `n` of the user's room stands against what was applied.
    #[must_use]
    pub const fn place(&self, n: u64) -> Place {
        if n <= self.cursor {
            Place::Applied
        } else if n == self.cursor.saturating_add(1) {
            Place::Next
        } else {
            Place::Gap
        }
    }

    /// The counts, as every client may see them.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        Counts {
            unread: self.unread,
            unseen: self.unseen,
            seq: self.seq,
        }
    }

    /// Whether a token that was issued then may speak for the user. After an erasure only those issued
    /// later may; a token that does not say when it was issued may not.
    #[must_use]
    pub fn accepts_token(&self, issued_at: Option<Timestamp>) -> bool {
        match self.erasure {
            None => true,
            Some(erasure) => issued_at.is_some_and(|issued_at| issued_at > erasure.at()),
        }
    }
}

/// Where an entry of a room's log stands against a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The next one: apply it.
    Next,
    /// Applied before: a duplicate.
    Applied,
    /// Entries before it are missing: read them first.
    Gap,
}

/// Absolute counts and the change they are of. A client ignores counts of a lower `seq` than it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items in the inbox that are not read.
    pub unread: u64,
    /// Items in the inbox that are not seen.
    pub unseen: u64,
    /// The latest change.
    pub seq: u64,
}

/// One entry of a room's log with what it refers to.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the room: 1, 2, 3...
    pub n: u64,
    /// What it says.
    pub kind: EntryKind,
}

/// What an entry of a room's log says.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// A notification was pushed; `None` when retention or its pusher has taken it from the record.
    Push(Option<Box<Notification>>),
    /// The notification was taken back.
    Retract(NotificationId),
    /// The notification, which failed for good, is to be delivered again.
    Retry(NotificationId),
    /// The user was erased, then.
    Erase(Timestamp),
}

impl EntryKind {
    /// The notification it is about.
    #[must_use]
    pub fn notification_id(&self) -> Option<NotificationId> {
        match self {
            Self::Push(notification) => notification.as_ref().map(|notification| notification.id),
            Self::Retract(id) | Self::Retry(id) => Some(*id),
            Self::Erase(_) => None,
        }
    }
}

/// What to store, in one transaction with the rest of the list.
#[derive(Clone, Debug)]
pub enum Store {
    /// Write the head row.
    Head(Head),
    /// Add an item.
    Insert(Rc<Item>, Debt),
    /// Write an item's state.
    State(Rc<Item>, Debt),
    /// Log a change for those who missed it.
    Log(Change),
    /// Mark everything unread in the inbox up to and including this item as read.
    ReadAll {
        /// The item.
        up_to: u64,
        /// When.
        at: Timestamp,
    },
    /// Mark everything unseen in the inbox above one item, up to and including the other, as seen.
    Seen {
        /// The item above which.
        above: u64,
        /// The item up to which.
        up_to: u64,
        /// When.
        at: Timestamp,
    },
}

/// Whether the record is owed an item's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debt {
    /// It knows what it has to.
    None,
    /// It is.
    Owed,
}

/// What a rule makes of an inbox.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Store these, in one transaction.
    pub stores: Vec<Store>,
    /// Then send these, in order.
    pub emissions: Vec<Emission>,
}

/// An event for a user's sockets.
#[derive(Clone, Debug)]
pub struct Emission {
    /// The event.
    pub event: ServerEvent,
    /// How far a client has come with it.
    pub offset: Offset,
    /// Who gets it.
    pub to: Listening,
}

/// Which of a user's sockets get an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// All.
    All,
    /// Those whose session acknowledges.
    Acknowledging,
}

/// What an inbox is held against when something comes in.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// When an item counts as delivered.
    pub policy: &'a DeliveryPolicy,
    /// The open sockets.
    pub listeners: Listeners,
    /// The present.
    pub now: Timestamp,
}

/// What the inbox holds that an entry is about.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The notification itself, when it is there already, in whatever folder.
    pub item: Option<Item>,
    /// Unread items with the same `collapse_key`.
    pub collapsing: Vec<Item>,
}

/// Applies an entry of the user's room to the stored `head`. The caller has checked that nothing
/// before it is missing.
#[must_use]
pub fn apply(head: &Head, entry: Entry, known: Known, around: &Surroundings<'_>) -> Outcome {
    let mut edit = Edit::of(head, around.now);
    edit.head.cursor = entry.n;
    match (entry.kind, known.item) {
        (EntryKind::Push(Some(notification)), None) => {
            edit.arrive(*notification, known.collapsing, around);
        }
        (EntryKind::Retract(_), Some(item)) if item.is_listed() => {
            edit.remove(item, Removal::Retracted);
        }
        (EntryKind::Retry(_), Some(item)) if item.is_listed() => edit.requeue(item, around),
        (EntryKind::Erase(at), _) => edit.head.erasure = Some(Erasure::Running(at)),
        // Known by another room, taken from the record, or gone from the inbox: only the cursor moves.
        (EntryKind::Push(_) | EntryKind::Retract(_) | EntryKind::Retry(_), _) => {}
    }
    edit.finish()
}

/// What the clock does: `due` are items whose delivery it moves on, `expired` those whose time is
/// over. `next_expiry` is when the next item after those expires.
#[must_use]
pub fn on_timer(
    head: &Head,
    due: Vec<Item>,
    expired: Vec<Item>,
    next_expiry: Option<Timestamp>,
    around: &Surroundings<'_>,
) -> Outcome {
    let mut edit = Edit::of(head, around.now);
    edit.head.expires_at = next_expiry;
    for item in expired {
        edit.remove(item, Removal::Expired);
    }
    for mut item in due {
        let before = item.clone();
        item.delivery = item
            .delivery
            .on_timer(around.policy, around.listeners, around.now);
        edit.try_again(&before, item, around);
    }
    edit.finish()
}

/// What a user does with one of their items that is listed, or deletes again what is gone. Gives what
/// they are answered, whether or not anything changed: every mark can be repeated.
#[must_use]
pub fn mark(head: &Head, item: Item, mark: Mark, now: Timestamp) -> (Change, Outcome) {
    let mut edit = Edit::of(head, now);
    let mut changed = item.clone();
    match mark {
        Mark::Read => changed.read_at = item.read_at.or(Some(now)),
        Mark::Unread => changed.read_at = None,
        Mark::Archive => {
            if item.folder == Folder::Inbox {
                changed.folder = Folder::Archived(now);
            }
        }
        Mark::Unarchive => changed.folder = Folder::Inbox,
        Mark::Delete => {
            let change = if item.is_listed() {
                edit.remove(item, Removal::Deleted)
            } else {
                Change::Deleted(ItemDeleted::of(&item, Removal::Deleted, head.unread, head.seq))
            };
            return (change, edit.finish());
        }
    }
    let happens = changed.read_at != item.read_at || changed.folder != item.folder;
    if happens {
        changed.seen_at = item.seen_at.or(Some(now));
        changed.delivery = item.delivery.confirmed(Via::Read, now);
        let seq = edit.next_seq();
        let changed = edit.change(&item, changed);
        let change = marked(mark, ItemChanged::of(&changed, edit.head.unread, seq));
        edit.tell(change);
        (change, edit.finish())
    } else {
        let change = marked(mark, ItemChanged::of(&item, head.unread, head.seq));
        (change, edit.finish())
    }
}

const fn marked(mark: Mark, item: ItemChanged) -> Change {
    match mark {
        Mark::Unread => Change::Unread(item),
        Mark::Archive => Change::Archived(item),
        Mark::Unarchive => Change::Unarchived(item),
        Mark::Read | Mark::Delete => Change::Read(item),
    }
}

/// How many items something bears on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Unread ones.
    pub unread: u64,
    /// Unseen ones.
    pub unseen: u64,
}

/// Reads everything in the inbox up to and including `up_to`; `affected` is what is unread there, and
/// how much of that is unseen.
#[must_use]
pub fn read_all(head: &Head, up_to: u64, affected: Affected, now: Timestamp) -> (Change, Outcome) {
    let mut edit = Edit::of(head, now);
    if affected.unread > 0 {
        edit.next_seq();
        edit.head.unread = edit.head.unread.saturating_sub(affected.unread);
        edit.head.unseen = edit.head.unseen.saturating_sub(affected.unseen);
        edit.outcome.stores.push(Store::ReadAll { up_to, at: now });
    }
    let change = Change::ReadAll(ReadAll {
        before_seq: up_to,
        marked_count: affected.unread,
        read_at: now,
        unread: edit.head.unread,
        seq: edit.head.seq,
    });
    if affected.unread > 0 {
        edit.tell(change);
    }
    (change, edit.finish())
}

/// Sees everything in the inbox up to and including `up_to`; `unseen` is how much of that is new to
/// the user.
#[must_use]
pub fn see(head: &Head, up_to: u64, unseen: u64, now: Timestamp) -> (Change, Outcome) {
    let mut edit = Edit::of(head, now);
    let up_to = up_to.min(head.seq);
    if unseen > 0 {
        edit.next_seq();
        edit.head.unseen = edit.head.unseen.saturating_sub(unseen);
        edit.head.seen_up_to = edit.head.seen_up_to.max(up_to);
        edit.outcome.stores.push(Store::Seen {
            above: head.seen_up_to,
            up_to,
            at: now,
        });
    }
    let change = Change::Seen(Seen {
        up_to_seq: up_to,
        unseen: edit.head.unseen,
        seq: edit.head.seq,
    });
    if unseen > 0 {
        edit.tell(change);
    }
    (change, edit.finish())
}

/// Notes that a device confirmed these items, by acknowledging or by fetching them.
#[must_use]
pub fn confirm(head: &Head, items: Vec<Item>, via: Via, now: Timestamp) -> Outcome {
    let mut edit = Edit::of(head, now);
    for mut item in items {
        let before = item.clone();
        item.delivery = item.delivery.confirmed(via, now);
        edit.change(&before, item);
    }
    edit.finish()
}

/// Brings one client, the only listener of `around`, `items` and `changes`, both in the order they
/// came. Each brings it as far as itself; what came before `known` brings it no further than that.
#[must_use]
pub fn replay(
    head: &Head,
    known: Offset,
    items: Vec<Item>,
    changes: Vec<Change>,
    around: &Surroundings<'_>,
) -> Outcome {
    let mut edit = Edit::of(head, around.now);
    let mut changes = changes.into_iter().peekable();
    for item in items {
        while let Some(change) = changes.next_if(|change| change.seq() < item.seq) {
            edit.emit_change(change);
        }
        let before = item.delivery;
        let offset = known.max(Offset(item.seq));
        let item = edit.send(item, around);
        edit.emit_item(item, redelivered(before), offset, Listening::All);
    }
    for change in changes {
        edit.emit_change(change);
    }
    edit.emit_counts();
    edit.finish()
}

/// Sends the newest of `items`, which are newest first, as one `notification:batch`. `has_more` when
/// there are more than these; so there are when they do not fit.
#[must_use]
pub fn batch(head: &Head, items: Vec<Item>, has_more: HasMore, around: &Surroundings<'_>) -> Outcome {
    let mut edit = Edit::of(head, around.now);
    let total = items.len();
    let mut room = MAX_BATCH_BYTES;
    let fitting: Vec<Item> = items
        .into_iter()
        .take(MAX_BATCH)
        .take_while(|item| match room.checked_sub(size_bytes(item)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        })
        .collect();
    let has_more = if fitting.len() < total {
        HasMore::Yes
    } else {
        has_more
    };
    let items = fitting.into_iter().map(|item| edit.send(item, around)).collect();
    let counts = head.counts();
    edit.emit(
        ServerEvent::NotificationBatch {
            items,
            counts,
            has_more,
        },
        Offset(head.seq),
        Listening::All,
    );
    edit.emit_counts();
    edit.finish()
}

/// How much of a batch an item takes.
fn size_bytes(item: &Item) -> usize {
    serde_json::to_string(&item.listed()).map_or(MAX_BATCH_BYTES, |json| json.len())
}

/// Puts many arrivals that came at once into batches: everything else is told first. Nothing is done
/// when there are not more than `threshold`.
#[must_use]
pub fn gather(head: &Head, emissions: Vec<Emission>, threshold: usize) -> Vec<Emission> {
    let arrivals = emissions
        .iter()
        .filter(|emission| matches!(emission.event, ServerEvent::NotificationNew { .. }))
        .count();
    if arrivals <= threshold {
        return emissions;
    }
    let mut items: Vec<Rc<Item>> = Vec::with_capacity(arrivals);
    let mut gathered = Vec::new();
    for emission in emissions {
        match emission.event {
            ServerEvent::NotificationNew { item, .. } => items.push(item),
            ServerEvent::UnreadCount(_) => {}
            // What has come and gone is not told of at all.
            ServerEvent::Changed(Change::Deleted(deleted))
                if items.iter().any(|item| item.recipient_id == deleted.recipient_id) =>
            {
                items.retain(|item| item.recipient_id != deleted.recipient_id);
            }
            event @ (ServerEvent::Authenticated { .. }
            | ServerEvent::NotificationBatch { .. }
            | ServerEvent::Changed(_)
            | ServerEvent::Pong
            | ServerEvent::AuthError { .. }
            | ServerEvent::Error(_)) => gathered.push(Emission { event, ..emission }),
        }
    }
    items.reverse();
    let counts = head.counts();
    let mut room = MAX_BATCH_BYTES;
    let mut batch: Vec<Rc<Item>> = Vec::new();
    let mut batches = Vec::new();
    for item in items {
        let size = size_bytes(&item);
        if batch.len() == MAX_BATCH || (size > room && !batch.is_empty()) {
            batches.push(std::mem::take(&mut batch));
            room = MAX_BATCH_BYTES;
        }
        room = room.saturating_sub(size);
        batch.push(item);
    }
    batches.push(batch);
    for items in batches {
        gathered.push(Emission {
            event: ServerEvent::NotificationBatch {
                items,
                counts,
                has_more: HasMore::No,
            },
            offset: Offset(head.seq),
            to: Listening::All,
        });
    }
    gathered.push(Emission {
        event: ServerEvent::UnreadCount(counts),
        offset: Offset(head.seq),
        to: Listening::All,
    });
    gathered
}

/// Whether a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasMore {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Whether an item was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redelivered {
    /// It was.
    Yes,
    /// It was not.
    No,
}

fn redelivered(before: Delivery) -> Redelivered {
    if before.attempts() > 0 {
        Redelivered::Yes
    } else {
        Redelivered::No
    }
}

/// An inbox while a rule changes it.
struct Edit<'a> {
    before: &'a Head,
    head: Head,
    now: Timestamp,
    outcome: Outcome,
}

impl<'a> Edit<'a> {
    fn of(head: &'a Head, now: Timestamp) -> Self {
        Self {
            before: head,
            head: head.clone(),
            now,
            outcome: Outcome::default(),
        }
    }

    fn next_seq(&mut self) -> u64 {
        self.head.seq = self.head.seq.saturating_add(1);
        self.head.seq
    }

    fn arrive(&mut self, notification: Notification, collapsing: Vec<Item>, around: &Surroundings<'_>) {
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
            self.remove(item, Removal::Collapsed);
        }
        self.head.expires_at = earliest(self.head.expires_at, notification.content.expires_at);
        let seq = self.next_seq();
        self.head.unread = self.head.unread.saturating_add(1);
        self.head.unseen = self.head.unseen.saturating_add(1);
        let delivery = Delivery::NEW.sent(around.policy, around.listeners, self.now);
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
        notification.content = notification.content.emptied();
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

    fn requeue(&mut self, mut item: Item, around: &Surroundings<'_>) {
        let before = item.clone();
        item.delivery = item.delivery.requeued();
        if item.delivery != before.delivery {
            self.try_again(&before, item, around);
        }
    }

    /// Makes the attempt that is due, if one is and somebody is there who has to hear of it again. They
    /// know of the item: it brings them no further.
    fn try_again(&mut self, before: &Item, mut item: Item, around: &Surroundings<'_>) {
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
    fn remove(&mut self, item: Item, removal: Removal) -> Change {
        let mut removed = item.clone();
        removed.folder = Folder::Removed(removal, self.now);
        removed.notification.content = item.notification.content.emptied();
        removed.delivery = match removal {
            Removal::Deleted => item.delivery.confirmed(Via::Read, self.now),
            Removal::Expired => item.delivery.expired(),
            Removal::Retracted | Removal::Collapsed => item.delivery.canceled(),
        };
        let seq = self.next_seq();
        let removed = self.change(&item, removed);
        let change = Change::Deleted(ItemDeleted::of(&removed, removal, self.head.unread, seq));
        self.tell(change);
        change
    }

    /// Stores what became of an item and counts it anew.
    fn change(&mut self, before: &Item, after: Item) -> Rc<Item> {
        let recount = |count: u64, was: bool, is: bool| match (was, is) {
            (true, false) => count.saturating_sub(1),
            (false, true) => count.saturating_add(1),
            (true, true) | (false, false) => count,
        };
        self.head.unread = recount(self.head.unread, before.is_unread(), after.is_unread());
        self.head.unseen = recount(self.head.unseen, before.is_unseen(), after.is_unseen());
        let debt = if before.recorded() == after.recorded() {
            Debt::None
        } else {
            Debt::Owed
        };
        let same = debt == Debt::None && before.delivery == after.delivery;
        let after = Rc::new(after);
        if !same {
            self.outcome.stores.push(Store::State(Rc::clone(&after), debt));
        }
        after
    }

    /// Counts an attempt to deliver an item to the only listener.
    fn send(&mut self, mut item: Item, around: &Surroundings<'_>) -> Rc<Item> {
        let before = item.clone();
        item.delivery = item.delivery.sent(around.policy, around.listeners, self.now);
        self.change(&before, item)
    }

    /// Logs a change and tells everybody.
    fn tell(&mut self, change: Change) {
        self.outcome.stores.push(Store::Log(change));
        self.emit_change(change);
    }

    fn emit_change(&mut self, change: Change) {
        self.emit(ServerEvent::Changed(change), Offset(change.seq()), Listening::All);
    }

    fn emit_item(&mut self, item: Rc<Item>, redelivered: Redelivered, offset: Offset, to: Listening) {
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

    fn emit_counts(&mut self) {
        let counts = self.head.counts();
        self.emit(
            ServerEvent::UnreadCount(counts),
            Offset(counts.seq),
            Listening::All,
        );
    }

    fn emit(&mut self, event: ServerEvent, offset: Offset, to: Listening) {
        self.outcome.emissions.push(Emission { event, offset, to });
    }

    fn finish(mut self) -> Outcome {
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
