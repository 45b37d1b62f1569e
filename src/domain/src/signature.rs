//! Short texts that only this service can have made: they come back from clients and name objects or
//! sessions, so a forged one must name nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Bytes of a signature: 96 bits, which nobody finds by asking a server.
const SIGNATURE_BYTES: usize = 12;

/// Makes and checks signatures. Its key is derived from the service's secret, never the secret itself.
#[derive(Clone, Debug)]
pub struct Signer {
    key: [u8; 64],
}

/// What a signature is for: one made for one purpose is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An Engine.IO session id.
    EngineSid,
    /// A private session id of connection state recovery.
    Pid,
    /// What the log calls a user or a session: the same each time, and nobody finds out whose it is.
    Log,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::EngineSid => "engine sid",
            Self::Pid => "pid",
            Self::Log => "log",
        }
    }
}

impl Signer {
    /// A signer of the service with this secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut digest = Sha512::new_with_prefix(b"dormouse signatures\0");
        digest.update(secret);
        Self {
            key: digest.finalize().into(),
        }
    }

    /// The signature of `parts`, 16 characters of the URL-safe alphabet.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, parts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(self.signature(purpose, parts))
    }

    /// Whether `signature` is the one of `parts`; the time it takes says nothing about it.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, parts: &[&str], signature: &str) -> bool {
        let expected = self.sign(purpose, parts);
        expected.as_bytes().ct_eq(signature.as_bytes()).into()
    }

    fn signature(&self, purpose: Purpose, parts: &[&str]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new((&self.key).into());
        for part in [purpose.label()].iter().chain(parts) {
            // The length in front keeps ["a", "bc"] apart from ["ab", "c"].
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let mut signature = mac.finalize().into_bytes().to_vec();
        signature.truncate(SIGNATURE_BYTES);
        signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_its_purpose_its_parts_and_its_key() {
        let signer = Signer::new(b"secret");
        let signature = signer.sign(Purpose::Pid, &["a", "bc"]);
        assert_eq!(signature.len(), 16);
        assert!(signer.verify(Purpose::Pid, &["a", "bc"], &signature));
        assert!(!signer.verify(Purpose::EngineSid, &["a", "bc"], &signature));
        assert!(!signer.verify(Purpose::Pid, &["ab", "c"], &signature));
        assert!(!signer.verify(Purpose::Pid, &["a", "bc"], ""));
        assert!(!Signer::new(b"other").verify(Purpose::Pid, &["a", "bc"], &signature));
    }
}
