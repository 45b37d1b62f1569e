//! Pages of a list: how many, and from where on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::id::{DeadLetterId, UserId};

use crate::notification::Content;

/// Items on a page when none is asked for.
pub const DEFAULT_LIMIT: usize = 20;
/// Most items on a page.
pub const MAX_LIMIT: usize = 100;

/// Where a page begins: opaque to clients, checked when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The page holds items below this `seq`.
    pub before: u64,
}

/// Where a page of users begins: opaque to clients, checked when it comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserCursor {
    /// The page holds users after this one, in the order of their ids' bytes.
    pub after: UserId,
}

/// Where a page of dead letters begins: opaque to clients, checked when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterCursor {
    /// The page holds dead letters after this one, in the order of their ids.
    pub after_letter: DeadLetterId,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Which list.
    #[serde(default)]
    pub filter: Filter,
    /// Only items of the type with this id.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// Only items of this category.
    #[serde(default)]
    pub category: Option<String>,
    /// Only items below this `seq`; all when absent.
    pub before: Option<u64>,
    /// At most this many: 1 to [`MAX_LIMIT`].
    pub limit: usize,
}

/// Which list of a user's items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The inbox.
    #[default]
    All,
    /// What is unread in it.
    Unread,
    /// What is read in it.
    Read,
    /// The archive.
    Archived,
}

impl Filter {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "unread" => Some(Self::Unread),
            "read" => Some(Self::Read),
            "archived" => Some(Self::Archived),
            _ => None,
        }
    }
}

/// Why a page cannot be asked for like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// `limit` is not a whole number from 1 to 100.
    #[error("limit must be a whole number from 1 to 100")]
    Limit,
    /// `cursor` was not made by this service.
    #[error("cursor must be a next_cursor of an earlier page")]
    Cursor,
    /// `filter` names no list.
    #[error("filter must be all, unread, read or archived")]
    Filter,
}

impl PageError {
    /// The query parameter that is wrong.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Cursor => "cursor",
            Self::Filter => "filter",
        }
    }
}

impl Cursor {
    /// The text a client passes back.
    #[must_use]
    pub fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(format!(r#"{{"before":{}}}"#, self.before))
    }

    /// Reads what a client passed back.
    ///
    /// # Errors
    /// [`PageError::Cursor`].
    pub fn parse(text: &str) -> Result<Self, PageError> {
        decode(text)
    }
}

impl UserCursor {
    /// The text a client passes back.
    #[must_use]
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!({"after": self.after}).to_string())
    }

    /// Reads what a client passed back.
    ///
    /// # Errors
    /// [`PageError::Cursor`].
    pub fn parse(text: &str) -> Result<Self, PageError> {
        decode(text)
    }
}

impl DeadLetterCursor {
    /// The text a client passes back.
    #[must_use]
    pub fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(json!({"after_letter": self.after_letter}).to_string())
    }

    /// Reads what a client passed back.
    ///
    /// # Errors
    /// [`PageError::Cursor`].
    pub fn parse(text: &str) -> Result<Self, PageError> {
        decode(text)
    }
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, PageError> {
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| PageError::Cursor)?;
    // Serde would read a struct from a list as well.
    if json.first() != Some(&b'{') {
        return Err(PageError::Cursor);
    }
    serde_json::from_slice(&json).map_err(|_| PageError::Cursor)
}

/// Reads the query parameter `limit`.
///
/// # Errors
/// [`PageError::Limit`].
pub fn limit(text: Option<&str>) -> Result<usize, PageError> {
    match text {
        None => Ok(DEFAULT_LIMIT),
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or(PageError::Limit),
    }
}

impl PageRequest {
    /// Reads the query parameters `filter`, `type`, `category`, `limit` and `cursor` through `lookup`.
    ///
    /// # Errors
    /// [`PageError`], the first that applies.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, PageError> {
        let filter = match lookup("filter") {
            None => Filter::All,
            Some(name) => Filter::parse(&name).ok_or(PageError::Filter)?,
        };
        Ok(Self {
            filter,
            kind: lookup("type"),
            category: lookup("category"),
            before: lookup("cursor")
                .map(|text| Cursor::parse(&text))
                .transpose()?
                .map(|cursor| cursor.before),
            limit: limit(lookup("limit").as_deref())?,
        })
    }

    /// Whether it asks for some items of its list only.
    #[must_use]
    pub const fn is_selective(&self) -> bool {
        self.kind.is_some() || self.category.is_some()
    }

    /// Whether an item of this content is asked for.
    #[must_use]
    pub fn selects(&self, content: &Content) -> bool {
        let kind = content.kind.as_ref().map(|kind| kind.id.as_str());
        let wanted = |wanted: &Option<String>, is: Option<&str>| wanted.is_none() || wanted.as_deref() == is;
        wanted(&self.kind, kind) && wanted(&self.category, content.category.as_deref())
    }
}

