//! Notification templates: kept by the service in versions, named by pushes (DESIGN 9).
//!
//! A template's texts have placeholders (see [`crate::placeholder`]). What comes out of them has to keep
//! the rules of a push. `content` is Markdown before and after, so what is put in is Markdown as well;
//! nothing is escaped here, and [`crate::markdown`] makes safe HTML of whatever comes out.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json_object::{JsonObject, Mistake};
use crate::markdown::{self, is_safe_link};
use crate::notification::{Action, NotificationType};
use crate::notification_type::TypeId;
use crate::placeholder::{Data, Placeholder, TemplateText};
use crate::problem::{Code, Problem};
use crate::push::{self, MAX_CONTENT_BYTES, MAX_LABEL_CHARS, MAX_LINK_CHARS, MAX_TITLE_CHARS, required_text};
use crate::time::{Timestamp, iso};

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 128;
/// Most placeholders that a template can require.
pub const MAX_REQUIRED: usize = 50;

/// The most bytes a character takes in UTF-8.
const MAX_CHAR_BYTES: usize = 4;

/// What a template is called: 1 to 128 of `a-z 0-9 . _ -`, of which the first is a letter or a digit.
///
/// ```
/// # use dormouse_domain::template::TemplateKey;
/// assert_eq!(TemplateKey::parse("exam-moved")?.as_str(), "exam-moved");
/// assert!(TemplateKey::parse("Exam").is_err());
/// # Ok::<(), dormouse_domain::template::TemplateKeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TemplateKey(String);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateKeyError {
    /// Nothing there.
    #[error("a template's key must not be empty")]
    Empty,
    /// More than [`MAX_KEY_BYTES`]; holds the length found.
    #[error("a template's key has at most 128 characters, this one has {0}")]
    TooLong(usize),
    /// Holds the first character that can't be where it is.
    #[error(
        "a template's key is made of a-z, 0-9, '.', '_' and '-' and begins with one of a-z, 0-9; {0:?} can't be there"
    )]
    Character(char),
}

