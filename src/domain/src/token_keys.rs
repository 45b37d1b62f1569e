//! Whom this service trusts to say who somebody is, and by which keys (DESIGN 3.2).
//!
//! What a token says before its signature is checked only selects what it is held against: its `iss` the
//! issuer, its `kid` the key among those of the issuer. Whatever it selects, the issuer's rules and the key's
//! algorithm are the configured ones.
//!
//! A token is for one plane. One for the audience of services is a [`Caller`]'s and never a user's; without it,
//! it is never a service's.

use std::sync::Arc;

use jwt_compact::Claims;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::{AuthError, Identity, MAX_TOKEN_BYTES, bare_token, check_time, one_or_many};
use crate::id::check_name;
use crate::jwk::KeySet;
use crate::remote_keys::{Errand, Failure, JwksUrl, Plan, RemoteKeys};
use crate::service_key::{Caller, Scope};
use crate::time::Timestamp;
use crate::token_key::{self, CustomClaims, Token, TokenKey};

/// Everything a token is held against.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    issuers: Vec<Issuer>,
    remote: Vec<RemoteKeys>,
    terms: Terms,
}

/// What holds for the tokens of every issuer.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The `aud` of a service's token; without it services have none.
    pub service_audience: Option<String>,
    /// How far clocks may disagree, in seconds.
    pub leeway_s: u64,
    /// How old keys at a URL may get before they are fetched again, in milliseconds.
    pub ttl_ms: u64,
}

/// Somebody whose tokens are trusted.
#[derive(Clone, Debug, Default)]
pub struct Issuer {
    /// The `iss` of the tokens; `None` for those of which no other issuer's name is the `iss`.
    pub name: Option<String>,
    /// The `aud` a user's token must have.
    pub audience: Option<String>,
    /// The claim that names the user.
    pub user_claim: Option<String>,
    /// A shared secret, for tokens whose `kid` names no published key.
    pub secret: Option<TokenKey>,
    /// The keys the issuer publishes.
    pub published: Published,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, Default)]
pub enum Published {
    /// There are none.
    #[default]
    Nowhere,
    /// Here.
    Here(Arc<KeySet>),
    /// At a URL.
    At(JwksUrl),
}

impl TokenKeys {
    /// The keys of these issuers, of which no two have the same name.
    #[must_use]
    pub fn new(issuers: Vec<Issuer>, terms: Terms) -> Self {
        let mut remote: Vec<RemoteKeys> = Vec::new();
        for issuer in &issuers {
            if let Published::At(url) = &issuer.published
                && remote.iter().all(|known| known.url() != url)
            {
                remote.push(RemoteKeys::new(url.clone(), terms.ttl_ms));
            }
        }
        Self {
            issuers,
            remote,
            terms,
        }
    }

    /// The identity `token` proves at `now`. Surrounding spaces and a leading `Bearer ` are tolerated, because
    /// clients copy whole header values into `auth.token`.
    ///
    /// # Errors
    /// Every [`AuthError`] but [`AuthError::UserMismatch`] and [`AuthError::Revoked`].
    pub fn verify(&self, now: Timestamp, token: &str) -> Result<Identity, AuthError> {
        let Proven {
            issuer,
            claims,
            expires_at,
        } = self.prove(now, token)?;
        let services = self.terms.service_audience.as_deref();
        let users = issuer.audience.as_deref();
        if services.is_some_and(|audience| is_for(&claims, audience))
            || users.is_some_and(|audience| !is_for(&claims, audience))
        {
            return Err(AuthError::Claim("aud"));
        }
        Identity::read(&claims, expires_at, issuer.user_claim.as_deref())
    }

    /// The service whose token this is at `now`.
    ///
    /// # Errors
    /// As [`TokenKeys::verify`]: [`AuthError::Claim`] also for a token of a user.
    pub fn verify_service(&self, now: Timestamp, token: &str) -> Result<Caller, AuthError> {
        let Proven { claims, .. } = self.prove(now, token)?;
        let audience = self.terms.service_audience.as_deref();
        if !audience.is_some_and(|audience| is_for(&claims, audience)) {
            return Err(AuthError::Claim("aud"));
        }
        let claims = &claims.custom;
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject
            .filter(|subject| check_name(subject).is_ok())
            .ok_or(AuthError::Claim("sub"))?;
        let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        let scopes = one_or_many(claims.get("scope"))
            .flat_map(str::split_whitespace)
            .filter_map(Scope::parse)
            .collect();
        Ok(Caller::by_token(issuer, subject, scopes))
    }

    /// Whether services may call with tokens.
    #[must_use]
    pub const fn serve_services(&self) -> bool {
        self.terms.service_audience.is_some()
    }

    // ---- keys at URLs ----

