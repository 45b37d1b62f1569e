//! Who is online: derived from the open sockets, never counted (DESIGN 8).

use serde::Serialize;

use crate::config::PresenceScope;
use crate::id::UserId;
use crate::inbox::Head;
use crate::json_object::JsonObject;
use crate::membership::Memberships;
use crate::problem::Problem;
use crate::room::SharedRoom;
use crate::session::Session;
use crate::time::{Timestamp, iso};
use crate::user_list::{self, MAX_USERS};

/// One user's presence, asked of their own hub.
#[derive(Debug, Serialize)]
pub struct Presence<'a> {
    user_id: &'a UserId,
    online: bool,
    /// Open connections that joined a namespace.
    connections: usize,
    #[serde(with = "iso::option")]
    online_since: Option<Timestamp>,
    #[serde(with = "iso::option")]
    last_seen_at: Option<Timestamp>,
    sockets: Vec<PresentSocket<'a>>,
    consistency: &'static str,
}

#[derive(Debug, Serialize)]
struct PresentSocket<'a> {
    sid: &'a str,
    namespace: &'static str,
    #[serde(with = "iso")]
    connected_at: Timestamp,
}

impl<'a> Presence<'a> {
    /// What `sessions`, those of the open sockets, and the stored head say at `now`. A user nothing is
    /// stored about is offline and was never seen.
    #[must_use]
    pub fn of(user_id: &'a UserId, head: Option<&Head>, sessions: &'a [Session], now: Timestamp) -> Self {
        let present: Vec<_> = sessions.iter().filter(|s| s.is_present(now)).collect();
        let online = !present.is_empty();
        let sockets = present
            .iter()
            .flat_map(|session| &session.namespaces)
            .map(|joined| PresentSocket {
                sid: &joined.sid,
                namespace: joined.namespace.name(),
                connected_at: joined.connected_at,
            })
            .collect();
        Self {
            user_id,
            online,
            connections: present.len(),
            online_since: head.and_then(|head| head.online_since).filter(|_| online),
            last_seen_at: if online {
                Some(now)
            } else {
                head.and_then(|head| head.last_seen_at)
            },
            sockets,
            consistency: "strong",
        }
    }
}

/// One user's presence, as it is told where several are asked about or have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserPresence {
    user_id: UserId,
    online: bool,
    #[serde(with = "iso::option")]
    last_seen_at: Option<Timestamp>,
}

impl UserPresence {
    /// Of a user who is online at `now`.
    #[must_use]
    pub const fn online(user_id: UserId, now: Timestamp) -> Self {
        Self {
            user_id,
            online: true,
            last_seen_at: Some(now),
        }
    }

    /// Of a user who is offline, and when they were last seen, if ever.
    #[must_use]
    pub const fn offline(user_id: UserId, last_seen_at: Option<Timestamp>) -> Self {
        Self {
            user_id,
            online: false,
            last_seen_at,
        }
    }
}

/// The presence of several users, in the order asked for: of a moment ago.
#[derive(Debug, Serialize)]
pub struct PresenceList<'a> {
    users: &'a [UserPresence],
    consistency: &'static str,
}

impl<'a> PresenceList<'a> {
    /// The list of these.
    #[must_use]
    pub const fn of(users: &'a [UserPresence]) -> Self {
        Self {
            users,
            consistency: "eventual",
        }
    }
}

/// The rooms whose members a user hears of and may ask about; `None`: everybody.
#[must_use]
pub fn sharing(scope: PresenceScope, memberships: &Memberships) -> Option<Vec<SharedRoom>> {
    match scope {
        PresenceScope::All => None,
        PresenceScope::Dept => {
            let is_dept = |room: &&SharedRoom| matches!(room, SharedRoom::Dept(_));
            Some(memberships.present().filter(is_dept).cloned().collect())
        }
    }
}

/// Reads the body of `POST /v1/presence/query`: the users asked about, in that order.
///
/// # Errors
/// One [`Problem`] that names every mistake in the body.
pub fn parse_query(body: &str) -> Result<Vec<UserId>, Problem> {
    let mut object = JsonObject::parse_body(body)?;
    let users = user_list::take(&mut object, "users");
    if !(1..=MAX_USERS).contains(&users.listed) {
        object.mistake("users", format!("expected 1 to {MAX_USERS} user ids"));
    }
    object.finish()?;
    Ok(users.ids)
}

/// What is known about sockets at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// At least one is open now.
    Open,
    /// The last one was seen to close now.
    Closed,
    /// None is open, and nobody saw the last one go: the runtime was restarted.
    Lost,
}

