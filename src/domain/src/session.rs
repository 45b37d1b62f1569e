//! One engine connection: its state, and what each frame and each moment does to it.
//!
//! A [`Session`] is the attachment-record of a hibernating socket: everything that must survive
//! eviction and is not in the inbox. The rules for packets are those of the reference server
//! (`client.ts` and `socket.ts` of socket.io 4.8); those for time are DESIGN 3.4, 3.5 and 4.
//!
//! Not here: what an event means to the inbox, and who hears of it.

use dormouse_protocol::engine;
use dormouse_protocol::socket::{
    Decoder, Json, Kind, Object, Packet, Progress, connect_error_frame, connect_frame,
};
use serde::{Deserialize, Serialize};

use crate::auth::{AuthError, Identity};
use crate::case::PayloadCase;
use crate::config::{ExpiryConfig, HeartbeatConfig, MAX_PAYLOAD_BYTES};
use crate::event::{ClientEvent, EventError, ServerEvent};
use crate::heartbeat::{Beat, Heartbeat};
use crate::limit::{AdmissionError, Allowed, EventAllowance};
use crate::namespace::Namespace;
use crate::recovery::{Offset, Pid, Resume};
use crate::signature::Signer;
use crate::time::Timestamp;
use crate::token_keys::TokenKeys;
use crate::wishes::{Acknowledging, Binary, Recovery, Wishes};

/// The version of the stored form.
pub const SESSION_VERSION: u8 = 1;

/// A namespace the client has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Which.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// The public Socket.IO id, `socket.id` at the client. Never the engine's, which is a credential.
    pub sid: String,
    /// When.
    #[serde(rename = "at")]
    pub connected_at: Timestamp,
}

/// The state of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// [`SESSION_VERSION`].
    #[serde(rename = "v")]
    pub version: u8,
    /// The engine's id.
    pub sid: String,
    /// When the connection was opened.
    pub opened_at: Timestamp,
    /// Who it belongs to.
    pub identity: Identity,
    /// What it has joined, at most each namespace once.
    pub namespaces: Vec<Joined>,
    /// Whether a namespace was ever joined: the connect timeout is over then.
    pub joined_before: bool,
    /// Whether it acknowledges.
    #[serde(rename = "ack")]
    pub acknowledging: Acknowledging,
    /// Whether it takes part in recovery.
    pub recovery: Recovery,
    /// Who keeps it alive.
    pub heartbeat: Heartbeat,
    /// How it takes binary packets.
    pub binary: Binary,
    /// How it wants payloads' keys.
    #[serde(default, skip_serializing_if = "PayloadCase::is_snake")]
    pub case: PayloadCase,
    /// Which protocol it speaks.
    #[cfg(feature = "conformance")]
    pub layer: crate::conformance::Layer,
    /// Attachments still due of a half-received binary packet, whose rest is only in memory.
    #[serde(rename = "due", default, skip_serializing_if = "is_zero")]
    pub attachments_due: usize,
    /// How long it outlives its token, in milliseconds.
    #[serde(rename = "grace", default = "usual_grace_ms")]
    pub grace_ms: u64,
    /// The end of the token of which the client was warned.
    #[serde(rename = "warned", default, skip_serializing_if = "Option::is_none")]
    pub warned_of: Option<Timestamp>,
    /// What it has used up of the packets it may send.
    #[serde(rename = "events", default, skip_serializing_if = "EventAllowance::is_unused")]
    pub events: EventAllowance,
}

const fn usual_grace_ms() -> u64 {
    25_000
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What the rules need to know besides the session.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Verify a token given in CONNECT.
    pub keys: &'a TokenKeys,
    /// What happens around the end of a token.
    pub expiry: ExpiryConfig,
    /// The heartbeat.
    pub heartbeat: HeartbeatConfig,
    /// A connection without a namespace is closed after this, in milliseconds.
    pub connect_timeout_ms: u64,
    /// A client that keeps itself alive is taken for gone after this silence, in milliseconds.
    pub keepalive_grace_ms: u64,
    /// Makes and checks pids.
    pub signer: &'a Signer,
}

/// What is to be done with the connection, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this text frame.
    Send(String),
    /// The client may join this namespace: look up what it missed, then call [`Session::join`].
    Connect {
        /// Which.
        namespace: Namespace,
        /// Where it wants to go on.
        resume: Resume,
        /// The payload of its CONNECT.
        #[cfg(feature = "conformance")]
        auth: String,
    },
    /// Send these frames, in order and with nothing between them.
    #[cfg(feature = "conformance")]
    Frames(Vec<engine::Frame>),
    /// Send this event to every joined namespace of the connection.
    Emit(ServerEvent),
    /// A namespace was left.
    Left(Namespace),
    /// The client sent an event.
    Event {
        /// Where.
        namespace: Namespace,
        /// The id to answer under, when an answer is wanted.
        ack_id: Option<u64>,
        /// What it asks for.
        event: Result<ClientEvent, EventError>,
    },
    /// Close the transport; nothing follows.
    Close(CloseReason),
}

/// Why the server closes a transport, in the reference's words where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A frame that is no engine packet.
    ParseError,
    /// An engine packet that is not allowed.
    TransportError,
    /// A message that is no Socket.IO packet, or one that is not allowed at this point.
    ForcedClose,
    /// A frame over the limit.
    TooLarge,
    /// A ping was not answered.
    PingTimeout,
    /// No namespace was joined in time.
    ConnectTimeout,
    /// The token ended and was not replaced.
    TokenExpired,
    /// Far more packets were sent than are allowed.
    RateLimited,
    /// Nobody can say at the moment whether a token is valid.
    KeysUnavailable,
}

