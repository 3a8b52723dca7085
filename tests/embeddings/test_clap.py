"""CLAP: loading, damage, what names the weights, and fetching without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kindred.config import Settings
from kindred.embeddings import registry
from kindred.embeddings.clap import ClapEncoder, FrontEnd, from_settings
from kindred.embeddings.clap_weights import COMMAND, PINNED, fetch, locate, weights_status
from kindred.errors import EncoderError, WeightsMissing
from tests.embeddings import fake_hub, sounds
from tests.embeddings.conftest import save_clap

RATE = 48_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def with_model(model: str | Path, *, models: Path, revision: str | None = None) -> Settings:
    return Settings(_env_file=None, model_dir=models, clap_model=str(model), clap_revision=revision)


def as_snapshot(source: Path, models: Path, *, model: str, commit: str = COMMIT) -> Path:
    """Lay a model out as the hub's cache does."""
    root = models / f"models--{model.replace('/', '--')}"
    shutil.copytree(source, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    return root / "snapshots" / commit


@pytest.fixture
def copy(clap_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clap_folder, tmp_path / "copy"))


@pytest.mark.parametrize("fusion", [False, True])
def test_the_front_end_agrees_with_the_extractor(fusion: bool) -> None:
    from kindred.embeddings.clap import complete_torchvision

    complete_torchvision()
    import torch
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(truncation="fusion" if fusion else "rand_trunc")
    batch = np.stack([sounds.noise(RATE), sounds.notes(RATE, [(60, 64, 67), (62, 65, 69)])])
    theirs = extractor(list(batch), sampling_rate=RATE, return_tensors="np")["input_features"]
    ours = FrontEnd(extractor, fusion=fusion)(torch.from_numpy(batch)).numpy()
    assert ours.shape == theirs.shape
    # float32 rounds differently only where the spectrum is 100 dB under its peak.
    heard = theirs > -60
    assert np.abs(ours - theirs)[heard].max() < 0.01


def test_a_fused_model_is_deterministic_too(tmp_path: Path) -> None:
    folder = save_clap(tmp_path / "fused", fusion=True)
    encoder = from_settings(with_model(folder, models=tmp_path))
    batch = np.stack([sounds.noise(RATE), sounds.sine(RATE), sounds.clicks(RATE, bpm=100)])
    first = encoder.encode(batch)
    assert np.array_equal(first, encoder.encode(batch))
    assert encoder.encode(batch[1:2])[0] == pytest.approx(first[1], abs=1e-5)


def test_another_load_gives_the_same_bits(settings: Settings) -> None:
    batch = sounds.noise(RATE)[None]
    first, second = (from_settings(settings).encode(batch) for _ in range(2))
    assert np.array_equal(first, second)


def test_weights_that_are_not_here_say_how_to_fetch_them(tmp_path: Path) -> None:
    settings = with_model("laion/larger_clap_music", models=tmp_path / "models")
    with pytest.raises(WeightsMissing, match=COMMAND):
        registry.load_encoder("clap", settings)
    status = weights_status(settings)
    assert (status.available, status.size, status.command) == (False, 0, COMMAND)
    assert "\n" not in status.notice
    assert not (tmp_path / "models").exists()
    told = registry.encoder_status("clap", settings)
    assert (told.ready, told.command) == (False, COMMAND)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = with_model(tmp_path / "gone", models=tmp_path)
    with pytest.raises(WeightsMissing, match="gone"):
        locate(settings)
    assert weights_status(settings).command == ""
    with pytest.raises(WeightsMissing, match="only a Hugging Face id"):
        fetch(settings)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(WeightsMissing, match=name):
        from_settings(with_model(copy, models=copy))


