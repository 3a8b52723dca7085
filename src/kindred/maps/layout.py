"""Layouts: a position on the map for every track, by UMAP, t-SNE or PCA.

Positions are float32 [n, 2] or [n, 3], centred, with a median distance of 1 from the centre,
whatever the method. UMAP and t-SNE start from PCA and get their neighbours from
:mod:`kindred.maps.neighbours`. The same vectors, options and seed give the same bytes on any number
of threads. Fewer than :data:`FEWEST` tracks are drawn by PCA, since neighbourhoods of so few say
nothing.

References: McInnes, Healy and Melville, "UMAP", 2018 (graph and curve by umap-learn); van der
Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008, in openTSNE (Poličar, Stražar and
Zupan, JSS 2024); Kobak and Linderman, "Initialization is critical for preserving global data
structure in both t-SNE and UMAP", Nature Biotechnology 2021.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError
from kindred.maps.neighbours import Cancelled, Floats, Neighbours, Progress, checked, workers
from kindred.maps.options import MapOptions

FEWEST = 5
#: t-SNE: iterations with attraction raised to so much, and iterations as it is.
_EARLY, _RAISED, _LATE = 100, 4, 400
#: t-SNE: from so many tracks on, repulsion is interpolated on a grid (FIt-SNE, two dimensions).
_GRID_FROM = 5_000
#: t-SNE: below, threads wait for each other longer than they work, most of all on a busy machine.
_THREADS_FROM = 20_000
#: UMAP: the learning rate of the first epoch; half of umap-learn's, since whole epochs are summed.
_RATE = 0.5
#: UMAP: a stop is looked for after so many moves of one track, well within a second.
_MOVES = 400_000


def lay_out(
    vectors: Floats,
    neighbours: Neighbours,
    options: MapOptions,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled = lambda: False,
) -> Floats | None:
    """Positions of tracks on a map, or ``None`` when it was cancelled.

    Parameters
    ----------
    vectors : float32 [n, dims]
        Unit vectors.
    neighbours : Neighbours
        Of these vectors: ``options.neighbours`` each for UMAP, three times the perplexity for
        t-SNE, or all there are; more do no harm.

    Returns
    -------
    float32 [n, options.dims]

    Raises
    ------
    QueryError
        When an option or a vector cannot be used, or there are too few neighbours.
    """
    options.check()
    vectors = checked(vectors)
    n = len(vectors)
    tell = progress or (lambda done, total, words: None)
    tell(0, 1, "projecting")
    start = project(vectors, options.dims)
    if cancelled():
        return None
    if options.method == "pca" or n < FEWEST:
        return scaled(start)
    wanted = options.neighbours if options.method == "umap" else round(3 * options.perplexity)
    k = min(wanted, n - 1)
    if len(neighbours.indices) != n or neighbours.indices.shape[1] < k:
        raise QueryError(
            f"This map of {n} tracks needs {k} neighbours of each, not a table of shape"
            f" {neighbours.indices.shape}."
        )
    similarities = neighbours.similarities[:, :k]
    distances = 1 - similarities if options.metric == "cosine" else np.sqrt(2 - 2 * similarities)
    # Vectors that are alike must not start, and stay, in one place.
    blur = np.random.default_rng(options.seed).standard_normal(start.shape)
    start = scaled(start) + 0.01 * blur.astype(np.float32)
    method = _umap if options.method == "umap" else _tsne
    found = method(start, neighbours.indices[:, :k], distances, options, tell, cancelled)
    return None if found is None else scaled(found)


def project(vectors: Floats, dims: int) -> Floats:
    """Principal components of vectors, float32 [n, dims]; 0 where they have fewer."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    out = np.zeros((len(vectors), dims), np.float32)
    if not (vectors[1:] != vectors[:1]).any():  # none, one, or all the same
        return out
    count = min(dims, *vectors.shape)
    solver = "covariance_eigh" if len(vectors) > vectors.shape[1] else "full"
    with threadpool_limits(1, "blas"):  # sums in another order would be another map
        out[:, :count] = PCA(count, svd_solver=solver).fit_transform(vectors)
    return out


def scaled(positions: NDArray[Any]) -> Floats:
    """Positions centred, with a median distance of 1 from the centre."""
    if not len(positions):
        return np.asarray(positions, np.float32)
    wide = np.asarray(positions, np.float64)
    wide = wide - wide.mean(axis=0)
    radius = np.linalg.norm(wide, axis=1)
    size = np.median(radius)
    if size < 1e-6 * radius.max():  # most lie in one place
        size = radius.max()
    return np.asarray(wide / size if size > 0 else wide, np.float32)