impl TemplateKey {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`TemplateKeyError`].
    pub fn parse(text: &str) -> Result<Self, TemplateKeyError> {
        if text.is_empty() {
            return Err(TemplateKeyError::Empty);
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(TemplateKeyError::TooLong(text.chars().count()));
        }
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let mut characters = text.chars().enumerate();
        match characters.find(|&(at, c)| !is_word(c) && (at == 0 || !matches!(c, '.' | '_' | '-'))) {
            Some((_, found)) => Err(TemplateKeyError::Character(found)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a version: 1, 2, 3... for each key. A number is never given twice, not even after the
/// template was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(NonZeroU32);

/// The text is no number of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version must be a whole number from 1 on")]
pub struct VersionError;

impl Version {
    /// Reads the query parameter `version`.
    ///
    /// # Errors
    /// [`VersionError`].
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        text.parse().map(Self).map_err(|_| VersionError)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// What a template says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    /// One line, 1 to 200 characters.
    pub title: TemplateText,
    /// Markdown or plain text, at most 16 KiB.
    pub content: TemplateText,
    /// Which type its notifications have, by id.
    #[serde(rename = "type")]
    pub kind: Option<TypeId>,
    /// What users can mute by.
    pub category: Option<String>,
    /// Where its notifications lead.
    pub action: Option<ActionTemplate>,
    /// What a push has to bring data for.
    pub required: Vec<Placeholder>,
}

/// Where the notifications of a template lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionTemplate {
    /// A safe link, once the data is put in.
    pub url: TemplateText,
    /// The link's label.
    pub text: Option<TemplateText>,
}

/// The version of the stored shape.
const STORED_VERSION: u8 = 1;

/// The stored shape of a template, which is that of the body it was put with.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    v: u8,
    template: T,
}

/// Why what the record holds is no template.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not the JSON it has to be.
    #[error("a stored template is unreadable: {0}")]
    Json(#[from] serde_json::Error),
    /// Of a shape that is not known here.
    #[error("a stored template has the version {0}")]
    Version(u8),
    /// Of the known shape, and no template.
    #[error("a stored template breaks the rules of templates")]
    Template,
}

impl Template {
    /// Reads and checks the body of `PUT /v1/templates/{key}`.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake in the body.
    pub fn parse(body: &str) -> Result<Self, Problem> {
        let mut object = JsonObject::parse_body(body)?;
        let title = required_text(&mut object, "title", MAX_TITLE_CHARS);
        let content = push::content_text(&mut object);
        let kind = object.take("type");
        let template = Self {
            title: template_text(&mut object, "title", title).unwrap_or_default(),
            content: template_text(&mut object, "content", content).unwrap_or_default(),
            kind: kind.and_then(|raw| TypeId::read(&mut object, "type", raw)),
            category: object.take_text("category", MAX_LABEL_CHARS),
            action: action(&mut object),
            required: required(&mut object),
        };
        object.finish()?;
        Ok(template)
    }

    /// The JSON that the record holds.
    ///
    /// # Errors
    /// When it can't be written as JSON, which no template is known for.
    pub fn store(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Stored {
            v: STORED_VERSION,
            template: self,
        })
    }

    /// Reads what the record holds.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(stored: &str) -> Result<Self, LoadError> {
        let Stored { v, template } = serde_json::from_str::<Stored<&RawValue>>(stored)?;
        if v != STORED_VERSION {
            return Err(LoadError::Version(v));
        }
        Self::parse(template.get()).map_err(|_| LoadError::Template)
    }

    /// What a notification says with `data` put in. `pointer` is where the data stands in the request.
    ///
    /// # Errors
    /// Every required name that is missing, every placeholder for which the data has a list or an object,
    /// and every text that would not do for a push.
    pub fn render(&self, data: &Data, pointer: &str) -> Result<Rendered, Vec<Mistake>> {
        let mut rendering = Rendering {
            data,
            pointer,
            unfit: BTreeSet::new(),
            mistakes: Vec::new(),
        };
        for name in self.required.iter().filter(|name| !data.has(name)) {
            rendering.mistake(&name.pointer(), "the template requires it");
        }
        let rendered = Rendered {
            title: rendering.line("title", &self.title, MAX_TITLE_CHARS),
            content: rendering.text("content", &self.content, MAX_CONTENT_BYTES),
            kind: self.kind.clone(),
            category: self.category.clone(),
            action: self.action.as_ref().map(|action| rendering.action(action)),
        };
        rendering.finish().map(|()| rendered)
    }
}

/// A text with placeholders under `name`, when there is one.
fn template_text(object: &mut JsonObject<'_>, name: &str, text: Option<String>) -> Option<TemplateText> {
    TemplateText::parse(&text?)
        .map_err(|error| object.mistake(name, error.to_string()))
        .ok()
}

fn action(object: &mut JsonObject<'_>) -> Option<ActionTemplate> {
    let mut fields = object.take_object("action")?;
    let url = required_text(&mut fields, "url", MAX_LINK_CHARS);
    let url = template_text(&mut fields, "url", url);
    if url
        .as_ref()
        .is_some_and(|url| !url.varies() && !is_safe_link(url.as_str()))
    {
        fields.mistake("url", push::EXPECTED_LINK);
    }
    let text = fields.take_text("text", MAX_LABEL_CHARS);
    let text = template_text(&mut fields, "text", text);
    fields.finish_into(object);
    url.map(|url| ActionTemplate { url, text })
}

