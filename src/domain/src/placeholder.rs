//! Texts with placeholders, `Hello {{ user.name }}`, and the data that is put into them.
//!
//! This is no template language: nothing repeats, nothing is decided, nothing is called. A text is split
//! once, a placeholder is looked up and never read again, so the work is proportional to the text and to
//! what comes out of it, and what comes out is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json_object;

/// Longest name of a placeholder, in characters.
pub const MAX_PLACEHOLDER_CHARS: usize = 64;
/// Most objects and lists within one another in [`Data`].
pub const MAX_DATA_LEVELS: usize = 128;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// The name of a placeholder: the way to a value in the data. `course` is a member of it, `user.name` a
/// member of a member, `items.0` the first element of a list.
///
/// ```
/// # use dormouse_domain::placeholder::Placeholder;
/// assert_eq!(Placeholder::parse("user.name")?.pointer(), "/user/name");
/// assert!(Placeholder::parse("user name").is_err());
/// # Ok::<(), dormouse_domain::placeholder::PlaceholderError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Placeholder(String);

/// Why a text is no name of a placeholder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// Nothing there.
    #[error("a placeholder must have a name, such as course or user.name")]
    Empty,
    /// More than [`MAX_PLACEHOLDER_CHARS`]; holds the length found.
    #[error("the name of a placeholder has at most 64 characters, this one has {0}")]
    TooLong(usize),
    /// Not made of words and dots; holds the text.
    #[error(
        "{0:?} names no placeholder: expected letters, digits, _ and -, joined by dots, such as user.name"
    )]
    Malformed(String),
}

impl Placeholder {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`PlaceholderError`].
    pub fn parse(text: &str) -> Result<Self, PlaceholderError> {
        if text.is_empty() {
            return Err(PlaceholderError::Empty);
        }
        let length = text.chars().count();
        if length > MAX_PLACEHOLDER_CHARS {
            return Err(PlaceholderError::TooLong(length));
        }
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        };
        if text.split('.').all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PlaceholderError::Malformed(text.to_owned()))
        }
    }

    /// The JSON pointer (RFC 6901) to what it stands for, within the data.
    #[must_use]
    pub fn pointer(&self) -> String {
        format!("/{}", self.0.replace('.', "/"))
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text in which everything between `{{` and `}}` is the name of a placeholder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateText {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder(Placeholder),
}

/// Why a text can't be a template. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateTextError {
    /// A `{{` that no `}}` follows.
    #[error("line {line} column {column}: a placeholder begins and does not end")]
    Unclosed {
        /// Line of the `{{`.
        line: usize,
        /// Column of the `{{`.
        column: usize,
    },
    /// What stands between `{{` and `}}` is no name.
    #[error("line {line} column {column}: {error}")]
    Placeholder {
        /// Line of the `{{`.
        line: usize,
        /// Column of the `{{`.
        column: usize,
        /// What is wrong with the name.
        error: PlaceholderError,
    },
}

impl TemplateText {
    /// Splits a text into what stays and what is put in.
    ///
    /// # Errors
    /// [`TemplateTextError`] for the first mistake.
    pub fn parse(source: &str) -> Result<Self, TemplateTextError> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some((literal, opened)) = rest.split_once(OPEN) {
            let position = || position(source, opened.len().saturating_add(OPEN.len()));
            let Some((name, after)) = opened.split_once(CLOSE) else {
                let (line, column) = position();
                return Err(TemplateTextError::Unclosed { line, column });
            };
            let placeholder = Placeholder::parse(name.trim()).map_err(|error| {
                let (line, column) = position();
                TemplateTextError::Placeholder { line, column, error }
            })?;
            parts.push(Part::Literal(literal.to_owned()));
            parts.push(Part::Placeholder(placeholder));
            rest = after;
        }
        parts.push(Part::Literal(rest.to_owned()));
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether it has a placeholder: without one it says always the same.
    #[must_use]
    pub fn varies(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Literal(_) => false,
            Part::Placeholder(_) => true,
        })
    }

    /// The text with `data` put in; what is missing or null is put in as nothing. `None` when it would be
    /// longer than `max_bytes`. Placeholders that stand for a list or an object join `unfit`.
    #[must_use]
    pub fn render(&self, data: &Data, max_bytes: usize, unfit: &mut BTreeSet<Placeholder>) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            let text = match part {
                Part::Literal(text) => text,
                Part::Placeholder(placeholder) => match data.get(placeholder) {
                    None => continue,
                    Some(Value::Text(text)) => text,
                    Some(Value::List(_) | Value::Object(_)) => {
                        unfit.insert(placeholder.clone());
                        continue;
                    }
                },
            };
            if out.len().saturating_add(text.len()) > max_bytes {
                return None;
            }
            out.push_str(text);
        }
        Some(out)
    }
}

