-- The last evidence of each node with its verdict, JSON; replaced at each attestation.
CREATE TABLE last_evidence (
    identity TEXT PRIMARY KEY REFERENCES nodes (identity) ON DELETE CASCADE,
    record TEXT NOT NULL
) STRICT;
