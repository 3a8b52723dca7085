"""Checking an artifact: every byte, every row, every number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.artifacts import layout
from kindred.artifacts.index import check_index
from kindred.artifacts.kind import Kind, Listing
from kindred.artifacts.layout import damaged
from kindred.artifacts.read import BLOCK, Artifact, check_size
from kindred.errors import ArtifactError

Progress = Callable[[int, int, str], None]


def verify(folder: Path, *, progress: Progress | None = None, checksums: bool = True) -> Artifact:
    """Check a whole artifact.

    Parameters
    ----------
    folder : Path
    progress : callable, optional
        Called with (bytes checked, bytes in all, name of the file).
    checksums : bool
        False where the bytes were compared with the manifest just before.

    Returns
    -------
    Artifact
        Open.

    Raises
    ------
    ArtifactError
        At the first fault; the message names the file, what is wrong and what to do. Faults are:
        a file missing, too many, cut short, with other bytes, or a link; JSON that does not follow
        its schema; ids, rows and vectors that do not belong together; vectors that are not finite
        or not of unit length.
    """
    manifest = layout.read_manifest(folder)
    check_files(
        folder, manifest, names=layout.names_in(folder), progress=progress, checksums=checksums
    )
    for name in layout.SCHEMAS:
        if name == layout.MANIFEST or name in manifest.files:
            check_schema(folder, name, layout.schema_text(name))
    artifact = Artifact.open(folder)
    _check_tracks(artifact)
    check_unit(folder, layout.VECTORS, artifact.vectors, artifact.track_ids)
    check_index(folder, manifest)
    return artifact


#: What building and transfer must know of an artifact.
ARTIFACT = Kind(
    may_have=layout.may_have,
    parse=layout.parse_manifest,
    verify=lambda folder, checksums: verify(folder, checksums=checksums).manifest,
)


def check_files(
    folder: Path,
    manifest: Listing,
    *,
    names: Iterable[str],
    progress: Progress | None = None,
    checksums: bool = True,
) -> None:
    """Compare the files of a folder, ``names``, with its manifest.

    Raises
    ------
    ArtifactError
        Names the file that is missing, not listed, of another size, or has other bytes.
    """
    for name in names:
        if name not in manifest.files and name != layout.MANIFEST:
            raise ArtifactError(
                f"{folder / name} does not belong to the artifact: {layout.MANIFEST} does not list"
                " it. Move it away."
            )
    done = 0
    for name, entry in manifest.files.items():
        check_size(folder, name, manifest)
        if checksums:
            try:
                digest = layout.sha256_of(folder / name)
            except OSError as error:
                raise damaged(folder, name, f"cannot be read ({error.strerror})") from error
            if digest != entry.sha256:
                raise damaged(folder, name, f"has other bytes than {layout.MANIFEST} lists")
            done += entry.bytes
            if progress:
                progress(done, manifest.size, name)


def library_hash(rows: list[tuple[str, str]]) -> str:
    """What the vectors were made of: SHA-256 over ``track_id TAB content_hash LF``, row by row."""
    digest = hashlib.sha256()
    for track_id, content_hash in rows:
        digest.update(f"{track_id}\t{content_hash}\n".encode())
    return digest.hexdigest()


def check_schema(folder: Path, name: str, schema_text: str) -> None:
    """Raise :class:`ArtifactError` unless a JSON file follows its schema (draft 2020-12)."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    schema: dict[str, Any] = layout.from_json(schema_text, folder, name)
    for error in Draft202012Validator(schema).iter_errors(layout.read_json(folder, name)):
        where = error.json_path.removeprefix("$").lstrip(".") or "it"
        message = error.message if len(error.message) <= 200 else f"{error.message[:200]}..."
        raise damaged(folder, name, f"does not follow its schema at {where}: {message}")


def _check_tracks(artifact: Artifact) -> None:
    manifest, unused = artifact.manifest, set()
    for name in manifest.files:
        if name.startswith(f"{layout.AUDIO}/"):
            unused.add(name)
    if len(unused) != manifest.counts["audio"] or bool(unused) != bool(manifest.audio_rate):
        what = f"counts {manifest.counts['audio']} audio files at {manifest.audio_rate} Hz"
        raise damaged(artifact.path, layout.MANIFEST, f"{what}, and lists {len(unused)}")
    seen = []
    for track, audio in artifact.read_tracks():
        seen.append((track.track_id, track.content_hash))
        if audio and audio not in unused:
            what = f"names the audio {audio!r} of {track.track_id}, which is not in the artifact"
            raise damaged(artifact.path, layout.TRACKS, what)
        unused.discard(audio)
    if unused:
        raise damaged(artifact.path, min(unused), f"belongs to no track of {layout.TRACKS}")
    if library_hash(seen) != layout.read_json(artifact.path, layout.META)["library_hash"]:
        what = f"has another library_hash than the tracks of {layout.TRACKS}"
        raise damaged(artifact.path, layout.META, what)


def check_unit(folder: Path, name: str, vectors: NDArray[np.float32], ids: Sequence[str]) -> None:
    """Raise :class:`ArtifactError` unless all rows of a file are finite and of length 1."""
    for start in range(0, len(ids), BLOCK):
        lengths = np.linalg.norm(vectors[start : start + BLOCK].astype(np.float64), axis=1)
        bad = np.flatnonzero(~(np.abs(lengths - 1) < layout.UNIT))  # NaN is bad as well
        if len(bad):
            row = start + int(bad[0])
            what = f"has a vector of length {lengths[bad[0]]:.6g} in row {row}"
            what += f" ({ids[row]}), where all are finite and of length 1"
            raise damaged(folder, name, what)
