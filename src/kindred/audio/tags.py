"""Tags: what a file says about itself, read by mutagen whatever the format calls it.

Every format's names are brought to one form (lower case, without spaces and dashes) and then to
the fields of :class:`Tags`. Text is NFC, on one line, without control characters and at most
:data:`MAX_TEXT` characters long. Broken tags never stop a file: they are left out, and ``problem``
says why.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from kindred.audio.content import open_regular

logger = logging.getLogger(__name__)

MAX_TEXT = 1_000
MAX_COVER = 16 << 20  # bytes
_MAX_PIXELS = 64_000_000

#: Values by their name in one form; a cover is kept apart.
Values = dict[str, list[str]]
#: Pictures: whether it is the front cover, and its bytes.
Pictures = list[tuple[bool, bytes]]


@dataclass(frozen=True)
class Tags:
    """What a file says about itself; empty where it says nothing.

    Attributes
    ----------
    extra : dict of str
        Further tags that were there: performer, conductor, key, bpm, label, isrc, musicbrainz_...
    cover : bytes or None
        The front cover, else the first picture, as it is in the file.
    problem : str
        Why the tags could not be read; empty when they could.
    """

    title: str = ""
    artist: str = ""
    album: str = ""
    album_artist: str = ""
    composer: str = ""
    work: str = ""
    genre: str = ""
    year: int | None = None
    track_no: int | None = None
    extra: dict[str, str] = field(default_factory=dict)
    cover: bytes | None = None
    problem: str = ""


_EXTRA = {
    "performer": ("performer",),
    "conductor": ("conductor",),
    "key": ("initialkey", "key"),
    "bpm": ("bpm", "tempo"),
    "label": ("label", "publisher", "organization"),
    "isrc": ("isrc",),
    "musicbrainz_trackid": ("musicbrainztrackid",),
    "musicbrainz_albumid": ("musicbrainzalbumid",),
    "musicbrainz_artistid": ("musicbrainzartistid",),
    "musicbrainz_workid": ("musicbrainzworkid",),
}

_ID3 = {
    "TIT2": "title", "TPE1": "artist", "TALB": "album", "TPE2": "albumartist", "TCOM": "composer",
    "TCON": "genre", "TDRC": "date", "TRCK": "tracknumber", "TPE3": "conductor", "TKEY": "key",
    "TBPM": "bpm", "TPUB": "label", "TSRC": "isrc",
}  # fmt: skip
_MP4 = {
    "©nam": "title", "©ART": "artist", "©alb": "album", "aART": "albumartist", "©wrt": "composer",
    "©wrk": "work", "©gen": "genre", "©day": "date", "tmpo": "bpm",
}  # fmt: skip
_INFO = {
    b"INAM": "title", b"IART": "artist", b"IPRD": "album", b"IMUS": "composer", b"IGNR": "genre",
    b"ICRD": "date", b"ITRK": "tracknumber", b"IPRT": "tracknumber",
}  # fmt: skip


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read a file's tags; never raises on what is in the file.

    Parameters
    ----------
    path : path

    Returns
    -------
    Tags
        Empty, with a ``problem``, when they are broken.

    Raises
    ------
    AudioError
        When the file cannot be opened at all.
    """
    with open_regular(path) as file:
        try:
            values, pictures = _read(file)
            return _tags(values, pictures)
        except Exception as error:
            # The parser of a dozen formats raises nearly anything on bytes it did not expect.
            logger.debug("reading tags", exc_info=True)
            reason = clean(str(error)) or type(error).__name__
            return Tags(problem=f"The tags cannot be read ({reason}).")


def _read(file: BinaryIO) -> tuple[Values, Pictures]:
    from mutagen import File, aiff, flac, id3, mp4, oggopus, oggvorbis, wave

    head = file.read(64)
    file.seek(0)
    if head[:4] in {b"RIFF", b"RF64"}:
        info = _riff_info(file)
        if head[:4] == b"RF64":
            return info, []
        file.seek(0)
        values, pictures = _from_id3(wave.WAVE(file).tags)
        return {**info, **values}, pictures
    if head[:4] == b"FORM":
        return _from_id3(aiff.AIFF(file).tags)
    if head[:4] == b"fLaC":
        tagged = flac.FLAC(file)
        pictures = [(picture.type == 3, picture.data) for picture in tagged.pictures]
        return _from_comments(tagged.tags)[0], pictures
    if head[:4] == b"OggS":
        kind = oggopus.OggOpus if b"OpusHead" in head else oggvorbis.OggVorbis
        return _from_comments(kind(file).tags)
    if head[4:8] == b"ftyp":
        return _from_mp4(mp4.MP4(file).tags)
    if head[:3] == b"ID3" or head[:1] == b"\xff":
        try:
            return _from_id3(id3.ID3(file))
        except id3.ID3NoHeaderError:
            return {}, []
    found = getattr(File(file), "tags", None)
    return _from_id3(found) if isinstance(found, id3.ID3) else _from_comments(found)


def _name(key: str) -> str:
    return re.sub(r"[ _-]", "", key.lower())


