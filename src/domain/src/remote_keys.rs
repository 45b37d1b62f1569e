//! Keys that an issuer publishes at a URL: when they are fetched, and which of them count meanwhile
//! (DESIGN 3.2).
//!
//! Whoever has a token to verify asks [`RemoteKeys::plan`] first. A fetch is announced by
//! [`RemoteKeys::begin`] and ends with [`RemoteKeys::succeed`] or [`RemoteKeys::fail`]; one that is never heard
//! of again, because its request was cancelled, counts as failed when its time is over. Keys that were
//! fetched once go on counting for a day of failures.

use std::sync::Arc;

use url::{Host, Url};

use crate::auth::AuthError;
use crate::jwk::KeySet;
use crate::time::Timestamp;
use crate::token_key::TokenKey;

/// How long a fetch may take, in milliseconds.
pub const FETCH_TIMEOUT_MS: u64 = 3_000;

/// How long after a failed fetch there is no other, in milliseconds.
const RETRY_MS: u64 = 5_000;

/// How often a `kid` that nobody knows may lead to a fetch, in milliseconds.
const UNKNOWN_KID_MS: u64 = 60_000;

/// How long keys count that could not be fetched again, in milliseconds.
const KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// Where an issuer publishes its keys: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl(String);

/// The text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an https URL without user, password and fragment")]
pub struct JwksUrlError;

impl JwksUrl {
    /// Reads a URL.
    ///
    /// ```
    /// # use dormouse_domain::remote_keys::JwksUrl;
    /// assert!(JwksUrl::parse("https://id.example/.well-known/jwks.json").is_ok());
    /// assert!(JwksUrl::parse("http://127.0.0.1:8080/jwks").is_ok());
    /// assert!(JwksUrl::parse("http://id.example/jwks").is_err());
    /// ```
    ///
    /// # Errors
    /// [`JwksUrlError`].
    pub fn parse(text: &str) -> Result<Self, JwksUrlError> {
        let url = Url::parse(text).map_err(|_| JwksUrlError)?;
        let local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let safe = url.scheme() == "https" || (url.scheme() == "http" && local);
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if safe && bare {
            Ok(Self(url.into()))
        } else {
            Err(JwksUrlError)
        }
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What comes before a token can be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Ready,
    /// Somebody else is fetching the keys: look again in a moment.
    Wait,
    /// Fetch the keys.
    Fetch(Errand),
}

/// A fetch that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// From where.
    pub url: JwksUrl,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// There are no keys, or they are as old as they may get.
    Due,
    /// A token names a key that is not among them.
    UnknownKid,
}

/// Whether a failure is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The fetch before it succeeded, or there was none.
    First,
    /// The one before failed as well.
    Again,
}

/// What is known of the keys at one URL.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    url: JwksUrl,
    ttl_ms: u64,
    fetched: Option<Fetched>,
    latest: Latest,
    failing: Failing,
    unknown_kid_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Fetched {
    at: Timestamp,
    set: Arc<KeySet>,
}

/// The latest fetch.
#[derive(Clone, Copy, Debug)]
enum Latest {
    /// It ended well, or there was none.
    Over,
    /// It began at this time.
    Begun(Timestamp),
    /// It failed at this time.
    Failed(Timestamp),
}

/// Whether the fetch that ended last failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    No,
    Yes,
}

impl RemoteKeys {
    /// The keys at `url`, fetched again when they are older than `ttl_ms`.
    #[must_use]
    pub const fn new(url: JwksUrl, ttl_ms: u64) -> Self {
        Self {
            url,
            ttl_ms,
            fetched: None,
            latest: Latest::Over,
            failing: Failing::No,
            unknown_kid_at: None,
        }
    }

    /// Where they are.
    #[must_use]
    pub const fn url(&self) -> &JwksUrl {
        &self.url
    }

