#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

use super::*;
use crate::delivery::tests::{listeners, policy};
use crate::delivery::{AckMode, Delivery, DeliveryStatus, Tries};
use crate::event::MAX_BATCH_BYTES;
use crate::id::UserId;
use crate::item::Receipt;
use crate::membership::Claims;
use crate::notification::{Content, Priority};

const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
const EARLIER: Timestamp = Timestamp::from_ms(1_799_999_000_000);
const LATER: Timestamp = Timestamp::from_ms(1_800_000_060_000);

const NOBODY: Listeners = listeners(0, 0);
const SILENT: Listeners = listeners(0, 1);
const ACKING: Listeners = listeners(1, 0);
const BOTH: Listeners = listeners(1, 1);

/// Calls a rule among `listeners` in `mode`.
fn among<T>(mode: AckMode, listeners: Listeners, rule: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    rule(&Surroundings {
        policy: &policy(mode),
        listeners,
        now: NOW,
    })
}

fn own_room() -> Room {
    Room::User(empty().user)
}

fn empty() -> Head {
    Head::new(UserId::parse("u1").unwrap())
}

/// An inbox after ten changes, of which two items are unread and one of those is unseen.
fn head() -> Head {
    Head {
        seq: 10,
        unread: 2,
        unseen: 1,
        cursor: 7,
        ..empty()
    }
}

fn id(n: u64) -> NotificationId {
    NotificationId::generate(Timestamp::from_ms(n), [0; 10])
}

fn notification(n: u64) -> Notification {
    Notification {
        id: id(n),
        created_at: EARLIER,
        content: Content {
            title: "t".to_owned(),
            content: "c".to_owned(),
            kind: None,
            sender: None,
            action: None,
            data: None,
            category: None,
            priority: Priority::Normal,
            expires_at: None,
            collapse_key: None,
        },
    }
}

fn push(n: u64) -> Entry {
    entry(n, EntryKind::Push(Some(Box::new(notification(n)))))
}

const fn entry(n: u64, kind: EntryKind) -> Entry {
    Entry { n, kind }
}

/// An unread, unseen item nobody was sent; its notification has the same number.
fn item(seq: u64) -> Item {
    let notification = notification(seq);
    let recipient_id = notification.id.recipient(&empty().user);
    Item {
        seq,
        recipient_id,
        notification,
        folder: Folder::Inbox,
        read_at: None,
        seen_at: None,
        delivery: Delivery::NEW,
        receipt: Receipt {
            recipient_id,
            seq,
            delivery_status: DeliveryStatus::Pending,
            online: false,
        },
    }
}

fn read(seq: u64) -> Item {
    Item {
        read_at: Some(EARLIER),
        seen_at: Some(EARLIER),
        delivery: Delivery::NEW.confirmed(Via::Read, EARLIER),
        ..item(seq)
    }
}

fn seen(seq: u64) -> Item {
    Item {
        seen_at: Some(EARLIER),
        ..item(seq)
    }
}

fn archived(item: Item) -> Item {
    Item {
        folder: Folder::Archived(EARLIER),
        seen_at: Some(EARLIER),
        ..item
    }
}

fn removed(seq: u64) -> Item {
    Item {
        folder: Folder::Removed(Removal::Expired, EARLIER),
        delivery: Delivery::Expired { attempts: 0 },
        ..item(seq)
    }
}

fn suppressed(seq: u64) -> Item {
    Item {
        folder: Folder::Suppressed,
        delivery: Delivery::Suppressed,
        ..item(seq)
    }
}

fn delivered_as(delivery: Delivery, seq: u64) -> Item {
    Item {
        delivery,
        ..item(seq)
    }
}

const FOR_GOOD: Delivery = Delivery::PermanentFailure(Tries {
    attempts: 4,
    retries: 3,
});

fn known(item: Item) -> Known {
    Known {
        item: Some(item),
        collapsing: Vec::new(),
    }
}

/// What is stored, a line each, in short. An item that moves is written as well, so that goes without
/// saying.
fn stored(outcome: &Outcome) -> Vec<String> {
    let owed = |debt: Debt| if debt == Debt::Owed { " owed" } else { "" };
    let line = |store: &Store| match store {
        Store::Move(item) => format!("move {}", item.seq),
        Store::Head(head) => format!(
            "head seq {} unread {} unseen {} cursor {}",
            head.seq, head.unread, head.unseen, head.cursor
        ),
        Store::Insert(item, debt) => {
            format!(
                "insert {} {}{}",
                item.seq,
                item.delivery.status().name(),
                owed(*debt)
            )
        }
        Store::State(item, debt) => {
            format!(
                "state {} {}{}",
                item.seq,
                item.delivery.status().name(),
                owed(*debt)
            )
        }
        Store::Log(change) => format!("log {}", change.seq()),
        Store::ReadAll { up_to, .. } => format!("read up to {up_to}"),
        Store::Seen { above, up_to, .. } => format!("seen above {above} up to {up_to}"),
    };
    let moves = |store: &&Store| matches!(store, Store::Move(_));
    outcome
        .stores
        .iter()
        .filter(|store| !moves(store))
        .map(line)
        .collect()
}

/// What is sent, a line each, in short: the event, the item where it has one, the offset, and to whom
/// where it is not for all.
fn told(emissions: &[Emission]) -> Vec<String> {
    let line = |emission: &Emission| {
        let what = match &emission.event {
            ServerEvent::NotificationNew {
                item, redelivered, ..
            } => match redelivered {
                Redelivered::Yes => format!(" {} again", item.seq),
                Redelivered::No => format!(" {}", item.seq),
            },
            ServerEvent::NotificationBatch { items, has_more, .. } => {
                let numbers: Vec<String> = items.iter().map(|item| item.seq.to_string()).collect();
                let more = if *has_more == HasMore::Yes {
                    " and more"
                } else {
                    ""
                };
                format!(" [{}]{more}", numbers.join(" "))
            }
            ServerEvent::UnreadCount(counts) => format!(" {}/{}", counts.unread, counts.unseen),
            ServerEvent::Changed(_)
            | ServerEvent::Authenticated { .. }
            | ServerEvent::PresenceUpdate { .. }
            | ServerEvent::Custom { .. }
            | ServerEvent::Pong
            | ServerEvent::AuthExpiring { .. }
            | ServerEvent::AuthError { .. }
            | ServerEvent::Error(_) => String::new(),
        };
        let to = match emission.to {
            Listening::All => "",
            Listening::Acknowledging => " to those that acknowledge",
        };
        format!("{}{what} @{}{to}", emission.event.name(), emission.offset.0)
    };
    emissions.iter().map(line).collect()
}

