"""The SQLite schema of a local library, and its version.

Paths inside the library folder are stored relative to it, so that the folder can be moved. A name
that is not valid UTF-8 is stored as its bytes.
"""

from __future__ import annotations

SCHEMA_VERSION = 3

#: What version 3 adds to tables that version 2 had.
FROM_VERSION_2 = [
    *(
        f"ALTER TABLE tracks ADD COLUMN {name}_fold TEXT NOT NULL DEFAULT ''"
        for name in ("composer", "artist", "album", "genre", "work")
    ),
    "UPDATE tracks SET composer_fold = fold(composer), artist_fold = fold(artist),"
    " album_fold = fold(album), genre_fold = fold(genre), work_fold = fold(work)",
    "ALTER TABLE embeddings ADD COLUMN seq INTEGER NOT NULL DEFAULT 0",
]

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('library_version', 0);
INSERT OR IGNORE INTO meta VALUES ('library_id', lower(hex(randomblob(16))));

-- Digest and time of every row of the library; an empty digest is a tombstone.
CREATE TABLE IF NOT EXISTS ledger (
    kind TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tracks (
    track_id TEXT PRIMARY KEY,
    content_hash TEXT NOT NULL,
    title TEXT NOT NULL, artist TEXT NOT NULL, album TEXT NOT NULL, album_id TEXT NOT NULL,
    track_no INTEGER,
    composer TEXT NOT NULL, composer_original TEXT NOT NULL, work TEXT NOT NULL,
    genre TEXT NOT NULL, year INTEGER,
    duration REAL NOT NULL, sample_rate INTEGER NOT NULL, channels INTEGER NOT NULL,
    format TEXT NOT NULL, peaks BLOB NOT NULL, added_at TEXT NOT NULL, extra TEXT NOT NULL,
    composer_fold TEXT NOT NULL DEFAULT '', artist_fold TEXT NOT NULL DEFAULT '',
    album_fold TEXT NOT NULL DEFAULT '', genre_fold TEXT NOT NULL DEFAULT '',
    work_fold TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tracks_hash ON tracks (content_hash);
CREATE INDEX IF NOT EXISTS tracks_composer ON tracks (composer_fold, work_fold);
CREATE INDEX IF NOT EXISTS tracks_artist ON tracks (artist_fold);
CREATE INDEX IF NOT EXISTS tracks_album ON tracks (album_fold);
CREATE INDEX IF NOT EXISTS tracks_genre ON tracks (genre_fold);

CREATE TABLE IF NOT EXISTS files (
    path PRIMARY KEY,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content_hash TEXT NOT NULL, track_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS files_track ON files (track_id);

CREATE TABLE IF NOT EXISTS covers (
    cover_hash TEXT PRIMARY KEY, image BLOB NOT NULL, thumbnail BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS track_covers (
    track_id TEXT PRIMARY KEY, cover_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS spaces (
    space_id TEXT PRIMARY KEY, spec TEXT NOT NULL, version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS embeddings (
    space_id TEXT NOT NULL, track_id TEXT NOT NULL, content_hash TEXT NOT NULL,
    vector BLOB NOT NULL, segments BLOB NOT NULL,
    seq INTEGER NOT NULL DEFAULT 0, -- the space's version when it was written
    PRIMARY KEY (space_id, track_id)
);
CREATE INDEX IF NOT EXISTS embeddings_track ON embeddings (track_id);
CREATE INDEX IF NOT EXISTS embeddings_seq ON embeddings (space_id, seq);
CREATE TABLE IF NOT EXISTS removed_embeddings (
    space_id TEXT NOT NULL, track_id TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (space_id, track_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS documents (
    collection TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS roots (path PRIMARY KEY);
-- Tracks that had a file on this machine and have none now.
CREATE TABLE IF NOT EXISTS lost (track_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    path PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    code TEXT NOT NULL, reason TEXT NOT NULL, seen_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, params TEXT NOT NULL,
    done INTEGER NOT NULL, total INTEGER NOT NULL, message TEXT NOT NULL, result TEXT NOT NULL,
    pid INTEGER NOT NULL, cancel_requested INTEGER NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
"""
