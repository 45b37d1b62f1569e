//! Every Socket.IO event, by name and payload (DESIGN 5). The names stand here and nowhere else.

use std::rc::Rc;

use dormouse_protocol::socket::{EncodeError, EventData, EventName, Json, RESERVED_EVENTS};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::auth::AuthError;
use crate::case::{PayloadCase, camel};
use crate::change::{Change, Payload};
use crate::command::{Command, Mark, Which};
use crate::id::{NotificationId, RecipientId, UserId};
use crate::inbox::{Counts, HasMore, Redelivered};
use crate::item::{Item, ListedItem};
use crate::namespace::Namespace;
use crate::notification::NotificationView;
use crate::presence::{PresenceList, UserPresence};
use crate::time::{Timestamp, iso};

/// Most recipient ids in one `notification:acknowledge`.
pub const MAX_ACKNOWLEDGED: usize = 1_000;

/// Most users in one `presence:query` (DESIGN 5).
pub const MAX_QUERIED: usize = 100;

/// Largest `notification:batch`, in bytes of its items' JSON (DESIGN 5).
pub const MAX_BATCH_BYTES: usize = 256 * 1_000;

/// Who came and went, for the admins.
pub const ADMIN_PRESENCE: &str = "admin:presence";

/// How much was pushed, for the admins.
pub const ADMIN_PUSH: &str = "admin:push";

/// What could not be delivered, for the admins.
pub const ADMIN_DELIVERY_FAILED: &str = "admin:delivery_failed";

/// What the server tells a client.
#[derive(Clone, Debug)]
pub enum ServerEvent {
    /// `authenticated`: the first event after CONNECT.
    Authenticated {
        /// Who the server takes the client for.
        user: UserId,
        /// When the session began.
        connected_at: Timestamp,
        /// The inbox at that moment.
        counts: Counts,
    },
    /// `notification:new`.
    NotificationNew {
        /// The new item.
        item: Rc<Item>,
        /// Unread items, this one included.
        unread: u64,
        /// Whether it was sent before.
        redelivered: Redelivered,
    },
    /// `notification:batch`: what a client missed, or what came at once, newest first.
    NotificationBatch {
        /// At most 100 and [`MAX_BATCH_BYTES`].
        items: Vec<Rc<Item>>,
        /// The inbox now.
        counts: Counts,
        /// Whether it missed more than these.
        has_more: HasMore,
    },
    /// `notification:read`, `:unread`, `:archived`, `:unarchived`, `:deleted`, `notifications:read_all`,
    /// `notifications:seen`.
    Changed(Change),
    /// `unread:count`.
    UnreadCount(Counts),
    /// `presence:update`: these users came or went.
    PresenceUpdate {
        /// Each at most once.
        users: Vec<UserPresence>,
    },
    /// An event of a service's own.
    Custom {
        /// Not one that [`is_reserved`].
        name: String,
        /// A JSON object.
        data: Box<RawValue>,
    },
    /// `pong`, the answer to the event `ping`.
    Pong,
    /// `auth:expiring`: the client's token ends soon.
    AuthExpiring {
        /// When.
        expires_at: Timestamp,
    },
    /// `auth_error`: the session ends.
    AuthError {
        /// What happened.
        message: &'static str,
        /// As in [`crate::auth::AuthError::code`].
        code: &'static str,
    },
    /// `error`: an event was refused; the socket stays.
    Error(EventError),
}

impl ServerEvent {
    /// The event's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Authenticated { .. } => "authenticated",
            Self::NotificationNew { .. } => "notification:new",
            Self::NotificationBatch { .. } => "notification:batch",
            Self::Changed(Change::Read(_)) => "notification:read",
            Self::Changed(Change::Unread(_)) => "notification:unread",
            Self::Changed(Change::Archived(_)) => "notification:archived",
            Self::Changed(Change::Unarchived(_)) => "notification:unarchived",
            Self::Changed(Change::Deleted(_)) => "notification:deleted",
            Self::Changed(Change::ReadAll(_)) => "notifications:read_all",
            Self::Changed(Change::Seen(_)) => "notifications:seen",
            Self::UnreadCount(_) => "unread:count",
            Self::PresenceUpdate { .. } => "presence:update",
            Self::Custom { name, .. } => name,
            Self::Pong => "pong",
            Self::AuthExpiring { .. } => "auth:expiring",
            Self::AuthError { .. } => "auth_error",
            Self::Error(_) => "error",
        }
    }

    /// Whether those who joined `namespace` get the event.
    #[must_use]
    pub const fn goes_to(&self, namespace: Namespace) -> bool {
        match self {
            Self::Authenticated { .. }
            | Self::Pong
            | Self::AuthExpiring { .. }
            | Self::AuthError { .. }
            | Self::Error(_) => true,
            Self::NotificationNew { .. }
            | Self::NotificationBatch { .. }
            | Self::Changed(_)
            | Self::UnreadCount(_)
            | Self::Custom { .. } => namespace.carries_inbox(),
            Self::PresenceUpdate { .. } => matches!(namespace, Namespace::Chat),
        }
    }

    /// The event with its payload, an object for every event, encoded once for all who get it.
    ///
    /// # Errors
    /// When it can't be serialised, which no value of these types brings about.
    pub fn encode(&self, case: PayloadCase) -> Result<EventData<'static>, EncodeError> {
        let case = match self {
            // Nothing in it is of our making.
            Self::Custom { .. } => PayloadCase::Snake,
            Self::Authenticated { .. }
            | Self::NotificationNew { .. }
            | Self::NotificationBatch { .. }
            | Self::Changed(_)
            | Self::UnreadCount(_)
            | Self::PresenceUpdate { .. }
            | Self::Pong
            | Self::AuthExpiring { .. }
            | Self::AuthError { .. }
            | Self::Error(_) => case,
        };
        let payload = in_case(self.payload()?, case)?;
        Ok(EventData::new(self.name())?.json_arg(&payload))
    }

    fn payload(&self) -> Result<Json<'static>, EncodeError> {
        match self {
            Self::Authenticated {
                user,
                connected_at,
                counts,
            } => Json::encode(&Authenticated {
                user_id: user,
                connected_at: *connected_at,
                unread: counts.unread,
                seq: counts.seq,
            }),
            Self::NotificationNew {
                item,
                unread,
                redelivered,
            } => Json::encode(&NotificationNew {
                view: item.view(),
                unread: *unread,
                attempt: item.delivery.attempts(),
                redelivered: *redelivered == Redelivered::Yes,
            }),
            Self::NotificationBatch {
                items,
                counts,
                has_more,
            } => Json::encode(&NotificationBatch {
                notifications: items.iter().map(|item| item.listed()).collect(),
                unread_count: counts.unread,
                seq: counts.seq,
                has_more: *has_more == HasMore::Yes,
            }),
            Self::Changed(change) => Json::encode(&change.payload()),
            Self::UnreadCount(counts) => Json::encode(&UnreadCount {
                count: counts.unread,
                unseen: counts.unseen,
                seq: counts.seq,
            }),
            Self::PresenceUpdate { users } => Json::encode(&PresenceUpdate { users }),
            Self::Custom { data, .. } => Json::encode(data),
            Self::Pong => Json::encode(&Empty {}),
            Self::AuthExpiring { expires_at } => Json::encode(&AuthExpiring {
                expires_at: *expires_at,
            }),
            Self::AuthError { message, code } => Json::encode(&Refusal {
                code,
                message,
                details: None,
            }),
            Self::Error(error) => Json::encode(&Refusal::of(error, &error.to_string())),
        }
    }
}

