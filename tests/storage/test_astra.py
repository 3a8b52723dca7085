"""What only the Astra store promises, against the double of the Data API."""

from __future__ import annotations

import inspect
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kindred.config import load_settings
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import ConfigError, SpaceMismatch, StorageError, StorageUnavailable
from kindred.storage import retry, rows
from kindred.storage.astra import batching, codecs, tables
from kindred.storage.astra.backend import AstraStore
from kindred.storage.astra.batching import batches, encoded_size
from kindred.storage.astra.client import DataApi, endpoint_of
from kindred.storage.astra.errors import TooMuch, classify
from kindred.storage.records import (
    KINDS,
    Audio,
    Cover,
    Document,
    Embedding,
    Entry,
    Row,
    Track,
    TrackFilter,
    TrackVectors,
)
from tests.contracts import test_storage_backend as contract
from tests.contracts.test_storage_backend import SPACE, fill, unit
from tests.doubles.data_api import SERVER_ERRORS, DataApiDouble

KEYSPACE = "default_keyspace"
WIDE = replace(SPACE, model="wide", dims=9)


class Store(AstraStore):
    """The contract asks for one thing that belongs to a machine: to keep a file."""

    waits: list[float]

    def upload_audio(self, content_hash: str, source: Path, *, suffix: str) -> str:
        self.write_rows([rows.make(Audio(content_hash, suffix, source.read_bytes()))])
        return content_hash


@pytest.fixture(params=[20, 50])
def double(request: pytest.FixtureRequest) -> Iterator[DataApiDouble]:
    with DataApiDouble(page_size=request.param) as double:
        yield double


@pytest.fixture
def opened(double: DataApiDouble) -> Iterator[Callable[..., Store]]:
    """Opens the library of this test, again and again; waits between attempts are only noted."""
    stores: list[Store] = []

    def opener(**options: Any) -> Store:
        waits: list[float] = []
        options = {"token": double.token, "timeout": 30.0, "sleep": waits.append} | options
        store = Store(options.pop("url", double.url), KEYSPACE, **options)
        store.waits = waits
        stores.append(store)
        return store

    yield opener
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[..., Store]) -> Store:
    store = opened()
    store.init()
    return store


def vectors(
    track_id: str, space: EmbeddingSpace = SPACE, *, windows: int = 2, seed: int = 0
) -> Row:
    drawn = unit(np.random.default_rng(seed), windows, space.dims)
    vector = unit(np.random.default_rng(seed + 1), 1, space.dims)[0]
    return rows.make(TrackVectors(space, Embedding(track_id, f"hash {track_id}", vector, drawn)))


def counts(store: Store) -> Counter[str]:
    """How many rows each table and partition of metadata has."""
    found = Counter[str]()
    api = store._api
    for name in api.database.list_table_names():
        columns = tables.definition(name)["primaryKey"]["partitionBy"]
        for document in api.find(name, {}, columns):
            found[document["collection"] if name == tables.METADATA else name] += 1
    return found


def commands(double: DataApiDouble, start: int) -> list[str]:
    return [call.command for call in double.log[start:]]


# -- the contract, without a copy or an outbox between -------------------------------------------
def _promises() -> Iterator[Any]:
    for name, promise in vars(contract).items():
        needed = set(inspect.signature(promise).parameters) if name.startswith("test_") else set()
        machine = {"files", "audio", "quarantine", "jobs", "batch"} & set(name.split("_"))
        if "store" not in needed or needed & {"opened", "home"} or machine:
            continue
        marks = getattr(promise, "pytestmark", [])
        names, cases = marks[0].args if marks else ((), [()])
        names = (names,) if isinstance(names, str) else names
        for number, case in enumerate(cases):
            case = case if isinstance(case, tuple) else (case,)
            named = dict(zip(names, case, strict=True))
            yield pytest.param(promise, named, id=f"{name[5:]}-{number}")


@pytest.mark.parametrize(("promise", "values"), list(_promises()))
def test_contract(
    store: Store, promise: Callable[..., None], values: dict[str, Any], tmp_path: Path
) -> None:
    if "tmp_path" in inspect.signature(promise).parameters:
        values = values | {"tmp_path": tmp_path}
    promise(store, **values)


# -- schema ------------------------------------------------------------------------------------
def test_init_again_changes_nothing(store: Store, opened: Callable[..., Store]) -> None:
    fill(store, 3)
    store.check_schema()
    name, before = store.library_id(), counts(store)
    other = opened()
    other.init(dims=[SPACE.dims, 512])
    other.check_schema()
    assert other.library_id() == name
    assert counts(other) == before
    assert other.count_tracks() == 3
    assert "embeddings_512" in other._api.database.list_table_names()


