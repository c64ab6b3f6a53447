-- The last evidence of each node with its verdict, JSON; replaced at each attestation.
CREATE TABLE last_evidence (
    identity TEXT PRIMARY KEY REFERENCES nodes (identity) ON DELETE CASCADE,
    record TEXT NOT NULL
) STRICT;

-- What a pool demands of hardware, JSON.
ALTER TABLE pools ADD COLUMN hardware TEXT NOT NULL DEFAULT '{}';

-- Kind of a node's last evidence, what its report said (JSON), and, for nodes of one boot, when the record goes.
ALTER TABLE nodes ADD COLUMN kind TEXT;
ALTER TABLE nodes ADD COLUMN hardware TEXT;
ALTER TABLE nodes ADD COLUMN expires INTEGER;

-- Identities of one boot without a TPM that had their release. They stay: the boot may outlive every other record of it.
CREATE TABLE released_reports (
    identity TEXT PRIMARY KEY,
    time INTEGER NOT NULL
) STRICT;
