//! What a hub does by itself: deliveries move on, what has expired goes, what is owed to the record is paid,
//! what is old or erased is removed.

use std::time::Duration;

use dormouse_domain::id::{RecipientId, UserId};
use dormouse_domain::inbox::{self, Debt, Erasure, Head, Store};
use dormouse_domain::item::Item;
use dormouse_domain::time::Timestamp;
use worker::{Delay, Result, console_error};

use super::{Due, Hub, Owed};
use crate::instruments::{Fault, is_planted};
use crate::metrics::{self, Point};
use crate::{clock, record};

/// Items the clock bears on that are dealt with at once.
const TIMER_PAGE: u64 = 100;

/// Changes written to the record at once: as many as a switchboard writes with one statement. Several pages
/// one after the other would each wait for their turn there.
const OUTBOX_PAGE: i64 = 2_000;

/// How often it is looked whether the record has answered.
const SETTLING_PAUSE: Duration = Duration::from_millis(5);

/// Items that retention takes from each folder at a time, and how often it looks, in milliseconds.
const RETENTION_PAGE: u64 = 50;
const RETENTION_INTERVAL_MS: u64 = 3_600_000;

impl Hub {
    // ---- time ----

    /// Moves on deliveries whose time has come, and takes away what has expired.
    pub(super) fn move_on(&self, user: &UserId) -> Result<()> {
        loop {
            let now = clock::now();
            let due = self.storage.due(now, TIMER_PAGE)?;
            let full = u64::try_from(due.len()).unwrap_or(TIMER_PAGE) >= TIMER_PAGE;
            if !due.is_empty() {
                let connections = self.connections()?;
                let head = self.head(user)?;
                let outcome = self.around(&connections, |around| {
                    Ok(inbox::on_timer(&head, due, Vec::new(), head.expires_at, around))
                })?;
                self.carry_out(outcome)?;
            }
            if !full {
                break;
            }
        }
        // What was due is settled or due later: the next arming looks it up.
        self.memory.borrow_mut().due = Due::Unknown;
        self.expire().map(|_| ())
    }

    /// Takes away what has expired, so that nobody is shown it. Gives whether the inbox may have changed: then
    /// the record may be owed something.
    pub(super) fn expire(&self) -> Result<bool> {
        let mut changed = false;
        loop {
            let now = clock::now();
            let Some(head) = self.storage.head()? else {
                return Ok(changed);
            };
            if head.expires_at.is_none_or(|at| at > now) {
                return Ok(changed);
            }
            changed = true;
            let expired = self.storage.expired(now, TIMER_PAGE)?;
            let full = u64::try_from(expired.len()).unwrap_or(TIMER_PAGE) >= TIMER_PAGE;
            let next = if full {
                Some(now)
            } else {
                self.storage.next_expiry(now)?
            };
            let connections = self.connections()?;
            let outcome = self.around(&connections, |around| {
                Ok(inbox::on_timer(&head, Vec::new(), expired, next, around))
            })?;
            self.carry_out(outcome)?;
        }
    }

    /// Lets go of what is older than the record keeps it, a little at a time and only when the hub is
    /// awake anyway.
    pub(super) fn prune(&self) -> Result<()> {
        let now = clock::now();
        let before = self.memory.borrow().pruned_at;
        let Some(head) = self.storage.head()? else {
            return Ok(());
        };
        if before.is_some_and(|at| now.since(at) < RETENTION_INTERVAL_MS) {
            return Ok(());
        }
        let retention_ms = self.config()?.retention_ms;
        let is_old = |item: &Item| now.since(item.notification.created_at) > retention_ms;
        // Every wake-up looks, so it looks at one item of each folder first.
        if !self.storage.oldest(1)?.iter().any(is_old) {
            self.memory.borrow_mut().pruned_at = Some(now);
            return Ok(());
        }
        let mut old = self.storage.oldest(RETENTION_PAGE)?;
        old.retain(is_old);
        let ids: Vec<RecipientId> = old.iter().map(|item| item.recipient_id).collect();
        let listed = old.into_iter().filter(Item::is_listed).collect();
        let connections = self.connections()?;
        let outcome = self.around(&connections, |around| {
            Ok(inbox::on_timer(
                &head,
                Vec::new(),
                listed,
                head.expires_at,
                around,
            ))
        })?;
        self.carry_out(outcome)?;
        self.storage.purge(&ids)
    }

    /// A user comes after a while: holds the counts against the items, when no tick has done so for an hour.
    pub(super) fn recount_on_arrival(&self, user: &UserId) -> Result<()> {
        let head = self.head(user)?;
        match (head.online_since, head.last_seen_at) {
            (None, Some(last_seen_at)) => self.recount(&head, last_seen_at),
            (Some(_), _) | (None, None) => Ok(()),
        }
    }

