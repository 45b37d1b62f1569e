//! Who may call the service plane, and what for (DESIGN 9).

use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::{AuthError, bare_token};
use crate::time::{Timestamp, iso};
use crate::token_keys::TokenKeys;

/// What a service may do.
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
    /// Every scope.
    const ALL: [Self; 9] = [
        Self::PushUser,
        Self::PushRoom,
        Self::PushBroadcast,
        Self::EventsEmit,
        Self::PresenceRead,
        Self::StatusRead,
        Self::RoomsWrite,
        Self::TemplatesWrite,
        Self::UsersAdmin,
    ];

    /// The scope of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// The scope as keys, tokens and errors name it.
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

/// The ids of callers by token begin with this, and no configured key's does.
const BY_TOKEN: &str = "jwt:";

/// A service that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Names its credential in the record and in logs; not secret.
    pub id: String,
    scopes: Vec<Scope>,
}

impl Caller {
    /// The service that a token of this issuer names so.
    #[must_use]
    pub fn by_token(issuer: &str, subject: &str, scopes: Vec<Scope>) -> Self {
        // Only the last colon ends the issuer, so that no two services have one id.
        let subject = subject.replace('%', "%25").replace(':', "%3A");
        Self {
            id: format!("{BY_TOKEN}{issuer}:{subject}"),
            scopes,
        }
    }

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

/// One key, known by the hash of it.
#[derive(Clone, Debug)]
struct ServiceKey {
    sha256: [u8; 32],
    caller: Caller,
    validity: Validity,
}

/// How long a key opens anything.
#[derive(Clone, Copy, Debug)]
enum Validity {
    /// As long as it is configured.
    Unlimited,
    /// Until then.
    Until(Timestamp),
    /// No longer.
    Revoked,
}

/// A key as the setting has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    id: String,
    #[serde(deserialize_with = "digest")]
    sha256: [u8; 32],
    scopes: Vec<Scope>,
    #[serde(default, deserialize_with = "iso::option::deserialize")]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    revoked: bool,
}

impl From<Setting> for ServiceKey {
    fn from(setting: Setting) -> Self {
        Self {
            sha256: setting.sha256,
            caller: Caller {
                id: setting.id,
                scopes: setting.scopes,
            },
            validity: match (setting.revoked, setting.expires_at) {
                (true, _) => Validity::Revoked,
                (false, Some(at)) => Validity::Until(at),
                (false, None) => Validity::Unlimited,
            },
        }
    }
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
    /// No configured key has this hash, and it is no token.
    #[error("the service key is not known")]
    Unknown,
    /// The key is known and opens nothing any more.
    #[error("the service key has expired or was revoked")]
    Invalid,
    /// It is a token and not valid.
    #[error("{0}")]
    Token(#[from] AuthError),
    /// The caller is known and lacks this scope.
    #[error("the credential lacks the scope {}", .0.name())]
    Scope(Scope),
}

/// Why `SERVICE_KEYS` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceKeysError {
    /// Not the JSON it has to be; says where, and not what is there: it may be a key itself.
    #[error(
        "expected a JSON list of {{id, sha256, scopes, expires_at, revoked}}: line {}, column {} is none",
        .0.line(), .0.column()
    )]
    Json(#[from] serde_json::Error),
    /// Two keys have this id.
    #[error("the id {0:?} is used twice")]
    DuplicateId(String),
    /// The id could be one of a caller by token.
    #[error("the id {0:?} begins with {BY_TOKEN}")]
    ReservedId(String),
}

impl ServiceKeys {
    /// Reads the setting `SERVICE_KEYS`.
    ///
    /// # Errors
    /// [`ServiceKeysError`].
    pub fn parse(json: &str) -> Result<Self, ServiceKeysError> {
        let keys: Vec<Setting> = serde_json::from_str(json)?;
        for (i, key) in keys.iter().enumerate() {
            if key.id.starts_with(BY_TOKEN) {
                return Err(ServiceKeysError::ReservedId(key.id.clone()));
            }
            if keys
                .iter()
                .skip(i.saturating_add(1))
                .any(|other| other.id == key.id)
            {
                return Err(ServiceKeysError::DuplicateId(key.id.clone()));
            }
        }
        Ok(Self(keys.into_iter().map(ServiceKey::from).collect()))
    }

