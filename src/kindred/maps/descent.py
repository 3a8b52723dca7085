"""One epoch of UMAP's gradient descent, compiled.

umap-learn's own epochs cannot be stopped between two of them, and run on one core when they are to
give the same map again. Here the forces on every track are summed from where all were before the
epoch, so that any number of threads gives the same bytes. McInnes, Healy and Melville, "UMAP:
Uniform Manifold Approximation and Projection for Dimension Reduction", 2018, section 4.2.
"""

from __future__ import annotations

import numba
import numpy as np

#: Tracks that each attraction is balanced by, drawn at random; umap-learn's default.
_REPELLED = 5


@numba.njit(nogil=True, cache=True, fastmath=True)
def move(  # type: ignore[no-untyped-def]
    before, after, ends, tails, strengths, a, b, rate, epoch, seed, start, stop
):
    """Write where tracks ``start`` to ``stop`` go in an epoch from ``before`` to ``after``.

    Parameters
    ----------
    before, after : float32 [n, dims]
    ends, tails, strengths : int64 [n + 1], int32 [edges], float32 [edges]
        The graph as a compressed sparse matrix, each edge in both directions; the strongest is 1
        and pulls in each epoch, one of .5 in every other.
    a, b, rate : float32
        The curve of distances on the map, 1 / (1 + a d^2b), and the learning rate.
    epoch, seed : int
    """
    n, dims = before.shape
    force = np.zeros(dims, np.float32)
    for i in range(start, stop):
        state = (
            np.uint64(seed + 1) * np.uint64(0xBF58476D1CE4E5B9)
            ^ np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)
            ^ np.uint64(epoch + 1) * np.uint64(0xD1B54A32D192ED03)
        )
        force[:] = 0
        for edge in range(ends[i], ends[i + 1]):
            if int((epoch + 1) * strengths[edge]) == int(epoch * strengths[edge]):
                continue
            j = tails[edge]
            square = np.float32(0)
            for d in range(dims):
                square += (before[i, d] - before[j, d]) ** 2
            if square > 0:
                power = square**b
                pull = np.float32(2) * a * b * power / (square * (a * power + np.float32(1)))
                for d in range(dims):
                    step = _clip(pull * (before[j, d] - before[i, d]))
                    force[d] += np.float32(2) * step  # each edge pulls from both ends
            for _ in range(_REPELLED):
                state ^= state >> np.uint64(12)  # xorshift64*
                state ^= state << np.uint64(25)
                state ^= state >> np.uint64(27)
                drawn = (state * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(33)
                j = np.int64(drawn % np.uint64(n))
                square = np.float32(0)
                for d in range(dims):
                    square += (before[i, d] - before[j, d]) ** 2
                if square > 0:
                    push = np.float32(2) * b
                    push /= (np.float32(0.001) + square) * (a * square**b + np.float32(1))
                    for d in range(dims):
                        force[d] += _clip(push * (before[i, d] - before[j, d]))
        for d in range(dims):
            after[i, d] = before[i, d] + rate * force[d]


@numba.njit(nogil=True, cache=True)
def _clip(step):  # type: ignore[no-untyped-def]
    return min(max(step, np.float32(-4)), np.float32(4))
