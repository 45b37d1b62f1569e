//! What is accepted: the very tokens the forged ones are made of, and those of the standards.

use dormouse_domain::auth::AuthError;
use dormouse_domain::jwk::KeySet;
use dormouse_domain::time::Timestamp;
use dormouse_domain::token_key::{Algorithm, TokenKey};
use dormouse_domain::token_keys::{Issuer, Published, Terms, TokenKeys};
use serde_json::{Value, json};

use crate::keys::{By, NOW, NOW_S, OTHER, SECRET, claims, public, token, trusted};

#[test]
fn a_token_of_each_key_is_accepted() {
    let check = |header: &str, changed: Value, by: By<'_>| {
        let token = token(header, claims(changed).to_string().as_bytes(), by);
        let found = trusted().verify(NOW, &token);
        assert_eq!(
            found.map(|identity| identity.user.to_string()).as_deref(),
            Ok("u1"),
            "{header}"
        );
    };
    check(r#"{"alg":"RS256","kid":"rsa-1"}"#, json!({}), By::Rsa("rsa-1"));
    check(r#"{"alg":"ES256","kid":"ec-1","typ":"JWT"}"#, json!({}), By::Ec);
    check(
        r#"{"alg":"EdDSA","kid":"ed-1","typ":"at+jwt"}"#,
        json!({}),
        By::Ed,
    );
    check(
        r#"{"alg":"RS256","kid":"rsa-2"}"#,
        json!({"iss": OTHER, "aud": ["x", "dormouse"]}),
        By::Rsa("rsa-2"),
    );
    for iss in [Value::Null, json!("https://nobody.example"), json!(7)] {
        check(
            r#"{"alg":"HS256"}"#,
            json!({"iss": iss, "aud": null}),
            By::Hs256(SECRET),
        );
        check(
            r#"{"alg":"HS256","kid":"rsa-1"}"#,
            json!({"iss": iss}),
            By::Hs256(SECRET),
        );
    }
    check(
        r#"{"alg":"RS256","kid":"rsa-1"}"#,
        json!({"exp": NOW_S - 5, "nbf": NOW_S + 5}),
        By::Rsa("rsa-1"),
    );
}

/// Tokens without `kid` beside keys of which one has none.
#[test]
fn the_key_without_a_kid_is_for_tokens_without_one() {
    let mut unnamed = public("ec-1");
    unnamed.as_object_mut().unwrap().remove("kid");
    let set = json!({"keys": [public("rsa-1"), unnamed]}).to_string();
    let issuer = Issuer {
        secret: Some(TokenKey::of_secret(Algorithm::Hs256, SECRET)),
        published: Published::Here(KeySet::parse(&set).unwrap().into()),
        ..Issuer::default()
    };
    let keys = TokenKeys::new(vec![issuer], Terms::default());
    let check = |header: &str, by: By<'_>, expected: Result<(), AuthError>| {
        let token = token(header, claims(json!({})).to_string().as_bytes(), by);
        assert_eq!(keys.verify(NOW, &token).map(|_| ()), expected, "{header}");
    };
    check(r#"{"alg":"ES256"}"#, By::Ec, Ok(()));
    check(r#"{"alg":"HS256"}"#, By::Hs256(SECRET), Ok(()));
    // Sets that are rotated in beside a secret must not end the tokens of it.
    check(r#"{"alg":"HS256","kid":"old"}"#, By::Hs256(SECRET), Ok(()));
    check(r#"{"alg":"RS256","kid":"rsa-1"}"#, By::Rsa("rsa-1"), Ok(()));
    check(r#"{"alg":"RS256"}"#, By::Rsa("rsa-1"), Err(AuthError::Algorithm));
    check(
        r#"{"alg":"ES256","kid":"ec-1"}"#,
        By::Ec,
        Err(AuthError::UnknownKey),
    );
    check(
        r#"{"alg":"HS256","kid":"rsa-1"}"#,
        By::Hs256(SECRET),
        Err(AuthError::Algorithm),
    );
}

/// RFC 7515, A.2 and A.3.
#[test]
fn the_tokens_of_rfc_7515_are_accepted() {
    let claims =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let check = |header: &str, signature: &str, jwk: Value| {
        let issuer = Issuer {
            user_claim: Some("iss".to_owned()),
            published: Published::Here(KeySet::parse(&json!({"keys": [jwk]}).to_string()).unwrap().into()),
            ..Issuer::default()
        };
        let keys = TokenKeys::new(vec![issuer], Terms::default());
        let at = Timestamp::from_ms(1_300_819_379_000);
        let token = format!("{header}.{claims}.{signature}");
        assert_eq!(keys.verify(at, &token).unwrap().user.as_str(), "joe");
        let later = at.after_ms(2_000);
        assert_eq!(keys.verify(later, &token), Err(AuthError::Expired));
    };
    check(
        "eyJhbGciOiJSUzI1NiJ9",
        concat!(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb",
            "F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383",
            "LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy",
            "wlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        json!({"kty": "RSA", "e": "AQAB", "n": concat!(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SF",
            "d2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo",
            "7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkM",
            "Ls91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        )}),
    );
    check(
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
    );
}
