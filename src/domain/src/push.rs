//! What a service may ask for in `POST /v1/notifications` (DESIGN 7, 10), checked completely before
//! anything is done. Many of them at once: [`crate::batch`].

use serde_json::value::RawValue;

use crate::json_object::JsonObject;
pub use crate::json_object::Mistake;
use crate::markdown::is_safe_link;
use crate::notification::{Action, Content, NotificationType, Priority, Sender};
use crate::notification_type::TypeId;
use crate::problem::{Code, Problem};
use crate::room::{Room, SharedRoom};
use crate::service_key::Scope;
use crate::template::{Found, Lookup, MAX_KEY_BYTES, RenderRequest, Rendered, TemplateKey, known_type};
use crate::time::Timestamp;

/// Most recipients of one push.
pub const MAX_RECIPIENTS: usize = 100;
/// Longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 200;
/// Largest content, in bytes.
pub const MAX_CONTENT_BYTES: usize = 16 * 1024;
/// Largest `data`, in bytes of its JSON.
pub const MAX_DATA_BYTES: usize = 16 * 1024;
/// Longest of the short texts (names, ids, categories), in characters.
pub const MAX_LABEL_CHARS: usize = 128;
/// Longest link, in characters.
pub const MAX_LINK_CHARS: usize = 2_048;
/// Longest `ttl`, in seconds: a year.
pub const MAX_TTL_S: u64 = 365 * DAY_S;
/// How far ahead `deliver_at` may be, in milliseconds: a year.
pub const MAX_DELIVER_AHEAD_MS: u64 = 365 * DAY_S * 1_000;
/// How far ahead `expires_at` may be, in milliseconds: ten years, two of them leap years.
pub const MAX_EXPIRE_AHEAD_MS: u64 = 3_652 * DAY_S * 1_000;

const DAY_S: u64 = 24 * 60 * 60;

/// What a link has to be.
pub(crate) const EXPECTED_LINK: &str = "expected an http, https, mailto or relative link";

/// A push that may be stored, once what it names was looked up.
#[derive(Clone, Debug)]
pub struct Push {
    /// Whom it is for, in the order asked for, each once.
    pub recipients: Vec<Recipient>,
    /// What they are told.
    pub draft: Draft,
    /// When; at once when absent.
    pub deliver_at: Option<Timestamp>,
    /// Why it can't be done any more, when only time stands against it: the answer to an earlier push of
    /// the same body and key can still be given.
    pub lapsed: Option<Problem>,
}

/// What a push says, as long as a template and a type may be names only.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Title and content, or the template they are made of.
    pub body: Body,
    /// What sort of notification it is; the template's when not given.
    pub kind: Option<TypeRef>,
    /// Who it is from.
    pub sender: Option<Sender>,
    /// Where it leads; the template's when not given.
    pub action: Option<Action>,
    /// The pusher's own object, untouched.
    pub data: Option<Box<RawValue>>,
    /// What users can mute by; the template's when not given.
    pub category: Option<String>,
    /// How much it matters.
    pub priority: Priority,
    /// When it is over.
    pub expires_at: Option<Timestamp>,
    /// A newer notification with the same key takes the place of this one while it is unread.
    pub collapse_key: Option<String>,
}

/// Where title and content come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// From the push.
    Given {
        /// 1 to 200 characters.
        title: String,
        /// At most 16 KiB.
        content: String,
    },
    /// From a template.
    Template {
        /// Which one.
        key: TemplateKey,
        /// Which version of it, and what is put in.
        request: RenderRequest,
    },
}

/// How a push says its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeRef {
    /// In full.
    Inline(NotificationType),
    /// By the id of one that was defined.
    Named(TypeId),
}

