//! Fail points that are armed, and how often each was reached.

use std::cell::RefCell;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use worker::{Error, Result, console_log};

use super::FailPoint;

/// What happens at an armed fail point.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// The step fails.
    Error,
    /// The event never goes on; the test kills the process.
    Stall,
}

/// An armed fail point.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Armed {
    pub(crate) action: Action,
    /// How often it still acts.
    #[serde(default = "once")]
    pub(crate) times: u32,
    /// How often it has acted.
    #[serde(default)]
    pub(crate) hits: u32,
}

const fn once() -> u32 {
    1
}

thread_local! {
    static ARMED: RefCell<HashMap<FailPoint, Armed>> = RefCell::default();
}

/// Arms a fail point.
pub(crate) fn arm(point: FailPoint, armed: Armed) {
    ARMED.with_borrow_mut(|points| points.insert(point, armed));
}

/// Every armed fail point.
pub(crate) fn armed() -> HashMap<FailPoint, Armed> {
    ARMED.with_borrow(Clone::clone)
}

/// Disarms all.
pub(crate) fn clear() {
    ARMED.with_borrow_mut(HashMap::clear);
}

/// Fails or stalls when `point` is armed.
///
/// # Errors
/// When a test wants it.
pub(crate) async fn reach(point: FailPoint) -> Result<()> {
    let action = ARMED.with_borrow_mut(|points| {
        let armed = points.get_mut(&point).filter(|armed| armed.times > 0)?;
        armed.times = armed.times.saturating_sub(1);
        armed.hits = armed.hits.saturating_add(1);
        Some(armed.action)
    });
    match action {
        None => Ok(()),
        Some(Action::Error) => Err(Error::RustError(format!("fail point {point:?}"))),
        Some(Action::Stall) => {
            console_log!("fail point {point:?} stalls");
            std::future::pending().await
        }
    }
}
