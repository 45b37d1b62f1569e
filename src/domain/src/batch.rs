//! Many pushes in one request, `POST /v1/notifications/batch` (DESIGN 9, 10). Each is checked by itself:
//! what is wrong with one says nothing about the others.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::idempotency::{IdempotencyKey, IdempotencyKeyError, KEY_MEMBER, fingerprint};
use crate::json_object::{JsonObject, Mistake};
use crate::problem::{Code, Problem};
use crate::push::Push;
use crate::time::Timestamp;

/// The largest body, in bytes.
pub const MAX_BYTES: usize = 1_000_000;
/// Most pushes in one request.
pub const MAX_ITEMS: usize = 100;
/// Most recipients of all its pushes together.
pub const MAX_RECIPIENTS: usize = 1_000;

/// One push of a batch.
#[derive(Clone, Debug)]
pub struct BatchItem {
    /// Its key, when it has one.
    pub key: Option<IdempotencyKey>,
    /// What its body is; the same as of a push outside a batch.
    pub fingerprint: String,
    /// The push.
    pub push: Push,
}

/// Reads and checks a request body that came at `now`. Pointers in an item's problem are relative to the
/// item.
///
/// # Errors
/// One [`Problem`] for what is wrong with the batch as a whole.
pub fn parse(body: &str, now: Timestamp) -> Result<Vec<Result<BatchItem, Problem>>, Problem> {
    let mut object = JsonObject::parse_body(body)?;
    let items = items(&mut object);
    object.finish()?;
    Ok(items.into_iter().map(|raw| item(raw.get(), now)).collect())
}

fn items<'a>(object: &mut JsonObject<'a>) -> Vec<&'a RawValue> {
    let expected = format!("expected a list of 1 to {MAX_ITEMS} pushes");
    let before = object.invalid.len();
    let Some(raw) = object.take("items") else {
        if object.invalid.len() == before {
            object.mistake("items", expected);
        }
        return Vec::new();
    };
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        object.mistake("items", expected);
        return Vec::new();
    };
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        object.mistake("items", format!("{expected}, this has {}", items.len()));
        return Vec::new();
    }
    let recipients: usize = items.iter().map(|item| recipients(item.get())).sum();
    if recipients > MAX_RECIPIENTS {
        let detail = format!("expected at most {MAX_RECIPIENTS} recipients in all, these have {recipients}");
        object.mistake("items", detail);
    }
    items
}

/// How many recipients an item asks for, whatever they are.
fn recipients(item: &str) -> usize {
    #[derive(Deserialize)]
    struct Addressed<'a> {
        #[serde(borrow)]
        to: Vec<&'a RawValue>,
    }
    serde_json::from_str::<Addressed<'_>>(item).map_or(0, |addressed| addressed.to.len())
}

fn item(json: &str, now: Timestamp) -> Result<BatchItem, Problem> {
    let object = JsonObject::parse(json, "").map_err(|_| {
        Problem::new(Code::InvalidRequest).errors(vec![Mistake {
            pointer: String::new(),
            detail: "expected an object".to_owned(),
        }])
    })?;
    read(object, json, now)
}

/// Reads and checks a push with its key: `object`, which was split from `json`.
///
/// # Errors
/// One [`Problem`] that names every mistake, or that the key is none.
pub(crate) fn read(mut object: JsonObject<'_>, json: &str, now: Timestamp) -> Result<BatchItem, Problem> {
    let key = key(&mut object)?;
    Ok(BatchItem {
        key,
        fingerprint: fingerprint(json),
        push: Push::read(object, now)?,
    })
}

/// The key is looked at first, as the header of a single push is.
fn key(object: &mut JsonObject<'_>) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(raw) = object.take(KEY_MEMBER) else {
        return Ok(None);
    };
    let text: Option<String> = serde_json::from_str(raw.get()).ok();
    match text.as_deref().map(IdempotencyKey::parse) {
        Some(Ok(key)) => Ok(Some(key)),
        Some(Err(_)) | None => Err(no_key()),
    }
}

