"""The Audit page as the first thing run: design, draft, invitations, results of all three forms.

Bad states: an empty library, no vectors, a design that cannot be, a link to nothing, a job that
fails, nobody invited or answering, everybody left out, tracks removed since, a lost secret, a
damaged store, somebody who is no organiser, pages that are not served.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from kindred.audit.analysis.intervals import Estimate
from kindred.audit.study import FORMS, Study
from kindred.config import Settings
from kindred.services import Services, build
from kindred.ui import roles, server
from kindred.ui.audit.results import _answers, _forest, _labels
from kindred.ui.audit.study import _state
from tests.audit.library import any_one, design, opened, plant, sit
from tests.audit.studies import given
from tests.pages.running import fine, run_page

ONE, TWO = "descriptors", "descriptors, csls"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library without studies, with the clips that most studies here need; to be copied."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        services = build(home=str(folder / "library"), model_dir=str(folder / "models"))
        plant(services.storage, folder / "music", services.space())
        for form in FORMS:
            services.audits.draw(design(ONE, TWO, form=form))
        services.close()
    for name in ("audit.db", "audit.db-wal", "audit.db-shm", "secret"):
        (folder / "library" / "audit" / name).unlink(missing_ok=True)
    return folder / "library"


@pytest.fixture(autouse=True)
def _served(jobs_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_served", True)


@pytest.fixture
def services(planted: Path, home: Path) -> Iterator[Services]:
    shutil.copytree(planted, home)
    built = build()
    yield built
    built.close()


@pytest.fixture
def study(services: Services) -> Study:
    return opened(services.audits, ONE, TWO)


def page(**query: str) -> AppTest:
    return run_page("audit", **query)


def words(app: AppTest) -> str:
    kinds = (app.title, app.markdown, app.caption, app.info, app.warning, app.subheader, app.error)
    return "\n".join(item.value for kind in kinds for item in kind)


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def press(app: AppTest, label: str) -> AppTest:
    [button] = [item for item in app.button if item.label == label]
    return button.click().run()


def fill(app: AppTest, **chosen: Any) -> AppTest:
    """Set widgets by the beginning of their label."""
    for label, value in chosen.items():
        kinds = (app.multiselect, app.selectbox, app.number_input, app.text_input)
        [widget] = [
            item for kind in kinds for item in kind
            if item.label.startswith(label.replace("_", " "))
        ]  # fmt: skip
        widget.set_value(value)
    return app.run()


def invite(app: AppTest, names: str) -> AppTest:
    app.text_area[0].set_value(names)
    return press(app, "Make links")


def section(app: AppTest, study: Study, name: str) -> AppTest:
    key = f"audit_section_{study.study_id}"
    return app.segmented_control(key=key).set_value(name).run()


SMALL_FORM = {
    "Real_trials": 3, "Catch_trials": 1, "Repeats": 0, "Practice": 1, "Listeners_expected": 2,
    "Listeners_an_item": 2, "Clip": 1.0, "Systems": [ONE, TWO],
}  # fmt: skip


# -- nothing to audit ----------------------------------------------------------------------------


def test_an_empty_library_says_what_to_do() -> None:
    app = fine(page())
    assert "The library is empty" in words(app)
    assert "Draw it" not in labels(app)


def test_without_vectors_there_is_nothing_to_compare(services: Services) -> None:
    tracks = services.storage.list_tracks()
    services.storage.delete_tracks([track.track_id for track in tracks])
    services.storage.put_tracks(tracks)
    assert "No encoder has vectors" in words(fine(page()))


# -- design --------------------------------------------------------------------------------------


def test_what_a_design_can_find_is_said_while_it_is_filled_in(services: Services) -> None:
    app = fine(page())
    assert "10 listeners with 20 real trials each give 200 judgements" in words(app)
    app = fine(fill(app, Listeners_expected=24))
    assert "24 listeners with 20 real trials each give 480 judgements" in words(app)
    assert services.audits.store.studies() == []


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"Title": "  "}, "give it a title"),
        ({"Systems": [ONE]}, "name at least 2 different systems"),
        ({"Systems": []}, "name at least 2 different systems"),
        ({"Repeats": 21}, "21 repeats need as many trials"),
        ({"Listeners_an_item": 11}, "11 listeners cannot hear each item"),
    ],
)
def test_a_design_that_cannot_be_is_told_in_words(
    services: Services, chosen: dict[str, Any], said: str
) -> None:
    app = fine(fill(page(), **chosen))
    assert said in words(app)
    assert "Draw it" not in labels(app)


@pytest.mark.parametrize("form", ["graded", "odd"])
def test_one_system_is_enough_for_grades_and_odd_ones(services: Services, form: str) -> None:
    app = page()
    [chosen] = [item for item in app.segmented_control if item.label == "Form"]
    app = fine(chosen.set_value(form).run())
    [systems] = [item for item in app.multiselect if item.label == "Systems"]
    assert systems.value == [ONE]
    assert "Draw it" in labels(app)


def test_levels_are_left_where_dynamics_are_asked_about(services: Services) -> None:
    app = page()
    [box] = [item for item in app.checkbox if "LUFS" in item.label]
    assert box.value
    app = fine(fill(app, What_is_asked_about="dynamics"))
    [box] = [item for item in app.checkbox if "LUFS" in item.label]
    assert not box.value


def test_what_was_drawn_is_shown_at_once(services: Services) -> None:
    app = fine(press(fill(page(), **SMALL_FORM), "Draw it"))
    [made] = services.audits.store.studies()
    assert made.design.systems == (ONE, TWO)
    assert (made.design.trials, made.design.clip_seconds) == (3, 1.0)
    assert app.query_params["study"] == made.study_id
    assert "3 items, 1 catch trials and 1 for practice" in words(app)
    assert "Open it" in labels(app)


def test_what_cannot_be_drawn_is_said_by_the_job(services: Services) -> None:
    app = press(fill(page(), **SMALL_FORM | {"Catch_trials": 50}), "Draw it")
    assert not app.exception
    assert "catch and 1 practice trials can be drawn" in words(app)
    assert services.audits.store.studies() == []


# -- a draft -------------------------------------------------------------------------------------


def test_a_draft_is_looked_over_and_opened(services: Services) -> None:
    found = services.audits.draw(design(ONE, TWO))
    assert found is not None
    app = fine(page())
    assert "1 for practice were drawn." in words(app)
    assert "Listen to the catch trials" in [item.label for item in app.expander]
    assert len(app.get("audio")) == 3  # a reference and two candidates
    [strata, items] = [table.value for table in app.dataframe]
    assert strata["Items"].sum() == 3
    assert len(items) == 3
    assert "Piece" in items["Reference"][0]
    app = fine(press(app, "Open it"))
    assert services.audits.store.study(found[0].study_id).state == "open"
    assert "Make links" in labels(app)


def test_queries_that_gave_nothing_are_counted(services: Services) -> None:
    found = services.audits.draw(design(ONE, TWO))
    assert found is not None
    services.audits.store.put_draft(
        replace(found[0], facts=found[0].facts | {"asked": 7, "skipped": 4})
    )
    assert "4 of 7 queries gave nothing to ask" in words(fine(page()))


def test_a_draft_without_catch_trials_says_so(services: Services) -> None:
    services.audits.draw(design(ONE, TWO, catches=0))
    app = fine(page())
    assert "There are none." in words(app)
    assert len(app.get("audio")) == 0


def test_a_draft_is_dropped(services: Services) -> None:
    found = services.audits.draw(design(ONE, TWO))
    assert found is not None
    app = fine(press(page(study=found[0].study_id), "Drop it"))
    assert services.audits.store.studies() == []
    assert "not here" not in words(app)
    assert "Draw it" in labels(app)


def test_warnings_of_the_drawing_are_shown(services: Services) -> None:
    services.audits.draw(design(ONE, TWO, listeners=40))
    assert any("items could be drawn" in item.value for item in fine(page()).warning)


# -- an open study -------------------------------------------------------------------------------


def test_listeners_are_invited_and_links_shown(services: Services, study: Study) -> None:
    app = fine(page())
    assert study.design_hash[:12] in words(app)
    assert len(app.dataframe) == 0
    app = fine(invite(app, "Ears\n\n  More ears "))
    assert app.text_area[0].value == ""
    made = services.audits.store.invitations()
    assert [item.listener for item in made] == ["Ears", "More ears"]
    [table] = [item.value for item in app.dataframe]
    assert [link.endswith(services.audits.link(item)) for link, item in zip(
        table["Link"], made, strict=True)] == [True, True]  # fmt: skip
    assert table["State"].tolist() == ["not begun", "not begun"]
    assert [item.value for item in app.metric] == ["2", "0", "0", "0"]


def test_links_begin_with_the_public_address(
    services: Services, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.audits.invite(study.study_id, ["Ears"])
    monkeypatch.setenv("KINDRED_PUBLIC_URL", "https://ears.example.org/")
    [table] = [item.value for item in fine(page()).dataframe]
    assert table["Link"][0].startswith("https://ears.example.org/listen/")


@pytest.mark.parametrize("names", ["", " \n\t\n"])
def test_nobody_is_invited_by_no_name(services: Services, study: Study, names: str) -> None:
    fine(invite(page(), names))
    assert services.audits.store.invitations() == []


def test_a_name_that_is_too_long_is_said_and_nobody_is_invited(
    services: Services, study: Study
) -> None:
    app = invite(page(), names := "Ears\n" + "x" * 201)
    assert "at most 200 characters" in app.error[0].value
    assert app.text_area[0].value == names  # to be mended
    assert services.audits.store.invitations() == []


def test_states_of_sittings(services: Services, study: Study) -> None:
    made = services.audits.invite(study.study_id, ["Done", "Begun", "Revoked", "New"])
    sit(services.audits, made[0][1])
    sit(services.audits, made[1][1], until=1)
    services.audits.store.revoke(made[2][0].invitation_id)
    [table] = [item.value for item in fine(page()).dataframe]
    assert table["State"].tolist() == ["finished", "begun", "revoked", "not begun"]
    [*_, (new, _)] = made
    assert _state(new, None, new.created_at) == "not begun"
    assert _state(new, None, new.expires_at) == "expired"


def test_of_two_links_of_one_listener_the_one_chosen_is_revoked(
    services: Services, study: Study
) -> None:
    services.audits.invite(study.study_id, ["Ears", "Ears"])
    app = page()
    [whose] = [item for item in app.selectbox if item.label == "Whose link"]
    fine(press(fine(whose.set_value(whose.options[1]).run()), "Revoke it"))
    assert [bool(item.revoked_at) for item in services.audits.store.invitations()] == [False, True]


def test_of_two_studies_of_one_title_the_one_in_the_address_is_shown(services: Services) -> None:
    made = [services.audits.draw(design(ONE, TWO, seed=seed)) for seed in (0, 1)]
    for found in made:
        assert found is not None
        app = fine(page(study=found[0].study_id))
        assert found[0].design_hash[:12] in words(app)
        assert app.query_params["study"] == found[0].study_id


def test_a_link_is_revoked_and_the_study_closed(services: Services, study: Study) -> None:
    services.audits.invite(study.study_id, ["Ears", "More ears"])
    app = page()
    [whose] = [item for item in app.selectbox if item.label == "Whose link"]
    assert whose.options == ["1. Ears", "2. More ears"]
    assert whose.value is None  # one click too many revokes nobody
    app = fine(press(fine(whose.set_value(whose.options[0]).run()), "Revoke it"))
    assert [bool(item.revoked_at) for item in services.audits.store.invitations()] == [True, False]
    app = fine(press(app, "Close it"))
    assert services.audits.store.study(study.study_id).state == "closed"
    assert "Make links" not in labels(app)
    assert "Close it" not in labels(app)
    assert len(services.storage.list_documents("studies")) == 1
    assert "Nobody has answered yet." in words(fine(page()))  # results come first


def test_a_lost_secret_is_said(services: Services, study: Study, home: Path) -> None:
    services.audits.invite(study.study_id, ["Ears"])
    (home / "audit" / "secret").unlink()
    app = page()
    assert not app.exception
    assert "Put the file back from a backup" in words(app)


def test_not_served_is_said(
    services: Services, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "kindred audit serve" not in "".join(item.value for item in page().warning)
    monkeypatch.setattr(server, "_served", False)
    assert "kindred audit serve" in "".join(item.value for item in fine(page()).warning)


# -- results -------------------------------------------------------------------------------------


def results_page(study: Study) -> AppTest:
    return section(page(study=study.study_id), study, "Results")


def test_nobody_has_answered(services: Services, study: Study) -> None:
    services.audits.invite(study.study_id, ["Ears"])
    app = fine(results_page(study))
    assert "Nobody has answered yet." in words(app)
    assert len(app.dataframe) == 0


@pytest.mark.parametrize(
    ("form", "headline"),
    [
        ("ab", "against"),
        ("graded", "Mean grades, 0 to 2"),
        ("odd", "How often people choose a system's odd one"),
    ],
)
def test_results(services: Services, form: Any, headline: str) -> None:
    study = opened(services.audits, ONE, TWO, form=form)
    for _, link in services.audits.invite(study.study_id, ["Ears", "More ears"]):
        sit(services.audits, link, any_one)
    app = fine(results_page(study))
    assert headline in app.subheader[0].value
    assert "6 answers count, of 2 of 2 listeners" in words(app)
    assert "too few to speak of listeners in general" in words(app)
    [people] = [table.value for table in app.dataframe if "Catches right" in table.value]
    assert people["Catches right"].tolist() == ["1 of 1"] * 2
    assert people["Counts"].tolist() == ["yes", "yes"]
    [heard] = [table.value for table in app.dataframe if "Heard by enough" in table.value]
    assert heard["Heard by enough"].sum() == 3
    assert [button.label for button in app.get("download_button")] == ["Results (JSON)"]
    assert labels(app).count("Make the files") == 2
    [which] = [item for item in app.segmented_control if item.label == "Which"]
    fine(which.set_value("split").run())


def test_an_interval_that_ends_at_zero_is_drawn_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(st, "plotly_chart", drawn.append)
    found = {"x": Estimate(0.4, 0.0, 1.0), "y": Estimate(0.5), "z": Estimate(None)}
    _forest(found, "share", 0.5)
    [points] = drawn[0].data
    assert points.y == ("x", "y")
    assert points.error_x.arrayminus == (0.4, 0)
    assert points.error_x.array == (0.6, 0)


def test_answers_that_came_in_since_count(services: Services, study: Study) -> None:
    made = services.audits.invite(study.study_id, ["Ears", "More ears"])
    sit(services.audits, made[0][1])
    app = fine(results_page(study))
    assert "3 answers count, of 1 of 1 listeners" in words(app)
    sit(services.audits, made[1][1])
    assert "6 answers count, of 2 of 2 listeners" in words(fine(app.run()))


def test_everybody_left_out(services: Services, study: Study) -> None:
    [(_, link)] = services.audits.invite(study.study_id, ["Ears"])
    sit(services.audits, link, until=0)
    token = link.rpartition("/")[2]
    view = services.audits.sittings.view(token)
    while view["stage"] != "done":
        view = services.audits.sittings.answer(token, given(view, {"point": 0}))
    app = fine(results_page(study))
    assert app.subheader[0].value == "Nothing can be said yet."
    assert "Every listener fails a rule" in words(app)
    [people] = [table.value for table in app.dataframe if "Why not" in table.value]
    assert people["Counts"].tolist() == ["no"]
    assert people["Why not"][0]


def test_files_are_made(services: Services, study: Study) -> None:
    for _, link in services.audits.invite(study.study_id, ["Ears", "More ears"]):
        sit(services.audits, link)
    app = fine(results_page(study))
    for button in [item for item in app.button if item.label == "Make the files"]:
        fine(button.click().run())
    tables = zipfile.ZipFile(io.BytesIO(_answers(services, study))).namelist()
    assert "codebook.md" in tables
    made = zipfile.ZipFile(io.BytesIO(_labels(services, study))).namelist()
    assert "labels_and_splits/labels.json" in made


def test_tracks_removed_since(services: Services, study: Study) -> None:
    for _, link in services.audits.invite(study.study_id, ["Ears", "More ears"]):
        sit(services.audits, link)
    services.storage.delete_tracks([track.track_id for track in services.storage.list_tracks()])
    app = fine(results_page(study))
    assert "6 answers count" in words(app)
    [button] = [item for item in app.button if item.key == "audit_make_Labels and splits"]
    app = button.click().run()
    assert not app.exception
    assert "gives no labels" in app.error[0].value


# -- who, and where ------------------------------------------------------------------------------


def test_an_address_of_nothing(services: Services, study: Study) -> None:
    app = fine(page(study="nothing"))
    assert "not here" in words(app)
    assert study.design_hash[:12] in words(app)


def test_a_new_study_by_address(services: Services, study: Study) -> None:
    assert "Draw it" in labels(fine(page(study="new")))


def test_another_study_is_chosen(services: Services, study: Study) -> None:
    other = opened(services.audits, ONE, TWO, form="odd", title="Other")
    app = fine(page(study=study.study_id))
    [chooser] = [item for item in app.selectbox if item.label == "Study"]
    assert len(chooser.options) == 3
    app = fine(chooser.select(other.study_id).run())
    assert app.query_params["study"] == other.study_id
    assert other.design_hash[:12] in words(app)
    assert study.design_hash[:12] not in words(app)


def test_a_store_that_cannot_be_read_is_said(services: Services, study: Study, home: Path) -> None:
    for name in ("audit.db-wal", "audit.db-shm"):
        (home / "audit" / name).unlink(missing_ok=True)
    (home / "audit" / "audit.db").write_bytes(b"this is no database" * 100)
    app = page()
    assert not app.exception
    assert "audit.db" in app.error[0].value


@pytest.mark.parametrize("email", ["listener@example.org", ""])
def test_who_is_no_organiser_sees_no_study(
    services: Services, study: Study, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    for _, link in services.audits.invite(study.study_id, ["Ears", "More ears"]):
        sit(services.audits, link)
    monkeypatch.setenv("KINDRED_ORGANISERS", "organiser@example.org")
    monkeypatch.setattr(roles, "has_oidc", lambda: True)
    monkeypatch.setattr(st, "user", User(is_logged_in=True, email=email))
    app = fine(page(study=study.study_id))
    assert "Audits are designed and read by organisers." in words(app)
    assert study.design_hash[:12] not in words(app)
    assert len(app.dataframe) + len(app.selectbox) + len(app.metric) == 0
    monkeypatch.setattr(st, "user", User(is_logged_in=True, email="Organiser@example.org"))
    assert study.design_hash[:12] in words(fine(page(study=study.study_id)))


def test_who_has_not_signed_in_sees_nothing(
    services: Services, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "has_oidc", lambda: True)
    monkeypatch.setattr(st, "user", User(is_logged_in=False))
    app = fine(page(study=study.study_id))
    assert labels(app) == ["Sign in"]
    assert study.design_hash[:12] not in words(app)


class User(dict[str, Any]):
    """As st.user is: claims by name and as attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]
