-- Format 3: what it adds to format 2, in one transaction. Rules: see ../migrations.rs (only additions).

-- Disk use. `disk`: bytes of the blocks that went with this layer, NULL where not measured; an inode that several
-- layers name counts for one of them. `shares`: the layer from which files were linked.
ALTER TABLE layers ADD COLUMN disk INTEGER;
ALTER TABLE layers ADD COLUMN shares INTEGER;
CREATE INDEX layers_by_shares ON layers (shares) WHERE shares IS NOT NULL;
-- How often a record was a hit.
ALTER TABLE records ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
-- Cache mounts by the name of their directory: what the directory's name cannot say.
CREATE TABLE cache_mounts (
    name TEXT PRIMARY KEY, id TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    uses INTEGER NOT NULL DEFAULT 0, disk INTEGER
) STRICT, WITHOUT ROWID;
