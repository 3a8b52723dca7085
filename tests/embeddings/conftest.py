"""Encoders under test; the learned ones are the real architectures, tiny, with random weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Read when huggingface_hub is first imported: no test may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

from kindred.config import Settings
from kindred.embeddings import registry
from kindred.embeddings.encoder import Encoder
from kindred.expressive.release import release
from tests.embeddings.tiny_mert import save_mert
from tests.expressive.made_run import make_run


def save_clap(folder: Path, *, fusion: bool = False, dims: int = 512) -> Path:
    """Write a CLAP model of a few thousand random weights as transformers would."""
    import torch

    from kindred.embeddings.clap import complete_torchvision

    complete_torchvision()
    from transformers import (
        ClapAudioConfig,
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        ClapTextConfig,
    )

    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8,
        hidden_size=64,
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 4, 8],
        num_classes=4,
        enable_fusion=fusion,
        fusion_type="aff_2d" if fusion else None,
    )
    text = ClapTextConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    config = ClapConfig(text_config=text, audio_config=audio, projection_dim=dims)
    torch.manual_seed(0)
    ClapModel(config).save_pretrained(folder)
    truncation = "fusion" if fusion else "rand_trunc"
    ClapFeatureExtractor(truncation=truncation).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clap_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="session")
def settings(clap_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("library")
    release(make_run(home / "run"), home)
    return Settings(
        _env_file=None,
        home=home,
        model_dir=tmp_path_factory.mktemp("models"),
        clap_model=str(clap_folder),
        mert_model=str(save_mert(tmp_path_factory.mktemp("mert"))),
        mert_layers="1-2",
    )


@pytest.fixture(scope="session", params=[info.name for info in registry.available()])
def encoder(request: pytest.FixtureRequest, settings: Settings) -> Encoder:
    return registry.load_encoder(request.param, settings)
