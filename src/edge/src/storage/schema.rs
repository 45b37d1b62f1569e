//! The tables of a hub, and how those of earlier versions are brought up to date.

/// The third version. `place` is [`super::rows::place`] of folder and `seq`; `moved_at` is when the item left the
/// inbox. An item without a row in `unsettled` is settled, and the record knows: a row means that
/// something is owed to the record, or that the clock will move the delivery on.
pub(super) const SCHEMA: &str = "
CREATE TABLE hub (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  unread INTEGER NOT NULL,
  unseen INTEGER NOT NULL,
  cursor INTEGER NOT NULL,
  online_since INTEGER,
  last_seen_at INTEGER,
  catch_up_at INTEGER,
  seen_up_to INTEGER NOT NULL,
  suppressed INTEGER NOT NULL,
  expires_at INTEGER,
  preferences TEXT NOT NULL,
  erased_at INTEGER,
  erased_up_to INTEGER,
  memberships TEXT NOT NULL
);
CREATE TABLE items (
  place INTEGER PRIMARY KEY,
  recipient_id TEXT NOT NULL UNIQUE,
  notification_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  content TEXT NOT NULL,
  read_at INTEGER,
  seen_at INTEGER,
  moved_at INTEGER,
  removal TEXT,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  retries INTEGER NOT NULL,
  due_at INTEGER,
  delivered_at INTEGER,
  via TEXT,
  expires_at INTEGER,
  collapse_key TEXT,
  receipt_status TEXT NOT NULL,
  receipt_online INTEGER NOT NULL
);
CREATE INDEX items_by_read ON items ((read_at IS NULL), place) WHERE moved_at IS NULL;
CREATE INDEX items_waiting ON items (place) WHERE status IN ('pending', 'failed') AND due_at IS NULL;
CREATE INDEX items_expiring ON items (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX items_collapsing ON items (collapse_key)
  WHERE collapse_key IS NOT NULL AND read_at IS NULL AND moved_at IS NULL;
CREATE TABLE unsettled (
  recipient_id TEXT NOT NULL PRIMARY KEY,
  revision INTEGER NOT NULL,
  owed INTEGER NOT NULL,
  due_at INTEGER
) WITHOUT ROWID;
CREATE TABLE log (
  slot INTEGER PRIMARY KEY,
  seq INTEGER NOT NULL,
  change TEXT NOT NULL
);
";

/// From the first version, which knew of items that are delivered or not, and of nothing else.
pub(super) const FROM_VERSION_1: (&str, &str) = (
    "ALTER TABLE items RENAME TO items_1",
    "
INSERT INTO hub SELECT 1, 3, user_id, seq, unread, unseen, cursor, online_since, last_seen_at, catch_up_at,
  0, 0, NULL, '{\"muted\":[]}', NULL, NULL, '{}' FROM head;
INSERT INTO items SELECT seq, recipient_id, notification_id, created_at, content, read_at, read_at, NULL, NULL,
  CASE WHEN delivered_at IS NULL THEN 'pending' ELSE 'delivered' END, attempts, 0, NULL, delivered_at,
  CASE WHEN delivered_at IS NULL THEN NULL ELSE 'sent' END, NULL, NULL,
  CASE WHEN receipt_delivered = 0 THEN 'pending' ELSE 'delivered' END, receipt_online FROM items_1;
INSERT INTO unsettled SELECT recipient_id, revision, 1, NULL FROM outbox;
DROP TABLE items_1; DROP TABLE outbox; DROP TABLE head;",
);

/// From the second version, which knew of no shared rooms.
pub(super) const FROM_VERSION_2: &str = "
ALTER TABLE hub ADD COLUMN memberships TEXT NOT NULL DEFAULT '{}';
UPDATE hub SET version = 3;";
