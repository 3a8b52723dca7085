"""How far each listener can be relied on, and how far listeners agree.

Krippendorff, "Content Analysis", 2004, ch. 11 (alpha); Cohen, Psychol. Bull. 1968 (weighted kappa,
here with quadratic weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.audit.analysis.intervals import Estimate, redraw, spread_between
from kindred.audit.analysis.kept import Kept, numbered, query
from kindred.audit.judgement import Judgement, chosen, grades, preference
from kindred.audit.study import Form, Item, Study

_SLACK = 1e-9  # 5 of 6 is not less than 5 / 6


@dataclass(frozen=True)
class Listener:
    """One listener's answers, practice left out.

    Attributes
    ----------
    listener_id : str
    answers : int
    catches_right, catches : int
        "Cannot tell" is not right.
    repeats : int
        Trials asked twice and answered both times.
    kappa : float or None
        Weighted Cohen kappa of the repeats (``odd``: unweighted); ``None`` without repeats, or
        where all of both sides is one and the same answer.
    shift : float or None
        Mean absolute change from a trial to its repeat, in points, broad grades, or shares changed.
    median_deciding : float or None
        Seconds from the end of the last clip to the answer.
    hasty, cannot_tell : float or None
        Shares of all answers.
    middle, extreme, first : float or None
        Shares of the real answers that are in the middle, at an end of the scale, and (``ab``, of
        those that take a side; ``odd``) for the one shown first.
    reasons : tuple of str
        Every rule of the design that was failed; none: the answers count.
    """

    listener_id: str
    answers: int
    catches_right: int
    catches: int
    repeats: int
    kappa: float | None
    shift: float | None
    median_deciding: float | None
    hasty: float | None
    cannot_tell: float | None
    middle: float | None
    extreme: float | None
    first: float | None
    reasons: tuple[str, ...]

    @property
    def excluded(self) -> bool:
        """Whether the answers are left out."""
        return bool(self.reasons)


def listeners(study: Study, counted: Sequence[Judgement]) -> tuple[Listener, ...]:
    """What is known of each listener, in the order of their ids.

    Parameters
    ----------
    study : Study
    counted : sequence of Judgement
        The answers that count, of all listeners.
    """
    items = {item.item_id: item for item in study.items}
    given: dict[str, list[Judgement]] = {}
    for judgement in counted:
        if judgement.kind != "practice":
            given.setdefault(judgement.listener_id, []).append(judgement)
    return tuple(_listener(study, items, name, given[name]) for name in sorted(given))


def _listener(study: Study, items: dict[str, Item], name: str, given: list[Judgement]) -> Listener:
    form, rules = study.design.form, study.design.exclusions
    catches = [item for item in given if item.kind == "catch"]
    right = sum(chosen(form, item) == items[item.item_id].expected for item in catches)
    again = _repeated(form, given)
    kappa, shift = _consistency(form, again)
    hasty = [item.deciding_seconds < rules.min_seconds for item in given]
    reasons = []
    if catches and right < rules.min_catches * len(catches) - _SLACK:
        reasons.append(
            f"{right} of {len(catches)} catch trials right; at least {rules.min_catches:.0%} are "
            "asked for"
        )
    if rules.min_repeat_agreement > -1 and kappa is not None and kappa < rules.min_repeat_agreement:
        reasons.append(
            f"agreement with oneself on {len(again)} repeats is {kappa:.2f} (weighted kappa); at "
            f"least {rules.min_repeat_agreement:.2f} is asked for"
        )
    if np.mean(hasty) > rules.max_hasty + _SLACK:
        reasons.append(
            f"{sum(hasty)} of {len(hasty)} answers came less than {rules.min_seconds:g} s after "
            f"the last clip; at most {rules.max_hasty:.0%} may"
        )
    real = [item for item in given if item.kind == "real" and item.answer is not None]
    middle, extreme, first = _use(form, real)
    return Listener(
        listener_id=name,
        answers=len(given),
        catches_right=right,
        catches=len(catches),
        repeats=len(again),
        kappa=kappa,
        shift=shift,
        median_deciding=float(np.median([item.deciding_seconds for item in given])),
        hasty=float(np.mean(hasty)),
        cannot_tell=float(np.mean([item.answer is None for item in given])),
        middle=middle,
        extreme=extreme,
        first=first,
        reasons=tuple(reasons),
    )


def _values(form: Form, judgement: Judgement) -> dict[int, int]:
    """What is compared between two answers to one item: candidate -> value."""
    if judgement.answer is None:
        return {}
    if form == "ab":
        return {0: preference(judgement) or 0}
    if form == "odd":
        return {0: chosen(form, judgement) or 0}
    return {index: broad for index, (broad, _) in grades(judgement).items()}


def _repeated(form: Form, given: Sequence[Judgement]) -> list[list[tuple[int, int]]]:
    """For each trial that was asked twice in a sitting, its pairs of answers."""
    first = {(item.sitting_id, item.item_id): item for item in given if item.kind == "real"}
    found = []
    for item in given:
        original = first.get((item.sitting_id, item.item_id))
        if item.kind != "repeat" or original is None:
            continue
        one, other = _values(form, original), _values(form, item)
        both = [(one[index], other[index]) for index in sorted(one.keys() & other.keys())]
        if both:
            found.append(both)
    return found


def _consistency(
    form: Form, again: list[list[tuple[int, int]]]
) -> tuple[float | None, float | None]:
    """Kappa and mean absolute shift of repeated answers."""
    from sklearn.metrics import cohen_kappa_score

    if not again:
        return None, None
    one, other = np.array([pair for trial in again for pair in trial]).T
    shift = float(np.mean(one != other) if form == "odd" else np.mean(abs(one - other)))
    if len(np.unique([*one, *other])) < 2:
        return None, shift
    labels = {"ab": range(-2, 3), "graded": range(3), "odd": range(3)}[form]
    weights = None if form == "odd" else "quadratic"
    return float(cohen_kappa_score(one, other, labels=list(labels), weights=weights)), shift


def _use(form: Form, real: Sequence[Judgement]) -> tuple[float | None, float | None, float | None]:
    """Shares of the middle, of the ends, and of the one shown first."""
    if not real:
        return None, None, None
    if form == "odd":
        return None, None, float(np.mean([(item.answer or {})["odd"] == 0 for item in real]))
    if form == "graded":
        broad = np.array([pair[0] for item in real for pair in grades(item).values()])
        if not len(broad):
            return None, None, None
        return float(np.mean(broad == 1)), float(np.mean(broad != 1)), None
    points = np.array([(item.answer or {})["point"] for item in real])
    sided = points[points != 0]
    first = float(np.mean(sided < 0)) if len(sided) else None
    return float(np.mean(points == 0)), float(np.mean(abs(points) == 2)), first


def alpha(answers: Kept, *, draws: int, seed: int) -> Estimate:
    """Krippendorff's alpha with its interval for other listeners and other queries.

    Ordinal over points (``ab``) and broad grades (``graded``, a unit being a candidate), nominal
    over the one chosen (``odd``). 1 is agreement, 0 what chance gives.

    Returns
    -------
    Estimate
        ``n`` counts units that two answers were given to. ``None`` where there are none, or where
        all answers are the same.
    """
    form = answers.study.design.form
    domain = [-2, -1, 0, 1, 2] if form == "ab" else [0, 1, 2]
    unit_of: dict[tuple[str, int], int] = {}
    given = []  # row, unit, value
    for row, judgement in enumerate(answers.judgements):
        for index, value in _values(form, judgement).items():
            unit = unit_of.setdefault((judgement.item_id, index), len(unit_of))
            given.append((row, unit, domain.index(value)))
    if not given:
        return Estimate(None)
    rows, units, values = np.array(given, np.intp).T
    table = np.zeros((len(unit_of), len(domain)), np.int64)
    np.add.at(table, (units, values), 1)
    pairs = int((table.sum(axis=1) > 1).sum())
    found = _alpha(table, domain, form)
    if np.isnan(found):
        return Estimate(None, n=pairs)

    queries = numbered([query(answers.items[item_id]) for item_id, _ in unit_of])
    redrawn = [
        _alpha(np.repeat(table, copies.astype(np.int64), axis=0), domain, form)
        for copies in redraw(queries, draws, np.random.default_rng(seed))
    ]
    influences = np.zeros(len(answers.judgements))
    known: dict[tuple[bytes, int], float] = {}  # units that were answered alike
    for row, unit, value in given:
        alike = (table[unit].tobytes(), value)
        if alike not in known:
            table[unit, value] -= 1
            without = _alpha(table, domain, form)
            table[unit, value] += 1
            known[alike] = 0.0 if np.isnan(without) else found - without
        influences[row] += known[alike]
    kept = np.unique(rows)
    spread = spread_between(
        np.array([found]),
        np.array(redrawn)[:, None],
        queries,
        influences[kept, None],
        answers.clusters(kept)[0],
    )
    return spread.estimate(0, pairs)


def _alpha(counts: NDArray[np.int64], domain: list[int], form: Form) -> float:
    """Alpha of units' value counts; NaN where only one value occurs."""
    import krippendorff

    paired = counts[counts.sum(axis=1) > 1]
    if (paired.sum(axis=0) > 0).sum() < 2:
        return float("nan")
    return float(
        krippendorff.alpha(
            value_counts=paired,
            value_domain=domain,
            level_of_measurement="nominal" if form == "odd" else "ordinal",
        )
    )
