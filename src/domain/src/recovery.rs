//! Connection state recovery: what a stock client says of an earlier connection, and what it missed
//! (DESIGN 4; `socket.io-client` 4.6 and later).
//!
//! Nothing is kept for a connection that is gone: the *pid* itself says which session it was and where
//! it began, and the *offset* a client got last says how far it came. What came after is in the inbox.

use crate::id::UserId;
use crate::inbox::Head;
use crate::namespace::Namespace;
use crate::signature::{Purpose, Signer};

/// What begins every offset, so that no other trailing string of an event is taken for one: the client
/// keeps whatever string an event ends with.
const OFFSET_PREFIX: &str = "\u{1f}";

/// Most changes that are replayed one by one. A larger gap is answered by `notification:batch`.
pub const MAX_REPLAYED: u64 = 100;

/// How far a client came: the `seq` of the latest change it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub u64);

impl Offset {
    /// The string at the end of an event.
    #[must_use]
    pub fn encode(self) -> String {
        format!("{OFFSET_PREFIX}{}", self.0)
    }

    /// Reads what a client kept; `None` when it is some other string.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix(OFFSET_PREFIX)?.parse().ok().map(Self)
    }
}

/// A private session id: a client that shows it is the one that had the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pid {
    /// The public id of the session.
    pub sid: String,
    /// How far the client had come when the session began.
    pub began_at: Offset,
}

impl Pid {
    /// The text the client passes back, bound to its user and namespace.
    #[must_use]
    pub fn encode(&self, signer: &Signer, user: &UserId, namespace: Namespace) -> String {
        let began_at = self.began_at.0.to_string();
        let signature = signer.sign(
            Purpose::Pid,
            &[user.as_str(), namespace.name(), &self.sid, &began_at],
        );
        format!("{}.{began_at}.{signature}", self.sid)
    }

    /// Reads what a client passed back; `None` unless it was given to this user in this namespace.
    #[must_use]
    pub fn parse(text: &str, signer: &Signer, user: &UserId, namespace: Namespace) -> Option<Self> {
        let mut parts = text.split('.');
        let (sid, began_at, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some()
            || !signer.verify(
                Purpose::Pid,
                &[user.as_str(), namespace.name(), sid, began_at],
                signature,
            )
        {
            return None;
        }
        Some(Self {
            sid: sid.to_owned(),
            began_at: Offset(began_at.parse().ok()?),
        })
    }
}

/// Where a client that connects wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It is new.
    Fresh,
    /// It had this session and came this far.
    Recover {
        /// The session.
        pid: Pid,
        /// How far it came.
        from: Offset,
    },
    /// It does not take part in recovery and says how far it came.
    Since(Offset),
}

/// What a client that connects is sent besides `authenticated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Nothing.
    Nothing,
    /// Each change after the offset, then the counts.
    Replay(Offset),
    /// The newest items after the offset, as one batch.
    Batch(Offset),
}

impl Resume {
    /// What this client is sent, and the session it keeps, if it keeps it.
    #[must_use]
    pub fn decide(self, head: &Head) -> (Option<Pid>, CatchUp) {
        // Every visible change has a number and no number is left out.
        let missed = |from: Offset| head.seq.saturating_sub(from.0);
        match self {
            Self::Fresh => (None, CatchUp::Nothing),
            // It knows more than there is: not of this inbox.
            Self::Recover { from, .. } | Self::Since(from) if from.0 > head.seq => {
                (None, CatchUp::Batch(Offset(0)))
            }
            Self::Recover { from, .. } | Self::Since(from) if missed(from) > MAX_REPLAYED => {
                (None, CatchUp::Batch(from))
            }
            Self::Recover { pid, from } => (Some(pid), CatchUp::Replay(from)),
            Self::Since(from) => (None, CatchUp::Replay(from)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn an_offset_is_told_from_any_other_string() {
        assert_eq!(Offset::parse(&Offset(7).encode()), Some(Offset(7)));
        for other in ["", "7", "user string", "\u{1f}", "\u{1f}x", "\u{1f}-1"] {
            assert_eq!(Offset::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_pid_is_good_for_its_user_and_namespace() {
        let signer = Signer::new(b"secret");
        let user = UserId::parse("u1").unwrap();
        let pid = Pid {
            sid: "s1".to_owned(),
            began_at: Offset(3),
        };
        let text = pid.encode(&signer, &user, Namespace::Root);
        let parse = |text: &str, user: &str, namespace| {
            Pid::parse(text, &signer, &UserId::parse(user).unwrap(), namespace)
        };
        assert_eq!(parse(&text, "u1", Namespace::Root), Some(pid));
        assert_eq!(parse(&text, "u2", Namespace::Root), None);
        assert_eq!(parse(&text, "u1", Namespace::Notifications), None);
        for forged in [
            "",
            "s1",
            "s1.3",
            "s1.4.AAAAAAAAAAAAAAAA",
            &format!("{text}.x"),
            &text.replacen('3', "2", 1),
        ] {
            assert_eq!(parse(forged, "u1", Namespace::Root), None, "{forged}");
        }
    }

    #[test]
    fn what_a_client_gets_depends_on_how_much_it_missed() {
        let head = Head {
            seq: 500,
            ..Head::new(UserId::parse("u1").unwrap())
        };
        let pid = Pid {
            sid: "s1".to_owned(),
            began_at: Offset(3),
        };
        let recover = |from| Resume::Recover {
            pid: pid.clone(),
            from: Offset(from),
        };
        for (resume, expected) in [
            (Resume::Fresh, (None, CatchUp::Nothing)),
            (recover(500), (Some(pid.clone()), CatchUp::Replay(Offset(500)))),
            (recover(400), (Some(pid.clone()), CatchUp::Replay(Offset(400)))),
            (recover(399), (None, CatchUp::Batch(Offset(399)))),
            (recover(501), (None, CatchUp::Batch(Offset(0)))),
            (Resume::Since(Offset(400)), (None, CatchUp::Replay(Offset(400)))),
            (Resume::Since(Offset(0)), (None, CatchUp::Batch(Offset(0)))),
            (Resume::Since(Offset(900)), (None, CatchUp::Batch(Offset(0)))),
        ] {
            let asked = format!("{resume:?}");
            assert_eq!(resume.decide(&head), expected, "{asked}");
        }
    }
}
