"""Files: sound and tags into wav, flac, ogg (Vorbis), mp3 and m4a (AAC).

Tags follow what each format's players expect: ID3 for wav and mp3 (the work in ``TXXX:WORK``),
Vorbis comments for flac and ogg, atoms for m4a. A file is written under a temporary name, tagged,
and renamed, so that what has its name is complete.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kindred.demo.tracks import COMMENT, Track
from kindred.errors import KindredError

if TYPE_CHECKING:
    import numpy as np

_AAC_BITS = 160_000  # a second


def write_track(folder: Path, *, track: Track, sound: np.ndarray, cover: bytes) -> int:
    """Write a track with its tags and cover; nobody ever sees half of it.

    Parameters
    ----------
    folder : Path
        Of the library.
    track : Track
    sound : numpy.ndarray
        float32 ``[frames, 2]`` in [-1, 1]; mixed down when the track is mono.
    cover : bytes
        JPEG.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    KindredError
        When it cannot be written: no space, no permission.
    """
    import av
    import mutagen
    import soundfile

    path = folder / track.path
    part = path.with_name(f".{path.name}.part")
    if track.channels == 1:
        sound = sound.mean(axis=1, keepdims=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _encode(part, track, sound)
            _tag(part, track, cover)
            size = part.stat().st_size
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (
        OSError,
        soundfile.LibsndfileError,
        av.error.FFmpegError,
        mutagen.MutagenError,
    ) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise KindredError(
            f"{path} cannot be written ({reason}). Make room or give another folder, then run "
            "the demo again: it goes on where it stopped."
        ) from error
    return size


def _encode(path: Path, track: Track, sound: np.ndarray) -> None:
    import soundfile

    if track.format == "m4a":
        _encode_aac(path, track, sound)
        return
    kinds = {
        "wav": ("WAV", "PCM_16"),
        "flac": ("FLAC", "PCM_16"),
        "ogg": ("OGG", "VORBIS"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
    }
    kind, subtype = kinds[track.format]
    with soundfile.SoundFile(
        str(path), "w", track.sample_rate, track.channels, subtype, format=kind
    ) as file:
        # By the second: libsndfile's Vorbis overflows the stack on one long write.
        for start in range(0, len(sound), track.sample_rate):
            file.write(sound[start : start + track.sample_rate])


def _encode_aac(path: Path, track: Track, sound: np.ndarray) -> None:
    import av
    import numpy as np

    layout = "mono" if track.channels == 1 else "stereo"
    with av.open(str(path), "w", format="ipod") as container:
        stream: Any = container.add_stream("aac", rate=track.sample_rate, layout=layout)
        stream.bit_rate = _AAC_BITS * track.channels // 2
        for start in range(0, len(sound), 1024):
            block = np.ascontiguousarray(sound[start : start + 1024].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate = track.sample_rate
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _tag(path: Path, track: Track, cover: bytes) -> None:
    from mutagen import flac, mp3, mp4, oggvorbis, wave

    if track.format in {"wav", "mp3"}:
        tagged: Any = wave.WAVE(path) if track.format == "wav" else mp3.MP3(path)
        tagged.add_tags()
        _id3(tagged.tags, track, cover)
    elif track.format == "m4a":
        tagged = mp4.MP4(path)
        tagged.update(_atoms(track, cover))
    else:
        tagged = flac.FLAC(path) if track.format == "flac" else oggvorbis.OggVorbis(path)
        tagged.update(_comments(track))
        picture = flac.Picture()
        picture.type, picture.mime, picture.data = 3, "image/jpeg", cover
        picture.width = picture.height = 600
        picture.depth = 24
        if track.format == "flac":
            tagged.add_picture(picture)
        else:
            tagged["metadata_block_picture"] = base64.b64encode(picture.write()).decode("ascii")
    tagged.save()


def _id3(tags: Any, track: Track, cover: bytes) -> None:
    from mutagen import id3

    texts = {
        id3.TIT2: track.title,
        id3.TPE1: track.artist,
        id3.TALB: track.album,
        id3.TPE2: track.album_artist,
        id3.TCOM: track.composer,
        id3.TDRC: str(track.year),
        id3.TCON: track.genre,
        id3.TRCK: str(track.number),
    }
    for frame, text in texts.items():
        tags.add(frame(encoding=3, text=text))
    tags.add(id3.TXXX(encoding=3, desc="WORK", text=track.work))
    tags.add(id3.COMM(encoding=3, lang="eng", desc="", text=COMMENT))
    tags.add(id3.APIC(encoding=3, mime="image/jpeg", type=3, desc="Cover", data=cover))


def _comments(track: Track) -> dict[str, str]:
    return {
        "title": track.title,
        "artist": track.artist,
        "album": track.album,
        "albumartist": track.album_artist,
        "composer": track.composer,
        "work": track.work,
        "date": str(track.year),
        "genre": track.genre,
        "tracknumber": str(track.number),
        "comment": COMMENT,
    }


def _atoms(track: Track, cover: bytes) -> dict[str, Any]:
    from mutagen import mp4

    return {
        "©nam": track.title,
        "©ART": track.artist,
        "©alb": track.album,
        "aART": track.album_artist,
        "©wrt": track.composer,
        "©wrk": track.work,
        "©day": str(track.year),
        "©gen": track.genre,
        "trkn": [(track.number, 0)],
        "©cmt": COMMENT,
        "covr": [mp4.MP4Cover(cover, imageformat=mp4.MP4Cover.FORMAT_JPEG)],
    }
