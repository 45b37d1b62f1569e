//! What callers over HTTP send: bodies, parameters, headers and the texts that they pass back. Nothing panics, and
//! what is accepted holds to the limits.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use dormouse_domain::batch;
use dormouse_domain::auth::{Algorithm, Audience, AuthError, TokenKey};
use dormouse_domain::config::{HandshakeConfig, QueryToken};
use dormouse_domain::engine_request::{EngineQuery, Method, Upgrade};
use dormouse_domain::engine_sid::EngineSid;
use dormouse_domain::handshake::{Credentials, identify};
use dormouse_domain::id::{MAX_NAME_BYTES, NotificationId, RecipientId, UserId};
use dormouse_domain::idempotency::{IdempotencyKey, MAX_KEY_CHARS, fingerprint};
use dormouse_domain::markdown;
use dormouse_domain::notification::{Content, Notification, NotificationView};
use dormouse_domain::page::{Cursor, MAX_LIMIT, PageRequest, UserCursor};
use dormouse_domain::page::{Cursor, MAX_LIMIT, PageRequest};
use dormouse_domain::placeholder::Data;
use dormouse_domain::push::{MAX_CONTENT_BYTES, MAX_RECIPIENTS, MAX_TITLE_CHARS, Push};
use dormouse_domain::recovery::{Offset, Pid};
use dormouse_domain::service_key::{Scope, ServiceKeys};
use dormouse_domain::namespace::Namespace;
use dormouse_domain::wishes::Recovery;
use dormouse_domain::signature::Signer;
use dormouse_domain::template::{Found, RenderRequest, Template, TemplateKey, Version};
use dormouse_domain::time::Timestamp;
use dormouse_fuzz::Tree;
use dormouse_protocol::socket::Json;
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

static KEY: LazyLock<TokenKey> =
    LazyLock::new(|| TokenKey::new(Algorithm::Hs256, SECRET, Audience::default()));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(SECRET));
