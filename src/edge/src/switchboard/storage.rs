//! All SQL of a switchboard: its roster, who was in it, the walks that are under way, and what else it must
//! not forget.
//!
//! Nothing is created before something is to be stored. A user who comes costs a row written, one who leaves
//! two: that they leave, so that they do after an eviction too, and that they are out. A hub that says the same
//! again costs none.

use std::cell::Cell;

use dormouse_domain::id::UserId;
use dormouse_domain::switchboard::board::Board;
use dormouse_domain::switchboard::roster::{Member, Roster, Seen};
use dormouse_domain::switchboard::walk::Progress;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use worker::{Error, Result, SqlStorage, SqlStorageValue, State};

use crate::instruments::count_rows;
use crate::switchboard_rpc::FanOut;

/// The first version. What is told by JSON has a test in the domain that pins it.
const SCHEMA: &str = "
CREATE TABLE board (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  board TEXT NOT NULL
);
CREATE TABLE roster (
  user_id TEXT NOT NULL PRIMARY KEY,
  member TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE seen (
  user_id TEXT NOT NULL PRIMARY KEY,
  seen TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  fan_out TEXT NOT NULL,
  progress TEXT NOT NULL
);
";

/// The switchboard's database.
pub(super) struct Storage {
    sql: SqlStorage,
    /// Whether the tables were found; they never go again.
    found: Cell<bool>,
}

/// A walk that is under way.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) fan_out: FanOut,
    pub(super) progress: Progress,
}

impl Storage {
    pub(super) fn new(state: &State) -> Self {
        let sql = state.storage().sql();
        Self {
            sql,
            found: Cell::default(),
        }
    }

    // ---- the board ----

    /// What it must not forget; `None` before there is anything.
    pub(super) fn board(&self) -> Result<Option<Board>> {
        #[derive(Deserialize)]
        struct Row {
            board: String,
        }
        let rows: Vec<Row> = self.read("SELECT board FROM board", vec![])?;
        let row = rows.first();
        Ok(row.map(|row| serde_json::from_str(&row.board)).transpose()?)
    }

    pub(super) fn set_board(&self, board: &Board) -> Result<()> {
        self.write(
            "INSERT INTO board (id, version, board) VALUES (1, 1, ?1)
             ON CONFLICT (id) DO UPDATE SET board = excluded.board",
            vec![json(board)?],
        )
    }

    // ---- the roster ----

    /// Everybody who is online, and when they were last seen to leave.
    pub(super) fn roster(&self) -> Result<Roster> {
        #[derive(Deserialize)]
        struct Row {
            user_id: String,
            member: String,
            seen: Option<String>,
        }
        let rows: Vec<Row> = self.read(
            "SELECT r.user_id, r.member, s.seen FROM roster AS r LEFT JOIN seen AS s ON s.user_id = r.user_id",
            vec![],
        )?;
        let member = |row: Row| {
            let member: Member = serde_json::from_str(&row.member)?;
            let seen: Option<Seen> = row.seen.map(|seen| serde_json::from_str(&seen)).transpose()?;
            Ok((user(&row.user_id)?, member, seen))
        };
        rows.into_iter().map(member).collect()
    }

    /// Somebody is online, or online in another way.
    pub(super) fn put(&self, user: &UserId, member: &Member) -> Result<()> {
        self.write(
            "INSERT INTO roster (user_id, member) VALUES (?1, ?2)
             ON CONFLICT (user_id) DO UPDATE SET member = excluded.member",
            vec![user.as_str().into(), json(member)?],
        )
    }

    /// When somebody was seen to leave.
    pub(super) fn see(&self, user: &UserId, seen: &Seen) -> Result<()> {
        self.write(
            "INSERT INTO seen (user_id, seen) VALUES (?1, ?2)
             ON CONFLICT (user_id) DO UPDATE SET seen = excluded.seen",
            vec![user.as_str().into(), json(seen)?],
        )
    }

    /// Somebody is not in the roster any more.
    pub(super) fn remove(&self, user: &UserId) -> Result<()> {
        let bound = vec![user.as_str().into()];
        self.write("DELETE FROM roster WHERE user_id = ?1", bound)
    }

    /// Nobody knows any more when somebody was last seen.
    pub(super) fn unsee(&self, user: &UserId) -> Result<()> {
        let bound = vec![user.as_str().into()];
        self.write("DELETE FROM seen WHERE user_id = ?1", bound)
    }

    /// Nobody who was here comes back here.
    pub(super) fn unsee_all(&self) -> Result<()> {
        self.write("DELETE FROM seen", vec![])
    }

