"""The audio of an artifact: mono PCM 16 bit WAV files, converted once.

Which file was made of which bytes is noted in ``audio.jsonl`` of the folder worked in. A file that
is noted there, or in the artifact that is about to be replaced, is checked and kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from kindred.artifacts import layout, table
from kindred.artifacts.building import reuse
from kindred.artifacts.layout import Entry
from kindred.audio.content import sha256_of
from kindred.audio.decode import open_audio
from kindred.errors import ArtifactError, AudioError, LibraryError, StorageError
from kindred.storage.backend import StorageBackend

JOURNAL = "audio.jsonl"
_AT_ONCE = 64  # tracks


class Wave(NamedTuple):
    """The audio file made of a track's bytes; ``entry`` is None where ``reason`` says why not."""

    track_id: str
    content_hash: str
    entry: Entry | None
    reason: str = ""


#: What makes two audio files the same: name, SHA-256 of the original, sample rate.
_Made = tuple[str, str, int]


def name_of(track_id: str) -> str:
    """The file of a track; what cannot be in a file name is percent-encoded."""
    return f"{layout.AUDIO}/{quote(track_id, safe='')}.wav"


def convert(
    storage: StorageBackend,
    tracks: Sequence[tuple[str, str]],
    work: Path,
    target: Path,
    *,
    sample_rate: int,
) -> Generator[Wave, None, None]:
    """Convert the audio of tracks into ``work``, several at once; what is there already is kept.

    Parameters
    ----------
    storage : StorageBackend
    tracks : sequence of (str, str)
        Their ``track_id`` and ``content_hash``; a file with other bytes is not taken.
    work, target : Path
        The folder worked in, and the artifact that will be replaced, if any.
    sample_rate : int
        Hz.

    Yields
    ------
    Wave
        One a track, in their order. Whoever stops early has all that was noted so far.
    """
    there = [(work, _noted(work)), (target, _made_before(target))]

    def one(track: tuple[str, str]) -> Wave:
        return _one(storage, track, work, there, sample_rate)

    (work / layout.AUDIO).mkdir(exist_ok=True)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with (work / JOURNAL).open("a", encoding="utf-8") as journal:
            for start in range(0, len(tracks), _AT_ONCE):
                for wave in pool.map(one, tracks[start : start + _AT_ONCE]):
                    if wave.entry is not None:
                        made = (name_of(wave.track_id), wave.content_hash, sample_rate)
                        journal.write(json.dumps([*made, *vars(wave.entry).values()]) + "\n")
                        journal.flush()
                    yield wave
    finally:
        pool.shutdown(cancel_futures=True)


def _one(
    storage: StorageBackend,
    track: tuple[str, str],
    work: Path,
    there: list[tuple[Path, dict[_Made, Entry]]],
    sample_rate: int,
) -> Wave:
    track_id, content_hash = track
    name = name_of(track_id)
    for folder, known in there:
        entry = known.get((name, content_hash, sample_rate))
        if entry is not None and reuse(folder / name, work / name, entry):
            return Wave(*track, entry)
    try:
        source = storage.audio_path(track_id)
        if sha256_of(source) != content_hash:
            return Wave(*track, None, "its file changed since it was read")
        _write(source, work / name, sample_rate)
    except (AudioError, LibraryError, StorageError) as error:
        return Wave(*track, None, str(error))
    path = work / name
    return Wave(*track, Entry(path.stat().st_size, layout.sha256_of(path)))


def _write(source: Path, target: Path, sample_rate: int) -> None:
    import soundfile

    temporary = target.with_name(f"{target.name}.tmp")
    try:
        with (
            open_audio(source, sample_rate=sample_rate) as stream,
            soundfile.SoundFile(
                temporary, "w", sample_rate, 1, subtype="PCM_16", format="WAV"
            ) as out,
        ):
            for block in stream.blocks():
                out.write(block)  # samples beyond full scale are clipped
        os.replace(temporary, target)
    except soundfile.SoundFileRuntimeError as error:
        raise OSError(f"{target.name} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _noted(work: Path) -> dict[_Made, Entry]:
    """What the journal says; a last line that was cut off is left out."""
    known: dict[_Made, Entry] = {}
    if (work / JOURNAL).exists():
        for line in (work / JOURNAL).read_text("utf-8").splitlines():
            try:
                name, content_hash, rate, size, sha256 = json.loads(line)
            except ValueError:
                continue
            known[name, content_hash, rate] = Entry(size, sha256)
    return known


def _made_before(target: Path) -> dict[_Made, Entry]:
    """What the artifact to be replaced says of its audio; nothing where it cannot be read."""
    try:
        manifest = layout.read_manifest(target)
        return {
            (audio, track.content_hash, manifest.audio_rate): manifest.files[audio]
            for track, audio in table.read_rows(target)
            if audio in manifest.files
        }
    except ArtifactError:
        return {}