/// The head after `outcome`, where it changed.
fn head_after(before: &Head, outcome: &Outcome) -> Head {
    let mut heads = outcome.stores.iter().filter_map(|store| match store {
        Store::Head(head) => Some(head.clone()),
        Store::Insert(..)
        | Store::Move(_)
        | Store::State(..)
        | Store::Log(_)
        | Store::ReadAll { .. }
        | Store::Seen { .. } => None,
    });
    heads.next_back().unwrap_or_else(|| before.clone())
}

/// The only item that is stored.
fn item_after(outcome: &Outcome) -> Item {
    let mut items = outcome.stores.iter().filter_map(|store| match store {
        Store::Insert(item, _) | Store::State(item, _) => Some(Item::clone(item)),
        Store::Head(_) | Store::Move(_) | Store::Log(_) | Store::ReadAll { .. } | Store::Seen { .. } => None,
    });
    let item = items.next().unwrap();
    assert!(items.next().is_none());
    item
}

// ---- the head ----

#[test]
fn an_entry_is_next_applied_or_behind_a_gap() {
    let head = Head { cursor: 5, ..empty() };
    for (n, place) in [
        (0, Place::Applied),
        (5, Place::Applied),
        (6, Place::Next),
        (7, Place::Gap),
        (u64::MAX, Place::Gap),
    ] {
        assert_eq!(head.place(&own_room(), n), place, "{n}");
    }
}

#[test]
fn after_an_erasure_only_tokens_issued_later_speak_for_the_user() {
    let erased = |erasure| Head { erasure, ..empty() };
    let (before, then, after) = (Some(EARLIER), Some(NOW), Some(LATER));
    for (erasure, issued_at, accepted) in [
        (None, None, true),
        (None, before, true),
        (Some(Erasure::Running { at: NOW, n: 8 }), None, false),
        (Some(Erasure::Running { at: NOW, n: 8 }), before, false),
        (Some(Erasure::Running { at: NOW, n: 8 }), then, false),
        (Some(Erasure::Running { at: NOW, n: 8 }), after, true),
        (Some(Erasure::Done(NOW)), None, false),
        (Some(Erasure::Done(NOW)), then, false),
        (Some(Erasure::Done(NOW)), after, true),
    ] {
        assert_eq!(
            erased(erasure).accepts_token(issued_at),
            accepted,
            "{erasure:?} {issued_at:?}"
        );
    }
}

// ---- arrivals ----

#[test]
fn seq_and_counts_move_together_and_seq_has_no_gap() {
    let mut head = empty();
    for n in 1..=20 {
        let company = if n % 3 == 0 { SILENT } else { NOBODY };
        let outcome = among(AckMode::Auto, company, |around| {
            apply(&head, &own_room(), push(n), Known::default(), around)
        });
        head = head_after(&head, &outcome);
        let counts = Counts {
            unread: n,
            unseen: n,
            seq: n,
        };
        assert_eq!(head.counts(), counts);
        assert_eq!(head.cursor, n);
        assert_eq!(item_after(&outcome).receipt.seq, n);
    }
}

#[test]
fn an_arrival_is_sent_to_whoever_is_there_and_the_pusher_is_told() {
    let new = ["notification:new 11 @11", "unread:count 3/2 @11"].as_slice();
    let (pending, delivered) = ("insert 11 pending", "insert 11 delivered owed");
    for (mode, company, insert, emissions) in [
        (AckMode::Auto, NOBODY, pending, [].as_slice()),
        (AckMode::Auto, ACKING, pending, new),
        (AckMode::Auto, SILENT, delivered, new),
        (AckMode::Auto, BOTH, delivered, new),
        (AckMode::Required, NOBODY, pending, &[]),
        (AckMode::Required, SILENT, pending, new),
        (AckMode::Required, BOTH, pending, new),
        (AckMode::Off, NOBODY, pending, &[]),
        (AckMode::Off, ACKING, delivered, new),
    ] {
        let outcome = among(mode, company, |around| {
            apply(&head(), &own_room(), push(8), Known::default(), around)
        });
        let case = format!("{mode:?} {company:?}");
        assert_eq!(
            stored(&outcome),
            [insert, "head seq 11 unread 3 unseen 2 cursor 8"],
            "{case}"
        );
        assert_eq!(told(&outcome.emissions), emissions, "{case}");
        let item = item_after(&outcome);
        let receipt = Receipt {
            recipient_id: id(8).recipient(&empty().user),
            seq: 11,
            delivery_status: item.delivery.status(),
            online: company.total() > 0,
        };
        assert_eq!(item.receipt, receipt, "{case}");
    }
}

