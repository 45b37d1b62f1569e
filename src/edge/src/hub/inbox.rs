//! The hub's side of the inbox: entries of the room log and the user's commands come in, states go out
//! to the record.

use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::alarm;
use dormouse_domain::change::Change;
use dormouse_domain::command::{Command, Mark};
use dormouse_domain::delivery::Via;
use dormouse_domain::id::{RecipientId, UserId};
use dormouse_domain::inbox::{
    self, Counts, Debt, Emission, Entry, EntryKind, Erasure, Head, Known, Outcome, Place, Store, Surroundings,
};
use dormouse_domain::item::{ExportedItem, Folder, Item, ListedItem};
use dormouse_domain::page::{Cursor, PageRequest, entity_tag, matches_entity_tag};
use dormouse_domain::preferences::Preferences;
use dormouse_domain::presence::Presence;
use dormouse_domain::time::{Timestamp, iso};
use serde::Serialize;
use worker::{Delay, Error, Response, Result, console_error};

use super::{Due, Hub};
use crate::http::json;
use crate::hub_rpc::NudgeReply;
use crate::instruments::{FailPoint, reach};
use crate::sockets::{Connection, broadcast, listeners};
use crate::{clock, entropy, record};

/// How long a nudge waits for those before it, which concurrent pushes overtake: looks and pause.
const PATIENCE_LOOKS: u32 = 8;
const PATIENCE_PAUSE: Duration = Duration::from_millis(3);

/// Changes written to the record at once.
const OUTBOX_PAGE: i64 = 500;

/// Items the clock bears on that are dealt with at once.
const TIMER_PAGE: u64 = 100;

/// Items read at once for a list of one type or category, and at most for one page of it. Such a page may be
/// shorter than was asked for; its cursor leads on.
const SCAN_PAGE: usize = 100;
const SCAN_PAGES: usize = 5;

/// Items on a page of an export.
const EXPORT_PAGE: usize = 500;

