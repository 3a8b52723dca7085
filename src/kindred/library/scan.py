"""Walking folders for files that are, or claim to be, audio.

Links are followed as long as they stay inside the folders being read: a link that leads out of
them, to nothing, or back to a folder above is reported, not followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kindred.audio.content import AUDIO_SUFFIXES, is_audio_head
from kindred.errors import AudioError, LibraryError

#: Suffixes of files that somebody is still writing.
_UNFINISHED = {".crdownload", ".download", ".part", ".partial", ".tmp"}


@dataclass(frozen=True)
class Candidate:
    """A file worth reading, with the size and modification time it had when seen."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Refused:
    """A file or folder that cannot be read, with its reason."""

    path: str
    size: int
    mtime_ns: int
    error: AudioError


@dataclass(frozen=True)
class Ignored:
    """A file that neither is nor claims to be audio."""

    path: str


Found = Candidate | Refused | Ignored


def resolve_roots(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return absolute folders and files to read, without those inside another one.

    Raises
    ------
    LibraryError
        When one does not exist.
    """
    roots: list[str] = []
    for path in sorted({os.path.abspath(os.path.expanduser(os.fspath(item))) for item in paths}):
        if not os.path.lexists(path):
            raise LibraryError(f"There is no file or folder {path!r}. Check the name.")
        if not any(Path(path).is_relative_to(root) for root in roots):
            roots.append(path)
    return roots


def scan(roots: Sequence[str], *, home: Path, known: Sequence[str] = ()) -> Iterator[Found]:
    """Yield what is below the roots, folder by folder in order of name.

    Parameters
    ----------
    roots : sequence of str
        Absolute folders or files.
    home : Path
        The library folder: its own files are not music, unless a root lies inside it.
    known : sequence of str
        Further folders into which links may lead.
    """
    inside = [os.path.realpath(path) for path in (*roots, *known)]
    for root in roots:
        skip = None if Path(root).is_relative_to(home) else str(home)
        if os.path.isdir(root):
            yield from _walk(root, inside, skip, (os.path.realpath(root),))
        else:
            yield _file(root, inside, named=True)


def _walk(
    folder: str, inside: list[str], skip: str | None, above: tuple[str, ...]
) -> Iterator[Found]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        reason = f"The folder cannot be opened ({error.strerror}). Check its permissions."
        yield Refused(folder, 0, 0, AudioError("no-permission", reason))
        return
    for entry in listed:
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link that loops on itself
            is_folder = False
        if not is_folder:
            yield _file(entry.path, inside)
        elif entry.path != skip and not entry.name.startswith("."):
            real = os.path.realpath(entry.path)
            if real in above:
                reason = "This link leads back to a folder above it. Remove the link."
                yield Refused(entry.path, 0, 0, AudioError("link-loop", reason))
            elif not _within(real, inside):
                yield Refused(entry.path, 0, 0, _leads_out(real))
            else:
                # A folder that claims to be a file is entered and said to be one.
                if Path(entry.name).suffix.lower() in AUDIO_SUFFIXES:
                    reason = "This is a folder with the name of an audio file."
                    yield Refused(entry.path, 0, 0, AudioError("not-a-file", reason))
                yield from _walk(entry.path, inside, skip, (*above, real))


def _file(path: str, inside: list[str], *, named: bool = False) -> Found:
    """Judge a file; one that was asked for by name is a candidate whatever it looks like."""
    suffix = os.path.splitext(path)[1].lower()
    claims = named or suffix in AUDIO_SUFFIXES
    if not claims and (suffix in _UNFINISHED or os.path.basename(path).startswith(".")):
        return Ignored(path)
    try:
        info = os.stat(path)
    except OSError as error:
        if not claims:
            return Ignored(path)
        code, reason = (
            "broken-link",
            "This link leads nowhere. Restore the file or remove the link.",
        )
        if not os.path.islink(path):
            code, reason = "no-permission", f"The file cannot be looked at ({error.strerror})."
        return Refused(path, 0, 0, AudioError(code, reason))
    if not claims:
        try:
            if not stat.S_ISREG(info.st_mode):
                return Ignored(path)
            with open(path, "rb") as file:
                claims = is_audio_head(file.read(64))
        except OSError:
            claims = False
        if not claims:
            return Ignored(path)
    if os.path.islink(path):
        real = os.path.realpath(path)
        if not _within(real, inside):
            return Refused(path, info.st_size, info.st_mtime_ns, _leads_out(real))
    return Candidate(path, info.st_size, info.st_mtime_ns)


def _within(real: str, inside: list[str]) -> bool:
    return any(Path(real).is_relative_to(root) for root in inside)


def _leads_out(real: str) -> AudioError:
    return AudioError(
        "link-out",
        f"This link leads out of the folder, to {real}. Ingest that place itself if it is music.",
    )
