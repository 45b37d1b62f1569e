//! The object between many hubs and the record, and between those who speak to many and those who listen.
//!
//! It holds the roster: who of its users is online, and in which rooms. It reads and writes D1 for
//! many hubs at once ([`reading`], [`settling`]), brings what is for rooms to their members ([`walking`]), tells those who
//! follow presence ([`presence`]) and the admins ([`reporting`]). It is not the record, nor anybody's inbox:
//! lost, it fills again as hubs come.
//!
//! Idle it is evicted. What must survive is in SQLite; what is in memory may be lost at any await, and costs
//! at most a query or a moment's presence.

mod gathering;
mod presence;
mod reading;
mod reporting;
mod settling;
mod storage;
mod walking;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dormouse_domain::config::Config;
use dormouse_domain::delivery::Tally;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::switchboard::alarm::{self, Deadlines, RESUME_MS};
use dormouse_domain::switchboard::board::{Board, Registered};
use dormouse_domain::switchboard::presence::News;
use dormouse_domain::switchboard::recent::Recent;
use dormouse_domain::switchboard::report::Report;
use dormouse_domain::switchboard::roster::Roster;
use dormouse_domain::switchboard::walk::Walks;
use dormouse_domain::time::Timestamp;
use worker::{DurableObject, Env, Error, Request, Response, Result, State, console_error, durable_object};

use self::gathering::Gathering;
use self::reading::Question;
use self::settling::Debt;
use self::storage::Storage;
use self::walking::Task;
use crate::alarm::Alarm;
use crate::http::json;
use crate::instruments::{Unit, count};
use crate::switchboard_rpc::{
    CountReply, Known, Missed, RoomReply, RosterQuery, RosterReply, SwitchboardCall, SwitchboardFigures,
    SwitchboardRequest,
};
use crate::{clock, settings};

/// The Durable Object class of switchboards.
#[durable_object]
pub struct Switchboard {
    exchange: Rc<Exchange>,
}

struct Exchange {
    state: State,
    env: Env,
    storage: Storage,
    /// Read from storage when it is first needed, and again after a failure to write it.
    roster: RefCell<Option<Roster>>,
    board: RefCell<Option<Board>>,
    recent: RefCell<Recent>,
    reads: Gathering<Question, Missed>,
    debts: Gathering<Debt, ()>,
    /// What hubs have said of deliveries and was not written yet, and how much they owed.
    tally: Cell<Tally>,
    depth: Cell<u64>,
    written_at: Cell<Timestamp>,
    walks: RefCell<Walks>,
    tasks: RefCell<BTreeMap<u64, Rc<Task>>>,
    /// Walks that have come to the end and have hubs left to be tried again.
    retrying: RefCell<BTreeSet<u64>>,
    walking: Cell<bool>,
    ticking: Cell<bool>,
    news: RefCell<News>,
    report: RefCell<Report>,
    reporting: Cell<bool>,
    alarm: Alarm,
    #[cfg(feature = "instruments")]
    instance: String,
}

