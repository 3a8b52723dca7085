"""Hearing the user's own tracks: features of up to :data:`WINDOWS` windows of 12 s of each.

They are kept by the audio's content and the features' id, so that a track is described once,
whatever scorers come::

    <folder>/<feature_id>/<first two>/<content_hash>.npz   layers float16, starts float64, seconds
    <folder>/<feature_id>/unread.json                      track_id -> why there are none

float16 keeps 11 significant bits. Files are written whole: a run that was killed goes on.
"""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.audio.content import sha256_of
from kindred.audio.decode import open_audio
from kindred.audio.windows import placed_windows
from kindred.errors import AudioError, ExpressiveError, LibraryError, StorageError
from kindred.expressive.clips import SECONDS
from kindred.expressive.scoring import Floats
from kindred.expressive.sources import FeatureSource
from kindred.storage.records import Track
from kindred.storage.whole_files import replacing
from kindred.work import Progress

#: Windows of a track, evenly spaced.
WINDOWS = 8
UNREAD = "unread.json"


@dataclass(frozen=True)
class LibraryClips:
    """Windows of tracks whose features are kept. Clips of a track follow each other in time.

    Attributes
    ----------
    track_ids : tuple of str
        Of each clip.
    starts : float64 [n]
        Seconds.
    files : tuple of Path
        Where each clip's features are.
    rows : int64 [n]
        Row of each clip in its file.
    unread : dict
        Tracks without clips -> why, for those that were tried.
    """

    track_ids: tuple[str, ...]
    starts: NDArray[np.float64]
    files: tuple[Path, ...]
    rows: NDArray[np.int64]
    unread: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.track_ids)

    @cached_property
    def places(self) -> dict[str, tuple[int, ...]]:
        """The clips of each track, by their number here."""
        found: dict[str, list[int]] = {}
        for place, track_id in enumerate(self.track_ids):
            found.setdefault(track_id, []).append(place)
        return {track_id: tuple(clips) for track_id, clips in found.items()}

    def features(self, clips: Sequence[int]) -> Floats:
        """Features of clips, by their number here: float32 [n, segments, layers, dims].

        Raises
        ------
        ExpressiveError
            When what was kept is gone or damaged, or there is nothing to read.
        """
        if not len(clips):
            raise ExpressiveError("There are no clips to read. Analyse the library first.")
        parts = []
        for path, group in itertools.groupby(clips, key=lambda clip: self.files[clip]):
            kept = _read(path)
            if kept is None:
                raise ExpressiveError(
                    f"The features kept in {path} are gone or damaged. Analyse the library again."
                )
            parts.append(kept[1][[self.rows[clip] for clip in group]])
        return np.asarray(np.concatenate(parts), np.float32)


