//! The object of one user: their room, their sockets, their inbox.
//!
//! Every event runs the same way: parse, load, decide (a rule of the domain), store, send; then one
//! drain step that may wait for the record; then the alarm. Between reading and writing the object's
//! own state nothing is awaited, so no other event sees a half-made change.
//!
//! The hub hibernates: no timer, outgoing socket or pending promise outlives an event. What must
//! survive is in the sockets' attachments or in SQLite; [`Memory`] holds only what may be lost.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::alarm::{self, Debt};
use dormouse_domain::config::Config;
use dormouse_domain::event::{Acknowledgement, ClientEvent, EventError, ServerEvent};
use dormouse_domain::id::{RecipientId, UserId};
use dormouse_domain::inbox::{self, Entry, Head, Place, Store};
use dormouse_domain::page::{Cursor, PageRequest};
use dormouse_domain::presence::{Presence, Sighting, reconcile};
use dormouse_domain::session::{CloseReason, Joined, Namespace, Output, Rules, Session};
use dormouse_domain::time::Timestamp;
use dormouse_protocol::socket::{AckData, Decoder};
use serde::Serialize;
use worker::{
    Delay, DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    WebSocketPair, console_error, durable_object,
};

use crate::http::json;
use crate::hub_rpc::{HubCall, HubRequest, NudgeReply, OpenCall};
use crate::instruments::{FailPoint, Unit, count, reach};
use crate::sockets::{Connection, broadcast, listeners, send_event};
use crate::storage::Storage;
use crate::{clock, entropy, record, settings, socket_io};

/// How long a nudge waits for those before it, which concurrent pushes overtake: looks and pause.
const PATIENCE_LOOKS: u32 = 8;
const PATIENCE_PAUSE: Duration = Duration::from_millis(3);

/// Changes written to the record at once.
const OUTBOX_PAGE: i64 = 100;

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
    flushing: Cell<bool>,
    #[cfg(feature = "instruments")]
    instance: String,
}

/// What the hub may forget at any moment.
#[derive(Default)]
struct Memory {
    /// Half-received binary packets, by engine sid.
    decoders: HashMap<String, Decoder>,
    /// Entries that came before those they follow.
    held: BTreeMap<u64, Entry>,
    alarm: Alarm,
}

/// What is known of the object's alarm.
#[derive(Clone, Copy, Default)]
enum Alarm {
    /// It has not been looked up since the object woke.
    #[default]
    Unknown,
    /// It is set for this time, or not at all.
    Known(Option<Timestamp>),
}

