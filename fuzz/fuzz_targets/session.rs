//! One connection from its opening to its end: nothing panics, nothing follows a close, and each namespace is joined
//! at most once, and an event of either spelling is heard as what it is.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use dormouse_domain::auth::{AuthError, Identity, Role};
use dormouse_domain::case::PayloadCase;
use dormouse_domain::command::{Command, Mark, Which};
use dormouse_domain::config::{ExpiryConfig, HeartbeatConfig, Timing};
use dormouse_domain::event::{Acknowledgement, ClientEvent, EventError, ServerEvent};
use dormouse_domain::id::{NotificationId, RecipientId, UserId};
use dormouse_domain::inbox::Head;
use dormouse_domain::namespace::Namespace;
use dormouse_domain::recovery::{CatchUp, MAX_REPLAYED, Offset, Pid};
use dormouse_domain::session::{Output, Rules, Session};
use dormouse_domain::signature::Signer;
use dormouse_domain::stranger::{Heard, Stranger};
use dormouse_domain::time::Timestamp;
use dormouse_domain::token_keys::TokenKeys;
use dormouse_domain::wishes::{Acknowledging, Binary, Keepalive, Recovery, Wishes};
use dormouse_fuzz::{MarkName, NameSpec, PacketSpec, Tree, frames, keys_of, members, parse_frame};
use dormouse_protocol::engine::{self, Frame};
use dormouse_protocol::socket::{AckData, Decoder, Json, Kind, Progress};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, Claims, Header};
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OPENED_AT_MS: u64 = 1_800_000_000_000;
const SESSION_ENDS_AT_S: u64 = 1_800_003_600;
const EXPIRY: ExpiryConfig = ExpiryConfig {
    warning_ms: 60_000,
    grace_ms: 25_000,
};

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| keys_of(SECRET));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(SECRET));

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut input = Unstructured::new(rest);
    match mode % 3 {
        0 => {
            let mut run = Run::open(&Opening::default());
            for frame in frames(rest) {
                run.frame(&frame);
            }
        }
        1 => {
            if let (Ok(opening), Ok(steps)) = (input.arbitrary(), input.arbitrary::<Vec<Step>>()) {
                let mut run = Run::open(&opening);
                for step in steps {
                    run.step(step);
                }
            }
        }
        _ => stranger(rest),
    }
});

/// How a connection begins.
#[derive(Arbitrary, Clone, Debug)]
struct Opening {
    acknowledging: bool,
    recovery: bool,
    client_keepalive: bool,
    base64: bool,
    camel: bool,
    seq: u64,
    interval_s: u8,
    timeout_s: u8,
    next_tick_ms: Option<u32>,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            acknowledging: false,
            recovery: true,
            client_keepalive: false,
            base64: false,
            camel: false,
            seq: 7,
            interval_s: 90,
            timeout_s: 120,
            next_tick_ms: None,
        }
    }
}

/// What happens to it.
#[derive(Arbitrary, Clone, Debug)]
enum Step {
    Text(String),
    Binary(Vec<u8>),
    Packet(PacketSpec),
    Connect {
        namespace: Known,
        auth: Auth,
    },
    Disconnect(Known),
    Event {
        namespace: Known,
        ack_id: Option<u64>,
        name: NameSpec,
        args: Vec<Tree>,
    },
    Acknowledge {
        namespace: Known,
        ids: Vec<(Spelling, [u8; 16])>,
        as_list: bool,
    },
    Mark {
        namespace: Known,
        mark: MarkName,
        of: Naming,
        spelling: Spelling,
        id: [u8; 16],
    },
    ReadAll {
        namespace: Known,
        up_to: Option<(Spelling, u64)>,
    },
    Seen {
        namespace: Known,
        spelling: Spelling,
        up_to: u64,
    },
    Pong,
    Wait {
        ms: u32,
    },
    Timer,
    /// The alarm at the moment the session asked for.
    Alarm,
    /// The object is evicted: what is stored is all that is left.
    Evict,
}

/// How a client writes a key.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Spelling {
    Snake,
    Camel,
}

/// By what a client names an item.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Naming {
    Notification,
    Recipient,
    /// By the record, and by a notification that then does not count.
    Both,
}

/// A namespace there is.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Known {
    Root,
    Notifications,
}

