//! One key that tokens are held against, and its algorithm (DESIGN 3.2).
//!
//! The key decides the algorithm, never the token: a token that says another one is refused before its
//! signature is looked at. Nothing here signs; the private halves of asymmetric keys are never read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;

use ed25519_dalek::VerifyingKey as Ed25519Key;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use jwt_compact::{
    Algorithm as JwtAlgorithm, AlgorithmExt, AlgorithmSignature, Claims, UntrustedToken, ValidationError,
};
use p256::ecdsa::VerifyingKey as P256Key;
use p256::ecdsa::signature::Verifier;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::auth::AuthError;

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

/// A shared secret; it does not show itself.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key; each has one algorithm.
#[derive(Clone, Debug)]
pub enum TokenKey {
    /// A shared secret, for this algorithm.
    Secret(Algorithm, Secret),
    /// For RSASSA-PKCS1-v1_5 with SHA-256.
    Rsa(RsaPublicKey),
    /// For ECDSA with SHA-256.
    P256(P256Key),
    /// For Ed25519.
    Ed25519(Ed25519Key),
}

/// A token as it came, before anything of it is believed.
pub(crate) type Token<'a> = UntrustedToken<'a, Extensions>;

/// What a token's header may ask for that this service does not have.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Extensions {
    crit: Option<IgnoredAny>,
}

/// Claims by name. A name given twice makes them unreadable: two readers could disagree about which counts.
#[derive(Debug)]
pub(crate) struct CustomClaims(BTreeMap<String, Value>);

impl CustomClaims {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl<'de> Deserialize<'de> for CustomClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = CustomClaims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<CustomClaims, A::Error> {
                let mut claims = BTreeMap::new();
                while let Some((name, value)) = members.next_entry()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim is given twice"));
                    }
                }
                Ok(CustomClaims(claims))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Takes a token apart.
///
/// # Errors
/// [`AuthError::Malformed`]; [`AuthError::Critical`] when it may only be read by those who know some extension.
pub(crate) fn parse(token: &str) -> Result<Token<'_>, AuthError> {
    let token = Token::try_from(token).map_err(|_| AuthError::Malformed)?;
    match token.header().other_fields.crit {
        Some(_) => Err(AuthError::Critical),
        None => Ok(token),
    }
}

impl TokenKey {
    /// A key of `secret` for `algorithm`.
    #[must_use]
    pub fn of_secret(algorithm: Algorithm, secret: &[u8]) -> Self {
        Self::Secret(algorithm, Secret(secret.to_vec()))
    }

    /// The algorithm's name in a token's header.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(Algorithm::Hs256, _) => "HS256",
            Self::Secret(Algorithm::Hs384, _) => "HS384",
            Self::Secret(Algorithm::Hs512, _) => "HS512",
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// What a token says that this key has signed.
    ///
    /// # Errors
    /// [`AuthError::Algorithm`], [`AuthError::Signature`]; [`AuthError::Malformed`] when its claims are no object
    /// of distinct names, or a time in them is no number.
    pub(crate) fn claims(&self, token: &Token<'_>) -> Result<Claims<CustomClaims>, AuthError> {
        let verified = AlgorithmOf(self).validator(self).validate(token);
        verified.map(|token| token.into_parts().1).map_err(|error| {
            if matches!(error, ValidationError::AlgorithmMismatch { .. }) {
                AuthError::Algorithm
            } else if matches!(error, ValidationError::InvalidSignature) {
                AuthError::Signature
            } else {
                AuthError::Malformed
            }
        })
    }

    /// Whether `signature` is this key's of `message`.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(Algorithm::Hs256, secret) => secret.verify::<Hmac<Sha256>>(message, signature),
            Self::Secret(Algorithm::Hs384, secret) => secret.verify::<Hmac<Sha384>>(message, signature),
            Self::Secret(Algorithm::Hs512, secret) => secret.verify::<Hmac<Sha512>>(message, signature),
            Self::Rsa(key) => {
                let digest = Sha256::digest(message);
                key.verify(Pkcs1v15Sign::new::<Sha256>(), &digest, signature)
                    .is_ok()
            }
            Self::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            // Strictly: what other verifiers might take differently is refused.
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }
}

impl Secret {
    /// The time it takes says nothing about the right signature.
    fn verify<M: Mac + KeyInit>(&self, message: &[u8], signature: &[u8]) -> bool {
        <M as Mac>::new_from_slice(&self.0)
            .is_ok_and(|mac| mac.chain_update(message).verify_slice(signature).is_ok())
    }
}

/// The one algorithm of a key. `jwt-compact` has algorithms of its own for these keys; they can sign as well,
/// for which they bring a source of randomness that a Worker does not have.
#[derive(Debug)]
struct AlgorithmOf<'a>(&'a TokenKey);

/// The bytes of a signature, whatever they are.
#[derive(Debug)]
struct Signature(Vec<u8>);

impl AlgorithmSignature for Signature {
    fn try_from_slice(slice: &[u8]) -> anyhow::Result<Self> {
        Ok(Self(slice.to_vec()))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0)
    }
}

impl JwtAlgorithm for AlgorithmOf<'_> {
    /// Nobody has one.
    type SigningKey = Infallible;
    type VerifyingKey = TokenKey;
    type Signature = Signature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.0.algorithm())
    }

    fn sign(&self, key: &Infallible, _message: &[u8]) -> Signature {
        match *key {}
    }

    fn verify_signature(&self, signature: &Signature, key: &TokenKey, message: &[u8]) -> bool {
        key.verify(message, &signature.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    /// RFC 8037, A.4. What is signed there are no claims, so only the key itself can tell.
    #[test]
    fn the_signature_of_rfc_8037_is_right_and_no_other() {
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let x = decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let key = TokenKey::Ed25519(Ed25519Key::from_bytes(&x.try_into().unwrap()).unwrap());
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature =
            decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
        assert!(key.verify(message, &signature));
        for i in 0..signature.len() {
            let mut wrong = signature.clone();
            wrong[i] ^= 1;
            assert!(!key.verify(message, &wrong), "{i}");
        }
        assert!(!key.verify(&message[1..], &signature));
        assert!(!key.verify(message, &signature[1..]));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let key = TokenKey::of_secret(Algorithm::Hs256, b"secret");
        assert_eq!(format!("{key:?}"), "Secret(Hs256, Secret)");
    }
}
