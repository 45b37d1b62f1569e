//! Points for Analytics Engine: how often something happened (docs/operations.md). They are for charts and alerts, not
//! for accounts: one that is lost is lost, and without the binding there are none.
//!
//! The platform takes 25 of one invocation, so each event writes what it has counted once, and what many hubs have
//! counted is written by their switchboard.

use worker::{AnalyticsEngineDataPointBuilder, Env};

use crate::{bindings, instruments};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    /// Notifications stored; a repetition is none.
    Push,
    /// Deliveries confirmed for the first time.
    Delivered,
    /// Notifications sent again.
    Retried,
    /// Deliveries that were not acknowledged in any attempt.
    FailedForGood,
    /// Connections closed because of their silence.
    GhostClosed,
    /// By how much the counts of an inbox differed from its items.
    CounterDrift,
    /// The most deliveries the record was owed when it was written to.
    OutboxDepth,
}

impl Point {
    /// The point's index.
    const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::FailedForGood => "failed_for_good",
            Self::GhostClosed => "ghost_closed",
            Self::CounterDrift => "counter_drift",
            Self::OutboxDepth => "outbox_depth",
        }
    }
}

/// Writes the points of which there is something to say.
pub(crate) fn write(env: &Env, points: &[(Point, u64)]) {
    let mut points = points.iter().filter(|(_, value)| *value > 0).peekable();
    // Most events have nothing to say, and the binding is looked up each time.
    let Some(dataset) = points.peek().and_then(|_| bindings::metrics(env)) else {
        return;
    };
    for (point, value) in points {
        let name = point.name();
        instruments::note(name, *value);
        let value = f64::from(u32::try_from(*value).unwrap_or(u32::MAX));
        let point = AnalyticsEngineDataPointBuilder::new()
            .indexes([name])
            .doubles([value]);
        // It is refused when there are too many.
        let _ = point.write_to(&dataset);
    }
}
