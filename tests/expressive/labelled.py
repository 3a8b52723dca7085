"""Plans of clips and labels of people for tests; nothing is rendered or heard."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from kindred.audit import labels as audit_labels
from kindred.audit.judgement import Judgement
from kindred.audit.study import Candidate, Design, Item, Study
from kindred.audit.study import Clip as Segment
from kindred.expressive.aspects import ASPECTS, UNSEEN_PROGRAMS
from kindred.expressive.clips import Clip, Recipe
from kindred.storage.records import Track

PROGRAMS = tuple(int(step) for step in ASPECTS[-1].steps)
SPLIT_OF_WORK = ("train",) * 6 + ("validation",) * 3 + ("test",) * 3 + ("composers",) * 2


def made(
    set_: str, work: int, take: str, levels: tuple[int, ...], *, excerpt: int = 0, **more: Any
) -> Clip:
    """A clip of a work that is its own group; ``more`` goes to the clip or else to its recipe."""
    split = SPLIT_OF_WORK[work]
    of_clip = {name: more.pop(name) for name in ("base", "varies") if name in more}
    recipe = Recipe(f"score-{work}", excerpt, levels, more.pop("programs", PROGRAMS), **more)
    return Clip(
        clip_id=recipe.digest,
        set=set_,
        split=split,
        work=f"work-{work}",
        group=f"group-{work}",
        composer=f"{'late' if split == 'composers' else 'early'}-{work % 2}",
        performance=f"{set_}-{work}-{take}",
        levels=levels,
        recipe=recipe,
        **of_clip,
    )


def plan(seed: int = 0, takes: int = 3) -> list[Clip]:
    """Factorial clips, and of test works also the second soundfont, programs, sweeps, nuisances."""
    rng = random.Random(seed)
    clips = []
    for work, split in enumerate(SPLIT_OF_WORK):
        for take in range(takes):
            levels = tuple(rng.randrange(5) for _ in ASPECTS)
            both = [made("factorial", work, str(take), levels, excerpt=at) for at in (0, 1)]
            clips += both
            if split != "test":
                continue
            for at in (0, 1):
                clips.append(
                    made("soundfont", work, str(take), levels, excerpt=at, soundfont="second")
                )
                clips.append(
                    made("programs", work, str(take), levels, excerpt=at, programs=UNSEEN_PROGRAMS)
                )
            base = both[0].clip_id
            clips.append(
                made("nuisance", work, str(take), levels, gain_db=3.0, base=base, varies="gain_db")
            )
            if take == 0:
                moved = ((levels[0] + 1) % 5, *levels[1:])
                clips.append(made("sweep", work, "tempo", moved, base=base, varies="tempo"))
    return clips


def judged(
    folder: Path, *, aspect: str = "overall", parts: str = "qab", items: int = 12, **more: Any
) -> Path:
    """Labels of an A/B study with one listener; returns the folder of ``labels.json``.

    The query and candidates of an item are of one work, tracks such as q0, a0 and b0; the library
    has x0, y0 and z0 of the same work.
    """
    query, near, far = parts
    pool = tuple(
        Item(
            f"i{at}",
            "real",
            "s",
            Segment(f"{query}{at}", 1.5, 10.0),
            tuple(Candidate(Segment(f"{part}{at}", 0.0, 10.0)) for part in (near, far)),
        )
        for at in range(items)
    )
    study = Study("study", Design("t", aspect=aspect, systems=("a", "b")), pool, "closed")
    said = [
        Judgement(
            judgement_id=f"j{at}",
            study_id="study",
            design_hash=study.design_hash,
            sitting_id="s",
            listener_id="l",
            item_id=f"i{at}",
            kind="real",
            position=at,
            order=(0, 1),
            answer={"point": -2},
        )
        for at in range(items)
    ]
    tracks = [
        Track(f"{part}{at}", composer="C", work=f"work {at}", title=f"{part}{at}")
        for part in "qabxyz"
        for at in range(items)
    ]
    audit_labels.write_labels(
        folder, study, said, tracks=tracks, created_at="2026-11-21T12:00:00Z", **more
    )
    return folder / audit_labels.FOLDER
