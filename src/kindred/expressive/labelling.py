"""Graded pairs and triples, drawn from what is known of rendered clips.

- Lines have the names and shapes of those that people's judgements are written with
  (:mod:`kindred.audit.labelling`): ``query``, ``candidate``, ``aspect``, ``grade``, ``split``, and
  ``reference``, ``closer``, ``farther``.
- A line stays within one set and split.
- Clips of another work are positives (grade 1 to 3) or negatives (0) by the distance of levels.
  The query's own work at another level is a lure, of grade 0: it sounds most alike and is not. At
  the same level nothing is said of it, and nothing of levels that are not known.
- A candidate is a clip, or a track: all clips of a performance, with the levels they share.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kindred.audit.study import Clip as Segment
from kindred.expressive.aspects import ASPECTS, TOP_GRADE
from kindred.expressive.clips import SECONDS, Clip

#: Sets whose clips are queries and candidates.
QUERY_SETS = ("factorial", "soundfont", "programs", "human")
KINDS = ("clip", "track")
ROLES = ("positive", "negative", "lure")
#: Lines drawn at most for a query and an aspect, by kind of candidate and role; 6,000 clips give
#: about 55 MB.
DRAWN = {
    "clip": {"positive": 3, "negative": 1, "lure": 1},
    "track": {"positive": 1, "negative": 1, "lure": 1},
}


@dataclass(frozen=True)
class Item:
    """A candidate's grade, 0 to 3, for a query in an aspect; see the module.

    Segments' ``track_id`` is a clip's id, or a performance's where ``kind`` is "track".
    """

    query: Segment
    candidate: Segment
    aspect: str
    grade: int
    split: str
    set: str
    kind: str
    role: str


@dataclass(frozen=True)
class Triple:
    """Clips of which ``closer`` has a higher grade than ``farther``, which may be a lure."""

    reference: Segment
    closer: Segment
    farther: Segment
    aspect: str
    split: str
    set: str
    lure: bool


@dataclass(frozen=True)
class Entry:
    """What may be a query or a candidate: a clip, or a track."""

    segment: Segment
    set: str
    split: str
    work: str
    levels: tuple[int, ...]


#: Kind -> set and ``track_id`` -> entry.
Entries = Mapping[str, Mapping[tuple[str, str], Entry]]


def entries(clips: Sequence[Clip]) -> Entries:
    """What clips offer, in the order of ids; only sets that are queried."""
    single: dict[tuple[str, str], Entry] = {}
    parts: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        if clip.set in QUERY_SETS:
            segment = Segment(clip.clip_id, 0.0, SECONDS)
            single[clip.set, clip.clip_id] = Entry(
                segment, clip.set, clip.split, clip.work, clip.levels
            )
            parts[clip.set, clip.performance].append(clip)
    tracks = {
        key: Entry(
            Segment(key[1], 0.0, SECONDS * len(of)),
            of[0].set,
            of[0].split,
            of[0].work,
            tuple(
                levels[0] if len(set(levels)) == 1 else -1
                for levels in zip(*(clip.levels for clip in of), strict=True)
            ),
        )
        for key, of in sorted(parts.items())
    }
    return {"clip": single, "track": tracks}


def relevance(query: Entry, candidate: Entry, aspect: int) -> tuple[str, int] | None:
    """Role and grade of a candidate, or ``None`` where nothing may be said.

    Parameters
    ----------
    aspect : int
        Its place in :data:`~kindred.expressive.aspects.ASPECTS`.
    """
    one, other = query.levels[aspect], candidate.levels[aspect]
    if min(one, other) < 0 or (query.set, query.split) != (candidate.set, candidate.split):
        return None
    if query.work == candidate.work:
        return None if one == other else ("lure", 0)
    grade = ASPECTS[aspect].grade(one, other)
    return ("positive" if grade else "negative"), grade


def draw(known: Entries, *, seed: int) -> tuple[list[Item], list[Triple]]:
    """Draw lines for every query; the same entries and seed give the same lines.

    A set's and split's lines do not depend on the others'. Positives are spread over the grades.
    Triples are made of drawn clips: for a query and an aspect one whose farther clip is a lure and
    one whose is not.
    """
    items: list[Item] = []
    triples: list[Triple] = []
    for place in sorted({(entry.set, entry.split) for entry in known["clip"].values()}):
        offered = {
            kind: [entry for entry in known[kind].values() if (entry.set, entry.split) == place]
            for kind in KINDS
        }
        for at, aspect in enumerate(ASPECTS):
            for kind in KINDS:
                rng = random.Random(f"{seed} {place} {aspect.key} {kind}")
                for query, pools in _pools(offered["clip"], offered[kind], at):
                    drawn = [
                        Item(
                            query.segment,
                            candidate.segment,
                            aspect.key,
                            grade,
                            query.split,
                            query.set,
                            kind,
                            role,
                        )
                        for role, count in DRAWN[kind].items()
                        for grade, candidate in _sample(rng, pools[role], count)
                    ]
                    items += drawn
                    if kind == "clip":
                        triples += _triples(rng, drawn)
    return items, triples


#: Role -> grade -> candidates.
_Pools = Mapping[str, Mapping[int, Sequence[Entry]]]


def _pools(
    queries: Sequence[Entry], candidates: Sequence[Entry], aspect: int
) -> Iterator[tuple[Entry, _Pools]]:
    """Queries with what may be drawn for them; those of one work and level share it."""
    offered = _alike(candidates, aspect)
    for same in _alike(queries, aspect):
        pools: dict[str, dict[int, list[Entry]]] = {role: defaultdict(list) for role in ROLES}
        for others in offered:
            if found := relevance(same[0], others[0], aspect):
                role, grade = found
                pools[role][grade] += others
        for query in same:
            yield query, pools


def _alike(given: Sequence[Entry], aspect: int) -> list[list[Entry]]:
    """Entries of one work and level, of which the same is said."""
    found: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for entry in given:
        found[entry.work, entry.levels[aspect]].append(entry)
    return list(found.values())


def _sample(
    rng: random.Random, pool: Mapping[int, Sequence[Entry]], count: int
) -> Iterator[tuple[int, Entry]]:
    """So many candidates, in turn one of each grade, none twice."""
    left = {grade: rng.sample(of, min(count, len(of))) for grade, of in sorted(pool.items())}
    turn = rng.randrange(TOP_GRADE)  # so that a single one is not always of the same grade
    while count and any(left.values()):
        grades = [grade for grade, of in left.items() if of]
        grade = grades[turn % len(grades)]
        yield grade, left[grade].pop()
        count -= 1
        turn += 1


def _triples(rng: random.Random, drawn: Sequence[Item]) -> Iterator[Triple]:
    for lure in (False, True):
        options = [
            (closer, farther)
            for closer in drawn
            for farther in drawn
            if farther.grade < closer.grade and (farther.role == "lure") == lure
        ]
        if options:
            closer, farther = rng.choice(options)
            yield Triple(
                closer.query,
                closer.candidate,
                farther.candidate,
                closer.aspect,
                closer.split,
                closer.set,
                lure,
            )
