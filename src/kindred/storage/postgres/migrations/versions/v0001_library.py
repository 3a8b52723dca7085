"""The first schema of a library in Postgres.

Text is compared by code point (``COLLATE "C"``), as Python sorts. Columns named ``*_fold`` are what
filters compare. Vectors stay in the row, where a scan finds them; what is long and not searched is
kept aside and not compressed.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = """
CREATE TABLE meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    library_id text NOT NULL,
    version bigint NOT NULL
);
INSERT INTO meta (library_id, version) VALUES (replace(gen_random_uuid()::text, '-', ''), 0);

-- Digest and time of every row of the library; an empty digest is a tombstone.
CREATE TABLE ledger (
    kind text COLLATE "C", key text COLLATE "C",
    digest bytea NOT NULL, updated_at bigint NOT NULL,
    PRIMARY KEY (kind, key)
);

CREATE TABLE tracks (
    track_id text COLLATE "C" PRIMARY KEY,
    content_hash text COLLATE "C" NOT NULL,
    title text NOT NULL, artist text NOT NULL, album text NOT NULL, album_id text NOT NULL,
    track_no bigint,
    composer text NOT NULL, composer_original text NOT NULL, work text NOT NULL,
    genre text NOT NULL, year bigint,
    duration double precision NOT NULL, sample_rate bigint NOT NULL, channels bigint NOT NULL,
    format text NOT NULL, peaks bytea NOT NULL, added_at text NOT NULL, extra text NOT NULL,
    composer_fold text COLLATE "C" NOT NULL, artist_fold text COLLATE "C" NOT NULL,
    album_fold text COLLATE "C" NOT NULL, genre_fold text COLLATE "C" NOT NULL,
    work_fold text COLLATE "C" NOT NULL
);
CREATE INDEX tracks_content_hash ON tracks (content_hash);
CREATE INDEX tracks_composer ON tracks (composer_fold, work_fold);
CREATE INDEX tracks_artist ON tracks (artist_fold);
CREATE INDEX tracks_album ON tracks (album_fold);
CREATE INDEX tracks_genre ON tracks (genre_fold);
CREATE INDEX tracks_year ON tracks (year);
CREATE INDEX tracks_duration ON tracks (duration);
ALTER TABLE tracks ALTER COLUMN peaks SET STORAGE EXTERNAL;

CREATE TABLE covers (
    cover_hash bytea PRIMARY KEY, image bytea NOT NULL, thumbnail bytea NOT NULL
);
ALTER TABLE covers
    ALTER COLUMN image SET STORAGE EXTERNAL, ALTER COLUMN thumbnail SET STORAGE EXTERNAL;
CREATE TABLE track_covers (
    track_id text COLLATE "C" PRIMARY KEY,
    cover_hash bytea NOT NULL REFERENCES covers
);
CREATE INDEX track_covers_hash ON track_covers (cover_hash);

CREATE TABLE spaces (
    space_id text COLLATE "C" PRIMARY KEY,
    spec text NOT NULL,
    model_name text NOT NULL, model_version text NOT NULL, dims integer NOT NULL CHECK (dims > 0),
    tracks bigint NOT NULL,
    UNIQUE (space_id, model_name, model_version, dims)
);
CREATE TABLE track_embeddings (
    track_id text COLLATE "C", embedding_kind text, model_name text, model_version text,
    dims integer, content_hash text COLLATE "C", space_id text COLLATE "C",
    vector vector NOT NULL CHECK (vector_dims(vector) = dims),
    segments bytea NOT NULL,
    PRIMARY KEY (
        track_id, embedding_kind, model_name, model_version, dims, content_hash, space_id
    ),
    UNIQUE (space_id, track_id),
    FOREIGN KEY (space_id, model_name, model_version, dims)
        REFERENCES spaces (space_id, model_name, model_version, dims)
);
ALTER TABLE track_embeddings
    ALTER COLUMN vector SET STORAGE MAIN, ALTER COLUMN vector SET STATISTICS 0,
    ALTER COLUMN segments SET STORAGE EXTERNAL;

CREATE TABLE audio (
    key text COLLATE "C" PRIMARY KEY,
    content_hash text NOT NULL, suffix text NOT NULL, data bytea NOT NULL
);
ALTER TABLE audio ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE documents (
    collection text COLLATE "C", key text COLLATE "C", body text NOT NULL,
    PRIMARY KEY (collection, key)
);
"""


def upgrade() -> None:
    """Make every table."""
    op.execute(_STATEMENTS)