    /// An interval is over: the same.
    pub(super) fn recount_on_tick(&self, user: &UserId) -> Result<()> {
        let interval_ms = self.config()?.heartbeat.interval_ms;
        let last_tick = clock::now().as_ms().saturating_sub(interval_ms);
        self.recount(&self.head(user)?, Timestamp::from_ms(last_tick))
    }

    /// Puts the counts right when they are wrong, and says so.
    fn recount(&self, head: &Head, last_occasion: Timestamp) -> Result<()> {
        let now = clock::now();
        if !inbox::recount_is_due(last_occasion, now) {
            return Ok(());
        }
        let counted = self.storage.unread_up_to(head.seq)?;
        let drift = inbox::drift(head, counted);
        if drift > 0 {
            console_error!("the counts of an inbox were wrong by {drift} and were put right");
            metrics::write(&self.env, &[(Point::CounterDrift, drift)]);
        }
        self.carry_out(inbox::recount(head, counted, now))
    }

    // ---- debts ----

    /// Whether anything is owed to the record: states of items, or an erasure.
    pub(super) fn debt(&self, head: Option<&Head>) -> Result<Debt> {
        if head.is_some_and(|head| matches!(head.erasure, Some(Erasure::Running { .. }))) {
            return Ok(Debt::Owed);
        }
        self.outbox_debt()
    }

    /// Whether states of items are owed to the record.
    fn outbox_debt(&self) -> Result<Debt> {
        if let Owed::Known(debt) = self.memory.borrow().owed {
            return Ok(debt);
        }
        let debt = if self.storage.outbox(1)?.owed.is_empty() {
            Debt::None
        } else {
            Debt::Owed
        };
        self.memory.borrow_mut().owed = Owed::Known(debt);
        Ok(debt)
    }

    /// Writes to the record what is owed to it. What can't be written stays owed.
    pub(super) async fn drain(&self) {
        if self.flushing.replace(true) {
            return;
        }
        let paid = self.pay().await;
        self.flushing.set(false);
        if let Err(error) = paid {
            console_error!("the record could not be written and is still owed: {error}");
        }
    }

    async fn pay(&self) -> Result<()> {
        let Some(head) = self.storage.head()? else {
            return Ok(());
        };
        self.finish_erasure().await?;
        while self.outbox_debt()? == Debt::Owed {
            // From here on, whatever is owed anew says so.
            self.memory.borrow_mut().owed = Owed::Known(Debt::None);
            let paid = self.pay_page(&head.user).await;
            if !matches!(paid, Ok(Debt::None)) {
                self.memory.borrow_mut().owed = Owed::Known(Debt::Owed);
            }
            paid?;
        }
        Ok(())
    }

    /// Pays a page of what is owed; whether there is more.
    async fn pay_page(&self, user: &UserId) -> Result<Debt> {
        let mut outbox = self.storage.outbox(OUTBOX_PAGE)?;
        if outbox.owed.is_empty() {
            return Ok(Debt::None);
        }
        let count = outbox.owed.len();
        let owed = std::mem::take(&mut outbox.owed);
        let switchboard = self.switchboard(user)?;
        let tally = std::mem::take(&mut self.memory.borrow_mut().tally);
        if is_planted(Fault::DropOutbox) {
            self.storage.strike_off(&outbox)?;
        }
        self.settling.set(true);
        let settled = record::settle(&self.env, switchboard, user.clone(), owed, tally).await;
        self.settling.set(false);
        if settled.is_err() {
            self.memory.borrow_mut().tally.add(tally);
        }
        settled?;
        self.storage.strike_off(&outbox)?;
        if i64::try_from(count).is_ok_and(|paid| paid < OUTBOX_PAGE) {
            Ok(Debt::None)
        } else {
            Ok(Debt::Owed)
        }
    }

    /// Removes from the record what is to be erased; it is gone from here already. While that fails, nothing
    /// that came later is let in. Left unfinished, it begins again where it was.
    pub(super) async fn finish_erasure(&self) -> Result<()> {
        let Some(head) = self.storage.head()? else {
            return Ok(());
        };
        let Some(Erasure::Running { at, n }) = head.erasure else {
            return Ok(());
        };
        // What is being written about the user must not come after what removes it.
        while self.settling.get() {
            Delay::from(SETTLING_PAUSE).await;
        }
        record::erase(&self.env, self.switchboard(&head.user)?, &head.user, n).await?;
        match self.storage.head()? {
            Some(head) if head.erasure == Some(Erasure::Running { at, n }) => {
                self.storage.apply(vec![Store::Head(Head {
                    erasure: Some(Erasure::Done(at)),
                    ..head
                })])
            }
            // Another event was faster, and what came after the erasure may be in by now.
            Some(_) | None => Ok(()),
        }
    }
}
