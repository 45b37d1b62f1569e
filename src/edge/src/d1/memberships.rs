//! Who is in which shared room, as the membership API says it.
//!
//! The hubs decide; what the API says reaches them as entries of their users' own logs, appended in the
//! transaction that writes the rows here.

use dormouse_domain::id::UserId;
use dormouse_domain::member_changes::MemberChanges;
use dormouse_domain::membership::MAX_ROOMS;
use dormouse_domain::room::{Room, SharedRoom};
use dormouse_domain::time::Timestamp;
use serde::Deserialize;
use wasm_bindgen::JsValue;
use worker::{D1Result, Result, console_warn};

use super::{Database, corrupt, missing, number, timestamp};

/// Of the users ?1, those who would be put into room ?2 and are in ?3 rooms already.
const READ_FULL: &str = "
SELECT f.value AS user_id FROM json_each(?1) AS f
WHERE NOT EXISTS (
    SELECT 1 FROM memberships WHERE user_id = f.value AND room = ?2 AND source = 'api' AND removed_at IS NULL)
  AND (SELECT COUNT(*) FROM memberships WHERE user_id = f.value AND source = 'api' AND removed_at IS NULL) >= ?3";

/// True unless there is one of them. Once they are in the room there is none, so that within one transaction the
/// condition holds for every statement or none.
const NOBODY_IS_FULL: &str = "
NOT EXISTS (
  SELECT 1 FROM json_each(?1) AS f
  WHERE NOT EXISTS (
      SELECT 1 FROM memberships WHERE user_id = f.value AND room = ?2 AND source = 'api' AND removed_at IS NULL)
    AND (SELECT COUNT(*) FROM memberships WHERE user_id = f.value AND source = 'api' AND removed_at IS NULL) >= ?3)";

/// What was pushed to the room until now is not theirs.
const APPEND_ADDED: &str = "
INSERT INTO audience (room, n, kind, ref, created_at)
SELECT 'user:' || u.value, COALESCE((SELECT MAX(n) FROM audience WHERE room = 'user:' || u.value), 0) + 1, 'member_add',
  json_array(?2, COALESCE((SELECT MAX(n) FROM audience WHERE room = ?2), 0)), ?4
FROM json_each(?1) AS u
WHERE NOT EXISTS (
    SELECT 1 FROM memberships WHERE user_id = u.value AND room = ?2 AND source = 'api' AND removed_at IS NULL)
  AND ";

const INSERT_ADDED: &str = "
INSERT INTO memberships (user_id, room, source, since, created_at)
SELECT u.value, ?2, 'api', COALESCE((SELECT MAX(n) FROM audience WHERE room = ?2), 0), ?4
FROM json_each(?1) AS u
WHERE NOT EXISTS (
    SELECT 1 FROM memberships WHERE user_id = u.value AND room = ?2 AND source = 'api' AND removed_at IS NULL)
  AND ";

/// A row that was removed is taken again.
const TAKE_AGAIN: &str = "
ON CONFLICT (user_id, room, source) DO UPDATE SET
  since = excluded.since, created_at = excluded.created_at, removed_at = NULL";

/// What was pushed to the room until now is still theirs. A token may have put somebody into a department before
/// the record knows of it.
const APPEND_REMOVED: &str = "
INSERT INTO audience (room, n, kind, ref, created_at)
SELECT 'user:' || u.value, COALESCE((SELECT MAX(n) FROM audience WHERE room = 'user:' || u.value), 0) + 1, 'member_remove',
  json_array(?2, COALESCE((SELECT MAX(n) FROM audience WHERE room = ?2), 0), CAST(?4 AS INTEGER)), ?4
FROM json_each(?5) AS u
WHERE (substr(?2, 1, 5) = 'dept:' OR EXISTS (
    SELECT 1 FROM memberships WHERE user_id = u.value AND room = ?2 AND removed_at IS NULL))
  AND ";

const UPDATE_REMOVED: &str = "
UPDATE memberships SET removed_at = ?4
WHERE user_id IN (SELECT value FROM json_each(?5)) AND room = ?2 AND removed_at IS NULL AND ";

const READ_ROOMS: &str = "SELECT DISTINCT room FROM memberships WHERE user_id = ?1";

const ERASE_ROOMS: &str = "DELETE FROM memberships WHERE user_id = ?1";

/// What became of changes to a room's members.
pub(crate) enum MemberChange {
    /// They are made.
    Done(MembersChanged),
    /// None is made: these users are in as many rooms as one can be.
    Full(Vec<UserId>),
}