/// Items that retention takes from each folder at a time, and how often it looks, in milliseconds.
const RETENTION_PAGE: u64 = 50;
const RETENTION_INTERVAL_MS: u64 = 3_600_000;

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
        self.finish_erasure().await?;
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
            let emissions = self.apply(user, entry).await?;
            self.emit(&emissions)?;
            self.finish_erasure().await?;
        }
    }

    /// Reads what is missing from the record and applies it. Many notifications at once are sent as a
    /// batch.
    pub(super) async fn catch_up(&self, user: &UserId) -> Result<()> {
        self.finish_erasure().await?;
        loop {
            let entries = record::pull(&self.env, user, self.head(user)?.cursor).await?;
            if entries.is_empty() {
                return self.apply_held(user).await;
            }
            let mut emissions = Vec::new();
            for entry in entries {
                // While the record was read, a nudge may have brought some of these.
                if self.head(user)?.place(entry.n) != Place::Applied {
                    if matches!(entry.kind, EntryKind::Erase(_)) {
                        emissions.clear();
                    }
                    emissions.extend(self.apply(user, entry).await?);
                    self.finish_erasure().await?;
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
            // However long the record takes, nobody is shown anything from before.
            self.disconnect()?;
            let Head {
                user,
                cursor,
                erasure,
                ..
            } = self.head(user)?;
            self.storage.wipe(Head {
                cursor,
                erasure,
                ..Head::new(user)
            })?;
        }
        reach(FailPoint::EntryStored).await?;
        Ok(emissions)
    }

    // ---- what the user does ----

    /// Carries out a command and tells every device; `None` when the inbox has no such item.
    pub(super) fn command(&self, user: &UserId, command: Command) -> Result<Option<Change>> {
        self.expire()?;
        let now = clock::now();
        let head = self.head(user)?;
        let (change, outcome) = match command {
            Command::Mark { which, mark } => {
                let item = self.storage.item(which.recipient_id(user))?;
                let known = |item: &Item| match item.folder {
                    Folder::Inbox | Folder::Archived(_) => true,
                    Folder::Removed(..) => mark == Mark::Delete,
                    Folder::Suppressed => false,
                };
                let Some(item) = item.filter(known) else {
                    return Ok(None);
                };
                inbox::mark(&head, item, mark, now)
            }
            Command::ReadAll { up_to } => {
                let up_to = up_to.unwrap_or(head.seq).min(head.seq);
                inbox::read_all(&head, up_to, self.storage.unread_up_to(up_to)?, now)
            }
            Command::Seen { up_to } => {
                let unseen = self
                    .storage
                    .unseen_between(head.seen_up_to, up_to.min(head.seq))?;
                inbox::see(&head, up_to, unseen, now)
            }
        };
        self.carry_out(outcome)?;
        Ok(Some(change))
    }

    /// The same over HTTP.
    pub(super) fn command_over_http(self: &Rc<Self>, user: &UserId, command: Command) -> Result<Response> {
        let done = self.command(user, command)?;
        self.finish();
        match done {
            Some(change) => json(200, &change.payload()),
            None => Ok(Response::empty()?.with_status(404)),
        }
    }

    /// Notes that a device has these items; gives how many of them there are.
    pub(super) fn acknowledge(&self, user: &UserId, ids: &[RecipientId]) -> Result<usize> {
        let mut items = self.storage.bare_items(ids)?;
        items.retain(Item::is_listed);
        let known = items.len();
        self.carry_out(inbox::confirm(&self.head(user)?, items, Via::Ack, clock::now()))?;
        Ok(known)
    }

    pub(super) fn list(
        self: &Rc<Self>,
        user: &UserId,
        page: &PageRequest,
        if_none_match: Option<&str>,
    ) -> Result<Response> {
        #[derive(Serialize)]
        struct Page<'a> {
            items: Vec<ListedItem<'a>>,
            next_cursor: Option<String>,
            #[serde(flatten)]
            counts: Counts,
        }
        self.expire()?;
        let head = self.head(user)?;
        if let Some(response) = not_modified(&head, if_none_match)? {
            self.finish_if_owing(&head)?;
            return Ok(response);
        }
        let (mut items, next) = self.page(page)?;
        let now = clock::now();
        self.carry_out(inbox::confirm(&head, items.clone(), Via::Http, now))?;
        self.finish_if_owing(&head)?;
        for item in &mut items {
            item.delivery = item.delivery.confirmed(Via::Http, now);
        }
        let mut response = json(
            200,
            &Page {
                items: items.iter().map(Item::listed).collect(),
                next_cursor: next.map(|before| Cursor { before }.encode()),
                counts: head.counts(),
            },
        )?;
        tag(&mut response, &head)?;
        Ok(response)
    }

    /// The items of a page, and the number below which the next one begins.
    fn page(&self, page: &PageRequest) -> Result<(Vec<Item>, Option<u64>)> {
        let wanted = page.limit.saturating_add(1);
        let mut items = Vec::new();
        let mut before = page.before;
        if page.is_selective() {
            for _ in 0..SCAN_PAGES {
                let scanned = self.storage.page(page.filter, before, SCAN_PAGE)?;
                let last = scanned.len() < SCAN_PAGE;
                before = scanned.last().map(|item| item.seq).or(before);
                items.extend(
                    scanned
                        .into_iter()
                        .filter(|item| page.selects(&item.notification.content)),
                );
                if last {
                    before = None;
                    break;
                }
                if items.len() >= wanted {
                    break;
                }
            }
        } else {
            items = self.storage.page(page.filter, before, wanted)?;
            before = None;
        }
        if items.len() > page.limit {
            items.truncate(page.limit);
            before = items.last().map(|item| item.seq);
        }
        Ok((items, before))
    }

    pub(super) fn counts(self: &Rc<Self>, user: &UserId, if_none_match: Option<&str>) -> Result<Response> {
        self.expire()?;
        let head = self.head(user)?;
        self.finish_if_owing(&head)?;
        if let Some(response) = not_modified(&head, if_none_match)? {
            return Ok(response);
        }
        let mut response = json(200, &head.counts())?;
        tag(&mut response, &head)?;
        Ok(response)
    }

    pub(super) fn preferences(&self, user: &UserId) -> Result<Response> {
        json(200, &self.head(user)?.preferences)
    }

    pub(super) fn set_preferences(&self, user: &UserId, preferences: Preferences) -> Result<Response> {
        let head = self.head(user)?;
        let response = json(200, &preferences)?;
        if head.preferences != preferences {
            self.storage
                .apply(vec![Store::Head(Head { preferences, ..head })])?;
        }
        Ok(response)
    }

    // ---- what operators do ----

    /// A page of all there is about the user.
    pub(super) fn export(self: &Rc<Self>, user: &UserId, above: Option<u64>) -> Result<Response> {
        #[derive(Serialize)]
        struct Export<'a> {
            user_id: &'a UserId,
            #[serde(with = "iso")]
            exported_at: Timestamp,
            preferences: &'a Preferences,
            presence: Presence<'a>,
            #[serde(flatten)]
            counts: Counts,
            items: Vec<ExportedItem<'a>>,
            next_cursor: Option<String>,
        }
        self.expire()?;
        let head = self.head(user)?;
        self.finish_if_owing(&head)?;
        let sessions = self.sessions()?;
        let mut rows = self.storage.everything(above, EXPORT_PAGE.saturating_add(1))?;
        let more = rows.len() > EXPORT_PAGE;
        rows.truncate(EXPORT_PAGE);
        let next = rows.last().filter(|_| more).map(|(place, _)| *place);
        let now = clock::now();
        json(
            200,
            &Export {
                user_id: user,
                exported_at: now,
                preferences: &head.preferences,
                presence: Presence::of(user, Some(&head), &sessions, now),
                counts: head.counts(),
                items: rows.iter().map(|(_, item)| item.exported()).collect(),
                next_cursor: next.map(|before| Cursor { before }.encode()),
            },
        )
    }

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
        self.expire()
    }

    /// Takes away what has expired, so that nobody is shown it.
    pub(super) fn expire(&self) -> Result<()> {
        loop {
            let now = clock::now();
            let Some(head) = self.storage.head()? else {
                return Ok(());
            };
            if head.expires_at.is_none_or(|at| at > now) {
                return Ok(());
            }
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
        let due = stores
            .iter()
            .filter_map(|store| match store {
                Store::Insert(item, _) | Store::State(item, _) => item.delivery.wakes_at(),
                Store::Head(_) | Store::Log(_) | Store::ReadAll { .. } | Store::Seen { .. } => None,
            })
            .min();
        self.storage.apply(stores)?;
        let mut memory = self.memory.borrow_mut();
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
    async fn finish_erasure(&self) -> Result<()> {
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

fn not_modified(head: &Head, if_none_match: Option<&str>) -> Result<Option<Response>> {
    if !if_none_match.is_some_and(|header| matches_entity_tag(header, head.seq)) {
        return Ok(None);
    }
    let mut response = Response::empty()?.with_status(304);
    tag(&mut response, head)?;
    Ok(Some(response))
}

fn tag(response: &mut Response, head: &Head) -> Result<()> {
    let headers = response.headers_mut();
    headers.set("etag", &entity_tag(head.seq))?;
    headers.set("cache-control", "private, no-cache")
}
