//! The hub's open connections, whatever their transport.
//!
//! A WebSocket's session lives in its attachment and survives hibernation. A polling session lives in
//! memory: while it lasts its poll keeps the hub awake, and a hub that loses it answers "unknown sid",
//! upon which the client connects anew and recovers.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use dormouse_domain::case::PayloadCase;
use dormouse_domain::delivery::Listeners;
use dormouse_domain::event::ServerEvent;
use dormouse_domain::heartbeat::Heartbeat;
use dormouse_domain::inbox::{Emission, Listening};
use dormouse_domain::polling::{Polling, Probe, Sent};
use dormouse_domain::recovery::Offset;
use dormouse_domain::session::{CloseReason, Joined, SESSION_VERSION, Session};
use dormouse_domain::time::Timestamp;
use dormouse_domain::wishes::{Acknowledging, Binary, Recovery};
use dormouse_protocol::engine::Frame;
use dormouse_protocol::socket::{EventData, Json, disconnect_frame};
use futures_channel::oneshot;
use serde::{Deserialize, Serialize};
use worker::js_sys::{Date, Function, Reflect};
use worker::wasm_bindgen::JsCast;
use worker::{Result, State, WebSocket, console_error};

/// WebSocket's `OPEN`: a closing socket stays listed until its close is complete.
const OPEN: u16 = 1;

/// What a WebSocket's attachment holds.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Attachment {
    Session(Box<Session>),
    Probe(Probe),
}

/// A WebSocket of the hub, by what it is.
pub(crate) enum Socket {
    /// It carries a session.
    Connection(Connection),
    /// A polling session may move to it.
    Probe(WebSocket, Probe),
}

/// One open connection and its session.
pub(crate) struct Connection {
    transport: Transport,
    pub(crate) session: Session,
}

#[derive(Clone)]
enum Transport {
    WebSocket(WebSocket),
    Polling(Rc<PollingTransport>),
}

/// A polling session and its transport.
pub(crate) struct PollingTransport {
    session: RefCell<Session>,
    pub(crate) polling: RefCell<Polling>,
    held: RefCell<Option<oneshot::Sender<String>>>,
}

impl PollingTransport {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session: RefCell::new(session),
            polling: RefCell::default(),
            held: RefCell::default(),
        }
    }

    /// The body of the held GET, when there is one.
    pub(crate) fn hold(&self) -> oneshot::Receiver<String> {
        let (sender, receiver) = oneshot::channel();
        self.held.replace(Some(sender));
        receiver
    }

    /// Answers the held GET when there is something to answer it with. A client that went away in the
    /// meantime has lost its connection.
    pub(crate) fn release(&self) {
        let body = self.polling.borrow_mut().take();
        if let (Some(body), Some(held)) = (body, self.held.take())
            && held.send(body).is_err()
        {
            self.polling.borrow_mut().end();
        }
    }

    fn send(&self, frame: Frame) {
        if self.polling.borrow_mut().send(frame) == Sent::Overflow {
            self.polling.borrow_mut().fail();
        }
        self.release();
    }
}

impl Socket {
    /// What a WebSocket is. One with an attachment of another version is not understood: it is closed,
    /// and its client connects anew.
    pub(crate) fn load(state: &State, ws: WebSocket) -> Option<Self> {
        let attachment = ws
            .deserialize_attachment::<String>()
            .ok()
            .flatten()
            .and_then(|json| serde_json::from_str::<Attachment>(&json).ok());
        match attachment {
            Some(Attachment::Session(session)) if session.version == SESSION_VERSION => {
                let mut session = *session;
                if let (Heartbeat::Client { .. }, Some(at)) =
                    (session.heartbeat, auto_response_at(state, &ws))
                {
                    session.heartbeat.hear(at);
                }
                let transport = Transport::WebSocket(ws);
                Some(Self::Connection(Connection { transport, session }))
            }
            Some(Attachment::Probe(probe)) => Some(Self::Probe(ws, probe)),
            Some(Attachment::Session(_)) | None => {
                console_error!("a socket without a readable attachment is closed");
                close(&ws, CloseReason::ForcedClose);
                None
            }
        }
    }

