"""What a library of n tracks takes: bytes counted from how rows are kept, money from prices given.

Prices change and differ by contract, so none are built in.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes of a track's row with its waveform, and of a small cover, as the demo library has them.
_TRACK, _COVER = 2_000, 3_000
#: What an index adds to a vector: 2 x 16 links of 4 bytes on the ground floor of HNSW.
_LINKS = 128
_GB = 1e9


@dataclass(frozen=True)
class Prices:
    """Of a provider: for 1 GB kept a month, a million reads, a million writes."""

    gigabyte_month: float = 0.0
    million_reads: float = 0.0
    million_writes: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Bytes of rows, vectors, window vectors and index; money a month and once, to load it."""

    rows: int
    vectors: int
    segments: int
    index: int
    monthly: float
    loading: float

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.rows + self.vectors + self.segments + self.index


def estimate(
    tracks: int,
    dims: int,
    *,
    windows: int,
    searches: int = 0,
    prices: Prices = Prices(),
) -> Estimate:
    """Estimate what a library takes and costs in a database.

    Parameters
    ----------
    tracks : int
    dims : int
        Length of a vector; 4 bytes each.
    windows : int
        Window vectors of a track on average, which are kept too.
    searches : int
        A month; each reads about twenty rows: ten hits and their tracks.
    prices : Prices
    """
    vectors, segments = 4 * dims * tracks, 4 * dims * windows * tracks
    rows, index = (_TRACK + _COVER) * tracks, (4 * dims + _LINKS) * tracks
    size = rows + vectors + segments + index
    writes = 3 * tracks  # a track, its vectors, its cover
    return Estimate(
        rows=rows,
        vectors=vectors,
        segments=segments,
        index=index,
        monthly=size / _GB * prices.gigabyte_month + 20 * searches / 1e6 * prices.million_reads,
        loading=writes / 1e6 * prices.million_writes,
    )
