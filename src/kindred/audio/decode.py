"""Decoding a file into a stream of mono samples at one sample rate.

Conventions: blocks are mono float32 [n], full scale is 1.0, rates are in Hz and lengths in
seconds. A file is judged by its content, never by its name. Memory does not grow with its length.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from types import TracebackType

import numpy as np

from kindred.audio.content import open_regular
from kindred.audio.sources import AudioInfo, Samples, Source, open_source
from kindred.errors import AudioError

logger = logging.getLogger(__name__)

#: Shorter audio than this is refused, in seconds.
MIN_SECONDS = 0.5
#: A track that never reaches this magnitude (-90 dBFS) is silent.
SILENCE = 10 ** (-90 / 20)

__all__ = ["AudioInfo", "AudioStream", "decode", "open_audio", "probe"]


class AudioStream:
    """An open file as a stream of mono blocks; made by :func:`open_audio`, a context manager.

    Attributes
    ----------
    info : AudioInfo
    seconds : float
        Audio decoded so far, exact, at the file's own rate.
    """

    def __init__(self, source: Source, *, sample_rate: int) -> None:
        self.info = source.info
        self.seconds = 0.0
        self._source = source
        self._sample_rate = sample_rate

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._source.close()

    def blocks(self) -> Iterator[Samples]:
        """Yield the audio from its start, once.

        Yields
        ------
        float32 [n]
            Mono, at the asked sample rate, a few seconds at most.

        Raises
        ------
        AudioError
            ``damaged`` and ``not-finite`` where they are met; ``too-short``, ``silent`` and, for a
            file that was cut off, ``damaged`` at the end.
        """
        peak, before, frames = 0.0, 0.0, 0
        resampler: _Resampler | None = None
        for rate, mono in self._native():
            loudest = max(float(mono.max()), -float(mono.min()))
            if not math.isfinite(loudest):
                raise AudioError(
                    "not-finite",
                    f"Near {self.seconds:.1f} s there are samples that are not numbers (NaN or"
                    " infinite). Export the file again.",
                )
            peak = max(peak, loudest)
            if resampler is None or resampler.rate != rate:
                if resampler is not None:
                    yield from resampler.end()
                before, frames = self.seconds, 0
                resampler = _Resampler(rate, self._sample_rate)
            frames += mono.size
            self.seconds = before + frames / rate
            yield from resampler.add(mono)
        if resampler is not None:
            yield from resampler.end()
        self._judge(peak)

    def _native(self) -> Iterator[tuple[int, Samples]]:
        """Blocks of the source; whatever its decoder raises becomes an :class:`AudioError`."""
        blocks = self._source.blocks()
        while True:
            try:
                block = next(blocks, None)
            except AudioError:
                raise
            except Exception as error:
                # Decoders raise nearly anything on bytes made to confuse them.
                logger.debug("decoding", exc_info=True)
                raise AudioError(
                    "damaged",
                    f"The file is damaged near {self.seconds:.1f} s and cannot be decoded from"
                    " there. Get it again from where it came.",
                ) from error
            if block is None:
                return
            if block[1].size:
                yield block

    def _judge(self, peak: float) -> None:
        promised = self._source.promised
        if promised - self.seconds > max(MIN_SECONDS, promised / 100):
            raise AudioError(
                "damaged",
                f"The file stops after {self.seconds:.1f} s of {promised:.1f} s: it was cut off or"
                " is damaged. Get it again from where it came.",
            )
        if self.seconds < MIN_SECONDS:
            raise AudioError(
                "too-short",
                f"There are only {self.seconds:.3f} s of audio; at least {MIN_SECONDS} s are"
                " needed.",
            )
        if peak < SILENCE:
            raise AudioError(
                "silent", "The file is silent: mixed to mono, no sample is louder than -90 dBFS."
            )


class _Resampler:
    def __init__(self, rate: int, target: int) -> None:
        import soxr

        self.rate = rate
        self._stream = None
        if rate != target:
            self._stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def add(self, mono: Samples, *, last: bool = False) -> Iterator[Samples]:
        if self._stream is not None:
            mono = self._stream.resample_chunk(mono, last=last)
        if mono.size:
            yield mono

    def end(self) -> Iterator[Samples]:
        yield from self.add(np.zeros(0, np.float32), last=True)


def open_audio(path: str | os.PathLike[str], *, sample_rate: int) -> AudioStream:
    """Open a file for decoding.

    Parameters
    ----------
    path : path
    sample_rate : int
        Rate of the blocks, Hz.

    Raises
    ------
    AudioError
        ``empty``, ``not-a-file``, ``broken-link``, ``no-permission``, ``not-audio`` or ``damaged``.
    """
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be positive, got {sample_rate}")
    file = open_regular(path)
    try:
        return AudioStream(open_source(file), sample_rate=sample_rate)
    except BaseException:
        file.close()
        raise


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read a file's header.

    Raises
    ------
    AudioError
        As :func:`open_audio` does.
    """
    with open_audio(path, sample_rate=48_000) as stream:
        return stream.info


def decode(
    path: str | os.PathLike[str], *, sample_rate: int, max_seconds: float | None = None
) -> Samples:
    """Decode a file, or its beginning, into memory.

    Parameters
    ----------
    path : path
    sample_rate : int
        Hz.
    max_seconds : float, optional
        Stop here; what comes later is neither read nor judged.

    Returns
    -------
    float32 [samples]
        Mono.

    Raises
    ------
    AudioError
        As :func:`open_audio` and :meth:`AudioStream.blocks` do.
    """
    limit = math.inf if max_seconds is None else round(max_seconds * sample_rate)
    parts, size = [np.zeros(0, np.float32)], 0
    with open_audio(path, sample_rate=sample_rate) as stream:
        for block in stream.blocks():
            parts.append(block)
            size += block.size
            if size >= limit:
                break
    audio = np.concatenate(parts)
    return audio if size <= limit else audio[: int(limit)]
