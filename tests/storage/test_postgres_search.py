"""Nearest vectors in Postgres: exact and by HNSW, filtered, on two versions of pgvector.

pgvector 0.6.2 cannot go on where a filter left too few of the index's candidates; 0.8.5 can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from kindred.errors import StorageError
from kindred.storage import rows
from kindred.storage.postgres.backend import PostgresStore
from kindred.storage.postgres.graph import index_name
from kindred.storage.postgres.search import Search
from kindred.storage.records import Embedding, Track, TrackFilter, TrackVectors
from kindred.storage.snapshot import top_rows
from tests.contracts import test_storage_backend as contract
from tests.contracts.test_storage_backend import SPACE, unit
from tests.doubles.postgres import PostgresServer, shared_server

# Of a whole backend it needs only what a library has.
fill: Any = contract.fill
N = 3_000
WIDE = replace(SPACE, dims=32)


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    return unit(np.random.default_rng(8), N, WIDE.dims)


@pytest.fixture(scope="module", params=["0.6", "0.8"])
def filled(request: pytest.FixtureRequest, gallery: np.ndarray) -> tuple[PostgresServer, str]:
    """A library of ten composers, ``Rare`` with 20 tracks, and its HNSW index."""
    server = shared_server(request.param)
    url = server.new_database()
    ids = [f"t{number:05d}" for number in range(N)]
    with PostgresStore(url) as store:
        store.init()
        store.put_tracks(
            Track(
                track_id,
                composer="Rare" if number < 20 else f"Composer {number % 10}",
                year=1700 + number % 100,
            )
            for number, track_id in enumerate(ids)
        )
        store.put_embeddings(
            WIDE, [Embedding(i, "", v, v[None]) for i, v in zip(ids, gallery, strict=True)]
        )
        assert store.build_index(WIDE)
    return server, url.partition("@/")[2].partition("?")[0]


@pytest.fixture
def indexed(filled: tuple[PostgresServer, str]) -> Iterator[PostgresStore]:
    """A copy of that library for one test."""
    server, name = filled
    with PostgresStore(server.new_database(f"TEMPLATE {name}"), ann_threshold=1_000) as store:
        yield store


@pytest.fixture
def url() -> Iterator[str]:
    server = shared_server("0.8")
    url = server.new_database()
    yield url
    server.give_back(url)


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    """An empty library whose index is due from 10 vectors on."""
    with PostgresStore(url, ann_threshold=10) as store:
        store.init()
        yield store


def recall(
    store: PostgresStore,
    gallery: np.ndarray,
    where: TrackFilter,
    allowed: np.ndarray | None,
    name: str,
) -> float:
    """Share of the ten nearest that the store found; the scores of those must be exact."""
    shares = []
    for query in unit(np.random.default_rng(9), 40, WIDE.dims):
        hits, index = store.search_embeddings(WIDE, query, k=10, where=where)
        assert name in index
        found = [int(hit.track_id[1:]) for hit in hits]
        scores = gallery[found].astype(np.float64) @ query.astype(np.float64)
        np.testing.assert_allclose([hit.similarity for hit in hits], scores, atol=1e-12)
        assert [hit.similarity for hit in hits] == sorted(scores, reverse=True) or np.allclose(
            scores, sorted(scores, reverse=True)
        )
        assert allowed is None or allowed[found].all()
        exact, _ = top_rows(gallery, query, 10, allowed=allowed)
        shares.append(len({*exact} & {*found}) / len(exact))
    return float(np.mean(shares))


def test_the_index_finds_what_exact_search_finds(
    indexed: PostgresStore, gallery: np.ndarray
) -> None:
    _, index = indexed.search_embeddings(WIDE, gallery[0], k=1)
    version = index.split()[1]
    assert version in ("0.6.2", "0.8.5")
    name = f"pgvector {version} HNSW (m=16, ef=100)"
    assert recall(indexed, gallery, TrackFilter(), None, name) >= 0.95
    indexed.ann_threshold = N + 1
    assert recall(indexed, gallery, TrackFilter(), None, f"pgvector {version} exact") == 1


@pytest.mark.parametrize(
    ("where", "passes", "name"),
    [
        (TrackFilter(year=(1700, 1749)), lambda n: n % 100 < 50, "HNSW (m=16"),
        (TrackFilter(year=(1700, 1709)), lambda n: n % 100 < 10, "HNSW (m=16"),
        (TrackFilter(not_artists=("x",)), lambda n: n >= 0, "HNSW (m=16"),
        (TrackFilter(composers=("RARE",)), lambda n: n < 20, "exact (the filter leaves few)"),
    ],
)
def test_filtered_questions_are_answered_right(
    indexed: PostgresStore,
    gallery: np.ndarray,
    where: TrackFilter,
    passes: Callable[[np.ndarray], np.ndarray],
    name: str,
) -> None:
    allowed = passes(np.arange(N))
    assert recall(indexed, gallery, where, allowed, name) >= 0.95


def test_postgres_takes_the_index(indexed: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[str] = []
    ask = Search._ask

    def explained(self: Search, candidates: str, values: list[Any]) -> Any:
        plan = self.connection.execute(f"EXPLAIN {candidates}", values).fetchall()
        plans.append("\n".join(row[0] for row in plan))
        return ask(self, candidates, values)

    monkeypatch.setattr(Search, "_ask", explained)
    query = unit(np.random.default_rng(1), 1, WIDE.dims)[0]
    filters = [TrackFilter(), TrackFilter(year=(1700, 1749)), TrackFilter(composers=("rare",))]
    for where in filters:
        indexed.search_embeddings(WIDE, query, k=10, where=where, exclude=["t00000"])
    used = [f"Index Scan using {index_name(WIDE)}" in plan for plan in plans]
    assert used == [True, True, False], plans


def test_where_the_index_finds_too_few_exact_search_answers(
    indexed: PostgresStore, gallery: np.ndarray
) -> None:
    """The nearest of all are filtered out."""
    query = gallery[7]
    near, _ = top_rows(gallery, query, 1_500)
    indexed.put_tracks(
        replace(track, album="Near")
        for track in indexed.get_tracks([f"t{number:05d}" for number in near])
    )
    where = TrackFilter(not_albums=("near",))
    allowed = np.ones(N, bool)
    allowed[near] = False
    hits, index = indexed.search_embeddings(WIDE, query, k=10, where=where)
    exact, _ = top_rows(gallery, query, 10, allowed=allowed)
    if indexed._pgvector.startswith("0.6"):
        assert "exact (HNSW found too few)" in index
        assert [int(hit.track_id[1:]) for hit in hits] == list(exact)
    else:
        assert "HNSW (m=16" in index
        assert len({int(hit.track_id[1:]) for hit in hits} & {*exact}) >= 9
    many, _ = indexed.search_embeddings(WIDE, query, k=2_000)
    assert len(many) == 2_000


def test_ties_of_many_and_a_query_that_leaves_itself_out(indexed: PostgresStore) -> None:
    vector = unit(np.random.default_rng(3), 1, WIDE.dims)[0]
    indexed.put_embeddings(
        WIDE, [Embedding(f"x{number}", "", vector, vector[None]) for number in range(8)]
    )
    hits, index = indexed.search_embeddings(WIDE, vector, k=5, exclude=["x0", "x2", "half \ud800"])
    assert "HNSW (m=16" in index
    assert [hit.track_id for hit in hits] == ["x1", "x3", "x4", "x5", "x6"]


def test_the_index_follows_writes(indexed: PostgresStore) -> None:
    vector = unit(np.random.default_rng(4), 1, WIDE.dims)[0]
    indexed.put_embeddings(WIDE, [Embedding("new", "", vector, vector[None])])
    hits, index = indexed.search_embeddings(WIDE, vector, k=1)
    assert (hits[0].track_id, index[-4:]) == ("new", "100)")
    indexed.write_rows([rows.tombstone("embeddings", f"{WIDE.space_id}/new")])
    assert indexed.search_embeddings(WIDE, vector, k=1)[0][0].track_id != "new"


def test_a_batch_sees_its_own_vectors_through_the_index(indexed: PostgresStore) -> None:
    vector = unit(np.random.default_rng(6), 1, WIDE.dims)[0]
    where = TrackFilter(genres=("new",))
    with indexed.batch():
        indexed.put_tracks([Track("new", genre="New")])
        indexed.put_embeddings(WIDE, [Embedding("new", "", vector, vector[None])])
        hits, index = indexed.search_embeddings(WIDE, vector, k=3)
        assert (hits[0].track_id, index[-4:]) == ("new", "100)")
        hits, index = indexed.search_embeddings(WIDE, vector, k=3, where=where)
        assert [hit.track_id for hit in hits] == ["new"]
        assert index.endswith("(the filter leaves few)")
        assert indexed._fetch("SHOW enable_seqscan") == [("on",)]
    assert indexed.search_embeddings(WIDE, vector, k=1)[0][0].track_id == "new"


@pytest.mark.parametrize("k", [0, -1])
def test_a_question_for_nothing(indexed: PostgresStore, gallery: np.ndarray, k: int) -> None:
    hits, index = indexed.search_embeddings(WIDE, gallery[0], k=k)
    assert hits == []
    assert index.startswith("pgvector 0.")


def test_an_index_is_built_beside_the_questions(store: PostgresStore) -> None:
    query = fill(store)[3]
    hits, index = store.search_embeddings(SPACE, query, k=3)
    assert "exact (HNSW is being built)" in index
    thread = store._graphs._thread
    assert thread is not None
    thread.join()
    again, index = store.search_embeddings(SPACE, query, k=3)
    assert "HNSW (m=16" in index
    assert again == hits


def test_what_an_interrupted_build_left_is_made_anew(store: PostgresStore, url: str) -> None:
    query = fill(store)[0]
    assert store.build_index(SPACE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass",
            (index_name(SPACE),),
        )
    assert store.build_index(SPACE)
    assert "HNSW (m=16" in store.search_embeddings(SPACE, query, k=3)[1]


def test_closing_gives_up_a_build(store: PostgresStore, url: str) -> None:
    """Building waits for the transactions of others, here for ever."""
    fill(store)
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM tracks")
        other.execute("LOCK TABLE track_embeddings IN SHARE ROW EXCLUSIVE MODE")
        store.search_embeddings(SPACE, fill(store)[0], k=3)
        thread = store._graphs._thread
        assert thread is not None
        while store._graphs._building is None:
            assert thread.is_alive()
        store.close()
        assert not thread.is_alive()


def test_an_index_that_cannot_be_built_is_said_once(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store)
    monkeypatch.setattr("kindred.storage.postgres.graph.EF_CONSTRUCTION", 1)
    query = unit(np.random.default_rng(0), 1)[0]
    for _ in range(3):
        assert "exact" in store.search_embeddings(SPACE, query, k=3)[1]
        assert store._graphs._thread is not None
        store._graphs._thread.join()
    assert caplog.text.count("was not built") == 1
    with pytest.raises(StorageError, match="ef_construction"):
        store.build_index(SPACE)


def test_wide_vectors_are_compared_one_by_one(store: PostgresStore) -> None:
    wide = replace(SPACE, dims=2_100)
    vectors = unit(np.random.default_rng(0), 12, wide.dims)
    store.put_embeddings(wide, [Embedding(str(n), "", v, v[None]) for n, v in enumerate(vectors)])
    hits, index = store.search_embeddings(wide, vectors[3], k=1)
    assert (hits[0].track_id, index) == ("3", "pgvector 0.8.5 exact")
    [row] = store.read_rows("embeddings", [f"{wide.space_id}/3"])
    assert isinstance(row.record, TrackVectors)
    np.testing.assert_array_equal(row.record.embedding.vector, vectors[3])
