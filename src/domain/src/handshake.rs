//! Which tokens a handshake brings, and which identity its HTTP request proves (DESIGN 3.1, 3.6).

use dormouse_protocol::socket::{Decoder, Kind, Progress};
use serde::Deserialize;

use crate::auth::{AuthError, Identity};
use crate::config::{HandshakeConfig, MAX_PAYLOAD_BYTES, QueryToken};
use crate::event::ClientEvent;
use crate::namespace::Namespace;
use crate::time::Timestamp;
use crate::token_keys::TokenKeys;

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

impl<'a> Credentials<'a> {
    /// The tokens that count, in their order: of header, cookie and query.
    ///
    /// A cookie from an origin that is not on the allow-list counts as absent: browsers attach cookies
    /// to cross-site upgrades, and CORS does not guard those.
    pub fn tokens(&self, config: &HandshakeConfig) -> impl Iterator<Item = &'a str> {
        let cookie = self
            .cookie
            .filter(|_| origin_allowed(config, self.origin))
            .and_then(|header| cookie_value(header, &config.cookie));
        let query = match config.query_token {
            QueryToken::Accepted => self.query_token,
            QueryToken::Ignored => None,
        };
        [self.authorization, cookie, query].into_iter().flatten()
    }
}

/// The identity the request proves: the first valid one of its tokens.
///
/// # Errors
/// Without a valid token, why the first one that was there is not valid;
/// [`AuthError::Missing`] when there was none; [`AuthError::UserMismatch`] when two valid ones name
/// different users.
pub fn identify(
    now: Timestamp,
    config: &HandshakeConfig,
    keys: &TokenKeys,
    credentials: &Credentials<'_>,
) -> Result<Identity, AuthError> {
    let mut proven: Option<Identity> = None;
    let mut refusal = AuthError::Missing;
    for token in credentials.tokens(config) {
        match (keys.verify(now, token), &proven) {
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

/// The token that a frame brings when it is a CONNECT or the event `auth:refresh`: the keys for it must be there
/// before the frame is heard.
#[must_use]
pub fn offered_token(frame: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Auth {
        token: Option<String>,
    }
    let message = frame
        .strip_prefix('4')
        .filter(|message| message.starts_with('0') || message.contains("auth:refresh"))?;
    if frame.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    let Ok(Progress::Packet(packet)) = Decoder::default().text(message) else {
        return None;
    };
    match packet.kind {
        Kind::Connect { payload } => payload?.parse::<Auth>().ok()?.token,
        Kind::Event { data, .. } => match ClientEvent::parse(Namespace::Notifications, &data?) {
            Ok(ClientEvent::Refresh(token)) => Some(token),
            Ok(_) | Err(_) => None,
        },
        Kind::Disconnect | Kind::Ack { .. } | Kind::ConnectError { .. } => None,
    }
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
    use crate::auth::tests::{NOW, keys, sign};

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
            let found = identify(NOW, &config(QueryToken::Accepted), &keys(), &credentials);
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
        let found = identify(NOW, &config(QueryToken::Ignored), &keys(), &credentials);
        assert_eq!(found, Err(AuthError::Missing));
    }
}
