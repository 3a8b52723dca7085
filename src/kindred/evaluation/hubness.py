"""Hubs, tracks that turn up in the answers to very many queries, and two ways to tame them.

``N_k`` of a track is in how many answers of length k it appears (Radovanović, Nanopoulos and
Ivanović, JMLR 11, 2010). Its mean is k; where a few tracks have nearly all of it, its distribution
is skewed. A track with ``N_k = 0``, an anti-hub, is never found.

Both rescalings know vectors alone, no labels, and are fitted for each query on its gallery: every
track but the query. For a track x of the gallery that leaves every track but x and the query, which
is worked out exactly rather than fitted n times. What a variant leaves out besides is in the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError
from kindred.evaluation.ranks import Cosine, Floats, Ints, blocks

_NO_SPREAD = 1e-12  # a variance this small is rounding


class Csls(Cosine):
    """Cross-domain similarity local scaling (Conneau et al., ICLR 2018).

    ::

        2 cos(q, x) - r(x) - r(q),   r(x) = mean cosine of x with its ``neighbours`` nearest

    r(q) is one number for all of a query's gallery and does not change the order; it is left out.

    Parameters
    ----------
    vectors : float32 [n, dims]
        Unit vectors.
    neighbours : int
        At most n - 2 are taken.

    Raises
    ------
    QueryError
        With fewer than 3 tracks, where no track of a gallery has a neighbour.
    """

    def __init__(self, vectors: NDArray[np.float32], *, neighbours: int = 10) -> None:
        super().__init__(vectors)
        n = len(vectors)
        _check(n, "CSLS")
        self.neighbours = min(neighbours, n - 2)
        # One neighbour more than is needed: one of them may turn out to be the query.
        self.total, self.least = np.empty((2, n))
        for start, stop in blocks(n):
            scores = super().scores(start, stop)
            scores[np.arange(stop - start), np.arange(start, stop)] = -np.inf
            near = np.partition(scores, n - self.neighbours - 1)[:, n - self.neighbours - 1 :]
            self.total[start:stop], self.least[start:stop] = near.sum(axis=1), near.min(axis=1)
        self.total, self.least = self.total[self.twin], self.least[self.twin]

    def scores(self, start: int, stop: int) -> Floats:
        """See :class:`~kindred.evaluation.ranks.Cosine`; in [-4, 4], but for r(q)."""
        cosine = super().scores(start, stop)
        # The query is not its own gallery's; if it is none of x's neighbours, the last one goes.
        mean = (self.total - np.maximum(cosine, self.least)) / self.neighbours
        return np.asarray(2 * cosine - mean)


class MutualProximity(Cosine):
    """Mutual proximity of independent normal similarities (Schnitzer et al., JMLR 13, 2012).

    ::

        log P(S_q < s) + log P(S_x < s),   s = cos(q, x),   S_q, S_x normal

    with the mean and variance of the cosines of the query, and of x, with the rest of the gallery.
    Logarithms keep near-duplicates apart, whose probabilities round to 1.

    Parameters
    ----------
    vectors : float32 [n, dims]
        Unit vectors.

    Raises
    ------
    QueryError
        With fewer than 3 tracks.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        super().__init__(vectors)
        _check(len(vectors), "mutual proximity")
        times = np.bincount(self.column)[:, None]
        sums = (self.gallery * times).sum(axis=0)
        squares = (self.gallery * times).T @ self.gallery
        own = (self.gallery**2).sum(axis=1)
        # Sums over every track but the one itself, of cosines and of their squares.
        total = self.gallery @ sums - own
        squared = ((self.gallery @ squares) * self.gallery).sum(axis=1) - own**2
        self.total, self.squared = total[self.column], squared[self.column]

    def scores(self, start: int, stop: int) -> Floats:
        """See :class:`~kindred.evaluation.ranks.Cosine`; at most 0."""
        from scipy.special import log_ndtr

        s, n = super().scores(start, stop), len(self.column)
        of_query = _z(s, self.total[start:stop, None], self.squared[start:stop, None], n - 1)
        of_track = _z(s, self.total - s, self.squared - s * s, n - 2)
        return np.asarray(log_ndtr(of_query) + log_ndtr(of_track))


@dataclass(frozen=True)
class Hubness:
    """How unevenly tracks turn up in answers of length k.

    Attributes
    ----------
    k : int
    skewness : float
        Third standardised moment of N_k; 0 where every track has the same.
    largest : int
        The largest N_k.
    anti_hubs : float
        Share of tracks with N_k = 0.
    hubs : list of (track_id, N_k, share)
        The tracks with the largest N_k, and the share of their appearances that were wrong, which
        is among queries with another label; ``None`` where neither side's label says.
    """

    k: int
    skewness: float
    largest: int
    anti_hubs: float
    hubs: list[tuple[str, int, float | None]]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        names = ("track_id", "occurrences", "wrong")
        return {
            "k": self.k,
            "skewness": round(self.skewness, 6),
            "largest": self.largest,
            "anti_hubs": round(self.anti_hubs, 6),
            "hubs": [dict(zip(names, hub, strict=True)) for hub in self.hubs],
        }


def hubness(top: Ints, ids: Sequence[str], classes: Ints, *, worst: int = 10) -> Hubness:
    """Count how often each track turns up.

    Parameters
    ----------
    top : intp [n, k]
        Rows in the answer to every track; -1 fills up.
    ids : sequence of str
    classes : intp [n]
        Number of each track's label, -1 for none.
    worst : int
        How many hubs to name, by (-N_k, id).
    """
    n, k = top.shape
    query = np.repeat(np.arange(n), k)[top.ravel() >= 0]
    found = top.ravel()[top.ravel() >= 0]
    count = np.bincount(found, minlength=n)
    known = (classes[query] >= 0) & (classes[found] >= 0)
    judged = np.bincount(found[known], minlength=n)
    wrong = np.bincount(found[known & (classes[query] != classes[found])], minlength=n)
    order = sorted(range(n), key=lambda row: (-count[row], ids[row]))[:worst]
    off = count - count.mean()
    spread = np.sqrt((off**2).mean())
    return Hubness(
        k=k,
        skewness=float((off**3).mean() / spread**3) if spread else 0.0,
        largest=int(count.max()),
        anti_hubs=float((count == 0).mean()),
        hubs=[
            (ids[row], int(count[row]), _share(int(wrong[row]), int(judged[row])))
            for row in order
            if count[row]
        ],
    )


def _z(s: Floats, total: Floats, squared: Floats, count: int) -> Floats:
    """Standard scores of s among ``count`` numbers of this sum and sum of squares."""
    mean = total / count
    variance = squared / count - mean**2
    spread = np.sqrt(np.maximum(variance, _NO_SPREAD))
    return np.where(variance > _NO_SPREAD, (s - mean) / spread, 0.0)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _check(n: int, what: str) -> None:
    if n < 3:
        raise QueryError(f"The library has {n} tracks; {what} needs at least 3.")
