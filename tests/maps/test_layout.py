"""Layouts of vectors whose clusters are known, of libraries too small to lay out, and options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from kindred.errors import QueryError
from kindred.maps import layout as module
from kindred.maps.layout import lay_out, warm_up
from kindred.maps.neighbours import find_neighbours
from kindred.maps.options import MapOptions

METHODS = ("umap", "tsne", "pca")


def made(n, clusters=8, dims=24, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(clusters, dims))
    labels = np.arange(n) % clusters
    vectors = centres[labels] + 0.3 * rng.normal(size=(n, dims))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels


def laid(vectors, **options):
    near = find_neighbours(vectors, 90)
    return lay_out(vectors, near, MapOptions(**options))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_clusters_stay_together(method, dims, metric):
    vectors, labels = made(400)
    positions = laid(vectors, method=method, dims=dims, metric=metric)
    assert positions.shape == (400, dims)
    assert positions.dtype == np.float32
    near = cKDTree(positions).query(positions, 6)[1][:, 1:]
    assert (labels[near] == labels[:, None]).mean() > 0.98


def test_pca_is_that_of_the_covariance():
    vectors, _ = made(300)
    positions = laid(vectors, method="pca").astype(np.float64)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * size[:2]
    expected /= np.median(np.linalg.norm(expected, axis=1))
    np.testing.assert_allclose(np.abs(positions), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_positions_are_centred_with_a_median_radius_of_one(method):
    positions = laid(made(200)[0], method=method)
    np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-5)
    assert np.median(np.linalg.norm(positions, axis=1)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_the_same_bytes_on_any_number_of_threads(method, monkeypatch):
    for name, value in (("_GRID_FROM", 500), ("_THREADS_FROM", 500), ("_EARLY", 5), ("_LATE", 10)):
        monkeypatch.setattr(module, name, value)  # t-SNE in several threads, and not for long
    vectors, _ = made(600)
    near = find_neighbours(vectors, 90)
    options = MapOptions(method=method, seed=3)
    several = lay_out(vectors, near, options)
    assert lay_out(vectors, near, options).tobytes() == several.tobytes()
    for count in (1, 3):
        monkeypatch.setattr(module, "workers", lambda count=count: count)
        assert lay_out(vectors, near, options).tobytes() == several.tobytes()
    other = lay_out(vectors, near, dataclasses.replace(options, seed=4))
    assert (other.tobytes() == several.tobytes()) == (method == "pca")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 6, 12])
def test_small_libraries_have_finite_places(method, n):
    for dims in (2, 3):
        positions = laid(made(n)[0], method=method, dims=dims)
        assert positions.shape == (n, dims)
        assert np.isfinite(positions).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [2, 5, 40])
def test_tracks_that_are_all_alike_have_finite_places(method, n):
    positions = laid(np.repeat(made(1)[0], n, axis=0), method=method)
    assert np.isfinite(positions).all()


@pytest.mark.parametrize("method", METHODS)
def test_groups_of_copies_have_finite_places(method):
    vectors = np.repeat(made(6)[0], 30, axis=0)
    positions = laid(vectors, method=method)
    assert np.isfinite(positions).all()
    near = cKDTree(positions).query(positions, 4)[1]
    assert (near // 30 == np.arange(180)[:, None] // 30).mean() > 0.95


def test_vectors_with_fewer_dimensions_than_the_map():
    vectors = np.array([[1.0], [-1.0], [1.0], [1.0], [-1.0], [1.0]], np.float32)
    for method in METHODS:
        assert np.isfinite(laid(vectors, method=method, dims=3)).all()


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_it_stops_in_the_middle_and_reports(method):
    vectors, _ = made(300)
    near = find_neighbours(vectors, 90)
    seen = []

    def report(done, total, words):
        assert 0 <= done <= total
        seen.append(words)

    assert lay_out(vectors, near, MapOptions(method=method), progress=report) is not None
    whole = len(seen)
    seen.clear()
    stopped = lay_out(
        vectors,
        near,
        MapOptions(method=method),
        progress=report,
        cancelled=lambda: len(seen) > 2,
    )
    assert stopped is None
    assert len(seen) < whole
    assert lay_out(vectors, near, MapOptions(), cancelled=lambda: True) is None


def test_too_few_neighbours_or_other_tracks_are_refused():
    vectors, _ = made(50)
    with pytest.raises(QueryError, match="needs 15 neighbours"):
        lay_out(vectors, find_neighbours(vectors, 4), MapOptions())
    with pytest.raises(QueryError, match="needs 15 neighbours"):
        lay_out(vectors, find_neighbours(vectors[:40], 15), MapOptions())


def test_vectors_that_cannot_be_used_are_named():
    vectors, _ = made(50)
    near = find_neighbours(vectors, 15)
    vectors[7, 2] = np.nan
    with pytest.raises(QueryError, match="Row 7"):
        lay_out(vectors, near, MapOptions())
    with pytest.raises(QueryError, match="table"):
        lay_out(vectors[0], near, MapOptions())


def test_warming_up_compiles_without_a_library():
    warm_up()
    from kindred.maps.descent import move

    assert move.signatures


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "lda"), ("metric", "manhattan"), ("dims", 4), ("dims", True),
        ("neighbours", 1), ("neighbours", 15.0), ("neighbours", 201), ("min_dist", -0.1),
        ("min_dist", float("nan")), ("min_dist", "wide"), ("perplexity", 1),
        ("perplexity", float("inf")), ("seed", -1), ("seed", None), ("seed", 2**31),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used_are_named(name, value):
    with pytest.raises(QueryError, match=name if name not in ("method", "dims") else "map"):
        MapOptions(**{name: value}).check()
    with pytest.raises(QueryError):
        MapOptions.from_dict({name: value})


def test_the_key_holds_only_what_the_method_uses():
    assert MapOptions(perplexity=5).key == MapOptions().key
    assert MapOptions(min_dist=1).key == MapOptions(min_dist=1.0).key
    assert MapOptions(neighbours=5).key != MapOptions().key
    assert MapOptions(method="tsne", neighbours=5).key == MapOptions(method="tsne").key
    assert MapOptions(method="pca", seed=9).key == MapOptions(method="pca").key
    assert len({MapOptions(method=method).key for method in METHODS}) == 3


def test_options_come_back_from_their_dictionary():
    options = MapOptions(method="tsne", perplexity=12.5, dims=3, seed=8)
    assert MapOptions.from_dict(options.to_dict()) == options
    assert options.title == "t-SNE, perplexity 12.5, cosine, 3-D, seed 8"
    with pytest.raises(QueryError, match="no parameter 'colour'"):
        MapOptions.from_dict({"colour": "red"})
