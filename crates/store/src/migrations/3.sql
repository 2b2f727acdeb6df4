-- Format 3: what it adds to format 2, in one transaction. Rules: see ../migrations.rs (only additions).

-- Disk use. `disk`: bytes of the blocks that went with this layer, NULL where not measured; an inode that several
-- layers name counts for one of them. `shares`: the layer from which files were linked.
ALTER TABLE layers ADD COLUMN disk INTEGER;
ALTER TABLE layers ADD COLUMN shares INTEGER;
CREATE INDEX layers_by_shares ON layers (shares) WHERE shares IS NOT NULL;
CREATE INDEX layers_unmeasured ON layers (id) WHERE disk IS NULL;
-- How often a record was a hit.
ALTER TABLE records ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
-- Which session used it last (`recency.rs`), in the order in which sessions began to use anything.
CREATE TABLE turns (value INTEGER NOT NULL) STRICT;
INSERT INTO turns VALUES (0);
ALTER TABLE layers ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE images ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
-- Cache mounts by the name of their directory: what the directory's name cannot say.
CREATE TABLE cache_mounts (
    name TEXT PRIMARY KEY, id TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    turn INTEGER NOT NULL DEFAULT 0, uses INTEGER NOT NULL DEFAULT 0, disk INTEGER
) STRICT, WITHOUT ROWID;
-- What is left of cache records that were deleted: why and when, and the keys under which they were found.
CREATE TABLE evictions (
    id INTEGER PRIMARY KEY, op BLOB NOT NULL, lineage TEXT NOT NULL, inputs TEXT NOT NULL, effects TEXT NOT NULL,
    evicted INTEGER NOT NULL, why TEXT NOT NULL
) STRICT;
CREATE INDEX evictions_by_op ON evictions (op);
CREATE TABLE eviction_keys (
    key BLOB PRIMARY KEY, eviction INTEGER NOT NULL REFERENCES evictions ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX eviction_keys_by_eviction ON eviction_keys (eviction);
-- Builds with what became of their steps, for explanations. `started` in milliseconds since 1970.
CREATE TABLE builds (
    serial INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, dockerfile TEXT NOT NULL, context TEXT NOT NULL,
    started INTEGER NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE INDEX builds_by_dockerfile ON builds (dockerfile, serial);
-- Lists of files that steps took, in pieces which similar lists share.
CREATE TABLE file_lists (serial INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, pieces BLOB NOT NULL) STRICT;
CREATE TABLE file_list_pieces (digest BLOB PRIMARY KEY, entries BLOB NOT NULL) STRICT;
