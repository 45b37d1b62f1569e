//! How one thing is brought to many hubs.
//!
//! An entry of shared rooms is stored before anybody is told, and how far it has come after every batch: a
//! process that ends in between tells that batch again, and nobody is left out. Nothing waits for those
//! whose hubs can't be reached; they are tried again at the end, and then by the queue.

use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::id::UserId;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::switchboard::walk::{Addressed, BATCH, By, Circle, Progress, RETRY_DELAYS_MS, Step};
use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use worker::{Delay, Error, Response, Result, console_error};

use super::Exchange;
use super::reading::unavailable;
use super::storage::Job;
use crate::http::json;
use crate::hub_rpc::{HubCall, HubRequest};
use crate::instruments::{FailPoint, reach};
use crate::nudges;
use crate::switchboard_rpc::{Emit, EmitReply, FanOut, FanOutReply, HubReply};

/// How long a hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Walks that may be under way before volatile events are refused.
const MAX_WALKS: usize = 1_000;

/// What a walk brings.
pub(super) enum Task {
    /// An entry of shared rooms, stored under this id.
    Job(u64),
    /// A volatile event.
    Emit(Emit),
}

impl Task {
    /// Whether it has to be brought to its end.
    pub(super) const fn is_stored(&self) -> bool {
        match self {
            Self::Job(_) => true,
            Self::Emit(_) => false,
        }
    }
}

/// What a walk brings, as far as a hub is told.
enum Message {
    Entry(FanOut),
    Event(Emit),
}

impl Message {
    fn call(&self, from: SwitchboardName, by: &By) -> HubCall {
        match self {
            Self::Entry(fan_out) => HubCall::Deliver {
                from,
                fan_out: FanOut {
                    places: match by {
                        By::Name => Vec::new(),
                        By::Rooms(rooms) => {
                            let places = fan_out.places.iter();
                            places.filter(|(room, _)| rooms.contains(room)).cloned().collect()
                        }
                    },
                    kind: fan_out.kind.clone(),
                },
            },
            Self::Event(emit) => HubCall::Emit {
                from,
                rooms: match by {
                    By::Name => None,
                    By::Rooms(rooms) => Some(rooms.clone()),
                },
                event: emit.event.clone(),
                data: emit.data.clone(),
            },
        }
    }
}

/// How long a walk waits before its first step.
const BEFORE_A_WALK: Duration = Duration::from_millis(1);

impl Exchange {
    // ---- what is brought ----

    /// Brings an entry of shared rooms to the members who are online; answers once it will.
    pub(super) async fn fan_out(self: &Rc<Self>, fan_out: &FanOut) -> Result<Response> {
        self.recent.borrow_mut().append(&fan_out.places, &fan_out.kind);
        let circle = circle(fan_out);
        let online = self.online_in(&circle.rooms)?;
        if self.roster(|roster| roster.any_of(&circle))? {
            let id = self.storage.begin(fan_out)?;
            self.begin(Task::Job(id), circle, None, Vec::new());
            self.arm().await?;
            reach(FailPoint::FanOutAccepted).await?;
            self.walk();
        } else {
            self.conclude()?;
        }
        json(200, &FanOutReply { online })
    }

    /// Sends a volatile event to the members who are online.
    pub(super) fn emit(self: &Rc<Self>, emit: Emit) -> Result<Response> {
        if self.walks.borrow().len() >= MAX_WALKS {
            return unavailable();
        }
        let circle = Circle {
            rooms: emit.rooms.clone(),
            users: emit.users.iter().cloned().collect(),
        };
        let rooms = self.online_in(&emit.rooms)?;
        let users = self.roster(|roster| {
            let users = emit.users.iter().filter(|user| roster.get(user).is_some());
            users.cloned().collect()
        })?;
        if self.roster(|roster| roster.any_of(&circle))? {
            self.begin(Task::Emit(emit), circle, None, Vec::new());
            self.walk();
        }
        json(200, &EmitReply { users, rooms })
    }

