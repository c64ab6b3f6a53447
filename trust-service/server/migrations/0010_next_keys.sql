-- A volume's next unlock key, sealed, and the digest of the header under it that a node has put on record.
ALTER TABLE volumes ADD COLUMN next_key BLOB;
ALTER TABLE volumes ADD COLUMN next_digest TEXT;
-- What a node was granted is forgotten with the key in it.
CREATE INDEX granted_sessions_of_node ON sessions (identity) WHERE grants IS NOT NULL;
