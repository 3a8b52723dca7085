"""What one listener is asked, in which order, and which clip is shown where.

Items that were asked least come first into a sitting, so the study's overlap evens out; among those
asked as often, queries and then strata take turns. Within the sitting, trials are mixed:

- practice comes first, at the positions -practice .. -1;
- no catch is among the first two trials, and catches are spread over the sitting;
- a repeat comes at least :data:`REPEAT_GAP` trials after its original, in reversed order;
- the same query never comes twice in a row, where that can be had.

An item's *lead* is the candidate whose place must give nothing away: the expected one, or of a real
item the one of the system named first. Leads take turns in all places, so that among the real
trials, as among the catches and the repeats, no place has more than one lead more than another.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from kindred.audit.study import FORMS, Item, Study
from kindred.errors import AuditError

#: Trials from an original to its repeat, at least.
REPEAT_GAP = 5
_FIRST_CATCH = 2
_MIXING = 10  # swaps tried for each trial


@dataclass(frozen=True)
class Trial:
    """One asking of an item.

    Attributes
    ----------
    position : int
        From 0; practice counts from -practice.
    item_id : str
    kind : str
        ``"real"``, ``"catch"``, ``"repeat"`` or ``"practice"``.
    order : tuple of int
        The candidates' indices as they are shown, first to last.
    repeats : int or None
        Position of the trial that a repeat asks again.
    """

    position: int
    item_id: str
    kind: str
    order: tuple[int, ...]
    repeats: int | None = None


def plan_sitting(study: Study, seed: bytes, counts: Mapping[str, int]) -> tuple[Trial, ...]:
    """Plan a sitting; the same arguments give the same plan.

    Parameters
    ----------
    study : Study
        Where its pool has fewer items than its design asks for, the sitting is shorter.
    seed : bytes
        Of this sitting, known to the server only.
    counts : mapping of str to int
        Item id -> in how many sittings it is already.

    Returns
    -------
    tuple of Trial
        By position, practice first.
    """
    draw = random.Random(seed)
    design = study.design
    practice = study.of_kind("practice")[: design.practice]
    real = _placed(study, _least_asked(study, "real", counts, draw)[: design.trials], draw)
    catches = _placed(study, _least_asked(study, "catch", counts, draw)[: design.catches], draw)
    draw.shuffle(catches)

    again = _taking_turns(study, real, draw)[: design.repeats]
    rest = [trial for trial in real if trial not in again]
    draw.shuffle(rest)
    repeats = [replace(trial, kind="repeat", order=trial.order[::-1]) for trial in again]
    # In this order every repeat is as far from its original as can be; mixing keeps it far enough.
    sequence = [*again, *rest, *repeats]
    for place, trial in zip(_catch_places(len(sequence), len(catches), draw), catches, strict=True):
        sequence.insert(place, trial)
    _mix(sequence, {item.item_id: _query(item) for item in study.items}, draw)

    first = {trial.item_id: at for at, trial in enumerate(sequence) if trial.kind == "real"}
    return (
        *(
            replace(trial, position=at - len(practice))
            for at, trial in enumerate(_placed(study, practice, draw))
        ),
        *(
            replace(
                trial,
                position=at,
                repeats=first[trial.item_id] if trial.kind == "repeat" else None,
            )
            for at, trial in enumerate(sequence)
        ),
    )


def check_pool(study: Study) -> None:
    """Raise :class:`AuditError` unless sittings can be planned from a study's pool."""
    design, problems = study.design, []
    for kind, count in (
        ("real", design.trials),
        ("catch", design.catches),
        ("practice", design.practice),
    ):
        found = len(study.of_kind(kind))
        if found < count:
            problems.append(f"a sitting has {count} {kind} trials, and the pool {found} such items")
    if len({item.item_id for item in study.items}) < len(study.items):
        problems.append("two items have one id")
    most = FORMS[design.form][1]
    for item in study.items:
        count = len(item.candidates)
        wrong = []
        if item.kind not in {"real", "catch", "practice"}:
            wrong.append(f"is of no known kind ({item.kind!r})")
        if not 2 <= count <= most or (design.form != "graded" and count != most):
            wrong.append(f"has {count} candidates")
        if (item.reference is None) != (design.form == "odd"):
            wrong.append("has no reference" if item.reference is None else "has a reference")
        if item.expected is None and item.kind == "catch":
            wrong.append("is a catch without an expected answer")
        if item.expected is not None and not 0 <= item.expected < count:
            wrong.append(f"expects candidate {item.expected}")
        if not all(clip.start >= 0 and clip.seconds > 0 for clip in item.clips):
            wrong.append("has a clip without length, or from before its track")
        problems += [f"item {item.item_id} {what}" for what in wrong]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise AuditError(
            f"This study cannot be opened: {'; '.join(problems[:5])}{more}. Draw its items again."
        )