/// A payload with its keys as the client wants them.
fn in_case(payload: Json<'static>, case: PayloadCase) -> Result<Json<'static>, EncodeError> {
    match case {
        PayloadCase::Snake => Ok(payload),
        PayloadCase::Camel => Json::new(camel(payload.as_str())),
    }
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Authenticated<'a> {
    user_id: &'a UserId,
    #[serde(with = "iso")]
    connected_at: Timestamp,
    unread: u64,
    seq: u64,
}

#[derive(Serialize)]
struct NotificationNew<'a> {
    #[serde(flatten)]
    view: NotificationView<'a>,
    unread: u64,
    attempt: u32,
    redelivered: bool,
}

#[derive(Serialize)]
struct NotificationBatch<'a> {
    notifications: Vec<ListedItem<'a>>,
    unread_count: u64,
    seq: u64,
    has_more: bool,
}

#[derive(Serialize)]
struct UnreadCount {
    count: u64,
    unseen: u64,
    seq: u64,
}

#[derive(Serialize)]
struct PresenceUpdate<'a> {
    users: &'a [UserPresence],
}

#[derive(Serialize)]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

impl<'a> Refusal<'a> {
    /// Of an error, with its text.
    const fn of(error: &EventError, message: &'a str) -> Self {
        let details = match error {
            EventError::RateLimited { retry_after_s } => Some(Details {
                retry_after: *retry_after_s,
            }),
            EventError::Unknown(_)
            | EventError::Payload { .. }
            | EventError::Forbidden
            | EventError::NotFound
            | EventError::Token(_)
            | EventError::Server => None,
        };
        Self {
            code: error.code(),
            message,
            details,
        }
    }
}

#[derive(Serialize)]
struct Details {
    /// Seconds.
    retry_after: u64,
}

#[derive(Serialize)]
struct AuthExpiring {
    #[serde(with = "iso")]
    expires_at: Timestamp,
}

/// What a client asks of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// `notification:acknowledge`: these have arrived.
    Acknowledge(Vec<RecipientId>),
    /// `mark:read`, `mark:unread`, `notification:archive`, `notification:unarchive`, `notification:delete`,
    /// `mark:all:read`, `mark:seen`.
    Command(Command),
    /// `join`: be in the room of this user.
    Join(UserId),
    /// `presence:query`: who of these is online.
    PresenceQuery(Vec<UserId>),
    /// `auth:refresh`: another token for the session.
    Refresh(String),
    /// `ping`: asks for `pong`.
    Ping,
}

/// Whether a service may not give an event of its own this name: it is, or may become, one of ours or of
/// the library.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
        || RESERVED_NAMES.contains(&name)
        || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const RESERVED_NAMES: [&str; 6] = ["authenticated", "auth_error", "error", "join", "ping", "pong"];

const RESERVED_PREFIXES: [&str; 7] = [
    "notification:",
    "notifications:",
    "unread:",
    "mark:",
    "presence:",
    "auth:",
    "admin:",
];

/// Why an event was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// No event has this name (shortened).
    #[error("there is no event {0:?}")]
    Unknown(String),
    /// The payload is not what the event takes.
    #[error("{event} takes {expected}")]
    Payload {
        /// The event.
        event: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// `join` for another user's room.
    #[error("nobody joins another user's room")]
    Forbidden,
    /// None of the named records is in the inbox.
    #[error("no such notification")]
    NotFound,
    /// The token of `auth:refresh` is no good.
    #[error("{0}")]
    Token(AuthError),
    /// Too many packets in a minute: this one was dropped.
    #[error("at most 1000 events a minute are taken")]
    RateLimited {
        /// Seconds after which the next one is taken.
        retry_after_s: u64,
    },
    /// The server could not carry it out; trying again may help.
    #[error("the event could not be carried out")]
    Server,
}