impl DurableObject for Switchboard {
    fn new(state: State, env: Env) -> Self {
        let exchange = Exchange {
            storage: Storage::new(&state),
            alarm: Alarm::new(&state),
            state,
            env,
            roster: RefCell::default(),
            board: RefCell::default(),
            recent: RefCell::default(),
            reads: Gathering::default(),
            debts: Gathering::default(),
            tally: Cell::default(),
            depth: Cell::default(),
            written_at: Cell::new(clock::now()),
            walks: RefCell::default(),
            tasks: RefCell::default(),
            retrying: RefCell::default(),
            walking: Cell::default(),
            ticking: Cell::default(),
            news: RefCell::default(),
            report: RefCell::default(),
            reporting: Cell::default(),
            #[cfg(feature = "instruments")]
            instance: crate::entropy::sid().unwrap_or_default(),
        };
        Self {
            exchange: Rc::new(exchange),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let SwitchboardRequest { to, call } = serde_json::from_slice(&request.bytes().await?)?;
        self.exchange.wake(to)?;
        self.exchange.answer(call).await
    }

    async fn alarm(&self) -> Result<Response> {
        count(Unit::Alarms, 1);
        self.exchange.on_alarm().await?;
        Response::empty()
    }
}

impl Exchange {
    async fn answer(self: &Rc<Self>, call: SwitchboardCall) -> Result<Response> {
        match call {
            SwitchboardCall::Attend(attend) => self.attend(attend).await,
            SwitchboardCall::Leave { user, at } => {
                self.leave(&user, at)?;
                Response::empty()
            }
            SwitchboardCall::Settle { user, owed, tally } => self.settle(user, owed, tally).await,
            SwitchboardCall::FanOut(fan_out) => self.fan_out(&fan_out).await,
            SwitchboardCall::Emit(emit) => self.emit(emit),
            SwitchboardCall::Roster(query) => self.known(&query),
            SwitchboardCall::Room { room, after, limit } => {
                let reply = self.roster(|roster| RoomReply {
                    online: number(roster.online_in(&room)),
                    users: roster.page(&room, after.as_ref(), limit),
                })?;
                json(200, &reply)
            }
            SwitchboardCall::Count => {
                let online = number(self.roster(|roster| roster.online())?);
                json(200, &CountReply { online })
            }
            SwitchboardCall::Figures => {
                let (online_users, rooms) =
                    self.roster(|roster| (number(roster.online()), number(roster.rooms())))?;
                let under_way = self.tasks.borrow();
                let fan_outs = under_way.values().filter(|task| task.is_stored());
                let figures = SwitchboardFigures {
                    online_users,
                    rooms,
                    fan_outs_under_way: number(fan_outs.count()),
                    hubs_in_debt: number(self.debts.len()),
                };
                json(200, &figures)
            }
            SwitchboardCall::Forget { user, at } => {
                self.forget(&user, at)?;
                Response::empty()
            }
            SwitchboardCall::Peer(call) => self.answer_peer(call),
            #[cfg(feature = "instruments")]
            SwitchboardCall::Info => self.info().await,
        }
    }

    /// What is known of users.
    fn known(&self, query: &RosterQuery) -> Result<Response> {
        let RosterQuery { users, sharing } = query;
        let sharing = sharing.as_deref();
        let online: Vec<Option<Known>> =
            self.roster(|roster| users.iter().map(|user| roster.known(user, sharing)).collect())?;
        let absent = users.iter().zip(&online).filter(|(_, known)| known.is_none());
        let absent: Vec<_> = absent.map(|(user, _)| user).collect();
        let seen: BTreeMap<_, _> = self.storage.seen(&absent)?.into_iter().collect();
        let users = users.iter().zip(online);
        let known = users.map(|(user, online)| {
            online
                .or_else(|| seen.get(user).map(|seen| seen.known(sharing)))
                .unwrap_or(Known::Unknown)
        });
        json(
            200,
            &RosterReply {
                users: known.collect(),
            },
        )
    }

    // ---- events ----

    /// Comes before every event: whatever was under way when the object was last evicted, or failed, goes on.
    fn wake(self: &Rc<Self>, name: SwitchboardName) -> Result<()> {
        if self.board.borrow().is_none() {
            let jobs = self.storage.jobs()?;
            let board = self.storage.board()?.unwrap_or_else(|| Board::new(name));
            self.board.replace(Some(board));
            self.resume(jobs);
        }
        self.walk();
        Ok(())
    }

    async fn on_alarm(self: &Rc<Self>) -> Result<()> {
        self.alarm.went_off();
        if self.board.borrow().is_none() {
            match self.storage.board()? {
                Some(board) => self.wake(board.name)?,
                None => return Ok(()),
            }
        }
        self.depart()?;
        let interval_ms = self.config()?.heartbeat.interval_ms;
        if self.change_board(|board, _| board.ticks(interval_ms, clock::now()))? {
            self.tick();
        }
        self.report_when_due()?;
        self.walk();
        self.conclude()?;
        self.arm().await
    }

