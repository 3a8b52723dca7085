"""Letting a retriever out: only one that has passed its gates, and only as it was measured.

::

    <home>/expressive/
      released.json          run, hash of its manifest, when; written last, whole
      released/<first 12 of the manifest's hash>/
        manifest.json, projection_retriever/{model.safetensors, config.json},
        evaluation/{gates.json, thresholds.json}

The copy serves from then on: the run may be moved away. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kindred.artifacts import layout
from kindred.errors import ArtifactError, ExpressiveError, GateRefused
from kindred.expressive import bundle
from kindred.expressive.model_files import CONFIG, MODEL, TRAINING
from kindred.storage.whole_files import replacing

_RECORD = "released.json"
#: What the encoder reads, and what says that it may.
COPIED = (
    f"{bundle.RETRIEVER}/{MODEL}",
    f"{bundle.RETRIEVER}/{CONFIG}",
    bundle.GATES,
    bundle.THRESHOLDS,
)


@dataclass(frozen=True)
class Released:
    """The retriever that is out.

    Attributes
    ----------
    run_id : str
    manifest_sha256 : str
        Of the run's ``manifest.json``.
    feature_id : str
        The features that it hears.
    dims : int
        Length of its vectors.
    measured_at, released_at : str
        When its run was written and when it was let out: UTC, ISO 8601.
    folder : Path
        Where its files are.
    """

    run_id: str
    manifest_sha256: str
    feature_id: str
    dims: int
    measured_at: str
    released_at: str
    folder: Path

    @property
    def retriever(self) -> Path:
        """The folder that a retriever is loaded from."""
        return self.folder / bundle.RETRIEVER


def release(run_folder: Path, home: Path) -> Released:
    """Let a run's retriever out, in place of the one before.

    Parameters
    ----------
    run_folder, home : Path
        The run, and the library's folder.

    Raises
    ------
    GateRefused
        When a gate failed (they are named), gates were judged by other thresholds than those that
        were frozen, or a file is not as it was measured.
    """
    try:
        manifest = bundle.verify(run_folder)
        text = layout.manifest_bytes(run_folder)
    except ArtifactError as error:
        raise GateRefused(f"{run_folder.name} cannot be released. {error}") from error
    check_gates(run_folder, manifest)
    digest = hashlib.sha256(text).hexdigest()
    place = _place(home) / digest[:12]
    work = place.with_name(f".{place.name}.building")
    shutil.rmtree(work, ignore_errors=True)
    for name in COPIED:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run_folder / name, work / name)
    (work / layout.MANIFEST).write_bytes(text)
    if place.exists():  # the same run was out before
        shutil.rmtree(place)
    work.rename(place)
    record = Released(
        run_id=manifest.run_id,
        manifest_sha256=digest,
        feature_id=manifest.feature_id,
        dims=manifest.dims,
        measured_at=manifest.created_at,
        released_at=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=place,
    )
    values = {key: value for key, value in asdict(record).items() if key != "folder"}
    with replacing(_place(home).with_name(_RECORD)) as out:
        out.write(layout.to_json(values).encode())
    _sweep(home, keep=place.name)
    check_released(record)
    return record


def released(home: Path) -> Released | None:
    """What is out, if anything is; reads two small files.

    Raises
    ------
    ExpressiveError
        When the record or the copy's manifest is damaged.
    """
    path = _place(home).with_name(_RECORD)
    try:
        values = json.loads(path.read_text("utf-8"))
        folder = _place(home) / values["manifest_sha256"][:12]
        record = Released(**values, folder=folder)
        text = (folder / layout.MANIFEST).read_bytes()
    except FileNotFoundError as error:
        if not path.exists():
            return None
        raise _damaged(f"{error.filename} is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(f"{path} cannot be read ({error})") from error
    if hashlib.sha256(text).hexdigest() != record.manifest_sha256:
        raise _damaged(f"{folder / layout.MANIFEST} has other bytes than were released")
    return record


def check_released(record: Released) -> None:
    """Compare every byte of what is out with the manifest it came with.

    Raises
    ------
    ExpressiveError
        Names the file that differs.
    """
    try:
        manifest = bundle.parse_manifest(layout.manifest_bytes(record.folder), record.folder)
    except ArtifactError as error:
        raise _damaged(str(error)) from error
    for name in COPIED:
        if not layout.is_file(record.folder / name, manifest.files[name]):
            raise _damaged(f"{record.folder / name} is missing or has other bytes than measured")


def check_gates(run_folder: Path, manifest: bundle.Manifest) -> None:
    """Judge a run's gates once more, from its numbers and its frozen thresholds.

    Parameters
    ----------
    run_folder : Path
    manifest : bundle.Manifest
        Verified.

    Raises
    ------
    GateRefused
        Names the gates that failed, or says what does not belong together.
    """
    from kindred.expressive.gates import decide
    from kindred.expressive.thresholds import read_thresholds

    name = run_folder.name
    try:
        report = layout.read_json(run_folder, bundle.GATES)
        training = layout.read_json(run_folder, f"{bundle.RETRIEVER}/{TRAINING}")
        frozen = read_thresholds(run_folder / bundle.THRESHOLDS)
        found = {gate["name"]: gate for gate in report["gates"]}
        stopped = [gate["title"] for gate in report["gates"] if stops(gate)]
        again = decide({key: gate["numbers"] for key, gate in found.items()}, frozen)
        seed = training["seed"]
    except (ArtifactError, ExpressiveError, KeyError, TypeError, AttributeError) as error:
        raise GateRefused(
            f"{name} cannot be released: its gates cannot be read. {error}"
        ) from error
    if stopped or not report["passed"]:
        raise GateRefused(
            f"{name} cannot be released. It did not pass: {', '.join(stopped) or 'its gates'}."
            f" `kindred expressive gates {name}` shows the numbers."
        )
    if report["thresholds_sha256"] != frozen.sha256:
        raise GateRefused(
            f"{name} cannot be released: its gates were judged by other thresholds than those in"
            f" {bundle.THRESHOLDS}."
        )
    if any(gate.name not in found or stops(vars(gate)) for gate in again):
        raise GateRefused(
            f"{name} cannot be released: {bundle.GATES} does not follow from its own numbers."
        )
    if (seed, report["released"]) != (frozen.released,) * 2:
        raise GateRefused(
            f"{name} cannot be released: its retriever is of seed {seed}, its gates judged seed"
            f" {report['released']}, and validation chose seed {frozen.released}."
        )
    chosen = f"{bundle.RETRIEVER}/seeds/{seed}/{MODEL}"
    weights = manifest.files[f"{bundle.RETRIEVER}/{MODEL}"]
    found_for = (frozen.dataset, frozen.feature_id, frozen.model)
    here = (manifest.labels, manifest.feature_id, bundle.models_digest(run_folder))
    if found_for != here or manifest.files.get(chosen) != weights:
        raise GateRefused(
            f"{name} cannot be released: its labels, features or models are not those that"
            " thresholds were frozen for."
        )


def stops(gate: Mapping[str, Any]) -> bool:
    """Whether a gate failed, or was needed and could not be judged."""
    return gate["passed"] is False or (gate["passed"] is None and bool(gate["needed"]))


def withdraw(home: Path) -> bool:
    """Take back what is out; whether there was anything. Vectors made with it stay."""
    path = _place(home).with_name(_RECORD)
    found = path.exists()
    path.unlink(missing_ok=True)
    _sweep(home)
    return found


def _sweep(home: Path, *, keep: str = "") -> None:
    """Remove copies of what was out before."""
    if _place(home).is_dir():
        for folder in _place(home).iterdir():
            if folder.name != keep:
                shutil.rmtree(folder)


def _place(home: Path) -> Path:
    return home / "expressive" / "released"


def _damaged(what: str) -> ExpressiveError:
    return ExpressiveError(
        f"The released expressive retriever is damaged: {what}. Release its run again with"
        " `kindred expressive release`."
    )
