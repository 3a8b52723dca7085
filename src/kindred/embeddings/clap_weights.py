"""Where CLAP's weights lie, what names them and how they are fetched.

A Hugging Face id lies under ``settings.models`` in the hub's own cache layout
(``models--owner--name/snapshots/COMMIT``), so that a download resumes and is never half visible;
the commit names the weights. A folder or a checkpoint of the user's is named by a digest of its
configuration and of the size, start and end of its weights. Nothing here imports torch, and only
:func:`fetch` uses the network.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kindred.config import Settings
from kindred.embeddings import hub_download
from kindred.embeddings.hub_weights import HubModel
from kindred.errors import EncoderError, WeightsMissing

#: Commits the project was checked against, so that the same name always means the same weights.
PINNED = {
    "laion/larger_clap_music": "a0b4534a14f58e20944452dff00a22a06ce629d1",
    "laion/clap-htsat-unfused": "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
    "laion/clap-htsat-fused": "365dea6ef167def6676140ed93bbc43f84dabb28",
}
CONFIGS = ("config.json", "preprocessor_config.json")
#: Weights files, the preferred one first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: What the text tower needs beside the weights; sounds are searched without.
WORDS = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
COMMAND = "kindred models pull clap"
#: Suffixes of the checkpoints LAION publishes, which carry no configuration beside them.
CHECKPOINTS = (".pt", ".pth")

#: Called with bytes fetched and bytes in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Weights:
    """Weights on this machine: their folder, the weights file and what names them."""

    folder: Path
    file: Path
    revision: str

    @property
    def format(self) -> str:
        """``"laion"`` for a checkpoint of LAION's, ``"transformers"`` for a folder."""
        return "laion" if self.file.suffix in CHECKPOINTS else "transformers"


@dataclass(frozen=True)
class WeightsStatus:
    """Whether the weights are here.

    Attributes
    ----------
    available : bool
    location : Path
        Where they are, or will be.
    size : int
        Bytes on disk; 0 when missing.
    notice : str
        One line for people.
    command : str
        What fetches them; empty when nothing needs to be done or a command cannot help.
    """

    available: bool
    location: Path
    size: int
    notice: str
    command: str


def weights_status(settings: Settings) -> WeightsStatus:
    """Look for the weights; reads headers only, no network."""
    target = _target(settings)
    command = "" if _is_local(settings) else COMMAND
    try:
        weights = locate(settings)
    except WeightsMissing as error:
        return WeightsStatus(False, target, 0, str(error), command)
    except EncoderError as error:
        return WeightsStatus(False, target, _size(target), str(error), command)
    place = weights.file if weights.format == "laion" else weights.folder
    size = _size(place)
    notice = f"CLAP weights {weights.revision}, {size / 1e6:,.0f} MB, in {place}."
    return WeightsStatus(True, place, size, notice, "")


def readiness(settings: Settings) -> tuple[bool, str, str]:
    """Whether the encoder can be used, why or why not, and the command that helps."""
    status = weights_status(settings)
    return status.available, status.notice, status.command


def locate(settings: Settings) -> Weights:
    """Find and check the weights.

    Raises
    ------
    WeightsMissing
        When they are not on this machine.
    EncoderError
        When a file is damaged; the message names it.
    """
    if _is_local(settings):
        folder = _target(settings)
        if folder.suffix in CHECKPOINTS and not folder.is_dir():
            return _checkpoint(folder)
        if not folder.is_dir():
            raise WeightsMissing(
                f"KINDRED_CLAP_MODEL names the folder {folder}, which does not exist."
            )
        file = _check(folder, advice="Copy a complete CLAP model there.")
        digest = _digest(file, *(folder / name for name in CONFIGS))
        return Weights(folder, file, f"folder@{digest}")
    snapshot = _snapshot(settings)
    model = settings.clap_model
    if snapshot is None:
        raise WeightsMissing(
            f"The CLAP weights {model} are not under {settings.models}."
            f" Fetch them once with `{COMMAND}`."
        )
    file = _check(snapshot, advice=f"Fetch them again with `{COMMAND}`.")
    return Weights(snapshot, file, f"{model}@{snapshot.name[:12]}")