impl EventError {
    /// The name of the event, when it is one of ours and known: what a client makes up is not to be written
    /// down.
    #[must_use]
    pub const fn event(&self) -> &'static str {
        match self {
            Self::Payload { event, .. } => event,
            Self::Unknown(_)
            | Self::Forbidden
            | Self::NotFound
            | Self::Token(_)
            | Self::RateLimited { .. }
            | Self::Server => "unknown",
        }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "UNKNOWN_EVENT",
            Self::Payload { .. } => "INVALID_PAYLOAD",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Token(error) => error.code(),
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Server => "SERVER_ERROR",
        }
    }
}

impl ClientEvent {
    /// The event's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Acknowledge(_) => "notification:acknowledge",
            Self::Command(Command::Mark { mark, .. }) => marking(*mark),
            Self::Command(Command::ReadAll { .. }) => "mark:all:read",
            Self::Command(Command::Seen { .. }) => "mark:seen",
            Self::Join(_) => "join",
            Self::PresenceQuery(_) => "presence:query",
            Self::Refresh(_) => "auth:refresh",
            Self::Ping => "ping",
        }
    }

    /// Reads an event that was sent on `namespace`.
    ///
    /// # Errors
    /// [`EventError::Unknown`], [`EventError::Payload`].
    pub fn parse(namespace: Namespace, data: &EventData<'_>) -> Result<Self, EventError> {
        let argument = data.arg_at(0);
        let first = argument.as_ref().map(Json::as_str);
        let name = match data.name() {
            EventName::Text(name) => name,
            EventName::Number(number) => return Err(EventError::Unknown(number.to_string())),
        };
        if !namespace.carries_inbox() && !EVERYWHERE.contains(&name.as_ref()) {
            return Err(unknown(&name));
        }
        if let Some((event, mark)) = MARKS.into_iter().find(|(event, _)| *event == name) {
            let expected = "{notification_id}, {notificationId} or {recipient_id}";
            return match first.and_then(which) {
                Some(which) => Ok(Self::Command(Command::Mark { which, mark })),
                None => Err(EventError::Payload { event, expected }),
            };
        }
        match name.as_ref() {
            "notification:acknowledge" => acknowledge(first).ok_or(EventError::Payload {
                event: "notification:acknowledge",
                expected: "{recipient_id} or an array of up to 1000 of them",
            }),
            "mark:all:read" => read_all(first).ok_or(EventError::Payload {
                event: "mark:all:read",
                expected: "nothing or {before_seq}, a whole number",
            }),
            "mark:seen" => first.and_then(seen).ok_or(EventError::Payload {
                event: "mark:seen",
                expected: "{up_to_seq}, a whole number",
            }),
            "join" => first
                .and_then(|json| serde_json::from_str(json).ok())
                .map(Self::Join)
                .ok_or(EventError::Payload {
                    event: "join",
                    expected: "a user id",
                }),
            "presence:query" => first.and_then(presence_query).ok_or(EventError::Payload {
                event: "presence:query",
                expected: "{users}, 1 to 100 user ids",
            }),
            "auth:refresh" => first.and_then(refresh).ok_or(EventError::Payload {
                event: "auth:refresh",
                expected: "{token}",
            }),
            "ping" => Ok(Self::Ping),
            name => Err(unknown(name)),
        }
    }
}

/// What is taken on namespaces that do not carry the inbox as well.
const EVERYWHERE: [&str; 3] = ["presence:query", "auth:refresh", "ping"];

fn unknown(name: &str) -> EventError {
    EventError::Unknown(name.chars().take(64).collect())
}

const MARKS: [(&str, Mark); 5] = [
    (marking(Mark::Read), Mark::Read),
    (marking(Mark::Unread), Mark::Unread),
    (marking(Mark::Archive), Mark::Archive),
    (marking(Mark::Unarchive), Mark::Unarchive),
    (marking(Mark::Delete), Mark::Delete),
];

const fn marking(mark: Mark) -> &'static str {
    match mark {
        Mark::Read => "mark:read",
        Mark::Unread => "mark:unread",
        Mark::Archive => "notification:archive",
        Mark::Unarchive => "notification:unarchive",
        Mark::Delete => "notification:delete",
    }
}

/// An object's members as `T`; serde alone would read a struct from a list as well.
fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    if json.starts_with('{') {
        serde_json::from_str(json).ok()
    } else {
        None
    }
}

fn refresh(json: &str) -> Option<ClientEvent> {
    #[derive(Deserialize)]
    struct Body {
        token: String,
    }
    Some(ClientEvent::Refresh(object::<Body>(json)?.token))
}

fn which(json: &str) -> Option<Which> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(alias = "notificationId")]
        notification_id: Option<NotificationId>,
        #[serde(alias = "recipientId")]
        recipient_id: Option<RecipientId>,
    }
    let named: Named = object(json)?;
    match (named.notification_id, named.recipient_id) {
        (_, Some(id)) => Some(Which::Recipient(id)),
        (Some(id), None) => Some(Which::Notification(id)),
        (None, None) => None,
    }
}

fn read_all(json: Option<&str>) -> Option<ClientEvent> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "beforeSeq")]
        before_seq: Option<u64>,
    }
    let up_to = match json {
        None | Some("null") => None,
        Some(json) => object::<Body>(json)?.before_seq,
    };
    Some(ClientEvent::Command(Command::ReadAll { up_to }))
}

fn seen(json: &str) -> Option<ClientEvent> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "upToSeq")]
        up_to_seq: u64,
    }
    let up_to = object::<Body>(json)?.up_to_seq;
    Some(ClientEvent::Command(Command::Seen { up_to }))
}

fn presence_query(json: &str) -> Option<ClientEvent> {
    #[derive(Deserialize)]
    struct Body {
        users: Vec<UserId>,
    }
    let users = object::<Body>(json)?.users;
    (1..=MAX_QUERIED)
        .contains(&users.len())
        .then_some(ClientEvent::PresenceQuery(users))
}

#[derive(Deserialize)]
struct RecipientRef {
    #[serde(alias = "recipientId")]
    recipient_id: RecipientId,
}

