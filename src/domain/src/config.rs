//! Every setting, in one place: its name, its default, what it means, how it is checked.
//!
//! Settings are Worker variables and secrets. They are parsed once into a [`Config`] that cannot be
//! wrong; every mistake is reported at once, by name, and never with a secret's value.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::case::PayloadCase;
use crate::delivery::{AckMode, DeliveryPolicy};
use crate::jwk::{JwksError, KeySet};
use crate::queued_push::LONGEST_PUSH_DELAY_S;
use crate::remote_keys::{JwksUrl, JwksUrlError};
use crate::service_key::ServiceKeys;
use crate::session::Rules;
use crate::signature::Signer;
use crate::token_key::{Algorithm, TokenKey};
use crate::token_keys::{Issuer, Published, Terms, TokenKeys};
use crate::wishes::Recovery;

/// One setting as the operator sees it.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name of the variable or secret.
    pub name: &'static str,
    /// What counts when it is not set; empty when it must be set or when nothing is the default.
    pub default: &'static str,
    /// What it means, with its unit and range.
    pub meaning: &'static str,
}

macro_rules! variables {
    ($($(#[doc = $meaning:literal])+ $constant:ident = $default:literal;)+) => {
        $($(#[doc = $meaning])+ const $constant: Variable = Variable {
            name: stringify!($constant),
            default: $default,
            meaning: concat!($($meaning),+),
        };)+

        /// Every setting, in the order of the documentation.
        pub const VARIABLES: &[Variable] = &[$($constant),+];
    };
}

variables! {
    /// Secret. The key that signs users' tokens: at least 32 bytes. It may be left out when there are published keys (`JWT_JWKS`, `JWT_JWKS_URL` or `JWT_ISSUERS`).
    JWT_SECRET = "";
    /// `HS256`, `HS384` or `HS512`: the algorithm of `JWT_SECRET`. The key decides the algorithm, never the token.
    JWT_ALGORITHM = "HS256";
    /// Secret. What session ids are signed with: at least 32 bytes. When not set: `JWT_SECRET`.
    SIGNING_SECRET = "";
    /// Published keys that sign users' tokens, as a JSON Web Key Set: RS256, ES256 and EdDSA.
    JWT_JWKS = "";
    /// Instead of `JWT_JWKS`: the `https` URL where they are published.
    JWT_JWKS_URL = "";
    /// Seconds after which keys at a URL are fetched again: 1 to 86,400.
    JWT_JWKS_TTL_SECONDS = "600";
    /// When set, a token's `iss` must equal it, or be one of `JWT_ISSUERS`.
    JWT_ISSUER = "";
    /// When set, a token's `aud` must equal or contain it.
    JWT_AUDIENCE = "";
    /// JSON list of further issuers, at most 20: `{issuer, jwks}` or `{issuer, jwks_url}`, with `audience` and `user_claim` where they differ from `JWT_AUDIENCE` and `JWT_USER_CLAIM`.
    JWT_ISSUERS = "[]";
    /// The `aud` of services' tokens. When not set, services need a key.
    SERVICE_JWT_AUDIENCE = "";
    /// How far clocks may disagree about `exp` and `nbf`, in seconds: 0 to 60.
    JWT_LEEWAY_SECONDS = "5";
    /// Milliseconds before the end of its token at which a client gets `auth:expiring`: 0 to 3,600,000.
    AUTH_EXPIRING_MS = "60000";
    /// Milliseconds a session outlives its token, in which the client may send another: 0 to 600,000.
    AUTH_GRACE_MS = "25000";
    /// The claim that names the user. When not set: the first of `sub`, `user_id`, `userId`, `id`.
    JWT_USER_CLAIM = "";
    /// The name of the cookie that may carry a token.
    AUTH_COOKIE = "auth_token";
    /// `on` or `off`: whether the query parameter `token` may carry a token.
    QUERY_TOKEN = "on";
    /// Exact origins (`https://app.example.org`), separated by commas, whose pages may use polling and from which a cookie may authenticate.
    ALLOWED_ORIGINS = "";
    /// Secret. JSON list of `{id, sha256, scopes}`: the SHA-256 of each service key in hexadecimal and what it may do. `expires_at` (ISO 8601) ends a key, `revoked: true` ends it at once.
    SERVICE_KEYS = "[]";
    /// Milliseconds between the server's heartbeats: 1,000 to 1,800,000.
    PING_INTERVAL_MS = "90000";
    /// Milliseconds a client waits for a heartbeat that is late: 1,000 to 1,800,000.
    PING_TIMEOUT_MS = "120000";
    /// Milliseconds a connection may stay without joining a namespace: 1,000 to 300,000.
    CONNECT_TIMEOUT_MS = "45000";
    /// Milliseconds of silence after which a client that connected with `keepalive=client` is taken for gone: 10,000 to 3,600,000.
    KEEPALIVE_GRACE_MS = "120000";
    /// `on` or `off`: connection state recovery. When on, every event ends with an offset as its last argument.
    RECOVERY = "on";
    /// `auto`, `required` or `off`: which sessions must acknowledge a notification before it counts as delivered.
    ACK_MODE = "auto";
    /// Milliseconds an acknowledgement is waited for before the attempt counts as failed: 100 to 600,000.
    ACK_TIMEOUT_MS = "30000";
    /// Milliseconds from each failed attempt to the next, separated by commas: at most 10 of 100 to 86,400,000. After the last one the delivery has failed for good.
    RETRY_DELAYS_MS = "60000,300000,900000";
    /// More notifications than this that come at once are sent as `notification:batch`: 1 to 100.
    BATCH_THRESHOLD = "20";
    /// Seconds before a push of the queue that could not be stored is tried again: 0 to 600. Doubled with every attempt, up to 600.
    QUEUE_RETRY_DELAY_SECONDS = "5";
    /// Days after which notifications and all that is known of them are removed: 1 to 3,650.
    RETENTION_DAYS = "90";
    /// `snake` or `camel`: how the keys of Socket.IO payloads are written for clients that do not say so themselves.
    PAYLOAD_CASE = "snake";
    /// How many switchboards there are: 1 to 1,000, one for every few thousand users who are online at once.
    SWITCHBOARDS = "4";
    /// `dept` or `all`: about whom clients on `/chat` hear, and may ask: those who share a department with them, or everybody.
    PRESENCE_SCOPE = "dept";
    /// A department with more users online than this hears of nobody's presence: 0 to 100,000; 0 switches it off. With the scope `all` it is the number of all users online.
    PRESENCE_ROOM_LIMIT = "200";
    /// `all`, `errors` or `off`: which requests and events the log has a line of. `errors`: those answered 4xx or 5xx, and those refused.
    LOG_LINES = "all";
}

/// The largest packet or request body a client may send, in bytes (DESIGN 10).
pub const MAX_PAYLOAD_BYTES: usize = if cfg!(feature = "conformance") {
    1_000_000
} else {
    100_000
};

/// The shortest heartbeat that may be set, in milliseconds; the protocol suites ask for less.
const SHORTEST_HEARTBEAT_MS: u64 = if cfg!(feature = "conformance") { 100 } else { 1_000 };

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The parsed settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// How tokens are verified.
    pub token_keys: TokenKeys,
    /// Where a token may be in a handshake.
    pub handshake: HandshakeConfig,
    /// What happens around the end of a token.
    pub expiry: ExpiryConfig,
    /// Who may push.
    pub service_keys: ServiceKeys,
    /// The heartbeat of stock clients.
    pub heartbeat: HeartbeatConfig,
    /// A connection without a namespace is closed after this, in milliseconds.
    pub connect_timeout_ms: u64,
    /// A client that keeps itself alive is taken for gone after this silence, in milliseconds.
    pub keepalive_grace_ms: u64,
    /// Whether sessions can be recovered.
    pub recovery: Recovery,
    /// How payloads' keys are written unless a client asks for something else.
    pub payload_case: PayloadCase,
    /// When a notification counts as delivered.
    pub delivery: DeliveryPolicy,
    /// Before a message of the queue comes again for the first time, in seconds.
    pub queue_retry_delay_s: u64,
    /// Notifications older than this are removed, in milliseconds.
    pub retention_ms: u64,
    /// More notifications than this at once make a batch.
    pub batch_threshold: usize,
    /// How many switchboards there are.
    pub switchboards: u32,
    /// About whom clients on `/chat` hear.
    pub presence_scope: PresenceScope,
    /// In how large rooms they do.
    pub presence_room_limit: u64,
    /// What the log has a line of.
    pub log_lines: LogLines,
    /// Makes and checks what clients pass back.
    pub signer: Signer,
}

/// Which requests and events the log has a line of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLines {
    /// All.
    All,
    /// Those that were refused or failed.
    Errors,
    /// None.
    Off,
}

