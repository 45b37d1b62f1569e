//! Key sets as they are published, and as they should not be.

use dormouse_domain::jwk::{JwksError, KeySet, MAX_DOCUMENT_BYTES, MAX_KEYS};
use dormouse_domain::token_keys::{Issuer, Published, Terms, TokenKeys};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::keys::{By, NOW, claims, document, encode, member_bytes, private, public, token};

fn with(name: &str, changed: &Value) -> Value {
    let mut jwk = public(name);
    for (member, value) in changed.as_object().unwrap() {
        if value.is_null() {
            jwk.as_object_mut().unwrap().remove(member);
        } else {
            jwk[member] = value.clone();
        }
    }
    jwk
}

fn parse(keys: &[Value]) -> Result<KeySet, JwksError> {
    KeySet::parse(&json!({ "keys": keys }).to_string())
}

/// Which of the keys `rsa-1`, `ec-1` and `ed-1` a set has.
fn kids(set: &KeySet) -> Vec<&'static str> {
    let mut kids = vec!["rsa-1", "ec-1", "ed-1"];
    kids.retain(|kid| set.has(kid));
    kids
}

#[test]
fn keys_for_other_purposes_are_passed_over() {
    let check = |jwk: Value, expected: &[&str]| {
        let set = parse(&[jwk.clone(), public("ed-1")]).unwrap();
        assert_eq!(kids(&set), expected, "{jwk}");
    };
    let both = ["rsa-1", "ed-1"].as_slice();
    let other = ["ed-1"].as_slice();
    check(with("rsa-1", &json!({})), both);
    check(
        with(
            "rsa-1",
            &json!({"use": "sig", "alg": "RS256", "x5c": ["MIIB"], "x5t": "a"}),
        ),
        both,
    );
    check(with("rsa-1", &json!({"key_ops": ["verify"], "ext": true})), both);
    check(with("rsa-1", &json!({"use": "enc"})), other);
    check(with("rsa-1", &json!({"use": "SIG"})), other);
    check(with("rsa-1", &json!({"key_ops": []})), other);
    check(with("rsa-1", &json!({"key_ops": ["wrapKey", "sign"]})), other);
    check(with("rsa-1", &json!({"alg": "RSA-OAEP"})), other);
    check(with("rsa-1", &json!({"alg": "RS512"})), other);
    check(with("rsa-1", &json!({"alg": "HS256"})), other);
    check(with("rsa-1", &json!({"alg": "none"})), other);
    check(with("rsa-1", &json!({"kty": "rsa"})), other);
    check(json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}), other);
    check(json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}), other);
    check(json!({"kty": "OKP", "crv": "X25519", "x": "AA"}), other);
    check(with("ec-1", &json!({"alg": "ES384"})), other);
}

