//! One user's inbox: how entries of their room's log become numbered items (DESIGN 6).
//!
//! Every visible change takes the next `seq`; item, `seq` and unread count change together. The rules
//! here say what to store and what to send; the hub stores first, in one transaction, then sends.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::delivery::{AckMode, Delivery, DeliveryStatus, Listeners};
use crate::event::ServerEvent;
use crate::id::{RecipientId, UserId};
use crate::notification::{Notification, NotificationView};
use crate::time::{Timestamp, iso};

/// What the hub knows about the inbox as a whole: one stored row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose inbox it is.
    pub user: UserId,
    /// The number of the latest visible change.
    pub seq: u64,
    /// Items not read.
    pub unread: u64,
    /// Items not seen.
    pub unseen: u64,
    /// The latest entry of the user's own room that was applied.
    pub cursor: u64,
    /// Since when at least one socket is open.
    pub online_since: Option<Timestamp>,
    /// When a socket was last known to be open.
    pub last_seen_at: Option<Timestamp>,
    /// When to try to catch up with the record again, after it could not be read.
    pub catch_up_at: Option<Timestamp>,
}

impl Head {
    /// An inbox nothing has happened to.
    #[must_use]
    pub const fn new(user: UserId) -> Self {
        Self {
            user,
            seq: 0,
            unread: 0,
            unseen: 0,
            cursor: 0,
            online_since: None,
            last_seen_at: None,
            catch_up_at: None,
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
    /// Items not read.
    pub unread: u64,
    /// Items not seen.
    pub unseen: u64,
    /// The latest change.
    pub seq: u64,
}

/// One entry of a room's log with what it refers to.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the room: 1, 2, 3...
    pub n: u64,
    /// The pushed notification; `None` when retention has taken it from the record.
    pub notification: Option<Notification>,
}

/// One notification in the inbox.
#[derive(Clone, Debug)]
pub struct Item {
    /// The number of the change that brought it.
    pub seq: u64,
    /// The user's record of it.
    pub recipient_id: RecipientId,
    /// What it says.
    pub notification: Notification,
    /// When the user read it.
    pub read_at: Option<Timestamp>,
    /// Where its delivery stands.
    pub delivery: Delivery,
    /// What the pusher was told.
    pub receipt: Receipt,
}

/// What a pusher is told about one recipient. It is kept with the item, so a repeated push gets the
/// same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The user's record of the notification.
    pub recipient_id: RecipientId,
    /// The number of the change that brought it.
    pub seq: u64,
    /// Where delivery stood when it was stored.
    pub delivery_status: DeliveryStatus,
    /// Whether a socket was open.
    pub online: bool,
}

/// What to store, in one transaction with the rest of the list.
#[derive(Clone, Debug)]
pub enum Store {
    /// Write the head row.
    Head(Head),
    /// Add an item.
    Insert(Rc<Item>),
    /// Replace an item's delivery state.
    Delivery(RecipientId, Delivery),
    /// Owe the record the item's state.
    Owe(RecipientId),
}

/// What an entry does to the inbox.
#[derive(Debug)]
pub struct Arrival {
    /// Store these, in one transaction.
    pub stores: Vec<Store>,
    /// Then send these to every socket of the user, in order.
    pub events: Vec<ServerEvent>,
    /// What the pusher is told; `None` when the entry brings nothing.
    pub receipt: Option<Receipt>,
}

/// Applies an entry of the user's room to the stored `head`. The caller has checked that nothing
/// before it is missing. `known` is the receipt of the same notification when the inbox has it already,
/// by another room: then only the cursor moves.
#[must_use]
pub fn apply(
    head: &Head,
    entry: Entry,
    known: Option<Receipt>,
    mode: AckMode,
    listeners: Listeners,
    now: Timestamp,
) -> Arrival {
    let mut head = head.clone();
    head.cursor = entry.n;
    let notification = match (entry.notification, known) {
        (Some(notification), None) => notification,
        (Some(_) | None, known) => {
            return Arrival {
                stores: vec![Store::Head(head)],
                events: Vec::new(),
                receipt: known,
            };
        }
    };
    head.seq = head.seq.saturating_add(1);
    head.unread = head.unread.saturating_add(1);
    head.unseen = head.unseen.saturating_add(1);

    let recipient_id = notification.id.recipient(&head.user);
    let delivery = Delivery::NEW.sent(mode, listeners, now);
    let receipt = Receipt {
        recipient_id,
        seq: head.seq,
        delivery_status: delivery.status(),
        online: listeners.total() > 0,
    };
    let item = Rc::new(Item {
        seq: head.seq,
        recipient_id,
        notification,
        read_at: None,
        delivery,
        receipt,
    });
    let events = if listeners.total() > 0 {
        vec![
            ServerEvent::NotificationNew {
                item: Rc::clone(&item),
                unread: head.unread,
                redelivered: Redelivered::No,
            },
            ServerEvent::UnreadCount(head.counts()),
        ]
    } else {
        Vec::new()
    };
    let mut stores = vec![Store::Insert(item), Store::Head(head)];
    if delivery != Delivery::NEW {
        stores.push(Store::Owe(recipient_id));
    }
    Arrival {
        stores,
        events,
        receipt: Some(receipt),
    }
}

