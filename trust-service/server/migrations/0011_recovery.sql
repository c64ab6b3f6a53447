-- The shares of a volume's recovery key, each sealed to its custodian, sealed once more like a key: they are destroyed with it.
ALTER TABLE volumes ADD COLUMN recovery BLOB;
