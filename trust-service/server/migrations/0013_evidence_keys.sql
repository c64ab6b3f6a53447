-- The keys that a TPM offered, in last evidence, by their digest: they are the same at each boot of a node, and a record without them fits
-- into a page, which is all that a boot then writes of it.
CREATE TABLE evidence_keys (
    digest TEXT PRIMARY KEY,
    keys TEXT NOT NULL
) STRICT;
ALTER TABLE last_evidence ADD COLUMN keys TEXT REFERENCES evidence_keys (digest);
CREATE INDEX last_evidence_by_keys ON last_evidence (keys);

-- They go with the last evidence that has them.
CREATE TRIGGER last_evidence_keys_replaced AFTER UPDATE OF keys ON last_evidence WHEN old.keys IS NOT new.keys BEGIN
    DELETE FROM evidence_keys
    WHERE digest = old.keys AND NOT EXISTS (SELECT 1 FROM last_evidence WHERE keys = old.keys);
END;
CREATE TRIGGER last_evidence_keys_deleted AFTER DELETE ON last_evidence WHEN old.keys IS NOT NULL BEGIN
    DELETE FROM evidence_keys
    WHERE digest = old.keys AND NOT EXISTS (SELECT 1 FROM last_evidence WHERE keys = old.keys);
END;