    /// What comes before a token with this `kid` can be verified. While there are keys that may be the ones
    /// wanted, nobody waits for a fetch but the one who makes it.
    #[must_use]
    pub fn plan(&self, now: Timestamp, kid: Option<&str>) -> Plan {
        let set = self.set(now);
        let known = set.is_some_and(|set| kid.is_none_or(|kid| set.has(kid)));
        match self.latest {
            Latest::Begun(at) if now.since(at) < FETCH_TIMEOUT_MS => {
                return if known { Plan::Ready } else { Plan::Wait };
            }
            Latest::Failed(at) if now.since(at) < RETRY_MS => return Plan::Ready,
            Latest::Over | Latest::Begun(_) | Latest::Failed(_) => {}
        }
        let fresh = self
            .fetched
            .as_ref()
            .is_some_and(|fetched| now.since(fetched.at) < self.ttl_ms);
        let asked = self
            .unknown_kid_at
            .is_some_and(|at| now.since(at) < UNKNOWN_KID_MS);
        let reason = match (fresh, known) {
            (false, _) => Reason::Due,
            (true, false) if !asked => Reason::UnknownKid,
            (true, _) => return Plan::Ready,
        };
        Plan::Fetch(Errand {
            url: self.url.clone(),
            reason,
        })
    }

    /// A fetch begins.
    pub fn begin(&mut self, now: Timestamp, errand: &Errand) {
        self.latest = Latest::Begun(now);
        match errand.reason {
            Reason::UnknownKid => self.unknown_kid_at = Some(now),
            Reason::Due => {}
        }
    }

    /// A fetch has brought these keys.
    pub fn succeed(&mut self, now: Timestamp, set: KeySet) {
        self.fetched = Some(Fetched {
            at: now,
            set: Arc::new(set),
        });
        self.latest = Latest::Over;
        self.failing = Failing::No;
    }

    /// A fetch has brought nothing; the keys that were fetched before go on counting.
    pub fn fail(&mut self, now: Timestamp) -> Failure {
        self.latest = Latest::Failed(now);
        match std::mem::replace(&mut self.failing, Failing::Yes) {
            Failing::No => Failure::First,
            Failing::Yes => Failure::Again,
        }
    }

    /// Whether a key of this `kid` is known.
    pub(crate) fn has(&self, now: Timestamp, kid: Option<&str>) -> bool {
        let set = self.set(now);
        kid.is_some_and(|kid| set.is_some_and(|set| set.has(kid)))
    }

    /// The key of this `kid`, or the one that has none.
    ///
    /// # Errors
    /// [`AuthError::UnknownKey`]; [`AuthError::KeysUnavailable`] when nobody can say whether there is one.
    pub(crate) fn find(&self, now: Timestamp, kid: Option<&str>) -> Result<&TokenKey, AuthError> {
        let set = self.set(now);
        set.and_then(|set| set.find(kid))
            .ok_or(match (set, self.latest, self.failing) {
                (Some(_), Latest::Over, Failing::No) => AuthError::UnknownKey,
                (None, _, _)
                | (Some(_), Latest::Begun(_) | Latest::Failed(_), _)
                | (Some(_), Latest::Over, Failing::Yes) => AuthError::KeysUnavailable,
            })
    }

