//! What callers over HTTP send: bodies, paths, parameters, headers and the texts that they pass back. Nothing panics,
//! and what is accepted holds to the limits, is stored and read back, and means the same wherever else it can be said.

#![no_main]

use std::rc::Rc;
use std::sync::LazyLock;

use arbitrary::Unstructured;
use dormouse_domain::auth::AuthError;
use dormouse_domain::batch;
use dormouse_domain::case::{PayloadCase, camel};
use dormouse_domain::command::Command;
use dormouse_domain::config::{HandshakeConfig, QueryToken};
use dormouse_domain::custom_event::CustomEvent;
use dormouse_domain::delivery::Delivery;
use dormouse_domain::engine_request::{EngineQuery, Method, Upgrade};
use dormouse_domain::engine_sid::EngineSid;
use dormouse_domain::event::{ClientEvent, ServerEvent, is_reserved};
use dormouse_domain::handshake::{Credentials, identify};
use dormouse_domain::id::{MAX_NAME_BYTES, NotificationId, RecipientId, UserId};
use dormouse_domain::idempotency::{IdempotencyKey, KEY_MEMBER, MAX_KEY_CHARS, fingerprint};
use dormouse_domain::inbox::Redelivered;
use dormouse_domain::item::{Folder, Item, Receipt};
use dormouse_domain::json_object::JsonObject;
use dormouse_domain::markdown;
use dormouse_domain::member_changes::{self, MemberChanges};
use dormouse_domain::namespace::Namespace;
use dormouse_domain::notification::{Content, Notification, NotificationType};
use dormouse_domain::notification_type::{self, TypeId};
use dormouse_domain::operation::{Access, Operation, RouteError};
use dormouse_domain::page::{Cursor, MAX_LIMIT, PageRequest, UserCursor, entity_tag, matches_entity_tag};
use dormouse_domain::placeholder::{Data, Placeholder};
use dormouse_domain::preferences::{MAX_MUTED, Preferences};
use dormouse_domain::presence;
use dormouse_domain::problem::{MAX_MISTAKES, Problem};
use dormouse_domain::push::{
    Body, MAX_CONTENT_BYTES, MAX_DATA_BYTES, MAX_DELIVER_AHEAD_MS, MAX_EXPIRE_AHEAD_MS, MAX_LABEL_CHARS,
    MAX_LINK_CHARS, MAX_RECIPIENTS, MAX_TITLE_CHARS, Push,
};
use dormouse_domain::queued_push::QueuedPush;
use dormouse_domain::recovery::{Offset, Pid};
use dormouse_domain::room::{Room, SharedRoom};
use dormouse_domain::service_key::{self, ServiceKeys};
use dormouse_domain::signature::Signer;
use dormouse_domain::status::RecipientsRequest;
use dormouse_domain::template::{
    Found, FoundTemplate, MAX_KEY_BYTES, Preview, RenderRequest, Template, TemplateKey, TemplateVersion,
    Version,
};
use dormouse_domain::time::Timestamp;
use dormouse_domain::token_keys::TokenKeys;
use dormouse_domain::wishes::Recovery;
use dormouse_fuzz::body::{self, NOW};
use dormouse_fuzz::{Tree, elements, keys_of, members};
use dormouse_protocol::socket::{EventData, Json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// From here on a year has more than four digits, which no ISO 8601 of ours is read with.
const YEAR_10000: Timestamp = Timestamp::from_ms(253_402_300_800_000);

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| keys_of(SECRET));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(SECRET));
static CONFIG: LazyLock<HandshakeConfig> = LazyLock::new(|| HandshakeConfig {
    cookie: "auth_token".to_owned(),
    query_token: QueryToken::Accepted,
    allowed_origins: vec!["https://app.example.org".to_owned()],
});
/// The template that every push of a template finds.
static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let body =
        r#"{"title":"{{a}}","content":"{{b.c}}","type":"t","category":"c","action":{"url":"/{{d.0}}"}}"#;
    Template::parse(body).expect("is a template")
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut input = Unstructured::new(rest);
    let text = std::str::from_utf8(rest);
    match (mode.wrapping_sub(b'0') % 11, text) {
        (0, Ok(text)) => push(text),
        (1, Ok(text)) => passed_back(text),
        (2, Ok(text)) => headers(text),
        (3, Ok(text)) => engine_query(text),
        (4, Ok(text)) => html(text),
        (5, _) => {
            if let Ok(body) = input.arbitrary::<body::Body>() {
                push(&body.json());
            }
        }
        (6, Ok(text)) => template(text),
        (7, Ok(text)) => bodies(text),
        (8, Ok(text)) => request(text),
        (9, Ok(text)) => in_camel_case(text),
        (10, _) => {
            if let Ok(tree) = input.arbitrary::<Tree>() {
                in_camel_case(&tree.json());
            }
        }
        (_, _) => {}
    }
});