fn acknowledge(json: Option<&str>) -> Option<ClientEvent> {
    let json = json?;
    let ids = if json.starts_with('[') {
        let listed: Vec<&RawValue> = serde_json::from_str(json).ok()?;
        listed
            .into_iter()
            .map(|raw| recipient_ref(raw.get()))
            .collect::<Option<Vec<_>>>()?
    } else {
        vec![recipient_ref(json)?]
    };
    (1..=MAX_ACKNOWLEDGED)
        .contains(&ids.len())
        .then_some(ClientEvent::Acknowledge(ids))
}

fn recipient_ref(json: &str) -> Option<RecipientId> {
    object::<RecipientRef>(json).map(|named| named.recipient_id)
}

/// The answer to an event that asked for an ack: `{ok:true,...}` or `{ok:false,error:{code,message}}`.
#[derive(Clone, Debug)]
pub enum Acknowledgement {
    /// Done.
    Done,
    /// The session's token ends then.
    Refreshed(Timestamp),
    /// So many of the named records are in the inbox.
    Acknowledged(usize),
    /// The inbox is now like this.
    Changed(Change),
    /// This is who is online of those asked for.
    Presence(Vec<UserPresence>),
    /// Refused.
    Refused(EventError),
}

#[derive(Serialize)]
#[serde(untagged)]
enum AcknowledgementBody<'a> {
    Done {
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        acknowledged: Option<usize>,
    },
    Changed {
        ok: bool,
        #[serde(flatten)]
        change: Payload<'a>,
    },
    Presence {
        ok: bool,
        #[serde(flatten)]
        list: PresenceList<'a>,
    },
    Refreshed {
        ok: bool,
        #[serde(with = "iso")]
        expires_at: Timestamp,
    },
    Refused {
        ok: bool,
        error: Refusal<'a>,
    },
}

impl Acknowledgement {
    /// The only argument of the ack.
    ///
    /// # Errors
    /// When it can't be serialised, which no value of these types brings about.
    pub fn encode(&self, case: PayloadCase) -> Result<Json<'static>, EncodeError> {
        let body = match self {
            Self::Done => Json::encode(&AcknowledgementBody::Done {
                ok: true,
                acknowledged: None,
            }),
            Self::Acknowledged(count) => Json::encode(&AcknowledgementBody::Done {
                ok: true,
                acknowledged: Some(*count),
            }),
            Self::Changed(change) => Json::encode(&AcknowledgementBody::Changed {
                ok: true,
                change: change.payload(),
            }),
            Self::Presence(users) => Json::encode(&AcknowledgementBody::Presence {
                ok: true,
                list: PresenceList::of(users),
            }),
            Self::Refreshed(expires_at) => Json::encode(&AcknowledgementBody::Refreshed {
                ok: true,
                expires_at: *expires_at,
            }),
            Self::Refused(error) => Json::encode(&AcknowledgementBody::Refused {
                ok: false,
                error: Refusal::of(error, &error.to_string()),
            }),
        }?;
        in_case(body, case)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;

    use super::*;

    const ID: &str = "e14f8a89-af8c-5ce1-afff-8fcab68bb02b";

    fn parse_on(namespace: Namespace, name: &str, arguments: &str) -> Result<ClientEvent, EventError> {
        let arguments: Vec<Box<RawValue>> = serde_json::from_str(arguments).unwrap();
        let arguments = arguments.iter().map(|json| Json::new(json.get()).unwrap());
        ClientEvent::parse(namespace, &EventData::new(name).unwrap().json_args(arguments))
    }

    fn parse(name: &str, arguments: &str) -> Result<ClientEvent, EventError> {
        parse_on(Namespace::Notifications, name, arguments)
    }

