"""The Expressive page as the first thing run: no run, a failed one, one that passed, own music.

The run was really made, so small that it fails its gates. Where a page must show one that passed,
its gates file is written anew with good numbers, which says nothing of the model. Bad states: no
run, a stopped run, a job at work or failed, a damaged record, a damaged scorer, gates that cannot
be read, a link to nothing, weights of 0, an empty library, nothing heard, a track that cannot be
read, no sound for the clips, folders that are not there, somebody who is no organiser.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from kindred.errors import GateRefused
from kindred.expressive import bundle
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.services import Services, build
from kindred.services.expressive import Run
from kindred.storage.records import JobRecord
from kindred.ui import roles
from tests.browsing import ROOT
from tests.conftest import tone
from tests.expressive.made_run import write_gates
from tests.pages.running import fine, run_page, words
from tests.pages.test_audit import User

pytestmark = pytest.mark.usefixtures("jobs_at_once")


@pytest.fixture
def services(made_home: Path, home: Path) -> Iterator[Services]:
    """A library without music, and a run."""
    shutil.copytree(made_home, home)
    built = build()
    yield built
    built.close()


@pytest.fixture
def run(services: Services) -> Run:
    return services.expressive.run()


@pytest.fixture
def music(services: Services, home: Path) -> list[str]:
    """Four tracks, of which one is gone from its place; their ids by pitch."""
    for number in range(4):
        tone(home.parent / "music" / f"{number}.wav", hz=200 * 2**number, seconds=14)
    services.ingest().run([home.parent / "music"])
    tracks = sorted(services.storage.list_tracks(), key=lambda track: track.path)
    Path(tracks[3].path).unlink()
    return [track.track_id for track in tracks]


def page(**query: str) -> AppTest:
    return run_page("expressive", **query)


def folder(home: Path, run: Run) -> Path:
    return bundle.runs_folder(home) / run.run_id


def press(app: AppTest, label: str) -> AppTest:
    [button] = [item for item in app.button if item.label == label]
    return button.click().run()


def labels(app: AppTest) -> list[str]:
    return [item.label for item in app.button]


def chosen(app: AppTest) -> Any:
    """The list of runs."""
    [box] = [item for item in app.selectbox if item.label == "Run"]
    return box


def shown(app: AppTest) -> dict[str, list[dict[str, Any]]]:
    """What the cards of each list are told, by the list's name."""
    found = [json.loads(item.proto.json) for item in app.get("bidi_component")]
    return {data["label"]: data["items"] for data in found if data.get("items")}


def passing(home: Path, run: Run) -> None:
    """Write gates that pass, so that what a page does then can be seen."""
    training = (folder(home, run) / bundle.RETRIEVER / "training.json").read_text()
    seed = json.loads(training)["seed"]
    write_gates(folder(home, run), seed=seed)
    bundle.write_manifest(folder(home, run))


# -- no run --------------------------------------------------------------------------------------


def test_without_a_run_the_page_says_what_it_is_for_and_offers_a_small_one() -> None:
    app = fine(page())
    assert "There is no run yet" in words(app)
    assert "Start a small run" in labels(app)
    for aspect in ASPECTS:
        assert aspect.question in words(app)


def test_a_run_is_begun_with_what_was_chosen(
    services: Services, run: Run, monkeypatch: Any
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "kindred.services.expressive.Expressive.go_on",
        lambda self, run_id, **_: asked.append(run_id) is None,
    )
    app = page(view="train")
    app.selectbox[1].set_value("tiny").run()
    app.number_input[0].set_value(3)
    app = press(app, "Train")
    newest = services.expressive.runs()[0]
    assert asked == [newest.run_id] != [run.run_id]
    assert (newest.record.options.size, newest.record.options.seeds) == ("tiny", 3)
    assert newest.record.options.epochs == 12
    assert chosen(app).value == newest.run_id


def test_folders_that_are_not_there_start_nothing(services: Services, run: Run) -> None:
    app = page(view="train")
    app.text_area[0].set_value("/no/such/labels")
    app = press(app, "Train")
    assert "no folder /no/such/labels" in app.error[-1].value
    assert len(services.expressive.runs()) == 1
    assert services.jobs.recent() == []


# -- listening to test clips ---------------------------------------------------------------------


def test_a_run_that_failed_is_said_to_have_failed_on_every_view(run: Run) -> None:
    assert not run.passed
    for view in ("listen", "gates", "train", "aspects"):
        app = page(view=view)
        assert not app.exception
        [error] = app.error
        assert "It is not released" in error.value
        failed = [gate for gate in run.gates["gates"] if gate["name"] in run.failed]
        assert all(gate["title"] in error.value for gate in failed)
        assert "Kindred's layered descriptors (no learned weights)" in error.value


