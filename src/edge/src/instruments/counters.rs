//! The ledger's counters, and the points written for Analytics Engine. Worker and objects share one isolate on a developer's machine, so one table
//! counts for all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::Unit;

thread_local! {
    static COUNTERS: RefCell<BTreeMap<Unit, usize>> = const { RefCell::new(BTreeMap::new()) };
    static POINTS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Adds `by` to `unit`.
pub(crate) fn count(unit: Unit, by: usize) {
    COUNTERS.with_borrow_mut(|counters| {
        let counter = counters.entry(unit).or_default();
        *counter = counter.saturating_add(by);
    });
}

/// What was counted since the last [`reset`].
pub(crate) fn counted() -> BTreeMap<Unit, usize> {
    COUNTERS.with_borrow(Clone::clone)
}

/// Notes a point that is written.
pub(crate) fn note(point: &'static str, value: u64) {
    POINTS.with_borrow_mut(|points| {
        let sum = points.entry(point).or_default();
        *sum = sum.saturating_add(value);
    });
}

/// The sums of the points written since the isolate began.
pub(crate) fn points() -> BTreeMap<&'static str, u64> {
    POINTS.with_borrow(Clone::clone)
}

/// Begins anew.
pub(crate) fn reset() {
    COUNTERS.with_borrow_mut(BTreeMap::clear);
}
