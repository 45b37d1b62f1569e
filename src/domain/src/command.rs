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

    #[test]
    fn the_format_between_objects_is_unchanged() {
        let id = NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap();
        let recipient = id.recipient(&UserId::parse("u1").unwrap());
        let notification = Which::Notification(id);
        let mark = |mark| Command::Mark {
            which: notification,
            mark,
        };
        let named =
            |mark: &str| format!(r#"{{"Mark":{{"which":{{"Notification":"{id}"}},"mark":"{mark}"}}}}"#);
        for (command, json) in [
            (mark(Mark::Read), named("Read")),
            (mark(Mark::Unread), named("Unread")),
            (mark(Mark::Archive), named("Archive")),
            (mark(Mark::Unarchive), named("Unarchive")),
            (mark(Mark::Delete), named("Delete")),
            (
                Command::Mark {
                    which: Which::Recipient(recipient),
                    mark: Mark::Read,
                },
                format!(r#"{{"Mark":{{"which":{{"Recipient":"{recipient}"}},"mark":"Read"}}}}"#),
            ),
            (
                Command::ReadAll { up_to: None },
                r#"{"ReadAll":{"up_to":null}}"#.to_owned(),
            ),
            (
                Command::ReadAll { up_to: Some(7) },
                r#"{"ReadAll":{"up_to":7}}"#.to_owned(),
            ),
            (Command::Seen { up_to: 7 }, r#"{"Seen":{"up_to":7}}"#.to_owned()),
        ] {
            assert_eq!(serde_json::to_string(&command).unwrap(), json);
            assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), command);
        }
    }

    #[test]
    fn an_item_has_two_names_for_its_user() {
        let id = NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap();
        let user = UserId::parse("u1").unwrap();
        let recipient = id.recipient(&user);
        for which in [Which::Notification(id), Which::Recipient(recipient)] {
            assert_eq!(which.recipient_id(&user), recipient, "{which:?}");
        }
        let other = UserId::parse("u2").unwrap();
        assert_ne!(Which::Notification(id).recipient_id(&other), recipient);
    }
}
