//! What a user does with their inbox, over a socket or over HTTP: both end in the same rule.

use serde::{Deserialize, Serialize};

use crate::id::{NotificationId, RecipientId, UserId};
use crate::json_object::JsonObject;
use crate::problem::{Code, Problem};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Something with one item.
    Mark {
        /// Which.
        which: Which,
        /// What.
        mark: Mark,
    },
    /// Read everything in the inbox up to and including this number; all of it when absent.
    ReadAll {
        /// The number.
        up_to: Option<u64>,
    },
    /// See everything in the inbox up to and including this number.
    Seen {
        /// The number.
        up_to: u64,
    },
}

/// Which item, by either of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// The notification's.
    Notification(NotificationId),
    /// The user's own record's.
    Recipient(RecipientId),
}

/// What to do with one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// Read it.
    Read,
    /// Unread it.
    Unread,
    /// Put it into the archive.
    Archive,
    /// Take it out of the archive.
    Unarchive,
    /// Delete it.
    Delete,
}

impl Which {
    /// The record of it that `user` has.
    #[must_use]
    pub fn recipient_id(self, user: &UserId) -> RecipientId {
        match self {
            Self::Notification(id) => id.recipient(user),
            Self::Recipient(id) => id,
        }
    }
}

impl Command {
    /// Reads the body of `POST /v1/me/notifications/read-all`, which may be empty.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake.
    pub fn read_all(body: &str) -> Result<Self, Problem> {
        if body.trim().is_empty() {
            return Ok(Self::ReadAll { up_to: None });
        }
        let mut object = JsonObject::parse_body(body)?;
        let up_to = object.take_as("before_seq", "a whole number");
        object.finish()?;
        Ok(Self::ReadAll { up_to })
    }

    /// Reads the body of `POST /v1/me/notifications/seen`.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake.
    pub fn seen(body: &str) -> Result<Self, Problem> {
        let mut object = JsonObject::parse_body(body)?;
        let up_to = object.take_required("up_to_seq", "a whole number");
        object.finish()?;
        let up_to = up_to.ok_or_else(|| Problem::new(Code::InvalidRequest))?;
        Ok(Self::Seen { up_to })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn bodies_are_read_or_refused() {
        let all = |up_to| Ok(Command::ReadAll { up_to });
        assert_eq!(Command::read_all(""), all(None));
        assert_eq!(Command::read_all("{}"), all(None));
        assert_eq!(Command::read_all(r#"{"before_seq":7}"#), all(Some(7)));
        assert_eq!(
            Command::seen(r#"{"up_to_seq":7}"#),
            Ok(Command::Seen { up_to: 7 })
        );
        for (body, status, pointer) in [
            ("{}", 422, "/up_to_seq"),
            (r#"{"up_to_seq":null}"#, 422, "/up_to_seq"),
            (r#"{"up_to_seq":-1}"#, 422, "/up_to_seq"),
            (r#"{"up_to_seq":"1"}"#, 422, "/up_to_seq"),
            (r#"{"up_to_seq":1.5}"#, 422, "/up_to_seq"),
            (r#"{"up_to_seq":1,"x":1}"#, 400, "/x"),
        ] {
            let problem = Command::seen(body).unwrap_err();
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!(problem.status(), status, "{body}");
            assert_eq!(json["errors"][0]["pointer"], pointer, "{body}");
        }
        for body in ["x", "[]", r#"{"before_seq":[]}"#, r#"{"before":1}"#] {
            assert!(Command::read_all(body).is_err(), "{body}");
        }
    }
}
