//! The object of one polling session that has no user yet.
//!
//! It answers what comes before identity, learns from CONNECT who the client is, and from then on only
//! says whose hub the session is in. It arbitrates between the two ways a session can move to a
//! WebSocket, so that exactly one wins: in the hub, when the user is known in time, or by the Worker's
//! relay.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use dormouse_domain::auth::AuthError;
use dormouse_domain::config::Config;
use dormouse_domain::engine_request::EngineError;
use dormouse_domain::polling::{MAX_PACKETS, Phase, Poll, Polling};
use dormouse_domain::session::CloseReason;
use dormouse_domain::stranger::{Heard, Stranger};
use dormouse_domain::time::Timestamp;
use dormouse_domain::wishes::Wishes;
use dormouse_protocol::engine::{Frame, Packet};
use dormouse_protocol::payload;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use worker::{
    Delay, DurableObject, Env, Error, Request, Response, Result, ScheduledTime, State, durable_object,
};

use crate::http::json;
use crate::hub_rpc::{OpenCall, post};
use crate::{bindings, clock, instruments, keys, log, settings};

/// How long an upgrade waits for the user: the stock client sends CONNECT and the upgrade together.
const UPGRADE_PATIENCE: Duration = Duration::from_millis(250);

/// Where the user is stored, once the session turns out to stay with polling.
const OPEN_KEY: &str = "open";

/// How long a stored user is remembered, in milliseconds.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1_000;

/// A call to the lobby of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LobbyRequest {
    /// The session's sid, which names the object.
    pub(crate) sid: String,
    pub(crate) opened_at: Timestamp,
    pub(crate) call: LobbyCall,
}

/// What a lobby can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LobbyCall {
    /// Answer a GET.
    Poll,
    /// Take a POST. `refusal` is why the HTTP request itself proves no identity.
    Post {
        body: String,
        refusal: RefusalCode,
        wishes: Wishes,
    },
    /// Where may this session's WebSocket go?
    Upgrade,
    /// The relay answered the probe: let the poll go.
    Probed,
    /// The client changed over to the relay's WebSocket.
    Claim,
    /// The relay's WebSocket went away before that. When the user is known, their hub has to hear of it.
    Abandon,
}

/// An [`AuthError`] between objects.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum RefusalCode {
    Missing,
    Expired,
    Invalid,
    UserMismatch,
    KeysUnavailable,
}

impl From<AuthError> for RefusalCode {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Self::Missing,
            AuthError::Expired => Self::Expired,
            AuthError::UserMismatch => Self::UserMismatch,
            AuthError::KeysUnavailable => Self::KeysUnavailable,
            AuthError::TooLong(_)
            | AuthError::Malformed
            | AuthError::Algorithm
            | AuthError::Critical
            | AuthError::UnknownKey
            | AuthError::Signature
            | AuthError::NotYetValid
            | AuthError::Claim(_)
            | AuthError::Revoked => Self::Invalid,
        }
    }
}

impl From<RefusalCode> for AuthError {
    fn from(code: RefusalCode) -> Self {
        match code {
            RefusalCode::Missing => Self::Missing,
            RefusalCode::Expired => Self::Expired,
            RefusalCode::UserMismatch => Self::UserMismatch,
            RefusalCode::KeysUnavailable => Self::KeysUnavailable,
            RefusalCode::Invalid => Self::Malformed,
        }
    }
}

/// What a lobby answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LobbyReply {
    /// The session is this user's: ask their hub. Of a POST, what is left for the hub.
    Forward { open: OpenCall, body: Option<String> },
    /// The body of a GET.
    Payload(String),
    /// The POST was taken.
    Taken,
    /// An engine error.
    Refused(EngineError),
    /// The request breaks the transport's rules.
    Broken,
    /// The Worker is to take the WebSocket itself.
    Relay,
    /// The session has no user yet.
    Unknown,
    /// The session has a WebSocket already.
    Moved,
}

impl LobbyRequest {
    /// Calls the lobby.
    ///
    /// # Errors
    /// When it can't be reached.
    pub(crate) async fn send(&self, env: &Env) -> Result<LobbyReply> {
        instruments::count(instruments::Unit::ObjectRequests, 1);
        let stub = bindings::lobbies(env)?.get_by_name(&self.sid)?;
        stub.fetch_with_request(post(self)?).await?.json().await
    }
}

/// The Durable Object class of lobbies.
#[durable_object]
pub struct Lobby {
    state: State,
    env: Env,
    polling: RefCell<Polling>,
    held: RefCell<Option<oneshot::Sender<Release>>>,
    stranger: RefCell<Option<Stranger>>,
    open: RefCell<Option<OpenCall>>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    way: Cell<Way>,
    forwarded: Cell<u32>,
}

/// Why a held GET is let go.
enum Release {
    /// With this body.
    Payload(String),
    /// The user is known.
    Known,
}