    /// The caller whose key this is at `now`.
    ///
    /// Both sides are hashed and every configured hash is compared in constant time, so the answer's
    /// timing says nothing about a key.
    ///
    /// # Errors
    /// [`ServiceKeyError::Unknown`], [`ServiceKeyError::Invalid`].
    fn find(&self, now: Timestamp, presented: &str) -> Result<&Caller, ServiceKeyError> {
        let digest = Sha256::digest(presented.as_bytes());
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.sha256.as_slice().ct_eq(digest.as_slice())) {
                found = Some(key);
            }
        }
        let key = found.ok_or(ServiceKeyError::Unknown)?;
        match key.validity {
            Validity::Unlimited => Ok(&key.caller),
            Validity::Until(end) if now < end => Ok(&key.caller),
            Validity::Until(_) | Validity::Revoked => Err(ServiceKeyError::Invalid),
        }
    }
}

/// The service that `authorization` proves at `now`: by one of the keys or, where services may call with
/// tokens, by a token.
///
/// # Errors
/// Every [`ServiceKeyError`] but [`ServiceKeyError::Scope`].
pub fn authenticate(
    now: Timestamp,
    keys: &ServiceKeys,
    tokens: &TokenKeys,
    authorization: Option<&str>,
) -> Result<Caller, ServiceKeyError> {
    let presented = authorization.map(bare_token).unwrap_or_default();
    if presented.is_empty() {
        return Err(ServiceKeyError::Missing);
    }
    match keys.find(now, presented) {
        Ok(caller) => Ok(caller.clone()),
        Err(ServiceKeyError::Unknown) if tokens.serve_services() && looks_like_token(presented) => {
            Ok(tokens.verify_service(now, presented)?)
        }
        Err(error) => Err(error),
    }
}

