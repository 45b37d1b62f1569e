//! The queue `nudges`: hubs that could not be reached after a push was stored are told later.

use dormouse_domain::id::UserId;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use worker::{Env, Error, MessageBatch, MessageExt, QueueRetryOptionsBuilder, Result, console_error};

use crate::bindings;
use crate::dispatch::HUBS_AT_ONCE;
use crate::hub_rpc::{HubCall, HubRequest};
use crate::instruments::{FailPoint, reach};

/// Seconds before a hub that still can't be reached is told again.
const RETRY_DELAY_S: u32 = 10;

/// Tells a hub that its user's log is longer than it may know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Nudge {
    /// The version of this shape.
    v: u8,
    user: String,
}

/// Queues a nudge for `user`.
///
/// # Errors
/// When the queue does not take it.
pub(crate) async fn enqueue(env: &Env, user: UserId) -> Result<()> {
    reach(FailPoint::NudgeQueued).await?;
    bindings::nudges(env)?
        .send(&Nudge {
            v: 1,
            user: user.into(),
        })
        .await
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
    if let Err(error) = enqueue(env, user).await {
        console_error!("the nudge could not be queued; the hub's next event brings the entry: {error}");
    }
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
        match tell(env, &message.body().user).await {
            Ok(()) => message.ack(),
            Err(error) => {
                console_error!("a hub could still not be reached: {error}");
                message.retry_with_options(
                    &QueueRetryOptionsBuilder::new()
                        .with_delay_seconds(RETRY_DELAY_S)
                        .build(),
                );
            }
        }
    }
}

async fn tell(env: &Env, user: &str) -> Result<()> {
    let user = UserId::parse(user).map_err(|error| worker::Error::RustError(error.to_string()))?;
    HubRequest::new(user, HubCall::CatchUp)
        .send(env)
        .await
        .map(|_| ())
}
