"""Reading and embedding many files at once, in bounded memory.

Threads hash, decode and cut files into windows; one thread encodes, with the windows of several
files in one batch. The queue between them is short, so a three-hour file or ten thousand files
need no more memory than a few batches::

    reader threads                      queue          caller's thread
    hash -> tags -> decode -> windows  ------>  encode(batch) -> pool -> Reading
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.audio.content import sha256_of
from kindred.audio.decode import AudioInfo, open_audio
from kindred.audio.tags import Tags, read_tags
from kindred.audio.waveform import PeakMeter
from kindred.embeddings.descriptors import DescriptorEncoder
from kindred.embeddings.encoder import Encoder, Sink, TrackEmbedding
from kindred.errors import AudioError, EncoderError
from kindred.library.measures import Measures, TrackMeter
from kindred.library.scan import Candidate

logger = logging.getLogger(__name__)

#: Window batches waiting for the encoder.
_QUEUE = 4


@dataclass
class Reading:
    """What came of one file: an error, a hash that needs no reading, or all there is to know."""

    candidate: Candidate
    content_hash: str = ""
    error: AudioError | None = None
    known: bool = False
    tags: Tags | None = None
    info: AudioInfo | None = None
    seconds: float = 0.0
    peaks: bytes = b""
    embedding: TrackEmbedding | None = None
    measures: Measures | None = None
    _meter: TrackMeter | None = None
    _parts: list[NDArray[np.float32]] = field(default_factory=list)
    _delivered: int = 0  # windows put into the queue; written by the reader alone
    _encoded: int = 0  # windows that came out of the encoder
    _read: bool = False

    @property
    def _complete(self) -> bool:
        return self._read and self._encoded == self._delivered


class Pipeline:
    """Reads and embeds files.

    Parameters
    ----------
    encoder : Encoder
        Makes the vectors.
    workers : int
        Reader threads.
    is_known : callable
        Given a content hash, says whether reading the file would tell nothing new.
    sink : Sink, optional
        Takes what the encoder gives beside its vectors.

    Attributes
    ----------
    measures : bool
        Whether readings come with their measures: the descriptors tell them, no other encoder does.
    times : dict
        Seconds spent in each stage, added up over the threads: where the time goes.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        workers: int,
        is_known: Callable[[str], bool] | None = None,
        sink: Sink | None = None,
    ) -> None:
        self.encoder = encoder
        self.workers = workers
        self.sink = sink
        self.measures = isinstance(encoder, DescriptorEncoder)
        self.is_known = is_known or (lambda content_hash: False)
        self.times: dict[str, float] = dict.fromkeys(
            ("hash", "tags", "decode", "wait", "encode"), 0.0
        )
        self._queue: queue.Queue[Any] = queue.Queue(_QUEUE)
        self._stop = threading.Event()
        self._claimed: set[str] = set()
        self._lock = threading.Lock()

    def run(self, candidates: Iterable[Candidate]) -> Generator[Reading, None, None]:
        """Yield a :class:`Reading` for each file, as they are done.

        Two files with the same bytes are read once: the second comes back as ``known``, after the
        first. Closing the generator stops the threads.
        """
        todo = list(candidates)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="kindred-read") as threads:
            for candidate in todo:
                threads.submit(self._read, candidate)
            try:
                yield from self._encode(len(todo))
            finally:
                self._stop.set()
                if self.sink:
                    self.sink.close()
                threads.shutdown(wait=False, cancel_futures=True)
                while True:  # wake readers that wait for room in the queue
                    try:
                        self._queue.get_nowait()
                    except queue.Empty:
                        break

    def _spent(self, stage: str, since: float) -> None:
        with self._lock:
            self.times[stage] += time.perf_counter() - since

    # -- reader threads --------------------------------------------------------------------
    def _put(self, item: tuple[Reading, NDArray[np.float32] | None]) -> None:
        started = time.perf_counter()
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                break
            except queue.Full:
                continue
        self._spent("wait", started)
        if self._stop.is_set():
            raise _Stopped

    def _read(self, candidate: Candidate) -> None:
        reading = Reading(candidate)
        try:
            try:
                self._fill(reading)
            except AudioError as error:
                reading.error = error
            except OSError as error:
                code = "no-permission" if isinstance(error, PermissionError) else "damaged"
                reading.error = AudioError(code, f"The file cannot be read ({error.strerror}).")
            except _Stopped:
                return
            except Exception as error:
                # One file must never stop the others, whatever a decoder does with it.
                logger.debug("reading %s", candidate.path, exc_info=True)
                reading.error = AudioError(
                    "unexpected", f"Reading failed ({type(error).__name__}: {error})."
                )
            self._put((reading, None))
        except _Stopped:
            pass

    def _fill(self, reading: Reading) -> None:
        path, space = reading.candidate.path, self.encoder.space
        clock = time.perf_counter()
        reading.content_hash = sha256_of(path)
        with self._lock:
            claimed = reading.content_hash in self._claimed
            self._claimed.add(reading.content_hash)
        if claimed or self.is_known(reading.content_hash):
            reading.known = True
            return
        self._spent("hash", clock)
        with open_audio(path, sample_rate=space.sample_rate) as stream:
            reading.info = stream.info
            peaks = PeakMeter()
            reading._meter = TrackMeter() if self.measures else None

            def metered() -> Iterator[NDArray[np.float32]]:
                for block in stream.blocks():
                    peaks.add(block)
                    if reading._meter:
                        reading._meter.hear(block)
                    yield block

            clock = time.perf_counter()
            for windows in self.encoder.windows(metered()):
                self._spent("decode", clock)
                reading._delivered += len(windows)
                self._put((reading, windows))
                clock = time.perf_counter()
            self._spent("decode", clock)
            reading.seconds = stream.seconds
        reading.peaks = peaks.peaks()
        clock = time.perf_counter()
        reading.tags = read_tags(path)
        self._spent("tags", clock)
        now = os.stat(path)
        if (now.st_size, now.st_mtime_ns) != (reading.candidate.size, reading.candidate.mtime_ns):
            raise AudioError("changed", "The file changed while it was read. Scan again.")

    # -- caller's thread -------------------------------------------------------------------
    def _encode(self, files: int) -> Iterator[Reading]:
        waiting: list[tuple[Reading, NDArray[np.float32]]] = []
        same: list[Reading] = []
        done = 0
        while done < files:
            if sum(len(windows) for _, windows in waiting) >= self.encoder.batch:
                item = None
            else:
                try:  # encode a smaller batch rather than idle
                    item = self._queue.get(timeout=0.005 if waiting else None)
                except queue.Empty:
                    item = None
            if item is not None:
                reading, windows = item
                if windows is not None:
                    if reading.error is None:
                        waiting.append((reading, windows))
                    continue
                reading._read = True
                finished = [reading] if reading.error or reading._complete else []
            else:
                finished = self._encode_batch(waiting)
                waiting = []
            for reading in finished:
                done += 1
                if reading.known:
                    same.append(reading)  # after the file it is a copy of
                else:
                    yield self._finish(reading)
        yield from same

    def _encode_batch(self, waiting: list[tuple[Reading, NDArray[np.float32]]]) -> list[Reading]:
        clock = time.perf_counter()
        batch = np.concatenate([windows for _, windows in waiting])
        rows, more = (
            self.encoder.encode_more(batch)
            if self.sink or self.measures
            else (self.encoder.encode(batch), None)
        )
        self._spent("encode", clock)
        start = 0
        finished = []
        for reading, windows in waiting:
            reading._parts.append(rows[start : start + len(windows)])
            if more is not None:
                part = more[start : start + len(windows)]
                if self.sink:
                    self.sink.add(reading.content_hash, part)
                if reading._meter:
                    reading._meter.add(part)
            start += len(windows)
            reading._encoded += len(windows)
            if reading._complete and reading.error is None:
                finished.append(reading)
        return finished

    def _finish(self, reading: Reading) -> Reading:
        if reading.error is None:
            try:
                segments = np.concatenate(reading._parts)
                reading.embedding = TrackEmbedding(self.encoder.pool(segments), segments)
            except (EncoderError, ValueError) as error:
                reading.error = AudioError("no-vector", f"{self.encoder.title}: {error}")
        if self.sink:
            (self.sink.drop if reading.error else self.sink.finish)(reading.content_hash)
        if reading._meter and reading.error is None:
            reading.measures = reading._meter.measures()
        reading._parts, reading._meter = [], None
        return reading


class _Stopped(Exception):
    """The pipeline was told to stop."""
