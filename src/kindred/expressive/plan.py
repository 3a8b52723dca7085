"""The plan: which works are in which split, and every clip that is rendered.

A plan is a function of its size and seed. Groups of works are dealt to train, validation and test
composer by composer, 60, 20 and 20 in a hundred; works of held-out composers are ``composers``.
Each work is played at levels drawn by Latin hypercube: all five of an aspect before any comes
again. Draws are made again until no two aspects correlate by more than :func:`correlation_bound`
over a split. What must not matter is drawn apart from the levels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS, LEVELS, TEXTURES, TRANSPOSITIONS, UNSEEN_PROGRAMS
from kindred.expressive.clips import SPLITS, Clip, Recipe
from kindred.expressive.works import Work, works

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROGRAMS = tuple(int(step) for step in ASPECTS[-1].steps)
EXCERPTS = 2
_DEAL = ("train", "test", "train", "validation", "train")
#: One in eight each plays with fewer parts.
_TEXTURE_WEIGHTS = (1, 1, 6)
_DRAWS = 10_000


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes
    ----------
    works : mapping of str to int
        Most works of each split.
    performances : int
        Of a work, in the factorial set.
    sweeps : int
        Most works of validation, and of test, that have a sweep.
    nuisances : mapping of str to int
        Most factorial clips of a split that come again with another nuisance.
    """

    works: Mapping[str, int]
    performances: int
    sweeps: int
    nuisances: Mapping[str, int]


SIZES = {
    "full": Size(dict.fromkeys(SPLITS, 1000), 12, 20, {"train": 100, "validation": 60, "test": 60}),
    "small": Size(
        {"train": 14, "validation": 5, "test": 6, "composers": 5},
        6,
        2,
        {"train": 20, "validation": 10, "test": 10},
    ),
    "tiny": Size(
        {"train": 4, "validation": 2, "test": 2, "composers": 2},
        4,
        1,
        {"train": 4, "validation": 2, "test": 2},
    ),
}


def make_plan(size: str, *, seed: int = 0, human: Path | None = None) -> tuple[Clip, ...]:
    """Plan every clip.

    Parameters
    ----------
    size : str
        One of :data:`SIZES`.
    seed : int
        Another seed gives other splits, levels and nuisances.
    human : Path, optional
        Folder of people's performances as MIDI files, which are added to the test.

    Returns
    -------
    tuple of Clip
        Set by set; no clip twice. The same arguments give the same plan.

    Raises
    ------
    ExpressiveError
        When there is no such size, or no performance in the folder can be used.
    """
    if size not in SIZES:
        raise ExpressiveError(f"There is no size {size!r}: take one of {', '.join(SIZES)}.")
    amount = SIZES[size]
    factorial: list[Clip] = []
    sweeps: list[Clip] = []
    for split, chosen in split_works(seed).items():
        chosen = chosen[: amount.works[split]]
        factorial += _factorial(chosen, split, amount.performances, seed)
        if split in {"validation", "test"}:
            for work in chosen[: amount.sweeps]:
                sweeps += _sweep(work, split, seed)
    tested = [clip for clip in factorial if clip.split == "test"]
    clips = [
        *factorial,
        *sweeps,
        *_nuisances(factorial, amount.nuisances, seed),
        *(_again(clip, "soundfont", soundfont="second") for clip in tested),
        *(_again(clip, "programs", programs=UNSEEN_PROGRAMS) for clip in tested),
    ]
    if human is not None:
        from kindred.expressive.human import read_performances

        clips += read_performances(human)
    if len({clip.clip_id for clip in clips}) < len(clips):
        raise ExpressiveError(f"Two clips of plan {size!r} with seed {seed} are the same.")
    return tuple(clips)


def split_works(seed: int) -> dict[str, list[Work]]:
    """The works of every split, in an order that the seed decides; groups stay together."""
    groups: dict[str, list[Work]] = {}
    for work in works():
        groups.setdefault(work.group, []).append(work)
    splits: dict[str, list[Work]] = {split: [] for split in SPLITS}
    dealt = sorted(
        (group for group in groups.values() if not group[0].held_out),
        key=lambda group: (group[0].composer, _order(seed, group[0].group)),
    )
    for number, group in enumerate(dealt):
        splits[_DEAL[number % len(_DEAL)]] += group
    splits["composers"] = [work for work in works() if work.held_out]
    for found in splits.values():
        found.sort(key=lambda work: _order(seed, work.work))
    return splits


def correlation_bound(performances: int) -> float:
    """How far two aspects may correlate over so many performances: 0.1, and more only for few."""
    return max(0.1, 1.5 / math.sqrt(performances))