/// About whom clients on `/chat` hear, and may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceScope {
    /// Those who share a department with them.
    Dept,
    /// Everybody.
    All,
}

impl Config {
    /// What sessions need of it.
    #[must_use]
    pub const fn rules(&self) -> Rules<'_> {
        Rules {
            keys: &self.token_keys,
            expiry: self.expiry,
            heartbeat: self.heartbeat,
            connect_timeout_ms: self.connect_timeout_ms,
            keepalive_grace_ms: self.keepalive_grace_ms,
            signer: &self.signer,
        }
    }
}

/// What happens around the end of a token (DESIGN 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryConfig {
    /// How long before it the client is warned, in milliseconds.
    pub warning_ms: u64,
    /// How long a session outlives its token, in milliseconds.
    pub grace_ms: u64,
}

/// Where a token may be in a handshake.
#[derive(Clone, Debug)]
pub struct HandshakeConfig {
    /// The cookie's name.
    pub cookie: String,
    /// Whether the query may carry a token.
    pub query_token: QueryToken,
    /// Origins from which the cookie may authenticate.
    pub allowed_origins: Vec<String>,
}

/// Whether the query may carry a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryToken {
    /// `?token=` is read.
    Accepted,
    /// `?token=` is ignored.
    Ignored,
}

