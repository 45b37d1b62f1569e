ALTER TABLE notifications ADD COLUMN retracted_at INTEGER;
ALTER TABLE notifications ADD COLUMN expires_at INTEGER;
ALTER TABLE deliveries ADD COLUMN next_retry_at INTEGER;
ALTER TABLE deliveries ADD COLUMN via TEXT;