    fn set(&self, now: Timestamp) -> Option<&KeySet> {
        let fetched = self.fetched.as_ref();
        fetched
            .filter(|fetched| now.since(fetched.at) < self.ttl_ms.max(KEPT_MS))
            .map(|fetched| fetched.set.as_ref())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    const START: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const TTL_MS: u64 = 600_000;
    const DAY_MS: u64 = 86_400_000;

    fn set(kid: &str) -> KeySet {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        KeySet::parse(&format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}]}}"#
        ))
        .unwrap()
    }

    /// Keys at a URL, and a clock.
    struct Story {
        keys: RemoteKeys,
        now: Timestamp,
    }

    impl Story {
        fn new() -> Self {
            let url = JwksUrl::parse("https://id.example/jwks").unwrap();
            Self {
                keys: RemoteKeys::new(url, TTL_MS),
                now: START,
            }
        }

        /// One whose keys were just fetched.
        fn with(kid: &str) -> Self {
            let mut story = Self::new();
            story.fetch("a").succeed(kid);
            story
        }

        fn after(&mut self, ms: u64) -> &mut Self {
            self.now = self.now.after_ms(ms);
            self
        }

        fn plans(&mut self, kid: &str, expected: &str) -> &mut Self {
            let plan = match self.keys.plan(self.now, Some(kid)) {
                Plan::Ready => "ready",
                Plan::Wait => "wait",
                Plan::Fetch(_) => "fetch",
            };
            assert_eq!(plan, expected, "{:?}", self.keys);
            self
        }

        /// Begins a fetch that has to be made.
        fn fetch(&mut self, kid: &str) -> &mut Self {
            let plan = self.keys.plan(self.now, Some(kid));
            assert!(matches!(plan, Plan::Fetch(_)), "{:?}", self.keys);
            if let Plan::Fetch(errand) = plan {
                self.keys.begin(self.now, &errand);
            }
            self
        }

        fn succeed(&mut self, kid: &str) -> &mut Self {
            self.keys.succeed(self.now, set(kid));
            self
        }

        fn fail(&mut self, expected: Failure) -> &mut Self {
            assert_eq!(self.keys.fail(self.now), expected);
            self
        }

        fn finds(&mut self, kid: &str, expected: Result<(), AuthError>) -> &mut Self {
            let found = self.keys.find(self.now, Some(kid));
            assert_eq!(found.map(|_| ()), expected, "{:?}", self.keys);
            self
        }
    }

    #[test]
    fn keys_are_fetched_when_first_needed_and_when_they_are_old() {
        Story::new()
            .finds("a", Err(AuthError::KeysUnavailable))
            .fetch("a")
            .plans("a", "wait")
            .succeed("a")
            .plans("a", "ready")
            .finds("a", Ok(()))
            .after(TTL_MS - 1)
            .plans("a", "ready")
            .after(1)
            .fetch("a")
            // Others go on with what there is.
            .plans("a", "ready")
            .finds("a", Ok(()))
            .succeed("b")
            .finds("a", Err(AuthError::UnknownKey))
            .finds("b", Ok(()));
    }

    #[test]
    fn an_unknown_kid_leads_to_one_fetch_a_minute() {
        Story::with("a")
            .fetch("b")
            .plans("b", "wait")
            .plans("a", "ready")
            .succeed("b")
            .finds("b", Ok(()))
            .plans("c", "ready")
            .finds("c", Err(AuthError::UnknownKey))
            .after(59_999)
            .plans("c", "ready")
            .after(1)
            .fetch("c")
            .succeed("b")
            .plans("c", "ready")
            .finds("c", Err(AuthError::UnknownKey));
    }

    #[test]
    fn keys_outlive_failures_for_a_day() {
        let mut story = Story::with("a");
        story
            .after(TTL_MS)
            .fetch("a")
            .fail(Failure::First)
            .finds("a", Ok(()))
            .plans("a", "ready")
            .after(5_000)
            .fetch("a")
            .fail(Failure::Again)
            .finds("a", Ok(()))
            // Whether there is such a key nobody can say now.
            .finds("b", Err(AuthError::KeysUnavailable))
            .after(DAY_MS - TTL_MS - 5_001)
            .finds("a", Ok(()))
            .after(1)
            .finds("a", Err(AuthError::KeysUnavailable))
            .fetch("a")
            .succeed("a")
            .finds("a", Ok(()))
            .finds("b", Err(AuthError::UnknownKey));
    }

    #[test]
    fn without_keys_a_failure_is_not_repeated_at_once() {
        Story::new()
            .fetch("a")
            .fail(Failure::First)
            .plans("a", "ready")
            .finds("a", Err(AuthError::KeysUnavailable))
            .after(4_999)
            .plans("a", "ready")
            .after(1)
            .fetch("a");
    }

    #[test]
    fn a_fetch_that_is_never_heard_of_again_is_made_again() {
        Story::new()
            .fetch("a")
            .after(FETCH_TIMEOUT_MS - 1)
            .plans("a", "wait")
            .after(1)
            .fetch("a")
            .succeed("a")
            .finds("a", Ok(()));
        Story::with("a")
            .fetch("b")
            .after(FETCH_TIMEOUT_MS)
            .plans("b", "ready")
            .finds("b", Err(AuthError::KeysUnavailable))
            .finds("a", Ok(()));
    }

    #[test]
    fn a_url_is_https_or_of_this_machine() {
        for good in [
            "https://id.example/jwks?a=b",
            "https://id.example:8443/",
            "http://localhost:1/a",
            "http://127.0.0.1/",
            "http://127.1.2.3/",
            "http://[::1]:8/",
        ] {
            assert!(JwksUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "jwks",
            "http://id.example/jwks",
            "http://localhost.evil.example/",
            "http://128.0.0.1/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "data:application/json,{}",
            "https://user@id.example/",
            "https://:secret@id.example/",
            "https://id.example/#keys",
            "https://",
        ] {
            assert!(JwksUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