    /// What is known of those of these users who were here, when they were offline last.
    pub(super) fn seen(&self, users: &[&UserId]) -> Result<Vec<(UserId, Seen)>> {
        #[derive(Deserialize)]
        struct Row {
            user_id: String,
            seen: String,
        }
        let rows: Vec<Row> = self.read(
            "SELECT s.user_id, s.seen FROM json_each(?1) AS u CROSS JOIN seen AS s ON s.user_id = u.value",
            vec![json(&users)?],
        )?;
        let seen = |row: Row| {
            let seen: Seen = serde_json::from_str(&row.seen)?;
            Ok((user(&row.user_id)?, seen))
        };
        rows.into_iter().map(seen).collect()
    }

    // ---- walks ----

    /// A walk begins; gives its id.
    pub(super) fn begin(&self, fan_out: &FanOut) -> Result<u64> {
        #[derive(Deserialize)]
        struct Row {
            id: f64,
        }
        self.create()?;
        let rows: Vec<Row> = self.read(
            "INSERT INTO jobs (fan_out, progress) VALUES (?1, ?2) RETURNING id",
            vec![json(fan_out)?, json(&Progress::default())?],
        )?;
        let row = rows.first();
        row.map(|row| unsigned(row.id))
            .ok_or_else(|| corrupt("a walk without an id"))
    }

    /// Every walk that is under way, in the order in which they were begun.
    pub(super) fn jobs(&self) -> Result<Vec<Job>> {
        self.read_jobs("SELECT id, fan_out, progress FROM jobs ORDER BY id", vec![])
    }

    /// What a walk brings.
    pub(super) fn job(&self, id: u64) -> Result<Option<Job>> {
        let bound = vec![integer(id)?];
        let jobs = self.read_jobs("SELECT id, fan_out, progress FROM jobs WHERE id = ?1", bound)?;
        Ok(jobs.into_iter().next())
    }

    fn read_jobs(&self, sql: &str, bound: Vec<SqlStorageValue>) -> Result<Vec<Job>> {
        #[derive(Deserialize)]
        struct Row {
            id: f64,
            fan_out: String,
            progress: String,
        }
        let rows: Vec<Row> = self.read(sql, bound)?;
        let job = |row: Row| {
            Ok(Job {
                id: unsigned(row.id),
                fan_out: serde_json::from_str(&row.fan_out)?,
                progress: serde_json::from_str(&row.progress)?,
            })
        };
        rows.into_iter().map(job).collect()
    }

    /// A walk has come this far.
    pub(super) fn advance(&self, id: u64, progress: &Progress) -> Result<()> {
        self.write(
            "UPDATE jobs SET progress = ?2 WHERE id = ?1",
            vec![integer(id)?, json(progress)?],
        )
    }

    /// A walk is over.
    pub(super) fn end(&self, id: u64) -> Result<()> {
        self.write("DELETE FROM jobs WHERE id = ?1", vec![integer(id)?])
    }

    // ---- statements ----

    fn create(&self) -> Result<()> {
        if !self.exists()? {
            self.sql.exec(SCHEMA, None)?;
            self.found.set(true);
        }
        Ok(())
    }

    fn exists(&self) -> Result<bool> {
        #[derive(Deserialize)]
        struct Row {}
        if !self.found.get() {
            let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'jobs'";
            let tables: Vec<Row> = self.sql.exec(sql, None)?.to_array()?;
            self.found.set(!tables.is_empty());
        }
        Ok(self.found.get())
    }

    fn write(&self, sql: &str, bound: Vec<SqlStorageValue>) -> Result<()> {
        #[derive(Deserialize)]
        struct Nothing {}
        self.create()?;
        self.read::<Nothing>(sql, bound).map(|_| ())
    }

    /// The rows of a statement; none while there are no tables.
    fn read<T: DeserializeOwned>(&self, sql: &str, bound: Vec<SqlStorageValue>) -> Result<Vec<T>> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let cursor = self.sql.exec(sql, bound)?;
        let rows = cursor.to_array()?;
        count_rows(&cursor);
        Ok(rows)
    }
}

fn json<T: Serialize>(value: &T) -> Result<SqlStorageValue> {
    Ok(serde_json::to_string(value)?.into())
}

fn user(id: &str) -> Result<UserId> {
    UserId::parse(id).map_err(corrupt)
}

fn integer(value: u64) -> Result<SqlStorageValue> {
    let value = i64::try_from(value).map_err(corrupt)?;
    SqlStorageValue::try_from_i64(value)
}

fn unsigned(value: f64) -> u64 {
    crate::d1::from_number(value).as_ms()
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::RustError(format!("the switchboard holds something unreadable: {error}"))
}
