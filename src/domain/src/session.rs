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

use crate::auth::{AuthError, Identity, TokenKey};
use crate::config::{EXPIRY_GRACE_MS, HeartbeatConfig, MAX_PAYLOAD_BYTES};
use crate::event::{ClientEvent, EventError, ServerEvent};
use crate::time::Timestamp;

/// The version of the stored form.
pub const SESSION_VERSION: u8 = 1;

/// The namespaces there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// The main namespace; the same events as [`Namespace::Notifications`].
    #[serde(rename = "/")]
    Root,
    /// `/notifications`.
    #[serde(rename = "/notifications")]
    Notifications,
}

impl Namespace {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Notifications => "/notifications",
        }
    }

    /// The name as the codec takes it.
    #[must_use]
    pub const fn wire(self) -> dormouse_protocol::socket::Namespace<'static> {
        dormouse_protocol::socket::Namespace::from_static(self.name())
    }

    /// The namespace of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Root, Self::Notifications]
            .into_iter()
            .find(|namespace| namespace.name() == name)
    }
}

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

/// Whether the session answers `notification:new` with `notification:acknowledge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledging {
    /// It said `ack=on`, or has acknowledged before.
    Yes,
    /// Nothing is known.
    Unknown,
}

/// The server's pings to this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// When the next ping is due.
    #[serde(rename = "next")]
    pub ping_at: Timestamp,
    /// When the ping was sent that has not been answered yet.
    #[serde(rename = "sent", default, skip_serializing_if = "Option::is_none")]
    pub unanswered_since: Option<Timestamp>,
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
    /// The server's pings.
    pub heartbeat: Heartbeat,
    /// Attachments still due of a half-received binary packet, whose rest is only in memory.
    #[serde(rename = "due", default, skip_serializing_if = "is_zero")]
    pub attachments_due: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What the rules need to know besides the session.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Verifies a token given in CONNECT.
    pub key: &'a TokenKey,
    /// The heartbeat.
    pub heartbeat: HeartbeatConfig,
    /// A connection without a namespace is closed after this, in milliseconds.
    pub connect_timeout_ms: u64,
}

/// What is to be done with the connection, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this text frame.
    Send(String),
    /// A namespace was joined (its CONNECT is answered by a `Send` before this).
    Joined(Joined),
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
    /// A frame that is no packet.
    ParseError,
    /// A packet that is not allowed at this point.
    ForcedClose,
    /// A frame over the limit.
    TooLarge,
    /// A ping was not answered.
    PingTimeout,
    /// No namespace was joined in time.
    ConnectTimeout,
    /// The token ended and was not replaced.
    TokenExpired,
}

impl CloseReason {
    /// The WebSocket close code. The reference closes without one, except for oversize messages.
    #[must_use]
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::TooLarge => Some(1009),
            Self::ParseError
            | Self::ForcedClose
            | Self::PingTimeout
            | Self::ConnectTimeout
            | Self::TokenExpired => None,
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
}

impl Session {
    /// A connection that was opened at `now`. `next_tick` is when the hub pings its other sockets, so
    /// that one alarm serves them all.
    #[must_use]
    pub fn open(
        sid: String,
        identity: Identity,
        acknowledging: Acknowledging,
        now: Timestamp,
        next_tick: Option<Timestamp>,
        heartbeat: HeartbeatConfig,
    ) -> Self {
        let latest = now.after_ms(heartbeat.interval_ms);
        let ping_at = next_tick
            .filter(|tick| *tick > now)
            .map_or(latest, |tick| tick.min(latest));
        Self {
            version: SESSION_VERSION,
            sid,
            opened_at: now,
            identity,
            namespaces: Vec::new(),
            joined_before: false,
            acknowledging,
            heartbeat: Heartbeat {
                ping_at,
                unanswered_since: None,
            },
            attachments_due: 0,
        }
    }

    /// Whether the user is online by this connection.
    #[must_use]
    pub fn is_present(&self, now: Timestamp) -> bool {
        !self.namespaces.is_empty() && now < self.ends_at()
    }

