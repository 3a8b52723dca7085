"""A world whose truth is known: features that hold the levels, and scorers right and wrong.

Layer 0 holds the five levels, layer 1 what a work is alike in and the gain. Nothing is rendered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.expressive.aspects import ASPECTS, KEYS, UNSEEN_PROGRAMS
from kindred.expressive.baselines import fit_baselines
from kindred.expressive.clips import Clip, Recipe
from kindred.expressive.measuring import Judged
from kindred.expressive.scoring import Floats, Scorer

PROGRAMS = tuple(int(step) for step in ASPECTS[-1].steps)
WORKS = ("train",) * 6 + ("validation",) * 4 + ("test",) * 4 + ("composers",) * 3
TAKES = 20
GAIN = 6  # its place in layer 1


def clip(work: int, take: int, levels: tuple[int, ...], **more: Any) -> Clip:
    """A clip of a work that is its own group; two clips are a performance."""
    split = WORKS[work] if work < len(WORKS) else "test"
    of_recipe = {
        name: more.pop(name)
        for name in ("programs", "soundfont", "gain_db", "transpose", "texture")
        if name in more
    }
    recipe = Recipe(
        **{"source": f"score {work}", "excerpt": take % 2, "levels": levels, "seed": take}
        | {"programs": PROGRAMS}
        | of_recipe
    )
    made = Clip(
        recipe.digest,
        "factorial",
        split,
        f"work {work}",
        f"group {work}",
        f"composer {work if split == 'composers' else 'of all'}",
        f"performance {work} {take // 2}",
        levels,
        recipe,
    )
    return replace(made, **more)


@cache
def _clips(seed: int) -> tuple[Clip, ...]:
    rng = np.random.default_rng(seed)
    clips: list[Clip] = []
    for work, split in enumerate(WORKS):
        columns = [rng.permutation(np.arange(TAKES // 2) % 5) for _ in ASPECTS]
        for take in range(TAKES):
            levels = tuple(int(column[take // 2]) for column in columns)
            base = clip(work, take, levels)
            clips.append(base)
            if split == "train":
                continue
            own = {"base": base.clip_id, "performance": f"{base.performance} moved {take}"}
            gain = clip(work, take, levels, gain_db=3.0, set="nuisance", varies="gain_db", **own)
            clips.append(gain)
            if split == "test":
                second = base.performance + " again"
                clips += [
                    clip(
                        work, take, levels, soundfont="second", set="soundfont", performance=second
                    ),
                    clip(
                        work,
                        take,
                        levels,
                        programs=UNSEEN_PROGRAMS,
                        set="programs",
                        performance=second + " and again",
                    ),
                ]
            if take == 0:
                own["performance"] = f"{base.performance} swept"
                clips += _swept(work, levels, own)
    return tuple(clips)


def clips_of_world(seed: int = 0) -> list[Clip]:
    """Ten performances of two clips a work, and of test works all the other sets."""
    return list(_clips(seed))


def _swept(work: int, levels: tuple[int, ...], own: dict[str, str]) -> list[Clip]:
    found = [
        clip(work, 0, levels, transpose=4, set="sweep", varies="transpose", **own),
        clip(work, 0, levels, texture=0.5, set="sweep", varies="texture", **own),
    ]
    for aspect, key in enumerate(KEYS):
        for level in set(range(5)) - {levels[aspect]}:
            moved = (*levels[:aspect], level, *levels[aspect + 1 :])
            found.append(clip(work, 0, moved, set="sweep", varies=key, **own))
    return found


def features_of(clips: list[Clip], seed: int = 0, noise: float = 0.0) -> Floats:
    """float32 [n, 4, 2, 8]."""
    rng = np.random.default_rng(seed)
    identity = {work: rng.normal(size=6) * 5 for work in sorted({one.work for one in clips})}
    made = rng.normal(size=(len(clips), 4, 2, 8)) * 0.01
    for row, one in enumerate(clips):
        made[row, :, 0, :5] += np.array(one.levels) + rng.normal(size=5) * noise
        made[row, :, 1, :6] += identity[one.work]
        made[row, :, 1, GAIN] = one.recipe.gain_db
    return made.astype(np.float32)


def proxies_of(clips: list[Clip], seed: int = 0) -> Floats:
    """Proxies that follow levels, and loudness, seconds and centroid that follow nothing."""
    rng = np.random.default_rng(seed)
    levels = np.array([one.levels for one in clips])
    aside = rng.normal(size=(len(clips), 3))
    return np.hstack([levels + rng.normal(size=levels.shape), aside]).astype(np.float32)


@dataclass
class Reader:
    """Reads levels out of layer 0; right unless ``spoil`` [n, aspects] -> [n, aspects] is given."""

    name: str = "perfect"
    spoil: Callable[[NDArray, Floats], NDArray] | None = None

    def represent(self, features: Floats) -> Floats:
        levels = features.mean(axis=1)[:, 0, :5].round(3)
        return levels if self.spoil is None else self.spoil(levels, features)

    def compare(self, one: Floats, other: Floats) -> Floats:
        apart = abs(one.T[:, :, None] - other.T[:, None, :])
        apart[4] = np.minimum(apart[4], 1)
        return np.asarray(-apart.round(1), np.float32)


def untrained(seed: int = 0) -> Reader:
    """A head of drawn weights."""
    drawn = np.random.default_rng(seed).normal(size=(4 * 2 * 8, 5))
    return Reader("untrained", lambda _, features: features.reshape(len(features), -1) @ drawn)


def trained_on_shuffled_levels(clips: list[Clip], features: Floats, seed: int = 0) -> Reader:
    """Least squares on features of training clips, whose levels were shuffled."""
    train = [row for row, one in enumerate(clips) if (one.split, one.set) == ("train", "factorial")]
    levels = np.array([clips[row].levels for row in train], float)
    shuffled = np.random.default_rng(seed).permutation(levels)
    flat = features[train].mean(axis=1).reshape(len(train), -1)
    fit = np.linalg.lstsq(np.c_[flat, np.ones(len(flat))], shuffled, rcond=None)[0]
    return Reader(
        "shuffled levels",
        lambda _, of: np.c_[of.mean(axis=1).reshape(len(of), -1), np.ones(len(of))] @ fit,
    )


def world(retriever: Scorer | None = None, **changed: Any) -> Judged:
    """All that is judged, of which every needed gate passes unless something is changed."""
    clips = changed.pop("clips", None) or clips_of_world()
    features = changed.pop("features", features_of(clips))
    proxies = changed.pop("proxies", proxies_of(clips))
    train = [row for row, one in enumerate(clips) if (one.split, one.set) == ("train", "factorial")]
    baselines = fit_baselines([clips[row] for row in train], features[train], proxies[train])
    made = Judged(
        dataset="dataset",
        feature_id="features",
        model="model",
        clips=tuple(clips),
        features=features,
        proxies=proxies,
        contenders={one.name: (one,) for one in baselines if one.name in ("cosine", "discovery")}
        | {"oracle": (Reader(),), "distilled": (retriever or Reader(),)},
        placebos={
            "untrained": untrained(),
            "shuffled levels": trained_on_shuffled_levels(clips, features),
        },
    )
    return replace(made, **changed)


def only(judged: Judged, sets: tuple[str, ...], splits: tuple[str, ...]) -> Judged:
    """The same with the clips of some sets and splits."""
    kept = [
        row
        for row, one in enumerate(judged.clips)
        if one.set in ("factorial", *sets) and one.split in ("train", "test", *splits)
    ]
    return replace(
        judged,
        clips=tuple(judged.clips[row] for row in kept),
        features=judged.features[kept],
        proxies=judged.proxies[kept],
    )
