"""Retrieval by label: does a track's answer hold tracks of the same composer (or other tag)?

Every labelled track is a query over all tracks, across all albums; see
:mod:`kindred.evaluation.ranks` for the order and the measures, and
:mod:`kindred.evaluation.labels` for what is relevant and what may be left out. The variants:

===================  ============================================================================
plain                the query itself is left out, by its id, and nothing else
not_same_work        and the tracks of its work
not_same_album       and the tracks of its album
not_near_duplicates  and its near-duplicates
controlled           and all three
===================  ============================================================================

What is the label itself is never left out: by album, ``controlled`` leaves out works and
near-duplicates. A query with nothing relevant left in its gallery is counted and not averaged; it
stays in the gallery of others. The headline is the macro mean, over composers with at least three
works; the micro mean is over queries. Beside each stand its 95% interval (works redrawn, see
:mod:`kindred.evaluation.statistics`), what a random order scores, and what a perfect one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError
from kindred.evaluation import measures, ranks, statistics
from kindred.evaluation.hubness import Csls, MutualProximity, hubness
from kindred.evaluation.labels import Labels
from kindred.evaluation.ranks import Floats, Groups, Ints, Progress, Ranker
from kindred.evaluation.report import Mean, Measure, RetrievalReport, Variant
from kindred.evaluation.task import VARIANTS, Task

SCORINGS: dict[str, Callable[[NDArray[np.float32]], Ranker]] = {
    "cosine": ranks.Cosine,
    "csls": Csls,
    "mutual_proximity": MutualProximity,
}
_UNIT = 1e-3


def evaluate_retrieval(
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    labels: Labels,
    *,
    name: str = "",
    k: int = 5,
    scoring: str = "cosine",
    draws: int = statistics.DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> RetrievalReport | None:
    """Ask every labelled track for tracks of its label, by exact search.

    Parameters
    ----------
    vectors : float32 [n, dims]
        Unit vectors, one a track.
    ids : sequence of str
        The tracks the vectors are of, in any order.
    labels : Labels
        Of these tracks; may have more.
    name : str
        What is evaluated, for the report.
    k : int
        Where the measures cut; may exceed the number of tracks.
    scoring : str
        "cosine", "csls" or "mutual_proximity".
    draws, seed : int
        Of the bootstrap.
    progress : callable, optional
        Called with (queries done, queries in all, what is done).
    cancelled : callable
        Asked before every block of queries.

    Returns
    -------
    RetrievalReport or None
        ``None`` when it was cancelled.

    Raises
    ------
    QueryError
        When there is nothing to evaluate: vectors that are no unit vectors of these tracks, fewer
        than two tracks, no two tracks of one label, a ``k`` below 1 or an unknown scoring.
    """
    if scoring not in SCORINGS:
        raise QueryError(f"There is no scoring {scoring!r}. Choose from {', '.join(SCORINGS)}.")
    labels = labels.select(ids)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    _check_vectors(vectors, len(ids))
    task = Task(labels.select([ids[row] for row in order]), k=k)
    if cancelled():
        return None
    ranker = SCORINGS[scoring](np.asarray(vectors, np.float32)[order])
    return _run(task, ranker, name, draws, seed, progress, cancelled)


def evaluate_lists(
    lists: Sequence[Sequence[str]],
    ids: Sequence[str],
    labels: Labels,
    *,
    name: str = "",
    k: int = 5,
    draws: int = statistics.DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> RetrievalReport | None:
    """Evaluate answers that something else gave, e.g. an approximate index.

    Parameters
    ----------
    lists : sequence of sequences of str
        For each track, ids in the order of the answer, of any length; the track itself may be
        among them. What is not in a list counts as never found, so lists must be long enough to
        have ``k`` left once a variant's exclusions are gone.
    ids, labels, name, k, draws, seed, progress, cancelled
        See :func:`evaluate_retrieval`.

    Raises
    ------
    QueryError
        See :func:`evaluate_retrieval`; also when a list names a track twice, or one that is not
        among ``ids``.
    """
    ordered = sorted(ids)
    task = Task(labels.select(ordered), k=k)
    if len(lists) != len(ids):
        raise QueryError(f"{len(ids)} tracks need as many answers, got {len(lists)}.")
    place = {track_id: row for row, track_id in enumerate(ordered)}
    rows = np.full((len(ids), max(map(len, lists))), -1, np.intp)
    for track_id, answer in zip(ids, lists, strict=True):
        if len(set(answer)) < len(answer) or not place.keys() >= set(answer):
            raise QueryError(
                f"The answer to {track_id!r} names a track twice, or one that is not evaluated."
                " Search among the evaluated tracks alone."
            )
        rows[place[track_id], : len(answer)] = [place[item] for item in answer]
    return _run(task, ranks.Lists(rows), name, draws, seed, progress, cancelled)


class _Answers(NamedTuple):
    """What is kept of a block of queries, or of all."""

    values: Floats
    top: Ints
    relevant: Ints
    gallery: Ints


def _joined(blocks: Sequence[_Answers]) -> _Answers:
    return _Answers(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _run(
    task: Task,
    ranker: Ranker,
    name: str,
    draws: int,
    seed: int,
    progress: Progress | None,
    cancelled: Callable[[], bool],
) -> RetrievalReport | None:
    """Answer every query, block by block, and average."""
    n, k = task.n, task.k
    relevant = Groups(task.class_of)
    groups = {key: Groups(numbers) for key, numbers in task.groups.items()}
    found: dict[str, list[_Answers]] = {variant: [] for variant in VARIANTS}
    for start, stop in ranks.blocks(n):
        if cancelled():
            return None
        order = ranker.order(start, stop)
        places = ranks.positions(order, n)
        of_label = relevant.cells(start, stop)
        own = np.arange(stop - start) * n + np.arange(start, stop)
        cells = {key: group.cells(start, stop) for key, group in groups.items()}
        for variant, blocks in found.items():
            gone = [own, *(cells[key] for key in task.left_out(variant))]
            block = ranks.rank_relevant(order, places, of_label, gone, k=k)
            values = measures.measure(block, k=k)
            blocks.append(_Answers(values, block.top, block.relevant, block.gallery))
        if progress:
            progress(stop, n, "queries answered")
    if cancelled():
        return None
    whole = {variant: _joined(blocks) for variant, blocks in found.items()}
    drawn = statistics.bootstrap(
        np.hstack([parts.values for parts in whole.values()]),
        task.cluster_of,
        task.macro_of,
        draws=draws,
        seed=seed,
    )
    by_variant = zip(*(np.split(side, len(whole), axis=1) for side in drawn), strict=True)
    variants = {
        variant: _variant(task, parts, micro_macro)
        for (variant, parts), micro_macro in zip(whole.items(), by_variant, strict=True)
    }
    counts = {variant: item.queries for variant, item in variants.items()}
    return RetrievalReport(
        name=name,
        label=task.labels.name,
        k=k,
        ids=task.labels.ids,
        classes=tuple(task.classes),
        class_of=task.class_of,
        cluster_of=task.cluster_of,
        macro_of=task.macro_of,
        macro_rule=task.rule,
        variants=variants,
        hubness=hubness(variants["plain"].top, task.labels.ids, task.class_of),
        warnings=tuple(task.warnings(counts)),
        seed=seed,
        draws=draws,
    )


def _variant(task: Task, answers: _Answers, drawn: tuple[Floats, Floats]) -> Variant:
    """Average the queries of a variant; ``drawn`` has the micro and macro means of every draw."""
    values, top, relevant, gallery = answers
    chance = measures.chance(relevant, gallery, k=task.k)
    ceiling = measures.ceiling(relevant, k=task.k)
    asked = relevant > 0
    sure = len(np.unique(task.cluster_of[asked])) > 1  # one work tells nothing of others
    averages = [statistics.means(table, task.macro_of) for table in (values, chance, ceiling)]
    sides = []
    for side in (0, 1):  # micro, macro
        intervals = statistics.interval(drawn[side])
        columns = zip(*(each[side] for each in averages), intervals, strict=True)
        sides.append(
            [
                Mean(_number(value), interval if sure else None, _number(random), _number(best))
                for value, random, best, interval in columns
            ]
        )
    names = measures.measure_names(task.k)
    return Variant(
        values=values,
        chance=chance,
        ceiling=ceiling,
        top=top,
        measures={
            name: Measure(macro=macro, micro=micro)
            for name, micro, macro in zip(names, *sides, strict=True)
        },
        queries=int(asked.sum()),
        singletons=int((~asked & (task.class_of >= 0)).sum()),
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _check_vectors(vectors: NDArray[np.float32], n: int) -> None:
    if vectors.ndim != 2 or len(vectors) != n:
        raise QueryError(f"{n} tracks need a vector each, got an array of shape {vectors.shape}.")
    for start, stop in ranks.blocks(n):
        lengths = np.linalg.norm(vectors[start:stop].astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(abs(lengths - 1) <= _UNIT))
        if len(wrong):
            raise QueryError(
                f"Vectors must be finite and of unit length; number {start + wrong[0]} has length"
                f" {lengths[wrong[0]]:.4g}. Ingest its track again."
            )
