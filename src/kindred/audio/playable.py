"""Audio that a browser can play.

Browsers play wav, mp3, AAC, flac, ogg and opus. What they do not play (AIFF, Apple Lossless) is
written once as 16-bit flac into a cache and served from there.
"""

from __future__ import annotations

import os
from pathlib import Path

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
    import numpy as np
    import soundfile

    from kindred.audio.decode import open_audio

    rate = 44_100
    with (
        open_audio(source, sample_rate=rate) as stream,
        soundfile.SoundFile(target, "w", rate, 1, subtype="PCM_16", format="FLAC") as out,
    ):
        for block in stream.blocks():
            out.write(np.clip(block, -1.0, 1.0))
