-- Digests and identities are lower-case hex, times are seconds since 1970, sealed columns are AES-256-GCM under the
-- key-encryption key with the row's identity as additional data.
CREATE TABLE pools (
    name TEXT PRIMARY KEY,
    on_unknown TEXT NOT NULL,
    rules TEXT NOT NULL,
    on_foreign_disk TEXT NOT NULL,
    allow_init_data INTEGER NOT NULL,
    cluster TEXT,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE ek_roots (
    pool TEXT NOT NULL REFERENCES pools (name) ON DELETE CASCADE,
    id TEXT NOT NULL,
    level TEXT NOT NULL,
    certificate BLOB NOT NULL,
    PRIMARY KEY (pool, id)
) STRICT;

CREATE TABLE images (
    id TEXT PRIMARY KEY,
    tuple TEXT NOT NULL,
    registered INTEGER NOT NULL
) STRICT;

CREATE TABLE platforms (
    id TEXT PRIMARY KEY,
    tuple TEXT NOT NULL,
    registered INTEGER NOT NULL
) STRICT;

CREATE TABLE pairs (
    pool TEXT NOT NULL REFERENCES pools (name) ON DELETE CASCADE,
    platform TEXT NOT NULL REFERENCES platforms (id),
    image TEXT NOT NULL REFERENCES images (id),
    PRIMARY KEY (pool, platform, image)
) STRICT;

CREATE TABLE nodes (
    identity TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    pool TEXT NOT NULL REFERENCES pools (name),
    state TEXT NOT NULL,
    reason TEXT,
    level TEXT,
    ak_name TEXT NOT NULL,
    counters TEXT,
    seen TEXT,
    platform TEXT,
    image TEXT,
    release_reset INTEGER NOT NULL DEFAULT 0,
    releases INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    attested INTEGER
) STRICT;

CREATE TABLE volumes (
    id TEXT PRIMARY KEY,
    identity TEXT NOT NULL REFERENCES nodes (identity) ON DELETE CASCADE,
    uuid TEXT NOT NULL,
    state TEXT NOT NULL,
    generation INTEGER NOT NULL,
    header_digest TEXT,
    populated_from TEXT,
    unlock_key BLOB
) STRICT;
CREATE INDEX volumes_of_node ON volumes (identity);

-- A nonce is spent by its row here; `verdict` is NULL where the evidence was refused.
CREATE TABLE sessions (
    nonce TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    expires INTEGER NOT NULL,
    verdict TEXT,
    grants BLOB
) STRICT;
CREATE INDEX sessions_by_expiry ON sessions (expires);

CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    identity TEXT NOT NULL REFERENCES nodes (identity) ON DELETE CASCADE,
    volume TEXT,
    generation INTEGER,
    verity_hash TEXT NOT NULL,
    csr_digest TEXT,
    expires INTEGER NOT NULL,
    certificate TEXT
) STRICT;
CREATE INDEX grants_by_expiry ON grants (expires);

CREATE TABLE refusals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    refused_by TEXT NOT NULL,
    node TEXT,
    pool TEXT,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    pcr INTEGER,
    event TEXT,
    closest TEXT,
    differences TEXT NOT NULL,
    image TEXT,
    platform TEXT,
    correlation_id TEXT NOT NULL,
    proven INTEGER NOT NULL
) STRICT;
CREATE INDEX refusals_by_pool ON refusals (pool, id);

CREATE TABLE evidence (
    refusal INTEGER PRIMARY KEY REFERENCES refusals (id) ON DELETE CASCADE,
    pool TEXT,
    kept TEXT NOT NULL
) STRICT;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