def _from_id3(frames: Any) -> tuple[Values, Pictures]:
    values: Values = {}
    pictures: Pictures = []
    for frame in frames.values() if frames else ():
        kind = frame.FrameID
        if kind == "APIC":
            pictures.append((frame.type == 3, frame.data))
        elif kind == "UFID" and frame.owner == "http://musicbrainz.org":
            values["musicbrainztrackid"] = [frame.data.decode("ascii", "replace")]
        elif kind == "TXXX":
            values.setdefault(_name(frame.desc), [str(text) for text in frame.text])
        elif kind in _ID3:  # "genres" has names where the text has numbers
            texts = frame.genres if kind == "TCON" else frame.text
            values[_ID3[kind]] = [str(text) for text in texts]
    return values, pictures


def _from_mp4(atoms: Any) -> tuple[Values, Pictures]:
    values: Values = {}
    pictures: Pictures = []
    for key, items in (atoms or {}).items():
        if key == "covr":
            pictures = [(False, bytes(item)) for item in items]
        elif key == "trkn":
            values["tracknumber"] = [str(items[0][0])]
        elif key in _MP4:
            values[_MP4[key]] = [str(item) for item in items]
        elif key.startswith("----:"):
            texts = [bytes(item).decode("utf-8", "replace") for item in items]
            values.setdefault(_name(key.rpartition(":")[2]), texts)
    return values, pictures


def _from_comments(comments: Any) -> tuple[Values, Pictures]:
    """Vorbis comments, and the like of them (APEv2)."""
    from mutagen.flac import Picture, error

    values: Values = {}
    pictures: Pictures = []
    for key in comments.keys() if comments else ():
        items = comments[key]
        texts = [str(item) for item in items] if isinstance(items, list) else [str(items)]
        if key.lower() != "metadata_block_picture":
            values[_name(key)] = texts
            continue
        for text in texts:
            try:
                picture = Picture(base64.b64decode(text))
            except (error, ValueError, EOFError):  # the other tags are worth having
                continue
            pictures.append((picture.type == 3, picture.data))
    return values, pictures


def _riff_info(file: BinaryIO) -> Values:
    """The LIST INFO chunk of a wav; texts are UTF-8 or, as most programs write, Windows-1252."""
    values: Values = {}
    file.seek(12)
    while len(header := file.read(8)) == 8:
        size = int.from_bytes(header[4:], "little")
        after = file.tell() + size + size % 2
        if header[:4] == b"LIST" and file.read(4) == b"INFO":
            chunk = file.read(min(size - 4, 1 << 20))
            at = 0
            while at + 8 <= len(chunk):
                length = int.from_bytes(chunk[at + 4 : at + 8], "little")
                raw = chunk[at + 8 : at + 8 + length].rstrip(b"\0")
                if name := _INFO.get(chunk[at : at + 4]):
                    values[name] = [_decoded(raw)]
                at += 8 + length + length % 2
        file.seek(after)
    return values


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def clean(text: str) -> str:
    """Return text fit to store: NFC, one line, no control characters, not too long."""
    text = unicodedata.normalize("NFC", text[: 4 * MAX_TEXT])
    text = " ".join(text.split())
    text = "".join(char for char in text if unicodedata.category(char) not in {"Cc", "Cs"})
    return text.strip()[:MAX_TEXT].rstrip()


def _joined(texts: Iterable[str]) -> str:
    parts = [clean(part) for text in texts for part in text.split("\0")]
    return clean("; ".join(dict.fromkeys(part for part in parts if part)))


def _tags(values: Values, pictures: Pictures) -> Tags:
    def text(*names: str) -> str:
        return next((found for name in names if (found := _joined(values.get(name, ())))), "")

    year = re.search(r"(?<!\d)(1\d{3}|20\d{2})", text("date", "year", "originaldate"))
    number = re.match(r"\d{1,4}(?!\d)", text("tracknumber", "track"))
    small = [item for item in pictures if 0 < len(item[1]) <= MAX_COVER]
    front = next((data for is_front, data in small if is_front), small[0][1] if small else None)
    return Tags(
        title=text("title"),
        artist=text("artist"),
        album=text("album"),
        album_artist=text("albumartist"),
        composer=text("composer"),
        work=text("work"),
        genre=text("genre"),
        year=int(year[1]) if year else None,
        track_no=(int(number[0]) or None) if number else None,
        extra={key: found for key, names in _EXTRA.items() if (found := text(*names))},
        cover=front,
    )


def thumbnail(image: bytes, *, size: int = 192) -> bytes | None:
    """Return the middle square of a picture as WebP.

    Parameters
    ----------
    image : bytes
        JPEG, PNG, WebP, GIF, BMP or TIFF.
    size : int
        Pixels a side.

    Returns
    -------
    bytes or None
        None when it is no such picture, is broken, or would unpack to too many pixels.
    """
    from PIL import Image, ImageOps

    formats = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # no format that runs a program
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image), formats=formats) as picture:
                if picture.width * picture.height > _MAX_PIXELS:
                    return None
                picture.draft("RGB", (2 * size, 2 * size))  # a jpeg is unpacked no larger
                square = ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), (size, size))
        out = io.BytesIO()
        square.save(out, "WEBP", quality=80)
        return out.getvalue()
    except Exception:
        # Pillow's plug-ins raise nearly anything on a broken picture.
        logger.debug("making a thumbnail", exc_info=True)
        return None
