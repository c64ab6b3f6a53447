-- What an accepted session of a stock client may ask for, JSON; `verdict` is NULL then.
ALTER TABLE sessions ADD COLUMN stock TEXT;

-- Resources by their URI, kbs:///repository/type/tag; the content is sealed for its name.
CREATE TABLE resources (
    name TEXT PRIMARY KEY,
    content BLOB NOT NULL,
    size INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;

-- Who may read a resource beside the node that its repository names.
CREATE TABLE resource_nodes (
    name TEXT NOT NULL REFERENCES resources (name) ON DELETE CASCADE,
    identity TEXT NOT NULL REFERENCES nodes (identity) ON DELETE CASCADE,
    PRIMARY KEY (name, identity)
) STRICT;
CREATE INDEX resource_nodes_of_node ON resource_nodes (identity);

CREATE TABLE resource_pools (
    name TEXT NOT NULL REFERENCES resources (name) ON DELETE CASCADE,
    pool TEXT NOT NULL REFERENCES pools (name) ON DELETE CASCADE,
    PRIMARY KEY (name, pool)
) STRICT;

-- Reference values that were posted for a pool, JSON by name.
CREATE TABLE reference_values (
    pool TEXT NOT NULL REFERENCES pools (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (pool, name)
) STRICT;
