"""Words on the Similar page and at the command line, with an encoder whose truth is known.

The encoder hears which of eight bands a tone lies in, and reads "band 3" as that band, so that
words and sounds meet by construction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

from kindred.cli import main
from kindred.config import Settings
from kindred.embeddings import registry
from kindred.embeddings.encoder import Vector
from kindred.errors import EncoderError
from kindred.services import build
from tests.browsing import ROOT
from tests.conftest import SpectrumEncoder, tone


class BandWords:
    """Reads "band 3" as the unit vector of the fourth band, anything else as all of them."""

    space = SpectrumEncoder().space

    def check_files(self) -> None:
        """It has none."""

    def encode_text(self, texts: Sequence[str]) -> Vector:
        rows = np.full((len(texts), 8), 1 / np.sqrt(8), np.float32)
        for row, text in zip(rows, texts, strict=True):
            if text.startswith("band "):
                row[:] = np.eye(8, dtype=np.float32)[int(text[5:])]
        return rows


class Bands(SpectrumEncoder):
    """The band a tone lies in, and little of the others."""

    def encode(self, batch: Vector) -> Vector:
        power = np.abs(np.fft.rfft(batch, axis=1))[:, 1:] ** 2
        parts = np.array_split(power, 8, axis=1)
        return np.stack([part.sum(axis=1) for part in parts], axis=1).astype(np.float32)


def make_encoder(settings: Settings) -> Bands:
    return Bands()


def make_words(settings: Settings) -> BandWords:
    return BandWords()


def always_ready(settings: Settings) -> tuple[bool, str, str]:
    return True, "", ""


@pytest.fixture(autouse=True)
def _bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry._Entry(
        registry.EncoderInfo("spectrum", "Spectrum", "Energy in bands.", "ours", 8, False),
        make="tests.pages.test_words:make_encoder",
        status="tests.pages.test_words:always_ready",
        text="tests.pages.test_words:make_words",
    )
    monkeypatch.setattr(registry, "_ENTRIES", (*registry._ENTRIES, entry))
    for band in range(8):  # the middle of each of eight bands of 500 Hz
        tone(tmp_path / "music" / f"tone {band}.wav", hz=250 + 500 * band)


@pytest.fixture
def embedded(tmp_path: Path) -> None:
    services = build()
    services.read([tmp_path / "music"])
    services.use_encoder("spectrum")
    services.storage.put_tracks(
        replace(track, genre="Low" if track.title[-1] in "0123" else "High")
        for track in services.storage.list_tracks()
    )
    services.close()


def similar() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    return app.switch_page("pages/similar.py").run()


def kindred(*arguments: str) -> dict:  # type: ignore[type-arg]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    document: dict = json.loads(result.stdout)  # type: ignore[type-arg]
    return document


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("words", "first"), [("band 3", "tone 3"), ("band 6, band 2:0.1; not band 1", "tone 6")]
)
def test_words_find_the_sound_they_name(words: str, first: str) -> None:
    answer = kindred("similar", "--text", words, "-k", "3")
    assert answer["hits"][0]["title"] == first
    assert answer["query"]["text"] == words
    assert answer["space"]["model"] == "spectrum"


@pytest.mark.usefixtures("embedded")
def test_words_on_the_page() -> None:
    app = similar()
    app.text_input(key="similar_words").set_value("band 5").run()
    assert not app.exception
    assert not app.error
    assert any("band 5" in item.value for item in app.info)
    assert any("search over 8 tracks" in item.value for item in app.caption)


@pytest.mark.usefixtures("embedded")
def test_words_that_cannot_be_used_are_said_on_the_page() -> None:
    app = similar()
    app.text_input(key="similar_words").set_value("not band 5").run()
    assert not app.exception
    assert app.error


@pytest.mark.usefixtures("embedded")
def test_picking_a_track_puts_the_words_aside() -> None:
    services = build()
    track_id = services.storage.list_tracks()[0].track_id
    services.close()
    app = similar()
    app.text_input(key="similar_words").set_value("band 5").run()
    app.multiselect(key="similar_plus").set_value([track_id]).run()
    assert app.text_input(key="similar_words").value == ""
    assert not any("band 5" in item.value for item in app.info)
    assert any(item.value.startswith("Heard by CLAP") for item in app.caption)


@pytest.mark.usefixtures("embedded")
def test_words_are_measured() -> None:
    report = kindred("evaluate", "text")
    assert report["tracks"] == 8
    assert set(report["measures"]) >= {"hit@1", "hit@5", "hit@10"}


def test_without_an_encoder_for_words_it_is_said(tmp_path: Path) -> None:
    services = build()
    services.read([tmp_path / "music"])
    services.close()
    app = similar()
    [words] = [item for item in app.text_input if item.label == "In words"]
    assert words.disabled
    result = CliRunner().invoke(main, ["similar", "--text", "strings"])
    assert result.exit_code == 1
    assert "kindred models use clap" in result.stderr


@pytest.mark.usefixtures("embedded")
def test_a_text_tower_that_cannot_be_used_is_said_and_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def refuse(self: BandWords, texts: Sequence[str]) -> Vector:
        asked.append(texts)
        raise EncoderError("The text tower tells no texts apart.")

    monkeypatch.setattr(BandWords, "encode_text", refuse)
    services = build()
    track_id = services.storage.list_tracks()[0].track_id
    services.close()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["track"] = track_id
    app.switch_page("pages/similar.py").run()
    app.run()
    assert not app.exception
    assert any("No tags: The text tower" in item.value for item in app.caption)
    assert any("search over 8 tracks" in item.value for item in app.caption)
    app.text_input(key="similar_words").set_value("band 1").run()
    assert "tells no texts apart" in app.error[0].value
    assert len(asked) == 1


@pytest.mark.usefixtures("embedded")
def test_two_encoders_side_by_side() -> None:
    services = build()
    track_id = services.storage.list_tracks()[0].track_id
    services.close()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["track"] = track_id
    app.switch_page("pages/similar.py").run()
    app.session_state["similar_compare"] = "descriptors"
    app.run()
    assert not app.exception
    assert any("tracks are in both lists" in item.value for item in app.caption)
