-- Nodes of one boot are swept at each attestation: only they are looked at.
CREATE INDEX nodes_by_expiry ON nodes (expires) WHERE expires IS NOT NULL;
