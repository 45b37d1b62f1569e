//! The seam between a hub and the record: everything a hub reads from or writes to D1 goes through
//! here, so that another object can stand between many hubs and the record.

use dormouse_domain::id::UserId;
use dormouse_domain::inbox::Entry;
use worker::{Env, Result};

use crate::bindings;
use crate::d1::OwedDelivery;
use crate::instruments::{FailPoint, reach};

/// Entries that are read at once.
const PAGE: u32 = 100;

/// The next entries of the user's room after `cursor`, in order; empty when there are none.
///
/// # Errors
/// When the record could not be read; never an empty list instead.
pub(crate) async fn pull(env: &Env, user: &UserId, cursor: u64) -> Result<Vec<Entry>> {
    reach(FailPoint::CatchUpBeforePull).await?;
    let entries = bindings::record(env)?.read_room(user, cursor, PAGE).await?;
    reach(FailPoint::CatchUpPulled).await?;
    Ok(entries)
}

/// Writes what the hub owes the record.
///
/// # Errors
/// When the record could not be written.
pub(crate) async fn settle(env: &Env, user: &UserId, owed: &[OwedDelivery]) -> Result<()> {
    reach(FailPoint::OutboxBeforeFlush).await?;
    bindings::record(env)?.write_deliveries(user, owed).await?;
    reach(FailPoint::OutboxFlushed).await
}

/// Entries of a user's log that are erased at once.
const ERASE_PAGE: u32 = 100;

/// Removes a user from the record, up to and including entry `n` of their room.
///
/// # Errors
/// When the record could not be written; what was removed by then stays removed.
pub(crate) async fn erase(env: &Env, user: &UserId, n: u64) -> Result<()> {
    let record = bindings::record(env)?;
    let mut after = 0;
    loop {
        let page = record.room_notifications(user, after, n, ERASE_PAGE).await?;
        let Some((last, _)) = page.last() else {
            return record.erase_room(user, n).await;
        };
        let ids: Vec<_> = page.iter().map(|(_, id)| *id).collect();
        record.erase_deliveries(user, &ids).await?;
        after = *last;
        record.erase_room(user, after).await?;
    }
}
