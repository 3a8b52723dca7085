"""Maps that are built, kept and seen as the library is now, over vectors whose groups are planted.

Bad input: 0, 1, 2 and 5 tracks, equal vectors, damaged vectors, stops at every moment, tracks that
came, went or changed since, a map of other tracks only, ids that are no names, unknown tags.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.maps.options import MapOptions
from kindred.maps.record import LibraryMap, library_digest
from kindred.services import maps as module
from kindred.services.maps import COLOURS, KEPT, NEAR, Maps, MapView
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track
from tests.evaluation.worlds import unit

ONE = EmbeddingSpace("one", "1", 8_000, 1.0, 1.0, "mean", 16)
TWO = EmbeddingSpace("two", "1", 8_000, 1.0, 1.0, "mean", 16)
SPACES = {"one": ONE, "two": TWO}
PCA = MapOptions(method="pca")
GROUPS = 3


def embedding(number: int, *, group: int | None = None, content_hash: str = "") -> Embedding:
    """A vector near the axis of its group, and three windows around it."""
    rng = np.random.default_rng(1_000 + number)
    group = number % GROUPS if group is None else group
    vector = unit(np.eye(16)[group] + 0.05 * rng.standard_normal(16))
    segments = unit(vector + 0.01 * rng.standard_normal((3, 16)))
    return Embedding(f"t{number:02d}", content_hash or f"h{number}", vector, segments)


def put(store: LocalBackend, numbers: Sequence[int], **changes: Any) -> None:
    made = [embedding(number, **changes) for number in numbers]
    store.put_tracks(
        Track(
            item.track_id,
            item.content_hash,
            title=f"Piece {number}",
            composer=f"Composer {number % GROUPS}",
        )
        for number, item in zip(numbers, made, strict=True)
    )
    store.put_embeddings(ONE, made)


def plant(store: LocalBackend, track_id: str, vector: NDArray[np.float32]) -> None:
    """Damage a stored vector behind the store's back, as a failing disk or another program does."""
    with sqlite3.connect(store.database) as connection:
        connection.execute(
            "UPDATE embeddings SET vector = ? WHERE track_id = ?",
            (vector.astype(np.float32).tobytes(), track_id),
        )
    connection.close()


def maps_of(store: LocalBackend, tmp_path: Path) -> Maps:
    return Maps(store, tmp_path / "maps", SPACES.__getitem__)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalBackend]:
    with LocalBackend(tmp_path / "library") as made:
        put(made, range(36))
        yield made


@pytest.fixture
def maps(store: LocalBackend, tmp_path: Path) -> Maps:
    return maps_of(store, tmp_path)


def built(maps: Maps, options: MapOptions = PCA, **how: Any) -> LibraryMap:
    made = maps.build("one", options, **how)
    assert made is not None
    return made


def group_of(track_id: str) -> int:
    return int(track_id[1:]) % GROUPS


def middles(view: MapView) -> NDArray[np.float64]:
    """The middle of each planted group on the map, of the tracks that lie on the map itself."""
    groups = np.array([group_of(track_id) for track_id in view.track_ids])
    return np.stack(
        [view.positions[(groups == group) & (view.rows >= 0)].mean(axis=0) for group in range(3)]
    ).astype(np.float64)


def nearest_group(view: MapView, place: NDArray[Any]) -> int:
    return int(np.square(middles(view) - place).sum(axis=1).argmin())


# -- build ---------------------------------------------------------------------------------


