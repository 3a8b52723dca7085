"""The library as a whole: what is in it, and tables of metadata brought in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kindred.audio.content import sha256_of
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import LibraryError
from kindred.library.composers import standardise_composer
from kindred.library.ingest import Progress
from kindred.library.metadata_csv import MetadataRow, read_metadata_csv
from kindred.library.works import work_of
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Embedding, FileRecord, Track


@dataclass(frozen=True)
class LibrarySummary:
    """Counts over the library. ``hours`` is the audio's duration; ``by_format`` counts tracks."""

    tracks: int
    hours: float
    composers: int
    albums: int
    embedded: int
    without_audio: int
    quarantined: int
    by_format: dict[str, int]


@dataclass(frozen=True)
class ImportSummary:
    """Rows brought in, and ``(line, reason)`` of each row left out."""

    imported: int
    problems: list[tuple[int, str]]
    paths: list[str]
    """Audio files of the imported rows, which are still to be ingested."""


class Catalogue:
    """Reads and corrects what the library knows of its tracks."""

    def __init__(self, storage: StorageBackend) -> None:
        self.storage = storage

    def summary(self, space: EmbeddingSpace) -> LibrarySummary:
        """Count what is there, and how much of it is embedded in a space."""
        tracks = self.storage.list_tracks()
        return LibrarySummary(
            tracks=len(tracks),
            hours=sum(track.duration for track in tracks) / 3600,
            composers=len({track.composer for track in tracks} - {""}),
            albums=len({track.album for track in tracks} - {""}),
            embedded=len(self.storage.embedded_hashes(space)),
            without_audio=sum(not track.paths for track in tracks),
            quarantined=len(self.storage.list_quarantine()),
            by_format=dict(Counter(track.format or "unknown" for track in tracks).most_common()),
        )

    def remove_missing(self) -> int:
        """Remove the tracks whose every file is gone; return how many there were.

        In a shared library, those whose files were on this machine.
        """
        gone = self.storage.tracks_without_files()
        self.storage.delete_tracks(gone)
        return len(gone)

    def tag(self, track_ids: Sequence[str], tag: str, *, remove: bool = False) -> int:
        """Give tracks a tag of the user's own, or take it away; return how many were changed.

        Tags stand in ``extra["tags"]``, separated by "; ", and stay when a file is read again.

        Raises
        ------
        LibraryError
            When the tag is empty or holds a semicolon.
        """
        tag = " ".join(tag.split())
        if not tag or ";" in tag:
            raise LibraryError(f"A tag is a word or some words without a semicolon, got {tag!r}.")
        changed = []
        for track in self.storage.get_tracks(list(dict.fromkeys(track_ids))):
            own = [item for item in track.extra.get("tags", "").split("; ") if item]
            if (tag in own) is not remove:
                continue
            tags = [item for item in own if item != tag] + ([] if remove else [tag])
            extra = {key: value for key, value in track.extra.items() if key != "tags"}
            changed.append(
                replace(track, extra=extra | ({"tags": "; ".join(tags)} if tags else {}))
            )
        self.storage.put_tracks(changed)
        return len(changed)

    def import_csv(
        self,
        path: Path,
        *,
        audio_root: Path | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> ImportSummary:
        """Bring in a table of tracks; what it says wins over the files' own tags.

        Parameters
        ----------
        path : Path
            ``tracks_metadata.csv`` with track_id, album_id, track_no, title, composer, the audio
            path, and duration_sec.
        audio_root : Path, optional
            Folder the audio paths start from; the table's own folder when not given.
        progress : callable, optional
            Called with (rows done, rows in all, title).
        cancelled : callable
            Asked after every row; what is done so far is kept.

        Raises
        ------
        ImportRejected
            When the file as a whole is not such a table.
        """
        root = (audio_root or path.parent).absolute()
        table = read_metadata_csv(path, audio_root=root)
        paths: list[str] = []
        for row in table.rows:
            if cancelled():
                break
            paths.append(self._import(row, root))
            if progress:
                progress(len(paths), len(table.rows), row.title)
        if paths:
            self.storage.add_root(str(root))
        return ImportSummary(len(paths), table.problems, paths)

    def _import(self, row: MetadataRow, root: Path) -> str:
        audio = os.path.join(root, row.audio)
        content_hash = sha256_of(audio)
        before = self.storage.find_track_by_hash(content_hash)
        given: dict[str, Any] = {
            "title": row.title,
            "composer": standardise_composer(row.composer),
            "composer_original": row.composer,
            "album_id": row.album_id,
            "track_no": row.track_no,
            "artist": row.artist,
            "album": row.album,
            "genre": row.genre,
            "year": row.year,
            "work": row.work,
        }
        given = {name: value for name, value in given.items() if value not in ("", None)}
        if "title" in given and "work" not in given:
            given["work"] = work_of(row.title)
        base = before or Track(row.track_id, duration=row.duration or 0.0)
        track = replace(
            base,
            **given,
            track_id=row.track_id,
            content_hash=content_hash,
            extra={**base.extra, **row.extra, "imported": ",".join(given)},
        )
        with self.storage.batch():
            self.storage.put_tracks([track])
            if before is None:
                self.storage.put_files([FileRecord(audio, -1, -1, content_hash, row.track_id)])
            elif before.track_id != row.track_id:
                self._take_over(before, track)
        return audio

    def _take_over(self, before: Track, track: Track) -> None:
        """Give all that one track has to another, which stands for the same bytes."""
        for space, _ in self.storage.spaces():
            found, vectors = self.storage.get_embeddings(space, [before.track_id])
            if found:
                segments = self.storage.get_segments(space, before.track_id)
                embedding = Embedding(track.track_id, track.content_hash, vectors[0], segments)
                self.storage.put_embeddings(space, [embedding])
        small = self.storage.get_thumbnails([before.track_id]).get(before.track_id)
        cover = self.storage.get_cover(before.track_id)
        if cover and small:
            self.storage.put_cover(track.track_id, cover, small)
        self.storage.put_files(
            replace(item, track_id=track.track_id)
            for item in self.storage.list_files()
            if item.track_id == before.track_id
        )
        self.storage.delete_tracks([before.track_id])
