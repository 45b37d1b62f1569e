//! Forged tokens, each refused for its own reason. What each is made of is accepted ([`crate::genuine`]); what
//! is signed "rightly" here is signed by an issuer that is trusted, or by somebody who got hold of its key.

use dormouse_domain::auth::{AuthError, MAX_TOKEN_BYTES};
use serde_json::{Value, json};

use crate::keys::{
    By, ISSUER, LEEWAY_S, NOW, NOW_S, OTHER, SECRET, SERVICES, claims, document, encode, member,
    member_bytes, public, token, trusted, trusted_by_name,
};

const RS256: &str = r#"{"alg":"RS256","kid":"rsa-1"}"#;
const ES256: &str = r#"{"alg":"ES256","kid":"ec-1"}"#;
const EDDSA: &str = r#"{"alg":"EdDSA","kid":"ed-1"}"#;
const RSA: By<'_> = By::Rsa("rsa-1");

/// A row of a table: what it is, the token, why it is refused.
type Row = (String, String, AuthError);

fn row(what: impl Into<String>, token: String, refusal: AuthError) -> Row {
    (what.into(), token, refusal)
}

/// With claims that are accepted but for these.
fn with(header: &str, changed: Value, by: By<'_>) -> String {
    token(header, claims(changed).to_string().as_bytes(), by)
}

/// With claims that are accepted.
fn good(header: &str, by: By<'_>) -> String {
    with(header, json!({}), by)
}

/// With exactly these claims, signed rightly.
fn of(claims: impl AsRef<[u8]>) -> String {
    token(RS256, claims.as_ref(), RSA)
}

/// No row's token is accepted, neither of a user nor of a service, and each is refused as it says.
fn check(rows: &[Row]) {
    let keys = trusted();
    for (what, token, refusal) in rows {
        assert_eq!(keys.verify(NOW, token).as_ref(), Err(refusal), "{what}");
        assert!(keys.verify_service(NOW, token).is_err(), "{what}");
        let code = if *refusal == AuthError::Missing {
            "MISSING_TOKEN"
        } else if *refusal == AuthError::Expired {
            "EXPIRED_TOKEN"
        } else {
            "INVALID_TOKEN"
        };
        assert_eq!(refusal.code(), code, "{what}");
    }
}