def test_what_is_listened_to_is_what_the_service_finds(services: Services, run: Run) -> None:
    app = page()
    found = shown(app)
    [query] = found.pop("Query")
    assert list(found) == ["Cosine", "Discovery-guided", "Oracle", "Retriever"]
    answers = services.expressive.find(run.run_id, query["track_id"], [1] * 5)
    every = services.expressive.find(run.run_id, query["track_id"], [1] * 5, k=10_000)["cosine"]
    truths = [sum(each.grades.values()) for each in every]
    for name, hits in zip(found, answers.values(), strict=True):
        assert [item["track_id"] for item in found[name]] == [hit.clip.clip_id for hit in hits]
        for item, hit in zip(found[name], hits, strict=True):
            assert item["url"] == f"/clips/{hit.clip.clip_id}"
            assert [bar["share"] for bar in item["bars"]] == list(hit.aspects.values())
            nearer = sum(truth > sum(hit.grades.values()) for truth in truths)
            assert item["verdict"] == ("hit" if nearer < 5 else "miss")
    text = words(app)
    assert text.count("failed its gates") >= 3  # the run, the oracle and the retriever
    assert text.count("baseline") == 2


def test_one_aspect_alone_ranks_anew(services: Services, run: Run) -> None:
    app = press(page(), "Only timbre")
    assert [slider.value for slider in app.slider] == [0, 0, 0, 0, 1]
    found = shown(app)
    [query] = found["Query"]
    for name in ("oracle", "retriever"):
        hits = services.expressive.find(run.run_id, query["track_id"], [0, 0, 0, 0, 1])[name]
        assert [i["track_id"] for i in found[name.capitalize()]] == [h.clip.clip_id for h in hits]
    app.slider[4].set_value(0.0).run()
    assert "Every weight is 0" in words(app)
    app = press(app, "Equal")
    assert [slider.value for slider in app.slider] == [1] * 5
    assert "Every weight is 0" not in words(app)


def test_another_clip_and_another_test(services: Services, run: Run) -> None:
    app = page()
    [before] = shown(app)["Query"]
    [after] = shown(press(app, "Another"))["Query"]
    assert after["track_id"] != before["track_id"]
    [test] = [box for box in app.selectbox if box.label == "Test"]
    app = test.set_value("programs").run()
    [query] = shown(app)["Query"]
    clips = {clip.clip_id for clip in services.expressive.bench(run.run_id, "programs").clips}
    assert query["track_id"] in clips


def test_why_an_answer_is_there_is_said(run: Run) -> None:
    app = page()
    assert "Retriever puts" in words(app)
    assert "In truth" in words(app)
    assert "speak" in words(app)
    [box] = [box for box in app.selectbox if box.label == "Answer"]
    app = box.set_value("cosine/2").run()
    assert "It has one score for all aspects" in words(app)
    assert len(app.get("plotly_chart")) == 2


# -- listening to one's own ----------------------------------------------------------------------


def own(**query: str) -> AppTest:
    app = page(**query)
    return app.segmented_control(key="expressive_source").set_value("My library").run()


def test_an_empty_library_says_what_to_do(run: Run) -> None:
    assert "The library is empty" in words(own())


def test_a_library_is_heard_and_ranked(services: Services, run: Run, music: list[str]) -> None:
    app = own()
    assert "Nothing of the library was listened to yet" in words(app)
    app = press(app, "Listen to the library")
    assert "1 could not be read" in [item.label for item in app.expander]
    found = shown(app)
    [query] = found.pop("Query")
    assert query["track_id"] in music[:3]
    for items in found.values():
        assert {item["track_id"] for item in items} == set(music[:3]) - {query["track_id"]}
        assert all(item["verdict"] == "" for item in items)  # no truth is known
    assert "Listen to the rest" not in labels(app)
    services.storage.put_tracks(
        [replace(services.storage.get_tracks(music[:1])[0], track_id="new", content_hash="0" * 64)]
    )
    assert "1 of 5 tracks were not listened to yet" in words(own())


# -- gates and release ---------------------------------------------------------------------------


def test_gates_are_shown_with_numbers_and_the_release_is_refused(
    services: Services, run: Run
) -> None:
    app = page(view="gates")
    assert not app.exception
    text = words(app)
    for gate in run.gates["gates"]:
        assert {True: "passed", False: "failed", None: "not judged"}[gate["passed"]] in text
    [release] = [button for button in app.button if button.label == "Release"]
    assert release.disabled
    with pytest.raises(GateRefused):
        services.expressive.release(run.run_id)
    [table] = [item.value for item in app.dataframe]
    assert {"Cosine", "Oracle", "Retriever (distilled)"} <= set(table["Scorer"])
    mean = run.ranking["test"]["works"]["oracle"]["clips"]["ndcg"]["tempo"]["mean"]
    [cell] = table.loc[table["Scorer"] == "Oracle", "Tempo"]
    assert cell.startswith(f"{mean:.3f}")


def test_a_run_that_passed_is_released_and_withdrawn(
    services: Services, run: Run, home: Path
) -> None:
    passing(home, run)
    app = fine(page(view="gates"))
    assert "passed, not released" in words(app)
    app = fine(press(app, "Release"))
    assert "The retriever is released" in words(app)
    assert services.expressive.run(run.run_id).released
    assert chosen(app).options[0].endswith(f"released · {run.run_id[-4:]}")
    app = fine(press(app, "Withdraw"))
    assert services.expressive.released() is None
    assert "passed, not released" in words(app)


