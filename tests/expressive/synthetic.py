"""Features in which every aspect is planted, so that what a scorer should find is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from kindred.expressive.training_set import TrainingSet, training_set

SEGMENTS, LAYERS, DIMS = 12, 4, 6
WORKS, TAKES = 16, 10


def levels_of(works: int = WORKS, takes: int = TAKES, seed: int = 0) -> np.ndarray:
    """A Latin hypercube a work: int8 [works * takes, 5]."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [np.stack([rng.permutation(takes) % 5 for _ in range(5)], 1) for _ in range(works)]
    ).astype(np.int8)


def features_of(levels: np.ndarray, works: np.ndarray, seed: int = 0) -> np.ndarray:
    """Float32 [n, segments, layers, dims].

    Tempo is a mean of layer 0, dynamics a deviation of layer 1, timbre a pattern there,
    articulation a mean of layer 2; phrasing is nothing but the order of the segments of layer 3.
    Every work has a mean of its own, and everything is noisy.
    """
    rng = np.random.default_rng(seed)
    n = len(levels)
    x = 0.3 * rng.normal(size=(n, SEGMENTS, LAYERS, DIMS))
    own = np.random.default_rng(99).normal(size=(works.max() + 1, LAYERS, DIMS))
    x += 0.3 * own[works][:, None]
    x[:, :, 0] += 0.8 * levels[:, 0, None, None]
    x[:, :, 1] += np.sin(np.arange(SEGMENTS))[None, :, None] * levels[:, 2, None, None]
    x[:, :, 1] += 3 * np.random.default_rng(98).normal(size=(5, 1, DIMS))[levels[:, 4]]
    x[:, :, 2] += 0.8 * levels[:, 3, None, None]
    ramp = np.linspace(-2, 2, SEGMENTS)
    for i in range(n):  # the more phrasing, the more segments change places
        order = np.arange(SEGMENTS)
        moved = rng.choice(SEGMENTS, 3 * levels[i, 1], replace=False)
        order[np.sort(moved)] = moved
        x[i, :, 3] += ramp[order][:, None]
    return x.astype(np.float32)


def clips(seed: int = 0, **changed: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Features and what :func:`training_set` takes besides: 12 works to train, 4 to validate.

    The last clips are variants of the first 20, in noise only.
    """
    levels = levels_of(seed=seed)
    works = np.repeat(np.arange(WORKS), TAKES)
    x = features_of(levels, works, seed)
    rng = np.random.default_rng(seed + 1)
    x = np.concatenate([x, x[:20] + 0.1 * rng.normal(size=x[:20].shape).astype(np.float32)])
    works, levels = np.concatenate([works, works[:20]]), np.concatenate([levels, levels[:20]])
    given: dict[str, Any] = {
        "levels": levels,
        "works": works,
        "groups": works,
        "splits": (works >= 12).astype(int),
        "variant_of": np.concatenate([np.full(WORKS * TAKES, -1), np.arange(20)]),
        "feature_id": "planted",
        "version": "one",
    }
    return x, given | changed


def made(seed: int = 0, **changed: Any) -> TrainingSet:
    """A training set of :func:`clips`."""
    x, given = clips(seed, **changed)
    return training_set(x, kept=24, **given)


def new_works(seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, levels and works that nothing was trained on; four works."""
    levels = levels_of(4, TAKES, seed)
    works = np.repeat(np.arange(4), TAKES)
    return features_of(levels, works, seed), levels, works
