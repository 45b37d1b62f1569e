//! Connections by long-polling, and how they move to a WebSocket.

use std::rc::Rc;

use dormouse_domain::config::Timing;
use dormouse_domain::engine_request::EngineError;
use dormouse_domain::id::UserId;
use dormouse_domain::limit::AdmissionError;
use dormouse_domain::polling::{MAX_PACKETS, Phase, Poll, Probe, Upgradable};
use dormouse_domain::session::{CloseReason, Session};
use dormouse_protocol::{engine, payload};
use worker::{Response, Result, WebSocket, WebSocketIncomingMessage, WebSocketPair, console_error};

use super::Hub;
use super::connections::Rest;
use crate::hub_rpc::{OpenCall, SECOND_UPGRADE, TOO_MANY_OPEN};
use crate::sockets::{Connection, PollingTransport, Socket, close};
use crate::{clock, engine_http, socket_io};

/// Why a request has no polling transport.
enum NoTransport {
    /// For this reason, in the reference's words.
    Engine(EngineError),
    /// The session would begin here, and the user has too many.
    NotAdmitted,
}

impl NoTransport {
    fn refusal(&self) -> Result<Response> {
        match self {
            Self::Engine(error) => engine_http::refusal(*error),
            Self::NotAdmitted => Ok(Response::empty()?.with_status(TOO_MANY_OPEN)),
        }
    }
}

impl Hub {
    /// Begins a polling session.
    pub(super) async fn open_polling(&self, user: &UserId, sid: String, open: OpenCall) -> Result<Response> {
        let config = self.config()?;
        let Ok(transport) = self.begin_polling(user, &sid, open)? else {
            return NoTransport::NotAdmitted.refusal();
        };
        let heartbeat = Connection::polling(&transport).session.heartbeat;
        let upgrades = [engine::Transport::Websocket];
        let packet = socket_io::open_packet(&sid, heartbeat, &upgrades, &config);
        self.arm().await?;
        engine_http::payload(&packet)
    }

    fn begin_polling(
        &self,
        user: &UserId,
        sid: &str,
        open: OpenCall,
    ) -> Result<std::result::Result<Rc<PollingTransport>, AdmissionError>> {
        Ok(self.begin(user, sid.to_owned(), open)?.map(|session| {
            let transport = Rc::new(PollingTransport::new(session));
            let kept = Rc::clone(&transport);
            self.memory.borrow_mut().polling.insert(sid.to_owned(), kept);
            transport
        }))
    }

    /// The polling transport of this sid. A session that a lobby hands over begins with its first
    /// request here.
    fn transport(
        &self,
        user: &UserId,
        sid: &str,
        open: Option<OpenCall>,
    ) -> Result<std::result::Result<Rc<PollingTransport>, NoTransport>> {
        if let Some(transport) = self.memory.borrow().polling.get(sid) {
            return Ok(Ok(Rc::clone(transport)));
        }
        let upgraded = self
            .connections()?
            .iter()
            .any(|connection| connection.session.sid == sid);
        let grace_ms = self.config()?.expiry.grace_ms;
        match (upgraded, open) {
            (true, _) => Ok(Err(NoTransport::Engine(EngineError::BadRequest))),
            (false, None) => Ok(Err(NoTransport::Engine(EngineError::UnknownSid))),
            // A lobby remembers the token a session began with, and the session may be over since.
            (false, Some(open)) if open.identity.session_ends_at(grace_ms) <= clock::now() => {
                Ok(Err(NoTransport::Engine(EngineError::UnknownSid)))
            }
            (false, Some(open)) => Ok(self
                .begin_polling(user, sid, open)?
                .map_err(|_| NoTransport::NotAdmitted)),
        }
    }

    // ---- polling ----

    /// Answers a GET, now or when there is something to fetch.
    pub(super) async fn poll(
        self: &Rc<Self>,
        user: &UserId,
        sid: &str,
        open: Option<OpenCall>,
    ) -> Result<Response> {
        let transport = match self.transport(user, sid, open)? {
            Ok(transport) => transport,
            Err(error) => return error.refusal(),
        };
        if self.config()?.heartbeat.timing == Timing::Exact {
            // An alarm may be late; a transport that is over by the clock is over.
            self.beat(Session::on_timer)?;
        }
        let poll = transport.polling.borrow_mut().on_get();
        match poll {
            Poll::Answer(body) => engine_http::payload(&body),
            Poll::Hold => {
                let held = transport.hold();
                self.finish();
                match held.await {
                    Ok(body) => engine_http::payload(&body),
                    Err(_) => engine_http::refusal(EngineError::UnknownSid),
                }
            }
            Poll::Overlap => {
                transport.polling.borrow_mut().fail();
                transport.release();
                self.forget(&Connection::polling(&transport).session)?;
                Ok(engine_http::broken(400))
            }
            Poll::Gone => {
                self.memory.borrow_mut().polling.remove(sid);
                engine_http::refusal(EngineError::UnknownSid)
            }
        }
    }