impl CloseReason {
    /// The WebSocket close code. The reference closes without one, except for oversize messages.
    #[must_use]
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::TooLarge => Some(1009),
            Self::ParseError
            | Self::TransportError
            | Self::ForcedClose
            | Self::PingTimeout
            | Self::ConnectTimeout
            | Self::TokenExpired
            | Self::RateLimited
            | Self::KeysUnavailable => None,
        }
    }
}

/// What a client may say in CONNECT, all of it optional.
#[derive(Debug, Default, Deserialize)]
struct ConnectAuth<'a> {
    #[serde(borrow, default)]
    token: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    ack: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    recovery: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    case: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    pid: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    offset: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    since: Option<u64>,
}

impl Session {
    /// A connection that was opened at `now`. `next_tick` is when the hub pings its other sockets, so
    /// that one alarm serves them all.
    #[must_use]
    pub fn open(
        sid: String,
        identity: Identity,
        wishes: Wishes,
        now: Timestamp,
        next_tick: Option<Timestamp>,
        heartbeat: HeartbeatConfig,
        expiry: ExpiryConfig,
    ) -> Self {
        Self {
            version: SESSION_VERSION,
            sid,
            opened_at: now,
            identity,
            namespaces: Vec::new(),
            joined_before: false,
            acknowledging: wishes.acknowledging,
            recovery: wishes.recovery,
            heartbeat: Heartbeat::begin(wishes.keepalive, now, next_tick, heartbeat),
            binary: wishes.binary,
            case: wishes.case,
            #[cfg(feature = "conformance")]
            layer: wishes.layer,
            attachments_due: 0,
            grace_ms: expiry.grace_ms,
            warned_of: None,
            events: EventAllowance::default(),
        }
    }

    /// Whether a client that keeps itself alive has not been heard for too long.
    #[must_use]
    pub const fn is_silent(&self, now: Timestamp, rules: &Rules<'_>) -> bool {
        self.heartbeat.is_silent(now, rules.keepalive_grace_ms)
    }

    /// Whether it takes part in recovery on a namespace.
    #[must_use]
    pub const fn recovery_on(&self, namespace: Namespace) -> Recovery {
        if namespace.carries_inbox() {
            self.recovery
        } else {
            Recovery::Off
        }
    }

    /// Whether it hears of the presence of others.
    #[must_use]
    pub fn follows_presence(&self) -> bool {
        self.namespaces
            .iter()
            .any(|joined| joined.namespace == Namespace::Chat)
    }

    /// Whether it hears of the inbox.
    #[must_use]
    pub fn hears_inbox(&self) -> bool {
        self.namespaces
            .iter()
            .any(|joined| joined.namespace.carries_inbox())
    }

    /// Whether the user is online by this connection.
    #[must_use]
    pub fn is_present(&self, now: Timestamp) -> bool {
        !self.namespaces.is_empty() && now < self.ends_at()
    }

    /// When the session ends unless its token is replaced.
    #[must_use]
    pub const fn ends_at(&self) -> Timestamp {
        self.identity.session_ends_at(self.grace_ms)
    }

    /// Takes a text frame.
    pub fn on_text(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        decoder: &mut Decoder,
        frame: &str,
    ) -> Vec<Output> {
        if frame.len() > MAX_PAYLOAD_BYTES {
            return close(CloseReason::TooLarge);
        }
        match engine::Packet::parse_text(frame) {
            Ok(packet) => self.on_packet(now, rules, decoder, &packet),
            Err(_) => close(CloseReason::ParseError),
        }
    }

    /// Takes a binary frame.
    pub fn on_binary(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        decoder: &mut Decoder,
        frame: &[u8],
    ) -> Vec<Output> {
        if frame.len() > MAX_PAYLOAD_BYTES {
            return close(CloseReason::TooLarge);
        }
        self.on_packet(now, rules, decoder, &engine::Packet::parse_binary(frame))
    }

    /// Takes an engine packet, from whatever transport.
    pub fn on_packet(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        decoder: &mut Decoder,
        packet: &engine::Packet<'_>,
    ) -> Vec<Output> {
        self.heartbeat.hear(now);
        #[cfg(feature = "conformance")]
        if let Some(frame) = crate::conformance::engine_echo(self.layer, packet) {
            return vec![Output::Frames(vec![frame])];
        }
        if self.attachments_due != decoder.attachments_due() {
            // The object was evicted between the parts of a binary packet; the parts are gone.
            return close(CloseReason::ForcedClose);
        }
        let progress = match packet {
            engine::Packet::Ping(_) => return close(CloseReason::TransportError),
            engine::Packet::Pong(_) => {
                self.heartbeat.on_pong();
                return Vec::new();
            }
            // Ignored on an open WebSocket, as the reference does.
            engine::Packet::Open(_)
            | engine::Packet::Close
            | engine::Packet::Upgrade
            | engine::Packet::Noop => {
                return Vec::new();
            }
            engine::Packet::Message(message) => decoder.text(message),
            engine::Packet::Binary(bytes) => decoder.binary(bytes.as_ref()),
        };
        self.attachments_due = decoder.attachments_due();
        match progress {
            Ok(Progress::Packet(packet)) => self.on_socket_packet(now, rules, packet),
            Ok(Progress::NeedAttachments { .. }) => Vec::new(),
            Err(_) => close(CloseReason::ForcedClose),
        }
    }

