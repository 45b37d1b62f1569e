//! What a service may ask for of a room's members (DESIGN 8): `/v1/rooms/{room}/members`.

use std::collections::BTreeSet;

use crate::id::UserId;
use crate::json_object::JsonObject;
use crate::problem::{Code, Problem};
use crate::room::{RoomError, SharedRoom};
use crate::user_list::{self, MAX_USERS};

/// Who is put into a room and who is taken out: each user once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberChanges {
    /// Put in.
    pub add: BTreeSet<UserId>,
    /// Taken out.
    pub remove: BTreeSet<UserId>,
}

impl MemberChanges {
    /// Reads the body of `POST /v1/rooms/{room}/members`: together 1 to [`MAX_USERS`] ids, none of them in both
    /// lists.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake in the body.
    pub fn parse(body: &str) -> Result<Self, Problem> {
        let mut object = JsonObject::parse_body(body)?;
        let add = user_list::take(&mut object, "add");
        let remove = user_list::take(&mut object, "remove");
        if !(1..=MAX_USERS).contains(&add.listed.saturating_add(remove.listed)) {
            object.mistake_at(
                &[],
                format!("expected 1 to {MAX_USERS} user ids in add and remove together"),
            );
        }
        let add = BTreeSet::from_iter(add.ids);
        if remove.ids.iter().any(|id| add.contains(id)) {
            object.mistake("remove", "has users who are in add as well");
        }
        object.finish()?;
        Ok(Self {
            add,
            remove: BTreeSet::from_iter(remove.ids),
        })
    }

    /// Everybody whom it is about.
    pub fn users(&self) -> impl Iterator<Item = &UserId> {
        self.add.iter().chain(&self.remove)
    }
}

/// Reads the name of a room whose members a service may change.
///
/// # Errors
/// [`Code::InvalidRoom`], also for the rooms whose members nobody chooses.
pub fn changeable_room(name: &str) -> Result<SharedRoom, Problem> {
    match shared_room(name)? {
        room @ (SharedRoom::Dept(_) | SharedRoom::Named(_)) => Ok(room),
        SharedRoom::Broadcast | SharedRoom::Admin => {
            Err(Problem::new(Code::InvalidRoom).detail("expected dept:ID or room:NAME"))
        }
    }
}

/// Reads the name of a room that several users are in.
///
/// # Errors
/// [`Code::InvalidRoom`].
pub fn shared_room(name: &str) -> Result<SharedRoom, Problem> {
    SharedRoom::parse(name).map_err(|error| match error {
        RoomError::Unknown => Problem::new(Code::InvalidRoom)
            .detail("expected dept:ID, room:NAME, broadcast or admin:notifications"),
        RoomError::Name(error) => Problem::new(Code::InvalidRoom).detail(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ids(users: &BTreeSet<UserId>) -> Vec<&str> {
        users.iter().map(UserId::as_str).collect()
    }

    #[test]
    fn each_user_is_taken_once() {
        let changes = MemberChanges::parse(r#"{"add":["b","a","b"],"remove":["c","c"]}"#).unwrap();
        assert_eq!(ids(&changes.add), ["a", "b"]);
        assert_eq!(ids(&changes.remove), ["c"]);
        let changes = MemberChanges::parse(r#"{"remove":["c"],"add":null}"#).unwrap();
        assert_eq!((ids(&changes.add), ids(&changes.remove)), (vec![], vec!["c"]));
    }

    #[test]
    fn every_mistake_is_named() {
        let many = |add: usize, remove: usize| {
            let listed = |prefix: &str, count| (0..count).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
            json!({"add": listed("a", add), "remove": listed("r", remove)}).to_string()
        };
        assert!(MemberChanges::parse(&many(500, 500)).is_ok());
        for (body, code, pointers) in [
            (many(0, 0), "invalid_request", &[""] as &[&str]),
            (many(501, 500), "invalid_request", &[""]),
            (many(1_001, 0), "invalid_request", &[""]),
            ("{}".to_owned(), "invalid_request", &[""]),
            (r#"{"add":"u1"}"#.to_owned(), "invalid_request", &["/add"]),
            (
                r#"{"add":["a",""],"remove":[["b"],"c\n"]}"#.to_owned(),
                "invalid_request",
                &["/add/1", "/remove/0", "/remove/1"],
            ),
            (
                r#"{"add":["a","b"],"remove":["b"]}"#.to_owned(),
                "invalid_request",
                &["/remove"],
            ),
            (r#"{"add":["a"],"set":[]}"#.to_owned(), "unknown_field", &["/set"]),
            ("[]".to_owned(), "malformed_json", &[]),
        ] {
            let problem = serde_json::to_value(MemberChanges::parse(&body).unwrap_err()).unwrap();
            assert_eq!(problem["code"], code, "{body}");
            let errors = problem["errors"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let found: Vec<_> = errors
                .iter()
                .map(|error| error["pointer"].as_str().unwrap())
                .collect();
            assert_eq!(found, pointers, "{body}");
        }
    }

    #[test]
    fn members_are_chosen_for_departments_and_rooms_only() {
        for name in ["dept:a", "room:a b", "room:x:y"] {
            assert_eq!(changeable_room(name).unwrap().to_string(), name);
        }
        for (name, shared) in [
            ("broadcast", true),
            ("announcements", true),
            ("admin:notifications", true),
            ("user:u1", false),
            ("dept:", false),
            ("room:a\n", false),
            ("lobby", false),
            ("", false),
        ] {
            let refused = serde_json::to_value(changeable_room(name).unwrap_err()).unwrap();
            assert_eq!(refused["code"], "invalid_room", "{name}");
            assert_eq!(shared_room(name).is_ok(), shared, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in "(?s).{0,200}|\\{\"(add|remove)\":(?s).{0,60}\\}") {
            let _ = MemberChanges::parse(&body);
        }
    }
}
