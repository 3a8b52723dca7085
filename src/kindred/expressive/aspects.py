"""The aspects of a performance: what each means, how it is rendered, and how it is heard in audio.

Every aspect has five levels, 0 to 4, at least three just-noticeable differences apart (tempo 3 %,
an onset 10 ms, velocity 3 to 4). All but timbre are ordered; timbre's levels are instruments, of
which two are alike or not.
"""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = 5
#: A candidate's grade for a query, by how many levels lie between them: 3, 2, 1, then 0.
TOP_GRADE = 3


@dataclass(frozen=True)
class Aspect:
    """One way in which performances of the same notes differ.

    Attributes
    ----------
    key, title : str
        The name in files and columns, and the one that people read.
    question, meaning : str
        What a listener would ask, and what the aspect is.
    unit : str
        Of :attr:`steps`.
    steps : tuple of float
        The value of each level; for timbre General MIDI programs, counted from 0.
    rendered : str
        How a level is played.
    proxy, proxy_unit : str
        What is measured in audio in its place, where no notes are known.
    ordered : bool
        Whether levels have distances.
    """

    key: str
    title: str
    question: str
    meaning: str
    unit: str
    steps: tuple[float, ...]
    rendered: str
    proxy: str
    proxy_unit: str
    ordered: bool = True

    def grade(self, one: int, other: int) -> int:
        """Relevance of two levels to each other, 0 to 3; -1 (not known) is relevant to nothing."""
        if one < 0 or other < 0:
            return 0
        if not self.ordered:
            return TOP_GRADE if one == other else 0
        return max(0, TOP_GRADE - abs(one - other))


ASPECTS = (
    Aspect(
        key="tempo",
        title="Tempo",
        question="Does it go as fast?",
        meaning="How fast notes follow each other, whatever is written.",
        unit="times the piece's own tempo",
        steps=(0.7, 0.84, 1.0, 1.19, 1.42),
        rendered="All times divided by the factor; at 1 every piece has 3.5 onsets a second.",
        proxy="onset rate",
        proxy_unit="onsets a second",
    ),
    Aspect(
        key="phrasing",
        title="Phrasing",
        question="Does it breathe as much?",
        meaning="How far tempo bends within a phrase: rubato.",
        unit="share by which tempo swings",
        steps=(0.0, 0.1, 0.2, 0.3, 0.4),
        rendered="Time is warped within phrases of four seconds; their length stays.",
        proxy="deviation of the log interval between beats",
        proxy_unit="nepers",
    ),
    Aspect(
        key="dynamics",
        title="Dynamic range",
        question="Does it swell as much?",
        meaning="How far loudness rises and falls within a phrase.",
        unit="velocity, up and down",
        steps=(0.0, 8.0, 16.0, 24.0, 32.0),
        rendered="Velocity follows an arch over each phrase, around 76.",
        proxy="deviation of the level smoothed over a second",
        proxy_unit="dB",
    ),
    Aspect(
        key="articulation",
        title="Articulation",
        question="Is it as short or as bound?",
        meaning="How long notes sound: from staccato to legato.",
        unit="times the written duration",
        steps=(0.3, 0.5, 0.7, 0.9, 1.1),
        rendered="Every note lasts this share of its duration, at least 50 ms.",
        proxy="median dip of the level between onsets",
        proxy_unit="dB",
    ),
    Aspect(
        key="timbre",
        title="Timbre",
        question="Does it sound like the same instrument?",
        meaning="The colour of the sound.",
        unit="General MIDI program",
        steps=(0, 6, 19, 48, 71),
        rendered="Piano, harpsichord, organ, strings or clarinet from a soundfont.",
        proxy="spectral centroid",
        proxy_unit="octaves around 1 kHz",
        ordered=False,
    ),
)
KEYS = tuple(aspect.key for aspect in ASPECTS)
#: Programs that no training clip is played on: guitar, vibraphone, flute, trumpet, accordion.
UNSEEN_PROGRAMS = (24, 11, 73, 56, 21)
#: What must not matter: semitones of transposition (harmony) and share of the parts that play.
TRANSPOSITIONS = (-4, -2, 0, 2, 4)
TEXTURES = (0.5, 0.75, 1.0)
