"""CLAP checkpoints as LAION publishes them (``.pt``), read into transformers' modules.

A checkpoint is a pickled dictionary with the tensors under ``state_dict``; it carries no
configuration, so sizes are read from the tensors' shapes: HTSAT-tiny (96 channels, 2-2-6-2 blocks),
HTSAT-base (128 channels, 2-2-12-2) and their fused kinds. It is read as data only: a pickle that
would run code is refused.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from kindred.errors import EncoderError

#: LAION's names of layers, and transformers'.
_NAMES = (
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"^audio_projection\.0\.", "audio_projection.linear1."),
    (r"^audio_projection\.2\.", "audio_projection.linear2."),
    (r"\.bn0\.", ".batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
)
#: Layers that make the spectrogram or the training's classes; and what follows from the sizes.
_UNUSED = re.compile(
    r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\."
    r"|attn_mask$|relative_position_index$"
)
#: LAION's filters begin here, Hz.
_LOWEST = 50


def read_state(file: Path) -> dict[str, Any]:
    """Tensors of a checkpoint by LAION's names, without the ``module.`` of parallel training.

    Raises
    ------
    EncoderError
        When the file is damaged, would run code, or is no checkpoint; the message names it.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numbers()):
            content = torch.load(
                file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
            )
    except Exception as error:
        # torch and pickle raise nearly anything on bytes that are not a checkpoint.
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise EncoderError(
            f"The CLAP checkpoint {file} cannot be loaded ({type(error).__name__}: {reason}). It is"
            " damaged, or holds more than tensors and numbers and is not loaded, because it could"
            " run code. Download it again from LAION, or name another in KINDRED_CLAP_MODEL."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise EncoderError(f"{file} holds no dictionary of tensors. {_WANTED}")
    return {
        key.removeprefix("module."): value
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def read_checkpoint(file: Path) -> tuple[Any, Any]:
    """``ClapAudioModelWithProjection``, in float32, and feature extractor of a checkpoint.

    Raises
    ------
    EncoderError
        When the file cannot be read or is not an HTSAT CLAP model with 512 dimensions.
    """
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

    state = read_state(file)
    try:
        sizes = _sizes(state)
    except (KeyError, IndexError, ValueError) as error:
        raise EncoderError(f"{file} lacks an HTSAT audio tower ({error}). {_WANTED}") from error
    if sizes["projection_dim"] != 512:
        raise EncoderError(f"{file} gives {sizes['projection_dim']} dimensions, not 512. {_WANTED}")
    model = ClapAudioModelWithProjection(ClapAudioConfig(**sizes)).eval()
    try:
        result = model.load_state_dict(_renamed(state), strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[1:2] or [str(error)]
        raise EncoderError(f"{file} does not fit HTSAT: {reason[0].strip()}. {_WANTED}") from error
    missing = [key for key in result.missing_keys if not key.endswith("relative_position_index")]
    wrong = [*missing, *result.unexpected_keys]
    if wrong:
        raise EncoderError(
            f"{file} lacks {len(missing)} layers and has {len(result.unexpected_keys)} too many,"
            f" e.g. {wrong[0]}. {_WANTED}"
        )
    extractor = ClapFeatureExtractor(
        truncation="fusion" if sizes["enable_fusion"] else "rand_trunc", frequency_min=_LOWEST
    )
    return model, extractor


_WANTED = (
    "A CLAP checkpoint of LAION's is needed, such as music_audioset_epoch_15_esc_90.14.pt or"
    " 630k-audioset-best.pt."
)


def _sizes(state: dict[str, Any]) -> dict[str, Any]:
    """Configuration of the model, from the shapes of its tensors."""
    tower = "audio_branch."
    channels = len(state[tower + "patch_embed.proj.weight"])
    stages = [f"{tower}layers.{i}.blocks." for i in range(4)]
    depths = [
        len({key[len(stage) :].partition(".")[0] for key in state if key.startswith(stage)})
        for stage in stages
    ]
    heads = [state[f"{stage}0.attn.relative_position_bias_table"].shape[1] for stage in stages]
    fusion = tower + "patch_embed.mel_conv2d.weight" in state
    return {
        "patch_embeds_hidden_size": channels,
        "hidden_size": 8 * channels,
        "depths": depths,
        "num_attention_heads": heads,
        "projection_dim": len(state["audio_projection.2.weight"]),
        "enable_fusion": fusion,
        "fusion_type": "aff_2d" if fusion else None,
    }


def _renamed(state: dict[str, Any]) -> dict[str, Any]:
    """Tensors of the audio tower under transformers' names."""
    renamed: dict[str, Any] = {}
    for key, value in state.items():
        if not key.startswith(("audio_branch.", "audio_projection.")) or _UNUSED.search(key):
            continue
        for pattern, name in _NAMES:
            key = re.sub(pattern, name, key)
        if ".qkv." in key:
            for name, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[key.replace(".qkv.", f".{name}.")] = part
        else:
            renamed[key] = value
    return renamed


def _numbers() -> list[Any]:
    """What a checkpoint may hold besides tensors: NumPy's numbers, e.g. its best score."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *((scalar, name) for name in names)]
