//! What switchboards tell each other, and whom they tell that somebody came or went.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::config::PresenceScope;
use dormouse_domain::id::UserId;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::switchboard::presence::{GATHERED_MS, News, to_tell};
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use worker::{Delay, Response, Result, console_error};

use super::{Exchange, number};
use crate::http::json;
use crate::hub_rpc::HubCall;
use crate::switchboard_rpc::{
    AudienceReply, CountReply, Known, PeerCall, PresenceChange, PresenceChanges, SwitchboardCall,
    SwitchboardRequest, Wish,
};

impl Exchange {
    // ---- what others say ----

    pub(super) fn answer_peer(self: &Rc<Self>, call: PeerCall) -> Result<Response> {
        match call {
            PeerCall::Watching { index, presence } => {
                self.change_board(|board, _| board.note_watching(index, presence))?;
                Response::empty()
            }
            PeerCall::Audience { rooms } => {
                let online = self.online_in(&rooms)?;
                let presence = self.wish()?;
                json(200, &AudienceReply { online, presence })
            }
            PeerCall::Changes(PresenceChanges { users }) => {
                let exchange = Rc::clone(self);
                self.later("presence could not be told", async move {
                    exchange.tell_presence(&users).await
                });
                Response::empty()
            }
            PeerCall::Admins { index } => {
                self.note_admins(index)?;
                Response::empty()
            }
            PeerCall::Report => {
                let report = self.roster(|roster| self.report.borrow_mut().take(roster))?;
                json(200, &report)
            }
        }
    }