/// Which way the session moves to a WebSocket.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    /// None yet.
    #[default]
    None,
    /// In the hub.
    Hub,
    /// By the relay, whose probe is not finished.
    Relay,
    /// It has moved.
    Done,
}

impl DurableObject for Lobby {
    fn new(state: State, env: Env) -> Self {
        Self {
            state,
            env,
            polling: RefCell::default(),
            held: RefCell::default(),
            stranger: RefCell::default(),
            open: RefCell::default(),
            waiting: RefCell::default(),
            way: Cell::default(),
            forwarded: Cell::default(),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let request: LobbyRequest = serde_json::from_slice(&request.bytes().await?)?;
        json(200, &self.answer(request).await?)
    }

    /// Forgets the user of a session that is long over.
    async fn alarm(&self) -> Result<Response> {
        self.state.storage().delete_all().await?;
        Response::empty()
    }
}

impl Lobby {
    async fn answer(&self, request: LobbyRequest) -> Result<LobbyReply> {
        if let LobbyCall::Post { body, .. } = &request.call {
            keys::ready_in(&self.state, &self.env, body).await?;
        }
        let config = settings::load(&self.env)
            .map_err(|_| Error::RustError("the service is not configured".to_owned()))?;
        let known = self.known().await?;
        let ends_at = request.opened_at.after_ms(config.connect_timeout_ms);
        if known.is_none() && clock::now() >= ends_at {
            return Ok(LobbyReply::Refused(EngineError::UnknownSid));
        }
        match request.call {
            LobbyCall::Poll => self.poll(known, ends_at).await,
            LobbyCall::Post {
                body,
                refusal,
                wishes,
            } => Ok(self.post(&request.sid, known, &config, body, refusal, wishes)),
            LobbyCall::Upgrade => Ok(self.upgrade(known).await),
            LobbyCall::Probed => {
                self.polling.borrow_mut().begin_upgrade();
                self.release();
                Ok(forward_or(known, LobbyReply::Unknown))
            }
            LobbyCall::Claim => {
                self.way.set(Way::Done);
                self.polling.borrow_mut().finish_upgrade();
                self.release();
                Ok(forward_or(known, LobbyReply::Unknown))
            }
            LobbyCall::Abandon => {
                if self.way.get() != Way::Relay {
                    return Ok(LobbyReply::Taken);
                }
                self.way.set(Way::None);
                self.polling.borrow_mut().fail_upgrade();
                Ok(forward_or(known, LobbyReply::Taken))
            }
        }
    }

    async fn poll(&self, known: Option<OpenCall>, ends_at: Timestamp) -> Result<LobbyReply> {
        // What waits here comes first: the hub knows nothing of it.
        let poll = match (&known, self.polling.borrow_mut().on_get()) {
            (Some(_), Poll::Hold) => None,
            (_, poll) => Some(poll),
        };
        match (poll, known) {
            (None, Some(open)) => {
                // Nothing is held here after all.
                *self.polling.borrow_mut() = Polling::default();
                self.remember(&open).await?;
                Ok(LobbyReply::Forward { open, body: None })
            }
            (Some(Poll::Answer(body)), _) => Ok(LobbyReply::Payload(body)),
            (Some(Poll::Hold) | None, _) => self.hold(ends_at).await,
            (Some(Poll::Overlap), _) => {
                self.polling.borrow_mut().fail();
                self.release();
                Ok(LobbyReply::Broken)
            }
            (Some(Poll::Gone), _) if self.way.get() == Way::Done => {
                Ok(LobbyReply::Refused(EngineError::BadRequest))
            }
            (Some(Poll::Gone), _) => Ok(LobbyReply::Refused(EngineError::UnknownSid)),
        }
    }

    async fn hold(&self, ends_at: Timestamp) -> Result<LobbyReply> {
        let (sender, receiver) = oneshot::channel();
        self.held.replace(Some(sender));
        let left = Duration::from_millis(ends_at.since(clock::now()));
        match select(receiver, Delay::from(left)).await {
            Either::Left((Ok(Release::Payload(body)), _)) => Ok(LobbyReply::Payload(body)),
            Either::Left((Ok(Release::Known), _)) => match self.known().await? {
                Some(open) => {
                    self.remember(&open).await?;
                    Ok(LobbyReply::Forward { open, body: None })
                }
                None => Ok(LobbyReply::Refused(EngineError::UnknownSid)),
            },
            Either::Left((Err(_), _)) => Ok(LobbyReply::Refused(EngineError::UnknownSid)),
            Either::Right(_) => {
                let mut polling = self.polling.borrow_mut();
                polling.close();
                let body = polling
                    .take()
                    .unwrap_or_else(|| Packet::Close.encode().into_text());
                Ok(LobbyReply::Payload(body))
            }
        }
    }

