//! The queue `nudges`: hubs and switchboards that could not be reached after something was stored are told later.

use std::fmt::Display;

use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::inbox::EntryKind;
use dormouse_domain::switchboard::SwitchboardName;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use worker::{Env, Error, MessageBatch, MessageExt, QueueRetryOptionsBuilder, Result, console_error};

use crate::bindings;
use crate::dispatch::HUBS_AT_ONCE;
use crate::hub_rpc::{HubCall, HubRequest};
use crate::instruments::{FailPoint, reach};
use crate::switchboard_rpc::{FanOut, FanOutReply, SwitchboardCall, SwitchboardRequest};

/// Seconds before a hub that still can't be reached is told again.
const RETRY_DELAY_S: u32 = 10;

/// What somebody could not be told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Nudge {
    /// A hub: that its user's log is longer than it may know.
    Hub {
        /// The version of this shape.
        v: u8,
        user: String,
    },
    /// A switchboard: an entry of shared rooms.
    Switchboard {
        /// The version of this shape.
        v: u8,
        switchboard: String,
        /// A [`FanOut`] as JSON, without what was pushed: escaped, that may be longer than a message of a queue.
        fan_out: String,
        /// What was pushed: the record has it.
        #[serde(default)]
        pushed: Option<String>,
    },
}

async fn enqueue(env: &Env, nudge: &Nudge) -> Result<()> {
    reach(FailPoint::NudgeQueued).await?;
    bindings::nudges(env)?.send(nudge).await
}

/// Brings an entry of shared rooms to a switchboard: at once, and then what it has said to it, or by the
/// queue.
pub(crate) async fn fan_out(
    env: &Env,
    switchboard: SwitchboardName,
    fan_out: &FanOut,
) -> Option<FanOutReply> {
    let call = SwitchboardCall::FanOut(fan_out.clone());
    match SwitchboardRequest::new(switchboard, call).send_for(env).await {
        Ok(reply) => Some(reply),
        Err(error) => {
            console_error!("a switchboard could not be reached after something was stored: {error}");
            if let Err(error) = queue_fan_out(env, switchboard, fan_out).await {
                console_error!(
                    "the fan-out could not be queued; the next of its rooms brings the entry: {error}"
                );
            }
            None
        }
    }
}

async fn queue_fan_out(env: &Env, switchboard: SwitchboardName, fan_out: &FanOut) -> Result<()> {
    let (pushed, kind) = match &fan_out.kind {
        EntryKind::Push(Some(notification)) => (Some(notification.id), EntryKind::Push(None)),
        EntryKind::Push(None)
        | EntryKind::Retract(_)
        | EntryKind::Retry(_)
        | EntryKind::Erase(_)
        | EntryKind::MemberAdd { .. }
        | EntryKind::MemberRemove { .. } => (None, fan_out.kind.clone()),
    };
    let places = fan_out.places.clone();
    let nudge = Nudge::Switchboard {
        v: 1,
        switchboard: switchboard.to_string(),
        fan_out: serde_json::to_string(&FanOut { places, kind })?,
        pushed: pushed.map(|id| id.to_string()),
    };
    enqueue(env, &nudge).await
}

/// Tells the hubs of these users that their logs have grown: at once, or by the queue, or failing that by
/// the next they hear of anything.
pub(crate) async fn catch_up(env: &Env, users: Vec<UserId>) {
    let telling = users.into_iter().map(|user| async move {
        let told = HubRequest::new(user.clone(), HubCall::CatchUp).send(env).await;
        if let Err(error) = told {
            tell_later(env, user, &error).await;
        }
    });
    stream::iter(telling)
        .buffer_unordered(HUBS_AT_ONCE)
        .collect::<()>()
        .await;
}

/// What could not be brought to a hub, because of `error`, comes by the queue, and failing that when the hub
/// next hears of anything.
pub(crate) async fn tell_later(env: &Env, user: UserId, error: &Error) {
    console_error!("a hub could not be reached after something was stored for it: {error}");
    if let Err(error) = queue_hub(env, user).await {
        console_error!("the nudge could not be queued; the hub's next event brings the entry: {error}");
    }
}

/// Has the queue tell a hub that its user's logs have grown.
///
/// # Errors
/// When the queue does not take it.
pub(crate) async fn queue_hub(env: &Env, user: UserId) -> Result<()> {
    let nudge = Nudge::Hub {
        v: 1,
        user: user.into(),
    };
    enqueue(env, &nudge).await
}

/// Takes a batch; each message is acknowledged or comes again by itself.
pub(crate) async fn consume(batch: &MessageBatch<Nudge>, env: &Env) {
    for message in batch.iter() {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                // Neither acknowledged nor asked for again, it counts as taken: it would never be of use.
                console_error!("a nudge of another shape: {error}");
                continue;
            }
        };
        match tell(env, message.body()).await {
            Ok(()) => message.ack(),
            Err(error) => {
                console_error!("an object could still not be reached: {error}");
                message.retry_with_options(
                    &QueueRetryOptionsBuilder::new()
                        .with_delay_seconds(RETRY_DELAY_S)
                        .build(),
                );
            }
        }
    }
}

async fn tell(env: &Env, nudge: &Nudge) -> Result<()> {
    match nudge {
        Nudge::Hub { user, .. } => {
            let user = UserId::parse(user).map_err(unreadable)?;
            HubRequest::new(user, HubCall::CatchUp).send(env).await?;
        }
        Nudge::Switchboard {
            switchboard,
            fan_out,
            pushed,
            ..
        } => {
            let name = SwitchboardName::parse(switchboard)
                .ok_or_else(|| unreadable(format!("no switchboard is called {switchboard:?}")))?;
            let mut fan_out: FanOut = serde_json::from_str(fan_out)?;
            if let Some(id) = pushed {
                let id = NotificationId::parse(id).map_err(unreadable)?;
                let pushed = bindings::record(env)?.read_notification(id).await?;
                fan_out.kind = EntryKind::Push(pushed.map(Box::new));
            }
            let call = SwitchboardCall::FanOut(fan_out);
            SwitchboardRequest::new(name, call).send(env).await?;
        }
    }
    Ok(())
}

fn unreadable(error: impl Display) -> Error {
    Error::RustError(format!("a nudge that can't be read: {error}"))
}
