"""How far a map can be believed: what the layout kept of the embedding space, and what it made up.

Two mistakes are told apart (Venna and Kaski, "Neighborhood preservation in nonlinear projection
methods", ICANN 2001). N_i are the k nearest tracks of track i by its vector, M_i those on the map;
r(i, j) is the rank of j among the neighbours of i by vector, s(i, j) on the map::

    trustworthiness_i = 1 - 1/W * sum of (r(i, j) - k), j in M_i, not in N_i: false neighbours
    continuity_i      = 1 - 1/W * sum of (s(i, j) - k), j in N_i, not in M_i: torn-off neighbours
    W = k (2n - 3k - 1) / 2  where k < n/2,  else (n - k)(n - k - 1) / 2

W is the largest possible sum, so that both lie in [0, 1]; the map's are the means over its tracks.
They forgive what lands a little off; the third number does not: ``preserved_i`` is how many of N_i
are in M_i. A shuffled map has about .5, .5 and a preservation of k / (n - 1).

Conventions: rows are tracks; ranks start at 1 and leave out the track itself; vectors compare by
cosine, places by Euclidean distance. Ties order by row, in both spaces, and equal vectors tie to
the last bit. Memory is that of a block of points times all tracks, :data:`BLOCK` cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError

#: Up to this many tracks all are ranked; of a larger map, a sample of as many.
EXACT_UP_TO = 10_000
#: Points times tracks that are compared at once; each cell takes about 30 bytes.
BLOCK = 8_000_000

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Trust:
    """What a map kept of its space.

    Attributes
    ----------
    k : int
        Length of the neighbourhoods.
    tracks : int
    sampled : int
        How many points, drawn at random, the first two numbers are the mean of, each ranked among
        all tracks; equal to ``tracks`` where all were.
    trustworthiness, continuity, preservation : float or None
        In [0, 1]; preservation is the mean of ``preserved / k``. None where k or fewer others
        exist: then everything is a neighbour, whatever the map.
    trustworthiness_at, continuity_at : float32 [n] or None
        For each track; None where not all were ranked.
    preserved : int32 [n] or None
        How many of a track's k nearest are among the k nearest on the map; never a sample.
    """

    k: int
    tracks: int
    sampled: int = 0
    trustworthiness: float | None = None
    continuity: float | None = None
    preservation: float | None = None
    trustworthiness_at: NDArray[np.float32] | None = None
    continuity_at: NDArray[np.float32] | None = None
    preserved: NDArray[np.int32] | None = None


def measure_trust(
    vectors: NDArray[np.float32],
    positions: NDArray[np.float32],
    *,
    k: int = 10,
    neighbours: NDArray[np.integer] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Trust | None:
    """Compare the neighbourhoods of a map with those of the space that it shows.

    Parameters
    ----------
    vectors : float32 [n, dims]
        Unit vectors.
    positions : float32 [n, 2 or 3]
    k : int
        Length of the neighbourhoods.
    neighbours : int [n, at least k], optional
        Rows of the nearest tracks by vector, nearest first, without the track itself. If not given,
        they are searched for.
    seed : int
        Which points are drawn of a map with more than :data:`EXACT_UP_TO` tracks.
    progress : callable, optional
        Called with (points done, points, words).
    cancelled : callable

    Returns
    -------
    Trust or None
        ``None`` when it was cancelled.

    Raises
    ------
    QueryError
        When a shape does not fit, a number is not finite or a vector has not length 1.
    """
    from scipy.spatial.distance import cdist

    vectors, places = _checked(vectors, positions, k)
    n = len(vectors)
    if n <= k + 1:
        return Trust(k, n)
    space = _Space(vectors)
    if neighbours is not None:
        true = _checked_neighbours(neighbours, n, k)
    else:
        found = []
        for start, stop in _blocks(n):
            if cancelled():
                return None
            found.append(_nearest(space.similarity(np.arange(start, stop)), k))
            if progress:
                progress(stop, n, "Finding the nearest tracks")
        true = np.concatenate(found)
    near = _nearest_places(places, k)
    same = near[:, :, None] == true[:, None, :]
    false, torn = ~same.any(axis=2), ~same.any(axis=1)
    preserved = k - false.sum(axis=1)

    rows = np.arange(n)
    if n > EXACT_UP_TO:
        rows = np.sort(np.random.default_rng(seed).choice(n, EXACT_UP_TO, replace=False))
    excess = np.zeros((2, len(rows)), np.int64)
    for start, stop in _blocks(len(rows), n):
        if cancelled():
            return None
        block = rows[start:stop]
        similarity = space.similarity(block)
        closeness = -cdist(places[block], places, "sqeuclidean")
        closeness[np.arange(len(block)), block] = -np.inf
        for at, row in enumerate(block):
            excess[0, start + at] = _excess(similarity[at], near[row, false[row]], k)
            excess[1, start + at] = _excess(closeness[at], true[row, torn[row]], k)
        if progress:
            progress(stop, len(rows), "Comparing the map with the space")

    worst = k * (2 * n - 3 * k - 1) if 2 * k < n else (n - k) * (n - k - 1)
    trustworthiness, continuity = 1 - 2 * excess / worst
    everywhere = len(rows) == n
    return Trust(
        k=k,
        tracks=n,
        sampled=len(rows),
        trustworthiness=float(trustworthiness.mean()),
        continuity=float(continuity.mean()),
        preservation=float(preserved.mean() / k),
        trustworthiness_at=trustworthiness.astype(np.float32) if everywhere else None,
        continuity_at=continuity.astype(np.float32) if everywhere else None,
        preserved=preserved.astype(np.int32),
    )


class _Space:
    """Cosines of every track with some; equal vectors share a column, and so tie exactly."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        whole = np.dtype((np.void, vectors.dtype.itemsize * vectors.shape[1]))
        _, first, self.column = np.unique(
            vectors.view(whole).ravel(), return_index=True, return_inverse=True
        )
        self.has_twins = len(first) < len(vectors)
        if not self.has_twins:
            first = self.column = np.arange(len(vectors))
        gallery = vectors[first].astype(np.float64)
        self.gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)

    def similarity(self, rows: Ints) -> Floats:
        """Float64 [len(rows), n]; -inf for a track with itself."""
        found = self.gallery[self.column[rows]] @ self.gallery.T
        if self.has_twins:
            found = found[:, self.column]
        found[np.arange(len(rows)), rows] = -np.inf
        return np.asarray(found)