    fn on_socket_packet(&mut self, now: Timestamp, rules: &Rules<'_>, packet: Packet<'_>) -> Vec<Output> {
        let allowed = self.events.take(now);
        if allowed == Allowed::Never {
            return close(CloseReason::RateLimited);
        }
        let namespace = Namespace::parse(packet.namespace.as_str());
        let joined = namespace.filter(|namespace| self.namespaces.iter().any(|j| j.namespace == *namespace));
        if let Allowed::No { retry_after_s } = allowed {
            return match (packet.kind, joined) {
                (Kind::Event { ack_id, .. }, Some(namespace)) => vec![Output::Event {
                    namespace,
                    ack_id,
                    event: Err(EventError::RateLimited { retry_after_s }),
                }],
                _ => Vec::new(),
            };
        }
        match (packet.kind, joined) {
            (Kind::Connect { payload }, None) => match namespace {
                Some(namespace) => self.on_connect(now, rules, namespace, payload.as_ref()),
                None => vec![Output::Send(connect_error_frame(
                    &packet.namespace,
                    "Invalid namespace",
                    None,
                ))],
            },
            (Kind::Disconnect, Some(namespace)) => {
                self.namespaces.retain(|joined| joined.namespace != namespace);
                vec![Output::Left(namespace)]
            }
            #[cfg(feature = "conformance")]
            (
                Kind::Event {
                    ack_id,
                    data: Some(data),
                    attachments,
                },
                Some(namespace),
            ) => vec![Output::Frames(crate::conformance::echo(
                namespace,
                ack_id,
                &data,
                attachments,
            ))],
            #[cfg(not(feature = "conformance"))]
            (
                Kind::Event {
                    ack_id,
                    data: Some(data),
                    ..
                },
                Some(namespace),
            ) => {
                let event = ClientEvent::parse(namespace, &data);
                if matches!(event, Ok(ClientEvent::Acknowledge(_))) {
                    self.acknowledging = Acknowledging::Yes;
                }
                vec![Output::Event {
                    namespace,
                    ack_id,
                    event,
                }]
            }
            // A bare event says nothing; no event of ours asks for an ack.
            (Kind::Event { data: None, .. } | Kind::Ack { .. }, Some(_)) => Vec::new(),
            (Kind::Connect { .. } | Kind::ConnectError { .. }, _)
            | (Kind::Disconnect | Kind::Event { .. } | Kind::Ack { .. }, None) => {
                close(CloseReason::ForcedClose)
            }
        }
    }

    fn on_connect(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        namespace: Namespace,
        payload: Option<&Object<'_>>,
    ) -> Vec<Output> {
        let auth: ConnectAuth<'_> = payload
            .and_then(|payload| payload.parse().ok())
            .unwrap_or_default();
        match self.authorize(now, rules.keys, auth.token.as_deref()) {
            Ok(()) => {}
            // A stock client never comes back after a refusal.
            Err(AuthError::KeysUnavailable) => return close(CloseReason::KeysUnavailable),
            Err(error) => return vec![Output::Send(refusal_frame(&namespace.wire(), error))],
        }
        if auth.ack.as_deref() == Some("on") {
            self.acknowledging = Acknowledging::Yes;
        }
        if auth.recovery.as_deref() == Some("off") {
            self.recovery = Recovery::Off;
        }
        if auth.case.as_deref() == Some("camel") {
            self.case = PayloadCase::Camel;
        }
        let pid = match (self.recovery_on(namespace), auth.pid) {
            (Recovery::On, Some(pid)) => Pid::parse(&pid, rules.signer, &self.identity.user, namespace),
            (Recovery::On | Recovery::Off, _) => None,
        };
        let since = auth.since.filter(|_| namespace.carries_inbox());
        let resume = match (pid, since) {
            (Some(pid), _) => Resume::Recover {
                // A session that saw no event has no offset, and what ended an event last may be a
                // string of somebody else's: then it goes on from where it began.
                from: auth
                    .offset
                    .as_deref()
                    .and_then(Offset::parse)
                    .unwrap_or(pid.began_at),
                pid,
            },
            (None, Some(since)) => Resume::Since(Offset(since)),
            (None, None) => Resume::Fresh,
        };
        vec![Output::Connect {
            namespace,
            resume,
            #[cfg(feature = "conformance")]
            auth: payload.map_or_else(|| "{}".to_owned(), |payload| payload.as_str().to_owned()),
        }]
    }

    /// Joins a namespace: as the session `kept`, or under the fresh public id `sid`. Gives the answer to
    /// the client's CONNECT. `position` is how far the client has come with it.
    pub fn join(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        namespace: Namespace,
        kept: Option<Pid>,
        sid: &str,
        position: Offset,
    ) -> (String, Joined) {
        let pid = kept.unwrap_or_else(|| Pid {
            sid: sid.to_owned(),
            began_at: position,
        });
        let shown = match self.recovery_on(namespace) {
            Recovery::On => Some(pid.encode(rules.signer, &self.identity.user, namespace)),
            Recovery::Off => None,
        };
        let answer = connect_frame(&namespace.wire(), &pid.sid, shown.as_deref());
        let joined = Joined {
            namespace,
            sid: pid.sid,
            connected_at: now,
        };
        self.namespaces.push(joined.clone());
        if !self.joined_before {
            // What led here is not the client's: it may send as many packets as if it had begun now.
            self.events = EventAllowance::default();
        }
        self.joined_before = true;
        (answer, joined)
    }

    /// A valid token in CONNECT comes before the one of the HTTP request; an invalid one counts as
    /// absent while that one is valid (DESIGN 3.1).
    fn authorize(&mut self, now: Timestamp, keys: &TokenKeys, token: Option<&str>) -> Result<(), AuthError> {
        match token.map(|token| self.same_user(now, keys, token)) {
            Some(Ok(identity)) => {
                self.refresh(identity);
                Ok(())
            }
            Some(Err(AuthError::UserMismatch)) => Err(AuthError::UserMismatch),
            Some(Err(_)) | None if now < self.ends_at() => Ok(()),
            Some(Err(error)) => Err(error),
            None => Err(AuthError::Expired),
        }
    }

