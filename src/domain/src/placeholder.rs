//! Texts with placeholders, `Hello {{ user.name }}`, and the data that is put into them.
//!
//! The engine is `upon`, of whose language only values by name are let through: nothing repeats, nothing
//! is decided, nothing is called. So the work is proportional to the text and to what comes out of it,
//! and what comes out is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use upon::{Engine, ValueAccess, ValueMember};

use crate::json_object;

/// Longest name of a placeholder, in characters.
pub const MAX_PLACEHOLDER_CHARS: usize = 64;
/// Most objects and lists within one another in [`Data`].
pub const MAX_DATA_LEVELS: usize = 128;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
/// What are values to the engine, not names.
const LITERALS: [&str; 3] = ["true", "false", "none"];
/// What begins a block and a comment of the engine's language.
const NOT_SUPPORTED: [&str; 2] = ["{%", "{#"];

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
        "{0:?} names no placeholder: expected words of ASCII letters, digits and _, joined by dots, such as user.name"
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
        let mut words = text.split('.');
        let is_first = |word: &str| is_name(word) && !LITERALS.contains(&word);
        if words.next().is_some_and(is_first) && words.all(|word| is_name(word) || is_index(word)) {
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

fn is_name(word: &str) -> bool {
    let begins = |c: u8| c.is_ascii_alphabetic() || c == b'_';
    word.bytes().next().is_some_and(begins) && word.bytes().all(|c| begins(c) || c.is_ascii_digit())
}

fn is_index(word: &str) -> bool {
    word.parse::<u32>().is_ok_and(|index| index.to_string() == word)
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
    placeholders: Vec<Placeholder>,
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
    /// A `{%` or a `{#`.
    #[error(
        "line {line} column {column}: only {{{{placeholders}}}} are supported, no blocks and no comments"
    )]
    NotSupported {
        /// Line of it.
        line: usize,
        /// Column of it.
        column: usize,
    },
    /// The engine refuses it; holds what it says.
    #[error("{0}")]
    Refused(String),
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
    /// Finds the placeholders of a text, and checks that there is nothing else to it.
    ///
    /// # Errors
    /// [`TemplateTextError`] for the first mistake.
    pub fn parse(source: &str) -> Result<Self, TemplateTextError> {
        for other in NOT_SUPPORTED {
            if let Some((_, after)) = source.split_once(other) {
                let (line, column) = position(source, after.len().saturating_add(other.len()));
                return Err(TemplateTextError::NotSupported { line, column });
            }
        }
        let mut placeholders = Vec::new();
        let mut rest = source;
        while let Some((_, opened)) = rest.split_once(OPEN) {
            let position = || position(source, opened.len().saturating_add(OPEN.len()));
            let Some((name, after)) = opened.split_once(CLOSE) else {
                let (line, column) = position();
                return Err(TemplateTextError::Unclosed { line, column });
            };
            let placeholder = Placeholder::parse(name.trim()).map_err(|error| {
                let (line, column) = position();
                TemplateTextError::Placeholder { line, column, error }
            })?;
            placeholders.push(placeholder);
            rest = after;
        }
        Engine::new()
            .compile(source)
            .map_err(|error| TemplateTextError::Refused(error.to_string()))?;
        Ok(Self {
            source: source.to_owned(),
            placeholders,
        })
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether it has a placeholder: without one it says always the same.
    #[must_use]
    pub const fn varies(&self) -> bool {
        !self.placeholders.is_empty()
    }

    /// The text with `data` put in; what is missing or null is put in as nothing. `None` when it would be
    /// longer than `max_bytes`. Placeholders that stand for a list or an object join `unfit`.
    #[must_use]
    pub fn render(&self, data: &Data, max_bytes: usize, unfit: &mut BTreeSet<Placeholder>) -> Option<String> {
        let engine = Engine::new();
        let template = engine.compile(self.source.as_str()).ok()?;
        let mut out = Bounded {
            bytes: Vec::new(),
            max_bytes,
        };
        let value = |path: &[ValueMember<'_>]| {
            let placeholder = Placeholder(name(path));
            Ok(upon::Value::String(match data.get(&placeholder) {
                None => String::new(),
                Some(Value::Text(text)) => text.clone(),
                Some(Value::List(_) | Value::Object(_)) => {
                    unfit.insert(placeholder);
                    String::new()
                }
            }))
        };
        template.render_from_fn(&engine, value).to_writer(&mut out).ok()?;
        String::from_utf8(out.bytes).ok()
    }
}

/// The name of a placeholder, from the engine's reading of it.
fn name(path: &[ValueMember<'_>]) -> String {
    let words = path.iter().map(|member| match member.access {
        ValueAccess::Index(index) => index.to_string(),
        ValueAccess::Key(word) => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(".")
}

/// What is written, as long as it is not too much.
struct Bounded {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.max_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
                       "e":1e2,"t":true,"f":false,"null":null,"empty":"","_x1":"B"}"#;
        let check = |text: &str, expected: &str| {
            assert_eq!(rendered(text, data).as_deref(), Some(expected), "{text}");
        };
        check("", "");
        check("plain } {x} text", "plain } {x} text");
        check("{{a}} {{ a }} {{\ta\n}}", "A A A");
        check("{{a}}{{a}}", "AA");
        check("{ {{a}} }", "{ A }");
        check(
            "{{user.name}} {{user.0}} {{items.0}} {{items.1.id}}",
            "Ann zero x 7",
        );
        check(
            "{{n}} {{big}} {{e}} {{t}} {{f}}",
            "10.50 12345678901234567890123 1e2 true false",
        );
        check(
            "[{{nothing}}{{null}}{{empty}}{{a.b}}{{user.x}}{{items.9}}{{null.x}}]",
            "[]",
        );
        check("{{_x1}}", "B");
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
            "a b",
            "a..b",
            ".a",
            "a.",
            "a|b",
            "/if",
            "> p",
            "!c",
            "&a",
            "{a",
            "a()",
            "a[0]",
            "\"a\"",
            "- a",
            "a -",
            "a?.b",
            "1",
            "0.a",
            "a.01",
            "имя",
            "first-name",
            "a.4294967296",
            "true",
            "none",
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
        assert!(TemplateText::parse(&format!("{{{{{}}}}}", "a".repeat(64))).is_ok());
        check(
            "a\n {% if a %}",
            "line 2 column 2: only {{placeholders}} are supported, no blocks and no comments",
        );
        check(
            "{# a #}",
            "line 1 column 1: only {{placeholders}} are supported, no blocks and no comments",
        );
    }

    #[test]
    fn what_means_something_to_the_engine_is_refused_or_a_name() {
        let data = r#"{"if":"A","in":"B","not":"C"}"#;
        for text in ["a }} b", "{{a}}}", "%}", "#}", "{{if}}", "{{in}}", "{{not}}"] {
            match TemplateText::parse(text) {
                Ok(_) => {
                    let out = rendered(text, data).unwrap();
                    assert!(
                        out == text || ["A", "B", "C"].contains(&out.as_str()),
                        "{text}: {out}"
                    );
                }
                Err(error) => assert!(matches!(error, TemplateTextError::Refused(_)), "{text}: {error}"),
            }
        }
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
            names in prop::collection::vec("[ab](\\.[ab0]){0,2}", 1..6),
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