#[test]
fn there_is_no_unsigned_token() {
    let mut rows: Vec<_> = ["none", "None", "NONE", "nOnE", "", " none", "none\\u0000"]
        .iter()
        .flat_map(|alg| {
            let named = format!(r#"{{"alg":"{alg}","kid":"rsa-1"}}"#);
            let unnamed = format!(r#"{{"alg":"{alg}"}}"#);
            [
                row(
                    format!("{alg:?}"),
                    good(&named, By::Bytes(b"")),
                    AuthError::Algorithm,
                ),
                row(
                    format!("{alg:?} of nobody's key"),
                    good(&unnamed, By::Bytes(b"")),
                    AuthError::UnknownKey,
                ),
                row(
                    format!("{alg:?} of nobody"),
                    with(&unnamed, json!({"iss": null}), By::Bytes(b"")),
                    AuthError::Algorithm,
                ),
                row(
                    format!("{alg:?} with a signature"),
                    good(&named, RSA),
                    AuthError::Algorithm,
                ),
            ]
        })
        .collect();
    for header in [
        r#"{"kid":"rsa-1"}"#,
        r#"{"alg":null,"kid":"rsa-1"}"#,
        r#"{"alg":256,"kid":"rsa-1"}"#,
        r#"{"alg":["RS256"],"kid":"rsa-1"}"#,
        r#"{"alg":{"RS256":true},"kid":"rsa-1"}"#,
        r#"{"ALG":"RS256","kid":"rsa-1"}"#,
        r#"{"alg":"none","alg":"RS256","kid":"rsa-1"}"#,
        r#"{"alg":"RS256","\u0061lg":"none","kid":"rsa-1"}"#,
        r#"{"аlg":"RS256","kid":"rsa-1"}"#,
    ] {
        rows.push(row(header, good(header, RSA), AuthError::Malformed));
    }
    for header in [RS256, ES256, EDDSA] {
        rows.push(row(header, good(header, By::Bytes(b"")), AuthError::Signature));
    }
    check(&rows);
}

/// A public key is public: as a secret it signs nothing.
#[test]
fn a_public_key_is_no_secret() {
    let pem = member("rsa-1", "pem").as_bytes();
    let jwk = public("rsa-1").to_string();
    let modulus = member_bytes("rsa-1", "n");
    let jwks = document(&["rsa-1", "ec-1", "ed-1"]);
    let ec = [member_bytes("ec-1", "x"), member_bytes("ec-1", "y")].concat();
    let ed = member_bytes("ed-1", "x");
    let secrets: [(&str, &[u8]); 9] = [
        ("the PEM", pem),
        ("the PEM without its last line break", pem.trim_ascii_end()),
        ("the modulus", &modulus),
        ("the modulus as text", member("rsa-1", "n").as_bytes()),
        ("the JWK", jwk.as_bytes()),
        ("the key set", jwks.as_bytes()),
        ("the point", &ec),
        ("the Edwards point", &ed),
        ("nothing", b""),
    ];
    let mut rows = Vec::new();
    for (what, secret) in secrets {
        for kid in ["rsa-1", "ec-1", "ed-1"] {
            for (alg, by) in [
                ("HS256", By::Hs256(secret)),
                ("HS384", By::Hs384(secret)),
                ("HS512", By::Hs512(secret)),
            ] {
                let header = format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#);
                rows.push(row(
                    format!("{what} as {kid} by {alg}"),
                    good(&header, by),
                    AuthError::Algorithm,
                ));
            }
        }
        let unnamed = r#"{"alg":"HS256"}"#;
        rows.push(row(
            format!("{what} without a kid"),
            good(unnamed, By::Hs256(secret)),
            AuthError::UnknownKey,
        ));
        rows.push(row(
            format!("{what} as the secret"),
            with(unnamed, json!({"iss": null}), By::Hs256(secret)),
            AuthError::Signature,
        ));
    }
    check(&rows);
}

#[test]
fn a_key_has_one_algorithm() {
    let mut rows = Vec::new();
    for (header, by, others) in [
        (
            "rsa-1",
            RSA,
            [
                "RS384",
                "RS512",
                "PS256",
                "PS384",
                "PS512",
                "ES256",
                "EdDSA",
                "rs256",
                "RS256 ",
                "RSA",
                "RSA-OAEP",
                "ＲＳ256",
                "RЅ256",
                "RS256\\u0000",
                "RS1",
            ]
            .as_slice(),
        ),
        (
            "ec-1",
            By::Ec,
            [
                "ES384", "ES512", "ES256K", "RS256", "EdDSA", "es256", "ΕS256", "ECDH-ES",
            ]
            .as_slice(),
        ),
        (
            "ed-1",
            By::Ed,
            ["Ed25519", "Ed448", "eddsa", "EDDSA", "ES256", "RS256", "EdDSА"].as_slice(),
        ),
    ] {
        for alg in others {
            let forged = format!(r#"{{"alg":"{alg}","kid":"{header}"}}"#);
            rows.push(row(forged.clone(), good(&forged, by), AuthError::Algorithm));
        }
    }
    let by_nobody = |alg: &str, by| {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        with(&header, json!({"iss": null}), by)
    };
    for (alg, by) in [
        ("HS384", By::Hs384(SECRET)),
        ("HS512", By::Hs512(SECRET)),
        ("hs256", By::Hs256(SECRET)),
        ("ΗS256", By::Hs256(SECRET)),
        ("RS256", RSA),
        ("ES256", By::Ec),
        ("EdDSA", By::Ed),
    ] {
        rows.push(row(
            format!("{alg} for the secret"),
            by_nobody(alg, by),
            AuthError::Algorithm,
        ));
    }
    check(&rows);
}

#[test]
fn a_signature_is_of_this_key_and_these_bytes() {
    let parts = |token: &str| -> Vec<String> { token.split('.').map(str::to_owned).collect() };
    let promoted = encode(
        claims(json!({"sub": "admin", "roles": ["admin"]}))
            .to_string()
            .as_bytes(),
    );
    let zeros = [0; 256];
    let ones = [0xff; 256];
    let mut one = [0; 256];
    one[255] = 1;
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut rows = Vec::new();
    for (what, header, by) in [
        ("RS256 by another RSA key", RS256, By::Rsa("rsa-2")),
        ("RS256 by ECDSA", RS256, By::Ec),
        ("RS256 by HMAC", RS256, By::Hs256(SECRET)),
        ("RS256 of zeros", RS256, By::Bytes(&zeros)),
        ("RS256 of 1", RS256, By::Bytes(&one)),
        ("RS256 over the modulus", RS256, By::Bytes(&ones)),
        ("RS256 that is short", RS256, By::Bytes(&zeros[1..])),
        ("RS256 of one byte", RS256, By::Bytes(&[1])),
        ("ES256 by RSA", ES256, RSA),
        ("ES256 by Ed25519", ES256, By::Ed),
        // CVE-2022-21449: zero is a point of every curve to those who do not look.
        ("ES256 of zeros", ES256, By::Bytes(&zeros[..64])),
        ("ES256 of the order", ES256, By::Bytes(&[order, order].concat())),
        (
            "ES256 of the order and 1",
            ES256,
            By::Bytes(&[&order[..], &one[224..]].concat()),
        ),
        ("ES256 that is short", ES256, By::Bytes(&one[193..])),
        ("ES256 that is long", ES256, By::Bytes(&one[191..])),
        ("EdDSA by ECDSA", EDDSA, By::Ec),
        ("EdDSA of zeros", EDDSA, By::Bytes(&zeros[..64])),
        // The neutral element with 0: right for every message under a key of small order.
        (
            "EdDSA of the neutral element",
            EDDSA,
            By::Bytes(&[&[1], &zeros[..63]].concat()),
        ),
        ("EdDSA that is short", EDDSA, By::Bytes(&zeros[..63])),
    ] {
        rows.push(row(what, good(header, by), AuthError::Signature));
    }
    for (header, by) in [(RS256, RSA), (ES256, By::Ec), (EDDSA, By::Ed)] {
        let [head, body, signature] = parts(&good(header, by)).try_into().unwrap();
        rows.push(row(
            "another payload",
            format!("{head}.{promoted}.{signature}"),
            AuthError::Signature,
        ));
        let spaced = encode(format!("{header} ").as_bytes());
        rows.push(row(
            "another header",
            format!("{spaced}.{body}.{signature}"),
            AuthError::Signature,
        ));
        let [_, _, bytes] = split(&good(header, by));
        let shortened = encode(&bytes[1..]);
        rows.push(row(
            "a signature that begins late",
            format!("{head}.{body}.{shortened}"),
            AuthError::Signature,
        ));
        rows.push(row(
            "a longer signature",
            format!("{head}.{body}.AAAA{signature}"),
            AuthError::Signature,
        ));
    }
    check(&rows);
}

/// The same numbers written differently: to others they may be right.
#[test]
fn a_signature_is_written_in_one_way() {
    let mut rows = Vec::new();
    let [head, body, signature] = split(&good(EDDSA, By::Ed));
    let mut malleated = signature.clone();
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    ];
    let mut carry = 0_u16;
    for (i, byte) in malleated.iter_mut().skip(32).enumerate() {
        let add = match i {
            0..16 => order[i],
            31 => 0x10,
            _ => 0,
        };
        let sum = u16::from(*byte) + add + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    rows.push(row(
        "EdDSA with the order added",
        join(&head, &body, &malleated),
        AuthError::Signature,
    ));
    let [head, body, signature] = split(&good(ES256, By::Ec));
    let der = [
        &[0x30, 70, 2, 33, 0],
        &signature[..32],
        &[2, 33, 0],
        &signature[32..],
    ]
    .concat();
    rows.push(row(
        "ES256 in DER",
        join(&head, &body, &der),
        AuthError::Signature,
    ));
    let [head, body, signature] = split(&good(RS256, RSA));
    let padded = [&[0], &signature[..]].concat();
    rows.push(row(
        "RS256 with a zero in front",
        join(&head, &body, &padded),
        AuthError::Signature,
    ));
    check(&rows);
}

fn split(token: &str) -> [Vec<u8>; 3] {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let parts: Vec<_> = token
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
        .collect();
    parts.try_into().unwrap()
}

fn join(head: &[u8], body: &[u8], signature: &[u8]) -> String {
    [head, body, signature].map(encode).join(".")
}

#[test]
fn a_key_is_found_by_its_issuer_and_its_name_alone() {
    let header = |kid: &str| format!(r#"{{"alg":"RS256","kid":{kid}}}"#);
    let mut rows: Vec<_> = [
        r#""""#,
        r#""rsa""#,
        r#""RSA-1""#,
        r#""rsa-1 ""#,
        r#"" rsa-1""#,
        r#""rsa-1\u0000""#,
        r#""rsa\u20101""#,
        r#""rѕa-1""#,
        r#""rsa-1,rsa-2""#,
        r#""rsa-2""#,
        r#""../../../../dev/null""#,
        r#""/dev/null""#,
        r#""https://evil.example/jwks.json""#,
        r#""x' UNION SELECT 'rsa-1'; --""#,
        r#""$(id)""#,
        r#""%72sa-1""#,
        r#""__proto__""#,
        "null",
    ]
    .iter()
    .map(|kid| row(*kid, good(&header(kid), RSA), AuthError::UnknownKey))
    .collect();
    for kid in ["1", "true", r#"["rsa-1"]"#, r#"{"$ne":""}"#] {
        rows.push(row(kid, good(&header(kid), RSA), AuthError::Malformed));
    }
    let attacker = public("rsa-2");
    for (what, header) in [
        (
            "a key of its own",
            json!({"alg": "RS256", "kid": "rsa-1", "jwk": attacker}),
        ),
        (
            "a set of its own",
            json!({"alg": "RS256", "kid": "rsa-1", "jku": "https://evil.example/jwks.json"}),
        ),
        (
            "a certificate of its own",
            json!({"alg": "RS256", "kid": "rsa-1", "x5c": ["MIIB"], "x5u": "https://evil.example/x.pem"}),
        ),
    ] {
        rows.push(row(
            what,
            good(&header.to_string(), By::Rsa("rsa-2")),
            AuthError::Signature,
        ));
    }
    rows.extend([
        row(
            "no kid where each key has one",
            good(r#"{"alg":"RS256"}"#, RSA),
            AuthError::UnknownKey,
        ),
        row(
            "two kids",
            good(r#"{"alg":"RS256","kid":"rsa-2","kid":"rsa-1"}"#, RSA),
            AuthError::Malformed,
        ),
        row(
            "the key of another issuer",
            good(&header(r#""rsa-2""#), By::Rsa("rsa-2")),
            AuthError::UnknownKey,
        ),
        row(
            "another issuer in the name of this one's key",
            good(RS256, By::Rsa("rsa-2")),
            AuthError::Signature,
        ),
        row(
            "this issuer's key in another one's name",
            with(RS256, json!({"iss": OTHER}), RSA),
            AuthError::UnknownKey,
        ),
        row(
            "this issuer's key under another one's kid",
            with(&header(r#""rsa-2""#), json!({"iss": OTHER}), RSA),
            AuthError::Signature,
        ),
        row(
            "the secret in the name of an issuer with keys",
            good(r#"{"alg":"HS256"}"#, By::Hs256(SECRET)),
            AuthError::UnknownKey,
        ),
        row(
            "a critical extension",
            good(r#"{"alg":"RS256","kid":"rsa-1","crit":["b64"],"b64":false}"#, RSA),
            AuthError::Critical,
        ),
        row(
            "a critical extension that is none",
            good(r#"{"alg":"RS256","kid":"rsa-1","crit":[]}"#, RSA),
            AuthError::Critical,
        ),
        row(
            "a token in a token",
            token(
                r#"{"alg":"RS256","kid":"rsa-1","cty":"JWT"}"#,
                good(RS256, RSA).as_bytes(),
                RSA,
            ),
            AuthError::Malformed,
        ),
    ]);
    check(&rows);
}

#[test]
fn an_issuer_is_known_by_its_exact_name() {
    let keys = trusted_by_name();
    let accepted = good(RS256, RSA);
    assert!(keys.verify(NOW, &accepted).is_ok());
    for name in [
        Value::Null,
        json!(""),
        json!("https://id.example/"),
        json!("https://id.example "),
        json!("https://ID.example"),
        json!("http://id.example"),
        json!("https://іd.example"),
        json!("https://id。example"),
        json!("https://id.example\u{200b}"),
        json!("https://id.example\u{0}"),
        json!("https://id.example.evil.example"),
        json!([ISSUER]),
        json!({"iss": ISSUER}),
        json!(1),
        json!(true),
    ] {
        let forged = with(RS256, json!({"iss": name}), RSA);
        assert_eq!(keys.verify(NOW, &forged), Err(AuthError::Claim("iss")), "{name}");
    }
}

#[test]
fn a_token_has_three_parts_of_base64_and_no_more() {
    let accepted = good(RS256, RSA);
    let [head, body, signature]: [&str; 3] = accepted.split('.').collect::<Vec<_>>().try_into().unwrap();
    // 2,048 bits leave four of the last character unused.
    let (rest, last) = signature.split_at(signature.len() - 1);
    let sloppy = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        _ => "x",
    };
    let mut rows = vec![
        row("nothing", String::new(), AuthError::Missing),
        row("spaces", " \t\u{a0} ".to_owned(), AuthError::Missing),
        row("a scheme", "Bearer ".to_owned(), AuthError::Malformed),
        row(
            "two schemes",
            format!("Bearer Bearer {accepted}"),
            AuthError::Malformed,
        ),
        row(
            "another scheme",
            format!("Basic {accepted}"),
            AuthError::Malformed,
        ),
        row(
            "a comma and another",
            format!("{accepted},{accepted}"),
            AuthError::Malformed,
        ),
        row("one part", head.to_owned(), AuthError::Malformed),
        row("no signature", format!("{head}.{body}"), AuthError::Malformed),
        row(
            "four parts",
            format!("{accepted}.{signature}"),
            AuthError::Malformed,
        ),
        row("five parts", format!("{accepted}.AA.AA"), AuthError::Malformed),
        row("a dot in front", format!(".{accepted}"), AuthError::Malformed),
        row("a dot at the end", format!("{accepted}."), AuthError::Malformed),
        row("only dots", "..".to_owned(), AuthError::Malformed),
        row(
            "an empty payload",
            format!("{head}..{signature}"),
            AuthError::Malformed,
        ),
        row(
            "an empty header",
            format!(".{body}.{signature}"),
            AuthError::Malformed,
        ),
        row("padding", format!("{accepted}="), AuthError::Malformed),
        row(
            "padding within",
            format!("{head}=.{body}.{signature}"),
            AuthError::Malformed,
        ),
        row(
            "a line break",
            format!("{head}.\n{body}.{signature}"),
            AuthError::Malformed,
        ),
        row("a zero byte", format!("{accepted}\u{0}"), AuthError::Malformed),
        row(
            "unused bits",
            format!("{head}.{body}.{rest}{sloppy}"),
            AuthError::Malformed,
        ),
        row(
            "another alphabet",
            format!("{head}.{body}.+/{signature}"),
            AuthError::Malformed,
        ),
        row(
            "percent signs",
            accepted.replace('.', "%2E"),
            AuthError::Malformed,
        ),
        row("another dot", accepted.replace('.', "．"), AuthError::Malformed),
        row(
            "wide letters",
            accepted.replacen('e', "ｅ", 1),
            AuthError::Malformed,
        ),
        row(
            "a mark of direction",
            format!("\u{202e}{accepted}"),
            AuthError::Malformed,
        ),
    ];
    // Of 342 characters: 341 are no base64, 340 are 255 bytes.
    for (cut, refusal) in [
        (1, AuthError::Malformed),
        (2, AuthError::Signature),
        (signature.len(), AuthError::Signature),
        (signature.len() + 1, AuthError::Malformed),
    ] {
        let token = accepted.get(..accepted.len() - cut).unwrap();
        rows.push(row(format!("{cut} characters less"), token.to_owned(), refusal));
    }
    for length in [MAX_TOKEN_BYTES + 1, 1_000_000] {
        let filler = "x".repeat(length - accepted.len());
        rows.push(row(
            "huge",
            format!("{accepted}{filler}"),
            AuthError::TooLong(length),
        ));
        let dots = ".".repeat(length);
        rows.push(row("many dots", dots, AuthError::TooLong(length)));
    }
    let padded = with(RS256, json!({"x": "x".repeat(MAX_TOKEN_BYTES)}), RSA);
    let length = padded.len();
    rows.push(row("huge, signed rightly", padded, AuthError::TooLong(length)));
    check(&rows);
}

#[test]
fn claims_are_one_object_of_distinct_names() {
    let exp = NOW_S + 60;
    let frame = |members: &str| format!(r#"{{"aud":"dormouse","iss":"{ISSUER}",{members}}}"#);
    let nested = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let mut rows: Vec<_> = [
        "",
        " ",
        "null",
        "true",
        "7",
        r#""u1""#,
        "[]",
        r#"[{"sub":"u1"}]"#,
        "{",
        "}",
        "{}{}",
        "{\"sub\":}",
    ]
    .iter()
    .map(|claims| row(*claims, of(claims), AuthError::Malformed))
    .collect();
    for members in [
        format!(r#""sub":"u1","exp":{exp},"sub":"admin""#),
        format!(r#""sub":"u1","exp":{exp},"s\u0075b":"admin""#),
        format!(r#""sub":"u1","exp":{exp},"exp":{exp}"#),
        format!(r#""sub":"u1","exp":1,"exp":{exp}"#),
        format!(r#""sub":"u1","exp":{exp},"iss":"{ISSUER}""#),
        format!(r#""sub":"u1","exp":{exp},"aud":"{SERVICES}""#),
        format!(r#""sub":"u1","exp":{exp},"nbf":1,"nbf":2"#),
        format!(r#""sub":"u1","exp":{exp},"iat":1,"iat":2"#),
        format!(r#""sub":"u1","exp":{exp},"roles":[],"roles":["admin"]"#),
        format!(r#""sub":"u1","exp":{exp},"scope":"","scope":"push:user""#),
        format!(r#""sub":"u1","exp":{exp},"x":{nested}"#),
        format!(r#""sub":"u1","exp":{exp},"x":"\ud800""#),
        format!(r#""sub":"u1","exp":{exp},"x":01"#),
        format!(r#""sub":"u1","exp":{exp},"x":NaN"#),
        format!(r#""sub":"u1","exp":{exp},"x":1e999"#),
        format!(r#""sub":"u1","exp":{exp},"#),
        format!(r#"'sub':'u1',"exp":{exp}"#),
    ] {
        rows.push(row(members.clone(), of(frame(&members)), AuthError::Malformed));
    }
    let accepted = claims(json!({})).to_string();
    rows.extend([
        row(
            "a byte order mark",
            of(format!("\u{feff}{accepted}")),
            AuthError::Malformed,
        ),
        row(
            "no UTF-8",
            of([accepted.as_bytes(), &[0xff]].concat()),
            AuthError::Malformed,
        ),
        row(
            "something after it",
            of(format!("{accepted}x")),
            AuthError::Malformed,
        ),
        row(
            "a zero byte after it",
            of(format!("{accepted}\0")),
            AuthError::Malformed,
        ),
    ]);
    check(&rows);
}

#[test]
fn a_claim_has_its_type() {
    let mut rows = Vec::new();
    for exp in [
        json!("1900000000"),
        json!(true),
        json!([NOW_S + 60]),
        json!({"$gt": 0}),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
    ] {
        rows.push(row(
            format!("exp {exp}"),
            with(RS256, json!({"exp": exp}), RSA),
            AuthError::Malformed,
        ));
        rows.push(row(
            format!("nbf {exp}"),
            with(RS256, json!({"nbf": exp}), RSA),
            AuthError::Malformed,
        ));
    }
    for sub in [
        json!(false),
        json!(1.5),
        json!(1e40),
        json!(["u1"]),
        json!({"id": "u1"}),
        json!(""),
        json!("a\u{0}b"),
        json!("a\nb"),
        json!("é".repeat(65)),
    ] {
        rows.push(row(
            format!("sub {sub}"),
            with(RS256, json!({"sub": sub}), RSA),
            AuthError::Claim("sub"),
        ));
    }
    for aud in [
        Value::Null,
        json!(1),
        json!(true),
        json!([]),
        json!([["dormouse"]]),
        json!({"dormouse": true}),
        json!("Dormouse"),
        json!("dormouse "),
        json!("dormouse-services-not"),
        json!("dormоuse"),
        json!("ｄormouse"),
        json!("other,dormouse"),
        json!(SERVICES),
        json!([SERVICES, "dormouse"]),
    ] {
        let token = with(RS256, json!({"aud": aud, "sub": null}), RSA);
        rows.push(row(format!("aud {aud}"), token, AuthError::Claim("aud")));
    }
    for departments in [
        json!("cs"),
        json!([[]]),
        json!([1.5]),
        json!([null]),
        json!({"cs": 1}),
    ] {
        rows.push(row(
            format!("departments {departments}"),
            with(RS256, json!({"departments": departments}), RSA),
            AuthError::Claim("departments"),
        ));
    }
    rows.push(row(
        "no user",
        with(RS256, json!({"sub": null}), RSA),
        AuthError::Claim("sub"),
    ));
    rows.push(row(
        "a user by a name that looks like sub",
        with(RS256, json!({"sub": null, "ѕub": "u1"}), RSA),
        AuthError::Claim("sub"),
    ));
    check(&rows);
}

#[test]
fn a_token_has_its_time() {
    let mut rows = vec![
        row(
            "no end",
            with(RS256, json!({"exp": null}), RSA),
            AuthError::Claim("exp"),
        ),
        row(
            "an end by a name that looks like exp",
            with(RS256, json!({"exp": null, "ехр": NOW_S + 60}), RSA),
            AuthError::Claim("exp"),
        ),
    ];
    for exp in [NOW_S - LEEWAY_S - 1, NOW_S - 86_400, 0, -1, -8_334_601_228_800] {
        rows.push(row(
            format!("exp {exp}"),
            with(RS256, json!({"exp": exp}), RSA),
            AuthError::Expired,
        ));
    }
    for exp in [253_402_300_800_i64, 8_210_266_876_799] {
        rows.push(row(
            format!("exp {exp}"),
            with(RS256, json!({"exp": exp}), RSA),
            AuthError::Claim("exp"),
        ));
    }
    for nbf in [
        NOW_S + LEEWAY_S + 1,
        NOW_S + 86_400,
        253_402_300_800,
        8_210_266_876_799,
    ] {
        rows.push(row(
            format!("nbf {nbf}"),
            with(RS256, json!({"nbf": nbf}), RSA),
            AuthError::NotYetValid,
        ));
    }
    rows.push(row(
        "an end in milliseconds that was over",
        with(RS256, json!({"exp": (NOW_S - 60) * 1_000}), RSA),
        AuthError::Claim("exp"),
    ));
    check(&rows);
}
