//! The private side: keys, and signatures of whatever is asked for.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dormouse_domain::jwk::KeySet;
use dormouse_domain::time::Timestamp;
use dormouse_domain::token_key::{Algorithm, TokenKey};
use dormouse_domain::token_keys::{Issuer, Published, Terms, TokenKeys};
use ed25519_dalek::Signer;
use hmac::{Hmac, Mac};
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};

pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
pub(crate) const NOW_S: i64 = 1_800_000_000;
pub(crate) const LEEWAY_S: i64 = 5;

/// The secret of the issuer without a name.
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// An issuer with keys of every kind.
pub(crate) const ISSUER: &str = "https://id.example";
/// Another one, with one RSA key.
pub(crate) const OTHER: &str = "https://other.example";
pub(crate) const AUDIENCE: &str = "dormouse";
pub(crate) const SERVICES: &str = "dormouse-services";

static KEYS: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("keys.json")).unwrap());

/// Who signs, and how.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// RS256 with the key of this name.
    Rsa(&'a str),
    /// ES256.
    Ec,
    /// `EdDSA`.
    Ed,
    Hs256(&'a [u8]),
    Hs384(&'a [u8]),
    Hs512(&'a [u8]),
    /// These bytes, whatever was to be signed.
    Bytes(&'a [u8]),
}

impl By<'_> {
    fn sign(self, message: &[u8]) -> Vec<u8> {
        match self {
            By::Rsa(name) => {
                let part = |member: &str| BigUint::from_bytes_be(&member_bytes(name, member));
                let primes = vec![part("p"), part("q")];
                let key = RsaPrivateKey::from_components(part("n"), part("e"), part("d"), primes).unwrap();
                key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message))
                    .unwrap()
            }
            By::Ec => {
                let key = p256::ecdsa::SigningKey::from_slice(&member_bytes("ec-1", "d")).unwrap();
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            By::Ed => {
                let seed: [u8; 32] = member_bytes("ed-1", "d").try_into().unwrap();
                let key = ed25519_dalek::SigningKey::from_bytes(&seed);
                key.sign(message).to_bytes().to_vec()
            }
            By::Hs256(secret) => hmac::<Hmac<Sha256>>(secret, message),
            By::Hs384(secret) => hmac::<Hmac<Sha384>>(secret, message),
            By::Hs512(secret) => hmac::<Hmac<Sha512>>(secret, message),
            By::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

fn hmac<M: Mac + hmac::digest::KeyInit>(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = <M as Mac>::new_from_slice(secret).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// A token of exactly these texts.
pub(crate) fn token(header: &str, claims: &[u8], by: By<'_>) -> String {
    let signed = [header.as_bytes(), claims].map(encode).join(".");
    let signature = by.sign(signed.as_bytes());
    format!("{signed}.{}", encode(&signature))
}

/// Claims that are accepted of [`ISSUER`], with these in place of their own; null takes one away.
pub(crate) fn claims(changed: Value) -> Value {
    let mut claims = json!({"sub": "u1", "exp": NOW_S + 60, "iss": ISSUER, "aud": AUDIENCE});
    if let (Value::Object(changed), Some(claims)) = (changed, claims.as_object_mut()) {
        for (name, value) in changed {
            if value.is_null() {
                claims.remove(&name);
            } else {
                claims.insert(name, value);
            }
        }
    }
    claims
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A member of a private key.
pub(crate) fn member(name: &str, member: &str) -> &'static str {
    KEYS[name][member].as_str().unwrap()
}

/// The same, decoded.
pub(crate) fn member_bytes(name: &str, of: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(member(name, of)).unwrap()
}

/// The public half of a key, as a JWK.
pub(crate) fn public(name: &str) -> Value {
    let mut jwk = KEYS[name].clone();
    for private in ["d", "p", "q", "dp", "dq", "qi", "pem"] {
        jwk.as_object_mut().unwrap().remove(private);
    }
    jwk
}

/// A whole key pair, as a JWK.
pub(crate) fn private(name: &str) -> Value {
    KEYS[name].clone()
}

/// The document that publishes these keys.
pub(crate) fn document(names: &[&str]) -> String {
    let keys: Vec<_> = names.iter().map(|name| public(name)).collect();
    json!({ "keys": keys }).to_string()
}

fn issuer(name: &str, keys: &[&str]) -> Issuer {
    Issuer {
        name: Some(name.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
        published: Published::Here(KeySet::parse(&document(keys)).unwrap().into()),
        ..Issuer::default()
    }
}

/// What the tokens of these tests are held against: two issuers with published keys, and a secret for tokens of
/// anybody else.
pub(crate) fn trusted() -> TokenKeys {
    let anybody = Issuer {
        secret: Some(TokenKey::of_secret(Algorithm::Hs256, SECRET)),
        ..Issuer::default()
    };
    let known = named();
    let terms = known.1;
    TokenKeys::new(known.0.into_iter().chain([anybody]).collect(), terms)
}

/// The same without the secret.
pub(crate) fn trusted_by_name() -> TokenKeys {
    let (issuers, terms) = named();
    TokenKeys::new(issuers, terms)
}

fn named() -> (Vec<Issuer>, Terms) {
    let issuers = vec![
        issuer(ISSUER, &["rsa-1", "ec-1", "ed-1"]),
        issuer(OTHER, &["rsa-2"]),
    ];
    let terms = Terms {
        service_audience: Some(SERVICES.to_owned()),
        leeway_s: u64::try_from(LEEWAY_S).unwrap(),
        ttl_ms: 600_000,
    };
    (issuers, terms)
}