#[test]
fn an_entry_that_brings_nothing_new_moves_only_the_cursor() {
    let over = || {
        let mut notification = notification(8);
        notification.content.expires_at = Some(NOW);
        entry(8, EntryKind::Push(Some(Box::new(notification))))
    };
    let retract = || entry(8, EntryKind::Retract(id(3)));
    let retry = || entry(8, EntryKind::Retry(id(3)));
    let pending = Delivery::NEW.sent(&policy(AckMode::Auto), ACKING, EARLIER);
    let failed = pending.on_timer(&policy(AckMode::Auto), ACKING, NOW);
    for (what, entry, known) in [
        (
            "taken from the record",
            entry(8, EntryKind::Push(None)),
            Known::default(),
        ),
        ("over before it came", over(), Known::default()),
        ("known", push(8), known(item(8))),
        ("known and archived", push(8), known(archived(read(8)))),
        ("known and gone", push(8), known(removed(8))),
        ("known and suppressed", push(8), known(suppressed(8))),
        ("retracted before it came", retract(), Known::default()),
        ("retracted when gone", retract(), known(removed(3))),
        ("retracted when suppressed", retract(), known(suppressed(3))),
        ("retried before it came", retry(), Known::default()),
        ("retried when gone", retry(), known(removed(3))),
        ("retried when suppressed", retry(), known(suppressed(3))),
        ("retried when never sent", retry(), known(item(3))),
        ("retried when sent", retry(), known(delivered_as(pending, 3))),
        ("retried when failed", retry(), known(delivered_as(failed, 3))),
        ("retried when delivered", retry(), known(read(3))),
    ] {
        let outcome = among(AckMode::Auto, BOTH, |around| {
            apply(&head(), &own_room(), entry, known, around)
        });
        assert_eq!(
            stored(&outcome),
            ["head seq 10 unread 2 unseen 1 cursor 8"],
            "{what}"
        );
        assert_eq!(told(&outcome.emissions), [""; 0], "{what}");
    }
}

#[test]
fn what_is_muted_is_kept_out_without_a_word() {
    let mut muting = head();
    muting.preferences.muted.insert("news".to_owned());
    muting.suppressed = 4;
    let mut notification = notification(8);
    notification.content.category = Some("news".to_owned());
    notification.content.collapse_key = Some("k".to_owned());
    notification.content.expires_at = Some(LATER);
    let entry = entry(8, EntryKind::Push(Some(Box::new(notification))));
    let known = Known {
        item: None,
        collapsing: vec![item(3)],
    };
    let outcome = among(AckMode::Auto, BOTH, |around| {
        apply(&muting, &own_room(), entry, known, around)
    });
    assert_eq!(
        stored(&outcome),
        [
            "insert 5 suppressed owed",
            "head seq 10 unread 2 unseen 1 cursor 8"
        ],
        "an older one with its key stays"
    );
    assert_eq!(told(&outcome.emissions), [""; 0]);
    let after = head_after(&muting, &outcome);
    assert_eq!((after.suppressed, after.expires_at), (5, None));
    let item = item_after(&outcome);
    assert_eq!(item.folder, Folder::Suppressed);
    assert_eq!(item.notification.content.title, "");
    assert_eq!(
        (
            item.receipt.seq,
            item.receipt.delivery_status,
            item.receipt.online
        ),
        (10, DeliveryStatus::Suppressed, false)
    );
}

#[test]
fn only_the_category_that_is_muted_is_kept_out() {
    let mut muting = head();
    muting.preferences.muted.insert("news".to_owned());
    for (category, status) in [
        (None, DeliveryStatus::Delivered),
        (Some("orders"), DeliveryStatus::Delivered),
        (Some("News"), DeliveryStatus::Delivered),
        (Some("news"), DeliveryStatus::Suppressed),
    ] {
        let mut notification = notification(8);
        notification.content.category = category.map(str::to_owned);
        let entry = entry(8, EntryKind::Push(Some(Box::new(notification))));
        let outcome = among(AckMode::Auto, SILENT, |around| {
            apply(&muting, &own_room(), entry, Known::default(), around)
        });
        assert_eq!(item_after(&outcome).delivery.status(), status, "{category:?}");
    }
}

#[test]
fn a_newer_notification_takes_the_place_of_older_ones() {
    let known = Known {
        item: None,
        collapsing: vec![item(3), seen(5)],
    };
    let outcome = among(AckMode::Auto, SILENT, |around| {
        apply(&head(), &own_room(), push(8), known, around)
    });
    assert_eq!(
        stored(&outcome),
        [
            "state 3 canceled owed",
            "log 11",
            "state 5 canceled owed",
            "log 12",
            "insert 13 delivered owed",
            "head seq 13 unread 1 unseen 1 cursor 8"
        ]
    );
    assert_eq!(
        told(&outcome.emissions),
        [
            "notification:deleted @11",
            "notification:deleted @12",
            "notification:new 13 @13",
            "unread:count 1/1 @13"
        ]
    );
}

#[test]
fn the_head_remembers_the_earliest_expiry() {
    for (before, expires_at, after) in [
        (None, None, None),
        (None, Some(LATER), Some(LATER)),
        (Some(LATER), None, Some(LATER)),
        (Some(LATER), Some(LATER.after_ms(1)), Some(LATER)),
        (Some(LATER.after_ms(1)), Some(LATER), Some(LATER)),
    ] {
        let before = Head {
            expires_at: before,
            ..head()
        };
        let mut notification = notification(8);
        notification.content.expires_at = expires_at;
        let entry = entry(8, EntryKind::Push(Some(Box::new(notification))));
        let outcome = among(AckMode::Auto, NOBODY, |around| {
            apply(&before, &own_room(), entry, Known::default(), around)
        });
        assert_eq!(
            head_after(&before, &outcome).expires_at,
            after,
            "{:?} {expires_at:?}",
            before.expires_at
        );
    }
}

// ---- other entries ----

