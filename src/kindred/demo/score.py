"""Scores: a file of music21's corpus as plain notes.

Conventions: onsets and durations are in quarter notes from the beginning, pitches are sounding MIDI
numbers, parts count from 0 in the order of the score. Ties are joined; grace notes, chord symbols
and percussion are left out.

A string quartet takes music21 10-30 s to read and a demo track needs only its beginning, so the
file is cut after the bar in which the music has had enough onsets, before music21 sees it.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from kindred.errors import KindredError, MissingPackage

#: Distinct onsets after which a score is cut: more than the fastest performance plays in 45 s.
MAX_ONSETS = 240


@dataclass(frozen=True)
class Note:
    """A note: its part, MIDI pitch, onset and duration in quarters."""

    part: int
    pitch: int
    onset: float
    duration: float


@dataclass(frozen=True)
class Score:
    """Notes of a piece, by onset.

    Attributes
    ----------
    notes : tuple of Note
    parts : int
        Number of parts that have notes.
    sections : tuple of (float, float)
        What a player would repeat, start and end in quarters; they cover the piece.
    cut : bool
        Whether the piece goes on after its last note here.
    """

    notes: tuple[Note, ...]
    parts: int
    sections: tuple[tuple[float, float], ...]
    cut: bool

    @property
    def length(self) -> float:
        """Quarters from the first onset to the end."""
        return self.sections[-1][1]

    @property
    def density(self) -> float:
        """Distinct onsets a quarter, over all parts."""
        return len({round(note.onset, 3) for note in self.notes}) / self.length


def package_folder(name: str, command: str) -> Path:
    """Return the folder of an installed package without importing it.

    Raises
    ------
    MissingPackage
        When it is not installed; the message names the command.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackage(f"The demo library needs {name}, which is not installed: {command}")
    return Path(spec.submodule_search_locations[0])


def read_score(source: str) -> Score:
    """Read the beginning of a score.

    Parameters
    ----------
    source : str
        Path inside music21's corpus; ``#number`` picks a tune from a book of tunes in ABC.

    Raises
    ------
    MissingPackage
        When music21 is not installed.
    KindredError
        When the corpus has no such score.
    """
    name, _, number = source.partition("#")
    path = package_folder("music21", "pip install music21==10.5.0") / "corpus" / name
    if not path.is_file():
        raise KindredError(
            f"music21's corpus has no {name}. Reinstall it: pip install --force-reinstall music21"
        )
    texts, form, cut = _beginning(path, number)
    with warnings.catch_warnings():
        # What music21 says of an encoder's slips is of no use to somebody who wants a library.
        warnings.simplefilter("ignore")
        from music21 import converter

        parts: list[Any] = []
        for text in texts:
            stream = converter.parseData(text, format=form)
            parts += list(stream.parts) or [stream]
        return _plain(parts, cut)


def _beginning(path: Path, number: str) -> tuple[list[str], str, bool]:
    """Return texts to read (several: one a part), their format, and whether they were cut."""
    if path.suffix == ".krn":
        text, cut = _cut_kern(path.read_text("utf-8", "replace"))
        return [text], "humdrum", cut
    if path.suffix == ".abc":
        tunes = re.split(r"(?m)^(?=X:)", path.read_text("utf-8", "replace"))
        tunes = [tune for tune in tunes if tune.startswith("X:")]
        if number:
            tunes = [tune for tune in tunes if re.match(rf"X: *0*{number}\s", tune)]
        return tunes, "abc", False
    data = path.read_bytes()
    if path.suffix == ".mxl":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner = next(n for n in archive.namelist() if re.match(r"(?!META).*xml$", n))
            data = archive.read(inner)
    text, cut = _cut_musicxml(data)
    return [text], "musicxml", cut


def _cut_kern(text: str) -> tuple[str, bool]:
    """Cut Humdrum text at the barline after enough lines of data; end its spines."""
    kept: list[str] = []
    data = 0
    for line in text.splitlines():
        if line.startswith("=") and data >= MAX_ONSETS:
            return "\n".join([*kept, "\t".join(["*-"] * (line.count("\t") + 1)), ""]), True
        kept.append(line)
        data += not line.startswith(("!", "*", "="))
    return text, False