    /// Who `token` says it is, when that is the session's user.
    ///
    /// # Errors
    /// Every [`AuthError`].
    pub fn same_user(&self, now: Timestamp, keys: &TokenKeys, token: &str) -> Result<Identity, AuthError> {
        let identity = keys.verify(now, token)?;
        if identity.user == self.identity.user {
            Ok(identity)
        } else {
            Err(AuthError::UserMismatch)
        }
    }

    /// Takes another token of the same user as the session's.
    pub fn refresh(&mut self, identity: Identity) {
        self.identity = identity;
        self.warned_of = None;
    }

    /// When the client is to be warned of the end of its token; `None` when it was.
    fn warns_at(&self, rules: &Rules<'_>) -> Option<Timestamp> {
        let end = self.identity.expires_at;
        let warned = self.namespaces.is_empty() || self.warned_of == Some(end);
        let warning_at = end.as_ms().saturating_sub(rules.expiry.warning_ms);
        (!warned).then(|| Timestamp::from_ms(warning_at))
    }

    /// Whether it still has to join a namespace.
    const fn must_join(&self) -> bool {
        #[cfg(feature = "conformance")]
        if matches!(self.layer, crate::conformance::Layer::Engine) {
            return false;
        }
        !self.joined_before
    }

    /// What is due at `now`.
    pub fn on_timer(&mut self, now: Timestamp, rules: &Rules<'_>) -> Vec<Output> {
        if self.must_join() && now >= self.opened_at.after_ms(rules.connect_timeout_ms) {
            return close(CloseReason::ConnectTimeout);
        }
        if now >= self.ends_at() {
            return expire();
        }
        if self.is_silent(now, rules) {
            return close(CloseReason::PingTimeout);
        }
        if self.warns_at(rules).is_some_and(|at| at <= now) {
            let expires_at = self.identity.expires_at;
            self.warned_of = Some(expires_at);
            return vec![Output::Emit(ServerEvent::AuthExpiring { expires_at })];
        }
        beat(self.heartbeat.on_timer(now, rules.heartbeat))
    }

    /// What a tick of the switchboard asks for at `now`, besides what is due.
    pub fn on_tick(&mut self, now: Timestamp, rules: &Rules<'_>) -> Vec<Output> {
        let mut outputs = self.on_timer(now, rules);
        let closes = outputs.iter().any(|output| matches!(output, Output::Close(_)));
        if !closes {
            outputs.extend(beat(self.heartbeat.on_tick(now, rules.heartbeat)));
        }
        outputs
    }

    /// When [`Session::on_timer`] has something to do next.
    #[must_use]
    pub fn wakes_at(&self, rules: &Rules<'_>) -> Timestamp {
        let beat = self.heartbeat.wakes_at(rules.heartbeat);
        let connect = self
            .must_join()
            .then(|| self.opened_at.after_ms(rules.connect_timeout_ms));
        [beat, connect, self.warns_at(rules)]
            .into_iter()
            .flatten()
            .fold(self.ends_at(), Timestamp::min)
    }
}

fn beat(beat: Beat) -> Vec<Output> {
    match beat {
        Beat::Rest => Vec::new(),
        Beat::Ping => vec![Output::Send(engine::Packet::Ping("".into()).encode().into_text())],
        Beat::Silent => close(CloseReason::PingTimeout),
    }
}

fn expire() -> Vec<Output> {
    vec![
        Output::Emit(ServerEvent::AuthError {
            message: "The token has expired",
            code: AuthError::Expired.code(),
        }),
        Output::Close(CloseReason::TokenExpired),
    ]
}

/// The CONNECT_ERROR of a user who may open no further connection (DESIGN 10).
#[must_use]
pub fn admission_frame(
    namespace: &dormouse_protocol::socket::Namespace<'_>,
    error: AdmissionError,
) -> String {
    #[derive(Serialize)]
    struct Data {
        code: &'static str,
        message: String,
        retry_after: u64,
    }
    let data = Json::encode(&Data {
        code: error.code(),
        message: error.to_string(),
        retry_after: error.retry_after_s(),
    });
    connect_error_frame(namespace, "Too many connections", data.ok().as_ref())
}

/// The CONNECT_ERROR a client gets instead of a namespace (DESIGN 3.4).
#[must_use]
pub fn refusal_frame(namespace: &dormouse_protocol::socket::Namespace<'_>, error: AuthError) -> String {
    #[derive(Serialize)]
    struct Data {
        code: &'static str,
        message: String,
    }
    let data = Json::encode(&Data {
        code: error.code(),
        message: error.to_string(),
    });
    connect_error_frame(namespace, "Authentication failed", data.ok().as_ref())
}

fn close(reason: CloseReason) -> Vec<Output> {
    vec![Output::Close(reason)]
}