impl Draft {
    /// What has to be looked up; `None` when nothing is named.
    #[must_use]
    pub fn lookup(&self) -> Option<Lookup<'_>> {
        let template = match &self.body {
            Body::Given { .. } => None,
            Body::Template { key, request } => Some((key, request.version)),
        };
        let kind = match &self.kind {
            None | Some(TypeRef::Inline(_)) => None,
            Some(TypeRef::Named(id)) => Some(id),
        };
        (template.is_some() || kind.is_some()).then_some(Lookup { template, kind })
    }

    /// What the recipients are told, given what was `found`. What the push says itself goes before what
    /// the template says.
    ///
    /// # Errors
    /// [`Code::UnknownTemplate`], [`Code::UnknownType`], and [`Code::InvalidRequest`] for what the template
    /// and its data would make.
    pub fn resolve(self, found: Found) -> Result<Content, Problem> {
        let rendered = match self.body {
            Body::Given { title, content } => Rendered {
                title,
                content,
                ..Rendered::default()
            },
            Body::Template { request, .. } => {
                let mut template = found.template.known("/template")?.template;
                if self.action.is_some() {
                    template.action = None;
                }
                template
                    .render(&request.data, "/template/data")
                    .map_err(|mistakes| Problem::new(Code::InvalidRequest).errors(mistakes))?
            }
        };
        let kind = match (self.kind, rendered.kind) {
            (Some(TypeRef::Inline(kind)), _) => Some(kind),
            (Some(TypeRef::Named(id)), _) => Some(known_type(found.kind, &id, "/type")?),
            (None, Some(id)) => Some(known_type(found.kind, &id, "/template/key")?),
            (None, None) => None,
        };
        Ok(Content {
            title: rendered.title,
            content: rendered.content,
            kind,
            sender: self.sender,
            action: self.action.or(rendered.action),
            data: self.data,
            category: self.category.or(rendered.category),
            priority: self.priority,
            expires_at: self.expires_at,
            collapse_key: self.collapse_key,
        })
    }
}

/// The scope it takes to push to a room.
#[must_use]
pub const fn scope(room: &Room) -> Scope {
    match room {
        Room::User(_) => Scope::PushUser,
        Room::Shared(SharedRoom::Dept(_) | SharedRoom::Named(_) | SharedRoom::Admin) => Scope::PushRoom,
        Room::Shared(SharedRoom::Broadcast) => Scope::PushBroadcast,
    }
}

/// One entry of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A user's own room, or one that several users are in.
    Room(Room),
    /// Not addressable: the text as given (shortened) and why.
    Rejected {
        /// What was asked for.
        to: String,
        /// What was expected.
        reason: String,
    },
}

impl Push {
    /// Reads and checks a request body that came at `now`.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake in the body.
    pub fn parse(body: &str, now: Timestamp) -> Result<Self, Problem> {
        Self::read(JsonObject::parse_body(body)?, now)
    }

    /// Reads and checks what is left of `object`.
    ///
    /// # Errors
    /// As [`Push::parse`].
    pub(crate) fn read(mut object: JsonObject<'_>, now: Timestamp) -> Result<Self, Problem> {
        let recipients = recipients(&mut object);
        let mut draft = draft(&mut object);
        let mut times = times(&mut object, now);
        draft.expires_at = times.expires_at;
        if !object.is_flawless() {
            object.invalid.append(&mut times.lapsed);
        }
        object.finish()?;
        let lapsed = Some(times.lapsed).filter(|lapsed| !lapsed.is_empty());
        let push = Self {
            recipients,
            draft,
            deliver_at: times.deliver_at,
            lapsed: lapsed.map(|lapsed| Problem::new(Code::InvalidRequest).errors(lapsed)),
        };
        if push.rooms().next().is_none() {
            return Err(Problem::new(Code::InvalidRecipient).errors(rejections(&push.recipients)));
        }
        Ok(push)
    }

    /// The rooms it is for, users' own among them.
    pub fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.recipients.iter().filter_map(Recipient::room)
    }
}

impl Recipient {
    /// The room, when it is one.
    #[must_use]
    pub const fn room(&self) -> Option<&Room> {
        match self {
            Self::Room(room) => Some(room),
            Self::Rejected { .. } => None,
        }
    }
}

/// What is wrong with those that can't be addressed.
pub(crate) fn rejections(recipients: &[Recipient]) -> Vec<Mistake> {
    let rejected = recipients.iter().enumerate();
    rejected
        .filter_map(|(i, recipient)| match recipient {
            Recipient::Room(_) => None,
            Recipient::Rejected { reason, .. } => Some(Mistake {
                pointer: format!("/to/{i}"),
                detail: reason.clone(),
            }),
        })
        .collect()
}

