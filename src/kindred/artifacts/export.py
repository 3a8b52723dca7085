"""Writing a library's tracks and vectors of one space as an artifact.

Tracks are read in blocks, so memory does not grow with the library, but for the index: FAISS holds
its vectors. A library that changes meanwhile is read again: what is written is one state of it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kindred.artifacts import layout, table, waves
from kindred.artifacts.building import building, keep_only, publish
from kindred.artifacts.index import write_index
from kindred.artifacts.layout import Entry, Manifest, write_json
from kindred.artifacts.read import BLOCK
from kindred.artifacts.verify import Progress, library_hash, verify
from kindred.artifacts.waves import Wave
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import ArtifactError
from kindred.storage.backend import StorageBackend

#: Times a library that changes is read again before the export gives up.
_READINGS = 5


@dataclass
class ExportSummary:
    """What was written. ``no_audio`` holds (track_id, reason); ``index`` is flat, hnsw or empty."""

    path: str
    tracks: int = 0
    left_out: int = 0
    audio: int = 0
    no_audio: list[tuple[str, str]] = field(default_factory=list)
    index: str = ""
    bytes: int = 0
    cancelled: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """The summary for people."""
        if self.cancelled:
            return f"Stopped; {self.path} is as it was, the next export goes on with the audio"
        parts = [f"{self.tracks} tracks"]
        if self.left_out:
            parts.append(f"{self.left_out} left out, without an up-to-date vector")
        if self.audio:
            parts.append(f"audio of {self.audio}")
        if self.no_audio:
            parts.append(f"audio of {len(self.no_audio)} missing")
        if self.index:
            parts.append(f"{self.index} index")
        return f"{self.path}: {', '.join(parts)}, {self.bytes / 1e6:,.1f} MB"


class _Cancelled(Exception):
    """The export was asked to stop; never leaves this module."""


def export_artifact(
    storage: StorageBackend,
    space: EmbeddingSpace,
    target: Path,
    *,
    audio: bool = False,
    audio_rate: int | None = 16_000,
    index: bool = True,
    ann_threshold: int = 50_000,
    evaluation: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ExportSummary:
    """Write an artifact; an older one in its place is replaced once the new one is whole.

    Parameters
    ----------
    storage : StorageBackend
    space : EmbeddingSpace
        Tracks with an up-to-date vector in this space are written.
    target : Path
        The artifact's folder, usually named by :func:`kindred.artifacts.layout.folder_name`.
    audio : bool
        Write every track's audio as well. A track whose audio cannot be had stays, without it.
    audio_rate : int or None
        Hz; None is the model's own.
    index : bool
        Write a FAISS index: exact, or HNSW from ``ann_threshold`` tracks on.
    evaluation : mapping, optional
        Written as ``eval/eval_results.json``.
    progress : callable, optional
        Called with (steps done, steps in all, what).
    cancelled : callable
        Asked after every track; the target stays as it is, converted audio is kept.

    Raises
    ------
    ArtifactError
        When no track has a vector, the target is something else, or it cannot be written.
    """
    rate = (audio_rate or space.sample_rate) if audio else 0
    target = target.absolute()
    summary = ExportSummary(str(target))
    with building(target, "building") as work:
        export = _Export(storage, space, target, work, summary, progress, cancelled)
        try:
            meta = export.tables(rate)
            if index:
                summary.index = write_index(
                    work, summary.tracks, space.dims, ann_threshold=ann_threshold, step=export.step
                )
        except _Cancelled:
            summary.cancelled = True
            return summary
        write_json(work, layout.META, meta)
        if evaluation is not None:
            write_json(work, layout.EVAL, dict(evaluation))
        manifest = export.manifest(rate)
        (work / layout.MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        verify(work, checksums=False)
        publish(work, target)
    summary.bytes = manifest.size
    return summary


@dataclass
class _Export:
    """One export into the folder ``work``."""

    storage: StorageBackend
    space: EmbeddingSpace
    target: Path
    work: Path
    summary: ExportSummary
    progress: Progress | None
    cancelled: Callable[[], bool]
    waves: dict[tuple[str, str], Wave] = field(default_factory=dict)
    """What became of the audio, by track_id and content_hash."""
    audio: dict[str, Entry] = field(default_factory=dict)
    """Audio files by name."""

    def tables(self, rate: int) -> dict[str, Any]:
        """Write audio, vectors, ids and the table of one state of the library."""
        keep_only(self.work, self._audio_files() if rate else ())
        for _ in range(_READINGS):
            version = self.storage.version()
            tracks = sorted(self.storage.embedded_hashes(self.space).items())
            if rate:
                self._convert(tracks, rate)
            written = self._rows(tracks)
            if version == self.storage.version():
                break
        else:
            raise ArtifactError(
                "The library keeps changing while it is exported. Wait for the ingest to finish,"
                " then export again."
            )
        if not written:
            raise ArtifactError(
                f"No track has an up-to-date {self.space.model} vector in this space. Run `kindred"
                f" ingest --encoder {self.space.model}` first."
            )
        made = [self.waves[track] for track in written if track in self.waves]
        self.audio = {waves.name_of(wave.track_id): wave.entry for wave in made if wave.entry}
        self.summary.no_audio = [(wave.track_id, wave.reason) for wave in made if wave.reason]
        self.summary.tracks, self.summary.audio = len(written), len(self.audio)
        self.summary.left_out = self.storage.count_tracks() - len(written)
        return {
            **layout.space_to_dict(self.space),
            "rows": len(written),
            "dtype": "float32",
            "byte_order": "little",
            "order": "C",
            "library_hash": library_hash(written),
        }

    def _audio_files(self) -> list[str]:
        names = layout.names_in(self.work)
        return [name for name in names if name.startswith(layout.AUDIO) or name == waves.JOURNAL]

    def _convert(self, tracks: Sequence[tuple[str, str]], rate: int) -> None:
        todo = [track for track in tracks if track not in self.waves]
        with closing(
            waves.convert(self.storage, todo, self.work, self.target, sample_rate=rate)
        ) as converted:
            for done, wave in enumerate(converted, start=1):
                self.waves[wave.track_id, wave.content_hash] = wave
                self.step(done, len(todo), f"audio of {wave.track_id}")

    def _rows(self, tracks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Write rows in blocks; return the (track_id, content_hash) of those written."""
        for name in layout.NEEDED:
            (self.work / name).parent.mkdir(exist_ok=True)
        written: list[tuple[str, str]] = []
        with (
            (self.work / layout.VECTORS).open("wb") as vectors,
            (self.work / layout.TRACKS).open(
                "w", encoding="utf-8", errors="replace", newline=""
            ) as file,
        ):
            rows = csv.writer(file)
            rows.writerow(table.COLUMNS)
            for start in range(0, len(tracks), BLOCK):
                part = dict(tracks[start : start + BLOCK])
                known = {track.track_id: track for track in self.storage.get_tracks(list(part))}
                found, matrix = self.storage.get_embeddings(self.space, list(part))
                kept = []
                for row, track_id in enumerate(found):
                    track = known.get(track_id)
                    if track is None or track.content_hash != part[track_id]:
                        continue  # the file changed since it was embedded
                    kept.append(row)
                    wave = self.waves.get((track_id, track.content_hash))
                    audio = waves.name_of(track_id) if wave and wave.entry else ""
                    rows.writerow(table.to_row(track, audio))
                    written.append((track_id, track.content_hash))
                vectors.write(np.ascontiguousarray(matrix[kept], "<f4").tobytes())
                self.step(start + len(part), len(tracks), "tables")
        write_json(self.work, layout.IDS, [track_id for track_id, _ in written])
        return written

    def manifest(self, rate: int) -> Manifest:
        """Add the schemas, remove what is not needed and list every file."""
        for name, schema in layout.SCHEMAS.items():
            (self.work / schema).parent.mkdir(exist_ok=True)
            (self.work / schema).write_text(layout.schema_text(name), encoding="utf-8")
        others = set(layout.names_in(self.work)).difference(self._audio_files())
        keep_only(self.work, others | self.audio.keys())
        files = dict(self.audio)
        for name in others:
            path = self.work / name
            files[name] = Entry(path.stat().st_size, layout.sha256_of(path))
        return Manifest(
            space=self.space,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            created_by=layout.program(),
            counts={
                "tracks": self.summary.tracks,
                "audio": len(self.audio),
                "left_out": self.summary.left_out,
            },
            audio_rate=rate if self.audio else 0,
            files=files,
        )

    def step(self, done: int, total: int, what: str) -> None:
        """Report, and stop where that was asked for."""
        if self.progress:
            self.progress(done, total, what)
        if self.cancelled():
            raise _Cancelled
