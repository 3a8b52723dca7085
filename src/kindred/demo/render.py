"""Rendering the demo library: which files are missing, and making them side by side.

``manifest.json`` in the folder remembers each finished file by the digest of its recipe and its
size. A file that agrees with it is not made again, so a run that was killed goes on where it
stopped, and a change to one piece renders that piece alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from kindred.demo.ensembles import BY_NAME
from kindred.demo.tracks import Track, demo_tracks
from kindred.errors import KindredError
from kindred.processes import shared_out

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"

#: Called as ``progress(done, total, title)`` after each track.
Progress = Callable[[int, int, str], None]


def render_demo(
    folder: Path,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    limit: int | None = None,
) -> list[Path]:
    """Render the demo library; files that are there already are left alone.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    progress : callable, optional
        ``progress(done, total, title)`` after each track. What it raises ends the run; finished
        tracks stay.
    workers : int, optional
        Processes; by default one a core, at most 8. One renders in this process.
    limit : int, optional
        Only so many tracks, taken evenly from the whole library.

    Returns
    -------
    list of Path
        The files, album by album.

    Raises
    ------
    MissingPackage
        When music21, tinysoundfont or the soundfont is not installed.
    KindredError
        When the folder cannot be written, or a worker was killed.
    """
    from kindred.demo.synth import check_packages

    folder = Path(folder)
    tracks = demo_tracks()
    if limit is not None and limit < len(tracks):
        tracks = [tracks[index * len(tracks) // limit] for index in range(limit)]
    manifest = _read_manifest(folder)
    pending = [track for track in tracks if not _is_complete(folder, track, manifest)]
    done = len(tracks) - len(pending)
    if progress and done:
        progress(done, len(tracks), "files that are there already")
    if pending:
        check_packages()
        _make(folder)
        # Closed at once when progress raises, so that no worker goes on behind a cancelled run.
        with closing(shared_out(partial(_render, folder), pending, workers=workers)) as rendered:
            for track, size in rendered:
                manifest[track.path] = {"recipe": track.digest, "bytes": size}
                _write_manifest(folder, manifest)
                done += 1
                if progress:
                    progress(done, len(tracks), track.title)
    return [folder / track.path for track in tracks]


def track_sound(track: Track) -> np.ndarray:
    """Play one track.

    Returns
    -------
    numpy.ndarray
        float32 ``[frames, 2]`` at the track's sample rate; the same track gives the same bytes.

    Raises
    ------
    MissingPackage, KindredError
    """
    from kindred.demo.performance import perform
    from kindred.demo.score import read_score
    from kindred.demo.synth import synthesise

    performance = perform(
        read_score(track.source), BY_NAME[track.artist], chance=Random(track.seed)
    )
    return synthesise(performance, sample_rate=track.sample_rate)


def _render(folder: Path, track: Track) -> int:
    from kindred.demo.files import write_track

    return write_track(folder, track=track, sound=track_sound(track), cover=_cover(track.album))


@lru_cache(maxsize=64)
def _cover(album: str) -> bytes:
    from kindred.demo.cover import draw_cover

    return draw_cover(album)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KindredError(
            f"The folder {folder} for the demo library cannot be made ({error.strerror}). "
            "Give another folder."
        ) from error


def _is_complete(folder: Path, track: Track, manifest: dict[str, Any]) -> bool:
    entry = manifest.get(track.path)
    if not isinstance(entry, dict) or entry.get("recipe") != track.digest:
        return False
    path = folder / track.path
    return path.is_file() and path.stat().st_size == entry.get("bytes")


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        entries = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # none yet, or not ours: every file is made again
    return entries if isinstance(entries, dict) else {}


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    path = folder / MANIFEST
    part = path.with_name(f".{MANIFEST}.part")
    try:
        part.write_text(json.dumps(manifest, indent=1, ensure_ascii=False), "utf-8")
        os.replace(part, path)
    except OSError as error:
        raise KindredError(
            f"{path} cannot be written ({error.strerror}). Make room, then run the demo again."
        ) from error