impl Serialize for TemplateText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// Line and column of the place that `left` bytes follow.
fn position(source: &str, left: usize) -> (usize, usize) {
    let before = source
        .get(..source.len().saturating_sub(left))
        .unwrap_or_default();
    let lines = before.split('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (lines, column.saturating_add(1))
}

/// What placeholders stand for: a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data(Value);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// Text, or a number or truth value as the JSON writes it: `10.50` stays `10.50`.
    Text(String),
    List(Vec<Option<Value>>),
    Object(BTreeMap<String, Option<Value>>),
}

impl Default for Data {
    fn default() -> Self {
        Self(Value::Object(BTreeMap::new()))
    }
}

/// Why a text is no data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Not a JSON object, or text in it is no Unicode.
    #[error("expected a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// Objects and lists within one another, more than [`MAX_DATA_LEVELS`].
    #[error("objects and lists may be at most 128 levels deep")]
    TooDeep,
}

impl Data {
    /// Reads a JSON object of at most [`MAX_DATA_LEVELS`] levels.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn parse(json: &str) -> Result<Self, DataError> {
        Value::object(json, MAX_DATA_LEVELS).map(Self)
    }

    /// Whether `placeholder` stands for something: null counts as nothing.
    #[must_use]
    pub fn has(&self, placeholder: &Placeholder) -> bool {
        self.get(placeholder).is_some()
    }

    fn get(&self, placeholder: &Placeholder) -> Option<&Value> {
        placeholder
            .0
            .split('.')
            .try_fold(&self.0, |value, word| match value {
                Value::Text(_) => None,
                Value::List(elements) => elements.get(word.parse::<usize>().ok()?)?.as_ref(),
                Value::Object(members) => members.get(word)?.as_ref(),
            })
    }
}

impl Value {
    /// `None` for null. `levels` is how deep it may be.
    fn read(raw: &RawValue, levels: usize) -> Result<Option<Self>, DataError> {
        let json = raw.get();
        Ok(match json.as_bytes().first() {
            Some(b'n') => None,
            Some(b'"') => Some(Self::Text(serde_json::from_str(json)?)),
            Some(b'[') => Some(Self::list(json, levels)?),
            Some(b'{') => Some(Self::object(json, levels)?),
            _ => Some(Self::Text(json.to_owned())),
        })
    }

    fn list(json: &str, levels: usize) -> Result<Self, DataError> {
        let inner = levels.checked_sub(1).ok_or(DataError::TooDeep)?;
        let mut elements = Vec::new();
        for raw in serde_json::from_str::<Vec<&RawValue>>(json)? {
            elements.push(Self::read(raw, inner)?);
        }
        Ok(Self::List(elements))
    }

    fn object(json: &str, levels: usize) -> Result<Self, DataError> {
        let inner = levels.checked_sub(1).ok_or(DataError::TooDeep)?;
        let mut members = BTreeMap::new();
        for (name, raw) in json_object::members(json)? {
            members.insert(name, Self::read(raw, inner)?);
        }
        Ok(Self::Object(members))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;

    use super::*;

    fn rendered(text: &str, data: &str) -> Option<String> {
        let data = Data::parse(data).unwrap();
        TemplateText::parse(text)
            .unwrap()
            .render(&data, 1_000, &mut BTreeSet::new())
    }

    #[test]
    fn placeholders_stand_for_what_the_data_holds() {
        let data = r#"{"a":"A","user":{"name":"Ann","0":"zero"},"items":["x",{"id":7}],"n":10.50,"big":12345678901234567890123,
                       "e":1e2,"t":true,"f":false,"null":null,"empty":"","first-name":"B","имя":"C"}"#;
        let check = |text: &str, expected: &str| {
            assert_eq!(rendered(text, data).as_deref(), Some(expected), "{text}");
        };
        check("", "");
        check("plain } {x} }} text", "plain } {x} }} text");
        check("{{a}} {{ a }} {{\ta\n}}", "A A A");
        check("{{a}}{{a}}", "AA");
        check("{ {{a}} }", "{ A }");
        check("{{a}}}", "A}");
        check(
            "{{user.name}} {{user.0}} {{items.0}} {{items.1.id}}",
            "Ann zero x 7",
        );
        check(
            "{{n}} {{big}} {{e}} {{t}} {{f}}",
            "10.50 12345678901234567890123 1e2 true false",
        );
        check(
            "[{{nothing}}{{null}}{{empty}}{{a.b}}{{user.x}}{{items.9}}{{items.-1}}{{null.x}}]",
            "[]",
        );
        check("{{first-name}}{{имя}}", "BC");
    }