def test_what_is_missing_is_named_and_made(opened: Callable[..., Store]) -> None:
    store = opened()
    for ask in (store.check_schema, store.version, store.library_id, store.count_tracks):
        with pytest.raises(StorageError, match="kindred storage init") as raised:
            ask()
        assert not isinstance(raised.value, StorageUnavailable)
    api = store._api
    api.call(lambda: api.database.create_table("songs", definition=tables.definition("songs")))
    with pytest.raises(StorageError, match=r"no table metadata.*storage init"):
        store.check_schema()
    tables.make(api, "metadata")
    with pytest.raises(StorageError, match=r"songs .*no index on shard, content_hash, cover_hash"):
        store.check_schema()
    store.init()
    store.check_schema()
    store.write_rows([vectors("a")])
    api.database.drop_table_index("embeddings_6_vector")
    with pytest.raises(StorageError, match=r"embeddings_6 .*no index on vector"):
        store.check_schema()
    store.init()
    store.check_schema()
    assert store.search_embeddings(SPACE, unit(np.random.default_rng(1), 1)[0], k=1)[0]


def test_tables_of_somebody_else_are_not_touched(opened: Callable[..., Store]) -> None:
    store = opened()
    strange = {
        "columns": {"song_id": {"type": "text"}, "title": {"type": "int"}},
        "primaryKey": {"partitionBy": ["song_id"], "partitionSort": {}},
    }
    store._api.database.create_table("songs", definition=strange)
    tables.make(store._api, "metadata")
    with pytest.raises(StorageError, match=r"songs .*title.*ASTRA_DB_KEYSPACE"):
        store.check_schema()
    with pytest.raises(StorageError):
        store.init()


def test_a_table_whose_vectors_have_another_length_is_named(store: Store) -> None:
    wrong = tables.definition("embeddings_7")
    store._api.database.create_table("embeddings_6", definition=wrong)
    with pytest.raises(StorageError, match=r"embeddings_6 .*vector"):
        store.check_schema()


def test_vectors_of_each_length_have_a_table(store: Store) -> None:
    store.write_rows([rows.make(Track("a")), vectors("a"), vectors("a", WIDE)])
    assert {space.dims for space, _ in store.spaces()} == {6, 9}
    for space in (SPACE, WIDE):
        query = unit(np.random.default_rng(1), 1, space.dims)[0]
        (hit,), _ = store.search_embeddings(space, query, k=5)
        assert (hit.track_id, hit.similarity) == ("a", pytest.approx(1))
        with pytest.raises(SpaceMismatch):
            store.search_embeddings(space, unit(np.random.default_rng(1), 1, 7)[0], k=5)
    before = counts(store)
    wrong = vectors("b", WIDE).record
    assert isinstance(wrong, TrackVectors)
    with pytest.raises(SpaceMismatch):
        store.write_rows([vectors("b"), rows.make(replace(wrong, space=SPACE))])
    assert counts(store) == before


def test_a_space_that_another_machine_has_added_is_kept_apart(
    store: Store, double: DataApiDouble, opened: Callable[..., Store]
) -> None:
    store.put_tracks([Track("a")])
    store.write_rows([vectors("a")])
    query = unit(np.random.default_rng(1), 1)[0]
    assert len(store.search_embeddings(SPACE, query, k=5)[0]) == 1
    opened().write_rows([vectors(f"{n}", replace(SPACE, revision="2")) for n in range(30)])
    start = double.requests
    hits, _ = store.search_embeddings(SPACE, query, k=5)
    assert [hit.track_id for hit in hits] == ["a"]
    assert double.requests - start == 2


