"""Weights of a model on the Hugging Face hub: find, check and remove them.

A model lies under the models folder in the hub's own cache layout ::

    models--owner--name/blobs/<checksum>            the bytes
    models--owner--name/snapshots/<commit>/<file>   a link to them; the commit names the weights
    models--owner--name/refs/<revision>             the commit a branch stood at
    models--owner--name/kindred.json                what was fetched by Kindred, for :func:`remove`

or in a folder the user names, which is told by a digest and never written to. Nothing here imports
torch or uses the network; :mod:`kindred.embeddings.hub_download` fetches.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from kindred.errors import EncoderError, WeightsMissing

#: Record of what was fetched, in a model's folder.
MARKER = "kindred.json"
LOCK = ".lock"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class HubModel:
    """A model and what of it is needed.

    Attributes
    ----------
    title : str
        Name shown to users.
    repo_id : str
        ``owner/name`` on the hub, or a folder that holds the model.
    revision : str or None
        Commit or branch; None means ``main``.
    files : tuple of str
        JSON files that must be there.
    weights : tuple of str
        Weights files of which one must be there, the preferred one first.
    licence : str
        Under which the weights are given, shown to users.
    size : int
        Bytes to fetch, as far as known; 0 when not.
    setting, command : str
        The setting that names the model and the command that fetches it, for messages.
    checksums : dict
        SHA-256 by file name, where they are known beforehand.
    extras : tuple of str
        Files that are fetched where the hub has them and may be missing.
    """

    title: str
    repo_id: str
    revision: str | None
    files: tuple[str, ...]
    weights: tuple[str, ...]
    licence: str
    size: int = 0
    setting: str = ""
    command: str = ""
    checksums: dict[str, str] = field(default_factory=dict)
    extras: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether a folder is meant: one that exists, or anything that is not owner/name."""
        hub_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", self.repo_id) is not None
        return not hub_id or Path(self.repo_id).is_dir()

    def root(self, models: Path) -> Path:
        """Folder in which the model is looked for."""
        if self.is_folder:
            return Path(self.repo_id).expanduser().absolute()
        return models / f"models--{self.repo_id.replace('/', '--')}"


@dataclass(frozen=True)
class Weights:
    """Weights on this machine: their folder, the weights file and what names them."""

    folder: Path
    file: Path
    revision: str


@dataclass(frozen=True)
class WeightsStatus:
    """Whether the weights are here.

    Attributes
    ----------
    available : bool
    location : Path
        Where they are, or will be.
    size : int
        Bytes on disk, those of a download that was stopped included.
    missing : tuple of str
        Files that are not there.
    damaged : str
        The file that is damaged; empty when none is.
    notice : str
        One line for people.
    command : str
        What fetches them; empty when nothing needs to be done or a command cannot help.
    """

    available: bool
    location: Path
    size: int
    missing: tuple[str, ...]
    damaged: str
    notice: str
    command: str


class DamagedWeights(EncoderError):
    """A file of the model is damaged."""

    def __init__(self, file: Path, reason: str, advice: str) -> None:
        super().__init__(f"{file} is damaged: {reason}. {advice}")
        self.file = file


def locate(models: Path, model: HubModel, *, verify: bool = False) -> Weights:
    """Find and check a model's weights.

    Parameters
    ----------
    models : Path
        The folder of models.
    verify : bool
        Also compare checksums where they are known, which reads every byte.

    Raises
    ------
    WeightsMissing
        When they, or a file of theirs, are not on this machine.
    EncoderError
        When a file is damaged; the message names it.
    """
    folder, root = _snapshot(models, model), model.root(models)
    if folder is None and model.is_folder:
        raise WeightsMissing(f"{model.setting} names the folder {root}, which does not exist.")
    if folder is None:
        raise WeightsMissing(
            f"The {model.title} weights {model.repo_id} are not under {models}."
            f" Fetch them once with `{model.command}`."
        )
    if model.is_folder:
        advice = f"Copy a complete {model.title} model there."
    else:
        advice = f"Fetch them again with `{model.command}`."
    missing = _missing(folder, model)
    if missing:
        raise WeightsMissing(
            f"The {model.title} weights in {folder} lack {', '.join(missing)}. {advice}"
        )
    file = next(folder / name for name in model.weights if (folder / name).is_file())
    for name in (*model.files, file.name):
        problem = damage(folder / name) or (_mismatch(folder / name, model) if verify else "")
        if problem:
            raise DamagedWeights(folder / name, problem, advice)
    if model.is_folder:
        configs = (folder / name for name in model.files)
        return Weights(folder, file, f"folder@{digest(file, *configs)}")
    return Weights(folder, file, f"{model.repo_id}@{folder.name[:12]}")


def status(models: Path, model: HubModel, *, verify: bool = False) -> WeightsStatus:
    """Look for the weights: see :func:`locate`; raises nothing for what is missing or damaged."""
    root, folder = model.root(models), _snapshot(models, model)
    missing = _missing(folder, model) if folder else (*model.files, " or ".join(model.weights))
    size, damaged = _size(root, model), ""
    command = "" if model.is_folder else model.command
    try:
        weights = locate(models, model, verify=verify)
    except EncoderError as error:
        damaged = error.file.name if isinstance(error, DamagedWeights) else ""
        return WeightsStatus(False, root, size, missing, damaged, str(error), command)
    notice = (
        f"{model.title} weights {weights.revision}, {size / 1e6:,.0f} MB, in {weights.folder};"
        f" licence: {model.licence}."
    )
    return WeightsStatus(True, weights.folder, size, (), "", notice, "")


