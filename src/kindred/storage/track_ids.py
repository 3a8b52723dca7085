"""The ids of a snapshot's rows, in order, read from the mapped file where they lie."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 15
#: Finding one id by bisection costs about as much as this many steps of a pass over all.
_BISECTION = 100


class TrackIds(Sequence[str]):
    """Sorted unique ids as UTF-8, one after the other, and where each ends.

    The order of UTF-8 bytes is that of code points, hence of ``str`` and of SQLite. A million ids
    of 36 letters are 44 MB of mapped file; as strings in a list and a dictionary they would be
    about 200 MB of memory in every process.

    Parameters
    ----------
    ends : memoryview, uint64 [n]
        Where each id ends in ``text``, in bytes.
    text : memoryview, bytes
    """

    def __init__(self, ends: memoryview, text: memoryview) -> None:
        self._ends, self._text = ends, text

    def __len__(self) -> int:
        return len(self._ends)

    def _raw(self, row: int) -> bytes:
        return self._text[self._ends[row - 1] if row else 0 : self._ends[row]].tobytes()

    def _blocks(self) -> Iterator[list[bytes]]:
        start = 0
        for first in range(0, len(self), _BLOCK):
            ends = [end - start for end in self._ends[first : first + _BLOCK]]
            text = self._text[start : start + ends[-1]].tobytes()
            yield [text[low:high] for low, high in zip([0, *ends[:-1]], ends, strict=True)]
            start += ends[-1]

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks():
            yield from (raw.decode() for raw in block)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._raw(item).decode() for item in range(*row.indices(len(self)))]
        return self._raw(range(len(self))[row]).decode()

    def place(self, track_id: str) -> tuple[int, bool]:
        """Return how many ids are smaller, and whether the id itself is there."""
        wanted = track_id.encode("utf-8", "surrogatepass")  # not UTF-8: not there
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._raw(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low, low < len(self) and self._raw(low) == wanted

    def find(self, track_ids: Collection[str]) -> NDArray[np.intp]:
        """Rows of those ids that are there; ids that are not are passed over."""
        if len(track_ids) * _BISECTION < len(self):
            places = [self.place(track_id) for track_id in track_ids]
            return np.array([row for row, found in places if found], np.intp)
        wanted = {track_id.encode("utf-8", "surrogatepass") for track_id in track_ids}
        passed = [np.fromiter(map(wanted.__contains__, raw), np.bool_) for raw in self._blocks()]
        return np.flatnonzero(np.concatenate(passed)) if passed else np.zeros(0, np.intp)
