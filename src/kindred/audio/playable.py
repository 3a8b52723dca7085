"""Audio that a browser can play.

Browsers play wav, mp3, AAC, flac, ogg and opus. What they do not play (AIFF, Apple Lossless) is
written once as 16-bit stereo flac into a cache and served from there.
"""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

from kindred.errors import AudioError

MEDIA_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
}


def playable(path: Path, *, format: str, content_hash: str, cache: Path) -> tuple[Path, str]:
    """Return a file that browsers play, and its media type.

    Parameters
    ----------
    path : Path
        The track's file.
    format : str
        Its content, as :class:`~kindred.audio.decode.AudioInfo` names it.
    content_hash : str
        Names the cached copy.
    cache : Path
        Folder of copies; made when needed.

    Raises
    ------
    AudioError
        When the file cannot be decoded.
    """
    if format in MEDIA_TYPES:
        return path, MEDIA_TYPES[format]
    target = cache / f"{content_hash}.flac"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        _write_flac(path, temporary)
        os.replace(temporary, target)
    return target, "audio/flac"


def _write_flac(source: Path, target: Path) -> None:
    import av

    from kindred.audio.sources import open_av

    av.logging.set_level(None)
    try:
        with (
            open(source, "rb") as file,
            open_av(file) as audio,
            av.open(str(target), "w", format="flac") as out,
        ):
            stream = out.add_stream("flac", rate=44_100, layout="stereo", format="s16")
            resampler = av.AudioResampler(format="s16", layout="stereo", rate=44_100)
            for frame in chain(audio.decode(audio=0), (None,)):  # None brings out what is held back
                for part in resampler.resample(frame):
                    out.mux(stream.encode(part))
            out.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        target.unlink(missing_ok=True)
        raise AudioError("damaged", f"The file cannot be decoded for playing ({error}).") from error
