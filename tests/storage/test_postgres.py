"""What only Postgres promises, on a real server; and the contract where it needs no machine."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from kindred.errors import StorageError, StorageUnavailable, TrackNotFound
from kindred.storage import rows
from kindred.storage.local import LocalBackend
from kindred.storage.postgres import migrate
from kindred.storage.postgres.backend import PostgresStore
from kindred.storage.postgres.connections import read_url
from kindred.storage.postgres.failures import is_retryable, translate
from kindred.storage.records import (
    KINDS,
    Audio,
    Document,
    Embedding,
    Entry,
    Track,
    TrackFilter,
)
from tests.contracts import test_storage_backend as contract
from tests.contracts.test_storage_backend import SPACE, unit
from tests.doubles.postgres import PostgresServer, shared_server

# Of a whole backend these need only what a library has.
fill: Any = contract.fill
everything: Any = contract.everything
spawn = multiprocessing.get_context("spawn")


class Store(PostgresStore):
    """The contract asks for one thing that belongs to a machine: to keep a file."""

    def upload_audio(self, content_hash: str, source: Path, *, suffix: str) -> str:
        self.write_rows([rows.make(Audio(content_hash, suffix, source.read_bytes()))])
        return content_hash


@pytest.fixture
def server() -> PostgresServer:
    return shared_server("0.8")


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    url = server.new_database()
    yield url
    server.give_back(url)


@pytest.fixture
def opened() -> Iterator[Callable[..., Store]]:
    """Opens the library of an address; the test's end closes it."""
    stores: list[Store] = []

    def opener(url: str, **options: Any) -> Store:
        stores.append(Store(url, **options))
        stores[-1].init()
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[..., Store], url: str) -> Store:
    return opened(url)


def rows_of(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


# -- the contract ------------------------------------------------------------------------------
def promises() -> Iterator[Any]:
    """The promises of the contract that need no machine, with their parameters."""
    for name, promise in vars(contract).items():
        needed = set(inspect.signature(promise).parameters) if name.startswith("test_") else set()
        if "store" not in needed or {"files", "audio", "quarantine", "jobs"} & set(name.split("_")):
            continue
        marks = getattr(promise, "pytestmark", [])
        names, every = marks[0].args if marks else ((), [()])
        names = [names] if isinstance(names, str) else names
        for number, values in enumerate(every):
            values = values if isinstance(values, tuple) else (values,)
            named = dict(zip(names, values, strict=True))
            yield pytest.param(promise, named, id=f"{name}-{number}")


@pytest.mark.parametrize(("promise", "values"), list(promises()))
def test_contract(
    store: Store, promise: Callable[..., None], values: dict[str, Any], tmp_path: Path
) -> None:
    if "tmp_path" in inspect.signature(promise).parameters:
        values = values | {"tmp_path": tmp_path}
    promise(store, **values)


def test_the_contract_was_found() -> None:
    assert len({param.values[0] for param in promises()}) > 20


# -- the schema --------------------------------------------------------------------------------
def test_the_schema_is_made_once(store: Store, url: str) -> None:
    fill(store, 3)
    first = store.library_id()
    store.init()
    assert (store.library_id(), store.count_tracks()) == (first, 3)
    assert rows_of(url, f"SELECT version_num FROM {migrate.VERSION_TABLE}") == [(migrate.HEAD,)]


def test_the_newest_revision_is_the_one_that_is_asked_for() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrate._SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_the_key_of_a_vector_is_the_agreed_one(store: Store, url: str) -> None:
    key = rows_of(
        url,
        "SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))"
        " FROM pg_index i JOIN pg_attribute a"
        " ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)"
        " WHERE i.indrelid = 'track_embeddings'::regclass AND i.indisprimary",
    )[0][0]
    agreed = ["track_id", "embedding_kind", "model_name", "model_version", "dims", "content_hash"]
    assert key == [*agreed, "space_id"]


def test_several_may_make_the_schema_at_once(url: str, opened: Callable[..., Store]) -> None:
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: opened(url), range(4)))
    assert len({store.library_id() for store in stores}) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.check_schema(),
        lambda store: store.version(),
        lambda store: store.put_tracks([Track("a")]),
        lambda store: store.search_embeddings(SPACE, unit(np.random.default_rng(0), 1)[0], k=1),
        lambda store: store.batch().__enter__(),
    ],
)
def test_a_database_without_schema_is_said(url: str, call: Callable[[Store], None]) -> None:
    with Store(url) as store, pytest.raises(StorageError, match="kindred storage init"):
        call(store)


