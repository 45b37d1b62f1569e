//! The `Idempotency-Key` of a push: what it may look like and what it is held against
//! (the IETF draft `httpapi-idempotency-key-header`, DESIGN 7).

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The longest key, in characters.
pub const MAX_KEY_CHARS: usize = 255;

/// A caller's name for one push: 1 to 255 visible ASCII characters, given bare or in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 255 visible ASCII characters")]
pub struct IdempotencyKeyError;

impl IdempotencyKey {
    /// Reads the header's value.
    ///
    /// # Errors
    /// [`IdempotencyKeyError`].
    pub fn parse(header: &str) -> Result<Self, IdempotencyKeyError> {
        let text = header.trim();
        let key = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let valid = (1..=MAX_KEY_CHARS).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if valid {
            Ok(Self(key.to_owned()))
        } else {
            Err(IdempotencyKeyError)
        }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The member that holds the key where one body has many pushes.
pub const KEY_MEMBER: &str = "idempotency_key";

/// SHA-256 in hexadecimal of a JSON body, blind to spacing, to the order of members and to the key
/// itself: a push is the same whichever way its key was given.
/// A body too deep to be compared by value (over 127 levels) is taken byte by byte.
#[must_use]
pub fn fingerprint(body: &str) -> String {
    let canonical = serde_json::from_str::<Value>(body).map(|mut value| {
        if let Some(members) = value.as_object_mut() {
            members.remove(KEY_MEMBER);
        }
        value.to_string()
    });
    format!("{:x}", Sha256::digest(canonical.as_deref().unwrap_or(body)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn a_key_is_visible_ascii_quoted_or_bare() {
        let longest = "k".repeat(255);
        for (header, key) in [
            ("order-1", "order-1"),
            ("\"order-1\"", "order-1"),
            (" order-1 ", "order-1"),
            (longest.as_str(), longest.as_str()),
        ] {
            assert_eq!(IdempotencyKey::parse(header).unwrap().as_str(), key);
        }
        for bad in ["", "\"\"", "a b", "a\"b", "é", "a\nb", &"k".repeat(256)] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_fingerprint_sees_values_only() {
        let one = fingerprint(r#"{"a":1,"b":{"c":2,"d":[1,2]}}"#);
        assert_eq!(one, fingerprint("{ \"b\": {\"d\":[1, 2],\"c\":2}, \"a\":1 }"));
        assert_ne!(one, fingerprint(r#"{"a":1,"b":{"c":2,"d":[2,1]}}"#));
        assert_eq!(one.len(), 64);
        assert_eq!(
            one,
            fingerprint(r#"{"a":1,"idempotency_key":"k","b":{"c":2,"d":[1,2]}}"#)
        );
        assert_ne!(
            one,
            fingerprint(r#"{"a":1,"b":{"c":2,"d":[1,2],"idempotency_key":"k"}}"#)
        );
    }
}
