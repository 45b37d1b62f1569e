-- The record: what was pushed, to whom, and what became of it.

-- One row per push, whatever the audience. `audience` is the JSON list of [room, n] it was appended as.
CREATE TABLE notifications (
  id TEXT NOT NULL PRIMARY KEY,
  created_at INTEGER NOT NULL,
  content TEXT NOT NULL,
  audience TEXT NOT NULL
) WITHOUT ROWID;

-- Every room is a log, a user being the room `user:ID`: n counts 1, 2, 3... in each.
-- The highest row of a room is never deleted: the next n is taken from it.
CREATE TABLE audience (
  room TEXT NOT NULL,
  n INTEGER NOT NULL,
  kind TEXT NOT NULL,
  ref TEXT NOT NULL,
  PRIMARY KEY (room, n)
) WITHOUT ROWID;

-- What became of a notification for one user. Written by the push, then only by the user's object.
CREATE TABLE deliveries (
  notification_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  delivered_at INTEGER,
  seen_at INTEGER,
  read_at INTEGER,
  archived_at INTEGER,
  deleted_at INTEGER,
  PRIMARY KEY (notification_id, user_id)
) WITHOUT ROWID;

-- Which push an Idempotency-Key stands for. `scope` is the credential and the route.
CREATE TABLE idempotency (
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  notification_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) WITHOUT ROWID;
