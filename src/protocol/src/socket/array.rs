//! A JSON array that stays text, with the place of each element known.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::head::check_json;
use super::json::{Json, trim};
use super::{PacketType, ParseError};

/// The arguments of an event or ack, in order.
#[derive(Clone)]
pub struct Args<'a> {
    json: &'a str,
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for Args<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        let span = self.spans.next()?;
        Some(Json::known(span.of(self.json)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl ExactSizeIterator for Args<'_> {}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.clone()).finish()
    }
}

/// A valid JSON array without white space around it, and the places of its elements.
#[derive(Clone)]
pub(super) struct Array<'a> {
    json: Cow<'a, str>,
    elements: Vec<Span>,
}

impl PartialEq for Array<'_> {
    fn eq(&self, other: &Self) -> bool {
        // The places follow from the text.
        self.json == other.json
    }
}

impl Eq for Array<'_> {}

impl<'a> Array<'a> {
    pub(super) fn empty() -> Array<'static> {
        Array {
            json: Cow::Borrowed("[]"),
            elements: Vec::new(),
        }
    }

    /// Parses the text in one pass, without looking into the elements.
    pub(super) fn parse(payload: &'a str, packet_type: PacketType) -> Result<Self, ParseError> {
        let json = trim(payload);
        if !json.starts_with('[') {
            check_json(json, packet_type)?;
            return Err(ParseError::WrongPayload {
                packet_type,
                expected: "an array",
            });
        }
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let elements = deserializer
            .deserialize_seq(SpansVisitor { json })
            .and_then(|elements| deserializer.end().map(|()| elements))
            .map_err(|error| ParseError::NotJson {
                packet_type,
                column: error.column(),
            })?;
        Ok(Self {
            json: json.into(),
            elements,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.json
    }

    pub(super) fn element(&self, index: usize) -> Option<&str> {
        self.elements.get(index).map(|span| span.of(&self.json))
    }

    /// The elements from `first` on.
    pub(super) fn args_from(&self, first: usize) -> Args<'_> {
        Args {
            json: &self.json,
            spans: self.elements.get(first..).unwrap_or_default().iter(),
        }
    }

    pub(super) fn push(&mut self, json: &Json<'_>) {
        let json = json.as_str();
        self.push_with(json.len(), |array| array.push_str(json));
    }

    /// Adds an element of about `bytes` bytes that `write` appends.
    pub(super) fn push_with(&mut self, bytes: usize, write: impl FnOnce(&mut String)) {
        let array = self.json.to_mut();
        // A comma before it and room to close the array again.
        array.reserve(bytes.saturating_add(2));
        array.pop();
        if !self.elements.is_empty() {
            array.push(',');
        }
        let start = array.len();
        write(array);
        self.elements.push(Span {
            start,
            end: array.len(),
        });
        array.push(']');
    }

    pub(super) fn into_owned(self) -> Array<'static> {
        Array {
            json: self.json.into_owned().into(),
            elements: self.elements,
        }
    }
}

/// Where an element stands in its array, in bytes.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn of(self, json: &str) -> &str {
        json.get(self.start..self.end).unwrap_or_default()
    }
}

/// Collects the places of the elements of `json`.
struct SpansVisitor<'a> {
    json: &'a str,
}

impl<'a> Visitor<'a> for SpansVisitor<'a> {
    type Value = Vec<Span>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<Vec<Span>, A::Error> {
        let mut spans = Vec::new();
        while let Some(element) = array.next_element::<&'a RawValue>()? {
            let element = element.get();
            // Both are parts of one text.
            let start = element.as_ptr().addr().wrapping_sub(self.json.as_ptr().addr());
            let end = start.wrapping_add(element.len());
            spans.push(Span { start, end });
        }
        Ok(spans)
    }
}
