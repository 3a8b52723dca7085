"""The Astra store on a real Data API.

::

    ASTRA_DB_API_ENDPOINT=... ASTRA_DB_APPLICATION_TOKEN=... ASTRA_DB_KEYSPACE=kindred_test \\
        pytest tests/storage/test_astra_live.py --run-astra -s

Give it a keyspace of its own: tables are made there, and what the tests write is deleted again, up
to the tombstones. ``ASTRA_DB_USERNAME`` and ``ASTRA_DB_PASSWORD`` take the token's place for a Data
API of one's own.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kindred.config import Settings, load_settings
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError, StorageUnavailable
from kindred.storage import rows
from kindred.storage.astra.backend import AstraStore
from kindred.storage.astra.client import endpoint_of
from kindred.storage.records import (
    KINDS,
    Audio,
    Cover,
    Document,
    Embedding,
    Row,
    Track,
    TrackFilter,
    TrackVectors,
)
from tests.contracts.test_storage_backend import unit

pytestmark = pytest.mark.astra
#: Tests do not see the user's own settings; these ask for them.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if "ASTRA_DB_" in name}
#: Names of this run, so that two may share a keyspace.
RUN = uuid.uuid4().hex[:8]
SPACE = EmbeddingSpace(f"test {RUN}", "1", 8000, 1.0, 1.0, "mean", 64)
COUNT = 300


def open_real(settings: Settings, **options: Any) -> AstraStore:
    credentials = {
        "token": settings.astra_db_application_token.get_secret_value(),
        "username": settings.astra_db_username,
        "password": settings.astra_db_password.get_secret_value(),
        "timeout": 60.0,
    }
    return AstraStore(endpoint_of(settings), settings.astra_db_keyspace, **(credentials | options))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def store(settings: Settings) -> Iterator[AstraStore]:
    with open_real(settings) as store:
        store.init()
        yield store
        everything = library()
        store.write_rows([rows.tombstone(row.kind, row.key) for row in everything])


def library() -> list[Row]:
    """Rows of every kind, some larger than a row of a table may be."""
    rng = np.random.default_rng(0)
    vectors = unit(rng, COUNT, SPACE.dims)
    tracks = [
        Track(
            f"{RUN} {number:03d} \u00e9",
            content_hash=f"{RUN}{number}",
            title="\u4e2d \U0001f3b5",
            composer=f"Composer {number % 4}",
            year=1700 + number if number % 5 else None,
            duration=number + 1 / 3,
            peaks=rng.bytes(800),
            extra={"$key": "value"},
        )
        for number in range(COUNT)
    ]
    records = [
        *tracks,
        Cover(tracks[0].track_id, rng.bytes(1_200_000), b"webp"),
        *(
            TrackVectors(SPACE, Embedding(track.track_id, track.content_hash, vector, vector[None]))
            for track, vector in zip(tracks[1:], vectors[1:], strict=True)
        ),
        TrackVectors(
            SPACE,
            Embedding(tracks[0].track_id, "", vectors[0], unit(rng, 4_000, SPACE.dims)),
        ),
        Audio(RUN, ".mp3", rng.bytes(3_000_000)),
        Document(f"test-{RUN}", "large", {"text": "\u00e9" * 500_000}),
        Document(f"test-{RUN}", "small", {}),
    ]
    return [rows.make(record) for record in records]


def test_the_whole_path(store: AstraStore, settings: Settings) -> None:
    store.init()
    store.check_schema()
    wanted = library()
    before = store.version()
    start = time.perf_counter()
    store.write_rows(wanted)
    print(f"\n{len(wanted)} rows written in {time.perf_counter() - start:.1f} s")
    assert store.version() > before
    for kind in KINDS:
        of_kind = {row.key: rows.entry(row) for row in wanted if row.kind == kind}
        assert store.entries(kind).items() >= of_kind.items()
        read = store.read_rows(kind, list(of_kind))
        assert {row.key: rows.entry(row) for row in read} == of_kind
    version = store.version()
    with open_real(settings) as other:
        other.write_rows(wanted)  # the first write of a process settles the version
        assert other.version() >= version
    assert len(store.list_documents(f"test-{RUN}")) == 2
    assert store.get_thumbnails([wanted[0].key]) == {wanted[0].key: b"webp"}
    found = store.find_track_by_hash(f"{RUN}7")
    assert found == wanted[7].record

    vectors = unit(np.random.default_rng(0), COUNT, SPACE.dims)
    ids = [row.key for row in wanted[:COUNT]]
    times, shared = [], 0
    for query in unit(np.random.default_rng(1), 40, SPACE.dims):
        start = time.perf_counter()
        hits, _ = store.search_embeddings(SPACE, query, k=10)
        times.append(time.perf_counter() - start)
        exact = [ids[place] for place in np.argsort(-(vectors @ query))[:10]]
        shared += len({hit.track_id for hit in hits} & set(exact))
        for hit in hits:
            cosine = float(vectors[ids.index(hit.track_id)] @ query)
            assert hit.similarity == pytest.approx(cosine, abs=1e-6)
    times.sort()
    print(f"search: median {1e3 * times[20]:.0f} ms, p95 {1e3 * times[38]:.0f} ms")
    assert shared >= 0.9 * 400

    query = vectors[9]
    renamed = replace(found, composer="Somebody \u00c9lse", year=1234)
    store.put_tracks([renamed])
    for where in (
        TrackFilter(composers=("somebody \u00e9lse",)),
        TrackFilter(year=(1200, 1250)),
        TrackFilter(composers=(*(f"nobody {n}" for n in range(150)), "SOMEBODY \u00c9LSE")),
    ):
        hits, _ = store.search_embeddings(SPACE, query, k=10, where=where)
        assert [hit.track_id for hit in hits] == [renamed.track_id]
    where = TrackFilter(composers=("Composer 1",), year=(1710, None), duration=(None, 90.0))
    hits, _ = store.search_embeddings(SPACE, query, k=10, where=where, exclude=[ids[9]])
    assert len(hits) == 10
    assert all(where.accepts(store.get_track(hit.track_id)) for hit in hits)

    store.delete_tracks(ids[:5])
    assert store.get_tracks(ids[:6]) == [wanted[5].record]
    assert store.entries("embeddings", [f"{SPACE.space_id}/{ids[1]}"]).popitem()[1].deleted
    hits, _ = store.search_embeddings(SPACE, vectors[1], k=5)
    assert ids[1] not in {hit.track_id for hit in hits}


def test_a_wrong_password_is_refused(settings: Settings) -> None:
    wrong = {"token": "AstraCS:wrong", "password": "wrong"}
    if settings.astra_db_username:
        wrong["token"] = ""
    with (
        open_real(settings, **wrong) as store,
        pytest.raises(StorageError, match="ASTRA_DB_APPLICATION_TOKEN") as raised,
    ):
        store.version()
    assert not isinstance(raised.value, StorageUnavailable)