    #[test]
    fn each_event_takes_its_payload_and_nothing_else() {
        let id = RecipientId::parse(ID).unwrap();
        let one = format!(r#"[{{"recipient_id":"{ID}"}}]"#);
        let two = format!(r#"[[{{"recipient_id":"{ID}"}},{{"recipient_id":"{ID}","more":1}}]]"#);
        assert_eq!(
            parse("notification:acknowledge", &one),
            Ok(ClientEvent::Acknowledge(vec![id]))
        );
        assert_eq!(
            parse("notification:acknowledge", &two),
            Ok(ClientEvent::Acknowledge(vec![id, id]))
        );
        assert_eq!(parse("ping", "[]"), Ok(ClientEvent::Ping));
        assert_eq!(
            parse("join", r#"["u1"]"#),
            Ok(ClientEvent::Join(UserId::parse("u1").unwrap()))
        );
        for (name, arguments, code) in [
            ("notification:acknowledge", "[]", "INVALID_PAYLOAD"),
            ("notification:acknowledge", "[[]]", "INVALID_PAYLOAD"),
            ("notification:acknowledge", "[7]", "INVALID_PAYLOAD"),
            (
                "notification:acknowledge",
                r#"[[["470314a0-6846-569f-81e6-a8e84f826fc0"]]]"#,
                "INVALID_PAYLOAD",
            ),
            (
                "notification:acknowledge",
                r#"[{"recipient_id":"x"}]"#,
                "INVALID_PAYLOAD",
            ),
            ("join", "[{}]", "INVALID_PAYLOAD"),
            ("join", r#"["a\u0000"]"#, "INVALID_PAYLOAD"),
            ("notification:new", "[{}]", "UNKNOWN_EVENT"),
            ("", "[]", "UNKNOWN_EVENT"),
        ] {
            assert_eq!(
                parse(name, arguments).unwrap_err().code(),
                code,
                "{name} {arguments}"
            );
        }
    }

    #[test]
    fn a_mark_names_its_item_in_any_of_the_spellings() {
        let recipient = Which::Recipient(RecipientId::parse(ID).unwrap());
        let notification = Which::Notification(NotificationId::parse(ID).unwrap());
        for (event, mark) in [
            ("mark:read", Mark::Read),
            ("mark:unread", Mark::Unread),
            ("notification:archive", Mark::Archive),
            ("notification:unarchive", Mark::Unarchive),
            ("notification:delete", Mark::Delete),
        ] {
            for (members, which) in [
                (format!(r#""notificationId":"{ID}""#), notification),
                (format!(r#""notification_id":"{ID}""#), notification),
                (format!(r#""recipientId":"{ID}""#), recipient),
                (format!(r#""recipient_id":"{ID}""#), recipient),
                (
                    format!(r#""notification_id":null,"recipient_id":"{ID}""#),
                    recipient,
                ),
                (
                    format!(r#""recipient_id":null,"notificationId":"{ID}","more":[1]"#),
                    notification,
                ),
                (
                    format!(
                        r#""notification_id":"01929c3e-0000-7000-8000-000000000001","recipient_id":"{ID}""#
                    ),
                    recipient,
                ),
            ] {
                assert_eq!(
                    parse(event, &format!("[{{{members}}}]")),
                    Ok(ClientEvent::Command(Command::Mark { which, mark })),
                    "{event} {members}"
                );
            }
            for bad in [
                "[]".to_owned(),
                "[null]".to_owned(),
                "[{}]".to_owned(),
                format!(r#"["{ID}"]"#),
                format!(r#"[["{ID}"]]"#),
                format!(r#"[["{ID}",null]]"#),
                format!(r#"[{{"id":"{ID}"}}]"#),
                r#"[{"notification_id":null}]"#.to_owned(),
                r#"[{"notification_id":7}]"#.to_owned(),
                r#"[{"notification_id":"x"}]"#.to_owned(),
                format!(r#"[{{"recipient_id":"{ID}","notification_id":"x"}}]"#),
                format!(r#"[{{"notification_id":"{ID}","notificationId":"{ID}"}}]"#),
                format!(r#"[7,{{"notification_id":"{ID}"}}]"#),
            ] {
                let refused = parse(event, &bad).unwrap_err();
                assert_eq!(refused.code(), "INVALID_PAYLOAD", "{event} {bad}");
                assert_eq!(
                    refused.to_string(),
                    format!("{event} takes {{notification_id}}, {{notificationId}} or {{recipient_id}}")
                );
            }
        }
    }

    #[test]
    fn all_is_read_or_seen_up_to_a_number() {
        let all = |up_to| Some(Command::ReadAll { up_to });
        for (event, arguments, command) in [
            ("mark:all:read", "[]", all(None)),
            ("mark:all:read", "[null]", all(None)),
            ("mark:all:read", "[{}]", all(None)),
            ("mark:all:read", r#"[{"before_seq":null}]"#, all(None)),
            ("mark:all:read", r#"[{"before_seq":7}]"#, all(Some(7))),
            ("mark:all:read", r#"[{"beforeSeq":7}]"#, all(Some(7))),
            (
                "mark:all:read",
                r#"[{"before_seq":18446744073709551615}]"#,
                all(Some(u64::MAX)),
            ),
            ("mark:all:read", "[7]", None),
            ("mark:all:read", "[[7]]", None),
            ("mark:all:read", r#"[{"before_seq":-1}]"#, None),
            ("mark:all:read", r#"[{"before_seq":1.5}]"#, None),
            ("mark:all:read", r#"[{"before_seq":"7"}]"#, None),
            ("mark:all:read", r#"[{"before_seq":1,"beforeSeq":1}]"#, None),
            (
                "mark:seen",
                r#"[{"up_to_seq":7}]"#,
                Some(Command::Seen { up_to: 7 }),
            ),
            (
                "mark:seen",
                r#"[{"upToSeq":0}]"#,
                Some(Command::Seen { up_to: 0 }),
            ),
            ("mark:seen", "[]", None),
            ("mark:seen", "[null]", None),
            ("mark:seen", "[{}]", None),
            ("mark:seen", "[7]", None),
            ("mark:seen", "[[7]]", None),
            ("mark:seen", r#"[{"up_to_seq":null}]"#, None),
            ("mark:seen", r#"[{"up_to_seq":-1}]"#, None),
            ("mark:seen", r#"[{"up_to_seq":18446744073709551616}]"#, None),
        ] {
            match (parse(event, arguments), command) {
                (Ok(parsed), Some(command)) => {
                    assert_eq!(parsed, ClientEvent::Command(command), "{event} {arguments}");
                }
                (parsed, expected) => {
                    assert_eq!(expected, None, "{event} {arguments}");
                    assert_eq!(
                        parsed.unwrap_err().code(),
                        "INVALID_PAYLOAD",
                        "{event} {arguments}"
                    );
                }
            }
        }
    }

    #[test]
    fn acknowledgements_name_one_to_a_thousand_records_in_either_spelling() {
        let id = RecipientId::parse(ID).unwrap();
        let many = |count: usize| {
            let one = format!(r#"{{"recipientId":"{ID}"}}"#);
            format!("[[{}]]", vec![one; count].join(","))
        };
        for count in [1, 2, MAX_ACKNOWLEDGED] {
            assert_eq!(
                parse("notification:acknowledge", &many(count)),
                Ok(ClientEvent::Acknowledge(vec![id; count])),
                "{count}"
            );
        }
        for bad in [
            many(0),
            many(MAX_ACKNOWLEDGED + 1),
            format!(r#"["{ID}"]"#),
            format!(r#"[{{"recipient_id":"{ID}","recipientId":"{ID}"}}]"#),
            format!(r#"[[{{"recipient_id":"{ID}"}},{{}}]]"#),
            format!(r#"[{{"notification_id":"{ID}"}}]"#),
        ] {
            let refused = parse("notification:acknowledge", &bad).unwrap_err();
            assert_eq!(refused.code(), "INVALID_PAYLOAD");
        }
    }

    #[test]
    fn a_query_names_one_to_a_hundred_users() {
        let user = UserId::parse("u1").unwrap();
        let many = |count: usize| format!(r#"[{{"users":[{}]}}]"#, vec![r#""u1""#; count].join(","));
        for count in [1, 2, MAX_QUERIED] {
            assert_eq!(
                parse("presence:query", &many(count)),
                Ok(ClientEvent::PresenceQuery(vec![user.clone(); count])),
                "{count}"
            );
        }
        for bad in [
            &many(0),
            &many(MAX_QUERIED + 1),
            "[]",
            "[null]",
            "[{}]",
            r#"[["u1"]]"#,
            r#"[{"users":"u1"}]"#,
            r#"[{"users":[7]}]"#,
            r#"[{"users":[""]}]"#,
        ] {
            let refused = parse("presence:query", bad).unwrap_err();
            assert_eq!(refused.code(), "INVALID_PAYLOAD", "{bad}");
        }
    }

    #[test]
    fn chat_takes_what_has_nothing_to_do_with_the_inbox() {
        let on_chat = |name, arguments| parse_on(Namespace::Chat, name, arguments);
        assert_eq!(on_chat("ping", "[]"), Ok(ClientEvent::Ping));
        let query = on_chat("presence:query", r#"[{"users":["u1"]}]"#);
        assert!(matches!(query, Ok(ClientEvent::PresenceQuery(_))), "{query:?}");
        for name in typed("ClientRequests") {
            let refused = on_chat(name, "[]").err();
            let known = EVERYWHERE.contains(&name);
            let unknown = refused == Some(EventError::Unknown(name.to_owned()));
            assert_eq!(unknown, !known, "{name}: {refused:?}");
        }
    }

    #[test]
    fn chat_hears_of_presence_and_of_nothing_in_the_inbox() {
        for (event, name, _) in every_event() {
            let inbox = event.goes_to(Namespace::Notifications);
            assert_eq!(event.goes_to(Namespace::Root), inbox, "{name}");
            let both = matches!(
                name,
                "authenticated" | "auth:expiring" | "auth_error" | "error" | "pong"
            );
            assert_eq!(
                (inbox, event.goes_to(Namespace::Chat)),
                (name != "presence:update", both || name == "presence:update"),
                "{name}"
            );
        }
    }

    #[test]
    fn no_service_gives_its_events_a_name_of_ours() {
        for (event, name, _) in every_event() {
            let custom = matches!(event, ServerEvent::Custom { .. });
            assert_eq!(is_reserved(name), !custom, "{name}");
        }
        for name in typed("ClientRequests") {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["connect", "disconnect", "newListener", "auth:", "admin:reload"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["Notification:new", "notification", "order:paid", "connects", "x"] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_back_in_part() {
        let long = "é".repeat(100);
        assert_eq!(parse(&long, "[]"), Err(EventError::Unknown("é".repeat(64))));
        for near in ["mark:Read", "mark:read ", "notification:read", "mark:all", "Ping"] {
            assert_eq!(parse(near, "[{}]").unwrap_err().code(), "UNKNOWN_EVENT", "{near}");
        }
    }

    #[test]
    fn every_refusal_has_its_code() {
        for (error, code) in [
            (EventError::Unknown(String::new()), "UNKNOWN_EVENT"),
            (
                EventError::Payload {
                    event: "join",
                    expected: "a user id",
                },
                "INVALID_PAYLOAD",
            ),
            (EventError::Forbidden, "FORBIDDEN"),
            (EventError::NotFound, "NOT_FOUND"),
            (EventError::Server, "SERVER_ERROR"),
        ] {
            assert_eq!(error.code(), code);
        }
    }

    const COUNTS: Counts = Counts {
        unread: 2,
        unseen: 1,
        seq: 9,
    };
    const AT: Timestamp = Timestamp::from_ms(1_795_158_000_000);

    fn item() -> Item {
        let id = NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap();
        let recipient_id = id.recipient(&UserId::parse("u1").unwrap());
        let content = r#"{"title":"Order","content":"**Paid**","sender":{"id":"s","username":null,"display_name":"Shop"},"action":{"url":"/o/1","text":"Open"},"data":{"order_id":{"a_b":1}},"category":"orders","priority":"high","expires_at":1795158000001}"#;
        Item {
            seq: 4,
            recipient_id,
            notification: crate::notification::Notification {
                id,
                created_at: AT,
                content: serde_json::from_str(content).unwrap(),
            },
            folder: crate::item::Folder::Archived(AT),
            read_at: Some(AT),
            seen_at: None,
            delivery: crate::delivery::Delivery::Delivered {
                attempts: 3,
                at: AT,
                via: crate::delivery::Via::Ack,
            },
            receipt: crate::item::Receipt {
                recipient_id,
                seq: 4,
                delivery_status: crate::delivery::DeliveryStatus::Pending,
                online: true,
            },
        }
    }

    fn presences() -> Vec<UserPresence> {
        let user = |id| UserId::parse(id).unwrap();
        vec![
            UserPresence::online(user("u1"), AT),
            UserPresence::offline(user("u2"), Some(AT)),
            UserPresence::offline(user("u3"), None),
        ]
    }

    fn presences_json() -> &'static str {
        r#"[{"user_id":"u1","online":true,"last_seen_at":"2026-11-20T07:00:00.000Z"},{"user_id":"u2","online":false,"last_seen_at":"2026-11-20T07:00:00.000Z"},{"user_id":"u3","online":false,"last_seen_at":null}]"#
    }

    /// Every event with its name and its payload in `snake_case`.
    fn every_event() -> Vec<(ServerEvent, &'static str, String)> {
        use crate::change::{ItemChanged, ItemDeleted, ReadAll, Seen};
        let at = r#""2026-11-20T07:00:00.000Z""#;
        let id = "01929c3e-0000-7000-8000-000000000001";
        let recipient_id = "470314a0-6846-569f-81e6-a8e84f826fc0";
        let view = format!(
            r#""id":"{id}","recipient_id":"{recipient_id}","seq":4,"title":"Order","content":"**Paid**","content_html":"<p><strong>Paid</strong></p>\n","message":"**Paid**","type":null,"sender":{{"id":"s","username":null,"display_name":"Shop"}},"action_url":"/o/1","action_text":"Open","data":{{"order_id":{{"a_b":1}}}},"category":"orders","priority":"high","created_at":{at},"expires_at":"2026-11-20T07:00:00.001Z""#
        );
        let ids = format!(r#""id":"{id}","recipient_id":"{recipient_id}","notification_id":"{id}""#);
        let changed = ItemChanged::of(&item(), 2, 9);
        let state = format!(r#"{{{ids},"read_at":{at},"archived_at":{at},"unread":2,"seq":9}}"#);
        let new = |redelivered| ServerEvent::NotificationNew {
            item: Rc::new(item()),
            unread: 2,
            redelivered,
        };
        let batch = |items, has_more| ServerEvent::NotificationBatch {
            items,
            counts: COUNTS,
            has_more,
        };
        vec![
            (
                ServerEvent::Authenticated {
                    user: UserId::parse("u1").unwrap(),
                    connected_at: AT,
                    counts: COUNTS,
                },
                "authenticated",
                format!(r#"{{"user_id":"u1","connected_at":{at},"unread":2,"seq":9}}"#),
            ),
            (
                new(Redelivered::No),
                "notification:new",
                format!(r#"{{{view},"unread":2,"attempt":3,"redelivered":false}}"#),
            ),
            (
                new(Redelivered::Yes),
                "notification:new",
                format!(r#"{{{view},"unread":2,"attempt":3,"redelivered":true}}"#),
            ),
            (
                batch(vec![Rc::new(item())], HasMore::Yes),
                "notification:batch",
                format!(
                    r#"{{"notifications":[{{{view},"read_at":{at},"seen_at":null,"archived_at":{at},"delivery_status":"delivered"}}],"unread_count":2,"seq":9,"has_more":true}}"#
                ),
            ),
            (
                batch(Vec::new(), HasMore::No),
                "notification:batch",
                r#"{"notifications":[],"unread_count":2,"seq":9,"has_more":false}"#.to_owned(),
            ),
            (
                ServerEvent::Changed(Change::Read(changed)),
                "notification:read",
                state.clone(),
            ),
            (
                ServerEvent::Changed(Change::Unread(changed)),
                "notification:unread",
                state.clone(),
            ),
            (
                ServerEvent::Changed(Change::Archived(changed)),
                "notification:archived",
                state.clone(),
            ),
            (
                ServerEvent::Changed(Change::Unarchived(changed)),
                "notification:unarchived",
                state,
            ),
            (
                ServerEvent::Changed(Change::Deleted(ItemDeleted::of(
                    &item(),
                    crate::item::Removal::Retracted,
                    2,
                    9,
                ))),
                "notification:deleted",
                format!(r#"{{{ids},"reason":"retracted","unread":2,"seq":9}}"#),
            ),
            (
                ServerEvent::Changed(Change::ReadAll(ReadAll {
                    before_seq: 7,
                    marked_count: 3,
                    read_at: AT,
                    unread: 2,
                    seq: 9,
                })),
                "notifications:read_all",
                format!(r#"{{"before_seq":7,"marked_count":3,"read_at":{at},"unread":2,"seq":9}}"#),
            ),
            (
                ServerEvent::Changed(Change::Seen(Seen {
                    up_to_seq: 7,
                    unseen: 1,
                    seq: 9,
                })),
                "notifications:seen",
                r#"{"up_to_seq":7,"unseen":1,"seq":9}"#.to_owned(),
            ),
            (
                ServerEvent::UnreadCount(COUNTS),
                "unread:count",
                r#"{"count":2,"unseen":1,"seq":9}"#.to_owned(),
            ),
            (
                ServerEvent::PresenceUpdate { users: presences() },
                "presence:update",
                format!(r#"{{"users":{}}}"#, presences_json()),
            ),
            (
                ServerEvent::Custom {
                    name: "order:paid".to_owned(),
                    data: RawValue::from_string(r#"{"order_id":{"a_b":[]}}"#.to_owned()).unwrap(),
                },
                "order:paid",
                r#"{"order_id":{"a_b":[]}}"#.to_owned(),
            ),
            (ServerEvent::Pong, "pong", "{}".to_owned()),
            (
                ServerEvent::AuthExpiring {
                    expires_at: Timestamp::from_ms(1_800_000_000_000),
                },
                "auth:expiring",
                r#"{"expires_at":"2027-01-15T08:00:00.000Z"}"#.to_owned(),
            ),
            (
                ServerEvent::AuthError {
                    message: "the token has expired",
                    code: "EXPIRED_TOKEN",
                },
                "auth_error",
                r#"{"code":"EXPIRED_TOKEN","message":"the token has expired"}"#.to_owned(),
            ),
            (
                ServerEvent::Error(EventError::RateLimited { retry_after_s: 7 }),
                "error",
                r#"{"code":"RATE_LIMITED","message":"at most 1000 events a minute are taken","details":{"retry_after":7}}"#
                    .to_owned(),
            ),
            (
                ServerEvent::Error(EventError::Forbidden),
                "error",
                r#"{"code":"FORBIDDEN","message":"nobody joins another user's room"}"#.to_owned(),
            ),
        ]
    }

    #[test]
    fn every_event_has_its_name_and_documented_shape() {
        for (event, name, payload) in every_event() {
            assert_eq!(event.name(), name);
            assert_eq!(
                event.encode(PayloadCase::Snake).unwrap().as_str(),
                format!(r#"["{name}",{payload}]"#)
            );
        }
    }

    /// The keys of our own that have several words, as camelCase has them. What a pusher put into `data`
    /// is not among them.
    const CAMEL: [(&str, &str); 21] = [
        ("user_id", "userId"),
        ("last_seen_at", "lastSeenAt"),
        ("connected_at", "connectedAt"),
        ("recipient_id", "recipientId"),
        ("notification_id", "notificationId"),
        ("content_html", "contentHtml"),
        ("display_name", "displayName"),
        ("action_url", "actionUrl"),
        ("action_text", "actionText"),
        ("created_at", "createdAt"),
        ("expires_at", "expiresAt"),
        ("read_at", "readAt"),
        ("seen_at", "seenAt"),
        ("archived_at", "archivedAt"),
        ("delivery_status", "deliveryStatus"),
        ("unread_count", "unreadCount"),
        ("has_more", "hasMore"),
        ("before_seq", "beforeSeq"),
        ("marked_count", "markedCount"),
        ("up_to_seq", "upToSeq"),
        ("retry_after", "retryAfter"),
    ];

    fn in_camel_case(json: &str) -> String {
        CAMEL.iter().fold(json.to_owned(), |json, (snake, camel)| {
            json.replace(&format!("\"{snake}\":"), &format!("\"{camel}\":"))
        })
    }

    #[test]
    fn every_event_has_the_same_payload_in_camel_case() {
        for (event, name, payload) in every_event() {
            assert_eq!(
                event.encode(PayloadCase::Camel).unwrap().as_str(),
                format!(r#"["{name}",{}]"#, in_camel_case(&payload))
            );
        }
    }

    #[test]
    fn acks_say_ok_or_why_not() {
        let changes = every_event()
            .into_iter()
            .filter_map(|(event, _, payload)| match event {
                ServerEvent::Changed(change) => {
                    let members = payload.strip_prefix('{').unwrap();
                    Some((
                        Acknowledgement::Changed(change),
                        format!(r#"{{"ok":true,{members}"#),
                    ))
                }
                ServerEvent::Authenticated { .. }
                | ServerEvent::NotificationNew { .. }
                | ServerEvent::NotificationBatch { .. }
                | ServerEvent::UnreadCount(_)
                | ServerEvent::PresenceUpdate { .. }
                | ServerEvent::Custom { .. }
                | ServerEvent::Pong
                | ServerEvent::AuthExpiring { .. }
                | ServerEvent::AuthError { .. }
                | ServerEvent::Error(_) => None,
            });
        let others = [
            (Acknowledgement::Done, r#"{"ok":true}"#),
            (
                Acknowledgement::Acknowledged(2),
                r#"{"ok":true,"acknowledged":2}"#,
            ),
            (
                Acknowledgement::Refused(EventError::NotFound),
                r#"{"ok":false,"error":{"code":"NOT_FOUND","message":"no such notification"}}"#,
            ),
            (
                Acknowledgement::Refused(EventError::Server),
                r#"{"ok":false,"error":{"code":"SERVER_ERROR","message":"the event could not be carried out"}}"#,
            ),
        ];
        let others = others.into_iter().map(|(ack, json)| (ack, json.to_owned()));
        let presence = (
            Acknowledgement::Presence(presences()),
            format!(
                r#"{{"ok":true,"users":{},"consistency":"eventual"}}"#,
                presences_json()
            ),
        );
        for (ack, json) in changes.chain(others).chain([presence]) {
            assert_eq!(ack.encode(PayloadCase::Snake).unwrap().as_str(), json);
            assert_eq!(
                ack.encode(PayloadCase::Camel).unwrap().as_str(),
                in_camel_case(&json)
            );
        }
    }

    /// The names of the members of an interface in `types/events.d.ts`.
    fn typed(interface: &str) -> Vec<&'static str> {
        let types = include_str!("../../../types/events.d.ts");
        let (_, after) = types
            .split_once(&format!("export interface {interface} {{\n"))
            .unwrap();
        let (members, _) = after.split_once("\n}\n").unwrap();
        let named = members.lines().filter_map(|line| {
            let member = line
                .strip_prefix("  ")
                .filter(|member| !member.starts_with(' '))?;
            match member.strip_prefix('"') {
                Some(quoted) => quoted.split_once("\":").map(|(name, _)| name),
                None => member.split_once(':').map(|(name, _)| name),
            }
        });
        named.filter(|name| !name.starts_with(['}', '/', '*'])).collect()
    }

    #[test]
    fn the_typescript_types_know_these_events_and_no_others() {
        let every = every_event();
        let ours = every
            .iter()
            .filter(|(event, ..)| !matches!(event, ServerEvent::Custom { .. }));
        let mut known: Vec<_> = ours.map(|(event, ..)| event.name()).collect();
        known.dedup();
        let mut told = typed("ServerToClientEvents");
        told.sort_unstable();
        known.sort_unstable();
        known.dedup();
        assert_eq!(told, known);
        let asked = typed("ClientRequests");
        assert!(asked.len() > MARKS.len());
        for (name, _) in MARKS {
            assert!(asked.contains(&name), "{name}");
        }
        for name in asked {
            let unknown = matches!(parse(name, "[]"), Err(EventError::Unknown(_)));
            assert!(!unknown, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_event_is_read_or_refused(name in "notification:(acknowledge|archive|unarchive|delete)|mark:(read|unread|all:read|seen)|presence:query|auth:refresh|join|ping|.{0,20}", argument in "(?s).{0,60}") {
            let data = EventData::new(&name).unwrap().json_arg(&Json::string(&argument));
            match ClientEvent::parse(Namespace::Root, &data) {
                Ok(event) => prop_assert_eq!(event.name(), name),
                Err(EventError::Payload { event, .. }) => prop_assert_eq!(event, name),
                Err(error) => prop_assert_eq!(error.event(), "unknown"),
            }
        }
    }
}