fn required(object: &mut JsonObject<'_>) -> Vec<Placeholder> {
    let expected = "a list of at most 50 names";
    let Some(listed) = object.take("required") else {
        return Vec::new();
    };
    let Ok(listed) = serde_json::from_str::<Vec<&RawValue>>(listed.get()) else {
        object.mistake("required", format!("expected {expected}"));
        return Vec::new();
    };
    if listed.len() > MAX_REQUIRED {
        object.mistake(
            "required",
            format!("expected {expected}, this has {}", listed.len()),
        );
        return Vec::new();
    }
    let mut names = Vec::with_capacity(listed.len());
    for (at, raw) in listed.into_iter().enumerate() {
        let name = serde_json::from_str::<String>(raw.get())
            .map_err(|_| "expected text".to_owned())
            .and_then(|text| Placeholder::parse(&text).map_err(|error| error.to_string()));
        let detail = match name {
            Ok(name) if names.contains(&name) => "given more than once".to_owned(),
            Ok(name) => {
                names.push(name);
                continue;
            }
            Err(detail) => detail,
        };
        object.invalid.push(Mistake {
            pointer: format!("/required/{at}"),
            detail,
        });
    }
    names
}

/// What a template says with data put in: all of it keeps the rules of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// 1 to 200 characters.
    pub title: String,
    /// At most 16 KiB.
    pub content: String,
    /// The id of its type.
    pub kind: Option<TypeId>,
    /// What users can mute by.
    pub category: Option<String>,
    /// Where it leads.
    pub action: Option<Action>,
}

struct Rendering<'a> {
    data: &'a Data,
    pointer: &'a str,
    unfit: BTreeSet<Placeholder>,
    mistakes: Vec<Mistake>,
}

impl Rendering<'_> {
    /// At most `max` bytes; empty when it would be more.
    fn text(&mut self, field: &str, text: &TemplateText, max: usize) -> String {
        text.render(self.data, max, &mut self.unfit).unwrap_or_else(|| {
            self.mistake("", format!("{field} would have more than {max} bytes"));
            String::new()
        })
    }

    /// 1 to `max` characters that are not all white space.
    fn line(&mut self, field: &str, text: &TemplateText, max: usize) -> String {
        let line = self.label(field, text, max);
        if line.as_ref().is_some_and(|line| line.trim().is_empty()) {
            self.mistake("", format!("{field} would be empty"));
        }
        line.unwrap_or_default()
    }

    /// At most `max` characters.
    fn label(&mut self, field: &str, text: &TemplateText, max: usize) -> Option<String> {
        let label = text
            .render(self.data, max.saturating_mul(MAX_CHAR_BYTES), &mut self.unfit)
            .filter(|label| label.chars().count() <= max);
        if label.is_none() {
            self.mistake("", format!("{field} would have more than {max} characters"));
        }
        label
    }

    fn action(&mut self, action: &ActionTemplate) -> Action {
        let url = self.line("action.url", &action.url, MAX_LINK_CHARS);
        if !is_safe_link(&url) {
            self.mistake("", format!("action.url: {}", push::EXPECTED_LINK));
        }
        let text = action.text.as_ref();
        let text = text.and_then(|text| self.label("action.text", text, MAX_LABEL_CHARS));
        Action { url, text }
    }

    fn mistake(&mut self, place: &str, detail: impl Into<String>) {
        self.mistakes.push(Mistake {
            pointer: format!("{}{place}", self.pointer),
            detail: detail.into(),
        });
    }

    fn finish(mut self) -> Result<(), Vec<Mistake>> {
        for placeholder in std::mem::take(&mut self.unfit) {
            self.mistake(
                &placeholder.pointer(),
                "a list or an object can't be put into a text: expected text, a number, true or false",
            );
        }
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(self.mistakes)
        }
    }
}

/// A version of a template as the record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateVersion {
    /// What the template is called.
    pub key: TemplateKey,
    /// Which version it is.
    pub version: Version,
    /// What it says.
    pub template: Template,
    /// When this version was stored.
    pub created_at: Timestamp,
}

