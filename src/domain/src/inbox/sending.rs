//! What clients are sent that come back, and how much of what comes at once goes into one event.

use std::rc::Rc;

use super::edit::{Edit, redelivered};
use super::{Emission, Head, Listening, MAX_BATCH, Outcome, Surroundings};
use crate::change::Change;
use crate::event::{MAX_BATCH_BYTES, ServerEvent};
use crate::item::Item;
use crate::recovery::Offset;

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
    let mut room = Some(MAX_BATCH_BYTES);
    let mut fitting: Vec<Item> = Vec::new();
    for item in items.into_iter().take(MAX_BATCH) {
        room = room.and_then(|room| room.checked_sub(size_bytes(&item)));
        // One that is too large for any batch is one, or nothing would ever come after it.
        if room.is_none() && !fitting.is_empty() {
            break;
        }
        fitting.push(item);
    }
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
///
/// What is told out of order brings a client no further than to where the arrivals begin: until the last
/// batch is there, a client whose connection breaks has to ask for all of them again.
#[must_use]
pub fn gather(head: &Head, emissions: Vec<Emission>, threshold: usize) -> Vec<Emission> {
    let mut arrivals = emissions.iter().filter_map(|emission| match &emission.event {
        ServerEvent::NotificationNew {
            item,
            redelivered: Redelivered::No,
            ..
        } => Some(item.seq),
        ServerEvent::NotificationNew { .. }
        | ServerEvent::Authenticated { .. }
        | ServerEvent::NotificationBatch { .. }
        | ServerEvent::Changed(_)
        | ServerEvent::UnreadCount(_)
        | ServerEvent::PresenceUpdate { .. }
        | ServerEvent::Custom { .. }
        | ServerEvent::Pong
        | ServerEvent::AuthExpiring { .. }
        | ServerEvent::AuthError { .. }
        | ServerEvent::Error(_) => None,
    });
    let first = arrivals.next();
    let count = arrivals.count().saturating_add(usize::from(first.is_some()));
    let Some(first) = first.filter(|_| count > threshold) else {
        return emissions;
    };
    let begin = Offset(first.saturating_sub(1));
    let mut items: Vec<Rc<Item>> = Vec::with_capacity(count);
    let mut gathered = Vec::new();
    for emission in emissions {
        let offset = emission.offset.min(begin);
        match emission.event {
            ServerEvent::NotificationNew {
                item,
                redelivered: Redelivered::No,
                ..
            } => items.push(item),
            ServerEvent::UnreadCount(_) => {}
            // What has come and gone is not told of at all.
            ServerEvent::Changed(Change::Deleted(deleted))
                if items.iter().any(|item| item.recipient_id == deleted.recipient_id) =>
            {
                items.retain(|item| item.recipient_id != deleted.recipient_id);
            }
            // A retry is no arrival, and not for everybody.
            event @ (ServerEvent::NotificationNew { .. }
            | ServerEvent::Authenticated { .. }
            | ServerEvent::NotificationBatch { .. }
            | ServerEvent::Changed(_)
            | ServerEvent::PresenceUpdate { .. }
            | ServerEvent::Custom { .. }
            | ServerEvent::Pong
            | ServerEvent::AuthExpiring { .. }
            | ServerEvent::AuthError { .. }
            | ServerEvent::Error(_)) => gathered.push(Emission {
                event,
                offset,
                to: emission.to,
            }),
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
    let last = (!batch.is_empty()).then_some((batch, Offset(head.seq)));
    let batches = batches.into_iter().map(|batch| (batch, begin)).chain(last);
    for (items, offset) in batches {
        gathered.push(Emission {
            event: ServerEvent::NotificationBatch {
                items,
                counts,
                has_more: HasMore::No,
            },
            offset,
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
