//! Messages of the queue that were not carried out (DESIGN 9). They are kept as they came, with the reason, until
//! somebody replays or deletes them, or retention takes them.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::id::DeadLetterId;
use crate::page::{DeadLetterCursor, PageError, limit};
use crate::time::{Timestamp, iso};

/// A message that was not carried out.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetter {
    /// Names it, and says when it was sent.
    pub id: DeadLetterId,
    /// When it was given up.
    #[serde(with = "iso")]
    pub received_at: Timestamp,
    /// Why: a [`Problem`](crate::problem::Problem).
    pub problem: Box<RawValue>,
    /// The message, which may be anything.
    pub body: String,
}

/// Which part of the list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLettersRequest {
    /// Only those after this one.
    pub after: Option<DeadLetterId>,
    /// At most this many.
    pub limit: usize,
}

impl DeadLettersRequest {
    /// Reads the query parameters `limit` and `cursor`.
    ///
    /// # Errors
    /// [`PageError`], the first that applies.
    pub fn parse(size: Option<&str>, cursor: Option<&str>) -> Result<Self, PageError> {
        let cursor = cursor.map(DeadLetterCursor::parse).transpose()?;
        Ok(Self {
            after: cursor.map(|cursor| cursor.after_letter),
            limit: limit(size)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn a_dead_letter_has_the_documented_shape() {
        let sent_at = Timestamp::from_ms(1_795_158_000_000);
        let letter = DeadLetter {
            id: DeadLetterId::first_at(sent_at),
            received_at: sent_at.after_ms(1_500),
            problem: RawValue::from_string(r#"{"code":"retries_exhausted"}"#.to_owned()).unwrap(),
            body: "{".to_owned(),
        };
        assert_eq!(
            serde_json::to_string(&letter).unwrap(),
            r#"{"id":"01a1f7c1-4180-7000-8000-000000000000","received_at":"2026-11-20T07:00:01.500Z","problem":{"code":"retries_exhausted"},"body":"{"}"#
        );
    }

    #[test]
    fn parameters_are_checked() {
        let after = DeadLetterId::of_message("a1", Timestamp::from_ms(1));
        let cursor = DeadLetterCursor { after_letter: after }.encode();
        assert_eq!(
            DeadLettersRequest::parse(None, None),
            Ok(DeadLettersRequest {
                after: None,
                limit: 20
            })
        );
        assert_eq!(
            DeadLettersRequest::parse(Some("7"), Some(&cursor)),
            Ok(DeadLettersRequest {
                after: Some(after),
                limit: 7,
            })
        );
        assert_eq!(DeadLettersRequest::parse(Some("0"), None), Err(PageError::Limit));
        assert_eq!(DeadLettersRequest::parse(None, Some("x")), Err(PageError::Cursor));
    }
}
