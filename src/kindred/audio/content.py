"""What a file is, judged by its bytes: opening it safely, its hash, and what its head looks like.

File names are never trusted here. ``head`` is the first bytes of a file; 64 are enough.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import BinaryIO

from kindred.errors import AudioError

#: Endings by which a file claims to be audio.
AUDIO_SUFFIXES = frozenset(
    {
        ".mp3", ".mp2", ".mpga", ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac",
        ".ogg", ".oga", ".opus", ".spx", ".m4a", ".m4b", ".m4p", ".aac", ".alac",
        ".aif", ".aiff", ".aifc", ".caf", ".au", ".wma", ".ape", ".wv", ".mka",
        ".mpc", ".tta", ".dsf", ".ac3",
    }
)  # fmt: skip

_CHUNK = 1 << 20

_AUDIO_MAGIC = (
    *(b"fLaC", b"ID3", b"caff", b".snd", b"MAC ", b"wvpk", b"TTA1", b"MPCK", b"MP+", b"DSD "),
    *(b"#!AMR", b"riff\x2e\x91\xcf\x11"),
)

#: Content that is often found under an audio name: what it begins with, and what it is.
_OTHER_MAGIC = (
    (b"\x00\x05\x16\x07", "a macOS resource fork (a “._” file without the music itself)"),
    (b"\x00\x05\x16\x00", "a macOS resource fork (a “._” file without the music itself)"),
    (b"MThd", "a MIDI file (notes, not sound)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a playlist"),
    (b"[playlist]", "a playlist"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3", "a database"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x00\x00\x01\xba", "an MPEG video"),
    (b"\x00\x00\x01\xb3", "an MPEG video"),
    (b"FLV\x01", "a Flash video"),
)

_IMAGE_BRANDS = (b"heic", b"heix", b"mif1", b"avif", b"msf1")
_AUDIO_BRANDS = (b"M4A ", b"M4B ", b"M4P ", b"F4A ")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; a pipe or device is refused before it can block.

    Raises
    ------
    AudioError
        ``empty``, ``not-a-file``, ``broken-link``, ``no-permission`` or ``damaged``.
    """
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise AudioError("not-a-file", f"This is {_kind(info.st_mode)}, not a file.")
        if info.st_size == 0:
            raise AudioError("empty", "The file is empty (0 bytes). Copy or download it again.")
        return open(path, "rb")
    except PermissionError as error:
        raise AudioError(
            "no-permission", "The file may not be read. Give yourself permission to read it."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OSError) and _is_link(path):
            where = "in a circle" if error.errno == errno.ELOOP else "to nothing"
            raise AudioError(
                "broken-link", f"This link leads {where}. Restore its target or remove the link."
            ) from error
        if isinstance(error, OSError) and error.errno == errno.EIO:
            raise AudioError(
                "damaged", "The disk cannot read this file. Restore it from a copy."
            ) from error
        raise AudioError("not-a-file", f"There is no such file ({_reason(error)}).") from error


def _is_link(path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.islink(path)
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal, reading a piece at a time.

    Raises
    ------
    AudioError
        When it cannot be opened, as :func:`open_regular` does.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_audio_head(head: bytes) -> bool:
    """Whether a file with this head is audio, whatever its name says."""
    if head.startswith(_AUDIO_MAGIC):
        return True
    if head[:4] in {b"RIFF", b"RF64", b"RIFX"}:
        return head[8:12] == b"WAVE"
    if head[:4] == b"FORM":
        return head[8:12] in {b"AIFF", b"AIFC"}
    if head[:4] == b"OggS":
        return b"theora" not in head
    if head[4:8] == b"ftyp":
        return head[8:12] in _AUDIO_BRANDS
    return is_mpeg_frame(head) or _is_adts_frame(head)


def is_mpeg_frame(head: bytes) -> bool:
    """Whether this is the header of an MPEG audio frame of layer II or III (mp2, mp3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate, emphasis = head[2] >> 4, head[2] >> 2 & 3, head[3] & 3
    # Layer I is left out: no music uses it, and a UTF-16 byte order mark looks like it.
    return version != 1 and layer in {1, 2} and 0 < bitrate < 15 and rate < 3 and emphasis != 2


def _is_adts_frame(head: bytes) -> bool:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return False
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return head[2] >> 2 & 15 < 13 and length > 7


def looks_like(head: bytes) -> str | None:
    """Name content that is not audio, as in "a zip archive"; None when it is not known.

    Parameters
    ----------
    head : bytes
        The first bytes of a file; the more, the surer text is told from noise.
    """
    for magic, name in _OTHER_MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] in {b"AVI ", b"WEBP"}:
        return "an AVI video" if head[8:12] == b"AVI " else "a WebP image"
    if head[4:8] == b"ftyp":
        if head[8:12] in _IMAGE_BRANDS:
            return "a HEIC or AVIF image"
        return None if head[8:12] in _AUDIO_BRANDS else "an MP4 video"
    if head[:4] == b"OggS" and b"theora" in head:
        return "an Ogg video"
    if head and not head.strip(b"\0"):
        return "nothing but zeros"
    return _text(head)


def _text(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not just a character cut at the end
            return None
        text = head[: error.start].decode("utf-8")
    if len(text) < 2 or any(ord(char) < 32 and char not in "\t\n\r\f\x1b" for char in text):
        return None
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "a web page (HTML): perhaps a download that asked to log in"
    if start.startswith(("<?xml", "<svg")):
        return "an XML document"
    return "text"
