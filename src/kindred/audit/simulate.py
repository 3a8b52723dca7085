"""Made-up studies and listeners whose truth is known, to check the analysis against.

Every candidate has a closeness: its system's strength plus its own deviation. A listener hears it
with a taste of their own for each system, a bias towards the clip shown first, and new noise at
each answer; a difference below ``tie`` is "equal", one above ``much`` is "much closer". All of them
are normal, so what a population of such listeners would answer is known exactly
(:func:`frequencies`).

Spammers: ``"random"`` takes a side at random, ``"middle"`` always answers in the middle,
``"first"`` always takes the first one, ``"fast"`` is random before having listened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kindred.audit.judgement import Judgement
from kindred.audit.plan import Trial
from kindred.audit.study import Candidate, Clip, Design, Item, Placed, Study

Floats = NDArray[np.float64]
Kind = Literal["honest", "random", "middle", "first", "fast"]
#: How much closer the expected candidate of a catch trial is (the odd one: farther).
GAP = 6.0


@dataclass(frozen=True)
class Truth:
    """What is true of systems and listeners, in units of closeness.

    Attributes
    ----------
    strengths : mapping of str to float
        System -> mean closeness of its candidates.
    candidate, taste, noise, side : float
        Standard deviations: of a candidate around its system, of a listener's liking of a system,
        of one answer about one clip, and of a listener's bias towards the clip shown first.
    first : float
        Mean of that bias.
    tie, much : float
        Least difference that is heard, and that is much.
    lapse : float
        Share of answers given at random.
    score_noise : float
        Standard deviation of a system's score around the closeness of its candidate.
    """

    strengths: Mapping[str, float]
    candidate: float = 0.5
    taste: float = 0.3
    noise: float = 0.7
    side: float = 0.1
    first: float = 0.1
    tie: float = 0.4
    much: float = 1.4
    lapse: float = 0.02
    score_noise: float = 0.5


@dataclass(frozen=True)
class World:
    """A study with the closeness of every candidate, item id -> float64 [candidates]."""

    study: Study
    closeness: Mapping[str, Floats]
    truth: Truth


def make_world(design: Design, truth: Truth, *, items: int, seed: int) -> World:
    """A study of ``items`` real items, one a query, in which each system appears equally often.

    Worlds of other seeds have the same items and systems, so a plan for one is one for all.
    ``ab`` compares all pairs in turn, ``graded`` shows five candidates of the systems in turn,
    ``odd`` the query, which is close, and a candidate of each of two systems.
    """
    rng = np.random.default_rng(seed)
    kinds = ["real"] * items + ["catch"] * design.catches + ["practice"] * design.practice
    pairs = list(combinations(design.systems, 2))
    made, closeness = [], {}
    for number, kind in enumerate(kinds):
        owners = _owners(design, pairs, number)
        if kind == "real":
            expected = None
            close = np.array([_strength(truth, names) for names in owners])
            close += truth.candidate * rng.standard_normal(len(owners))
        else:
            owners, expected = ((),) * len(owners), number % len(owners)
            close = np.zeros(len(owners))
            close[expected] = -GAP if design.form == "odd" else GAP
        item_id = f"{kind}-{number:05d}"
        closeness[item_id] = close
        scores = close + truth.score_noise * rng.standard_normal(len(owners))
        made.append(
            Item(
                item_id,
                kind,  # type: ignore[arg-type]
                f"composer {number % 5}",
                None if design.form == "odd" else Clip(f"query-{number}", 0.0, design.clip_seconds),
                tuple(
                    Candidate(
                        Clip(f"track-{number}-{at}", 0.0, design.clip_seconds),
                        {
                            name: Placed(1 + sum(name in before for before in owners[:at]), score)
                            for name in names
                        },
                    )
                    for at, (names, score) in enumerate(zip(owners, scores.tolist(), strict=True))
                ),
                expected,
            )
        )
    return World(Study(f"study-{seed}", design, tuple(made), "open"), closeness, truth)


def answers(
    world: World, plans: Sequence[Sequence[Trial]], *, kinds: Sequence[Kind] = (), seed: int
) -> list[Judgement]:
    """What one listener after the other answers to their plan.

    Parameters
    ----------
    world : World
    plans : sequence of sequence of Trial
        One sitting a listener.
    kinds : sequence of str
        What each listener is; honest where it ends.
    seed : int
    """
    rng = np.random.default_rng(seed)
    design, truth = world.study.design, world.truth
    design_hash = world.study.design_hash
    items = {item.item_id: item for item in world.study.items}
    found = []
    for number, plan in enumerate(plans):
        kind: Kind = kinds[number] if number < len(kinds) else "honest"
        taste = {name: truth.taste * rng.standard_normal() for name in design.systems}
        side = truth.first + truth.side * rng.standard_normal()
        for trial in plan:
            liking = [
                sum(taste[name] for name in candidate.systems)
                for candidate in items[trial.item_id].candidates
            ]
            close = world.closeness[trial.item_id] + np.array(liking)
            heard = close[list(trial.order)] + truth.noise * rng.standard_normal(len(close))
            found.append(
                Judgement(
                    judgement_id=f"{number}-{trial.position}",
                    study_id=world.study.study_id,
                    design_hash=design_hash,
                    sitting_id=f"sitting-{number:04d}",
                    listener_id=f"listener-{number:04d}",
                    item_id=trial.item_id,
                    kind=trial.kind,
                    position=trial.position,
                    order=trial.order,
                    answer=_answer(world, kind, heard, side, rng),
                    deciding_seconds=0.1 if kind == "fast" else float(rng.gamma(4, 0.6) + 0.4),
                )
            )
    return found


def frequencies(truth: Truth, one: str, other: str, *, first: int) -> Floats:
    """Shares of the five answers -2 (``one`` is much closer) .. 2 in the population, float64 [5].

    ``first`` says which of the two is shown first, 0 or 1.
    """
    from scipy.stats import norm

    spread = np.sqrt(2 * (truth.candidate**2 + truth.taste**2 + truth.noise**2) + truth.side**2)
    middle = (
        truth.strengths[other] - truth.strengths[one] + (truth.first if first else -truth.first)
    )
    cuts = np.array([-truth.much, -truth.tie, truth.tie, truth.much])
    below = np.concatenate([[0], norm.cdf((cuts - middle) / spread), [1]])
    return np.asarray((1 - truth.lapse) * np.diff(below) + truth.lapse / 5)


def _owners(
    design: Design, pairs: list[tuple[str, str]], number: int
) -> tuple[tuple[str, ...], ...]:
    """The systems behind each candidate of an item."""
    if design.form == "graded":
        names = design.systems
        return tuple((names[(number + at) % len(names)],) for at in range(5))
    one, other = pairs[number % len(pairs)]
    return ((one,), (other,)) if design.form == "ab" else ((one, other), (one,), (other,))


def _strength(truth: Truth, names: tuple[str, ...]) -> float:
    """Mean closeness of what one system answered with, or of a query, which two hold close."""
    return truth.strengths[names[0]] if len(names) == 1 else GAP


def _answer(
    world: World, kind: Kind, heard: Floats, side: float, rng: np.random.Generator
) -> dict[str, Any]:
    """An answer as shown, to the closeness heard in the order shown."""
    truth, form, count = world.truth, world.study.design.form, len(heard)
    blind = kind in {"random", "fast"}
    lapse = kind == "honest" and rng.random() < truth.lapse
    if form == "ab":
        if kind in {"middle", "first"}:
            return {"point": 0 if kind == "middle" else -1}
        if blind:
            return {"point": int(rng.choice([-2, -1, 1, 2]))}
        if lapse:
            return {"point": int(rng.integers(-2, 3))}
        gap = heard[1] - heard[0] - side
        size = int(abs(gap) > truth.tie) + int(abs(gap) > truth.much)
        return {"point": int(np.sign(gap)) * size}
    if form == "odd":
        if kind in {"middle", "first"}:
            return {"odd": 0 if kind == "first" else 1}
        return {"odd": int(rng.integers(3)) if blind or lapse else int(heard.argmin())}
    if blind or lapse:
        heard = 2 * rng.standard_normal(count)
    broad, fine = np.digitize(heard, [-0.5, 1.0]), np.rint(100 / (1 + np.exp(-heard)))
    if kind == "middle":
        broad, fine = np.full(count, 1), np.full(count, 50)
    if kind == "first":
        broad, fine = 2 * (np.arange(count) == 0), 100 * (np.arange(count) == 0)
    return {"broad": [int(value) for value in broad], "fine": [int(value) for value in fine]}
