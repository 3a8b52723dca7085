"""All that the gates look at, measured the same way on validation and on test.

Numbers are plain values by gate and name; ``None`` is what there is no data for. What is gated is
one model of the retriever's seeds, the best on validation; the others' figures stand beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.audit.study import Clip as Segment
from kindred.errors import ExpressiveError
from kindred.evaluation.statistics import DRAWS
from kindred.expressive import checks
from kindred.expressive.agreement import agreement
from kindred.expressive.aspects import KEYS
from kindred.expressive.baselines import Descriptors
from kindred.expressive.clips import TESTS, Clip
from kindred.expressive.human_labels import HumanItems
from kindred.expressive.ranking import Ranking, Table, compare, intervals, rank, represent
from kindred.expressive.scoring import Floats, Scorer
from kindred.expressive.shortcuts import Shortcut
from kindred.expressive.splits import check_disjoint
from kindred.work import Progress

Rows = NDArray[np.intp]
Numbers = dict[str, dict[str, Any]]

#: Baselines that the retriever must beat, by their names.
BEATEN = ("cosine", "discovery")


@dataclass(frozen=True)
class Judged:
    """What the gates judge.

    Attributes
    ----------
    dataset, feature_id, model : str
        Versions of the labels, of the features and of the trained models; thresholds hold for them.
    clips : tuple of Clip
        Of all sets and splits, n.
    features : float16 or float32 [n, segments, layers, dims]
    proxies : float32 [n, 8]
    contenders : mapping of str to sequence of Scorer
        All that is compared: a scorer a seed for what was trained, one for a baseline. Those of
        :data:`BEATEN`, ``retriever`` and ``oracle`` must be there.
    placebos : mapping of str to Scorer
        Trained on shuffled levels, or not at all; permuted aspects are added.
    retriever, oracle : str
        The contender that is to be released, and its teacher.
    people : HumanItems, optional
        Judgements; those of the test split are used.
    heard : mapping of Segment to float32 [segments, layers, dims]
        Features of what people heard.
    """

    dataset: str
    feature_id: str
    model: str
    clips: tuple[Clip, ...]
    features: Floats
    proxies: Floats
    contenders: Mapping[str, Sequence[Scorer]]
    placebos: Mapping[str, Scorer]
    retriever: str = "distilled"
    oracle: str = "oracle"
    people: HumanItems | None = None
    heard: Mapping[Segment, Floats] = field(default_factory=dict)

    def rows(self, set_: str, split: str) -> Rows:
        """Places of the clips of a set and split."""
        return np.flatnonzero([(clip.set, clip.split) == (set_, split) for clip in self.clips])

    def of(self, rows: Rows) -> list[Clip]:
        """Clips at these places."""
        return [self.clips[row] for row in rows]

    def seen(self, scorer: Scorer, rows: Rows) -> Floats:
        """What a scorer represents of clips: features, or proxies."""
        values = self.proxies if isinstance(scorer, Descriptors | Shortcut) else self.features
        return represent(scorer, values[rows])


class Permuted:
    """A placebo: a scorer whose aspects have each other's names."""

    name = "permuted aspects"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def represent(self, features: Floats) -> Floats:
        """As the scorer does."""
        return self.scorer.represent(features)

    def compare(self, one: Floats, other: Floats) -> Floats:
        """The scorer's, each as the next aspect."""
        return np.roll(self.scorer.compare(one, other), 1, axis=0)


@dataclass(frozen=True)
class Measured:
    """What was found in a split.

    Attributes
    ----------
    split : str
    released : int
        Which of the retriever's seeds was judged, from 0.
    numbers : dict
        Gate -> name -> value.
    tables : dict
        Test -> contender -> estimates; see :func:`kindred.expressive.ranking.intervals`.
    """

    split: str
    released: int
    numbers: Numbers
    tables: dict[str, dict[str, Table]]


