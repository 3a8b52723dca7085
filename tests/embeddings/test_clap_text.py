"""CLAP's text tower on random weights of the real architecture: loading, what is missing, and a
tower that tells no texts apart. Nothing here speaks of quality."""

from __future__ import annotations

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kindred.config import Settings
from kindred.embeddings.clap import from_settings as audio_from_settings
from kindred.embeddings.clap_text import (
    BATCH,
    MAX_TOKENS,
    PROBE,
    TOKENIZER,
    ClapTextEncoder,
    from_settings,
)
from kindred.embeddings.clap_weights import COMMAND
from kindred.embeddings.hub_weights import Weights
from kindred.errors import EncoderError, WeightsMissing
from tests.embeddings.conftest import save_clap

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def save_tokenizer(folder: Path) -> None:
    """RoBERTa's byte-level tokenizer without merges: a token for every byte."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    tokens = [*SPECIAL, *sorted(ByteLevel.alphabet())]
    vocab = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    RobertaTokenizer(vocab=vocab, merges=[]).save_pretrained(folder)


def save_tower(folder: Path, *, scale: float, vocab: int = 300, layers: int = 2) -> Path:
    """A CLAP whose text tower's linear layers are ``scale`` times as large as when made."""
    import torch

    save_clap(folder)
    from transformers import ClapConfig, ClapModel, ClapTextConfig

    config = ClapConfig.from_pretrained(folder)
    config.text_config = ClapTextConfig(
        vocab_size=vocab,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
    )
    torch.manual_seed(1)
    model = ClapModel(config)
    with torch.no_grad():
        for module in [*model.text_model.modules(), *model.text_projection.modules()]:
            if isinstance(module, torch.nn.Linear) and scale != 1:
                module.weight *= scale
                module.bias.normal_(std=0.01)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tower(tmp_path_factory.mktemp("tower"), scale=8)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClapTextEncoder:
    return from_settings(at(folder))


def at(model: Path, **more: object) -> Settings:
    return Settings(_env_file=None, clap_model=str(model), model_dir=model, **more)