    /// Calls these switchboards; the answers of those that could be reached.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        names: &[SwitchboardName],
        call: impl Fn() -> SwitchboardCall,
    ) -> Vec<(SwitchboardName, T)> {
        let asked = names.iter().map(|name| {
            let request = SwitchboardRequest::new(*name, call());
            async move { (*name, request.send_for(&self.env).await) }
        });
        let mut answers = Vec::with_capacity(names.len());
        for (name, answer) in join_all(asked).await {
            match answer {
                Ok(answer) => answers.push((name, answer)),
                Err(error) => console_error!("switchboard {name} could not be asked: {error}"),
            }
        }
        answers
    }

    /// Tells these switchboards something.
    pub(super) async fn tell(&self, names: &[SwitchboardName], call: impl Fn() -> SwitchboardCall) {
        let told = names.iter().map(|name| {
            let request = SwitchboardRequest::new(*name, call());
            async move { (*name, request.send(&self.env).await) }
        });
        for (name, told) in join_all(told).await {
            if let Err(error) = told {
                console_error!("switchboard {name} could not be told: {error}");
            }
        }
    }

    /// The others of the generation.
    pub(super) fn others(&self) -> Result<Vec<SwitchboardName>> {
        let own = self.name()?;
        Ok(SwitchboardName::all(own.count)
            .filter(|name| *name != own)
            .collect())
    }

    // ---- who follows presence ----

    /// Whether hubs here follow presence.
    fn wish(&self) -> Result<Wish> {
        self.roster(|roster| {
            if roster.watching().is_empty() {
                Wish::No
            } else {
                Wish::Yes
            }
        })
    }

    /// Tells the others when the first hub here follows presence, and when none does any more.
    pub(super) fn announce_watching_if_changed(self: &Rc<Self>) -> Result<()> {
        let presence = self.wish()?;
        let before = self.board(|board| board.watching)?;
        if presence != before {
            self.change_board(|board, _| board.watching = presence)?;
            self.announce_watching(presence)?;
        }
        Ok(())
    }

    fn announce_watching(self: &Rc<Self>, presence: Wish) -> Result<()> {
        let (index, others) = (self.name()?.index, self.others()?);
        let exchange = Rc::clone(self);
        self.later("it could not be said who follows presence", async move {
            let call = || SwitchboardCall::Peer(PeerCall::Watching { index, presence });
            exchange.tell(&others, call).await;
            Ok(())
        });
        Ok(())
    }

    /// Says again what others may have missed.
    pub(super) fn announce_again(self: &Rc<Self>) -> Result<()> {
        if self.roster(|roster| roster.online_in(&SharedRoom::Admin) > 0)? {
            self.announce_admins()?;
        }
        match self.wish()? {
            Wish::Yes => self.announce_watching(Wish::Yes),
            Wish::No => Ok(()),
        }
    }

    // ---- who came and went ----

    /// Somebody came or went: to be told in a moment, if anybody listens.
    pub(super) fn note(self: &Rc<Self>, user: &UserId, known: Known, rooms: &[SharedRoom]) -> Result<()> {
        let is_watched = self.roster(|roster| self.board(|board| board.is_watched(roster)))??;
        if !is_watched || self.config()?.presence_room_limit == 0 {
            return Ok(());
        }
        let is_first = {
            let mut news = self.news.borrow_mut();
            let is_first = *news == News::default();
            news.note(user.clone(), known, rooms);
            is_first
        };
        if is_first {
            let exchange = Rc::clone(self);
            self.later("presence could not be told", async move {
                Delay::from(Duration::from_millis(GATHERED_MS)).await;
                let news = exchange.news.take();
                exchange.spread(news).await
            });
        }
        Ok(())
    }

    async fn spread(self: &Rc<Self>, news: News) -> Result<()> {
        let config = self.config()?;
        let limit = config.presence_room_limit;
        let users = match config.presence_scope {
            PresenceScope::All => {
                if self.count_all().await? > limit {
                    return Ok(());
                }
                news.for_all()
            }
            PresenceScope::Dept => {
                let allowed = self.small_rooms(news.rooms(), limit).await?;
                news.for_rooms(&allowed)
            }
        };
        if users.is_empty() {
            return Ok(());
        }
        let watchers = self.board(|board| board.watchers.clone())?;
        let mut names = self.others()?;
        names.retain(|name| watchers.contains(&name.index));
        let call = || {
            let users = users.clone();
            SwitchboardCall::Peer(PeerCall::Changes(PresenceChanges { users }))
        };
        self.tell(&names, call).await;
        self.tell_presence(&users).await
    }

    /// How many users are online, at all switchboards.
    async fn count_all(&self) -> Result<u64> {
        let others = self.others()?;
        let counts: Vec<(_, CountReply)> = self.ask(&others, || SwitchboardCall::Count).await;
        let own = number(self.roster(|roster| roster.online())?);
        let counts = counts.iter().map(|(_, count)| count.online);
        Ok(counts.fold(own, u64::saturating_add))
    }

    /// Those of the rooms in which not too many users are online.
    async fn small_rooms(&self, rooms: BTreeSet<SharedRoom>, limit: u64) -> Result<BTreeSet<SharedRoom>> {
        if rooms.is_empty() {
            return Ok(rooms);
        }
        let rooms: Vec<SharedRoom> = rooms.into_iter().collect();
        let others = self.others()?;
        let call = || {
            let rooms = rooms.clone();
            SwitchboardCall::Peer(PeerCall::Audience { rooms })
        };
        let answers: Vec<(SwitchboardName, AudienceReply)> = self.ask(&others, call).await;
        let mut online = self.online_in(&rooms)?;
        for (name, answer) in answers {
            self.change_board(|board, _| board.note_watching(name.index, answer.presence))?;
            for (online, there) in online.iter_mut().zip(answer.online) {
                *online = online.saturating_add(there);
            }
        }
        let rooms = rooms.into_iter().zip(online);
        Ok(rooms
            .filter(|(_, online)| *online <= limit)
            .map(|(room, _)| room)
            .collect())
    }

    /// Tells the hubs here that follow presence what bears on their users.
    async fn tell_presence(self: &Rc<Self>, changes: &[PresenceChange]) -> Result<()> {
        let from = self.name()?;
        let told = self.roster(|roster| to_tell(roster, changes))?;
        let calls = told
            .into_iter()
            .map(|(user, users)| (user, HubCall::PresenceUpdate { from, users }));
        self.tell_all(calls).await?;
        self.conclude()
    }
}
