//! Rooms: who a push or an event is for (DESIGN 6, 8).
//!
//! Every room is a log in the record, under the name a service gives it: `user:ID`, `dept:ID`,
//! `room:NAME`, `broadcast`, `admin:notifications`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{IdError, UserId, check_name};

/// A room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Room {
    /// A user's own.
    User(UserId),
    /// One that several users are in.
    Shared(SharedRoom),
}

/// A room that several users are in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SharedRoom {
    /// A department, whose members come from tokens and from the membership API.
    Dept(RoomName),
    /// A room, whose members come from the membership API.
    Named(RoomName),
    /// Everybody.
    Broadcast,
    /// Those whose token says `admin`.
    Admin,
}

/// What a department or a room is called: 1 to 128 bytes of text without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(String);

impl RoomName {
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

/// Why a text names no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// It begins with nothing that is known.
    #[error("expected user:ID, dept:ID, room:NAME, broadcast or admin:notifications")]
    Unknown,
    /// What follows can't be a name.
    #[error(transparent)]
    Name(#[from] IdError),
}

impl Room {
    /// Reads the name of a room; `announcements` is another for `broadcast`.
    ///
    /// ```
    /// # use dormouse_domain::room::Room;
    /// assert_eq!(Room::parse("announcements")?.to_string(), "broadcast");
    /// assert_eq!(Room::parse("dept:7")?.to_string(), "dept:7");
    /// assert!(Room::parse("dept:").is_err());
    /// # Ok::<(), dormouse_domain::room::RoomError>(())
    /// ```
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        match text.split_once(':') {
            Some(("user", id)) => Ok(Self::User(UserId::parse(id)?)),
            _ => SharedRoom::parse(text).map(Self::Shared),
        }
    }
}

impl SharedRoom {
    /// Reads the name of a room that several users are in.
    ///
    /// # Errors
    /// [`RoomError`]; a user's own room is [`RoomError::Unknown`].
    pub fn parse(text: &str) -> Result<Self, RoomError> {
        match (text, text.split_once(':')) {
            ("broadcast" | "announcements", _) => Ok(Self::Broadcast),
            ("admin:notifications", _) => Ok(Self::Admin),
            (_, Some(("dept", id))) => Ok(Self::Dept(RoomName::parse(id)?)),
            (_, Some(("room", name))) => Ok(Self::Named(RoomName::parse(name)?)),
            _ => Err(RoomError::Unknown),
        }
    }
}

impl TryFrom<String> for Room {
    type Error = RoomError;

    fn try_from(text: String) -> Result<Self, RoomError> {
        Self::parse(&text)
    }
}

impl From<Room> for String {
    fn from(room: Room) -> Self {
        room.to_string()
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Shared(room) => room.fmt(f),
        }
    }
}

impl TryFrom<String> for SharedRoom {
    type Error = RoomError;

    fn try_from(text: String) -> Result<Self, RoomError> {
        Self::parse(&text)
    }
}

impl From<SharedRoom> for String {
    fn from(room: SharedRoom) -> Self {
        room.to_string()
    }
}

impl fmt::Display for SharedRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dept(id) => write!(f, "dept:{}", id.as_str()),
            Self::Named(name) => write!(f, "room:{}", name.as_str()),
            Self::Broadcast => f.write_str("broadcast"),
            Self::Admin => f.write_str("admin:notifications"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_room_has_one_name_and_nothing_else_is_one() {
        for (text, name) in [
            ("user:41", "user:41"),
            ("user:a:b", "user:a:b"),
            ("dept:a", "dept:a"),
            ("room:lobby", "room:lobby"),
            ("broadcast", "broadcast"),
            ("announcements", "broadcast"),
            ("admin:notifications", "admin:notifications"),
        ] {
            assert_eq!(Room::parse(text).unwrap().to_string(), name);
        }
        let too_long = format!("room:{}", "x".repeat(129));
        for text in [
            "",
            "user",
            "user:",
            "dept:",
            "room:",
            "41",
            "admin",
            "admin:x",
            "Broadcast",
            "broadcast:",
            " dept:a",
            "dept:a\n",
            &too_long,
        ] {
            assert!(Room::parse(text).is_err(), "{text:?}");
        }
        assert!(SharedRoom::parse("user:41").is_err());
    }

    proptest! {
        #[test]
        fn a_name_is_read_back_as_the_same_room(text in "((user|dept|room|admin|broadcast):?)?(?s).{0,130}") {
            if let Ok(room) = Room::parse(&text) {
                prop_assert_eq!(Room::parse(&room.to_string()).unwrap(), room);
            }
        }
    }
}
