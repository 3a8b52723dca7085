"""Layer-wise segment embeddings on disk: what the study of expressive similarity stands on.

Conventions: one file per track and space, little-endian float16 [segments, layers, dims] in C
order, mapped and never read whole; a manifest beside it says what it holds. ::

    <folder>/<space_id>/<first two of the hash>/<hash>.f16    the numbers
    <folder>/<space_id>/<first two of the hash>/<hash>.json   the manifest, written last

A track is there when its manifest is. Killed at any moment, a writer leaves a track that is whole
or one that is not there. float16 keeps 11 significant bits: a value returns within 2^-11 of itself,
or within 2^-25 where it is smaller than 2^-14 (IEEE 754-2008, binary16).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import StorageError

#: Raised whenever the layout of a file or its manifest changes.
SCHEMA = 1
DTYPE = np.dtype("<f2")
#: Largest magnitude float16 holds.
LARGEST = float(np.finfo(DTYPE).max)
#: Seconds a writer waits for another one of the same space to publish.
TIMEOUT = 30.0

Layers = NDArray[np.float16]
_counter = itertools.count()


class LayeredStore:
    """Layer-wise segment embeddings of tracks, by content hash and space.

    Parameters
    ----------
    folder : Path
        Where the files lie; made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def writer(self, content_hash: str, *, space: EmbeddingSpace) -> LayeredWriter:
        """Begin a track whose segments come batch by batch."""
        return LayeredWriter(self, content_hash, space)

    def write(
        self,
        content_hash: str,
        *,
        space: EmbeddingSpace,
        batches: Iterable[NDArray[np.floating]],
    ) -> None:
        """Write a track's segments, replacing what was there once all of them are written.

        Parameters
        ----------
        content_hash : str
            SHA-256 of the audio file, hexadecimal.
        space : EmbeddingSpace
            What the numbers depend on besides the audio.
        batches : iterable of float [n, layers, dims]
            Consecutive segments; one batch is held at a time.

        Raises
        ------
        StorageError
            When a batch has another shape, holds what float16 cannot, or the disk refuses; what
            was there before stays.
        """
        with self.writer(content_hash, space=space) as writer:
            for batch in batches:
                writer.add(batch)

    def open(self, content_hash: str, *, space: EmbeddingSpace, verify: bool = True) -> Layers:
        """Map a track's segments, read-only.

        Parameters
        ----------
        verify : bool
            Also compare the checksum, which reads the file once; without it only the shape and
            the size are compared.

        Returns
        -------
        float16 [segments, layers, dims]

        Raises
        ------
        StorageError
            When the track is not there, or its file is cut, garbled or of another space.
        """
        path = self.path(content_hash, space=space)
        manifest = self.manifest(content_hash, space=space)
        shape = tuple(manifest["shape"])
        try:
            got = path.stat().st_size
            expected = int(np.prod(shape, dtype=np.int64)) * DTYPE.itemsize
            if got != expected:
                raise _damaged(path, f"it has {got} bytes, its manifest says {expected}")
            if verify and _sha256(path) != manifest["sha256"]:
                raise _damaged(path, "its checksum is not that of its manifest")
            return cast(Layers, np.memmap(path, DTYPE, "r", shape=shape))
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error

    def manifest(self, content_hash: str, *, space: EmbeddingSpace) -> dict[str, Any]:
        """What a track's file holds: schema, content_hash, space, pooling, shape, dtype, sha256.

        Raises
        ------
        StorageError
            When the track is not there, or its manifest cannot be read or is another's.
        """
        path = self.path(content_hash, space=space).with_suffix(".json")
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            schema, written = manifest["schema"], EmbeddingSpace.from_dict(manifest["space"])
            shape, dtype = manifest["shape"], manifest["dtype"]
            whole = len(shape) == 3 and all(isinstance(size, int) and size > 0 for size in shape)
            owner = manifest["content_hash"], len(manifest["sha256"])
        except FileNotFoundError as error:
            raise StorageError(
                f"Track {content_hash[:12]} has no layers of {space.model} ({space.space_id}) in"
                f" {self.folder}. Embed its file again."
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, str(error)) from error
        if schema != SCHEMA:
            raise StorageError(
                f"{path} has schema {schema}, this Kindred reads {SCHEMA}."
                " Update Kindred, or delete the file and embed the track again."
            )
        if not whole or owner != (content_hash, 64) or written != space or dtype != DTYPE.str:
            raise _damaged(path, "it describes another track, space or type of number")
        return manifest

    def has(self, content_hash: str, *, space: EmbeddingSpace) -> bool:
        """Whether a track was written to its end."""
        path = self.path(content_hash, space=space)
        return path.is_file() and path.with_suffix(".json").is_file()

    def delete(self, content_hash: str, *, space: EmbeddingSpace) -> bool:
        """Remove a track; whether there was one."""
        path = self.path(content_hash, space=space)
        if not path.parent.is_dir():
            return False
        with self._publishing(space):
            found = self.has(content_hash, space=space)
            path.with_suffix(".json").unlink(missing_ok=True)  # first: it marks the file as whole
            path.unlink(missing_ok=True)
        return found

    def list(self, *, space: EmbeddingSpace) -> list[str]:
        """Content hashes of the tracks there are, in order."""
        found = (self.folder / space.space_id).glob("??/*.json")
        return sorted(path.stem for path in found if path.with_suffix(".f16").is_file())

    def size(self, *, space: EmbeddingSpace | None = None) -> int:
        """Bytes on disk, of one space or of all."""
        root = self.folder / space.space_id if space else self.folder
        return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())

    def sweep(self, *, older: float = 86_400.0) -> int:
        """Remove what killed writers left, when it is older than some seconds; bytes freed."""
        freed = 0
        for path in self.folder.glob("*/??/*.tmp"):
            state = path.stat()
            if time.time() - state.st_mtime > older:
                freed += state.st_size
                path.unlink(missing_ok=True)
        return freed

    def path(self, content_hash: str, *, space: EmbeddingSpace) -> Path:
        """Where a track's numbers lie."""
        if not re.fullmatch(r"[0-9a-f]{64}", content_hash):
            raise StorageError(f"A content hash has 64 hexadecimal digits, got {content_hash!r}.")
        return self.folder / space.space_id / content_hash[:2] / f"{content_hash}.f16"

    @contextmanager
    def _publishing(self, space: EmbeddingSpace) -> Iterator[None]:
        """Hold the right to rename: two writers must not leave one's numbers, other's manifest."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / space.space_id / ".lock", timeout=TIMEOUT)
        try:
            lock.acquire()
        except Timeout as error:
            raise StorageError(
                f"Another process has held {lock.lock_file} for {TIMEOUT:.0f} s"
                " (layered.TIMEOUT). Wait for it to finish, or stop it, then try again."
            ) from error
        try:
            yield
        finally:
            lock.release()


class LayeredWriter:
    """One track being written; as a context it ends with :meth:`commit`, or :meth:`abort`."""

    def __init__(self, store: LayeredStore, content_hash: str, space: EmbeddingSpace) -> None:
        self.store, self.content_hash, self.space = store, content_hash, space
        self.target = store.path(content_hash, space=space)
        own = f"{self.target.stem}.{os.getpid()}.{threading.get_ident()}.{next(_counter)}.tmp"
        self.temporary = self.target.with_name(own)
        self.segments = 0
        self._shape: tuple[int, ...] = ()
        self._sha = hashlib.sha256()

    def add(self, batch: NDArray[np.floating]) -> None:
        """Append segments, float [n, layers, dims].

        Raises
        ------
        StorageError
            See :meth:`LayeredStore.write`.
        """
        name = f"Track {self.content_hash[:12]}, {self.space.model}"
        if (
            batch.ndim != 3
            or 0 in batch.shape[1:]
            or (self._shape or batch.shape)[1:] != batch.shape[1:]
        ):
            wanted = ", ".join(["n", *map(str, self._shape[1:] or ("layers", "dims"))])
            raise StorageError(
                f"{name}: segments of shape [{wanted}] are needed, got {list(batch.shape)}."
            )
        peak = float(np.abs(batch).max(initial=0.0))
        if not peak <= LARGEST:  # not a number compares as false
            raise StorageError(
                f"{name}: the layers reach {peak:g}, float16 holds no more than {LARGEST:g}. The"
                " weights are damaged or the audio is; nothing was written."
            )
        self._shape = batch.shape
        data = np.ascontiguousarray(batch, DTYPE).tobytes()
        try:
            self.temporary.parent.mkdir(parents=True, exist_ok=True)
            with self.temporary.open("ab") as stream:
                stream.write(data)
        except OSError as error:
            raise _refused(self.temporary, error) from error
        self._sha.update(data)
        self.segments += len(batch)

    def commit(self) -> None:
        """Make what was added the track's segments.

        Raises
        ------
        StorageError
            When nothing was added or the disk refuses.
        """
        if not self.segments:
            raise StorageError(f"Track {self.content_hash[:12]} has no segment to write.")
        manifest = {
            "schema": SCHEMA,
            "content_hash": self.content_hash,
            "space": self.space.to_dict(),
            "pooling": self.space.pooling,
            "shape": [self.segments, *self._shape[1:]],
            "dtype": DTYPE.str,
            "sha256": self._sha.hexdigest(),
        }
        marker = self.target.with_suffix(".json")
        draft = self.temporary.with_suffix(".json.tmp")
        try:
            draft.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            with self.store._publishing(self.space):
                # An old manifest must not vouch for new numbers, should we die between the two.
                marker.unlink(missing_ok=True)
                os.replace(self.temporary, self.target)
                os.replace(draft, marker)
        except OSError as error:
            raise _refused(self.target, error) from error
        finally:
            draft.unlink(missing_ok=True)

    def abort(self) -> None:
        """Forget what was added; what was there before stays."""
        with suppress(OSError):  # what cannot be removed is swept later; why it ended matters more
            self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> LayeredWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.abort()


class LayeredSink:
    """Takes the layers of several tracks at once, as an ingest run encodes them.

    A track's segments come in order; those of several tracks may come in turns. Nothing of a track
    is seen before :meth:`finish`.
    """

    def __init__(self, store: LayeredStore, *, space: EmbeddingSpace) -> None:
        self.store, self.space = store, space
        self._open: dict[str, LayeredWriter] = {}

    def add(self, content_hash: str, layers: NDArray[np.floating]) -> None:
        """Append a track's next segments, float [n, layers, dims]."""
        if content_hash not in self._open:
            self._open[content_hash] = self.store.writer(content_hash, space=self.space)
        self._open[content_hash].add(layers)

    def finish(self, content_hash: str) -> None:
        """Publish a track; nothing happens when it has no segment."""
        writer = self._open.pop(content_hash, None)
        if writer is not None:
            with writer:
                pass

    def drop(self, content_hash: str) -> None:
        """Forget a track that cannot be used."""
        writer = self._open.pop(content_hash, None)
        if writer is not None:
            writer.abort()

    def close(self) -> None:
        """Forget every track that was not finished."""
        for content_hash in list(self._open):
            self.drop(content_hash)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path} is damaged: {reason}. Delete it and embed the track again; the audio is untouched."
    )


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be written ({error.strerror}). Free some space or mend the folder's rights."
    )
