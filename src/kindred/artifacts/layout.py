"""What an artifact consists of: its files, its schemas and its manifest.

::

    v1_model_<MODEL>/
      metadata/tracks_metadata.csv   one row a track (kindred.artifacts.table)
      audio_wav/*.wav                optional: mono PCM 16 bit
      embeddings/embeddings.f32      float32 [rows, dims], little-endian, row by row, unit rows
      embeddings/track_ids.json      the id of each row, ascending
      embeddings/embeddings_meta.json
      index/faiss.index | hnsw.index optional: FAISS, inner product, row i is vector i
      index/index_meta.json
      eval/eval_results.json         optional
      schemas/*.schema.json          one for each JSON file
      manifest.json                  bytes and SHA-256 of every other file; written last

Row i of the table, of the ids and of the vectors is the same track. Only the manifest holds the
time of the export: the same library gives the same bytes in every other file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import ArtifactError

FORMAT, FORMAT_VERSION = "kindred-artifact", 1
MANIFEST = "manifest.json"
TRACKS = "metadata/tracks_metadata.csv"
VECTORS = "embeddings/embeddings.f32"
IDS = "embeddings/track_ids.json"
META = "embeddings/embeddings_meta.json"
FLAT, HNSW, INDEX_META = "index/faiss.index", "index/hnsw.index", "index/index_meta.json"
EVAL = "eval/eval_results.json"
AUDIO = "audio_wav"
#: Files every artifact has.
NEEDED = (TRACKS, VECTORS, IDS, META)
#: The schema of each JSON file; it lies in the artifact too.
SCHEMAS = {
    name: f"schemas/{Path(name).stem}.schema.json"
    for name in (MANIFEST, IDS, META, INDEX_META, EVAL)
}
#: The length of a vector may differ from 1 by this much.
UNIT = 1e-3

_OTHERS = {FLAT, HNSW, INDEX_META, EVAL, *SCHEMAS.values()}
_WAV = re.compile(rf"{AUDIO}/(?!\.)[A-Za-z0-9._~%-]{{1,250}}\.wav")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DAMAGED = "Export the artifact again, or pull it again from where it came."


def folder_name(space: EmbeddingSpace) -> str:
    """The usual name of a space's artifact, such as ``v1_model_clap``."""
    return f"v{FORMAT_VERSION}_model_{re.sub(r'[^A-Za-z0-9._-]', '-', space.model)}"


def may_have(name: str) -> bool:
    """Whether an artifact may have a file of this name."""
    return name in (*NEEDED, MANIFEST) or name in _OTHERS or bool(_WAV.fullmatch(name))


def damaged(folder: Path | str, name: str, what: str) -> ArtifactError:
    """The error for a file that is not as it must be: which, what is wrong, what to do."""
    return ArtifactError(f"{folder}/{name} {what}. {_DAMAGED}")


@dataclass(frozen=True)
class Entry:
    """A file as the manifest lists it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The list of an artifact's files, and what they are.

    Attributes
    ----------
    space : EmbeddingSpace
    created_at : str
        UTC, ISO 8601.
    created_by : str
        Program and version.
    counts : dict
        ``tracks``, ``audio`` files, and tracks ``left_out`` since the space has no vector of them.
    audio_rate : int
        Hz of the audio files; 0 when there are none.
    files : dict
        Every file but the manifest itself, by its path with ``/``.
    """

    space: EmbeddingSpace
    created_at: str
    created_by: str
    counts: dict[str, int]
    audio_rate: int
    files: dict[str, Entry]

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry.bytes for entry in self.files.values())

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        return to_json(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "created_at": self.created_at,
                "created_by": self.created_by,
                **space_to_dict(self.space),
                "counts": self.counts,
                "audio_sample_rate": self.audio_rate,
                "files": {name: vars(self.files[name]) for name in sorted(self.files)},
            }
        )


