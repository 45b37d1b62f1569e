//! Messages of the queue that were not carried out.

use dormouse_domain::dead_letter::{DeadLetter, DeadLettersRequest};
use dormouse_domain::id::DeadLetterId;
use serde::Deserialize;
use serde_json::value::RawValue;
use wasm_bindgen::JsValue;
use worker::{Error, Result};

use super::{Database, Deleted, corrupt, from_number, number, timestamp};

/// A message that comes again is the one that is there.
const KEEP_LETTER: &str = "
INSERT INTO dead_letters (id, received_at, body, problem) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING";

const LIST_LETTERS: &str = "
SELECT id, received_at, body, problem FROM dead_letters WHERE id > ?1 ORDER BY id LIMIT ?2";

const READ_LETTER: &str = "SELECT body FROM dead_letters WHERE id = ?1";

const DELETE_LETTER: &str = "DELETE FROM dead_letters WHERE id = ?1";

/// A message for nobody but this user, whatever else is wrong with it. Like [`LEAVE_LETTERS`] it goes through
/// all there are, which should be few.
pub(super) const DELETE_ADDRESSED: &str = "
DELETE FROM dead_letters
WHERE CASE WHEN json_valid(body) THEN
    EXISTS (SELECT 1 FROM json_each(body, '$.to') WHERE value = ?1)
    AND NOT EXISTS (SELECT 1 FROM json_each(body, '$.to') WHERE value <> ?1)
  ELSE false END";

pub(super) const LEAVE_LETTERS: &str = "
UPDATE dead_letters SET body =
  json_set(body, '$.to', (SELECT json_group_array(value) FROM json_each(body, '$.to') WHERE value <> ?1))
WHERE CASE WHEN json_valid(body) THEN EXISTS (SELECT 1 FROM json_each(body, '$.to') WHERE value = ?1) ELSE false END";

impl Database {
    /// Keeps a message that was not carried out.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn keep_letter(&self, letter: &DeadLetter) -> Result<()> {
        let row = [
            JsValue::from(letter.id.to_string()),
            timestamp(letter.received_at),
            JsValue::from(&letter.body),
            JsValue::from(letter.problem.get()),
        ];
        self.one(KEEP_LETTER, &row).await.map(|_| ())
    }

    /// What was not carried out, in the order it was sent. One more than the limit is read, so that the caller
    /// sees whether more follow.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn list_letters(&self, page: DeadLettersRequest) -> Result<Vec<DeadLetter>> {
        let limit = u64::try_from(page.limit)
            .map_err(|error| Error::RustError(error.to_string()))?
            .saturating_add(1);
        let bound = [
            JsValue::from(page.after.map(|id| id.to_string()).unwrap_or_default()),
            number(limit),
        ];
        let rows: Vec<LetterRow> = self.one(LIST_LETTERS, &bound).await?.results()?;
        rows.into_iter().map(LetterRow::into_letter).collect()
    }

    /// A message that was not carried out; `None` when there is none of this id.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn read_letter(&self, id: DeadLetterId) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Row {
            body: String,
        }
        let bound = [JsValue::from(id.to_string())];
        let rows: Vec<Row> = self.one(READ_LETTER, &bound).await?.results()?;
        Ok(rows.into_iter().next().map(|row| row.body))
    }

    /// Forgets a message that was not carried out.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn delete_letter(&self, id: DeadLetterId) -> Result<Deleted> {
        let bound = [JsValue::from(id.to_string())];
        let meta = self.one(DELETE_LETTER, &bound).await?.meta()?;
        Ok(match meta.and_then(|meta| meta.changes).unwrap_or_default() {
            0 => Deleted::NotThere,
            _ => Deleted::Deleted,
        })
    }
}

#[derive(Deserialize)]
struct LetterRow {
    id: String,
    received_at: f64,
    body: String,
    problem: String,
}

impl LetterRow {
    fn into_letter(self) -> Result<DeadLetter> {
        Ok(DeadLetter {
            id: DeadLetterId::parse(&self.id).map_err(corrupt)?,
            received_at: from_number(self.received_at),
            problem: RawValue::from_string(self.problem)?,
            body: self.body,
        })
    }
}