/// What is said of one that can't be addressed, beside those that can.
#[must_use]
pub fn rejection(reason: &str) -> Problem {
    Problem::new(Code::InvalidRecipient).errors(vec![Mistake {
        pointer: String::new(),
        detail: reason.to_owned(),
    }])
}

/// Takes `to`.
pub(crate) fn recipients(object: &mut JsonObject<'_>) -> Vec<Recipient> {
    let Some(raw) = object.take("to") else {
        object.mistake("to", "expected a list of 1 to 100 recipients");
        return Vec::new();
    };
    let Ok(listed) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        object.mistake("to", "expected a list of 1 to 100 recipients");
        return Vec::new();
    };
    if listed.is_empty() || listed.len() > MAX_RECIPIENTS {
        object.mistake(
            "to",
            format!("expected 1 to 100 recipients, this has {}", listed.len()),
        );
        return Vec::new();
    }
    let mut recipients = Vec::with_capacity(listed.len());
    for raw in listed {
        let recipient = recipient(raw.get());
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    recipients
}

fn recipient(raw: &str) -> Recipient {
    let Ok(to) = serde_json::from_str::<String>(raw) else {
        return rejected(raw, "expected text such as user:ID");
    };
    match Room::parse(&to) {
        Ok(room) => Recipient::Room(room),
        Err(error) => rejected(&to, error.to_string()),
    }
}

fn rejected(to: &str, reason: impl Into<String>) -> Recipient {
    Recipient::Rejected {
        to: to.chars().take(MAX_LABEL_CHARS).collect(),
        reason: reason.into(),
    }
}

fn draft(object: &mut JsonObject<'_>) -> Draft {
    Draft {
        body: body(object),
        kind: type_ref(object),
        sender: sender(object),
        action: action(object),
        data: data(object),
        category: object.take_text("category", MAX_LABEL_CHARS),
        priority: object
            .take_as("priority", "one of low, normal, high")
            .unwrap_or(Priority::Normal),
        expires_at: None,
        collapse_key: collapse_key(object),
    }
}

fn collapse_key(object: &mut JsonObject<'_>) -> Option<String> {
    let key = object.take_text("collapse_key", MAX_LABEL_CHARS);
    if key.as_deref() == Some("") {
        object.mistake("collapse_key", "must not be empty");
    }
    key
}

/// When a push is delivered and when it is over.
struct Times {
    deliver_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    /// What is no mistake but came too late.
    lapsed: Vec<Mistake>,
}

fn times(object: &mut JsonObject<'_>, now: Timestamp) -> Times {
    let mut lapsed = Vec::new();
    let deliver_at = ahead(object, "deliver_at", now, MAX_DELIVER_AHEAD_MS, &mut lapsed);
    let ttl_s: Option<u64> = object.take_as("ttl", "a whole number of seconds");
    if ttl_s.is_some_and(|ttl_s| !(1..=MAX_TTL_S).contains(&ttl_s)) {
        object.mistake("ttl", format!("expected 1 to {MAX_TTL_S} seconds"));
    }
    let given = ahead(object, "expires_at", now, MAX_EXPIRE_AHEAD_MS, &mut lapsed);
    if ttl_s.is_some() && given.is_some() {
        object.mistake("expires_at", "give either ttl or expires_at");
    }
    let too_early = |at| at > now && deliver_at.is_some_and(|deliver_at| at <= deliver_at);
    if given.is_some_and(too_early) {
        object.mistake("expires_at", "must be later than deliver_at");
    }
    let from_ttl = ttl_s.map(|ttl_s| deliver_at.unwrap_or(now).after_ms(ttl_s.saturating_mul(1_000)));
    Times {
        deliver_at,
        expires_at: given.or(from_ttl),
        lapsed,
    }
}