def test_a_map_is_kept_with_all_that_it_was_made_of(maps: Maps, store: LocalBackend) -> None:
    seen: list[tuple[int, int, str]] = []
    made = built(maps, progress=lambda *step: seen.append(step))
    assert [item.map_id for item in maps.kept()] == [made.map_id]
    assert Maps(store, maps.folder, SPACES.__getitem__).get(made.map_id).positions.tobytes() == (
        made.positions.tobytes()
    )
    assert made.space == ONE
    assert made.options == PCA
    assert made.library == library_digest(store.embedded_hashes(ONE))
    assert made.track_ids == tuple(f"t{number:02d}" for number in range(36))
    assert made.hashes == tuple(f"h{number}" for number in range(36))
    assert made.positions.shape == (36, 2)
    assert made.trust.trustworthiness is not None
    assert made.trust.trustworthiness > 0.8
    assert len(made.regions) == len(set(made.clusters.tolist()))
    assert made.created_at.endswith("+00:00")
    assert made.facts["encoder"] == "one"
    assert made.facts["index"] == "exact"
    assert set(made.facts["seconds"]) == {"read", "neighbours", "layout", "trust"}
    assert (made.facts["aligned_to"], made.facts["left_out"]) == ("", [])
    assert "numpy" in made.facts["versions"]
    done = [step[0] for step in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 100)
    assert {step[1] for step in seen} == {100}
    assert maps.damaged() == []


def test_the_planted_groups_lie_apart(maps: Maps) -> None:
    view = maps.view(built(maps))
    for track_id, place in zip(view.track_ids, view.positions, strict=True):
        assert nearest_group(view, place) == group_of(track_id)


def test_nothing_changed_nothing_is_built(maps: Maps) -> None:
    first = built(maps)
    assert built(maps).map_id == first.map_id
    assert len(maps.kept()) == 1
    again = built(maps, again=True)
    assert again.map_id > first.map_id
    assert again.facts["aligned_to"] == first.map_id
    assert again.positions == pytest.approx(first.positions, abs=1e-5)
    assert [made.map_id for made in maps.kept()] == [again.map_id, first.map_id]


def test_what_the_method_does_not_use_makes_no_other_map(maps: Maps) -> None:
    first = built(maps)
    assert built(maps, MapOptions(method="pca", seed=4, neighbours=7)).map_id == first.map_id
    assert built(maps, MapOptions(method="pca", dims=3)).map_id != first.map_id


