//! JSON that stays text: known to be valid, read only by whoever wants to know.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::EncodeError;
use crate::text::push_json_string;

/// The text of one JSON value, without white space around it.
///
/// Valid as `JSON.parse` understands it: lone surrogates in strings (`"\ud800"`) and numbers beyond
/// any type (`1e999`) included. Reading it into a Rust type may therefore still fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// Takes a JSON text.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Json`] if it is not valid.
    ///
    /// ```
    /// use dormouse_protocol::socket::Json;
    ///
    /// assert_eq!(Json::new(" [1, 2]\n")?.as_str(), "[1, 2]");
    /// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
    /// ```
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, EncodeError> {
        let text = text.into();
        check(&text)?;
        Ok(Self(match text {
            Cow::Borrowed(text) => trim(text).into(),
            Cow::Owned(text) if trim(&text).len() == text.len() => text.into(),
            Cow::Owned(text) => trim(&text).to_owned().into(),
        }))
    }

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Json`] if the value has no JSON form, as a map whose keys are not text.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Json<'static>, EncodeError> {
        Ok(Json(serde_json::to_string(value)?.into()))
    }

    /// Encodes a text as a JSON string.
    #[must_use]
    pub fn string(text: &str) -> Json<'static> {
        let mut json = String::new();
        push_json_string(&mut json, text);
        Json(json.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// Whatever `T` refuses, and nesting deeper than `serde_json` follows. The error may quote the
    /// value: not for logs.
    ///
    /// ```
    /// use dormouse_protocol::socket::Json;
    ///
    /// assert_eq!(Json::new("[1, 2]")?.parse::<Vec<u8>>()?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse<'t, T: Deserialize<'t>>(&'t self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Json<'static> {
        Json(self.0.into_owned().into())
    }

    /// Takes a text already known to be valid and trimmed.
    pub(super) fn known(text: &'a str) -> Self {
        Self(text.into())
    }
}

/// The text of one JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a>(Json<'a>);

impl<'a> Object<'a> {
    /// Takes the text of a JSON object.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Json`] if it is not valid JSON, [`EncodeError::NotAnObject`] if it is another
    /// value.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, EncodeError> {
        Self::from_json(Json::new(text)?)
    }

    /// Encodes a value, such as a struct or a map.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Json`] if the value has no JSON form, [`EncodeError::NotAnObject`] if its
    /// form is no object.
    ///
    /// ```
    /// use dormouse_protocol::socket::Object;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Auth {
    ///     token: &'static str,
    /// }
    /// assert_eq!(Object::encode(&Auth { token: "t" })?.as_str(), r#"{"token":"t"}"#);
    /// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
    /// ```
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Object<'static>, EncodeError> {
        Object::from_json(Json::encode(value)?)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Reads the value, as [`Json::parse`] does.
    ///
    /// # Errors
    ///
    /// As [`Json::parse`].
    pub fn parse<'t, T: Deserialize<'t>>(&'t self) -> Result<T, serde_json::Error> {
        self.0.parse()
    }

    /// Copies what is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Object<'static> {
        Object(self.0.into_owned())
    }

    fn from_json(json: Json<'a>) -> Result<Self, EncodeError> {
        if json.as_str().starts_with('{') {
            Ok(Self(json))
        } else {
            Err(EncodeError::NotAnObject)
        }
    }

    /// Takes a text already known to be a valid and trimmed object.
    pub(super) fn known(text: &'a str) -> Self {
        Self(Json::known(text))
    }
}

/// Checks that a text is one JSON value; `serde_json` does not recurse here.
pub(super) fn check(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ())
}

/// Removes what JSON calls white space, which is less than what Unicode does.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}
