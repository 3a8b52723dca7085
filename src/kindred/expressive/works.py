"""The works that are played: where each score lies, and which works share music.

The table is ``works.csv``. A work is read from music21's corpus (:mod:`kindred.demo.pieces` says
what is known of the licences; scores and sound stay with whoever renders them). Taken were works
that read within two seconds, have the 120 onsets that two excerpts need, and whose parts end within
a bar of each other and are mostly consonant: in other encodings parts drift apart.

A group is what must not be divided between training and test: the movements of a mass or a
quartet, the harmonisations of a chorale's tune. All works of a composer are held out or none is.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class Work:
    """A movement, chorale or tune.

    Attributes
    ----------
    work, group : str
        Names; works of a group share music.
    composer, title : str
    source : str
        Path in music21's corpus.
    held_out : bool
        Whether its composer is heard in no split but ``composers``.
    """

    work: str
    group: str
    composer: str
    source: str
    title: str
    held_out: bool


@lru_cache(maxsize=1)
def works() -> tuple[Work, ...]:
    """Every work, in the order of the table: by composer, the held-out ones last."""
    text = files("kindred.expressive").joinpath("works.csv").read_text("utf-8")
    return tuple(
        Work(
            row["work"],
            row["group"],
            row["composer"],
            row["source"],
            row["title"],
            row["held_out"] == "1",
        )
        for row in csv.DictReader(text.splitlines())
    )
