-- Kept refusals are counted by node, too.
CREATE INDEX refusals_by_node ON refusals (pool, node, id);
