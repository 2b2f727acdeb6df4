-- Format 4: what it adds to format 3, in one transaction. Rules: see ../migrations.rs (only additions).

-- The registry that is served from this store (`registry/`). Its repositories are rows; the bytes are the store's
-- blobs. A blob can be had from a repository only by its row here. Times are seconds since 1970.
CREATE TABLE registry_blobs (
    repository TEXT NOT NULL, digest TEXT NOT NULL, linked INTEGER NOT NULL, PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_blobs_by_digest ON registry_blobs (digest);
-- `artifact_type` and `annotations` (JSON) are what a list of referrers tells of a manifest with a `subject`.
CREATE TABLE registry_manifests (
    repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    subject TEXT, artifact_type TEXT, annotations TEXT, pushed INTEGER NOT NULL, PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_manifests_by_digest ON registry_manifests (digest);
CREATE INDEX registry_manifests_by_subject ON registry_manifests (repository, subject, digest)
    WHERE subject IS NOT NULL;
-- What a manifest is made of: `kind` is `blob` (config, layers) or `manifest` (what an index lists).
CREATE TABLE registry_references (
    repository TEXT NOT NULL, manifest TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, kind, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_references_by_target ON registry_references (repository, kind, target);
CREATE TABLE registry_tags (
    repository TEXT NOT NULL, name TEXT NOT NULL, manifest TEXT NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_tags_in_order ON registry_tags (repository, lower(name), name);
CREATE INDEX registry_tags_by_manifest ON registry_tags (repository, manifest);
-- Uploads that were begun; their bytes so far are in `uploads/<id>`.
CREATE TABLE registry_uploads (
    id TEXT PRIMARY KEY, repository TEXT NOT NULL, started INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The descriptor (JSON) of the index or manifest that a name stands for, where one was made or came with it: on all
-- rows of the name.
ALTER TABLE image_names ADD COLUMN root TEXT;

-- From which repositories a layer's blob can be had that the store does not hold (`origins.rs`). `turn`: the higher, the
-- later it was said.
CREATE TABLE blob_origins (
    digest TEXT NOT NULL, repository TEXT NOT NULL, turn INTEGER NOT NULL, PRIMARY KEY (digest, repository)
) STRICT, WITHOUT ROWID;
