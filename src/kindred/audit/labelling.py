"""One line for what all listeners said of a pair or a triple of clips.

- ``mean`` lies from 0 to 1. ``graded``: the mean broad grade, halved. ``ab``: the mean of the five
  points, 1 for "much closer" and 0.5 for "equal", over everything the clip was compared with; it
  stands beside those clips, not on a scale of its own.
- ``grade`` counts the cuts that the mean reaches: 0 to 2 for ``graded``, 0 to 3 for ``ab``.
- ``agreement`` is the share of pairs of listeners who said the same (``ab``: who took the same
  side); null when only one did.
- Triples come from sides taken (``ab``), broad grades of one trial (``graded``) and odd ones
  (``odd``: each of the two others is nearer to the other one). A tied vote makes none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kindred.audit.judgement import Judgement, chosen, grades, preference
from kindred.audit.study import Clip, Form, Item

#: Where means become grades, by the form.
CUTS: dict[Form, tuple[float, ...]] = {"graded": (0.25, 0.75), "ab": (0.25, 0.5, 0.75), "odd": ()}
#: By how much the cuts are moved to see what depends on them.
SHIFTS = (-0.10, -0.05, 0.05, 0.10)


@dataclass(frozen=True)
class Pair:
    """What people said of a candidate for a query; see the module."""

    query: Clip
    candidate: Clip
    aspect: str
    grade: int
    judgements: int
    mean: float
    agreement: float | None
    split: str | None


@dataclass(frozen=True)
class Triple:
    """How many listeners found ``closer`` closer to the reference, farther, or neither."""

    reference: Clip
    closer: Clip
    farther: Clip
    aspect: str
    votes: int
    against: int
    equal: int
    split: str | None


def label_pairs(
    form: Form,
    aspect: str,
    items: Mapping[str, Item],
    judgements: Sequence[Judgement],
    split_of: Mapping[str, str],
) -> list[Pair]:
    """What was said of each pair of clips, ordered by clips; none for ``odd``."""
    values: dict[tuple[Clip, Clip], list[float]] = defaultdict(list)
    for one in judgements:
        item = items[one.item_id]
        if item.reference is None:
            continue
        if form == "ab":
            point = preference(one) or 0
            given = {0: (2 - point) / 4, 1: (2 + point) / 4}
        else:
            given = {index: broad / 2 for index, (broad, _) in grades(one).items()}
        for index, value in given.items():
            values[item.reference, item.candidates[index].clip].append(value)
    return [
        Pair(
            query=query,
            candidate=candidate,
            aspect=aspect,
            grade=_grade(float(np.mean(given)), CUTS[form]),
            judgements=len(given),
            mean=round(float(np.mean(given)), 6),
            agreement=_agreement([np.sign(v - 0.5) if form == "ab" else v for v in given]),
            split=common_split([query.track_id, candidate.track_id], split_of),
        )
        for (query, candidate), given in sorted(
            values.items(), key=lambda entry: [_key(clip) for clip in entry[0]]
        )
    ]


def label_triples(
    form: Form,
    aspect: str,
    items: Mapping[str, Item],
    judgements: Sequence[Judgement],
    split_of: Mapping[str, str],
) -> list[Triple]:
    """What was said of each triple of clips, ordered by clips."""
    votes: dict[tuple[Clip, Clip, Clip], list[int]] = defaultdict(list)
    for one in judgements:
        for reference, first, second, side in _sides(form, items[one.item_id], one):
            if _key(first) > _key(second):
                first, second, side = second, first, -side
            votes[reference, first, second].append(side)
    found = []
    for (reference, first, second), sides in sorted(
        votes.items(), key=lambda entry: [_key(clip) for clip in entry[0]]
    ):
        total, count = sum(sides), Counter(sides)
        if total == 0:
            continue
        winner = 1 if total > 0 else -1
        closer, farther = (first, second)[::winner]
        found.append(
            Triple(
                reference=reference,
                closer=closer,
                farther=farther,
                aspect=aspect,
                votes=count[winner],
                against=count[-winner],
                equal=count[0],
                split=common_split(
                    [clip.track_id for clip in (reference, closer, farther)], split_of
                ),
            )
        )
    return found


def _sides(form: Form, item: Item, one: Judgement) -> Iterable[tuple[Clip, Clip, Clip, int]]:
    """Reference, two clips, and 1 where the first is closer, -1 where the second is, or 0."""
    clips = [candidate.clip for candidate in item.candidates]
    if form == "odd":
        if (odd := chosen(form, one)) is not None:
            near, other = (clip for index, clip in enumerate(clips) if index != odd)
            yield near, other, clips[odd], 1
            yield other, near, clips[odd], 1
    elif item.reference and form == "ab":
        yield item.reference, clips[0], clips[1], -int(np.sign(preference(one) or 0))
    elif item.reference:
        for (first, (more, _)), (second, (less, _)) in combinations(grades(one).items(), 2):
            yield item.reference, clips[first], clips[second], int(np.sign(more - less))


def _grade(mean: float, cuts: Sequence[float]) -> int:
    return sum(mean >= cut - 1e-9 for cut in cuts)


def sensitivity(form: Form, pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Shift of all cuts -> share of pairs whose grade changes; ``None`` without pairs."""
    found: dict[str, float | None] = {}
    for shift in SHIFTS:
        cuts = [cut + shift for cut in CUTS[form]]
        changed = [_grade(pair.mean, cuts) != pair.grade for pair in pairs]
        found[f"{shift:+.2f}"] = round(float(np.mean(changed)), 6) if changed else None
    return found


def _agreement(given: Sequence[float]) -> float | None:
    if len(given) < 2:
        return None
    same = sum(count * (count - 1) for count in Counter(given).values())
    return round(same / (len(given) * (len(given) - 1)), 6)


def common_split(ids: Iterable[str], split_of: Mapping[str, str]) -> str | None:
    """The split that all tracks are in, or ``None``."""
    found = {split_of[track_id] for track_id in ids}
    return found.pop() if len(found) == 1 else None


def _key(clip: Clip) -> tuple[str, float, float]:
    return clip.track_id, clip.start, clip.seconds