/// Takes `name` as an instant after `now`, at most `max_ms` ahead. One that has passed is taken too, and
/// noted in `lapsed`.
fn ahead(
    object: &mut JsonObject<'_>,
    name: &str,
    now: Timestamp,
    max_ms: u64,
    lapsed: &mut Vec<Mistake>,
) -> Option<Timestamp> {
    let text: String = object.take_as(name, "text")?;
    let at = match Timestamp::parse_iso(&text) {
        Ok(at) => at,
        Err(error) => {
            object.mistake(name, error.to_string());
            return None;
        }
    };
    if at.since(now) > max_ms {
        object.mistake(
            name,
            format!("must be at most {} days ahead", max_ms / DAY_S / 1_000),
        );
    } else if at <= now {
        lapsed.push(Mistake {
            pointer: format!("/{name}"),
            detail: "must be in the future".to_owned(),
        });
    }
    Some(at)
}

fn body(object: &mut JsonObject<'_>) -> Body {
    let Some(raw) = object.take("template") else {
        return Body::Given {
            title: required_text(object, "title", MAX_TITLE_CHARS).unwrap_or_default(),
            content: content_text(object).unwrap_or_default(),
        };
    };
    let given = [object.take("title"), object.take("content")];
    if given.iter().any(Option::is_some) {
        object.mistake("template", "not together with title or content");
    }
    template(object, raw).unwrap_or_else(|| Body::Given {
        title: String::new(),
        content: String::new(),
    })
}

/// Takes `content`.
pub(crate) fn content_text(object: &mut JsonObject<'_>) -> Option<String> {
    let text: String = object.take_as("content", "text")?;
    if text.len() > MAX_CONTENT_BYTES {
        object.mistake(
            "content",
            format!("at most {MAX_CONTENT_BYTES} bytes, this has {}", text.len()),
        );
        return None;
    }
    Some(text)
}

fn template(object: &mut JsonObject<'_>, raw: &RawValue) -> Option<Body> {
    let Ok(mut fields) = JsonObject::parse(raw.get(), "/template") else {
        object.mistake("template", "expected an object {key, version, data}");
        return None;
    };
    let key = required_text(&mut fields, "key", MAX_KEY_BYTES).and_then(|key| {
        TemplateKey::parse(&key)
            .map_err(|error| fields.mistake("key", error.to_string()))
            .ok()
    });
    let request = RenderRequest::take(&mut fields);
    fields.finish_into(object);
    key.map(|key| Body::Template { key, request })
}

fn type_ref(object: &mut JsonObject<'_>) -> Option<TypeRef> {
    let mut fields = match object.take("type") {
        None => return None,
        Some(raw) if raw.get().starts_with('"') => {
            return TypeId::read(object, "type", raw).map(TypeRef::Named);
        }
        Some(raw) => {
            let Ok(fields) = JsonObject::parse(raw.get(), "/type") else {
                object.mistake("type", "expected an id or an object {id, name, icon, color}");
                return None;
            };
            fields
        }
    };
    let id = required_text(&mut fields, "id", MAX_LABEL_CHARS);
    let name = fields.take_text("name", MAX_LABEL_CHARS);
    let icon = fields.take_text("icon", MAX_LABEL_CHARS);
    let color = fields.take_text("color", MAX_LABEL_CHARS);
    fields.finish_into(object);
    id.map(|id| {
        TypeRef::Inline(NotificationType {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            icon,
            color,
        })
    })
}

fn sender(object: &mut JsonObject<'_>) -> Option<Sender> {
    let mut fields = object.take_object("sender")?;
    let id = required_text(&mut fields, "id", MAX_LABEL_CHARS);
    let username = fields.take_text("username", MAX_LABEL_CHARS);
    let display_name = fields.take_text("display_name", MAX_LABEL_CHARS);
    fields.finish_into(object);
    id.map(|id| Sender {
        id,
        username,
        display_name,
    })
}

fn action(object: &mut JsonObject<'_>) -> Option<Action> {
    let mut fields = object.take_object("action")?;
    let url = required_text(&mut fields, "url", MAX_LINK_CHARS);
    if url.as_deref().is_some_and(|url| !is_safe_link(url)) {
        fields.mistake("url", EXPECTED_LINK);
    }
    let text = fields.take_text("text", MAX_LABEL_CHARS);
    fields.finish_into(object);
    url.map(|url| Action { url, text })
}