# -- what is large -------------------------------------------------------------------------------
def large(n: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(n)


def large_rows(kind: str) -> list[Row]:
    """Two rows under one key, each larger than a row of a table may be."""
    if kind == "covers":
        return [rows.make(Cover("a", large(n, n), b"webp")) for n in (3_000_000, 1_200_000)]
    if kind == "embeddings":
        return [vectors("a", windows=n, seed=n) for n in (60_000, 90_000)]
    if kind == "audio":
        return [rows.make(Audio("hash", ".mp3", large(n, n))) for n in (9_000_000, 5_000_000)]
    texts = ("\u00e9" * 400_000, "\u00e9" * 900_000)
    return [rows.make(Document("runs", "r/1", {"text": text})) for text in texts]


LARGE = ("covers", "embeddings", "audio", "documents")


@pytest.mark.parametrize("kind", LARGE)
def test_what_is_larger_than_a_row_comes_back_and_leaves_nothing(
    store: Store, double: DataApiDouble, kind: Any
) -> None:
    store.write_rows([rows.make(Document("runs", "other", {}))])
    empty = counts(store)
    first, second = large_rows(kind)
    key = first.key
    for row in (first, second):
        store.write_rows([row])
        assert [rows.entry(found) for found in store.read_rows(kind, [key])] == [rows.entry(row)]
        assert store.entries(kind) | {key: rows.entry(row)} == store.entries(kind)
        after = counts(store)
        store.write_rows([replace(row, updated_at=row.updated_at + 1)])
        assert counts(store) == after
    if kind == "embeddings":
        record = second.record
        assert isinstance(record, TrackVectors)
        np.testing.assert_array_equal(store.get_segments(SPACE, "a"), record.embedding.segments)
    parts = sum((after - empty).values())
    assert parts >= 3
    for call in double.log:
        assert call.rows <= 100
    store.write_rows([rows.tombstone(kind, key)])
    assert store.read_rows(kind, [key]) == []
    assert store.entries(kind)[key].deleted
    left = counts(store) - empty
    described = Counter({"spaces": 1}) if kind == "embeddings" else Counter()
    home = {"covers": "songs", "embeddings": "embeddings_6", "audio": "audio"}.get(kind)
    assert left - described == Counter({home or "documents/runs": 1})


@pytest.mark.parametrize("kind", LARGE)
def test_what_is_replaced_while_it_is_read_is_read_again(
    store: Store, opened: Callable[..., Store], kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = large_rows(kind)
    store.write_rows([first])
    other = opened()
    find = DataApi.find
    seen: list[str] = []

    def find_after_a_change(self: DataApi, name: str, where: Any, columns: Any) -> Any:
        mine = self is store._api
        seen.extend([name] if mine else [])
        if mine and len(seen) == 2:  # the row is read, its parts are next
            other.write_rows([second])
        return find(self, name, where, columns)

    if kind == "documents":
        store.list_documents("runs")  # the collection is known
    monkeypatch.setattr(DataApi, "find", find_after_a_change)
    assert [rows.entry(row) for row in store.read_rows(kind, [first.key])] == [rows.entry(second)]


def test_what_is_not_whole_is_passed_over_and_said(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    (row, _), other = large_rows("documents"), rows.make(Document("runs", "whole", {}))
    store.write_rows([row, other])
    parts = codecs.parts_collection("documents/runs", "r/1", rows.entry(row).digest)
    store._api.delete(tables.METADATA, [{"collection": parts, "key": "000001"}])
    assert store.read_rows("documents", [row.key, other.key]) == [other]
    assert store.list_documents("runs") == [other.record]
    assert [record.getMessage() for record in caplog.records if "r/1" in record.getMessage()]


def test_no_row_is_too_large_and_no_request(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    send = httpx.Client.request

    def measured(self: httpx.Client, *args: Any, **options: Any) -> httpx.Response:
        body = options["content"]
        for document in json.loads(body).get("insertMany", {}).get("documents", ()):
            sizes.append(len(body))
            sent = len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())
            assert sent < 1_000_000
        return send(self, *args, **options)

    monkeypatch.setattr(httpx.Client, "request", measured)
    store.write_rows([large_rows(kind)[0] for kind in LARGE])
    assert max(sizes) < batching.MOST_BYTES + 2_000
    assert max(sizes) > batching.MOST_BYTES / 2


def test_a_rows_size_is_known_before_it_is_sent() -> None:
    track = Track(
        'q"\\\n\0', title="\u00e9\u4e2d\U0001f3b5", peaks=large(800, 1), extra={"a": "b\tc"}
    )
    row, cover = rows.make(track), rows.make(Cover("a", large(99, 2), large(100, 3)))
    documents = [
        codecs.track_document(row, rows.entry(row)),
        codecs.cover_document(cover, rows.entry(cover)),
        *codecs.data_documents("c", "k", large(1_000_000, 4), Entry("d" * 64, 1))[0],
    ]
    from astrapy.data.utils.table_converters import preprocess_table_payload
    from astrapy.utils.api_options import defaultAPIOptions

    options = defaultAPIOptions("prod").serdes_options
    for document in documents:
        sent = preprocess_table_payload(document, options=options, map2tuple_checker=None)
        size = len(json.dumps(sent, separators=(",", ":"), ensure_ascii=False).encode())
        assert size <= encoded_size(document) <= size + 25 * len(document)


def test_requests_are_bounded_in_rows_and_bytes() -> None:
    documents = [{"data": large(n, n)} for n in (5_000_000, 10, 3_000_000, 3_000_000, *range(250))]
    made = list(batches(documents, 100))
    assert [document for batch in made for document in batch] == documents
    for batch in made:
        assert len(batch) <= 100
        assert len(batch) == 1 or sum(map(encoded_size, batch)) <= batching.MOST_BYTES


def test_a_server_that_takes_fewer_rows_is_remembered(store: Store, double: DataApiDouble) -> None:
    double.max_insert = 20
    store.put_tracks(Track(f"{number:03d}") for number in range(110))
    assert store.count_tracks() == 110
    start = double.requests
    store.put_tracks(Track(f"more {number:03d}") for number in range(110))
    sent = [call.rows for call in double.log[start:] if call.command == "insertMany"]
    assert sorted(sent) == [1, 10, 20, 20, 20, 20, 20]  # the one is the version
    assert store.count_tracks() == 220


def test_a_server_that_takes_smaller_requests_is_given_them(
    store: Store, double: DataApiDouble
) -> None:
    double.fail("413", command="insertMany")
    store.put_tracks(Track(f"{number:03d}") for number in range(50))
    assert store.count_tracks() == 50
    double.fail("413", times=10, command="insertMany")
    with pytest.raises(StorageError, match="413"):
        store.put_tracks([Track("alone")])


# -- filters -------------------------------------------------------------------------------------
def found(store: Store, **where: Any) -> list[str]:
    query = unit(np.random.default_rng(3), 1)[0]
    hits, _ = store.search_embeddings(SPACE, query, k=100, where=TrackFilter(**where))
    return sorted(hit.track_id for hit in hits)


def test_filters_follow_a_track_that_is_changed(store: Store, opened: Callable[..., Store]) -> None:
    fill(store, 12)
    other = replace(SPACE, revision="2")
    store.write_rows([vectors("t01", other)])
    assert found(store, composers=("Composer 1",)) == ["t01", "t05", "t09"]
    track = replace(store.get_track("t01"), composer="J. S. BACH", year=1685, duration=61.5)
    opened().put_tracks([track])
    assert found(store, composers=("Composer 1",)) == ["t05", "t09"]
    assert found(store, composers=("j. s. bach",)) == ["t01"]
    assert found(store, year=(1685, 1685), duration=(61.5, 61.5)) == ["t01"]
    hits, _ = store.search_embeddings(
        other,
        unit(np.random.default_rng(3), 1)[0],
        k=9,
        where=TrackFilter(composers=("J. S. Bach",)),
    )
    assert [hit.track_id for hit in hits] == ["t01"]
    ids, matrix = store.get_embeddings(SPACE, ["t01"])
    assert ids == ["t01"]
    assert abs(float(np.linalg.norm(matrix[0])) - 1) < 1e-6


def test_filters_know_tracks_that_come_after_their_vectors_or_go_before(store: Store) -> None:
    store.write_rows([vectors("a"), vectors("b", seed=5)])
    assert found(store) == ["a", "b"]
    assert found(store, not_artists=("nobody",)) == []  # there is no track to pass a filter
    store.put_tracks([Track("a", composer="X", year=1800), Track("b", composer="Y")])
    assert found(store, composers=("x",)) == ["a"]
    assert found(store, not_artists=("nobody",)) == ["a", "b"]
    assert found(store, year=(None, 1900)) == ["a"]
    store.write_rows([rows.tombstone("tracks", "a")])
    assert found(store, composers=("x",)) == []
    assert found(store) == ["a", "b"]


def test_filters_take_more_values_than_a_request(store: Store, double: DataApiDouble) -> None:
    ids = [f"{number:03d}" for number in range(260)]
    store.put_tracks(
        Track(track_id, composer=f"C{track_id}", artist=f"A{track_id}") for track_id in ids
    )
    store.write_rows([vectors(track_id, seed=int(track_id), windows=1) for track_id in ids])
    start = double.requests
    names = tuple(f"c{track_id}" for track_id in ids[:250])
    assert found(store, composers=names) == sorted(hit_ids(store, ids[:250]))
    assert double.requests - start == 4  # three parts of 100 values, and one more search below
    start = double.requests
    everyone = tuple(f"a{track_id}" for track_id in ids[100:])
    both = found(store, composers=names, artists=everyone)
    assert both == sorted(hit_ids(store, ids[100:250]))
    assert double.requests - start == 7


def hit_ids(store: Store, ids: list[str]) -> list[str]:
    """The 100 best of some tracks, by an unfiltered search."""
    query = unit(np.random.default_rng(3), 1)[0]
    hits, _ = store.search_embeddings(SPACE, query, k=1000)
    return [hit.track_id for hit in hits if hit.track_id in ids][:100]


@pytest.mark.parametrize("name", ["", "None", "none", "x" * 1001, "\u00c9" * 700, "\ufdfa" * 2000])
def test_filters_take_any_name(store: Store, name: str) -> None:
    store.put_tracks([Track("a", composer=name, album="A"), Track("b", composer=f"{name}!")])
    store.write_rows([vectors("a"), vectors("b", seed=5)])
    assert found(store, composers=(name.upper(),)) == ["a"]
    assert found(store, composers=(name, f"{name}!")) == ["a", "b"]
    assert found(store, not_works=((name, ""),)) == ["b"]
    assert found(store, not_albums=("",)) == ["a"]
    assert [track.track_id for track in store.list_tracks(TrackFilter(composers=(name,)))] == ["a"]


# -- search --------------------------------------------------------------------------------------
def test_a_search_is_one_request(store: Store, double: DataApiDouble) -> None:
    fill(store)
    query = unit(np.random.default_rng(3), 1)[0]
    for where in (TrackFilter(), TrackFilter(composers=("Composer 1",), not_works=(("a", "b"),))):
        start = double.requests
        store.search_embeddings(SPACE, query, k=5, where=where, exclude=["t01"])
        assert commands(double, start) == ["find"]


@pytest.mark.parametrize("by", ["exclude", "not_artists"])
def test_what_is_left_out_makes_room_for_what_is_farther(
    store: Store, double: DataApiDouble, by: str
) -> None:
    drawn = unit(np.random.default_rng(0), 400)
    query = unit(np.random.default_rng(1), 1)[0]
    order = np.argsort(-(drawn @ query))
    near = {f"{number:03d}" for number in order[:300]}
    ids = [f"{number:03d}" for number in range(400)]
    store.put_tracks(Track(item, artist="near" if item in near else "far") for item in ids)
    none = np.zeros((0, SPACE.dims), np.float32)
    store.put_embeddings(
        SPACE, [Embedding(item, "", drawn[number], none) for number, item in enumerate(ids)]
    )
    options: dict[str, Any] = {"exclude": sorted(near)}
    if by == "not_artists":
        options = {"where": TrackFilter(not_artists=("NEAR",))}
    hits, _ = store.search_embeddings(SPACE, query, k=10, **options)
    assert [hit.track_id for hit in hits] == [f"{number:03d}" for number in order[300:310]]
    assert [hit.similarity for hit in hits] == pytest.approx(drawn[order[300:310]] @ query)


def test_similarity_is_the_cosine(store: Store) -> None:
    axes = np.eye(SPACE.dims, dtype=np.float32)
    none = np.zeros((0, SPACE.dims), np.float32)
    store.put_embeddings(
        SPACE,
        [
            Embedding(name, "", vector, none)
            for name, vector in (("same", axes[0]), ("across", axes[1]), ("against", -axes[0]))
        ],
    )
    hits, index = store.search_embeddings(SPACE, axes[0], k=3)
    assert [(hit.track_id, hit.similarity) for hit in hits] == [
        ("same", 1.0),
        ("across", 0.0),
        ("against", -1.0),
    ]
    assert index == "Astra DB ANN (cosine)"


def test_answers_of_an_approximate_index_are_scored_exactly(
    store: Store, double: DataApiDouble
) -> None:
    drawn = fill(store)
    double.recall = 0.7
    query = unit(np.random.default_rng(3), 1)[0]
    hits, _ = store.search_embeddings(SPACE, query, k=10)
    assert len(hits) == 10
    scores = [float(drawn[int(hit.track_id[1:])] @ query) for hit in hits]
    assert [hit.similarity for hit in hits] == pytest.approx(scores)
    assert scores == sorted(scores, reverse=True)
    best = {f"t{number:02d}" for number in np.argsort(-(drawn @ query))[:10]}
    assert len({hit.track_id for hit in hits} & best) >= 5


# -- faults --------------------------------------------------------------------------------------
PASSING = ["429", "dropped", "commit-then-drop", "not-json", *SERVER_ERRORS]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("command", ["find", "insertMany"])
def test_what_passes_is_asked_again(
    store: Store, double: DataApiDouble, fault: str, command: str
) -> None:
    store.put_tracks([Track("a")])
    start = double.requests
    double.fail(fault, times=3, command=command)
    if command == "find":
        assert store.get_track("a") == Track("a")
    else:
        store._set_library("x", "y")
    assert [call.fault for call in double.log[start:]] == [fault] * 3 + [""]
    assert len(store.waits) == 3
    assert all(0 <= wait <= retry.LONGEST_WAIT for wait in store.waits)


@pytest.mark.parametrize("fault", PASSING)
def test_attempts_end(store: Store, double: DataApiDouble, fault: str) -> None:
    start = double.requests
    double.fail(fault, times=99, command="find")
    with pytest.raises(StorageUnavailable) as raised:
        store.get_tracks(["a"])
    assert double.requests - start == retry.ATTEMPTS
    assert not retry.is_asleep(raised.value)


def test_refusals_are_not_sent_again(store: Store, double: DataApiDouble) -> None:
    start = double.requests
    double.fail("401", times=9)
    with pytest.raises(
        StorageError, match=r"ASTRA_DB_APPLICATION_TOKEN.*ASTRA_DB_PASSWORD"
    ) as raised:
        store.get_tracks(["a"])
    assert not isinstance(raised.value, StorageUnavailable)
    assert double.requests - start == 1
    assert store.waits == []


def test_a_sleeping_database_is_left_to_wake(store: Store, double: DataApiDouble) -> None:
    start = double.requests
    double.pause()
    with pytest.raises(StorageUnavailable, match="waking up") as raised:
        store.version()
    assert retry.is_asleep(raised.value)
    assert double.requests - start == 1
    double.resume()
    assert store.version() >= 0


def test_an_answer_that_is_lost_doubles_nothing(
    store: Store, double: DataApiDouble, opened: Callable[..., Store]
) -> None:
    fill(store)
    expected = {kind: store.entries(kind) for kind in KINDS}
    before = counts(store)
    hasty = opened(timeout=0.2)
    double.fail("commit-then-timeout", command="insertMany")
    with pytest.raises(StorageUnavailable, match=r"0\.2 s \(KINDRED_STORAGE_TIMEOUT\)"):
        hasty.put_tracks([replace(hasty.get_track("t01"), title="New")])
    version = store.version()
    hasty.put_tracks([replace(hasty.get_track("t01"), title="New")])  # it had arrived
    assert store.version() > version
    assert counts(store) == before
    assert store.get_track("t01").title == "New"
    double.fail("commit-then-drop", times=3, command="insertMany")
    fill(store)
    fill(store)
    assert counts(store) == before
    assert {k: e.digest for k, e in store.entries("tracks").items()} == {
        k: e.digest for k, e in expected["tracks"].items()
    }


def test_a_server_that_is_away_and_comes_back(store: Store, double: DataApiDouble) -> None:
    fill(store, 3)
    double.stop()
    with pytest.raises(StorageUnavailable, match=r"cannot be reached.*online"):
        store.list_tracks()
    double.start()
    assert len(store.list_tracks()) == 3


class Killed(BaseException):
    """Ends a write at any place, as a kill does."""


def test_a_kill_at_any_moment_leaves_what_is_true_and_is_mended(
    opened: Callable[..., Store], double: DataApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    store.init()
    store.write_rows([vectors("a"), rows.make(Document("runs", "old", {"large": "x" * 600_000}))])
    wanted = [
        rows.make(Track("a", composer="X")),
        rows.make(Track("b", composer="Y")),
        rows.make(Cover("a", large(700_000, 1), b"webp")),
        vectors("a", windows=30_000, seed=3),
        vectors("b", windows=30_000, seed=4),
        vectors("b", WIDE),
        rows.make(Audio("hash", ".mp3", large(1_200_000, 2))),
        rows.make(Document("runs", "old", {"large": "y" * 700_000})),
        rows.make(Document("settings", "encoder", {"value": "clap"})),
        rows.tombstone("tracks", "gone"),
    ]
    call = DataApi.call
    left = [0]
    lock = threading.Lock()

    def limited(self: DataApi, request: Callable[[], Any]) -> Any:
        with lock:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return call(self, request)

    for moment in range(1, 1000):
        left[0] = moment
        monkeypatch.setattr(DataApi, "call", limited)
        done = False
        try:
            opened().write_rows(wanted)
            done = True
        except Killed:
            pass
        monkeypatch.setattr(DataApi, "call", call)
        for kind in KINDS:
            there = {key: entry for key, entry in store.entries(kind).items() if not entry.deleted}
            read = {row.key: rows.entry(row) for row in store.read_rows(kind, list(there))}
            assert read == there, (moment, kind)
        if done:
            break
    assert moment > 10
    for row in wanted:
        assert store.entries(row.kind, [row.key]) == {row.key: rows.entry(row)}
    assert found(store, composers=("x", "y")) == ["a", "b"]
    assert store.version() > max(row.updated_at for row in wanted)


@pytest.mark.parametrize(
    ("status", "body", "passes", "says"),
    [
        (401, {"errors": [{"message": "bad"}]}, False, "ASTRA_DB_APPLICATION_TOKEN"),
        (403, {}, False, "role"),
        (404, "<html>", False, "ASTRA_DB_API_ENDPOINT"),
        (413, "", False, "size"),
        (400, {"errors": [{"errorCode": "X", "message": "odd"}]}, False, "odd"),
        (429, {"message": "slow down"}, True, "slow down"),
        (500, "<html>", True, "500"),
        (502, "", True, "Bad Gateway"),
        (503, {"message": "overloaded"}, True, "overloaded"),
        (503, {"message": "Resuming your database, please try again shortly."}, True, "waking"),
        (200, {"errors": [{"errorCode": "TIMEOUT_READING_DATA"}]}, True, "TIMEOUT_READING_DATA"),
        (200, {"errors": [{"errorCode": "FAILED_TO_READ_METADATA"}]}, True, "METADATA"),
        (200, {"errors": [{"errorCode": "INVALID_DATABASE_QUERY"}]}, False, "INVALID"),
        (200, {"errors": [{"errorCode": "UNSUPPORTED_DATABASE_QUERY"}]}, False, "UNSUPPORTED"),
        (200, {"errors": [{"errorCode": "UNAUTHORIZED_ACCESS"}]}, False, "token or password"),
        (200, {"errors": [{"errorCode": "UNKNOWN_KEYSPACE"}]}, False, "ASTRA_DB_KEYSPACE"),
        (
            200,
            {"errors": [{"errorCode": "UNAVAILABLE_DATABASE"}, {"errorCode": "BAD"}]},
            False,
            "BAD",
        ),
        (200, {"errors": [{"message": "no code, and AstraCS:secret"}]}, False, r"no code, and \*"),
    ],
)
def test_errors_are_sorted(status: int, body: Any, passes: bool, says: str) -> None:
    from astrapy.exceptions import DataAPIHttpException, DataAPIResponseException

    error: Exception
    if status == 200:
        error = DataAPIResponseException.from_response(command={}, raw_response=body)
    else:
        content = body if isinstance(body, str) else json.dumps(body)
        response = httpx.Response(
            status,
            text=content,
            headers={"Retry-After": "7"},
            request=httpx.Request("POST", "http://x"),
        )
        with pytest.raises(httpx.HTTPStatusError) as raised:
            response.raise_for_status()
        error = DataAPIHttpException.from_httpx_error(raised.value)
    found = classify(error, place="It", timeout=1, secrets=("AstraCS:secret",))
    assert isinstance(found, StorageUnavailable) is passes
    assert "AstraCS:secret" not in str(found)
    assert retry.is_asleep(found) is ("waking" in says)
    assert isinstance(found, TooMuch) is (status == 413)
    if passes and status > 200 and "waking" not in says:
        assert getattr(found, "retry_after", None) == 7
    assert re.search(says, str(found)), str(found)


# -- credentials -----------------------------------------------------------------------------------
def test_a_data_api_of_ones_own(opened: Callable[..., Store], double: DataApiDouble) -> None:
    own = {"token": "", "username": double.username, "password": double.password}
    store = opened(**own)
    store.init()
    fill(store, 2)
    assert store.count_tracks() == 2
    with pytest.raises(StorageError, match="ASTRA_DB_PASSWORD"):
        opened(**(own | {"password": "wrong"})).version()


def test_a_keyspace_that_is_not_there(double: DataApiDouble) -> None:
    with (
        AstraStore(double.url, "nowhere", token=double.token) as store,
        pytest.raises(StorageError, match=r"nowhere.*ASTRA_DB_KEYSPACE"),
    ):
        store.check_schema()


def test_settings_that_are_missing_are_named() -> None:
    settings = load_settings(astra_db_id="abc", astra_db_region="us-east-2")
    assert endpoint_of(settings) == "https://abc-us-east-2.apps.astra.datastax.com"
    settings = load_settings(astra_db_id="abc", astra_db_api_endpoint="http://127.0.0.1:8181")
    assert endpoint_of(settings) == "http://127.0.0.1:8181"
    with pytest.raises(ConfigError, match="ASTRA_DB_ID and ASTRA_DB_REGION"):
        endpoint_of(load_settings())
    with pytest.raises(ConfigError, match="needs ASTRA_DB_REGION"):
        endpoint_of(load_settings(astra_db_id="abc"))
    with pytest.raises(ConfigError, match=r"ASTRA_DB_APPLICATION_TOKEN.*ASTRA_DB_USERNAME"):
        AstraStore("https://x", "ks")
    for bad in ("", "abc", "ftp://x", "https://", "https://x:port", "https://x:99999"):
        with pytest.raises(ConfigError, match="ASTRA_DB_API_ENDPOINT"):
            AstraStore(bad, "ks", token="t")


def test_secrets_are_nowhere(
    opened: Callable[..., Store], double: DataApiDouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ("AstraCS:double", "c2VjcmV0LXdvcmQ=", "secret-word")
    double.password = "secret-word"
    address = double.url.replace("//", "//somebody:secret-word@")
    raised: list[BaseException] = []
    for options in (
        {"url": address},
        {"token": "", "username": double.username, "password": "secret-word"},
    ):
        store = opened(**options)
        store.init()
        fill(store, 3)
        for fault in ("401", "413", "503-resuming", "dropped", "not-json", "FAILED_READ_REQUEST"):
            double.fail(fault, times=5)
            with pytest.raises(StorageError) as error:
                store.version()
            double._queue.clear()
            raised.append(error.value)
        assert not any(secret in f"{store!r} {store.place} {vars(store)}" for secret in secrets)
    while raised:
        error = raised.pop()
        assert not any(secret in f"{error} {error!r}" for secret in secrets)
        raised += [cause for cause in (error.__cause__, error.__context__) if cause]
    assert len(caplog.text) > 10_000
    assert not any(secret in caplog.text for secret in secrets)


def test_nothing_makes_the_server_warn(
    store: Store, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.WARNING)
    contract.everything(store, tmp_path)
    for kind in KINDS:
        store.read_rows(kind, list(store.entries(kind)))
        store.entries(kind, list(store.entries(kind)))
    found(store, composers=("Composer 1", "x"), year=(1700, 1800), not_artists=("y",))
    store.list_tracks(TrackFilter(composers=("Composer 1",)))
    store.embedded_hashes(SPACE)
    store.get_thumbnails(["t01"])
    store.list_documents("settings")
    store.delete_tracks(["t01", "t02"])
    assert store.find_track_by_hash("hash3")
    assert caplog.records == []


# -- the rest --------------------------------------------------------------------------------------
def test_requests_of_each_operation(store: Store, double: DataApiDouble) -> None:
    fill(store, 10)
    store.put_document(Document("runs", "r", {}))
    asked: dict[str, Callable[[], object]] = {
        "version": store.version,
        "get_tracks": lambda: store.get_tracks([f"t{number:02d}" for number in range(10)]),
        "find_track_by_hash": lambda: store.find_track_by_hash("hash3"),
        "get_embeddings": lambda: store.get_embeddings(SPACE, ["t01", "t02"]),
        "get_segments": lambda: store.get_segments(SPACE, "t01"),
        "list_documents": lambda: store.list_documents("runs"),
        "count again": lambda: (store.count_tracks(), store.count_tracks())[0],
        "unchanged": lambda: store.put_tracks([store.get_track("t01")]),
        "put_tracks": lambda: store.put_tracks([Track(f"new {n}") for n in range(49)]),
        "put_document": lambda: store.put_document(Document("runs", "r", {"x": 1})),
    }
    needed = {}
    for name, ask in asked.items():
        start = double.requests
        ask()
        needed[name] = double.requests - start
    assert needed == {
        "version": 1,
        "get_tracks": 1,
        "find_track_by_hash": 1,
        "get_embeddings": 1,
        "get_segments": 1,
        "list_documents": 1,
        "count again": 2 + tables.SHARDS,
        "unchanged": 2,
        # what is there; the spaces, their copies; the rows; the version, read and written
        "put_tracks": 6,
        "put_document": 4,
    }


def test_table_objects_are_kept(store: Store) -> None:
    assert store._api.table("songs") is store._api.table("songs")


def test_audio_may_stay_here(opened: Callable[..., Store]) -> None:
    store = opened(store_audio=False)
    store.init()
    before = counts(store)
    store.write_rows([rows.make(Audio("hash", ".mp3", b"data"))])
    assert store.entries("audio") == {}
    assert counts(store) == before
    keeper = opened()
    keeper.write_rows([rows.make(Audio("hash", ".mp3", b"data"))])
    store.write_rows([rows.tombstone("audio", "hash.mp3")])
    assert keeper.entries("audio")["hash.mp3"].deleted


def test_a_picture_of_many_tracks_is_kept_once(store: Store, double: DataApiDouble) -> None:
    image = large(1_200_000, 1)
    store.write_rows([rows.make(Cover(f"t{number}", image, b"webp")) for number in range(30)])
    assert counts(store)[codecs.image_collection(codecs.image_hash(image))] == 3
    start = double.requests
    store.write_rows([rows.make(Cover("another", image, b"webp"))])
    assert max(call.rows for call in double.log[start:] if call.command == "insertMany") == 1
    store.write_rows([rows.tombstone("covers", f"t{number}") for number in range(30)])
    assert store.get_cover("another") == image
    store.write_rows([rows.make(Cover("another", b"new", b"webp"))])
    assert counts(store)[codecs.image_collection(codecs.image_hash(image))] == 0
    assert store.get_cover("another") == b"new"


def test_deleted_vectors_of_an_unknown_space_are_remembered(store: Store) -> None:
    row = vectors("a")
    store.write_rows([rows.tombstone("embeddings", row.key, 7)])
    assert store.entries("embeddings") == {row.key: Entry("", 7)}
    assert store.entries("embeddings", [row.key]) == {row.key: Entry("", 7)}
    assert store.spaces() == []
    assert found(store) == []
    store.write_rows([row])
    assert store.entries("embeddings") == {row.key: rows.entry(row)}
    assert store.entries("embeddings", [row.key]) == {row.key: rows.entry(row)}


def test_the_version_grows_whatever_the_clocks_say(
    store: Store, opened: Callable[..., Store]
) -> None:
    ahead = rows.now() + 10**12
    store._set_library("version", str(ahead))
    store.put_setting("a", "1")
    assert store.version() == ahead + 1
    other = opened()
    other.put_setting("a", "1")  # nothing new, but a writer before may have been killed
    assert store.version() == ahead + 2
    other.put_setting("a", "1")
    assert store.version() == ahead + 2


def test_the_last_of_several_rows_counts(store: Store) -> None:
    store.put_tracks([Track("a", title=str(number)) for number in range(5)])
    assert store.get_track("a").title == "4"
    store.write_rows([rows.make(Track("b")), rows.tombstone("tracks", "b", 9)])
    assert store.entries("tracks")["b"] == Entry("", 9)
    assert store.count_tracks() == 1


def test_tracks_keep_every_value(store: Store) -> None:
    track = Track(
        "id/with \u00e9 'quotes\" & $signs",
        content_hash="hash",
        title="\u4e2d\u6587 \U0001f3b5 e\u0301",
        track_no=0,
        year=-(2**40),
        duration=1 / 3,
        sample_rate=2**33,
        peaks=bytes(range(256)),
        extra={"$binary": "x", "": "empty", "a.b": "\u00e9"},
    )
    store.put_tracks([track, Track("bare")])
    assert store.get_tracks([track.track_id, "bare"]) == [track, Track("bare")]


def test_many_threads_share_a_store(store: Store) -> None:
    fill(store)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            store.put_tracks([Track(f"new {number}")])
            assert store.get_track(f"new {number}")
            assert len(found(store)) == 40
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert store.count_tracks() == 48
