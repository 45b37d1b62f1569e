//! Messages that come from a queue, where the `worker` crate leaves something to be wished for: how often one has
//! come, and a body of whatever kind the producer has sent.

use dormouse_domain::time::Timestamp;
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{ArrayBuffer, JSON, Reflect, Uint8Array};
use worker::worker_sys::{self, MessageBatch};
use worker::{Env, Error, MessageExt, QueueRetryOptionsBuilder, RawMessage, Result, console_error};

use crate::bindings::{self, Consumed};
use crate::log::{At, Outcome, Trace};
use crate::{entropy, nudges, pushes};

/// Takes a batch of one of the queues.
pub(crate) async fn consume(batch: MessageBatch, env: &Env) {
    let trace = Trace::begin(entropy::sid().unwrap_or_default());
    let name = batch.queue().map(String::from).unwrap_or_default();
    let (Some(consumed), Ok(messages)) = (bindings::consumed(&name), Message::all(&batch)) else {
        // Nobody has looked at them: they are not to be taken for settled.
        console_error!("nobody takes what came from the queue {name:?}");
        worker::MessageBatch::<()>::from(batch).retry_all();
        trace.end(env, At::Queue, Outcome::Refused("UNKNOWN_QUEUE"));
        return;
    };
    match consumed {
        Consumed::Nudges => {
            trace.operation("nudges");
            nudges::consume(&batch.into(), env).await;
        }
        Consumed::Pushes => {
            trace.operation("pushes");
            pushes::consume(messages, env).await;
        }
        Consumed::DeadPushes => {
            trace.operation("dead_pushes");
            pushes::bury(messages, env).await;
        }
    }
    trace.end(env, At::Queue, Outcome::Done);
}

/// A message that is to be settled: one that is neither acknowledged nor asked for again is gone.
pub(crate) struct Message {
    raw: RawMessage,
    /// How often it has come, this time included.
    pub(crate) attempts: u32,
}

impl Message {
    /// The messages of a batch.
    ///
    /// # Errors
    /// When the platform does not hand them over.
    pub(crate) fn all(batch: &MessageBatch) -> Result<Vec<Self>> {
        let messages = batch.messages().map_err(Error::from)?;
        Ok(messages.iter().map(Self::new).collect())
    }

    fn new(message: JsValue) -> Self {
        let attempts = Reflect::get(&message, &JsValue::from("attempts"));
        Self {
            attempts: attempts.map_or(1, |attempts| count(&attempts)),
            raw: message.unchecked_into::<worker_sys::Message>().into(),
        }
    }

    /// What the queue calls it: the same each time it comes.
    pub(crate) fn id(&self) -> String {
        self.raw.id()
    }

    /// When it was sent: the same each time it comes.
    pub(crate) fn sent_at(&self) -> Timestamp {
        Timestamp::from_ms(self.raw.timestamp().as_millis())
    }

    /// The JSON it is: a text as it is, bytes as UTF-8, anything else as JavaScript writes it. Empty for what is
    /// no JSON.
    pub(crate) fn text(&self) -> String {
        let body = self.raw.body();
        if let Some(text) = body.as_string() {
            return text;
        }
        if body.is_instance_of::<ArrayBuffer>() || body.is_instance_of::<Uint8Array>() {
            return String::from_utf8_lossy(&Uint8Array::new(&body).to_vec()).into_owned();
        }
        let json = JSON::stringify(&body).ok();
        json.and_then(|json| json.as_string()).unwrap_or_default()
    }

    /// It is done with.
    pub(crate) fn acknowledge(&self) {
        self.raw.ack();
    }

    /// It comes again.
    pub(crate) fn retry_after(&self, delay_s: u64) {
        let delay_s = u32::try_from(delay_s).unwrap_or(u32::MAX);
        let options = QueueRetryOptionsBuilder::new()
            .with_delay_seconds(delay_s)
            .build();
        self.raw.retry_with_options(&options);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and nothing comes four billion times"
)]
fn count(value: &JsValue) -> u32 {
    value.as_f64().map_or(1, |count| count as u32)
}
