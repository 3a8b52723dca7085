"""Artifacts to and from S3: resumed, verified, never half visible.

The manifest is sent last and fetched first: without it there is no artifact. An object that is
there already is not sent again, a file that is here already is not fetched again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kindred.artifacts import layout, s3
from kindred.artifacts.building import building, keep_only, publish, reuse
from kindred.artifacts.kind import Kind
from kindred.artifacts.layout import Entry
from kindred.artifacts.meter import Cancelled, Meter
from kindred.artifacts.verify import ARTIFACT, Progress
from kindred.errors import ArtifactError

_MANIFEST_LIMIT = 256 << 20


@dataclass
class Transfer:
    """What went over: files ``moved`` and ``kept`` as they were there, ``bytes`` in all."""

    url: str
    path: str
    moved: int = 0
    kept: int = 0
    bytes: int = 0
    cancelled: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """The summary for people."""
        if self.cancelled:
            return "Stopped; what went over is kept, the same command goes on from there"
        return f"{self.moved} files went over, {self.kept} were there, {self.bytes / 1e6:,.1f} MB"


def push(
    folder: Path,
    url: str,
    *,
    kind: Kind = ARTIFACT,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Transfer:
    """Send an artifact to S3, after checking every byte of it.

    Parameters
    ----------
    folder : Path
    url : str
        ``s3://BUCKET/KEY``, under which its files will lie.
    kind : Kind
        What the folder is.
    overwrite : bool
        Replace another artifact that is there; from then until the end there is none.
    progress : callable, optional
        Called with (bytes done, bytes in all, name of the file).
    cancelled : callable
        Asked after every piece; what was sent is kept, and the next push goes on.

    Raises
    ------
    ArtifactError
        When the artifact is damaged, another one is there, or S3 refuses or stops answering.
    """
    manifest = kind.verify(folder, True)
    name, prefix = s3.split_url(url)
    bucket = s3.Bucket(name)
    own = folder / layout.MANIFEST
    entry = Entry(own.stat().st_size, layout.sha256_of(own))
    stale = _make_way(bucket, prefix, url, folder, kind, overwrite)
    there = bucket.list(f"{prefix}/")
    outcome = Transfer(url, str(folder), bytes=manifest.size)
    meter = Meter(manifest.size + entry.bytes, progress, cancelled)

    def send(file: str, entry: Entry) -> bool:
        key, path = f"{prefix}/{file}", folder / file
        if bucket.has(key, there.get(key), path, entry):
            meter.add(entry.bytes, path.name)
            return False
        bucket.put(path, key, entry, meter)
        return True

    small = {name: entry for name, entry in manifest.files.items() if entry.bytes <= s3.PART}
    try:
        sent = meter.in_threads(partial(send, *item) for item in small.items())
        # One large file after the other: the parts of each go side by side.
        sent += [send(*item) for item in manifest.files.items() if item[0] not in small]
        sent.append(send(layout.MANIFEST, entry))
    except Cancelled:
        outcome.cancelled = True
        return outcome
    except OSError as error:
        raise ArtifactError(f"{error.filename} cannot be read ({error.strerror}).") from error
    outcome.moved, outcome.kept = sum(sent), len(sent) - sum(sent)
    bucket.delete(f"{prefix}/{file}" for file in stale if file not in manifest.files)
    return outcome


def _make_way(
    bucket: s3.Bucket, prefix: str, url: str, folder: Path, kind: Kind, overwrite: bool
) -> list[str]:
    """Remove the manifest of another artifact, if that is wanted, and return its files."""
    key = f"{prefix}/{layout.MANIFEST}"
    text = bucket.read(key, limit=_MANIFEST_LIMIT)
    if text is None or text == (folder / layout.MANIFEST).read_bytes():
        return []
    try:
        old = kind.parse(text, url)
        made, files = f"made {old.created_at}", list(old.files)
    except ArtifactError:
        made, files = "which cannot be read", []
    if not overwrite:
        raise ArtifactError(
            f"{url} holds another artifact, {made}. Push to another address, or say that it is to"
            " be overwritten (--overwrite)."
        )
    bucket.delete([key])
    return files


def pull(
    url: str,
    target: Path,
    *,
    kind: Kind = ARTIFACT,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Transfer:
    """Fetch an artifact; an older one in its place is replaced once the new one is whole.

    Files that are the same in the older one are not fetched. Every byte is checked.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/KEY``.
    target : Path
        The artifact's folder.
    kind : Kind
        What the folder is.
    progress : callable, optional
        Called with (bytes done, bytes in all, name of the file).
    cancelled : callable
        Asked after every piece; what came is kept beside the target, and the next pull goes on.

    Raises
    ------
    ArtifactError
        When there is no whole artifact at the address, it has wrong bytes, or S3 refuses or stops
        answering.
    """
    name, prefix = s3.split_url(url)
    bucket, target = s3.Bucket(name), target.absolute()
    text = bucket.read(f"{prefix}/{layout.MANIFEST}", limit=_MANIFEST_LIMIT)
    if text is None:
        raise ArtifactError(
            f"{url} holds no whole artifact: there is no {layout.MANIFEST}, which is sent last."
            " Correct the address, or push the artifact to its end."
        )
    manifest = kind.parse(text, url)
    outcome = Transfer(url, str(target), bytes=manifest.size)
    meter = Meter(manifest.size, progress, cancelled)
    with building(target, "pulling", kind) as work:
        keep_only(work, manifest.files.keys() | {f"{file}.part" for file in manifest.files})

        def fetch(file: str, entry: Entry) -> bool:
            path = work / file
            if layout.is_file(path, entry) or reuse(target / file, path, entry):
                meter.add(entry.bytes, path.name)
                return False
            bucket.get(f"{prefix}/{file}", path, entry, meter)
            return True

        try:
            came = meter.in_threads(partial(fetch, *item) for item in manifest.files.items())
        except Cancelled:
            outcome.cancelled = True
            return outcome
        keep_only(work, manifest.files)
        (work / layout.MANIFEST).write_bytes(text)
        kind.verify(work, False)
        publish(work, target, kind)
    outcome.moved, outcome.kept = sum(came), len(came) - sum(came)
    return outcome


def fetch_audio(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Fetch a track's audio by its ``audio_s3_key``; the file appears whole or not at all.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/KEY``.
    target : Path
    sha256 : str
        The track's ``content_hash``; empty where it is unknown, then nothing is resumed.
    progress, cancelled : callable
        As in :func:`pull`.

    Raises
    ------
    ArtifactError
        When there is no such object, it has other bytes, S3 refuses or stops answering, or the
        fetch was cancelled.
    """
    name, key = s3.split_url(url)
    bucket = s3.Bucket(name)
    entry = Entry(bucket.size(key), sha256)
    try:
        bucket.get(key, target, entry, Meter(entry.bytes, progress, cancelled))
    except Cancelled as error:
        raise ArtifactError(f"Fetching {url} was stopped.") from error
    except OSError as error:
        raise ArtifactError(f"{target} cannot be written ({error.strerror}).") from error
    return target