    #[test]
    fn what_is_put_in_is_never_read_again() {
        assert_eq!(
            rendered("{{a}}{{b}}", r#"{"a":"{{b}}","b":"{{a"}"#).as_deref(),
            Some("{{b}}{{a")
        );
    }

    #[test]
    fn the_last_of_two_members_counts_and_escapes_are_read() {
        assert_eq!(
            rendered("{{a}}", r#"{"a":1,"\u0061":"\"\n\ud83d\udc2d"}"#).as_deref(),
            Some("\"\n🐭")
        );
    }

    #[test]
    fn lists_and_objects_are_unfit_and_named_once() {
        let data = Data::parse(r#"{"l":[],"o":{"x":{}}}"#).unwrap();
        let mut unfit = BTreeSet::new();
        let text = TemplateText::parse("{{o}}{{l}}{{o.x}}{{l}}").unwrap();
        assert_eq!(text.render(&data, 10, &mut unfit).as_deref(), Some(""));
        let unfit: Vec<_> = unfit.iter().map(ToString::to_string).collect();
        assert_eq!(unfit, ["l", "o", "o.x"]);
    }

    #[test]
    fn rendering_ends_where_the_limit_is() {
        let data = Data::parse(&format!(r#"{{"a":"{}"}}"#, "x".repeat(16_000))).unwrap();
        let text = TemplateText::parse(&"{{a}}".repeat(3_000)).unwrap();
        assert_eq!(text.render(&data, 100_000, &mut BTreeSet::new()), None);
        let exactly = TemplateText::parse("é{{a}}").unwrap();
        let data = Data::parse(r#"{"a":"é"}"#).unwrap();
        assert_eq!(
            exactly.render(&data, 4, &mut BTreeSet::new()).as_deref(),
            Some("éé")
        );
        assert_eq!(exactly.render(&data, 3, &mut BTreeSet::new()), None);
    }

    #[test]
    fn a_mistake_says_where_it_is() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                TemplateText::parse(text).unwrap_err().to_string(),
                expected,
                "{text}"
            );
        };
        check("{{", "line 1 column 1: a placeholder begins and does not end");
        check(
            "é\nab {{a} }",
            "line 2 column 4: a placeholder begins and does not end",
        );
        check(
            "{{a}}\n\n{{}}",
            "line 3 column 1: a placeholder must have a name, such as course or user.name",
        );
        let malformed = [
            "a b", "a..b", ".a", "a.", "a|b", "#if a", "/if", "> p", "!c", "&a", "{a", "a()", "a[0]", "\"a\"",
        ];
        for name in malformed {
            assert_eq!(
                TemplateText::parse(&format!("{{{{{name}}}}}")),
                Err(TemplateTextError::Placeholder {
                    line: 1,
                    column: 1,
                    error: PlaceholderError::Malformed(name.to_owned())
                })
            );
        }
        check(
            &format!("{{{{{}}}}}", "a".repeat(65)),
            "line 1 column 1: the name of a placeholder has at most 64 characters, this one has 65",
        );
        assert!(TemplateText::parse(&format!("{{{{{}}}}}", "é".repeat(64))).is_ok());
    }

    #[test]
    fn data_is_an_object_of_bounded_depth() {
        let deep = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(Data::parse(&deep(100)).is_ok());
        for json in [
            "[]",
            "1",
            "null",
            "",
            "{",
            r#"{"a":"\ud800"}"#,
            &deep(128),
            &deep(8_000),
        ] {
            assert!(Data::parse(json).is_err(), "{json:.20}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "(?s).{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[ab0]", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_refused(text in "(?s).{0,100}|[{} a.0\n]{0,60}") {
            if let Ok(parsed) = TemplateText::parse(&text) {
                prop_assert_eq!(parsed.as_str(), &text);
                let blank = parsed.render(&Data::default(), 1_000, &mut BTreeSet::new());
                prop_assert!(parsed.varies() || blank.as_deref() == Some(&text));
            }
        }

        #[test]
        fn any_data_is_put_in_or_unfit(
            names in prop::collection::vec("[ab0](\\.[ab0]){0,2}", 1..6),
            members in prop::collection::btree_map("[ab0]", json(), 0..4),
            max_bytes in 0_usize..40,
        ) {
            let text = format!("-{{{{ {} }}}}", names.join(" }}-{{"));
            let data = Data::parse(&serde_json::to_string(&members).unwrap()).unwrap();
            let mut unfit = BTreeSet::new();
            if let Some(out) = TemplateText::parse(&text).unwrap().render(&data, max_bytes, &mut unfit) {
                prop_assert!(out.len() <= max_bytes);
            }
            for placeholder in unfit {
                prop_assert!(data.has(&placeholder));
            }
        }

        #[test]
        fn any_text_is_data_or_refused(json in "(?s).{0,60}|[\\[\\]{}\":,a0-9.e]{0,60}") {
            let _ = Data::parse(&json);
        }
    }
}
