//! How entries of the room log come into the inbox, and what comes of a rule is stored and sent.

use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::alarm;
use dormouse_domain::id::UserId;
use dormouse_domain::inbox::{
    self, Debt, Emission, Entry, EntryKind, Head, Known, Outcome, Place, Store, Surroundings,
};
use dormouse_domain::item::Folder;
use worker::{Delay, Error, Result, console_error};

use super::{Due, Hub, Owed};
use crate::hub_rpc::NudgeReply;
use crate::instruments::{FailPoint, reach};
use crate::sockets::{Connection, broadcast, listeners};
use crate::{clock, entropy, record};

/// How long a nudge waits for those before it, which concurrent pushes overtake: looks and pause.
const PATIENCE_LOOKS: u32 = 8;
const PATIENCE_PAUSE: Duration = Duration::from_millis(3);

impl Hub {
    // ---- entries of the room log ----

    /// Brings one entry of the user's room into the inbox.
    pub(super) async fn nudge(self: &Rc<Self>, user: &UserId, entry: Entry) -> Result<NudgeReply> {
        reach(FailPoint::NudgeReceived).await?;
        let n = entry.n;
        let recipient_id = entry.kind.notification_id().map(|id| id.recipient(user));
        self.memory.borrow_mut().held.insert(n, entry);
        let applied = self.apply_up_to(user, n).await;
        self.memory.borrow_mut().held.remove(&n);
        applied?;
        let item = match recipient_id {
            Some(id) => self.storage.item(id)?,
            None => None,
        };
        self.finish();
        reach(FailPoint::NudgeApplied).await?;
        Ok(match item {
            None => NudgeReply::Gone,
            Some(item) if item.folder == Folder::Suppressed => NudgeReply::Suppressed,
            Some(item) => NudgeReply::Applied(item.receipt),
        })
    }

    async fn apply_up_to(self: &Rc<Self>, user: &UserId, n: u64) -> Result<()> {
        for _ in 0..PATIENCE_LOOKS {
            self.apply_held(user).await?;
            if self.head(user)?.place(n) == Place::Applied {
                return Ok(());
            }
            Delay::from(PATIENCE_PAUSE).await;
        }
        self.catch_up(user).await?;
        match self.head(user)?.place(n) {
            Place::Applied => Ok(()),
            Place::Next | Place::Gap => Err(Error::RustError(format!(
                "the record does not hold entry {n} of the user's room"
            ))),
        }
    }

    /// Applies held entries for as long as the next one is there. Nothing comes in while a user is being
    /// erased: each time around, that is finished first.
    async fn apply_held(&self, user: &UserId) -> Result<()> {
        loop {
            self.finish_erasure().await?;
            let next = self.head(user)?.cursor.saturating_add(1);
            let Some(entry) = self.memory.borrow_mut().held.remove(&next) else {
                return Ok(());
            };
            let emissions = self.apply(user, entry).await?;
            self.emit(&emissions)?;
        }
    }

    /// Reads what is missing from the record and applies it. Many notifications at once are sent as a
    /// batch.
    pub(super) async fn catch_up(&self, user: &UserId) -> Result<()> {
        loop {
            self.finish_erasure().await?;
            let entries = record::pull(&self.env, user, self.head(user)?.cursor).await?;
            if entries.is_empty() {
                return self.apply_held(user).await;
            }
            let mut emissions = Vec::new();
            for entry in entries {
                self.finish_erasure().await?;
                // While the record was read, a nudge may have brought some of these.
                if self.head(user)?.place(entry.n) != Place::Applied {
                    // What is not told yet from before an erasure is not told at all.
                    if matches!(entry.kind, EntryKind::Erase(_)) {
                        emissions.clear();
                    }
                    emissions.extend(self.apply(user, entry).await?);
                }
            }
            let threshold = self.config()?.batch_threshold;
            self.emit(&inbox::gather(&self.head(user)?, emissions, threshold))?;
        }
    }

    /// Catches up; when the record can't be read, the alarm is to try again.
    pub(super) async fn catch_up_again(&self, user: &UserId) -> Result<()> {
        let at = match self.catch_up(user).await {
            Ok(()) => None,
            Err(error) => {
                console_error!("catching up failed and is tried again: {error}");
                // Spread out: what failed for one hub has most likely failed for many.
                let jitter = u64::from(u16::from_le_bytes(entropy::bytes()?)) % alarm::RETRY_MS;
                Some(clock::now().after_ms(alarm::RETRY_MS.saturating_add(jitter)))
            }
        };
        let head = self.head(user)?;
        if head.catch_up_at == at {
            return Ok(());
        }
        self.storage.apply(vec![Store::Head(Head {
            catch_up_at: at,
            ..head
        })])
    }

    /// Stores what one entry brings; gives what is to be sent. Waits for nothing in the production bundle.
    async fn apply(&self, user: &UserId, entry: Entry) -> Result<Vec<Emission>> {
        let item = match entry.kind.notification_id() {
            Some(id) => self.storage.item(id.recipient(user))?,
            None => None,
        };
        let collapse_key = match &entry.kind {
            EntryKind::Push(Some(notification)) => notification.content.collapse_key.as_deref(),
            EntryKind::Push(None) | EntryKind::Retract(_) | EntryKind::Retry(_) | EntryKind::Erase(_) => None,
        };
        let collapsing = match collapse_key {
            Some(key) => self.storage.collapsing(key)?,
            None => Vec::new(),
        };
        let known = Known { item, collapsing };
        let connections = self.connections()?;
        let erased = matches!(entry.kind, EntryKind::Erase(_));
        let Outcome { stores, emissions } = self.around(&connections, |around| {
            Ok(inbox::apply(&self.head(user)?, entry, known, around))
        })?;
        self.store(stores)?;
        if erased {
            // However long the record takes: what was before is in no list from now on.
            self.disconnect()?;
            self.storage.wipe(self.head(user)?.erased())?;
        }
        reach(FailPoint::EntryStored).await?;
        Ok(emissions)
    }

    // ---- deciding, storing, sending ----

    /// Calls a rule with what is around the inbox.
    pub(super) fn around<T>(
        &self,
        connections: &[Connection],
        rule: impl FnOnce(&Surroundings<'_>) -> Result<T>,
    ) -> Result<T> {
        let config = self.config()?;
        rule(&Surroundings {
            policy: &config.delivery,
            listeners: listeners(connections),
            now: clock::now(),
        })
    }

    /// Stores what came of a rule, then sends it to everybody.
    pub(super) fn carry_out(&self, outcome: Outcome) -> Result<()> {
        self.store(outcome.stores)?;
        self.emit(&outcome.emissions)
    }

    /// Stores, and keeps in mind when the clock moves the next delivery on.
    pub(super) fn store(&self, stores: Vec<Store>) -> Result<()> {
        let owes = stores.iter().any(|store| store.debt() == Debt::Owed);
        let due = stores.iter().filter_map(Store::wakes_at).min();
        self.storage.apply(stores)?;
        let mut memory = self.memory.borrow_mut();
        if owes {
            memory.owed = Owed::Known(Debt::Owed);
        }
        if let Due::Known(known) = memory.due {
            memory.due = Due::Known(known.into_iter().chain(due).min());
        }
        Ok(())
    }

    fn emit(&self, emissions: &[Emission]) -> Result<()> {
        if !emissions.is_empty() {
            broadcast(&self.connections()?, emissions);
        }
        Ok(())
    }
}
