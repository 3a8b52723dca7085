"""The released retriever as an encoder: calm without one, a space like any other with one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kindred.config import Settings, load_settings
from kindred.embeddings import registry
from kindred.errors import EncoderError, WeightsMissing
from kindred.expressive import bundle, encoder
from kindred.expressive.aspects import ASPECTS
from kindred.expressive.learner import TrainingOptions
from kindred.expressive.model_files import CONFIG, MODEL
from kindred.expressive.release import release, withdraw
from kindred.expressive.scorers import RetrieverScorer
from kindred.expressive.sources import Layered
from kindred.search.query import SimilarQuery
from kindred.services import build
from tests.conftest import tone
from tests.expressive.made_run import make_run, write_gates, write_scorer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "r1")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "r1"))


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def changed(run: Path, **model: str | int) -> Path:
    """The run with other models, which its gates judged all the same."""
    write_scorer(run / bundle.ORACLE, kind="oracle", **model)  # type: ignore[arg-type]
    for folder in (run / bundle.RETRIEVER, run / bundle.RETRIEVER / "seeds" / "0"):
        write_scorer(folder, kind="distilled", **model)  # type: ignore[arg-type]
    dims = int(model.get("dims", 16)) * len(ASPECTS)
    ids = json.loads((run / bundle.IDS).read_text())
    vectors = np.full((len(ids), dims), dims**-0.5, np.float32)
    bundle.write_vectors(run, ids, vectors)
    write_gates(run)
    bundle.write_manifest(run)
    return run


def test_the_dimensions_are_said_in_one_way_everywhere() -> None:
    [info] = [info for info in registry.available() if info.name == "expressive"]
    assert info.dims == encoder.DIMS == TrainingOptions().dims * len(ASPECTS)


def test_without_a_release_it_says_so_and_how_to_get_one(settings: Settings) -> None:
    status = registry.encoder_status("expressive", settings)
    assert (status.ready, status.command) == (False, "kindred expressive train")
    assert status.notice.startswith("No expressive retriever has been released on this machine.")
    with pytest.raises(WeightsMissing, match="released on this machine"):
        registry.load_encoder("expressive", settings)


def test_a_release_is_told_with_run_and_day(made: Path, settings: Settings) -> None:
    record = release(made, settings.library)
    status = registry.encoder_status("expressive", settings)
    assert (status.ready, status.command) == (True, "")
    assert status.notice == f"Run r1, whose gates passed on {record.measured_at[:10]}."
    withdraw(settings.library)
    assert not registry.encoder_status("expressive", settings).ready


def test_vectors_are_the_retrievers(made: Path, settings: Settings) -> None:
    release(made, settings.library)
    found = registry.load_encoder("expressive", settings)
    batch = np.random.default_rng(0).normal(0, 0.1, (2, found.space.window_samples))
    vectors = found.encode(batch.astype(np.float32))
    retriever = RetrieverScorer.load(made / bundle.RETRIEVER)
    assert np.array_equal(vectors, retriever.vectors(Layered().layers(batch.astype(np.float32))))
    assert (found.space.window, found.space.hop, found.space.sample_rate) == (12, 12, 22_050)


def test_another_release_is_another_space(made: Path, tmp_path: Path, settings: Settings) -> None:
    release(made, settings.library)
    first = registry.load_encoder("expressive", settings).space
    release(made, settings.library)
    assert registry.load_encoder("expressive", settings).space == first
    release(make_run(tmp_path / "r2", seed=1), settings.library)
    assert registry.load_encoder("expressive", settings).space.space_id != first.space_id


def spoil_weights(folder: Path) -> None:
    path = folder / bundle.RETRIEVER / MODEL
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def drop_weights(folder: Path) -> None:
    (folder / bundle.RETRIEVER / MODEL).unlink()


def soften_config(folder: Path) -> None:
    path = folder / bundle.RETRIEVER / CONFIG
    path.write_text(path.read_text() + " ")


@pytest.mark.parametrize("spoil", [spoil_weights, drop_weights, soften_config])
def test_damaged_files_are_named_at_the_first_window(
    made: Path, settings: Settings, spoil: Callable[[Path], None]
) -> None:
    record = release(made, settings.library)
    spoil(record.folder)
    found = registry.load_encoder("expressive", settings)
    window = np.zeros((1, found.space.window_samples), np.float32)
    with pytest.raises(EncoderError, match="is missing or has other bytes than measured"):
        found.encode(window)


def test_a_damaged_record_is_told_and_stops_no_page(made: Path, settings: Settings) -> None:
    release(made, settings.library)
    (settings.library / "expressive" / "released.json").write_text("{")
    status = registry.encoder_status("expressive", settings)
    assert not status.ready
    assert "is damaged" in status.notice
    with pytest.raises(EncoderError, match="is damaged"):
        registry.load_encoder("expressive", settings)


def test_a_retriever_of_other_features_is_refused(run: Path, settings: Settings) -> None:
    release(changed(run, feature_id="layers-0"), settings.library)
    assert "hears features layers-0" in registry.encoder_status("expressive", settings).notice
    with pytest.raises(EncoderError, match="hears features layers-0, Kindred's layered"):
        registry.load_encoder("expressive", settings)


def test_a_retriever_that_hears_mert_needs_its_weights(run: Path, settings: Settings) -> None:
    release(changed(run, feature_id="mert-0123-1"), settings.library)
    status = registry.encoder_status("expressive", settings)
    assert (status.ready, status.command) == (False, "kindred models pull mert")
    assert "hears MERT" in status.notice
    with pytest.raises(WeightsMissing, match="models pull mert"):
        registry.load_encoder("expressive", settings)


def test_other_dimensions_are_refused(run: Path, settings: Settings) -> None:
    release(changed(run, dims=8), settings.library)
    assert not registry.encoder_status("expressive", settings).ready
    with pytest.raises(EncoderError, match="gives 40 dimensions, not 80"):
        registry.load_encoder("expressive", settings)


def test_the_models_list_is_calm_before_and_tells_after(made: Path) -> None:
    with closing(build()) as services:
        [before] = [model for model in services.models() if model.name == "expressive"]
        assert not before.ready
        assert not before.needs_weights
        assert before.command == "kindred expressive train"
        release(made, services.settings.library)
        [after] = [model for model in services.models() if model.name == "expressive"]
        assert after.ready


def test_asked_for_before_a_release_descriptors_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_ENCODER", "expressive")
    with closing(build()) as services:
        active = services.active_encoder()
    assert (active.name, active.replaces, active.fetch) == ("descriptors", "expressive", "")
    assert active.reason == "in place of Expressive, which is not ready"
    assert active.command == "kindred expressive train"


def test_a_library_is_ingested_and_searched_in_its_space(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files of nearly the same sound are nearest to each other."""
    monkeypatch.setenv("KINDRED_ENCODER", "expressive")
    release(made, load_settings().library)
    folder = tmp_path / "music"
    for name, hz in {"a": 220.0, "b": 221.0, "c": 1_760.0}.items():
        tone(folder / f"{name}.wav", hz=hz, seconds=13)
    with closing(build()) as services:
        summary = services.read([folder])
        assert summary.added == 3
        assert services.active_encoder().name == "expressive"
        assert services.coverage("expressive") == (3, 3)
        assert services.space().model == "expressive"
        assert "expressive" in services.embedded_encoders()
        ids = {track.title: track.track_id for track in services.storage.list_tracks()}
        result = services.similar(SimilarQuery(plus=(ids["a"],), k=2))
        assert [match.track.title for match in result.matches] == ["b", "c"]
