//! One key that tokens are held against, and its algorithm (DESIGN 3.2).
//!
//! The key decides the algorithm, never the token: a token that says another one is refused before its
//! signature is looked at. Nothing here signs; the private halves of asymmetric keys are never read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;

use ed25519_dalek::VerifyingKey as EdDsaKey;
use jwt_compact::alg::{Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key};
use jwt_compact::{
    Algorithm as JwtAlgorithm, AlgorithmExt, AlgorithmSignature, Claims, UntrustedToken, ValidationError,
};
use p256::ecdsa::VerifyingKey as Es256Key;
use p256::ecdsa::signature::Verifier;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use sha2::{Digest, Sha256};

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

/// A key; its variant is its algorithm.
#[derive(Clone, Debug)]
pub enum TokenKey {
    /// HMAC with SHA-256.
    Hs256(Hs256Key),
    /// HMAC with SHA-384.
    Hs384(Hs384Key),
    /// HMAC with SHA-512.
    Hs512(Hs512Key),
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256(RsaPublicKey),
    /// ECDSA on P-256 with SHA-256.
    Es256(Es256Key),
    /// Ed25519.
    EdDsa(EdDsaKey),
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
        match algorithm {
            Algorithm::Hs256 => Self::Hs256(Hs256Key::new(secret)),
            Algorithm::Hs384 => Self::Hs384(Hs384Key::new(secret)),
            Algorithm::Hs512 => Self::Hs512(Hs512Key::new(secret)),
        }
    }

    /// The algorithm's name in a token's header.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Hs384(_) => "HS384",
            Self::Hs512(_) => "HS512",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// What a token says that this key has signed.
    ///
    /// # Errors
    /// [`AuthError::Algorithm`], [`AuthError::Signature`]; [`AuthError::Malformed`] when its claims are no object
    /// of distinct names, or a time in them is no number.
    pub(crate) fn claims(&self, token: &Token<'_>) -> Result<Claims<CustomClaims>, AuthError> {
        match self {
            Self::Hs256(key) => claims(&Hs256, key, token),
            Self::Hs384(key) => claims(&Hs384, key, token),
            Self::Hs512(key) => claims(&Hs512, key, token),
            Self::Rs256(key) => claims(&Rs256, key, token),
            Self::Es256(key) => claims(&Es256, key, token),
            Self::EdDsa(key) => claims(&EdDsa, key, token),
        }
    }
}

fn claims<A>(
    algorithm: &A,
    key: &A::VerifyingKey,
    token: &Token<'_>,
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

// The algorithms of `jwt-compact` for these keys can sign as well, and bring a source of randomness for it that
// a Worker does not have. The ones below can't: nobody has a value of their signing key.

#[derive(Debug)]
struct Rs256;

#[derive(Debug)]
struct RsaSignature(Vec<u8>);

impl AlgorithmSignature for RsaSignature {
    fn try_from_slice(slice: &[u8]) -> anyhow::Result<Self> {
        Ok(Self(slice.to_vec()))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0)
    }
}

impl JwtAlgorithm for Rs256 {
    type SigningKey = Infallible;
    type VerifyingKey = RsaPublicKey;
    type Signature = RsaSignature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("RS256")
    }

    fn sign(&self, key: &Infallible, _message: &[u8]) -> RsaSignature {
        match *key {}
    }

    fn verify_signature(&self, signature: &RsaSignature, key: &RsaPublicKey, message: &[u8]) -> bool {
        let digest = Sha256::digest(message);
        key.verify(Pkcs1v15Sign::new::<Sha256>(), &digest, &signature.0)
            .is_ok()
    }
}

#[derive(Debug)]
struct Es256;

#[derive(Debug)]
struct EcdsaSignature(p256::ecdsa::Signature);

impl AlgorithmSignature for EcdsaSignature {
    const LENGTH: Option<NonZeroUsize> = NonZeroUsize::new(64);

    fn try_from_slice(slice: &[u8]) -> anyhow::Result<Self> {
        let signature = p256::ecdsa::Signature::from_slice(slice);
        signature.map(Self).map_err(|error| anyhow::anyhow!(error))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.to_bytes().to_vec())
    }
}

impl JwtAlgorithm for Es256 {
    type SigningKey = Infallible;
    type VerifyingKey = Es256Key;
    type Signature = EcdsaSignature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("ES256")
    }

    fn sign(&self, key: &Infallible, _message: &[u8]) -> EcdsaSignature {
        match *key {}
    }

    fn verify_signature(&self, signature: &EcdsaSignature, key: &Es256Key, message: &[u8]) -> bool {
        key.verify(message, &signature.0).is_ok()
    }
}

#[derive(Debug)]
struct EdDsa;

#[derive(Debug)]
struct EdDsaSignature(ed25519_dalek::Signature);

impl AlgorithmSignature for EdDsaSignature {
    const LENGTH: Option<NonZeroUsize> = NonZeroUsize::new(64);

    fn try_from_slice(slice: &[u8]) -> anyhow::Result<Self> {
        let signature = ed25519_dalek::Signature::from_slice(slice);
        signature.map(Self).map_err(|error| anyhow::anyhow!(error))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.to_bytes().to_vec())
    }
}

impl JwtAlgorithm for EdDsa {
    type SigningKey = Infallible;
    type VerifyingKey = EdDsaKey;
    type Signature = EdDsaSignature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("EdDSA")
    }

    fn sign(&self, key: &Infallible, _message: &[u8]) -> EdDsaSignature {
        match *key {}
    }

    /// Strictly: a signature that other verifiers might take differently is refused.
    fn verify_signature(&self, signature: &EdDsaSignature, key: &EdDsaKey, message: &[u8]) -> bool {
        key.verify_strict(message, &signature.0).is_ok()
    }
}
