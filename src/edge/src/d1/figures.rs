//! What the record says of itself, for `GET /v1/metrics`. Each count ends at [`MAX_COUNTED`], so that the look costs
//! about the same whatever there is.

use std::slice;

use dormouse_domain::id::NotificationId;
use dormouse_domain::open_metrics::{MAX_COUNTED, RecordFigures};
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::Result;

use super::{Database, missing, timestamp};

const COUNT_PUSHES: &str = "
SELECT COUNT(*) AS count FROM (SELECT 1 FROM notifications WHERE id >= ?1 LIMIT ?2)";

/// Any time is above 0: the condition is for the index.
const COUNT_SCHEDULED: &str = "
SELECT COUNT(*) AS count FROM (SELECT 1 FROM scheduled WHERE canceled_at IS NULL AND deliver_at >= 0 LIMIT ?1)";

const COUNT_DUE: &str = "
SELECT COUNT(*) AS count FROM (SELECT 1 FROM scheduled WHERE canceled_at IS NULL AND deliver_at <= ?1 LIMIT ?2)";

/// Any id is above the empty text.
const COUNT_LETTERS: &str = "
SELECT COUNT(*) AS count FROM (SELECT 1 FROM dead_letters WHERE id > '' LIMIT ?1)";

/// What counts as lately pushed, in milliseconds.
const MINUTE_MS: u64 = 60_000;

impl Database {
    /// The figures at `now`.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn figures(&self, now: Timestamp) -> Result<RecordFigures> {
        #[derive(Deserialize)]
        struct Row {
            count: u64,
        }
        let a_minute_ago = Timestamp::from_ms(now.as_ms().saturating_sub(MINUTE_MS));
        let first = NotificationId::generate(a_minute_ago, [0; 10]).to_string();
        let most = JsValue::from(MAX_COUNTED);
        let results = self
            .batch(vec![
                self.statement(COUNT_PUSHES, &[JsValue::from(first), most.clone()])?,
                self.statement(COUNT_SCHEDULED, slice::from_ref(&most))?,
                self.statement(COUNT_DUE, &[timestamp(now), most.clone()])?,
                self.statement(COUNT_LETTERS, &[most])?,
            ])
            .await?;
        let mut counts = Vec::with_capacity(results.len());
        for result in &results {
            counts.extend(result.results::<Row>()?.first().map(|row| row.count));
        }
        let [pushes_last_minute, scheduled_pushes, due_pushes, dead_letters] = counts.as_slice() else {
            return Err(missing("an answer"));
        };
        Ok(RecordFigures {
            pushes_last_minute: *pushes_last_minute,
            scheduled_pushes: *scheduled_pushes,
            due_pushes: *due_pushes,
            dead_letters: *dead_letters,
        })
    }
}
