"""New tracks land where theirs are; a rebuilt map is laid upon the old one."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.maps.place import align, local_weights, place


def made(n, clusters=5, dims=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(clusters, dims))
    labels = np.arange(n) % clusters
    vectors = centres[labels] + 0.15 * rng.normal(size=(n, dims))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    angles = 2 * np.pi * labels / clusters
    positions = np.stack([np.cos(angles), np.sin(angles)], 1) + 0.05 * rng.normal(size=(n, 2))
    return vectors.astype(np.float32), positions.astype(np.float32), labels


def turn(degrees, *, mirrored=False):
    at = np.radians(degrees)
    return np.array([[np.cos(at), -np.sin(at)], [np.sin(at), np.cos(at)]]) @ np.diag(
        [1, -1 if mirrored else 1]
    )


def test_a_copy_lands_on_its_track():
    vectors, positions, _ = made(200)
    placed = place(vectors[[3, 50, 199]], vectors, positions)
    np.testing.assert_allclose(placed, positions[[3, 50, 199]], atol=1e-3)


def test_new_tracks_land_in_their_cluster():
    vectors, positions, labels = made(400)
    new, ideal, wanted = made(60, seed=9)
    placed = place(new, vectors, positions)
    centres = np.stack([positions[labels == label].mean(axis=0) for label in range(5)])
    nearest = np.linalg.norm(placed[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, wanted)
    assert placed.dtype == np.float32
    assert np.linalg.norm(placed - ideal, axis=1).max() < 0.4


def test_a_track_between_two_regions_goes_to_the_nearer_one():
    base = np.array([[1, 0], [0.999, 0.05], [0.998, 0.07], [0, 1], [0.05, 0.999]], np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    positions = np.array([[-1, 0], [-1, 0.1], [-1, -0.1], [1, 0], [1, 0.1]], np.float32)
    new = np.array([[0.9, 0.436]], np.float32)
    placed = place(new / np.linalg.norm(new), base, positions)
    assert np.linalg.norm(placed - [[-1, 0]]) < 0.2


def test_three_dimensions_one_track_and_all_alike():
    vectors, _, _ = made(30)
    high = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    assert place(vectors[:4], vectors, high).shape == (4, 3)
    np.testing.assert_allclose(place(vectors[5:6], vectors[:1], high[:1]), high[:1], atol=1e-6)
    alike = np.repeat(vectors[:1], 30, axis=0)
    assert np.isfinite(place(alike[:2], alike, high)).all()
    spot = np.zeros((30, 2), np.float32)
    np.testing.assert_allclose(place(vectors[:3], vectors, spot), 0, atol=1e-6)


def test_placing_nothing_gives_nothing_and_is_repeatable():
    vectors, positions, _ = made(100)
    assert place(vectors[:0], vectors, positions).shape == (0, 2)
    new = made(20, seed=4)[0]
    assert place(new, vectors, positions).tobytes() == place(new, vectors, positions).tobytes()


def test_a_search_of_ones_own_is_used():
    vectors, positions, _ = made(50)

    def always(queries, k):
        return np.full((len(queries), 1), 7, np.int32), np.ones((len(queries), 1), np.float32)

    placed = place(vectors[:3], vectors, positions, search=always)
    np.testing.assert_allclose(placed, np.repeat(positions[7:8], 3, axis=0), atol=1e-6)


def test_weights_fall_with_distance_and_sum_to_one():
    weights = local_weights(np.array([[0.1, 0.2, 0.3, 0.9], [0.2, 0.2, 0.2, 0.2]]))
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (np.diff(weights[0]) < 0).all()
    np.testing.assert_allclose(weights[1], 0.25)


def test_places_that_cannot_be_found_are_refused():
    vectors, positions, _ = made(20)
    with pytest.raises(QueryError, match="without tracks"):
        place(vectors, vectors[:0], positions[:0])
    with pytest.raises(QueryError, match="as many finite"):
        place(vectors, vectors, positions[:5])
    with pytest.raises(QueryError, match="as many finite"):
        place(vectors, vectors, np.full_like(positions, np.nan))
    with pytest.raises(QueryError, match="dimensions"):
        place(np.eye(3, dtype=np.float32), vectors, positions)
    with pytest.raises(QueryError, match="at least one"):
        place(vectors, vectors, positions, k=0)
    spoiled = vectors.copy()
    spoiled[2, 0] = np.inf
    with pytest.raises(QueryError, match="Row 2 of the vectors"):
        place(spoiled, vectors, positions)
    with pytest.raises(QueryError, match="Row 2 of the map's vectors"):
        place(vectors, spoiled, positions)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_and_mirrored_map_comes_back(mirrored):
    old = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    new = (old @ turn(130, mirrored=mirrored) + [4, -2]).astype(np.float32)
    np.testing.assert_allclose(align(new, new[:40], old[:40]), old, atol=1e-5)


def test_a_map_laid_upon_itself_stays():
    for dims in (2, 3):
        old = np.random.default_rng(0).normal(size=(50, dims)).astype(np.float32)
        np.testing.assert_allclose(align(old, old, old), old, atol=1e-6)


def test_distances_are_kept_even_where_the_maps_differ():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, 30, 2)).astype(np.float32)
    laid = align(new, new, 5 * old)
    before = np.linalg.norm(new[:, None] - new, axis=2)
    after = np.linalg.norm(laid[:, None] - laid, axis=2)
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert np.square(laid - 5 * old).sum() <= np.square(new - 5 * old).sum()


def test_weights_say_which_track_counts():
    old = np.array([[0, 0], [1, 0], [0, 1], [9, 9]], np.float32)
    new = (old @ turn(90)).astype(np.float32)
    new[3] = [50, -50]
    laid = align(new, new, old, weights=np.array([1, 1, 1, 0], np.float32))
    np.testing.assert_allclose(laid[:3], old[:3], atol=1e-5)


def test_few_common_tracks_and_flat_clouds():
    new = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    none = np.empty((0, 2), np.float32)
    np.testing.assert_array_equal(align(new, none, none), new)
    one = align(new, new[:1], np.array([[3, 3]], np.float32))
    np.testing.assert_allclose(one[0], [3, 3], atol=1e-6)
    for count in (2, 3):
        line = np.stack([np.arange(count), np.zeros(count)], 1).astype(np.float32)
        here = (line @ turn(40)).astype(np.float32)
        np.testing.assert_allclose(align(here, here, line), line, atol=1e-5)
    spot = np.ones((5, 2), np.float32)
    np.testing.assert_allclose(align(spot, spot, spot), spot, atol=1e-6)


def test_maps_that_do_not_fit_are_refused():
    new = np.zeros((5, 2), np.float32)
    for here, there in ((new, new[:3]), (new[:, :1], new[:, :1]), (new[0], new[0])):
        with pytest.raises(QueryError, match="laid upon"):
            align(new, here, there)
    with pytest.raises(QueryError, match="not finite"):
        align(new, new, np.full_like(new, np.nan))
    with pytest.raises(QueryError, match="less than nothing"):
        align(new, new, new, weights=np.full(5, -1, np.float32))
