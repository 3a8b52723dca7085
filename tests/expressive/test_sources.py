"""Sources of features: what each gives, which is chosen, and what is said of a missing one."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from kindred.config import Settings
from kindred.embeddings import mert
from kindred.errors import EncoderError, ExpressiveError, WeightsMissing
from kindred.expressive import layered
from kindred.expressive.sources import FeatureSource, Layered, MertLayers, choose_source
from tests.embeddings import sounds
from tests.embeddings.tiny_mert import save_mert
from tests.expressive.playing import steady, tones


def settings_of(models: Path, **changes: object) -> Settings:
    changes = {"mert_layers": "1", **changes}
    return Settings(library=models / "library", models=models, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mert(tmp_path_factory.mktemp("mert") / "small", width=32)


@pytest.fixture(scope="module")
def small(weights: Path) -> FeatureSource:
    """MERT with random weights, which say nothing of quality."""
    return choose_source(settings_of(weights.parent, mert_model=str(weights), device="cpu"))


def test_layered_gives_what_describe_gives() -> None:
    source = Layered()
    clips = np.stack([tones(steady(3)), tones(steady(5))])
    features = source.layers(clips)
    assert features.shape == (2, *source.shape) == (2, 18, len(source.layer_names), 48)
    assert np.array_equal(features[1], layered.describe(clips[1]))
    assert source.layers(clips[:0]).shape == (0, *source.shape)
    assert len(source.spans) == source.shape[0]
    assert [end - start for start, end in source.spans] == pytest.approx([3.0] * 18, abs=0.01)


def test_a_changed_revision_is_another_feature_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Layered().feature_id
    monkeypatch.setattr(layered, "REVISION", layered.REVISION + 1)
    assert Layered().feature_id != before


def test_mert_gives_the_layers_of_five_windows(small: FeatureSource) -> None:
    assert isinstance(small, MertLayers)
    clips = np.stack([sounds.noise(24_000, seed=seed, seconds=12) for seed in (1, 2)])
    features = small.layers(clips)
    assert features.shape == (2, *small.shape) == (2, 5, 3, 32)
    assert len(small.layer_names) == 3
    assert small.spans == ((0, 5), (1.75, 6.75), (3.5, 8.5), (5.25, 10.25), (7, 12))
    last = small.encoder.encode_layers(clips[1:, 7 * 24_000 :])
    assert np.array_equal(features[1, 4], last[0])
    # A row is of its clip alone.
    assert np.array_equal(features[1], small.layers(clips[1:])[0])
    assert small.layers(clips[:0]).shape == (0, *small.shape)


def test_other_weights_or_code_are_another_feature_id(
    small: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = save_mert(tmp_path / "other", width=32, layers=1)
    ids = {small.feature_id, Layered().feature_id}
    ids.add(choose_source(settings_of(tmp_path, mert_model=str(other))).feature_id)
    monkeypatch.setattr(mert, "CODE_VERSION", mert.CODE_VERSION + 1)
    ids.add(choose_source(settings_of(tmp_path, mert_model=str(other))).feature_id)
    assert len(ids) == 4


def test_auto_takes_ours_where_mert_is_not(tmp_path: Path) -> None:
    source = choose_source(settings_of(tmp_path))
    assert (source.name, source.title[:7]) == ("layers", "Kindred")
    assert choose_source(settings_of(tmp_path), "layers").feature_id == source.feature_id


def test_missing_weights_name_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="kindred models pull mert"):
        choose_source(settings_of(tmp_path), "mert")


def test_damaged_weights_are_never_passed_over(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    for name in ("preprocessor_config.json", "pytorch_model.bin"):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    with pytest.raises(EncoderError, match=r"config.json is damaged"):
        choose_source(settings_of(tmp_path, mert_model=str(tmp_path)), "auto")


def test_an_unknown_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExpressiveError, match=r"auto, layers, mert; got 'vggish'"):
        choose_source(settings_of(tmp_path), "vggish")


def test_clips_of_another_length_are_refused(small: FeatureSource) -> None:
    for source in (Layered(), small):
        for shape in ((1, 1000), (12 * source.sample_rate,), (1, 12 * source.sample_rate + 1)):
            with pytest.raises(ExpressiveError, match="clips of 12 s"):
                source.layers(np.zeros(shape, np.float32))


def test_ours_can_be_sent_to_another_process() -> None:
    source = pickle.loads(pickle.dumps(Layered()))
    assert source.forks
    assert source.feature_id == Layered().feature_id
