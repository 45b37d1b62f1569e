-- What services define once and then name in a push.

-- Versions of templates count 1, 2, 3... for each key; the highest is the one in use. Of a deleted template the highest
-- stays, without its body: the next version is taken from it, so that a number never names two bodies.
CREATE TABLE templates (
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  body TEXT,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (key, version)
) WITHOUT ROWID;

-- Notification types by id.
CREATE TABLE types (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  icon TEXT,
  color TEXT,
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;
