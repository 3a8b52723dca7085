"""Migration and synchronisation between real kinds of store, with faults and killed processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from kindred.errors import StorageUnavailable
from kindred.storage import replicate
from kindred.storage.backend import LibraryStore
from kindred.storage.local import LocalBackend
from kindred.storage.records import KINDS, Embedding, Entry, Kind, Track, TrackVectors
from kindred.storage.replicate import Patience
from tests.doubles.data_api import DataApiDouble, astrapy_clients_closed
from tests.doubles.postgres import PostgresServer, shared_server
from tests.storage.round_trip import SPACE, Where, fill, round_trip

WIDE = replace(SPACE, dims=512)


@pytest.mark.slow
def test_a_library_goes_through_every_store_and_comes_back_the_same(tmp_path: Path) -> None:
    legs = round_trip(tmp_path, shared_server(), 600, kills=2)
    assert [leg.killed for leg in legs] == [2, 2, 2]
    assert legs[0].faults > 0
    assert legs[1].faults > 0


@dataclass
class Remote:
    """A store elsewhere that can go away and come back."""

    where: Where
    leave: Callable[[], None]
    come_back: Callable[[], None]


@pytest.fixture(params=["astra", "postgres"])
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    if request.param == "astra":
        with DataApiDouble() as double, astrapy_clients_closed():
            yield Remote(Where("astra", double.url), double.pause, double.resume)
    else:
        server = PostgresServer()
        yield Remote(Where("postgres", server.new_database()), server.stop, server.start)
        server.remove()


def rename(store: LibraryStore, number: int, title: str) -> None:
    store.put_tracks([replace(store.get_track(f"track-{number:05d}"), title=title)])


def embed(store: LibraryStore, number: int, seed: int) -> None:
    """Vectors of a track of half an hour."""
    found = np.random.default_rng(seed).normal(size=(361, WIDE.dims))
    found = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    store.put_embeddings(WIDE, [Embedding(f"track-{number:05d}", "", found[0], found[1:])])


def test_changes_on_both_sides_while_the_store_is_away(remote: Remote, tmp_path: Path) -> None:
    """Two machines and a store between them: each changes things while the store is away."""
    homes = [tmp_path / name for name in ("one", "two")]
    quick = Patience(seconds=1, sleep=lambda seconds: None)
    with (
        LocalBackend(homes[0]) as one,
        LocalBackend(homes[1]) as two,
        remote.where.open() as shared,
    ):
        machines = list(zip((one, two), homes, strict=True))

        def sync(number: int) -> replicate.Report:
            store, home = machines[number]
            return replicate.synchronise(store, shared, home=home, patience=quick)

        shared.init()
        fill(one, 40)
        sync(0)
        sync(1)
        rename(shared, 1, "in the store")
        remote.leave()
        rename(one, 2, "by one")
        rename(two, 2, "by two")
        rename(two, 3, "by two")
        embed(one, 5, 1)
        embed(two, 5, 2)
        one.delete_tracks(["track-00003", "track-00004"])
        two.delete_tracks(["track-00010"])
        two.put_tracks([Track("new", title="new")])
        before = {kind: one.entries(kind) for kind in KINDS}
        with pytest.raises(StorageUnavailable):
            sync(0)
        assert {kind: one.entries(kind) for kind in KINDS} == before
        remote.come_back()
        for number in (0, 1, 0):
            sync(number)
        for store in (one, two):
            assert replicate.verify(store, shared).equal
            assert sync(machines.index((store, store.home))).rows == 0
            titles = {track.track_id: track.title for track in store.list_tracks()}
            assert titles["track-00001"] == "in the store"
            assert titles["track-00002"] == "by two"  # the later
            assert titles["track-00003"] == "by two"  # an edit survives a deletion
            assert titles["new"] == "new"
            assert not titles.keys() & {"track-00004", "track-00010"}
            assert len(titles) == 39
            assert store.get_segments(SPACE, "track-00003").shape == (4, SPACE.dims)
        assert replicate.same_answers(one, shared, SPACE).overlap == 1.0
        kept = {item.key: item.lost.record for item in replicate.conflicts(shared)}
        assert kept.keys() == {"track-00002", "track-00003", f"{WIDE.space_id}/track-00005"}
        lost = kept[f"{WIDE.space_id}/track-00005"]
        assert isinstance(lost, TrackVectors)
        assert lost.embedding.segments.shape == (360, WIDE.dims)
        assert isinstance(track := kept["track-00002"], Track)
        assert track.title == "by one"


def test_a_writer_that_comes_between_look_and_write_waits(tmp_path: Path) -> None:
    server = shared_server()
    where = Where("postgres", server.new_database())
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with LocalBackend(tmp_path) as local, where.open() as shared, where.open() as other:
        shared.init()
        fill(local, 5)
        replicate.synchronise(local, shared, home=tmp_path)
        rename(local, 1, "by the machine")
        writer = threading.Thread(target=rename, args=(other, 1, "by somebody else"))
        look = shared.entries

        def entries(kind: Kind, keys: Sequence[str] | None = None) -> dict[str, Entry]:
            found = look(kind, keys)
            if keys == ["track-00001"] and writer.ident is None:
                writer.start()
                while writer.is_alive() and not server.run(waits)[0][0]:
                    pass
            return found

        shared.entries = entries  # type: ignore[method-assign]
        replicate.synchronise(local, shared, home=tmp_path)
        writer.join()
        replicate.synchronise(local, other, home=tmp_path)
        assert local.get_track("track-00001").title == "by somebody else"
        assert other.get_track("track-00001").title == "by somebody else"
