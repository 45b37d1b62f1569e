//! Lists of user ids in request bodies.

use serde_json::value::RawValue;

use crate::id::UserId;
use crate::json_object::JsonObject;

/// Most users that one request names.
pub const MAX_USERS: usize = 1_000;

/// The largest body of such a request, in bytes: so many of the longest ids fit in.
pub const MAX_BODY_BYTES: usize = 256 * 1_000;

/// What a body lists.
pub(crate) struct UserList {
    /// How many entries there are.
    pub(crate) listed: usize,
    /// The ids among them, in that order.
    pub(crate) ids: Vec<UserId>,
}

/// Takes `name`, which may be missing, and notes what in it is no id. Too long a list is not looked at.
pub(crate) fn take(object: &mut JsonObject<'_>, name: &str) -> UserList {
    let listed: Vec<&RawValue> = match object.take(name).map(|raw| serde_json::from_str(raw.get())) {
        None => Vec::new(),
        Some(Ok(listed)) => listed,
        Some(Err(_)) => {
            object.mistake(name, "expected a list of user ids");
            return UserList {
                listed: 1,
                ids: Vec::new(),
            };
        }
    };
    let mut ids = Vec::new();
    if listed.len() <= MAX_USERS {
        for (i, raw) in listed.iter().enumerate() {
            let text = serde_json::from_str::<String>(raw.get()).map_err(|_| "expected text".to_owned());
            match text.and_then(|text| UserId::parse(&text).map_err(|error| error.to_string())) {
                Ok(id) => ids.push(id),
                Err(detail) => object.mistake_at(&[name, &i.to_string()], detail),
            }
        }
    }
    UserList {
        listed: listed.len(),
        ids,
    }
}