def test_another_encoder_has_maps_of_its_own(maps: Maps, store: LocalBackend) -> None:
    first = built(maps)
    store.put_embeddings(TWO, [embedding(number) for number in range(20)])
    other = maps.build("two", PCA)
    assert other is not None
    assert len(other.track_ids) == 20
    assert other.facts["aligned_to"] == ""
    assert [made.map_id for made in maps.of_encoder("one")] == [first.map_id]
    assert [made.map_id for made in maps.of_encoder("two")] == [other.map_id]


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_a_rebuilt_map_lies_on_the_one_before(maps: Maps, store: LocalBackend, method: Any) -> None:
    options = MapOptions(method=method, neighbours=8, perplexity=5)
    first = built(maps, options)
    put(store, range(36, 42))
    second = built(maps, options)
    assert second.facts["aligned_to"] == first.map_id
    assert len(second.track_ids) == 42
    rows = [second.track_ids.index(track_id) for track_id in first.track_ids]
    apart = np.square(second.positions[rows] - first.positions).sum()
    turned = second.positions[rows] * [-1, 1]  # any other way round is farther
    assert apart < np.square(turned - first.positions).sum()
    one, other = first.positions.mean(axis=0), second.positions[rows].mean(axis=0)
    assert other == pytest.approx(one, abs=1e-4)
    view = maps.view(second)
    assert nearest_group(view, view.positions[0]) == 0


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_a_build_that_is_stopped_keeps_nothing(maps: Maps, method: Any) -> None:
    options = MapOptions(method=method, neighbours=5, perplexity=3)
    asked = 0

    def counting() -> bool:
        nonlocal asked
        asked += 1
        return False

    assert maps.build("one", options, cancelled=counting) is not None
    maps.delete(maps.kept()[0].map_id)

    def after(moment: int) -> Callable[[], bool]:
        left = iter(range(moment))
        return lambda: next(left, None) is None

    for moment in sorted({*range(min(asked, 6)), asked // 2, asked - 1}):
        assert maps.build("one", options, cancelled=after(moment)) is None
        assert maps.kept() == []
        assert list(maps.folder.iterdir()) == []


@pytest.mark.parametrize(
    "part", ["reading", "finding neighbours", "projecting", "measuring how far"]
)
def test_a_stop_in_each_part_is_obeyed(maps: Maps, part: str) -> None:
    told = ""

    def progress(done: int, total: int, words: str) -> None:
        nonlocal told
        told = words

    assert (
        maps.build("one", PCA, progress=progress, cancelled=lambda: told.startswith(part)) is None
    )
    assert maps.kept() == []


def test_only_the_newest_maps_of_a_kind_stay(maps: Maps) -> None:
    other = built(maps, MapOptions(method="pca", dims=3))
    made = [built(maps, again=True).map_id for _ in range(KEPT + 2)]
    assert [item.map_id for item in maps.kept()] == [*made[: -KEPT - 1 : -1], other.map_id]
    assert len(list(maps.folder.iterdir())) == KEPT + 1


def test_parameters_that_cannot_be_used_are_refused_before_anything(maps: Maps) -> None:
    with pytest.raises(QueryError, match="2 or 3 dimensions"):
        maps.build("one", MapOptions(dims=4))  # type: ignore[arg-type]
    assert not maps.folder.exists()


@pytest.mark.parametrize("method", ["umap", "tsne", "pca"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_libraries_of_a_few_tracks(tmp_path: Path, count: int, dims: Any, method: Any) -> None:
    with LocalBackend(tmp_path / "few") as store:
        put(store, range(count))
        maps = maps_of(store, tmp_path)
        made = built(maps, MapOptions(method=method, dims=dims))
        assert made.positions.shape == (count, dims)
        assert np.isfinite(made.positions).all()
        assert made.trust.trustworthiness is None
        assert "Too few tracks" in "\n".join(made.lines())
        view = maps.view(maps_of(store, tmp_path).get(made.map_id))
        assert view.track_ids == tuple(f"t{number:02d}" for number in range(count))
        assert not view.is_stale
        assert sorted(maps.walk(view, view.track_ids)) == sorted(view.track_ids)
        assert sorted(maps.middle(view, view.track_ids, 9)) == sorted(view.track_ids)
        for by in COLOURS:
            values = maps.values(view, by)
            found = values.names if values.numbers is None else values.numbers
            assert found is not None
            assert len(found) == count
        assert len(maps.table(view)) == count
        for track_id in view.track_ids:
            near, _ = maps.nearest(view, track_id)
            assert len(near) == count - 1
            assert all(item.on_map for item in near)
            assert maps.path(view, track_id).shape == (3, dims)


@pytest.mark.parametrize("method", ["umap", "tsne", "pca"])
def test_equal_vectors(tmp_path: Path, method: Any) -> None:
    with LocalBackend(tmp_path / "equal") as store:
        one = embedding(0)
        store.put_tracks(Track(f"t{number}") for number in range(20))
        store.put_embeddings(ONE, [replace(one, track_id=f"t{number}") for number in range(20)])
        maps = maps_of(store, tmp_path)
        made = built(maps, MapOptions(method=method))
        assert np.isfinite(made.positions).all()
        assert set(made.clusters.tolist()) == {0}
        view = maps.view(made)
        assert len(maps.nearest(view, "t0")[0]) == NEAR
        assert np.isfinite(maps.path(view, "t0")).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 7])
def test_damaged_vectors_are_left_out_and_said(
    maps: Maps, store: LocalBackend, value: float
) -> None:
    plant(store, "t07", np.full(16, value, np.float32))
    made = built(maps)
    assert made.facts["left_out"] == ["t07"]
    assert "t07" not in made.track_ids
    assert len(made.track_ids) == 35
    assert "1 tracks have damaged vectors: left out." in made.lines()
    view = maps.view(made)
    assert "t07" not in view.track_ids
    assert (view.placed, view.gone, view.changed, view.left_out) == (0, 0, 0, 1)
    assert not view.is_stale
    with pytest.raises(QueryError, match="t07 is not on this map"):
        maps.nearest(view, "t07")
    store.delete_tracks(["t07"])
    put(store, [7])  # mended
    view = maps.view(made)
    assert (view.placed, view.left_out) == (1, 0)
    assert nearest_group(view, view.positions[-1]) == group_of("t07")


def test_nothing_but_damaged_vectors(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "bad") as store:
        put(store, range(2))
        for number in range(2):
            plant(store, f"t{number:02d}", np.full(16, np.nan))
        maps = maps_of(store, tmp_path)
        view = maps.view(built(maps))
        assert view.track_ids == ()
        assert view.left_out == 2


# -- kept maps -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "map_id",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc/passwd",
        "x\0y",
        "gone",
        "ö" * 80,
        "a" * 300,
        "a.b",
        "a\n",
    ],
)
def test_ids_that_name_no_map(maps: Maps, tmp_path: Path, map_id: str) -> None:
    (tmp_path / "x.npz").write_text("not yours")
    maps.folder.mkdir()
    for act in (maps.get, maps.delete):
        with pytest.raises(QueryError, match="There is no map"):
            act(map_id)
    assert (tmp_path / "x.npz").exists()


