//! The hub's side of the record: entries of the room log come in, delivery states go out.

use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::alarm;
use dormouse_domain::id::UserId;
use dormouse_domain::inbox::{self, Counts, Entry, Head, Item, ListedItem, Place, Store};
use dormouse_domain::page::{Cursor, PageRequest};
use dormouse_domain::recovery::Offset;
use serde::Serialize;
use worker::{Delay, Error, Response, Result, console_error};

use super::Hub;
use crate::http::json;
use crate::hub_rpc::NudgeReply;
use crate::instruments::{FailPoint, reach};
use crate::sockets::{broadcast, listeners};
use crate::{clock, entropy, record};

/// How long a nudge waits for those before it, which concurrent pushes overtake: looks and pause.
const PATIENCE_LOOKS: u32 = 8;
const PATIENCE_PAUSE: Duration = Duration::from_millis(3);

/// Changes written to the record at once.
const OUTBOX_PAGE: i64 = 100;

impl Hub {
    /// Brings one entry of the user's room into the inbox.
    pub(super) async fn nudge(self: &Rc<Self>, user: &UserId, entry: Entry) -> Result<NudgeReply> {
        reach(FailPoint::NudgeReceived).await?;
        let n = entry.n;
        let recipient_id = entry
            .notification
            .as_ref()
            .map(|notification| notification.id.recipient(user));
        self.memory.borrow_mut().held.insert(n, entry);
        let applied = self.apply_up_to(user, n).await;
        self.memory.borrow_mut().held.remove(&n);
        applied?;
        let receipt = match recipient_id {
            Some(id) => self.storage.item(id)?.map(|item| item.receipt),
            None => None,
        };
        self.finish();
        reach(FailPoint::NudgeApplied).await?;
        Ok(receipt.map_or(NudgeReply::Gone, NudgeReply::Applied))
    }

    async fn apply_up_to(&self, user: &UserId, n: u64) -> Result<()> {
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

    /// Applies held entries for as long as the next one is there.
    async fn apply_held(&self, user: &UserId) -> Result<()> {
        loop {
            let next = self.head(user)?.cursor.saturating_add(1);
            let Some(entry) = self.memory.borrow_mut().held.remove(&next) else {
                return Ok(());
            };
            self.apply(user, entry).await?;
        }
    }

    /// Reads what is missing from the record and applies it.
    pub(super) async fn catch_up(&self, user: &UserId) -> Result<()> {
        loop {
            let entries = record::pull(&self.env, user, self.head(user)?.cursor).await?;
            if entries.is_empty() {
                return self.apply_held(user).await;
            }
            for entry in entries {
                // While the record was read, a nudge may have brought some of these.
                if self.head(user)?.place(entry.n) != Place::Applied {
                    self.apply(user, entry).await?;
                }
            }
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

    /// Applies one entry: store, then send. Waits for nothing in the production bundle.
    async fn apply(&self, user: &UserId, entry: Entry) -> Result<()> {
        let config = self.config()?;
        let head = self.head(user)?;
        let known = match &entry.notification {
            Some(notification) => self.storage.item(notification.id.recipient(user))?,
            None => None,
        };
        let connections = self.connections()?;
        let arrival = inbox::apply(
            &head,
            entry,
            known.map(|item| item.receipt),
            config.ack_mode,
            listeners(&connections),
            clock::now(),
        );
        self.storage.apply(arrival.stores)?;
        reach(FailPoint::EntryStored).await?;
        broadcast(&connections, &arrival.events, Offset(self.head(user)?.seq));
        Ok(())
    }

    pub(super) fn list(self: &Rc<Self>, page: PageRequest) -> Result<Response> {
        #[derive(Serialize)]
        struct Page<'a> {
            items: Vec<ListedItem<'a>>,
            next_cursor: Option<String>,
            #[serde(flatten)]
            counts: Counts,
        }
        let now = clock::now();
        let mut items = self.storage.page(page)?;
        let more = items.len() > page.limit;
        items.truncate(page.limit);
        let stores = items
            .iter()
            .flat_map(|item| inbox::confirm(item.recipient_id, item.delivery, now))
            .collect();
        self.storage.apply(stores)?;
        for item in &mut items {
            item.delivery = item.delivery.confirmed(now);
        }
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|item| Cursor { before: item.seq }.encode());
        let counts = self
            .storage
            .head()?
            .as_ref()
            .map(Head::counts)
            .unwrap_or_default();
        self.finish();
        let items = items.iter().map(Item::listed).collect();
        json(
            200,
            &Page {
                items,
                next_cursor,
                counts,
            },
        )
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
        loop {
            let outbox = self.storage.outbox(OUTBOX_PAGE)?;
            if outbox.owed.is_empty() {
                return Ok(());
            }
            record::settle(&self.env, &head.user, &outbox.owed).await?;
            self.storage.strike_off(&outbox)?;
        }
    }
}
