"""Files sent through the browser: staged, checked by content, kept in the library's own store.

A file's name is shown, never used as a path: staged files are numbered, stored ones are named by
their SHA-256. Staging is separate from ingest so that a large upload is a job like any other, and
one that was killed starts again from the staged files.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kindred.audio.content import AUDIO_SUFFIXES, sha256_of
from kindred.errors import AudioError, UploadRejected
from kindred.library.ingest import IngestSummary, Progress
from kindred.storage.backend import StorageBackend

_CHUNK = 1 << 20


@dataclass(frozen=True)
class UploadOutcome:
    """What came of some uploads: the ingest summary, and (name, reason) of each refused file."""

    summary: IngestSummary
    refused: list[tuple[str, str]]


class Uploads:
    """Takes uploaded files into the library.

    Parameters
    ----------
    storage : StorageBackend
    home : Path
        The library folder; staged files lie in its ``incoming`` folder.
    max_bytes : int
        Largest file taken.
    """

    def __init__(self, storage: StorageBackend, *, home: Path, max_bytes: int) -> None:
        self.storage = storage
        self.incoming = home / "incoming"
        self.max_bytes = max_bytes

    def stage(self, files: Iterable[tuple[str, BinaryIO]]) -> str:
        """Write uploads to disk and return the name of their folder.

        Raises
        ------
        UploadRejected
            When a file is larger than allowed; nothing is kept then.
        """
        batch = uuid.uuid4().hex
        folder = self.incoming / batch
        folder.mkdir(parents=True)
        names = []
        try:
            for number, (name, source) in enumerate(files):
                names.append(name)
                self._copy(name, source, folder / str(number))
            (folder / "names.json").write_text(json.dumps(names), "utf-8")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return batch

    def _copy(self, name: str, source: BinaryIO, target: Path) -> None:
        size = 0
        with open(target, "wb") as out:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > self.max_bytes:
                    raise UploadRejected(
                        f"{name!r} is larger than {self.max_bytes >> 20} MiB, the largest file"
                        " taken here. Put it into a folder on the server and ingest that, or raise"
                        " KINDRED_MAX_UPLOAD_MB."
                    )
                out.write(chunk)

    def folder(self, batch: str) -> Path:
        """Return the folder of some staged files.

        Raises
        ------
        UploadRejected
            When nothing is staged under this name.
        """
        folder = self.incoming / os.path.basename(batch)
        if not (folder / "names.json").is_file():
            raise UploadRejected("These uploads are no longer here. Upload them again.")
        return folder

    def ingest(
        self,
        batch: str,
        read: Callable[..., IngestSummary],
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> UploadOutcome:
        """Bring staged files into the library; those that are not audio are thrown away.

        Parameters
        ----------
        batch : str
            What :meth:`stage` returned.
        read : callable
            :meth:`Ingest.run <kindred.library.ingest.Ingest.run>` or one with its parameters.

        Raises
        ------
        UploadRejected
            When nothing is staged under this name.
        """
        folder = self.folder(batch)
        names = json.loads((folder / "names.json").read_text("utf-8"))
        shown: dict[str, str] = {}
        refused: list[tuple[str, str]] = []
        for number, name in enumerate(names):
            suffix = os.path.splitext(name)[1].lower()
            staged = folder / str(number)
            try:
                content_hash = sha256_of(staged)
            except AudioError as error:  # an empty file
                refused.append((name, str(error)))
                continue
            stored = self.storage.upload_audio(
                content_hash, staged, suffix=suffix if suffix in AUDIO_SUFFIXES else ".audio"
            )
            shown[stored] = name
        summary = read(list(shown), names=shown, retry=True, progress=progress, cancelled=cancelled)
        bad = [item for item in self.storage.list_quarantine() if item.path in shown]
        for item in bad:
            os.unlink(item.path)
        self.storage.delete_quarantine([item.path for item in bad])
        if not summary.cancelled:
            shutil.rmtree(folder, ignore_errors=True)
        refused += [(shown[item.path], item.reason) for item in bad]
        return UploadOutcome(summary, refused)
