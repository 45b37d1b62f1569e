//! Faults that are planted: mistakes one could make in this code, to prove that chaos finds them.

use std::cell::Cell;

use dormouse_domain::room::Room;
use serde::Deserialize;
use worker::{Env, Result};

use super::Fault;
use crate::d1::{Order, When};
use crate::hub_rpc::{EntryRecord, HubCall, HubRequest, NudgeReply};

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Plants a fault, in the place of any other.
pub(crate) fn plant(fault: Fault) {
    PLANTED.set(Some(fault));
}

/// Whether this fault is planted.
pub(crate) fn is_planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Has hubs tell their clients of pushes that are not committed yet, under the numbers they will most likely get.
///
/// # Errors
/// When a hub can't be reached.
pub(crate) async fn tell_too_early(env: &Env, orders: &[Order]) -> Result<()> {
    #[derive(Deserialize)]
    struct Info {
        cursor: u64,
    }
    if !is_planted(Fault::EmitBeforeCommit) {
        return Ok(());
    }
    let at_once = orders.iter().filter(|order| matches!(order.when, When::Now));
    for Order {
        notification, rooms, ..
    } in at_once
    {
        for room in rooms {
            let Room::User(user) = room else { continue };
            let info: Info = HubRequest::new(user.clone(), HubCall::Info).send_for(env).await?;
            let call = HubCall::Nudge(EntryRecord::new(info.cursor.saturating_add(1), notification));
            let _: NudgeReply = HubRequest::new(user.clone(), call).send_for(env).await?;
        }
    }
    Ok(())
}