def test_a_run_whose_files_were_changed_is_not_released(run: Run, home: Path) -> None:
    passing(home, run)
    (folder(home, run) / bundle.RETRIEVER / "model.safetensors").write_bytes(b"other")
    app = press(page(view="gates"), "Release")
    assert "cannot be released" in app.error[-1].value


# -- bad states ----------------------------------------------------------------------------------


def test_gates_that_cannot_be_read_count_as_failed(run: Run, home: Path) -> None:
    (folder(home, run) / bundle.GATES).write_text("{")
    app = page(view="gates")
    assert "Its gates cannot be read" in app.error[0].value
    assert "Release" not in labels(app)


def test_a_run_that_stopped_goes_on(services: Services, run: Run, home: Path) -> None:
    record = folder(home, run).with_name(f"{run.run_id}.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "train"}))
    (folder(home, run) / bundle.THRESHOLDS).unlink()
    app = fine(page())
    assert "stopped while training" in words(app)
    app = press(app, "Go on with it")
    assert services.expressive.run(run.run_id).is_whole
    assert not app.exception


@pytest.mark.parametrize("state", ["failed", "cancelled", "interrupted"])
def test_a_job_that_did_not_end_well_is_said(services: Services, run: Run, state: str) -> None:
    time = "2026-01-01T00:00:00.000+00:00"
    services.storage.put_job(
        JobRecord("j", "expressive", state, {"run_id": run.run_id}, message="It broke",
                  created_at=time, updated_at=time)
    )  # fmt: skip
    app = page(view="aspects")
    assert not app.exception
    assert "Resume" in labels(app)


def test_damaged_runs_are_named_and_damaged_scorers_said(run: Run, home: Path) -> None:
    (bundle.runs_folder(home) / "broken.json").write_text("{")
    (folder(home, run) / bundle.ORACLE / "model.safetensors").write_bytes(b"")
    app = page()
    assert not app.exception
    assert "broken" in app.warning[0].value
    assert "is damaged" in app.error[-1].value


def test_a_run_of_other_features_is_not_mixed_with_those_of_today(
    run: Run, music: list[str], home: Path
) -> None:
    record = folder(home, run).with_name(f"{run.run_id}.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"feature_id": "layers-0"}))
    for app in (page(), own()):
        assert "knows the features layers-0" in app.error[-1].value
        assert not shown(app)


def test_a_link_to_no_run_and_no_view(run: Run) -> None:
    app = page(run="gone*", view="none")
    assert "names a run that is not here" in words(app)
    assert app.segmented_control(key="expressive_view").value == "listen"


def test_clips_without_their_sound_are_said(run: Run, home: Path) -> None:
    shutil.rmtree(home / "expressive" / "audio")
    found = shown(page())
    assert not any(item["playable"] for items in found.values() for item in items)
    assert "can be heard here on a piece" in words(page(view="aspects"))
    shutil.rmtree(home / "expressive" / "features")
    st.cache_resource.clear()
    assert "have no whole features" in page().error[-1].value


def test_who_is_no_organiser_listens_and_changes_nothing(
    services: Services, run: Run, music: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    time = "2026-01-01T00:00:00.000+00:00"
    services.storage.put_job(
        JobRecord("j", "expressive", "failed", {}, created_at=time, updated_at=time)
    )
    monkeypatch.setenv("KINDRED_ORGANISERS", "organiser@example.org")
    monkeypatch.setattr(roles, "has_oidc", lambda: True)
    monkeypatch.setattr(st, "user", User(is_logged_in=True, email="listener@example.org"))
    assert "Query" in shown(page())
    assert "Listen to the library" not in labels(own())
    offered = {label for view in ("gates", "train") for label in labels(page(view=view))}
    assert not offered & {"Release", "Withdraw", "Train", "Delete it", "Resume"}


# -- aspects, deletion, alone --------------------------------------------------------------------


def test_every_aspect_is_heard_at_every_level(run: Run) -> None:
    found = shown(page(view="aspects"))
    assert {"Transpose", "Texture", *map(str.capitalize, KEYS)} <= set(found)
    for aspect in ASPECTS:
        items = found[aspect.key.capitalize()]
        assert len({item["title"] for item in items}) == 5
        assert all(item["url"].startswith("/clips/") for item in items)


def test_a_run_is_deleted(services: Services, run: Run) -> None:
    app = press(page(view="train"), "Delete it")
    assert services.expressive.runs() == []
    assert "There is no run yet" in words(fine(app))
    assert "not here" not in words(app)


def test_a_deep_link_may_draw_the_page_without_app_py(run: Run) -> None:
    app = AppTest.from_file(str(ROOT / "pages" / "expressive.py"), default_timeout=60).run()
    assert not app.exception
    assert "Query" in shown(app)
