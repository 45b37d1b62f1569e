//! Who is in which shared room.

use dormouse_domain::id::UserId;
use dormouse_domain::room::SharedRoom;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::Result;

use super::{Database, corrupt};

impl Database {
    /// Every shared room the user was ever in.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn rooms_of(&self, user: &UserId) -> Result<Vec<SharedRoom>> {
        #[derive(Deserialize)]
        struct Row {
            room: String,
        }
        let bound = [JsValue::from(user.as_str())];
        let rows: Vec<Row> = self
            .one("SELECT DISTINCT room FROM memberships WHERE user_id = ?1", &bound)
            .await?
            .results()?;
        rows.into_iter()
            .map(|row| SharedRoom::parse(&row.room).map_err(corrupt))
            .collect()
    }

    /// Removes all that is known of the rooms a user was in.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn erase_memberships(&self, user: &UserId) -> Result<()> {
        self.one(
            "DELETE FROM memberships WHERE user_id = ?1",
            &[JsValue::from(user.as_str())],
        )
        .await
        .map(|_| ())
    }
}
