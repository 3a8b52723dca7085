"""A run as a folder for other machines and programs: its files, its manifest, its vectors.

::

    <run_id>/
      labels_and_splits/      what was learned from (kindred.expressive.labels)
      oracle_scorer/          model.safetensors, config.json, curves.json, training.json: the best
      projection_retriever/   seed of each; the others lie under seeds/<n>/
        vectors.f32           float32 [rows, dims], little-endian: the test clips projected, unit
        clip_ids.json         the clip of each row
        index.faiss           FAISS, inner product, row i is vector i; described by index.json
      evaluation/             gates.json, thresholds.json, ranking.json, report.md
      manifest.json           bytes and SHA-256 of every file of these folders; written last

Two times are held, in the manifest and, of freezing thresholds, in the evaluation. All else has
the same bytes when the same run is made again. What a run keeps beside the four folders does not
belong to the bundle. A bundle is built, replaced, sent and fetched by the code of
:mod:`kindred.artifacts`, which is told what it is by :data:`BUNDLE`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from kindred.artifacts import layout
from kindred.artifacts.building import building, keep_only, publish
from kindred.artifacts.index import build_index, check_head
from kindred.artifacts.kind import Kind
from kindred.artifacts.layout import Entry, damaged
from kindred.artifacts.verify import check_files, check_schema, check_unit
from kindred.errors import ArtifactError, ExpressiveError, KindredError
from kindred.expressive.model_files import CONFIG, CURVES, MODEL, TRAINING
from kindred.expressive.scoring import Floats
from kindred.storage.whole_files import replacing
from kindred.work import Progress

FORMAT, FORMAT_VERSION = "kindred-expressive", 1
LABELS, ORACLE, RETRIEVER, EVALUATION = PARTS = (
    "labels_and_splits",
    "oracle_scorer",
    "projection_retriever",
    "evaluation",
)
VECTORS, IDS = f"{RETRIEVER}/vectors.f32", f"{RETRIEVER}/clip_ids.json"
INDEX, INDEX_META = f"{RETRIEVER}/index.faiss", f"{RETRIEVER}/index.json"
GATES, THRESHOLDS = f"{EVALUATION}/gates.json", f"{EVALUATION}/thresholds.json"
#: Where each kind of model lies that gates compare, a folder a seed.
MODELS = {
    "oracle": f"{ORACLE}/seeds",
    "distilled": f"{RETRIEVER}/seeds",
    "projection": f"{RETRIEVER}/from_labels",
}
#: Files every bundle has.
NEEDED = (
    f"{LABELS}/labels.json",
    *(
        f"{part}/{name}"
        for part in (ORACLE, RETRIEVER)
        for name in (MODEL, CONFIG, CURVES, TRAINING)
    ),
    *(VECTORS, IDS, INDEX, INDEX_META, GATES, THRESHOLDS),
    *(f"{EVALUATION}/{name}" for name in ("ranking.json", "report.md")),
)
#: From so many rows on the index is HNSW.
ANN_THRESHOLD = 50_000
_STEM = re.compile(r"(?!\.)[A-Za-z0-9._+-]{1,128}")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Manifest:
    """The list of a bundle's files, and what they are.

    Attributes
    ----------
    run_id : str
    created_at, created_by : str
        UTC, ISO 8601; program and version.
    feature_id : str
        The features that the scorers hear.
    labels : str
        Version of the labels.
    rows, dims : int
        Test clips projected, and length of a vector.
    files : dict
        Every file but the manifest itself, by its path with ``/``.
    """

    run_id: str
    created_at: str
    created_by: str
    feature_id: str
    labels: str
    rows: int
    dims: int
    files: dict[str, Entry]

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry.bytes for entry in self.files.values())

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        listed = {name: vars(self.files[name]) for name in sorted(self.files)}
        values = {**vars(self), "files": listed}
        return layout.to_json({"format": FORMAT, "format_version": FORMAT_VERSION, **values})


def is_run_id(name: str) -> bool:
    """Whether a run may be called so: up to 64 letters, digits, dots, hyphens, underscores."""
    return _RUN_ID.fullmatch(name) is not None


def vector_dims(config: Mapping[str, Any]) -> int:
    """Length of a retriever's vectors: a part for each aspect, by its ``config.json``."""
    return int(config["dims"]) * len(config["aspects"])


def runs_folder(home: Path) -> Path:
    """Where the runs of a library lie."""
    return home / "expressive" / "runs"


def models_digest(run_folder: Path) -> str:
    """SHA-256 of the weights of all seeds: the models that thresholds are frozen for."""
    digest = hashlib.sha256()
    for part in MODELS.values():
        found = (run_folder / part).glob(f"*/{MODEL}")
        seeds = {int(path.parent.name): path for path in found if path.parent.name.isdecimal()}
        for seed in sorted(seeds):
            digest.update(seeds[seed].read_bytes())
    return digest.hexdigest()


