"""Every page as the first thing run: empty library, music, bad links, a broken library."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from kindred.services import build
from tests.browsing import ROOT
from tests.conftest import tone
from tests.pages.running import run_page

PAGES = ("home", "similar", "library", "map", "evaluate", "audit", "models")


@pytest.fixture
def music(tmp_path: Path) -> list[str]:
    for number in range(5):
        tone(tmp_path / "music" / f"Tone {number}.wav", hz=200 * (number + 1), seconds=3)
    (tmp_path / "music" / "broken.mp3").write_bytes(b"")
    services = build()
    services.ingest().run([tmp_path / "music"])
    ids = [track.track_id for track in services.storage.list_tracks()]
    services.close()
    return ids


def run(page: str, **query: str | list[str]) -> AppTest:
    """Run a page through app.py, as the first page of a session."""
    return run_page(page, **query)


def alone(page: str) -> AppTest:
    """Run a page without app.py, as a deep link may."""
    return AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=60).run()


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_library_says_what_to_do(page: str) -> None:
    app = run(page)
    assert not app.exception
    assert any("empty" in item.value for item in app.info)


@pytest.mark.parametrize("page", ["home", "library"])
def test_an_empty_library_offers_the_demo(page: str) -> None:
    assert "Build the demo library" in [button.label for button in run(page).button]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("music")
def test_pages_draw_with_and_without_app_py(page: str) -> None:
    for app in (run(page), alone(page)):
        assert not app.exception
        assert not app.error
        assert app.title[0].value


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("music")
def test_the_model_in_use_and_why_is_on_every_page(page: str) -> None:
    texts = [item.value for item in run(page).markdown]
    assert any("Descriptors" in text and "needs no download" in text for text in texts)
    assert any("CLAP" in item.value for item in run(page).info)
    assert any("kindred models pull clap" in item.value for item in run(page).code)


@pytest.mark.usefixtures("music")
def test_an_expressive_retriever_that_is_not_released_is_told_calmly() -> None:
    app = run("models")
    assert not app.exception
    assert any("No expressive retriever has been released" in item.value for item in app.info)
    assert any(item.value == "kindred expressive train" for item in app.code)
    assert not [button for button in app.button if "Expressive" in button.label]


@pytest.mark.usefixtures("music")
def test_without_an_expressive_retriever_descriptors_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KINDRED_ENCODER", "expressive")
    app = run("similar")
    assert not app.exception
    assert any("Expressive, which is not ready" in item.value for item in app.warning)
    assert not [button for button in app.button if "EXPRESSIVE" in button.label]


@pytest.mark.parametrize("page", PAGES)
def test_missing_weights_are_said_on_every_page(
    page: str, music: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINDRED_ENCODER", "clap")
    app = run(page)
    assert not app.exception
    assert any("weights are missing" in item.value for item in app.warning)


@pytest.mark.parametrize("page", PAGES)
def test_a_library_that_cannot_open_is_an_error_in_words(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("I am in the way")
    monkeypatch.setenv("KINDRED_HOME", str(tmp_path / "file"))
    app = run(page)
    assert not app.exception
    assert "KINDRED_HOME" in app.error[0].value


def test_a_deep_link_asks_and_answers(music: list[str]) -> None:
    app = run("similar", track=music[0])
    assert app.multiselect(key="similar_plus").value == [music[0]]
    assert any("exact search over 5 tracks" in item.value for item in app.caption)
    assert app.query_params["track"] == music[0]


def test_a_deep_link_adds_and_subtracts(music: list[str]) -> None:
    app = run("similar", track=[music[0], music[1]], less=music[2])
    assert app.multiselect(key="similar_plus").value == music[:2]
    assert app.multiselect(key="similar_minus").value == [music[2]]
    app.multiselect(key="similar_minus").set_value([]).run()
    assert "less" not in app.query_params
    assert app.query_params["track"] == music[:2]


def test_a_link_to_a_vanished_track_is_said(music: list[str]) -> None:
    app = run("similar", track="gone", less="<script>")
    assert not app.exception
    assert "gone" in app.warning[0].value


def test_choosing_another_track_changes_the_address(music: list[str]) -> None:
    app = run("similar")
    app.multiselect(key="similar_plus").set_value([music[3]]).run()
    assert app.query_params["track"] == music[3]
    assert any("exact search" in item.value for item in app.caption)


def test_filters_that_leave_nothing_are_said(music: list[str]) -> None:
    app = run("similar", track=music[0])
    app.slider(key="similar_k").set_value(1).run()
    assert not app.exception
    [minutes] = [item for item in app.slider if item.label == "Variety"]
    minutes.set_value(1.0).run()
    assert not app.exception


def test_the_library_counts_and_lists_what_failed(music: list[str]) -> None:
    app = run("library")
    counts = {metric.label: metric.value for metric in app.metric}
    assert counts["Tracks"] == "5"
    assert counts["Not usable"] == "1"
    app.segmented_control[0].set_value("Not usable").run()
    assert "broken.mp3" in app.dataframe[0].value["File"][0]
    assert "empty" in app.dataframe[0].value["Why"][0]


def test_searching_the_table(music: list[str]) -> None:
    app = run("library")
    app.text_input(key="library_search").set_value("tone 3").run()
    assert list(app.dataframe[0].value["title"]) == ["Tone 3"]
    app.text_input(key="library_search").set_value("(no such thing").run()
    assert any("No track matches" in item.value for item in app.info)


def test_a_folder_that_does_not_exist_is_said(music: list[str], tmp_path: Path) -> None:
    app = run("library")
    app.segmented_control[0].set_value("Add music").run()
    [folder] = [item for item in app.text_input if item.label == "Folder"]
    folder.set_value(str(tmp_path / "nowhere"))
    [read] = [item for item in app.button if item.label == "Read it"]
    read.click().run()
    assert any("no file or folder" in item.value for item in app.error)


def test_tracks_without_files_can_be_removed(music: list[str], tmp_path: Path) -> None:
    (tmp_path / "music" / "Tone 0.wav").unlink()
    services = build()
    services.ingest().run()
    services.close()
    app = run("library")
    assert any("1 tracks have no file" in item.value for item in app.warning)
    [remove] = [item for item in app.button if item.label.startswith("Remove them")]
    remove.click().run()
    assert {metric.label: metric.value for metric in app.metric}["Tracks"] == "4"
