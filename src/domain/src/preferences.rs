//! What a user does not want to hear of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::json_object::JsonObject;
use crate::problem::Problem;
use crate::push::MAX_LABEL_CHARS;

/// Most muted categories.
pub const MAX_MUTED: usize = 100;

/// A user's preferences. Its JSON is what a hub stores and what HTTP shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Categories whose notifications are suppressed: they never reach the inbox.
    pub muted: BTreeSet<String>,
}

impl Preferences {
    /// Reads the body of `PUT /v1/me/preferences`.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake.
    pub fn parse(body: &str) -> Result<Self, Problem> {
        let mut object = JsonObject::parse_body(body)?;
        let expected = "a list of at most 100 categories";
        let muted: Vec<String> = object.take_required("muted", expected).unwrap_or_default();
        if muted.len() > MAX_MUTED {
            object.mistake("muted", format!("expected {expected}, this has {}", muted.len()));
        }
        for (i, category) in muted.iter().enumerate() {
            let length = category.chars().count();
            if !(1..=MAX_LABEL_CHARS).contains(&length) {
                object.mistake_at(
                    &["muted", &i.to_string()],
                    format!("expected 1 to {MAX_LABEL_CHARS} characters, this has {length}"),
                );
            }
        }
        object.finish()?;
        Ok(Self {
            muted: muted.into_iter().collect(),
        })
    }

    /// Whether notifications of this category are suppressed.
    #[must_use]
    pub fn mutes(&self, category: Option<&str>) -> bool {
        category.is_some_and(|category| self.muted.contains(category))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn the_stored_format_is_unchanged() {
        let preferences = Preferences::parse(r#"{"muted":["b","a","b"]}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&preferences).unwrap(),
            r#"{"muted":["a","b"]}"#
        );
        assert!(preferences.mutes(Some("a")));
        assert!(!preferences.mutes(Some("c")));
        assert!(!preferences.mutes(None));
    }

    #[test]
    fn mistakes_are_named_by_place() {
        let many = format!(r#"{{"muted":[{}]}}"#, vec![r#""a""#; 101].join(","));
        let long = format!(r#"{{"muted":["a","{}"]}}"#, "x".repeat(129));
        for (body, status, pointer) in [
            ("{}", 422, "/muted"),
            (r#"{"muted":null}"#, 422, "/muted"),
            (r#"{"muted":"a"}"#, 422, "/muted"),
            (r#"{"muted":[1]}"#, 422, "/muted"),
            (r#"{"muted":["a",""]}"#, 422, "/muted/1"),
            (r#"{"muted":[],"loud":[]}"#, 400, "/loud"),
            (&many, 422, "/muted"),
            (&long, 422, "/muted/1"),
        ] {
            let problem = Preferences::parse(body).unwrap_err();
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!(problem.status(), status, "{body}");
            assert_eq!(json["errors"][0]["pointer"], pointer, "{body}");
        }
    }
}
