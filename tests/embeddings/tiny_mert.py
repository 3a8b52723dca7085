"""MERT's file layout around a small HuBERT of random weights, which say nothing of quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_mert(
    folder: Path, *, width: int = 768, layers: int = 2, pickled: bool = True, **changes: Any
) -> Path:
    """Write a folder as m-a-p/MERT-v1-95M has it; ``changes`` go into its configuration."""
    import torch

    from kindred.embeddings.clap import complete_torchvision

    complete_torchvision()
    from safetensors.torch import save_file
    from transformers import HubertConfig, HubertModel

    shape = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "conv_dim": [16] * 7,
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 16,
        "mask_time_prob": 0.05,
    }
    torch.manual_seed(0)
    model = HubertModel(HubertConfig(**shape))
    # As initialised every layer is almost the same, and silence gives zero, for want of biases.
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(std=0.1)
            if name.startswith("encoder.layers") and name.endswith("weight") and value.ndim == 2:
                value.mul_(5)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["MERTModel"],
        "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
        "model_type": "mert_model",
        "attention_relax": -1.0,
        "deepnorm": False,
        "feature_extractor_cqt": False,
        "feature_extractor_cqt_bins": 336,
        "sample_rate": 24_000,
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        **shape,
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": True,
        "sampling_rate": 24_000,
        "feature_size": 1,
        "padding_value": 0,
        "padding_side": "right",
        "return_attention_mask": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    if pickled:
        new = "parametrizations.weight.original"
        state = {
            key.replace(f"{new}0", "weight_g").replace(f"{new}1", "weight_v"): value
            for key, value in model.state_dict().items()
        }
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file(model.state_dict(), folder / "model.safetensors")
    return folder
