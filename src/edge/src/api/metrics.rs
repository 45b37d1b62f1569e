//! `/v1/metrics`: what the record and the switchboards say of themselves.

use std::time::Duration;

use dormouse_domain::open_metrics::{CONTENT_TYPE, Figures};
use dormouse_domain::switchboard::SwitchboardName;
use futures_util::future::{self, Either, select};
use futures_util::{StreamExt, stream};
use worker::{Delay, Env, Response, ResponseBuilder, Result, console_error};

use crate::dispatch::HUBS_AT_ONCE;
use crate::http::Refusal;
use crate::switchboard_rpc::{SwitchboardCall, SwitchboardRequest};
use crate::{bindings, clock, settings};

/// What has not answered by then is down.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET /v1/metrics`.
pub(crate) async fn answer(env: &Env) -> std::result::Result<Response, Refusal> {
    let count = settings::load(env)?.switchboards;
    let asking = SwitchboardName::all(count).map(|name| async move {
        let request = SwitchboardRequest::new(name, SwitchboardCall::Figures);
        (name, in_time("a switchboard", request.send_for(env)).await)
    });
    let switchboards = stream::iter(asking).buffered(HUBS_AT_ONCE).collect();
    let record = in_time("the record", async {
        bindings::record(env)?.figures(clock::now()).await
    });
    let (record, switchboards) = future::join(record, switchboards).await;
    let text = Figures { record, switchboards }.expose();
    Ok(ResponseBuilder::new()
        .with_header("content-type", CONTENT_TYPE)?
        .with_header("cache-control", "no-store")?
        .fixed(text.into_bytes()))
}

/// An answer, or `None` when there is none.
async fn in_time<T>(whose: &str, answer: impl Future<Output = Result<T>>) -> Option<T> {
    match select(Box::pin(answer), Delay::from(PATIENCE)).await {
        Either::Left((Ok(answer), _)) => Some(answer),
        Either::Left((Err(error), _)) => {
            console_error!("{whose} says nothing of itself: {error}");
            None
        }
        Either::Right(_) => {
            console_error!("{whose} says nothing of itself in time");
            None
        }
    }
}
