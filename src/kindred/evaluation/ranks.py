"""Where the relevant tracks come in the answer to every query, block by block.

Conventions: rows are tracks ordered by ``track_id``, so that a tie orders by row. Every track is a
query, and the gallery of a query is every track but those left out for it, itself to begin with.
Ranks start at 1. Scores are products of the float32 vectors in float64; equal vectors get equal
scores to the last bit (a product of matrices alone does not promise that), so that they tie and
order by id. Memory is that of the vectors in float64 and of a block of queries times the gallery,
:data:`BLOCK` cells, whatever the number of tracks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Queries times tracks that are ordered at once; each cell takes about 50 bytes.
BLOCK = 2_000_000

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]


class Ranker(Protocol):
    """Answers queries: the exact search, a rescaled one, or lists that something else made."""

    def order(self, start: int, stop: int) -> Ints:
        """Rows in the order of the answer, best first, intp [stop - start, m].

        ``m`` may be less than the gallery; -1 fills up. The query may be among them.
        """


class Cosine:
    """Exact search over unit vectors.

    Parameters
    ----------
    vectors : float32 [n, dims]
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        first, self.column = _distinct(vectors)
        #: The first row that has the same vector, for each row.
        self.twin: Ints = first[self.column]
        self.has_twins = len(first) < len(vectors)
        # One column for equal vectors, or their products may differ in the last bits.
        self.gallery = vectors[first].astype(np.float64)

    def scores(self, start: int, stop: int) -> Floats:
        """Score of every track for some queries, float64 [stop - start, n]; higher is nearer."""
        found = self.gallery[self.column[start:stop]] @ self.gallery.T
        return found[:, self.column] if self.has_twins else np.asarray(found)

    def order(self, start: int, stop: int) -> Ints:
        """See :class:`Ranker`."""
        return order_by_score(self.scores(start, stop))


class Lists:
    """Answers that something else gave, such as an approximate index.

    Parameters
    ----------
    rows : intp [n, m]
        For each query, rows in the order of the answer; -1 fills up.
    """

    def __init__(self, rows: Ints) -> None:
        self.rows = rows

    def order(self, start: int, stop: int) -> Ints:
        """See :class:`Ranker`."""
        return self.rows[start:stop]


def order_by_score(scores: Floats) -> Ints:
    """Columns of each row by (-score, column), intp [b, n]."""
    parts = np.array_split(scores, min(len(scores), os.cpu_count() or 1))
    with ThreadPoolExecutor(len(parts)) as pool:  # numpy sorts without holding the interpreter
        return np.concatenate(list(pool.map(_order, parts)))


def _order(scores: Floats) -> Ints:
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
    if tied.any():  # a stable sort takes longer, and is needed only here
        order[tied] = np.argsort(-scores[tied], axis=1, kind="stable")
    return order


class Groups:
    """Members of groups.

    Parameters
    ----------
    numbers : intp [n]
        The group of each track, -1 for none.
    """

    def __init__(self, numbers: Ints) -> None:
        self.numbers = numbers
        self.members = np.argsort(numbers, kind="stable")[(numbers < 0).sum() :]
        sizes = np.bincount(numbers[numbers >= 0])
        self.sizes = np.append(sizes, 0)  # the last is that of -1, no group
        self.starts = np.append(np.cumsum(sizes) - sizes, 0)

    def cells(self, start: int, stop: int) -> Ints:
        """The cells (query - start) * n + member of the queries' own groups, ascending."""
        groups = self.numbers[start:stop]
        sizes = self.sizes[groups]
        rows = np.repeat(np.arange(stop - start), sizes)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        columns = self.members[np.repeat(self.starts[groups], sizes) + within]
        return np.asarray(rows * len(self.numbers) + columns, np.intp)


