"""From files to tracks: what is new is read, what changed is read again, nothing is read twice.

What decides, for each file:

==============================================  =================================================
the file                                        becomes
==============================================  =================================================
has the size and time it had when last read     nothing to do
has bytes that some track has                   one more path of that track (a copy, or a move)
changed, and was its track's only file          the same track, read and embedded again
is new                                          a new track, its id derived from its SHA-256
was embedded before measures were taken         the same track, read again for them and only once
cannot be used                                  a row in quarantine, tried again once it changes
is gone                                         taken off its track, which stays in the library
==============================================  =================================================

Results are written in small transactions. Killed at any moment, the library holds whole tracks
only, and the next run does the rest.
"""

from __future__ import annotations

import os
import re
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from kindred.audio.tags import thumbnail
from kindred.embeddings.descriptors import DescriptorEncoder
from kindred.embeddings.encoder import Encoder
from kindred.errors import AudioError, LibraryBusy
from kindred.library.composers import standardise_composer
from kindred.library.measures import measured_extra
from kindred.library.pipeline import Pipeline, Reading
from kindred.library.scan import Candidate, Ignored, Refused, resolve_roots, scan
from kindred.library.works import work_of
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Embedding, FileRecord, QuarantineRecord, Track

#: Namespace of track ids: UUIDv5(NAMESPACE, SHA-256 of the file).
NAMESPACE = uuid.UUID("6f0d6c1e-8f5e-5d0a-9a53-6b696e647265")

#: Results are written after this many files or seconds, whichever comes first.
_FLUSH_FILES, _FLUSH_SECONDS = 32, 1.0

#: Reasons that may pass although the file itself does not change.
_PASSING = {"broken-link", "changed", "link-loop", "link-out", "no-permission", "not-a-file"}

Progress = Callable[[int, int, str], None]


@dataclass
class IngestSummary:
    """What a run found and did; counts are files."""

    found: int = 0
    unchanged: int = 0
    measured: int = 0
    added: int = 0
    updated: int = 0
    linked: int = 0
    moved: int = 0
    quarantined: int = 0
    missing: int = 0
    ignored: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    cancelled: bool = False
    stages: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """All fields, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """The summary for people."""
        parts = [
            f"{count} {name}"
            for name, count in (
                ("new", self.added),
                ("changed", self.updated),
                ("moved", self.moved),
                ("copies", self.linked),
                ("measured", self.measured),
                ("unchanged", self.unchanged),
                ("in quarantine", self.quarantined),
                ("gone", self.missing),
            )
            if count
        ]
        text = f"{self.found} audio files: {', '.join(parts) or 'nothing to do'}"
        return f"{text}; stopped, the next run does the rest" if self.cancelled else text


def track_id_of(content_hash: str, *, taken: Callable[[str], bool] = lambda _: False) -> str:
    """UUIDv5 of a SHA-256; a further one where another track holds it since its file changed."""
    name, attempt = content_hash, 1
    while taken(track_id := str(uuid.uuid5(NAMESPACE, name))):
        attempt += 1
        name = f"{content_hash}:{attempt}"
    return track_id


@contextmanager
def library_lock(home: Path) -> Iterator[None]:
    """Hold the right to write to a library; the system frees it when the process dies.

    Raises
    ------
    LibraryBusy
        When another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(home / "ingest.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LibraryBusy(
            f"Another process is adding to the library in {home}. Wait for it to finish, or stop"
            " it, then try again."
        ) from error
    try:
        yield
    finally:
        lock.release()


