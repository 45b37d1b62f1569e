//! A push that comes by the queue: one message, with a key, that nobody waits for an answer to (DESIGN 9).
//!
//! It is carried out, tried again, or kept as a [dead letter](crate::dead_letter): never lost, and never done
//! twice, because its key says which push it is however often it comes.

use crate::batch::{self, BatchItem};
use crate::idempotency::IdempotencyKey;
use crate::json_object::JsonObject;
use crate::problem::Problem;
use crate::push::Push;
use crate::time::Timestamp;

/// The longest a push waits for its next attempt, in seconds.
pub const LONGEST_PUSH_DELAY_S: u64 = 600;
/// The longest a push whose attempts are used up waits until it can be kept, in seconds. With the hundred retries
/// a queue allows it is waited for about as long as a queue keeps messages unless told otherwise.
pub const LONGEST_KEEP_DELAY_S: u64 = 3_600;

/// A push of the queue that may be stored.
#[derive(Clone, Debug)]
pub struct QueuedPush {
    /// Which push it is.
    pub key: IdempotencyKey,
    /// What its body is; the same as of a push over HTTP.
    pub fingerprint: String,
    /// The push.
    pub push: Push,
}

impl QueuedPush {
    /// Reads and checks a message that came at `now`: an item of a [`batch`] that must have a key.
    ///
    /// # Errors
    /// One [`Problem`] that names every mistake, or that there is no key.
    pub fn parse(message: &str, now: Timestamp) -> Result<Self, Problem> {
        let BatchItem {
            key,
            fingerprint,
            push,
        } = batch::read(JsonObject::parse_body(message)?, message, now)?;
        Ok(Self {
            key: key.ok_or_else(batch::no_key)?,
            fingerprint,
            push,
        })
    }
}

/// What is done with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done with.
    Acknowledge,
    /// It comes again.
    Retry,
    /// It would fail for ever: it is kept with the reason, and does not come again.
    Keep(Problem),
}

impl Settlement {
    /// What is done with a message for which there was this answer.
    #[must_use]
    pub fn of<T>(answer: Result<T, Problem>) -> Self {
        match answer {
            Ok(_) => Self::Acknowledge,
            Err(problem) if problem.status() >= 500 => Self::Retry,
            Err(problem) => Self::Keep(problem),
        }
    }
}

/// Seconds until the next attempt after `attempts` of them: `first_s`, doubled with each, at most `longest_s`.
#[must_use]
pub fn retry_delay_s(first_s: u64, attempts: u32, longest_s: u64) -> u64 {
    let doubled = 2_u64.saturating_pow(attempts.saturating_sub(1));
    first_s.saturating_mul(doubled).min(longest_s)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::idempotency::fingerprint;
    use crate::problem::Code;

    const NOW: Timestamp = Timestamp::from_ms(1_795_158_000_000);

    #[test]
    fn a_message_is_the_same_push_as_over_http() {
        let queued =
            QueuedPush::parse(r#"{"idempotency_key":"k", "title":"t","to":["user:1"]}"#, NOW).unwrap();
        assert_eq!(queued.key.as_str(), "k");
        assert_eq!(
            queued.fingerprint,
            fingerprint(r#"{"to":["user:1"],"title":"t"}"#)
        );
        assert_eq!(queued.push.rooms().count(), 1);
    }

    #[test]
    fn what_can_be_no_push_is_refused() {
        for (message, code, pointer) in [
            ("", "malformed_json", None),
            ("null", "malformed_json", None),
            ("[]", "malformed_json", None),
            (
                r#"{"to":["user:1"],"title":"t"}"#,
                "invalid_idempotency_key",
                Some("/idempotency_key"),
            ),
            (
                r#"{"to":["user:1"],"title":"t","idempotency_key":null}"#,
                "invalid_idempotency_key",
                Some("/idempotency_key"),
            ),
            (
                r#"{"to":["user:1"],"title":"t","idempotency_key":"a b"}"#,
                "invalid_idempotency_key",
                Some("/idempotency_key"),
            ),
            (
                r#"{"to":["user:1"],"idempotency_key":"k"}"#,
                "invalid_request",
                Some("/title"),
            ),
            (
                r#"{"to":["usr:1"],"title":"t","idempotency_key":"k"}"#,
                "invalid_recipient",
                Some("/to/0"),
            ),
        ] {
            let problem = QueuedPush::parse(message, NOW).unwrap_err();
            assert!(
                matches!(Settlement::of::<()>(Err(problem.clone())), Settlement::Keep(kept) if kept == problem)
            );
            let problem = serde_json::to_value(problem).unwrap();
            assert_eq!(problem["code"], code, "{message}");
            assert_eq!(
                problem["errors"][0]["pointer"],
                pointer.map_or(Value::Null, Value::from),
                "{message}"
            );
        }
    }

    #[test]
    fn only_what_another_attempt_may_change_comes_again() {
        for (code, settlement) in [
            (Code::Unavailable, Settlement::Retry),
            (Code::Misconfigured, Settlement::Retry),
            (
                Code::IdempotencyMismatch,
                Settlement::Keep(Problem::new(Code::IdempotencyMismatch)),
            ),
            (Code::Gone, Settlement::Keep(Problem::new(Code::Gone))),
            (
                Code::UnknownTemplate,
                Settlement::Keep(Problem::new(Code::UnknownTemplate)),
            ),
        ] {
            assert_eq!(Settlement::of::<()>(Err(Problem::new(code))), settlement);
        }
        assert_eq!(Settlement::of(Ok(())), Settlement::Acknowledge);
    }

    #[test]
    fn each_attempt_doubles_the_delay_up_to_the_longest() {
        let delays: Vec<_> = (1..=9).map(|attempts| retry_delay_s(5, attempts, 600)).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(retry_delay_s(5, 0, 600), 5);
        assert_eq!(retry_delay_s(5, u32::MAX, 600), 600);
        assert_eq!(retry_delay_s(0, 100, 600), 0);
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(message in "(?s).{0,200}") {
            let _ = QueuedPush::parse(&message, NOW);
            let _ = QueuedPush::parse(&format!(r#"{{"idempotency_key":{message}}}"#), NOW);
        }
    }
}
