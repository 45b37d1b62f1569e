//! Published keys: JSON Web Key Sets (RFC 7517, 7518, 8037).
//!
//! A set may hold keys for other purposes than ours; they are passed over. Whatever else is wrong makes the
//! whole set unusable: a set that is half read is a key rotation that half happened.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::EncodedPoint;
use rsa::{BigUint, RsaPublicKey};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::token_key::TokenKey;

/// The longest document, in bytes. Longer ones are refused before they are read.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Most keys in one set, those for other purposes included.
pub const MAX_KEYS: usize = 100;

/// The size of an RSA modulus, in bits. RFC 7518 asks for the least; the most bounds what one token costs.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;

/// The keys of one issuer, each known by its `kid`. At most one has none; there is at least one key.
#[derive(Clone, Debug)]
pub struct KeySet(Vec<Published>);

#[derive(Clone, Debug)]
struct Published {
    kid: Option<String>,
    key: TokenKey,
}

/// Which key of a set: its `kid`, or else its place, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this name.
    Kid(String),
    /// The one at this place.
    Place(usize),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kid(kid) => write!(f, "key {kid:?}"),
            Self::Place(place) => write!(f, "key number {place}"),
        }
    }
}

/// Why a document is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Longer than [`MAX_DOCUMENT_BYTES`]; holds the length.
    #[error("the document has {0} bytes, at most {MAX_DOCUMENT_BYTES} are read")]
    TooLong(usize),
    /// Not the JSON it has to be; says where.
    #[error("expected a JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    /// More than [`MAX_KEYS`]; holds the number.
    #[error("there are {0} keys, at most {MAX_KEYS} are read")]
    TooMany(usize),
    /// A secret does not belong into a set of public keys.
    #[error("{0} is symmetric")]
    Symmetric(Which),
    /// A private key was published: it is everybody's now.
    #[error("{0} has private members")]
    Private(Which),
    /// A member that its type needs is missing or of the wrong form.
    #[error("{0}: the member {1} is missing or malformed")]
    Member(Which, &'static str),
    /// An RSA modulus of another size than 2,048 to 4,096 bits; holds its size.
    #[error("{0}: the modulus has {1} bits, expected 2048 to 4096")]
    Modulus(Which, usize),
    /// The members are well formed and make no key.
    #[error("{0} is no valid public key")]
    Invalid(Which),
    /// Two keys have this `kid`, or two have none.
    #[error("{} is used twice", .0.as_ref().map_or("no kid".to_owned(), |kid| format!("the kid {kid:?}")))]
    DuplicateKid(Option<String>),
    /// None of the keys is for RS256, ES256 or EdDSA.
    #[error("there is no key for RS256, ES256 or EdDSA")]
    NoKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

/// A key as it is published. Members nobody here needs are passed over.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
    #[serde(rename = "priv")]
    private: Option<IgnoredAny>,
}

/// The kinds of keys that are read.
#[derive(Clone, Copy)]
enum Kind {
    Rsa,
    P256,
    Ed25519,
}

impl KeySet {
    /// Reads a JSON Web Key Set.
    ///
    /// ```
    /// # use dormouse_domain::jwk::KeySet;
    /// let set = KeySet::parse(
    ///     r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    /// )?;
    /// assert!(set.has("a"));
    /// # Ok::<(), dormouse_domain::jwk::JwksError>(())
    /// ```
    ///
    /// # Errors
    /// [`JwksError`].
    pub fn parse(document: &str) -> Result<Self, JwksError> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(JwksError::TooLong(document.len()));
        }
        let Document { keys } = serde_json::from_str(document)?;
        if keys.len() > MAX_KEYS {
            return Err(JwksError::TooMany(keys.len()));
        }
        let mut published: Vec<Published> = Vec::new();
        for (place, jwk) in keys.into_iter().enumerate() {
            let which = jwk.kid.clone().map_or(Which::Place(place), Which::Kid);
            let Some(key) = jwk.read(&which)? else {
                continue;
            };
            if published.iter().any(|other| other.kid == jwk.kid) {
                return Err(JwksError::DuplicateKid(jwk.kid));
            }
            published.push(Published { kid: jwk.kid, key });
        }
        if published.is_empty() {
            return Err(JwksError::NoKey);
        }
        Ok(Self(published))
    }

    /// Whether one of the keys has this `kid`.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.find(Some(kid)).is_some()
    }

    /// The key of this `kid`, or the one that has none.
    pub(crate) fn find(&self, kid: Option<&str>) -> Option<&TokenKey> {
        let found = self.0.iter().find(|published| published.kid.as_deref() == kid);
        found.map(|published| &published.key)
    }
}