fn looks_like_token(presented: &str) -> bool {
    presented.split('.').count() == 3
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

    use serde_json::json;

    use super::*;
    use crate::auth::tests::{NOW, SECRET, sign};
    use crate::token_key::{Algorithm, TokenKey};
    use crate::token_keys::{Issuer, Terms};

    /// SHA-256 of `nk_test`.
    const HASH: &str = "45a31ca4fdc2f69f1fc5e0ae2f2cf6cb3f3d9fef6bc69d37cd5e1f9b18d83bba";

    /// Keys of which `a`, with these further members, is that of `nk_test`.
    fn keys(members: &str) -> ServiceKeys {
        let hash = format!("{:x}", Sha256::digest(b"nk_test"));
        assert_eq!(hash.len(), HASH.len());
        ServiceKeys::parse(&format!(
            r#"[{{"id":"a","sha256":"{hash}","scopes":["push:user"]{members}}},{{"id":"b","sha256":"{HASH}","scopes":[]}}]"#
        ))
        .unwrap()
    }

    fn tokens(service_audience: Option<&str>) -> TokenKeys {
        let issuer = Issuer {
            secret: Some(TokenKey::of_secret(Algorithm::Hs256, SECRET)),
            audience: Some("dormouse".to_owned()),
            ..Issuer::default()
        };
        let terms = Terms {
            service_audience: service_audience.map(str::to_owned),
            ..Terms::default()
        };
        TokenKeys::new(vec![issuer], terms)
    }

    #[test]
    fn a_key_opens_only_its_scopes() {
        let keys = keys("");
        let check = |header, scope, expected: Result<&str, ServiceKeyError>| {
            let found = authenticate(NOW, &keys, &tokens(None), header);
            let allowed = found.and_then(|caller| caller.allows(scope).map(|()| caller.id));
            assert_eq!(allowed.as_deref(), expected.as_ref().map(|id| *id));
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
        check(
            Some("Bearer a.b.c"),
            Scope::PushUser,
            Err(ServiceKeyError::Unknown),
        );
        check(Some(""), Scope::PushUser, Err(ServiceKeyError::Missing));
        check(None, Scope::PushUser, Err(ServiceKeyError::Missing));
    }

    #[test]
    fn a_key_opens_nothing_after_its_end() {
        let check = |members, expected: Result<(), ServiceKeyError>| {
            let found = authenticate(NOW, &keys(members), &tokens(None), Some("nk_test"));
            assert_eq!(found.map(|_| ()), expected, "{members}");
        };
        // NOW is 2027-01-15T08:00:00Z.
        check(r#","expires_at":"2027-01-15T08:00:01Z""#, Ok(()));
        check(
            r#","expires_at":"2027-01-15T08:00:00Z""#,
            Err(ServiceKeyError::Invalid),
        );
        check(r#","expires_at":null,"revoked":false"#, Ok(()));
        check(r#","revoked":true"#, Err(ServiceKeyError::Invalid));
        check(
            r#","expires_at":"2028-01-15T08:00:00Z","revoked":true"#,
            Err(ServiceKeyError::Invalid),
        );
    }

    #[test]
    fn a_token_for_services_opens_its_scopes_and_no_users_inbox() {
        let at = |claims: serde_json::Value| {
            let mut all = json!({"sub": "billing", "aud": "services", "exp": 1_800_000_060});
            for (name, value) in claims.as_object().unwrap() {
                all[name] = value.clone();
            }
            sign(&all)
        };
        let check = |audience, claims, expected: Result<&str, ServiceKeyError>| {
            let (tokens, token) = (tokens(audience), at(claims));
            let found = authenticate(NOW, &keys(""), &tokens, Some(&format!("Bearer {token}")));
            let allowed = found.and_then(|caller| caller.allows(Scope::PushUser).map(|()| caller.id));
            assert_eq!(allowed.as_deref(), expected.as_ref().map(|id| *id));
            assert!(tokens.verify(NOW, &token).is_err());
        };
        let services = Some("services");
        let claim = |name| Err(ServiceKeyError::Token(AuthError::Claim(name)));
        let pushes = || json!({"scope": "status:read push:user unknown"});
        check(services, pushes(), Ok("jwt::billing"));
        check(
            services,
            json!({"scope": ["push:user"], "iss": "https://id.example", "aud": ["x", "services"]}),
            Ok("jwt:https://id.example:billing"),
        );
        check(
            services,
            json!({"scope": "push:user", "iss": "a", "sub": "b:c%"}),
            Ok("jwt:a:b%3Ac%25"),
        );
        check(
            services,
            json!({"scope": "push:users"}),
            Err(ServiceKeyError::Scope(Scope::PushUser)),
        );
        check(services, json!({}), Err(ServiceKeyError::Scope(Scope::PushUser)));
        check(
            services,
            json!({"scope": "push:user", "exp": 1_799_999_000}),
            Err(ServiceKeyError::Token(AuthError::Expired)),
        );
        check(services, json!({"scope": "push:user", "exp": null}), {
            Err(ServiceKeyError::Token(AuthError::Malformed))
        });
        check(services, json!({"scope": "push:user", "sub": 7}), claim("sub"));
        check(
            services,
            json!({"scope": "push:user", "aud": "service"}),
            claim("aud"),
        );
        check(None, pushes(), Err(ServiceKeyError::Unknown));

        let both = at(json!({"aud": ["dormouse", "services"]}));
        assert_eq!(
            tokens(services).verify(NOW, &both),
            Err(AuthError::Claim("aud")),
            "a token is for one plane"
        );
        let user = at(json!({"aud": "dormouse", "scope": "push:user"}));
        assert!(tokens(services).verify(NOW, &user).is_ok());
        let found = authenticate(NOW, &keys(""), &tokens(services), Some(&user));
        assert_eq!(
            found.unwrap_err(),
            ServiceKeyError::Token(AuthError::Claim("aud"))
        );
    }

    #[test]
    fn a_scope_is_read_by_its_name() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.name()), Some(scope));
        }
        assert_eq!(Scope::parse("push"), None);
    }

    #[test]
    fn a_wrong_setting_is_refused() {
        for bad in [
            "",
            "{}",
            r#"[{"id":"a","sha256":"00","scopes":[]}]"#,
            r#"[{"id":"a","sha256":"zz","scopes":["everything"]}]"#,
            r#"[{"id":"a","scopes":[]}]"#,
            &format!(r#"[{{"id":"jwt:a:b","sha256":"{HASH}","scopes":[]}}]"#),
            &format!(r#"[{{"id":"a","sha256":"{HASH}","scopes":[],"expires_at":1}}]"#),
        ] {
            assert!(ServiceKeys::parse(bad).is_err(), "{bad}");
        }
        let twice = format!(
            r#"[{{"id":"a","sha256":"{HASH}","scopes":[]}},{{"id":"a","sha256":"{HASH}","scopes":[]}}]"#
        );
        assert!(matches!(ServiceKeys::parse(&twice), Err(ServiceKeysError::DuplicateId(id)) if id == "a"));
    }
}