    /// What follows from a change of the roster.
    fn conclude(self: &Rc<Self>) -> Result<()> {
        let config = self.config()?;
        let now = clock::now();
        self.change_board(|board, roster| board.keep_time(roster, config.heartbeat.interval_ms, now))?;
        self.announce_watching_if_changed()?;
        let is_over = self.change_board(|board, roster| {
            board.is_over(roster, config.switchboards) && board.registered == Registered::Yes
        })?;
        if is_over {
            self.read();
        }
        self.arm_later();
        Ok(())
    }

    /// Sets the alarm once the event is answered.
    fn arm_later(self: &Rc<Self>) {
        let exchange = Rc::clone(self);
        self.state.wait_until(async move {
            if let Err(error) = exchange.arm().await {
                console_error!("the alarm could not be set: {error}");
            }
        });
    }

    /// Sets the alarm when something is due before it.
    async fn arm(&self) -> Result<()> {
        self.alarm.arm(|set| self.alarm_to_set(set)).await
    }

    fn alarm_to_set(&self, set: Option<Timestamp>) -> Result<Option<Timestamp>> {
        let is_reporting = self.reporting.get();
        let is_under_way = is_reporting || {
            let tasks = self.tasks.borrow();
            !self.retrying.borrow().is_empty() || tasks.values().any(|task| task.is_stored())
        };
        let departure = self.roster(|roster| roster.departs_at())?;
        let (tick, report) = self.board(|board| {
            // One that is being made is due until it is.
            let report = board.reporting.filter(|_| !is_reporting);
            let report = report.map(|reporting| reporting.due_at);
            (board.tick_at, report)
        })?;
        let now = clock::now();
        let deadlines = Deadlines {
            resume: is_under_way.then(|| now.after_ms(RESUME_MS)),
            departure,
            tick,
            report,
        };
        Ok(alarm::to_set(set, &deadlines, now))
    }

    // ---- what is known ----

    /// Looks at the roster.
    fn roster<T>(&self, look: impl FnOnce(&mut Roster) -> T) -> Result<T> {
        let mut roster = self.roster.borrow_mut();
        let roster = match roster.as_mut() {
            Some(roster) => roster,
            None => roster.insert(self.storage.roster()?),
        };
        Ok(look(roster))
    }

    /// What became of writing a change of the roster: when it failed, what is in memory is wrong.
    fn stored(&self, written: Result<()>) -> Result<()> {
        if written.is_err() {
            self.roster.replace(None);
        }
        written
    }

    fn board<T>(&self, look: impl FnOnce(&Board) -> T) -> Result<T> {
        let board = self.board.borrow();
        let board = board
            .as_ref()
            .ok_or_else(|| Error::RustError("a switchboard without a name".to_owned()))?;
        Ok(look(board))
    }

    /// Changes what must not be forgotten; written only when it has changed.
    fn change_board<T>(&self, change: impl FnOnce(&mut Board, &Roster) -> T) -> Result<T> {
        let before = self.board(Board::clone)?;
        let mut board = before.clone();
        let changed = self.roster(|roster| change(&mut board, roster))?;
        if board != before {
            self.storage.set_board(&board)?;
            self.board.replace(Some(board));
        }
        Ok(changed)
    }

    fn name(&self) -> Result<SwitchboardName> {
        self.board(|board| board.name)
    }

    fn config(&self) -> Result<Rc<Config>> {
        settings::load(&self.env).map_err(|_| Error::RustError("the service is not configured".to_owned()))
    }

    /// How many users are online in each of these rooms.
    fn online_in(&self, rooms: &[SharedRoom]) -> Result<Vec<u64>> {
        self.roster(|roster| rooms.iter().map(|room| number(roster.online_in(room))).collect())
    }

    #[cfg(feature = "instruments")]
    async fn info(&self) -> Result<Response> {
        #[derive(serde::Serialize)]
        struct Info<'a> {
            instance: &'a str,
            alarm_at: Option<Timestamp>,
            online: usize,
            walks: usize,
            jobs: usize,
            board: Board,
        }
        let info = Info {
            instance: &self.instance,
            alarm_at: self.alarm.look_up().await?,
            online: self.roster(|roster| roster.online())?,
            walks: self.walks.borrow().len(),
            jobs: self.storage.jobs()?.len(),
            board: self.board(Board::clone)?,
        };
        json(200, &info)
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
