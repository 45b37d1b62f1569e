//! What is done by the clock: scheduled pushes are delivered every minute, and once an hour the record
//! forgets what is old. Each run is bounded and the next one goes on. Two runs at once, or one that ends
//! anywhere, lose nothing and do nothing twice.

use std::slice;

use dormouse_domain::id::NotificationId;
use dormouse_domain::time::Timestamp;
use worker::{Env, Error, Result, console_error};

use crate::d1::{Commit, Commits, Database, Forgotten, Order, Rest};
use crate::dispatch::{nudge, stored};
use crate::instruments::{FailPoint, reach};
use crate::log::{At, Outcome, Trace};
use crate::metrics::{self, Point};
use crate::{bindings, clock, entropy, settings};

/// When the record forgets, as `wrangler.toml` has it; at all other times pushes are delivered.
const RETENTION: &str = "23 * * * *";

/// Scheduled pushes stored in one transaction.
const DUE_AT_ONCE: u32 = 50;
/// Most transactions of one run that deliver.
const MAX_DELIVERIES: usize = 100;
/// A run that has told so many hubs ends: the platform allows 10,000 requests for one, and a last
/// transaction may tell 5,000.
const MAX_NUDGES: usize = 4_000;
/// Most transactions of one run that forget, of each kind.
const MAX_FORGETTING: usize = 100;

/// Does what is due. What fails is logged, and is tried again by the next run.
pub(crate) async fn run(cron: &str, env: &Env) {
    let trace = Trace::begin(entropy::sid().unwrap_or_default());
    let done = if cron == RETENTION {
        trace.operation("forget");
        forget(env).await
    } else {
        trace.operation("deliver");
        let mut pushed = 0;
        let done = deliver(env, &mut pushed).await;
        metrics::write(env, &[(Point::Push, pushed)]);
        done
    };
    let outcome = match done {
        Ok(()) => Outcome::Done,
        Err(error) => {
            console_error!("what was due by the clock is not done yet: {error}");
            Outcome::Refused("FAILED")
        }
    };
    trace.end(env, At::Cron, outcome);
}

/// Delivers the scheduled pushes that are due.
///
/// A push is stored while the record still has it as scheduled, then the hubs are told, then it is struck
/// off: whoever finds it in between tells the hubs again, which know it already, and stores nothing. What is stored
/// is counted.
async fn deliver(env: &Env, pushed: &mut u64) -> Result<()> {
    let record = bindings::record(env)?;
    let mut nudged: usize = 0;
    let mut after = None;
    for _ in 0..MAX_DELIVERIES {
        let now = clock::now();
        let (due, last) = record.read_due(now, after, DUE_AT_ONCE).await?;
        let Some(last) = last else {
            return Ok(());
        };
        after = Some(last);
        reach(FailPoint::CronBeforeCommit).await?;
        let commits = commit(&record, &due, now).await;
        *pushed = pushed.saturating_add(stored(&commits));
        reach(FailPoint::CronCommitted).await?;
        let told = nudge(env, &commits).await;
        reach(FailPoint::CronNudged).await?;
        record.settle_scheduled(&delivered(&commits.commits)).await?;
        nudged = told
            .iter()
            .fold(nudged, |sum, told| sum.saturating_add(told.requests()));
        if nudged > MAX_NUDGES {
            return Ok(());
        }
    }
    Ok(())
}

/// Stores what is due, in one transaction; when that fails, each by itself, so that one that can't be stored
/// holds up no other. What is not stored is tried again by the next run.
async fn commit(record: &Database, due: &[Order], now: Timestamp) -> Commits {
    let error = match record.commit(due, now).await {
        Ok(commits) => return commits,
        Err(error) => error,
    };
    console_error!("scheduled pushes could not be stored together: {error}");
    let mut commits = Commits::default();
    for order in due {
        match record.commit(slice::from_ref(order), now).await {
            Ok(stored) => commits.append(stored),
            Err(error) => console_error!(
                "the scheduled push {} is not stored yet: {error}",
                order.notification.id
            ),
        }
    }
    commits
}

fn delivered(commits: &[Commit]) -> Vec<NotificationId> {
    let stored = commits.iter().filter_map(|commit| match commit {
        Commit::Stored(committed) => Some(committed.notification.id),
        Commit::Scheduled { .. } | Commit::Mismatch | Commit::Gone | Commit::Nothing => None,
    });
    stored.collect()
}

/// Forgets what is older than the settings say.
async fn forget(env: &Env) -> Result<()> {
    let config = settings::load(env)
        .map_err(|_| Error::RustError("the settings are wrong; the log says which".to_owned()))?;
    let record = bindings::record(env)?;
    let now = clock::now();
    let before = Timestamp::from_ms(now.as_ms().saturating_sub(config.retention_ms));
    // Each by itself: what can't be forgotten keeps nothing else.
    let notifications = forget_notifications(&record, before).await;
    let canceled = forget_canceled(&record, before).await;
    let letters = forget_letters(&record, before).await;
    let memberships = forget_memberships(&record, before).await;
    let keys = forget_keys(&record, now).await;
    notifications
        .and(canceled)
        .and(letters)
        .and(memberships)
        .and(keys)
}

async fn forget_memberships(record: &Database, before: Timestamp) -> Result<()> {
    for _ in 0..MAX_FORGETTING {
        if record.forget_memberships(before).await? == Rest::Nothing {
            break;
        }
    }
    Ok(())
}

async fn forget_canceled(record: &Database, before: Timestamp) -> Result<()> {
    for _ in 0..MAX_FORGETTING {
        if record.forget_canceled(before).await? == Rest::Nothing {
            break;
        }
    }
    Ok(())
}

async fn forget_letters(record: &Database, before: Timestamp) -> Result<()> {
    for _ in 0..MAX_FORGETTING {
        if record.forget_letters(before).await? == Rest::Nothing {
            break;
        }
    }
    Ok(())
}

async fn forget_keys(record: &Database, now: Timestamp) -> Result<()> {
    for _ in 0..MAX_FORGETTING {
        if record.forget_keys(now).await? == Rest::Nothing {
            break;
        }
    }
    Ok(())
}

async fn forget_notifications(record: &Database, before: Timestamp) -> Result<()> {
    let mut after = None;
    for _ in 0..MAX_FORGETTING {
        match record.forget_notifications(before, after).await? {
            Forgotten::All => break,
            Forgotten::UpTo(last) => after = Some(last),
            Forgotten::InPart => {}
        }
    }
    Ok(())
}
