"""Groups of tracks that a model hears as alike, found in its space, not on the map.

k-means (Lloyd's, started by k-means++) on unit vectors, where Euclidean distance and cosine order
alike. It always finds as many groups as it is asked for, whether or not the music has them: they
are a way to colour and name a map, not a claim about it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError

FEWEST, MOST = 2, 24
#: The centres are fitted to at most this many tracks, drawn at random; all are then assigned.
SAMPLE = 20_000


def cluster(
    vectors: NDArray[np.float32], *, count: int | None = None, seed: int = 0
) -> NDArray[np.int32]:
    """Number the cluster of every track.

    Parameters
    ----------
    vectors : float32 [n, dims]
        Unit vectors.
    count : int, optional
        How many clusters; by default :func:`default_count`. There are fewer where fewer vectors
        differ.
    seed : int
        The same vectors, count and seed give the same clusters.

    Returns
    -------
    int32 [n]
        From 0, the largest cluster; of two as large, the one with the first track comes first.

    Raises
    ------
    QueryError
        When vectors are not finite or count is less than 1.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise QueryError(f"Clusters need vectors [n, dims], got {list(vectors.shape)}.")
    n = len(vectors)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise QueryError(
            f"The vectors of {len(bad)} tracks are not finite, the first in row {bad[0]}."
        )
    if count is not None and count < 1:
        raise QueryError(f"A map has at least 1 cluster, got count={count}.")
    if n == 0:
        return np.zeros(0, np.int32)

    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    drawn = vectors
    if n > SAMPLE:
        drawn = vectors[np.random.default_rng(seed).choice(n, SAMPLE, replace=False)]
    wanted = min(count or default_count(n), len(np.unique(drawn, axis=0)))
    means = KMeans(wanted, n_init=4, random_state=seed)
    with threadpool_limits(1):  # several threads add in any order, and the last bits would vary
        numbers = means.fit(drawn).predict(vectors)
    _, first, inverse, sizes = np.unique(
        numbers, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(sizes), np.int32)
    rank[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return np.asarray(rank[inverse])


def default_count(n: int) -> int:
    """Number of clusters for n tracks: sqrt(n / 8), at least 2 and at most 24 (5 of 200 tracks)."""
    return int(np.clip(round(np.sqrt(n / 8)), FEWEST, MOST))
