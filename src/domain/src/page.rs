//! Pages of a list: how many, and from where on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::id::UserId;

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

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Only items below this `seq`; all when absent.
    pub before: Option<u64>,
    /// At most this many: 1 to [`MAX_LIMIT`].
    pub limit: usize,
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
}

impl PageError {
    /// The query parameter that is wrong.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Cursor => "cursor",
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
    /// Reads the query parameters `limit` and `cursor`.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn parse(limit: Option<&str>, cursor: Option<&str>) -> Result<Self, PageError> {
        let limit = self::limit(limit)?;
        let before = cursor.map(Cursor::parse).transpose()?.map(|cursor| cursor.before);
        Ok(Self { before, limit })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_and_cursors_are_checked() {
        let cursor = Cursor { before: 7 }.encode();
        assert_eq!(
            PageRequest::parse(None, None),
            Ok(PageRequest {
                before: None,
                limit: 20
            })
        );
        assert_eq!(
            PageRequest::parse(Some("100"), Some(&cursor)),
            Ok(PageRequest {
                before: Some(7),
                limit: 100
            })
        );
        for limit in ["0", "101", "-1", "1.5", "", "ten"] {
            assert_eq!(
                PageRequest::parse(Some(limit), None),
                Err(PageError::Limit),
                "{limit}"
            );
        }
        for cursor in [
            "",
            "x",
            "e30",
            "eyJiZWZvcmUiOi0xfQ",
            &URL_SAFE_NO_PAD.encode(r#"{"before":1,"x":2}"#),
        ] {
            assert_eq!(
                PageRequest::parse(None, Some(cursor)),
                Err(PageError::Cursor),
                "{cursor}"
            );
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
