"""New tracks on a map that is there, and a new map laid upon an old one.

Positions are float32 [n, 2] or [n, 3]. Nothing here moves a track that has a place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError
from kindred.maps.neighbours import Floats, checked, nearest

Search = Callable[[Floats, int], tuple[NDArray[np.int32], Floats]]


def place(
    vectors: Floats, base: Floats, positions: Floats, *, k: int = 15, search: Search | None = None
) -> Floats:
    """Positions for vectors among tracks that have a place.

    Each goes to the weighted geometric median of its ``k`` nearest tracks: where most of the weight
    lies, and not into the gap between two regions. Weights fade with distance as UMAP's do, and by
    how much nearer the nearest is, so that a vector like that of a track lands on the track.

    Parameters
    ----------
    vectors : float32 [m, dims]
        Unit vectors of new tracks, or of one track's windows in the order of time.
    base, positions : float32 [n, dims], float32 [n, 2 or 3]
        Unit vectors of the map's tracks and their places.
    search : callable, optional
        ``search(vectors, k)`` returns rows of ``base``, nearest first, and their similarities; by
        default all are compared.

    Returns
    -------
    float32 [m, 2 or 3]

    Raises
    ------
    QueryError
        When a vector or a position cannot be used, or the map is empty.
    """
    vectors = checked(vectors)
    positions = np.asarray(positions, np.float32)
    if positions.ndim != 2 or len(positions) != len(base) or not np.isfinite(positions).all():
        raise QueryError(
            f"{len(base)} tracks of a map need as many finite positions, got shape"
            f" {positions.shape}."
        )
    if k < 1:
        raise QueryError(f"A track is placed by at least one neighbour, not {k}.")
    if not len(vectors):
        return np.empty((0, positions.shape[1]), np.float32)
    if not len(base):
        raise QueryError("Nothing can be placed on a map without tracks. Build the map first.")
    if search is None:
        base = checked(base, "map's vectors")
        if base.shape[1] != vectors.shape[1]:
            raise QueryError(
                f"Vectors of {vectors.shape[1]} dimensions cannot be placed on a map of"
                f" {base.shape[1]}."
            )
        rows, similarities = nearest(vectors, base, k)
    else:
        rows, similarities = search(vectors, k)
    weights = local_weights(1 - similarities.astype(np.float64))
    return _medians(positions[rows].astype(np.float64), weights).astype(np.float32)


def local_weights(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of neighbours that sum to 1, float64 [m, k], from distances, nearest first.

    ``exp(-(d - d_1) / s) * d_1 / d``, where s makes the first factor sum to log2(k + 1), as in
    UMAP's smoothed neighbourhoods.
    """
    far = distances.clip(1e-7)
    beyond = far - far[:, :1]
    target = np.log2(far.shape[1] + 1)
    low, high = np.full(len(far), 1e-9), np.full(len(far), 1e3)
    for _ in range(50):
        middle = np.sqrt(low * high)
        over = np.exp(-beyond / middle[:, None]).sum(axis=1) > target
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    weights = np.exp(-beyond / high[:, None]) * far[:, :1] / far
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _medians(points: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted geometric medians of points [m, k, d], float64 [m, d], by Weiszfeld's iteration."""
    at = np.einsum("mk,mkd->md", weights, points)
    spread = np.linalg.norm(points - at[:, None], axis=2).mean(axis=1)
    least = 1e-6 * spread[:, None] + 1e-12
    for _ in range(60):
        pull = weights / np.linalg.norm(points - at[:, None], axis=2).clip(least)
        at = np.einsum("mk,mkd->md", pull, points) / pull.sum(axis=1, keepdims=True)
    return np.asarray(at)


def align(positions: Floats, new: Floats, old: Floats, weights: Floats | None = None) -> Floats:
    """Positions turned, mirrored and shifted so that ``new`` lies on ``old`` as well as it can.

    Orthogonal Procrustes (Schönemann, Psychometrika 1966), without scaling: distances stay as they
    are. Two common points fix a turn, one a shift, none nothing.

    Parameters
    ----------
    positions : float32 [n, d]
        The whole new map.
    new, old : float32 [c, d]
        Places of the tracks that both maps have, on the new one and on the old.
    weights : float32 [c], optional
        How much each counts.

    Returns
    -------
    float32 [n, d]

    Raises
    ------
    QueryError
        When shapes do not fit or a value is not finite.
    """
    turned, here, there = (np.asarray(part, np.float64) for part in (positions, new, old))
    share = np.ones(len(here)) if weights is None else np.asarray(weights, np.float64)
    fits = here.ndim == turned.ndim == 2 and here.shape == there.shape
    if not fits or here.shape[1] != turned.shape[1] or share.shape != (len(here),):
        raise QueryError(
            f"Maps of shapes {here.shape} and {there.shape} cannot be laid upon each other."
        )
    if not all(np.isfinite(part).all() for part in (turned, here, there, share)):
        raise QueryError("Maps with positions that are not finite cannot be laid upon each other.")
    if (share < 0).any():
        raise QueryError("A track cannot count less than nothing where maps are aligned.")
    if not share.sum():
        return np.asarray(turned, np.float32)
    share = share[:, None] / share.sum()
    mine, theirs = (share * here).sum(axis=0), (share * there).sum(axis=0)
    left, _, right = np.linalg.svd((share * (here - mine)).T @ (there - theirs))
    return np.asarray((turned - mine) @ (left @ right) + theirs, np.float32)
