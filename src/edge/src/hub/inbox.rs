//! How entries of the logs come into the inbox, and what comes of a rule is stored and sent.

use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::alarm;
use dormouse_domain::config::Config;
use dormouse_domain::delivery::Tally;
use dormouse_domain::id::UserId;
use dormouse_domain::inbox::{
    self, Debt, Emission, Entry, EntryKind, Head, Known, Outcome, Place, Store, Surroundings,
};
use dormouse_domain::item::Folder;
use dormouse_domain::membership::Start;
use dormouse_domain::room::{Room, SharedRoom};
use dormouse_domain::session::Session;
use dormouse_domain::switchboard::SwitchboardName;
use worker::{Delay, Error, Result, console_error};

use super::{Behind, Due, Hub, Owed};
use crate::hub_rpc::NudgeReply;
use crate::instruments::{FailPoint, Fault, is_planted, reach};
use crate::sockets::{Connection, broadcast, listeners};
use crate::switchboard_rpc::{
    Attend, Attendance, Claim, FanOut, Haste, HubReply, Missed, More, Needs, Wanted, Who, Wish,
};
use crate::{clock, entropy, record};

/// How long a nudge waits for those before it, which concurrent pushes overtake: looks and pause.
const PATIENCE_LOOKS: u32 = 8;
const PATIENCE_PAUSE: Duration = Duration::from_millis(3);

impl Hub {
    // ---- entries of the logs ----

