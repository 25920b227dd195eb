-- What the hub read in packages when they were pushed. It can be made again from the registry's content.

CREATE TABLE release (
    repository    TEXT NOT NULL,
    tag           TEXT NOT NULL,
    digest        TEXT NOT NULL,   -- of the index
    license       TEXT NOT NULL,
    summary       TEXT NOT NULL,
    architectures TEXT NOT NULL,   -- 'x86_64 aarch64'
    size          INTEGER NOT NULL,
    words         TEXT NOT NULL,   -- what a search looks in
    listing       TEXT NOT NULL,   -- JSON
    pushed        INTEGER NOT NULL,
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, tag) REFERENCES tag (repository, name) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX release_by_time ON release (pushed);

-- Signatures by what they say of themselves: the hub trusts no key.
CREATE TABLE signature (
    repository     TEXT NOT NULL,
    manifest       TEXT NOT NULL,
    subject        TEXT NOT NULL,
    key_id         TEXT NOT NULL,
    predicate_type TEXT NOT NULL,
    PRIMARY KEY (repository, manifest),
    FOREIGN KEY (repository, manifest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX signature_by_subject ON signature (repository, subject);
