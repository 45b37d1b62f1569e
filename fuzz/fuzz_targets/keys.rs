//! What issuers publish and sign: key sets, tokens, settings, and when keys are fetched. Nothing panics; nobody is
//! let in by chance; a token is for one plane; and however keys come and go, fetches keep to their limits.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dormouse_domain::config::Config;
use dormouse_domain::id::MAX_NAME_BYTES;
use dormouse_domain::jwk::{KeySet, MAX_DOCUMENT_BYTES};
use dormouse_domain::remote_keys::{FETCH_TIMEOUT_MS, JwksUrl, Plan, RemoteKeys};
use dormouse_domain::time::Timestamp;
use dormouse_domain::token_key::{Algorithm, TokenKey};
use dormouse_domain::token_keys::{Issuer, Published, Terms, TokenKeys};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{Algorithm as _, AlgorithmSignature};
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
const TTL_MS: u64 = 600_000;
const SERVICES: &str = "services";

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| {
    let issuer = Issuer {
        secret: Some(TokenKey::of_secret(Algorithm::Hs256, SECRET)),
        ..Issuer::default()
    };
    TokenKeys::new(vec![issuer], terms())
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut input = Unstructured::new(rest);
    match (mode.wrapping_sub(b'0') % 5, std::str::from_utf8(rest)) {
        (0, Ok(text)) => drop(set(text)),
        (1, Ok(text)) => token_of_a_set(text),
        (2, Ok(text)) => signed(text),
        (3, Ok(text)) => settings(text),
        (4, _) => {
            if let Ok(steps) = input.arbitrary() {
                fetches(steps);
            }
        }
        (_, _) => {}
    }
});

fn terms() -> Terms {
    Terms {
        service_audience: Some(SERVICES.to_owned()),
        leeway_s: 5,
        ttl_ms: TTL_MS,
    }
}

/// A document; what is accepted has no secret in it.
fn set(document: &str) -> Option<KeySet> {
    match KeySet::parse(document) {
        Ok(set) => {
            assert!(document.len() <= MAX_DOCUMENT_BYTES);
            assert!(document.contains("keys"));
            Some(set)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

/// A document and, in the line after it, a token that none of its keys can have signed.
fn token_of_a_set(text: &str) {
    let (document, token) = text.split_once('\n').unwrap_or((text, ""));
    let published = match set(document) {
        Some(set) => Published::Here(set.into()),
        None => Published::At(JwksUrl::parse("https://id.example/jwks").expect("is a URL")),
    };
    let issuer = Issuer {
        published,
        ..Issuer::default()
    };
    let keys = TokenKeys::new(vec![issuer], terms());
    let _ = keys.plan(NOW, token);
    assert!(keys.verify(NOW, token).is_err());
    assert!(keys.verify_service(NOW, token).is_err());
}

/// A header and, in the line after it, claims: a token signed rightly.
fn signed(text: &str) {
    let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
    let signed = [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let signature = Hs256.sign(&Hs256Key::new(SECRET), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_bytes()));
    let (user, service) = (KEYS.verify(NOW, &token), KEYS.verify_service(NOW, &token));
    assert!(user.is_err() || service.is_err(), "a token is for one plane");
    if let Ok(identity) = &user {
        assert!((1..=MAX_NAME_BYTES).contains(&identity.user.as_str().len()));
        assert!(identity.expires_at.after_ms(5_000) >= NOW);
    }
    if let Ok(caller) = &service {
        assert!(caller.id.starts_with("jwt:"));
        assert!(claims.contains(SERVICES) || claims.contains('\\'));
    }
    if user.is_ok() || service.is_ok() {
        let value: serde_json::Value = serde_json::from_str(claims).expect("claims are JSON");
        assert!(value.is_object());
        // Cut short or changed, it is nobody's.
        let half = &token[..token.len() - 4];
        assert!(KEYS.verify(NOW, half).is_err() && KEYS.verify_service(NOW, half).is_err());
    }
}

/// The settings in which keys are.
fn settings(text: &str) {
    for name in ["JWT_ISSUERS", "JWT_JWKS", "JWT_JWKS_URL", "SERVICE_KEYS"] {
        let parsed = Config::parse(|asked| match asked {
            "JWT_SECRET" => Some("0123456789abcdef0123456789abcdef".to_owned()),
            asked => (asked == name).then(|| text.to_owned()),
        });
        if let Err(errors) = parsed {
            assert!(errors.iter().all(|error| error.name == name));
        }
    }
}

#[derive(Debug, Arbitrary)]
enum Step {
    Token(u8),
    Succeed(u8),
    Fail,
    Wait(u32),
}

/// Tokens of some keys, fetches that end somehow or never, and time.
fn fetches(steps: Vec<Step>) {
    let url = JwksUrl::parse("https://id.example/jwks").expect("is a URL");
    let mut keys = RemoteKeys::new(url, TTL_MS);
    let mut now = NOW;
    // When the latest fetch began that has not ended, when keys came, when an unknown kid led to a fetch.
    let (mut pending, mut fetched, mut unknown): (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>) =
        (None, None, None);
    for step in steps {
        match step {
            Step::Token(kid) => match keys.plan(now, Some(&kid.to_string())) {
                Plan::Fetch(errand) => {
                    assert!(pending.is_none_or(|at| now.since(at) >= FETCH_TIMEOUT_MS));
                    if fetched.is_some_and(|at| now.since(at) < TTL_MS) {
                        assert!(unknown.is_none_or(|at| now.since(at) >= 60_000));
                        unknown = Some(now);
                    }
                    keys.begin(now, &errand);
                    pending = Some(now);
                }
                Plan::Wait => {
                    let began = pending.expect("somebody fetches");
                    assert!(now.since(began) < FETCH_TIMEOUT_MS);
                }
                Plan::Ready => {}
            },
            Step::Succeed(kid) => {
                let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
                let document =
                    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}]}}"#);
                keys.succeed(now, KeySet::parse(&document).expect("is a set"));
                (pending, fetched) = (None, Some(now));
                assert_eq!(keys.plan(now, Some(&kid.to_string())), Plan::Ready);
            }
            Step::Fail => {
                keys.fail(now);
                pending = None;
                assert_eq!(keys.plan(now, Some("x")), Plan::Ready, "not again at once");
            }
            Step::Wait(ms) => now = now.after_ms(u64::from(ms)),
        }
    }
}
