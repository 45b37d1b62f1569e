//! The queue `pushes` (DESIGN 9): what other Workers push without waiting for an answer. A batch is carried out
//! together, and each message is settled by itself: done with, asked for again, or kept as a dead letter. The
//! messages whose attempts are used up come by a queue of their own.

use std::{iter, slice};

use dormouse_domain::dead_letter::DeadLetter;
use dormouse_domain::id::DeadLetterId;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::push::Recipient;
use dormouse_domain::queued_push::{
    LONGEST_KEEP_DELAY_S, LONGEST_PUSH_DELAY_S, QueuedPush, Settlement, retry_delay_s,
};
use dormouse_domain::time::Timestamp;
use serde_json::value::to_raw_value;
use worker::{Env, Error, Result, console_error, console_warn};

use crate::d1::Claim;
use crate::dispatch::{Answer, Asked, dispatch};
use crate::instruments::{FailPoint, reach};
use crate::queue::Message;
use crate::{bindings, clock, settings};

/// What a push over HTTP would be answered.
type Answered = std::result::Result<Answer, Problem>;

/// Whose the keys of these pushes are. A service key's begin with `push `, so that no key of one is taken for one
/// of these.
const SCOPE: &str = "queue";

/// Carries out a batch of pushes. One that can be no push holds up none: it is kept after the others are stored.
pub(crate) async fn consume(messages: Vec<Message>, env: &Env) {
    let now = clock::now();
    let (mut taken, mut pushes, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for message in messages {
        match QueuedPush::parse(&message.text(), now) {
            Ok(push) => {
                warn_of_rejected(&push);
                taken.push(message);
                pushes.push(push);
            }
            Err(problem) => refused.push((message, Settlement::of::<()>(Err(problem)))),
        }
    }
    let answers = carry_out(env, &pushes, now).await.into_iter();
    // One without an answer would be taken for settled.
    let settlements = answers.map(Settlement::of).chain(iter::repeat(Settlement::Retry));
    for (message, settlement) in taken.into_iter().zip(settlements).chain(refused) {
        settle(env, &message, settlement, now).await;
    }
}

/// Keeps pushes whose attempts are used up, and says why if the message itself does.
pub(crate) async fn bury(messages: Vec<Message>, env: &Env) {
    let now = clock::now();
    for message in messages {
        let problem = QueuedPush::parse(&message.text(), now).err();
        let problem = problem.unwrap_or_else(|| Problem::new(Code::RetriesExhausted));
        match keep(env, &message, &problem, now).await {
            Ok(()) => message.acknowledge(),
            Err(_) => retry(env, &message, LONGEST_KEEP_DELAY_S),
        }
    }
}

/// What somebody asks for who sends this push, or sends it again.
pub(crate) fn ask(queued: &QueuedPush) -> Asked {
    Asked {
        push: queued.push.clone(),
        claim: Some(Claim {
            scope: SCOPE.to_owned(),
            key: queued.key.clone(),
            fingerprint: queued.fingerprint.clone(),
        }),
    }
}

/// Stores pushes in one transaction; when that fails, each by itself, so that one that can't be stored holds up
/// no other. An answer for each, in the same order.
async fn carry_out(env: &Env, pushes: &[QueuedPush], now: Timestamp) -> Vec<Answered> {
    let error = match dispatch_all(env, pushes, now).await {
        Ok(answers) => return answers,
        Err(error) if pushes.len() == 1 => return vec![Err(failed(&error))],
        Err(error) => error,
    };
    console_error!("pushes of the queue could not be stored together: {error}");
    let mut answers = Vec::with_capacity(pushes.len());
    for push in pushes {
        match dispatch_all(env, slice::from_ref(push), now).await {
            Ok(answered) => answers.extend(answered),
            Err(error) => answers.push(Err(failed(&error))),
        }
    }
    answers
}

async fn dispatch_all(env: &Env, pushes: &[QueuedPush], now: Timestamp) -> Result<Vec<Answered>> {
    if pushes.is_empty() {
        return Ok(Vec::new());
    }
    dispatch(env, pushes.iter().map(ask).collect(), now).await
}

/// Nobody else is told of recipients that can't be addressed, while there are others.
fn warn_of_rejected(queued: &QueuedPush) {
    let recipients = queued.push.recipients.iter();
    let rejected = recipients.filter(|recipient| matches!(recipient, Recipient::Rejected { .. }));
    match rejected.count() {
        0 => {}
        rejected => console_warn!("{rejected} recipients of a push of the queue can't be addressed"),
    }
}

fn failed(error: &Error) -> Problem {
    console_error!("a push of the queue is not stored yet: {error}");
    Problem::new(Code::Unavailable)
}

async fn settle(env: &Env, message: &Message, settlement: Settlement, now: Timestamp) {
    match settlement {
        Settlement::Acknowledge => message.acknowledge(),
        Settlement::Retry => retry(env, message, LONGEST_PUSH_DELAY_S),
        Settlement::Keep(problem) => match keep(env, message, &problem, now).await {
            Ok(()) => message.acknowledge(),
            Err(_) => retry(env, message, LONGEST_PUSH_DELAY_S),
        },
    }
}

/// While the settings are wrong it is the longest delay.
fn retry(env: &Env, message: &Message, longest_s: u64) {
    let delay_s = settings::load(env).map_or(longest_s, |config| {
        retry_delay_s(config.queue_retry_delay_s, message.attempts, longest_s)
    });
    message.retry_after(delay_s);
}

/// Keeps a message as a dead letter. What fails is logged.
async fn keep(env: &Env, message: &Message, problem: &Problem, now: Timestamp) -> Result<()> {
    let id = DeadLetterId::of_message(&message.id(), message.sent_at());
    let kept = async {
        let letter = DeadLetter {
            id,
            received_at: now,
            problem: to_raw_value(problem)?,
            body: message.text(),
        };
        reach(FailPoint::LetterBeforeKeep).await?;
        bindings::record(env)?.keep_letter(&letter).await?;
        reach(FailPoint::LetterKept).await
    }
    .await;
    match &kept {
        Ok(()) => console_warn!("a push of the queue is the dead letter {id} now"),
        Err(error) => console_error!("the dead letter {id} could not be kept: {error}"),
    }
    kept
}