    /// Every open WebSocket of the hub.
    pub(crate) fn all(state: &State) -> impl Iterator<Item = Self> {
        let open = state
            .get_websockets()
            .into_iter()
            .filter(|ws| ws.as_ref().ready_state() == OPEN);
        open.filter_map(|ws| Self::load(state, ws))
    }

    /// Takes a WebSocket that a polling session may move to.
    ///
    /// # Errors
    /// When the platform does not keep the attachment.
    pub(crate) fn accept_probe(state: &State, ws: &WebSocket, probe: Probe) -> Result<()> {
        state.accept_web_socket(ws);
        attach(ws, &Attachment::Probe(probe))
    }
}

impl Connection {
    /// Takes a fresh WebSocket.
    ///
    /// # Errors
    /// When the platform does not keep the session.
    pub(crate) fn accept(state: &State, ws: WebSocket, session: Session) -> Result<Self> {
        state.accept_web_socket(&ws);
        Self::adopt(ws, session)
    }

    /// Gives a session a WebSocket that the hub holds already.
    ///
    /// # Errors
    /// When the platform does not keep the session.
    pub(crate) fn adopt(ws: WebSocket, session: Session) -> Result<Self> {
        let connection = Self {
            transport: Transport::WebSocket(ws),
            session,
        };
        connection.save()?;
        Ok(connection)
    }

    /// The connection of a polling transport.
    pub(crate) fn polling(transport: &Rc<PollingTransport>) -> Self {
        Self {
            transport: Transport::Polling(Rc::clone(transport)),
            session: transport.session.borrow().clone(),
        }
    }

    /// Keeps the session with its transport.
    ///
    /// # Errors
    /// When the platform does not take it (over 16 KB).
    pub(crate) fn save(&self) -> Result<()> {
        match &self.transport {
            Transport::WebSocket(ws) => attach(ws, &Attachment::Session(Box::new(self.session.clone()))),
            Transport::Polling(polling) => {
                polling.session.replace(self.session.clone());
                Ok(())
            }
        }
    }

    /// Sends one text frame; a transport that does not take it is closed, which its client notices.
    pub(crate) fn send(&self, frame: &str) {
        match &self.transport {
            Transport::WebSocket(ws) => {
                if ws.send_with_str(frame).is_err() {
                    self.close(CloseReason::ForcedClose);
                }
            }
            Transport::Polling(polling) => polling.send(Frame::Text(frame.to_owned())),
        }
    }

    /// Sends a frame of either kind, as the client takes it.
    pub(crate) fn send_frame(&self, frame: Frame) {
        match (frame, &self.transport, self.session.binary) {
            (Frame::Text(text), _, _) => self.send(&text),
            (frame @ Frame::Binary(_), Transport::Polling(polling), _) => polling.send(frame),
            (frame @ Frame::Binary(_), Transport::WebSocket(_), Binary::Base64) => {
                self.send(&frame.into_text());
            }
            (Frame::Binary(bytes), Transport::WebSocket(ws), Binary::Frames) => {
                if ws.send_with_bytes(bytes).is_err() {
                    self.close(CloseReason::ForcedClose);
                }
            }
        }
    }

    /// Sends an event to one joined namespace. `offset` is how far the client has come with it.
    pub(crate) fn emit_to(&self, joined: &Joined, event: &ServerEvent, offset: Offset) {
        Encoded::new(event, offset).send(self, joined);
    }

    /// Takes leave of every namespace, which a stock client does not answer by coming back, and closes the
    /// transport.
    pub(crate) fn disconnect(&self) {
        for joined in &self.session.namespaces {
            self.send(&disconnect_frame(&joined.namespace.wire()));
        }
        self.close(CloseReason::ForcedClose);
    }