    fn post(
        &self,
        sid: &str,
        known: Option<OpenCall>,
        config: &Config,
        body: String,
        refusal: RefusalCode,
        wishes: Wishes,
    ) -> LobbyReply {
        if let Some(open) = known {
            return LobbyReply::Forward {
                open,
                body: Some(body),
            };
        }
        match self.polling.borrow().phase() {
            Phase::Open => {}
            Phase::Closing => return LobbyReply::Taken,
            Phase::Over => return LobbyReply::Refused(EngineError::UnknownSid),
        }
        let Ok(packets) = payload::parse(&body, MAX_PACKETS) else {
            return self.fail();
        };
        for (i, packet) in packets.enumerate() {
            let heard = match packet {
                Ok(Packet::Close) => {
                    self.polling.borrow_mut().end();
                    self.release();
                    return LobbyReply::Taken;
                }
                Ok(packet) => {
                    let mut stranger = self.stranger.borrow_mut();
                    let stranger = stranger.get_or_insert(Stranger::new(refusal.into()));
                    stranger.on_packet(clock::now(), &config.token_keys, &packet)
                }
                Err(_) => return self.fail(),
            };
            match heard {
                Heard::Nothing => {}
                Heard::Answer(frame) => {
                    log::refused(&self.env, sid);
                    self.polling.borrow_mut().send(Frame::Text(frame));
                    self.release();
                }
                Heard::Identified(identity) => {
                    let open = OpenCall { identity, wishes };
                    self.introduce(open.clone());
                    let left: Vec<&str> = body.split(payload::SEPARATOR).skip(i).collect();
                    let body = left.join(&payload::SEPARATOR.to_string());
                    return LobbyReply::Forward {
                        open,
                        body: Some(body),
                    };
                }
                Heard::Close(CloseReason::TransportError) => {
                    self.polling.borrow_mut().fail();
                    self.release();
                    return LobbyReply::Taken;
                }
                Heard::Close(_) => {
                    self.polling.borrow_mut().close();
                    self.release();
                    return LobbyReply::Taken;
                }
            }
        }
        LobbyReply::Taken
    }

    async fn upgrade(&self, known: Option<OpenCall>) -> LobbyReply {
        if self.polling.borrow().phase() != Phase::Open || self.way.get() != Way::None {
            return LobbyReply::Moved;
        }
        self.way.set(Way::Hub);
        if let Some(open) = known {
            return LobbyReply::Forward { open, body: None };
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push(sender);
        let waited = select(receiver, Delay::from(UPGRADE_PATIENCE)).await;
        if matches!(waited, Either::Left((Ok(()), _)))
            && let Some(open) = self.open.borrow().clone()
        {
            return LobbyReply::Forward { open, body: None };
        }
        self.way.set(Way::Relay);
        LobbyReply::Relay
    }

    /// The user is known: everybody who waits for that goes on.
    fn introduce(&self, open: OpenCall) {
        self.open.replace(Some(open));
        for waiting in self.waiting.take() {
            // Who stopped waiting has gone another way.
            let _ = waiting.send(());
        }
        self.release();
    }

    fn fail(&self) -> LobbyReply {
        self.polling.borrow_mut().fail();
        self.release();
        LobbyReply::Broken
    }

    /// Answers the held GET when there is something to answer it with, or somebody else to.
    fn release(&self) {
        let body = self.polling.borrow_mut().take();
        let release = match body {
            Some(body) => Release::Payload(body),
            None if self.open.borrow().is_some() => Release::Known,
            None => return,
        };
        if let Some(held) = self.held.take() {
            if matches!(release, Release::Known) {
                *self.polling.borrow_mut() = Polling::default();
            }
            // A client that went away meanwhile has lost its connection.
            let _ = held.send(release);
        }
    }

    async fn known(&self) -> Result<Option<OpenCall>> {
        if self.open.borrow().is_none() {
            let stored: Option<String> = self.state.storage().get(OPEN_KEY).await?;
            if let Some(json) = stored {
                self.open.replace(Some(serde_json::from_str(&json)?));
            }
        }
        // Not what was read: while it was, another request may have made the user known.
        Ok(self.open.borrow().clone())
    }

    /// Stores the user of a session that goes on polling: between two long polls the lobby is evicted.
    /// A session that moves to a WebSocket at once never gets here a second time.
    async fn remember(&self, open: &OpenCall) -> Result<()> {
        self.forwarded.set(self.forwarded.get().saturating_add(1));
        if self.forwarded.get() != 2 {
            return Ok(());
        }
        let storage = self.state.storage();
        storage.put(OPEN_KEY, serde_json::to_string(open)?).await?;
        storage.set_alarm(ScheduledTime::from(REMEMBERED_MS)).await
    }
}

fn forward_or(known: Option<OpenCall>, otherwise: LobbyReply) -> LobbyReply {
    known.map_or(otherwise, |open| LobbyReply::Forward { open, body: None })
}
