//! Who may call the service plane, and what for (DESIGN 9).

use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::bare_token;

/// What a service key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Scope {
    /// Push to users.
    #[serde(rename = "push:user")]
    PushUser,
    /// Push to departments and rooms.
    #[serde(rename = "push:room")]
    PushRoom,
    /// Push to everybody.
    #[serde(rename = "push:broadcast")]
    PushBroadcast,
    /// Emit volatile events.
    #[serde(rename = "events:emit")]
    EventsEmit,
    /// Read who is online.
    #[serde(rename = "presence:read")]
    PresenceRead,
    /// Read delivery status.
    #[serde(rename = "status:read")]
    StatusRead,
    /// Change memberships.
    #[serde(rename = "rooms:write")]
    RoomsWrite,
    /// Change templates and types.
    #[serde(rename = "templates:write")]
    TemplatesWrite,
    /// Disconnect, export and erase users.
    #[serde(rename = "users:admin")]
    UsersAdmin,
}

impl Scope {
    /// The scope as keys and errors name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PushUser => "push:user",
            Self::PushRoom => "push:room",
            Self::PushBroadcast => "push:broadcast",
            Self::EventsEmit => "events:emit",
            Self::PresenceRead => "presence:read",
            Self::StatusRead => "status:read",
            Self::RoomsWrite => "rooms:write",
            Self::TemplatesWrite => "templates:write",
            Self::UsersAdmin => "users:admin",
        }
    }
}

/// One key, known by the hash of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKey {
    /// Names the key in the record and in logs; not secret.
    pub id: String,
    #[serde(deserialize_with = "digest")]
    sha256: [u8; 32],
    scopes: Vec<Scope>,
}

/// The configured keys.
#[derive(Clone, Debug, Default)]
pub struct ServiceKeys(Vec<ServiceKey>);

/// Why a caller may not do what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceKeyError {
    /// No `Authorization` header, or an empty one.
    #[error("no service key was given")]
    Missing,
    /// No configured key has this hash.
    #[error("the service key is not known")]
    Unknown,
    /// The key is known and lacks this scope.
    #[error("the service key lacks the scope {}", .0.name())]
    Scope(Scope),
}

/// Why `SERVICE_KEYS` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceKeysError {
    /// Not the JSON it has to be; says where.
    #[error("expected a JSON list of {{id, sha256, scopes}}: {0}")]
    Json(#[from] serde_json::Error),
    /// Two keys have this id.
    #[error("the id {0:?} is used twice")]
    DuplicateId(String),
}

impl ServiceKeys {
    /// Reads the setting `SERVICE_KEYS`.
    ///
    /// # Errors
    /// [`ServiceKeysError`].
    pub fn parse(json: &str) -> Result<Self, ServiceKeysError> {
        let keys: Vec<ServiceKey> = serde_json::from_str(json)?;
        for (i, key) in keys.iter().enumerate() {
            if keys
                .iter()
                .skip(i.saturating_add(1))
                .any(|other| other.id == key.id)
            {
                return Err(ServiceKeysError::DuplicateId(key.id.clone()));
            }
        }
        Ok(Self(keys))
    }

    /// The key that `authorization` carries.
    ///
    /// Both sides are hashed and every configured hash is compared in constant time, so the answer's
    /// timing says nothing about a key.
    ///
    /// # Errors
    /// [`ServiceKeyError::Missing`], [`ServiceKeyError::Unknown`].
    pub fn authenticate(&self, authorization: Option<&str>) -> Result<&ServiceKey, ServiceKeyError> {
        let presented = authorization.map(bare_token).unwrap_or_default();
        if presented.is_empty() {
            return Err(ServiceKeyError::Missing);
        }
        let digest = Sha256::digest(presented.as_bytes());
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.sha256.as_slice().ct_eq(digest.as_slice())) {
                found = Some(key);
            }
        }
        found.ok_or(ServiceKeyError::Unknown)
    }
}

impl ServiceKey {
    /// Whether it may do `scope`.
    ///
    /// # Errors
    /// [`ServiceKeyError::Scope`] when it may not.
    pub fn allows(&self, scope: Scope) -> Result<(), ServiceKeyError> {
        if self.scopes.contains(&scope) {
            Ok(())
        } else {
            Err(ServiceKeyError::Scope(scope))
        }
    }
}

fn digest<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    use serde::de::Error;

    let text = String::deserialize(deserializer)?;
    let expected = || D::Error::custom("sha256 must be 64 hexadecimal digits");
    if text.len() != 64 {
        return Err(expected());
    }
    let mut digest = [0_u8; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(expected)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    /// SHA-256 of `nk_test`.
    const HASH: &str = "45a31ca4fdc2f69f1fc5e0ae2f2cf6cb3f3d9fef6bc69d37cd5e1f9b18d83bba";

    fn keys() -> ServiceKeys {
        let hash = format!("{:x}", Sha256::digest(b"nk_test"));
        assert_eq!(hash.len(), HASH.len());
        ServiceKeys::parse(&format!(
            r#"[{{"id":"a","sha256":"{hash}","scopes":["push:user"]}},{{"id":"b","sha256":"{HASH}","scopes":[]}}]"#
        ))
        .unwrap()
    }

    #[test]
    fn a_key_opens_only_its_scopes() {
        let keys = keys();
        let check = |header, scope, expected: Result<&str, ServiceKeyError>| {
            let found = keys.authenticate(header);
            let allowed = found.and_then(|key| key.allows(scope).map(|()| key.id.as_str()));
            assert_eq!(allowed, expected);
        };
        check(Some("Bearer nk_test"), Scope::PushUser, Ok("a"));
        check(Some("nk_test"), Scope::PushUser, Ok("a"));
        check(
            Some("Bearer nk_test"),
            Scope::PresenceRead,
            Err(ServiceKeyError::Scope(Scope::PresenceRead)),
        );
        check(
            Some("Bearer nk_tesT"),
            Scope::PushUser,
            Err(ServiceKeyError::Unknown),
        );
        check(Some("Bearer "), Scope::PushUser, Err(ServiceKeyError::Unknown));
        check(Some(""), Scope::PushUser, Err(ServiceKeyError::Missing));
        check(None, Scope::PushUser, Err(ServiceKeyError::Missing));
    }

    #[test]
    fn a_wrong_setting_is_refused() {
        for bad in [
            "",
            "{}",
            r#"[{"id":"a","sha256":"00","scopes":[]}]"#,
            r#"[{"id":"a","sha256":"zz","scopes":["everything"]}]"#,
            r#"[{"id":"a","scopes":[]}]"#,
        ] {
            assert!(ServiceKeys::parse(bad).is_err(), "{bad}");
        }
        let twice = format!(
            r#"[{{"id":"a","sha256":"{HASH}","scopes":[]}},{{"id":"a","sha256":"{HASH}","scopes":[]}}]"#
        );
        assert!(matches!(ServiceKeys::parse(&twice), Err(ServiceKeysError::DuplicateId(id)) if id == "a"));
    }
}