/// Sends items a second time, to one client that missed them: `items` in the order they came, then the
/// counts.
#[must_use]
pub fn replay(
    head: &Head,
    items: Vec<Item>,
    mode: AckMode,
    listener: Listeners,
    now: Timestamp,
) -> (Vec<Store>, Vec<ServerEvent>) {
    let (stores, items) = send_again(items, mode, listener, now);
    let mut events: Vec<ServerEvent> = items
        .into_iter()
        .map(|(item, redelivered)| ServerEvent::NotificationNew {
            item,
            unread: head.unread,
            redelivered,
        })
        .collect();
    events.push(ServerEvent::UnreadCount(head.counts()));
    (stores, events)
}

/// Sends the newest items as one batch, to one client that missed too many. `items` newest first;
/// `has_more` when there are more than these.
#[must_use]
pub fn batch(
    head: &Head,
    items: Vec<Item>,
    has_more: HasMore,
    mode: AckMode,
    listener: Listeners,
    now: Timestamp,
) -> (Vec<Store>, Vec<ServerEvent>) {
    let (stores, items) = send_again(items, mode, listener, now);
    let items = items.into_iter().map(|(item, _)| item).collect();
    let counts = head.counts();
    let events = vec![
        ServerEvent::NotificationBatch {
            items,
            counts,
            has_more,
        },
        ServerEvent::UnreadCount(counts),
    ];
    (stores, events)
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

fn send_again(
    items: Vec<Item>,
    mode: AckMode,
    listener: Listeners,
    now: Timestamp,
) -> (Vec<Store>, Vec<(Rc<Item>, Redelivered)>) {
    let mut stores = Vec::new();
    let mut sent = Vec::with_capacity(items.len());
    for mut item in items {
        let before = item.delivery;
        item.delivery = before.sent(mode, listener, now);
        if item.delivery != before {
            stores.push(Store::Delivery(item.recipient_id, item.delivery));
            stores.push(Store::Owe(item.recipient_id));
        }
        let redelivered = if before.attempts() > 0 {
            Redelivered::Yes
        } else {
            Redelivered::No
        };
        sent.push((Rc::new(item), redelivered));
    }
    (stores, sent)
}

/// What to store when a device confirms an item's delivery; nothing when one did before.
#[must_use]
pub fn confirm(recipient_id: RecipientId, delivery: Delivery, now: Timestamp) -> Vec<Store> {
    let confirmed = delivery.confirmed(now);
    if confirmed == delivery {
        return Vec::new();
    }
    vec![Store::Delivery(recipient_id, confirmed), Store::Owe(recipient_id)]
}

impl Item {
    /// What every client sees of it.
    #[must_use]
    pub fn view(&self) -> NotificationView<'_> {
        NotificationView::new(&self.notification, self.recipient_id, self.seq)
    }

    /// One entry of `GET /v1/me/notifications`.
    #[must_use]
    pub fn listed(&self) -> ListedItem<'_> {
        ListedItem {
            view: self.view(),
            read_at: self.read_at,
            delivery_status: self.delivery.status(),
        }
    }
}