def measure(
    judged: Judged,
    split: str,
    *,
    released: int | None = None,
    draws: int = DRAWS,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Measured:
    """Measure "validation" or "test" (which has the hard tests with it).

    Parameters
    ----------
    judged : Judged
    split : str
    released : int, optional
        Which seed of the retriever is judged; without it the best one here.
    draws : int
        Of works, for intervals.
    progress, cancelled : callable, optional

    Raises
    ------
    ExpressiveError
        When a contender is missing, the split has no clips, or it was cancelled.
    """
    wanted = (judged.retriever, judged.oracle, *BEATEN)
    if missing := [name for name in wanted if not judged.contenders.get(name)]:
        raise ExpressiveError(f"Nothing can be judged without {', '.join(missing)}.")
    tests = {name: rows for name, rows in _tests(judged, split) if len(rows)}
    if "works" not in tests:
        raise ExpressiveError(f"There are no clips of {split} to judge on. Render them first.")
    rankings: dict[str, dict[str, list[Ranking]]] = {}
    steps = [(test, name) for test in tests for name in judged.contenders]
    for step, (test, name) in enumerate(steps):
        if cancelled():
            raise ExpressiveError("Judging was cancelled.")
        if progress:
            progress(step, len(steps) + 1, f"{name} on {test}")
        rankings.setdefault(test, {})[name] = [
            _ranked(judged, scorer, tests[test]) for scorer in judged.contenders[name]
        ]
    works = rankings["works"]
    if released is None:
        released = int(np.argmax([one.macro() for one in works[judged.retriever]]))
    scorer = judged.contenders[judged.retriever][released]
    if progress:
        progress(len(steps), len(steps) + 1, "gates")
    at = tests["works"]
    scores = _scores(judged, scorer, at)
    numbers: Numbers = {"splits": _splits(judged)}
    for test, of in rankings.items():
        numbers[f"ranking-{test}"] = _ranking(judged, of, released, draws)
    numbers["faithfulness"] = _faithfulness(scores, judged.of(at))
    numbers |= _moved(judged, scorer, split, scores, at)
    numbers["placebos"] = _placebos(judged, scorer, at)
    numbers["invariance"] = _invariance(judged, scorer, split, at)
    numbers["shortcuts"] = _shortcuts(judged, at)
    best = max(one.macro() for one in works[judged.oracle])
    ours = works[judged.retriever][released].macro()
    numbers["student"] = {"ratio": ours / best if best else None, "retriever": ours, "oracle": best}
    numbers["people"] = _people(judged, scorer, draws) if split == "test" else {"low": None}
    if progress:
        progress(len(steps) + 1, len(steps) + 1, "judged")
    tables = {
        test: {name: intervals(seeds, draws=draws) for name, seeds in of.items()}
        for test, of in rankings.items()
    }
    return Measured(split, released, numbers, tables)


def _tests(judged: Judged, split: str) -> Iterator[tuple[str, Rows]]:
    if split == "test":
        for name, set_, of in TESTS:
            yield name, judged.rows(set_, of)
    else:
        yield "works", judged.rows("factorial", split)


def _scores(judged: Judged, scorer: Scorer, rows: Rows, gallery: Rows | None = None) -> Floats:
    one = judged.seen(scorer, rows)
    return scorer.compare(one, one if gallery is None else judged.seen(scorer, gallery))


def _ranked(judged: Judged, scorer: Scorer, rows: Rows, gallery: Rows | None = None) -> Ranking:
    candidates = None if gallery is None else judged.of(gallery)
    scores = _scores(judged, scorer, rows, gallery)
    return rank(scores, judged.of(rows), candidates, name=scorer.name)


def _splits(judged: Judged) -> dict[str, Any]:
    try:
        check_disjoint(judged.clips)
    except ExpressiveError as error:
        return {"shared": 1, "words": str(error)}
    return {"shared": 0, "words": "No group, work, score or composer is in two splits."}


def _ranking(
    judged: Judged, of: Mapping[str, Sequence[Ranking]], released: int, draws: int
) -> dict[str, Any]:
    seeds = of[judged.retriever]
    one = seeds[released]
    numbers: dict[str, Any] = {
        "ndcg": one.macro(),
        "recall": one.macro("recall"),
        "mrr": one.macro("mrr"),
        "track_ndcg": one.macro(view="tracks"),
        "aspects": dict(zip(KEYS, one.aspects().tolist(), strict=True)),
        "seeds": [each.macro() for each in seeds],
    }
    for name in BEATEN:
        more = compare([one], of[name], draws=draws)["clips"]["ndcg"]["macro"]
        all_seeds = compare(seeds, of[name], draws=draws)["clips"]["ndcg"]["macro"]
        numbers[f"over_{name}_low"] = more.low
        numbers[f"over_{name}"] = [more.mean, more.low, more.high]
        numbers[f"seeds_over_{name}"] = [all_seeds.mean, all_seeds.low, all_seeds.high]
    return numbers


def _faithfulness(scores: Floats, clips: Sequence[Clip]) -> dict[str, Any]:
    matrix = checks.faithfulness(scores, clips)
    off = abs(matrix[~np.eye(len(matrix), dtype=bool)])
    return {
        "diagonal": float(np.diag(matrix).min()),
        "off_diagonal": float(off.max()),
        "matrix": matrix.tolist(),
    }


def _moved(judged: Judged, scorer: Scorer, split: str, scores: Floats, at: Rows) -> Numbers:
    """What moving weights, and re-rendering one thing alone, does: "weights" and "inputs"."""
    across = checks.counterfactual_weights(scores, judged.of(at))
    known = ~np.isnan(across.triples)
    weights = {
        "share": None,
        "two": None,
        "across": float(across.groups[known].mean()) if known.any() else None,
        "across_triples": float(across.triples[known].mean()) if known.any() else None,
        "across_matrix": across.groups.tolist(),
    }
    inputs: dict[str, Any] = {"falls": None, "moves": None, "controls": None}
    rows = judged.rows("sweep", split)
    if not len(rows):
        return {"weights": weights, "inputs": inputs}
    bases = {clip.base for clip in judged.of(rows)}
    more = [i for i, clip in enumerate(judged.clips) if clip.clip_id in bases]
    rows = np.union1d(rows, np.array(more, np.intp))
    ranges = checks.score_ranges(scores, judged.of(at))
    found = checks.sweeps(scorer, judged.of(rows), judged.seen(scorer, rows), ranges)
    two, three = found.turned
    if not np.isnan(three).all():
        weights |= {
            "share": float(np.nanmean(three)),
            "two": float(np.nanmean(two)),
            "worst": float(np.nanmin(three)),
            "matrix": three.tolist(),
            "two_matrix": two.tolist(),
        }
    diagonal = np.eye(len(KEYS), dtype=bool)
    others = np.where(diagonal, 0, found.moves).sum(axis=0) / (len(KEYS) - 1)
    inputs = {
        "falls": float(found.falls.min()),
        "moves": float(others.max()),
        "controls": float(found.controls.max()),
        "worst_move": float(np.where(diagonal, 0, found.moves).max()),
        "falls_of": dict(zip(KEYS, found.falls.tolist(), strict=True)),
        "controls_of": dict(zip(KEYS, found.controls.tolist(), strict=True)),
        "matrix": found.moves.tolist(),
        "bases": found.bases,
    }
    return {"weights": weights, "inputs": inputs}


def _placebos(judged: Judged, scorer: Scorer, at: Rows) -> dict[str, Any]:
    if not judged.placebos:
        return {"strongest": None}
    each: dict[str, Any] = {}
    placebos: dict[str, Scorer] = {**judged.placebos, Permuted.name: Permuted(scorer)}
    for name, placebo in placebos.items():
        scores = _scores(judged, placebo, at)
        found = _faithfulness(scores, judged.of(at))
        macro = rank(scores, judged.of(at), name=name).macro()
        each[name] = {"diagonal": found["diagonal"], "off_diagonal": found["off_diagonal"]}
        each[name]["ndcg"] = macro
    return {"strongest": max(of["diagonal"] for of in each.values()), "each": each}


def _invariance(judged: Judged, scorer: Scorer, split: str, at: Rows) -> dict[str, Any]:
    numbers: dict[str, Any] = {"nuisance": None, "soundfont": None}
    place = {judged.clips[row].clip_id: row for row in at}
    varied = [row for row in judged.rows("nuisance", split) if judged.clips[row].base in place]
    if varied:
        bases = np.array([place[judged.clips[row].base] for row in varied], np.intp)
        before = _ranked(judged, scorer, bases, at).macro()
        after = _ranked(judged, scorer, np.array(varied, np.intp), at).macro()
        numbers |= {"nuisance": before - after, "nuisance_ndcg": [before, after]}
    second = judged.rows("soundfont", split)
    if len(second):
        before = _ranked(judged, scorer, at).macro()
        after = _ranked(judged, scorer, second, at).macro()
        numbers |= {"soundfont": before - after, "soundfont_ndcg": [before, after]}
    return numbers


def _shortcuts(judged: Judged, at: Rows) -> dict[str, Any]:
    train = judged.rows("factorial", "train")
    if not len(train):
        return {"excess": None}
    probe = Shortcut(judged.proxies[train], checks.level_table(judged.of(train)))
    found = _ranked(judged, probe, at)
    excess = found.aspects() - found.aspects(chance=True)
    return {
        "excess": float(excess.max()),
        "aspects": dict(zip(KEYS, excess.tolist(), strict=True)),
    }


def _people(judged: Judged, scorer: Scorer, draws: int) -> dict[str, Any]:
    people = judged.people.within("test") if judged.people else HumanItems()
    found = agreement(scorer, people, judged.heard, draws=draws)
    return asdict(found) if found else {"low": None}
