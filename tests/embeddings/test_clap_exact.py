"""CLAP against the two reference implementations, on the same weights and windows.

The weights are random, so nothing here speaks of quality; it says that ours is the same function.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kindred.config import Settings
from kindred.embeddings.clap import ClapEncoder, _multiplies_bfloat16, from_settings
from kindred.embeddings.clap_weights import is_checkpoint, locate, weights_status
from kindred.errors import EncoderError, WeightsMissing
from tests.embeddings import laion, sounds
from tests.embeddings.conftest import save_clap

RATE = 48_000


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    quiet = sounds.notes(RATE, [(48, 55, 64), (50, 57, 65)]) * np.float32(0.01)
    return np.stack(
        [
            sounds.noise(RATE),
            sounds.notes(RATE, [(60, 64, 67), (62, 65, 69)]),
            sounds.clicks(RATE, bpm=120),
            quiet,
        ]
    )


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.sum(first * second, axis=1) / (
        np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    )


def at(file: Path, **more: object) -> Settings:
    return Settings(_env_file=None, clap_model=str(file), model_dir=file.parent, **more)


def in_float32(file: Path) -> ClapEncoder:
    return ClapEncoder(locate(at(file)), precision="float32")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_a_checkpoint_of_laions_gives_laions_vectors(
    size: str, windows: np.ndarray, tmp_path: Path
) -> None:
    model = laion.htsat(size)
    theirs = laion.embed(model, windows)
    assert cosines(theirs[:1], theirs[1:2])[0] < 0.99  # the towers do listen
    file = laion.save(model, tmp_path / f"{size}.pt")
    assert cosines(in_float32(file).encode(windows), theirs).min() >= 0.9999
    # Whatever precision this machine gets by itself keeps what a search needs.
    assert cosines(from_settings(at(file)).encode(windows), theirs).min() >= 0.999


@pytest.mark.slow
def test_a_fused_checkpoint_gives_the_vectors_of_its_unfused_path(
    windows: np.ndarray, tmp_path: Path
) -> None:
    import torch
    from torch.nn import functional

    model = laion.htsat("tiny", fusion=True)
    encoder = in_float32(laion.save(model, tmp_path / "fused.pt"))
    _, front_end = encoder.load()
    mel = front_end(torch.tensor(windows))
    with torch.inference_mode():
        longer = torch.zeros((len(windows), 1), dtype=torch.bool)
        data = {"mel_fusion": mel, "longer": longer}
        found = model["audio_branch"](data, mixup_lambda=None, device="cpu")["embedding"]
        theirs = functional.normalize(model["audio_projection"](found), dim=-1).numpy()
    assert cosines(encoder.encode(windows), theirs).min() >= 0.9999


@pytest.mark.parametrize("fusion", [False, True])
def test_the_vectors_are_those_of_transformers_own_path(
    fusion: bool, windows: np.ndarray, tmp_path: Path
) -> None:
    folder = save_clap(tmp_path / "clap", fusion=fusion)
    ours = in_float32(folder).encode(windows)
    import torch
    from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor

    extractor = ClapFeatureExtractor.from_pretrained(folder)
    model = ClapAudioModelWithProjection.from_pretrained(folder).eval()
    inputs = extractor(list(windows), sampling_rate=RATE, return_tensors="pt")
    # The extractor picks a window at random to be called longer when it feeds a fused model.
    inputs["is_longer"] = torch.zeros((len(windows), 1), dtype=torch.bool)
    with torch.inference_mode():
        theirs = model(**inputs).audio_embeds.numpy()
    assert cosines(ours, theirs).min() >= 0.9999


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laion")
    # LAION's files carry NumPy numbers beside the tensors, which a strict reader would refuse.
    return laion.save(laion.htsat("tiny"), folder / "music.pt", best=np.float64(0.5))


def test_a_checkpoint_is_found_and_named_by_its_content(checkpoint: Path, tmp_path: Path) -> None:
    weights = locate(at(checkpoint))
    assert (is_checkpoint(weights), weights.file, weights.folder) == (
        True, checkpoint, checkpoint.parent,
    )  # fmt: skip
    status = weights_status(at(checkpoint))
    assert status.available
    assert status.size == checkpoint.stat().st_size
    renamed = tmp_path / "renamed.pt"
    renamed.write_bytes(checkpoint.read_bytes())
    assert locate(at(renamed)).revision == weights.revision
    encoder = from_settings(at(renamed))
    assert encoder.embed(sounds.noise(RATE, seconds=12)).segments.shape == (2, 512)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"gone\.pt, which does not exist"):
        locate(at(tmp_path / "gone.pt"))


@pytest.mark.parametrize("keep", [0, 100, 1_000_000, -1000])
def test_a_checkpoint_that_was_cut_is_found_before_torch_is_asked(
    checkpoint: Path, tmp_path: Path, keep: int
) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(EncoderError, match=r"cut\.pt is damaged"):
        locate(at(cut))
    assert not weights_status(at(cut)).available


class Trap:
    """Unpickled by a careless reader, this makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.file), "w")


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    import torch

    file = tmp_path / "unsafe.pt"
    torch.save({"state_dict": {}, "extra": Trap(tmp_path / "sprung")}, file)
    with pytest.raises(EncoderError, match=r"unsafe\.pt cannot be loaded.*could run code"):
        from_settings(at(file)).load()
    assert not (tmp_path / "sprung").exists()


def test_bytes_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "noise.pt"
    file.write_bytes(b"not weights at all" * 50)
    with pytest.raises(EncoderError, match=r"noise\.pt cannot be loaded"):
        from_settings(at(file)).load()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "no dictionary"),
        ({"state_dict": {}}, "lacks an HTSAT audio tower"),
        ({"weight": "x"}, "lacks an HTSAT audio tower"),
    ],
)
def test_another_pickle_says_what_is_wanted(tmp_path: Path, content: object, said: str) -> None:
    import torch

    file = tmp_path / "other.pt"
    torch.save(content, file)
    with pytest.raises(EncoderError, match=rf"other\.pt .*{said}.*music_audioset"):
        from_settings(at(file)).load()


def test_a_checkpoint_that_lacks_a_layer_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    content = torch.load(checkpoint, weights_only=False)
    del content["state_dict"]["module.audio_branch.layers.2.blocks.3.mlp.fc1.weight"]
    file = tmp_path / "lacking.pt"
    torch.save(content, file)
    with pytest.raises(EncoderError, match=r"lacking\.pt lacks 1 layers.*intermediate"):
        from_settings(at(file)).load()


def test_bfloat16_is_used_only_where_it_agrees(
    clap_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kindred.embeddings import clap

    encoder = from_settings(at(clap_folder))
    encoder.load()
    assert encoder.precision == ("bfloat16" if _multiplies_bfloat16("cpu") else "float32")
    monkeypatch.setattr(clap, "_multiplies_bfloat16", lambda device: True)
    monkeypatch.setattr(clap, "AGREEMENT", 1.1)
    wary = from_settings(at(clap_folder))
    wary.load()
    assert wary.precision == "float32"


def test_a_gpu_that_is_not_there_is_said(clap_folder: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(EncoderError, match="KINDRED_DEVICE is cuda"):
        from_settings(at(clap_folder, device="cuda")).load()
