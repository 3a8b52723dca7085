"""Clips as listeners hear them: cut, faded, brought to one loudness, and without a word in them.

A prepared clip is constant-bit-rate MP3, 192 kbit/s, 44.1 kHz, stereo, as bare frames: no tags and
no header that could tell anything; silence fills up what a track lacks, so all clips of a study
have the same size. Loudness is ITU-R BS.1770-4, LUFS; true peak is that of four times oversampled
audio, dBTP. A clip whose true peak would exceed -1 dBTP is made softer as a whole, never limited.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.audit.study import Clip, Study
from kindred.errors import AudioError, AuditError, KindredError
from kindred.storage.whole_files import replacing

RATE = 44_100
BIT_RATE = 192_000
LOUDNESS = -23.0  # LUFS
TRUE_PEAK = -1.0  # dBTP
#: Gain of every clip where levels are the question, dB: so hardly any must be lowered by itself.
UNMATCHED_GAIN = -4.0
_NEAR = 0.1  # LU and dB: how near levels are brought to what they should be
_TRIES = 8
#: LU: the tolerance of EBU R 128. Gating can make loudness jump where it should be; then nothing is
#: nearer.
_NEAR_ENOUGH = 0.5
_VERSION = 1  # of the recipe: another one, other files
_SHORTEST = 0.5  # seconds; the loudness of less is not defined
_MAKERS = 2

Stereo = NDArray[np.float32]


@dataclass(frozen=True)
class ClipFacts:
    """How a clip was made.

    Attributes
    ----------
    gain : float
        What its source was amplified by, dB.
    lowered : float
        How much of that was taken back for the true peak, dB; 0 for most.
    source : tuple of int
        Size in bytes and time of change in nanoseconds of the file it was cut from.
    """

    gain: float
    lowered: float
    source: tuple[int, int]


@dataclass(frozen=True)
class Prepared:
    """What preparing a study came to; ``lowered`` clips are softer than the others for their peaks.

    ``stopped``: it was cancelled before it was through, and ``lowered`` is not counted.
    """

    clips: int
    made: int
    lowered: int
    stopped: bool = False


class ClipMaker:
    """Makes clips and keeps them; threads and processes may make the same one at once.

    Parameters
    ----------
    audio_path : callable
        Track id -> its file; raises a :class:`~kindred.errors.KindredError` when there is none.
    folder : Path
        Where clips are kept; made when needed. A clip once made is used even when its track is
        away, so what listeners hear stays the same through a study.
    """

    def __init__(self, audio_path: Callable[[str], Path], folder: Path) -> None:
        self._audio_path = audio_path
        self._folder = folder

    def path(self, clip: Clip, *, seconds: float, fade: float, match_loudness: bool) -> Path:
        """The file of a clip, made now if it was not before.

        Parameters
        ----------
        seconds, fade : float
            Length of the file and of its fades, in seconds.
        match_loudness : bool

        Raises
        ------
        KindredError
            When its track has no file or cannot be decoded there, or is silent.
        """
        found = self._file(clip, seconds, fade, match_loudness)
        if not found.exists():
            self._make(found, clip, seconds, fade, match_loudness)
        return found

    def prepare(
        self,
        study: Study,
        progress: Callable[[int, int, str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Prepared:
        """Make every clip of a study that is missing or whose track's file has changed.

        Stopped or killed, the next call goes on where it was.

        Raises
        ------
        AuditError
            After all others were made, naming the tracks and items of those that cannot be.
        """
        design = study.design
        recipe = (design.clip_seconds, design.fade_seconds, design.match_loudness)
        used = {clip: item.item_id for item in study.items for clip in item.clips}
        problems: list[str] = []
        made = done = lowered = 0

        def make(clip: Clip) -> bool:
            if cancelled():
                return False
            found = self._file(clip, *recipe)
            if found.exists() and self._facts(found).source == self._stamp(clip):
                return False
            self._make(found, clip, *recipe)
            return True

        with ThreadPoolExecutor(_MAKERS) as makers:
            tasks = {makers.submit(make, clip): clip for clip in used}
            for task in as_completed(tasks):
                clip = tasks[task]
                try:
                    made += task.result()
                except KindredError as error:
                    problems.append(f"track {clip.track_id}, item {used[clip]}: {error}")
                done += 1
                if progress is not None:
                    progress(done, len(tasks), "Preparing clips")
        if cancelled():
            return Prepared(len(used), made, 0, stopped=True)
        if problems:
            more = f" And {len(problems) - 5} more." if len(problems) > 5 else ""
            raise AuditError(
                f"{len(problems)} of {len(used)} clips cannot be made: {' '.join(problems[:5])}"
                f"{more} Mend these tracks, take them out of the library, or change the seed."
            )
        lowered = sum(self._facts(self._file(clip, *recipe)).lowered > 0 for clip in used)
        return Prepared(len(used), made, lowered)

    def _file(self, clip: Clip, seconds: float, fade: float, match_loudness: bool) -> Path:
        recipe = json.dumps([_VERSION, asdict(clip), seconds, fade, match_loudness])
        return self._folder / f"{hashlib.sha256(recipe.encode()).hexdigest()[:32]}.mp3"

    def _facts(self, file: Path) -> ClipFacts:
        values = json.loads(file.with_suffix(".json").read_text())
        return ClipFacts(values["gain"], values["lowered"], tuple(values["source"]))

    def _stamp(self, clip: Clip) -> tuple[int, int]:
        path = self._audio_path(clip.track_id)
        try:
            found = path.stat()
        except OSError as error:
            raise AudioError("not-a-file", f"{path} cannot be read ({error.strerror}).") from error
        return found.st_size, found.st_mtime_ns

    def _make(
        self, file: Path, clip: Clip, seconds: float, fade: float, match_loudness: bool
    ) -> None:
        source = self._stamp(clip)
        audio = cut(
            self._audio_path(clip.track_id), start=clip.start, seconds=min(clip.seconds, seconds)
        )
        frames, gain, lowered = encode(
            faded(audio, fade), seconds=seconds, match_loudness=match_loudness
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            facts = json.dumps(asdict(ClipFacts(gain, lowered, source)))
            with replacing(file.with_suffix(".json")) as out:
                out.write(facts.encode())
            with replacing(file) as out:
                out.write(frames)
        except OSError as error:
            raise AuditError(f"A clip cannot be written to {self._folder} ({error}).") from error


def cut(path: str | os.PathLike[str], *, start: float, seconds: float) -> Stereo:
    """Decode a stretch of a file, from the file's beginning on, so that its place is exact.

    Parameters
    ----------
    start, seconds : float
        Seconds; less than ``seconds`` where the file ends.

    Returns
    -------
    float32 [n, 2]
        At 44.1 kHz.

    Raises
    ------
    AudioError
    """
    import av

    from kindred.audio.content import open_regular
    from kindred.audio.sources import open_av

    first, last = round(start * RATE), round((start + seconds) * RATE)
    parts: list[Stereo] = []
    size = 0
    with open_regular(path) as file:
        try:
            with open_av(file) as container:
                for block in _stereo(container.decode(audio=0)):
                    parts.append(block[max(0, first - size) : max(0, last - size)])
                    size += len(block)
                    if size >= last:
                        break
        except (av.error.FFmpegError, IndexError, ValueError) as error:
            raise AudioError(
                "damaged",
                f"The file cannot be decoded near {size / RATE:.1f} s ({error}). Get it again from"
                " where it came.",
            ) from error
    audio: Stereo = np.concatenate([np.zeros((0, 2), np.float32), *parts])
    if len(audio) < _SHORTEST * RATE:
        raise AudioError(
            "too-short",
            f"The file ends at {size / RATE:.1f} s: there is no clip from {start:.1f} s on.",
        )
    if not np.isfinite(audio).all():
        raise AudioError("not-finite", "There are samples that are not numbers in the clip.")
    return audio


def faded(audio: Stereo, seconds: float) -> Stereo:
    """Fade in and out by raised cosines; ``audio`` is float32 [n, 2], as is what is returned."""
    size = min(round(seconds * RATE), len(audio) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(size) + 0.5) / max(1, size))).astype(np.float32)
    out = audio.copy()
    out[:size] *= ramp[:, None]
    out[len(out) - size :] *= ramp[::-1, None]
    return out


def loudness(audio: Stereo) -> float:
    """Integrated loudness of float32 [n, 2], LUFS; -inf when all of it is below the gate."""
    from pyloudnorm import Meter

    with np.errstate(divide="ignore"):
        return float(Meter(RATE).integrated_loudness(audio.astype(np.float64)))


def true_peak(audio: Stereo) -> float:
    """True peak of float32 [n, 2], dBTP; -inf for silence."""
    import soxr

    peak = float(np.abs(soxr.resample(audio, RATE, 4 * RATE)).max())
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(peak))


def encode(audio: Stereo, *, seconds: float, match_loudness: bool) -> tuple[bytes, float, float]:
    """Bring audio to its level and encode it.

    Parameters
    ----------
    audio : float32 [n, 2]
    seconds : float
        Length of what is encoded; silence is added.
    match_loudness : bool
        To -23 LUFS; otherwise 4 dB softer than it is.

    Returns
    -------
    (bytes, float, float)
        MP3; gain, dB; how much of it was taken back for the true peak as decoded, dB.

    Raises
    ------
    AudioError
        ``silent``.
    """
    padded = np.zeros((round(seconds * RATE), 2), np.float32)
    padded[: len(audio)] = audio[: len(padded)]
    level = loudness(padded)
    if not np.isfinite(level):
        raise AudioError(
            "silent", "The clip is silent: nothing in it is louder than -70 LUFS. Choose another."
        )
    gain = LOUDNESS - level if match_loudness else UNMATCHED_GAIN
    for tried in range(_TRIES):  # what is heard counts: what was encoded is decoded and measured
        near = _NEAR if tried < _TRIES - 1 else _NEAR_ENOUGH
        frames = _mp3(padded * np.float32(10 ** (gain / 20)))
        heard = _decoded(frames)
        missing = LOUDNESS - loudness(heard) if match_loudness else UNMATCHED_GAIN - gain
        room = TRUE_PEAK - true_peak(heard)
        if room >= 0 and (abs(missing) <= near or room <= 2 * _NEAR):
            return frames, gain, missing if missing > near else 0.0
        gain += min(missing, room - _NEAR)
    raise AudioError("unexpected", "The clip cannot be brought to its level. Choose another.")


def _mp3(audio: Stereo) -> bytes:
    import av

    coder: Any = av.CodecContext.create("libmp3lame", "w")
    coder.sample_rate, coder.layout, coder.format = RATE, "stereo", "fltp"
    coder.bit_rate = BIT_RATE
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), "fltp", "stereo")
    frame.sample_rate = RATE
    packets = [*coder.encode(frame), *coder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def _decoded(frames: bytes) -> Stereo:
    import av

    with av.open(io.BytesIO(frames), format="mp3") as container:
        return np.asarray(np.concatenate(list(_stereo(container.decode(audio=0)))))


def _stereo(frames: Iterable[Any]) -> Iterable[Stereo]:
    """Decoded frames as float32 [n, 2] at 44.1 kHz."""
    import av

    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
    for frame in chain(frames, (None,)):  # None brings out what is held back
        if frame is not None:
            frame.pts = None
        for part in resampler.resample(frame):
            yield part.to_ndarray().T