/// What a client says in CONNECT.
#[derive(Arbitrary, Clone, Debug)]
struct Auth {
    token: Option<Token>,
    pid: Option<PidText>,
    offset: Option<OffsetText>,
    since: Option<u64>,
    ack: bool,
    recovery_off: bool,
    camel: bool,
    other: Option<Tree>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Token {
    Own { ttl_s: i32, department: Option<String> },
    Other,
    Junk(String),
    NoText(Tree),
}

#[derive(Arbitrary, Clone, Debug)]
enum PidText {
    Last,
    OfOtherUser,
    Junk(String),
}

#[derive(Arbitrary, Clone, Debug)]
enum OffsetText {
    Known(u64),
    Junk(String),
}

struct Run {
    now: Timestamp,
    heartbeat: HeartbeatConfig,
    session: Session,
    decoder: Decoder,
    closed: bool,
    last_pid: Option<String>,
    joins: u32,
    /// The latest change of the inbox.
    seq: u64,
    /// What the latest frame was heard as.
    heard: Option<Result<ClientEvent, EventError>>,
}

impl Run {
    fn open(opening: &Opening) -> Self {
        let now = Timestamp::from_ms(OPENED_AT_MS);
        let heartbeat = HeartbeatConfig {
            interval_ms: 1_000 * (1 + u64::from(opening.interval_s)),
            timeout_ms: 1_000 * (1 + u64::from(opening.timeout_s)),
            timing: Timing::Ticked,
        };
        let wishes = Wishes {
            acknowledging: if opening.acknowledging {
                Acknowledging::Yes
            } else {
                Acknowledging::Unknown
            },
            recovery: if opening.recovery {
                Recovery::On
            } else {
                Recovery::Off
            },
            keepalive: if opening.client_keepalive {
                Keepalive::Client
            } else {
                Keepalive::Server
            },
            binary: if opening.base64 {
                Binary::Base64
            } else {
                Binary::Frames
            },
            case: if opening.camel {
                PayloadCase::Camel
            } else {
                PayloadCase::Snake
            },
        };
        let identity = Identity {
            user: user("u1"),
            issued_at: None,
            expires_at: Timestamp::from_ms(SESSION_ENDS_AT_S * 1_000),
            departments: Vec::new(),
            role: Role::User,
        };
        let next_tick = opening.next_tick_ms.map(|ms| now.after_ms(u64::from(ms)));
        Self {
            now,
            heartbeat,
            session: Session::open(
                "engine".to_owned(),
                identity,
                wishes,
                now,
                next_tick,
                heartbeat,
                EXPIRY,
            ),
            decoder: Decoder::default(),
            closed: false,
            last_pid: None,
            joins: 0,
            seq: opening.seq,
            heard: None,
        }
    }

