"""MERT's weights: what they are on the hub, and how they become a HuBERT.

Conventions: 24 kHz; layer names are those of ``transformers.HubertModel``. The weights' own Python
code is not run: with the published configuration (no CQT, no deepnorm, no relaxed attention) the
model is HuBERT. They are CC-BY-NC-4.0: not for commercial use. Nothing here imports torch before
:func:`load_hubert`, and only :func:`fetch` uses the network.
"""

from __future__ import annotations

import json
import pickle
from typing import Any

from kindred.config import Settings
from kindred.embeddings import hub_download, hub_weights
from kindred.embeddings.hub_weights import HubModel, Weights
from kindred.errors import EncoderError, MissingPackage

SAMPLE_RATE = 24_000
MODEL = "m-a-p/MERT-v1-95M"
LICENCE = "CC-BY-NC-4.0 (not for commercial use)"
#: Commit the project was checked against, with the SHA-256 of its files.
PINNED = {MODEL: "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5"}
CHECKSUMS = {
    "config.json": "ea2627c4c7825cd66f3c944b6b966331604c35928174e0100cd4a82829424e32",
    "preprocessor_config.json": "cc5a5e4a5d3b1a758a5ed984b2eaa15bb0522d811d44a9eed82bfca4baa0dc8f",
    "pytorch_model.bin": "a2b8b747f72c06e0595aeae41ae5473f4364938c6b39b2c58be38c48e6bd3fcd",
}
SIZE = 377_555_015  # bytes of the three
#: What of MERT's configuration shapes a HuBERT; the rest concerns training, or is not HuBERT's.
_HUBERT_FIELDS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "feat_proj_layer_norm", "layer_norm_eps", "feat_extract_norm", "feat_extract_activation",
    "conv_dim", "conv_stride", "conv_kernel", "conv_bias", "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups", "do_stable_layer_norm",
)  # fmt: skip
#: Names older versions of torch gave the weights of a normalised convolution.
_RENAMED = {"conv.weight_g": "original0", "conv.weight_v": "original1"}


def hub_model(settings: Settings) -> HubModel:
    """The MERT model the settings name."""
    name = settings.mert_model
    revision = settings.mert_revision or PINNED.get(name)
    published = name == MODEL and revision == PINNED[MODEL]
    return HubModel(
        title="MERT",
        repo_id=name,
        revision=revision,
        files=("config.json", "preprocessor_config.json"),
        weights=("model.safetensors", "pytorch_model.bin"),
        licence=LICENCE,
        size=SIZE if published else 0,
        setting="KINDRED_MERT_MODEL",
        command="kindred models pull mert",
        checksums=CHECKSUMS if published else {},
    )


def readiness(settings: Settings) -> tuple[bool, str, str]:
    """Whether the encoder can be used, why or why not, and the command that helps."""
    status = hub_weights.status(settings.models, hub_model(settings))
    return status.available, status.notice, status.command


def fetch(settings: Settings, *, progress: hub_download.Progress | None = None) -> Weights:
    """Download the weights: see :func:`kindred.embeddings.hub_download.fetch`."""
    return hub_download.fetch(settings.models, hub_model(settings), progress=progress)


def weights_status(settings: Settings) -> hub_weights.WeightsStatus:
    """Look for the weights: see :func:`kindred.embeddings.hub_weights.status`."""
    return hub_weights.status(settings.models, hub_model(settings))


def read_config(weights: Weights) -> tuple[dict[str, Any], bool]:
    """Fields of a HubertConfig, and whether windows are standardised."""
    path = weights.folder / "config.json"
    extractor_path = weights.folder / "preprocessor_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        extractor = json.loads(extractor_path.read_text(encoding="utf-8"))
        fields = {name: config[name] for name in _HUBERT_FIELDS if name in config}
        fields = {"hidden_size": 768, "num_hidden_layers": 12, **fields}
        foreign = [name for name in ("feature_extractor_cqt", "deepnorm") if config.get(name)]
        if float(config.get("attention_relax") or -1.0) > 0:
            foreign.append("attention_relax")
        kind, rate = config["model_type"], int(extractor["sampling_rate"])
        whole = all(isinstance(fields[name], int) for name in ("hidden_size", "num_hidden_layers"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"The configuration of MERT in {weights.folder} cannot be read"
            f" ({type(error).__name__}: {error}). Fetch the model again."
        ) from error
    if kind not in ("mert_model", "hubert") or foreign or not whole:
        reason = f"uses {', '.join(foreign)}" if foreign else f"is of the type {kind!r}"
        raise EncoderError(
            f"The model in {weights.folder} {reason}, which HuBERT does not hold. Use {MODEL}."
        )
    if rate != SAMPLE_RATE:
        raise EncoderError(
            f"MERT weights for {SAMPLE_RATE} Hz are needed, those in {weights.folder} hear {rate}."
        )
    return fields, bool(extractor.get("do_normalize", True))


def load_hubert(weights: Weights, config: dict[str, Any]) -> Any:
    """The model of a folder, read without network and without running what it brings along."""
    try:
        import torch

        from kindred.embeddings.clap import complete_torchvision

        complete_torchvision()
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from transformers import HubertConfig, HubertModel
    except ImportError as error:
        raise MissingPackage(
            f"MERT needs torch and transformers ({error});"
            " install them with `pip install -r requirements.txt`."
        ) from error
    file = weights.file
    try:
        # Masking is for training; without it the model needs no vector to mask with.
        hubert = HubertConfig(**config, mask_time_prob=0.0, mask_feature_prob=0.0)
        with torch.device("meta"):
            model = HubertModel(hubert)
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        state = {_name(key): value.float() for key, value in state.items()}
        wanted = {key: value.shape for key, value in model.state_dict().items()}
        missing = sorted(wanted.keys() - state.keys())
        misfit = sorted(key for key in wanted.keys() & state if state[key].shape != wanted[key])
        unknown = sorted(key for key in state.keys() - wanted.keys() if not _surplus(key))
        if missing or misfit or unknown:
            told = (("lack", missing), ("have in another shape", misfit), ("also have", unknown))
            reason = "; ".join(f"{verb} {', '.join(keys)}" for verb, keys in told if keys)
            raise EncoderError(f"The MERT weights in {file} {reason}. Fetch them again.")
        model.load_state_dict({key: state[key] for key in wanted}, assign=True)
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError,
        EOFError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise EncoderError(
            f"The MERT weights in {file} cannot be loaded ({type(error).__name__}:"
            f" {str(error).splitlines()[0] if str(error) else ''}). Fetch them again."
        ) from error
    return model.eval().requires_grad_(requires_grad=False)


def _name(key: str) -> str:
    """A weight's name in today's HuBERT."""
    for old, new in _RENAMED.items():
        if key.endswith(old):
            return f"{key.removesuffix(old)}conv.parametrizations.weight.{new}"
    return key


def _surplus(key: str) -> bool:
    """Whether a weight serves training, or features HuBERT does not hear, alone."""
    return key == "masked_spec_embed" or key.startswith(("feature_extractor_cqt", "final_proj"))
