//! Who a token says the bearer is (DESIGN 3.2).
//!
//! Parsing is not validating: a token that is well formed, signed by a trusted key
//! ([`crate::token_keys`]) and in time gives an [`Identity`]; anything else gives an [`AuthError`] whose code
//! the client can branch on.

use jwt_compact::Claims;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{UserId, check_name};
use crate::time::Timestamp;
use crate::token_key::CustomClaims;

/// The longest token, in bytes (DESIGN 10). Longer ones are refused before they are decoded.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Claims that may name the user when none is configured, in order.
const USER_CLAIMS: [&str; 4] = ["sub", "user_id", "userId", "id"];

/// Who the bearer of a valid token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// When it was issued, to the second; `None` when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    /// Departments the token puts the user in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departments: Vec<String>,
    /// What the user may do beyond their own inbox.
    pub role: Role,
}

/// What a user may do beyond their own inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Their own inbox.
    User,
    /// Also the admin room.
    Admin,
}

/// Why there is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token in any place.
    #[error("no token was given")]
    Missing,
    /// Longer than [`MAX_TOKEN_BYTES`]; holds the length.
    #[error("the token has {0} bytes, at most 8192 are read")]
    TooLong(usize),
    /// Not a JWT.
    #[error("the token is not a well-formed JWT")]
    Malformed,
    /// Signed by another algorithm than the key's.
    #[error("the token is signed with an algorithm this service does not accept")]
    Algorithm,
    /// It may only be read by those who know an extension (`crit`) that this service does not have.
    #[error("the token needs an extension this service does not have")]
    Critical,
    /// No trusted key has the token's `kid`.
    #[error("the token is signed with a key this service does not know")]
    UnknownKey,
    /// Nobody can say at the moment whether its key is one of the issuer's.
    #[error("the issuer's keys can't be had at the moment")]
    KeysUnavailable,
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A claim is missing or of the wrong shape; holds its name.
    #[error("the token's claim {0} is missing or of the wrong form")]
    Claim(&'static str),
    /// Issued before the user was erased, or it does not say when.
    #[error("the token was issued before the user was erased")]
    Revoked,
    /// Two valid tokens name different users.
    #[error("the connection's tokens name different users")]
    UserMismatch,
}

impl AuthError {
    /// The code a client sees in `connect_error.data.code` and in problem bodies.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "MISSING_TOKEN",
            Self::Expired => "EXPIRED_TOKEN",
            Self::UserMismatch => "USER_MISMATCH",
            Self::KeysUnavailable => "SERVER_ERROR",
            Self::TooLong(_)
            | Self::Malformed
            | Self::Algorithm
            | Self::Critical
            | Self::UnknownKey
            | Self::Signature
            | Self::NotYetValid
            | Self::Claim(_)
            | Self::Revoked => "INVALID_TOKEN",
        }
    }
}

/// From here on a year has more than four digits: no clock of ours is ever to be set by it.
const YEAR_10000_S: i64 = 253_402_300_800;

impl Identity {
    /// When a session that began with the token ends unless it gets another, `grace_ms` after the token.
    #[must_use]
    pub const fn session_ends_at(&self, grace_ms: u64) -> Timestamp {
        self.expires_at.after_ms(grace_ms)
    }

    /// The identity that the claims of a valid token prove; `user_claim` names the user, if it is configured.
    ///
    /// # Errors
    /// [`AuthError::Claim`].
    pub(crate) fn read(
        claims: &Claims<CustomClaims>,
        expires_at: Timestamp,
        user_claim: Option<&str>,
    ) -> Result<Self, AuthError> {
        Ok(Self {
            user: user(&claims.custom, user_claim)?,
            expires_at,
            issued_at: claims
                .issued_at
                .and_then(|at| u64::try_from(at.timestamp_millis()).ok())
                .map(Timestamp::from_ms),
            departments: departments(&claims.custom)?,
            role: role(&claims.custom),
        })
    }
}

/// When a token ends that is valid at `now`, give or take `leeway_s` seconds.
///
/// # Errors
/// [`AuthError::Expired`], [`AuthError::NotYetValid`]; [`AuthError::Claim`] when it has no end, or none before the
/// year 10000.
pub(crate) fn check_time<T>(
    now: Timestamp,
    claims: &Claims<T>,
    leeway_s: u64,
) -> Result<Timestamp, AuthError> {
    let expires_at = claims.expiration.ok_or(AuthError::Claim("exp"))?;
    if expires_at.timestamp() >= YEAR_10000_S {
        return Err(AuthError::Claim("exp"));
    }
    // Before the epoch is long ago.
    let ms = |at: chrono::DateTime<chrono::Utc>| u64::try_from(at.timestamp_millis()).unwrap_or_default();
    let slack = leeway_s.saturating_mul(1_000);
    let expires_at = Timestamp::from_ms(ms(expires_at));
    if now > expires_at.after_ms(slack) {
        return Err(AuthError::Expired);
    }
    if let Some(not_before) = claims.not_before
        && now.after_ms(slack) < Timestamp::from_ms(ms(not_before))
    {
        return Err(AuthError::NotYetValid);
    }
    Ok(expires_at)
}

