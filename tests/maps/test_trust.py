"""What a map kept of its space: against scikit-learn, and on maps whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from kindred.errors import QueryError
from kindred.maps import trust
from kindred.maps.trust import Trust, measure_trust


def unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def world(n: int, dims: int = 8, axes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    positions = random.standard_normal((n, axes)).astype(np.float32)
    return unit(random.standard_normal((n, dims))), positions


def measured(*args: object, **options: object) -> Trust:
    found = measure_trust(*args, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def by_hand(vectors: np.ndarray, positions: np.ndarray, k: int) -> tuple[list, list, list]:
    """The definitions, by full sorts; ties order by row."""
    n = len(vectors)
    false, torn, preserved = [], [], []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        nearest = sorted(others, key=lambda j: -float(vectors[i] @ vectors[j]))
        place = sorted(others, key=lambda j: float(((positions[i] - positions[j]) ** 2).sum()))
        space_k, map_k = set(nearest[:k]), set(place[:k])
        false.append(sum(nearest.index(j) + 1 - k for j in map_k - space_k))
        torn.append(sum(place.index(j) + 1 - k for j in space_k - map_k))
        preserved.append(len(space_k & map_k))
    return false, torn, preserved


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "k", "axes"), [(23, 10, 2), (60, 1, 3), (150, 10, 2), (301, 15, 3)])
def test_it_agrees_with_scikit_learn(
    n: int, k: int, axes: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "BLOCK", 7 * n)
    vectors, positions = world(n, axes=axes, seed=seed)
    found = measured(vectors, positions, k=k)
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    places = positions.astype(np.float64)
    expected = trustworthiness(exact, places, n_neighbors=k)
    assert found.trustworthiness == pytest.approx(expected, abs=1e-6)
    expected = trustworthiness(places, exact, n_neighbors=k)
    assert found.continuity == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("n", "k"), [(12, 10), (13, 6), (14, 7), (15, 7), (40, 5)])
def test_every_track_agrees_with_the_definitions(n: int, k: int) -> None:
    vectors, positions = world(n)
    found = measured(vectors, positions, k=k)
    false, torn, preserved = by_hand(vectors.astype(np.float64), positions.astype(np.float64), k)
    # The k farthest of n - 1 others, or all that are no neighbours if those are fewer.
    worst = sum(rank - k for rank in sorted(range(k + 1, n), reverse=True)[:k])
    np.testing.assert_allclose(found.trustworthiness_at, 1 - np.array(false) / worst, atol=1e-6)
    np.testing.assert_allclose(found.continuity_at, 1 - np.array(torn) / worst, atol=1e-6)
    assert found.preserved is not None
    assert found.preserved.dtype == np.int32
    assert found.preserved.tolist() == preserved
    assert found.preservation == pytest.approx(np.mean(preserved) / k)
    assert (found.k, found.tracks, found.sampled) == (k, n, n)


def circle(n: int) -> np.ndarray:
    angle = np.sort(np.random.default_rng(3).uniform(0, 1.5, n))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_a_map_that_is_its_space_is_trusted_wholly() -> None:
    found = measured(circle(300), circle(300))
    assert found.trustworthiness == found.continuity == found.preservation == 1
    assert found.preserved is not None
    assert (found.preserved == 10).all()


def test_a_shuffled_map_is_worth_nothing() -> None:
    vectors, _ = world(2_000, dims=16)
    positions = np.random.default_rng(1).permutation(vectors[:, :2])
    found = measured(vectors, positions)
    assert found.trustworthiness == pytest.approx(0.5, abs=0.02)
    assert found.continuity == pytest.approx(0.5, abs=0.02)
    assert found.preservation == pytest.approx(10 / 1_999, abs=0.003)


def test_false_neighbours_and_torn_off_ones_are_told_apart() -> None:
    ring = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    vectors = np.stack([np.cos(ring), np.sin(ring)], axis=1).astype(np.float32)
    cut = np.stack([ring, 0 * ring], axis=1).astype(np.float32)
    torn = measured(vectors, cut)
    assert torn.trustworthiness_at is not None
    assert torn.continuity_at is not None
    # The ring is cut at row 0: its ends lose neighbours, and gain none that are far.
    assert torn.continuity_at[[0, 399]].max() < 0.6 < torn.trustworthiness_at.min()
    assert torn.continuity_at[150:250].min() == 1
    flat = np.stack([np.cos(ring), 0 * ring], axis=1).astype(np.float32)
    folded = measured(vectors, flat)
    assert folded.trustworthiness is not None
    assert folded.continuity is not None
    assert folded.trustworthiness < 0.8 < 0.98 < folded.continuity


def test_swapping_two_clusters_keeps_what_is_near() -> None:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 50)
    places = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])[group]
    places = places + random.standard_normal((200, 2))
    vectors = unit(np.concatenate([places, np.full((200, 1), 40)], axis=1))
    swapped = np.where((group < 2)[:, None], places + [[10, 0]] * (1 - 2 * group[:, None]), places)
    before, after = measured(vectors, places), measured(vectors, swapped)
    assert before.preservation == pytest.approx(after.preservation, abs=0.05)
    assert after.trustworthiness == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 10, 11])
def test_with_as_many_neighbours_as_tracks_nothing_can_be_said(n: int) -> None:
    vectors, positions = world(n)
    assert vars(measured(vectors, positions)) == vars(Trust(k=10, tracks=n))


@pytest.mark.parametrize("n", [12, 50])
def test_equal_vectors_or_places_tie_by_row(n: int) -> None:
    vectors, positions = world(n)
    vectors[::3], positions[::4] = vectors[0], positions[0]
    same, nowhere = np.repeat(vectors[:1], n, axis=0), np.zeros((n, 2), np.float32)
    for rows, places in [(vectors, positions), (same, positions), (vectors, nowhere)]:
        found = measured(rows, places, k=4)
        _, _, preserved = by_hand(rows.astype(np.float64), places.astype(np.float64), 4)
        assert found.preserved is not None
        assert found.preserved.tolist() == preserved
        assert found.trustworthiness is not None
        assert 0 <= found.trustworthiness <= 1
    everywhere = measured(same, nowhere)
    assert everywhere.trustworthiness == everywhere.continuity == everywhere.preservation == 1


def test_places_on_a_lattice_tie_by_row() -> None:
    across, up = np.meshgrid(np.arange(6), np.arange(6))
    lattice = np.stack([across.ravel(), up.ravel()], axis=1).astype(np.float32)
    vectors, _ = world(36)
    found = measured(vectors, lattice, k=3)
    false, _, preserved = by_hand(vectors.astype(np.float64), lattice.astype(np.float64), 3)
    assert found.preserved is not None
    assert found.preserved.tolist() == preserved
    assert found.trustworthiness == pytest.approx(1 - np.mean(false) / (3 * (72 - 10) / 2))


def test_neighbours_that_are_known_need_not_be_found() -> None:
    vectors, positions = world(80)
    cosine = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    near = np.argsort(-cosine, axis=1)[:, 1:13].astype(np.int32)
    found, given = measured(vectors, positions), measured(vectors, positions, neighbours=near)
    for name, value in vars(found).items():
        np.testing.assert_array_equal(value, getattr(given, name))


def test_a_large_map_is_sampled_but_every_track_has_its_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors, positions = world(600)
    whole = measured(vectors, positions)
    monkeypatch.setattr(trust, "EXACT_UP_TO", 300)
    sample = measured(vectors, positions)
    assert (sample.tracks, sample.sampled) == (600, 300)
    assert sample.trustworthiness != whole.trustworthiness
    assert sample.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.02)
    assert sample.continuity == pytest.approx(whole.continuity, abs=0.02)
    assert sample.trustworthiness_at is None
    assert sample.continuity_at is None
    np.testing.assert_array_equal(sample.preserved, whole.preserved)
    assert sample.trustworthiness == measured(vectors, positions).trustworthiness


def test_it_tells_how_far_it_is_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "BLOCK", 50 * 20)
    vectors, positions = world(50)
    calls: list[tuple[int, int, str]] = []
    measured(vectors, positions, progress=lambda *step: calls.append(step))
    assert [done for done, _, _ in calls] == [20, 40, 50] * 2
    assert {total for _, total, _ in calls} == {50}
    for after in (0, 1, 4):
        calls.clear()
        stopped = measure_trust(
            vectors,
            positions,
            progress=lambda *step: calls.append(step),
            cancelled=lambda after=after: len(calls) >= after,
        )
        assert stopped is None


def test_nothing_of_the_caller_is_changed() -> None:
    vectors, positions = world(40)
    copies = vectors.copy(), positions.copy()
    measured(vectors, positions)
    np.testing.assert_array_equal(vectors, copies[0])
    np.testing.assert_array_equal(positions, copies[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    vectors, positions = world(30)
    vectors[7, 2] = bad
    with pytest.raises(QueryError, match="vectors of 1 tracks are not finite, the first in row 7"):
        measure_trust(vectors, positions)
    vectors, positions = world(30)
    positions[3] = bad
    with pytest.raises(QueryError, match=r"positions of 1 tracks .* row 3"):
        measure_trust(vectors, positions)


def test_what_does_not_fit_is_refused() -> None:
    vectors, positions = world(30)
    for rows, places, words in [
        (vectors, positions[:29], r"\[30, 8\] and \[29, 2\]"),
        (vectors[0], positions, r"\[8\] and"),
        (vectors, world(30, axes=4)[1], "2 or 3 dimensions, got 4"),
        (vectors * 2, positions, "length 2"),
        (vectors * 0, positions, "length 0"),
    ]:
        with pytest.raises(QueryError, match=words):
            measure_trust(rows, places)
    with pytest.raises(QueryError, match="k=0"):
        measure_trust(vectors, positions, k=0)


def test_neighbours_that_cannot_be_are_refused() -> None:
    vectors, positions = world(30)
    good = (np.arange(30)[:, None] + np.arange(1, 11)) % 30
    own, out, minus, twice = good.copy(), good.copy(), good.copy(), good.copy()
    own[4, 3], out[0, 0], minus[2, 9], twice[5, 1] = 4, 30, -1, twice[5, 0]
    for bad, words in [
        (good[:, :9], r"\[30, 10 or more\], got \[30, 9\]"),
        (good[:29], r"got \[29, 10\]"),
        (own, "no track is its own"),
        (out, "from 0 to 29"),
        (minus, "from 0 to 29"),
        (twice, "named twice"),
    ]:
        with pytest.raises(QueryError, match=words):
            measure_trust(vectors, positions, neighbours=bad)
