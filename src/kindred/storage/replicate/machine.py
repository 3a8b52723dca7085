"""This machine's side of a library that moves: files on record, folders, kept audio."""

from __future__ import annotations

import os
import shutil
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from kindred.storage.local import LocalBackend
from kindred.storage.records import FileRecord


def carry_machine(
    source: LocalBackend, target: LocalBackend, *, tracks: Container[str] | None = None
) -> int:
    """Copy the folders and files on record and the quarantine, and the audio that is kept.

    So that, after the rows were moved, audio plays and a scan reads nothing anew. Kept audio gets
    a second name where the file system allows, else a copy. Jobs stay. Again without harm: files
    the target has on record already are left alone.

    Parameters
    ----------
    tracks : container of str, optional
        The tracks that the library moved to has; files of others are left out, as a scan would
        never read them again.

    Returns
    -------
    int
        How many files were carried.
    """
    known = {item.path for item in target.list_files()}
    carried = []
    for item in source.list_files():
        path = _moved(Path(item.path), source, target)
        if str(path) in known or (tracks is not None and item.track_id not in tracks):
            continue
        if str(path) != item.path:
            if not _link(Path(item.path), path):
                continue
            seen = path.stat()  # the migration may have written it, with a time of its own
            item = replace(item, path=str(path), size=seen.st_size, mtime_ns=seen.st_mtime_ns)
        carried.append(item)
    quarantined = {item.path for item in target.list_quarantine()}
    refused = [
        replace(item, path=str(_moved(Path(item.path), source, target)))
        for item in source.list_quarantine()
    ]
    with target.batch():
        for root in source.roots():
            target.add_root(str(_moved(Path(root), source, target)))
        target.put_files(carried)
        target.put_quarantine(item for item in refused if item.path not in quarantined)
    return len(carried) + adopt_audio(target)


def adopt_audio(store: LocalBackend) -> int:
    """Put audio on record that came with the rows, so that it plays; return how many files."""
    known = {item.path for item in store.list_files()}
    found = []
    for key, entry in store.entries("audio").items():
        path = store.audio_folder / key[:2] / key
        content_hash = key.partition(".")[0]
        if entry.deleted or str(path) in known or not path.is_file():
            continue
        if (track := store.find_track_by_hash(content_hash)) is not None:
            seen = path.stat()
            found.append(
                FileRecord(str(path), seen.st_size, seen.st_mtime_ns, content_hash, track.track_id)
            )
    store.put_files(found)
    return len(found)


def _moved(path: Path, source: LocalBackend, target: LocalBackend) -> Path:
    """Where a file is for the target: only what lies in the audio folder has another place."""
    if path.is_relative_to(source.audio_folder):
        return target.audio_folder / path.relative_to(source.audio_folder)
    return path


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name, or copy it with its time; whether it is there then."""
    if target.exists():
        return True
    if not source.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    os.replace(temporary, target)
    return True