class Ingest:
    """Brings files into a library.

    Parameters
    ----------
    storage : StorageBackend
    encoder : Encoder
        Makes the vectors; files without one in its space are read.
    home : Path
        The library folder.
    workers : int
        Reader threads; 0 means one fewer than there are cores, since encoding takes one.
    """

    def __init__(
        self, storage: StorageBackend, encoder: Encoder, *, home: Path, workers: int = 0
    ) -> None:
        self.storage = storage
        self.encoder = encoder
        self.home = home
        self.workers = workers or max(1, (os.cpu_count() or 2) - 1)

    def run(
        self,
        paths: Sequence[str | os.PathLike[str]] = (),
        *,
        names: Mapping[str, str] | None = None,
        retry: bool = False,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> IngestSummary:
        """Read what is new below some folders.

        Parameters
        ----------
        paths : sequence of path
            Folders or files; none means every place read before, the library's own included.
        names : mapping, optional
            Name to show, by path, for files whose own name says nothing (uploads).
        retry : bool
            Try quarantined files again although they did not change.
        progress : callable, optional
            Called with (files done, files to read, name of the file).
        cancelled : callable
            Asked after every file; what is done so far is kept.

        Raises
        ------
        LibraryError
            When a path does not exist.
        LibraryBusy
            When another process is writing.
        """
        roots = resolve_roots(paths or self.known_places())
        with library_lock(self.home):
            return _Run(self, roots, names or {}, retry).go(progress, cancelled)

    def known_places(self) -> list[str]:
        """Folders and files read before that are still there, uploads and the demo included."""
        own = (str(self.storage.audio_folder), str(self.home / "demo"))
        return [path for path in (*self.storage.roots(), *own) if os.path.lexists(path)]


class _Run:
    """One pass over some roots."""

    def __init__(
        self, ingest: Ingest, roots: list[str], names: Mapping[str, str], retry: bool
    ) -> None:
        self.storage, self.encoder = ingest.storage, ingest.encoder
        self.home, self.workers = ingest.home, ingest.workers
        self.roots, self.names, self.retry = roots, names, retry
        self.summary = IngestSummary()
        self.files = {item.path: item for item in self.storage.list_files()}
        self.quarantine = {item.path: item for item in self.storage.list_quarantine()}
        self.embedded = self.storage.embedded_hashes(self.encoder.space)
        self.by_hash = {value: key for key, value in self.embedded.items()}
        self.unmeasured: set[str] = set()  # tracks to be read again for their measures
        self.paths_of: dict[str, int] = {}
        for item in self.files.values():
            self.paths_of[item.track_id] = self.paths_of.get(item.track_id, 0) + 1
        self.failed: dict[str, AudioError] = {}  # by content hash, in this run
        self.seen: set[str] = set()
        self.linked: set[str] = set()  # tracks whose bytes were found at a new path
        self.again: list[Candidate] = []
        self.writes: list[Callable[[], None]] = []

    def go(self, progress: Progress | None, cancelled: Callable[[], bool]) -> IngestSummary:
        started, summary = time.perf_counter(), self.summary
        for root in self.roots:
            if not Path(root).is_relative_to(self.home):
                self.storage.add_root(root)
        todo = self._look()
        total = len(todo)
        if progress:
            progress(0, total, "")
        while todo and not summary.cancelled:
            self._read(todo, progress, total, cancelled)
            todo, self.again = self.again, []
        if not summary.cancelled:
            self._forget_missing()
        summary.seconds = time.perf_counter() - started
        return summary

    def _read(
        self,
        todo: list[Candidate],
        progress: Progress | None,
        total: int,
        cancelled: Callable[[], bool],
    ) -> None:
        """Read files until they are done or the run is cancelled; what is done is written."""
        pipeline = Pipeline(
            self.encoder,
            workers=self.workers,
            is_known=self._is_known,
            sink=self.encoder.sink(self.home / "layers"),
        )
        readings = pipeline.run(todo)
        done, last = 0, time.perf_counter()
        try:
            for reading in readings:
                self._take(reading)
                done += 1
                if progress:
                    progress(min(done, total), total, os.path.basename(reading.candidate.path))
                if len(self.writes) >= _FLUSH_FILES or time.perf_counter() - last > _FLUSH_SECONDS:
                    self._flush()
                    last = time.perf_counter()
                if done < len(todo) and cancelled():
                    self.summary.cancelled = True
                    break
        except KeyboardInterrupt:
            self.summary.cancelled = True
        finally:
            readings.close()
            self._flush()
        for name, seconds in pipeline.times.items():
            self.summary.stages[name] = round(self.summary.stages.get(name, 0.0) + seconds, 3)

    # -- before reading --------------------------------------------------------------------
    def _is_known(self, content_hash: str) -> bool:
        track_id = self.by_hash.get(content_hash)
        return track_id is not None and track_id not in self.unmeasured

    def _look(self) -> list[Candidate]:
        """Walk the roots and return the files that must be read."""
        todo, same = [], []
        for found in scan(self.roots, home=self.home, known=self.storage.roots()):
            if isinstance(found, Ignored):
                self.summary.ignored += 1
                if found.path in self.files:  # came in by name, with a name that says nothing
                    self.seen.add(found.path)
                continue
            self.summary.found += 1
            self.seen.add(found.path)
            if isinstance(found, Refused):
                self._refuse(found.path, found.size, found.mtime_ns, found.error)
                continue
            stamp = (found.size, found.mtime_ns)
            record, refused = self.files.get(found.path), self.quarantine.get(found.path)
            if record and stamp == (record.size, record.mtime_ns):
                if self.embedded.get(record.track_id) == record.content_hash:
                    same.append(found)
                    continue
            elif (
                refused
                and stamp == (refused.size, refused.mtime_ns)
                and refused.code not in _PASSING
                and not self.retry
            ):
                self.summary.quarantined += 1
                continue
            todo.append(found)
        self._flush()
        if same and isinstance(self.encoder, DescriptorEncoder):
            tracks = self.storage.list_tracks()
            self.unmeasured = {item.track_id for item in tracks if not measured_extra(item.extra)}
        again = [found for found in same if self.files[found.path].track_id in self.unmeasured]
        self.summary.unchanged += len(same) - len(again)
        return todo + again

    # -- after reading ---------------------------------------------------------------------
    def _take(self, reading: Reading) -> None:
        """Decide what a reading means and note what to write."""
        candidate = reading.candidate
        path, content_hash = candidate.path, reading.content_hash
        if reading.known and content_hash in self.failed:  # a copy of a file that cannot be used
            reading.error = self.failed[content_hash]
        if reading.error is not None:
            if content_hash:
                self.failed[content_hash] = reading.error
            self._refuse(path, candidate.size, candidate.mtime_ns, reading.error)
            return
        record = self.files.get(path)
        track_id = self.by_hash.get(content_hash, "")
        measured = not reading.known and track_id in self.unmeasured
        if measured:
            self._write_measures(reading, track_id)
        if reading.known or measured:
            if self.embedded.get(track_id) != content_hash:
                self.again.append(candidate)  # the track it was a copy of has just changed
                return
            if record is not None and record.track_id == track_id:
                self.summary.measured += measured
                self.summary.unchanged += not measured  # only its time changed
            else:
                self.summary.linked += 1
                self.linked.add(track_id)
        else:
            track_id = self._write_track(reading, record)
        self._own(path, track_id)
        file = FileRecord(path, candidate.size, candidate.mtime_ns, content_hash, track_id)
        self.writes.append(lambda: self.storage.put_files([file]))
        if path in self.quarantine:
            self.writes.append(lambda: self.storage.delete_quarantine([path]))

    def _own(self, path: str, track_id: str) -> None:
        before = self.files.get(path)
        if before is not None:
            self.paths_of[before.track_id] -= 1
        self.paths_of[track_id] = self.paths_of.get(track_id, 0) + 1

    def _write_measures(self, reading: Reading, track_id: str) -> None:
        """Note the measures of a track that has everything else."""
        assert reading.measures is not None  # set, as the descriptors read it
        extra = reading.measures.to_extra()
        self.unmeasured.discard(track_id)

        def write() -> None:
            tracks = self.storage.get_tracks([track_id])
            self.storage.put_tracks(replace(t, extra={**t.extra, **extra}) for t in tracks)

        self.writes.append(write)

    def _write_track(self, reading: Reading, record: FileRecord | None) -> str:
        """Note a track and its vectors for writing and return its id."""
        assert reading.tags is not None  # set, as there is no error
        assert reading.embedding is not None
        content_hash = reading.content_hash
        same_bytes = self.storage.find_track_by_hash(content_hash)
        before: Track | None = None
        if same_bytes is not None:
            before = same_bytes
        elif record is not None and self.paths_of.get(record.track_id) == 1:
            before = next(iter(self.storage.get_tracks([record.track_id])), None)
        if before is None:
            track_id = track_id_of(content_hash, taken=self._taken)
            self.summary.added += 1
        else:
            track_id = before.track_id
            self.by_hash.pop(before.content_hash, None)
            self.summary.updated += 1
        track = make_track(reading, track_id, before, self.names.get(reading.candidate.path, ""))
        self.summary.audio_seconds += reading.seconds
        self.by_hash[content_hash] = track_id
        self.embedded[track_id] = content_hash
        self.unmeasured.discard(track_id)
        embedding = Embedding(
            track_id, content_hash, reading.embedding.vector, reading.embedding.segments
        )
        cover = reading.tags.cover
        small = thumbnail(cover) if cover else None

        def write() -> None:
            self.storage.put_tracks([track])
            self.storage.put_embeddings(self.encoder.space, [embedding])
            if cover and small:
                self.storage.put_cover(track_id, cover, small)

        self.writes.append(write)
        return track_id

    def _taken(self, track_id: str) -> bool:
        return track_id in self.embedded or bool(self.storage.get_tracks([track_id]))

    def _refuse(self, path: str, size: int, mtime_ns: int, error: AudioError) -> None:
        self.summary.quarantined += 1
        record = QuarantineRecord(path, size, mtime_ns, error.code, str(error), now())
        self.writes.append(lambda: self.storage.put_quarantine([record]))
        if path in self.files:  # it was a track's file and no longer is one
            self.writes.append(lambda: self.storage.delete_files([path]))

    def _forget_missing(self) -> None:
        """Take files off the record that are no longer where they were."""
        gone = [path for path in self.files if path not in self.seen and self._below(path)]
        for path in gone:
            if self.files[path].track_id in self.linked:
                self.linked.discard(self.files[path].track_id)
                self.summary.linked -= 1
                self.summary.moved += 1
            else:
                self.summary.missing += 1
        cured = [path for path in self.quarantine if path not in self.seen and self._below(path)]
        with self.storage.batch():
            if gone:
                self.storage.delete_files(gone)
            if cured:
                self.storage.delete_quarantine(cured)

    def _below(self, path: str) -> bool:
        return any(Path(path).is_relative_to(root) for root in self.roots)

    def _flush(self) -> None:
        if self.writes:
            with self.storage.batch():
                for write in self.writes:
                    write()
            self.writes = []


#: In ``Track.extra``: what people said of a track, which no file takes back.
OWN = ("imported", "tags")


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_track(reading: Reading, track_id: str, before: Track | None, name: str) -> Track:
    """Build a track from what was read.

    Fields that came from an imported table (named in ``extra["imported"]``) and the user's own tags
    stay as they are, and so does what was measured of the same bytes where this reading measured
    nothing.
    """
    tags, info = reading.tags, reading.info
    assert tags is not None
    assert info is not None
    stem, number = split_number(Path(name or reading.candidate.path).stem)
    title = tags.title or stem
    track = Track(
        track_id=track_id,
        content_hash=reading.content_hash,
        title=title,
        artist=tags.artist or tags.album_artist,
        album=tags.album,
        track_no=tags.track_no if tags.track_no is not None else number,
        composer=standardise_composer(tags.composer),
        composer_original=tags.composer,
        work=work_of(title, tag=tags.work),
        genre=tags.genre,
        year=tags.year,
        duration=round(reading.seconds, 3),
        sample_rate=info.sample_rate,
        channels=info.channels,
        format=info.format,
        peaks=reading.peaks,
        added_at=now(),
        extra={**tags.extra, **(reading.measures.to_extra() if reading.measures else {})},
    )
    if before is None:
        return track
    kept = before.extra.get("imported", "")
    fixed = {key: getattr(before, key) for key in kept.split(",") if key}
    extra = {**track.extra, **{name: before.extra[name] for name in OWN if name in before.extra}}
    if before.content_hash == track.content_hash:
        extra = {**measured_extra(before.extra), **extra}
    return replace(track, **fixed, extra=extra, added_at=before.added_at or track.added_at)


def split_number(stem: str) -> tuple[str, int | None]:
    """Split "03 - Gigue" and "03 Gigue", but not "3 Gymnopedies", into title and number."""
    text = unicodedata.normalize("NFC", os.fsencode(stem).decode("utf-8", "replace"))
    text = "".join(char if char.isprintable() else " " for char in text).strip()
    match = re.fullmatch(r"(\d{1,3}(?=\s*[-._])|0\d{1,2})(?:\s*[-._]\s*|\s+)(\S.*)", text)
    if match:
        return match[2], int(match[1])
    return text or "Untitled", None
