//! The hub's side of the clients: connections come and go, packets and the clock act on them.

use std::rc::Rc;

use dormouse_domain::auth::AuthError;
use dormouse_domain::event::{Acknowledgement, ClientEvent, EventError, ServerEvent};
use dormouse_domain::id::UserId;
use dormouse_domain::inbox::{self, Emission, HasMore, Head, Listening, MAX_BATCH, Outcome, Store};
use dormouse_domain::item::Item;
use dormouse_domain::limit::{AdmissionError, may_open};
use dormouse_domain::membership::Claims;
use dormouse_domain::namespace::Namespace;
use dormouse_domain::page::Filter;
use dormouse_domain::polling::{Phase, UPGRADE_TIMEOUT_MS};
use dormouse_domain::presence::{Presence, Sighting, reconcile, sharing};
use dormouse_domain::recovery::{CatchUp, MAX_REPLAYED, Offset, Resume};
use dormouse_domain::session::{CloseReason, Joined, Output, Rules, Session, admission_frame, refusal_frame};
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::time::Timestamp;
use dormouse_protocol::socket::{AckData, Decoder};
use worker::{Error, Response, Result, WebSocket, WebSocketIncomingMessage, WebSocketPair, console_error};

use super::{Behind, Hub};
use crate::http::json;
use crate::hub_rpc::{Greeting, OpenCall, TOO_MANY_OPEN};
use crate::sockets::{Connection, Socket, broadcast, close};
use crate::switchboard_rpc::{Haste, HubReply};
use crate::{clock, entropy, keys, log, record, roster, socket_io};

/// What is left to do when an event's packets are dealt with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// Pay debts, set the alarm.
    Finish,
    /// Also see what the record has for a user who has just connected.
    CatchUp,
}

/// Where an event came from.
#[derive(Clone, Copy)]
struct Origin {
    namespace: Namespace,
    /// The id to answer under, when an answer is wanted.
    ack_id: Option<u64>,
    /// Its name, when it is one of ours.
    name: &'static str,
    came_at: Timestamp,
}

/// What a client is answered to its event.
type Done = std::result::Result<(Acknowledgement, Option<ServerEvent>), EventError>;

impl Rest {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::CatchUp, _) | (_, Self::CatchUp) => Self::CatchUp,
            (Self::Finish, _) | (_, Self::Finish) => Self::Finish,
            (Self::Nothing, Self::Nothing) => Self::Nothing,
        }
    }
}

impl Hub {
    /// Every open connection. A client that keeps itself alive and has fallen silent is closed here,
    /// wherever somebody looks: nothing else would notice.
    pub(super) fn connections(&self) -> Result<Vec<Connection>> {
        let config = self.config()?;
        let now = clock::now();
        let sockets = Socket::all(&self.state).filter_map(|socket| match socket {
            Socket::Connection(connection) => Some(connection),
            Socket::Probe(..) => None,
        });
        let memory = self.memory.borrow();
        let polling = memory
            .polling
            .values()
            .filter(|transport| transport.polling.borrow().phase() == Phase::Open);
        let all = sockets.chain(polling.map(Connection::polling));
        let (silent, open): (Vec<_>, Vec<_>) =
            all.partition(|connection| connection.session.is_silent(now, &config.rules()));
        drop(memory);
        for connection in silent {
            connection.close(CloseReason::PingTimeout);
            self.note_ghost();
        }
        Ok(open)
    }

    fn note_ghost(&self) {
        let ghosts = &mut self.memory.borrow_mut().ghosts;
        *ghosts = ghosts.saturating_add(1);
    }

    /// The sessions of every open connection.
    pub(super) fn sessions(&self) -> Result<Vec<Session>> {
        let connections = self.connections()?.into_iter();
        Ok(connections.map(|connection| connection.session).collect())
    }

    // ---- opening ----