#[test]
fn a_wrong_key_makes_the_whole_set_unusable() {
    let check = |jwk: Value, expected: &str| {
        let error = parse(&[public("ed-1"), jwk.clone()])
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert_eq!(error, expected, "{jwk}");
    };
    for name in ["rsa-1", "ec-1"] {
        check(private(name), &format!("key {name:?} has private members"));
    }
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        let jwk = with("rsa-2", &json!({"use": "enc", "kid": null, member: "AA"}));
        check(jwk, "key number 1 has private members");
    }
    check(
        json!({"kty": "oct", "k": "AA", "kid": "s"}),
        r#"key "s" is symmetric"#,
    );
    check(json!({"kty": "oct"}), "key number 1 is symmetric");
    let rsa = |changed: Value| with("rsa-1", &changed);
    check(
        rsa(json!({"n": null})),
        r#"key "rsa-1": the member n is missing or malformed"#,
    );
    check(
        rsa(json!({"n": "="})),
        r#"key "rsa-1": the member n is missing or malformed"#,
    );
    check(
        rsa(json!({"e": "A+/"})),
        r#"key "rsa-1": the member e is missing or malformed"#,
    );
    for bits in [0, 8, 1_024, 2_040, 4_104, 16_384] {
        let mut modulus = vec![0xff; bits / 8];
        modulus.insert(0, 0);
        check(
            rsa(json!({"n": encode(&modulus)})),
            &format!(r#"key "rsa-1": the modulus has {bits} bits, expected 2048 to 4096"#),
        );
    }
    let mut even = member_bytes("rsa-1", "n");
    if let Some(last) = even.last_mut() {
        *last &= 0xfe;
    }
    check(
        rsa(json!({"n": encode(&even)})),
        r#"key "rsa-1" is no valid public key"#,
    );
    for exponent in [
        vec![],
        vec![0],
        vec![1],
        vec![2],
        vec![1, 0, 0],
        vec![0xff; 5],
        vec![0xff; 256],
    ] {
        check(
            rsa(json!({"e": encode(&exponent)})),
            r#"key "rsa-1" is no valid public key"#,
        );
    }
    let ec = |changed: Value| with("ec-1", &changed);
    check(
        ec(json!({"y": null})),
        r#"key "ec-1": the member y is missing or malformed"#,
    );
    check(
        ec(json!({"x": "AA"})),
        r#"key "ec-1": the member x is missing or malformed"#,
    );
    check(
        ec(json!({"x": encode(&[0; 32])})),
        r#"key "ec-1" is no valid public key"#,
    );
    check(
        ec(json!({"x": encode(&[0; 32]), "y": encode(&[0; 32])})),
        r#"key "ec-1" is no valid public key"#,
    );
    let ed = |x: &[u8]| json!({"kty": "OKP", "crv": "Ed25519", "x": encode(x), "kid": "x"});
    check(ed(&[0; 31]), r#"key "x": the member x is missing or malformed"#);
    // The neutral element and another point of small order: under them one signature fits every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    check(ed(&neutral), r#"key "x" is no valid public key"#);
    check(ed(&[0; 32]), r#"key "x" is no valid public key"#);
    check(public("ed-1"), r#"the kid "ed-1" is used twice"#);
    check(
        with("rsa-1", &json!({"kid": "ed-1"})),
        r#"the kid "ed-1" is used twice"#,
    );
}

#[test]
fn a_document_is_a_set_with_a_usable_key() {
    let check = |document: &str, expected: &str| {
        let error = KeySet::parse(document).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{document:.60}: {error}");
    };
    let wrong = "expected a JSON Web Key Set: ";
    for document in [
        "",
        "null",
        "[]",
        "{}",
        "<html>",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[{}]}"#,
        r#"{"keys":[{"kty":1}]}"#,
        r#"{"keys":[{"kty":"RSA","kty":"RSA"}]}"#,
        r#"{"keys":[{"kty":"RSA","kid":1}]}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        check(document, wrong);
    }
    check(r#"{"keys":[]}"#, "there is no key");
    check(r#"{"keys":[{"kty":"AKP"}]}"#, "there is no key");
    check(
        &" ".repeat(MAX_DOCUMENT_BYTES + 1),
        "the document has 65537 bytes",
    );
    let unknown = vec![json!({"kty": "x"}); MAX_KEYS];
    let full = [unknown, vec![public("ed-1")]].concat();
    assert!(parse(&full[1..]).is_ok());
    check(&json!({ "keys": full }).to_string(), "there are 101 keys");
    let unnamed = with("ed-1", &json!({"kid": null}));
    assert!(parse(&[unnamed.clone(), public("ed-1")]).is_ok());
    check(
        &json!({"keys": [unnamed, with("ec-1", &json!({"kid": null}))]}).to_string(),
        "no kid is used twice",
    );
}

/// Anything that looks like a member of a key, and things that do not.
fn member_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..600).prop_map(|bytes| Value::from(encode(&bytes))),
        proptest::sample::select(vec![
            "RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "sig", "enc", "RS256", "ES256", "EdDSA", "rsa-1",
        ])
        .prop_map(Value::from),
        Just(json!(["verify"])),
    ]
}

fn jwk() -> impl Strategy<Value = Value> {
    let members = vec![
        "kty", "kid", "use", "key_ops", "alg", "crv", "n", "e", "x", "y", "d", "k", "x5c",
    ];
    let changes = proptest::collection::vec((proptest::sample::select(members), member_value()), 0..3);
    let start = proptest::sample::select(vec!["rsa-1", "rsa-2", "ec-1", "ed-1"]);
    (start, changes).prop_map(|(name, changes)| {
        let mut jwk = public(name);
        for (member, value) in changes {
            jwk[member] = value;
        }
        jwk
    })
}

proptest! {
    #[test]
    fn no_text_makes_a_set_panic(document in any::<String>()) {
        let _ = KeySet::parse(&document);
    }

    /// What is accepted can be asked for, holds no secret and verifies nothing that it did not sign.
    #[test]
    fn a_changed_set_is_refused_or_can_be_used(keys in proptest::collection::vec(jwk(), 0..5)) {
        let Ok(set) = parse(&keys) else {
            return Ok(());
        };
        prop_assert!(keys.iter().all(|jwk| jwk["kty"] != "oct"));
        prop_assert!(keys.iter().all(|jwk| jwk["d"].is_null() && jwk["k"].is_null()));
        let issuer = Issuer { published: Published::Here(set.into()), ..Issuer::default() };
        let trusted = TokenKeys::new(vec![issuer], Terms::default());
        let claims = claims(json!({})).to_string();
        for jwk in &keys {
            for alg in ["RS256", "ES256", "EdDSA"] {
                let header = json!({"alg": alg, "kid": jwk["kid"]}).to_string();
                let forged = token(&header, claims.as_bytes(), By::Bytes(&[1; 64]));
                prop_assert!(trusted.verify(NOW, &forged).is_err());
            }
        }
    }

    /// A document cut off anywhere is none.
    #[test]
    fn a_truncated_document_is_refused(cut in 0_usize..1_000) {
        let document = document(&["rsa-1", "ec-1", "ed-1"]);
        let end = cut.min(document.len() - 1);
        prop_assert!(KeySet::parse(document.get(..end).unwrap()).is_err());
    }

    #[test]
    fn no_token_makes_the_keys_panic(token in any::<String>(), parts in proptest::array::uniform3(".{0,60}")) {
        let trusted = crate::keys::trusted();
        let made = parts.map(|part| encode(part.as_bytes())).join(".");
        for token in [token, made] {
            prop_assert!(trusted.verify(NOW, &token).is_err());
            prop_assert!(trusted.verify_service(NOW, &token).is_err());
        }
    }
}