@pytest.mark.parametrize(
    ("found", "said"), [("0000", "older Kindred.*kindred storage init"), ("9999", "newer Kindred")]
)
def test_another_schema_is_refused(store: Store, url: str, found: str, said: str) -> None:
    rows_of(url, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{found}'")
    with Store(url) as again, pytest.raises(StorageError, match=said):
        again.list_tracks()
    if found == "9999":
        with Store(url) as again, pytest.raises(StorageError, match=said):
            again.init()


def test_a_schema_that_vanishes_is_said(store: Store, url: str) -> None:
    assert store.version() == 0
    rows_of(url, "DROP TABLE meta")
    with pytest.raises(StorageError, match="kindred storage init"):
        store.version()


def test_a_database_of_another_program_is_left_alone(server: PostgresServer, url: str) -> None:
    rows_of(url, "CREATE TABLE tracks (tape text)")
    with Store(url) as store, pytest.raises(StorageError, match="tables of another program"):
        store.init()
    assert rows_of(url, "SELECT relname FROM pg_class WHERE relname = 'ledger'") == []


def test_another_encoding_is_refused(server: PostgresServer) -> None:
    url = server.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0")
    with Store(url) as store, pytest.raises(StorageError, match=r"SQL_ASCII.*UTF8"):
        store.init()


def test_a_server_without_pgvector_is_said() -> None:
    server = PostgresServer("none")
    with Store(server.new_database()) as store, pytest.raises(StorageError, match="no pgvector"):
        store.init()
    server.remove()


def test_a_user_who_may_not_add_pgvector_is_told_whom_to_ask(server: PostgresServer) -> None:
    server.run("DROP ROLE IF EXISTS guest")
    server.run("CREATE ROLE guest LOGIN PASSWORD 'of a guest'")
    database = server.new_database("OWNER guest").partition("@/")[2].partition("?")[0]
    url = server.url(database, user="guest", password="of%20a%20guest")
    with Store(url) as store:
        with pytest.raises(StorageError, match="CREATE EXTENSION vector"):
            store.init()
        server.run("CREATE EXTENSION vector", database)
        store.init()
        fill(store, 3)
        assert store.count_tracks() == 3


# -- addresses and secrets ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:secret@db.example:6543/music", "db.example:6543/music"),
        ("postgres://u:secret@db.example/music", "db.example:5432/music"),
        ("postgresql+psycopg://u:secret@db.example/music?sslmode=require", "db.example:5432/music"),
        ("host=db.example dbname=music user=u password=secret", "db.example:5432/music"),
        ("postgresql://u:sec?ret@db.example/music", "db.example:5432/music"),
        ("postgresql://u:se%40cret@one:1,two:2/music", "one,two:1,2/music"),
    ],
)
def test_a_place_has_no_secrets(url: str, place: str) -> None:
    assert read_url(url)[1] == place


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u:secret@h/d",
        "postgresql://u:sec@ret@h/d",
        "postgresql://u:sec/ret@h/d",
        "postgresql://u:12/secret@h/d",
        "postgresql://u:secret@h:port/d",
        "postgresql://u:secret@h/d?nonsense=secret",
        "postgresql://u:%zzsecret@h/d",
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(StorageError, match="DATABASE_URL") as caught:
        PostgresStore(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("part", "other", "error", "said"),
    [
        ("kindred:", "kindred:wrong", StorageError, "user and password"),
        ("kindred:", "nobody:", StorageError, "user and password"),
        ("@/library", "@/none", StorageError, "no such database"),
        ("?host=/", "?host=/none/", StorageUnavailable, "nothing listens there"),
        ("@/", "@127.0.0.1:1/", StorageUnavailable, "nothing listens there"),
    ],
)
@pytest.mark.parametrize("call", [PostgresStore.init, PostgresStore.version])
def test_what_cannot_be_opened_is_said_without_the_password(
    server: PostgresServer,
    url: str,
    caplog: pytest.LogCaptureFixture,
    part: str,
    other: str,
    error: type[StorageError],
    said: str,
    call: Callable[[PostgresStore], Any],
) -> None:
    caplog.set_level(logging.DEBUG)
    spoiled = url.replace(part, other)
    if "127.0.0.1" in spoiled:
        spoiled = spoiled.partition("?")[0]
    with (
        PostgresStore(spoiled, timeout=2) as store,
        pytest.raises(StorageError, match=said) as caught,
    ):
        call(store)
    assert type(caught.value) is error
    told = caplog.text + "".join(traceback.format_exception(caught.value)) + store.place
    assert server.password.partition("/")[2] not in told
    assert "postgresql:" not in told


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (psycopg.errors.SerializationFailure, True),
        (psycopg.errors.DeadlockDetected, True),
        (psycopg.errors.LockNotAvailable, True),
        (psycopg.errors.QueryCanceled, True),
        (psycopg.errors.AdminShutdown, True),
        (psycopg.errors.CannotConnectNow, True),
        (psycopg.errors.TooManyConnections, True),
        (psycopg.errors.ConnectionFailure, True),
        (psycopg.InterfaceError, True),
        (psycopg.OperationalError, True),
        (psycopg.errors.DiskFull, False),
        (psycopg.errors.InsufficientPrivilege, False),
        (psycopg.errors.ReadOnlySqlTransaction, False),
        (psycopg.errors.CheckViolation, False),
        (psycopg.errors.UndefinedTable, False),
        (psycopg.errors.InvalidCatalogName, False),
        (psycopg.DataError, False),
        (psycopg.ProgrammingError, False),
    ],
)
def test_what_may_pass_is_told_from_what_may_not(
    error: type[psycopg.Error], retryable: bool
) -> None:
    assert is_retryable(error("x")) is retryable
    kind = StorageUnavailable if retryable else StorageError
    assert type(translate(error("x"), "host:1/db")) is kind


