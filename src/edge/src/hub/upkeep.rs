//! What a hub does by itself: deliveries move on, what has expired goes, what is owed to the record is paid,
//! what is old or erased is removed.

use dormouse_domain::id::{RecipientId, UserId};
use dormouse_domain::inbox::{self, Debt, Erasure, Head, Store};
use dormouse_domain::item::Item;
use worker::{Result, console_error};

use super::{Due, Hub};
use crate::{clock, record};

/// Items the clock bears on that are dealt with at once.
const TIMER_PAGE: u64 = 100;

/// Changes written to the record at once.
const OUTBOX_PAGE: i64 = 500;

/// Items that retention takes from each folder at a time, and how often it looks, in milliseconds.
const RETENTION_PAGE: u64 = 50;
const RETENTION_INTERVAL_MS: u64 = 3_600_000;

impl Hub {
    // ---- time ----

    /// Moves on deliveries whose time has come, and takes away what has expired.
    pub(super) fn tick(&self, user: &UserId) -> Result<()> {
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
    pub(super) fn prune(&self, user: &UserId) -> Result<()> {
        let now = clock::now();
        let before = self.memory.borrow_mut().pruned_at.replace(now);
        if before.is_some_and(|at| now.since(at) < RETENTION_INTERVAL_MS) {
            self.memory.borrow_mut().pruned_at = before;
            return Ok(());
        }
        let retention_ms = self.config()?.retention_ms;
        let mut old = self.storage.oldest(RETENTION_PAGE)?;
        old.retain(|item| now.since(item.notification.created_at) > retention_ms);
        if old.is_empty() {
            return Ok(());
        }
        let ids: Vec<RecipientId> = old.iter().map(|item| item.recipient_id).collect();
        let listed = old.into_iter().filter(Item::is_listed).collect();
        let head = self.head(user)?;
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

    // ---- debts ----

    /// Whether anything is owed to the record.
    pub(super) fn debt(&self, head: Option<&Head>) -> Result<Debt> {
        let erasing = head.is_some_and(|head| matches!(head.erasure, Some(Erasure::Running(_))));
        if erasing || !self.storage.outbox(1)?.owed.is_empty() {
            Ok(Debt::Owed)
        } else {
            Ok(Debt::None)
        }
    }

    /// Writes to the record what is owed to it. What can't be written stays owed.
    pub(super) async fn drain(&self) {
        if self.flushing.replace(true) {
            return;
        }
        let paid = self.pay().await;
        self.flushing.set(false);
        self.memory.borrow_mut().owing = paid.is_err();
        if let Err(error) = paid {
            console_error!("the record could not be written and is still owed: {error}");
        }
    }

    async fn pay(&self) -> Result<()> {
        let Some(head) = self.storage.head()? else {
            return Ok(());
        };
        self.finish_erasure().await?;
        loop {
            let outbox = self.storage.outbox(OUTBOX_PAGE)?;
            if outbox.owed.is_empty() {
                return Ok(());
            }
            record::settle(&self.env, &head.user, &outbox.owed).await?;
            self.storage.strike_off(&outbox)?;
        }
    }

    /// Removes from the record what is to be erased; it is gone from here already. While that fails, nothing
    /// that came later is let in. Left unfinished, it begins again where it was.
    pub(super) async fn finish_erasure(&self) -> Result<()> {
        let Some(head) = self.storage.head()? else {
            return Ok(());
        };
        let Some(Erasure::Running(at)) = head.erasure else {
            return Ok(());
        };
        record::erase(&self.env, &head.user, head.cursor).await?;
        match self.storage.head()? {
            Some(head) if head.erasure == Some(Erasure::Running(at)) => {
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
