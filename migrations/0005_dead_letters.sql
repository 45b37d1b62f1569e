-- Messages of the queue that were not carried out, until they are replayed, deleted or too old.

-- An id is made of when the message was sent and of its name in the queue: a message that comes twice is one row, and
-- the rows are in the order they were sent. `problem` is the JSON of why.
CREATE TABLE dead_letters (
  id TEXT NOT NULL PRIMARY KEY,
  received_at INTEGER NOT NULL,
  body TEXT NOT NULL,
  problem TEXT NOT NULL
) WITHOUT ROWID;