def test_a_map_that_was_deleted_is_gone(maps: Maps, store: LocalBackend) -> None:
    made = built(maps)
    maps.view(made)
    maps.delete(made.map_id)
    assert maps.kept() == []
    for act in (maps.get, maps.delete):
        with pytest.raises(QueryError, match="There is no map"):
            act(made.map_id)
    assert len(store.embedded_hashes(ONE)) == 36
    elsewhere = Maps(store, maps.folder, SPACES.__getitem__)
    other = elsewhere.build("one", PCA)
    assert other is not None
    assert maps.get(other.map_id).map_id == other.map_id
    elsewhere.delete(other.map_id)
    with pytest.raises(QueryError, match="There is no map"):
        maps.get(other.map_id)  # another process removed it


def test_a_damaged_map_is_named_and_hides_no_other(maps: Maps, store: LocalBackend) -> None:
    made, other = built(maps), built(maps, again=True)
    path = maps.folder / f"{made.map_id}.npz"
    path.write_bytes(path.read_bytes()[:900])
    fresh = Maps(store, maps.folder, SPACES.__getitem__)
    assert [item.map_id for item in fresh.kept()] == [other.map_id]
    [problem] = fresh.damaged()
    assert made.map_id in problem
    fresh.delete(made.map_id)
    assert fresh.damaged() == []


# -- as the library is now -----------------------------------------------------------------


def test_a_view_of_an_unchanged_library_is_the_map(maps: Maps, store: LocalBackend) -> None:
    made = built(maps)
    view = maps.view(made)
    assert view.track_ids == made.track_ids
    assert view.positions.tobytes() == made.positions.tobytes()
    assert view.rows.tolist() == list(range(36))
    assert (view.gone, view.changed, view.placed, view.left_out) == (0, 0, 0, 0)
    assert view.version == store.version()
    assert not view.is_stale
    assert maps.view(made) is view


def test_tracks_that_went_are_not_on_the_view(maps: Maps, store: LocalBackend) -> None:
    made = built(maps)
    store.delete_tracks(["t03", "t10"])
    view = maps.view(made)
    stay = [row for row in range(36) if row not in (3, 10)]
    assert view.track_ids == tuple(made.track_ids[row] for row in stay)
    assert view.positions.tobytes() == made.positions[stay].tobytes()
    assert view.rows.tolist() == stay
    assert (view.gone, view.changed, view.placed) == (2, 0, 0)
    assert not view.is_stale
    store.delete_tracks(["t00", "t01"])
    assert maps.view(made).is_stale  # 4 of 36


def test_new_tracks_are_placed_among_their_like_and_nothing_moves(
    maps: Maps, store: LocalBackend
) -> None:
    made = built(maps)
    put(store, range(36, 45))
    view = maps.view(made)
    assert view.positions[:36].tobytes() == made.positions.tobytes()
    assert view.track_ids[36:] == tuple(f"t{number}" for number in range(36, 45))
    assert view.rows[36:].tolist() == [-1] * 9
    assert (view.gone, view.changed, view.placed) == (0, 0, 9)
    assert view.is_stale
    for track_id, place in zip(view.track_ids[36:], view.positions[36:], strict=True):
        assert nearest_group(view, place) == group_of(track_id)
    assert len(maps.path(view, "t40")) == 3