    /// Closes the transport.
    pub(crate) fn close(&self, reason: CloseReason) {
        match &self.transport {
            Transport::WebSocket(ws) => close(ws, reason),
            Transport::Polling(polling) => {
                match reason {
                    CloseReason::ParseError | CloseReason::TransportError | CloseReason::PingTimeout => {
                        polling.polling.borrow_mut().fail();
                    }
                    CloseReason::ForcedClose
                    | CloseReason::TooLarge
                    | CloseReason::ConnectTimeout
                    | CloseReason::TokenExpired
                    | CloseReason::RateLimited
                    | CloseReason::KeysUnavailable => polling.polling.borrow_mut().close(),
                }
                polling.release();
            }
        }
    }
}

/// Closes a WebSocket.
pub(crate) fn close(ws: &WebSocket, reason: CloseReason) {
    // A socket that is closing already says so with an error; there is nothing left to do then.
    let _ = ws.close(reason.code(), None::<&str>);
}

fn attach(ws: &WebSocket, attachment: &Attachment) -> Result<()> {
    ws.serialize_attachment(serde_json::to_string(attachment)?)
}

/// When the platform last answered this socket without waking the hub. The `worker` crate has no
/// binding for it.
fn auto_response_at(state: &State, ws: &WebSocket) -> Option<Timestamp> {
    let name = "getWebSocketAutoResponseTimestamp".into();
    let function: Function = Reflect::get(state.as_raw(), &name).ok()?.dyn_into().ok()?;
    let date: Date = function
        .call1(state.as_raw(), ws.as_ref())
        .ok()?
        .dyn_into()
        .ok()?;
    Some(crate::d1::from_number(date.get_time()))
}

/// An event, encoded at most once in each of the forms there are.
struct Encoded<'e> {
    event: &'e ServerEvent,
    offset: Offset,
    forms: [OnceCell<Option<EventData<'static>>>; 4],
}

impl<'e> Encoded<'e> {
    fn new(event: &'e ServerEvent, offset: Offset) -> Self {
        Self {
            event,
            offset,
            forms: Default::default(),
        }
    }

    fn form(&self, case: PayloadCase, recovery: Recovery) -> Option<&EventData<'static>> {
        let [snake, snake_offset, camel, camel_offset] = &self.forms;
        let form = match (case, recovery) {
            (PayloadCase::Snake, Recovery::Off) => snake,
            (PayloadCase::Snake, Recovery::On) => snake_offset,
            (PayloadCase::Camel, Recovery::Off) => camel,
            (PayloadCase::Camel, Recovery::On) => camel_offset,
        };
        let encoded = form.get_or_init(|| match self.event.encode(case) {
            Ok(data) => Some(match recovery {
                Recovery::Off => data,
                Recovery::On => data.json_arg(&Json::string(&self.offset.encode())),
            }),
            Err(error) => {
                console_error!("an event could not be encoded: {error}");
                None
            }
        });
        encoded.as_ref()
    }

    fn send(&self, connection: &Connection, joined: &Joined) {
        let session = &connection.session;
        if let Some(data) = self.form(session.case, session.recovery_on(joined.namespace)) {
            connection.send(&data.frame(&joined.namespace.wire(), None));
        }
    }
}

/// Sends events to those namespaces of those of these connections they are for.
pub(crate) fn broadcast(connections: &[Connection], emissions: &[Emission]) {
    for emission in emissions {
        let encoded = Encoded::new(&emission.event, emission.offset);
        for connection in connections {
            let wanted = match emission.to {
                Listening::All => true,
                Listening::Acknowledging => connection.session.acknowledging == Acknowledging::Yes,
            };
            let joined = connection.session.namespaces.iter().filter(|_| wanted);
            for joined in joined.filter(|joined| emission.event.goes_to(joined.namespace)) {
                encoded.send(connection, joined);
            }
        }
    }
}

/// The sockets a notification is sent to.
pub(crate) fn listeners(connections: &[Connection]) -> Listeners {
    let mut listeners = Listeners::default();
    for connection in connections.iter().filter(|c| c.session.hears_inbox()) {
        match connection.session.acknowledging {
            Acknowledging::Yes => listeners.acknowledging = listeners.acknowledging.saturating_add(1),
            Acknowledging::Unknown => listeners.silent = listeners.silent.saturating_add(1),
        }
    }
    listeners
}
