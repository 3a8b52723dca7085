"""MERT: its weights in a plain HuBERT, what a window and a track become, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kindred.config import Settings
from kindred.embeddings import hub_weights, mert, mert_weights, registry
from kindred.embeddings.encoder import pool
from kindred.embeddings.hub_weights import HubModel
from kindred.embeddings.mert import MertEncoder, parse_layers, standardise
from kindred.embeddings.mert_weights import MODEL, PINNED, hub_model
from kindred.errors import ConfigError, EncoderError, WeightsMissing
from tests.embeddings import sounds
from tests.embeddings.tiny_mert import save_mert

RATE = 24_000
WINDOW = 5 * RATE


def model_in(folder: Path) -> HubModel:
    return HubModel(
        title="MERT",
        repo_id=str(folder),
        revision=None,
        files=("config.json", "preprocessor_config.json"),
        weights=("model.safetensors", "pytorch_model.bin"),
        licence=mert_weights.LICENCE,
        setting="KINDRED_MERT_MODEL",
        command="kindred models pull mert",
    )


def encoder_of(folder: Path, *, layers: str = "1-2") -> MertEncoder:
    return MertEncoder(hub_weights.locate(folder, model_in(folder)), layers=layers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mert(tmp_path_factory.mktemp("mert") / "pickled")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mert(tmp_path_factory.mktemp("mert") / "small", width=32)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> MertEncoder:
    return encoder_of(folder)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


@pytest.fixture
def batch() -> np.ndarray:
    parts = [sounds.sine(RATE), sounds.noise(RATE), sounds.clicks(RATE, bpm=120)]
    return np.stack([part[:WINDOW] for part in (*parts, sounds.notes(RATE, [(60, 64, 67)]))])


def test_layers_are_those_of_a_plain_hubert(folder: Path, batch: np.ndarray) -> None:
    import torch

    from kindred.embeddings.clap import complete_torchvision

    complete_torchvision()
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    config = json.loads((folder / "config.json").read_text())
    for name in ("model_type", "architectures", "auto_map", "tokenizer_class"):
        del config[name]
    plain = HubertModel(HubertConfig(**config)).eval()
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    plain.load_state_dict(state, strict=True)  # torch itself knows the old names
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(str(folder), local_files_only=True)
    values = extractor(list(batch), sampling_rate=RATE, return_tensors="pt").input_values
    with torch.no_grad():
        states = plain(values, output_hidden_states=True).hidden_states
    assert states[0].shape == (4, 374, 768)  # 75 frames a second
    wanted = torch.stack([state.mean(dim=1) for state in states], dim=1).numpy()
    got = encoder_of(folder).encode_layers(batch)
    assert (got.shape, got.dtype) == ((4, 3, 768), np.float32)
    assert got == pytest.approx(wanted, abs=2e-5)
    assert np.abs(got[:, 1] - got[:, 2]).max() > 0.01  # the layers do differ


def test_windows_are_standardised_as_by_the_extractor(batch: np.ndarray) -> None:
    from kindred.embeddings.clap import complete_torchvision

    complete_torchvision()
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True)
    theirs = extractor(list(batch + np.float32(0.2)), sampling_rate=RATE, return_tensors="np")
    ours = standardise(batch + np.float32(0.2))
    assert ours == pytest.approx(theirs["input_values"], abs=1e-4)
    assert not standardise(np.full((1, 100), 0.7, np.float32)).any()
    assert not standardise(np.full((1, 100), np.nan, np.float32)).any()


def test_safetensors_give_the_same_vectors(folder: Path, tmp_path: Path, batch: np.ndarray) -> None:
    other = save_mert(tmp_path / "safe", pickled=False)
    assert not (other / "pytorch_model.bin").exists()
    assert encoder_of(other).encode(batch) == pytest.approx(
        encoder_of(folder).encode(batch), abs=1e-5
    )


def test_rows_are_of_the_space_and_of_unit_length(encoder: MertEncoder, batch: np.ndarray) -> None:
    before = batch.copy()
    batch.flags.writeable = False
    rows = encoder.encode(batch)
    assert np.array_equal(batch, before)
    assert (rows.shape, rows.dtype) == ((4, encoder.space.dims), np.float32)
    assert encoder.space.dims == 1536
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    mean = encoder.encode_layers(batch)[:, 1:3].mean(axis=1)
    assert rows[:, :768] == pytest.approx(
        mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-6
    )


def test_same_bits_twice_and_after_another_load(
    folder: Path, encoder: MertEncoder, batch: np.ndarray
) -> None:
    first = encoder.encode_layers(batch)
    assert np.array_equal(first, encoder.encode_layers(batch))
    assert encoder_of(folder).encode_layers(batch) == pytest.approx(first, abs=1e-5)


def test_a_row_depends_on_its_window_alone(encoder: MertEncoder, batch: np.ndarray) -> None:
    together = encoder.encode_layers(batch)
    for i in range(len(batch)):
        assert encoder.encode_layers(batch[i : i + 1])[0] == pytest.approx(together[i], abs=1e-5)
    assert encoder.encode_layers(batch[::-1])[::-1] == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize("kind", sorted(sounds.odd(400)))
def test_odd_windows_give_finite_vectors(encoder: MertEncoder, kind: str) -> None:
    window = sounds.odd(RATE)[kind]
    assert np.isfinite(encoder.encode(window[None, :WINDOW])).all()
    result = encoder.embed(window)
    assert np.isfinite(result.vector).all()
    assert result.segments.shape == (2, 1536)


def test_loudness_and_offset_do_not_count(encoder: MertEncoder, batch: np.ndarray) -> None:
    changed = batch * np.float32(0.25) + np.float32(0.1)
    assert encoder.encode_layers(changed) == pytest.approx(encoder.encode_layers(batch), abs=1e-3)


def test_a_track_is_the_mean_and_deviation_of_its_windows(
    encoder: MertEncoder, batch: np.ndarray
) -> None:
    rows = encoder.encode(batch)
    vector = encoder.pool(rows)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    values = rows[:, :768].astype(np.float64)
    wanted = np.concatenate([values.mean(axis=0), values.std(axis=0)])
    assert vector == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-6)
    assert vector[768:].any()
    # A track of one window is that window: queries and segments are of one kind.
    assert encoder.pool(rows[:1]) == pytest.approx(rows[0], abs=1e-6)
    assert pool(rows[:1]) == pytest.approx(rows[0], abs=1e-6)


def test_pooling_by_hand() -> None:
    encoder = MertEncoder.__new__(MertEncoder)
    encoder.width = 2
    rows = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    assert encoder.pool(rows) == pytest.approx([0.5, 0.5, 0.5, 0.5])
    for bad in (rows[:0], rows[0], rows * np.nan, rows * 0):
        with pytest.raises(EncoderError):
            encoder.pool(bad)


def test_encoding_gives_layers_for_the_work_of_once(
    encoder: MertEncoder, batch: np.ndarray, tmp_path: Path
) -> None:
    rows, layers = encoder.encode_more(batch)
    assert layers is not None
    assert np.array_equal(rows, encoder.encode(batch))
    sink = encoder.sink(tmp_path)
    sink.add("ab" * 32, layers[:3])
    sink.add("cd" * 32, layers[3:])
    sink.finish("ab" * 32)
    sink.close()
    stored = sink.store.open("ab" * 32, space=encoder.layer_space)
    assert stored.shape == (3, 3, 768)
    assert sink.store.list(space=encoder.layer_space) == ["ab" * 32]
    # Vectors of other layers come from the store, without the audio.
    assert encoder.rows(stored) == pytest.approx(rows[:3], abs=1e-3)


def test_spaces_differ_by_layers_and_weights(small: Path, copy: Path) -> None:
    one, other = encoder_of(small, layers="1"), encoder_of(small, layers="0,2")
    assert one.space.space_id != other.space.space_id
    assert one.layer_space == other.layer_space
    assert one.space.pooling == "mean+std of layers 1"
    assert one.space.space_id == encoder_of(copy, layers="1").space.space_id
    config = copy / "config.json"
    config.write_text(config.read_text() + "\n")
    assert one.space.space_id != encoder_of(copy, layers="1").space.space_id


def test_fewer_windows_are_another_space(small: Path) -> None:
    weights = hub_weights.locate(small, model_in(small))
    whole = MertEncoder(weights, layers="1")
    few = MertEncoder(weights, layers="1", windows=3)
    assert whole.space != few.space
    assert whole.layer_space != few.layer_space
    assert len(few.embed(sounds.noise(RATE, seconds=41)).segments) == 3


def test_a_device_that_is_not_there_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    weights = hub_weights.locate(small, model_in(small))
    assert MertEncoder(weights, layers="1", device="auto").device == "cpu"
    with pytest.raises(EncoderError, match="KINDRED_DEVICE is cuda"):
        MertEncoder(weights, layers="1", device="cuda").load()


@pytest.mark.parametrize(
    ("text", "layers"),
    [("3-9", (3, 4, 5, 6, 7, 8, 9)), ("12", (12,)), (" 6-8, 4,7 ", (4, 6, 7, 8)), ("0-0", (0,))],
)
def test_layers_are_read(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text, count=13) == layers


@pytest.mark.parametrize("text", ["", "13", "3-13", "9-3", "-1", "a", "3;4", "3-", "1,,2", "1.5"])
def test_layers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="KINDRED_MERT_LAYERS must name layers from 0 to 12"):
        parse_layers(text, count=13)


@pytest.mark.parametrize("shape", [(1, 1000), (WINDOW,), (1, WINDOW + 1)])
def test_windows_of_another_length_are_refused(small: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(EncoderError, match="120000 samples"):
        encoder_of(small).encode(np.zeros(shape, np.float32))


def test_no_window_gives_no_vector(small: Path) -> None:
    with pytest.raises(EncoderError, match="no audio"):
        encoder_of(small).embed(np.zeros(0, np.float32))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "pytorch_model.bin"])
def test_a_missing_or_damaged_file_is_named(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(EncoderError, match=rf"{name} is damaged"):
        encoder_of(copy)
    (copy / name).unlink()
    with pytest.raises(WeightsMissing, match=name):
        encoder_of(copy)


def test_weights_that_are_no_weights_are_named_at_load(copy: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"not weights at all" * 50)
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin cannot be loaded"):
        encoder_of(copy).load()


def test_pickled_code_is_not_run(copy: Path, tmp_path: Path) -> None:
    import torch

    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "harmed",)  # type: ignore[return-value]

    torch.save({"weight": Harm()}, copy / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        encoder_of(copy).load()
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("change", ["lacks", "misfits", "has more"])
def test_weights_that_do_not_fit_are_named(copy: Path, change: str) -> None:
    import torch

    file = copy / "pytorch_model.bin"
    state = torch.load(file, weights_only=True)
    name = "encoder.layers.1.attention.q_proj.weight"
    if change == "lacks":
        del state[name]
    elif change == "misfits":
        state[name] = state[name][:4]
    else:
        name = "encoder.layers.2.attention.q_proj.weight"
        state[name] = torch.zeros(1)
    torch.save(state, file)
    with pytest.raises(EncoderError, match=name.replace(".", r"\.")):
        encoder_of(copy).load()


def test_what_only_training_or_the_cqt_needs_is_passed_over(copy: Path) -> None:
    import torch

    file = copy / "pytorch_model.bin"
    state = torch.load(file, weights_only=True)
    del state["masked_spec_embed"]
    state["feature_extractor_cqt.cqt_kernels_real"] = torch.zeros(3)
    torch.save(state, file)
    model = encoder_of(copy).load()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.is_meta for parameter in model.state_dict().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_extractor_cqt": True}, "uses feature_extractor_cqt"),
        ({"deepnorm": True, "attention_relax": 32.0}, "uses deepnorm, attention_relax"),
        ({"model_type": "clap"}, "type 'clap'"),
        ({"hidden_size": "wide"}, "HuBERT does not hold"),
        ({"num_attention_heads": 5}, "cannot be loaded"),
    ],
)
def test_a_model_hubert_cannot_hold_is_refused(
    copy: Path, change: dict[str, object], message: str
) -> None:
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(EncoderError, match=message):
        encoder_of(copy).load()


def test_another_sample_rate_is_refused(copy: Path) -> None:
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sampling_rate": 16_000}))
    with pytest.raises(EncoderError, match="16000"):
        encoder_of(copy)


def test_threads_share_one_model(small: Path, batch: np.ndarray) -> None:
    encoder = encoder_of(small)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(encoder.encode, [batch[:1]] * 4))
    assert all(np.array_equal(result, results[0]) for result in results)


def test_the_published_model_is_pinned_and_its_licence_told(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, model_dir=tmp_path)
    model = hub_model(settings)
    assert (model.repo_id, model.revision) == (MODEL, PINNED[MODEL])
    assert len(model.revision or "") == 40
    assert all(len(value) == 64 for value in model.checksums.values())
    assert "not for commercial use" in model.licence
    ready, notice, command = mert_weights.readiness(settings)
    assert (ready, command) == (False, "kindred models pull mert")
    assert "not under" in notice
    with pytest.raises(WeightsMissing, match="kindred models pull mert"):
        mert.from_settings(settings)
    with pytest.raises(WeightsMissing, match="could not be fetched"):
        mert_weights.fetch(settings)
    with pytest.raises(EncoderError, match="no weights of MERT"):
        registry.remove("mert", settings)


def test_naming_the_encoder_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from kindred.config import Settings; from kindred.embeddings import mert;"
        "from kindred.embeddings import mert_weights as weights;"
        f"weights.readiness(Settings(_env_file=None, model_dir={str(tmp_path)!r}));"
        "print({'torch', 'transformers', 'scipy', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
