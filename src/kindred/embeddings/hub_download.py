"""Fetching a model's weights from the Hugging Face hub.

Conventions: progress is counted in bytes; files come into the layout that
:mod:`kindred.embeddings.hub_weights` describes. The hub's client begins a file anew whenever a
download was stopped; here the bytes that came are kept as ``<checksum>.part`` and the next attempt
asks for the rest. A snapshot is linked once all its files are whole and checked, so that it is
never half visible.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kindred.embeddings.hub_weights import (
    LOCK,
    MARKER,
    DamagedWeights,
    HubModel,
    Weights,
    checksum,
    locate,
    own_files,
)
from kindred.errors import WeightsMissing

#: Seconds the hub has to answer, or to send the next bytes.
TIMEOUT = 10.0
#: Times a connection that broke is taken up again without a byte having come in between.
RETRIES = 2
_CHUNK = 1 << 20

#: Called with bytes fetched and bytes in all.
Progress = Callable[[int, int], None]


def fetch(models: Path, model: HubModel, *, progress: Progress | None = None) -> Weights:
    """Download a model's weights; goes on where an earlier download stopped.

    Parameters
    ----------
    progress : callable, optional
        Called with bytes fetched and bytes in all; what it raises ends the download and is
        passed on, so that a job can be cancelled. What came so far is kept.

    Raises
    ------
    WeightsMissing
        When the hub cannot be reached or does not have the model, or the disk is full; one line.
    EncoderError
        When what came is not what the hub announced; it is deleted.
    """
    if model.is_folder:
        raise WeightsMissing(
            f"{model.setting} names the folder {model.root(models)}; only a Hugging Face id such as"
            " owner/name can be fetched."
        )
    from filelock import FileLock, Timeout

    stopped: list[Exception] = []

    def report(done: int, total: int) -> None:
        try:
            if progress is not None:
                progress(done, total)
        except Exception as error:
            stopped.append(error)
            raise

    commit, wanted = _announced(model)
    root = model.root(models)
    try:
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        with FileLock(root / LOCK, timeout=0):
            _download(root, model, commit, wanted, report)
    except Timeout as error:
        raise WeightsMissing(
            f"Another process is fetching {model.repo_id} into {root}. Wait for it to finish."
        ) from error
    except OSError as error:
        if error in stopped:
            raise
        raise WeightsMissing(
            f"{model.repo_id} cannot be written to {root} ({error.strerror}). Free some space or"
            f" mend the folder's rights, then run `{model.command}` again."
        ) from error
    return locate(models, model)


@dataclass(frozen=True)
class _Announced:
    """A file as the hub announces it; ``checksum`` is SHA-256 (64 digits) or git's SHA-1 (40)."""

    name: str
    size: int
    checksum: str


