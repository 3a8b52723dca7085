"""What of a shared library lies on this machine: files seen, quarantine, jobs, and audio to play.

Audio that the library keeps is fetched when it is first played, into the cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kindred.errors import StorageError, StorageUnavailable
from kindred.storage import rows
from kindred.storage.backend import MachineStore
from kindred.storage.records import Audio, FileRecord, JobRecord, QuarantineRecord
from kindred.storage.shared.reads import SharedReads


class OnThisMachine(SharedReads, MachineStore):
    """The machine's half of :class:`~kindred.storage.shared.SharedBackend`."""

    def add_root(self, path: str) -> None:
        self.local.add_root(path)

    def roots(self) -> list[str]:
        return self.local.roots()

    def put_files(self, files: Iterable[FileRecord]) -> None:
        self.local.put_files(files)

    def list_files(self) -> list[FileRecord]:
        return self.local.list_files()

    def delete_files(self, paths: Iterable[str]) -> None:
        self.local.delete_files(paths)

    def put_quarantine(self, records: Iterable[QuarantineRecord]) -> None:
        self.local.put_quarantine(records)

    def list_quarantine(self) -> list[QuarantineRecord]:
        return self.local.list_quarantine()

    def delete_quarantine(self, paths: Iterable[str]) -> None:
        self.local.delete_quarantine(paths)

    def put_job(self, job: JobRecord) -> None:
        self.local.put_job(job)

    def get_job(self, job_id: str) -> JobRecord:
        return self.local.get_job(job_id)

    def update_job(self, job_id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        return self.local.update_job(job_id, change)

    def list_jobs(self, *, kind: str | None = None, limit: int = 20) -> list[JobRecord]:
        return self.local.list_jobs(kind=kind, limit=limit)

    # -- audio -----------------------------------------------------------------------------
    def upload_audio(self, content_hash: str, source: Path, *, suffix: str) -> str:
        path = self.local.upload_audio(content_hash, source, suffix=suffix)
        key = f"{content_hash}{suffix}"
        if self.remote.store_audio:
            known = self.entries("audio", [key]).get(key)
            if known is None or known.deleted:
                self.write_rows([rows.make(Audio(content_hash, suffix, Path(path).read_bytes()))])
        return path

    def audio_path(self, track_id: str) -> Path:
        """Return a file of the track: one of this machine's, or the library's, fetched once."""
        track = self.get_track(track_id)
        here = self.local.paths_of([track_id]).get(track_id)
        try:
            if here:
                if not self.local.get_tracks([track_id]):  # not copied yet
                    self._breaker.call(lambda: self._mirror.restore([("tracks", track_id)]))
                return self.local.audio_path(track_id)
        except StorageError:
            if track.content_hash not in self._kept_audio():
                raise
        key = self._kept_audio().get(track.content_hash)
        if key is None:
            raise StorageError(
                f"{track.title or track_id} cannot be played here: its file is on another machine"
                " and its audio is not kept in the library."
            )
        return self.cache.file(key) or self._fetch(key)

    def _fetch(self, key: str) -> Path:
        own = self.audio_folder / key[:2] / key
        if own.is_file():
            return own
        try:
            found = self._breaker.call(lambda: self.remote.read_rows("audio", [key]))
        except StorageUnavailable as error:
            raise StorageUnavailable(
                f"Its audio is kept in {self._title}, which does not answer: {error}"
            ) from error
        if not found or not isinstance(found[0].record, Audio):
            raise StorageError(f"{self._title} no longer keeps the audio {key}.")
        kept = self.cache.put_file(key, found[0].record.data)
        if kept is None:  # no cache: it becomes a file of this machine's
            self.local.write_rows(found)
        return kept or own

    def download_audio(self, track_id: str, target: Path) -> Path:
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(self.audio_path(track_id), temporary)
        os.replace(temporary, target)
        return target

    def delete_audio(self, track_id: str) -> None:
        self._delete_audio([track_id])

    def _delete_audio(self, track_ids: Sequence[str]) -> None:
        """Remove what this machine and the library keep of some tracks' audio."""
        here = [Path(path) for paths in self.local.paths_of(track_ids).values() for path in paths]
        own = {path.name for path in here if path.is_relative_to(self.audio_folder)}
        kept = self.entries("audio", sorted(own | set(self._kept_for(track_ids))))
        shared = {key for key, entry in kept.items() if not entry.deleted}
        self.write_rows([rows.tombstone("audio", key) for key in sorted(shared)])
        self.local.write_rows([rows.tombstone("audio", key) for key in sorted(own - shared)])

    def tracks_without_files(self) -> list[str]:
        """Return tracks that had files here and have none now, nor audio kept in the library."""
        kept = self._kept_audio()
        lost = super().get_tracks(self.local.lost_tracks())
        return [track.track_id for track in lost if track.content_hash not in kept]
