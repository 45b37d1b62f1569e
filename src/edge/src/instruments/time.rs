//! How far the clock was put forward, for all of Worker and objects: a test of what takes a minute need not wait for it.
//! Alarms that are set already go off when they would have.

use std::cell::Cell;

thread_local! {
    static AHEAD_MS: Cell<u64> = const { Cell::new(0) };
}

/// Puts the clock forward, beyond what it was put before.
pub(crate) fn put_forward(ms: u64) {
    AHEAD_MS.set(ahead_ms().saturating_add(ms));
}

/// By how much the clock is ahead of the platform's, in milliseconds.
pub(crate) fn ahead_ms() -> u64 {
    AHEAD_MS.get()
}