def _announced(model: HubModel) -> tuple[str, list[_Announced]]:
    """Ask the hub for the commit and the files wanted of it; asked once."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    revision = model.revision or "main"
    try:
        info = HfApi().model_info(
            model.repo_id, revision=revision, timeout=TIMEOUT, files_metadata=True
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise WeightsMissing(
            f"The Hugging Face hub has no {model.repo_id} at revision {revision} that can be read"
            f" without an account. Check {model.setting}."
        ) from error
    except Exception as error:  # the client's own, httpx's and the system's: all mean no network
        raise _unreachable(model, error) from error
    there: dict[str, Any] = {entry.rfilename: entry for entry in info.siblings or ()}
    file = next((name for name in model.weights if name in there), None)
    if file is None or any(name not in there for name in model.files):
        raise WeightsMissing(
            f"{model.repo_id} at revision {revision} does not hold {', '.join(model.files)} and"
            f" {' or '.join(model.weights)}; it is not a {model.title} model Kindred can read."
        )
    wanted = []
    for name in (*model.files, file, *(name for name in model.extras if name in there)):
        entry = there[name]
        told = entry.lfs.sha256 if entry.lfs else entry.blob_id
        known = model.checksums.get(name) if revision == info.sha else None
        wanted.append(_Announced(name, int(entry.size or 0), known or told or ""))
    return str(info.sha), wanted


def _download(
    root: Path, model: HubModel, commit: str, wanted: list[_Announced], progress: Progress
) -> None:
    total = sum(item.size for item in wanted)
    blobs = {
        item.name: root / "blobs" / (item.checksum or f"{commit}-{item.name}") for item in wanted
    }
    there = sum(_bytes(path) or _bytes(_part(path)) for path in blobs.values())
    free = shutil.disk_usage(root).free
    if total - there > free:
        raise WeightsMissing(
            f"{model.repo_id} needs {(total - there) / 1e6:,.0f} MB more, {root} has"
            f" {free / 1e6:,.0f} MB free. Free some space and run `{model.command}` again."
        )
    own, done = own_files(root), 0
    for item in wanted:
        blob = blobs[item.name]
        if not _whole(blob, item):
            own.add(f"blobs/{blob.name}")
            _record(root, model, own)
            _get(model, commit, item, blob, _after(done, total, progress))
        done += item.size
        progress(done, total)
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in blobs.items():
        if not (folder / name).exists() or not (folder / name).samefile(blob):
            own.add(f"snapshots/{commit}/{name}")
            _record(root, model, own)
            _link(blob, folder / name)
    reference = root / "refs" / (model.revision or "main")
    if reference.name != commit:
        own.add(f"refs/{model.revision or 'main'}")
        _record(root, model, own)
        reference.parent.mkdir(parents=True, exist_ok=True)
        _write(reference, commit)


def _after(done: int, total: int, progress: Progress) -> Callable[[int], None]:
    """Progress of one file as progress of all of them."""
    return lambda got: progress(done + got, total)


def _get(
    model: HubModel, commit: str, item: _Announced, blob: Path, progress: Callable[[int], None]
) -> None:
    """Fetch one file, from where its ``.part`` ends; a broken connection is taken up again."""
    part, left = _part(blob), RETRIES
    while True:
        start = _bytes(part)
        if start > item.size:
            part.unlink()
            start = 0
        try:
            if start < item.size or not part.exists():
                _stream(model, commit, item, part, progress)
            break
        except _Broken as error:
            left = RETRIES if _bytes(part) > start else left - 1
            if left < 0:
                raise _unreachable(model, error.cause) from error.cause
            time.sleep(0.5)
    if not _whole(part, item):
        got = _bytes(part)
        part.unlink()
        raise DamagedWeights(
            blob,
            f"of {item.name} {got} bytes came that are not the {item.size} announced",
            f"They were deleted; run `{model.command}` again.",
        )
    os.replace(part, blob)


class _Broken(Exception):
    """The connection broke."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _stream(
    model: HubModel, commit: str, item: _Announced, part: Path, progress: Callable[[int], None]
) -> None:
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    start = _bytes(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(model.repo_id, item.name, revision=commit)
    with contextlib.ExitStack() as stack:
        try:
            response = stack.enter_context(
                get_session().stream("GET", url, headers=headers, timeout=TIMEOUT)
            )
            response.raise_for_status()
        except Exception as error:
            raise _unreachable(model, error) from error
        whole = response.status_code != 206  # the server does not resume: begin again
        stream = stack.enter_context(part.open("wb" if whole else "ab"))
        got = 0 if whole else start
        chunks: Iterator[bytes] = response.iter_bytes(_CHUNK)
        while True:
            try:
                chunk = next(chunks, b"")
            except Exception as error:
                raise _Broken(error) from error
            if not chunk and got < item.size:
                raise _Broken(EOFError(f"{item.name} ended after {got} of {item.size} bytes"))
            if not chunk:
                return
            stream.write(chunk)
            stream.flush()
            got += len(chunk)
            progress(got)


def _unreachable(model: HubModel, error: Exception) -> WeightsMissing:
    reason = str(error).strip().splitlines()
    return WeightsMissing(
        f"{model.repo_id} could not be fetched from the Hugging Face hub ({type(error).__name__}:"
        f" {reason[0] if reason else 'no reason given'}). Check the network and run"
        f" `{model.command}` again, which goes on where it stopped; or copy the model's folder to"
        f" this machine and name it in {model.setting}."
    )


def _record(root: Path, model: HubModel, own: set[str]) -> None:
    values = {"repo_id": model.repo_id, "licence": model.licence, "files": sorted(own)}
    _write(root / MARKER, json.dumps(values, indent=1))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _link(blob: Path, target: Path) -> None:
    target.unlink(missing_ok=True)  # a link that leads nowhere
    try:
        target.symlink_to(os.path.relpath(blob, target.parent))
    except OSError:  # a file system without links
        shutil.copyfile(blob, target)


def _part(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.part")


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _whole(path: Path, item: _Announced) -> bool:
    """Whether a file is what was announced, byte for byte where a checksum was."""
    if not path.is_file() or _bytes(path) != item.size:
        return False
    return not item.checksum or checksum(path, item.checksum) == item.checksum