#[test]
fn a_retracted_item_is_gone_for_everybody() {
    for (what, item, status, unread, unseen) in [
        ("new", item(3), "canceled owed", 1, 0),
        ("seen", seen(3), "canceled owed", 1, 1),
        ("read", read(3), "delivered owed", 2, 1),
        (
            "archived unread",
            archived(delivered_as(FOR_GOOD, 3)),
            "canceled owed",
            2,
            1,
        ),
    ] {
        let outcome = among(AckMode::Auto, SILENT, |around| {
            apply(
                &head(),
                &own_room(),
                entry(8, EntryKind::Retract(id(3))),
                known(item),
                around,
            )
        });
        assert_eq!(
            stored(&outcome),
            [
                format!("state 3 {status}"),
                "log 11".to_owned(),
                format!("head seq 11 unread {unread} unseen {unseen} cursor 8")
            ],
            "{what}"
        );
        assert_eq!(
            told(&outcome.emissions),
            [
                "notification:deleted @11".to_owned(),
                format!("unread:count {unread}/{unseen} @11")
            ],
            "{what}"
        );
        let gone = item_after(&outcome);
        assert_eq!(gone.folder, Folder::Removed(Removal::Retracted, NOW), "{what}");
        assert_eq!(
            gone.notification.content.title, "",
            "nothing is left of what it said"
        );
    }
}

#[test]
fn another_round_goes_to_those_who_are_told_again_or_waits_for_them() {
    let to_some = "notification:new 3 again @10 to those that acknowledge";
    let to_all = "notification:new 3 again @10";
    for (mode, company, emissions, waits) in [
        (AckMode::Auto, NOBODY, None, true),
        (AckMode::Auto, SILENT, None, true),
        (AckMode::Auto, ACKING, Some(to_some), false),
        (AckMode::Auto, BOTH, Some(to_some), false),
        (AckMode::Required, NOBODY, None, true),
        (AckMode::Required, SILENT, Some(to_all), false),
        (AckMode::Off, ACKING, Some(to_all), false),
    ] {
        let item = delivered_as(FOR_GOOD, 3);
        let outcome = among(mode, company, |around| {
            apply(
                &head(),
                &own_room(),
                entry(8, EntryKind::Retry(id(3))),
                known(item),
                around,
            )
        });
        let case = format!("{mode:?} {company:?}");
        let told = told(&outcome.emissions);
        assert_eq!(told, Vec::from_iter(emissions), "{case}");
        let after = item_after(&outcome).delivery;
        assert_eq!(after.is_due(NOW), waits, "{case}");
        assert_eq!(after.attempts(), if waits { 4 } else { 5 }, "{case}");
        let head = head_after(&head(), &outcome);
        assert_eq!(
            (head.seq, head.cursor),
            (10, 8),
            "it is no change of the inbox: {case}"
        );
    }
}

/// The head of somebody who is in `room`, whose log is applied up to and including entry 4.
fn member_of(room: &SharedRoom) -> Head {
    let mut member = head();
    member.memberships.add(room, 4);
    member
}

fn dept() -> SharedRoom {
    SharedRoom::parse("dept:a").unwrap()
}

#[test]
fn an_entry_of_a_shared_room_comes_like_one_of_the_own_and_moves_that_rooms_cursor() {
    let before = member_of(&dept());
    let room = Room::Shared(dept());
    let (own, shared) = among(AckMode::Auto, BOTH, |around| {
        (
            apply(&before, &own_room(), push(8), Known::default(), around),
            apply(&before, &room, push(5), Known::default(), around),
        )
    });
    let after = head_after(&before, &shared);
    assert_eq!(after.cursor, before.cursor);
    assert_eq!((after.seq, after.unread, after.unseen), (11, 3, 2));
    assert_eq!(after.place(&room, 5), Place::Applied);
    assert_eq!(head_after(&before, &own).place(&room, 5), Place::Next);
    assert_eq!(told(&own.emissions), told(&shared.emissions));
}

#[test]
fn what_two_rooms_bring_is_one_item() {
    let before = member_of(&dept());
    let known = Known {
        item: Some(item(3)),
        ..Known::default()
    };
    let outcome = among(AckMode::Auto, BOTH, |around| {
        apply(&before, &Room::Shared(dept()), push(5), known, around)
    });
    assert!(outcome.emissions.is_empty());
    assert_eq!(
        head_after(&before, &outcome).place(&Room::Shared(dept()), 5),
        Place::Applied
    );
    assert_eq!(head_after(&before, &outcome).seq, before.seq);
}

#[test]
fn a_member_takes_the_entries_of_their_time_and_no_others() {
    let room = Room::Shared(dept());
    let member = member_of(&dept());
    for (n, place) in [(4, Place::Applied), (5, Place::Next), (6, Place::Gap)] {
        assert_eq!(member.place(&room, n), place, "{n}");
        assert_eq!(head().place(&room, n), Place::Foreign, "{n}");
    }
    let mut leaving = member;
    leaving.memberships.remove(&dept(), 6, NOW);
    for (n, place) in [(5, Place::Next), (6, Place::Gap), (7, Place::Foreign)] {
        assert_eq!(leaving.place(&room, n), place, "{n}");
    }
    let mut newcomer = head();
    newcomer.memberships.meet(
        &Claims {
            issued_at: None,
            rooms: vec![dept()],
        },
        NOW,
    );
    assert_eq!(newcomer.place(&room, 1), Place::Gap);
}

#[test]
fn the_membership_api_speaks_by_entries_of_the_own_log() {
    let added = EntryKind::MemberAdd {
        room: dept(),
        since: 4,
    };
    let removed = EntryKind::MemberRemove {
        room: dept(),
        until: 4,
        at: NOW,
    };
    let room = Room::Shared(dept());
    let outcome = among(AckMode::Auto, BOTH, |around| {
        apply(&head(), &own_room(), entry(8, added), Known::default(), around)
    });
    let member = head_after(&head(), &outcome);
    assert!(outcome.emissions.is_empty());
    assert_eq!((member.cursor, member.seq), (8, 10));
    assert_eq!(member.place(&room, 5), Place::Next);
    let outcome = among(AckMode::Auto, BOTH, |around| {
        apply(&member, &own_room(), entry(9, removed), Known::default(), around)
    });
    assert_eq!(head_after(&member, &outcome).place(&room, 5), Place::Foreign);
}