/// The body of a push: what is accepted holds to the limits, is stored and read back, and is shown.
fn push(body: &str) {
    if serde_json::from_str::<Value>(body).is_ok() {
        assert_eq!(
            fingerprint(body),
            fingerprint(&format!(" {body}\n")),
            "spacing counts"
        );
    }
    let parsed = Push::parse(body, NOW);
    among_others(body, &parsed);
    let push = match parsed {
        Ok(push) => push,
        Err(problem) => return refused(&problem),
    };
    assert!((1..=MAX_RECIPIENTS).contains(&push.recipients.len()));
    let rooms: Vec<_> = push.rooms().collect();
    for (at, room) in rooms.iter().enumerate() {
        assert!(!rooms[..at].contains(room));
    }
    let user = rooms.iter().find_map(|room| match room {
        Room::User(user) => Some(user.clone()),
        Room::Shared(_) => None,
    });
    // A push to shared rooms is looked at as one of their members sees it.
    let user = user.unwrap_or_else(|| UserId::parse("u1").expect("is an id"));
    times(&push);
    let names_template = matches!(push.draft.body, Body::Template { .. });
    let names_something = push.draft.lookup().is_some();
    if let Err(problem) = push.draft.clone().resolve(Found::default()) {
        assert!(names_something);
        refused(&problem);
    }
    match push.draft.resolve(found()) {
        Ok(content) => stored_and_shown(content, &user),
        Err(problem) => {
            assert!(names_template);
            refused(&problem);
        }
    }
}

