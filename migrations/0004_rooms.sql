-- Shared rooms: who is in them, and which switchboards have members.

-- When an entry was appended. Entries from before this migration count as old.
ALTER TABLE audience ADD COLUMN created_at INTEGER;

-- Who is in which shared room, and why: `source` is token or api. What was pushed to the room after entry `since` is
-- theirs. A row that was removed stays, so that all there is of a user can be found.
CREATE TABLE memberships (
  user_id TEXT NOT NULL,
  room TEXT NOT NULL,
  source TEXT NOT NULL,
  since INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  removed_at INTEGER,
  PRIMARY KEY (user_id, room, source)
) WITHOUT ROWID;

CREATE INDEX memberships_removed ON memberships (removed_at) WHERE removed_at IS NOT NULL;

-- The switchboards that may have members: a push to a shared room is brought to these and no others.
CREATE TABLE switchboards (
  name TEXT NOT NULL PRIMARY KEY
) WITHOUT ROWID;
