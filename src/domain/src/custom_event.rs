//! Events of a service's own: `POST /v1/events` (DESIGN 8). They are volatile: whoever is online gets them, and
//! nothing of them is stored.

use serde_json::value::{RawValue, to_raw_value};

use crate::event::is_reserved;
use crate::json_object::{JsonObject, Mistake};
use crate::problem::{Code, Problem};
use crate::push::{MAX_LABEL_CHARS, Recipient, data, recipients, rejections, required_text};
use crate::room::Room;

/// An event to be sent.
#[derive(Clone, Debug)]
pub struct CustomEvent {
    /// Whom it is for, in the order asked for, each once.
    pub recipients: Vec<Recipient>,
    /// 1 to 128 characters, and none of our own names.
    pub name: String,
    /// A JSON object, untouched.
    pub data: Box<RawValue>,
}

impl CustomEvent {
    /// Reads and checks a request body.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake in the body; without any, [`Code::ReservedEvent`], then
    /// [`Code::InvalidRecipient`] when there is nobody to send it to.
    pub fn parse(body: &str) -> Result<Self, Problem> {
        let mut object = JsonObject::parse_body(body)?;
        let recipients = recipients(&mut object);
        let name = name(&mut object);
        let data = data(&mut object);
        object.finish()?;
        if is_reserved(&name) {
            return Err(Problem::new(Code::ReservedEvent).errors(vec![Mistake {
                pointer: "/event".to_owned(),
                detail: "is a name of the service or of the library".to_owned(),
            }]));
        }
        if recipients.iter().all(|recipient| recipient.room().is_none()) {
            return Err(Problem::new(Code::InvalidRecipient).errors(rejections(&recipients)));
        }
        let data = match data {
            Some(data) => data,
            None => to_raw_value(&Nothing {}).map_err(|_| Problem::new(Code::InvalidRequest))?,
        };
        Ok(Self {
            recipients,
            name,
            data,
        })
    }

    /// The rooms it is for, users' own among them.
    pub fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.recipients.iter().filter_map(Recipient::room)
    }
}

#[derive(serde::Serialize)]
struct Nothing {}

fn name(object: &mut JsonObject<'_>) -> String {
    let name = required_text(object, "event", MAX_LABEL_CHARS).unwrap_or_default();
    if name.contains(char::is_control) {
        object.mistake("event", "must not contain control characters");
    }
    name
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn refused(body: &Value) -> (String, Vec<String>) {
        let problem = CustomEvent::parse(&body.to_string()).unwrap_err();
        let problem = serde_json::to_value(problem).unwrap();
        let errors = problem["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let pointers = errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap().to_owned());
        (problem["code"].as_str().unwrap().to_owned(), pointers.collect())
    }

    #[test]
    fn an_event_is_read() {
        let body = r#"{"to":["user:1","announcements","broadcast","dept:","user:1"],"event":"order:paid","data":{"a": 1}}"#;
        let event = CustomEvent::parse(body).unwrap();
        let rooms: Vec<_> = event.rooms().map(ToString::to_string).collect();
        assert_eq!(rooms, ["user:1", "broadcast"]);
        assert_eq!(event.recipients.len(), 3);
        assert_eq!(event.name, "order:paid");
        assert_eq!(event.data.get(), r#"{"a": 1}"#);
        for bare in [
            r#"{"to":["room:x"],"event":"x"}"#,
            r#"{"to":["room:x"],"event":"x","data":null}"#,
        ] {
            assert_eq!(CustomEvent::parse(bare).unwrap().data.get(), "{}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let event = |name: &str| json!({"to": ["user:1"], "event": name});
        let long = "x".repeat(129);
        let large = "x".repeat(17_000);
        for (body, code, pointers) in [
            (json!({}), "invalid_request", &["/to", "/event"] as &[&str]),
            (event(""), "invalid_request", &["/event"]),
            (event(&long), "invalid_request", &["/event"]),
            (event("a\nb"), "invalid_request", &["/event"]),
            (
                json!({"to": ["user:1"], "event": 7}),
                "invalid_request",
                &["/event"],
            ),
            (json!({"to": [], "event": "x"}), "invalid_request", &["/to"]),
            (
                json!({"to": vec!["user:1"; 101], "event": "x"}),
                "invalid_request",
                &["/to"],
            ),
            (
                json!({"to": ["user:1"], "event": "x", "data": []}),
                "invalid_request",
                &["/data"],
            ),
            (
                json!({"to": ["user:1"], "event": "x", "data": {"x": large}}),
                "invalid_request",
                &["/data"],
            ),
            (
                json!({"to": ["user:1"], "event": "x", "ack": 1}),
                "unknown_field",
                &["/ack"],
            ),
            (
                json!({"to": ["user:", "lobby"], "event": "x"}),
                "invalid_recipient",
                &["/to/0", "/to/1"],
            ),
            (event("notification:new"), "reserved_event", &["/event"]),
            (event("disconnect"), "reserved_event", &["/event"]),
        ] {
            let pointers: Vec<_> = pointers.iter().map(|&pointer| pointer.to_owned()).collect();
            assert_eq!(refused(&body), (code.to_owned(), pointers), "{body}");
        }
        assert!(CustomEvent::parse(&event(&"é".repeat(128)).to_string()).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in "(?s).{0,200}") {
            let _ = CustomEvent::parse(&body);
        }
    }
}
