-- Firmware's logs in last evidence, by the digest that transcripts bind: boots of one image on one platform share theirs.
CREATE TABLE evidence_logs (
    digest TEXT PRIMARY KEY,
    log TEXT NOT NULL
) STRICT;
ALTER TABLE last_evidence ADD COLUMN log TEXT REFERENCES evidence_logs (digest);
CREATE INDEX last_evidence_by_log ON last_evidence (log);

-- A log goes with the last evidence that has it.
CREATE TRIGGER last_evidence_replaced AFTER UPDATE OF log ON last_evidence WHEN old.log IS NOT new.log BEGIN
    DELETE FROM evidence_logs WHERE digest = old.log AND NOT EXISTS (SELECT 1 FROM last_evidence WHERE log = old.log);
END;
CREATE TRIGGER last_evidence_deleted AFTER DELETE ON last_evidence WHEN old.log IS NOT NULL BEGIN
    DELETE FROM evidence_logs WHERE digest = old.log AND NOT EXISTS (SELECT 1 FROM last_evidence WHERE log = old.log);
END;
