"""Clips as sound: 12 seconds, mono, from a recipe alone.

A clip begins in the music and ends in it: what is silent at an end is a rest. Its equaliser comes
first, then its loudness is set (gated, LUFS: by RMS short notes would be told by loudness alone),
then its gain; what would clip is made softer as a whole. Files are FLAC of 16 bits,
``<folder>/<first two digits>/<clip_id>.flac``, each written once and whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from kindred.audio.loudness import LoudnessMeter
from kindred.demo.score import Score, read_score
from kindred.errors import ExpressiveError
from kindred.expressive.clips import SAMPLE_RATE, SECONDS, Clip, Recipe
from kindred.expressive.perform import perform
from kindred.processes import shared_out
from kindred.work import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kindred.demo.performance import Performance

FRAMES = round(SECONDS * SAMPLE_RATE)
#: The longest offset, in seconds: so much more than a clip is played.
LONGEST_OFFSET = 0.25
_LUFS = -30.0  # leaves room for a gain of 6 dB and the peaks of short notes
_PEAK = 10 ** (-1 / 20)
_HUMAN = "midi:"


def render_clip(recipe: Recipe, *, human: Path | None = None) -> NDArray[np.float32]:
    """Play a recipe.

    Parameters
    ----------
    recipe : Recipe
    human : Path, optional
        Folder with the MIDI files that recipes of people's performances name.

    Returns
    -------
    numpy.ndarray
        float32 [264600], mono at 22,050 Hz, peaks at most at -1 dBFS. The same recipe gives the
        same samples.

    Raises
    ------
    ExpressiveError
        When the recipe has no such level, the score too few notes, or the MIDI file is missing.
    MissingPackage
        When music21, tinysoundfont or a soundfont is not installed.
    """
    import numpy as np

    from kindred.demo.synth import play

    performance = _performance(recipe, human)
    sound = play(performance, sample_rate=SAMPLE_RATE, font=recipe.soundfont).mean(axis=1)
    sound = tilted(sound, recipe.tilt_db)
    first = round(recipe.offset_ms / 1000 * SAMPLE_RATE)
    sound = sound[first : first + FRAMES]
    meter = LoudnessMeter(SAMPLE_RATE)
    meter.add(sound)
    loudness = meter.loudness()
    if loudness is None:
        raise ExpressiveError(f"{recipe.source} is silent as {recipe} plays it.")
    gain = 10 ** ((_LUFS - loudness + recipe.gain_db) / 20)
    gain = min(gain, _PEAK / float(np.abs(sound).max()))
    return (sound * gain).astype(np.float32)


def tilted(sound: NDArray[np.float32], db_per_octave: float) -> NDArray[np.float32]:
    """Raise what lies above 1 kHz by so many dB an octave and lower what lies below; [frames]."""
    import numpy as np
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    if not db_per_octave:
        return sound
    size = next_fast_len(len(sound) + SAMPLE_RATE // 4, real=True)  # room for the filter to ring
    octaves = np.log2(np.maximum(rfftfreq(size, 1 / SAMPLE_RATE), 31.25) / 1000)
    spectrum = rfft(sound, size) * 10 ** (db_per_octave * octaves / 20)
    return np.asarray(irfft(spectrum, size)[: len(sound)], np.float32)


def audio_path(folder: Path, clip_id: str) -> Path:
    """Where a clip's sound is kept."""
    return Path(folder) / clip_id[:2] / f"{clip_id}.flac"


def render(
    clips: Sequence[Clip],
    folder: Path,
    *,
    human: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Render clips side by side; files that are there and whole are left alone.

    Parameters
    ----------
    clips : sequence of Clip
    folder : Path
        Made where it is missing. A run that was killed or cancelled goes on where it stopped.
    human : Path, optional
        Folder with the MIDI files of people's performances.
    workers : int, optional
        Processes; by default one a core, at most 8. One renders in this process.
    progress : callable, optional
        ``progress(done, total, words)`` after each work.
    cancelled : callable
        Asked between works; when it says so, what is finished stays.

    Raises
    ------
    ExpressiveError
        As :func:`render_clip`, and when the folder cannot be written.
    MissingPackage
        When music21, tinysoundfont or a soundfont is not installed.
    KindredError
        When a worker was killed.
    """
    folder = Path(folder)
    missing: dict[str, dict[str, Recipe]] = {}
    for clip in clips:
        if not _is_whole(audio_path(folder, clip.clip_id)):
            missing.setdefault(clip.recipe.source, {})[clip.clip_id] = clip.recipe
    total = len({clip.clip_id for clip in clips})
    done = total - sum(map(len, missing.values()))
    if progress:
        progress(done, total, "clips are there already" if done else "clips to render")
    # The longest first, so that the last worker is not left with a long one.
    batches = sorted(missing.values(), key=len, reverse=True)
    work = partial(_render_batch, folder=folder, human=human)
    for batch, _ in shared_out(work, batches, workers=workers, cancelled=cancelled):
        done += len(batch)
        if progress:
            progress(done, total, next(iter(batch.values())).source)


def _render_batch(batch: dict[str, Recipe], *, folder: Path, human: Path | None) -> None:
    """Render the clips of one score."""
    for clip_id, recipe in batch.items():
        _write(audio_path(folder, clip_id), render_clip(recipe, human=human))


def _write(path: Path, sound: NDArray[np.float32]) -> None:
    import soundfile

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(part, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        os.replace(part, path)
    except (OSError, soundfile.SoundFileError) as error:
        raise ExpressiveError(
            f"{path} cannot be written ({error}). Make room or give another folder, then render"
            " again: it goes on where it stopped."
        ) from error


def _is_whole(path: Path) -> bool:
    """Whether a clip's file can be read to its end."""
    import soundfile

    if not path.is_file():
        return False
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(FRAMES - 100)
            return file.frames == FRAMES and len(file.read()) == 100
    except soundfile.SoundFileError:
        return False


def _performance(recipe: Recipe, human: Path | None) -> Performance:
    seconds = SECONDS + LONGEST_OFFSET
    if recipe.source.startswith(_HUMAN):
        from kindred.expressive.human import excerpt

        return excerpt(recipe, human, seconds=seconds)
    return perform(_score(recipe.source), recipe, seconds=seconds)


@lru_cache(maxsize=4)
def _score(source: str) -> Score:
    return read_score(source)