def may_have(name: str) -> bool:
    """Whether a bundle may have a file of this name."""
    if name == layout.MANIFEST:
        return True
    first, *others = name.split("/")
    inside = first in PARTS and 1 <= len(others) <= 6
    return inside and not name.endswith(".tmp") and all(map(_STEM.fullmatch, others))


def parse_manifest(text: str | bytes, where: Path | str) -> Manifest:
    """Read a manifest without trusting it: only files that a bundle may have can be named.

    Raises
    ------
    ArtifactError
        When it is no manifest, of a later version, names any other path, or lacks a needed file.
    """
    values = layout.from_json(text, where, layout.MANIFEST)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        what = f'is not the manifest of an expressive run (format "{FORMAT}")'
        raise damaged(where, layout.MANIFEST, what)
    version = values.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ArtifactError(
            f"{where}/{layout.MANIFEST} is of format version {version!r}, this Kindred reads"
            f" {FORMAT_VERSION}. Update Kindred, or export with one of this version."
        )
    try:
        listed = layout.parse_files(values["files"], where, may_have=may_have)
        texts = ("run_id", "created_at", "created_by", "feature_id", "labels")
        manifest = Manifest(
            **{name: str(values[name]) for name in texts},
            rows=int(values["rows"]),
            dims=int(values["dims"]),
            files=listed,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"lacks a field or has a wrong one ({error})"
        raise damaged(where, layout.MANIFEST, what) from error
    if not is_run_id(manifest.run_id):
        raise damaged(where, layout.MANIFEST, f"has the run_id {manifest.run_id!r}")
    if missing := [name for name in NEEDED if name not in manifest.files]:
        raise damaged(where, layout.MANIFEST, f"does not list {', '.join(missing)}")
    return manifest


def write_vectors(
    run_folder: Path,
    clip_ids: Sequence[str],
    vectors: Floats,
    *,
    ann_threshold: int = ANN_THRESHOLD,
) -> None:
    """Write projected clips and their index into a run's retriever.

    Parameters
    ----------
    run_folder : Path
    clip_ids : sequence of str
        Each once.
    vectors : float32 [n, dims]
        Of unit length.
    ann_threshold : int
        From so many rows on the index is HNSW, below it is exact.

    Raises
    ------
    ExpressiveError
        When ids and rows do not belong together, or an id comes twice.
    """
    if vectors.ndim != 2 or len(clip_ids) != len(vectors) or len(set(clip_ids)) != len(clip_ids):
        raise ExpressiveError(
            f"Projected clips need one vector for each of the ids, each once; got {len(clip_ids)}"
            f" ids ({len(set(clip_ids))} different) and an array of shape {vectors.shape}."
        )
    rows = np.ascontiguousarray(vectors, "<f4")
    with replacing(run_folder / VECTORS) as out:
        out.write(rows.tobytes())
    with replacing(run_folder / INDEX) as out:
        meta = build_index(rows, Path(out.name), ann_threshold=ann_threshold)
    texts = {IDS: list(clip_ids), INDEX_META: {**meta, "file": Path(INDEX).name}}
    for name, values in texts.items():
        with replacing(run_folder / name) as out:
            out.write(layout.to_json(values).encode())


def write_manifest(run_folder: Path) -> Manifest:
    """List every file of a run in its ``manifest.json``; what was being written is removed.

    Raises
    ------
    ArtifactError
        When a file is missing, cannot be read, or has a name that no bundle may have.
    """
    names = _names(run_folder)
    for name in [name for name in names if name.endswith(".tmp")]:
        (run_folder / name).unlink()
        names.remove(name)
    if missing := [name for name in NEEDED if name not in names]:
        raise ArtifactError(
            f"{run_folder / missing[0]} is missing. Run `kindred expressive train` to its end."
        )
    if odd := [name for name in names if not may_have(name)]:
        raise ArtifactError(f"{run_folder / odd[0]} has a name no bundle may have. Move it away.")
    config = layout.read_json(run_folder / RETRIEVER, CONFIG)
    files = {
        name: Entry((run_folder / name).stat().st_size, layout.sha256_of(run_folder / name))
        for name in names
    }
    try:
        manifest = Manifest(
            run_id=run_folder.name,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            created_by=layout.program(),
            feature_id=str(config["feature_id"]),
            labels=str(layout.read_json(run_folder / LABELS, "labels.json")["version"]),
            rows=len(layout.read_json(run_folder, IDS)),
            dims=vector_dims(config),
            files=files,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(run_folder, f"{RETRIEVER}/{CONFIG}", f"lacks a field ({error})") from error
    parse_manifest(manifest.to_json(), run_folder)
    with replacing(run_folder / layout.MANIFEST) as out:
        out.write(manifest.to_json().encode())
    return manifest


def verify(folder: Path, *, progress: Progress | None = None, checksums: bool = True) -> Manifest:
    """Check a whole bundle: every byte, every JSON file, every row.

    Parameters
    ----------
    folder : Path
    progress : callable, optional
        Called with (bytes checked, bytes in all, name of the file).
    checksums : bool
        False where the bytes were compared with the manifest just before.

    Raises
    ------
    ArtifactError
        At the first fault; the message names the file, what is wrong and what to do.
    """
    manifest = parse_manifest(layout.manifest_bytes(folder), folder)
    check_files(folder, manifest, names=_names(folder), progress=progress, checksums=checksums)
    for name in (layout.MANIFEST, *manifest.files):
        if (schema := _schema(name)) is not None:
            check_schema(folder, name, schema)
    _check_models(folder, manifest)
    _check_vectors(folder, manifest)
    _check_labels(folder, manifest)
    return manifest


#: What building and transfer must know of a bundle.
BUNDLE = Kind(
    may_have=may_have,
    parse=parse_manifest,
    verify=lambda folder, checksums: verify(folder, checksums=checksums),
)


def export(
    run_folder: Path,
    target: Path,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Manifest | None:
    """Copy a run as a bundle; an older bundle in its place is replaced once the new one is whole.

    Parameters
    ----------
    run_folder, target : Path
    progress : callable, optional
        Called with (bytes copied, bytes in all, name of the file).
    cancelled : callable
        Asked after every file; the target stays as it is, the next export goes on.

    Returns
    -------
    Manifest or None
        None when it was cancelled.

    Raises
    ------
    ArtifactError
        When the run is damaged or not finished, or the target is something else or in the run.
    """
    manifest, target = verify(run_folder), target.absolute()
    if run_folder.resolve() in target.resolve().parents:
        raise ArtifactError(f"{target} is inside the run. Choose a folder elsewhere.")
    text, done = layout.manifest_bytes(run_folder), 0
    with building(target, "building", BUNDLE) as work:
        keep_only(work, manifest.files.keys())
        for name, entry in manifest.files.items():
            if not layout.is_file(work / name, entry):
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run_folder / name, work / name)
            done += entry.bytes
            if progress:
                progress(done, manifest.size, name)
            if cancelled():
                return None
        (work / layout.MANIFEST).write_bytes(text)
        verify(work)
        publish(work, target, BUNDLE)
    return manifest


def _names(folder: Path) -> list[str]:
    """Files of the four folders."""
    parts = [part for part in PARTS if (folder / part).exists()]
    return [f"{part}/{name}" for part in parts for name in layout.names_in(folder / part)]


def _schema(name: str) -> str | None:
    """The schema of a file, if it has one here; labels check their own."""
    if not name.endswith(".json") or name.startswith(f"{LABELS}/"):
        return None
    place = resources.files("kindred.expressive") / f"schemas/bundle_{Path(name).stem}.schema.json"
    return place.read_text("utf-8") if place.is_file() else None


def _check_models(folder: Path, manifest: Manifest) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    for name in (name for name in manifest.files if name.endswith(".safetensors")):
        try:
            tensors: dict[str, Any] = load_file(folder / name)
        except (SafetensorError, OSError, ValueError) as error:
            raise damaged(folder, name, f"cannot be read ({error})") from error
        for key, values in tensors.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise damaged(folder, name, f"has values in {key} that are not finite")
    for part in (ORACLE, RETRIEVER):
        config = layout.read_json(folder, f"{part}/{CONFIG}")
        if config["feature_id"] != manifest.feature_id:
            what = f"is of the features {config['feature_id']!r}, not {manifest.feature_id!r}"
            raise damaged(folder, f"{part}/{CONFIG}", what)


def _check_vectors(folder: Path, manifest: Manifest) -> None:
    rows, dims = manifest.rows, manifest.dims
    config, ids = f"{RETRIEVER}/{CONFIG}", layout.read_json(folder, IDS)
    if (got := vector_dims(layout.read_json(folder, config))) != dims:
        raise damaged(folder, config, f"has {got} dimensions, {layout.MANIFEST} has {dims}")
    if len(ids) != rows:
        raise damaged(folder, IDS, f"has {len(ids)} ids, {layout.MANIFEST} has {rows} rows")
    if (size := manifest.files[VECTORS].bytes) != 4 * rows * dims:
        what = f"has {size} bytes, {rows} vectors of {dims} dimensions take {4 * rows * dims}"
        raise damaged(folder, VECTORS, what)
    vectors = np.fromfile(folder / VECTORS, "<f4").reshape(rows, dims)
    check_unit(folder, VECTORS, vectors, ids)
    kind = layout.read_json(folder, INDEX_META)["kind"]
    check_head(folder, INDEX, INDEX_META, kind=kind, rows=rows, dims=dims)


def _check_labels(folder: Path, manifest: Manifest) -> None:
    from kindred.expressive.labels import read_labels

    try:
        labels = read_labels(folder / LABELS)
    except KindredError as error:
        raise ArtifactError(str(error)) from error
    if labels.version != manifest.labels:
        what = f"has version {labels.version}, {layout.MANIFEST} has {manifest.labels}"
        raise damaged(folder, f"{LABELS}/labels.json", what)
    known = {clip.clip_id for clip in labels.clips}
    if foreign := [each for each in layout.read_json(folder, IDS) if each not in known]:
        raise damaged(folder, IDS, f"names {foreign[0]!r}, which is no clip of {LABELS}")
