//! Hubs that come, ask what they missed, and leave.

use std::collections::BTreeMap;
use std::rc::Rc;

use dormouse_domain::id::UserId;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::board::Registered;
use dormouse_domain::switchboard::catch_up::Plan;
use dormouse_domain::switchboard::roster::{Arrival, Heard, Seen};
use dormouse_domain::time::Timestamp;
use worker::{Error, Response, Result, console_error};

use super::Exchange;
use super::gathering::Waiter;
use crate::d1::{Reading, UserClaims};
use crate::http::json;
use crate::instruments::{FailPoint, reach};
use crate::switchboard_rpc::{Attend, Attendance, Claim, HubReply, Known, Missed, Wanted};
use crate::{bindings, clock};

/// Hubs that are answered with one query, and the logs they may want together.
const HUBS: usize = 500;
const LOGS: usize = 4_000;

/// A hub's question to the record.
pub(super) struct Question {
    user: UserId,
    wanted: Vec<Wanted>,
    claims: Option<Vec<Claim>>,
}

impl Exchange {
    // ---- who is there ----

    /// A hub says who is there and asks what it missed: it is in the roster before the record is read, so
    /// that whatever is pushed is read or brought.
    pub(super) async fn attend(self: &Rc<Self>, attend: Attend) -> Result<Response> {
        let Attend {
            user,
            attendance,
            wanted,
            claims,
            haste,
        } = attend;
        if let Some(attendance) = attendance {
            self.join(&user, attendance)?;
        }
        let answer = self.reads.wait(Question { user, wanted, claims }, haste);
        self.read();
        match answer.await {
            Ok(missed) => json(200, &missed),
            Err(_) => unavailable(),
        }
    }

    fn join(self: &Rc<Self>, user: &UserId, attendance: Attendance) -> Result<()> {
        let is_admin = attendance.rooms.contains(&SharedRoom::Admin);
        let at = attendance.at;
        let seen = self.seen_if_absent(user)?;
        let before = self.roster(|roster| roster.get(user).map(|member| member.attendance.rooms.clone()))?;
        let arrival = self.roster(|roster| roster.attend(user, attendance, seen.as_ref()))?;
        match arrival {
            Arrival::Came | Arrival::Changed => {}
            Arrival::Same | Arrival::Stale => return Ok(()),
        }
        let member = self.roster(|roster| roster.get(user).cloned())?;
        let Some(member) = member else {
            return Ok(());
        };
        self.stored(self.storage.put(user, &member))?;
        if arrival == Arrival::Came {
            self.report.borrow_mut().join();
        }
        // Those of a room that is new to the user hear of them as of somebody who comes.
        let before = before.unwrap_or_default();
        let mut gained = member.attendance.rooms.clone();
        gained.retain(|room| matches!(room, SharedRoom::Dept(_)) && !before.contains(room));
        if arrival == Arrival::Came || !gained.is_empty() {
            self.note(user, Known::Online { since: at }, &gained)?;
        }
        if is_admin {
            self.announce_admins()?;
        }
        self.conclude()
    }

    /// A hub says that nobody is there any more.
    pub(super) fn leave(self: &Rc<Self>, user: &UserId, at: Timestamp) -> Result<()> {
        let seen = self.seen_if_absent(user)?;
        let left = self.roster(|roster| roster.leave(user, at, seen, clock::now()))?;
        if let Some(seen) = left {
            self.stored(self.storage.see(user, &seen))?;
            self.arm_later();
        }
        Ok(())
    }

    /// What is known of a user who is not in the roster.
    fn seen_if_absent(&self, user: &UserId) -> Result<Option<Seen>> {
        if self.roster(|roster| roster.get(user).is_some())? {
            return Ok(None);
        }
        let seen = self.storage.seen(&[user])?;
        Ok(seen.into_iter().next().map(|(_, seen)| seen))
    }

    /// Takes out those who have left and did not come back.
    pub(super) fn depart(self: &Rc<Self>) -> Result<()> {
        for (user, member) in self.roster(|roster| roster.depart(clock::now()))? {
            self.stored(self.storage.remove(&user))?;
            self.gone(&user, member.attendance.at, &member.attendance.rooms)?;
        }
        Ok(())
    }

    /// A hub has answered: whether somebody is there, and what they need.
    pub(super) fn hear(self: &Rc<Self>, user: &UserId, reply: HubReply) -> Result<()> {
        match self.roster(|roster| roster.hear(user, reply))? {
            Heard::Nothing => Ok(()),
            Heard::Changed => match self.roster(|roster| roster.get(user).cloned())? {
                Some(member) => self.stored(self.storage.put(user, &member)),
                None => Ok(()),
            },
            Heard::Gone(member, seen) => {
                self.stored(self.storage.see(user, &seen))?;
                self.stored(self.storage.remove(user))?;
                self.gone(user, seen.at, &member.attendance.rooms)
            }
            // They are online still, elsewhere.
            Heard::Moved(_) => self.stored(self.storage.remove(user)),
        }
    }