def test_a_track_with_other_audio_is_placed_anew(maps: Maps, store: LocalBackend) -> None:
    made = built(maps)
    put(store, [6], group=2, content_hash="other")
    view = maps.view(made)
    assert (view.gone, view.changed, view.placed) == (0, 1, 1)
    assert view.track_ids[-1] == "t06"
    assert view.rows[-1] == -1
    others = [row for row in range(36) if row != 6]
    assert view.positions[:35].tobytes() == made.positions[others].tobytes()
    assert nearest_group(view, view.positions[-1]) == 2


def test_new_tracks_with_damaged_vectors_have_no_place(maps: Maps, store: LocalBackend) -> None:
    made = built(maps)
    put(store, [36, 37])
    plant(store, "t36", np.full(16, np.nan))
    view = maps.view(made)
    assert view.track_ids[36:] == ("t37",)
    assert (view.placed, view.left_out) == (1, 1)


def test_a_map_of_none_of_these_tracks_is_stale(maps: Maps, store: LocalBackend) -> None:
    made = built(maps)
    put(store, range(36), content_hash="all others")
    view = maps.view(made)
    assert view.track_ids == ()
    assert (view.gone, view.changed, view.placed, view.left_out) == (0, 36, 0, 36)
    assert view.is_stale
    assert len(maps.table(view)) == 0
    assert maps.walk(view, ["t00"]) == []


def test_a_map_of_an_empty_library_is_stale_when_music_comes(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "empty") as store:
        maps = maps_of(store, tmp_path)
        made = built(maps)
        put(store, range(3))
        view = maps.view(made)
        assert (view.track_ids, view.left_out, view.is_stale) == ((), 3, True)


def test_a_map_can_be_built_and_seen_while_tracks_come_and_go(
    maps: Maps, store: LocalBackend
) -> None:
    stop = threading.Event()

    def change() -> None:
        for number in range(36, 90, 2):
            if stop.is_set():
                break
            put(store, [number, number + 1])
            store.delete_tracks([f"t{number}", f"t{number - 36:02d}"])

    with ThreadPoolExecutor() as pool:
        changing = pool.submit(change)
        try:
            for _ in range(4):
                made = built(maps, again=True)
                assert len(made.track_ids) == len(made.positions) == len(made.hashes)
                for _ in range(5):
                    view = maps.view(made)
                    assert len(view.track_ids) == len(view.positions) == len(view.rows)
                    assert len(set(view.track_ids)) == len(view.track_ids)
                    assert len(maps.table(view)) == len(view.track_ids)
                    values = maps.values(view, "composer").names
                    assert values is not None
                    assert len(values) == len(view.track_ids)
        finally:
            stop.set()
        changing.result()
    final = built(maps)
    assert set(final.track_ids) == set(store.embedded_hashes(ONE))


def test_a_track_that_leaves_while_it_is_looked_at(maps: Maps, store: LocalBackend) -> None:
    view = maps.view(built(maps))
    store.delete_tracks(["t05", "t06", "t07"])
    with pytest.raises(QueryError, match="t05 has just left"):
        maps.nearest(view, "t05")
    assert maps.path(view, "t05").shape == (0, 2)
    assert maps.path(view, "t08").shape == (3, 2)  # placed among those that are left
    assert "t05" not in maps.middle(view, ["t05", "t08"], 2)
    assert len(maps.table(view)) == 36