def _excess(closeness: Floats, chosen: Ints, k: int) -> int:
    """Sum of how far the ranks of the chosen columns go beyond k; ``closeness`` [n]."""
    total = 0
    for column in chosen:
        own = closeness[column]
        # One pass ranks it: ties before it count, those after it do not.
        before = np.count_nonzero(closeness[:column] >= own)
        total += max(0, before + np.count_nonzero(closeness[column:] > own) + 1 - k)
    return total


def _nearest(closeness: Floats, k: int) -> Ints:
    """Columns of the k largest of each row, in their order, intp [b, k]; of ties, the first."""
    top = np.empty((len(closeness), k), np.intp)
    for row, least in enumerate(np.partition(closeness, -k, axis=1)[:, -k]):
        found = np.flatnonzero(closeness[row] >= least)
        if len(found) > k:
            tied = np.flatnonzero(closeness[row, found] == least)
            found = np.delete(found, tied[k - len(found) :])
        top[row] = found
    return top


def _nearest_places(places: NDArray[np.float64], k: int) -> Ints:
    """As :func:`_nearest`, of each place among the others, intp [n, k]."""
    from scipy.spatial import cKDTree
    from scipy.spatial.distance import cdist

    n = len(places)
    tree = cKDTree(places, balanced_tree=False)  # balanced trees are slow with equal places
    distance, found = tree.query(places, k=k + 2)
    # The track itself is at distance 0, but need not come first, or at all, where places are equal.
    own = found == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True
    near = found[~own].reshape(n, k + 1)[:, :k]
    unclear = np.flatnonzero(np.isclose(distance[:, k], distance[:, k + 1], rtol=1e-9, atol=0))
    for start, stop in _blocks(len(unclear), n):
        rows = unclear[start:stop]
        closeness = -cdist(places[rows], places, "sqeuclidean")
        closeness[np.arange(len(rows)), rows] = -np.inf
        near[rows] = _nearest(closeness, k)
    return np.asarray(near, np.intp)


def _blocks(count: int, columns: int | None = None) -> Iterator[tuple[int, int]]:
    step = max(1, BLOCK // max(1, columns or count))
    for start in range(0, count, step):
        yield start, min(start + step, count)


def _checked(
    vectors: NDArray[np.float32], positions: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    vectors, places = np.asarray(vectors), np.asarray(positions)
    if vectors.ndim != 2 or places.ndim != 2 or len(vectors) != len(places):
        raise QueryError(
            "A map is measured with vectors [n, dims] and as many positions [n, 2 or 3], got "
            f"{list(vectors.shape)} and {list(places.shape)}."
        )
    if places.shape[1] not in (2, 3):
        raise QueryError(f"A map has 2 or 3 dimensions, got {places.shape[1]}.")
    if k < 1:
        raise QueryError(f"A neighbourhood has at least 1 track, got k={k}.")
    for name, rows in (("vector", vectors), ("position", places)):
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise QueryError(
                f"The {name}s of {len(bad)} tracks are not finite, the first in row {bad[0]}. "
                "Compute the map again."
            )
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero(np.abs(lengths - 1) > 1e-3)
    if len(bad):
        raise QueryError(
            f"Row {bad[0]} has a vector of length {lengths[bad[0]]:.3g}; scale vectors to length 1."
        )
    # Adding 0 makes -0 equal to 0 to the byte.
    return np.ascontiguousarray(vectors, np.float32) + np.float32(0), places.astype(np.float64)


def _checked_neighbours(neighbours: NDArray[np.integer], n: int, k: int) -> Ints:
    rows = np.asarray(neighbours)
    if rows.ndim != 2 or len(rows) != n or rows.shape[1] < k:
        raise QueryError(
            f"The neighbours of {n} tracks must have shape [{n}, {k} or more], "
            f"got {list(rows.shape)}."
        )
    near = rows[:, :k].astype(np.intp)
    ordered = np.sort(near, axis=1)
    if near.min() < 0 or near.max() >= n or (near == np.arange(n)[:, None]).any():
        raise QueryError(f"Neighbours are rows from 0 to {n - 1}, and no track is its own.")
    if k > 1 and (ordered[:, 1:] == ordered[:, :-1]).any():
        raise QueryError("A track is named twice among the neighbours of another.")
    return near
