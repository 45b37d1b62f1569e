//! Small writers and readers of text that the layers share.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, Visitor};

/// Characters of an offending value that an error carries, so that an error never costs more than a
/// few bytes.
const EXCERPT_CHARS: usize = 32;

/// Returns the first characters of `text`.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}

/// Appends `text` as a JSON string, byte for byte as `JSON.stringify` writes it.
pub(crate) fn push_json_string(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some((plain, escaped, after)) = split_at_escaped(rest) {
        out.push_str(plain);
        match escaped {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x09 => out.push_str("\\t"),
            0x0a => out.push_str("\\n"),
            0x0c => out.push_str("\\f"),
            0x0d => out.push_str("\\r"),
            control => {
                out.push_str(if control < 0x10 { "\\u000" } else { "\\u001" });
                out.extend(char::from_digit(u32::from(control & 0x0f), 16));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out.push('"');
}

/// Splits at the first byte that JSON does not allow bare in a string.
fn split_at_escaped(text: &str) -> Option<(&str, u8, &str)> {
    let at = text
        .bytes()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    let (plain, from_escaped) = text.split_at_checked(at)?;
    let escaped = from_escaped.bytes().next()?;
    let (_, after) = from_escaped.split_at_checked(1)?;
    Some((plain, escaped, after))
}

/// Reads the text of a JSON string, quotes included; lone surrogates, which UTF-8 cannot hold,
/// become U+FFFD.
pub(crate) fn json_string(token: &str) -> Option<Cow<'_, str>> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    // As bytes, serde_json accepts lone surrogates, which `JSON.parse` accepts too.
    let mut deserializer = serde_json::Deserializer::from_str(token);
    deserializer.deserialize_bytes(LossyText).ok().map(Cow::Owned)
}

/// Reads bytes into a text, with U+FFFD for what is not UTF-8.
struct LossyText;

impl Visitor<'_> for LossyText {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}
