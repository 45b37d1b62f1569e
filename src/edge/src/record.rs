//! The seam between a hub and the record: what a hub reads from or writes to D1 goes through its
//! switchboard, which does so for many hubs at once. Only an erasure, which is rare, goes straight to D1, and to
//! whatever switchboard knows of the user.

use dormouse_domain::delivery::Tally;
use dormouse_domain::id::UserId;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::time::Timestamp;
use worker::{Env, Error, Result};

use crate::d1::OwedDelivery;
use crate::instruments::{FailPoint, reach};
use crate::switchboard_rpc::{Attend, Missed, SwitchboardCall, SwitchboardRequest};
use crate::{bindings, clock};

/// Says who is there, and asks for what is missing of the logs it wants: one answer for each, in their
/// order.
///
/// # Errors
/// When the record could not be read; never an empty answer instead.
pub(crate) async fn attend(env: &Env, switchboard: SwitchboardName, attend: Attend) -> Result<Missed> {
    let wanted = attend.wanted.len();
    reach(FailPoint::CatchUpBeforePull).await?;
    let missed: Missed = SwitchboardRequest::new(switchboard, SwitchboardCall::Attend(attend))
        .send_for(env)
        .await?;
    reach(FailPoint::CatchUpPulled).await?;
    if missed.logs.len() == wanted {
        Ok(missed)
    } else {
        let answered = missed.logs.len();
        Err(Error::RustError(format!(
            "{wanted} logs were asked for, {answered} answered"
        )))
    }
}

/// Says that nobody is there any more.
///
/// # Errors
/// When the switchboard can't be reached: it will find out by itself.
pub(crate) async fn leave(
    env: &Env,
    switchboard: SwitchboardName,
    user: UserId,
    at: Timestamp,
) -> Result<()> {
    SwitchboardRequest::new(switchboard, SwitchboardCall::Leave { user, at })
        .send(env)
        .await
        .map(|_| ())
}

/// Writes what the hub owes the record, and says what became of deliveries meanwhile.
///
/// # Errors
/// When the record could not be written.
pub(crate) async fn settle(
    env: &Env,
    switchboard: SwitchboardName,
    user: UserId,
    owed: Vec<OwedDelivery>,
    tally: Tally,
) -> Result<()> {
    reach(FailPoint::OutboxBeforeFlush).await?;
    SwitchboardRequest::new(switchboard, SwitchboardCall::Settle { user, owed, tally })
        .send(env)
        .await?;
    reach(FailPoint::OutboxFlushed).await
}

/// Entries of a log that are erased at once.
const ERASE_PAGE: u32 = 100;

/// Entries of a shared room's log that are looked through at once for what a user got of them.
const ERASE_SHARED_PAGE: u64 = 1_000;

/// Removes a user from the record, up to and including entry `n` of their room, and from the rosters, as far as they
/// know of them until now.
///
/// # Errors
/// When the record could not be written, or a switchboard not be reached; what was removed by then stays removed.
pub(crate) async fn erase(env: &Env, switchboard: SwitchboardName, user: &UserId, n: u64) -> Result<()> {
    let at = clock::now();
    let record = bindings::record(env)?;
    let mut rooms = record.rooms_of(user).await?;
    rooms.push(SharedRoom::Broadcast);
    for room in rooms {
        let mut next = Some(0);
        while let Some(after) = next {
            next = record
                .erase_shared_deliveries(user, &room, after, ERASE_SHARED_PAGE)
                .await?;
        }
    }
    let mut after = 0;
    loop {
        let page = record.room_notifications(user, after, n, ERASE_PAGE).await?;
        let Some((last, _)) = page.last() else {
            record.erase_memberships(user).await?;
            record.erase_room(user, n).await?;
            let names = record.switchboards().await?;
            return forget(env, switchboard, &names, user, at).await;
        };
        let ids: Vec<_> = page.iter().map(|(_, id)| *id).collect();
        record.erase_deliveries(user, &ids).await?;
        after = *last;
        record.erase_room(user, after).await?;
    }
}

/// Has the user's switchboards, those of earlier generations among them, forget who was there until `at`.
async fn forget(
    env: &Env,
    switchboard: SwitchboardName,
    registered: &[SwitchboardName],
    user: &UserId,
    at: Timestamp,
) -> Result<()> {
    let earlier = registered.iter().copied().filter(|name| {
        let is_theirs = SwitchboardName::of(user, name.count) == *name;
        is_theirs && *name != switchboard
    });
    for name in earlier.chain([switchboard]) {
        let user = user.clone();
        SwitchboardRequest::new(name, SwitchboardCall::Forget { user, at })
            .send(env)
            .await?;
    }
    Ok(())
}
