//! The object of one user: their room, their sockets, their inbox.
//!
//! Every event runs the same way: parse, load, decide (a rule of the domain), store, send; then one
//! drain step that may wait for the record; then the alarm. Between reading and writing the object's
//! own state nothing is awaited, so no other event sees a half-made change.
//!
//! The hub hibernates: no timer, outgoing socket or pending promise outlives an event. What must
//! survive is in the sockets' attachments or in SQLite; [`Memory`] holds only what may be lost.
//!
//! [`connections`] is the side of the clients, of whom some use [`polling`]; [`inbox`] the side of the record, [`requests`] what is asked
//! over HTTP, [`upkeep`] what the clock and the record are owed.

mod connections;
mod inbox;
mod polling;
mod requests;
mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use dormouse_domain::alarm::{self, Needs};
use dormouse_domain::config::Config;
use dormouse_domain::delivery::Tally;
use dormouse_domain::id::UserId;
use dormouse_domain::inbox::{Debt, Entry, Head};
use dormouse_domain::limit::Admission;
use dormouse_domain::presence::Sighting;
use dormouse_domain::room::Room;
use dormouse_domain::session::Session;
use dormouse_domain::time::Timestamp;
use dormouse_protocol::socket::Decoder;
use serde::Serialize;
use worker::worker_sys::WebSocketRequestResponsePair;
use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    console_error, durable_object,
};

use crate::alarm::Alarm;
use crate::http::json;
use crate::hub_rpc::{HubCall, HubRequest};
use crate::instruments::{Unit, count};
use crate::metrics::{self, Point};
use crate::sockets::PollingTransport;
use crate::storage::Storage;
use crate::switchboard_rpc::Haste;
use crate::{clock, keys, settings};

/// What a client that keeps itself alive emits on `/notifications`, and what the platform answers
/// without waking the hub. The text must match to the letter.
const KEEPALIVE: (&str, &str) = (r#"42/notifications,["ping"]"#, r#"42/notifications,["pong",{}]"#);

/// The Durable Object class of one user's hub.
#[durable_object]
pub struct UserHub {
    hub: Rc<Hub>,
}

struct Hub {
    state: State,
    env: Env,
    storage: Storage,
    memory: RefCell<Memory>,
    alarm: Alarm,
    flushing: Cell<bool>,
    settling: Cell<bool>,
    #[cfg(feature = "instruments")]
    instance: String,
}

/// What the hub may forget at any moment.
#[derive(Default)]
struct Memory {
    /// Half-received binary packets, by engine sid.
    decoders: HashMap<String, Decoder>,
    /// Polling transports, by engine sid.
    polling: HashMap<String, Rc<PollingTransport>>,
    /// Entries that came before those they follow, by log and number.
    held: BTreeMap<(Room, u64), Entry>,
    admission: Admission,
    due: Due,
    owed: Owed,
    /// What the switchboard is yet to be told of deliveries.
    tally: Tally,
    /// Connections that were closed because of their silence and are not written down yet.
    ghosts: u64,
    /// When retention was last looked after.
    pruned_at: Option<Timestamp>,
    /// Whether the user has come and the record has not been asked since. Not lost while it matters: the
    /// question that is under way keeps the hub awake, and one that failed is repeated by `catch_up_at`.
    behind: Behind,
}

/// Whether something may have happened of which the hub knows nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Behind {
    #[default]
    No,
    Yes,
}

/// What is known of debts to the record.
#[derive(Clone, Copy, Default)]
enum Owed {
    /// It has to be looked up.
    #[default]
    Unknown,
    /// There are some, or none.
    Known(Debt),
}

/// What is known of when the clock moves the next delivery on.
#[derive(Clone, Copy, Default)]
enum Due {
    /// It has to be looked up.
    #[default]
    Unknown,
    /// Not before this time, or not at all.
    Known(Option<Timestamp>),
}