# -- rows --------------------------------------------------------------------------------------
ODD = [
    'it\'s "quoted" \\ and \\N, \\. and \\x00',
    "tabs\tand\nnew\r\nlines",
    "%s %b {} $1 ::vector; DROP TABLE tracks --",
    "Дворжак, Dvořák, 武満徹, 🎻, e\u0301, \u202e, \ufeff",
    "",
    " ",
    "x" * 10_000,
]


@pytest.mark.parametrize("n", [1, 60])
def test_odd_text_comes_back_by_upsert_and_by_copy(store: Store, n: int) -> None:
    tracks = [
        Track(f"{text[:100]}{number}", title=text, composer=text, work=text, extra={text: text})
        for text in ODD
        for number in range(n)
    ]
    documents = [Document("odd", track.track_id, {track.title: ["\0", None]}) for track in tracks]
    store.put_tracks(tracks)
    store.write_rows([rows.make(item) for item in documents])
    found = store.get_tracks([track.track_id for track in tracks])
    assert found == tracks
    assert store.list_documents("odd") == sorted(documents, key=lambda item: item.key)
    for text in ODD:
        mine = [track for track in store.list_tracks() if track.composer == text]
        assert store.list_tracks(TrackFilter(composers=(text.upper(),))) == mine
        others = store.list_tracks(TrackFilter(not_works=((text, text),)))
        assert len(others) == len(tracks) - n