    /// What comes before `token` can be verified. Anything may be given: what is no token needs nothing.
    #[must_use]
    pub fn plan(&self, now: Timestamp, token: &str) -> Plan {
        if self.remote.is_empty() {
            return Plan::Ready;
        }
        let found = take_apart(token).and_then(|token| {
            let issuer = self.issuer(&token)?;
            Ok((token, issuer))
        });
        let Ok((token, issuer)) = found else {
            return Plan::Ready;
        };
        let kid = token.header().key_id.as_deref();
        match &issuer.published {
            Published::Nowhere | Published::Here(_) => Plan::Ready,
            // What the secret can tell needs no other key.
            Published::At(url) => match self.remote(url) {
                Some(remote) if issuer.secret_for(&token).is_none() || remote.has(now, kid) => {
                    remote.plan(now, kid)
                }
                Some(_) | None => Plan::Ready,
            },
        }
    }

    /// A fetch begins.
    pub fn begin(&mut self, now: Timestamp, errand: &Errand) {
        if let Some(remote) = self.remote_mut(&errand.url) {
            remote.begin(now, errand);
        }
    }

    /// A fetch has brought these keys.
    pub fn succeed(&mut self, now: Timestamp, url: &JwksUrl, set: KeySet) {
        if let Some(remote) = self.remote_mut(url) {
            remote.succeed(now, set);
        }
    }

    /// A fetch has brought nothing.
    pub fn fail(&mut self, now: Timestamp, url: &JwksUrl) -> Failure {
        self.remote_mut(url)
            .map_or(Failure::Again, |remote| remote.fail(now))
    }

    fn remote(&self, url: &JwksUrl) -> Option<&RemoteKeys> {
        self.remote.iter().find(|remote| remote.url() == url)
    }

    fn remote_mut(&mut self, url: &JwksUrl) -> Option<&mut RemoteKeys> {
        self.remote.iter_mut().find(|remote| remote.url() == url)
    }

    // ---- proving ----

    fn prove(&self, now: Timestamp, token: &str) -> Result<Proven<'_>, AuthError> {
        let token = take_apart(token)?;
        let issuer = self.issuer(&token)?;
        let claims = self.key(now, issuer, &token)?.claims(&token)?;
        let expires_at = check_time(now, &claims, self.terms.leeway_s)?;
        Ok(Proven {
            issuer,
            claims,
            expires_at,
        })
    }

    fn issuer(&self, token: &Token<'_>) -> Result<&Issuer, AuthError> {
        let named = issuer_name(token)?;
        let of_name = |name: Option<&str>| self.issuers.iter().find(|known| known.name.as_deref() == name);
        of_name(named.as_deref())
            .or_else(|| of_name(None))
            .ok_or(AuthError::Claim("iss"))
    }

    fn key<'a>(
        &'a self,
        now: Timestamp,
        issuer: &'a Issuer,
        token: &Token<'_>,
    ) -> Result<&'a TokenKey, AuthError> {
        let kid = token.header().key_id.as_deref();
        let found = match &issuer.published {
            Published::Nowhere => issuer.secret.as_ref().ok_or(AuthError::UnknownKey),
            Published::Here(set) => set.find(kid).ok_or(AuthError::UnknownKey),
            Published::At(url) => self
                .remote(url)
                .map_or(Err(AuthError::UnknownKey), |remote| remote.find(now, kid)),
        };
        match (found, issuer.secret_for(token)) {
            (Ok(key), _) if kid.is_some() => Ok(key),
            (_, Some(secret)) => Ok(secret),
            (found, None) => found,
        }
    }
}

impl Issuer {
    /// The secret, when the token may be signed with it. Published keys are never for its algorithm.
    fn secret_for(&self, token: &Token<'_>) -> Option<&TokenKey> {
        let secret = self.secret.as_ref();
        secret.filter(|secret| secret.algorithm() == token.algorithm())
    }
}

/// What a valid token says, and to whom it is held.
struct Proven<'a> {
    issuer: &'a Issuer,
    claims: Claims<CustomClaims>,
    expires_at: Timestamp,
}

fn is_for(claims: &Claims<CustomClaims>, audience: &str) -> bool {
    one_or_many(claims.custom.get("aud")).any(|listed| listed == audience)
}

fn take_apart(token: &str) -> Result<Token<'_>, AuthError> {
    let token = bare_token(token);
    if token.is_empty() {
        return Err(AuthError::Missing);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::TooLong(token.len()));
    }
    token_key::parse(token)
}

/// The `iss` of a token nobody has verified yet.
fn issuer_name(token: &Token<'_>) -> Result<Option<String>, AuthError> {
    #[derive(Deserialize)]
    struct Named {
        iss: Option<Value>,
    }
    let claims = token
        .deserialize_claims_unchecked::<Named>()
        .map_err(|_| AuthError::Malformed)?;
    Ok(match claims.custom.iss {
        Some(Value::String(name)) => Some(name),
        Some(_) | None => None,
    })
}