    fn rules(&self) -> Rules<'static> {
        Rules {
            keys: &KEYS,
            expiry: EXPIRY,
            heartbeat: self.heartbeat,
            connect_timeout_ms: 45_000,
            keepalive_grace_ms: 120_000,
            signer: &SIGNER,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Text(text) => self.frame(&Frame::Text(text)),
            Step::Binary(data) => self.frame(&Frame::Binary(data)),
            Step::Packet(spec) => {
                if let Some(packet) = spec.packet() {
                    packet.into_frames().iter().for_each(|frame| self.frame(frame));
                }
            }
            Step::Connect { namespace, auth } => {
                let payload = auth.json(self.last_pid.as_deref());
                self.text(format!("40{}{payload}", namespace.prefix()));
            }
            Step::Disconnect(namespace) => self.text(format!("41{}", namespace.prefix())),
            Step::Event {
                namespace,
                ack_id,
                name,
                args,
            } => {
                let mut array = Json::string(name.name()).as_str().to_owned();
                for arg in &args {
                    array.push(',');
                    array.push_str(&arg.json());
                }
                let ack_id = ack_id.map(|id| id.to_string()).unwrap_or_default();
                self.text(format!("42{}{ack_id}[{array}]", namespace.prefix()));
            }
            Step::Acknowledge {
                namespace,
                ids,
                as_list,
            } => {
                let listed: Vec<_> = ids
                    .iter()
                    .map(|(spelling, id)| format!("{{{}}}", spelling.recipient(*id)))
                    .collect();
                let argument = if as_list {
                    format!("[{}]", listed.join(","))
                } else {
                    listed.first().cloned().unwrap_or_else(|| "null".to_owned())
                };
                let heard = if as_list { ids.len() } else { 1 };
                let ids: Vec<_> = ids.iter().take(heard).map(|(_, id)| recipient(*id)).collect();
                let expected = (!ids.is_empty()).then_some(ClientEvent::Acknowledge(ids));
                self.event(namespace, "notification:acknowledge", &argument, expected);
            }
            Step::Mark {
                namespace,
                mark,
                of,
                spelling,
                id,
            } => {
                let other = id.map(|byte| !byte);
                let (argument, which) = match of {
                    Naming::Notification => {
                        (spelling.notification(id), Which::Notification(notification(id)))
                    }
                    Naming::Recipient => (spelling.recipient(id), Which::Recipient(recipient(id))),
                    Naming::Both => (
                        format!("{},{}", spelling.notification(other), spelling.recipient(id)),
                        Which::Recipient(recipient(id)),
                    ),
                };
                let command = Command::Mark {
                    which,
                    mark: match mark {
                        MarkName::Read => Mark::Read,
                        MarkName::Unread => Mark::Unread,
                        MarkName::Archive => Mark::Archive,
                        MarkName::Unarchive => Mark::Unarchive,
                        MarkName::Delete => Mark::Delete,
                    },
                };
                let expected = Some(ClientEvent::Command(command));
                self.event(namespace, mark.event(), &format!("{{{argument}}}"), expected);
            }
            Step::ReadAll { namespace, up_to } => {
                let argument = up_to.map_or_else(
                    || "null".to_owned(),
                    |(spelling, up_to)| {
                        format!(r#"{{"{}":{up_to}}}"#, spelling.of("before_seq", "beforeSeq"))
                    },
                );
                let up_to = up_to.map(|(_, up_to)| up_to);
                let expected = Some(ClientEvent::Command(Command::ReadAll { up_to }));
                self.event(namespace, "mark:all:read", &argument, expected);
            }
            Step::Seen {
                namespace,
                spelling,
                up_to,
            } => {
                let argument = format!(r#"{{"{}":{up_to}}}"#, spelling.of("up_to_seq", "upToSeq"));
                let expected = Some(ClientEvent::Command(Command::Seen { up_to }));
                self.event(namespace, "mark:seen", &argument, expected);
            }
            Step::Pong => self.text("3".to_owned()),
            Step::Wait { ms } => self.now = self.now.after_ms(u64::from(ms)),
            Step::Timer => self.timer(),
            Step::Alarm => {
                self.now = self.now.max(self.session.wakes_at(&self.rules()));
                self.timer();
                // An alarm that leads to nothing and is due again would run for ever.
                assert!(self.closed || self.session.wakes_at(&self.rules()) > self.now);
            }
            Step::Evict => {
                let stored = serde_json::to_string(&self.session).expect("is JSON");
                let loaded: Session = serde_json::from_str(&stored).expect("what was stored is loaded");
                assert_eq!(loaded, self.session);
                self.session = loaded;
                self.decoder = Decoder::default();
            }
        }
    }

    /// Sends an event that is heard as `expected`, or refused when nothing is.
    fn event(&mut self, namespace: Known, name: &str, argument: &str, expected: Option<ClientEvent>) {
        self.heard = None;
        self.text(format!(r#"42{}["{name}",{argument}]"#, namespace.prefix()));
        if let Some(heard) = self.heard.take() {
            assert_eq!(heard.ok(), expected);
        }
    }

    fn text(&mut self, frame: String) {
        self.frame(&Frame::Text(frame));
    }

    fn frame(&mut self, frame: &Frame) {
        if self.closed {
            return;
        }
        let rules = self.rules();
        let (case, acknowledging) = (self.session.case, self.session.acknowledging);
        let outputs = match frame {
            Frame::Text(text) => self.session.on_text(self.now, &rules, &mut self.decoder, text),
            Frame::Binary(data) => self.session.on_binary(self.now, &rules, &mut self.decoder, data),
        };
        // What a client once wished for it keeps.
        assert!(case == PayloadCase::Snake || self.session.case == case);
        assert!(acknowledging == Acknowledging::Unknown || self.session.acknowledging == acknowledging);
        self.apply(outputs);
        assert!(self.closed || self.session.attachments_due == self.decoder.attachments_due());
    }

    fn timer(&mut self) {
        if self.closed {
            return;
        }
        let outputs = self.session.on_timer(self.now, &self.rules());
        self.apply(outputs);
    }

    fn is_joined(&self, namespace: Namespace) -> bool {
        self.session
            .namespaces
            .iter()
            .any(|joined| joined.namespace == namespace)
    }

    fn apply(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            assert!(!self.closed, "{output:?} follows a close");
            match output {
                Output::Send(frame) => {
                    check_sent(&frame);
                }
                Output::Connect { namespace, resume } => {
                    assert!(!self.is_joined(namespace));
                    let head = Head {
                        seq: self.seq,
                        ..Head::new(user("u1"))
                    };
                    let (kept, catch_up) = resume.decide(&head);
                    match catch_up {
                        CatchUp::Nothing => assert_eq!(kept, None),
                        CatchUp::Replay(from) => {
                            assert!(
                                head.seq
                                    .checked_sub(from.0)
                                    .is_some_and(|missed| missed <= MAX_REPLAYED)
                            );
                        }
                        CatchUp::Batch(from) => {
                            assert_eq!(kept, None);
                            assert!(from.0 <= head.seq);
                        }
                    }
                    self.joins += 1;
                    let sid = format!("s{}", self.joins);
                    let rules = self.rules();
                    let (answer, joined) =
                        self.session
                            .join(self.now, &rules, namespace, kept, &sid, Offset(head.seq));
                    let Some(Kind::Connect {
                        payload: Some(payload),
                    }) = check_sent(&answer)
                    else {
                        panic!("{answer} answers no CONNECT");
                    };
                    let payload: serde_json::Value = payload.parse().expect("is an object");
                    assert_eq!(payload["sid"], joined.sid.as_str());
                    let pid = payload["pid"].as_str();
                    assert_eq!(pid.is_some(), self.session.recovery_on(namespace) == Recovery::On);
                    if let Some(pid) = pid {
                        let read = Pid::parse(pid, &SIGNER, &self.session.identity.user, namespace);
                        assert_eq!(read.map(|pid| pid.sid), Some(joined.sid));
                        self.last_pid = Some(pid.to_owned());
                    }
                }
                Output::Emit(event) => {
                    for joined in &self.session.namespaces {
                        self.check_emitted(&event, joined.namespace);
                    }
                }
                Output::Left(namespace) => assert!(!self.is_joined(namespace)),
                Output::Event {
                    namespace,
                    ack_id,
                    event,
                } => {
                    assert!(self.is_joined(namespace));
                    if let Err(error) = &event {
                        assert!(error.to_string().len() < 1_024);
                        self.check_emitted(&ServerEvent::Error(error.clone()), namespace);
                        if let Some(ack_id) = ack_id {
                            let refused = Acknowledgement::Refused(error.clone());
                            let refused = refused.encode(self.session.case).expect("is JSON");
                            let frame = AckData::new().json_arg(&refused).frame(&namespace.wire(), ack_id);
                            assert!(matches!(check_sent(&frame), Some(Kind::Ack { .. })));
                        }
                    }
                    self.heard = Some(event);
                }
                Output::Close(_) => self.closed = true,
            }
        }
        let namespaces = &self.session.namespaces;
        assert!(namespaces.len() <= 3);
        for (at, joined) in namespaces.iter().enumerate() {
            assert!(
                !namespaces[..at]
                    .iter()
                    .any(|other| other.namespace == joined.namespace)
            );
        }
        assert!(namespaces.is_empty() || self.session.joined_before);
        assert_eq!(self.session.identity.user, user("u1"));
    }
}

impl Run {
    /// What is sent in camelCase has no key of the other.
    fn check_emitted(&self, event: &ServerEvent, namespace: Namespace) {
        let data = event.encode(self.session.case).expect("is JSON");
        check_sent(&data.frame(&namespace.wire(), None));
        let payload = data.arg_at(0).expect("has a payload");
        let members = members(payload.as_str()).expect("is an object");
        let is_camel = self.session.case == PayloadCase::Camel;
        assert!(members.iter().all(|(name, _)| !(is_camel && name.contains('_'))));
    }
}

impl Spelling {
    const fn of(self, snake: &'static str, camel: &'static str) -> &'static str {
        match self {
            Self::Snake => snake,
            Self::Camel => camel,
        }
    }

    fn notification(self, id: [u8; 16]) -> String {
        format!(
            r#""{}":"{}""#,
            self.of("notification_id", "notificationId"),
            uuid(id)
        )
    }

    fn recipient(self, id: [u8; 16]) -> String {
        format!(r#""{}":"{}""#, self.of("recipient_id", "recipientId"), uuid(id))
    }
}

impl Known {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Notifications => "/notifications,",
        }
    }
}

impl Auth {
    fn json(&self, last_pid: Option<&str>) -> String {
        let mut members = Vec::new();
        let mut member = |name: &str, value: String| members.push(format!("\"{name}\":{value}"));
        let text = |text: &str| Json::string(text).as_str().to_owned();
        match &self.token {
            Some(Token::Own { ttl_s, department }) => {
                let exp = i64::from(*ttl_s).saturating_add_unsigned(SESSION_ENDS_AT_S);
                member("token", text(&sign("u1", exp, department.as_deref())));
            }
            Some(Token::Other) => member("token", text(&sign("u2", i64::from(u32::MAX), None))),
            Some(Token::Junk(junk)) => member("token", text(junk)),
            Some(Token::NoText(tree)) => member("token", tree.json()),
            None => {}
        }
        match &self.pid {
            Some(PidText::Last) => member("pid", text(last_pid.unwrap_or_default())),
            Some(PidText::OfOtherUser) => {
                let pid = Pid {
                    sid: "s".to_owned(),
                    began_at: Offset(1),
                };
                member("pid", text(&pid.encode(&SIGNER, &user("u2"), Namespace::Root)));
            }
            Some(PidText::Junk(junk)) => member("pid", text(junk)),
            None => {}
        }
        match &self.offset {
            Some(OffsetText::Known(seq)) => member("offset", text(&Offset(*seq).encode())),
            Some(OffsetText::Junk(junk)) => member("offset", text(junk)),
            None => {}
        }
        if let Some(since) = self.since {
            member("since", since.to_string());
        }
        if self.ack {
            member("ack", text("on"));
        }
        if self.recovery_off {
            member("recovery", text("off"));
        }
        if self.camel {
            member("case", text("camel"));
        }
        if let Some(other) = &self.other {
            member("other", other.json());
        }
        format!("{{{}}}", members.join(","))
    }
}

/// A frame of ours is one that a client reads; the packet in it.
fn check_sent(frame: &str) -> Option<Kind<'_>> {
    match engine::Packet::parse_text(frame).expect("a sent frame parses") {
        engine::Packet::Message(_) => {
            let Ok(Progress::Packet(packet)) = Decoder::default().text(&frame[1..]) else {
                panic!("{frame} is no whole packet");
            };
            Some(packet.kind)
        }
        packet => {
            assert_eq!(packet, engine::Packet::Ping("".into()));
            None
        }
    }
}