/// A token without surrounding spaces and without a leading `Bearer `.
#[must_use]
pub fn bare_token(text: &str) -> &str {
    let text = text.trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        _ => text,
    }
}

fn user(claims: &CustomClaims, user_claim: Option<&str>) -> Result<UserId, AuthError> {
    let named = match user_claim {
        Some(claim) => claims.get(claim),
        None => USER_CLAIMS.iter().find_map(|claim| claims.get(claim)),
    };
    let id = match named {
        Some(Value::String(text)) => UserId::parse(text).ok(),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
            UserId::parse(&number.to_string()).ok()
        }
        _ => None,
    };
    id.ok_or(AuthError::Claim("sub"))
}

/// A claim that is one text or a list of texts; anything else in it is passed over.
pub(crate) fn one_or_many(claim: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match claim {
        Some(Value::String(text)) => (Some(text.as_str()), [].as_slice()),
        Some(Value::Array(list)) => (None, list.as_slice()),
        _ => (None, [].as_slice()),
    };
    one.into_iter().chain(many.iter().filter_map(Value::as_str))
}

fn departments(claims: &CustomClaims) -> Result<Vec<String>, AuthError> {
    let invalid = AuthError::Claim("departments");
    let listed = match claims.get("departments") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(listed)) => listed,
        Some(_) => return Err(invalid),
    };
    let mut departments = listed
        .iter()
        .map(|id| match id {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        })
        .map(|id| id.filter(|id| check_name(id).is_ok()).ok_or(invalid))
        .collect::<Result<Vec<_>, _>>()?;
    departments.sort_unstable();
    departments.dedup();
    Ok(departments)
}