/// The head after `sighting`; `None` when it stays as it is.
///
/// Only the edges are stored: going online and going offline. What was lost with a restart keeps the
/// last time that is known for certain.
#[must_use]
pub fn reconcile(head: &Head, sighting: Sighting, now: Timestamp) -> Option<Head> {
    match (sighting, head.online_since) {
        (Sighting::Open, None) => Some(Head {
            online_since: Some(now),
            last_seen_at: Some(now),
            ..head.clone()
        }),
        (Sighting::Closed, Some(_)) => Some(Head {
            online_since: None,
            last_seen_at: Some(now),
            ..head.clone()
        }),
        (Sighting::Lost, Some(_)) => Some(Head {
            online_since: None,
            ..head.clone()
        }),
        (Sighting::Open, Some(_)) | (Sighting::Closed | Sighting::Lost, None) => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn only_the_edges_are_stored() {
        let at = Timestamp::from_ms;
        let offline = Head {
            last_seen_at: Some(at(5)),
            ..Head::new(UserId::parse("u1").unwrap())
        };
        let online = Head {
            online_since: Some(at(7)),
            last_seen_at: Some(at(7)),
            ..offline.clone()
        };
        for (head, sighting, expected) in [
            (&offline, Sighting::Open, Some((Some(at(9)), Some(at(9))))),
            (&offline, Sighting::Closed, None),
            (&offline, Sighting::Lost, None),
            (&online, Sighting::Open, None),
            (&online, Sighting::Closed, Some((None, Some(at(9))))),
            (&online, Sighting::Lost, Some((None, Some(at(7))))),
        ] {
            let found = reconcile(head, sighting, at(9)).map(|h| (h.online_since, h.last_seen_at));
            assert_eq!(found, expected, "{sighting:?}");
        }
    }

    #[test]
    fn a_query_names_one_to_a_thousand_users_and_every_mistake_is_named() {
        let many = |count: usize| {
            let ids: Vec<_> = (0..count).map(|i| format!("u{i}")).collect();
            serde_json::json!({ "users": ids }).to_string()
        };
        assert_eq!(parse_query(&many(1)).unwrap().len(), 1);
        assert_eq!(parse_query(&many(1_000)).unwrap().len(), 1_000);
        let twice = parse_query(r#"{"users":["b","a","b"]}"#).unwrap();
        assert_eq!(
            twice.iter().map(UserId::as_str).collect::<Vec<_>>(),
            ["b", "a", "b"]
        );
        for (body, code, pointers) in [
            (many(0), "invalid_request", &["/users"] as &[&str]),
            (many(1_001), "invalid_request", &["/users"]),
            ("{}".to_owned(), "invalid_request", &["/users"]),
            (r#"{"users":{}}"#.to_owned(), "invalid_request", &["/users"]),
            (
                r#"{"users":["a","",7,"b\n"]}"#.to_owned(),
                "invalid_request",
                &["/users/1", "/users/2", "/users/3"],
            ),
            (
                r#"{"users":["a"],"rooms":[]}"#.to_owned(),
                "unknown_field",
                &["/rooms"],
            ),
            ("[]".to_owned(), "malformed_json", &[]),
        ] {
            let problem = serde_json::to_value(parse_query(&body).unwrap_err()).unwrap();
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
    fn by_default_users_ask_about_those_in_their_departments() {
        let room = |name| SharedRoom::parse(name).unwrap();
        let mut memberships = Memberships::default();
        for name in ["dept:a", "dept:b", "room:x"] {
            memberships.add(&room(name), 0);
        }
        memberships.remove(&room("dept:b"), 7, Timestamp::from_ms(1));
        assert_eq!(
            sharing(PresenceScope::Dept, &memberships),
            Some(vec![room("dept:a")])
        );
        assert_eq!(
            sharing(PresenceScope::Dept, &Memberships::default()),
            Some(Vec::new())
        );
        assert_eq!(sharing(PresenceScope::All, &memberships), None);
    }

    #[test]
    fn a_user_never_seen_is_offline() {
        let user = UserId::parse("u1").unwrap();
        let presence = Presence::of(&user, None, &[], Timestamp::from_ms(1));
        assert_eq!(
            serde_json::to_string(&presence).unwrap(),
            r#"{"user_id":"u1","online":false,"connections":0,"online_since":null,"last_seen_at":null,"sockets":[],"consistency":"strong"}"#
        );
    }
}