impl DurableObject for UserHub {
    fn new(state: State, env: Env) -> Self {
        match WebSocketRequestResponsePair::new(KEEPALIVE.0, KEEPALIVE.1) {
            Ok(pair) => state.set_websocket_auto_response(&pair),
            Err(error) => console_error!("keepalive is not answered by the platform: {error:?}"),
        }
        let storage = Storage::new(&state);
        let hub = Hub {
            storage,
            alarm: Alarm::new(&state),
            state,
            env,
            memory: RefCell::default(),
            flushing: Cell::new(false),
            settling: Cell::new(false),
            #[cfg(feature = "instruments")]
            instance: crate::entropy::sid().unwrap_or_default(),
        };
        Self { hub: Rc::new(hub) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let HubRequest { user, call, token } = HubRequest::receive(&mut request).await?;
        if let Some(token) = token {
            if !self.hub.head(&user)?.accepts_token(token.issued_at) {
                return Ok(Response::empty()?.with_status(401));
            }
            if call.shows_inbox() {
                self.hub.visit(&user, token).await?;
            }
        }
        self.hub.answer(&user, call).await
    }

    async fn websocket_message(&self, ws: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        count(Unit::MessagesReceived, 1);
        self.hub.on_message(ws, message).await
    }

    async fn websocket_close(
        &self,
        ws: WebSocket,
        code: usize,
        _reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        // Unanswered, a close leaves the client waiting for ten seconds. The codes for "no status"
        // and "abnormal" may not be sent.
        let code = u16::try_from(code)
            .ok()
            .filter(|code| !matches!(code, 1004..=1006 | 1015));
        let _ = ws.close(Some(code.unwrap_or(1000)), Some(""));
        self.hub.on_close(ws)
    }

    async fn websocket_error(&self, ws: WebSocket, error: Error) -> Result<()> {
        console_error!("a socket failed: {error}");
        self.hub.on_close(ws)
    }

    async fn alarm(&self) -> Result<Response> {
        count(Unit::Alarms, 1);
        self.hub.on_alarm().await?;
        Response::empty()
    }
}

#[derive(Serialize)]
struct Disconnected {
    disconnected: usize,
}

impl Hub {
    async fn answer(self: &Rc<Self>, user: &UserId, call: HubCall) -> Result<Response> {
        match call {
            HubCall::Open { open, greeting } => self.open(user, open, greeting).await,
            HubCall::OpenPolling { sid, open } => self.open_polling(user, sid, open).await,
            HubCall::Poll { sid, open } => self.poll(user, &sid, open).await,
            HubCall::Post { sid, open, body } => {
                keys::ready_in(&self.state, &self.env, &body).await?;
                self.post(user, &sid, open, &body)
            }
            HubCall::Probe { sid, open } => self.probe(user, sid, open).await,
            HubCall::Probed { sid, open } => self.probed(user, &sid, open),
            HubCall::ProbeGone { sid } => {
                self.fail_probe(&sid);
                Response::empty()
            }
            HubCall::Move { sid, open } => self.move_to(user, &sid, open).await,
            HubCall::Nudge(entry) => json(200, &self.nudge(user, entry.into()).await?),
            HubCall::CatchUp => {
                // Should the record not be read, nothing of a shared room comes in before it was: it may be that the
                // user was taken out of that room.
                self.catch_up_again(user, Haste::Now).await?;
                self.finish();
                match self.head(user)?.catch_up_at {
                    None => Response::empty(),
                    Some(_) => Ok(Response::empty()?.with_status(503)),
                }
            }
            HubCall::Deliver { from, fan_out } => json(200, &self.deliver(user, from, fan_out).await?),
            HubCall::Tick { from } => json(200, &self.tick(user, from)?),
            HubCall::Emit {
                from,
                rooms,
                event,
                data,
            } => {
                self.emit_custom(user, rooms.as_deref(), event, data).await?;
                json(200, &self.reply(user, from)?)
            }
            HubCall::PresenceUpdate { from, users } => {
                self.tell_presence(user, users)?;
                json(200, &self.reply(user, from)?)
            }
            HubCall::List { page, if_none_match } => self.list(user, &page, if_none_match.as_deref()),
            HubCall::Counts { if_none_match } => self.counts(user, if_none_match.as_deref()),
            HubCall::Command(command) => self.command_over_http(user, command),
            HubCall::Preferences => self.preferences(user),
            HubCall::SetPreferences(preferences) => self.set_preferences(user, preferences),
            HubCall::Disconnect => {
                let disconnected = self.disconnect()?;
                self.finish();
                json(200, &Disconnected { disconnected })
            }
            HubCall::Export { above } => self.export(user, above),
            HubCall::Presence => self.presence(user),
            #[cfg(feature = "instruments")]
            HubCall::Info => self.info().await,
        }
    }