    /// Takes up what was under way when the object was last evicted.
    pub(super) fn resume(self: &Rc<Self>, jobs: Vec<Job>) {
        for job in jobs {
            match job.progress {
                Progress::Walking { after, missed } => {
                    self.begin(Task::Job(job.id), circle(&job.fan_out), after, missed);
                }
                Progress::Retrying(left) => self.retry(job.id, left),
            }
        }
    }

    fn begin(&self, task: Task, circle: Circle, after: Option<UserId>, missed: Vec<UserId>) {
        let walk = self.walks.borrow_mut().begin(circle, after, missed);
        self.tasks.borrow_mut().insert(walk, Rc::new(task));
    }

    // ---- walking ----

    /// Sees to it that walks go on.
    pub(super) fn walk(self: &Rc<Self>) {
        if self.walks.borrow().is_empty() || self.walking.replace(true) {
            return;
        }
        let exchange = Rc::clone(self);
        self.state.wait_until(async move {
            // Whoever has begun it is answered first: thousands of calls would come before the answer.
            Delay::from(BEFORE_A_WALK).await;
            let walked = exchange.walk_all().await;
            exchange.walking.set(false);
            if let Err(error) = walked.and_then(|()| exchange.conclude()) {
                console_error!("a walk was interrupted and goes on later: {error}");
            }
        });
    }

    async fn walk_all(self: &Rc<Self>) -> Result<()> {
        loop {
            let turn = self.walks.borrow_mut().turn();
            let Some(turn) = turn else {
                return Ok(());
            };
            let task = self.tasks.borrow().get(&turn.walk).map(Rc::clone);
            let message = match task.as_deref() {
                Some(Task::Job(id)) => self.storage.job(*id)?.map(|job| Message::Entry(job.fan_out)),
                Some(Task::Emit(emit)) => Some(Message::Event(emit.clone())),
                None => None,
            };
            let told = match message {
                Some(_) => {
                    self.roster(|roster| roster.batch(&turn.circle, turn.after.as_ref(), turn.limit))?
                }
                // Gone: there is nothing to tell.
                None => Vec::new(),
            };
            let missed = match &message {
                Some(message) => self.bring(message, &told).await?,
                None => Vec::new(),
            };
            let step = self.walks.borrow_mut().step(&turn, &told, missed.clone());
            if let Step::Ends(_) = step {
                self.tasks.borrow_mut().remove(&turn.walk);
            }
            match (task.as_deref(), step) {
                (Some(Task::Job(id)), Step::Goes(progress)) => self.storage.advance(*id, &progress)?,
                (Some(Task::Job(id)), Step::Ends(left)) => self.end(*id, left)?,
                (Some(Task::Emit(_)) | None, _) => {}
            }
        }
    }

    fn end(self: &Rc<Self>, id: u64, left: Vec<UserId>) -> Result<()> {
        if left.is_empty() {
            return self.storage.end(id);
        }
        self.storage.advance(id, &Progress::Retrying(left.clone()))?;
        self.retry(id, left);
        Ok(())
    }

    /// Brings something to these members; gives those whose hubs could not be reached.
    async fn bring(self: &Rc<Self>, message: &Message, members: &[Addressed]) -> Result<Vec<UserId>> {
        let name = self.name()?;
        let calls = members.iter().map(|member| {
            let call = message.call(name, &member.by);
            async move { (&member.user, self.call(&member.user, call).await) }
        });
        let replies: Vec<_> = stream::iter(calls).buffer_unordered(BATCH).collect().await;
        let mut missed = BTreeSet::new();
        for (user, reply) in replies {
            match reply {
                Ok(reply) => self.hear(user, reply)?,
                Err(_) => {
                    missed.insert(user.clone());
                }
            }
        }
        match message {
            Message::Entry(_) => reach(FailPoint::FanOutBatchTold).await?,
            Message::Event(_) => {}
        }
        Ok(missed.into_iter().collect())
    }

    /// Calls a hub; one that does not answer is not waited for.
    pub(super) async fn call(&self, user: &UserId, call: HubCall) -> Result<HubReply> {
        let request = HubRequest::new(user.clone(), call);
        let reply = request.send_for::<HubReply>(&self.env);
        match select(Box::pin(reply), Delay::from(PATIENCE)).await {
            Either::Left((reply, _)) => reply,
            Either::Right(_) => Err(Error::RustError("the hub does not answer".to_owned())),
        }
    }

