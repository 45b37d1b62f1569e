//! Notification types that are defined once and then named by id: `PUT /v1/types/{id}` (DESIGN 9).

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::json_object::JsonObject;
use crate::notification::NotificationType;
use crate::problem::Problem;
use crate::push::{MAX_LABEL_CHARS, required_text};

/// The id of a notification type: 1 to 128 characters that are not all white space.
///
/// ```
/// # use dormouse_domain::notification_type::TypeId;
/// assert_eq!(TypeId::parse("order.created")?.as_str(), "order.created");
/// assert!(TypeId::parse(" ").is_err());
/// # Ok::<(), dormouse_domain::notification_type::TypeIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TypeId(String);

/// Why a text is no id of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeIdError {
    /// Nothing to see there.
    #[error("the id of a type must not be empty")]
    Empty,
    /// More than [`MAX_LABEL_CHARS`]; holds the length found.
    #[error("the id of a type has at most 128 characters, this one has {0}")]
    TooLong(usize),
}

impl TypeId {
    /// Checks the length.
    ///
    /// # Errors
    /// [`TypeIdError`].
    pub fn parse(text: &str) -> Result<Self, TypeIdError> {
        let length = text.chars().count();
        if text.trim().is_empty() {
            Err(TypeIdError::Empty)
        } else if length > MAX_LABEL_CHARS {
            Err(TypeIdError::TooLong(length))
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// Reads `raw`, the value of `name` in `object`, where a mistake is noted.
    pub(crate) fn read(object: &mut JsonObject<'_>, name: &str, raw: &RawValue) -> Option<Self> {
        serde_json::from_str::<String>(raw.get())
            .map_err(|_| "expected text".to_owned())
            .and_then(|text| Self::parse(&text).map_err(|error| error.to_string()))
            .map_err(|detail| object.mistake(name, detail))
            .ok()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the body of `PUT /v1/types/{id}`.
///
/// # Errors
/// One [`Problem`] that names every mistake in the body.
pub fn parse(id: TypeId, body: &str) -> Result<NotificationType, Problem> {
    let mut object = JsonObject::parse_body(body)?;
    let name = required_text(&mut object, "name", MAX_LABEL_CHARS);
    let icon = object.take_text("icon", MAX_LABEL_CHARS);
    let color = object.take_text("color", MAX_LABEL_CHARS);
    object.finish()?;
    Ok(NotificationType {
        id: id.0,
        name: name.unwrap_or_default(),
        icon,
        color,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn an_id_has_one_to_128_characters() {
        let longest = "é".repeat(128);
        for id in ["a", "order.created", "two words", longest.as_str()] {
            assert_eq!(TypeId::parse(id).unwrap().as_str(), id);
        }
        assert_eq!(TypeId::parse(""), Err(TypeIdError::Empty));
        assert_eq!(TypeId::parse(" \n"), Err(TypeIdError::Empty));
        assert_eq!(TypeId::parse(&"x".repeat(129)), Err(TypeIdError::TooLong(129)));
    }

    #[test]
    fn a_type_is_read_and_every_mistake_is_named() {
        let id = || TypeId::parse("exam").unwrap();
        let exam = parse(id(), r##"{"name":"Exam","icon":"calendar","color":"#1890ff"}"##).unwrap();
        let expected = NotificationType {
            id: "exam".to_owned(),
            name: "Exam".to_owned(),
            icon: Some("calendar".to_owned()),
            color: Some("#1890ff".to_owned()),
        };
        assert_eq!(exam, expected);
        let problem = parse(id(), r#"{"name":" ","icon":1,"color":[],"id":"x"}"#).unwrap_err();
        let problem = serde_json::to_value(problem).unwrap();
        assert_eq!(problem["code"], "unknown_field");
        let pointers: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["pointer"])
            .collect();
        assert_eq!(pointers, ["/id", "/name", "/icon", "/color"]);
    }
}
