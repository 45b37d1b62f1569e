//! Binary messages as text: `b` and base64, read as leniently as Node.js `Buffer.from(text,
//! "base64")` reads it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

/// What encoders produce, read fast; anything else goes through [`decode_leniently`].
const CANONICAL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64; what cannot be read is skipped.
pub(super) fn decode(text: &str) -> Vec<u8> {
    CANONICAL.decode(text).unwrap_or_else(|_| decode_leniently(text))
}

/// Appends `b` and the padded base64 of `data`.
pub(super) fn push_frame(out: &mut String, data: &[u8]) {
    out.push('b');
    STANDARD.encode_string(data, out);
}

/// Bytes that [`push_frame`] appends for `data_bytes` bytes of data.
pub(super) const fn frame_bytes(data_bytes: usize) -> usize {
    data_bytes.div_ceil(3).saturating_mul(4).saturating_add(1)
}

fn decode_leniently(text: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits: u32 = 0;
    let mut bit_count = 0;
    for sextet in text.bytes().take_while(|&byte| byte != b'=').filter_map(sextet) {
        bits = (bits << 6) | u32::from(sextet);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            let [_, _, _, byte] = (bits >> bit_count).to_be_bytes();
            data.push(byte);
        }
    }
    data
}

/// The value of a character of the standard or the URL alphabet.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fast_way_reads_what_the_lenient_way_reads(text in "[AQZaz09+/=_ -]{0,24}") {
            if let Ok(data) = CANONICAL.decode(&text) {
                prop_assert_eq!(data, decode_leniently(&text));
            }
        }

        #[test]
        fn frames_have_the_length_foretold(data in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut frame = String::new();
            push_frame(&mut frame, &data);
            prop_assert_eq!(frame.len(), frame_bytes(data.len()));
        }
    }
}
