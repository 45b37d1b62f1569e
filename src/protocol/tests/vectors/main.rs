//! The shared wire vectors, both ways.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_io;
mod polling;
mod socket_io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dormouse_protocol::engine::Frame;
use serde::Deserialize;

/// A frame or message: text, or the base64 of bytes.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Binary { base64: String },
}

impl Wire {
    fn frame(&self) -> Frame {
        match self {
            Self::Text(text) => Frame::Text(text.clone()),
            Self::Binary { base64 } => Frame::Binary(bytes(base64)),
        }
    }
}

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

/// Runs every row and tells all that fail, by name.
fn check<T>(rows: &[T], name: impl Fn(&T) -> &str, expectation: impl Fn(&T) -> Result<(), String>) {
    let failures: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let wrong = expectation(row).err()?;
            Some(format!("{}: {wrong}", name(row)))
        })
        .collect();
    assert!(!rows.is_empty(), "no rows");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, wanted: &T) -> Result<(), String> {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what} is {got:?}, not {wanted:?}"))
    }
}
