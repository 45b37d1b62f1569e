//! The hub's open WebSockets and their sessions, which live in the sockets' attachments.

use dormouse_domain::delivery::Listeners;
use dormouse_domain::event::ServerEvent;
use dormouse_domain::session::{Acknowledging, CloseReason, Joined, SESSION_VERSION, Session};
use worker::{Result, State, WebSocket, console_error};

/// WebSocket's `OPEN`: a closing socket stays listed until its close is complete.
const OPEN: u16 = 1;

/// One open socket and its session.
pub(crate) struct Connection {
    ws: WebSocket,
    pub(crate) session: Session,
}

impl Connection {
    /// Takes a fresh socket.
    ///
    /// # Errors
    /// When the platform does not keep the session.
    pub(crate) fn accept(state: &State, ws: WebSocket, session: Session) -> Result<Self> {
        state.accept_web_socket(&ws);
        let connection = Self { ws, session };
        connection.save()?;
        Ok(connection)
    }

    /// The connection of a socket. A session of another version is not understood: the socket is
    /// closed, and its client connects anew.
    pub(crate) fn load(ws: WebSocket) -> Option<Self> {
        let session = ws
            .deserialize_attachment::<String>()
            .ok()
            .flatten()
            .and_then(|json| serde_json::from_str::<Session>(&json).ok())
            .filter(|session| session.version == SESSION_VERSION);
        let Some(session) = session else {
            console_error!("a socket without a readable session is closed");
            close(&ws, CloseReason::ForcedClose);
            return None;
        };
        Some(Self { ws, session })
    }

    /// Every open connection of the hub.
    pub(crate) fn all(state: &State) -> Vec<Self> {
        let open = state
            .get_websockets()
            .into_iter()
            .filter(|ws| ws.as_ref().ready_state() == OPEN);
        open.filter_map(Self::load).collect()
    }

    /// Keeps the session with the socket.
    ///
    /// # Errors
    /// When the platform does not take it (over 16 KB).
    pub(crate) fn save(&self) -> Result<()> {
        self.ws
            .serialize_attachment(serde_json::to_string(&self.session)?)
    }

    /// Sends one text frame; a socket that does not take it is closed, which its client notices.
    pub(crate) fn send(&self, frame: &str) {
        if self.ws.send_with_str(frame).is_err() {
            self.close(CloseReason::ForcedClose);
        }
    }

    /// Closes the transport.
    pub(crate) fn close(&self, reason: CloseReason) {
        close(&self.ws, reason);
    }
}

fn close(ws: &WebSocket, reason: CloseReason) {
    // A socket that is closing already says so with an error; there is nothing left to do then.
    let _ = ws.close(reason.code(), None::<&str>);
}

/// Sends events to every joined namespace of every connection, each encoded once.
pub(crate) fn broadcast(connections: &[Connection], events: &[ServerEvent]) {
    for event in events {
        let data = match event.encode() {
            Ok(data) => data,
            Err(error) => {
                console_error!("{} could not be encoded: {error}", event.name());
                continue;
            }
        };
        for connection in connections {
            for joined in &connection.session.namespaces {
                connection.send(&data.frame(&joined.namespace.wire(), None));
            }
        }
    }
}

/// Sends one event to one namespace of one connection.
pub(crate) fn send_event(connection: &Connection, joined: &Joined, event: &ServerEvent) {
    match event.encode() {
        Ok(data) => connection.send(&data.frame(&joined.namespace.wire(), None)),
        Err(error) => console_error!("{} could not be encoded: {error}", event.name()),
    }
}

/// The sockets a notification is sent to.
pub(crate) fn listeners(connections: &[Connection]) -> Listeners {
    let mut listeners = Listeners::default();
    for connection in connections.iter().filter(|c| !c.session.namespaces.is_empty()) {
        match connection.session.acknowledging {
            Acknowledging::Yes => listeners.acknowledging = listeners.acknowledging.saturating_add(1),
            Acknowledging::Unknown => listeners.silent = listeners.silent.saturating_add(1),
        }
    }
    listeners
}