/// A connection that has not said who it is.
fn stranger(data: &[u8]) {
    let mut stranger = Stranger::new(AuthError::Expired);
    let now = Timestamp::from_ms(OPENED_AT_MS);
    for (heard_before, frame) in frames(data).iter().enumerate() {
        let heard = match frame {
            Frame::Text(text) => stranger.on_text(now, &KEYS, text),
            Frame::Binary(_) => match parse_frame(frame) {
                Ok(packet) => stranger.on_packet(now, &KEYS, &packet),
                Err(_) => return,
            },
        };
        match heard {
            Heard::Nothing => {}
            Heard::Answer(frame) => {
                assert!(matches!(check_sent(&frame), Some(Kind::ConnectError { .. })));
            }
            Heard::Identified(_) => panic!("nobody signs a token by chance"),
            Heard::Close(_) => return,
        }
        assert!(heard_before < 16);
    }
}

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("is an id")
}

fn sign(user: &str, exp: i64, department: Option<&str>) -> String {
    let departments: Vec<_> = department.into_iter().collect();
    let claims = Claims::new(serde_json::json!({"sub": user, "exp": exp, "departments": departments}));
    Hs256
        .token(&Header::empty(), &claims, &Hs256Key::new(SECRET))
        .expect("claims are JSON")
}

fn notification(id: [u8; 16]) -> NotificationId {
    NotificationId::parse(&uuid(id)).expect("is an id")
}

fn recipient(id: [u8; 16]) -> RecipientId {
    RecipientId::parse(&uuid(id)).expect("is an id")
}

fn uuid(bytes: [u8; 16]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}
