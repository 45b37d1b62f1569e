//! Who a token says the bearer is (DESIGN 3.2).
//!
//! The key decides the algorithm, never the token. Parsing is not validating: a token that is
//! well formed, signed and in time gives an [`Identity`]; anything else gives an [`AuthError`]
//! whose code the client can branch on.

use std::collections::BTreeMap;

use chrono::Duration;
use jwt_compact::alg::{Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key};
use jwt_compact::{
    Algorithm as JwtAlgorithm, AlgorithmExt, Claims, TimeOptions, UntrustedToken, ValidationError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{UserId, check_name};
use crate::time::Timestamp;

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
            Self::TooLong(_)
            | Self::Malformed
            | Self::Algorithm
            | Self::Signature
            | Self::NotYetValid
            | Self::Claim(_)
            | Self::Revoked => "INVALID_TOKEN",
        }
    }
}

/// The algorithms a shared secret can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

/// What a token must say besides being signed and in time.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// The `iss` it must have.
    pub issuer: Option<String>,
    /// The `aud` it must have.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: Option<String>,
    /// How far clocks may disagree, in seconds.
    pub leeway_s: u64,
}

/// A key with everything a token is held against.
#[derive(Debug)]
pub struct TokenKey {
    key: Key,
    audience: Audience,
}

#[derive(Debug)]
enum Key {
    Hs256(Hs256Key),
    Hs384(Hs384Key),
    Hs512(Hs512Key),
}

type CustomClaims = BTreeMap<String, Value>;

impl TokenKey {
    /// A key of `secret` for `algorithm`.
    #[must_use]
    pub fn new(algorithm: Algorithm, secret: &[u8], audience: Audience) -> Self {
        let key = match algorithm {
            Algorithm::Hs256 => Key::Hs256(Hs256Key::new(secret)),
            Algorithm::Hs384 => Key::Hs384(Hs384Key::new(secret)),
            Algorithm::Hs512 => Key::Hs512(Hs512Key::new(secret)),
        };
        Self { key, audience }
    }

    /// The identity `token` proves at `now`. Surrounding spaces and a leading `Bearer ` are
    /// tolerated, because clients copy whole header values into `auth.token`.
    ///
    /// # Errors
    /// Every [`AuthError`] but [`AuthError::UserMismatch`].
    pub fn verify(&self, now: Timestamp, token: &str) -> Result<Identity, AuthError> {
        let token = bare_token(token);
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::TooLong(token.len()));
        }
        let untrusted = UntrustedToken::new(token).map_err(|_| AuthError::Malformed)?;
        let claims = match &self.key {
            Key::Hs256(key) => signed_claims(&Hs256, key, &untrusted),
            Key::Hs384(key) => signed_claims(&Hs384, key, &untrusted),
            Key::Hs512(key) => signed_claims(&Hs512, key, &untrusted),
        }?;
        self.identity(now, &claims)
    }

    fn identity(&self, now: Timestamp, claims: &Claims<CustomClaims>) -> Result<Identity, AuthError> {
        let leeway = Duration::seconds(i64::try_from(self.audience.leeway_s).unwrap_or(60));
        let time = TimeOptions::new(leeway, move || now.to_datetime());
        claims.validate_expiration(&time).map_err(|error| {
            if matches!(error, ValidationError::Expired) {
                AuthError::Expired
            } else {
                AuthError::Claim("exp")
            }
        })?;
        if claims.not_before.is_some() {
            claims
                .validate_maturity(&time)
                .map_err(|_| AuthError::NotYetValid)?;
        }
        let expires_at = claims
            .expiration
            .and_then(|at| u64::try_from(at.timestamp_millis()).ok())
            .map(Timestamp::from_ms)
            .ok_or(AuthError::Claim("exp"))?;
        self.check_origin_of(&claims.custom)?;
        Ok(Identity {
            user: self.user(&claims.custom)?,
            expires_at,
            issued_at: claims
                .issued_at
                .and_then(|at| u64::try_from(at.timestamp_millis()).ok())
                .map(Timestamp::from_ms),
            departments: departments(&claims.custom)?,
            role: role(&claims.custom),
        })
    }

    fn check_origin_of(&self, claims: &CustomClaims) -> Result<(), AuthError> {
        if let Some(issuer) = &self.audience.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(AuthError::Claim("iss"));
        }
        if let Some(audience) = &self.audience.audience
            && !one_or_many(claims.get("aud")).any(|listed| listed == audience)
        {
            return Err(AuthError::Claim("aud"));
        }
        Ok(())
    }

    fn user(&self, claims: &CustomClaims) -> Result<UserId, AuthError> {
        let named = match &self.audience.user_claim {
            Some(claim) => claims.get(claim),
            None => USER_CLAIMS.iter().find_map(|claim| claims.get(*claim)),
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

fn signed_claims<A>(
    algorithm: &A,
    key: &A::VerifyingKey,
    token: &UntrustedToken<'_>,
) -> Result<Claims<CustomClaims>, AuthError>
where
    A: JwtAlgorithm,
{
    algorithm
        .validator::<CustomClaims>(key)
        .validate(token)
        .map(|token| token.into_parts().1)
        .map_err(|error| {
            if matches!(error, ValidationError::AlgorithmMismatch { .. }) {
                AuthError::Algorithm
            } else if matches!(
                error,
                ValidationError::InvalidSignature
                    | ValidationError::InvalidSignatureLen { .. }
                    | ValidationError::MalformedSignature(_)
            ) {
                AuthError::Signature
            } else {
                AuthError::Malformed
            }
        })
}

/// A claim that is one text or a list of texts; anything else in it is passed over.
fn one_or_many(claim: Option<&Value>) -> impl Iterator<Item = &str> {
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
    use jwt_compact::Header;
    use serde_json::json;

    use super::*;

    pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const NOW_S: i64 = 1_800_000_000;

    pub(crate) fn key() -> TokenKey {
        TokenKey::new(
            Algorithm::Hs256,
            SECRET,
            Audience {
                leeway_s: 5,
                ..Audience::default()
            },
        )
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
            let found = key().verify(NOW, &sign(claims));
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
            assert_eq!(key().verify(NOW, &token).unwrap_err(), expected, "{token:.40}");
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
            assert!(key().verify(NOW, &dressed).is_ok(), "{dressed:.20}");
        }
    }

    #[test]
    fn issuer_and_audience_are_checked_when_configured() {
        let key = TokenKey::new(
            Algorithm::Hs256,
            SECRET,
            Audience {
                issuer: Some("https://id.example".to_owned()),
                audience: Some("dormouse".to_owned()),
                user_claim: Some("email".to_owned()),
                leeway_s: 0,
            },
        );
        let verify = |iss: Value, aud: Value| {
            key.verify(
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
        let identity = key()
            .verify(
                NOW,
                &sign(&json!({"sub": "u1", "exp": NOW_S + 60, "departments": ["math", "cs", 7, "cs"], "scope": "read admin"})),
            )
            .unwrap();
        assert_eq!(identity.departments, ["7", "cs", "math"]);
        assert_eq!(identity.role, Role::Admin);
        let roles = key()
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
