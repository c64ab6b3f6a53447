-- What one administrator proposed and another one is to approve (JSON); gone once that is decided, or has ended.
CREATE TABLE proposals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    action TEXT NOT NULL,
    pinned TEXT NOT NULL,
    reason TEXT,
    proposer TEXT NOT NULL,
    proposer_key TEXT NOT NULL,
    proposed INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

-- What a node was allowed once (`state` is JSON), one at a time; `session` is the nonce of the session that used it, at a boot's reset count.
CREATE TABLE allowances (
    identity TEXT PRIMARY KEY REFERENCES nodes (identity) ON DELETE CASCADE,
    proposal INTEGER NOT NULL,
    state TEXT NOT NULL,
    expires INTEGER NOT NULL,
    session TEXT,
    used INTEGER,
    reset INTEGER
) STRICT;

-- The TPM that proved who was refused (JSON: identity, name of the attestation key); NULL where none did, and in records of before.
ALTER TABLE refusals ADD COLUMN machine TEXT;
