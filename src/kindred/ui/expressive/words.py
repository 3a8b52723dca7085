"""What the Expressive page calls things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from kindred.expressive.aspects import ASPECTS, Aspect
from kindred.expressive.clips import Clip
from kindred.expressive.run import STAGES
from kindred.expressive.sources import Layered, MertLayers
from kindred.expressive.works import works
from kindred.services.expressive import Run

#: Of General MIDI, those that clips are played on.
INSTRUMENTS = {
    0: "piano",
    6: "harpsichord",
    11: "vibraphone",
    19: "organ",
    21: "accordion",
    24: "guitar",
    48: "strings",
    56: "trumpet",
    71: "clarinet",
    73: "flute",
}
_LEVELS = {"tempo": "×{:g}", "phrasing": "{:g}", "dynamics": "±{:g}", "articulation": "×{:g}"}
_SHORT = {"tempo": "tempo", "phrasing": "rubato", "dynamics": "swell", "articulation": "length"}
#: By grade, 3 to 0.
_OFF = ("far", "2 off", "1 off", "same")
#: Contenders of a ranking.
CONTENDERS = {
    "random": "Random",
    "cosine": "Cosine",
    "centred": "Cosine, centred",
    "whitened": "Cosine, whitened",
    "best layer": "Best layer of each aspect",
    "discovery": "Discovery-guided",
    "descriptors": "One audio descriptor",
    "oracle": "Oracle",
    "distilled": "Retriever (distilled)",
    "projection": "Retriever from labels",
}
SYSTEMS = {
    "cosine": "Cosine",
    "discovery": "Discovery-guided",
    "oracle": "Oracle",
    "retriever": "Retriever",
}
LEARNED = ("oracle", "retriever")
_SOURCES = {source.name: source.title for source in (Layered, MertLayers)}
#: What a gate's outcome is called, with its icon and colour.
OUTCOMES = {
    True: ("passed", ":material/check_circle:", "green"),
    False: ("failed", ":material/cancel:", "red"),
    None: ("not judged", ":material/do_not_disturb_on:", "gray"),
}


def level(aspect: Aspect, clip: Clip) -> str:
    """A clip's level of an aspect in a word; a dash where it is not known."""
    found = clip.level(aspect.key)
    if found < 0:
        return "–"
    if aspect.key == "timbre":
        program = clip.recipe.programs[found]
        return INSTRUMENTS.get(program, f"program {program}")
    return _LEVELS[aspect.key].format(aspect.steps[found])


def levels(clip: Clip) -> list[str]:
    """A clip's levels in words, aspect by aspect."""
    return [named_level(aspect, clip) for aspect in ASPECTS]


def named_level(aspect: Aspect, clip: Clip) -> str:
    """A clip's level of an aspect with what it is of, such as "rubato 0.3"."""
    return f"{_SHORT.get(aspect.key, '')} {level(aspect, clip)}".strip()


def off(aspect: Aspect, grade: int) -> str:
    """How near two levels are, from their grade."""
    return "other" if not aspect.ordered and grade == 0 else _OFF[grade]


def titled(clip: Clip) -> tuple[str, str]:
    """A clip's piece and composer."""
    return _titles().get(clip.work, (clip.work, clip.composer))


def take(clip: Clip) -> str:
    """Which performance and which part of the piece a clip is."""
    number = clip.performance.removeprefix(f"{clip.work}:").split(":")[0]
    taken = f"take {int(number) + 1}" if number.isdecimal() else number
    return f"{taken}, part {clip.recipe.excerpt + 1}"


@lru_cache(maxsize=1)
def _titles() -> dict[str, tuple[str, str]]:
    return {work.work: (work.title, work.composer) for work in works()}


def features(run: Run) -> str:
    """Where a run's features come from."""
    return str(run.gates.get("features") or _SOURCES.get(run.record.source, run.record.source))


def stopped(run: Run) -> list[str]:
    """Titles of the gates that stop a release."""
    return [gate["title"] for gate in run.gates.get("gates", ()) if gate["name"] in run.failed]


def standing(run: Run) -> tuple[str, str, str]:
    """Whether a run may be trusted: a word, its icon and its colour."""
    if not run.is_whole:
        return "not finished", ":material/hourglass_empty:", "gray"
    if run.released:
        return "released", ":material/verified:", "green"
    if run.passed:
        return "passed, not released", ":material/check_circle:", "blue"
    return "failed its gates", ":material/cancel:", "red"


def stage(name: str) -> str:
    """A stage of a run."""
    return STAGES[name][2].capitalize()


def number(value: float) -> str:
    """A score for people."""
    return f"{value:.2f}".replace("-", "−")


def spent(seconds: float) -> str:
    """A time for people."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def titles(runs: Sequence[Run]) -> Mapping[str, str]:
    """What to call each run in a list to choose from; ids make no two the same."""
    said: dict[str, str] = {}
    for run in runs:
        options = run.record.options
        parts = [
            f"{run.record.created_at[:16].replace('T', ' ')}",
            options.size,
            "MERT" if run.record.source == "mert" else "layered descriptors",
            f"{options.seeds} seed{'s' if options.seeds > 1 else ''}",
            standing(run)[0],
            run.run_id[-4:],
        ]
        said[run.run_id] = " · ".join(parts)
    return said


def estimate(value: Mapping[str, Any]) -> str:
    """A mean with its interval."""
    if value.get("mean") is None:
        return "–"
    if value.get("low") is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.2f}, {value['high']:.2f}]"


def joined(parts: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