    /// Takes what a client sends.
    pub(super) fn post(
        self: &Rc<Self>,
        user: &UserId,
        sid: &str,
        open: Option<OpenCall>,
        body: &str,
    ) -> Result<Response> {
        let transport = match self.transport(user, sid, open)? {
            Ok(transport) => transport,
            Err(error) => return error.refusal(),
        };
        match transport.polling.borrow().phase() {
            Phase::Open => {}
            Phase::Closing => return engine_http::taken(),
            Phase::Over => return engine_http::refusal(EngineError::UnknownSid),
        }
        let Some(rest) = self.take_payload(&transport, body)? else {
            self.close(&Connection::polling(&transport), CloseReason::ParseError)?;
            self.finish();
            return Ok(engine_http::broken(400));
        };
        match rest {
            Rest::Nothing => {}
            Rest::Finish => self.finish(),
            Rest::CatchUp => {
                let hub = Rc::clone(self);
                let user = user.clone();
                self.state.wait_until(async move {
                    if let Err(error) = hub.rest(&user, Rest::CatchUp).await {
                        console_error!("what follows a CONNECT failed: {error}");
                    }
                });
            }
        }
        engine_http::taken()
    }

    /// Takes each packet of a payload; `None` when it holds something that is no packet.
    fn take_payload(self: &Rc<Self>, transport: &Rc<PollingTransport>, body: &str) -> Result<Option<Rest>> {
        let mut rest = Rest::Nothing;
        let Ok(packets) = payload::parse(body, MAX_PACKETS) else {
            return Ok(None);
        };
        for packet in packets {
            if transport.polling.borrow().phase() != Phase::Open {
                break;
            }
            match packet {
                Ok(engine::Packet::Close) => {
                    self.end_polling(transport)?;
                    rest = rest.and(Rest::Finish);
                }
                Ok(packet) => {
                    let mut connection = Connection::polling(transport);
                    let outputs = self.decide(&mut connection, |session, now, rules, decoder| {
                        session.on_packet(now, rules, decoder, &packet)
                    })?;
                    rest = rest.and(self.perform(connection, outputs)?);
                }
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(rest))
    }

    /// The client has said that it leaves.
    fn end_polling(&self, transport: &Rc<PollingTransport>) -> Result<()> {
        transport.polling.borrow_mut().end();
        transport.release();
        self.forget(&Connection::polling(transport).session)
    }

    // ---- upgrading ----

    /// Takes a WebSocket that a polling session may move to.
    pub(super) async fn probe(&self, user: &UserId, sid: String, open: Option<OpenCall>) -> Result<Response> {
        match self.transport(user, &sid, open)? {
            Ok(transport) if transport.polling.borrow().phase() == Phase::Over => {
                return engine_http::refusal(EngineError::UnknownSid);
            }
            Ok(transport) => {
                if transport.polling.borrow_mut().begin_probe() == Upgradable::No {
                    return Ok(engine_http::broken(SECOND_UPGRADE));
                }
            }
            Err(NoTransport::Engine(EngineError::BadRequest)) => {
                return Ok(engine_http::broken(SECOND_UPGRADE));
            }
            Err(error) => return error.refusal(),
        }
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        Socket::accept_probe(
            &self.state,
            &server,
            Probe {
                sid,
                opened_at: clock::now(),
            },
        )?;
        self.arm().await?;
        Response::from_websocket(client)
    }

    /// A WebSocket elsewhere was probed for this session: its poll is let go. This may come before the
    /// POST and the poll that the lobby sent here.
    pub(super) fn probed(&self, user: &UserId, sid: &str, open: OpenCall) -> Result<Response> {
        if let Ok(transport) = self.transport(user, sid, Some(open))? {
            transport.polling.borrow_mut().begin_upgrade();
            transport.release();
        }
        Response::empty()
    }

    /// Moves a polling session to the WebSocket of this request, whose probe was answered elsewhere.
    pub(super) async fn move_to(&self, user: &UserId, sid: &str, open: OpenCall) -> Result<Response> {
        let transport = match self.transport(user, sid, Some(open))? {
            Ok(transport) => transport,
            Err(error) => return error.refusal(),
        };
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        self.state.accept_web_socket(&server);
        self.upgrade(&transport, server)?;
        self.arm().await?;
        Response::from_websocket(client)
    }

    pub(super) fn on_probe(
        &self,
        ws: WebSocket,
        probe: &Probe,
        message: &WebSocketIncomingMessage,
    ) -> Result<()> {
        let transport = self.memory.borrow().polling.get(&probe.sid).map(Rc::clone);
        let packet = match message {
            WebSocketIncomingMessage::String(text) => engine::Packet::parse_text(text).ok(),
            WebSocketIncomingMessage::Binary(_) => None,
        };
        match (transport, packet) {
            (Some(transport), Some(engine::Packet::Ping(data))) if data == "probe" => {
                let pong = engine::Packet::Pong(data).encode().into_text();
                if ws.send_with_str(pong).is_ok() {
                    transport.polling.borrow_mut().begin_upgrade();
                    transport.release();
                }
                Ok(())
            }
            (Some(transport), Some(engine::Packet::Upgrade))
                if transport.polling.borrow().phase() == Phase::Open =>
            {
                self.upgrade(&transport, ws)
            }
            _ => {
                close(&ws, CloseReason::ForcedClose);
                self.fail_probe(&probe.sid);
                Ok(())
            }
        }
    }

    fn upgrade(&self, transport: &Rc<PollingTransport>, ws: WebSocket) -> Result<()> {
        let session = Connection::polling(transport).session;
        self.memory.borrow_mut().polling.remove(&session.sid);
        let frames = transport.polling.borrow_mut().finish_upgrade();
        transport.release();
        let connection = Connection::adopt(ws, session)?;
        for frame in frames {
            connection.send_frame(frame);
        }
        Ok(())
    }

    pub(super) fn fail_probe(&self, sid: &str) {
        if let Some(transport) = self.memory.borrow().polling.get(sid) {
            transport.polling.borrow_mut().fail_upgrade();
        }
    }
}