#[test]
fn the_form_in_which_entries_travel_is_as_it_was() {
    let id = r#""01890a5d-ac96-7000-8000-000000000000""#;
    for json in [
        format!(
            r#"{{"n":1,"kind":{{"push":{{"id":{id},"created_at":5,"content":{{"title":"t","content":"c","priority":"normal"}}}}}}}}"#
        ),
        r#"{"n":2,"kind":{"push":null}}"#.to_owned(),
        format!(r#"{{"n":3,"kind":{{"retract":{id}}}}}"#),
        format!(r#"{{"n":4,"kind":{{"retry":{id}}}}}"#),
        r#"{"n":5,"kind":{"erase":7}}"#.to_owned(),
        r#"{"n":6,"kind":{"member_add":{"room":"dept:a","since":7}}}"#.to_owned(),
        r#"{"n":7,"kind":{"member_remove":{"room":"room:x","until":7,"at":9}}}"#.to_owned(),
    ] {
        let entry: Entry = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), json);
    }
}

#[test]
fn an_erase_entry_begins_the_erasure_and_changes_nothing_else() {
    let outcome = among(AckMode::Auto, BOTH, |around| {
        apply(
            &head(),
            &own_room(),
            entry(8, EntryKind::Erase(EARLIER)),
            Known::default(),
            around,
        )
    });
    let expected = Head {
        cursor: 8,
        erasure: Some(Erasure::Running { at: EARLIER, n: 8 }),
        ..head()
    };
    assert_eq!(head_after(&head(), &outcome), expected);
    assert_eq!(outcome.stores.len(), 1);
    assert!(outcome.emissions.is_empty());
}

#[test]
fn entries_name_the_notification_they_are_about() {
    for (kind, expected) in [
        (EntryKind::Push(Some(Box::new(notification(4)))), Some(id(4))),
        (EntryKind::Push(None), None),
        (EntryKind::Retract(id(5)), Some(id(5))),
        (EntryKind::Retry(id(6)), Some(id(6))),
        (EntryKind::Erase(NOW), None),
    ] {
        assert_eq!(kind.notification_id(), expected, "{kind:?}");
    }
}

// ---- time ----

#[test]
fn what_is_over_is_gone_whatever_became_of_it() {
    let over = vec![item(3), archived(read(5))];
    let outcome = among(AckMode::Auto, SILENT, |around| {
        on_timer(&head(), Vec::new(), over, Some(LATER), around)
    });
    assert_eq!(
        stored(&outcome),
        [
            "state 3 expired owed",
            "log 11",
            "state 5 delivered owed",
            "log 12",
            "head seq 12 unread 1 unseen 0 cursor 7"
        ]
    );
    assert_eq!(
        told(&outcome.emissions),
        [
            "notification:deleted @11",
            "notification:deleted @12",
            "unread:count 1/0 @12"
        ]
    );
    assert_eq!(head_after(&head(), &outcome).expires_at, Some(LATER));
}

#[test]
fn the_clock_fails_retries_and_parks() {
    let ladder = policy(AckMode::Auto);
    let sent_at = |at: Timestamp| Delivery::NEW.sent(&ladder, ACKING, at);
    let just_over = sent_at(Timestamp::from_ms(NOW.as_ms() - 30_000));
    let long_over = sent_at(EARLIER);
    let again = "notification:new 3 again @10 to those that acknowledge";
    let due = Delivery::Failed {
        tries: Tries {
            attempts: 1,
            retries: 0,
        },
        retry_at: Some(NOW),
    };
    for (what, delivery, company, state, emissions) in [
        (
            "an attempt that was not acknowledged",
            just_over,
            BOTH,
            Some("state 3 failed owed"),
            None,
        ),
        (
            "the same, and only who does not acknowledge is there",
            just_over,
            SILENT,
            Some("state 3 failed owed"),
            None,
        ),
        (
            "one whose retry is due as well",
            long_over,
            BOTH,
            Some("state 3 pending"),
            Some(again),
        ),
        (
            "a retry that is due",
            due,
            ACKING,
            Some("state 3 pending owed"),
            Some(again),
        ),
        (
            "a retry that is due with nobody there",
            due,
            NOBODY,
            Some("state 3 failed owed"),
            None,
        ),
        ("an attempt that has time", sent_at(NOW), ACKING, None, None),
    ] {
        let outcome = among(AckMode::Auto, company, |around| {
            on_timer(&head(), vec![delivered_as(delivery, 3)], Vec::new(), None, around)
        });
        assert_eq!(stored(&outcome), Vec::from_iter(state), "{what}");
        assert_eq!(told(&outcome.emissions), Vec::from_iter(emissions), "{what}");
    }
}

// ---- marks ----

