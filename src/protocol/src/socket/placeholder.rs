//! Placeholders: where in the JSON of a binary packet an attachment belongs.
//!
//! A walk over JSON that is known to be valid, with its own stack: input cannot make it recurse.

use crate::text::json_string;

/// Tells whether every placeholder in `json`, a valid JSON text, names one of `attachments`
/// attachments.
///
/// A placeholder is an object whose `_placeholder` is `true`; what else is in it is not looked at.
/// As in `JSON.parse`, the last of several equal keys counts.
pub(super) fn all_within(json: &str, attachments: usize) -> bool {
    // Without these no key is `_placeholder`, spelled out or in escapes. Most arguments end here.
    if !json.contains("_placeholder") && !json.contains("\\u") {
        return true;
    }
    let mut walk = Walk {
        attachments,
        open: Vec::new(),
        legal: true,
    };
    let mut rest = json;
    while let Some((token, after)) = split_token(rest) {
        walk.take(token);
        rest = after;
    }
    walk.legal
}

/// The walk: what is open, innermost last.
struct Walk {
    attachments: usize,
    open: Vec<Container>,
    /// Whether the outermost value, once closed, is legal.
    legal: bool,
}

/// An array or object that is not closed yet.
struct Container {
    /// Whether everything within is legal so far.
    legal: bool,
    kind: Kind,
}

enum Kind {
    Array,
    Object {
        /// Whether `_placeholder` is `true`.
        is_placeholder: bool,
        /// Whether `num` names an attachment.
        num_within: bool,
        /// The key of the value that is read or comes next; absent while a key comes next.
        key: Option<Key>,
    },
}

#[derive(Clone, Copy)]
enum Key {
    Placeholder,
    Num,
    Other,
}

impl Walk {
    fn take(&mut self, token: &str) {
        match token {
            "[" => self.open.push(Container {
                legal: true,
                kind: Kind::Array,
            }),
            "{" => self.open.push(Container {
                legal: true,
                kind: Kind::Object {
                    is_placeholder: false,
                    num_within: false,
                    key: None,
                },
            }),
            "]" | "}" => {
                if let Some(container) = self.open.pop() {
                    self.close(&container);
                }
            }
            "," => {
                if let Some(Container {
                    kind: Kind::Object { key, .. },
                    ..
                }) = self.open.last_mut()
                {
                    *key = None;
                }
            }
            ":" => {}
            scalar => self.take_scalar(scalar),
        }
    }

    /// Takes a key or a value that is neither array nor object.
    fn take_scalar(&mut self, token: &str) {
        let Some(Container {
            kind:
                Kind::Object {
                    is_placeholder,
                    num_within,
                    key,
                },
            ..
        }) = self.open.last_mut()
        else {
            return;
        };
        match key {
            None => {
                *key = Some(match json_string(token).as_deref() {
                    Some("_placeholder") => Key::Placeholder,
                    Some("num") => Key::Num,
                    Some(_) | None => Key::Other,
                });
            }
            Some(Key::Placeholder) => *is_placeholder = token == "true",
            Some(Key::Num) => {
                *num_within = token.parse::<usize>().is_ok_and(|num| num < self.attachments);
            }
            Some(Key::Other) => {}
        }
    }

    /// Tells the container around it what a closed one was.
    fn close(&mut self, container: &Container) {
        let legal = match container.kind {
            Kind::Object {
                is_placeholder: true,
                num_within,
                ..
            } => num_within,
            Kind::Object {
                is_placeholder: false,
                ..
            }
            | Kind::Array => container.legal,
        };
        let Some(outer) = self.open.last_mut() else {
            self.legal = legal;
            return;
        };
        outer.legal &= legal;
        match &mut outer.kind {
            Kind::Object {
                is_placeholder,
                key: Some(Key::Placeholder),
                ..
            } => *is_placeholder = false,
            Kind::Object {
                num_within,
                key: Some(Key::Num),
                ..
            } => *num_within = false,
            Kind::Object {
                key: Some(Key::Other) | None,
                ..
            }
            | Kind::Array => {}
        }
    }
}

/// Splits a bracket, comma or colon, a string with its quotes, or a number or literal off the
/// front.
fn split_token(json: &str) -> Option<(&str, &str)> {
    let json = json.trim_start_matches([' ', '\t', '\n', '\r']);
    let bytes = match json.bytes().next()? {
        b'[' | b']' | b'{' | b'}' | b',' | b':' => 1,
        b'"' => string_bytes(json),
        _ => json
            .bytes()
            .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))
            .unwrap_or(json.len()),
    };
    json.split_at_checked(bytes)
}

/// Bytes of the string at the front, quotes included.
fn string_bytes(json: &str) -> usize {
    let mut bytes = json.bytes();
    // The quote that opens the string.
    bytes.next();
    while let Some(byte) = bytes.find(|byte| matches!(byte, b'"' | b'\\')) {
        if byte == b'"' {
            return json.len().saturating_sub(bytes.len());
        }
        // What is escaped.
        bytes.next();
    }
    json.len()
}