@pytest.mark.parametrize("key", ["a\0b", "half \ud800"])
def test_what_postgres_cannot_hold_is_not_found(store: Store, key: str) -> None:
    fill(store, 3)
    with pytest.raises(TrackNotFound):
        store.get_track(key)
    assert store.find_track_by_hash(key) is None
    assert store.entries("tracks", [key, "t01"]).keys() == {"t01"}
    assert store.get_thumbnails([key]) == {}
    assert store.get_document(key, key) is None
    assert store.list_documents(key) == []
    assert store.get_embeddings(SPACE, [key])[0] == []
    assert store.get_segments(SPACE, key).shape == (0, SPACE.dims)
    assert store.list_tracks(TrackFilter(composers=(key,))) == []
    assert len(store.list_tracks(TrackFilter(not_albums=(key,), not_works=((key, key),)))) == 3
    store.delete_tracks([key])


def test_a_key_postgres_cannot_hold_is_refused(store: Store) -> None:
    with pytest.raises(StorageError, match="NUL"):
        store.put_document(Document("a", "b\0", {}))


def test_lists_order_by_code_point(store: Store) -> None:
    ids = ["a", "B", "b", "É", "é", "z", "Z", "_", "10", "9", "\uffee", "\U00010400", "武"]
    store.put_tracks(Track(track_id) for track_id in ids)
    assert [track.track_id for track in store.list_tracks()] == sorted(ids)
    assert list(store.entries("tracks")) == sorted(ids)


def test_the_last_of_several_rows_under_a_key_wins(store: Store) -> None:
    store.write_rows(
        [
            rows.make(Track("a", title="1"), 1),
            rows.make(Track("a", title="2"), 2),
            rows.make(Track("b"), 1),
            rows.tombstone("tracks", "b", 2),
        ]
    )
    assert store.get_track("a").title == "2"
    assert store.entries("tracks", ["b"]) == {"b": Entry("", 2)}
    assert store.count_tracks() == 1


def test_the_version_grows_once_a_call_and_everybody_sees_it(
    store: Store, opened: Callable[..., Store], url: str
) -> None:
    other = opened(url)
    everything_at_once = [
        rows.make(record)
        for record in (Track("a"), Document("d", "k", {}), Audio("h", ".wav", b"x"))
    ]
    store.write_rows(everything_at_once)
    assert other.version() == 1
    store.write_rows(everything_at_once)
    store.write_rows([])
    assert other.version() == 1


def test_a_changed_vector_replaces_the_old_one(store: Store, url: str) -> None:
    one, two = unit(np.random.default_rng(0), 2)
    for content_hash, vector in (("h1", one), ("h2", two)):
        store.put_embeddings(SPACE, [Embedding("a", content_hash, vector, vector[None])])
    assert store.embedded_hashes(SPACE) == {"a": "h2"}
    assert store.spaces() == [(SPACE, 1)]
    assert rows_of(url, "SELECT count(*) FROM track_embeddings") == [(1,)]


def test_spaces_that_differ_in_pooling_alone_are_kept_apart(store: Store) -> None:
    vector = unit(np.random.default_rng(0), 1)[0]
    other = replace(SPACE, pooling="max")
    for space in (SPACE, other):
        store.put_embeddings(space, [Embedding("a", "h", vector, vector[None])])
    assert [count for _, count in store.spaces()] == [1, 1]
    store.write_rows([rows.tombstone("embeddings", f"{other.space_id}/a")])
    assert store.spaces() == [(SPACE, 1)]


@pytest.mark.parametrize(
    ("dims", "vector"), [(6, "[1,0,0,0,0,0,0]"), (7, "[1,0,0,0,0,0,0]"), (6, "[1]")]
)
def test_the_database_itself_refuses_other_dimensions(
    store: Store, url: str, dims: int, vector: str
) -> None:
    fill(store, 1)
    with pytest.raises(psycopg.errors.IntegrityError):
        rows_of(
            url,
            "INSERT INTO track_embeddings SELECT 'new', embedding_kind, model_name, model_version,"
            f" {dims}, '', space_id, '{vector}', '' FROM track_embeddings",
        )