/// What is refused is the caller's doing, and said in a body that is not much larger than what there was to say.
fn refused(problem: &Problem) {
    assert!((400..500).contains(&problem.status()));
    let shown = serde_json::to_value(problem).expect("a problem is JSON");
    let errors = shown["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(errors.len() <= MAX_MISTAKES);
    for error in errors {
        let detail = error["detail"].as_str().expect("says what was expected");
        assert!(detail.len() < 1_024, "{detail}");
    }
}

/// Each part of a batch is the push that it is alone, whether or not it has a key.
fn among_others(body: &str, alone: &Result<Push, Problem>) {
    if let Err(problem) = batch::parse(body, NOW) {
        refused(&problem);
    }
    let Ok(given) = members(body) else {
        return;
    };
    let has_key = given.iter().any(|(name, _)| name == KEY_MEMBER);
    let body = body.trim();
    let mut items = vec![body.to_owned()];
    if !has_key && !given.is_empty() {
        items.push(format!("{{\"{KEY_MEMBER}\":\"k\",{}", &body[1..]));
    }
    let Ok(items) = batch::parse(&format!("{{\"items\":[{}]}}", items.join(",")), NOW) else {
        return;
    };
    let comparable = serde_json::from_str::<Value>(body).is_ok();
    for (at, item) in items.into_iter().enumerate() {
        if let Ok(item) = &item {
            if at == 1 {
                assert_eq!(item.key.as_ref().map(IdempotencyKey::as_str), Some("k"));
            }
            assert!(at == 1 && !comparable || item.fingerprint == fingerprint(body));
        }
        if !has_key {
            let item = item.map(|item| item.push);
            assert_eq!(format!("{item:?}"), format!("{alone:?}"));
        }
    }
}

/// A push is over after it is delivered, and both are in the future unless it is said to have lapsed.
fn times(push: &Push) {
    let (deliver_at, expires_at) = (push.deliver_at, push.draft.expires_at);
    let has_passed = [deliver_at, expires_at].into_iter().flatten().any(|at| at <= NOW);
    assert_eq!(push.lapsed.is_some(), has_passed);
    if let Some(problem) = &push.lapsed {
        return refused(problem);
    }
    assert!(deliver_at.is_none_or(|at| at.since(NOW) <= MAX_DELIVER_AHEAD_MS));
    assert!(expires_at.is_none_or(|at| at.since(NOW) <= MAX_EXPIRE_AHEAD_MS));
    assert!(expires_at.is_none_or(|at| at > deliver_at.unwrap_or(NOW)));
}

/// What a push finds when all that it names is there.
fn found() -> Found {
    Found {
        template: version(TEMPLATE.clone()),
        kind: Some(NotificationType {
            id: "t".to_owned(),
            name: "T".to_owned(),
            icon: None,
            color: None,
        }),
    }
}

fn version(template: Template) -> FoundTemplate {
    FoundTemplate::Version(Box::new(TemplateVersion {
        key: TemplateKey::parse("k").expect("is a key"),
        version: Version::parse("1").expect("is a version"),
        template,
        created_at: NOW,
    }))
}

/// What is told to a user, in the record and at clients of either case.
fn stored_and_shown(content: Content, user: &UserId) {
    let is_label = |text: &String| text.chars().count() <= MAX_LABEL_CHARS;
    assert!((1..=MAX_TITLE_CHARS).contains(&content.title.chars().count()));
    assert!(content.content.len() <= MAX_CONTENT_BYTES);
    assert!(content.category.as_ref().is_none_or(is_label));
    assert!(
        content
            .kind
            .as_ref()
            .is_none_or(|kind| is_label(&kind.id) && is_label(&kind.name))
    );
    assert!(
        content
            .collapse_key
            .as_ref()
            .is_none_or(|key| is_label(key) && !key.is_empty())
    );
    if let Some(action) = &content.action {
        assert!(action.url.chars().count() <= MAX_LINK_CHARS && markdown::is_safe_link(&action.url));
        assert!(action.text.as_ref().is_none_or(is_label));
    }
    if let Some(data) = &content.data {
        assert!(data.get().len() <= MAX_DATA_BYTES && members(data.get()).is_ok());
    }
    let stored = serde_json::to_string(&content).expect("content is JSON");
    let loaded: Content = serde_json::from_str(&stored).expect("what was stored is loaded");
    assert_eq!(serde_json::to_string(&loaded).ok().as_ref(), Some(&stored));
    let id = NotificationId::generate(NOW, [7; 10]);
    let recipient_id = id.recipient(user);
    let delivery = Delivery::NEW;
    let event = ServerEvent::NotificationNew {
        item: Rc::new(Item {
            seq: 1,
            recipient_id,
            notification: Notification {
                id,
                created_at: NOW,
                content,
            },
            folder: Folder::Inbox,
            read_at: None,
            seen_at: None,
            delivery,
            receipt: Receipt {
                recipient_id,
                seq: 1,
                delivery_status: delivery.status(),
                online: false,
            },
        }),
        unread: 1,
        redelivered: Redelivered::No,
    };
    let [snake, camel] = [PayloadCase::Snake, PayloadCase::Camel].map(|case| {
        let data = event.encode(case).expect("a view is JSON");
        data.arg_at(0).expect("has a payload").into_owned()
    });
    same_but_keys(snake.as_str(), camel.as_str());
}

/// Any JSON with its keys in camelCase: still JSON, and the same but for the keys. What is no JSON stays as it is.
fn in_camel_case(json: &str) {
    // Of all that is shown only `data` is as deep as its author likes, and it is not looked into.
    if json.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > 512 {
        return;
    }
    let renamed = camel(json);
    if Json::new(json).is_ok() {
        assert!(Json::new(renamed.as_str()).is_ok(), "{renamed} is no JSON");
    }
    same_but_keys(json, &renamed);
    assert_eq!(camel(&renamed), renamed);
}

fn same_but_keys(before: &str, after: &str) {
    if let Ok(before) = members(before) {
        let after = members(after).expect("an object stays one");
        assert_eq!(after.len(), before.len());
        for ((key, value), (renamed, same)) in before.into_iter().zip(after) {
            assert_eq!(renamed, in_camel(&key));
            if key == "data" {
                assert_eq!(same.get(), value.get());
            } else {
                same_but_keys(value.get(), same.get());
            }
        }
    } else if let Ok(before) = elements(before) {
        let after = elements(after).expect("a list stays one");
        assert_eq!(after.len(), before.len());
        for (value, same) in before.into_iter().zip(after) {
            same_but_keys(value.get(), same.get());
        }
    } else {
        assert_eq!(after, before);
    }
}

fn in_camel(key: &str) -> String {
    let mut after_underscore = false;
    let letters = key.chars().filter_map(|letter| {
        let raised = std::mem::replace(&mut after_underscore, letter == '_');
        match letter {
            '_' => None,
            _ if raised => Some(letter.to_ascii_uppercase()),
            _ => Some(letter),
        }
    });
    letters.collect()
}

/// A template, and after the first line the data that is put into it: what is made of them holds to the limits, and
/// is the template with the data in place of the names.
fn template(text: &str) {
    let (first, second) = text.split_once('\n').unwrap_or((text, "{}"));
    if let Ok(key) = TemplateKey::parse(first) {
        assert!((1..=MAX_KEY_BYTES).contains(&key.as_str().len()));
    }
    if let Ok(version) = Version::parse(first) {
        assert_eq!(Version::parse(&version.get().to_string()), Ok(version));
    }
    if let (Ok(placeholder), Ok(data), Ok(value)) = (
        Placeholder::parse(first),
        Data::parse(second),
        serde_json::from_str::<Value>(second),
    ) {
        let there = value
            .pointer(&placeholder.pointer())
            .is_some_and(|value| !value.is_null());
        assert_eq!(data.has(&placeholder), there);
    }
    let template = match Template::parse(first) {
        Ok(template) => template,
        Err(problem) => return refused(&problem),
    };
    let stored = template.store().expect("a template is JSON");
    assert_eq!(Template::load(&stored).ok().as_ref(), Some(&template));
    let Ok(data) = Data::parse(second) else {
        return;
    };
    match template.render(&data, "/data") {
        Ok(rendered) => {
            let filled = |text: &str| filled(text, second);
            assert_eq!(rendered.title, filled(template.title.as_str()));
            assert_eq!(rendered.content, filled(template.content.as_str()));
            assert!((1..=MAX_TITLE_CHARS).contains(&rendered.title.chars().count()));
            assert!(rendered.content.len() <= MAX_CONTENT_BYTES);
            if let (Some(action), Some(template)) = (&rendered.action, &template.action) {
                assert_eq!(action.url, filled(template.url.as_str()));
                assert!(markdown::is_safe_link(&action.url));
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            assert!(
                mistakes
                    .iter()
                    .all(|mistake| mistake.pointer.starts_with("/data"))
            );
        }
    }
    let request = RenderRequest { data, version: None };
    let found = Found {
        template: version(template),
        ..found()
    };
    match Preview::new(&request, found) {
        Ok(preview) => in_camel_case(&serde_json::to_string(&preview).expect("a preview is JSON")),
        Err(problem) => refused(&problem),
    }
}

/// `text` with the data in place of the names between braces.
fn filled(text: &str, data: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once("{{") {
        let (name, after) = opened.split_once("}}").expect("a placeholder ends");
        out.push_str(before);
        out.push_str(&named(data, name.trim().split('.')).unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The text that a name stands for: the last of a key counts, numbers are as they were written.
fn named<'n>(json: &str, mut words: impl Iterator<Item = &'n str>) -> Option<String> {
    let Some(word) = words.next() else {
        return match serde_json::from_str(json) {
            Ok(Value::String(text)) => Some(text),
            Ok(Value::Null) => None,
            _ => Some(json.to_owned()),
        };
    };
    let value: &RawValue = if let Ok(members) = members(json) {
        members.into_iter().rev().find(|(key, _)| key == word)?.1
    } else {
        elements(json).ok()?.get(word.parse::<usize>().ok()?)?
    };
    named(value.get(), words)
}

/// The bodies of the lesser requests.
fn bodies(text: &str) {
    let read_all = Command::read_all(text);
    let seen = Command::seen(text);
    for (event, command) in [("mark:all:read", read_all), ("mark:seen", seen)] {
        match command {
            Ok(command) => as_an_event(event, text.trim(), command),
            Err(problem) => refused(&problem),
        }
    }
    match Preferences::parse(text) {
        Ok(preferences) => {
            assert!(preferences.muted.len() <= MAX_MUTED);
            for category in &preferences.muted {
                assert!((1..=MAX_LABEL_CHARS).contains(&category.chars().count()));
                assert!(preferences.mutes(Some(category)));
            }
            assert!(!preferences.mutes(None));
            let shown = serde_json::to_string(&preferences).expect("preferences are JSON");
            assert_eq!(Preferences::parse(&shown), Ok(preferences));
        }
        Err(problem) => refused(&problem),
    }
    if let Err(problem) = RenderRequest::parse(text) {
        refused(&problem);
    }
    let (first, rest) = text.split_once('\n').unwrap_or(("t", text));
    if let Ok(id) = TypeId::parse(first) {
        assert!((1..=MAX_LABEL_CHARS).contains(&id.as_str().chars().count()));
        match notification_type::parse(id, rest) {
            Ok(kind) => {
                assert_eq!(kind.id, first);
                assert!((1..=MAX_LABEL_CHARS).contains(&kind.name.chars().count()));
                let stored = serde_json::to_string(&kind).expect("a type is JSON");
                assert_eq!(serde_json::from_str::<NotificationType>(&stored).ok(), Some(kind));
            }
            Err(problem) => refused(&problem),
        }
    }
    about_others(text);
    if let Ok(mut object) = JsonObject::parse_body(text) {
        object.take_text("reason", MAX_LABEL_CHARS);
        if let Err(problem) = object.finish() {
            refused(&problem);
        }
    }
}

/// The bodies of services about many users at once, and what a queue brings.
fn about_others(text: &str) {
    match CustomEvent::parse(text) {
        Ok(event) => {
            assert!((1..=MAX_RECIPIENTS).contains(&event.recipients.len()));
            assert!((1..=MAX_LABEL_CHARS).contains(&event.name.chars().count()));
            assert!(!is_reserved(&event.name));
            assert!(event.rooms().count() > 0);
            assert!(event.data.get().len() <= MAX_DATA_BYTES);
        }
        Err(problem) => refused(&problem),
    }
    match MemberChanges::parse(text) {
        Ok(changes) => {
            assert!(changes.users().count() > 0);
            assert!(changes.add.is_disjoint(&changes.remove));
        }
        Err(problem) => refused(&problem),
    }
    match presence::parse_query(text) {
        Ok(users) => assert!(!users.is_empty()),
        Err(problem) => refused(&problem),
    }
    if let Err(problem) = QueuedPush::parse(text, NOW) {
        refused(&problem);
    }
}

/// The names of rooms: each room has one, and whose members can be changed is a department's or a room's.
fn rooms(text: &str) {
    let Ok(room) = Room::parse(text) else {
        assert!(SharedRoom::parse(text).is_err());
        assert!(member_changes::changeable_room(text).is_err());
        return;
    };
    let name = room.to_string();
    assert!(name == text || text == "announcements");
    assert!(name.len() <= "user:".len() + MAX_NAME_BYTES || name == "admin:notifications");
    assert!(!name.contains(char::is_control));
    assert_eq!(Room::parse(&name).as_ref(), Ok(&room));
    let changeable = member_changes::changeable_room(text);
    match room {
        Room::User(user) => {
            assert_eq!(name, format!("user:{}", user.as_str()));
            assert!(SharedRoom::parse(text).is_err() && changeable.is_err());
        }
        Room::Shared(shared) => {
            assert_eq!(SharedRoom::parse(text).as_ref(), Ok(&shared));
            let is_chosen = matches!(shared, SharedRoom::Dept(_) | SharedRoom::Named(_));
            assert_eq!(changeable.ok(), is_chosen.then_some(shared));
        }
    }
}

/// What a body asks for, the event with the same argument asks for as well.
fn as_an_event(name: &str, argument: &str, command: Command) {
    let stored = serde_json::to_string(&command).expect("a command is JSON");
    assert_eq!(serde_json::from_str::<Command>(&stored).ok(), Some(command));
    let mut event = EventData::new(name).expect("is no reserved name");
    if !argument.is_empty() {
        event = event.json_arg(&Json::new(argument).expect("is JSON"));
    }
    assert_eq!(
        ClientEvent::parse(Namespace::Notifications, &event),
        Ok(ClientEvent::Command(command))
    );
}

/// A request line, and after it the line of `If-None-Match`.
fn request(text: &str) {
    let (line, header) = text.split_once('\n').unwrap_or((text, ""));
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments: Vec<_> = path.split('/').skip(1).collect();
    route(method, &segments);
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    page(|wanted| {
        pairs
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
    });
    let digits: String = header.chars().filter(char::is_ascii_digit).take(19).collect();
    for seq in [0, digits.parse().unwrap_or(u64::MAX)] {
        if matches_entity_tag(header, seq) {
            assert!(header.contains('*') || header.contains(&format!("\"{seq}\"")));
        }
        let tag = entity_tag(seq);
        assert!(matches_entity_tag(&tag, seq) && matches_entity_tag(&format!("{header}, {tag}"), seq));
        assert!(!matches_entity_tag(&tag, seq ^ 1));
    }
}

/// A path has the operations of its row and no others.
fn route(method: &str, segments: &[&str]) {
    match Operation::parse(method, segments) {
        Ok(route) => {
            assert_eq!(route.endpoint.method, method);
            let expected: Vec<_> = route.endpoint.path.split('/').skip(1).collect();
            assert_eq!(expected.len(), segments.len());
            for (expected, segment) in expected.iter().zip(segments) {
                assert!(expected.starts_with('{') || expected == segment);
            }
            assert!(matches!(
                (route.operation, route.endpoint.access),
                (Operation::Public(_), Access::Public)
                    | (Operation::Service(_), Access::Service(_))
                    | (Operation::User(_), Access::User)
            ));
        }
        Err(RouteError::MethodNotAllowed(allowed)) => {
            assert!(!allowed.is_empty() && !allowed.contains(&method));
            for method in allowed {
                assert!(Operation::parse(method, segments).is_ok());
            }
        }
        Err(RouteError::NotFound) => {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let again = Operation::parse(method, segments).map(|route| route.operation);
                assert_eq!(again, Err(RouteError::NotFound));
            }
        }
    }
}

/// The parameters of lists.
fn page(lookup: impl Fn(&str) -> Option<String>) {
    match PageRequest::parse(&lookup) {
        Ok(page) => {
            assert!((1..=MAX_LIMIT).contains(&page.limit));
            assert_eq!(page.before.is_some(), lookup("cursor").is_some());
            assert_eq!(
                page.is_selective(),
                lookup("type").is_some() || lookup("category").is_some()
            );
            let kind = page.kind.clone().map(|id| NotificationType {
                id,
                name: String::new(),
                icon: None,
                color: None,
            });
            let category = page.category.clone();
            assert!(page.selects(&Content {
                kind,
                category,
                ..Content::default()
            }));
            assert_ne!(page.selects(&Content::default()), page.is_selective());
            let sent = serde_json::to_string(&page).expect("a page is JSON");
            assert_eq!(serde_json::from_str::<PageRequest>(&sent).ok(), Some(page));
        }
        Err(error) => {
            assert!(lookup(error.parameter()).is_some());
            refused(&error.into());
        }
    }
    let (status, limit, cursor) = (lookup("status"), lookup("limit"), lookup("cursor"));
    match RecipientsRequest::parse(status.as_deref(), limit.as_deref(), cursor.as_deref()) {
        Ok(request) => {
            assert!((1..=MAX_LIMIT).contains(&request.limit));
            assert_eq!(request.status.map(|status| status.name().to_owned()), status);
            assert_eq!(request.after.is_some(), cursor.is_some());
        }
        Err(problem) => refused(&problem),
    }
}

/// Texts that this service made, or did not.
fn passed_back(text: &str) {
    rooms(text);
    let user = UserId::parse("u1").expect("is an id");
    if let Ok(cursor) = Cursor::parse(text) {
        assert_eq!(Cursor::parse(&cursor.encode()), Ok(cursor));
    }
    if let Ok(cursor) = UserCursor::parse(text) {
        assert_eq!(UserCursor::parse(&cursor.encode()), Ok(cursor));
    }
    if let Ok(at) = Timestamp::parse_iso(text)
        && at < YEAR_10000
    {
        assert_eq!(Timestamp::parse_iso(&at.to_string()), Ok(at));
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
    let refused = identify(NOW, &CONFIG, &KEYS, &credentials).expect_err("nobody signs by chance");
    assert_ne!(refused, AuthError::UserMismatch);
    if let Ok(keys) = ServiceKeys::parse(fourth.unwrap_or_default()) {
        assert!(service_key::authenticate(NOW, &keys, &KEYS, first).is_err());
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
    let case = query.wishes(Recovery::On, PayloadCase::Snake).case;
    assert_eq!(case == PayloadCase::Camel, query.case.as_deref() == Some("camel"));
    let wishes = query.wishes(Recovery::Off, PayloadCase::Camel);
    assert_eq!(
        (wishes.recovery, wishes.case),
        (Recovery::Off, PayloadCase::Camel)
    );
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