/// What is said where a key is expected and is not there, or is none.
pub(crate) fn no_key() -> Problem {
    Problem::new(Code::InvalidIdempotencyKey).errors(vec![Mistake {
        pointer: format!("/{KEY_MEMBER}"),
        detail: IdempotencyKeyError.to_string(),
    }])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_158_000_000);

    fn shown(problem: &Problem) -> (String, Vec<String>) {
        let problem = serde_json::to_value(problem).unwrap();
        let errors = problem["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        (
            problem["code"].as_str().unwrap().to_owned(),
            errors
                .iter()
                .map(|e| e["pointer"].as_str().unwrap().to_owned())
                .collect(),
        )
    }

    fn push(users: usize) -> Value {
        let to: Vec<_> = (0..users).map(|i| format!("user:{i}")).collect();
        json!({"to": to, "title": "t"})
    }

    #[test]
    fn each_item_is_read_by_itself() {
        let body = json!({"items": [
            {"idempotency_key": "a1", "to": ["user:1"], "title": "t"},
            push(1),
            {"to": ["user:1"]},
            {"to": ["usr:2"], "title": "t"},
            {"to": ["user:1"], "title": "t", "colour": 1},
            {"to": ["user:1"], "title": "", "idempotency_key": "a b"},
            {"to": ["user:1"], "title": "t", "idempotency_key": 7},
            {"to": ["user:1"], "title": "t", "idempotency_key": null},
            [],
            null,
        ]});
        let items = parse(&body.to_string(), NOW).unwrap();
        let keys: Vec<_> = items
            .iter()
            .map(|item| match item {
                Ok(item) => item.key.as_ref().map_or("none", IdempotencyKey::as_str),
                Err(_) => "refused",
            })
            .collect();
        assert_eq!(
            keys,
            [
                "a1", "none", "refused", "refused", "refused", "refused", "refused", "none", "refused",
                "refused"
            ]
        );
        let problems: Vec<_> = items.iter().filter_map(|item| item.as_ref().err()).collect();
        let problems: Vec<_> = problems.into_iter().map(shown).collect();
        let expected = [
            ("invalid_request", "/title"),
            ("invalid_recipient", "/to/0"),
            ("unknown_field", "/colour"),
            ("invalid_idempotency_key", "/idempotency_key"),
            ("invalid_idempotency_key", "/idempotency_key"),
            ("invalid_request", ""),
            ("invalid_request", ""),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(code, pointer)| ((*code).to_owned(), vec![(*pointer).to_owned()]))
            .collect();
        assert_eq!(problems, expected);
    }

    #[test]
    fn an_item_is_the_same_push_as_alone() {
        let item = r#"{"idempotency_key":"k", "title":"t","to":["user:1"]}"#;
        let items = parse(&format!(r#"{{"items":[{item}]}}"#), NOW).unwrap();
        assert_eq!(
            items[0].as_ref().unwrap().fingerprint,
            fingerprint(r#"{"to":["user:1"],"title":"t"}"#)
        );
    }

    #[test]
    fn what_is_wrong_with_the_whole_is_one_problem() {
        let many = |items: usize, users: usize| json!({"items": vec![push(users); items]}).to_string();
        assert_eq!(parse(&many(100, 10), NOW).unwrap().len(), 100);
        assert_eq!(parse(&many(10, 100), NOW).unwrap().len(), 10);
        for (body, code, pointers) in [
            ("", "malformed_json", vec![]),
            ("[]", "malformed_json", vec![]),
            ("{}", "invalid_request", vec!["/items"]),
            (r#"{"items":null}"#, "invalid_request", vec!["/items"]),
            (r#"{"items":{}}"#, "invalid_request", vec!["/items"]),
            (r#"{"items":[]}"#, "invalid_request", vec!["/items"]),
            (r#"{"items":[1],"items":[2]}"#, "invalid_request", vec!["/items"]),
            (r#"{"items":[1],"more":1}"#, "unknown_field", vec!["/more"]),
            (&many(101, 1), "invalid_request", vec!["/items"]),
            (&many(11, 91), "invalid_request", vec!["/items"]),
        ] {
            let (found, places) = shown(&parse(body, NOW).unwrap_err());
            assert_eq!(
                (found.as_str(), places),
                (code, pointers.into_iter().map(str::to_owned).collect()),
                "{body:.80}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(items in "(?s).{0,200}") {
            let _ = parse(&items, NOW);
            let _ = parse(&format!(r#"{{"items":{items}}}"#), NOW);
            let _ = parse(&format!(r#"{{"items":[{items}]}}"#), NOW);
        }
    }
}
