"""One open file as native audio: which decoder reads it, and its mix to mono.

libsndfile reads wav, aiff, caf and flac; ffmpeg (PyAV) reads the rest. Where both can, ffmpeg
decodes opus three times faster and mp3 as fast; and without a Xing header libsndfile guesses how
long an mp3 is, silently drops what lies beyond the guess, and prints to stderr where a frame is
damaged.

5.1 is mixed by the coefficients of ITU-R BS.775, normalised, without the low-frequency channel.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from kindred.audio.content import is_audio_head, is_mpeg_frame, looks_like
from kindred.errors import AudioError

logger = logging.getLogger(__name__)

Samples = NDArray[np.float32]

_BLOCK_SECONDS = 2
_RATES = range(1_000, 768_001)  # what a header may claim; beyond, it is broken
_BAD_PACKETS = 3  # a stray tag or a clipped frame; more is damage

#: Front left, front right, centre, low frequency, surround left, surround right.
_BS775 = np.array([0.5, 0.5, math.sqrt(0.5), 0.0, math.sqrt(0.125), math.sqrt(0.125)])
_BS775_WEIGHTS = (_BS775 / _BS775.sum()).astype(np.float32)
_LAYOUT_51 = (["FL", "FR", "FC", "LFE", "BL", "BR"], ["FL", "FR", "FC", "LFE", "SL", "SR"])

_SOUNDFILE_NAMES = {
    "WAV": "wav", "WAVEX": "wav", "RF64": "rf64", "W64": "w64", "AIFF": "aiff", "AU": "au",
    "CAF": "caf", "FLAC": "flac",
}  # fmt: skip
_SOUNDFILE_HEADS = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"caff", b".snd")
#: Formats whose six channels libsndfile gives in the order of :data:`_BS775`.
_ORDERED = {"wav", "rf64", "w64", "flac"}

#: Containers that hold their own audio. Playlists, scripts and images stay out: they open others.
_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,caf,dsf,dts,eac3,flac,matroska,mov,mp3,mpc,mpc8,ogg,tak,tta,w64,"
    "wav,wv"
)
_AV_NAMES = {
    "mov": "mp4", "matroska": "mka", "asf": "wma", "wv": "wavpack", "mpc8": "mpc",
}  # fmt: skip
#: Headers of these only estimate the length.
_ESTIMATED = {"aac", "ac3", "amr", "dts", "eac3", "mp2", "mp3"}


@dataclass(frozen=True)
class AudioInfo:
    """What the header says.

    Attributes
    ----------
    format : str
        The content's short name: ``mp3``, ``flac``, ``wav``, ``ogg``, ``opus``, ``m4a``, ``alac``,
        ``aac``, ``aiff`` ...
    sample_rate : int
        Hz.
    channels : int
    duration : float
        Seconds, as far as the header knows; 0.0 when it does not say.
    """

    format: str
    sample_rate: int
    channels: int
    duration: float


def open_source(file: BinaryIO) -> Source:
    """Choose a decoder by the file's content and open it; the file stays the caller's on failure.

    Raises
    ------
    AudioError
        ``not-audio`` or ``damaged``.
    """
    try:
        head = file.read(4096)
        file.seek(0)
        if head.startswith(_SOUNDFILE_HEADS):
            try:
                return SoundfileSource(file)
            except (RuntimeError, OSError, TypeError, ValueError):
                logger.debug("libsndfile refused, trying ffmpeg", exc_info=True)
                file.seek(0)
        return AvSource(file, head)
    except AudioError:
        raise
    except Exception as error:
        # On a header made to confuse it, a decoder raises nearly anything.
        logger.debug("opening", exc_info=True)
        _refuse(head, error)


def _refuse(head: bytes, error: Exception) -> NoReturn:
    if is_audio_head(head):
        raise AudioError(
            "damaged",
            "The file begins like audio, but its header is damaged or cut off. Get it again from"
            " where it came.",
        ) from error
    other = looks_like(head)
    what = f"it looks like {other}" if other else "its content is of no known kind"
    raise AudioError("not-audio", f"This is not audio: {what}.") from error


def _mix(channels: Samples, *, surround: bool) -> Samples:
    """Mix [channels, n] to new mono samples [n]."""
    count = len(channels)
    if count == 1:
        return np.array(channels[0])
    if count == 2:  # many times faster than a mean over the channels
        return np.asarray((channels[0] + channels[1]) * np.float32(0.5))
    if count == 6 and surround:
        return np.asarray(_BS775_WEIGHTS @ channels)
    return np.asarray(channels.mean(axis=0, dtype=np.float32))


def _checked(info: AudioInfo) -> AudioInfo:
    if info.sample_rate not in _RATES or info.channels < 1:
        raise AudioError(
            "damaged",
            f"The header is damaged: it claims {info.channels} channels at {info.sample_rate} Hz.",
        )
    return info


class Source(ABC):
    """One open file; ``promised`` is its exact length in seconds, 0.0 when not known."""

    info: AudioInfo
    promised: float = 0.0

    @abstractmethod
    def blocks(self) -> Iterator[tuple[int, Samples]]:
        """Yield the native rate and mono samples; they may be empty."""

    @abstractmethod
    def close(self) -> None:
        """Close the decoder and the file."""


class SoundfileSource(Source):
    """libsndfile, reading from the descriptor: given a name, it would trust the suffix."""

    def __init__(self, file: BinaryIO) -> None:
        import soundfile

        self._file = file
        self._sound = sound = soundfile.SoundFile(file.fileno(), closefd=False)
        name = _SOUNDFILE_NAMES.get(sound.format, "")
        usable = name and not sound.subtype.startswith("MPEG")
        if not usable or (sound.channels > 2 and name not in _ORDERED):
            sound.close()
            raise ValueError(f"{sound.format} {sound.subtype} is left to ffmpeg")
        seconds = sound.frames / sound.samplerate
        seconds = seconds if seconds < 1e7 else 0.0
        self.info = _checked(AudioInfo(name, sound.samplerate, sound.channels, seconds))
        self.promised = seconds * _share_cut_off(sound.extra_info)

    def blocks(self) -> Iterator[tuple[int, Samples]]:
        rate, channels = self.info.sample_rate, self.info.channels
        frames = _BLOCK_SECONDS * rate if channels <= 8 else 1 << 14
        buffer = np.empty((frames, channels), np.float32)  # fresh pages cost more than decoding
        while len(block := self._sound.read(frames, out=buffer)):
            yield rate, _mix(block.T, surround=True)

    def close(self) -> None:
        self._sound.close()
        self._file.close()


def _share_cut_off(log: str) -> float:
    """How many times longer than the file its header says it is; 1.0 for a whole file."""
    match = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", log)
    if match is None:
        return 1.0
    said, found = int(match[1]), int(match[2])
    # Programs that write to a pipe do not know the length; they put in the largest there is.
    return said / found if 0 < found < said < 0x7FFF_0000 else 1.0


def open_av(file: BinaryIO, *, start: int = 0) -> Any:
    """Open a file with ffmpeg, held to containers that cannot name other files.

    Parameters
    ----------
    start : int
        Bytes to leave out at the beginning.

    Raises
    ------
    av.error.FFmpegError
        When it is none of these containers, or is damaged.
    """
    import av

    av.logging.set_level(None)  # nothing to stderr, and no callback that would need the GIL
    return av.open(
        _Bytes(file, start),
        options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"},
        metadata_errors="replace",
    )


class AvSource(Source):
    """ffmpeg, which sees bytes only: no name, no other file, no network."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self._file = file
        self._container = open_av(file, start=_skip(file, head))
        try:
            self._choose(head)
        except BaseException:
            self._container.close()
            raise

    def _choose(self, head: bytes) -> None:
        from av.stream import Disposition

        container = self._container
        films = [
            stream
            for stream in container.streams.video
            if not stream.disposition & Disposition.attached_pic  # a cover
        ]
        if not container.streams.audio:
            what = "a video without sound" if films else "a file without a sound track"
            raise AudioError("not-audio", f"This is not audio: it looks like {what}.")
        self._stream = stream = container.streams.audio[0]
        context: Any = stream.codec_context
        if context is None:
            raise AudioError(
                "not-audio", "The sound track is in a codec that cannot be decoded, or protected."
            )
        context.thread_count = 1  # many files are decoded at once instead
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        known = bool(seconds) or not films  # a film may be longer than its sound
        if not seconds and container.duration:
            seconds = container.duration / 1e6
        name = _av_name(container.format.name.split(",")[0], context.name, bool(films))
        self.info = _checked(AudioInfo(name, context.rate or 0, context.channels or 0, seconds))
        exact = name not in _ESTIMATED or (name == "mp3" and _has_length(self._file, head))
        self.promised = seconds if exact and known else 0.0

    def blocks(self) -> Iterator[tuple[int, Samples]]:
        import av

        fifo = av.AudioFifo()
        bad = 0
        for packet in self._container.demux(self._stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                bad += 1
                if bad > _BAD_PACKETS:
                    yield self._drain(fifo)  # so that the error tells where it is
                    raise
                continue
            for frame in frames:
                frame.pts = None
                try:
                    fifo.write(frame)
                except ValueError:  # the rate or the layout changes within the file
                    yield self._drain(fifo)
                    fifo = av.AudioFifo()
                    fifo.write(frame)
            if fifo.samples >= _BLOCK_SECONDS * self.info.sample_rate:
                yield self._drain(fifo)
        yield self._drain(fifo)

    def _drain(self, fifo: Any) -> tuple[int, Samples]:
        frame = fifo.read() if fifo.samples else None
        if frame is None:
            return self.info.sample_rate, np.zeros(0, np.float32)
        rate, layout = _checked_frame(frame), frame.layout
        channels = frame.to_ndarray()
        if not frame.format.is_planar:
            channels = channels.reshape(-1, layout.nb_channels).T
        surround = [channel.name for channel in layout.channels] in _LAYOUT_51
        return rate, _mix(_float32(channels), surround=surround)

    def close(self) -> None:
        self._container.close()
        self._file.close()


def _checked_frame(frame: Any) -> int:
    return _checked(AudioInfo("", frame.sample_rate, frame.layout.nb_channels, 0.0)).sample_rate


def _float32(samples: NDArray[Any]) -> Samples:
    if samples.dtype == np.uint8:
        return np.asarray((samples.astype(np.float32) - 128.0) / 128.0, np.float32)
    if samples.dtype.kind == "i":
        full_scale = -float(np.iinfo(samples.dtype).min)
        return np.asarray(samples.astype(np.float32) / full_scale, np.float32)
    return np.asarray(samples, np.float32)


def _av_name(container: str, codec: str, film: bool) -> str:
    if container == "mov" and not film:
        return {"aac": "m4a", "alac": "alac"}.get(codec, "mp4")
    if container == "ogg":
        return {"vorbis": "ogg", "opus": "opus"}.get(codec, "oga")
    if container == "mp3" and codec.startswith(("mp1", "mp2")):
        return "mp2"
    return _AV_NAMES.get(container, container)


def _skip(file: BinaryIO, head: bytes) -> int:
    """Bytes to leave out: an ID3 header that claims to be longer than its file hides the audio."""
    size = os.fstat(file.fileno()).st_size
    return 10 if head.startswith(b"ID3") and _id3_end(head) >= size else 0


def _id3_end(head: bytes) -> int:
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum(
        (byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
    )


def _has_length(file: BinaryIO, head: bytes) -> bool:
    """Whether the first frame of an mp3 tells how many frames follow (Xing, Info or VBRI)."""
    where = file.tell()
    file.seek(_id3_end(head))
    frame = file.read(256)
    file.seek(where)
    return is_mpeg_frame(frame) and any(name in frame for name in (b"Xing", b"Info", b"VBRI"))


class _Bytes(io.RawIOBase):
    """A file from an offset on, and without its name, so that no decoder can be led by it."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file = file
        self._offset = offset
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET:
            offset += self._offset
        return self._file.seek(offset, whence) - self._offset

    def tell(self) -> int:
        return self._file.tell() - self._offset