    /// Takes a WebSocket. Nothing but the object's own state decides.
    pub(super) async fn open(&self, user: &UserId, open: OpenCall, greeting: Greeting) -> Result<Response> {
        let sid = match &greeting {
            Greeting::Owed => entropy::sid()?,
            Greeting::Given { sid } => sid.clone(),
        };
        let Ok(session) = self.begin(user, sid, open)? else {
            return Ok(Response::empty()?.with_status(TOO_MANY_OPEN));
        };
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        let connection = Connection::accept(&self.state, server, session)?;
        if greeting == Greeting::Owed {
            let config = self.config()?;
            connection.send(&socket_io::open_packet(
                &connection.session.sid,
                connection.session.heartbeat,
                &[],
                &config,
            ));
        }
        self.arm().await?;
        Response::from_websocket(client)
    }

    /// A connection begins, if the user may open another.
    pub(super) fn begin(
        &self,
        user: &UserId,
        sid: String,
        open: OpenCall,
    ) -> Result<std::result::Result<Session, AdmissionError>> {
        let config = self.config()?;
        let others = self.connections()?;
        if let Err(error) = may_open(others.len()) {
            return Ok(Err(error));
        }
        if others.is_empty() {
            self.sight(user, Sighting::Lost)?;
        }
        let next_tick = others
            .iter()
            .filter_map(|other| other.session.heartbeat.ping_at())
            .min();
        let now = clock::now();
        Ok(Ok(Session::open(
            sid,
            open.identity,
            open.wishes,
            now,
            next_tick,
            config.heartbeat,
            config.expiry,
        )))
    }

    // ---- packets ----

