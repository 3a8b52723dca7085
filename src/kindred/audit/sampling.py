"""Drawing what listeners are asked from a library and the answers of systems.

Queries are drawn evenly (:mod:`~kindred.audit.queries`), systems are asked
(:mod:`~kindred.audit.rankings`), what their answers give to ask is chosen
(:mod:`~kindred.audit.questions`), and a stretch of each track (:mod:`~kindred.audit.stretches`);
items whose answer is known come with them (:mod:`~kindred.audit.catches`). Everything follows the
design's seed, whatever the order of the tracks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kindred.audit import queries as drawing
from kindred.audit import related
from kindred.audit.catches import easy_item, find_easy
from kindred.audit.power import items_wanted
from kindred.audit.questions import Question, Questions
from kindred.audit.rankings import Ask, Rankings
from kindred.audit.stretches import Segments, Stretches
from kindred.audit.study import Candidate, Design, Item
from kindred.errors import AuditError
from kindred.storage.records import Track

#: Queries that the systems are asked at once.
_BATCH = 64


@dataclass(frozen=True)
class Drawn:
    """Items, and how they came about.

    Attributes
    ----------
    items : tuple of Item
        Real ones, then catch, then practice.
    asked, skipped : int
        Queries that were drawn, and those of them that gave nothing to ask, since the systems agree
        or do not answer or there are no segments.
    strata : dict
        Stratum -> real items from it.
    warnings : tuple of str
        What the organiser should know before opening the study.
    """

    items: tuple[Item, ...]
    asked: int
    skipped: int
    strata: dict[str, int]
    warnings: tuple[str, ...] = ()


def draw_items(
    design: Design,
    *,
    tracks: Sequence[Track],
    ask: Ask,
    segments: Segments,
    clusters: Mapping[str, int] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Drawn | None:
    """Draw the items of a study: ``trials * listeners / overlap`` real ones, if there are as many.

    Parameters
    ----------
    design : Design
    tracks : sequence of Track
        The library. Tracks without a file, of less than 3 s or without segments are left out.
    ask : Ask
        Asks a system for the tracks nearest to some queries.
    segments : Segments
        Of the first system.
    clusters : mapping of str to int, optional
        Track id -> cluster, where queries are drawn evenly from clusters.
    progress : callable, optional
        Told real items drawn, real items wanted, and words.
    cancelled : callable

    Returns
    -------
    Drawn or None
        ``None`` when it was cancelled.

    Raises
    ------
    AuditError
        When the design cannot be, or too little can be drawn for one sitting.
    """
    design.check()
    if design.stratify == "cluster" and not clusters:
        raise AuditError(
            "Queries cannot be drawn evenly from clusters: none are known. Find the library's"
            " clusters first, or draw evenly from composers."
        )
    rng = np.random.default_rng(design.seed)
    playable, recordings = drawing.playable(tracks), related.recordings(tracks)
    asked_about = drawing.one_of_each(playable, recordings)
    strata = drawing.strata(design, asked_about, clusters or {})
    stretches = Stretches(playable, segments, matching=design.clip_choice == "matching", rng=rng)
    systems = Rankings(
        ask, design.systems, tracks=playable, recordings=recordings, stretches=stretches
    )
    easy = find_easy(
        design,
        drawing.Queries(strata, rng).take(len(asked_about)),
        tracks=playable,
        systems=systems,
        stretches=stretches,
        cancelled=cancelled,
    )
    taken = {one.query for one in easy}
    queries = drawing.Queries(
        {name: [one for one in members if one not in taken] for name, members in strata.items()},
        rng,
    )
    questions = Questions(design, systems, rng)
    wanted = items_wanted(design)
    found: list[tuple[str, Question]] = []
    asked = skipped = 0
    while len(found) < wanted and not cancelled():
        batch = queries.take(min(_BATCH, wanted - len(found)))
        if not batch:
            break
        known = [query for query in batch if stretches.known(query)]
        asked, skipped = asked + len(batch), skipped + len(batch) - len(known)
        for query, about in questions.about(known):
            skipped += not about
            found += [(query, question) for question in about]
            if about:
                queries.gave(query)
        if progress:
            progress(min(len(found), wanted), wanted, f"{asked} queries asked")
    if cancelled():
        return None
    del found[wanted:]
    if len(found) < design.trials:
        mend = ". Ask for"
        if skipped:
            mend = (
                f", and {skipped} of the {asked} others give nothing to ask, since the systems"
                f" ({', '.join(design.systems)}) give them the same first {design.k} answers or"
                " none. Raise k, compare other systems, ask for"
            )
        raise AuditError(
            f"Only {len(found)} of the {design.trials} real trials of a sitting can be drawn. Of"
            f" {len(tracks)} tracks {len(asked_about)} are recordings that can be heard;"
            f" {len(easy)} are kept for catch trials and practice{mend} fewer"
            " trials, or add tracks."
        )
    items = [
        _item(design, number, queries.stratum[query], query, question, stretches)
        for number, (query, question) in enumerate(found)
    ]
    strata_of = {one: name for name, members in strata.items() for one in members}
    size = Counter(len(item.candidates) for item in items).most_common(1)[0][0]
    for number, one in enumerate(easy):
        items.append(
            easy_item(
                design,
                one,
                item_id=_item_id(design, len(items)),
                kind="catch" if number < design.catches else "practice",
                stratum=strata_of[one.query],
                size=size,
                stretches=stretches,
                rng=rng,
            )
        )
    warnings = []
    if len(found) < wanted:
        heard = design.trials * design.listeners / len(found)
        warnings.append(
            f"Only {len(found)} of {wanted} items could be drawn; each is heard by about"
            f" {heard:.1f} listeners instead of {design.overlap}."
        )
    if design.stratify != "none" and len(strata) == 1:
        warnings.append(f"All queries are from one {design.stratify}: {next(iter(strata))}.")
    if not all(one.other_composers for one in easy):
        warnings.append(
            "Some catch or practice trials compare with tracks that are not known to be by another"
            " composer; listen to them before opening the study."
        )
    if short := sum(item.clips[0].seconds < design.clip_seconds for item in items):
        warnings.append(
            f"{short} of {len(items)} items have clips of less than {design.clip_seconds:g} s,"
            " since a track in them is too short."
        )
    return Drawn(
        tuple(items),
        asked,
        skipped,
        dict(Counter(item.stratum for item in items[: len(found)])),
        tuple(warnings),
    )


def _item(
    design: Design,
    number: int,
    stratum: str,
    query: str,
    question: Question,
    stretches: Stretches,
) -> Item:
    tracks = list(dict.fromkeys([query, *question]))
    clips = stretches.together(tracks, seconds=design.clip_seconds)
    of_track = dict(zip(tracks, clips, strict=True))
    return Item(
        item_id=_item_id(design, number),
        kind="real",
        stratum=stratum,
        reference=None if design.form == "odd" else of_track[query],
        candidates=tuple(
            Candidate(of_track[track_id], systems) for track_id, systems in question.items()
        ),
    )


def _item_id(design: Design, number: int) -> str:
    return hashlib.sha256(f"{design.seed} {number}".encode()).hexdigest()[:16]