impl DurableObject for UserHub {
    fn new(state: State, env: Env) -> Self {
        let storage = Storage::new(&state);
        let hub = Hub {
            storage,
            state,
            env,
            memory: RefCell::default(),
            flushing: Cell::new(false),
            #[cfg(feature = "instruments")]
            instance: entropy::sid().unwrap_or_default(),
        };
        Self { hub: Rc::new(hub) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let HubRequest { user, call } = HubRequest::receive(&mut request).await?;
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

impl Hub {
    async fn answer(self: &Rc<Self>, user: &UserId, call: HubCall) -> Result<Response> {
        match call {
            HubCall::Open(open) => self.open(user, open).await,
            HubCall::Nudge(entry) => json(200, &self.nudge(user, entry.into()).await?),
            HubCall::CatchUp => {
                self.catch_up(user).await?;
                self.finish();
                Response::empty()
            }
            HubCall::List(page) => self.list(page),
            HubCall::Counts => {
                let head = self.storage.head()?;
                json(200, &head.as_ref().map(Head::counts).unwrap_or_default())
            }
            HubCall::Presence => self.presence(user),
            #[cfg(feature = "instruments")]
            HubCall::Info => self.info().await,
        }
    }

    /// Takes a WebSocket. Nothing but the object's own state decides.
    async fn open(&self, user: &UserId, open: OpenCall) -> Result<Response> {
        let config = self.config()?;
        let now = clock::now();
        let others = Connection::all(&self.state);
        if others.is_empty() {
            self.sight(user, Sighting::Lost)?;
        }
        let next_tick = others.iter().map(|other| other.session.heartbeat.ping_at).min();
        let session = Session::open(
            entropy::sid()?,
            open.identity,
            open.acknowledging,
            now,
            next_tick,
            config.heartbeat,
        );
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let connection = Connection::accept(&self.state, server, session)?;
        connection.send(&socket_io::open_packet(&connection.session.sid, &config));
        self.arm().await?;
        Response::from_websocket(client)
    }

    async fn on_message(self: &Rc<Self>, ws: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let Some(mut connection) = Connection::load(ws) else {
            return Ok(());
        };
        let config = self.config()?;
        let before = connection.session.clone();
        let outputs = self.decide(&config, &mut connection.session, &message)?;
        if connection.session != before {
            connection.save()?;
        }
        if !outputs.is_empty() {
            self.perform(connection, outputs).await?;
        }
        Ok(())
    }

    /// What the message means, kept apart from everything that waits.
    fn decide(
        &self,
        config: &Config,
        session: &mut Session,
        message: &WebSocketIncomingMessage,
    ) -> Result<Vec<Output>> {
        let now = clock::now();
        let sid = entropy::sid()?;
        let rules = rules(config);
        let mut memory = self.memory.borrow_mut();
        let mut decoder = memory.decoders.remove(&session.sid).unwrap_or_default();
        let outputs = match message {
            WebSocketIncomingMessage::String(text) => session.on_text(now, &rules, &mut decoder, text, &sid),
            WebSocketIncomingMessage::Binary(bytes) => {
                session.on_binary(now, &rules, &mut decoder, bytes, &sid)
            }
        };
        if decoder.attachments_due() > 0 {
            memory.decoders.insert(session.sid.clone(), decoder);
        }
        Ok(outputs)
    }

    async fn perform(self: &Rc<Self>, connection: Connection, outputs: Vec<Output>) -> Result<()> {
        let user = connection.session.identity.user.clone();
        let mut joined_any = false;
        for output in outputs {
            match output {
                Output::Send(frame) => connection.send(&frame),
                Output::Joined(joined) => {
                    self.joined(&connection, &joined)?;
                    joined_any = true;
                }
                Output::Left(_) => self.sight(&user, Sighting::Closed)?,
                Output::Event {
                    namespace,
                    ack_id,
                    event,
                } => {
                    let done = self.on_event(&connection, namespace, event);
                    if let Some(ack_id) = ack_id {
                        connection.send(
                            &AckData::new()
                                .arg(&done)
                                .map_err(encode)?
                                .frame(&namespace.wire(), ack_id),
                        );
                    }
                }
                Output::Close(reason) => self.close(&connection, reason)?,
            }
        }
        if joined_any && let Err(error) = self.catch_up(&user).await {
            console_error!("catching up failed and is tried again: {error}");
            self.catch_up_later()?;
        }
        self.drain().await;
        self.arm().await
    }

    fn joined(&self, connection: &Connection, joined: &Joined) -> Result<()> {
        let user = &connection.session.identity.user;
        self.sight(user, Sighting::Open)?;
        let head = self.head(user)?;
        send_event(
            connection,
            joined,
            &ServerEvent::Authenticated {
                user: user.clone(),
                connected_at: joined.connected_at,
                counts: head.counts(),
            },
        );
        Ok(())
    }

    /// Carries out a client's event; what went wrong is told by `error` and by the ack.
    fn on_event(
        &self,
        connection: &Connection,
        namespace: Namespace,
        event: std::result::Result<ClientEvent, EventError>,
    ) -> Acknowledgement {
        let user = &connection.session.identity.user;
        let done = event.and_then(|event| match event {
            ClientEvent::Ping => Ok((Acknowledgement::done(), Some(ServerEvent::Pong))),
            ClientEvent::Join(room) if room == *user => Ok((Acknowledgement::done(), None)),
            ClientEvent::Join(_) => Err(EventError::Forbidden),
            ClientEvent::Acknowledge(ids) => self
                .acknowledge(&ids)
                .map(|known| (Acknowledgement::acknowledged(known), None)),
        });
        let (acknowledgement, event) = match done {
            Ok(done) => done,
            Err(error) => (Acknowledgement::from(&error), Some(ServerEvent::Error(error))),
        };
        let joined = connection
            .session
            .namespaces
            .iter()
            .find(|joined| joined.namespace == namespace);
        if let (Some(joined), Some(event)) = (joined, event) {
            send_event(connection, joined, &event);
        }
        acknowledgement
    }

    fn acknowledge(&self, ids: &[RecipientId]) -> std::result::Result<usize, EventError> {
        let now = clock::now();
        let mut stores = Vec::new();
        let mut known: usize = 0;
        for id in ids {
            if let Some(item) = self.storage.item(*id).map_err(server_error)? {
                known = known.saturating_add(1);
                stores.extend(inbox::confirm(*id, item.delivery, now));
            }
        }
        if known == 0 {
            return Err(EventError::NotFound);
        }
        self.storage.apply(stores).map_err(server_error)?;
        Ok(known)
    }

    fn close(&self, connection: &Connection, reason: CloseReason) -> Result<()> {
        connection.close(reason);
        self.forget(&connection.session)
    }

    fn on_close(&self, ws: WebSocket) -> Result<()> {
        match Connection::load(ws) {
            Some(connection) => self.forget(&connection.session),
            None => Ok(()),
        }
    }

    fn forget(&self, session: &Session) -> Result<()> {
        self.memory.borrow_mut().decoders.remove(&session.sid);
        self.sight(&session.identity.user, Sighting::Closed)
    }

    /// Stores presence when it changes: `otherwise` is what to conclude when no socket is open.
    fn sight(&self, user: &UserId, otherwise: Sighting) -> Result<()> {
        let now = clock::now();
        let open = Connection::all(&self.state)
            .iter()
            .any(|connection| connection.session.is_present(now));
        let sighting = if open { Sighting::Open } else { otherwise };
        match reconcile(&self.head(user)?, sighting, now) {
            Some(head) => self.storage.apply(vec![Store::Head(head)]),
            None => Ok(()),
        }
    }

    async fn on_alarm(self: &Rc<Self>) -> Result<()> {
        self.memory.borrow_mut().alarm = Alarm::Known(None);
        let config = self.config()?;
        let now = clock::now();
        for mut connection in Connection::all(&self.state) {
            let before = connection.session.clone();
            let outputs = connection.session.on_timer(now, &rules(&config));
            if connection.session != before {
                connection.save()?;
            }
            for output in outputs {
                match output {
                    Output::Send(frame) => connection.send(&frame),
                    Output::Close(reason) => self.close(&connection, reason)?,
                    Output::Joined(_) | Output::Left(_) | Output::Event { .. } => {}
                }
            }
        }
        if let Some(head) = self.storage.head()?
            && head.catch_up_at.is_some_and(|at| at <= now)
        {
            match self.catch_up(&head.user).await {
                Ok(()) => {
                    let head = self.head(&head.user)?;
                    self.storage.apply(vec![Store::Head(Head {
                        catch_up_at: None,
                        ..head
                    })])?;
                }
                Err(error) => {
                    console_error!("catching up failed and is tried again: {error}");
                    self.catch_up_later()?;
                }
            }
        }
        self.drain().await;
        self.arm().await
    }

    /// Brings one entry of the user's room into the inbox.
    async fn nudge(self: &Rc<Self>, user: &UserId, entry: Entry) -> Result<NudgeReply> {
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
    async fn catch_up(&self, user: &UserId) -> Result<()> {
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

    /// Applies one entry: store, then send. Waits for nothing in the production bundle.
    async fn apply(&self, user: &UserId, entry: Entry) -> Result<()> {
        let config = self.config()?;
        let head = self.head(user)?;
        let known = match &entry.notification {
            Some(notification) => self.storage.item(notification.id.recipient(user))?,
            None => None,
        };
        let connections = Connection::all(&self.state);
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
        broadcast(&connections, &arrival.events);
        Ok(())
    }

    fn catch_up_later(&self) -> Result<()> {
        let Some(head) = self.storage.head()? else {
            return Ok(());
        };
        // Spread out: what failed for one hub has most likely failed for many.
        let jitter = u64::from(u16::from_le_bytes(entropy::bytes()?)) % alarm::RETRY_MS;
        let at = clock::now().after_ms(alarm::RETRY_MS.saturating_add(jitter));
        self.storage.apply(vec![Store::Head(Head {
            catch_up_at: Some(at),
            ..head
        })])
    }

    fn list(self: &Rc<Self>, page: PageRequest) -> Result<Response> {
        #[derive(Serialize)]
        struct Page<'a> {
            items: Vec<inbox::ListedItem<'a>>,
            next_cursor: Option<String>,
            #[serde(flatten)]
            counts: inbox::Counts,
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
        let items = items.iter().map(inbox::Item::listed).collect();
        json(
            200,
            &Page {
                items,
                next_cursor,
                counts,
            },
        )
    }

    fn presence(&self, user: &UserId) -> Result<Response> {
        let connections = Connection::all(&self.state);
        let sessions: Vec<Session> = connections
            .into_iter()
            .map(|connection| connection.session)
            .collect();
        let head = self.storage.head()?;
        json(200, &Presence::of(user, head.as_ref(), &sessions, clock::now()))
    }

    /// Pays what is owed to the record after the answer is on its way; the event lasts until then.
    fn finish(self: &Rc<Self>) {
        let hub = Rc::clone(self);
        self.state.wait_until(async move {
            hub.drain().await;
            if let Err(error) = hub.arm().await {
                console_error!("the alarm could not be set: {error}");
            }
        });
    }

    /// Writes to the record what is owed to it. What can't be written stays owed.
    async fn drain(&self) {
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

    /// Sets the alarm when something is due before it.
    async fn arm(&self) -> Result<()> {
        let known = self.memory.borrow().alarm;
        let set = match known {
            Alarm::Known(set) => set,
            Alarm::Unknown => self.storage.alarm().await?,
        };
        let config = self.config()?;
        let connections = Connection::all(&self.state);
        let sessions: Vec<Session> = connections
            .into_iter()
            .map(|connection| connection.session)
            .collect();
        let head = self.storage.head()?;
        let debt = if self.storage.outbox(1)?.owed.is_empty() {
            Debt::None
        } else {
            Debt::Some
        };
        let to_set = alarm::to_set(set, &sessions, head.as_ref(), debt, &rules(&config), clock::now());
        if let Some(at) = to_set {
            self.storage.set_alarm(at).await?;
        }
        self.memory.borrow_mut().alarm = Alarm::Known(to_set.or(set));
        Ok(())
    }

    fn head(&self, user: &UserId) -> Result<Head> {
        Ok(self.storage.head()?.unwrap_or_else(|| Head::new(user.clone())))
    }

    fn config(&self) -> Result<Rc<Config>> {
        settings::load(&self.env).map_err(|_| Error::RustError("the service is not configured".to_owned()))
    }

    #[cfg(feature = "instruments")]
    async fn info(&self) -> Result<Response> {
        #[derive(Serialize)]
        struct Info<'a> {
            instance: &'a str,
            alarm_at: Option<Timestamp>,
            sockets: usize,
            cursor: u64,
            owed: usize,
        }
        json(
            200,
            &Info {
                instance: &self.instance,
                alarm_at: self.storage.alarm().await?,
                sockets: Connection::all(&self.state).len(),
                cursor: self.storage.head()?.map_or(0, |head| head.cursor),
                owed: self.storage.outbox(OUTBOX_PAGE)?.owed.len(),
            },
        )
    }
}

fn rules(config: &Config) -> Rules<'_> {
    Rules {
        key: &config.token_key,
        heartbeat: config.heartbeat,
        connect_timeout_ms: config.connect_timeout_ms,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn encode(error: dormouse_protocol::socket::EncodeError) -> Error {
    Error::RustError(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn server_error(error: Error) -> EventError {
    console_error!("an event could not be carried out: {error}");
    EventError::Server
}