#[cfg(all(test, not(feature = "conformance")))]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::Role;
    use crate::auth::tests::{NOW, keys, sign};
    use crate::config::Timing;
    use crate::id::{RecipientId, UserId};
    use crate::inbox::Head;
    use crate::wishes::Keepalive;

    static KEYS: LazyLock<TokenKeys> = LazyLock::new(keys);
    static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(b"secret"));
    const HEARTBEAT: HeartbeatConfig = HeartbeatConfig {
        interval_ms: 90_000,
        timeout_ms: 120_000,
        timing: Timing::Ticked,
    };
    const EXPIRY: ExpiryConfig = ExpiryConfig {
        warning_ms: 60_000,
        grace_ms: 25_000,
    };
    const WISHES: Wishes = Wishes {
        case: PayloadCase::Snake,
        acknowledging: Acknowledging::Unknown,
        recovery: Recovery::On,
        keepalive: Keepalive::Server,
        binary: Binary::Frames,
    };
    const HOUR_MS: u64 = 3_600_000;

    pub(crate) fn rules() -> Rules<'static> {
        Rules {
            keys: &KEYS,
            heartbeat: HEARTBEAT,
            connect_timeout_ms: 45_000,
            expiry: EXPIRY,
            keepalive_grace_ms: 120_000,
            signer: &SIGNER,
        }
    }

    fn session(now: Timestamp) -> Session {
        let identity = Identity {
            issued_at: None,
            user: user(),
            expires_at: now.after_ms(HOUR_MS),
            departments: Vec::new(),
            role: Role::User,
        };
        Session::open(
            "engine".to_owned(),
            identity,
            WISHES,
            now,
            None,
            HEARTBEAT,
            EXPIRY,
        )
    }

    fn user() -> UserId {
        UserId::parse("u1").unwrap()
    }

    pub(crate) fn joined_session(now: Timestamp) -> Session {
        let mut session = session(now);
        join(&mut session, now, "40/notifications,");
        session
    }

    /// Sends a CONNECT and, when it is allowed, joins; gives the answer to the client.
    fn join(session: &mut Session, now: Timestamp, frame: &str) -> String {
        let outputs = session.on_text(now, &rules(), &mut Decoder::default(), frame);
        match outputs.into_iter().next() {
            Some(Output::Connect { namespace, resume }) => {
                let (kept, _) = resume.decide(&Head {
                    seq: 9,
                    ..Head::new(user())
                });
                session
                    .join(now, &rules(), namespace, kept, "public", Offset(9))
                    .0
            }
            Some(Output::Send(refusal)) => refusal,
            other => unreachable!("{other:?}"),
        }
    }

    /// The outputs, in words.
    fn words(outputs: &[Output]) -> Vec<String> {
        let word = |output: &Output| match output {
            Output::Send(frame) => frame.clone(),
            Output::Connect { namespace, resume } => format!("connect {} {resume:?}", namespace.name()),
            Output::Emit(event) => format!("emit {}", event.name()),
            Output::Left(namespace) => format!("left {}", namespace.name()),
            Output::Event {
                namespace,
                ack_id,
                event,
            } => {
                format!("event {} {ack_id:?} {event:?}", namespace.name())
            }
            Output::Close(reason) => format!("close {reason:?}"),
        };
        outputs.iter().map(word).collect()
    }

    fn text(session: &mut Session, frame: &str) -> Vec<String> {
        words(&session.on_text(NOW, &rules(), &mut Decoder::default(), frame))
    }

    fn timer(session: &mut Session, ms: u64) -> Vec<String> {
        words(&session.on_timer(NOW.after_ms(ms), &rules()))
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn connect_joins_a_namespace_and_answers() {
        for (frame, answer, namespace) in [
            ("40", "40{", Namespace::Root),
            (
                "40/notifications,",
                "40/notifications,{",
                Namespace::Notifications,
            ),
            (
                "40/notifications,{}",
                "40/notifications,{",
                Namespace::Notifications,
            ),
        ] {
            let mut session = session(NOW);
            let pid = Pid {
                sid: "public".to_owned(),
                began_at: Offset(9),
            }
            .encode(&SIGNER, &user(), namespace);
            assert_eq!(
                join(&mut session, NOW, frame),
                format!(r#"{answer}"sid":"public","pid":"{pid}"}}"#)
            );
            assert_eq!(
                session.namespaces,
                [Joined {
                    namespace,
                    sid: "public".to_owned(),
                    connected_at: NOW
                }]
            );
        }
    }

    #[test]
    fn a_client_that_wants_no_recovery_gets_no_pid() {
        let mut session = session(NOW);
        assert_eq!(
            join(&mut session, NOW, r#"40{"recovery":"off"}"#),
            r#"40{"sid":"public"}"#
        );
        assert_eq!(session.recovery, Recovery::Off);
    }

    #[test]
    fn where_a_client_goes_on_is_read_from_connect() {
        let pid = Pid {
            sid: "s1".to_owned(),
            began_at: Offset(3),
        };
        let shown = pid.encode(&SIGNER, &user(), Namespace::Root);
        let elsewhere = pid.encode(&SIGNER, &user(), Namespace::Notifications);
        let stranger = pid.encode(&SIGNER, &UserId::parse("u2").unwrap(), Namespace::Root);
        let offset = |seq| Offset(seq).encode();
        let recover = |from| Resume::Recover {
            pid: pid.clone(),
            from: Offset(from),
        };
        for (auth, expected) in [
            (json!({}), Resume::Fresh),
            (json!({"pid": shown, "offset": offset(7)}), recover(7)),
            (json!({"pid": shown}), recover(3)),
            (json!({"pid": shown, "offset": "a user's string"}), recover(3)),
            (json!({"pid": elsewhere, "offset": offset(7)}), Resume::Fresh),
            (json!({"pid": stranger, "offset": offset(7)}), Resume::Fresh),
            (json!({"pid": "junk", "since": 4}), Resume::Since(Offset(4))),
            (
                json!({"pid": shown, "offset": offset(7), "recovery": "off"}),
                Resume::Fresh,
            ),
            (json!({"since": 4}), Resume::Since(Offset(4))),
            (json!({"since": -4}), Resume::Fresh),
        ] {
            assert_eq!(
                text(&mut session(NOW), &format!("40{auth}")),
                [format!("connect / {expected:?}")],
                "{auth}"
            );
        }
    }

    #[test]
    fn on_chat_nothing_is_recovered_and_the_inbox_is_not_heard_of() {
        let pid = Pid {
            sid: "s1".to_owned(),
            began_at: Offset(3),
        };
        let shown = pid.encode(&SIGNER, &user(), Namespace::Chat);
        for auth in [
            json!({"pid": shown, "offset": Offset(7).encode()}),
            json!({"since": 4}),
        ] {
            assert_eq!(
                text(&mut session(NOW), &format!("40/chat,{auth}")),
                ["connect /chat Fresh"]
            );
        }
        let mut session = session(NOW);
        assert_eq!(join(&mut session, NOW, "40/chat,"), r#"40/chat,{"sid":"public"}"#);
        assert!(session.is_present(NOW));
        assert!(!session.hears_inbox());
        join(&mut session, NOW, "40");
        assert!(session.hears_inbox());
        assert_eq!(session.recovery_on(Namespace::Root), Recovery::On);
        assert_eq!(session.recovery_on(Namespace::Chat), Recovery::Off);
    }

    #[test]
    fn a_recovered_session_keeps_its_ids() {
        let mut first = session(NOW);
        let answer = join(&mut first, NOW, "40");
        let shown: serde_json::Value = serde_json::from_str(answer.trim_start_matches("40")).unwrap();
        let mut second = session(NOW);
        let again = join(&mut second, NOW, &format!("40{}", json!({"pid": shown["pid"]})));
        assert_eq!(again, answer);
    }

    #[test]
    fn an_unknown_namespace_is_refused_and_the_connection_stays() {
        let mut session = session(NOW);
        assert_eq!(
            text(&mut session, "40/zz,"),
            [r#"44/zz,{"message":"Invalid namespace"}"#]
        );
        assert!(join(&mut session, NOW, "40").starts_with("40"));
    }

    #[test]
    fn packets_out_of_place_close_the_connection() {
        for frame in [
            "42[\"ping\"]",
            "42/notifications,[\"ping\"]",
            "41",
            "430[]",
            "44{}",
        ] {
            assert_eq!(text(&mut session(NOW), frame), ["close ForcedClose"], "{frame}");
        }
        assert_eq!(
            text(&mut joined_session(NOW), "40/notifications,"),
            ["close ForcedClose"]
        );
        let mut left = joined_session(NOW);
        assert_eq!(text(&mut left, "41/notifications,"), ["left /notifications"]);
        assert_eq!(
            text(&mut left, "42/notifications,[\"ping\"]"),
            ["close ForcedClose"]
        );
    }

    #[test]
    fn what_the_engine_does_not_allow_closes_the_connection() {
        for (frame, reason) in [
            ("", "close ParseError"),
            ("x", "close ParseError"),
            ("7", "close ParseError"),
            ("2", "close TransportError"),
            ("2probe", "close TransportError"),
        ] {
            assert_eq!(text(&mut joined_session(NOW), frame), [reason], "{frame}");
        }
    }

    #[test]
    fn what_is_no_packet_closes_the_connection() {
        for frame in [
            "4",
            "49",
            "42{}",
            "42[]",
            "42[null]",
            "42[\"connect\"]",
            "40null",
            "40[1]",
            "42[\"a\"",
            "450-[\"a\"]",
            "4511-[\"a\"]",
        ] {
            assert_eq!(
                text(&mut joined_session(NOW), frame),
                ["close ForcedClose"],
                "{frame}"
            );
        }
        let stray = joined_session(NOW).on_binary(NOW, &rules(), &mut Decoder::default(), &[1]);
        assert_eq!(words(&stray), ["close ForcedClose"]);
        let oversize = format!("42/notifications,[\"{}\"]", "x".repeat(MAX_PAYLOAD_BYTES));
        assert_eq!(text(&mut joined_session(NOW), &oversize), ["close TooLarge"]);
    }

    #[test]
    fn what_stock_clients_send_besides_is_ignored() {
        for frame in [
            "3",
            "6",
            "5",
            "0{}",
            "1",
            "42/notifications,",
            "43/notifications,7[]",
        ] {
            assert_eq!(text(&mut joined_session(NOW), frame), NOTHING, "{frame}");
        }
    }

    #[test]
    fn an_event_is_handed_on_with_its_ack_id() {
        assert_eq!(
            text(&mut joined_session(NOW), "42/notifications,12[\"ping\"]"),
            ["event /notifications Some(12) Ok(Ping)"]
        );
    }

    #[test]
    fn chat_knows_no_event_of_the_inbox() {
        let mut session = joined_session(NOW);
        join(&mut session, NOW, "40/chat,");
        assert_eq!(
            text(&mut session, r#"42/chat,["join","u1"]"#),
            [r#"event /chat None Err(Unknown("join"))"#]
        );
    }

    #[test]
    fn a_session_that_acknowledges_is_remembered() {
        let id = RecipientId::parse("470314a0-6846-569f-81e6-a8e84f826fc0").unwrap();
        let mut session = joined_session(NOW);
        text(
            &mut session,
            &format!("42/notifications,[\"notification:acknowledge\",{{\"recipient_id\":\"{id}\"}}]"),
        );
        assert_eq!(session.acknowledging, Acknowledging::Yes);
        let mut said = super::tests::session(NOW);
        text(&mut said, r#"40/notifications,{"ack":"on"}"#);
        assert_eq!(said.acknowledging, Acknowledging::Yes);
    }

    #[test]
    fn a_token_in_connect_decides_as_the_table_says() {
        let token = |user: &str, ttl_s: i64| sign(&json!({"sub": user, "exp": 1_800_000_000_i64 + ttl_s}));
        let check = |auth: serde_json::Value, now: Timestamp, code: Option<&str>| {
            let answer = join(&mut session(NOW), now, &format!("40{auth}"));
            match code {
                None => assert!(answer.starts_with("40"), "{auth}: {answer}"),
                Some(code) => assert!(
                    answer.starts_with("44") && answer.contains(code),
                    "{auth}: {answer}"
                ),
            }
        };
        let late = NOW.after_ms(2 * HOUR_MS);
        check(json!({}), NOW, None);
        check(json!({"token": null}), NOW, None);
        check(json!({"token": token("u1", 60)}), NOW, None);
        check(
            json!({"token": format!(" Bearer {}", token("u1", 60))}),
            NOW,
            None,
        );
        check(json!({"token": token("u2", 60)}), NOW, Some("USER_MISMATCH"));
        check(json!({"token": token("u1", -60)}), NOW, None);
        check(json!({"token": "junk"}), NOW, None);
        check(json!({"token": 7}), NOW, None);
        check(json!({}), late, Some("EXPIRED_TOKEN"));
        check(json!({"token": "junk"}), late, Some("INVALID_TOKEN"));
        check(json!({"token": token("u1", 3 * 3_600)}), late, None);
    }

    #[test]
    fn a_token_in_connect_sets_when_the_session_ends() {
        let mut session = session(NOW);
        let token = sign(&json!({"sub": "u1", "exp": 1_800_000_000_i64 + 7_200}));
        text(&mut session, &format!("40{}", json!({"token": token})));
        assert_eq!(session.identity.expires_at, NOW.after_ms(2 * HOUR_MS));
    }

    #[test]
    fn a_half_received_packet_is_finished_or_closes() {
        let head = r#"451-/notifications,["x",{"_placeholder":true,"num":0}]"#;
        let mut session = joined_session(NOW);
        let mut decoder = Decoder::default();
        assert_eq!(
            words(&session.on_text(NOW, &rules(), &mut decoder, head)),
            NOTHING
        );
        assert_eq!(session.attachments_due, 1);
        let mut evicted = session.clone();
        let done = words(&session.on_binary(NOW, &rules(), &mut decoder, &[1]));
        assert_eq!(done, [r#"event /notifications None Err(Unknown("x"))"#]);
        let lost = evicted.on_binary(NOW, &rules(), &mut Decoder::default(), &[1]);
        assert_eq!(words(&lost), ["close ForcedClose"]);
    }

    fn tick(session: &mut Session, ms: u64) -> Vec<String> {
        words(&session.on_tick(NOW.after_ms(ms), &rules()))
    }

    #[test]
    fn ticks_ping_and_close() {
        let mut session = joined_session(NOW);
        assert_eq!(session.wakes_at(&rules()), NOW.after_ms(HOUR_MS - 60_000));
        assert_eq!(timer(&mut session, 90_000), NOTHING);
        assert_eq!(tick(&mut session, 90_000), ["2"]);
        assert_eq!(tick(&mut session, 90_100), NOTHING);
        let mut silent = session.clone();
        text(&mut session, "3");
        assert_eq!(tick(&mut session, 180_000), ["2"]);
        assert_eq!(tick(&mut silent, 180_000), ["close PingTimeout"]);
    }

    #[test]
    fn a_tick_also_does_what_is_due() {
        let mut session = joined_session(NOW);
        assert_eq!(
            tick(&mut session, HOUR_MS + 25_000),
            ["emit auth_error", "close TokenExpired"]
        );
    }

    #[test]
    fn exact_timing_closes_after_the_advertised_timeout() {
        let heartbeat = HeartbeatConfig {
            interval_ms: 300,
            timeout_ms: 200,
            timing: Timing::Exact,
        };
        let rules = Rules { heartbeat, ..rules() };
        let mut session = Session {
            joined_before: true,
            ..session(NOW)
        };
        session.heartbeat = Heartbeat::Server {
            ping_at: NOW.after_ms(300),
            unanswered_since: None,
        };
        let mut prompt = session.clone();
        assert_eq!(words(&prompt.on_timer(NOW.after_ms(320), &rules)), ["2"]);
        let pong = prompt.on_text(NOW.after_ms(350), &rules, &mut Decoder::default(), "3");
        assert_eq!(words(&pong), NOTHING);
        assert_eq!(prompt.wakes_at(&rules), NOW.after_ms(600));
        assert_eq!(words(&session.on_timer(NOW.after_ms(300), &rules)), ["2"]);
        assert_eq!(session.wakes_at(&rules), NOW.after_ms(500));
        assert_eq!(
            words(&session.on_timer(NOW.after_ms(500), &rules)),
            ["close PingTimeout"]
        );
    }

    #[test]
    fn a_client_that_keeps_itself_alive_is_not_pinged_and_its_silence_ends_it() {
        let wishes = Wishes {
            keepalive: Keepalive::Client,
            ..WISHES
        };
        let mut session = Session {
            joined_before: true,
            ..session(NOW)
        };
        session.heartbeat = Session::open(
            "e".to_owned(),
            session.identity.clone(),
            wishes,
            NOW,
            None,
            HEARTBEAT,
            EXPIRY,
        )
        .heartbeat;
        assert_eq!(session.wakes_at(&rules()), session.ends_at());
        assert_eq!(timer(&mut session, 120_000), NOTHING);
        session.heartbeat.hear(NOW.after_ms(60_000));
        session.heartbeat.hear(NOW.after_ms(10_000));
        assert_eq!(timer(&mut session, 180_000), NOTHING);
        assert_eq!(timer(&mut session, 180_001), ["close PingTimeout"]);
    }

    #[test]
    fn sockets_of_a_hub_are_pinged_by_one_alarm() {
        let first = joined_session(NOW);
        let later = NOW.after_ms(30_000);
        let tick = first.heartbeat.ping_at();
        let second = Session::open(
            "b".to_owned(),
            first.identity.clone(),
            WISHES,
            later,
            tick,
            HEARTBEAT,
            EXPIRY,
        );
        assert_eq!(second.heartbeat.ping_at(), tick);
    }

    #[test]
    fn a_connection_that_joins_nothing_is_closed() {
        let mut session = session(NOW);
        assert_eq!(session.wakes_at(&rules()), NOW.after_ms(45_000));
        assert_eq!(timer(&mut session, 44_999), NOTHING);
        assert_eq!(timer(&mut session, 45_000), ["close ConnectTimeout"]);
        let mut left = joined_session(NOW);
        text(&mut left, "41/notifications,");
        assert_ne!(timer(&mut left, 45_000), ["close ConnectTimeout"]);
    }

    #[test]
    fn a_session_ends_25_seconds_after_its_token() {
        let mut session = joined_session(NOW);
        session.heartbeat = Heartbeat::Client {
            heard_at: NOW.after_ms(10 * HOUR_MS),
        };
        let end = NOW.after_ms(HOUR_MS + 25_000);
        assert_eq!(session.wakes_at(&rules()), NOW.after_ms(HOUR_MS - 60_000));
        assert_eq!(timer(&mut session, HOUR_MS - 60_000), ["emit auth:expiring"]);
        assert_eq!(timer(&mut session, HOUR_MS - 59_000), NOTHING);
        assert_eq!(session.wakes_at(&rules()), end);
        assert!(session.is_present(Timestamp::from_ms(end.as_ms() - 1)));
        assert!(!session.is_present(end));
        assert_eq!(
            timer(&mut session, HOUR_MS + 25_000),
            ["emit auth_error", "close TokenExpired"]
        );
    }

    #[test]
    fn another_token_of_the_same_user_prolongs_the_session() {
        let mut session = joined_session(NOW);
        timer(&mut session, HOUR_MS - 60_000);
        let of = |user: &str, expires_at: i64| sign(&json!({"sub": user, "exp": expires_at}));
        let end = 1_800_000_000 + 10_000;
        let same_user = |token: &str| session.same_user(NOW.after_ms(HOUR_MS), &KEYS, token);
        for (token, error) in [
            (of("u2", end), AuthError::UserMismatch),
            (of("u1", 1_800_000_000), AuthError::Expired),
            ("x".to_owned(), AuthError::Malformed),
        ] {
            assert_eq!(same_user(&token), Err(error));
        }
        let identity = same_user(&of("u1", end)).unwrap();
        session.refresh(identity);
        assert_eq!(session.ends_at(), NOW.after_ms(10_000_000 + 25_000));
        assert_eq!(session.wakes_at(&rules()), NOW.after_ms(10_000_000 - 60_000));
    }

    #[test]
    fn packets_over_the_limit_are_dropped_and_at_last_end_the_connection() {
        let mut session = joined_session(NOW);
        let ping = r#"42/notifications,["ping"]"#;
        for _ in 0..1_000 {
            assert_eq!(text(&mut session, ping), ["event /notifications None Ok(Ping)"]);
        }
        assert_eq!(
            text(&mut session, r#"42/notifications,5["ping"]"#),
            ["event /notifications Some(5) Err(RateLimited { retry_after_s: 60 })"]
        );
        assert_eq!(text(&mut session, "41/notifications,"), NOTHING);
        let mut evicted: Session = serde_json::from_str(&serde_json::to_string(&session).unwrap()).unwrap();
        let at = |ms| NOW.after_ms(ms);
        let mut last = Vec::new();
        for _ in 0..1_001 {
            last = words(&evicted.on_text(at(60_000), &rules(), &mut Decoder::default(), ping));
        }
        assert_eq!(last, ["close RateLimited"]);
    }

    #[test]
    fn the_stored_session_format_is_unchanged() {
        let json = r#"{"v":1,"sid":"engine","opened_at":1800000000000,"identity":{"user":"u1","expires_at":1800003600000,"role":"user"},"namespaces":[{"ns":"/notifications","sid":"public","at":1800000000000}],"joined_before":true,"ack":"unknown","recovery":"on","heartbeat":{"server":{"next":1800000090000}},"binary":"frames","grace":25000,"events":{"at":1800000000000,"n":1}}"#;
        let mut session = joined_session(NOW);
        text(&mut session, r#"42/notifications,["ping"]"#);
        assert_eq!(serde_json::to_string(&session).unwrap(), json);
        assert_eq!(serde_json::from_str::<Session>(json).unwrap(), session);
    }

    proptest! {
        #[test]
        fn any_frames_are_heard_without_a_panic_and_nothing_follows_a_close(
            frames in proptest::collection::vec("(?s).{0,40}|[0-6][0-6]?/?[a-z,]{0,16}[0-9]{0,3}[\\[\\]{}\":a-z,]{0,20}", 0..12),
        ) {
            let mut session = session(NOW);
            let mut decoder = Decoder::default();
            for frame in frames {
                let outputs = session.on_text(NOW, &rules(), &mut decoder, &frame);
                let closes = outputs.iter().position(|output| matches!(output, Output::Close(_)));
                prop_assert!(closes.is_none_or(|at| at + 1 == outputs.len()));
                if closes.is_some() {
                    break;
                }
            }
        }
    }
}
