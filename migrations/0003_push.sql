-- Pushes that wait for their time, and what a pusher can ask about a push afterwards.

-- One row per push that waits. It goes once its notification is stored and the users' objects were told.
-- `rooms` is the JSON list of rooms it is for. A canceled row stays until retention takes it.
CREATE TABLE scheduled (
  id TEXT NOT NULL PRIMARY KEY,
  deliver_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  content TEXT NOT NULL,
  rooms TEXT NOT NULL,
  canceled_at INTEGER
) WITHOUT ROWID;

CREATE INDEX scheduled_due ON scheduled (deliver_at) WHERE canceled_at IS NULL;
CREATE INDEX scheduled_canceled ON scheduled (canceled_at) WHERE canceled_at IS NOT NULL;

-- When it is over; until when it had waited; when it was taken back.
ALTER TABLE notifications ADD COLUMN expires_at INTEGER;
ALTER TABLE notifications ADD COLUMN deliver_at INTEGER;
ALTER TABLE notifications ADD COLUMN retracted_at INTEGER;

-- When it is sent again; how it was confirmed.
ALTER TABLE deliveries ADD COLUMN next_retry_at INTEGER;
ALTER TABLE deliveries ADD COLUMN via TEXT;