fn role(claims: &CustomClaims) -> Role {
    let listed = one_or_many(claims.get("roles"))
        .chain(one_or_many(claims.get("scope")))
        .flat_map(str::split_whitespace)
        .any(|role| role == "admin");
    if listed { Role::Admin } else { Role::User }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jwt_compact::alg::{Hs256, Hs256Key, Hs512, Hs512Key};
    use jwt_compact::{AlgorithmExt, Header};
    use serde_json::json;

    use super::*;
    use crate::token_key::{Algorithm, TokenKey};
    use crate::token_keys::{Issuer, Terms, TokenKeys};

    pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const NOW_S: i64 = 1_800_000_000;

    fn of_secret(issuer: Issuer, leeway_s: u64) -> TokenKeys {
        let secret = Some(TokenKey::of_secret(Algorithm::Hs256, SECRET));
        let terms = Terms {
            leeway_s,
            ..Terms::default()
        };
        TokenKeys::new(vec![Issuer { secret, ..issuer }], terms)
    }

    pub(crate) fn keys() -> TokenKeys {
        of_secret(Issuer::default(), 5)
    }

    /// A token over exactly these claims.
    pub(crate) fn sign(claims: &Value) -> String {
        let claims = Claims::new(claims.clone());
        Hs256
            .token(&Header::empty(), &claims, &Hs256Key::new(SECRET))
            .unwrap()
    }

    fn forge(header: &str, claims: &Value, signature: &[u8]) -> String {
        [header.as_bytes(), claims.to_string().as_bytes(), signature]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".")
    }

    #[test]
    fn each_claim_decides_as_the_table_says() {
        let good = json!({"sub": "u1", "exp": NOW_S + 60});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let check = |claims: &Value, expected: Result<&str, AuthError>| {
            let found = keys().verify(NOW, &sign(claims));
            assert_eq!(
                found.as_ref().map(|identity| identity.user.as_str()),
                expected.as_ref().map(|user| *user),
                "{claims}"
            );
        };
        check(&good, Ok("u1"));
        check(&with("sub", json!(41)), Ok("41"));
        check(&with("sub", json!(-1)), Ok("-1"));
        check(&json!({"user_id": "a", "exp": NOW_S + 60}), Ok("a"));
        check(&json!({"userId": "b", "exp": NOW_S + 60}), Ok("b"));
        check(&json!({"id": 7, "exp": NOW_S + 60}), Ok("7"));
        check(&json!({"id": 7, "sub": "first", "exp": NOW_S + 60}), Ok("first"));
        check(&with("sub", json!(4.5)), Err(AuthError::Claim("sub")));
        check(&with("sub", json!(["u1"])), Err(AuthError::Claim("sub")));
        check(&with("sub", json!("")), Err(AuthError::Claim("sub")));
        check(&with("sub", json!("a\u{7}b")), Err(AuthError::Claim("sub")));
        check(&with("sub", json!("x".repeat(129))), Err(AuthError::Claim("sub")));
        check(&json!({"exp": NOW_S + 60}), Err(AuthError::Claim("sub")));
        check(&json!({"sub": "u1"}), Err(AuthError::Claim("exp")));
        check(&with("exp", json!(NOW_S - 60)), Err(AuthError::Expired));
        check(&with("exp", json!(NOW_S - 4)), Ok("u1"));
        check(&with("exp", json!(NOW_S - 6)), Err(AuthError::Expired));
        check(&with("exp", json!("soon")), Err(AuthError::Malformed));
        check(&with("exp", json!(-5)), Err(AuthError::Expired));
        check(&with("nbf", json!(NOW_S + 60)), Err(AuthError::NotYetValid));
        check(&with("nbf", json!(NOW_S + 4)), Ok("u1"));
        check(&with("nbf", json!(-8_334_601_228_800_i64)), Ok("u1"));
        check(
            &with("departments", json!("cs")),
            Err(AuthError::Claim("departments")),
        );
        check(
            &with("departments", json!(["cs", {}])),
            Err(AuthError::Claim("departments")),
        );
        check(
            &with("departments", json!([""])),
            Err(AuthError::Claim("departments")),
        );
        check(&with("departments", Value::Null), Ok("u1"));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let claims = json!({"sub": "u1", "exp": NOW_S + 60});
        let good = sign(&claims);
        let promoted = sign(&json!({"sub": "u2", "exp": NOW_S + 60}));
        let parts: Vec<&str> = good.split('.').chain(promoted.split('.')).collect();
        let tampered = [parts[0], parts[4], parts[2]].join(".");
        let hs512 = Hs512
            .token(
                &Header::empty(),
                &Claims::new(claims.clone()),
                &Hs512Key::new(SECRET),
            )
            .unwrap();
        let other_key = Hs256
            .token(
                &Header::empty(),
                &Claims::new(claims.clone()),
                &Hs256Key::new(b"another"),
            )
            .unwrap();
        for (token, expected) in [
            (String::new(), AuthError::Missing),
            ("   ".to_owned(), AuthError::Missing),
            ("Bearer ".to_owned(), AuthError::Malformed),
            ("abc".to_owned(), AuthError::Malformed),
            ("a.b.c".to_owned(), AuthError::Malformed),
            (tampered, AuthError::Signature),
            (hs512, AuthError::Algorithm),
            (other_key, AuthError::Signature),
            (forge(r#"{"alg":"none"}"#, &claims, b""), AuthError::Algorithm),
            (forge(r#"{"alg":"HS256"}"#, &claims, b""), AuthError::Signature),
            (
                forge(r#"{"alg":"HS256"}"#, &claims, &[0; 32]),
                AuthError::Signature,
            ),
            ("x".repeat(9 * 1024), AuthError::TooLong(9 * 1024)),
        ] {
            assert_eq!(keys().verify(NOW, &token).unwrap_err(), expected, "{token:.40}");
        }
    }

    #[test]
    fn spaces_and_a_bearer_prefix_are_tolerated() {
        let token = sign(&json!({"sub": "u1", "exp": NOW_S + 60}));
        for dressed in [
            format!(" Bearer {token} "),
            format!("bearer   {token}"),
            format!("\t{token}\n"),
        ] {
            assert!(keys().verify(NOW, &dressed).is_ok(), "{dressed:.20}");
        }
    }

    #[test]
    fn issuer_and_audience_are_checked_when_configured() {
        let issuer = Issuer {
            name: Some("https://id.example".to_owned()),
            audience: Some("dormouse".to_owned()),
            user_claim: Some("email".to_owned()),
            ..Issuer::default()
        };
        let keys = of_secret(issuer, 0);
        let verify = |iss: Value, aud: Value| {
            keys.verify(
                NOW,
                &sign(&json!({"email": "e", "sub": "s", "exp": NOW_S + 60, "iss": iss, "aud": aud})),
            )
        };
        let right = json!("https://id.example");
        assert_eq!(
            verify(right.clone(), json!("dormouse")).unwrap().user.as_str(),
            "e"
        );
        assert!(verify(right.clone(), json!(["other", "dormouse"])).is_ok());
        assert_eq!(
            verify(right.clone(), json!("other")),
            Err(AuthError::Claim("aud"))
        );
        assert_eq!(verify(right, Value::Null), Err(AuthError::Claim("aud")));
        assert_eq!(
            verify(json!("https://evil.example"), json!("dormouse")),
            Err(AuthError::Claim("iss"))
        );
    }

    #[test]
    fn departments_and_roles_are_read() {
        let identity = keys()
            .verify(
                NOW,
                &sign(&json!({"sub": "u1", "exp": NOW_S + 60, "departments": ["math", "cs", 7, "cs"], "scope": "read admin"})),
            )
            .unwrap();
        assert_eq!(identity.departments, ["7", "cs", "math"]);
        assert_eq!(identity.role, Role::Admin);
        let roles = keys()
            .verify(
                NOW,
                &sign(&json!({"sub": "u1", "exp": NOW_S + 60, "roles": ["administrator"]})),
            )
            .unwrap();
        assert_eq!(roles.role, Role::User);
    }

    #[test]
    fn the_stored_identity_format_is_unchanged() {
        let identity = Identity {
            user: UserId::parse("u1").unwrap(),
            issued_at: None,
            expires_at: NOW,
            departments: vec!["cs".to_owned()],
            role: Role::Admin,
        };
        assert_eq!(
            serde_json::to_string(&identity).unwrap(),
            r#"{"user":"u1","expires_at":1800000000000,"departments":["cs"],"role":"admin"}"#
        );
    }
}