    fn gone(self: &Rc<Self>, user: &UserId, at: Timestamp, rooms: &[SharedRoom]) -> Result<()> {
        self.report.borrow_mut().leave();
        self.note(user, Known::Offline { since: at }, rooms)
    }

    /// A user was erased at `at`: nothing is known of them any more. Who has come since stays.
    pub(super) fn forget(self: &Rc<Self>, user: &UserId, at: Timestamp) -> Result<()> {
        if let Some(member) = self.roster(|roster| roster.forget(user, at))? {
            self.stored(self.storage.remove(user))?;
            self.gone(user, at, &member.attendance.rooms)?;
        }
        self.storage.unsee(user)?;
        self.conclude()
    }

    // ---- what they missed ----

    /// Sees to it that those who wait are answered.
    pub(super) fn read(self: &Rc<Self>) {
        if self.reads.is_open() {
            return;
        }
        let exchange = Rc::clone(self);
        self.state.wait_until(async move {
            let Some(opened) = exchange.reads.open() else {
                return;
            };
            loop {
                while !exchange.reads.is_empty() {
                    opened.gather().await;
                    exchange.answer_waiting().await;
                }
                if let Err(error) = exchange.close_down().await {
                    console_error!("a switchboard without members could not be taken out: {error}");
                }
                if exchange.reads.is_empty() {
                    break;
                }
            }
        });
    }

    /// Answers those who wait; what is too much for one query is asked with the next at once.
    async fn answer_waiting(&self) {
        loop {
            let waiters = self.take_questions();
            let is_all = self.reads.is_empty();
            self.answer_questions(waiters).await;
            if is_all {
                break;
            }
        }
    }

    fn take_questions(&self) -> Vec<Waiter<Question, Missed>> {
        let (mut hubs, mut logs) = (0_usize, 0_usize);
        self.reads.take(|question| {
            hubs = hubs.saturating_add(1);
            logs = logs.saturating_add(question.wanted.len());
            hubs <= HUBS && logs <= LOGS
        })
    }

    async fn answer_questions(&self, waiters: Vec<Waiter<Question, Missed>>) {
        match self.query(&waiters).await {
            Ok(missed) => {
                for (waiter, missed) in waiters.into_iter().zip(missed) {
                    waiter.answer(missed);
                }
            }
            // Unanswered, they ask again later.
            Err(error) => console_error!("the record could not be read for {} hubs: {error}", waiters.len()),
        }
    }

    async fn query(&self, waiters: &[Waiter<Question, Missed>]) -> Result<Vec<Missed>> {
        reach(FailPoint::AttendBeforeRead).await?;
        let wanted = waiters.iter().map(|waiter| waiter.question.wanted.as_slice());
        let plan = Plan::of(wanted, &mut self.recent.borrow_mut());
        // Of a user who asks twice, the last claims count.
        let mut claims = BTreeMap::new();
        for Waiter { question, .. } in waiters {
            if let Some(rooms) = &question.claims {
                claims.insert(question.user.clone(), rooms.clone());
            }
        }
        let claims: Vec<_> = claims
            .into_iter()
            .map(|(user, rooms)| UserClaims { user, rooms })
            .collect();
        let has_members = self.roster(|roster| roster.online() > 0)?;
        let (name, registered) = self.board(|board| (board.name, board.registered))?;
        let register = match registered {
            Registered::No => has_members.then_some(name),
            Registered::Yes => None,
        };
        let reading = Reading {
            register,
            claims: &claims,
            wanted: plan.pages(),
        };
        let record = bindings::record(&self.env)?;
        let pages = record.read_logs(&reading, clock::now()).await?;
        reach(FailPoint::AttendRead).await?;
        if register.is_some() {
            self.change_board(|board, _| board.registered = Registered::Yes)?;
        }
        plan.answer(pages, &mut self.recent.borrow_mut())
            .ok_or_else(|| Error::RustError("the record has answered something else".to_owned()))
    }

    /// Takes the switchboard out of the record when it is of a former generation and has no members any
    /// more. Nobody is registering it meanwhile: both are done by whoever reads.
    async fn close_down(&self) -> Result<()> {
        let count = self.config()?.switchboards;
        let is_over = self.roster(|roster| self.board(|board| board.is_over(roster, count)))??;
        let (name, registered) = self.board(|board| (board.name, board.registered))?;
        if !is_over || registered == Registered::No {
            return Ok(());
        }
        self.storage.unsee_all()?;
        // First, so that whoever comes from here on registers it anew.
        self.change_board(|board, _| board.registered = Registered::No)?;
        let closed = bindings::record(&self.env)?.unregister(name).await;
        if closed.is_err() {
            self.change_board(|board, _| board.registered = Registered::Yes)?;
        }
        closed
    }
}

/// The answer while the record can't be read or written.
pub(super) fn unavailable() -> Result<Response> {
    Ok(Response::empty()?.with_status(503))
}
