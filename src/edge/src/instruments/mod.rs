//! Fail points, planted faults, the ledger and a clock that can be put forward. In the production bundle every function here is
//! empty.
//!
//! A *fail point* stands between two steps; a test names one, and there the step fails or the event
//! stops for ever (and the test kills the process). A *planted fault* is a mistake that such tests must find. The
//! *ledger* counts billable units.

#[cfg(feature = "instruments")]
mod counters;
#[cfg(feature = "instruments")]
mod fail_points;
#[cfg(feature = "instruments")]
mod faults;
#[cfg(feature = "instruments")]
pub(crate) mod routes;
#[cfg(feature = "instruments")]
mod time;

#[cfg(feature = "instruments")]
pub(crate) use self::counters::{count, note};
#[cfg(feature = "instruments")]
pub(crate) use self::fail_points::reach;
#[cfg(feature = "instruments")]
pub(crate) use self::faults::{is_planted, tell_too_early};
#[cfg(feature = "instruments")]
pub(crate) use self::time::ahead_ms;

/// Where an event can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "instruments", derive(Hash, serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "instruments", serde(rename_all = "kebab-case"))]
pub(crate) enum FailPoint {
    /// A push is validated, nothing is stored.
    PushBeforeCommit,
    /// The record has committed the push; the Worker has not read the answer.
    CommitAnswered,
    /// The push is stored; no hub knows.
    PushCommitted,
    /// The hubs have answered; the pusher has not been answered.
    PushNudged,
    /// Scheduled pushes are due and read, nothing is stored.
    CronBeforeCommit,
    /// Scheduled pushes are stored; no hub knows.
    CronCommitted,
    /// The hubs have answered; the record has the pushes as stored and as scheduled.
    CronNudged,
    /// A message of the queue can't be carried out; it is not kept.
    LetterBeforeKeep,
    /// It is kept as a dead letter; the queue still has the message.
    LetterKept,
    /// A dead letter was carried out; it is still there.
    LetterReplayed,
    /// A hub could not be reached; the queue does not know.
    NudgeQueued,
    /// The hub has the nudge; nothing is stored in it.
    NudgeReceived,
    /// The inbox has the entry; no socket got it.
    EntryStored,
    /// The sockets got the entry; the Worker has not been answered.
    NudgeApplied,
    /// The hub is about to read the record.
    CatchUpBeforePull,
    /// The hub has read the record; nothing of it is applied.
    CatchUpPulled,
    /// The hub is about to write the record.
    OutboxBeforeFlush,
    /// The record is written; the hub still thinks it owes.
    OutboxFlushed,
    /// Hubs wait for what they missed; the switchboard has not asked the record.
    AttendBeforeRead,
    /// The switchboard has read the record; no hub is answered.
    AttendRead,
    /// Hubs wait to be rid of what they owe; nothing is written.
    SettleBeforeWrite,
    /// The record has what the hubs owed; none of them knows.
    SettleWritten,
    /// The switchboard has an entry of shared rooms; nobody is told.
    FanOutAccepted,
    /// A batch of members is told; the switchboard does not know how far it has come.
    FanOutBatchTold,
}

/// A mistake that can be planted, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "instruments", derive(serde::Deserialize))]
#[cfg_attr(feature = "instruments", serde(rename_all = "kebab-case"))]
pub(crate) enum Fault {
    /// Hubs tell of a push before the record has committed it.
    #[cfg(feature = "instruments")]
    EmitBeforeCommit,
    /// A hub strikes off what it owes before the record has it.
    DropOutbox,
    /// A hub takes an entry although some before it are missing.
    CursorOverGap,
}

/// What is billed, as the platform's price list counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "instruments", derive(PartialOrd, Ord, serde::Serialize))]
#[cfg_attr(feature = "instruments", serde(rename_all = "snake_case"))]
pub(crate) enum Unit {
    /// Requests to the Worker.
    WorkerRequests,
    /// Requests to Durable Objects, upgrades included.
    ObjectRequests,
    /// Alarms that went off.
    Alarms,
    /// Alarms set: one row written each.
    AlarmsSet,
    /// WebSocket messages that woke or reached an object.
    MessagesReceived,
    /// Rows read in objects.
    ObjectRowsRead,
    /// Rows written in objects, without alarms.
    ObjectRowsWritten,
    /// Calls to D1.
    RecordBatches,
    /// Statements in them.
    RecordStatements,
    /// Rows read in D1.
    RecordRowsRead,
    /// Rows written in D1.
    RecordRowsWritten,
}

/// Counts nothing.
#[cfg(not(feature = "instruments"))]
pub(crate) const fn count(_unit: Unit, _by: usize) {}

/// Notes nothing.
#[cfg(not(feature = "instruments"))]
pub(crate) const fn note(_point: &str, _value: u64) {}

/// Counts the rows that a statement of an object has read and written. Not asked for in production: each is a call
/// of the platform.
pub(crate) fn count_rows(cursor: &worker::SqlCursor) {
    if cfg!(feature = "instruments") {
        count(Unit::ObjectRowsRead, cursor.rows_read());
        count(Unit::ObjectRowsWritten, cursor.rows_written());
    }
}

/// The platform's clock is the clock.
#[cfg(not(feature = "instruments"))]
pub(crate) const fn ahead_ms() -> u64 {
    0
}

/// Never.
#[cfg(not(feature = "instruments"))]
pub(crate) const fn is_planted(_fault: Fault) -> bool {
    false
}

/// Never fails.
#[cfg(not(feature = "instruments"))]
pub(crate) async fn reach(_point: FailPoint) -> worker::Result<()> {
    Ok(())
}
