//! Which identity a handshake's HTTP request proves (DESIGN 3.1, 3.6).

use crate::auth::{AuthError, Identity, TokenKey};
use crate::config::{HandshakeConfig, QueryToken};
use crate::time::Timestamp;

/// Where a request may carry a token, as the headers and query give them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `Cookie` header.
    pub cookie: Option<&'a str>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The query parameter `token`, decoded.
    pub query_token: Option<&'a str>,
}

/// The identity the request proves: the first valid token of header, cookie and query.
///
/// A cookie from an origin that is not on the allow-list counts as absent: browsers attach cookies
/// to cross-site upgrades, and CORS does not guard those.
///
/// # Errors
/// Without a valid token, why the first one that was there is not valid;
/// [`AuthError::Missing`] when there was none; [`AuthError::UserMismatch`] when two valid ones name
/// different users.
pub fn identify(
    now: Timestamp,
    config: &HandshakeConfig,
    key: &TokenKey,
    credentials: &Credentials<'_>,
) -> Result<Identity, AuthError> {
    let cookie = credentials
        .cookie
        .filter(|_| origin_allowed(config, credentials.origin))
        .and_then(|header| cookie_value(header, &config.cookie));
    let query = match config.query_token {
        QueryToken::Accepted => credentials.query_token,
        QueryToken::Ignored => None,
    };
    let mut proven: Option<Identity> = None;
    let mut refusal = AuthError::Missing;
    for token in [credentials.authorization, cookie, query].into_iter().flatten() {
        match (key.verify(now, token), &proven) {
            (Ok(identity), None) => proven = Some(identity),
            (Ok(identity), Some(first)) if identity.user != first.user => {
                return Err(AuthError::UserMismatch);
            }
            (Err(error), None) if refusal == AuthError::Missing => refusal = error,
            (Ok(_) | Err(_), _) => {}
        }
    }
    proven.ok_or(refusal)
}

/// Whether a cookie sent from `origin` may authenticate. `null` and an absent origin may not.
#[must_use]
pub fn origin_allowed(config: &HandshakeConfig, origin: Option<&str>) -> bool {
    origin.is_some_and(|origin| config.allowed_origins.iter().any(|allowed| allowed == origin))
}

fn cookie_value<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    cookie::Cookie::split_parse(header)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
        .and_then(|cookie| cookie.value_raw())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::tests::{NOW, key, sign};

    fn token(user: &str, ttl_s: i64) -> String {
        sign(&json!({"sub": user, "exp": 1_800_000_000_i64 + ttl_s}))
    }

    fn config(query_token: QueryToken) -> HandshakeConfig {
        HandshakeConfig {
            cookie: "auth_token".to_owned(),
            query_token,
            allowed_origins: vec!["https://app.example".to_owned()],
        }
    }

    #[test]
    fn the_first_valid_place_wins() {
        let a = token("a", 60);
        let bearer = format!("Bearer {a}");
        let cookie = format!("theme=dark; auth_token={a}; x=y");
        let expired = token("a", -60);
        let other = token("b", 60);
        let here = Some("https://app.example");
        let evil = Some("https://evil.example");
        let check = |authorization: Option<&str>,
                     cookie: Option<&str>,
                     origin: Option<&str>,
                     query_token: Option<&str>,
                     expected: Result<&str, AuthError>| {
            let credentials = Credentials {
                authorization,
                cookie,
                origin,
                query_token,
            };
            let found = identify(NOW, &config(QueryToken::Accepted), &key(), &credentials);
            assert_eq!(
                found.as_ref().map(|identity| identity.user.as_str()),
                expected.as_ref().map(|user| *user),
                "{credentials:?}"
            );
        };
        check(None, None, None, None, Err(AuthError::Missing));
        check(Some(&bearer), None, None, None, Ok("a"));
        check(None, None, None, Some(&a), Ok("a"));
        check(None, Some(&cookie), here, None, Ok("a"));
        check(None, Some(&cookie), evil, None, Err(AuthError::Missing));
        check(None, Some(&cookie), Some("null"), None, Err(AuthError::Missing));
        check(None, Some(&cookie), None, None, Err(AuthError::Missing));
        check(None, Some("other=1"), here, None, Err(AuthError::Missing));
        check(Some(&expired), None, None, None, Err(AuthError::Expired));
        check(Some(&expired), None, None, Some(&a), Ok("a"));
        check(
            Some("junk"),
            None,
            None,
            Some(&expired),
            Err(AuthError::Malformed),
        );
        check(
            Some(&bearer),
            None,
            None,
            Some(&other),
            Err(AuthError::UserMismatch),
        );
        check(Some(&bearer), None, None, Some(&expired), Ok("a"));
        check(Some(&other), Some(&cookie), evil, None, Ok("b"));
    }

    #[test]
    fn a_query_token_can_be_switched_off() {
        let a = token("a", 60);
        let credentials = Credentials {
            query_token: Some(&a),
            ..Credentials::default()
        };
        let found = identify(NOW, &config(QueryToken::Ignored), &key(), &credentials);
        assert_eq!(found, Err(AuthError::Missing));
    }
}