def test_a_picture_is_kept_once_and_goes_with_its_last_track(store: Store, url: str) -> None:
    for track_id in ("a", "b"):
        store.put_cover(track_id, b"picture", b"small")
    store.put_cover("c", b"picture", b"tiny")
    assert rows_of(url, "SELECT count(*) FROM covers") == [(2,)]
    assert store.get_thumbnails(["a", "c"]) == {"a": b"small", "c": b"tiny"}
    store.put_cover("a", b"other", b"small")
    store.write_rows([rows.tombstone("covers", "b")])
    assert rows_of(url, "SELECT image FROM covers ORDER BY image") == [(b"other",), (b"picture",)]


def test_audio_is_passed_over_where_it_is_not_kept(opened: Callable[..., Store], url: str) -> None:
    audio = rows.make(Audio("h", ".wav", bytes(range(256)) * 8_000))
    with_audio, without = opened(url), opened(url, store_audio=False)
    without.write_rows([audio])
    assert with_audio.entries("audio") == {}
    assert with_audio.version() == 0
    with_audio.write_rows([audio])
    assert without.read_rows("audio", ["h.wav"]) == [audio]
    without.write_rows([rows.tombstone("audio", "h.wav")])
    assert with_audio.entries("audio")["h.wav"].deleted


def test_a_local_library_can_be_moved_in_and_out(store: Store, tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "here") as local, LocalBackend(tmp_path / "back") as back:
        everything(local, tmp_path)
        local.delete_tracks(["t04"])
        for kind in KINDS:
            entries = local.entries(kind)
            store.write_rows(local.read_rows(kind, list(entries)))
            gone = [key for key, entry in entries.items() if entry.deleted]
            store.write_rows([rows.tombstone(kind, key, entries[key].updated_at) for key in gone])
            assert store.entries(kind) == entries
            back.write_rows(store.read_rows(kind, list(entries)))
        query = unit(np.random.default_rng(5), 1)[0]
        hits = [item.search_embeddings(SPACE, query, k=5)[0] for item in (local, store, back)]
        assert hits[0] == hits[1] == hits[2]
        assert back.list_tracks() == store.list_tracks()


# -- batches, writers, crashes -----------------------------------------------------------------
def test_a_batch_of_which_a_part_was_refused_is_not_kept(store: Store) -> None:
    def careless() -> None:
        with store.batch():
            store.put_tracks([Track("a")])
            try:
                store.put_document(Document("a", "b\0", {}))
            except StorageError:
                pass
            store.put_tracks([Track("c")])

    careless()  # refused before it was sent: the rest of the batch is whole
    assert store.count_tracks() == 2

    def more_careless() -> None:
        with store.batch():
            store.put_tracks([Track("d")])
            try:
                store._fetch("SELECT 1 / 0")
            except StorageError:
                pass

    with pytest.raises(StorageError, match="nothing of it was kept"):
        more_careless()
    assert store.count_tracks() == 2


def test_a_batch_is_seen_when_it_is_whole(
    store: Store, opened: Callable[..., Store], url: str
) -> None:
    other = opened(url)
    with store.batch():
        fill(store, 5)
        assert store.count_tracks() == 5
        assert other.count_tracks() == 0
        assert other.version() == 0
    assert other.count_tracks() == 5


def write_in_turns(url: str, own: str, ready: Any) -> None:
    """Write the rows all share, and some of one's own."""
    with PostgresStore(url, timeout=60) as store:
        ready.wait()
        for round_ in range(8):
            with store.batch():
                store.put_tracks(Track(f"{own}{number}", title="own") for number in range(7))
                fill(store, 60, seed=round_ % 2)