def correlations(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pearson's r of each two aspects: levels [n, aspects] -> float64 [pairs]."""
    import numpy as np

    matrix = np.corrcoef(levels, rowvar=False)
    return matrix[np.triu_indices(len(matrix), 1)]


def _order(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _factorial(chosen: Sequence[Work], split: str, performances: int, seed: int) -> Iterator[Clip]:
    levels = _levels(len(chosen), performances, Random(f"{seed}/levels/{split}"))
    for number, row in enumerate(levels):
        work = chosen[number // performances]
        which = number % performances
        chance = Random(f"{seed}/{work.work}/{which}")
        recipe = replace(
            _drawn(work, row, chance),
            transpose=chance.choice(TRANSPOSITIONS),
            texture=chance.choices(TEXTURES, _TEXTURE_WEIGHTS)[0],
        )
        for excerpt in range(EXCERPTS):
            # Excerpts are played alike; where they begin in a phrase and their sound differ.
            varied = replace(_drawn(work, row, chance), gain_db=recipe.gain_db)
            yield _clip(
                "factorial",
                split,
                work,
                f"{work.work}:{which}",
                replace(
                    recipe,
                    excerpt=excerpt,
                    phase=varied.phase,
                    offset_ms=varied.offset_ms,
                    tilt_db=varied.tilt_db,
                ),
            )


def _sweep(work: Work, split: str, seed: int) -> Iterator[Clip]:
    """A base clip, and one clip for each step away from it in one aspect or control."""
    chance = Random(f"{seed}/{work.work}/sweep")
    levels = tuple(chance.randrange(LEVELS) for _ in ASPECTS)
    recipe = _drawn(work, levels, chance)
    base = _clip("sweep", split, work, f"{work.work}:sweep", recipe)
    yield base

    def varied(name: str, value: object, other: Recipe) -> Clip:
        performance = f"{base.performance}:{name}:{value}"
        return replace(
            _clip("sweep", split, work, performance, other), base=base.clip_id, varies=name
        )

    for index, aspect in enumerate(ASPECTS):
        for level in set(range(LEVELS)) - {levels[index]}:
            moved = (*levels[:index], level, *levels[index + 1 :])
            yield varied(aspect.key, level, replace(recipe, levels=moved))
    for semitones in TRANSPOSITIONS:
        if semitones != recipe.transpose:
            yield varied("transpose", semitones, replace(recipe, transpose=semitones))
    for texture in TEXTURES:
        if texture != recipe.texture:
            yield varied("texture", texture, replace(recipe, texture=texture))


def _nuisances(clips: Sequence[Clip], amounts: Mapping[str, int], seed: int) -> Iterator[Clip]:
    for split, amount in amounts.items():
        found = [clip for clip in clips if clip.split == split]
        chance = Random(f"{seed}/nuisance/{split}")
        for clip in chance.sample(found, min(amount, len(found))):
            gain, offset, tilt = _nuisance(chance)
            other = _again(clip, "nuisance", gain_db=gain, offset_ms=offset, tilt_db=tilt)
            yield replace(other, base=clip.clip_id, varies="nuisance")


def _again(clip: Clip, name: str, **changes: object) -> Clip:
    """The clip with something in its recipe changed, as a clip of another set."""
    recipe = replace(clip.recipe, **changes)  # type: ignore[arg-type]
    return replace(
        clip,
        clip_id=recipe.digest,
        set=name,
        performance=f"{clip.performance}:{name}",
        recipe=recipe,
    )


def _clip(name: str, split: str, work: Work, performance: str, recipe: Recipe) -> Clip:
    return Clip(
        clip_id=recipe.digest,
        set=name,
        split=split,
        work=work.work,
        group=work.group,
        composer=work.composer,
        performance=performance,
        levels=recipe.levels,
        recipe=recipe,
    )


def _drawn(work: Work, levels: tuple[int, ...], chance: Random) -> Recipe:
    """A recipe whose phase, nuisance and seed are drawn."""
    gain, offset, tilt = _nuisance(chance)
    return Recipe(
        source=work.source,
        excerpt=0,
        levels=levels,
        programs=PROGRAMS,
        phase=round(chance.random(), 4),
        gain_db=gain,
        offset_ms=offset,
        tilt_db=tilt,
        seed=chance.getrandbits(31),
    )


def _nuisance(chance: Random) -> tuple[float, float, float]:
    """Gain in dB, offset in milliseconds, tilt in dB an octave."""
    return (
        round(chance.uniform(-6, 6), 2),
        round(chance.uniform(0, 250), 1),
        round(chance.uniform(-1.5, 1.5), 2),
    )


def _levels(count: int, performances: int, chance: Random) -> list[tuple[int, ...]]:
    """Levels of every performance of ``count`` works, work after work."""
    import numpy as np

    bound = correlation_bound(count * performances)
    for _ in range(_DRAWS):
        drawn = np.array(
            [
                [level for _ in range(count) for level in _hypercube(performances, chance)]
                for _ in ASPECTS
            ]
        ).T
        if np.abs(correlations(drawn)).max() < bound:
            return [tuple(map(int, row)) for row in drawn]
    raise ExpressiveError(
        f"No levels for {count} works were found of which no two aspects correlate by {bound:.2f}."
    )


def _hypercube(performances: int, chance: Random) -> list[int]:
    """One aspect's levels over a work's performances: all five, in some order, again and again."""
    levels: list[int] = []
    while len(levels) < performances:
        levels += chance.sample(range(LEVELS), LEVELS)
    return levels[:performances]