/// A version of a template as callers get it.
#[derive(Debug, Serialize)]
pub struct TemplateView<'a> {
    key: &'a TemplateKey,
    version: Version,
    title: &'a TemplateText,
    content: &'a TemplateText,
    #[serde(rename = "type")]
    kind: Option<&'a TypeId>,
    category: Option<&'a str>,
    action: Option<&'a ActionTemplate>,
    required: &'a [Placeholder],
    #[serde(with = "iso")]
    created_at: Timestamp,
}

impl TemplateVersion {
    /// What callers get.
    #[must_use]
    pub fn view(&self) -> TemplateView<'_> {
        let template = &self.template;
        TemplateView {
            key: &self.key,
            version: self.version,
            title: &template.title,
            content: &template.content,
            kind: template.kind.as_ref(),
            category: template.category.as_deref(),
            action: template.action.as_ref(),
            required: &template.required,
            created_at: self.created_at,
        }
    }
}

/// What has to be looked up before something can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// A template, of which the latest version is meant unless one is named.
    pub template: Option<(&'a TemplateKey, Option<Version>)>,
    /// A type; when none is named, that of the template.
    pub kind: Option<&'a TypeId>,
}

/// What a [`Lookup`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The template.
    pub template: FoundTemplate,
    /// The type.
    pub kind: Option<NotificationType>,
}

/// What there is of a template that was looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FoundTemplate {
    /// No template has this key.
    #[default]
    NoSuchKey,
    /// The template has no such version.
    NoSuchVersion,
    /// This.
    Version(Box<TemplateVersion>),
}

impl FoundTemplate {
    /// The version that was found, for a request that has the key in its path.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub fn resource(self) -> Result<TemplateVersion, Problem> {
        match self {
            Self::Version(version) => Ok(*version),
            Self::NoSuchKey | Self::NoSuchVersion => Err(Problem::new(Code::NotFound)),
        }
    }

    /// The version that was found, for a request that names the template in its body.
    ///
    /// # Errors
    /// [`Code::UnknownTemplate`]; `pointer` is where the request names the template.
    pub fn known(self, pointer: &str) -> Result<TemplateVersion, Problem> {
        let (field, detail) = match self {
            Self::Version(version) => return Ok(*version),
            Self::NoSuchKey => ("key", "no template has this key"),
            Self::NoSuchVersion => ("version", "the template has no such version"),
        };
        Err(Problem::new(Code::UnknownTemplate).errors(vec![Mistake {
            pointer: format!("{pointer}/{field}"),
            detail: detail.to_owned(),
        }]))
    }
}

/// The type `id`, which was looked up. `pointer` is where the request names it.
///
/// # Errors
/// [`Code::UnknownType`].
pub fn known_type(
    found: Option<NotificationType>,
    id: &TypeId,
    pointer: &str,
) -> Result<NotificationType, Problem> {
    found.ok_or_else(|| {
        Problem::new(Code::UnknownType).errors(vec![Mistake {
            pointer: pointer.to_owned(),
            detail: format!("no type has the id {id}"),
        }])
    })
}

/// A request to render a template: the body of `POST /v1/templates/{key}/render`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderRequest {
    /// What is put in.
    pub data: Data,
    /// Which version; the latest when none is named.
    pub version: Option<Version>,
}

impl RenderRequest {
    /// Reads and checks the body.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake in the body.
    pub fn parse(body: &str) -> Result<Self, Problem> {
        let mut object = JsonObject::parse_body(body)?;
        let request = Self::take(&mut object);
        object.finish()?;
        Ok(request)
    }

    /// Takes `data` and `version`; what is wrong with them is noted in `object`.
    pub fn take(object: &mut JsonObject<'_>) -> Self {
        let data = push::data(object).and_then(|raw| {
            Data::parse(raw.get())
                .map_err(|error| object.mistake("data", error.to_string()))
                .ok()
        });
        Self {
            data: data.unwrap_or_default(),
            version: object.take_as("version", "a whole number from 1 on"),
        }
    }
}