def analyse(
    tracks: Sequence[Track],
    source: FeatureSource,
    folder: Path,
    *,
    audio_path: Callable[[str], Path],
    workers: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> LibraryClips:
    """Hear tracks that were not heard yet. A track that cannot be read never stops the rest.

    Parameters
    ----------
    tracks : sequence of Track
    source : FeatureSource
    folder : Path
        Where features are kept.
    audio_path : callable
        The file of a track, by its id; as ``StorageBackend.audio_path``.
    workers : int
        Threads; 0 is one for each core.
    progress : callable, optional
        Called with (tracks done, tracks in all, title).
    cancelled : callable
        Asked after every track; what was heard is kept, and the next call goes on.

    Returns
    -------
    LibraryClips
        Of all tracks that were heard, now or before.
    """
    place = _place(folder, source)
    place.mkdir(parents=True, exist_ok=True)
    unread: dict[str, str] = {}
    waiting: deque[tuple[Track, Future[None]]] = deque()
    done = 0
    with ThreadPoolExecutor(workers or _cores(), thread_name_prefix="kindred-hear") as threads:
        try:
            rest = iter(tracks)
            for track in itertools.islice(rest, 2 * (workers or _cores())):
                waiting.append((track, threads.submit(_hear, track, source, place, audio_path)))
            while waiting:
                track, heard = waiting.popleft()
                try:
                    heard.result()
                except (AudioError, LibraryError, StorageError) as error:
                    unread[track.track_id] = str(error)
                done += 1
                if progress:
                    progress(done, len(tracks), track.title or track.track_id)
                if cancelled():
                    break
                for track in itertools.islice(rest, 1):
                    waiting.append((track, threads.submit(_hear, track, source, place, audio_path)))
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
    with replacing(place / UNREAD) as out:
        out.write(json.dumps(unread, ensure_ascii=False, indent=1).encode())
    return analysed(tracks, source, folder)


def analysed(tracks: Sequence[Track], source: FeatureSource, folder: Path) -> LibraryClips:
    """The clips of those tracks that were heard already; nothing is computed."""
    place = _place(folder, source)
    track_ids: list[str] = []
    files: list[Path] = []
    starts, rows = [np.zeros(0)], [np.zeros(0, np.int64)]
    for track in tracks:
        path = _file(place, track)
        found = _arrays(path, "starts") if track.content_hash else None
        if found is not None:
            [begins] = found
            track_ids += [track.track_id] * len(begins)
            files += [path] * len(begins)
            starts.append(begins)
            rows.append(np.arange(len(begins)))
    try:
        unread = json.loads((place / UNREAD).read_text("utf-8"))
    except (OSError, ValueError):  # nothing was tried yet
        unread = {}
    known = {track.track_id for track in tracks} - set(track_ids)
    return LibraryClips(
        tuple(track_ids),
        np.concatenate(starts),
        tuple(files),
        np.concatenate(rows),
        {track_id: why for track_id, why in unread.items() if track_id in known},
    )


def clip_features(path: Path, source: FeatureSource, *, start: float = 0.0) -> Floats:
    """Features of the 12 s of a file that begin at a second: float32 [1, segments, layers, dims].

    What is missing at the end is completed by repetition, as in an ingest.

    Raises
    ------
    AudioError
        When the file cannot be used.
    ExpressiveError
        When it has less than a second from there on.
    """
    first, window = round(start * source.sample_rate), _window(source)
    parts, size = [np.zeros(0, np.float32)], 0
    with open_audio(path, sample_rate=source.sample_rate) as stream:
        for block in stream.blocks():
            size += block.size
            if size > first:
                parts.append(block[max(0, first - (size - block.size)) :].copy())
            if size >= first + window:
                break
    audio = np.concatenate(parts)[:window]
    if first < 0 or audio.size < source.sample_rate:
        raise ExpressiveError(
            f"{path.name} has {size / source.sample_rate:.1f} s of audio: a clip from"
            f" {start:.1f} s on cannot be heard. Choose an earlier place."
        )
    return source.layers(np.resize(audio, window)[None])


def _hear(
    track: Track, source: FeatureSource, place: Path, audio_path: Callable[[str], Path]
) -> None:
    """Write the features of a track's windows, unless they are there."""
    path = _file(place, track)
    if track.content_hash and _read(path) is not None:
        return
    audio = audio_path(track.track_id)
    if not track.content_hash or sha256_of(audio) != track.content_hash:
        raise LibraryError(f"{audio} changed since it was read. Ingest it again.")
    window = _window(source)
    with open_audio(audio, sample_rate=source.sample_rate) as stream:
        starts, windows = placed_windows(stream.blocks(), window=window, hop=window, count=WINDOWS)
    layers = source.layers(windows).astype(np.float16)
    if not np.isfinite(layers).all():
        raise AudioError("no-vector", f"{audio} gave features that are not finite.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as out:
        np.savez(out, starts=starts / source.sample_rate, layers=layers)


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float16]] | None:
    """Starts and features of a file; None where it is missing or damaged."""
    found = _arrays(path, "starts", "layers")
    if found is None or found[1].ndim != 4 or len(found[0]) != len(found[1]):
        return None
    return found[0], found[1]


def _arrays(path: Path, *names: str) -> list[NDArray[Any]] | None:
    """Arrays of a file, of which no other is read; None where it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None


def _place(folder: Path, source: FeatureSource) -> Path:
    return folder / source.feature_id


def _file(place: Path, track: Track) -> Path:
    return place / track.content_hash[:2] / f"{track.content_hash}.npz"


def _window(source: FeatureSource) -> int:
    return round(SECONDS * source.sample_rate)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
