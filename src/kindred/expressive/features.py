"""Features of rendered clips: computed once, kept by the clip's content and the features' id.

::

    <folder>/<feature id>-<revision of proxies>/<first two digits>/<clip_id>.npz

A file holds ``layers``, float16 [segments, layers, dims], and ``proxies``, float32 [8]; it is
written under another name and renamed. A run that was killed goes on where it stopped, and one that
meets a damaged file computes it again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kindred.errors import AudioError, ExpressiveError
from kindred.expressive import proxies
from kindred.expressive.clips import SAMPLE_RATE, SECONDS, Clip
from kindred.expressive.scoring import Floats
from kindred.expressive.sources import FeatureSource
from kindred.processes import shared_out
from kindred.storage.whole_files import replacing
from kindred.work import Progress


@dataclass(frozen=True)
class Features:
    """Features of clips, in the clips' order.

    Attributes
    ----------
    array : float16 [n, segments, layers, dims]
    proxies : float32 [n, 8]
        See :data:`kindred.expressive.proxies.NAMES`.
    """

    array: NDArray[np.float16]
    proxies: Floats


def extract(
    clips: Sequence[Clip],
    audio_folder: Path,
    folder: Path,
    source: FeatureSource,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Compute the features of clips that have none yet; :func:`load` reads them.

    Parameters
    ----------
    clips : sequence of Clip
    audio_folder : Path
        Where :func:`kindred.expressive.render.render` put their sound.
    folder : Path
        Of features; made where it is missing.
    source : FeatureSource
        One that may not work in several processes works in this one.
    workers : int, optional
        Processes; by default one a core, at most 8.
    progress : callable, optional
        ``progress(done, total, words)`` after each clip.
    cancelled : callable
        Asked between clips; when it says so, what is finished stays.

    Raises
    ------
    ExpressiveError
        When a clip's sound is missing, damaged or of another length, its features are not finite,
        or the folder cannot be written.
    KindredError
        When a worker was killed, or the source's weights cannot be used.
    """
    place = _place(folder, source)
    ids = dict.fromkeys(clip.clip_id for clip in clips)
    pending = [each for each in ids if _read(_file(place, each), source) is None]
    done = len(ids) - len(pending)
    if progress:
        progress(done, len(ids), "clips are there already" if done else "clips to listen to")
    work = partial(_extract, audio_folder=Path(audio_folder), place=place, source=source)
    share = workers if source.forks else 1
    for clip_id, _ in shared_out(work, pending, workers=share, cancelled=cancelled):
        done += 1
        if progress:
            progress(done, len(ids), clip_id)


def load(clips: Sequence[Clip], folder: Path, source: FeatureSource) -> Features:
    """Read the features of clips.

    Raises
    ------
    ExpressiveError
        When those of a clip are missing or damaged, or were made by another source or revision.
    """
    place = _place(folder, source)
    array = np.empty((len(clips), *source.shape), np.float16)
    rows = np.empty((len(clips), len(proxies.NAMES)), np.float32)
    absent = []
    for number, clip in enumerate(clips):
        found = _read(_file(place, clip.clip_id), source)
        if found is None:
            absent.append(clip.clip_id)
        else:
            array[number], rows[number] = found
    if absent:
        raise ExpressiveError(
            f"{len(absent)} of {len(clips)} clips have no whole features of {source.title}"
            f" ({source.feature_id}) in {place}, {absent[0]} first. Extract them again: what is"
            " there stays."
        )
    return Features(array, rows)


def _extract(clip_id: str, *, audio_folder: Path, place: Path, source: FeatureSource) -> None:
    import soxr
    from threadpoolctl import threadpool_limits

    sound = _sound(audio_folder, clip_id)
    heard = sound
    if source.sample_rate != SAMPLE_RATE:
        heard = soxr.resample(sound, SAMPLE_RATE, source.sample_rate)
    # Processes that share the machine need no threads of their own.
    with threadpool_limits(1 if source.forks else None):
        values = source.layers(heard[None])[0]
        row = proxies.proxies(sound[None], SAMPLE_RATE)[0]
    with np.errstate(over="ignore"):  # told below
        layers = values.astype(np.float16)
    if not np.isfinite(layers).all():
        raise ExpressiveError(
            f"{source.title} gives values for clip {clip_id} that are not finite in 16 bits."
            " Its weights may be damaged: fetch them again."
        )
    path = _file(place, clip_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as out:
            np.savez(out, layers=layers, proxies=row)
    except OSError as error:
        raise ExpressiveError(
            f"{path} cannot be written ({error.strerror}). Make room or give another folder, then"
            " extract again: it goes on where it stopped."
        ) from error


def _sound(audio_folder: Path, clip_id: str) -> Floats:
    """A clip's samples at 22,050 Hz, whatever rate its file has."""
    from kindred.audio.decode import decode
    from kindred.expressive.render import audio_path

    path = audio_path(audio_folder, clip_id)
    try:
        sound = decode(path, sample_rate=SAMPLE_RATE)
    except AudioError as error:
        raise ExpressiveError(
            f"The sound of clip {clip_id}, {path}, cannot be used. {error} Render the clips again:"
            " those that are whole stay."
        ) from error
    wanted = round(SECONDS * SAMPLE_RATE)
    if abs(sound.size - wanted) > 1:  # resampling may round
        raise ExpressiveError(
            f"{path} has {sound.size / SAMPLE_RATE:.2f} s of sound, a clip has {SECONDS:g} s."
            " Delete it and render the clips again."
        )
    return np.resize(sound, wanted)


def _read(path: Path, source: FeatureSource) -> tuple[NDArray[np.float16], Floats] | None:
    """A clip's features; None where they are missing or damaged."""
    try:
        # Opened here: NumPy leaves a file that is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            layers, row = arrays["layers"], arrays["proxies"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    whole = layers.shape == source.shape and row.shape == (len(proxies.NAMES),)
    return (layers, row) if whole and np.isfinite(layers).all() else None


def _place(folder: Path, source: FeatureSource) -> Path:
    return Path(folder) / f"{source.feature_id}-{proxies.REVISION}"


def _file(place: Path, clip_id: str) -> Path:
    return place / clip_id[:2] / f"{clip_id}.npz"