/// The heartbeat of stock clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Advertised `pingInterval`, in milliseconds.
    pub interval_ms: u64,
    /// Advertised `pingTimeout`, in milliseconds.
    pub timeout_ms: u64,
    /// When a ping counts as unanswered.
    pub timing: Timing,
}

/// When a ping counts as unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// At the next tick of the switchboard, which pings for all its users by one alarm.
    Ticked,
    /// After the advertised timeout, as the reference server does it.
    Exact,
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct ConfigError {
    /// The setting.
    pub name: &'static str,
    /// What was expected; never the value of a secret.
    pub reason: String,
}

impl Config {
    /// Reads every setting by name from `lookup`.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader {
            lookup,
            errors: Vec::new(),
        };
        let (token_keys, signer) = reader.token_keys();
        let handshake = HandshakeConfig {
            cookie: reader.text(AUTH_COOKIE),
            query_token: reader
                .choice(
                    QUERY_TOKEN,
                    &[("on", QueryToken::Accepted), ("off", QueryToken::Ignored)],
                )
                .unwrap_or(QueryToken::Ignored),
            allowed_origins: reader.origins(ALLOWED_ORIGINS),
        };
        let service_keys = match ServiceKeys::parse(&reader.text(SERVICE_KEYS)) {
            Ok(keys) => keys,
            Err(error) => {
                reader.fail(SERVICE_KEYS, &error.to_string());
                ServiceKeys::default()
            }
        };
        let expiry = ExpiryConfig {
            warning_ms: reader.integer(AUTH_EXPIRING_MS, 0, 3_600_000),
            grace_ms: reader.integer(AUTH_GRACE_MS, 0, 600_000),
        };
        let heartbeat = HeartbeatConfig {
            interval_ms: reader.integer(PING_INTERVAL_MS, SHORTEST_HEARTBEAT_MS, 1_800_000),
            timeout_ms: reader.integer(PING_TIMEOUT_MS, SHORTEST_HEARTBEAT_MS, 1_800_000),
            timing: Timing::Ticked,
        };
        let connect_timeout_ms = reader.integer(CONNECT_TIMEOUT_MS, 1_000, 300_000);
        let keepalive_grace_ms = reader.integer(KEEPALIVE_GRACE_MS, 10_000, 3_600_000);
        let recovery = reader.choice(RECOVERY, &[("on", Recovery::On), ("off", Recovery::Off)]);
        let ack_mode = reader.choice(
            ACK_MODE,
            &[
                ("auto", AckMode::Auto),
                ("required", AckMode::Required),
                ("off", AckMode::Off),
            ],
        );
        let ack_timeout_ms = reader.integer(ACK_TIMEOUT_MS, 100, 600_000);
        let retry_delays_ms = reader.integers(RETRY_DELAYS_MS, 10, 100, 86_400_000);
        let queue_retry_delay_s = reader.integer(QUEUE_RETRY_DELAY_SECONDS, 0, LONGEST_PUSH_DELAY_S);
        let retention_days = reader.integer(RETENTION_DAYS, 1, 3_650);
        let batch_threshold = reader.integer(BATCH_THRESHOLD, 1, 100);
        let payload_case = reader.choice(
            PAYLOAD_CASE,
            &[("snake", PayloadCase::Snake), ("camel", PayloadCase::Camel)],
        );
        let switchboards = reader.integer(SWITCHBOARDS, 1, 1_000);
        let presence_scope = reader
            .choice(
                PRESENCE_SCOPE,
                &[("dept", PresenceScope::Dept), ("all", PresenceScope::All)],
            )
            .unwrap_or(PresenceScope::Dept);
        let presence_room_limit = reader.integer(PRESENCE_ROOM_LIMIT, 0, 100_000);
        let log_lines = reader
            .choice(
                LOG_LINES,
                &[
                    ("all", LogLines::All),
                    ("errors", LogLines::Errors),
                    ("off", LogLines::Off),
                ],
            )
            .unwrap_or(LogLines::Off);
        match (recovery, ack_mode, payload_case) {
            (Some(recovery), Some(mode), Some(payload_case)) if reader.errors.is_empty() => Ok(Self {
                token_keys,
                handshake,
                expiry,
                service_keys,
                heartbeat,
                connect_timeout_ms,
                keepalive_grace_ms,
                recovery,
                payload_case,
                delivery: DeliveryPolicy {
                    mode,
                    ack_timeout_ms,
                    retry_delays_ms,
                },
                queue_retry_delay_s,
                retention_ms: retention_days.saturating_mul(DAY_MS),
                batch_threshold: usize::try_from(batch_threshold).unwrap_or(1),
                switchboards: u32::try_from(switchboards).unwrap_or(1),
                presence_scope,
                presence_room_limit,
                log_lines,
                signer,
            }),
            _ => Err(reader.errors),
        }
    }
}

