"""Changing encoders: the old space serves until the new one is whole; weights come and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kindred.config import Settings
from kindred.embeddings import registry
from kindred.errors import EncoderError
from kindred.search.query import SimilarQuery
from kindred.services import Services, build
from tests.conftest import SpectrumEncoder, tone


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """A library of tones, and a second encoder beside ``descriptors``."""
    entry = registry._Entry(
        registry.EncoderInfo("spectrum", "Spectrum", "Energy in bands.", "ours", 8, False),
        make="tests.test_services:make_spectrum",
        status="tests.test_services:always_ready",
    )
    monkeypatch.setattr(registry, "_ENTRIES", (*registry._ENTRIES, entry))
    for number in range(6):
        tone(tmp_path / "music" / f"{number}.wav", hz=200 * (number + 1))
    built = build()
    built.read([tmp_path / "music"])
    yield built
    built.close()


def make_spectrum(settings: Settings) -> SpectrumEncoder:
    return SpectrumEncoder()


def always_ready(settings: Settings) -> tuple[bool, str, str]:
    return True, "", ""


def test_changing_the_encoder(services: Services) -> None:
    assert services.active_encoder().name == "descriptors"
    summary = services.use_encoder("spectrum")
    assert summary.updated == 6
    active = services.active_encoder()
    assert (active.name, active.reason) == ("spectrum", "chosen for this library")
    [one, *_] = services.storage.list_tracks()
    assert services.similar(SimilarQuery(plus=(one.track_id,))).space.model == "spectrum"
    assert services.embedded_encoders() == ["descriptors", "spectrum"]


def test_stopped_half_way_the_old_encoder_goes_on(services: Services) -> None:
    summary = services.use_encoder("spectrum", cancelled=lambda: True)
    assert summary.cancelled
    assert services.active_encoder().name == "descriptors"
    assert services.coverage("spectrum") == (1, 6)
    services.use_encoder("spectrum")
    assert services.coverage("spectrum") == (6, 6)


def test_new_music_gets_descriptors_too(services: Services, tmp_path: Path) -> None:
    services.use_encoder("spectrum")
    tone(tmp_path / "music" / "new.wav", hz=3_000)
    services.read()
    assert services.coverage("spectrum") == services.coverage("descriptors") == (7, 7)
    new = next(t for t in services.storage.list_tracks() if t.title == "new")
    match = services.similar(SimilarQuery(plus=(new.track_id,))).matches[0]
    assert sum(match.reasons.values()) == pytest.approx(1)


def test_the_environment_decides_over_the_library(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.use_encoder("spectrum")
    monkeypatch.setenv("KINDRED_ENCODER", "descriptors")
    again = build()
    assert again.active_encoder().reason == "chosen by KINDRED_ENCODER"
    again.close()


def test_every_model_as_it_stands(services: Services) -> None:
    states = {state.name: state for state in services.models()}
    assert states["descriptors"].active
    assert (states["descriptors"].covered, states["descriptors"].total) == (6, 6)
    assert not states["clap"].ready
    assert "kindred models pull clap" in states["clap"].command


def test_weights_that_are_not_ours_are_not_removed(services: Services) -> None:
    for name in ("descriptors", "clap"):
        with pytest.raises(EncoderError, match="no weights"):
            services.remove_weights(name)


def test_weights_that_were_fetched_are_removed(services: Services) -> None:
    folder = services.settings.models / "models--laion--larger_clap_music"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(bytes(1_000))
    other = services.settings.models / "models--someone--else"
    other.mkdir()
    assert registry.remove("clap", services.settings) == 1_000
    assert not folder.exists()
    assert other.exists()
