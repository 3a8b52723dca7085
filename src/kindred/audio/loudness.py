"""Loudness of a stream: integrated (gated) programme loudness, in LUFS.

Follows ITU-R BS.1770-5, annex 1, for one channel: K-weighting, mean square over 400 ms blocks that
overlap by 75 %, an absolute gate at -70 LUFS and a relative gate 10 LU under the loudness of what
passes the first. The weighting is applied to the spectrum of 100 ms pieces, a quarter of a block,
with the power response of the standard's own filters: for a level that is all one needs, it costs
a fourth of filtering in time, and it holds at any sample rate.

A mono mix counts as one channel. A stereo meter adds the powers of its channels and therefore shows
3 LU more for the same music on both sides; what lies over half the sample rate is not heard.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: The standard's two filters at 48 kHz: coefficients b and a of the shelf and of the high-pass.
_RATE = 48_000
_FILTERS = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285),
     (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)  # fmt: skip
#: LUFS of a mean square of 1 after the weighting.
_OFFSET = -0.691
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
#: Pieces a second, and in a block.
_PIECES, _BLOCK = 10, 4


class LoudnessMeter:
    """Measures the integrated loudness of a stream of mono samples, in memory for 100 ms of it.

    Parameters
    ----------
    sample_rate : int
        Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._size = round(sample_rate / _PIECES)
        self._gains = _gains(self._size, sample_rate)
        self._rest = np.zeros(0, np.float32)  # samples that do not fill a piece yet
        self._powers: list[NDArray[np.float32]] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """Take in the next samples, float32 [n], finite."""
        from scipy.fft import rfft

        samples = np.concatenate((self._rest, block))
        whole = len(samples) // self._size
        self._rest = samples[whole * self._size :].copy()
        if whole:
            weighted = rfft(samples[: whole * self._size].reshape(whole, self._size)) * self._gains
            # Not a matrix product: BLAS threads would fight with those of the encoder.
            parts = weighted.view(np.float32)
            self._powers.append(np.einsum("ij,ij->i", parts, parts))

    def loudness(self) -> float | None:
        """Integrated loudness so far, LUFS; None under 400 ms or when all is below the gate."""
        powers = np.concatenate((np.zeros(0, np.float32), *self._powers)).astype(np.float64)
        if len(powers) < _BLOCK:
            return None
        blocks = np.convolve(powers, np.full(_BLOCK, 1 / _BLOCK), "valid")
        blocks = blocks[blocks > _power(_ABSOLUTE_GATE)]
        if not len(blocks):
            return None
        blocks = blocks[blocks > blocks.mean() * 10 ** (_RELATIVE_GATE / 10)]
        return float(_OFFSET + 10 * np.log10(blocks.mean()))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


@lru_cache(maxsize=4)
def _gains(size: int, sample_rate: int) -> NDArray[np.float32]:
    """Factors after which a piece's bins, squared and summed, are its weighted mean square."""
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(size, 1 / sample_rate) / _RATE)
    gains = np.full(len(z), np.sqrt(2) / size)  # each bin but the outermost stands for two
    gains[0] = 1 / size
    if size % 2 == 0:
        gains[-1] = 1 / size
    for b, a in _FILTERS:
        gains *= np.abs(np.polyval(b[::-1], z) / np.polyval(a[::-1], z))
    return np.asarray(gains, np.float32)
