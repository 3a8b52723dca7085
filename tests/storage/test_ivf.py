"""Approximate indexes over a base: recall, exact scores, filters, changes, damage."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kindred.storage import hnsw, ivf, vectors
from kindred.storage.vectors import Snapshot

BOTH = pytest.mark.parametrize("index", [hnsw, ivf], ids=["hnsw", "ivf"])


def unit(points: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, dims: int = 48, seed: int = 0) -> np.ndarray:
    """Overlapping clusters; the dimensions differ in spread, as those of descriptors do."""
    rng = np.random.default_rng(seed)
    spread = 1 / np.arange(1, dims + 1) ** 0.5
    centres = np.random.default_rng(1).normal(size=(40, dims)) * spread
    return unit(centres[rng.integers(0, 40, n)] + 0.7 * rng.normal(size=(n, dims)) * spread)


def snapshot_of(folder: Path, matrix: np.ndarray) -> Snapshot:
    rows = ((f"t{row:06d}", vector.tobytes()) for row, vector in enumerate(matrix))
    return vectors.write_snapshot(folder, 1, matrix.shape[1], rows)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    snapshot = snapshot_of(tmp_path_factory.mktemp("library"), clustered(8_000))
    for module in (hnsw, ivf):
        assert module.load(snapshot) is None  # not built yet
        assert module.build(snapshot) == module.index_path(snapshot)
    return snapshot


def recall(
    index: ModuleType, snapshot: Snapshot, *, k: int = 10, allowed: np.ndarray | None = None
) -> float:
    """Share of the true top k that is found; every score and every order is checked."""
    opened = index.load(snapshot)
    found = total = 0
    for query in clustered(60, seed=7):
        rows, scores = index.top_rows(opened, snapshot, query, k, allowed=allowed)
        truth, exact = snapshot.search(query, k, allowed=allowed)
        assert len(set(rows.tolist())) == len(rows) == len(truth)
        assert allowed is None or allowed[rows].all()
        np.testing.assert_array_equal(np.lexsort((rows, -scores)), np.arange(len(rows)))
        known = dict(zip(truth.tolist(), exact.tolist(), strict=True))
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            assert known.get(row, score) == score
        found, total = found + len(known.keys() & set(rows.tolist())), total + len(truth)
    return found / total


@BOTH
@pytest.mark.parametrize("k", [1, 10, 100])
def test_nearly_everything_near_is_found(library: Snapshot, index: ModuleType, k: int) -> None:
    assert recall(index, library, k=k) >= 0.95


@BOTH
def test_a_filter_that_has_nothing_to_do_with_sound(library: Snapshot, index: ModuleType) -> None:
    assert recall(index, library, allowed=np.random.default_rng(2).random(8_000) < 0.3) >= 0.95


def test_a_filter_that_leaves_only_what_is_far_from_the_query(library: Snapshot) -> None:
    """As metal among tracks like a lullaby: no cell near the query has a row that may answer."""
    near = library.matrix @ clustered(60, seed=7).T
    allowed = near.max(axis=1) < np.quantile(near.max(axis=1), 0.15)
    assert recall(ivf, library, allowed=allowed) >= 0.95


@BOTH
def test_an_index_stays_good_while_tracks_come_and_go(library: Snapshot, index: ModuleType) -> None:
    rng = np.random.default_rng(3)
    removed = [f"t{row:06d}" for row in rng.choice(8_000, 300, replace=False)]
    fresh = clustered(300, seed=9)
    replaced = [f"t{row:06d}" for row in rng.choice(8_000, 100, replace=False)]
    added = [f"n{row:03d}" for row in range(200)]
    changed = library.updated(
        2,
        [(key, None) for key in removed]
        + [(key, row.tobytes()) for key, row in zip(replaced + added, fresh, strict=True)],
    )
    assert index.index_path(changed) == index.index_path(library)
    assert recall(index, changed) >= 0.95
    assert recall(index, changed, allowed=rng.random(len(changed)) < 0.4) >= 0.95
    opened = index.load(changed)
    for key, query in zip(replaced + added, fresh, strict=True):  # what is new is always found
        rows, _ = index.top_rows(opened, changed, query, 1)
        assert changed.ids_of(rows) == [key]
    gone = set(removed) - set(replaced)
    for key in sorted(gone):
        query = library.take(library.find([key]))[0]
        rows, _ = index.top_rows(opened, changed, query, 5)
        assert gone.isdisjoint(changed.ids_of(rows))
    only = changed.mask([*removed, replaced[0]], [])
    assert only is not None
    rows, _ = index.top_rows(opened, changed, fresh[1], 5, allowed=only)
    assert replaced[0] in changed.ids_of(rows)
    assert gone.isdisjoint(changed.ids_of(rows))


@BOTH
@pytest.mark.parametrize("n", [1, 2, 31, 33, 500])
def test_few_rows_and_more_wanted_than_there_are(tmp_path: Path, index: ModuleType, n: int) -> None:
    snapshot = snapshot_of(tmp_path, clustered(n, dims=9))
    index.build(snapshot)
    opened, query = index.load(snapshot), clustered(1, dims=9, seed=5)[0]
    for k in (1, n, n + 10, 10**10):
        rows, scores = index.top_rows(opened, snapshot, query, k)
        truth, exact = snapshot.search(query, k)
        np.testing.assert_array_equal(rows, truth)
        np.testing.assert_array_equal(scores, exact)
    assert len(index.top_rows(opened, snapshot, query, 0)[0]) == 0
    nobody = np.zeros(n, np.bool_)
    assert len(index.top_rows(opened, snapshot, query, 3, allowed=nobody)[0]) == 0
    one = nobody.copy()
    one[n // 2] = True
    assert index.top_rows(opened, snapshot, query, 3, allowed=one)[0].tolist() == [n // 2]


@BOTH
def test_rows_that_are_all_equal_tie_by_id(tmp_path: Path, index: ModuleType) -> None:
    snapshot = snapshot_of(tmp_path, np.repeat(clustered(1), 90, axis=0))
    index.build(snapshot)
    rows, scores = index.top_rows(index.load(snapshot), snapshot, snapshot.matrix[0], 10)
    assert len(set(scores.tolist())) == 1
    assert rows.tolist() == sorted(rows.tolist())


@BOTH
@pytest.mark.parametrize("damage", ["cut", "cut to nothing", "garbled head", "of another base"])
def test_a_damaged_index_is_removed_and_built_again(
    tmp_path: Path, index: ModuleType, damage: str
) -> None:
    snapshot = snapshot_of(tmp_path, clustered(400))
    path = index.build(snapshot)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-20])
    elif damage == "cut to nothing":
        path.write_bytes(b"")
    elif damage == "garbled head":
        path.write_bytes(b"\0" * 64 + data[64:])
    else:
        other = snapshot_of(tmp_path / "other", clustered(401))
        index.build(other).rename(path)
    assert index.load(snapshot) is None
    assert not path.exists()
    index.build(snapshot)
    rows, _ = index.top_rows(index.load(snapshot), snapshot, snapshot.matrix[11], 1)
    assert rows.tolist() == [11]


@BOTH
def test_an_index_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, index: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import faiss

    def full(written: object, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    snapshot = snapshot_of(tmp_path, clustered(100))
    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(RuntimeError, match="No space left"):
        index.build(snapshot)
    assert {path.name for path in tmp_path.iterdir()} == {"1.f32", "1.json"}


@BOTH
def test_an_index_goes_with_its_base_and_who_has_it_open_keeps_it(
    tmp_path: Path, index: ModuleType
) -> None:
    snapshot = snapshot_of(tmp_path, clustered(600))
    index.build(snapshot)
    opened = index.load(snapshot)
    newer = vectors.write_snapshot(tmp_path, 2, 48, snapshot.items(), prepare=index.build)
    assert {path.name for path in tmp_path.iterdir()} == {
        "2.f32", "2.json", index.index_path(newer).name
    }  # fmt: skip
    for at, held in ((opened, snapshot), (index.load(newer), newer)):
        rows, _ = index.top_rows(at, held, snapshot.matrix[9], 1)
        assert rows.tolist() == [9]


def test_an_ivf_is_built_the_same_way_twice(library: Snapshot) -> None:
    first = ivf.load(library)
    query = clustered(1, seed=11)[0]
    before = ivf.top_rows(first, library, query, 50)
    ivf.build(library)
    for one, other in zip(before, ivf.top_rows(ivf.load(library), library, query, 50), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first.cell_of, ivf.load(library).cell_of)