impl Jwk {
    /// The key; `None` when it is for something else.
    fn read(&self, which: &Which) -> Result<Option<TokenKey>, JwksError> {
        if self.kty == "oct" {
            return Err(JwksError::Symmetric(which.clone()));
        }
        if self.is_private() {
            return Err(JwksError::Private(which.clone()));
        }
        let Some(kind) = self.kind().filter(|kind| self.may_verify(*kind)) else {
            return Ok(None);
        };
        let invalid = || JwksError::Invalid(which.clone());
        let key = match kind {
            Kind::Rsa => {
                let modulus = BigUint::from_bytes_be(&bytes(which, "n", self.n.as_deref())?);
                let exponent = BigUint::from_bytes_be(&bytes(which, "e", self.e.as_deref())?);
                if !RSA_BITS.contains(&modulus.bits()) {
                    return Err(JwksError::Modulus(which.clone(), modulus.bits()));
                }
                let key = RsaPublicKey::new(modulus, exponent).map_err(|_| invalid())?;
                TokenKey::Rsa(key)
            }
            Kind::P256 => {
                let x = coordinate(which, "x", self.x.as_deref())?;
                let y = coordinate(which, "y", self.y.as_deref())?;
                let point = EncodedPoint::from_affine_coordinates(&x.into(), &y.into(), false);
                let key = p256::ecdsa::VerifyingKey::from_encoded_point(&point);
                TokenKey::P256(key.map_err(|_| invalid())?)
            }
            Kind::Ed25519 => {
                let x = coordinate(which, "x", self.x.as_deref())?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&x).map_err(|_| invalid())?;
                if key.is_weak() {
                    return Err(invalid());
                }
                TokenKey::Ed25519(key)
            }
        };
        Ok(Some(key))
    }

    fn is_private(&self) -> bool {
        [
            self.d,
            self.p,
            self.q,
            self.dp,
            self.dq,
            self.qi,
            self.oth,
            self.k,
            self.private,
        ]
        .iter()
        .any(Option::is_some)
    }

    fn kind(&self) -> Option<Kind> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Some(Kind::Rsa),
            ("EC", Some("P-256")) => Some(Kind::P256),
            ("OKP", Some("Ed25519")) => Some(Kind::Ed25519),
            _ => None,
        }
    }

    /// Whether it is meant for signatures of the one algorithm that there is for its kind.
    fn may_verify(&self, kind: Kind) -> bool {
        let algorithm = match kind {
            Kind::Rsa => "RS256",
            Kind::P256 => "ES256",
            Kind::Ed25519 => "EdDSA",
        };
        let operations = self.key_ops.as_deref();
        self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && operations.is_none_or(|listed| listed.iter().any(|operation| operation == "verify"))
            && self.alg.as_deref().is_none_or(|alg| alg == algorithm)
    }
}

fn bytes(which: &Which, member: &'static str, text: Option<&str>) -> Result<Vec<u8>, JwksError> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or_else(|| JwksError::Member(which.clone(), member))
}

fn coordinate(which: &Which, member: &'static str, text: Option<&str>) -> Result<[u8; 32], JwksError> {
    bytes(which, member, text)?
        .try_into()
        .map_err(|_| JwksError::Member(which.clone(), member))
}
