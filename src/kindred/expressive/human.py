"""People's performances: a folder of MIDI files as clips.

Recordings of players (such as MAESTRO's and ASAP's) have no levels; theirs are measured in the
notes (:mod:`kindred.expressive.note_measures`). Two excerpts are taken, from a quarter of the piece
on, and played on an instrument that the file's digest decides.

Beside ``name.mid`` there may be ``name.beats.txt`` or ``name_annotations.txt`` with a beat a line,
seconds first: then phrasing is measured between beats, else between onsets. ``works.csv`` in the
folder (columns file, work, composer) says which files are of one work. Without it a file is a work,
or the folder is where a ``midi_score.mid`` lies, as in ASAP; such scores are no performances.
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from kindred.demo.performance import Event, Performance, without_overlaps
from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS, LEVELS
from kindred.expressive.clips import SECONDS, Clip, Recipe
from kindred.expressive.note_measures import levels, measure

#: So many performances are taken, those with the smallest digests.
MOST = 150
EXCERPTS = 2
SCORE = "midi_score.mid"
_SOURCE = "midi:"
_FEWEST_NOTES = 16  # of an excerpt
_SPARE = 0.5  # seconds of music that a renderer wants beyond an excerpt's end
_PEDAL, _DOWN = 64, 64  # controller, and the value from which it holds
_DRUMS = 9  # the channel that General MIDI keeps for them
_CENTRE = 64


@dataclass(frozen=True)
class Survey:
    """What a folder of performances gives.

    Attributes
    ----------
    clips : tuple of Clip
    left_out : tuple of (str, str)
        Files that give none, and why.
    """

    clips: tuple[Clip, ...]
    left_out: tuple[tuple[str, str], ...]


def read_performances(folder: Path) -> tuple[Clip, ...]:
    """The clips of a folder of performances.

    Raises
    ------
    ExpressiveError
        When none can be used; the message says why for the first files.
    """
    found = survey(folder)
    if not found.clips:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.left_out[:5])
        raise ExpressiveError(
            f"No performance in {folder} can be used: {reasons or 'there is no .mid or .midi file'}"
        )
    return found.clips


def survey(folder: Path) -> Survey:
    """Read a folder, and the folders in it, and say what is left out.

    Raises
    ------
    ExpressiveError
        When the folder or its table cannot be read.
    """
    folder = Path(folder)
    files = _files(folder)
    table = _table(folder)
    clips: list[Clip] = []
    left_out: list[tuple[str, str]] = []
    performances = 0
    for digest, path in sorted(files.items()):
        name = path.relative_to(folder).as_posix()
        if path.name == SCORE:
            left_out.append((name, "a score, not a performance"))
            continue
        if performances == MOST:
            left_out.append((name, f"{MOST} performances are enough"))
            continue
        try:
            events, beats = _read(path), _beats(path)
            starts = _starts(events)
        except ExpressiveError as error:
            left_out.append((name, str(error)))
            continue
        performances += 1
        work, composer = table.get(name) or (_work(path, folder), "")
        timbre = int(digest[:8], 16) % LEVELS
        for excerpt, start in enumerate(starts):
            here = [beat - start for beat in beats if start <= beat <= start + SECONDS]
            found = levels(measure(_from(events, start, SECONDS), here))
            recipe = Recipe(
                source=_SOURCE + digest,
                excerpt=excerpt,
                levels=(*(-1 for _ in found), timbre),
                programs=tuple(int(step) for step in ASPECTS[-1].steps),
            )
            clips.append(
                Clip(
                    clip_id=recipe.digest,
                    set="human",
                    split="test",
                    work=work,
                    group=work,
                    composer=composer,
                    performance=f"{_SOURCE}{digest[:16]}",
                    levels=(*found, timbre),
                    recipe=recipe,
                )
            )
    return Survey(tuple(clips), tuple(left_out))


def excerpt(recipe: Recipe, folder: Path | None, *, seconds: float) -> Performance:
    """The performance that a recipe of a person's playing names, on the recipe's instrument.

    Raises
    ------
    ExpressiveError
        When the file is not in the folder.
    """
    events = _known(folder, recipe.source.removeprefix(_SOURCE))
    played = _from(events, _starts(events)[recipe.excerpt], seconds)
    moved = [replace(event, pitch=event.pitch + recipe.transpose) for event in played]
    channels = sorted({event.channel for event in moved})
    program = recipe.programs[recipe.levels[-1]]
    return Performance(
        without_overlaps(moved),
        dict.fromkeys(channels, program),
        dict.fromkeys(channels, _CENTRE),
        seconds,
    )


@lru_cache(maxsize=4)
def _known(folder: Path | None, digest: str) -> list[Event]:
    path = _files(Path(folder)).get(digest) if folder else None
    if path is None:
        raise ExpressiveError(
            f"The performance {digest[:16]} is not in {folder or 'any folder: none was given'}."
            " Give the folder of MIDI files that the plan was made with."
        )
    return _read(path)


def _files(folder: Path) -> dict[str, Path]:
    """MIDI files by the SHA-256 of what is in them; of several with the same, the first."""
    try:
        paths = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in {".mid", ".midi"} and path.is_file()
        )
        found: dict[str, Path] = {}
        for path in paths:
            found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    except OSError as error:
        raise ExpressiveError(
            f"The folder of performances cannot be read: {error.filename} ({error.strerror})."
        ) from error
    if not folder.is_dir():
        raise ExpressiveError(f"There is no folder of performances {folder}.")
    return found


def _table(folder: Path) -> dict[str, tuple[str, str]]:
    """Work and composer by file, from ``works.csv`` where there is one."""
    path = folder / "works.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {row["file"]: (row["work"], row["composer"]) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise ExpressiveError(
            f"{path} cannot be read ({error}): its columns are file, work and composer."
        ) from error


def _work(path: Path, folder: Path) -> str:
    if (path.parent / SCORE).is_file():
        path = path.parent
    return path.relative_to(folder).with_suffix("").as_posix()


def _read(path: Path) -> list[Event]:
    """Notes of a file by start, as long as the pedal holds them; a channel for each instrument."""
    import pretty_midi
    from mido import KeySignatureError  # type: ignore[import-untyped]

    try:
        with warnings.catch_warnings():
            # Its warnings say that times may be wrong.
            warnings.simplefilter("error")
            midi = pretty_midi.PrettyMIDI(str(path))
    except KeySignatureError as error:
        raise ExpressiveError(f"not a MIDI file that can be read ({error})") from error
    except (OSError, EOFError, ValueError, LookupError, TypeError, RuntimeWarning) as error:
        why = str(error) or type(error).__name__
        raise ExpressiveError(f"not a MIDI file that can be read ({why})") from error
    events: list[Event] = []
    instruments = [each for each in midi.instruments if each.notes and not each.is_drum]
    for number, instrument in enumerate(instruments):
        channel = number % 15
        channel += channel >= _DRUMS
        released = _releases(instrument)
        events += [
            Event(channel, note.pitch, note.velocity, note.start, released(note.end))
            for note in instrument.notes
            if note.end > note.start and note.velocity
        ]
    return sorted(events, key=lambda event: (event.start, event.channel, event.pitch))


def _releases(instrument: Any) -> Callable[[float], float]:
    """A function from the end of a key to the end of its sound."""
    spans: list[tuple[float, float]] = []
    down: float | None = None
    for change in sorted(instrument.control_changes, key=lambda change: change.time):
        if change.number != _PEDAL:
            continue
        if change.value >= _DOWN and down is None:
            down = change.time
        elif change.value < _DOWN and down is not None:
            spans.append((down, change.time))
            down = None

    def released(end: float) -> float:
        return next((up for start, up in spans if start <= end < up), end)

    return released


def _beats(path: Path) -> list[float]:
    """Times of beats from the file beside, if there is one."""
    for name in (f"{path.stem}.beats.txt", f"{path.stem}_annotations.txt"):
        beside = path.with_name(name)
        if not beside.is_file():
            continue
        try:
            lines = beside.read_text("utf-8").splitlines()
            beats = [float(line.split()[0]) for line in lines if line.strip()]
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise ExpressiveError(f"its beats {name} cannot be read ({error})") from error
        if any(later <= sooner for sooner, later in pairwise(beats)):
            raise ExpressiveError(f"its beats {name} do not follow each other in time")
        return beats
    return []


def _starts(events: Sequence[Event]) -> list[float]:
    """Where the excerpts begin: at the first onset after a quarter of the piece, and after that."""
    if not events:
        raise ExpressiveError("it has no notes but drums")
    onsets = [event.start for event in events]
    wanted = onsets[0] + (onsets[-1] - onsets[0]) / 4
    starts: list[float] = []
    for _ in range(EXCERPTS):
        start = next((onset for onset in onsets if onset >= wanted), onsets[-1])
        if onsets[-1] < start + SECONDS + _SPARE:
            break
        if sum(start <= onset < start + SECONDS for onset in onsets) < _FEWEST_NOTES:
            break
        starts.append(start)
        wanted = start + SECONDS
    if not starts:
        raise ExpressiveError(
            f"too short, or with less than {_FEWEST_NOTES} notes in the {SECONDS:g} seconds after"
            " a quarter of it"
        )
    return starts


def _from(events: Sequence[Event], start: float, seconds: float) -> list[Event]:
    """What sounds in an excerpt, timed from its beginning."""
    return [
        replace(event, start=max(0.0, event.start - start), end=event.end - start)
        for event in events
        if event.start < start + seconds and event.end > start
    ]