    /// When the session ends unless its token is replaced.
    #[must_use]
    pub const fn ends_at(&self) -> Timestamp {
        self.identity.expires_at.after_ms(EXPIRY_GRACE_MS)
    }

    /// Takes a text frame. `sid` is a fresh public id, used when a namespace is joined.
    pub fn on_text(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        decoder: &mut Decoder,
        frame: &str,
        sid: &str,
    ) -> Vec<Output> {
        if frame.len() > MAX_PAYLOAD_BYTES {
            return close(CloseReason::TooLarge);
        }
        match engine::Packet::parse_text(frame) {
            Ok(packet) => self.on_packet(now, rules, decoder, &packet, sid),
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
        sid: &str,
    ) -> Vec<Output> {
        if frame.len() > MAX_PAYLOAD_BYTES {
            return close(CloseReason::TooLarge);
        }
        self.on_packet(now, rules, decoder, &engine::Packet::parse_binary(frame), sid)
    }

    fn on_packet(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        decoder: &mut Decoder,
        packet: &engine::Packet<'_>,
        sid: &str,
    ) -> Vec<Output> {
        if self.attachments_due != decoder.attachments_due() {
            // The object was evicted between the parts of a binary packet; the parts are gone.
            return close(CloseReason::ParseError);
        }
        let progress = match packet {
            engine::Packet::Ping(_) => return close(CloseReason::ForcedClose),
            engine::Packet::Pong(_) => {
                self.heartbeat.unanswered_since = None;
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
            Ok(Progress::Packet(packet)) => self.on_socket_packet(now, rules, packet, sid),
            Ok(Progress::NeedAttachments { .. }) => Vec::new(),
            Err(_) => close(CloseReason::ParseError),
        }
    }

    fn on_socket_packet(
        &mut self,
        now: Timestamp,
        rules: &Rules<'_>,
        packet: Packet<'_>,
        sid: &str,
    ) -> Vec<Output> {
        let namespace = Namespace::parse(packet.namespace.as_str());
        let joined = namespace.filter(|namespace| self.namespaces.iter().any(|j| j.namespace == *namespace));
        match (packet.kind, joined) {
            (Kind::Connect { payload }, None) => match namespace {
                Some(namespace) => self.on_connect(now, rules, namespace, payload.as_ref(), sid),
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
            (
                Kind::Event {
                    ack_id,
                    data: Some(data),
                    ..
                },
                Some(namespace),
            ) => {
                let event = ClientEvent::parse(&data);
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
        sid: &str,
    ) -> Vec<Output> {
        let auth: ConnectAuth<'_> = payload
            .and_then(|payload| payload.parse().ok())
            .unwrap_or_default();
        if let Err(error) = self.authorize(now, rules.key, auth.token.as_deref()) {
            return vec![Output::Send(refusal_frame(&namespace.wire(), error))];
        }
        if auth.ack.as_deref() == Some("on") {
            self.acknowledging = Acknowledging::Yes;
        }
        let joined = Joined {
            namespace,
            sid: sid.to_owned(),
            connected_at: now,
        };
        self.namespaces.push(joined.clone());
        self.joined_before = true;
        vec![
            Output::Send(connect_frame(&namespace.wire(), sid, None)),
            Output::Joined(joined),
        ]
    }

    /// A valid token in CONNECT comes before the one of the HTTP request; an invalid one counts as
    /// absent while that one is valid (DESIGN 3.1).
    fn authorize(&mut self, now: Timestamp, key: &TokenKey, token: Option<&str>) -> Result<(), AuthError> {
        match token.map(|token| key.verify(now, token)) {
            Some(Ok(identity)) if identity.user == self.identity.user => {
                self.identity = identity;
                Ok(())
            }
            Some(Ok(_)) => Err(AuthError::UserMismatch),
            Some(Err(_)) | None if now < self.ends_at() => Ok(()),
            Some(Err(error)) => Err(error),
            None => Err(AuthError::Expired),
        }
    }

    /// What is due at `now`.
    pub fn on_timer(&mut self, now: Timestamp, rules: &Rules<'_>) -> Vec<Output> {
        if !self.joined_before && now >= self.opened_at.after_ms(rules.connect_timeout_ms) {
            return close(CloseReason::ConnectTimeout);
        }
        if now >= self.ends_at() {
            return self.expire();
        }
        let interval_ms = rules.heartbeat.interval_ms;
        match self.heartbeat.unanswered_since {
            Some(sent) if now.since(sent) >= silence_limit_ms(interval_ms) => close(CloseReason::PingTimeout),
            Some(_) => Vec::new(),
            // A wake-up for another reason serves the ping too when that is due within half an
            // interval: alarms are what an idle user costs.
            None if self.heartbeat.ping_at.since(now) <= interval_ms / 2 => {
                self.heartbeat = Heartbeat {
                    ping_at: now.after_ms(interval_ms),
                    unanswered_since: Some(now),
                };
                vec![Output::Send(engine::Packet::Ping("".into()).encode().into_text())]
            }
            None => Vec::new(),
        }
    }

    /// When [`Session::on_timer`] has something to do next.
    #[must_use]
    pub fn wakes_at(&self, rules: &Rules<'_>) -> Timestamp {
        let due = self.heartbeat.ping_at.min(self.ends_at());
        if self.joined_before {
            due
        } else {
            due.min(self.opened_at.after_ms(rules.connect_timeout_ms))
        }
    }

    fn expire(&self) -> Vec<Output> {
        let event = ServerEvent::AuthError {
            message: "The token has expired",
            code: AuthError::Expired.code(),
        };
        let mut outputs = Vec::new();
        if let Ok(data) = event.encode() {
            outputs.extend(
                self.namespaces
                    .iter()
                    .map(|joined| Output::Send(data.frame(&joined.namespace.wire(), None))),
            );
        }
        outputs.push(Output::Close(CloseReason::TokenExpired));
        outputs
    }
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

/// How long a ping may stay unanswered before a wake-up closes the connection. Less than an
/// interval, because the next alarm may come a little early after a late one.
const fn silence_limit_ms(interval_ms: u64) -> u64 {
    interval_ms.saturating_sub(interval_ms / 4)
}

fn close(reason: CloseReason) -> Vec<Output> {
    vec![Output::Close(reason)]
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::Role;
    use crate::auth::tests::{NOW, key, sign};
    use crate::id::{RecipientId, UserId};

    static KEY: LazyLock<TokenKey> = LazyLock::new(key);
    const HEARTBEAT: HeartbeatConfig = HeartbeatConfig {
        interval_ms: 90_000,
        timeout_ms: 120_000,
    };
    const HOUR_MS: u64 = 3_600_000;

    pub(crate) fn rules() -> Rules<'static> {
        Rules {
            key: &KEY,
            heartbeat: HEARTBEAT,
            connect_timeout_ms: 45_000,
        }
    }

    fn session(now: Timestamp) -> Session {
        let identity = Identity {
            user: UserId::parse("u1").unwrap(),
            expires_at: now.after_ms(HOUR_MS),
            departments: Vec::new(),
            role: Role::User,
        };
        Session::open(
            "engine".to_owned(),
            identity,
            Acknowledging::Unknown,
            now,
            None,
            HEARTBEAT,
        )
    }

    pub(crate) fn joined_session(now: Timestamp) -> Session {
        let mut session = session(now);
        session.on_text(
            now,
            &rules(),
            &mut Decoder::default(),
            "40/notifications,",
            "public",
        );
        session
    }

    fn text(session: &mut Session, frame: &str) -> Vec<Output> {
        session.on_text(NOW, &rules(), &mut Decoder::default(), frame, "public")
    }

    fn closed(reason: CloseReason) -> Vec<Output> {
        vec![Output::Close(reason)]
    }

    #[test]
    fn connect_joins_a_namespace_and_answers_first() {
        for (frame, answer, namespace) in [
            ("40", r#"40{"sid":"public"}"#, Namespace::Root),
            (
                "40/notifications,",
                r#"40/notifications,{"sid":"public"}"#,
                Namespace::Notifications,
            ),
            (
                "40/notifications,{}",
                r#"40/notifications,{"sid":"public"}"#,
                Namespace::Notifications,
            ),
        ] {
            let mut session = session(NOW);
            let joined = Joined {
                namespace,
                sid: "public".to_owned(),
                connected_at: NOW,
            };
            assert_eq!(
                text(&mut session, frame),
                [Output::Send(answer.to_owned()), Output::Joined(joined.clone())]
            );
            assert_eq!(session.namespaces, [joined]);
        }
    }

    #[test]
    fn an_unknown_namespace_is_refused_and_the_connection_stays() {
        let mut session = session(NOW);
        assert_eq!(
            text(&mut session, "40/zz,"),
            [Output::Send(
                r#"44/zz,{"message":"Invalid namespace"}"#.to_owned()
            )]
        );
        assert_eq!(text(&mut session, "40").len(), 2);
    }

    #[test]
    fn packets_out_of_place_close_the_connection() {
        for frame in [
            "42[\"ping\"]",
            "42/notifications,[\"ping\"]",
            "41",
            "430[]",
            "44{}",
            "2",
            "2probe",
        ] {
            assert_eq!(
                text(&mut session(NOW), frame),
                closed(CloseReason::ForcedClose),
                "{frame}"
            );
        }
        let mut joined = joined_session(NOW);
        assert_eq!(
            text(&mut joined, "40/notifications,"),
            closed(CloseReason::ForcedClose)
        );
        let mut left = joined_session(NOW);
        assert_eq!(
            text(&mut left, "41/notifications,"),
            [Output::Left(Namespace::Notifications)]
        );
        assert_eq!(
            text(&mut left, "42/notifications,[\"ping\"]"),
            closed(CloseReason::ForcedClose)
        );
    }

    #[test]
    fn what_is_no_packet_closes_the_connection() {
        for frame in [
            "",
            "x",
            "7",
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
                closed(CloseReason::ParseError),
                "{frame}"
            );
        }
        let mut session = joined_session(NOW);
        let stray = session.on_binary(NOW, &rules(), &mut Decoder::default(), &[1], "public");
        assert_eq!(stray, closed(CloseReason::ParseError));
        let oversize = format!("42/notifications,[\"{}\"]", "x".repeat(MAX_PAYLOAD_BYTES));
        assert_eq!(
            text(&mut joined_session(NOW), &oversize),
            closed(CloseReason::TooLarge)
        );
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
            assert_eq!(text(&mut joined_session(NOW), frame), [], "{frame}");
        }
    }

    #[test]
    fn an_event_is_handed_on_with_its_ack_id() {
        let mut session = joined_session(NOW);
        assert_eq!(
            text(&mut session, "42/notifications,12[\"ping\"]"),
            [Output::Event {
                namespace: Namespace::Notifications,
                ack_id: Some(12),
                event: Ok(ClientEvent::Ping)
            }]
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
            let mut session = session(NOW);
            let outputs = session.on_text(
                now,
                &rules(),
                &mut Decoder::default(),
                &format!("40{auth}"),
                "public",
            );
            let Some(Output::Send(answer)) = outputs.first() else {
                unreachable!("CONNECT is always answered");
            };
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
        assert_eq!(session.on_text(NOW, &rules(), &mut decoder, head, "public"), []);
        assert_eq!(session.attachments_due, 1);
        let mut evicted = session.clone();
        let done = session.on_binary(NOW, &rules(), &mut decoder, &[1], "public");
        assert!(matches!(
            done.as_slice(),
            [Output::Event {
                event: Err(EventError::Unknown(_)),
                ..
            }]
        ));
        let lost = evicted.on_binary(NOW, &rules(), &mut Decoder::default(), &[1], "public");
        assert_eq!(lost, closed(CloseReason::ParseError));
    }

    #[test]
    fn the_clock_pings_and_closes() {
        let at = |ms| NOW.after_ms(ms);
        let ping = || vec![Output::Send("2".to_owned())];
        let mut session = joined_session(NOW);
        assert_eq!(session.wakes_at(&rules()), at(90_000));
        assert_eq!(session.on_timer(at(10_000), &rules()), []);
        assert_eq!(session.on_timer(at(90_000), &rules()), ping());
        assert_eq!(session.on_timer(at(90_100), &rules()), []);
        let mut silent = session.clone();
        text(&mut session, "3");
        assert_eq!(session.on_timer(at(180_000), &rules()), ping());
        assert_eq!(
            silent.on_timer(at(180_000), &rules()),
            closed(CloseReason::PingTimeout)
        );
    }

    #[test]
    fn a_wake_up_for_another_reason_serves_a_ping_that_is_near() {
        let mut session = joined_session(NOW);
        assert_eq!(session.on_timer(NOW.after_ms(44_000), &rules()), []);
        assert_eq!(
            session.on_timer(NOW.after_ms(45_000), &rules()),
            [Output::Send("2".to_owned())]
        );
        assert_eq!(session.wakes_at(&rules()), NOW.after_ms(135_000));
    }

    #[test]
    fn sockets_of_a_hub_are_pinged_by_one_alarm() {
        let first = joined_session(NOW);
        let later = NOW.after_ms(30_000);
        let second = Session::open(
            "b".to_owned(),
            first.identity.clone(),
            Acknowledging::Unknown,
            later,
            Some(first.heartbeat.ping_at),
            HEARTBEAT,
        );
        assert_eq!(second.heartbeat.ping_at, first.heartbeat.ping_at);
    }

    #[test]
    fn a_connection_that_joins_nothing_is_closed() {
        let mut session = session(NOW);
        assert_eq!(session.wakes_at(&rules()), NOW.after_ms(45_000));
        assert_eq!(session.on_timer(NOW.after_ms(44_999), &rules()), []);
        assert_eq!(
            session.on_timer(NOW.after_ms(45_000), &rules()),
            closed(CloseReason::ConnectTimeout)
        );
        let mut left = joined_session(NOW);
        text(&mut left, "41/notifications,");
        assert_ne!(
            left.on_timer(NOW.after_ms(45_000), &rules()),
            closed(CloseReason::ConnectTimeout)
        );
    }

    #[test]
    fn a_session_ends_25_seconds_after_its_token() {
        let mut session = joined_session(NOW);
        session.heartbeat.ping_at = NOW.after_ms(10 * HOUR_MS);
        let end = NOW.after_ms(HOUR_MS + 25_000);
        assert_eq!(session.wakes_at(&rules()), end);
        assert!(session.is_present(Timestamp::from_ms(end.as_ms() - 1)));
        assert!(!session.is_present(end));
        assert_eq!(
            session.on_timer(end, &rules()),
            [
                Output::Send(r#"42/notifications,["auth_error",{"message":"The token has expired","code":"EXPIRED_TOKEN"}]"#.to_owned()),
                Output::Close(CloseReason::TokenExpired),
            ]
        );
    }

    #[test]
    fn the_stored_session_format_is_unchanged() {
        let json = r#"{"v":1,"sid":"engine","opened_at":1800000000000,"identity":{"user":"u1","expires_at":1800003600000,"role":"user"},"namespaces":[{"ns":"/notifications","sid":"public","at":1800000000000}],"joined_before":true,"ack":"unknown","heartbeat":{"next":1800000090000}}"#;
        assert_eq!(serde_json::to_string(&joined_session(NOW)).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<Session>(json).unwrap(),
            joined_session(NOW)
        );
    }

    proptest! {
        #[test]
        fn any_frames_are_heard_without_a_panic_and_nothing_follows_a_close(
            frames in proptest::collection::vec("(?s).{0,40}|[0-6][0-6]?/?[a-z,]{0,16}[0-9]{0,3}[\\[\\]{}\":a-z,]{0,20}", 0..12),
        ) {
            let mut session = session(NOW);
            let mut decoder = Decoder::default();
            for frame in frames {
                let outputs = session.on_text(NOW, &rules(), &mut decoder, &frame, "public");
                let closes = outputs.iter().position(|output| matches!(output, Output::Close(_)));
                prop_assert!(closes.is_none_or(|at| at + 1 == outputs.len()));
                prop_assert!(session.namespaces.len() <= 2);
                if closes.is_some() {
                    break;
                }
            }
        }
    }
}
