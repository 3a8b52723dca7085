"""Building an artifact beside its place and putting it there at once.

``.<name>.<what>`` next to the target is worked in, and kept when the work is stopped, so that the
next attempt goes on; then it takes the target's place in one step. Killed at any moment, the
target is the old artifact or the new one.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from kindred.artifacts import layout
from kindred.artifacts.kind import Kind
from kindred.artifacts.verify import ARTIFACT
from kindred.errors import ArtifactError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def building(target: Path, what: str, kind: Kind = ARTIFACT) -> Iterator[Path]:
    """Yield the folder to work in; no other process works for the same target meanwhile.

    Parameters
    ----------
    target : Path
        Where the artifact shall be; missing, empty, or an artifact that will be replaced.
    what : str
        The kind of work, a part of the folder's name.
    kind : Kind
        What the target is, and may replace.

    Raises
    ------
    ArtifactError
        When another process is at it, the target is something else, or the disk refuses.
    """
    from filelock import FileLock, Timeout

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_beside(target, "lock"), timeout=0):
            old = _beside(target, "old")
            if old.exists() and not target.exists():  # stopped between two renames
                old.rename(target)
            check_replaceable(target, kind)
            work = _beside(target, what)
            work.mkdir(exist_ok=True)
            yield work
    except Timeout as error:
        raise ArtifactError(
            f"Another process is writing {target}. Wait for it to finish, or stop it."
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"{error.filename or target} cannot be written ({error.strerror or error}). Free some"
            " space or mend the folder's rights, then try again."
        ) from error


def check_replaceable(target: Path, kind: Kind = ARTIFACT) -> None:
    """Raise :class:`ArtifactError` when replacing the target would lose anything else."""
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise ArtifactError(f"{target} is not a folder. Choose another place for the artifact.")
    names = layout.names_in(target)
    if not names:
        return
    if layout.MANIFEST not in names:
        raise ArtifactError(
            f"{target} holds other files, such as {names[0]}. Choose an empty or new folder."
        )
    try:
        manifest = kind.parse(layout.manifest_bytes(target), target)
        known = manifest.files.keys() | {layout.MANIFEST}
    except ArtifactError:  # damaged: replacing it is the cure
        known = {layout.MANIFEST, *filter(kind.may_have, names)}
    if foreign := [name for name in names if name not in known]:
        raise ArtifactError(
            f"{target / foreign[0]} does not belong to the artifact there and would be lost. Move"
            " it away first."
        )


def keep_only(work: Path, names: Collection[str]) -> None:
    """Remove every file but some, and folders without files."""
    for name in layout.names_in(work):
        if name not in names:
            (work / name).unlink()
    for parent, _, _ in os.walk(work, topdown=False):
        if parent != str(work) and not os.listdir(parent):
            os.rmdir(parent)


def reuse(source: Path, target: Path, entry: layout.Entry) -> bool:
    """Put a file that is there already, if it has the listed bytes, in its place in ``work``."""
    if not layout.is_file(source, entry):
        return False
    if source == target:
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
    return True


def publish(work: Path, target: Path, kind: Kind = ARTIFACT) -> None:
    """Put what was built in the target's place and remove what was there."""
    check_replaceable(target, kind)
    for parent, _, files in os.walk(work):
        for name in files:
            _sync(Path(parent, name))
        _sync(Path(parent))
    if not target.exists() or not any(target.iterdir()):
        work.rename(target)
        return
    if _exchange(work, target):
        shutil.rmtree(work)
        return
    old = _beside(target, "old")
    target.rename(old)
    work.rename(target)
    shutil.rmtree(old)


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step where the system can (renameat2, Linux)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    paths = [os.fsencode(path) for path in (one, other)]
    done: int = renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE)
    return done == 0
