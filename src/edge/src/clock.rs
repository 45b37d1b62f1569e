//! The one place that reads the clock.

use dormouse_domain::time::Timestamp;

use crate::instruments;

/// This moment. On the platform it stands still while code runs without waiting.
#[expect(
    clippy::disallowed_methods,
    reason = "time is an input to everything else; here it comes in"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::from_ms(worker::Date::now().as_millis()).after_ms(instruments::ahead_ms())
}