    pub(super) async fn on_message(
        self: &Rc<Self>,
        ws: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> Result<()> {
        if let WebSocketIncomingMessage::String(frame) = &message {
            keys::ready_in(&self.state, &self.env, frame).await?;
        }
        let mut connection = match Socket::load(&self.state, ws) {
            Some(Socket::Connection(connection)) => connection,
            Some(Socket::Probe(ws, probe)) => return self.on_probe(ws, &probe, &message),
            None => return Ok(()),
        };
        let outputs = self.decide(&mut connection, |session, now, rules, decoder| match &message {
            WebSocketIncomingMessage::String(text) => session.on_text(now, rules, decoder, text),
            WebSocketIncomingMessage::Binary(bytes) => session.on_binary(now, rules, decoder, bytes),
        })?;
        let user = connection.session.identity.user.clone();
        let rest = self.perform(connection, outputs)?;
        self.rest(&user, rest).await
    }

    /// What a packet means, kept apart from everything that waits. The session is stored at once.
    pub(super) fn decide(
        &self,
        connection: &mut Connection,
        rule: impl FnOnce(&mut Session, Timestamp, &Rules<'_>, &mut Decoder) -> Vec<Output>,
    ) -> Result<Vec<Output>> {
        let config = self.config()?;
        let before = connection.session.clone();
        let session = &mut connection.session;
        let mut decoder = self
            .memory
            .borrow_mut()
            .decoders
            .remove(&session.sid)
            .unwrap_or_default();
        let outputs = rule(session, clock::now(), &config.rules(), &mut decoder);
        if decoder.attachments_due() > 0 {
            self.memory
                .borrow_mut()
                .decoders
                .insert(session.sid.clone(), decoder);
        }
        if *session != before {
            connection.save()?;
        }
        Ok(outputs)
    }

    pub(super) fn perform(self: &Rc<Self>, mut connection: Connection, outputs: Vec<Output>) -> Result<Rest> {
        let user = connection.session.identity.user.clone();
        let mut rest = if outputs.is_empty() {
            Rest::Nothing
        } else {
            Rest::Finish
        };
        for output in outputs {
            match output {
                Output::Send(frame) => connection.send(&frame),
                Output::Connect {
                    namespace,
                    resume,
                    #[cfg(feature = "conformance")]
                    auth,
                } => {
                    self.memory.borrow_mut().behind = Behind::Yes;
                    self.connect(&mut connection, namespace, resume)?;
                    self.log_connect(&connection.session, namespace);
                    #[cfg(feature = "conformance")]
                    crate::conformance::greet(&connection, namespace, &auth);
                    rest = Rest::CatchUp;
                }
                #[cfg(feature = "conformance")]
                Output::Frames(frames) => {
                    for frame in frames {
                        connection.send_frame(frame);
                    }
                }
                Output::Emit(event) => {
                    let offset = Offset(self.head(&user)?.seq);
                    let to = Listening::All;
                    broadcast(
                        std::slice::from_ref(&connection),
                        &[Emission { event, offset, to }],
                    );
                }
                Output::Left(_) => self.sight(&user, Sighting::Closed)?,
                Output::Event {
                    namespace,
                    ack_id,
                    event,
                } => {
                    let origin = Origin {
                        namespace,
                        ack_id,
                        name: event.as_ref().map_or_else(EventError::event, ClientEvent::name),
                        came_at: clock::now(),
                    };
                    rest = rest.and(self.on_event(&mut connection, origin, event)?);
                }
                Output::Close(reason) => self.close(&connection, reason)?,
            }
        }
        Ok(rest)
    }

    /// Goes on with another token of the user, if its bearer may still speak for them: rooms are joined and left
    /// as it says.
    fn refresh(
        &self,
        connection: &mut Connection,
        token: &str,
    ) -> Result<std::result::Result<Acknowledgement, EventError>> {
        let config = self.config()?;
        let identity = match connection
            .session
            .same_user(clock::now(), &config.token_keys, token)
        {
            Ok(identity) => identity,
            Err(error) => return Ok(Err(EventError::Token(error))),
        };
        let head = self.head(&identity.user)?;
        if !head.accepts_token(identity.issued_at) {
            return Ok(Err(EventError::Token(AuthError::Revoked)));
        }
        self.meet(head, &Claims::of(&identity))?;
        let expires_at = identity.expires_at;
        connection.session.refresh(identity);
        connection.save()?;
        Ok(Ok(Acknowledgement::Refreshed(expires_at)))
    }

    pub(super) async fn rest(self: &Rc<Self>, user: &UserId, rest: Rest) -> Result<()> {
        match rest {
            Rest::Nothing => return Ok(()),
            Rest::Finish => {}
            Rest::CatchUp => self.catch_up_again(user, Haste::Soon).await?,
        }
        self.prune()?;
        self.arm().await?;
        self.drain().await;
        Ok(())
    }

    /// Lets a client into a namespace and sends what it missed.
    fn connect(&self, connection: &mut Connection, namespace: Namespace, resume: Resume) -> Result<()> {
        let config = self.config()?;
        let user = connection.session.identity.user.clone();
        let head = self.head(&user)?;
        if !head.accepts_token(connection.session.identity.issued_at) {
            connection.send(&refusal_frame(&namespace.wire(), AuthError::Revoked));
            return Ok(());
        }
        if let Err(error) = self.admit(connection)? {
            connection.send(&admission_frame(&namespace.wire(), error));
            return Ok(());
        }
        self.meet(head, &Claims::of(&connection.session.identity))?;
        self.move_on(&user)?;
        self.recount_on_arrival(&user)?;
        let now = clock::now();
        let head = self.head(&user)?;
        let (kept, catch_up) = resume.decide(&head);
        if let Some(pid) = &kept {
            self.take_over(&connection.session.sid, namespace, &pid.sid)?;
        }
        let waiting = if namespace.carries_inbox() {
            self.storage.waiting(MAX_BATCH.saturating_add(1))?
        } else {
            Vec::new()
        };
        let position = match catch_up {
            CatchUp::Replay(from) | CatchUp::Batch(from) => from,
            CatchUp::Nothing => first_new(&waiting).unwrap_or(Offset(head.seq)),
        };
        let rules = config.rules();
        let (answer, joined) =
            connection
                .session
                .join(now, &rules, namespace, kept, &entropy::sid()?, position);
        connection.save()?;
        connection.send(&answer);
        self.sight(&user, Sighting::Open)?;
        let authenticated = ServerEvent::Authenticated {
            user,
            connected_at: now,
            counts: head.counts(),
        };
        // The protocol suites know no such event.
        if cfg!(not(feature = "conformance")) {
            connection.emit_to(&joined, &authenticated, position);
        }
        self.send_missed(connection, &joined, catch_up, waiting, position)
    }

    fn log_connect(&self, session: &Session, namespace: Namespace) {
        let joined = session
            .namespaces
            .iter()
            .any(|joined| joined.namespace == namespace);
        let outcome = if joined {
            log::Outcome::Done
        } else {
            log::Outcome::Refused(log::REFUSED)
        };
        let user = Some(&session.identity.user);
        log::event(&self.env, &session.sid, user, log::CONNECT, clock::now(), outcome);
    }

    /// Whether a connection may join a namespace beside the user's others. The protocol suites know no limit.
    fn admit(&self, connection: &Connection) -> Result<std::result::Result<(), AdmissionError>> {
        if cfg!(feature = "conformance") || !connection.session.namespaces.is_empty() {
            return Ok(Ok(()));
        }
        let sessions = self.sessions()?;
        let joined = sessions.iter().filter(|session| !session.namespaces.is_empty());
        let admission = &mut self.memory.borrow_mut().admission;
        Ok(admission.admit(joined.count(), clock::now()))
    }

    /// Takes the user into the rooms their token names.
    pub(super) fn meet(&self, mut head: Head, claims: &Claims) -> Result<()> {
        let before = head.memberships.clone();
        head.memberships.meet(claims, clock::now());
        if head.memberships == before {
            return Ok(());
        }
        self.storage.apply(vec![Store::Head(head)])
    }

    /// A client that comes back may find its old connection still open, not yet known to be dead.
    fn take_over(&self, engine_sid: &str, namespace: Namespace, sid: &str) -> Result<()> {
        for other in self.connections()? {
            let same = other
                .session
                .namespaces
                .iter()
                .any(|j| j.namespace == namespace && j.sid == sid);
            if same && other.session.sid != engine_sid {
                other.close(CloseReason::ForcedClose);
                self.forget(&other.session)?;
            }
        }
        Ok(())
    }

    /// Sends a client what it missed, and what `waiting`, newest first, has waited for a socket.
    fn send_missed(
        &self,
        connection: &Connection,
        joined: &Joined,
        catch_up: CatchUp,
        mut waiting: Vec<Item>,
        position: Offset,
    ) -> Result<()> {
        let head = self.head(&connection.session.identity.user)?;
        let threshold = self.config()?.batch_threshold;
        let outcome = self.around(std::slice::from_ref(connection), |around| {
            Ok(match catch_up {
                CatchUp::Nothing if waiting.is_empty() => Outcome::default(),
                CatchUp::Nothing if waiting.len() > threshold => {
                    inbox::batch(&head, waiting, HasMore::No, around)
                }
                CatchUp::Nothing => {
                    waiting.reverse();
                    inbox::replay(&head, position, waiting, Vec::new(), around)
                }
                CatchUp::Replay(from) => {
                    waiting.retain(|item| item.seq <= from.0);
                    waiting.truncate(MAX_BATCH);
                    waiting.reverse();
                    waiting.extend(self.storage.items_after(from.0, MAX_REPLAYED)?);
                    let changes = self.storage.changes_after(from.0)?;
                    inbox::replay(&head, position, waiting, changes, around)
                }
                CatchUp::Batch(from) => {
                    let mut items = self
                        .storage
                        .page(Filter::All, None, MAX_BATCH.saturating_add(1))?;
                    items.retain(|item| item.seq > from.0);
                    waiting.retain(|item| item.seq <= from.0);
                    items.extend(waiting);
                    inbox::batch(&head, items, HasMore::No, around)
                }
            })
        })?;
        self.store(outcome.stores, outcome.tally)?;
        for Emission { event, offset, .. } in &outcome.emissions {
            connection.emit_to(joined, event, *offset);
        }
        Ok(())
    }

    /// Carries out a client's event and answers it; what is left to do.
    fn on_event(
        self: &Rc<Self>,
        connection: &mut Connection,
        origin: Origin,
        event: std::result::Result<ClientEvent, EventError>,
    ) -> Result<Rest> {
        let user = &connection.session.identity.user;
        let mut rest = Rest::Nothing;
        let done = match event {
            Ok(ClientEvent::Ping) => Ok((Acknowledgement::Done, Some(ServerEvent::Pong))),
            Ok(ClientEvent::Join(room)) if room == *user => Ok((Acknowledgement::Done, None)),
            Ok(ClientEvent::Join(_)) => Err(EventError::Forbidden),
            Ok(ClientEvent::PresenceQuery(users)) => {
                self.query_presence(connection, origin, users)?;
                return Ok(rest);
            }
            Ok(ClientEvent::Refresh(token)) => {
                let refreshed = self.refresh(connection, &token);
                let refreshed = refreshed.unwrap_or_else(|error| Err(server_error(error)));
                if refreshed.is_ok() {
                    rest = Rest::CatchUp;
                }
                refreshed.map(|done| (done, None))
            }
            Ok(ClientEvent::Acknowledge(ids)) => match self.acknowledge(user, &ids).map_err(server_error) {
                Ok(0) => Err(EventError::NotFound),
                Ok(known) => Ok((Acknowledgement::Acknowledged(known), None)),
                Err(error) => Err(error),
            },
            Ok(ClientEvent::Command(command)) => match self.command(user, command).map_err(server_error) {
                Ok(Some(change)) => Ok((Acknowledgement::Changed(change), None)),
                Ok(None) => Err(EventError::NotFound),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        self.log_event(&connection.session, origin, &done);
        self.answer_event(connection, origin, done)?;
        Ok(rest)
    }

    fn log_event(&self, session: &Session, origin: Origin, done: &Done) {
        let outcome = match done {
            Ok(_) => log::Outcome::Done,
            Err(error) => log::Outcome::Refused(error.code()),
        };
        let user = Some(&session.identity.user);
        log::event(
            &self.env,
            &session.sid,
            user,
            origin.name,
            origin.came_at,
            outcome,
        );
    }

    /// Tells the client what became of its event; what went wrong is told by `error` and by the ack.
    fn answer_event(&self, connection: &Connection, origin: Origin, done: Done) -> Result<()> {
        let Origin {
            namespace, ack_id, ..
        } = origin;
        let (acknowledgement, event) = match done {
            Ok(done) => done,
            Err(error) => (
                Acknowledgement::Refused(error.clone()),
                Some(ServerEvent::Error(error)),
            ),
        };
        let session = &connection.session;
        let mut joined = session.namespaces.iter();
        let Some(joined) = joined.find(|joined| joined.namespace == namespace) else {
            return Ok(());
        };
        if let Some(event) = event {
            let offset = Offset(self.head(&session.identity.user)?.seq);
            connection.emit_to(joined, &event, offset);
        }
        if let Some(ack_id) = ack_id {
            let acknowledgement = acknowledgement.encode(session.case).map_err(encode)?;
            let ack = AckData::new().json_arg(&acknowledgement);
            connection.send(&ack.frame(&namespace.wire(), ack_id));
        }
        Ok(())
    }

    /// Asks the switchboards, and answers when they have: by then the session may have another transport.
    fn query_presence(
        self: &Rc<Self>,
        connection: &Connection,
        origin: Origin,
        users: Vec<UserId>,
    ) -> Result<()> {
        let head = self.head(&connection.session.identity.user)?;
        let sharing = sharing(self.config()?.presence_scope, &head.memberships);
        let (hub, session) = (Rc::clone(self), connection.session.clone());
        self.state.wait_until(async move {
            let found = roster::presence_of(&hub.env, users, sharing.as_deref()).await;
            let done = found.map(|users| (Acknowledgement::Presence(users), None));
            let done = done.map_err(server_error);
            hub.log_event(&session, origin, &done);
            let answered = hub.answer_later(&session.sid, origin, done);
            if let Err(error) = answered {
                console_error!("a question about presence could not be answered: {error}");
            }
        });
        Ok(())
    }

    fn answer_later(&self, sid: &str, origin: Origin, done: Done) -> Result<()> {
        let connections = self.connections()?;
        match connections
            .iter()
            .find(|connection| connection.session.sid == sid)
        {
            Some(connection) => self.answer_event(connection, origin, done),
            None => Ok(()),
        }
    }

    // ---- leaving ----

    /// Ends every connection; gives how many there were.
    pub(super) fn disconnect(&self) -> Result<usize> {
        let connections = self.connections()?;
        for connection in &connections {
            connection.disconnect();
            self.forget(&connection.session)?;
        }
        Ok(connections.len())
    }

    pub(super) fn close(&self, connection: &Connection, reason: CloseReason) -> Result<()> {
        if reason == CloseReason::PingTimeout {
            self.note_ghost();
        }
        connection.close(reason);
        self.forget(&connection.session)
    }

    pub(super) fn on_close(&self, ws: WebSocket) -> Result<()> {
        match Socket::load(&self.state, ws) {
            Some(Socket::Connection(connection)) => self.forget(&connection.session),
            Some(Socket::Probe(_, probe)) => {
                self.fail_probe(&probe.sid);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn forget(&self, session: &Session) -> Result<()> {
        self.memory.borrow_mut().decoders.remove(&session.sid);
        for socket in Socket::all(&self.state) {
            if let Socket::Probe(ws, probe) = socket
                && probe.sid == session.sid
            {
                close(&ws, CloseReason::ForcedClose);
            }
        }
        self.sight(&session.identity.user, Sighting::Closed)
    }

    // ---- time ----

    /// The switchboard's tick: pings, and what is due besides.
    pub(super) fn tick(self: &Rc<Self>, user: &UserId, from: SwitchboardName) -> Result<HubReply> {
        self.beat(Session::on_tick)?;
        self.recount_on_tick(user)?;
        self.finish();
        self.reply(user, from)
    }

    /// Does on every connection what is due by `rule`.
    pub(super) fn beat(
        self: &Rc<Self>,
        rule: fn(&mut Session, Timestamp, &Rules<'_>) -> Vec<Output>,
    ) -> Result<()> {
        let now = clock::now();
        self.memory
            .borrow_mut()
            .polling
            .retain(|_, transport| transport.polling.borrow().phase() == Phase::Open);
        for mut connection in self.connections()? {
            let outputs = self.decide(&mut connection, |session, now, rules, _| {
                rule(session, now, rules)
            })?;
            self.perform(connection, outputs)?;
        }
        for socket in Socket::all(&self.state) {
            if let Socket::Probe(ws, probe) = socket
                && now.since(probe.opened_at) >= UPGRADE_TIMEOUT_MS
            {
                close(&ws, CloseReason::ForcedClose);
                self.fail_probe(&probe.sid);
            }
        }
        Ok(())
    }

    // ---- presence ----

    /// Stores presence when it changes: `otherwise` is what to conclude when no socket is open.
    pub(super) fn sight(&self, user: &UserId, otherwise: Sighting) -> Result<()> {
        let now = clock::now();
        let open = self
            .connections()?
            .iter()
            .any(|connection| connection.session.is_present(now));
        let sighting = if open { Sighting::Open } else { otherwise };
        let Some(head) = reconcile(&self.head(user)?, sighting, now) else {
            return Ok(());
        };
        self.storage.apply(vec![Store::Head(head)])?;
        match sighting {
            Sighting::Closed | Sighting::Lost => self.leave(user, now),
            Sighting::Open => Ok(()),
        }
    }

    /// Tells the switchboard that nobody is there any more. When that fails it finds out by its next call.
    fn leave(&self, user: &UserId, now: Timestamp) -> Result<()> {
        let (env, user, switchboard) = (self.env.clone(), user.clone(), self.switchboard(user)?);
        self.state.wait_until(async move {
            if let Err(error) = record::leave(&env, switchboard, user, now).await {
                console_error!("a switchboard was not told that a user has gone: {error}");
            }
        });
        Ok(())
    }

    pub(super) fn presence(&self, user: &UserId) -> Result<Response> {
        let sessions = self.sessions()?;
        let head = self.storage.head()?;
        json(200, &Presence::of(user, head.as_ref(), &sessions, clock::now()))
    }
}

/// How far a client has come that is yet to be sent the first of `waiting`, newest first, that nobody was
/// sent.
fn first_new(waiting: &[Item]) -> Option<Offset> {
    let first = waiting.iter().rev().find(|item| item.delivery.attempts() == 0)?;
    Some(Offset(first.seq.saturating_sub(1)))
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