/// Changes that were made.
pub(crate) struct MembersChanged {
    /// How many were put in who were not in it.
    pub(crate) added: usize,
    /// How many were taken out who may have been in it.
    pub(crate) removed: usize,
    /// Those whose hubs are to hear of it.
    pub(crate) users: Vec<UserId>,
}

impl Database {
    /// Changes who is in a room, in one transaction. What failed is tried once more, which does nothing when
    /// only the answer was lost.
    ///
    /// # Errors
    /// When the record could not be written: then nothing of it is stored, or, if the second answer was lost
    /// too, all of it.
    pub(crate) async fn change_members(
        &self,
        room: &SharedRoom,
        changes: &MemberChanges,
        now: Timestamp,
    ) -> Result<MemberChange> {
        match self.try_change_members(room, changes, now).await {
            Ok(done) => Ok(done),
            Err(error) => {
                console_warn!("members were not changed at the first attempt: {error}");
                let mut second = self.try_change_members(room, changes, now).await?;
                if let MemberChange::Done(done) = &mut second {
                    // What the first attempt may have done, the second does not see.
                    done.users = changes.users().cloned().collect();
                }
                Ok(second)
            }
        }
    }

    async fn try_change_members(
        &self,
        room: &SharedRoom,
        changes: &MemberChanges,
        now: Timestamp,
    ) -> Result<MemberChange> {
        let [add, remove] = [&changes.add, &changes.remove].map(serde_json::to_string);
        let bound = [
            JsValue::from(add?),
            JsValue::from(room.to_string()),
            number(u64::try_from(MAX_ROOMS).unwrap_or(u64::MAX)),
            timestamp(now),
            JsValue::from(remove?),
        ];
        // Each statement is bound as many of them as it names.
        let [full, adding] = [3, 4].map(|count| bound.iter().take(count).cloned().collect::<Vec<_>>());
        let results = self
            .batch(vec![
                self.statement(READ_FULL, &full)?,
                self.statement(&format!("{APPEND_ADDED}{NOBODY_IS_FULL} RETURNING room"), &adding)?,
                self.statement(&format!("{INSERT_ADDED}{NOBODY_IS_FULL}{TAKE_AGAIN}"), &adding)?,
                self.statement(
                    &format!("{APPEND_REMOVED}{NOBODY_IS_FULL} RETURNING room"),
                    &bound,
                )?,
                self.statement(&format!("{UPDATE_REMOVED}{NOBODY_IS_FULL}"), &bound)?,
            ])
            .await?;
        let [full, added, _, removed, _] = results.as_slice() else {
            return Err(missing("what became of the members"));
        };
        let full: Vec<FullRow> = full.results()?;
        if !full.is_empty() {
            let users = full
                .iter()
                .map(|row| UserId::parse(&row.user_id).map_err(corrupt));
            return Ok(MemberChange::Full(users.collect::<Result<_>>()?));
        }
        let (added, removed) = (owners(added)?, owners(removed)?);
        Ok(MemberChange::Done(MembersChanged {
            added: added.len(),
            removed: removed.len(),
            users: added.into_iter().chain(removed).collect(),
        }))
    }

    /// Every shared room a user is or was in, as far as the record knows.
    ///
    /// # Errors
    /// When the record could not be read.
    pub(crate) async fn rooms_of(&self, user: &UserId) -> Result<Vec<SharedRoom>> {
        let answer = self.one(READ_ROOMS, &[JsValue::from(user.as_str())]).await?;
        let rows: Vec<RoomRow> = answer.results()?;
        let rooms = rows
            .iter()
            .map(|row| SharedRoom::parse(&row.room).map_err(corrupt));
        rooms.collect()
    }

    /// Forgets which rooms a user was in.
    ///
    /// # Errors
    /// When the record could not be written.
    pub(crate) async fn erase_memberships(&self, user: &UserId) -> Result<()> {
        self.one(ERASE_ROOMS, &[JsValue::from(user.as_str())])
            .await
            .map(|_| ())
    }
}

#[derive(Deserialize)]
struct FullRow {
    user_id: String,
}

#[derive(Deserialize)]
struct RoomRow {
    room: String,
}

/// The users to whose logs something was appended.
fn owners(answer: &D1Result) -> Result<Vec<UserId>> {
    let rows: Vec<RoomRow> = answer.results()?;
    let owner = |row: &RoomRow| match Room::parse(&row.room) {
        Ok(Room::User(user)) => Ok(user),
        Ok(Room::Shared(_)) | Err(_) => Err(corrupt(format!("a user's log {:?}", row.room))),
    };
    rows.iter().map(owner).collect()
}
