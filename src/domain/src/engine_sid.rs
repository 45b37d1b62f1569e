//! The Engine.IO session id of a polling client: after the handshake it is the credential, and the
//! only thing that says which object the session is in (DESIGN 3.3).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::id::UserId;
use crate::signature::{Purpose, Signer};
use crate::time::Timestamp;

/// The longest text that may be a sid, in bytes: a user id of 128 bytes in base64url and the rest.
const MAX_SID_BYTES: usize = 256;

/// Where a polling session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineSid {
    /// In the hub of a user who was known at the handshake.
    Hub {
        /// The user.
        user: UserId,
        /// What makes it unique.
        nonce: String,
    },
    /// In a lobby, until the user is known.
    Lobby {
        /// When the session was opened.
        opened_at: Timestamp,
        /// What makes it unique.
        nonce: String,
    },
}

impl EngineSid {
    /// The text that clients pass back.
    #[must_use]
    pub fn encode(&self, signer: &Signer) -> String {
        let (kind, place, nonce) = match self {
            Self::Hub { user, nonce } => ("u", URL_SAFE_NO_PAD.encode(user.as_str()), nonce),
            Self::Lobby { opened_at, nonce } => ("l", opened_at.as_ms().to_string(), nonce),
        };
        let signature = signer.sign(Purpose::EngineSid, &[kind, &place, nonce]);
        format!("{kind}.{place}.{nonce}.{signature}")
    }

    /// Reads what a client passed back; `None` unless this service made it.
    #[must_use]
    pub fn parse(text: &str, signer: &Signer) -> Option<Self> {
        if text.len() > MAX_SID_BYTES {
            return None;
        }
        let mut parts = text.split('.');
        let (kind, place) = (parts.next()?, parts.next()?);
        let (nonce, signature) = (parts.next()?, parts.next()?);
        if parts.next().is_some() || !signer.verify(Purpose::EngineSid, &[kind, place, nonce], signature) {
            return None;
        }
        let nonce = nonce.to_owned();
        match kind {
            "u" => {
                let user = String::from_utf8(URL_SAFE_NO_PAD.decode(place).ok()?).ok()?;
                Some(Self::Hub {
                    user: UserId::parse(&user).ok()?,
                    nonce,
                })
            }
            "l" => Some(Self::Lobby {
                opened_at: Timestamp::from_ms(place.parse().ok()?),
                nonce,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sid_comes_back_as_it_went_and_a_changed_one_names_nothing() {
        let signer = Signer::new(b"secret");
        for sid in [
            EngineSid::Hub {
                user: UserId::parse("ü.1").unwrap(),
                nonce: "n".to_owned(),
            },
            EngineSid::Hub {
                user: UserId::parse(&"x".repeat(128)).unwrap(),
                nonce: "n".repeat(20),
            },
            EngineSid::Lobby {
                opened_at: Timestamp::from_ms(1_800_000_000_000),
                nonce: "n".to_owned(),
            },
        ] {
            let text = sid.encode(&signer);
            assert_eq!(EngineSid::parse(&text, &signer), Some(sid.clone()));
            assert_eq!(EngineSid::parse(&text, &Signer::new(b"other")), None);
            assert_eq!(
                EngineSid::parse(&text.replacen("u.", "l.", 1).replacen("l.1", "u.1", 1), &signer),
                None
            );
            assert_eq!(EngineSid::parse(&format!("{text}.x"), &signer), None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,80}|[ul]\\.[A-Za-z0-9_-]{0,20}\\.[a-z]{0,5}\\.[A-Za-z0-9_-]{16}") {
            prop_assert_eq!(EngineSid::parse(&text, &Signer::new(b"secret")), None);
        }
    }
}
