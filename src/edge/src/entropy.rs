//! The one place that makes random bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `N` random bytes.
///
/// # Errors
/// When the platform has none to give.
pub(crate) fn bytes<const N: usize>() -> worker::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| worker::Error::RustError(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

/// A fresh id of 120 random bits, 20 characters of the URL-safe alphabet, as the reference's sids are.
///
/// # Errors
/// When the platform has no random bytes to give.
pub(crate) fn sid() -> worker::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<15>()?))
}
