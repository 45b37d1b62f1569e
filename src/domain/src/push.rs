//! What a service may ask for in `POST /v1/notifications` (DESIGN 7, 10), checked completely before
//! anything is done.

use serde_json::value::RawValue;

use crate::id::UserId;
use crate::json_object::JsonObject;
pub use crate::json_object::Mistake;
use crate::markdown::is_safe_link;
use crate::notification::{Action, Content, NotificationType, Priority, Sender};
use crate::problem::{Code, Problem};

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

/// A push that may be stored.
#[derive(Clone, Debug)]
pub struct Push {
    /// Whom it is for, in the order asked for, each once.
    pub recipients: Vec<Recipient>,
    /// What they are told.
    pub content: Content,
}

/// One entry of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A user's own room.
    User(UserId),
    /// Not addressable: the text as given (shortened) and why.
    Rejected {
        /// What was asked for.
        to: String,
        /// What was expected.
        reason: String,
    },
}

impl Push {
    /// Reads and checks a request body.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake in the body.
    pub fn parse(body: &str) -> Result<Self, Problem> {
        let mut object = JsonObject::parse_body(body)?;
        let recipients = recipients(&mut object);
        let content = content(&mut object);
        object.finish()?;
        let push = Self { recipients, content };
        if push.users().next().is_none() {
            return Err(Problem::new(Code::InvalidRecipient).errors(push.rejections()));
        }
        Ok(push)
    }

    /// The users it is for.
    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.recipients.iter().filter_map(|recipient| match recipient {
            Recipient::User(user) => Some(user),
            Recipient::Rejected { .. } => None,
        })
    }

    fn rejections(&self) -> Vec<Mistake> {
        let rejected = self.recipients.iter().enumerate();
        rejected
            .filter_map(|(i, recipient)| match recipient {
                Recipient::User(_) => None,
                Recipient::Rejected { reason, .. } => Some(Mistake {
                    pointer: format!("/to/{i}"),
                    detail: reason.clone(),
                }),
            })
            .collect()
    }
}

fn recipients(object: &mut JsonObject<'_>) -> Vec<Recipient> {
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
    match to.split_once(':') {
        Some(("user", id)) => match UserId::parse(id) {
            Ok(user) => Recipient::User(user),
            Err(error) => rejected(&to, error.to_string()),
        },
        _ => rejected(&to, "expected user:ID"),
    }
}

fn rejected(to: &str, reason: impl Into<String>) -> Recipient {
    Recipient::Rejected {
        to: to.chars().take(MAX_LABEL_CHARS).collect(),
        reason: reason.into(),
    }
}

fn content(object: &mut JsonObject<'_>) -> Content {
    let title = required_text(object, "title", MAX_TITLE_CHARS);
    let text: Option<String> = object.take_as("content", "text");
    if let Some(text) = &text
        && text.len() > MAX_CONTENT_BYTES
    {
        object.mistake(
            "content",
            format!("at most {MAX_CONTENT_BYTES} bytes, this has {}", text.len()),
        );
    }
    Content {
        title: title.unwrap_or_default(),
        content: text.unwrap_or_default(),
        kind: notification_type(object),
        sender: sender(object),
        action: action(object),
        data: data(object),
        category: object.take_text("category", MAX_LABEL_CHARS),
        priority: object
            .take_as("priority", "one of low, normal, high")
            .unwrap_or(Priority::Normal),
        expires_at: None,
        collapse_key: None,
    }
}

fn notification_type(object: &mut JsonObject<'_>) -> Option<NotificationType> {
    let mut fields = match object.take("type") {
        None => return None,
        Some(raw) if raw.get().starts_with('"') => {
            object.mistake(
                "type",
                "no type has this id: give it inline, as {id, name, icon, color}",
            );
            return None;
        }
        Some(raw) => {
            let Ok(fields) = JsonObject::parse(raw.get(), "/type") else {
                object.mistake("type", "expected an object {id, name, icon, color}");
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
    id.map(|id| NotificationType {
        name: name.unwrap_or_else(|| id.clone()),
        id,
        icon,
        color,
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
        fields.mistake("url", "expected an http, https, mailto or relative link");
    }
    let text = fields.take_text("text", MAX_LABEL_CHARS);
    fields.finish_into(object);
    url.map(|url| Action { url, text })
}

fn data(object: &mut JsonObject<'_>) -> Option<Box<RawValue>> {
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
    // Parsed only to refuse what other readers would stumble over: depth over 128, lone surrogates.
    if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(raw.get()).is_err() {
        object.mistake(
            "data",
            "expected an object of at most 128 levels of well-formed JSON",
        );
        return None;
    }
    Some(raw.to_owned())
}

/// Text that must be there and not be empty; one mistake is named, whatever is wrong.
fn required_text(object: &mut JsonObject<'_>, name: &str, max: usize) -> Option<String> {
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

    fn refusal(body: &str) -> (u16, String, Vec<String>) {
        let problem = serde_json::to_value(Push::parse(body).unwrap_err()).unwrap();
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
        )
        .unwrap();
        let users: Vec<_> = push.users().map(UserId::as_str).collect();
        assert_eq!(users, ["41", "42"]);
        assert_eq!(push.recipients.len(), 3);
        assert_eq!(push.content.kind.unwrap().name, "order.created");
        assert_eq!(push.content.priority, Priority::High);
        assert_eq!(push.content.data.unwrap().get(), r#"{"order_id":1042}"#);
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
            r#"{"to":["user:","dept:cs",7],"title":"a"}"#,
            422,
            "invalid_recipient",
            &["/to/0", "/to/1", "/to/2"],
        );
        check(
            r#"{"to":["user:1"],"title":"a","type":"order"}"#,
            422,
            "invalid_request",
            &["/type"],
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

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in "(?s).{0,300}") {
            let _ = Push::parse(&body);
        }

        #[test]
        fn any_json_under_the_known_names_is_read_or_refused(
            name in "to|title|content|type|sender|action|data|priority|category|x",
            value in "null|true|-1e999|\"a\"|\\[\\]|\\{\\}|\\{\"id\":1\\}|\\[\"user:\\\\u0000\"\\]|(\\[){1,200}",
        ) {
            let body = format!(r#"{{"to":["user:1"],"title":"t",{}:{value}}}"#, Value::String(name));
            let _ = Push::parse(&body);
        }
    }
}