    // ---- trying again ----

    /// Tries those again whose hubs could not be reached, a few times; then the queue does.
    fn retry(self: &Rc<Self>, id: u64, left: Vec<UserId>) {
        self.retrying.borrow_mut().insert(id);
        let exchange = Rc::clone(self);
        self.state.wait_until(async move {
            let tried = exchange.try_again(id, left).await;
            exchange.retrying.borrow_mut().remove(&id);
            if let Err(error) = tried {
                console_error!("hubs could not be tried again: {error}");
            }
        });
    }

    async fn try_again(self: &Rc<Self>, id: u64, mut left: Vec<UserId>) -> Result<()> {
        // From the beginning when the queue takes nothing either: nobody is left out.
        while !left.is_empty() {
            for delay_ms in RETRY_DELAYS_MS {
                Delay::from(Duration::from_millis(delay_ms)).await;
                let Some(Job { fan_out, .. }) = self.storage.job(id)? else {
                    return Ok(());
                };
                let circle = circle(&fan_out);
                // Who has left meanwhile gets it by their cursor.
                let members: Vec<_> = self.roster(|roster| {
                    let users = left.iter();
                    users.filter_map(|user| roster.addressed(&circle, user)).collect()
                })?;
                left = self.bring(&Message::Entry(fan_out), &members).await?;
                if left.is_empty() {
                    break;
                }
                self.storage.advance(id, &Progress::Retrying(left.clone()))?;
            }
            left = self.queue(left).await;
        }
        self.storage.end(id)?;
        self.conclude()
    }

    /// Has the queue tell these hubs; gives those it did not take.
    async fn queue(&self, users: Vec<UserId>) -> Vec<UserId> {
        let mut left = Vec::new();
        for user in users {
            console_error!("a hub could not be reached after something was stored for it");
            if let Err(error) = nudges::queue_hub(&self.env, user.clone()).await {
                console_error!("the nudge could not be queued and is tried again: {error}");
                left.push(user);
            }
        }
        left
    }

    // ---- ticks ----

    /// Ticks the hubs whose clients wait for pings.
    pub(super) fn tick(self: &Rc<Self>) {
        if self.ticking.replace(true) {
            return;
        }
        let exchange = Rc::clone(self);
        self.state.wait_until(async move {
            let ticked = exchange.tick_all().await;
            exchange.ticking.set(false);
            if let Err(error) = ticked.and_then(|()| exchange.announce_again()) {
                console_error!("hubs could not be ticked: {error}");
            }
        });
    }

    async fn tick_all(self: &Rc<Self>) -> Result<()> {
        let from = self.name()?;
        let users: Vec<UserId> = self.roster(|roster| roster.ticked().iter().cloned().collect())?;
        let calls = users.into_iter().map(|user| (user, HubCall::Tick { from }));
        self.tell_all(calls).await?;
        self.conclude()
    }

    /// Calls many hubs, each once: who can't be reached is passed over.
    pub(super) async fn tell_all(
        self: &Rc<Self>,
        calls: impl IntoIterator<Item = (UserId, HubCall)>,
    ) -> Result<()> {
        let calls = calls.into_iter().map(|(user, call)| async move {
            let reply = self.call(&user, call).await;
            (user, reply)
        });
        let mut replies = stream::iter(calls).buffer_unordered(BATCH);
        while let Some((user, reply)) = replies.next().await {
            match reply {
                Ok(reply) => self.hear(&user, reply)?,
                Err(error) => console_error!("a hub could not be reached: {error}"),
            }
        }
        Ok(())
    }

    /// Does something once the event is answered, and logs when it fails.
    pub(super) fn later(&self, what: &'static str, work: impl Future<Output = Result<()>> + 'static) {
        self.state.wait_until(async move {
            if let Err(error) = work.await {
                console_error!("{what}: {error}");
            }
        });
    }
}

fn circle(fan_out: &FanOut) -> Circle {
    Circle {
        rooms: fan_out.places.iter().map(|(room, _)| room.clone()).collect(),
        users: BTreeSet::new(),
    }
}
