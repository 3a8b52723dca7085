"""Where CLAP's weights lie, what names them and how they are fetched.

A Hugging Face id or a folder in its form is what :mod:`kindred.embeddings.hub_weights` says. A
single file with LAION's suffix is a checkpoint of theirs, named by a digest of its size, start and
end. Nothing here imports torch, and only :func:`fetch` uses the network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kindred.config import Settings
from kindred.embeddings import hub_download, hub_weights
from kindred.embeddings.hub_weights import DamagedWeights, HubModel, Weights, WeightsStatus
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


def locate(settings: Settings) -> Weights:
    """Find and check the weights.

    Raises
    ------
    WeightsMissing
        When they are not on this machine.
    EncoderError
        When a file is damaged; the message names it.
    """
    checkpoint = _checkpoint(settings)
    if checkpoint is None:
        return hub_weights.locate(settings.models, hub_model(settings))
    if not checkpoint.is_file():
        raise WeightsMissing(f"KINDRED_CLAP_MODEL names {checkpoint}, which does not exist.")
    if problem := hub_weights.damage(checkpoint):
        raise DamagedWeights(checkpoint, problem, "Copy or download the checkpoint again.")
    digest = hub_weights.digest(checkpoint)
    return Weights(checkpoint.parent, checkpoint, f"checkpoint@{digest}")


def is_checkpoint(weights: Weights) -> bool:
    """Whether these are a file of LAION's, not a folder in the hub's form."""
    return weights.file.suffix in CHECKPOINTS


def weights_status(settings: Settings) -> WeightsStatus:
    """Look for the weights; reads headers only, no network."""
    checkpoint = _checkpoint(settings)
    if checkpoint is None:
        return hub_weights.status(settings.models, hub_model(settings))
    size = checkpoint.stat().st_size if checkpoint.is_file() else 0
    try:
        weights = locate(settings)
    except EncoderError as error:
        damaged = checkpoint.name if isinstance(error, DamagedWeights) else ""
        missing = () if size else (checkpoint.name,)
        return WeightsStatus(False, checkpoint, size, missing, damaged, str(error), "")
    notice = f"CLAP weights {weights.revision}, {size / 1e6:,.0f} MB, in {checkpoint}."
    return WeightsStatus(True, checkpoint, size, (), "", notice, "")


def readiness(settings: Settings) -> tuple[bool, str, str]:
    """Whether the encoder can be used, why or why not, and the command that helps."""
    status = weights_status(settings)
    return status.available, status.notice, status.command


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
    model = hub_model(settings)
    if model.is_folder or _checkpoint(settings):
        place = _checkpoint(settings) or model.root(settings.models)
        raise WeightsMissing(
            f"KINDRED_CLAP_MODEL names {place}; only a Hugging Face id"
            " such as laion/larger_clap_music can be fetched."
        )
    hub_download.fetch(settings.models, model, progress=progress)
    return weights_status(settings)


def hub_model(settings: Settings) -> HubModel:
    """The CLAP model the settings name, as the hub has it."""
    return HubModel(
        title="CLAP",
        repo_id=settings.clap_model,
        revision=settings.clap_revision or PINNED.get(settings.clap_model),
        files=CONFIGS,
        weights=WEIGHTS,
        licence="Apache-2.0",
        setting="KINDRED_CLAP_MODEL",
        command=COMMAND,
        extras=WORDS,
    )


def _checkpoint(settings: Settings) -> Path | None:
    """The checkpoint of LAION's that the setting names, if it names one."""
    path = Path(settings.clap_model).expanduser().absolute()
    return path if path.suffix in CHECKPOINTS and not path.is_dir() else None