/// The weak entity tag of an inbox whose latest change is `seq`: whatever a user can list is the same
/// while it is.
#[must_use]
pub fn entity_tag(seq: u64) -> String {
    format!("W/\"{seq}\"")
}

/// Whether an `If-None-Match` header names the inbox whose latest change is `seq` (RFC 9110, 13.1.2: by
/// weak comparison).
#[must_use]
pub fn matches_entity_tag(header: &str, seq: u64) -> bool {
    let tag = format!("\"{seq}\"");
    header
        .split(',')
        .map(str::trim)
        .any(|listed| listed == "*" || listed.strip_prefix("W/").unwrap_or(listed) == tag)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;

    use super::*;
    use crate::time::Timestamp;

    fn parse(parameters: &[(&str, &str)]) -> Result<PageRequest, PageError> {
        PageRequest::parse(|wanted| {
            let found = parameters.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn parameters_are_checked() {
        let cursor = Cursor { before: 7 }.encode();
        let page = parse(&[]).unwrap();
        assert_eq!((page.filter, page.before, page.limit), (Filter::All, None, 20));
        assert!(!page.is_selective());
        let page = parse(&[
            ("limit", "100"),
            ("cursor", &cursor),
            ("filter", "archived"),
            ("type", "t"),
        ])
        .unwrap();
        assert_eq!(
            (page.filter, page.before, page.limit),
            (Filter::Archived, Some(7), 100)
        );
        assert!(page.is_selective());
        for (name, bad, error) in [
            ("limit", "0", PageError::Limit),
            ("limit", "101", PageError::Limit),
            ("limit", "-1", PageError::Limit),
            ("limit", "1.5", PageError::Limit),
            ("limit", "", PageError::Limit),
            ("limit", "ten", PageError::Limit),
            ("filter", "", PageError::Filter),
            ("filter", "UNREAD", PageError::Filter),
            ("cursor", "", PageError::Cursor),
            ("cursor", "x", PageError::Cursor),
            ("cursor", "e30", PageError::Cursor),
            ("cursor", "eyJiZWZvcmUiOi0xfQ", PageError::Cursor),
            (
                "cursor",
                &URL_SAFE_NO_PAD.encode(r#"{"before":1,"x":2}"#),
                PageError::Cursor,
            ),
        ] {
            assert_eq!(parse(&[(name, bad)]), Err(error), "{name}={bad}");
            assert_eq!(error.parameter(), name);
        }
    }

    #[test]
    fn entity_tags_are_compared_weakly() {
        assert_eq!(entity_tag(7), "W/\"7\"");
        for header in ["W/\"7\"", "\"7\"", "*", "\"a\", W/\"7\""] {
            assert!(matches_entity_tag(header, 7), "{header}");
        }
        for header in ["", "7", "W/\"70\"", "\"6\", \"8\""] {
            assert!(!matches_entity_tag(header, 7), "{header}");
        }
    }

    #[test]
    fn a_cursor_of_users_is_checked() {
        for json in [
            "{}",
            r#"["u1"]"#,
            r#"{"after":1}"#,
            r#"{"after":""}"#,
            r#"{"after":"a\u0000"}"#,
            r#"{"before":1}"#,
            r#"{"after":"u1","x":2}"#,
        ] {
            assert_eq!(
                UserCursor::parse(&URL_SAFE_NO_PAD.encode(json)),
                Err(PageError::Cursor),
                "{json}"
            );
        }
    }

    #[test]
    fn a_cursor_of_dead_letters_is_checked() {
        let cursor = DeadLetterCursor {
            after_letter: DeadLetterId::of_message("a1", Timestamp::from_ms(1)),
        };
        assert_eq!(DeadLetterCursor::parse(&cursor.encode()), Ok(cursor));
        for json in [
            "{}",
            r#"{"after_letter":"a1"}"#,
            r#"{"after_letter":null}"#,
            r#"{"after":"u1"}"#,
        ] {
            assert_eq!(
                DeadLetterCursor::parse(&URL_SAFE_NO_PAD.encode(json)),
                Err(PageError::Cursor),
                "{json}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(before: u64) {
            prop_assert_eq!(Cursor::parse(&Cursor { before }.encode()).unwrap(), Cursor { before });
        }

        #[test]
        fn a_cursor_of_users_comes_back_as_it_went(user in "[^\\p{Cc}]{1,32}") {
            let cursor = UserCursor { after: UserId::parse(&user).unwrap() };
            prop_assert_eq!(UserCursor::parse(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text in "(?s).{0,80}") {
            let _ = Cursor::parse(&text);
            let _ = UserCursor::parse(&text);
        }
    }
}