/// Most issuers besides the one of the single settings.
const MAX_ISSUERS: usize = 20;

/// The fewest bytes of a secret.
const MIN_SECRET_BYTES: usize = 32;

/// An entry of `JWT_ISSUERS`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerSetting {
    issuer: String,
    audience: Option<String>,
    user_claim: Option<String>,
    jwks: Option<Box<RawValue>>,
    jwks_url: Option<String>,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
enum PublishedError {
    #[error("{0}")]
    Set(#[from] JwksError),
    #[error("{0}")]
    Url(#[from] JwksUrlError),
    #[error("expected either a key set or a URL")]
    Either,
}

struct Reader<F> {
    lookup: F,
    errors: Vec<ConfigError>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn fail(&mut self, variable: Variable, reason: &str) {
        self.errors.push(ConfigError {
            name: variable.name,
            reason: reason.to_owned(),
        });
    }

    fn text(&self, variable: Variable) -> String {
        (self.lookup)(variable.name)
            .filter(|value| !value.is_empty())
            .unwrap_or_else(|| variable.default.to_owned())
    }

    fn optional(&self, variable: Variable) -> Option<String> {
        Some(self.text(variable)).filter(|value| !value.is_empty())
    }

    /// How tokens are verified, and what is signed here.
    fn token_keys(&mut self) -> (TokenKeys, Signer) {
        let algorithm = self.choice(
            JWT_ALGORITHM,
            &[
                ("HS256", Algorithm::Hs256),
                ("HS384", Algorithm::Hs384),
                ("HS512", Algorithm::Hs512),
            ],
        );
        let secret = self.optional(JWT_SECRET);
        let (jwks, url) = (self.optional(JWT_JWKS), self.optional(JWT_JWKS_URL));
        let at_url = url.is_some();
        let published = published(jwks.as_deref(), url.as_deref()).unwrap_or_else(|error| {
            let variable = if at_url { JWT_JWKS_URL } else { JWT_JWKS };
            self.fail(variable, &error.to_string());
            Published::Nowhere
        });
        let (audience, user_claim) = (self.optional(JWT_AUDIENCE), self.optional(JWT_USER_CLAIM));
        let listed = self.issuers(audience.as_ref(), user_claim.as_ref());
        let others = !listed.is_empty() || jwks.is_some() || at_url;
        let too_short = |secret: &Option<String>| {
            let bytes = secret.as_deref().map(str::len);
            bytes.is_some_and(|bytes| bytes < MIN_SECRET_BYTES)
        };
        if too_short(&secret) || (secret.is_none() && !others) {
            self.fail(JWT_SECRET, "must be set, to at least 32 bytes");
        }
        let signing = self.optional(SIGNING_SECRET);
        if too_short(&signing) || (signing.is_none() && secret.is_none() && others) {
            self.fail(SIGNING_SECRET, "must be set, to at least 32 bytes");
        }
        let signer = Signer::new(signing.or_else(|| secret.clone()).unwrap_or_default().as_bytes());
        let first = (secret.is_some() || jwks.is_some() || at_url).then(|| Issuer {
            name: self.optional(JWT_ISSUER),
            audience,
            user_claim,
            secret: algorithm
                .zip(secret)
                .map(|(algorithm, secret)| TokenKey::of_secret(algorithm, secret.as_bytes())),
            published,
        });
        let issuers: Vec<_> = first.into_iter().chain(listed).collect();
        for (i, issuer) in issuers.iter().enumerate() {
            if issuers.iter().take(i).any(|other| other.name == issuer.name) {
                let name = issuer.name.as_deref().unwrap_or_default();
                self.fail(JWT_ISSUERS, &format!("the issuer {name:?} is there twice"));
            }
        }
        let service_audience = self.optional(SERVICE_JWT_AUDIENCE);
        if service_audience.is_some() && issuers.iter().any(|issuer| issuer.audience == service_audience) {
            self.fail(SERVICE_JWT_AUDIENCE, "must not be the audience of users' tokens");
        }
        let terms = Terms {
            service_audience,
            leeway_s: self.integer(JWT_LEEWAY_SECONDS, 0, 60),
            ttl_ms: self
                .integer(JWT_JWKS_TTL_SECONDS, 1, 86_400)
                .saturating_mul(1_000),
        };
        (TokenKeys::new(issuers, terms), signer)
    }

    fn issuers(&mut self, audience: Option<&String>, user_claim: Option<&String>) -> Vec<Issuer> {
        let listed: Vec<IssuerSetting> = match serde_json::from_str(&self.text(JWT_ISSUERS)) {
            Ok(listed) => listed,
            Err(error) => {
                self.fail(JWT_ISSUERS, &format!("expected a JSON list of issuers: {error}"));
                return Vec::new();
            }
        };
        if listed.len() > MAX_ISSUERS {
            self.fail(JWT_ISSUERS, &format!("at most {MAX_ISSUERS} are read"));
            return Vec::new();
        }
        let mut issuers = Vec::new();
        for setting in listed {
            let jwks = setting.jwks.as_ref().map(|json| json.get());
            match published(jwks, setting.jwks_url.as_deref()) {
                Ok(Published::Nowhere) => {
                    self.fail(
                        JWT_ISSUERS,
                        &format!("{:?}: {}", setting.issuer, PublishedError::Either),
                    );
                }
                Ok(published) => issuers.push(Issuer {
                    name: Some(setting.issuer),
                    audience: setting.audience.or_else(|| audience.cloned()),
                    user_claim: setting.user_claim.or_else(|| user_claim.cloned()),
                    secret: None,
                    published,
                }),
                Err(error) => self.fail(JWT_ISSUERS, &format!("{:?}: {error}", setting.issuer)),
            }
        }
        issuers
    }

    fn choice<T: Copy>(&mut self, variable: Variable, choices: &[(&str, T)]) -> Option<T> {
        let value = self.text(variable);
        let found = choices.iter().find(|(name, _)| *name == value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.fail(variable, &format!("expected one of {}", names.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }

    fn integer(&mut self, variable: Variable, min: u64, max: u64) -> u64 {
        match self.text(variable).parse() {
            Ok(value) if (min..=max).contains(&value) => value,
            _ => {
                self.fail(variable, &format!("expected a whole number from {min} to {max}"));
                min
            }
        }
    }

    fn integers(&mut self, variable: Variable, most: usize, min: u64, max: u64) -> Vec<u64> {
        let text = self.text(variable);
        let listed: Option<Vec<u64>> = text
            .split(',')
            .map(|number| number.trim().parse().ok().filter(|n| (min..=max).contains(n)))
            .collect();
        match listed {
            Some(listed) if listed.len() <= most => listed,
            Some(_) | None => {
                let expected = format!("expected at most {most} whole numbers from {min} to {max}");
                self.fail(variable, &expected);
                Vec::new()
            }
        }
    }

    fn origins(&mut self, variable: Variable) -> Vec<String> {
        let text = self.text(variable);
        let listed = || text.split(',').map(str::trim).filter(|o| !o.is_empty());
        for origin in listed() {
            let exact = url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == origin);
            if !exact {
                self.fail(
                    variable,
                    &format!("{origin:?} is not an origin such as https://app.example.org"),
                );
            }
        }
        listed().map(str::to_owned).collect()
    }
}

/// Where keys are: in a document, at a URL, or nowhere when neither is given.
fn published(jwks: Option<&str>, url: Option<&str>) -> Result<Published, PublishedError> {
    match (jwks, url) {
        (None, None) => Ok(Published::Nowhere),
        (Some(jwks), None) => Ok(Published::Here(Arc::new(KeySet::parse(jwks)?))),
        (None, Some(url)) => Ok(Published::At(JwksUrl::parse(url)?)),
        (Some(_), Some(_)) => Err(PublishedError::Either),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn parse(set: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        Config::parse(|name| {
            set.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_secret_is_all_that_must_be_set() {
        let config = parse(&[("JWT_SECRET", SECRET)]).unwrap();
        assert_eq!(config.heartbeat.interval_ms, 90_000);
        assert_eq!(config.heartbeat.timeout_ms, 120_000);
        assert_eq!(config.connect_timeout_ms, 45_000);
        assert_eq!(config.handshake.cookie, "auth_token");
        assert_eq!(config.delivery.mode, AckMode::Auto);
        assert_eq!(config.delivery.retry_delays_ms, [60_000, 300_000, 900_000]);
    }

    #[test]
    fn every_mistake_is_named_at_once_and_no_secret_is_shown() {
        let errors = parse(&[
            ("JWT_SECRET", "short-secret"),
            ("JWT_ALGORITHM", "none"),
            ("JWT_LEEWAY_SECONDS", "61"),
            ("QUERY_TOKEN", "maybe"),
            (
                "ALLOWED_ORIGINS",
                "https://ok.example, https://bad.example/path, *, null",
            ),
            ("SERVICE_KEYS", "[{}]"),
            ("PING_INTERVAL_MS", "-1"),
            ("PING_TIMEOUT_MS", "1e9"),
            ("CONNECT_TIMEOUT_MS", ""),
            ("ACK_MODE", "AUTO"),
            ("QUEUE_RETRY_DELAY_SECONDS", "601"),
            ("RETENTION_DAYS", "0"),
            ("LOG_LINES", "none"),
        ])
        .unwrap_err();
        let names: Vec<_> = errors.iter().map(|error| error.name).collect();
        assert_eq!(
            names,
            [
                "JWT_ALGORITHM",
                "JWT_SECRET",
                "JWT_LEEWAY_SECONDS",
                "QUERY_TOKEN",
                "ALLOWED_ORIGINS",
                "ALLOWED_ORIGINS",
                "ALLOWED_ORIGINS",
                "SERVICE_KEYS",
                "PING_INTERVAL_MS",
                "PING_TIMEOUT_MS",
                "ACK_MODE",
                "QUEUE_RETRY_DELAY_SECONDS",
                "RETENTION_DAYS",
                "LOG_LINES",
            ]
        );
        assert!(
            errors
                .iter()
                .all(|error| !error.to_string().contains("short-secret"))
        );
    }

    #[test]
    fn a_service_key_in_the_place_of_its_hash_is_not_shown() {
        for keys in [
            r#"["nk_plain"]"#,
            r#"[{"id":"a","sha256":"nk_plain","scopes":[]}]"#,
            r#"[{"id":"a","sha256":"","scopes":["nk_plain"]}]"#,
            r#"[{"nk_plain":1}]"#,
        ] {
            let errors = parse(&[("JWT_SECRET", SECRET), ("SERVICE_KEYS", keys)]).unwrap_err();
            assert_eq!(errors.len(), 1);
            assert!(
                errors.iter().all(|error| !error.to_string().contains("nk_plain")),
                "{errors:?}"
            );
        }
    }

    const JWKS: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[test]
    fn published_keys_may_stand_for_the_secret() {
        let issuers =
            format!(r#"[{{"issuer":"a","jwks":{JWKS}}},{{"issuer":"b","jwks_url":"https://b.example"}}]"#);
        let signing = ("SIGNING_SECRET", SECRET);
        for set in [
            vec![signing, ("JWT_JWKS", JWKS)],
            vec![signing, ("JWT_JWKS_URL", "https://id.example/jwks")],
            vec![signing, ("JWT_ISSUERS", &issuers)],
            vec![("JWT_SECRET", SECRET), ("JWT_JWKS", JWKS)],
            vec![signing, ("JWT_SECRET", SECRET), ("JWT_ISSUERS", &issuers)],
        ] {
            assert!(parse(&set).is_ok(), "{set:?}");
        }
    }

    #[test]
    fn wrong_keys_and_issuers_are_named() {
        let secret = ("JWT_SECRET", SECRET);
        let twice = format!(r#"[{{"issuer":"a","jwks":{JWKS}}},{{"issuer":"a","jwks":{JWKS}}}]"#);
        let both = format!(r#"[{{"issuer":"a","jwks":{JWKS},"jwks_url":"https://b.example"}}]"#);
        let shared = format!(r#"[{{"issuer":"a","audience":"services","jwks":{JWKS}}}]"#);
        let check = |set: &[(&str, &str)], expected: &[&str]| {
            let errors = parse(set).unwrap_err();
            let names: Vec<_> = errors.iter().map(|error| error.name).collect();
            assert_eq!(names, expected, "{set:?}");
        };
        check(&[], &["JWT_SECRET"]);
        check(&[("JWT_JWKS", JWKS)], &["SIGNING_SECRET"]);
        check(&[secret, ("SIGNING_SECRET", "short")], &["SIGNING_SECRET"]);
        check(&[secret, ("JWT_JWKS", r#"{"keys":[]}"#)], &["JWT_JWKS"]);
        check(
            &[secret, ("JWT_JWKS_URL", "http://id.example")],
            &["JWT_JWKS_URL"],
        );
        check(
            &[secret, ("JWT_JWKS", JWKS), ("JWT_JWKS_URL", "https://id.example")],
            &["JWT_JWKS_URL"],
        );
        check(
            &[secret, ("JWT_JWKS_TTL_SECONDS", "0")],
            &["JWT_JWKS_TTL_SECONDS"],
        );
        check(&[secret, ("JWT_ISSUERS", "{}")], &["JWT_ISSUERS"]);
        check(
            &[secret, ("JWT_ISSUERS", r#"[{"issuer":"a"}]"#)],
            &["JWT_ISSUERS"],
        );
        check(&[secret, ("JWT_ISSUERS", &twice)], &["JWT_ISSUERS"]);
        check(&[secret, ("JWT_ISSUERS", &both)], &["JWT_ISSUERS"]);
        check(
            &[secret, ("JWT_ISSUER", "a"), ("JWT_ISSUERS", &shared)],
            &["JWT_ISSUERS"],
        );
        check(
            &[
                secret,
                ("JWT_AUDIENCE", "services"),
                ("SERVICE_JWT_AUDIENCE", "services"),
            ],
            &["SERVICE_JWT_AUDIENCE"],
        );
        check(
            &[
                secret,
                ("JWT_ISSUERS", &shared),
                ("SERVICE_JWT_AUDIENCE", "services"),
            ],
            &["SERVICE_JWT_AUDIENCE"],
        );
    }

    #[test]
    fn variables_are_listed_once_with_a_meaning() {
        let mut names: Vec<_> = VARIABLES.iter().map(|v| v.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VARIABLES.len());
        assert!(VARIABLES.iter().all(|v| v.meaning.ends_with('.')));
    }

    #[test]
    fn the_documentation_lists_every_variable_with_its_default() {
        let documentation = include_str!("../../../docs/configuration.md");
        for variable in VARIABLES {
            let default = if variable.default.is_empty() {
                "–".to_owned()
            } else {
                format!("`{}`", variable.default)
            };
            let row = format!(
                "| `{}` | {default} | {} |",
                variable.name,
                variable.meaning.trim()
            );
            assert!(
                documentation.contains(&row),
                "docs/configuration.md misses: {row}"
            );
        }
    }
}