@pytest.mark.parametrize("threads", [True, False])
def test_writers_of_the_same_rows_lose_nothing(store: Store, url: str, threads: bool) -> None:
    ready = threading.Barrier(3) if threads else spawn.Barrier(3)
    writers: list[Any] = [
        threading.Thread(target=write_in_turns, args=(url, own, ready))
        if threads
        else spawn.Process(target=write_in_turns, args=(url, own, ready))
        for own in "abc"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert threads or writer.exitcode == 0
    assert store.count_tracks() == 60 + 3 * 7
    assert store.spaces() == [(SPACE, 60)]
    for kind in KINDS:
        entries = store.entries(kind)
        assert {row.key: rows.entry(row) for row in store.read_rows(kind, list(entries))} == entries
    expected = [unit(np.random.default_rng(seed), 60) for seed in (0, 1)]
    found = store.get_embeddings(SPACE, [f"t{number:02d}" for number in range(60)])[1]
    assert any(np.array_equal(found, whole) for whole in expected)


def test_an_appended_document_stays_whoever_comes_at_once(store: Store) -> None:
    def append(number: int) -> bool:
        return store.append_document(Document("judgements", "j", {"answer": number}))

    with ThreadPoolExecutor(6) as threads:
        inserted = list(threads.map(append, range(24)))
    assert inserted.count(True) == 1
    found = store.get_document("judgements", "j")
    assert found is not None
    assert found.body["answer"] == inserted.index(True)


def write_and_wait(url: str, pipe: Connection) -> None:
    """Write one batch, then half of another, and wait to be killed."""
    with PostgresStore(url) as store:
        fill(store, 20)
        with store.batch():
            store.put_tracks(Track(f"new{number}") for number in range(100))
            store.delete_tracks(["t01"])
            pipe.send("half-way")
            pipe.recv()


def test_a_killed_writer_leaves_the_library_as_it_was(store: Store, url: str) -> None:
    mine, theirs = spawn.Pipe()
    writer = spawn.Process(target=write_and_wait, args=(url, theirs))
    writer.start()
    assert mine.recv() == "half-way"
    assert store.count_tracks() == 20
    assert writer.pid
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    store.put_tracks([Track("after")])
    assert store.count_tracks() == 21
    assert store.get_track("t01")
    assert store.spaces() == [(SPACE, 20)]


def test_who_waits_too_long_for_a_writer_may_try_again(
    store: Store, opened: Callable[..., Store], url: str
) -> None:
    hasty = opened(url, timeout=0.2)
    with store.batch():
        store.put_tracks([Track("a")])
        with pytest.raises(StorageUnavailable, match="another process was writing"):
            hasty.put_tracks([Track("b")])
        assert hasty.count_tracks() == 0
    hasty.put_tracks([Track("b")])
    assert store.count_tracks() == 2


def test_more_threads_than_connections(store: Store) -> None:
    fill(store)
    with ThreadPoolExecutor(24) as threads:
        counts = list(threads.map(lambda _: store.count_tracks(), range(200)))
    assert set(counts) == {40}


def test_a_server_that_stops_is_unavailable_until_it_is_back() -> None:
    server = PostgresServer("0.8")
    url = server.new_database()
    with Store(url, timeout=2) as store, Store(url, timeout=2) as fresh:
        store.init()
        fill(store, 5)

        def stopped_half_way() -> None:
            with store.batch():
                store.put_tracks([Track("lost")])
                server.stop()
                store.put_tracks([Track("lost too")])

        with pytest.raises(StorageUnavailable):
            stopped_half_way()
        calls: list[Callable[[], object]] = [
            store.version,
            store.list_tracks,
            lambda: store.put_tracks([Track("x")]),
            lambda: store.search_embeddings(SPACE, unit(np.random.default_rng(0), 1)[0], k=1),
            fresh.version,
            fresh.init,
        ]
        for call in calls:
            with pytest.raises(StorageUnavailable, match="nothing listens there"):
                call()
        server.start()
        assert store.count_tracks() == 5
        store.put_tracks([Track("x")])
        assert fresh.count_tracks() == 6
    server.remove()
