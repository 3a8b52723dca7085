"""What is measured in the notes of a performance, and which level a value is.

Four measures stand for the ordered aspects: onset rate, deviation of the log interval between
beats, deviation of velocity, and the share of the interval to the voice's next note that a note
sounds. Where no beats are known, phrasing is how far the intervals between onsets, each by the one
before, are off the nearest ratio of note values: that hears rubato, but unsteadiness too. A level
is the one whose median over rendered performances is nearest: :data:`BOUNDS` are the midpoints
between medians, as :func:`calibrated` computes them. On rendered validation works they find the
exact level of 74 % of tempos, 98 % of articulations and 99 % of dynamics; of phrasing 100 % by
beats and 70 % by onsets.

Conventions: notes are :class:`~kindred.demo.performance.Event`, times in seconds from the beginning
of the excerpt.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kindred.demo.performance import Event
from kindred.expressive.aspects import LEVELS
from kindred.expressive.clips import SECONDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Between levels 0 and 1, 1 and 2 and so on. Phrasing has two measures.
BOUNDS = {
    "tempo": (2.667, 3.167, 3.75, 4.542),
    "phrasing by beats": (0.034, 0.103, 0.173, 0.247),
    "phrasing by onsets": (0.025, 0.045, 0.069, 0.084),
    "dynamics": (3.262, 7.775, 12.837, 18.03),
    "articulation": (0.4, 0.6, 0.8, 0.999),
}
_ROLL = 0.03  # seconds within which onsets are one: a chord is never struck at once
_STEP, _WINDOW = 0.25, 1.0  # seconds
_NEAR = 7  # semitones within which two notes of a channel are of one voice
_VALUES = (1, 2, 3, 4, 6)  # note values, of which intervals are ratios
_BEAT = 0.6  # base seconds between the beats of a rendered performance


def measure(events: Sequence[Event], beats: Sequence[float] = ()) -> dict[str, float]:
    """Measure an excerpt.

    Parameters
    ----------
    events : sequence of Event
        Notes at three different times or more.
    beats : sequence of float
        Times of beats; with fewer than four, phrasing is measured between onsets.

    Returns
    -------
    dict of str to float
        Onsets a second, nepers, units of velocity, and a ratio, by the names of :data:`BOUNDS`;
        one of the two measures of phrasing.
    """
    import numpy as np

    onsets = _onsets(events)
    values = {"tempo": len(onsets) / SECONDS, "articulation": _articulation(events)}
    if len(beats) >= 4:
        values["phrasing by beats"] = float(np.std(np.log(np.diff(beats))))
    else:
        values["phrasing by onsets"] = _unevenness(onsets)
    starts = np.array([event.start for event in events])
    values["dynamics"] = _deviation(starts, np.array([float(event.velocity) for event in events]))
    return values


def levels(values: dict[str, float]) -> tuple[int, int, int, int]:
    """The nearest level of tempo, phrasing, dynamics and articulation."""
    by = {name.split()[0]: bisect(BOUNDS[name], value) for name, value in values.items()}
    return by["tempo"], by["phrasing"], by["dynamics"], by["articulation"]


def calibrated(size: str = "full") -> dict[str, tuple[float, ...]]:
    """Compute :data:`BOUNDS` from the training performances of a plan.

    To print them: ``python -m kindred.expressive.note_measures``.
    """
    import numpy as np

    from kindred.demo.score import read_score
    from kindred.expressive.aspects import ASPECTS
    from kindred.expressive.perform import perform, warped
    from kindred.expressive.plan import make_plan

    found: dict[str, list[list[float]]] = {name: [[] for _ in range(LEVELS)] for name in BOUNDS}
    scores = {}
    for clip in make_plan(size):
        if (clip.set, clip.split) != ("factorial", "train"):
            continue
        if clip.recipe.source not in scores:
            scores[clip.recipe.source] = read_score(clip.recipe.source)
        played = perform(scores[clip.recipe.source], clip.recipe, seconds=SECONDS)
        tempo, depth = (ASPECTS[which].steps[clip.levels[which]] for which in (0, 1))
        beats = [
            warped(number * _BEAT, depth=depth, phase=clip.recipe.phase) / tempo
            for number in range(40)
        ]
        values = measure(played.events) | measure(
            played.events, [beat for beat in beats if beat <= SECONDS]
        )
        for name, value in values.items():
            found[name][clip.level(name.split()[0])].append(value)
    medians = {name: [float(np.median(each)) for each in of] for name, of in found.items()}
    return {
        name: tuple(round((of[level] + of[level + 1]) / 2, 3) for level in range(LEVELS - 1))
        for name, of in medians.items()
    }


def _onsets(events: Sequence[Event]) -> NDArray[np.float64]:
    import numpy as np

    starts = np.sort([event.start for event in events])
    return starts[np.insert(np.diff(starts) > _ROLL, 0, True)]


def _deviation(times: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Standard deviation of values smoothed over a second."""
    import numpy as np

    centres = np.arange(0, SECONDS, _STEP)
    near = np.abs(times - centres[:, None]) <= _WINDOW / 2
    count = near.sum(axis=1)
    return float(np.std((near @ values)[count > 0] / count[count > 0]))


def _unevenness(onsets: NDArray[np.float64]) -> float:
    """Median distance of the ratio of successive intervals to a ratio of note values, nepers."""
    import numpy as np

    ratios = np.diff(np.log(np.diff(onsets)))
    written = np.log([one / other for one in _VALUES for other in _VALUES])
    return float(np.median(np.abs(ratios[:, None] - written).min(axis=1)))


def _articulation(events: Sequence[Event]) -> float:
    import numpy as np

    ratios = []
    ordered = sorted(events, key=lambda event: event.start)
    for index, event in enumerate(ordered):
        for other in ordered[index + 1 :]:
            apart = other.start - event.start
            same = other.channel == event.channel and abs(other.pitch - event.pitch) <= _NEAR
            if same and apart > _ROLL:
                ratios.append((event.end - event.start) / apart)
                break
    return float(np.median(ratios)) if ratios else 1.0


if __name__ == "__main__":
    for name, bounds in calibrated().items():
        print(f'    "{name}": {bounds},')