def test_rows_are_unit_float32_in_the_audio_encoders_space(
    encoder: ClapTextEncoder, folder: Path
) -> None:
    vectors = encoder.encode_text(["warm strings", "drums", "", "naïve 弦楽 🎻"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.space.dims)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert encoder.space == audio_from_settings(at(folder)).space
    chosen = at(folder, clap_windows=3)
    assert from_settings(chosen).space == audio_from_settings(chosen).space != encoder.space
    assert ClapTextEncoder(encoder.weights).space == encoder.space


def test_no_text_gives_no_row(encoder: ClapTextEncoder) -> None:
    assert encoder.encode_text([]).shape == (0, encoder.space.dims)


def test_a_row_is_what_transformers_gives(encoder: ClapTextEncoder, folder: Path) -> None:
    import torch
    from transformers import ClapModel, RobertaTokenizer

    model = ClapModel.from_pretrained(folder).eval()
    tokenizer = RobertaTokenizer.from_pretrained(folder)
    texts = ["warm strings", "a solo piano, slowly", "drums"]
    with torch.no_grad():
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        theirs = model.get_text_features(**tokens).pooler_output.numpy()
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert encoder.encode_text(texts) == pytest.approx(theirs, abs=1e-5)


def test_a_row_depends_on_its_text_alone(encoder: ClapTextEncoder, folder: Path) -> None:
    texts = [f"text {'x' * (number % 7)} {number % 10}" for number in range(3 * BATCH)]
    together = encoder.encode_text(texts)
    assert np.array_equal(together, encoder.encode_text(texts))
    assert np.array_equal(together, from_settings(at(folder)).encode_text(texts))
    for row in (0, 17, len(texts) - 1):
        assert encoder.encode_text([texts[row]])[0] == pytest.approx(together[row], abs=1e-5)


def test_a_long_text_is_cut_with_a_warning(
    encoder: ClapTextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        long = encoder.encode_text(["x" * 500])
    assert f"Only {MAX_TOKENS} of the 502 tokens" in caplog.text
    assert long == pytest.approx(encoder.encode_text(["x" * (MAX_TOKENS - 2)]), abs=1e-6)


def test_threads_share_one_tower(folder: Path) -> None:
    fresh = from_settings(at(folder))
    with ThreadPoolExecutor(4) as threads:
        first, *rest = threads.map(fresh.encode_text, [["warm strings"]] * 4)
    assert all(np.array_equal(first, other) for other in rest)


@pytest.mark.parametrize("kept", TOKENIZER)
def test_either_kind_of_tokenizer_files_will_do(
    kept: tuple[str, ...], copy: Path, encoder: ClapTextEncoder
) -> None:
    for name in {name for names in TOKENIZER for name in names} - set(kept):
        (copy / name).unlink()
    (copy / "tokenizer_config.json").unlink()
    texts = ["warm strings", "drums"]
    assert np.array_equal(from_settings(at(copy)).encode_text(texts), encoder.encode_text(texts))


def test_missing_tokenizer_files_are_named_with_the_command(copy: Path) -> None:
    for name in ("tokenizer.json", "merges.txt"):
        (copy / name).unlink()
    with pytest.raises(WeightsMissing) as caught:
        from_settings(at(copy))
    message = str(caught.value)
    assert "lacks tokenizer.json, or merges.txt" in message
    assert COMMAND in message
    assert "roberta-base" in message
    fetched = Weights(copy, copy / "model.safetensors", "laion/clap@0123")
    with pytest.raises(WeightsMissing, match=f"Fetch them with `{COMMAND}`"):
        ClapTextEncoder(fetched).encode_text(["drums"])


def test_a_tower_as_it_was_initialised_is_refused(tmp_path: Path) -> None:
    """Random weights of the usual size, zero biases: every text has one vector."""
    made = from_settings(at(save_tower(tmp_path / "new", scale=1)))
    with pytest.raises(EncoderError) as caught:
        made.encode_text(["drums"])
    message = str(caught.value)
    assert "tells no texts apart" in message
    assert "biases are all zero" in message
    assert "laion/clap-htsat-unfused" in message


def test_a_tower_with_a_dead_projection_is_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = load_file(file)
    tensors["text_projection.linear1.weight"] *= 1e-4
    tensors["text_projection.linear1.bias"] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"mean cosine of 1\.0000\. Sounds can still"):
        from_settings(at(copy)).load()


def test_weights_that_lack_a_layer_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = load_file(file)
    del tensors["text_projection.linear2.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"text_projection\.linear2\.weight"):
        from_settings(at(copy)).load()


def test_values_that_are_not_finite_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = load_file(file)
    tensors["text_projection.linear2.bias"][:] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="not finite"):
        from_settings(at(copy)).load()


def test_a_damaged_tokenizer_is_named(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        from_settings(at(copy)).load()


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    small = save_tower(tmp_path / "small", scale=8, vocab=200)
    with pytest.raises(EncoderError, match="knows 200 tokens"):
        from_settings(at(small)).load()


def test_a_checkpoint_of_laions_gives_its_vectors(tmp_path: Path) -> None:
    import torch
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(2)
    config = RobertaConfig(
        vocab_size=300,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=130,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=0.3,
    )
    branch = RobertaModel(config).eval()
    projection = torch.nn.Sequential(
        torch.nn.Linear(128, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512)
    )
    state = {f"module.text_branch.{key}": value for key, value in branch.state_dict().items()}
    state |= {f"module.text_projection.{key}": v for key, v in projection.state_dict().items()}
    file = tmp_path / "some.pt"
    torch.save({"epoch": 1, "state_dict": state}, file)
    made = ClapTextEncoder(Weights(tmp_path, file, "checkpoint@0"))
    with pytest.raises(WeightsMissing, match="roberta-base"):
        made.load()
    save_tokenizer(tmp_path)
    from transformers import RobertaTokenizer

    tokenizer = RobertaTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        tokens = tokenizer(list(PROBE), padding=True, return_tensors="pt")
        theirs = projection(branch(**tokens).pooler_output).numpy()
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert made.encode_text(PROBE) == pytest.approx(theirs, abs=1e-5)
    for key in [key for key in state if "text_projection.2" in key]:
        del state[key]
    torch.save({"state_dict": state}, file)
    with pytest.raises(EncoderError, match=r"text_projection\.linear2"):
        ClapTextEncoder(Weights(tmp_path, file, "checkpoint@0")).load()