# -- a track, a selection ------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, NEAR, 60])
def test_nearest_against_brute_force(maps: Maps, store: LocalBackend, k: int) -> None:
    made = built(maps)
    put(store, [36, 37])
    view = maps.view(made)
    ids, vectors = store.get_embeddings(ONE, view.track_ids)
    assert tuple(ids) == view.track_ids
    for row in (0, 13, 37):
        similarity = vectors @ vectors[row]
        similarity[row] = -np.inf
        true = np.argsort(-similarity, kind="stable")[: min(k, 37)]
        apart = np.linalg.norm(view.positions - view.positions[row], axis=1)
        apart[row] = np.inf
        on_map = {ids[other] for other in np.argsort(apart, kind="stable")[: min(k, 37)]}
        near, index = maps.nearest(view, ids[row], k)
        assert index == "exact"
        assert [item.track_id for item in near] == [ids[other] for other in true]
        assert [item.similarity for item in near] == pytest.approx(similarity[true], abs=1e-5)
        assert [item.on_map for item in near] == [item.track_id in on_map for item in near]
    if k == NEAR:  # the same count as the map's own measure, where nothing was placed
        whole = replace(view, track_ids=view.track_ids[:36], positions=view.positions[:36])
        store.delete_tracks(["t36", "t37"])
        kept = [sum(item.on_map for item in maps.nearest(whole, name)[0]) for name in ids[:36]]
        assert made.trust.preserved is not None
        assert kept == made.trust.preserved.tolist()


def test_the_windows_of_a_track_lie_with_its_group(maps: Maps, store: LocalBackend) -> None:
    rng = np.random.default_rng(0)
    windows = unit(np.eye(16)[[0, 0, 1, 2]] + 0.01 * rng.standard_normal((4, 16)))
    vector = unit(windows.sum(axis=0))
    broken = np.concatenate([windows, np.zeros((1, 16)), np.full((1, 16), np.nan)])
    store.put_tracks([Track("t60")])
    store.put_embeddings(ONE, [Embedding("t60", "w", vector, broken.astype(np.float32))])
    made = built(maps)
    view = maps.view(made)
    path = maps.path(view, "t60")
    assert path.shape == (4, 2)
    assert [nearest_group(view, place) for place in path] == [0, 0, 1, 2]
    with pytest.raises(QueryError, match="gone is not on this map"):
        maps.path(view, "gone")


def test_a_track_without_windows_has_no_path(maps: Maps, store: LocalBackend) -> None:
    store.put_embeddings(ONE, [replace(embedding(0), segments=np.empty((0, 16), np.float32))])
    view = maps.view(built(maps, MapOptions(method="pca", dims=3)))
    assert maps.path(view, "t00").shape == (0, 3)


def test_a_walk_goes_from_place_to_nearest_place(maps: Maps, store: LocalBackend) -> None:
    view = maps.view(built(maps))
    asked = [*view.track_ids[::2], "gone", view.track_ids[0]]
    walk = maps.walk(view, asked)
    assert sorted(walk) == sorted(view.track_ids[::2])
    place = dict(zip(view.track_ids, view.positions.astype(float), strict=True))
    middle = np.mean([place[track_id] for track_id in walk], axis=0)
    far = {track_id: np.linalg.norm(place[track_id] - middle) for track_id in walk}
    assert far[walk[0]] == max(far.values())
    for number, (here, there) in enumerate(pairwise(walk), 1):
        step = np.linalg.norm(place[there] - place[here])
        left = [np.linalg.norm(place[other] - place[here]) for other in walk[number:]]
        assert step == min(left)
    assert maps.walk(view, []) == []
    assert maps.walk(view, ["gone"]) == []


