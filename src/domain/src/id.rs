//! Names of users, notifications and recipients: parsed once, valid ever after.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::time::Timestamp;

/// The longest user or department id, in bytes (DESIGN 3.2).
pub const MAX_NAME_BYTES: usize = 128;

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("an id must not be empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`]; holds the length found.
    #[error("an id has at most 128 bytes, this one has {0}")]
    TooLong(usize),
    /// Holds the code point of the first control character.
    #[error("an id must not contain control characters, this one has U+{0:04X}")]
    ControlCharacter(u32),
    /// Not a UUID; holds the length of what was given, never the text.
    #[error("expected a UUID")]
    NotAUuid(usize),
}

/// A user as the token names them: 1 to 128 bytes of text without control characters.
///
/// It names a Durable Object, so nothing unchecked may become one.
///
/// ```
/// # use dormouse_domain::id::UserId;
/// assert_eq!(UserId::parse("u1")?.as_str(), "u1");
/// assert!(UserId::parse("a\nb").is_err());
/// # Ok::<(), dormouse_domain::id::IdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`IdError::Empty`], [`IdError::TooLong`], [`IdError::ControlCharacter`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_name(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        check_name(&text)?;
        Ok(Self(text))
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rule that user and department ids share.
///
/// # Errors
/// [`IdError::Empty`], [`IdError::TooLong`], [`IdError::ControlCharacter`].
pub fn check_name(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(IdError::ControlCharacter(u32::from(found))),
        None => Ok(()),
    }
}

/// A pushed notification, whatever its audience: a UUIDv7, so the record's inserts are in time order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationId(Uuid);

impl NotificationId {
    /// The id of a push made at `now`; `entropy` is ten random bytes.
    #[must_use]
    pub fn generate(now: Timestamp, entropy: [u8; 10]) -> Self {
        Self(uuid_v7(now, entropy))
    }

    /// Reads the hyphenated form.
    ///
    /// # Errors
    /// [`IdError::NotAUuid`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self)
    }

    /// The id of the record this notification is for `user`.
    #[must_use]
    pub fn recipient(self, user: &UserId) -> RecipientId {
        RecipientId(Uuid::new_v5(&self.0, user.as_str().as_bytes()))
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message of the queue that was not carried out: a UUIDv7 of when it was sent, so the record's inserts are in
/// time order, with a digest for entropy, so that a message that comes twice is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeadLetterId(Uuid);

impl DeadLetterId {
    /// The id of the message that the queue calls `message`, sent at `sent_at`.
    #[must_use]
    pub fn of_message(message: &str, sent_at: Timestamp) -> Self {
        let mut entropy = [0; 10];
        for (byte, digested) in entropy.iter_mut().zip(Sha256::digest(message.as_bytes())) {
            *byte = digested;
        }
        Self(uuid_v7(sent_at, entropy))
    }

    /// The lowest id of a message sent at `sent_at` or later.
    #[must_use]
    pub fn first_at(sent_at: Timestamp) -> Self {
        Self(uuid_v7(sent_at, [0; 10]))
    }

    /// Reads the hyphenated form.
    ///
    /// # Errors
    /// [`IdError::NotAUuid`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self)
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One user's record of one notification: UUIDv5 of the notification and the user, so that it is
/// known before anything is stored and is the same wherever it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecipientId(Uuid);

impl RecipientId {
    /// Reads the hyphenated form.
    ///
    /// # Errors
    /// [`IdError::NotAUuid`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self)
    }
}

impl fmt::Display for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn uuid_v7(at: Timestamp, entropy: [u8; 10]) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(at.as_ms(), &entropy).into_uuid()
}

fn parse_uuid(text: &str) -> Result<Uuid, IdError> {
    if text.len() != 36 {
        return Err(IdError::NotAUuid(text.len()));
    }
    Uuid::try_parse(text).map_err(|_| IdError::NotAUuid(text.len()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn user_ids_are_bounded_text_without_control_characters() {
        let longest = "é".repeat(64);
        for good in ["u1", " ", "user@example.org", longest.as_str(), "用户"] {
            assert!(UserId::parse(good).is_ok(), "{good}");
        }
        assert_eq!(UserId::parse(""), Err(IdError::Empty));
        assert_eq!(UserId::parse(&"é".repeat(65)), Err(IdError::TooLong(130)));
        assert_eq!(UserId::parse("a\nb"), Err(IdError::ControlCharacter(10)));
        assert_eq!(UserId::parse("\u{85}"), Err(IdError::ControlCharacter(0x85)));
    }

    #[test]
    fn stored_user_ids_are_checked_again_when_read() {
        assert!(serde_json::from_str::<UserId>(r#""a\u0000""#).is_err());
    }

    #[test]
    fn notification_ids_sort_by_time() {
        let early = NotificationId::generate(Timestamp::from_ms(1), [255; 10]);
        let late = NotificationId::generate(Timestamp::from_ms(2), [0; 10]);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn dead_letter_ids_are_of_the_message_and_sort_by_time() {
        let sent_at = Timestamp::from_ms(1_795_158_000_000);
        let id = DeadLetterId::of_message("a1", sent_at);
        assert_eq!(id.to_string(), "01a1f7c1-4180-755f-b16f-66f43360266b");
        assert_eq!(DeadLetterId::parse(&id.to_string()), Ok(id));
        assert_ne!(DeadLetterId::of_message("a2", sent_at), id);
        assert!(DeadLetterId::first_at(sent_at) <= id);
        assert!(
            DeadLetterId::of_message("a1", Timestamp::from_ms(sent_at.as_ms() - 1))
                < DeadLetterId::first_at(sent_at)
        );
    }

    #[test]
    fn recipient_ids_never_change_for_a_notification_and_user() {
        let id = NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap();
        let user = UserId::parse("u1").unwrap();
        assert_eq!(
            id.recipient(&user).to_string(),
            "470314a0-6846-569f-81e6-a8e84f826fc0"
        );
    }

    #[test]
    fn only_hyphenated_uuids_are_ids() {
        for bad in [
            "",
            "x",
            "01929c3e000070008000000000000001",
            "{01929c3e-0000-7000-8000-00000000000}",
        ] {
            assert!(NotificationId::parse(bad).is_err(), "{bad}");
        }
    }
}