/// Takes `data`.
pub(crate) fn data(object: &mut JsonObject<'_>) -> Option<Box<RawValue>> {
    let raw = object.take("data")?;
    if raw.get().len() > MAX_DATA_BYTES {
        object.mistake(
            "data",
            format!(
                "at most {MAX_DATA_BYTES} bytes of JSON, this has {}",
                raw.get().len()
            ),
        );
        return None;
    }
    // Parsed only to refuse what other readers would stumble over: depth over 127, lone surrogates.
    if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(raw.get()).is_err() {
        object.mistake(
            "data",
            "expected an object of at most 127 levels of well-formed JSON",
        );
        return None;
    }
    Some(raw.to_owned())
}

/// Text that must be there and not be empty; one mistake is named, whatever is wrong.
pub(crate) fn required_text(object: &mut JsonObject<'_>, name: &str, max: usize) -> Option<String> {
    let before = object.invalid.len();
    let text = object.take_text(name, max).filter(|text| !text.trim().is_empty());
    if text.is_none() && object.invalid.len() == before {
        object.mistake(name, "must be given and not be empty");
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::template::{FoundTemplate, Template, TemplateVersion, Version};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_ms(1_795_158_000_000);

    fn refusal(body: &str) -> (u16, String, Vec<String>) {
        let problem = serde_json::to_value(Push::parse(body, NOW).unwrap_err()).unwrap();
        let pointers = problem["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        (
            u16::try_from(problem["status"].as_u64().unwrap()).unwrap(),
            problem["code"].as_str().unwrap().to_owned(),
            pointers
                .iter()
                .map(|e| e["pointer"].as_str().unwrap().to_owned())
                .collect(),
        )
    }

    #[test]
    fn a_full_push_is_read() {
        let push = Push::parse(
            r#"{"to":["user:41","user:42","user:41","user:"],"type":{"id":"order.created","icon":"cart"},
               "title":"Order 1042","content":"Paid by **card**",
               "sender":{"id":"svc-orders","username":"orders","display_name":"Orders"},
               "action":{"url":"/orders/1042","text":"Open"},"data":{"order_id":1042},
               "priority":"high","category":"orders"}"#,
            NOW,
        )
        .unwrap();
        let rooms: Vec<_> = push.rooms().map(ToString::to_string).collect();
        assert_eq!(rooms, ["user:41", "user:42"]);
        assert_eq!(push.recipients.len(), 3);
        assert_eq!(push.draft.lookup(), None);
        let content = push.draft.resolve(Found::default()).unwrap();
        assert_eq!(content.title, "Order 1042");
        assert_eq!(content.kind.unwrap().name, "order.created");
        assert_eq!(content.priority, Priority::High);
        assert_eq!(content.data.unwrap().get(), r#"{"order_id":1042}"#);
    }

    #[test]
    fn a_field_given_many_times_is_one_mistake() {
        let body = format!(r#"{{"to":["user:u1"]{}}}"#, r#","title":"t""#.repeat(5_000));
        let (status, code, pointers) = refusal(&body);
        assert_eq!((status, code.as_str()), (422, "invalid_request"));
        assert_eq!(pointers, ["/title"]);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let body = json!({
            "to": [], "title": "x".repeat(201), "content": "é".repeat(8_193), "priority": "urgent",
            "type": {"name": 5, "shape": "round"}, "sender": [], "action": {"url": "javascript:1"},
            "data": [1], "category": 7, "colour": "red",
        });
        let (status, code, pointers) = refusal(&body.to_string());
        assert_eq!((status, code.as_str()), (400, "unknown_field"));
        let mut pointers: Vec<_> = pointers.iter().map(String::as_str).collect();
        pointers.sort_unstable();
        assert_eq!(
            pointers,
            [
                "/action/url",
                "/category",
                "/colour",
                "/content",
                "/data",
                "/priority",
                "/sender",
                "/title",
                "/to",
                "/type/id",
                "/type/name",
                "/type/shape",
            ]
        );
    }

    #[test]
    fn each_bad_body_has_its_refusal() {
        let check = |body: &str, status: u16, code: &str, pointers: &[&str]| {
            assert_eq!(
                refusal(body),
                (
                    status,
                    code.to_owned(),
                    pointers.iter().map(|p| (*p).to_owned()).collect()
                ),
                "{body:.80}"
            );
        };
        check("", 400, "malformed_json", &[]);
        check("{", 400, "malformed_json", &[]);
        check("[]", 400, "malformed_json", &[]);
        check(r#"{"to":["user:1"],"title":"a"} x"#, 400, "malformed_json", &[]);
        check("{}", 422, "invalid_request", &["/to", "/title"]);
        check(
            r#"{"to":["user:1"],"title":"  "}"#,
            422,
            "invalid_request",
            &["/title"],
        );
        check(
            r#"{"to":["user:1"],"title":"\ud800"}"#,
            422,
            "invalid_request",
            &["/title"],
        );
        check(
            r#"{"to":["user:1"],"title":"a","title":"b"}"#,
            422,
            "invalid_request",
            &["/title"],
        );
        check(r#"{"to":"user:1","title":"a"}"#, 422, "invalid_request", &["/to"]);
        check(
            r#"{"to":["user:","dept:",7],"title":"a"}"#,
            422,
            "invalid_recipient",
            &["/to/0", "/to/1", "/to/2"],
        );
        check(
            r#"{"to":["user:1"],"title":"a","type":" "}"#,
            422,
            "invalid_request",
            &["/type"],
        );
        check(
            r#"{"to":["user:1"],"title":"a","content":"b","template":{"key":"k"}}"#,
            422,
            "invalid_request",
            &["/template"],
        );
        check(
            r#"{"to":["user:1"],"template":"k"}"#,
            422,
            "invalid_request",
            &["/template"],
        );
        check(
            r#"{"to":["user:1"],"template":{"key":"K","version":0,"data":[]}}"#,
            422,
            "invalid_request",
            &["/template/key", "/template/data", "/template/version"],
        );
        check(
            r#"{"to":["user:1"],"template":{"keys":"k"}}"#,
            400,
            "unknown_field",
            &["/template/keys", "/template/key"],
        );
        check(
            r#"{"to":["user:1"],"title":"a","data":{"x":"\ud800"}}"#,
            422,
            "invalid_request",
            &["/data"],
        );
        let many: Vec<_> = (0..101).map(|i| format!("user:{i}")).collect();
        check(
            &json!({"to": many, "title": "a"}).to_string(),
            422,
            "invalid_request",
            &["/to"],
        );
        let deep = format!(
            r#"{{"to":["user:1"],"title":"a","data":{{"x":{}{}}}}}"#,
            "[".repeat(7_000),
            "]".repeat(7_000)
        );
        check(&deep, 422, "invalid_request", &["/data"]);
        let large = json!({"to": ["user:1"], "title": "a", "data": {"x": "y".repeat(MAX_DATA_BYTES)}});
        check(&large.to_string(), 422, "invalid_request", &["/data"]);
    }

    fn with(members: &str) -> String {
        format!(r#"{{"to":["user:1"],"title":"a",{members}}}"#)
    }

    #[test]
    fn a_push_may_wait_and_may_end() {
        let later = |ms: u64| Some(NOW.after_ms(ms));
        for (members, deliver_at, expires_at) in [
            (r#""collapse_key":"k""#, None, None),
            (r#""ttl":1"#, None, later(1_000)),
            (r#""ttl":31536000"#, None, later(31_536_000_000)),
            (r#""ttl":null,"expires_at":null,"deliver_at":null"#, None, None),
            (r#""expires_at":"2026-11-20T08:00:00.001+01:00""#, None, later(1)),
            (
                r#""expires_at":"2036-11-19T07:00:00Z""#,
                None,
                later(MAX_EXPIRE_AHEAD_MS),
            ),
            (
                r#""deliver_at":"2027-11-20T07:00:00Z""#,
                later(MAX_DELIVER_AHEAD_MS),
                None,
            ),
            (
                r#""deliver_at":"2026-11-20T07:01:00Z","ttl":60"#,
                later(60_000),
                later(120_000),
            ),
            (
                r#""deliver_at":"2026-11-20T07:01:00Z","expires_at":"2026-11-20T07:01:00.001Z""#,
                later(60_000),
                later(60_001),
            ),
        ] {
            let push = Push::parse(&with(members), NOW).unwrap();
            assert_eq!(
                (push.deliver_at, push.draft.expires_at, push.lapsed),
                (deliver_at, expires_at, None),
                "{members}"
            );
        }
    }

    #[test]
    fn mistakes_about_time_are_named() {
        for (members, pointers) in [
            (r#""ttl":0"#, vec!["/ttl"]),
            (r#""ttl":-1"#, vec!["/ttl"]),
            (r#""ttl":1.5"#, vec!["/ttl"]),
            (r#""ttl":31536001"#, vec!["/ttl"]),
            (r#""ttl":18446744073709551615"#, vec!["/ttl"]),
            (r#""ttl":"60""#, vec!["/ttl"]),
            (
                r#""ttl":60,"expires_at":"2026-11-20T07:01:00Z""#,
                vec!["/expires_at"],
            ),
            (r#""expires_at":1795158000007"#, vec!["/expires_at"]),
            (r#""expires_at":"2026-11-20T07:01:00""#, vec!["/expires_at"]),
            (r#""expires_at":"2036-11-19T07:00:00.001Z""#, vec!["/expires_at"]),
            (r#""deliver_at":"2027-11-20T07:00:00.001Z""#, vec!["/deliver_at"]),
            (r#""deliver_at":"9999-12-31T23:59:59Z""#, vec!["/deliver_at"]),
            (r#""deliver_at":"tomorrow""#, vec!["/deliver_at"]),
            (
                r#""deliver_at":"2026-11-20T07:01:00Z","expires_at":"2026-11-20T07:01:00Z""#,
                vec!["/expires_at"],
            ),
            (r#""collapse_key":"""#, vec!["/collapse_key"]),
            (r#""collapse_key":7"#, vec!["/collapse_key"]),
            // What has passed is named beside other mistakes.
            (
                r#""ttl":0,"deliver_at":"2026-11-20T07:00:00Z""#,
                vec!["/ttl", "/deliver_at"],
            ),
        ] {
            let (status, code, found) = refusal(&with(members));
            assert_eq!((status, code.as_str()), (422, "invalid_request"), "{members}");
            assert_eq!(found, pointers, "{members}");
        }
    }

    #[test]
    fn what_only_came_too_late_is_a_push_that_has_lapsed() {
        for (members, pointers) in [
            (r#""deliver_at":"2026-11-20T07:00:00Z""#, vec!["/deliver_at"]),
            (r#""expires_at":"2026-11-20T07:00:00Z""#, vec!["/expires_at"]),
            (r#""expires_at":"1969-11-20T07:00:00Z""#, vec!["/expires_at"]),
            (
                r#""deliver_at":"2026-11-20T06:00:00Z","expires_at":"2026-11-20T06:30:00Z""#,
                vec!["/deliver_at", "/expires_at"],
            ),
        ] {
            let push = Push::parse(&with(members), NOW).unwrap();
            let problem = serde_json::to_value(push.lapsed.unwrap()).unwrap();
            assert_eq!(problem["code"], "invalid_request");
            let found: Vec<_> = problem["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["pointer"].as_str().unwrap())
                .collect();
            assert_eq!(found, pointers, "{members}");
        }
    }

    /// A push of a template, besides what `more` says.
    fn templated(more: &str) -> Draft {
        let body = format!(
            r#"{{"to":["user:1"],"template":{{"key":"exam","version":2,"data":{{"course":"CS1"}}}}{more}}}"#
        );
        Push::parse(&body, NOW).unwrap().draft
    }

    fn found(template: &str, kind: Option<&str>) -> Found {
        let version = TemplateVersion {
            key: TemplateKey::parse("exam").unwrap(),
            version: Version::parse("2").unwrap(),
            template: Template::parse(template).unwrap(),
            created_at: Timestamp::default(),
        };
        Found {
            template: FoundTemplate::Version(Box::new(version)),
            kind: kind.map(|name| NotificationType {
                id: "id".to_owned(),
                name: name.to_owned(),
                icon: None,
                color: None,
            }),
        }
    }

    fn problem(draft: Draft, found: Found) -> (String, Vec<String>) {
        let problem = serde_json::to_value(draft.resolve(found).unwrap_err()).unwrap();
        let pointers = problem["errors"].as_array().unwrap();
        let pointers = pointers.iter().map(|e| e["pointer"].as_str().unwrap().to_owned());
        (problem["code"].as_str().unwrap().to_owned(), pointers.collect())
    }

    const FULL: &str = r#"{"title":"{{course}} moved","content":"*{{course}}*","type":"exam","category":"exams",
        "action":{"url":"/exams/{{course}}"},"required":["course"]}"#;

    #[test]
    fn a_template_says_what_the_push_does_not() {
        let draft = templated("");
        let key = TemplateKey::parse("exam").unwrap();
        let version = Version::parse("2").ok();
        let lookup = Lookup {
            template: Some((&key, version)),
            kind: None,
        };
        assert_eq!(draft.lookup(), Some(lookup));
        let content = draft.resolve(found(FULL, Some("Exam"))).unwrap();
        assert_eq!(
            (content.title.as_str(), content.content.as_str()),
            ("CS1 moved", "*CS1*")
        );
        assert_eq!(content.kind.unwrap().name, "Exam");
        assert_eq!(content.category.as_deref(), Some("exams"));
        assert_eq!(content.action.unwrap().url, "/exams/CS1");
    }

    #[test]
    fn what_the_push_says_goes_before_the_template() {
        let more = r#","type":{"id":"own"},"category":"own","action":{"url":"/own"}"#;
        let unsafe_link = r#"{"title":"t","category":"c","type":"exam","action":{"url":"{{course}}:x"}}"#;
        let content = templated(more).resolve(found(unsafe_link, None)).unwrap();
        assert_eq!(content.kind.unwrap().id, "own");
        assert_eq!(content.category.as_deref(), Some("own"));
        assert_eq!(content.action.unwrap().url, "/own");
    }

    #[test]
    fn what_is_named_has_to_be_there() {
        let named = |pointer: &str| vec![pointer.to_owned()];
        let unknown_template = "unknown_template".to_owned();
        assert_eq!(
            problem(templated(""), Found::default()),
            (unknown_template.clone(), named("/template/key"))
        );
        let no_version = Found {
            template: FoundTemplate::NoSuchVersion,
            kind: None,
        };
        assert_eq!(
            problem(templated(""), no_version),
            (unknown_template, named("/template/version"))
        );
        let unknown_type = "unknown_type".to_owned();
        assert_eq!(
            problem(templated(""), found(FULL, None)),
            (unknown_type.clone(), named("/template/key"))
        );
        let push = Push::parse(r#"{"to":["user:1"],"title":"a","type":"order"}"#, NOW).unwrap();
        let id = TypeId::parse("order").unwrap();
        let lookup = Lookup {
            template: None,
            kind: Some(&id),
        };
        assert_eq!(push.draft.lookup(), Some(lookup));
        assert_eq!(
            problem(push.draft, Found::default()),
            (unknown_type, named("/type"))
        );
    }

    #[test]
    fn data_that_does_not_do_is_named_where_it_stands() {
        let wants_more =
            r#"{"title":"{{course}}","action":{"url":"{{course}}:"},"required":["course","user.name"]}"#;
        assert_eq!(
            problem(templated(""), found(wants_more, None)),
            (
                "invalid_request".to_owned(),
                vec!["/template/data/user/name".to_owned(), "/template/data".to_owned()]
            )
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in "(?s).{0,300}") {
            let _ = Push::parse(&body, NOW);
        }

        #[test]
        fn any_json_under_the_known_names_is_read_or_refused(
            name in "to|title|content|type|sender|action|data|priority|category|ttl|expires_at|deliver_at|collapse_key|x",
            value in "null|true|-1e999|18446744073709551615|\"a\"|\"[0-9]{4}-1[0-2]-[0-3][0-9]T07:00:00Z\"|\\[\\]|\\{\\}|\\{\"id\":1\\}|\\[\"user:\\\\u0000\"\\]|(\\[){1,200}",
        ) {
            let body = format!(r#"{{"to":["user:1"],"title":"t",{}:{value}}}"#, Value::String(name));
            let _ = Push::parse(&body, NOW);
        }
    }
}