def warm_up() -> None:
    """Compile what UMAP compiles, or read it from where it was kept, ahead of the first map."""
    vectors = np.eye(FEWEST, dtype=np.float32)
    indices = np.array([np.delete(np.arange(FEWEST), row) for row in range(FEWEST)], np.int32)
    alike = Neighbours(indices, np.zeros(indices.shape, np.float32), "exact")
    lay_out(vectors, alike, MapOptions())


def _umap(
    start: Floats,
    indices: NDArray[np.int32],
    distances: Floats,
    options: MapOptions,
    tell: Progress,
    cancelled: Cancelled,
) -> Floats | None:
    n = len(start)
    tell(0, 1, "preparing UMAP")
    graph, a, b = _umap_graph(indices, distances, options.min_dist)
    from kindred.maps.descent import move

    strengths = (graph.data / graph.data.max()).astype(np.float32)
    ends, tails = graph.indptr.astype(np.int64), graph.indices.astype(np.int32)
    epochs = 500 if n <= 5_000 else 200
    before = np.ascontiguousarray(start * np.float32(10 / np.abs(start).max()))
    after = np.empty_like(before)
    cuts = np.linspace(0, n, 4 * workers() + 1).astype(int)
    pause = min(max(1, _MOVES // n), 25)
    with ThreadPoolExecutor(workers()) as pool:
        for epoch in range(epochs):
            if epoch % pause == 0:
                if cancelled():
                    return None
                tell(epoch, epochs, "laying out by UMAP")
            rate = np.float32(_RATE * (1 - epoch / epochs))
            given: tuple[Any, ...] = (
                before,
                after,
                ends,
                tails,
                strengths,
                a,
                b,
                rate,
                epoch,
                options.seed,
            )
            moving = [pool.submit(move, *given, *part) for part in pairwise(cuts)]
            for done in moving:
                done.result()
            before, after = after, before
    return before


def _umap_graph(
    indices: NDArray[np.int32], distances: Floats, min_dist: float
) -> tuple[Any, np.float32, np.float32]:
    """UMAP's weighted graph, sparse [n, n], and the two parameters of its curve, by umap-learn."""
    import numba

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # that Tensorflow is not installed
        from umap import umap_

    n, k = indices.shape
    for compiled in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        if not compiled.signatures:
            compiled.enable_caching()  # the next process need not compile
    near = np.hstack([np.arange(n, dtype=np.int32)[:, None], indices])  # umap-learn counts itself
    far = np.hstack([np.zeros((n, 1), np.float32), distances.clip(0)])
    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # its sums depend on how many there are
    try:
        graph = umap_.fuzzy_simplicial_set(
            np.empty((n, 0)), k + 1, None, "precomputed", knn_indices=near, knn_dists=far
        )[0]
    finally:
        numba.set_num_threads(threads)
    graph = graph.tocsr()
    graph.sort_indices()
    a, b = umap_.find_ab_params(1.0, min_dist)
    return graph, np.float32(a), np.float32(b)


def _tsne(
    start: Floats,
    indices: NDArray[np.int32],
    distances: Floats,
    options: MapOptions,
    tell: Progress,
    cancelled: Cancelled,
) -> Floats | None:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors
    from openTSNE.tsne import OptimizationInterrupt

    n = len(start)
    grid = n >= _GRID_FROM and options.dims == 2
    threads = workers() if n >= _THREADS_FROM else 1
    affinities = PerplexityBasedNN(
        perplexity=min(options.perplexity, indices.shape[1] / 3),
        knn_index=PrecomputedNeighbors(indices, distances.clip(0)),
        n_jobs=threads,
    )
    begun = (start * (1e-4 / start[:, 0].std())).astype(np.float64)
    embedding = TSNEEmbedding(
        begun,
        affinities,
        negative_gradient_method="fft" if grid else "bh",
        n_jobs=threads,
        random_state=options.seed,
    )

    def report(before: int) -> Callable[[int, float, Any], bool]:
        def told(iteration: int, _error: float, _positions: Any) -> bool:
            tell(before + iteration, _EARLY + _LATE, "laying out by t-SNE")
            return cancelled()

        return told

    phases: tuple[tuple[int, int, float | None], ...] = (
        (0, _EARLY, _RAISED),
        (_EARLY, _LATE, None),
    )
    try:
        for before, count, raised in phases:
            embedding.optimize(
                count,
                exaggeration=raised,
                momentum=0.8,
                inplace=True,
                propagate_exception=True,
                callbacks=report(before),
                callbacks_every_iters=5,
            )
    except OptimizationInterrupt:
        return None
    return np.asarray(embedding, np.float32)