#[test]
fn every_mark_on_every_listed_item() {
    // What it does to the item: the event, unread and unseen after it; `None` where it changes nothing.
    for (what, before, mark, expected) in [
        ("read new", item(3), Mark::Read, Some(("notification:read", 1, 0))),
        (
            "read seen",
            seen(3),
            Mark::Read,
            Some(("notification:read", 1, 1)),
        ),
        ("read read", read(3), Mark::Read, None),
        (
            "read archived",
            archived(item(3)),
            Mark::Read,
            Some(("notification:read", 2, 1)),
        ),
        ("unread new", item(3), Mark::Unread, None),
        (
            "unread read",
            read(3),
            Mark::Unread,
            Some(("notification:unread", 3, 1)),
        ),
        (
            "unread archived",
            archived(read(3)),
            Mark::Unread,
            Some(("notification:unread", 2, 1)),
        ),
        (
            "archive new",
            item(3),
            Mark::Archive,
            Some(("notification:archived", 1, 0)),
        ),
        (
            "archive read",
            read(3),
            Mark::Archive,
            Some(("notification:archived", 2, 1)),
        ),
        ("archive archived", archived(read(3)), Mark::Archive, None),
        ("unarchive new", item(3), Mark::Unarchive, None),
        (
            "unarchive unread",
            archived(item(3)),
            Mark::Unarchive,
            Some(("notification:unarchived", 3, 1)),
        ),
        (
            "unarchive read",
            archived(read(3)),
            Mark::Unarchive,
            Some(("notification:unarchived", 2, 1)),
        ),
        (
            "delete new",
            item(3),
            Mark::Delete,
            Some(("notification:deleted", 1, 0)),
        ),
        (
            "delete seen",
            seen(3),
            Mark::Delete,
            Some(("notification:deleted", 1, 1)),
        ),
        (
            "delete read",
            read(3),
            Mark::Delete,
            Some(("notification:deleted", 2, 1)),
        ),
        (
            "delete archived",
            archived(item(3)),
            Mark::Delete,
            Some(("notification:deleted", 2, 1)),
        ),
    ] {
        let (change, outcome) = super::mark(&head(), &before, mark, NOW);
        let Some((event, unread, unseen)) = expected else {
            assert!(
                outcome.stores.is_empty() && outcome.emissions.is_empty(),
                "{what}"
            );
            assert_eq!(change.seq(), 10, "{what}");
            continue;
        };
        assert_eq!(
            stored(&outcome),
            [
                "state 3 delivered owed".to_owned(),
                "log 11".to_owned(),
                format!("head seq 11 unread {unread} unseen {unseen} cursor 7")
            ],
            "{what}"
        );
        assert_eq!(
            told(&outcome.emissions),
            [
                format!("{event} @11"),
                format!("unread:count {unread}/{unseen} @11")
            ],
            "{what}"
        );
        // Done again, it changes nothing and is answered alike.
        let after = head_after(&head(), &outcome);
        let (again, nothing) = super::mark(&after, &item_after(&outcome), mark, LATER);
        assert_eq!(again, change, "{what}");
        assert!(
            nothing.stores.is_empty() && nothing.emissions.is_empty(),
            "{what} again"
        );
    }
}

#[test]
fn marks_keep_when_it_first_happened() {
    let (_, outcome) = super::mark(&head(), &archived(item(3)), Mark::Read, NOW);
    let after = item_after(&outcome);
    assert_eq!(after.folder, Folder::Archived(EARLIER));
    assert_eq!((after.read_at, after.seen_at), (Some(NOW), Some(EARLIER)));
    let (_, outcome) = super::mark(&head(), &read(3), Mark::Archive, NOW);
    let after = item_after(&outcome);
    assert_eq!(after.folder, Folder::Archived(NOW));
    assert_eq!(after.read_at, Some(EARLIER));
    assert_eq!(after.delivery, read(3).delivery);
}

#[test]
fn what_is_gone_can_be_deleted_again() {
    let (change, outcome) = super::mark(&head(), &removed(3), Mark::Delete, NOW);
    assert!(outcome.stores.is_empty() && outcome.emissions.is_empty());
    assert!(matches!(change, Change::Deleted(_)));
    assert_eq!(change.seq(), 10);
}

#[test]
fn all_that_is_unread_is_read_at_once_or_nothing_happens() {
    let all = |unread, unseen| read_all(&head(), 9, Affected { unread, unseen }, NOW);
    for (unread, unseen, stores, emissions) in [
        (0, 0, vec![], vec![]),
        (
            2,
            1,
            vec!["read up to 9", "log 11", "head seq 11 unread 0 unseen 0 cursor 7"],
            vec!["notifications:read_all @11", "unread:count 0/0 @11"],
        ),
        (
            1,
            0,
            vec!["read up to 9", "log 11", "head seq 11 unread 1 unseen 1 cursor 7"],
            vec!["notifications:read_all @11", "unread:count 1/1 @11"],
        ),
    ] {
        let (change, outcome) = all(unread, unseen);
        assert_eq!(stored(&outcome), stores, "{unread}");
        assert_eq!(told(&outcome.emissions), emissions, "{unread}");
        let expected = Change::ReadAll(ReadAll {
            before_seq: 9,
            marked_count: unread,
            read_at: NOW,
            unread: 2 - unread,
            seq: if unread == 0 { 10 } else { 11 },
        });
        assert_eq!(change, expected);
    }
}

#[test]
fn what_is_seen_stays_seen_and_nothing_is_seen_before_it_came() {
    for (asked, unseen, up_to, stores, seen_up_to) in [
        (
            9,
            1,
            9,
            vec![
                "seen above 4 up to 9",
                "log 11",
                "head seq 11 unread 2 unseen 0 cursor 7",
            ],
            9,
        ),
        (
            99,
            1,
            10,
            vec![
                "seen above 4 up to 10",
                "log 11",
                "head seq 11 unread 2 unseen 0 cursor 7",
            ],
            10,
        ),
        (3, 0, 3, vec![], 4),
        // Nothing happens, and it is not looked through again.
        (10, 0, 10, vec!["head seq 10 unread 2 unseen 1 cursor 7"], 10),
    ] {
        let before = Head {
            seen_up_to: 4,
            ..head()
        };
        let (change, outcome) = see(&before, asked, unseen, NOW);
        assert_eq!(stored(&outcome), stores, "{asked}");
        let expected = Change::Seen(Seen {
            up_to_seq: up_to,
            unseen: 1 - unseen,
            seq: if unseen == 0 { 10 } else { 11 },
        });
        assert_eq!(change, expected, "{asked}");
        let emissions = if unseen == 0 {
            vec![]
        } else {
            vec!["notifications:seen @11", "unread:count 2/0 @11"]
        };
        assert_eq!(told(&outcome.emissions), emissions, "{asked}");
        assert_eq!(head_after(&before, &outcome).seen_up_to, seen_up_to, "{asked}");
    }
}

#[test]
fn only_the_first_confirmation_is_stored() {
    let sent = Delivery::NEW.sent(&policy(AckMode::Auto), ACKING, EARLIER);
    for via in [Via::Ack, Via::Http] {
        let items = vec![
            delivered_as(sent, 3),
            read(4),
            delivered_as(FOR_GOOD, 5),
            removed(6),
        ];
        let outcome = confirm(&head(), items, via, NOW);
        assert_eq!(
            stored(&outcome),
            ["state 3 delivered owed", "state 5 delivered owed"]
        );
        assert!(
            outcome.emissions.is_empty(),
            "it is no change that anybody is told of"
        );
    }
}

