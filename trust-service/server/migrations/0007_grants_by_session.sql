-- The nonce of the session that was granted: its verdict is asked once more where the grant is spent. NULL in grants of before.
ALTER TABLE grants ADD COLUMN session TEXT;
CREATE INDEX grants_by_session ON grants (session);