def _cut_musicxml(data: bytes) -> tuple[str, bool]:
    """Cut MusicXML after the measure with which all parts together have enough onsets."""
    root = ElementTree.fromstring(data)
    parts = [part.findall("measure") for part in root.findall("part")]
    divisions = [Fraction(1)] * len(parts)
    onsets = 0
    for index in range(min(map(len, parts))):
        heard: set[Fraction] = set()
        for which, measures in enumerate(parts):
            divisions[which] = _onsets(measures[index], divisions[which], heard)
        onsets += len(heard)
        if onsets >= MAX_ONSETS and index + 1 < len(parts[0]):
            for part, measures in zip(root.findall("part"), parts, strict=True):
                for measure in measures[index + 1 :]:
                    part.remove(measure)
            return ElementTree.tostring(root, encoding="unicode"), True
    return ElementTree.tostring(root, encoding="unicode"), False


def _onsets(measure: ElementTree.Element, divisions: Fraction, heard: set[Fraction]) -> Fraction:
    """Add a measure's onsets, in quarters, to ``heard``; returns the divisions now in force."""
    at = Fraction(0)
    for element in measure:
        if element.tag == "attributes" and (text := element.findtext("divisions")):
            divisions = Fraction(text)
        if element.tag not in {"note", "backup", "forward"} or element.find("chord") is not None:
            continue
        length = Fraction(element.findtext("duration") or "0") / divisions
        if element.tag == "backup":
            at -= length
            continue
        if element.tag == "note" and element.find("rest") is None and length:
            heard.add(at)
        at += length
    return divisions


def _plain(parts: list[Any], cut: bool) -> Score:
    found: list[list[Note]] = []
    for part in parts:
        if any(item.transposition for item in part.recurse().getElementsByClass("Instrument")):
            part = part.toSoundingPitch()
        notes = _joined_ties(part.flatten().notes)
        if notes:
            found.append(notes)
    if not found:
        raise KindredError("A score of the demo library has no notes: reinstall music21.")
    start = min(note.onset for notes in found for note in notes)
    notes = sorted(
        (
            Note(index, note.pitch, round(note.onset - start, 6), note.duration)
            for index, part_notes in enumerate(found)
            for note in part_notes
        ),
        key=lambda note: (note.onset, note.part, note.pitch),
    )
    length = max(note.onset + note.duration for note in notes)
    return Score(tuple(notes), len(found), _sections(parts[0], start, length), cut)


def _joined_ties(elements: Iterable[Any]) -> list[Note]:
    notes: list[Note] = []
    held: dict[int, int] = {}  # pitch -> index of the note that a tie prolongs
    for element in elements:
        duration = float(element.duration.quarterLength)
        if duration <= 0 or "ChordSymbol" in element.classes or "Unpitched" in element.classes:
            continue
        onset = float(element.offset)
        for single in getattr(element, "notes", None) or [element]:
            pitch = int(single.pitch.midi)
            tie = (single.tie or element.tie).type if (single.tie or element.tie) else ""
            before = held.pop(pitch, None)
            joins = before is not None and tie in {"stop", "continue"}
            if before is not None and joins:
                notes[before] = Note(0, pitch, notes[before].onset, onset + duration)
                index = before
            else:
                index = len(notes)
                notes.append(Note(0, pitch, onset, onset + duration))
            if tie in {"start", "continue"}:
                held[pitch] = index
    return [Note(0, note.pitch, note.onset, note.duration - note.onset) for note in notes]


def _sections(part: Any, start: float, length: float) -> tuple[tuple[float, float], ...]:
    """Split at the repeat signs of the first part."""
    bars = part.recurse().getElementsByClass("Repeat")
    marks = {round(float(bar.getOffsetInHierarchy(part)) - start, 6) for bar in bars}
    edges = [0.0, *sorted(mark for mark in marks if 4 <= mark <= length - 4), length]
    return tuple(pairwise(edges))