def lead(study: Study, item: Item) -> int:
    """The candidate whose place must give nothing away."""
    if item.expected is not None:
        return item.expected
    ranks = {name: rank for rank, name in enumerate(study.design.systems)}
    last = len(ranks)
    return min(
        range(len(item.candidates)),
        key=lambda at: min(
            (ranks.get(name, last) for name in item.candidates[at].systems), default=last
        ),
    )


def _least_asked(
    study: Study, kind: str, counts: Mapping[str, int], draw: random.Random
) -> list[Item]:
    """Items of a kind: the least asked first; of those, queries and then strata take turns."""
    items = list(study.of_kind(kind))
    draw.shuffle(items)
    turns: Counter[tuple[int, str, str]] = Counter()
    keyed = []
    for item in items:
        count = counts.get(item.item_id, 0)
        of_query = count, "query", _query(item) or item.item_id
        of_stratum = count, "stratum", item.stratum
        turns.update([of_query, of_stratum])
        keyed.append((count, turns[of_query], turns[of_stratum], item))
    return [item for *_, item in sorted(keyed, key=lambda entry: entry[:3])]


def _query(item: Item) -> str | None:
    return item.reference.track_id if item.reference else None


def _placed(study: Study, items: Sequence[Item], draw: random.Random) -> list[Trial]:
    """Trials of items, as given, with an order of candidates in which leads take turns.

    Turns are taken along the pairs of systems compared, so they are even within each pair too.
    """
    by_pair = sorted(
        range(len(items)),
        key=lambda at: sorted(sorted(one.systems) for one in items[at].candidates),
    )
    turn = draw.randrange(60)  # divisible by every number of candidates there can be
    trials: dict[int, Trial] = {}
    for at in by_pair:
        item = items[at]
        first = lead(study, item)
        order = [index for index in range(len(item.candidates)) if index != first]
        draw.shuffle(order)
        order.insert(turn % len(item.candidates), first)
        turn += 1
        trials[at] = Trial(0, item.item_id, item.kind, tuple(order))
    return [trials[at] for at in range(len(items))]


def _taking_turns(study: Study, trials: Sequence[Trial], draw: random.Random) -> list[Trial]:
    """Trials in a random order in which leads take turns, so that a part of it is even too."""
    items = {item.item_id: item for item in study.items}
    mixed = list(trials)
    draw.shuffle(mixed)
    turns: Counter[int] = Counter()
    keyed = []
    for trial in mixed:
        place = trial.order.index(lead(study, items[trial.item_id]))
        turns[place] += 1
        keyed.append((turns[place], trial))
    return [trial for _, trial in sorted(keyed, key=lambda entry: entry[0])]


def _catch_places(others: int, catches: int, draw: random.Random) -> list[int]:
    """One random place in each of as many equal stretches, rising, none among the first two."""
    start = min(_FIRST_CATCH, others)
    size = others + catches - start
    edges = [start + size * number // catches for number in range(catches + 1)] if catches else []
    return [draw.randrange(low, high) for low, high in pairwise(edges)]


def _mix(sequence: list[Trial], queries: Mapping[str, str | None], draw: random.Random) -> None:
    """Swap trials at random, never so that more rules are broken; catches stay where they are."""
    free = [at for at, trial in enumerate(sequence) if trial.kind != "catch"]
    if len(free) < 2:
        return
    broken = _broken(sequence, queries)
    for _ in range(_MIXING * len(sequence)):
        one, other = draw.sample(free, 2)
        sequence[one], sequence[other] = sequence[other], sequence[one]
        now = _broken(sequence, queries)
        if now <= broken:
            broken = now
        else:
            sequence[one], sequence[other] = sequence[other], sequence[one]


def _broken(sequence: Sequence[Trial], queries: Mapping[str, str | None]) -> tuple[int, int]:
    """By how much repeats are too near, and how often a query comes twice in a row."""
    places = {trial.item_id: at for at, trial in enumerate(sequence) if trial.kind == "real"}
    near = sum(
        max(0, REPEAT_GAP - (at - places[trial.item_id]))
        for at, trial in enumerate(sequence)
        if trial.kind == "repeat"
    )
    asked = [queries[trial.item_id] for trial in sequence]
    twice = sum(one is not None and one == other for one, other in pairwise(asked))
    return near, twice
