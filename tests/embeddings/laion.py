"""LAION's own modules: HTSAT as laion_clap has it, with random weights, and its checkpoints.

Importing laion_clap itself asks the hub for three tokenizers; its inner package is imported alone,
from its own folder, as laion_clap does.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.clap import complete_torchvision

DIMS = 512


class Audio:
    """laion_clap's ``audio_cfg`` for HTSAT at 48 kHz, as its model_configs give it."""

    audio_length = 1024
    clip_samples = 480_000
    mel_bins = 64
    sample_rate = 48_000
    window_size = 1024
    hop_size = 480
    fmin = 50
    fmax = 14_000
    class_num = 527
    model_type = "HTSAT"

    def __init__(self, size: str) -> None:
        self.model_name = size


def htsat(size: str, *, fusion: bool = False) -> Any:
    """laion_clap's audio branch and projection with random weights, ready to be asked.

    Parameters
    ----------
    size : str
        ``"tiny"`` or ``"base"``.
    """
    import torch
    from torch import nn

    complete_torchvision()
    spec = importlib.util.find_spec("laion_clap")
    assert spec is not None
    assert spec.origin is not None
    folder = str(Path(spec.origin).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        create = importlib.import_module("clap_module.htsat").create_htsat_model
        torch.manual_seed(0)
        branch = create(Audio(size), fusion, "aff_2d" if fusion else "None")
    width = branch.num_features
    projection = nn.Sequential(nn.Linear(width, DIMS), nn.ReLU(), nn.Linear(DIMS, DIMS))
    model = nn.ModuleDict({"audio_branch": branch, "audio_projection": projection})
    for name, value in model.named_parameters():
        # Weights as they come out of the constructor are so small that the tower hardly listens;
        # these let every layer, bias and table matter.
        if name.startswith(("audio_branch.spectrogram", "audio_branch.logmel")):
            continue
        if value.ndim == 2 and "table" not in name:
            nn.init.xavier_uniform_(value)
        elif value.ndim < 4:
            nn.init.normal_(value, mean=1.0 if is_scale(name) else 0.0, std=0.2)
    norm = branch.bn0
    norm.running_mean += torch.linspace(-30, -10, norm.num_features)
    norm.running_var += torch.linspace(100, 400, norm.num_features)
    return model.eval()


def is_scale(name: str) -> bool:
    """Whether a vector of weights is the scale of a normalisation."""
    return name.endswith("weight")


def embed(model: Any, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors as ``CLAP.get_audio_embedding`` makes them, one clip at a time."""
    import torch
    from torch.nn import functional

    rows = []
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for window in windows:
            data = {"waveform": torch.tensor(window[None]), "longer": torch.tensor([[False]])}
            found = model["audio_branch"](data, mixup_lambda=None, device="cpu")["embedding"]
            rows.append(functional.normalize(model["audio_projection"](found), dim=-1))
        return torch.cat(rows).numpy()


def save(model: Any, file: Path, **more: Any) -> Path:
    """Write a checkpoint as LAION's training does, with a word of the text tower."""
    import torch

    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    state["module.logit_scale_a"] = torch.tensor(2.0)
    torch.save({"epoch": 15, "name": "test", "state_dict": state, **more}, file)
    return file