    async fn on_alarm(self: &Rc<Self>) -> Result<()> {
        self.alarm.went_off();
        self.beat(Session::on_timer)?;
        if let Some(head) = self.storage.head()? {
            // After a crash nobody saw the last socket go; the alarm for its token's end comes all the same.
            self.sight(&head.user, Sighting::Lost)?;
            self.move_on(&head.user)?;
            if head.catch_up_at.is_some_and(|at| at <= clock::now()) {
                self.catch_up_again(&head.user, Haste::Soon).await?;
            }
        }
        self.prune()?;
        self.drain().await;
        self.arm().await
    }

    /// Pays what is owed to the record after the answer is on its way; the event lasts until then. The
    /// alarm comes first: should the process end in between, it is what pays.
    fn finish(self: &Rc<Self>) {
        let hub = Rc::clone(self);
        self.state.wait_until(async move {
            if let Err(error) = hub.prune() {
                console_error!("what is old could not be removed: {error}");
            }
            if let Err(error) = hub.arm().await {
                console_error!("the alarm could not be set: {error}");
            }
            hub.drain().await;
        });
    }

    /// Whether something may be left to do that an event before this one should have done: what was owed
    /// could not be paid, no event has ended since the object woke and a crash may have left the alarm
    /// unset, or retention has not come to an end.
    fn may_be_behind(&self) -> bool {
        let memory = self.memory.borrow();
        matches!(memory.owed, Owed::Known(Debt::Owed))
            || self.alarm.is_unknown()
            || memory.pruned_at.is_none()
    }

    /// Sets the alarm when something is due before it. It comes at the end of whatever moves connections, so what was
    /// counted of them is written here.
    async fn arm(&self) -> Result<()> {
        let armed = self.alarm.arm(|set| self.alarm_to_set(set)).await;
        let ghosts = std::mem::take(&mut self.memory.borrow_mut().ghosts);
        metrics::write(&self.env, &[(Point::GhostClosed, ghosts)]);
        armed
    }

    fn alarm_to_set(&self, set: Option<Timestamp>) -> Result<Option<Timestamp>> {
        let due = self.memory.borrow().due;
        let delivery_at = match due {
            Due::Known(at) => at,
            Due::Unknown => self.storage.next_due()?,
        };
        self.memory.borrow_mut().due = Due::Known(delivery_at);
        let config = self.config()?;
        let head = self.storage.head()?;
        let needs = Needs {
            sessions: &self.sessions()?,
            head: head.as_ref(),
            delivery_at,
            debt: self.debt(head.as_ref())?,
        };
        Ok(alarm::to_set(set, &needs, &config.rules(), clock::now()))
    }

    fn head(&self, user: &UserId) -> Result<Head> {
        Ok(self.storage.head()?.unwrap_or_else(|| Head::new(user.clone())))
    }

    fn config(&self) -> Result<Rc<Config>> {
        settings::load(&self.env).map_err(|_| Error::RustError("the service is not configured".to_owned()))
    }

    #[cfg(feature = "instruments")]
    async fn info(&self) -> Result<Response> {
        #[derive(serde::Serialize)]
        struct Info<'a> {
            instance: &'a str,
            alarm_at: Option<Timestamp>,
            sockets: usize,
            polling: usize,
            cursor: u64,
            owed: usize,
            memberships: dormouse_domain::membership::Memberships,
        }
        let polling = self
            .memory
            .borrow()
            .polling
            .values()
            .filter(|transport| transport.polling.borrow().phase() == dormouse_domain::polling::Phase::Open)
            .count();
        json(
            200,
            &Info {
                instance: &self.instance,
                alarm_at: self.alarm.look_up().await?,
                sockets: self.connections()?.len().saturating_sub(polling),
                polling,
                cursor: self.storage.head()?.map_or(0, |head| head.cursor),
                owed: self.storage.outbox(100)?.owed.len(),
                memberships: self
                    .storage
                    .head()?
                    .map(|head| head.memberships)
                    .unwrap_or_default(),
            },
        )
    }
}