static CONFIG: LazyLock<HandshakeConfig> = LazyLock::new(|| HandshakeConfig {
    cookie: "auth_token".to_owned(),
    query_token: QueryToken::Accepted,
    allowed_origins: vec!["https://app.example.org".to_owned()],
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mode = mode.wrapping_sub(b'0') % 7;
    if mode == 5 {
        if let Ok(body) = Unstructured::new(rest).arbitrary::<Body>() {
            push(&body.json());
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    match mode {
        0 => push(text),
        1 => passed_back(text),
        2 => headers(text),
        3 => engine_query(text),
        4 => html(text),
        _ => template(text),
    }
});

/// A body with the fields there are, each maybe given twice or not what it has to be.
#[derive(Arbitrary, Clone, Debug)]
struct Body {
    recipients: Vec<Recipient>,
    title: Option<String>,
    members: Vec<(Field, Value)>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Recipient {
    User(String),
    Numbered(u8),
    Any(Tree),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Field {
    To,
    Title,
    Content,
    Type,
    Template,
    Sender,
    Action,
    Data,
    Category,
    Priority,
    Ttl,
    ExpiresAt,
    DeliverAt,
    CollapseKey,
    Unknown,
}

#[derive(Arbitrary, Clone, Debug)]
enum Value {
    Any(Tree),
    Long(u16),
    Object(Vec<(Inner, Tree)>),
    Priority,
    Number(u32),
    Instant(u32),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Inner {
    Id,
    Name,
    Icon,
    Color,
    Username,
    DisplayName,
    Url,
    Text,
    Key,
    Version,
}

impl Body {
    fn json(&self) -> String {
        let recipients: Vec<_> = self.recipients.iter().map(Recipient::json).collect();
        let mut members = vec![format!("\"to\":[{}]", recipients.join(","))];
        if let Some(title) = &self.title {
            members.push(format!("\"title\":{}", Json::string(title).as_str()));
        }
        for (field, value) in &self.members {
            members.push(format!("\"{}\":{}", field.name(), value.json()));
        }
        format!("{{{}}}", members.join(","))
    }
}

impl Recipient {
    fn json(&self) -> String {
        match self {
            Self::User(id) => Json::string(&format!("user:{id}")).as_str().to_owned(),
            Self::Numbered(number) => format!("\"user:{number}\""),
            Self::Any(tree) => tree.json(),
        }
    }
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::Title => "title",
            Self::Content => "content",
            Self::Type => "type",
            Self::Template => "template",
            Self::Sender => "sender",
            Self::Action => "action",
            Self::Data => "data",
            Self::Category => "category",
            Self::Priority => "priority",
            Self::Ttl => "ttl",
            Self::ExpiresAt => "expires_at",
            Self::DeliverAt => "deliver_at",
            Self::CollapseKey => "collapse_key",
            Self::Unknown => "ti~t/le",
        }
    }
}

impl Value {
    fn json(&self) -> String {
        match self {
            Self::Any(tree) => tree.json(),
            Self::Long(length) => format!("\"{}\"", "é".repeat(usize::from(*length))),
            Self::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{}\":{}", name.name(), value.json()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            Self::Priority => "\"high\"".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Instant(seconds) => format!("\"{}\"", NOW.after_ms(u64::from(*seconds) * 1_000)),
        }
    }
}

impl Inner {
    const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Icon => "icon",
            Self::Color => "color",
            Self::Username => "username",
            Self::DisplayName => "display_name",
            Self::Url => "url",
            Self::Text => "text",
            Self::Key => "key",
            Self::Version => "version",
        }
    }
}

/// The body of a push: what is accepted holds to the limits, is stored and read back, and is shown.
fn push(body: &str) {
    if serde_json::from_str::<serde_json::Value>(body).is_ok() {
        assert_eq!(
            fingerprint(body),
            fingerprint(&format!(" {body}\n")),
            "spacing counts"
        );
    }
    for body in [body.to_owned(), format!("{{\"items\":[{body}]}}")] {
        if let Ok(items) = batch::parse(&body, NOW) {
            assert!((1..=batch::MAX_ITEMS).contains(&items.len()));
        }
    }
    let push = match Push::parse(body, NOW) {
        Ok(push) => push,
        Err(problem) => {
            assert!((400..500).contains(&problem.status()));
            serde_json::to_string(&problem).expect("a problem is JSON");
            return;
        }
    };
    assert!((1..=MAX_RECIPIENTS).contains(&push.recipients.len()));
    let users: Vec<_> = push.users().collect();
    for (at, user) in users.iter().enumerate() {
        assert!(!users[..at].contains(user));
    }
    let user = users[0].clone();
    let names_something = push.draft.lookup().is_some();
    let Ok(content) = push.draft.resolve(Found::default()) else {
        assert!(names_something);
        return;
    };
    assert!((1..=MAX_TITLE_CHARS).contains(&content.title.chars().count()));
    assert!(content.content.len() <= MAX_CONTENT_BYTES);
    let stored = serde_json::to_string(&content).expect("content is JSON");
    let loaded: Content = serde_json::from_str(&stored).expect("what was stored is loaded");
    assert_eq!(serde_json::to_string(&loaded).ok().as_ref(), Some(&stored));
    let notification = Notification {
        id: NotificationId::generate(NOW, [7; 10]),
        created_at: NOW,
        content,
    };
    let recipient = notification.id.recipient(&user);
    let view = NotificationView::new(&notification, recipient, 1);
    serde_json::to_string(&view).expect("a view is JSON");
}

/// A template, and after the first line the data that is put into it: what is made of them holds to the limits.
fn template(text: &str) {
    let (first, second) = text.split_once('\n').unwrap_or((text, "{}"));
    let _ = (TemplateKey::parse(first), Version::parse(first), RenderRequest::parse(second));
    let Ok(template) = Template::parse(first) else {
        return;
    };
    let stored = template.store().expect("a template is JSON");
    assert_eq!(Template::load(&stored).ok().as_ref(), Some(&template));
    if let Ok(data) = Data::parse(second)
        && let Ok(rendered) = template.render(&data, "/data")
    {
        assert!((1..=MAX_TITLE_CHARS).contains(&rendered.title.chars().count()));
        assert!(rendered.content.len() <= MAX_CONTENT_BYTES);
        assert!(rendered.action.is_none_or(|action| markdown::is_safe_link(&action.url)));
    }
}

/// Texts that this service made, or did not.
fn passed_back(text: &str) {
    let user = UserId::parse("u1").expect("is an id");
    if let Ok(cursor) = Cursor::parse(text) {
        assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
    }
    if let Ok(cursor) = UserCursor::parse(text) {
        assert_eq!(UserCursor::parse(&cursor.encode()), Ok(cursor));
    }
    if let Some(offset) = Offset::parse(text) {
        assert_eq!(Offset::parse(&offset.encode()), Some(offset));
    }
    assert_eq!(EngineSid::parse(text, &SIGNER), None, "nobody signs by chance");
    assert_eq!(
        Pid::parse(text, &SIGNER, &user, Namespace::Root),
        None,
        "nobody signs by chance"
    );
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(page) = PageRequest::parse(Some(first), Some(second).filter(|cursor| !cursor.is_empty())) {
        assert!((1..=MAX_LIMIT).contains(&page.limit));
    }
    if let Ok(id) = RecipientId::parse(text) {
        assert!(id.to_string().eq_ignore_ascii_case(text));
    }
    if let Ok(user) = UserId::parse(first) {
        assert!((1..=MAX_NAME_BYTES).contains(&user.as_str().len()));
        let sid = EngineSid::Hub {
            user: user.clone(),
            nonce: "n".to_owned(),
        };
        assert_eq!(
            EngineSid::parse(&sid.encode(&SIGNER), &SIGNER).as_ref(),
            Some(&sid)
        );
        if !second.contains('.') {
            let pid = Pid {
                sid: second.to_owned(),
                began_at: Offset(u64::MAX),
            };
            let shown = pid.encode(&SIGNER, &user, Namespace::Notifications);
            assert_eq!(
                Pid::parse(&shown, &SIGNER, &user, Namespace::Notifications),
                Some(pid)
            );
            assert_eq!(Pid::parse(&shown, &SIGNER, &user, Namespace::Root), None);
        }
    }
}

/// Header lines: a key for a push, tokens and cookies, a service key.
fn headers(text: &str) {
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next();
    let (first, second, third, fourth) = (line(), line(), line(), line());
    if let Some(Ok(key)) = first.map(IdempotencyKey::parse) {
        assert!((1..=MAX_KEY_CHARS).contains(&key.as_str().len()));
        assert_eq!(IdempotencyKey::parse(key.as_str()).as_ref(), Ok(&key));
        assert_eq!(
            IdempotencyKey::parse(&format!("\"{}\"", key.as_str())).as_ref(),
            Ok(&key)
        );
    }
    let credentials = Credentials {
        authorization: first,
        cookie: second,
        origin: Some("https://app.example.org"),
        query_token: third,
    };
    let refused = identify(NOW, &CONFIG, &KEY, &credentials).expect_err("nobody signs by chance");
    assert_ne!(refused, AuthError::UserMismatch);
    if let Ok(keys) = ServiceKeys::parse(fourth.unwrap_or_default()) {
        assert!(keys.authorize(first, Scope::PushUser).is_err());
    }
}

/// The query of an engine request.
fn engine_query(text: &str) {
    let query = EngineQuery::parse(url::form_urlencoded::parse(text.as_bytes()));
    for method in [Method::Get, Method::Post, Method::Other] {
        for upgrade in [Upgrade::None, Upgrade::WebSocket] {
            if let Err(error) = query.check(method, upgrade) {
                let body: serde_json::Value = serde_json::from_str(&error.body()).expect("is JSON");
                assert_eq!(body["code"], error.code());
            }
        }
    }
    let _ = query.wishes(Recovery::On);
}

/// What Markdown becomes; everything else in it is text.
const TAGS: &[&str] = &[
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "strong",
    "em",
    "del",
    "a",
    "img",
    "ul",
    "ol",
    "li",
    "blockquote",
    "pre",
    "code",
    "hr",
    "br",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
];

/// Markdown: whatever it is, no tag of the author's and no link that runs code.
fn html(text: &str) {
    let html = markdown::to_html(text).to_ascii_lowercase();
    // In texts and attributes both brackets are escaped.
    for after in html.split('<').skip(1) {
        let (tag, _) = after.split_once('>').expect("a tag ends");
        let tag = tag.trim_start_matches('/');
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        assert!(TAGS.contains(&name), "{tag}");
        for link in ["href=\"", "src=\""]
            .iter()
            .filter_map(|attribute| tag.split(attribute).nth(1))
        {
            for scheme in ["javascript:", "vbscript:", "data:", "file:"] {
                assert!(!link.trim_start().starts_with(scheme), "{tag}");
            }
        }
    }
}