def remove(models: Path, model: HubModel) -> int:
    """Delete what was fetched, and nothing else.

    Returns
    -------
    int
        Bytes freed.

    Raises
    ------
    EncoderError
        When the weights are not there, or were put there by something else.
    """
    root = model.root(models)
    if model.is_folder:
        raise EncoderError(f"{root} is a folder of yours. Kindred deletes only what it fetched.")
    if not root.is_dir():
        raise WeightsMissing(f"There are no {model.title} weights {model.repo_id} under {models}.")
    own = own_files(root)
    if not own:
        raise EncoderError(
            f"{root} was not fetched by Kindred. Delete it by hand if nothing else uses it."
        )
    from filelock import FileLock, Timeout

    before = _size(root, model)
    try:
        with FileLock(root / LOCK, timeout=0):
            for path in [*(root / "blobs").glob("*.part"), *(root / name for name in own)]:
                # A path in the record must not lead out of the model's folder.
                if path.parent.resolve().is_relative_to(root.resolve()):
                    path.unlink(missing_ok=True)
            (root / MARKER).unlink()
    except Timeout as error:
        raise EncoderError(
            f"Another process is fetching into {root}. Wait for it to finish, or stop it."
        ) from error
    freed = before - _size(root, model)
    (root / LOCK).unlink(missing_ok=True)
    folders = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
    for folder in (*folders, root):
        with contextlib.suppress(OSError):  # not empty: it holds what others put there
            folder.rmdir()
    return freed


def own_files(root: Path) -> set[str]:
    """Files below a model's folder that were fetched by Kindred."""
    try:
        return set(json.loads((root / MARKER).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _size(root: Path, model: HubModel) -> int:
    """Bytes of a model, those of a download that was stopped included; links count once."""
    if model.is_folder:  # of the user's, who may keep anything beside it
        files = [root / name for name in (*model.files, *model.weights)]
    else:
        files = [path for path in root.rglob("*") if path.name not in (MARKER, LOCK)]
        files = [path for path in files if path.parent != root / "refs"]
        files = [path for path in files if not path.is_symlink()]
    return sum(path.stat().st_size for path in files if path.is_file())


def _snapshot(models: Path, model: HubModel) -> Path | None:
    """Folder of the wanted revision; its name is the commit, whatever was asked for."""
    root = model.root(models)
    if not model.is_folder:
        revision = model.revision or "main"
        reference = root / "refs" / revision
        commit = reference.read_text().strip() if reference.is_file() else revision
        root = root / "snapshots" / commit
    return root if root.is_dir() else None


def _missing(folder: Path, model: HubModel) -> tuple[str, ...]:
    missing = [name for name in model.files if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in model.weights):
        missing.append(" or ".join(model.weights))
    return tuple(missing)


def damage(file: Path) -> str:
    """What is wrong with a file, as far as its header or its end tells; empty when nothing is."""
    size = file.stat().st_size
    if not size:
        return "it is empty"
    with file.open("rb") as stream:
        start = stream.read(8)
        if file.suffix == ".json":
            try:
                json.loads(start + stream.read())
            except ValueError as error:
                return str(error)
        if start[:2] == b"PK":  # what torch.save writes: its table of contents is at the end
            return "" if zipfile.is_zipfile(file) else "its end is cut off"
        if file.suffix != ".safetensors":
            return ""
        length = int.from_bytes(start, "little")
        if size < 8 or length > size - 8:
            return "its header is cut off"
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[0] != "_"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "its header is not that of a safetensors file"
    expected = 8 + length + max(ends, default=0)
    return "" if size == expected else f"it has {size} bytes, its header says {expected}"


def _mismatch(file: Path, model: HubModel) -> str:
    """Whether a file's checksum is another than the one known, or the one its blob is named by."""
    blob = file.resolve().name
    known = blob if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob) else ""
    if file.parent.name == model.revision:
        known = model.checksums.get(file.name, known)
    if not known or checksum(file, known) == known:
        return ""
    return "its checksum is not the one it was fetched with"


def checksum(file: Path, like: str) -> str:
    """SHA-256, or git's SHA-1 of a blob where ``like`` has 40 digits, in hexadecimal."""
    sha = hashlib.sha256()
    if len(like) == 40:
        sha = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def digest(file: Path, *configs: Path) -> str:
    """Sixteen digits that differ when a JSON file, or the weights' size, start or end do."""
    sha = hashlib.sha256()
    for config in configs:
        sha.update(config.read_bytes())
    size = file.stat().st_size
    sha.update(str(size).encode())
    with file.open("rb") as stream:
        sha.update(stream.read(_CHUNK))
        stream.seek(max(0, size - _CHUNK))
        sha.update(stream.read())
    return sha.hexdigest()[:16]
