//! Switchboards: objects that stand between many hubs and the record (DESIGN 6, 8).
//!
//! Every user belongs to one of them by the hash of their id. It knows who of its users is online and in
//! which rooms.
//!
//! [`roster`]: who is there; [`board`]: what else must not be forgotten. [`catch_up`] and [`recent`]: how many
//! hubs read the record at once, [`pace`]: how often. [`walk`]: how one thing is brought to many. [`presence`],
//! [`report`]: who hears of whom. [`alarm`]: when it wakes up.

pub mod alarm;
pub mod board;
pub mod catch_up;
pub mod pace;
pub mod presence;
pub mod recent;
pub mod report;
pub mod roster;
pub mod walk;

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::UserId;

/// Which switchboard: the one of this `index` among `count`. Another count is another generation, with
/// objects of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SwitchboardName {
    /// How many there are in its generation, at least 1.
    pub count: u32,
    /// Which of them it is: 0 to `count` - 1.
    pub index: u32,
}

impl SwitchboardName {
    /// The switchboard that `user` belongs to when there are `count`.
    #[must_use]
    pub fn of(user: &UserId, count: u32) -> Self {
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, user.as_str().as_bytes()).as_u128();
        let index = hash.checked_rem(u128::from(count)).unwrap_or_default();
        Self {
            count,
            index: u32::try_from(index).unwrap_or_default(),
        }
    }

    /// Every switchboard of a generation.
    pub fn all(count: u32) -> impl Iterator<Item = Self> {
        (0..count).map(move |index| Self { count, index })
    }

    /// Reads the form that [`fmt::Display`] writes, the name of the object.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (index, count) = text.split_once('/')?;
        let name = Self {
            count: count.parse().ok()?,
            index: index.parse().ok()?,
        };
        (name.index < name.count).then_some(name)
    }
}

impl fmt::Display for SwitchboardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn a_user_always_belongs_to_the_same_one_and_users_spread_evenly() {
        let user = |n: u32| UserId::parse(&format!("u{n}")).unwrap();
        // Stored rosters depend on it.
        assert_eq!(SwitchboardName::of(&user(1), 4).to_string(), "3/4");
        let mut users = [0_u32; 4];
        for n in 0..4_000 {
            let name = SwitchboardName::of(&user(n), 4);
            users[usize::try_from(name.index).unwrap()] += 1;
        }
        assert!(
            users.iter().all(|count| (900..1_100).contains(count)),
            "{users:?}"
        );
    }

    #[test]
    fn a_name_is_read_back() {
        for name in SwitchboardName::all(3) {
            assert_eq!(SwitchboardName::parse(&name.to_string()), Some(name));
        }
        for text in ["", "0", "3/3", "0/0", "-1/2", "a/b", "0/1/2"] {
            assert_eq!(SwitchboardName::parse(text), None, "{text:?}");
        }
    }
}
