"""The waveform of a track, small enough to keep with it: one byte a column.

A stream's length is not known before it ends, so the meter keeps the largest magnitude of cells of
equal length and doubles that length whenever there are too many cells: memory stays bounded, and a
column's border is at most a sixteenth of a column off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class PeakMeter:
    """Measures the largest magnitude in each column of a stream of mono samples.

    Parameters
    ----------
    columns : int
        Columns of the waveform, equal shares of the whole stream.
    """

    def __init__(self, columns: int = 240) -> None:
        if columns < 1:
            raise ValueError(f"columns must be positive, got {columns}")
        self.columns = columns
        self._cell = 16  # samples in a cell
        self._cells = np.zeros(0, np.float32)
        self._rest = np.zeros(0, np.float32)  # magnitudes that do not fill a cell yet

    def add(self, block: NDArray[np.float32]) -> None:
        """Take in the next samples, float32 [n], finite."""
        self._rest = np.concatenate((self._rest, np.abs(block)))
        whole = self._rest.size // self._cell
        cells = self._rest[: whole * self._cell].reshape(whole, self._cell).max(axis=1)
        self._cells = np.concatenate((self._cells, cells))
        self._rest = self._rest[whole * self._cell :].copy()
        while self._cells.size > 32 * self.columns:
            if self._cells.size % 2:  # the odd one waits for its pair among the rest
                odd = np.full(self._cell, self._cells[-1])
                self._rest = np.concatenate((odd, self._rest))
            pairs = self._cells.size // 2
            self._cells = self._cells[: 2 * pairs].reshape(pairs, 2).max(axis=1)
            self._cell *= 2

    def peaks(self) -> bytes:
        """Return one unsigned byte a column; the track's own peak is 255, and silence all zeros."""
        cells = self._cells
        if self._rest.size:
            cells = np.append(cells, self._rest.max())
        peak = float(cells.max(initial=0.0))
        if peak <= 0.0:
            return bytes(self.columns)
        starts = np.arange(self.columns) * cells.size // self.columns
        columns = np.maximum.reduceat(cells, starts)
        return bytes(np.round(columns * (255.0 / peak)).astype(np.uint8))
