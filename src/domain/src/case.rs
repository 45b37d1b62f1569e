//! Payload keys in camelCase, for clients that want them so (DESIGN 5).

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json_object::members;

/// How the keys of payloads are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadCase {
    /// `created_at`.
    #[default]
    Snake,
    /// `createdAt`.
    Camel,
}

impl PayloadCase {
    /// Whether it is the one payloads are made in.
    #[must_use]
    pub fn is_snake(&self) -> bool {
        *self == Self::Snake
    }
}

/// The key whose value is the pusher's own: nothing in it is renamed.
const OPAQUE: &str = "data";

/// `json`, one of our own payloads, with its keys in camelCase.
///
/// ```
/// # use dormouse_domain::case::camel;
/// assert_eq!(camel(r#"{"read_at":null,"data":{"order_id":1}}"#), r#"{"readAt":null,"data":{"order_id":1}}"#);
/// ```
#[must_use]
pub fn camel(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    write_camel(json, &mut out);
    out
}

fn write_camel(json: &str, out: &mut String) {
    if let Ok(members) = members(json) {
        out.push('{');
        for (i, (key, value)) in members.into_iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            // Writing to a String does not fail.
            let _ = write!(out, "{}:", serde_json::Value::from(camel_key(&key)));
            if key == OPAQUE {
                out.push_str(value.get());
            } else {
                write_camel(value.get(), out);
            }
        }
        out.push('}');
    } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) {
        out.push('[');
        for (i, element) in elements.into_iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            write_camel(element.get(), out);
        }
        out.push(']');
    } else {
        out.push_str(json);
    }
}

fn camel_key(key: &str) -> String {
    let mut words = key.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_and_values_stay() {
        for (snake, expected) in [
            ("{}", "{}"),
            ("7", "7"),
            (r#""a_b""#, r#""a_b""#),
            (
                r#"{"action_url":"/a_b","content_html":null,"seq":18446744073709551615}"#,
                r#"{"actionUrl":"/a_b","contentHtml":null,"seq":18446744073709551615}"#,
            ),
            (
                r#"{"notifications":[{"created_at":"x","data":{"order_id":[{"a_b":1}]}}],"has_more":true}"#,
                r#"{"notifications":[{"createdAt":"x","data":{"order_id":[{"a_b":1}]}}],"hasMore":true}"#,
            ),
            (
                r#"{"sender":{"display_name":"a","id":"b"}}"#,
                r#"{"sender":{"displayName":"a","id":"b"}}"#,
            ),
        ] {
            assert_eq!(camel(snake), expected);
        }
    }
}
