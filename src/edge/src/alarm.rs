//! The one alarm of an object, and what is known of it.

use std::cell::Cell;

use dormouse_domain::time::Timestamp;
use worker::{Result, State, Storage};

use crate::clock;
use crate::instruments::{Unit, count};

/// The soonest an alarm is set for, in milliseconds from now. One that goes off, and is set while it is handled for its own
/// time or one before, may never go off again (measured on local workerd 1.20261117.1: every object that did so at random
/// lost its alarm within seconds; with this, none).
const SOONEST_MS: u64 = 5;

/// An object's alarm. Looking it up costs a read, so what is known of it is kept in memory.
pub(crate) struct Alarm {
    raw: Storage,
    known: Cell<Known>,
}

#[derive(Clone, Copy, Default)]
enum Known {
    /// It has not been looked up since the object woke, or could not be set.
    #[default]
    No,
    /// It is set for this time, or not at all.
    Set(Option<Timestamp>),
}

impl Alarm {
    /// The alarm of the object with this state.
    pub(crate) fn new(state: &State) -> Self {
        Self {
            raw: state.storage(),
            known: Cell::default(),
        }
    }

    /// It has gone off: it is set no more.
    pub(crate) fn went_off(&self) {
        self.known.set(Known::Set(None));
    }

    /// Whether nothing is known of it: no event has ended since the object woke, or the last could not set it.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.known.get(), Known::No)
    }

    /// When it is set for, as the platform says.
    ///
    /// # Errors
    ///
    /// What the storage answered.
    pub(crate) async fn look_up(&self) -> Result<Option<Timestamp>> {
        let at = self.raw.get_alarm().await?;
        Ok(at.and_then(|ms| u64::try_from(ms).ok()).map(Timestamp::from_ms))
    }

    /// Sets it when `to_set`, told when it is set for, says so.
    ///
    /// # Errors
    ///
    /// Those of `to_set`, and what the storage answered.
    pub(crate) async fn arm(
        &self,
        to_set: impl FnOnce(Option<Timestamp>) -> Result<Option<Timestamp>>,
    ) -> Result<()> {
        if self.is_unknown() {
            let stored = self.look_up().await?;
            // While it was looked up it may have gone off, or been set: then that is newer.
            if self.is_unknown() {
                self.known.set(Known::Set(stored));
            }
        }
        let set = match self.known.get() {
            Known::Set(set) => set,
            Known::No => None,
        };
        let Some(at) = to_set(set)? else {
            return Ok(());
        };
        let at = at.max(clock::now().after_ms(SOONEST_MS));
        count(Unit::AlarmsSet, 1);
        // Before the wait: it may go off meanwhile, and that is newer.
        self.known.set(Known::Set(Some(at)));
        let written = self.raw.set_alarm(at.to_datetime()).await;
        if written.is_err() {
            self.known.set(Known::No);
        }
        written
    }
}