@pytest.mark.parametrize("keep", [0, 4, 100, -1000])
def test_cut_weights_are_found_before_torch_is_asked(copy: Path, keep: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    settings = with_model(copy, models=copy)
    with pytest.raises(EncoderError, match=r"model\.safetensors is damaged"):
        from_settings(settings)
    assert not weights_status(settings).available
    assert "damaged" in weights_status(settings).notice


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_damaged_configuration_is_named(copy: Path, name: str) -> None:
    (copy / name).write_text("{ not json")
    with pytest.raises(EncoderError, match=name):
        from_settings(with_model(copy, models=copy))


def test_damaged_pickled_weights_are_named_at_load(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"not weights at all" * 50)
    encoder = from_settings(with_model(copy, models=copy))
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin cannot be loaded"):
        encoder.encode(sounds.noise(RATE)[None])


def test_pickled_weights_give_the_same_vectors(copy: Path, clap_folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    file = copy / "model.safetensors"
    torch.save(load_file(file), copy / "pytorch_model.bin")
    file.unlink()
    batch = sounds.noise(RATE)[None]
    from_pickle = from_settings(with_model(copy, models=copy)).encode(batch)
    plain = from_settings(with_model(clap_folder, models=copy)).encode(batch)
    # Not the same bits: arrays that start elsewhere in memory are summed in another order.
    assert from_pickle == pytest.approx(plain, abs=1e-5)


def test_weights_that_lack_a_layer_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = load_file(file)
    del tensors["audio_projection.linear1.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"audio_projection\.linear1\.weight"):
        from_settings(with_model(copy, models=copy)).load()


def test_another_number_of_dimensions_is_refused(tmp_path: Path) -> None:
    folder = save_clap(tmp_path / "small", dims=64)
    with pytest.raises(EncoderError, match="64 dimensions, not 512"):
        from_settings(with_model(folder, models=tmp_path)).load()


def test_another_sample_rate_is_refused(copy: Path) -> None:
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sampling_rate": 44_100}))
    with pytest.raises(EncoderError, match="44100"):
        from_settings(with_model(copy, models=copy)).load()


def test_the_revision_follows_the_content_of_a_folder(copy: Path, clap_folder: Path) -> None:
    def revision(folder: Path) -> str:
        return from_settings(with_model(folder, models=folder)).space.revision

    assert revision(copy) == revision(clap_folder)
    config = copy / "config.json"
    config.write_text(config.read_text() + "\n")
    changed = revision(copy)
    assert changed != revision(clap_folder)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert revision(copy) != changed


def test_a_snapshot_is_named_by_its_commit(clap_folder: Path, tmp_path: Path) -> None:
    as_snapshot(clap_folder, tmp_path, model="someone/clap")
    for revision in (None, "main", COMMIT):
        weights = locate(with_model("someone/clap", models=tmp_path, revision=revision))
        assert weights.revision == f"someone/clap@{COMMIT[:12]}"
    assert weights_status(with_model("someone/clap", models=tmp_path)).available
    with pytest.raises(WeightsMissing):
        locate(with_model("someone/clap", models=tmp_path, revision="other"))


def test_a_pinned_model_takes_its_pin_over_main(clap_folder: Path, tmp_path: Path) -> None:
    model = "laion/larger_clap_music"
    as_snapshot(clap_folder, tmp_path, model=model)
    with pytest.raises(WeightsMissing):
        locate(with_model(model, models=tmp_path))
    pin = PINNED[model]
    root = tmp_path / "models--laion--larger_clap_music" / "snapshots"
    (root / COMMIT).rename(root / pin)
    assert locate(with_model(model, models=tmp_path)).revision == f"{model}@{pin[:12]}"


@pytest.mark.parametrize("model", sorted(PINNED))
def test_pins_are_whole_commits(model: str) -> None:
    assert len(PINNED[model]) == 40
    int(PINNED[model], 16)


def test_fetching_without_a_network_says_so_at_once(tmp_path: Path) -> None:
    settings = with_model("laion/larger_clap_music", models=tmp_path / "models")
    start = time.monotonic()
    with pytest.raises(WeightsMissing, match="could not be fetched") as caught:
        fetch(settings)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def fetch_elsewhere(endpoint: str, *, model: str, models: Path, then: str = "pass") -> list[str]:
    """Lines printed by a fetch in another process: the hub's client reads its endpoint once."""
    code = f"""
from kindred.config import Settings
from kindred.embeddings.clap_weights import fetch
from kindred.errors import WeightsMissing
seen = []
def progress(done, total):
    seen.append((done, total))
    {then}
try:
    status = fetch(
        Settings(_env_file=None, model_dir={str(models)!r}, clap_model={model!r}),
        progress=progress,
    )
    print(status.available, status.size)
    print(seen == sorted(seen), seen[-1], len(seen))
except (WeightsMissing, InterruptedError) as error:
    print(error)
"""
    environment = {"PATH": "/usr/bin:/bin", "HF_ENDPOINT": endpoint, "HOME": str(models)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()


def test_fetching_from_a_dead_host_does_not_try_again_and_again(tmp_path: Path) -> None:
    start = time.monotonic()
    lines = fetch_elsewhere("http://127.0.0.1:9", model="laion/larger_clap_music", models=tmp_path)
    assert time.monotonic() - start < 30
    assert len(lines) == 1
    assert "could not be fetched" in lines[0]


def test_fetched_weights_are_counted_and_found(clap_folder: Path, tmp_path: Path) -> None:
    size = sum(
        (clap_folder / name).stat().st_size
        for name in ("config.json", "preprocessor_config.json", "model.safetensors")
    )
    with fake_hub.serve(clap_folder, model="someone/clap", commit=COMMIT) as endpoint:
        told, counted = fetch_elsewhere(endpoint, model="someone/clap", models=tmp_path)
        assert told == f"True {size}"
        assert counted.startswith(f"True ({size}, {size})")
        # A second time nothing is left to do, and it says so as well.
        assert fetch_elsewhere(endpoint, model="someone/clap", models=tmp_path)[0] == told
        (missing,) = fetch_elsewhere(endpoint, model="someone/else", models=tmp_path)
    assert "no someone/else" in missing
    weights = locate(with_model("someone/clap", models=tmp_path))
    assert weights.revision == f"someone/clap@{COMMIT[:12]}"


def test_a_fetch_can_be_cancelled_from_its_progress(clap_folder: Path, tmp_path: Path) -> None:
    with fake_hub.serve(clap_folder, model="someone/clap", commit=COMMIT) as endpoint:
        lines = fetch_elsewhere(
            endpoint,
            model="someone/clap",
            models=tmp_path,
            then="raise InterruptedError('cancelled')",
        )
        assert lines == ["cancelled"]
        assert fetch_elsewhere(endpoint, model="someone/clap", models=tmp_path)[0].startswith(
            "True"
        )


def test_threads_share_one_model(settings: Settings) -> None:
    from concurrent.futures import ThreadPoolExecutor

    encoder: ClapEncoder = from_settings(settings)
    batch = sounds.noise(RATE)[None]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(encoder.encode, [batch] * 4))
    assert all(np.array_equal(result, results[0]) for result in results)