    /// Brings one entry of the user's own log into the inbox.
    pub(super) async fn nudge(self: &Rc<Self>, user: &UserId, entry: Entry) -> Result<NudgeReply> {
        reach(FailPoint::NudgeReceived).await?;
        let recipient_id = entry.kind.notification_id().map(|id| id.recipient(user));
        self.bring(user, Room::User(user.clone()), entry).await?;
        let item = match recipient_id {
            Some(id) => self.storage.bare_items(&[id])?.pop(),
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

    /// Brings an entry of shared rooms into the inbox, as far as the user is in them.
    pub(super) async fn deliver(
        self: &Rc<Self>,
        user: &UserId,
        from: SwitchboardName,
        fan_out: FanOut,
    ) -> Result<HubReply> {
        reach(FailPoint::NudgeReceived).await?;
        self.catch_up_first(user).await?;
        for (room, n) in fan_out.places {
            let kind = fan_out.kind.clone();
            self.bring(user, Room::Shared(room), Entry { n, kind }).await?;
        }
        self.finish();
        reach(FailPoint::NudgeApplied).await?;
        self.reply(user, from)
    }

    /// Before anything of a shared room: while nobody was there the user may have been taken out of it, which is in
    /// their own log.
    pub(super) async fn catch_up_first(&self, user: &UserId) -> Result<()> {
        let is_late = self.head(user)?.catch_up_at.is_some();
        if is_late || self.memory.borrow().behind == Behind::Yes {
            self.catch_up(user, Haste::Now).await?;
        }
        Ok(())
    }

    async fn bring(&self, user: &UserId, room: Room, entry: Entry) -> Result<()> {
        let held = (room.clone(), entry.n);
        self.memory.borrow_mut().held.insert(held.clone(), entry);
        let applied = self.apply_up_to(user, &room, held.1).await;
        self.memory.borrow_mut().held.remove(&held);
        applied
    }

    async fn apply_up_to(&self, user: &UserId, room: &Room, n: u64) -> Result<()> {
        for _ in 0..PATIENCE_LOOKS {
            self.apply_held(user, room).await?;
            match self.head(user)?.place(room, n) {
                Place::Applied | Place::Foreign => return Ok(()),
                Place::Next | Place::Gap => {}
            }
            Delay::from(PATIENCE_PAUSE).await;
        }
        self.catch_up(user, Haste::Now).await?;
        match self.head(user)?.place(room, n) {
            Place::Applied | Place::Foreign => Ok(()),
            Place::Next | Place::Gap => Err(Error::RustError(format!(
                "the record does not hold entry {n} of a room"
            ))),
        }
    }

    /// Applies held entries of a log for as long as the next one is there. Nothing comes in while a user is
    /// being erased: each time around, that is finished first.
    async fn apply_held(&self, user: &UserId, room: &Room) -> Result<()> {
        loop {
            self.finish_erasure().await?;
            let head = self.head(user)?;
            let next = {
                let waiting = &mut self.memory.borrow_mut().held;
                let of_room = waiting.range((room.clone(), 0)..=(room.clone(), u64::MAX));
                let next = of_room
                    .map(|(key, _)| key.clone())
                    .find(|(_, n)| match head.place(room, *n) {
                        Place::Next => true,
                        Place::Gap => is_planted(Fault::CursorOverGap),
                        Place::Applied | Place::Foreign => false,
                    });
                next.and_then(|key| waiting.remove(&key))
            };
            let Some(entry) = next else {
                return Ok(());
            };
            let emissions = self.apply(user, room, entry).await?;
            self.emit(&emissions)?;
        }
    }

    /// Tells the switchboard who is there, and applies what is missing of every log the user follows. Many
    /// notifications at once are sent as a batch.
    pub(super) async fn catch_up(&self, user: &UserId, mut haste: Haste) -> Result<()> {
        loop {
            self.finish_erasure().await?;
            let asked = self.question(user, haste)?;
            let missed = record::attend(&self.env, self.switchboard(user)?, asked.clone()).await?;
            let more = self.take_in(user, &asked, missed).await?;
            // What came may have put the user into other rooms.
            if more == More::No && self.question(user, haste)?.is_answered_by(&asked) {
                break;
            }
            // Who has missed many pages has waited long enough.
            haste = Haste::Now;
        }
        self.memory.borrow_mut().behind = Behind::No;
        for room in self
            .question(user, haste)?
            .wanted
            .into_iter()
            .map(|wanted| wanted.room)
        {
            self.apply_held(user, &room).await?;
        }
        Ok(())
    }

    /// What there is to say to the switchboard and to ask it.
    fn question(&self, user: &UserId, haste: Haste) -> Result<Attend> {
        let head = self.head(user)?;
        let shared = head.memberships.all().map(|(room, membership)| Wanted {
            room: Room::Shared(room.clone()),
            from: membership.from,
        });
        let own = Wanted {
            room: Room::User(user.clone()),
            from: Start::After(head.cursor),
        };
        let claims = head.memberships.to_record().map(|claims| {
            let claims = claims.into_iter();
            claims.map(|(room, from)| Claim { room, from }).collect()
        });
        Ok(Attend {
            user: user.clone(),
            attendance: self.needs()?.map(|needs| Attendance {
                at: clock::now(),
                rooms: head.memberships.present().cloned().collect(),
                needs,
            }),
            wanted: std::iter::once(own).chain(shared).collect(),
            claims,
            haste,
        })
    }

    /// What the user's clients need of the switchboard; `None` when nobody is there.
    pub(super) fn needs(&self) -> Result<Option<Needs>> {
        let now = clock::now();
        let config = self.config()?;
        let mut sessions = self.sessions()?;
        sessions.retain(|session| session.is_present(now));
        if sessions.is_empty() {
            return Ok(None);
        }
        let any = |wished: fn(&Session, &Config) -> bool| {
            if sessions.iter().any(|session| wished(session, &config)) {
                Wish::Yes
            } else {
                Wish::No
            }
        };
        Ok(Some(Needs {
            ticks: any(|session, config| session.heartbeat.is_ticked(config.heartbeat)),
            presence: any(|session, _| session.follows_presence()),
        }))
    }

    /// Who is there, for a switchboard that has called.
    pub(super) fn reply(self: &Rc<Self>, user: &UserId, from: SwitchboardName) -> Result<HubReply> {
        let who = match self.needs()? {
            None => Who::Nobody,
            Some(_) if self.switchboard(user)? != from => {
                // The number of switchboards was changed: from now on the user belongs to another.
                let (hub, user) = (Rc::clone(self), user.clone());
                self.state.wait_until(async move {
                    if let Err(error) = hub.move_in(&user).await {
                        console_error!("a hub could not move to its switchboard: {error}");
                    }
                });
                Who::Moved
            }
            Some(needs) => Who::Somebody(needs),
        };
        Ok(HubReply {
            at: clock::now(),
            who,
        })
    }

    async fn move_in(&self, user: &UserId) -> Result<()> {
        self.catch_up_again(user, Haste::Soon).await?;
        self.arm().await
    }

    /// Applies what the switchboard has answered; whether there is more.
    async fn take_in(&self, user: &UserId, asked: &Attend, missed: Missed) -> Result<More> {
        let mut head = self.head(user)?;
        for (wanted, log) in asked.wanted.iter().zip(&missed.logs) {
            if let (Room::Shared(room), Start::Since(_)) = (&wanted.room, wanted.from) {
                head.memberships.begin(room, log.after);
            }
        }
        if self.question(user, asked.haste)?.claims == asked.claims {
            head.memberships.record();
        }
        if head != self.head(user)? {
            self.storage.apply(vec![Store::Head(head)])?;
        }
        let mut emissions = Vec::new();
        let applied = self.apply_missed(user, asked, missed, &mut emissions).await;
        // What is stored is told, whatever came after it.
        let threshold = self.config()?.batch_threshold;
        self.emit(&inbox::gather(&self.head(user)?, emissions, threshold))?;
        applied
    }

    /// Applies entries in the order of their logs; whether there is more.
    async fn apply_missed(
        &self,
        user: &UserId,
        asked: &Attend,
        missed: Missed,
        emissions: &mut Vec<Emission>,
    ) -> Result<More> {
        let mut more = More::No;
        for (wanted, log) in asked.wanted.iter().zip(missed.logs) {
            let room = &wanted.room;
            for entry in log.entries {
                self.finish_erasure().await?;
                // While the record was read, a nudge may have brought some of these.
                match (self.head(user)?.place(room, entry.n), room) {
                    // Of a room that was left nothing comes any more: what was still to come, retention has taken.
                    (Place::Foreign, Room::Shared(room)) => {
                        self.settle_room(user, room)?;
                        continue;
                    }
                    (Place::Applied, _) | (Place::Foreign, Room::User(_)) => continue,
                    (Place::Next | Place::Gap, _) => {}
                }
                // What is not told yet from before an erasure is not told at all.
                if matches!(entry.kind, EntryKind::Erase(_)) {
                    emissions.clear();
                }
                emissions.extend(self.apply(user, room, entry).await?);
            }
            match (log.more, room) {
                (More::Yes, _) => more = More::Yes,
                (More::No, Room::Shared(room)) => self.settle_room(user, room)?,
                (More::No, Room::User(_)) => {}
            }
        }
        Ok(more)
    }

    /// Notes that everything there is of a room was applied.
    fn settle_room(&self, user: &UserId, room: &SharedRoom) -> Result<()> {
        let before = self.head(user)?;
        let mut head = before.clone();
        head.memberships.settle(room);
        if head == before {
            Ok(())
        } else {
            self.storage.apply(vec![Store::Head(head)])
        }
    }

    /// The switchboard the user belongs to.
    pub(super) fn switchboard(&self, user: &UserId) -> Result<SwitchboardName> {
        Ok(SwitchboardName::of(user, self.config()?.switchboards))
    }

    /// Catches up; when the record can't be read, the alarm is to try again.
    pub(super) async fn catch_up_again(&self, user: &UserId, haste: Haste) -> Result<()> {
        let at = match self.catch_up(user, haste).await {
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
    async fn apply(&self, user: &UserId, room: &Room, entry: Entry) -> Result<Vec<Emission>> {
        let item = match entry.kind.notification_id() {
            Some(id) => self.storage.item(id.recipient(user))?,
            None => None,
        };
        let collapse_key = entry.kind.collapse_key();
        let collapsing = match collapse_key {
            Some(key) => self.storage.collapsing(key)?,
            None => Vec::new(),
        };
        let known = Known { item, collapsing };
        let connections = self.connections()?;
        let erased = matches!(entry.kind, EntryKind::Erase(_));
        let Outcome {
            stores,
            emissions,
            tally,
        } = self.around(&connections, |around| {
            Ok(inbox::apply(&self.head(user)?, room, entry, known, around))
        })?;
        self.store(stores, tally)?;
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
        self.store(outcome.stores, outcome.tally)?;
        self.emit(&outcome.emissions)
    }

    /// Stores, and keeps in mind when the clock moves the next delivery on, and what became of others.
    pub(super) fn store(&self, stores: Vec<Store>, tally: Tally) -> Result<()> {
        let owes = stores.iter().any(|store| store.debt() == Debt::Owed);
        let due = stores.iter().filter_map(Store::wakes_at).min();
        self.storage.apply(stores)?;
        let mut memory = self.memory.borrow_mut();
        memory.tally.add(tally);
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