// ---- coming back ----

fn change(seq: u64) -> Change {
    Change::Seen(Seen {
        up_to_seq: 1,
        unseen: 0,
        seq,
    })
}

#[test]
fn what_was_missed_comes_in_the_order_in_which_it_happened() {
    // Items 2 and 4 wait from before; the client knows everything up to 5.
    let waiting = Delivery::Failed {
        tries: Tries {
            attempts: 1,
            retries: 0,
        },
        retry_at: None,
    };
    let items = vec![delivered_as(waiting, 2), item(4), item(6), read(8)];
    let changes = vec![change(7), change(9), change(10)];
    let outcome = among(AckMode::Auto, ACKING, |around| {
        replay(&head(), Offset(5), items, changes, around)
    });
    assert_eq!(
        told(&outcome.emissions),
        [
            "notification:new 2 again @5",
            "notification:new 4 @5",
            "notification:new 6 @6",
            "notifications:seen @7",
            "notification:new 8 @8",
            "notifications:seen @9",
            "notifications:seen @10",
            "unread:count 2/1 @10"
        ]
    );
    assert_eq!(
        stored(&outcome),
        ["state 2 pending owed", "state 4 pending", "state 6 pending"]
    );
}

#[test]
fn a_client_that_missed_nothing_is_told_the_counts() {
    let outcome = among(AckMode::Auto, SILENT, |around| {
        replay(&head(), Offset(10), Vec::new(), Vec::new(), around)
    });
    assert_eq!(told(&outcome.emissions), ["unread:count 2/1 @10"]);
    assert!(outcome.stores.is_empty());
}

#[test]
fn a_batch_has_at_most_a_hundred_items_and_says_when_there_are_more() {
    for (count, told_of_more, fitting, has_more) in [
        (0, HasMore::No, 0, HasMore::No),
        (1, HasMore::No, 1, HasMore::No),
        (1, HasMore::Yes, 1, HasMore::Yes),
        (100, HasMore::No, 100, HasMore::No),
        (101, HasMore::No, 100, HasMore::Yes),
    ] {
        let items: Vec<Item> = (1..=count).rev().map(item).collect();
        let outcome = among(AckMode::Auto, SILENT, |around| {
            batch(&head(), items, told_of_more, around)
        });
        let [sent, counts] = outcome.emissions.as_slice() else {
            unreachable!("{:?}", told(&outcome.emissions));
        };
        let ServerEvent::NotificationBatch {
            items,
            has_more: more,
            ..
        } = &sent.event
        else {
            unreachable!("{sent:?}");
        };
        assert_eq!((items.len(), *more), (fitting, has_more), "{count}");
        assert!(items.is_sorted_by(|a, b| a.seq > b.seq), "newest first");
        assert_eq!((sent.offset, counts.offset), (Offset(10), Offset(10)));
        assert!(
            items.iter().all(|item| item.delivery.attempts() == 1),
            "what is sent counts as sent"
        );
        assert_eq!(outcome.stores.len(), fitting, "and what is not does not");
    }
}

/// An item that takes some 40 KB.
fn large(seq: u64) -> Item {
    let mut item = item(seq);
    item.notification.content.content = "x".repeat(13_000);
    item
}

#[test]
fn a_batch_has_at_most_256_kilobytes() {
    let items: Vec<Item> = (1..=9).rev().map(large).collect();
    let outcome = among(AckMode::Auto, SILENT, |around| {
        batch(&head(), items, HasMore::No, around)
    });
    assert_eq!(
        told(&outcome.emissions),
        [
            "notification:batch [9 8 7 6 5 4] and more @10",
            "unread:count 2/1 @10"
        ]
    );
    let json = outcome.emissions[0]
        .event
        .encode(crate::case::PayloadCase::Snake)
        .unwrap();
    assert!(json.as_str().len() < MAX_BATCH_BYTES);
}

// ---- bursts ----

fn emission(event: ServerEvent, offset: u64, to: Listening) -> Emission {
    Emission {
        event,
        offset: Offset(offset),
        to,
    }
}

fn arrival(item: Item) -> Emission {
    let seq = item.seq;
    let event = ServerEvent::NotificationNew {
        item: Rc::new(item),
        unread: seq,
        redelivered: Redelivered::No,
    };
    emission(event, seq, Listening::All)
}

fn retry(seq: u64, offset: u64) -> Emission {
    let event = ServerEvent::NotificationNew {
        item: Rc::new(item(seq)),
        unread: 1,
        redelivered: Redelivered::Yes,
    };
    emission(event, offset, Listening::Acknowledging)
}

fn deletion(of: u64, seq: u64) -> Emission {
    let change = Change::Deleted(ItemDeleted::of(&item(of), Removal::Collapsed, 0, seq));
    emission(ServerEvent::Changed(change), seq, Listening::All)
}

fn count(seq: u64) -> Emission {
    let counts = Counts {
        unread: seq,
        unseen: seq,
        seq,
    };
    emission(ServerEvent::UnreadCount(counts), seq, Listening::All)
}

#[test]
fn many_arrivals_at_once_are_gathered_and_a_few_are_not() {
    let burst = || vec![arrival(item(8)), count(8), arrival(item(9)), count(9)];
    assert_eq!(
        told(&gather(&head(), burst(), 2)),
        [
            "notification:new 8 @8",
            "unread:count 8/8 @8",
            "notification:new 9 @9",
            "unread:count 9/9 @9"
        ]
    );
    assert_eq!(
        told(&gather(&head(), burst(), 1)),
        ["notification:batch [9 8] @10", "unread:count 2/1 @10"]
    );
    assert_eq!(told(&gather(&head(), vec![count(9)], 0)), ["unread:count 9/9 @9"]);
    assert_eq!(told(&gather(&head(), Vec::new(), 0)), [""; 0]);
}

