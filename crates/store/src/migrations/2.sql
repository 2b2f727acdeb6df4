-- The tables of format 2, the oldest that kiln still opens. Frozen: what came later is in 3.sql and so on.
-- `epoch` and `synced` are explained in `durability.rs`; times are seconds since 1970.
CREATE TABLE counter (value INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (0);
CREATE TABLE layers (
    id INTEGER PRIMARY KEY, diff_id TEXT, pulled INTEGER NOT NULL DEFAULT 0, content_id BLOB,
    entries INTEGER NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    epoch TEXT NOT NULL, synced INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX layers_by_diff_id ON layers (diff_id) WHERE diff_id IS NOT NULL;
CREATE INDEX layers_by_content_id ON layers (content_id) WHERE content_id IS NOT NULL;
CREATE INDEX layers_unsynced ON layers (id) WHERE synced = 0;
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL,
    epoch TEXT NOT NULL, synced INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_unsynced ON blobs (digest) WHERE synced = 0;
CREATE TABLE records (
    id INTEGER PRIMARY KEY, op BLOB NOT NULL, lineage TEXT NOT NULL, inputs TEXT NOT NULL, effects TEXT NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL
) STRICT;
CREATE INDEX records_by_op ON records (op);
CREATE INDEX records_by_lineage ON records (lineage, id);
CREATE TABLE record_keys (
    key BLOB PRIMARY KEY, record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX record_keys_by_record ON record_keys (record);
CREATE TABLE record_layers (
    record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE, position INTEGER NOT NULL,
    layer INTEGER NOT NULL, PRIMARY KEY (record, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_layers_by_layer ON record_layers (layer);
CREATE TABLE images (
    id TEXT PRIMARY KEY, platform TEXT NOT NULL, manifest TEXT, layers TEXT NOT NULL, created INTEGER NOT NULL,
    serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE image_names (
    name TEXT NOT NULL, position INTEGER NOT NULL, image TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (name, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_names_by_image ON image_names (image);
CREATE TABLE resolutions (name TEXT PRIMARY KEY, digest TEXT NOT NULL, resolved INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE containers (
    serial INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, image TEXT,
    layers TEXT NOT NULL, created INTEGER NOT NULL, value TEXT NOT NULL
) STRICT;
CREATE TABLE leases (
    session TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (session, kind, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_target ON leases (kind, target);