def fetch(settings: Settings, *, progress: Progress | None = None) -> WeightsStatus:
    """Download the weights; goes on where an earlier download stopped.

    Parameters
    ----------
    progress : callable, optional
        Called with bytes fetched and bytes in all; what it raises ends the download and is
        passed on, so that a job can be cancelled.

    Returns
    -------
    WeightsStatus

    Raises
    ------
    WeightsMissing
        When the hub cannot be reached or does not have the model; said at once, not tried again.
    EncoderError
        When what was fetched is damaged.
    """
    if _is_local(settings):
        raise WeightsMissing(
            f"KINDRED_CLAP_MODEL names {_target(settings)}; only a Hugging Face id"
            " such as laion/larger_clap_music can be fetched."
        )
    hub_download.fetch(settings.models, hub_model(settings), progress=progress)
    return weights_status(settings)


def hub_model(settings: Settings) -> HubModel:
    """The CLAP model the settings name, as the hub has it."""
    return HubModel(
        title="CLAP",
        repo_id=settings.clap_model,
        revision=_revision(settings),
        files=CONFIGS,
        weights=WEIGHTS,
        licence="Apache-2.0",
        setting="KINDRED_CLAP_MODEL",
        command=COMMAND,
        extras=WORDS,
    )


def _is_local(settings: Settings) -> bool:
    """Whether the setting names a place: one that exists, or anything that is not owner/name."""
    name = settings.clap_model
    if Path(name).suffix in CHECKPOINTS:
        return True
    hub_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None
    return not hub_id or Path(name).is_dir()


def _revision(settings: Settings) -> str:
    return settings.clap_revision or PINNED.get(settings.clap_model) or "main"


def _target(settings: Settings) -> Path:
    """Folder in which the weights are looked for."""
    if _is_local(settings):
        return Path(settings.clap_model).expanduser().absolute()
    return settings.models / f"models--{settings.clap_model.replace('/', '--')}"


def _snapshot(settings: Settings) -> Path | None:
    """Snapshot folder of the wanted revision; its name is the commit, whatever was asked for."""
    root, revision = _target(settings), _revision(settings)
    reference = root / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = root / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _check(folder: Path, *, advice: str) -> Path:
    """Weights file of a complete, undamaged folder."""
    files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    absent = [name for name in CONFIGS if not (folder / name).is_file()]
    if absent or not files:
        what = ", ".join([*absent, *([] if files else [" or ".join(WEIGHTS)])])
        raise WeightsMissing(f"The CLAP weights in {folder} lack {what}. {advice}")
    for name in CONFIGS:
        try:
            json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EncoderError(f"{folder / name} cannot be read: {error}. {advice}") from error
    problem = _damage(files[0])
    if problem:
        raise EncoderError(f"{files[0]} is damaged: {problem}. {advice}")
    return files[0]


def _checkpoint(file: Path) -> Weights:
    """A checkpoint of LAION's."""
    advice = "Copy or download the checkpoint again."
    if not file.is_file():
        raise WeightsMissing(f"KINDRED_CLAP_MODEL names {file}, which does not exist.")
    with file.open("rb") as stream:
        archive = stream.read(4) == b"PK\x03\x04"
    # A zip archive ends with its table of contents, so a file that was cut off has none.
    if not file.stat().st_size or (archive and not zipfile.is_zipfile(file)):
        raise EncoderError(f"{file} is damaged: it is empty or was cut off. {advice}")
    return Weights(file.parent, file, f"checkpoint@{_digest(file)}")


def _damage(file: Path) -> str:
    """What is wrong with a weights file, as far as its header tells; empty when nothing is."""
    size = file.stat().st_size
    if file.suffix != ".safetensors":
        return "" if size else "it is empty"
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > size - 8:
            return "its header is cut off"
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[0] != "_"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "its header is not that of a safetensors file"
    expected = 8 + length + max(ends, default=0)
    return "" if size == expected else f"it has {size} bytes, its header says {expected}"


def _digest(file: Path, *configs: Path) -> str:
    """Sixteen digits that differ when configuration or weights differ."""
    sha = hashlib.sha256()
    for config in configs:
        sha.update(config.read_bytes())
    size = file.stat().st_size
    sha.update(str(size).encode())
    with file.open("rb") as stream:
        sha.update(stream.read(1 << 20))
        stream.seek(max(0, size - (1 << 20)))
        sha.update(stream.read())
    return sha.hexdigest()[:16]


def _size(place: Path) -> int:
    """Bytes of a checkpoint, or of the model's files under a folder; links are followed."""
    if place.is_file():
        return place.stat().st_size
    names = {*CONFIGS, *WEIGHTS}
    return sum(path.stat().st_size for path in place.rglob("*") if path.name in names)