@dataclass(frozen=True)
class Ranks:
    """Where relevant tracks came, for a block of b queries.

    Attributes
    ----------
    row, rank : intp [m]
        Query in the block and rank of each relevant track that was found, by row, then rank.
    relevant, gallery : intp [b]
        Relevant tracks and tracks in the gallery, found or not.
    top : intp [b, min(k, n)]
        The first k rows of the answer; -1 where there are fewer.
    """

    row: Ints
    rank: Ints
    relevant: Ints
    gallery: Ints
    top: Ints


def positions(order: Ints, n: int) -> NDArray[np.int32]:
    """Place of each of n tracks in every answer, from 0; n where it is not in it; [b, n]."""
    places = np.full((len(order), n + 1), n, np.int32)
    steps = np.arange(order.shape[1], dtype=np.int32)
    for line, answer in zip(places, order, strict=True):
        line[answer] = steps  # -1 writes to the last column
    return np.ascontiguousarray(places[:, :n])


def rank_relevant(
    order: Ints, places: NDArray[np.int32], relevant: Ints, left_out: Sequence[Ints], *, k: int
) -> Ranks:
    """Ranks of the relevant tracks once some tracks are left out.

    Parameters
    ----------
    order : intp [b, m]
        As :meth:`Ranker.order` gives it.
    places : int32 [b, n]
        As :func:`positions` gives it.
    relevant : intp
        Cells of relevant tracks, each once; see :meth:`Groups.cells`.
    left_out : sequence of intp
        Cells that are not in the gallery; may overlap with each other and with ``relevant``.
    k : int

    Returns
    -------
    Ranks
    """
    b, n = places.shape
    out = np.zeros(b * n, np.bool_)
    for cells in left_out:
        out[cells] = True
    gone = np.flatnonzero(out)
    relevant = relevant[~out[relevant]]
    found, ahead = _found(relevant, places), _found(gone, places)
    row, place = found // n, found % n
    before = np.searchsorted(ahead, found) - np.searchsorted(ahead, row * n)
    gone_count = np.bincount(gone // n, minlength=b)
    return Ranks(
        row=row,
        rank=place + 1 - before,
        relevant=np.bincount(relevant // n, minlength=b),
        gallery=n - gone_count,
        top=_top(order, out.reshape(b, n), k=k, depth=k + int(gone_count.max(initial=0))),
    )


def _found(cells: Ints, places: NDArray[np.int32]) -> Ints:
    """row * n + place, ascending, of the cells that are in an answer."""
    n = places.shape[1]
    place = places.ravel()[cells]
    there = place < n
    return np.sort(cells[there] // n * n + place[there])


def _top(order: Ints, out: NDArray[np.bool_], *, k: int, depth: int) -> Ints:
    head = order[:, :depth]
    skipped = np.take_along_axis(out, head, axis=1) | (head < 0)
    chosen = np.argsort(skipped, axis=1, kind="stable")[:, :k]
    top = np.full((len(order), min(k, out.shape[1])), -1, np.intp)
    top[:, : chosen.shape[1]] = np.where(
        np.take_along_axis(skipped, chosen, axis=1), -1, np.take_along_axis(head, chosen, axis=1)
    )
    return top


def blocks(n: int) -> list[tuple[int, int]]:
    """Starts and stops of the blocks of n queries over n tracks."""
    step = max(1, min(n, BLOCK // max(1, n)))
    return [(start, min(n, start + step)) for start in range(0, n, step)]


Progress = Callable[[int, int, str], None]


def _distinct(vectors: NDArray[np.float32]) -> tuple[Ints, Ints]:
    """First row of each distinct vector, and which of them each row is."""
    seen: dict[bytes, int] = {}
    column = np.empty(len(vectors), np.intp)
    first: list[int] = []
    for row, vector in enumerate(vectors):
        number = seen.setdefault((vector + 0.0).tobytes(), len(first))  # -0.0 is 0.0
        if number == len(first):
            first.append(row)
        column[row] = number
    return np.array(first, np.intp), column