def parse_manifest(text: str | bytes, where: Path | str) -> Manifest:
    """Read a manifest without trusting it: only files an artifact may have can be named.

    Parameters
    ----------
    text : str or bytes
    where : Path or str
        The artifact it belongs to, for messages.

    Raises
    ------
    ArtifactError
        When it is no manifest, of a later version, names any other path, or lacks a needed file.
    """
    values = from_json(text, where, MANIFEST)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise damaged(where, MANIFEST, f'is not the manifest of an artifact (format "{FORMAT}")')
    version = values.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ArtifactError(
            f"{where}/{MANIFEST} is of format version {version!r}, this Kindred reads"
            f" {FORMAT_VERSION}. Update Kindred, or export with one of this version."
        )
    try:
        counts = values["counts"]
        manifest = Manifest(
            space=space_from_dict(values),
            created_at=str(values["created_at"]),
            created_by=str(values["created_by"]),
            counts={name: int(counts[name]) for name in ("tracks", "audio", "left_out")},
            audio_rate=int(values["audio_sample_rate"]),
            files=parse_files(values["files"], where, may_have=may_have),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(where, MANIFEST, f"lacks a field or has a wrong one ({error})") from error
    if manifest.space.space_id != values.get("space_id"):
        raise damaged(where, MANIFEST, "has a space_id that does not belong to its settings")
    if missing := [name for name in NEEDED if name not in manifest.files]:
        raise damaged(where, MANIFEST, f"does not list {', '.join(missing)}")
    return manifest


def parse_files(
    listed: dict[str, Any], where: Path | str, *, may_have: Callable[[str], bool]
) -> dict[str, Entry]:
    """Read the list of files of a manifest without trusting it.

    Raises
    ------
    ArtifactError
        When it names a file that ``may_have`` does not allow, or one without size and SHA-256.
    KeyError, TypeError, AttributeError
        When it is no such list.
    """
    files = {name: Entry(entry["bytes"], entry["sha256"]) for name, entry in listed.items()}
    for name, entry in files.items():
        if name == MANIFEST or not may_have(name):
            raise damaged(where, MANIFEST, f"lists {name!r}, which no artifact has")
        whole = type(entry.bytes) is int and entry.bytes >= 0
        if not whole or not isinstance(entry.sha256, str) or not _SHA256.fullmatch(entry.sha256):
            raise damaged(where, MANIFEST, f"has no size and SHA-256 of {name}")
    return files


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact's folder.

    Raises
    ------
    ArtifactError
        When there is none, or as :func:`parse_manifest`.
    """
    return parse_manifest(manifest_bytes(folder), folder)


def manifest_bytes(folder: Path) -> bytes:
    """The manifest of a folder, unread; raises :class:`ArtifactError` where there is none."""
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        inside = sorted(found.parent for found in folder.glob(f"*/{MANIFEST}"))
        hint = f" Do you mean {inside[0]}?" if inside else f" There is no {MANIFEST} in it."
        raise ArtifactError(f"{folder} is not an artifact.{hint}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(folder, MANIFEST, f"cannot be read ({error.strerror})") from error


def space_to_dict(space: EmbeddingSpace) -> dict[str, Any]:
    """What makes two vectors comparable, with units in the names."""
    return {
        "model": space.model,
        "revision": space.revision,
        "space_id": space.space_id,
        "sample_rate": space.sample_rate,
        "window_s": space.window,
        "hop_s": space.hop,
        "pooling": space.pooling,
        "dims": space.dims,
        "normalisation": "l2",
        "metric": "cosine",
    }


def space_from_dict(values: dict[str, Any]) -> EmbeddingSpace:
    """Inverse of :func:`space_to_dict`; raises KeyError or TypeError where it is not its result."""
    whole = {name: values[name] for name in ("sample_rate", "dims")}
    if any(type(value) is not int or value < 1 for value in whole.values()):
        raise TypeError(f"sample_rate and dims must be positive whole numbers, got {whole}")
    return EmbeddingSpace(
        model=values["model"],
        revision=values["revision"],
        window=values["window_s"],
        hop=values["hop_s"],
        pooling=values["pooling"],
        **whole,
    )


# -- JSON and checksums ----------------------------------------------------------------------
def to_json(values: Any) -> str:
    """JSON as it is written here: UTF-8, one item a line, numbers that are numbers."""
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str | bytes, folder: Path | str, name: str) -> Any:
    """Read JSON; NaN, a name given twice and anything else that is no JSON is refused."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ValueError("a name is given twice")
        return values

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:  # ValueError: what is not UTF-8, too
        raise damaged(folder, name, f"is not JSON ({error})") from error


def read_json(folder: Path, name: str) -> Any:
    """Read a JSON file of an artifact."""
    try:
        return from_json((folder / name).read_bytes(), folder, name)
    except OSError as error:
        raise damaged(folder, name, f"cannot be read ({error.strerror})") from error


def write_json(folder: Path, name: str, values: Any) -> None:
    """Write a JSON file of an artifact; what JSON cannot hold is refused."""
    (folder / name).parent.mkdir(exist_ok=True)
    try:
        text = to_json(values)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{name} cannot be written: {error}.") from error
    (folder / name).write_text(text, encoding="utf-8")


def schema_text(name: str) -> str:
    """The JSON schema (draft 2020-12) of a JSON file, by the file's name in the artifact."""
    return (resources.files("kindred.artifacts") / SCHEMAS[name]).read_text("utf-8")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: Path, entry: Entry) -> bool:
    """Whether a regular file has the listed bytes."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != entry.bytes:
        return False
    return sha256_of(path) == entry.sha256


def program() -> str:
    """This program and its version."""
    return f"kindred {metadata.version('kindred')}"


def names_in(folder: Path) -> list[str]:
    """Every file below a folder by its path with ``/``; links and what is no file included."""
    found = []
    for parent, folders, files in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in files + linked]
    return sorted(found)