/// What a push of a template would say, with the names that `notification:new` has for it.
#[derive(Debug, Serialize)]
pub struct Preview {
    key: TemplateKey,
    version: Version,
    title: String,
    content: String,
    content_html: String,
    #[serde(rename = "type")]
    kind: Option<NotificationType>,
    action_url: Option<String>,
    action_text: Option<String>,
    category: Option<String>,
}

impl Preview {
    /// Renders what was found.
    ///
    /// # Errors
    /// [`Code::NotFound`] for the key, [`Code::UnknownTemplate`] for the version, [`Code::UnknownType`], and
    /// [`Code::InvalidRequest`] for what a push could not say.
    pub fn new(request: &RenderRequest, found: Found) -> Result<Self, Problem> {
        let TemplateVersion {
            key,
            version,
            template,
            ..
        } = match found.template {
            FoundTemplate::NoSuchKey => found.template.resource()?,
            FoundTemplate::NoSuchVersion | FoundTemplate::Version(_) => found.template.known("")?,
        };
        let rendered = template
            .render(&request.data, "/data")
            .map_err(|mistakes| Problem::new(Code::InvalidRequest).errors(mistakes))?;
        let kind = match rendered.kind {
            None => None,
            Some(id) => Some(known_type(found.kind, &id, "")?),
        };
        let (action_url, action_text) = match rendered.action {
            None => (None, None),
            Some(action) => (Some(action.url), action.text),
        };
        Ok(Self {
            key,
            version,
            title: rendered.title,
            content_html: markdown::to_html(&rendered.content),
            content: rendered.content,
            kind,
            action_url,
            action_text,
            category: rendered.category,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn template(body: &Value) -> Template {
        Template::parse(&body.to_string()).unwrap()
    }

    /// The code and the pointers of a refusal, and what was expected at the first.
    fn told(problem: &Problem) -> (String, Vec<String>, String) {
        let problem = serde_json::to_value(problem).unwrap();
        let errors = problem["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&problem["code"]),
            errors.iter().map(|e| text(&e["pointer"])).collect(),
            errors.first().map(|e| text(&e["detail"])).unwrap_or_default(),
        )
    }

    fn refusal(body: &Value) -> (String, Vec<String>, String) {
        told(&Template::parse(&body.to_string()).unwrap_err())
    }

    /// The pointers and details that rendering is refused with.
    fn unrendered(body: &Value, data: &Value) -> Vec<(String, String)> {
        let data = Data::parse(&data.to_string()).unwrap();
        let mistakes = template(body).render(&data, "/data").unwrap_err();
        mistakes.into_iter().map(|m| (m.pointer, m.detail)).collect()
    }

    const STORED: &str = r#"{"v":1,"template":{"title":"{{ course }} moved","content":"To **{{room}}**","type":"exam","category":"exams","action":{"url":"/exams/{{id}}","text":"Open"},"required":["course","user.name"]}}"#;

    #[test]
    fn the_stored_format_is_unchanged() {
        let smallest = r#"{"v":1,"template":{"title":"t","content":"","type":null,"category":null,"action":null,"required":[]}}"#;
        for stored in [STORED, smallest] {
            assert_eq!(Template::load(stored).unwrap().store().unwrap(), stored);
        }
        let other = STORED.replace(r#""v":1"#, r#""v":2"#);
        assert!(matches!(Template::load(&other), Err(LoadError::Version(2))));
        let broken = STORED.replace("{{room}}", "{{room");
        assert!(matches!(Template::load(&broken), Err(LoadError::Template)));
        assert!(matches!(Template::load(r#"{"v":1}"#), Err(LoadError::Json(_))));
    }

    #[test]
    fn a_version_is_shown_with_all_that_it_says() {
        let version = TemplateVersion {
            key: TemplateKey::parse("exam-moved").unwrap(),
            version: Version::parse("3").unwrap(),
            template: template(&json!({"title": "t", "required": ["a"]})),
            created_at: Timestamp::from_ms(1_795_158_000_000),
        };
        assert_eq!(
            serde_json::to_string(&version.view()).unwrap(),
            r#"{"key":"exam-moved","version":3,"title":"t","content":"","type":null,"category":null,"action":null,"required":["a"],"created_at":"2026-11-20T07:00:00.000Z"}"#
        );
    }

    #[test]
    fn a_key_has_few_characters() {
        let longest = "k".repeat(128);
        for key in ["a", "0", "exam-moved", "a.b_c-d.", longest.as_str()] {
            assert_eq!(TemplateKey::parse(key).unwrap().as_str(), key);
        }
        assert_eq!(TemplateKey::parse(""), Err(TemplateKeyError::Empty));
        assert_eq!(
            TemplateKey::parse(&"k".repeat(129)),
            Err(TemplateKeyError::TooLong(129))
        );
        for (key, found) in [
            ("-a", '-'),
            (".a", '.'),
            ("_", '_'),
            ("aB", 'B'),
            ("a b", ' '),
            ("é", 'é'),
            ("a/b", '/'),
        ] {
            assert_eq!(
                TemplateKey::parse(key),
                Err(TemplateKeyError::Character(found)),
                "{key}"
            );
        }
    }

    #[test]
    fn a_version_is_a_whole_number_from_one_on() {
        assert_eq!(Version::parse("1").unwrap().get(), 1);
        for text in ["", "0", "-1", "1.0", "4294967296", "latest", " 1"] {
            assert_eq!(Version::parse(text), Err(VersionError), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let (code, mut pointers, _) = refusal(&json!({
            "title": "{{", "content": "é".repeat(8_193), "type": {"id": "x"}, "category": "c".repeat(129),
            "action": {"url": "javascript:1", "text": "{{}}", "target": 1},
            "required": ["a", "a", "b c", 7], "data": {},
        }));
        pointers.sort_unstable();
        assert_eq!(code, "unknown_field");
        assert_eq!(
            pointers,
            [
                "/action/target",
                "/action/text",
                "/action/url",
                "/category",
                "/content",
                "/data",
                "/required/1",
                "/required/2",
                "/required/3",
                "/title",
                "/type",
            ]
        );
    }

    #[test]
    fn each_bad_body_has_its_refusal() {
        let check = |body: Value, pointer: &str, detail: &str| {
            let (code, pointers, found) = refusal(&body);
            assert_eq!(
                (code.as_str(), pointers.as_slice()),
                ("invalid_request", &[pointer.to_owned()][..])
            );
            assert!(found.contains(detail), "{found}");
        };
        check(json!({}), "/title", "must be given");
        check(json!({"title": "\u{a0} "}), "/title", "must be given");
        check(
            json!({"title": "x".repeat(201)}),
            "/title",
            "at most 200 characters",
        );
        check(json!({"title": "a\n {{b"}), "/title", "line 2 column 2");
        check(
            json!({"title": "t", "content": "{{/each}}"}),
            "/content",
            "line 1 column 1",
        );
        check(json!({"title": "t", "type": ""}), "/type", "must not be empty");
        check(
            json!({"title": "t", "action": {}}),
            "/action/url",
            "must be given",
        );
        check(
            json!({"title": "t", "action": {"url": "a:b"}}),
            "/action/url",
            "expected an http",
        );
        check(
            json!({"title": "t", "action": {"url": "{{a}}", "text": "x".repeat(129)}}),
            "/action/text",
            "128",
        );
        check(
            json!({"title": "t", "required": "a"}),
            "/required",
            "a list of at most 50",
        );
        let many: Vec<_> = (0..51).map(|i| format!("a{i}")).collect();
        check(
            json!({"title": "t", "required": many}),
            "/required",
            "this has 51",
        );
        check(
            json!({"title": "t", "required": ["a..b"]}),
            "/required/0",
            "names no placeholder",
        );
        assert_eq!(told(&Template::parse("[]").unwrap_err()).0, "malformed_json");
    }

    #[test]
    fn texts_are_rendered_and_the_rest_stays() {
        let body = json!({
            "title": "{{ course }} moved", "content": "To **{{room}}**, {{ greeting }}!", "type": "exam",
            "category": "{{x}}", "action": {"url": "{{base}}/exams/{{id}}", "text": "Open {{course}}"},
        });
        let data =
            Data::parse(r#"{"course":"CS1","room":"<b>*R*</b>","id":7,"base":"https://e.example"}"#).unwrap();
        let rendered = template(&body).render(&data, "").unwrap();
        assert_eq!(
            rendered,
            Rendered {
                title: "CS1 moved".to_owned(),
                content: "To **<b>*R*</b>**, !".to_owned(),
                kind: Some(TypeId::parse("exam").unwrap()),
                category: Some("{{x}}".to_owned()),
                action: Some(Action {
                    url: "https://e.example/exams/7".to_owned(),
                    text: Some("Open CS1".to_owned()),
                }),
            }
        );
    }

    #[test]
    fn each_missing_name_is_a_mistake_of_its_own() {
        let body = json!({"title": "t", "required": ["a", "user.name", "user.id", "list.0", "b"]});
        let data = json!({"a": null, "user": {"name": "Ann"}, "list": [], "b": {}});
        let missing = |pointer: &str| (pointer.to_owned(), "the template requires it".to_owned());
        assert_eq!(
            unrendered(&body, &data),
            [
                missing("/data/a"),
                missing("/data/user/id"),
                missing("/data/list/0")
            ]
        );
    }

    #[test]
    fn what_no_push_could_say_is_refused() {
        let check = |body: Value, data: Value, pointer: &str, detail: &str| {
            let mistakes = unrendered(&body, &data);
            assert!(
                mistakes
                    .iter()
                    .any(|(at, why)| at == pointer && why.contains(detail)),
                "{mistakes:?}"
            );
        };
        let long = |length: usize| json!({"a": "🐭".repeat(length)});
        check(
            json!({"title": "{{a}}"}),
            json!({}),
            "/data",
            "title would be empty",
        );
        check(
            json!({"title": "{{a}}"}),
            json!({"a": " \n"}),
            "/data",
            "title would be empty",
        );
        check(
            json!({"title": "x{{a}}"}),
            long(200),
            "/data",
            "title would have more than 200",
        );
        check(
            json!({"title": "t", "content": "{{a}}".repeat(3_000)}),
            long(4_000),
            "/data",
            "content would have more than 16384 bytes",
        );
        let link = |url: &str| json!({"title": "t", "action": {"url": url, "text": "{{a}}"}});
        check(
            link("{{a}}:alert(1)"),
            json!({"a": "javascript"}),
            "/data",
            "action.url: expected an http",
        );
        check(
            link("/{{a}}"),
            json!({"a": "x y"}),
            "/data",
            "action.url: expected an http",
        );
        check(link("{{x}}"), json!({}), "/data", "action.url would be empty");
        check(
            link("/{{a}}"),
            long(2_048),
            "/data",
            "action.url would have more than 2048",
        );
        check(
            link("/"),
            long(129),
            "/data",
            "action.text would have more than 128",
        );
        check(
            json!({"title": "{{a.b}}"}),
            json!({"a": {"b": []}}),
            "/data/a/b",
            "a list or an object",
        );
        let fits = template(&json!({"title": "{{a}}"}));
        let data = Data::parse(&long(200).to_string()).unwrap();
        assert!(fits.render(&data, "").is_ok());
    }

    #[test]
    fn a_preview_is_what_a_push_would_say() {
        let found = |kind| Found {
            template: FoundTemplate::Version(Box::new(TemplateVersion {
                key: TemplateKey::parse("k").unwrap(),
                version: Version::parse("2").unwrap(),
                template: template(&json!({
                    "title": "{{a}}", "content": "*{{a}}*", "type": "x", "action": {"url": "/{{a}}"},
                })),
                created_at: Timestamp::default(),
            })),
            kind,
        };
        let kind = NotificationType {
            id: "x".to_owned(),
            name: "X".to_owned(),
            icon: None,
            color: None,
        };
        let request = RenderRequest::parse(r#"{"data":{"a":"<b>"},"version":2}"#).unwrap();
        let preview = Preview::new(&request, found(Some(kind))).unwrap();
        assert_eq!(
            serde_json::to_string(&preview).unwrap(),
            r#"{"key":"k","version":2,"title":"<b>","content":"*<b>*","content_html":"<p><em>&lt;b&gt;</em></p>\n","type":{"id":"x","name":"X","icon":null,"color":null},"action_url":"/<b>","action_text":null,"category":null}"#
        );
        let refused = |request: &str, found: Found| {
            let request = RenderRequest::parse(request).unwrap();
            let (code, pointers, _) = told(&Preview::new(&request, found).unwrap_err());
            (code, pointers)
        };
        let no_version = Found {
            template: FoundTemplate::NoSuchVersion,
            kind: None,
        };
        assert_eq!(refused("{}", Found::default()), ("not_found".to_owned(), vec![]));
        assert_eq!(
            refused("{}", no_version),
            ("unknown_template".to_owned(), vec!["/version".to_owned()])
        );
        assert_eq!(
            refused(r#"{"data":{"a":1}}"#, found(None)),
            ("unknown_type".to_owned(), vec![String::new()])
        );
        assert_eq!(
            refused(r#"{"data":{"a":[]}}"#, found(None)).1,
            ["/data", "/data/a"]
        );
    }

    #[test]
    fn a_bad_render_request_is_refused() {
        let check = |body: &str, code: &str, expected: &[&str]| {
            let (found, pointers, _) = told(&RenderRequest::parse(body).unwrap_err());
            assert_eq!(
                (found.as_str(), pointers),
                (code, expected.iter().map(ToString::to_string).collect())
            );
        };
        check("", "malformed_json", &[]);
        check(
            r#"{"data":[],"version":"1"}"#,
            "invalid_request",
            &["/data", "/version"],
        );
        check(r#"{"datum":{}}"#, "unknown_field", &["/datum"]);
        check(
            &json!({"data": {"x": "y".repeat(16 * 1024)}}).to_string(),
            "invalid_request",
            &["/data"],
        );
    }

    proptest! {
        #[test]
        fn any_body_is_a_template_or_refused(
            title in "(?s).{0,20}|[{} a.]{0,20}",
            url in "(?s).{0,20}|(/|javascript:|[{} a.]){0,8}",
            required in prop::collection::vec("[ab.]{0,3}", 0..4),
            value in "null|true|1e999|\"a\"|\\[\\]|\\{\\}|\"\\\\ud800\"|(\\[){1,200}",
            data in "(?s).{0,20}",
        ) {
            let body = json!({"title": title, "content": title, "action": {"url": url}, "required": required});
            let _ = Template::parse(&format!(r#"{{"title":{value},"required":[{value}],"action":{{"url":{value}}}}}"#));
            if let Ok(template) = Template::parse(&body.to_string()) {
                let stored = template.store().unwrap();
                prop_assert_eq!(&Template::load(&stored).unwrap(), &template);
                let data = Data::parse(&json!({"a": data, "b": [data]}).to_string()).unwrap();
                if let Ok(rendered) = template.render(&data, "") {
                    prop_assert!((1..=MAX_TITLE_CHARS).contains(&rendered.title.chars().count()));
                    prop_assert!(rendered.action.is_some_and(|action| is_safe_link(&action.url)));
                }
            }
        }
    }
}
