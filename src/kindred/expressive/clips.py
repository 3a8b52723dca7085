"""Clips: the recipe of a rendered one, and what is known of any."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from kindred.expressive.aspects import ASPECTS

#: Raised whenever the sound of an unchanged recipe changes.
RENDERER = 1
SECONDS = 12.0
SAMPLE_RATE = 22_050
#: Where clips come from. Each is used for one thing: "factorial" trains and tests, "sweep" moves
#: one aspect or control of a base clip, "nuisance" is a base clip with another gain, offset or
#: equaliser, "soundfont" and "programs" are factorial clips of test works played on what training
#: never heard, "human" are people's performances.
SETS = ("factorial", "sweep", "nuisance", "soundfont", "programs", "human")
#: "composers" are works of composers that no other split has.
SPLITS = ("train", "validation", "test", "composers")
#: The tests a scorer is judged on: (name, set, split).
TESTS = (
    ("works", "factorial", "test"),
    ("composers", "factorial", "composers"),
    ("soundfont", "soundfont", "test"),
    ("programs", "programs", "test"),
    ("human", "human", "test"),
)


@dataclass(frozen=True)
class Recipe:
    """All that a rendered clip's sound depends on.

    Attributes
    ----------
    source : str
        Score in music21's corpus, or ``midi:`` and the SHA-256 of a performance's file.
    excerpt : int
        0 is the beginning of the piece, 1 what follows it, and so on.
    levels : tuple of int
        0-4 for each of :data:`~kindred.expressive.aspects.ASPECTS` (-1 where the performance is a
        person's; timbre is always known). Timbre's level counts in ``programs``.
    programs : tuple of int
        General MIDI programs that timbre's levels stand for.
    soundfont : str
        ``"first"`` or ``"second"``.
    transpose : int
        Semitones.
    texture : float
        Share of the parts that play, the outer ones first; 1 is all.
    phase : float
        Where in a phrase the excerpt begins, in [0, 1).
    gain_db, offset_ms, tilt_db : float
        Nuisance: level (-6 to 6), what is cut from the beginning (0 to 250), and the slope of an
        equaliser in dB per octave around 1 kHz (-1.5 to 1.5).
    seed : int
        Of what else varies: the velocity and lateness of single notes.
    """

    source: str
    excerpt: int
    levels: tuple[int, ...]
    programs: tuple[int, ...]
    soundfont: str = "first"
    transpose: int = 0
    texture: float = 1.0
    phase: float = 0.0
    gain_db: float = 0.0
    offset_ms: float = 0.0
    tilt_db: float = 0.0
    seed: int = 0

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that differ whenever the sound may."""
        text = json.dumps([RENDERER, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Clip:
    """A clip and what is known of it.

    Attributes
    ----------
    clip_id : str
        The recipe's digest.
    set, split : str
        One of :data:`SETS` and of :data:`SPLITS`.
    work, group, composer : str
        Works that share music are a group (the movements of a mass, two harmonisations of a tune);
        a group is in one split.
    performance : str
        Clips of one performance are the excerpts of one "track".
    levels : tuple of int
        As in the recipe; for people's performances what was measured in their notes, else -1.
    recipe : Recipe
    base : str
        Sweeps and nuisances: the clip that this one varies; else empty.
    varies : str
        The aspect, control or nuisance that differs from the base; else empty.
    """

    clip_id: str
    set: str
    split: str
    work: str
    group: str
    composer: str
    performance: str
    levels: tuple[int, ...]
    recipe: Recipe
    base: str = ""
    varies: str = ""

    def level(self, aspect: str) -> int:
        """The level of an aspect, by its key; -1 when it is not known."""
        return self.levels[[each.key for each in ASPECTS].index(aspect)]