#[test]
fn what_came_and_went_in_one_burst_is_not_told_of() {
    let burst = vec![
        arrival(item(6)),
        deletion(2, 7),
        arrival(item(8)),
        deletion(6, 9),
        arrival(item(10)),
    ];
    assert_eq!(
        told(&gather(&head(), burst, 2)),
        [
            "notification:deleted @5",
            "notification:batch [10 8] @10",
            "unread:count 2/1 @10"
        ],
        "the deletion of what a client knows brings it no further than to the first arrival"
    );
    let burst = vec![
        arrival(item(7)),
        arrival(item(8)),
        deletion(7, 9),
        deletion(8, 10),
    ];
    assert_eq!(
        told(&gather(&head(), burst, 1)),
        ["unread:count 2/1 @10"],
        "a batch of nothing is none"
    );
}

#[test]
fn a_retry_in_a_burst_stays_a_retry_and_its_deletion_is_told() {
    let burst = vec![
        retry(2, 6),
        arrival(item(7)),
        arrival(item(8)),
        retry(3, 8),
        deletion(2, 9),
    ];
    assert_eq!(
        told(&gather(&head(), burst, 1)),
        [
            "notification:new 2 again @6 to those that acknowledge",
            "notification:new 3 again @6 to those that acknowledge",
            "notification:deleted @6",
            "notification:batch [8 7] @10",
            "unread:count 2/1 @10"
        ]
    );
    let few = vec![retry(2, 6), retry(3, 6), arrival(item(7))];
    assert_eq!(
        told(&gather(&head(), few, 1)).len(),
        3,
        "retries are no arrivals: one is not many"
    );
}

#[test]
fn a_burst_that_is_too_much_for_one_batch_is_several() {
    let head = Head { seq: 260, ..head() };
    let burst = (11..=260).map(|seq| arrival(item(seq))).collect();
    let gathered = gather(&head, burst, 20);
    let sizes: Vec<(usize, u64)> = gathered
        .iter()
        .filter_map(|emission| match &emission.event {
            ServerEvent::NotificationBatch { items, .. } => Some((items.len(), emission.offset.0)),
            ServerEvent::Authenticated { .. }
            | ServerEvent::NotificationNew { .. }
            | ServerEvent::Changed(_)
            | ServerEvent::UnreadCount(_)
            | ServerEvent::PresenceUpdate { .. }
            | ServerEvent::Custom { .. }
            | ServerEvent::Pong
            | ServerEvent::AuthExpiring { .. }
            | ServerEvent::AuthError { .. }
            | ServerEvent::Error(_) => None,
        })
        .collect();
    assert_eq!(
        sizes,
        [(100, 10), (100, 10), (50, 260)],
        "only the last brings a client all the way"
    );
    let heavy = (3..=10).map(|seq| arrival(large(seq))).collect();
    assert_eq!(
        told(&gather(&self::head(), heavy, 1)),
        [
            "notification:batch [10 9 8 7 6 5] @2",
            "notification:batch [4 3] @10",
            "unread:count 2/1 @10"
        ]
    );
}

#[test]
fn the_format_of_counts_is_unchanged() {
    assert_eq!(
        serde_json::to_string(&head().counts()).unwrap(),
        r#"{"unread":2,"unseen":1,"seq":10}"#
    );
}

#[test]
fn nobody_recovers_across_an_erasure() {
    let before = Head {
        seq: 7,
        unread: 2,
        cursor: 5,
        erasure: Some(Erasure::Running { at: NOW, n: 5 }),
        ..empty()
    };
    let after = before.clone().erased();
    assert!(after.seq - before.seq > crate::recovery::MAX_REPLAYED);
    assert_eq!((after.cursor, after.erasure), (before.cursor, before.erasure));
    assert_eq!((after.unread, after.user), (0, before.user));
}

// ---- counting anew ----

#[test]
fn counts_that_are_right_are_left_alone() {
    let counted = Affected { unread: 2, unseen: 1 };
    let outcome = recount(&head(), counted, NOW);
    assert_eq!(drift(&head(), counted), 0);
    assert!(outcome.stores.is_empty() && outcome.emissions.is_empty());
}

#[test]
fn counts_that_are_wrong_are_put_right_by_a_change_of_their_own() {
    for (counted, expected) in [
        (Affected { unread: 5, unseen: 1 }, 3),
        (Affected { unread: 2, unseen: 0 }, 1),
        (Affected { unread: 0, unseen: 0 }, 3),
    ] {
        assert_eq!(drift(&head(), counted), expected);
        let outcome = recount(&head(), counted, NOW);
        let right = Head {
            seq: 11,
            unread: counted.unread,
            unseen: counted.unseen,
            ..head()
        };
        let [Store::Head(stored)] = outcome.stores.as_slice() else {
            unreachable!("{:?}", outcome.stores);
        };
        assert_eq!(*stored, right);
        let [Emission { event, offset, to }] = outcome.emissions.as_slice() else {
            unreachable!("{:?}", outcome.emissions);
        };
        assert!(matches!(event, ServerEvent::UnreadCount(counts) if *counts == right.counts()));
        assert_eq!((*offset, *to), (Offset(11), Listening::All));
    }
}

#[test]
fn it_is_counted_once_an_hour_however_often_there_is_occasion_to() {
    let at = |minutes: u64| Timestamp::from_ms(minutes * 60_000);
    assert!(!recount_is_due(at(60), at(119)));
    assert!(recount_is_due(at(59), at(60)));
    assert!(recount_is_due(at(60), at(300)));
    assert!(!recount_is_due(at(61), at(60)));
    // Ticks of a minute and a half, for a day.
    let ticks = (1..=960).filter(|n| {
        recount_is_due(
            Timestamp::from_ms((n - 1) * 90_000),
            Timestamp::from_ms(n * 90_000),
        )
    });
    assert_eq!(ticks.count(), 24);
}
