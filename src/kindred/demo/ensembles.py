"""The ensembles that play the demo library: General MIDI programs and their ranges.

Programs count from 0. Instruments stand from the highest part to the lowest; an ensemble of one
instrument plays every part on it. No name is a person's: nobody played these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """A General MIDI program (from 0) and the lowest and highest MIDI pitch it plays well."""

    program: int
    low: int
    high: int


@dataclass(frozen=True)
class Ensemble:
    """Players under one name; ``family`` is the album that collects their second readings."""

    name: str
    family: str
    instruments: tuple[Instrument, ...]


_HORN = Instrument(60, 41, 77)
_BASSOON = Instrument(70, 34, 72)
_VIOLIN, _VIOLA, _CELLO = Instrument(40, 55, 100), Instrument(41, 48, 88), Instrument(42, 36, 76)

ENSEMBLES = (
    Ensemble("Kindred Piano", "Keys", (Instrument(0, 21, 108),)),
    Ensemble("Kindred Harpsichord", "Keys", (Instrument(6, 29, 89),)),
    Ensemble("Kindred Organ", "Keys", (Instrument(19, 36, 96),)),
    Ensemble("Kindred Accordion", "Keys", (Instrument(21, 41, 93),)),
    Ensemble("Kindred Strings", "Strings and Voices", (_VIOLIN, _VIOLIN, _VIOLA, _CELLO)),
    Ensemble("Kindred Voices", "Strings and Voices", (Instrument(52, 38, 84),)),
    Ensemble(
        "Kindred Consort",
        "Strings and Voices",
        (Instrument(74, 60, 96), _VIOLA, Instrument(24, 40, 76), _CELLO),
    ),
    Ensemble("Kindred Guitars", "Plucked and Struck", (Instrument(24, 40, 84),)),
    Ensemble("Kindred Harp", "Plucked and Struck", (Instrument(46, 24, 103),)),
    Ensemble(
        "Kindred Mallets", "Plucked and Struck", (Instrument(11, 53, 89), Instrument(12, 36, 96))
    ),
    Ensemble(
        "Kindred Winds",
        "Winds and Brass",
        (
            Instrument(73, 60, 96),
            Instrument(68, 58, 91),
            Instrument(71, 50, 91),
            _HORN,
            _BASSOON,
        ),
    ),
    Ensemble(
        "Kindred Brass",
        "Winds and Brass",
        (Instrument(56, 55, 82), _HORN, Instrument(57, 40, 72), Instrument(58, 28, 60)),
    ),
    Ensemble(
        "Kindred Saxophones",
        "Winds and Brass",
        (
            Instrument(64, 56, 87),
            Instrument(65, 49, 81),
            Instrument(66, 44, 76),
            Instrument(67, 36, 69),
        ),
    ),
)

BY_NAME = {ensemble.name: ensemble for ensemble in ENSEMBLES}