def test_a_long_walk_runs_along_the_selection(maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_WALK", 10)
    view = maps.view(built(maps))
    line = replace(
        view, positions=np.array([[3.0 * row, row % 2] for row in range(36)], np.float32)
    )
    walk = maps.walk(line, line.track_ids)
    assert walk in (list(line.track_ids), list(line.track_ids)[::-1])


def test_the_middle_of_a_selection(maps: Maps, store: LocalBackend) -> None:
    view = maps.view(built(maps))
    chosen = [f"t{number:02d}" for number in (0, 3, 6, 9, 12, 15, 1)]  # one of another group
    ids, vectors = store.get_embeddings(ONE, chosen)
    mean = vectors.mean(axis=0)
    expected = [ids[row] for row in np.argsort(-(vectors @ mean), kind="stable")]
    assert maps.middle(view, chosen, 4) == expected[:4]
    assert maps.middle(view, chosen, 20) == expected
    assert expected[-1] == "t01"
    assert maps.middle(view, [], 4) == []
    assert maps.middle(view, ["gone"], 4) == []


# -- colours and tables --------------------------------------------------------------------


@pytest.fixture
def tagged(store: LocalBackend) -> LocalBackend:
    store.put_tracks(
        [
            Track(
                "t00", "h0", title="Air", composer="Ada", artist="Trio", album="First",
                work="Op. 1", genre="Folk", year=1890, duration=90.0,
                extra={"bpm": "96", "key": "Am", "measured_loudness": "-14.5", "tags": "rainy"},
            ),
            Track("t01", "h1", extra={
                "measured_tempo": "120.5", "measured_key": "C major", "bpm": "no", "key": "odd",
            }),
        ]
    )  # fmt: skip
    return store


def test_every_colour(maps: Maps, tagged: LocalBackend) -> None:
    made = built(maps)
    put(tagged, [36])
    view = maps.view(made)
    names = {
        "composer": ("Ada", ""), "artist": ("Trio", ""), "album": ("First", ""),
        "genre": ("Folk", ""), "work": ("Op. 1", ""), "key": ("A minor", "C major"),
        "tags": ("rainy", ""),
    }  # fmt: skip
    numbers = {
        "year": (1890, np.nan), "tempo": (96, 120.5), "loudness": (-14.5, np.nan),
        "duration": (1.5, np.nan),
    }  # fmt: skip
    assert set(COLOURS) | {"tags"} == set(names) | set(numbers) | {"cluster", "trust"}
    for by, expected in names.items():
        values = maps.values(view, by)
        assert values.numbers is None
        assert values.names is not None
        assert values.names[:2] == expected
        assert len(values.names) == 37
        assert values.title == COLOURS.get(by, by)
    for by, wanted in numbers.items():
        values = maps.values(view, by)
        assert values.names is None
        assert values.numbers is not None
        assert values.numbers[:2] == pytest.approx(wanted, nan_ok=True)
        assert len(values.numbers) == 37
    assert maps.values(view, "tempo").unit == "BPM"
    clusters = maps.values(view, "cluster").names
    assert clusters == (*(str(number + 1) for number in made.clusters), "")
    trust = maps.values(view, "trust")
    assert made.trust.preserved is not None
    assert trust.unit == "of 10"
    assert trust.numbers == pytest.approx([*made.trust.preserved, np.nan], nan_ok=True)


def test_a_tag_that_nobody_has_is_refused_and_one_of_a_track_elsewhere_is_not(
    maps: Maps, tagged: LocalBackend
) -> None:
    view = maps.view(built(maps))
    with pytest.raises(QueryError, match=r"No track has a tag 'mood'.*composer.*trust"):
        maps.values(view, "mood")
    tagged.put_tracks([Track("without vectors", extra={"mood": "odd"})])
    assert maps.values(view, "mood").names == ("",) * 36


def test_a_table_has_a_row_a_point(maps: Maps, tagged: LocalBackend) -> None:
    made = built(maps)
    put(tagged, [36])
    view = maps.view(made)
    table = maps.table(view)
    assert list(table) == [
        "track_id", "title", "composer", "artist", "album", "genre", "year", "x", "y", "cluster",
        "placed_afterwards", "preserved", "trustworthiness", "continuity",
    ]  # fmt: skip
    assert table["track_id"].tolist() == list(view.track_ids)
    assert table["title"].tolist()[:2] == ["Air", ""]
    assert table["year"].dropna().tolist() == [1890]
    assert table[["x", "y"]].to_numpy().tobytes() == view.positions.tobytes()
    assert table["cluster"].tolist() == [*made.clusters.tolist(), -1]
    assert table["placed_afterwards"].tolist() == [False] * 36 + [True]
    assert made.trust.trustworthiness_at is not None
    assert table["trustworthiness"][:36].tolist() == pytest.approx(made.trust.trustworthiness_at)
    assert table["preserved"].isna().tolist() == [False] * 36 + [True]
    flat = maps.table(maps.view(built(maps, MapOptions(method="pca", dims=3))))
    assert {"x", "y", "z"} < set(flat)
