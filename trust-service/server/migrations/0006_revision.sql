-- Counts changes of what evidence is compared with, so that it is read anew only then, whoever changed it.
CREATE TABLE revision (
    n INTEGER NOT NULL
) STRICT;
INSERT INTO revision VALUES (1);

CREATE TRIGGER pools_updated AFTER UPDATE ON pools BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER pools_deleted AFTER DELETE ON pools BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER ek_roots_inserted AFTER INSERT ON ek_roots BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER ek_roots_updated AFTER UPDATE ON ek_roots BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER ek_roots_deleted AFTER DELETE ON ek_roots BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER images_inserted AFTER INSERT ON images BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER images_updated AFTER UPDATE ON images BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER images_deleted AFTER DELETE ON images BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER platforms_inserted AFTER INSERT ON platforms BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER platforms_updated AFTER UPDATE ON platforms BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER platforms_deleted AFTER DELETE ON platforms BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER pairs_inserted AFTER INSERT ON pairs BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER pairs_updated AFTER UPDATE ON pairs BEGIN UPDATE revision SET n = n + 1; END;
CREATE TRIGGER pairs_deleted AFTER DELETE ON pairs BEGIN UPDATE revision SET n = n + 1; END;
