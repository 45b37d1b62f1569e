//! Reading a JSON object field by field, so that every mistake in it is found in one pass.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Code, Problem};

/// One mistake in a request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// JSON pointer (RFC 6901) to the place.
    pub pointer: String,
    /// What was expected there.
    pub detail: String,
}

/// The raw members of an object, in order, and what was found wrong with them so far.
#[derive(Debug)]
pub struct JsonObject<'a> {
    pointer: String,
    members: Vec<(String, &'a RawValue)>,
    /// Fields nobody asked for.
    pub unknown: Vec<Mistake>,
    /// Fields with a wrong value.
    pub invalid: Vec<Mistake>,
}

impl<'a> JsonObject<'a> {
    /// Splits `json` into members. `pointer` is where the object stands in the whole body.
    ///
    /// # Errors
    /// When `json` is not a JSON object.
    pub fn parse(json: &'a str, pointer: &str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            pointer: pointer.to_owned(),
            members: members(json)?,
            unknown: Vec::new(),
            invalid: Vec::new(),
        })
    }

    /// Splits a whole request body.
    ///
    /// # Errors
    /// [`Code::MalformedJson`] when it is not a JSON object.
    pub fn parse_body(body: &'a str) -> Result<Self, Problem> {
        Self::parse(body, "").map_err(|error| {
            let place = format!("at line {} column {}", error.line(), error.column());
            Problem::new(Code::MalformedJson).detail(place)
        })
    }

    /// Takes the raw value of `name`; a field given more than once is a mistake.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let mut values = 0_usize;
        let found = self
            .members
            .extract_if(.., |(member, _)| member == name)
            .inspect(|_| values = values.saturating_add(1))
            .last()
            .map(|(_, value)| value);
        if values > 1 {
            self.mistake(name, "given more than once");
        }
        found.filter(|value| value.get() != "null")
    }

    /// Takes `name` as a `T`; `expected` says in words what a `T` looks like.
    pub fn take_as<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        let raw = self.take(name)?;
        let parsed = serde_json::from_str(raw.get()).ok();
        if parsed.is_none() {
            self.mistake(name, format!("expected {expected}"));
        }
        parsed
    }

    /// Takes `name` as a `T`, which must be there; one mistake is named, whatever is wrong.
    pub fn take_required<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        let before = self.invalid.len();
        let value = self.take_as(name, expected);
        if value.is_none() && self.invalid.len() == before {
            self.mistake(name, format!("expected {expected}"));
        }
        value
    }

    /// Takes `name` as text of at most `max` characters.
    pub fn take_text(&mut self, name: &str, max: usize) -> Option<String> {
        let text: String = self.take_as(name, "text")?;
        let length = text.chars().count();
        if length > max {
            self.mistake(name, format!("at most {max} characters, this has {length}"));
            return None;
        }
        Some(text)
    }

    /// Takes `name` as an object to be read in turn.
    pub fn take_object(&mut self, name: &str) -> Option<JsonObject<'a>> {
        let raw = self.take(name)?;
        let object = JsonObject::parse(raw.get(), &self.pointer_to(name)).ok();
        if object.is_none() {
            self.mistake(name, "expected an object");
        }
        object
    }

    /// Notes a mistake at `name`.
    pub fn mistake(&mut self, name: &str, detail: impl Into<String>) {
        self.invalid.push(Mistake {
            pointer: self.pointer_to(name),
            detail: detail.into(),
        });
    }

    /// Notes a mistake further inside: `path` leads from this object to the place.
    pub fn mistake_at(&mut self, path: &[&str], detail: impl Into<String>) {
        let pointer = path
            .iter()
            .fold(self.pointer.clone(), |pointer, name| pointer_to(&pointer, name));
        self.invalid.push(Mistake {
            pointer,
            detail: detail.into(),
        });
    }

    /// Whether nothing is wrong so far and everything was taken.
    #[must_use]
    pub const fn is_flawless(&self) -> bool {
        self.members.is_empty() && self.unknown.is_empty() && self.invalid.is_empty()
    }

    /// Ends the reading of a whole body: whatever was not taken is unknown.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake: [`Code::UnknownField`] when there are unknown fields,
    /// otherwise [`Code::InvalidRequest`].
    pub fn finish(mut self) -> Result<(), Problem> {
        self.close();
        if !self.unknown.is_empty() {
            let mut errors = self.unknown;
            errors.append(&mut self.invalid);
            return Err(Problem::new(Code::UnknownField).errors(errors));
        }
        if !self.invalid.is_empty() {
            return Err(Problem::new(Code::InvalidRequest).errors(self.invalid));
        }
        Ok(())
    }

    /// Ends the reading: whatever was not taken is unknown. A nested object's findings join its parent's.
    pub fn finish_into(mut self, parent: &mut JsonObject<'_>) {
        self.close();
        parent.unknown.append(&mut self.unknown);
        parent.invalid.append(&mut self.invalid);
    }

    fn close(&mut self) {
        for (name, _) in std::mem::take(&mut self.members) {
            self.unknown.push(Mistake {
                pointer: self.pointer_to(&name),
                detail: "not a field of this object".to_owned(),
            });
        }
    }

    fn pointer_to(&self, name: &str) -> String {
        pointer_to(&self.pointer, name)
    }
}

fn pointer_to(parent: &str, name: &str) -> String {
    let shown: String = name.chars().take(64).collect();
    format!("{parent}/{}", shown.replace('~', "~0").replace('/', "~1"))
}

/// The raw members of a JSON object, in order.
///
/// # Errors
/// When `json` is not a JSON object.
pub(crate) fn members(json: &str) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let members = deserializer.deserialize_map(Members)?;
    deserializer.end()?;
    Ok(members)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