/// An item as a list shows it.
#[derive(Debug, Serialize)]
pub struct ListedItem<'a> {
    #[serde(flatten)]
    view: NotificationView<'a>,
    #[serde(with = "iso::option")]
    read_at: Option<Timestamp>,
    delivery_status: DeliveryStatus,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;
    use crate::id::NotificationId;

    const NOW: Timestamp = Timestamp::from_ms(1_000);
    const SILENT: Listeners = Listeners {
        acknowledging: 0,
        silent: 1,
    };
    const NOBODY: Listeners = Listeners {
        acknowledging: 0,
        silent: 0,
    };

    pub(crate) fn entry(n: u64) -> Entry {
        Entry {
            n,
            notification: Some(Notification {
                id: NotificationId::generate(Timestamp::from_ms(n), [0; 10]),
                created_at: Timestamp::from_ms(n),
                content: serde_json::from_str(r#"{"title":"t","content":"","priority":"normal"}"#).unwrap(),
            }),
        }
    }

    fn stored_head(arrival: &Arrival) -> Head {
        let heads: Vec<_> = arrival
            .stores
            .iter()
            .filter_map(|store| match store {
                Store::Head(head) => Some(head.clone()),
                Store::Insert(_) | Store::Delivery(..) | Store::Owe(_) => None,
            })
            .collect();
        assert_eq!(heads.len(), 1);
        heads.into_iter().next().unwrap()
    }

    #[test]
    fn an_entry_is_next_applied_or_behind_a_gap() {
        let head = Head {
            cursor: 5,
            ..Head::new(UserId::parse("u1").unwrap())
        };
        for (n, place) in [
            (0, Place::Applied),
            (5, Place::Applied),
            (6, Place::Next),
            (7, Place::Gap),
            (u64::MAX, Place::Gap),
        ] {
            assert_eq!(head.place(n), place, "{n}");
        }
    }

    #[test]
    fn seq_and_counts_move_together_and_seq_has_no_gap() {
        let mut head = Head::new(UserId::parse("u1").unwrap());
        for n in 1..=20 {
            let listeners = if n % 3 == 0 { SILENT } else { NOBODY };
            let arrival = apply(&head, entry(n), None, AckMode::Auto, listeners, NOW);
            head = stored_head(&arrival);
            assert_eq!(
                head.counts(),
                Counts {
                    unread: n,
                    unseen: n,
                    seq: n
                }
            );
            assert_eq!(head.cursor, n);
            assert_eq!(arrival.receipt.unwrap().seq, n);
        }
    }

    #[test]
    fn an_offline_arrival_sends_nothing_and_owes_nothing() {
        let head = Head::new(UserId::parse("u1").unwrap());
        let arrival = apply(&head, entry(1), None, AckMode::Auto, NOBODY, NOW);
        assert!(arrival.events.is_empty());
        assert_eq!(arrival.stores.len(), 2);
        assert_eq!(arrival.receipt.unwrap().delivery_status, DeliveryStatus::Pending);
        assert!(!arrival.receipt.unwrap().online);
    }

    #[test]
    fn an_online_arrival_is_sent_with_the_count_it_made() {
        let head = Head::new(UserId::parse("u1").unwrap());
        let arrival = apply(&head, entry(1), None, AckMode::Auto, SILENT, NOW);
        assert_eq!(arrival.events.len(), 2);
        assert_eq!(
            arrival.receipt.unwrap().delivery_status,
            DeliveryStatus::Delivered
        );
        assert!(matches!(arrival.stores.last(), Some(Store::Owe(_))));
    }

    #[test]
    fn an_entry_that_brings_nothing_new_moves_only_the_cursor() {
        let head = Head {
            seq: 4,
            unread: 2,
            cursor: 8,
            ..Head::new(UserId::parse("u1").unwrap())
        };
        let pruned = Entry {
            n: 9,
            notification: None,
        };
        let known = apply(&head, entry(1), None, AckMode::Auto, NOBODY, NOW).receipt;
        for (entry, known) in [(pruned, None), (entry(9), known)] {
            let arrival = apply(&head, entry, known, AckMode::Auto, SILENT, NOW);
            assert_eq!(
                stored_head(&arrival),
                Head {
                    cursor: 9,
                    ..head.clone()
                }
            );
            assert_eq!(arrival.stores.len(), 1);
            assert!(arrival.events.is_empty());
            assert_eq!(arrival.receipt, known);
        }
    }

    #[test]
    fn only_the_first_confirmation_is_stored() {
        let id = entry(1)
            .notification
            .unwrap()
            .id
            .recipient(&UserId::parse("u1").unwrap());
        let pending = Delivery::Pending { attempts: 1 };
        assert_eq!(confirm(id, pending, NOW).len(), 2);
        assert!(confirm(id, pending.confirmed(NOW), NOW).is_empty());
    }

    #[test]
    fn the_receipt_format_is_unchanged() {
        let arrival = apply(
            &Head::new(UserId::parse("u1").unwrap()),
            entry(1),
            None,
            AckMode::Auto,
            NOBODY,
            NOW,
        );
        let receipt = arrival.receipt.unwrap();
        let json = serde_json::to_value(receipt).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"recipient_id": receipt.recipient_id, "seq": 1, "delivery_status": "pending", "online": false})
        );
    }
}
