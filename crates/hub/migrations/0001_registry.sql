-- What the registry holds. A blob's or manifest's row makes it visible: its bytes are durable before.
-- Times are seconds since 1970, UTC.

CREATE TABLE blob (
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    pushed     INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX blob_by_digest ON blob (digest);

CREATE TABLE manifest (
    repository    TEXT NOT NULL,
    digest        TEXT NOT NULL,
    media_type    TEXT NOT NULL,
    artifact_type TEXT,
    subject       TEXT,
    annotations   TEXT NOT NULL,   -- a JSON object, for the referrers API
    content       BLOB NOT NULL,
    pushed        INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifest_by_subject ON manifest (repository, subject) WHERE subject IS NOT NULL;

-- What a manifest needs: blobs and, for an index, manifests. They cannot be deleted while it stands.
CREATE TABLE reference (
    repository TEXT NOT NULL,
    manifest   TEXT NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, digest),
    FOREIGN KEY (repository, manifest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX reference_by_digest ON reference (repository, digest);

CREATE TABLE tag (
    repository TEXT NOT NULL,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    pushed     INTEGER NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX tag_by_digest ON tag (repository, digest);

-- The digest that a version means for ever: it outlives the tag, so that a deleted version never comes back as another.
CREATE TABLE version_digest (
    repository TEXT NOT NULL,
    tag        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;

CREATE TABLE token (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    publisher TEXT NOT NULL,
    label     TEXT NOT NULL,
    sha256    BLOB NOT NULL UNIQUE,
    created   INTEGER NOT NULL,
    revoked   INTEGER
);
