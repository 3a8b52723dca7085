"""The Evaluate page as the first thing run: nothing to evaluate, a run, a drill, a comparison.

Bad states: an empty library, no labels, all lone, half labelled, one track, a link to nothing, a
job that fails, is stopped or is interrupted, a run done elsewhere, tracks removed since, names that
look like markup.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from kindred.services import Services, build
from kindred.services.evaluations import Options, Run
from kindred.storage.records import Document, JobRecord
from tests.browsing import ROOT
from tests.conftest import tone
from tests.pages.running import fine, run_page, words

ONE = Options(("descriptors",))
TWO = Options(("descriptors",), scorings=("cosine", "csls"))
HOSTILE = "*Bad* [x](y) <b>"
pytestmark = pytest.mark.usefixtures("jobs_at_once")


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of 16 tones without composers, to be copied."""
    folder = tmp_path_factory.mktemp("tones")
    for number in range(16):
        tone(folder / "music" / f"{number:02d}.wav", hz=150 * 1.25**number, seconds=1.5)
    services = build(home=str(folder / "library"))
    services.ingest().run([folder / "music"])
    services.close()
    return folder / "library"


@pytest.fixture
def services(tones: Path, home: Path) -> Iterator[Services]:
    shutil.copytree(tones, home)
    built = build()
    yield built
    built.close()


def name(services: Services, composers: Sequence[str], **tags: Any) -> list[str]:
    """Give the tracks composers, in the order of their pitch; returns the ids."""
    tracks = sorted(services.storage.list_tracks(), key=lambda track: track.path)
    services.storage.put_tracks(
        replace(
            track,
            composer=composer,
            work=f"Work {number // 2}",
            album=f"Album {number % 3}",
            **{key: values[number] for key, values in tags.items()},
        )
        for number, (track, composer) in enumerate(zip(tracks, composers, strict=True))
    )
    return [track.track_id for track in tracks]


@pytest.fixture
def named(services: Services) -> Services:
    name(services, ["Ada"] * 7 + [HOSTILE] * 6 + ["Cyd"] * 2 + ["Dag"])
    return services


def done(services: Services, options: Options = ONE) -> Run:
    run = services.evaluations.run(options)
    assert run is not None
    return run


def page(**query: str) -> AppTest:
    return run_page("evaluate", **query)


def tables(app: AppTest) -> list[Any]:
    return [item.value for item in app.dataframe]


def go(app: AppTest, section: str) -> AppTest:
    return fine(app.segmented_control(key="evaluate_section").set_value(section).run())


def evaluate(app: AppTest, **chosen: Any) -> AppTest:
    """Fill in the form and send it."""
    for label, value in chosen.items():
        kinds = (app.multiselect, app.selectbox, app.number_input)
        [widget] = [item for kind in kinds for item in kind if item.label.startswith(label)]
        widget.set_value(value)
    [button] = [item for item in app.button if item.label == "Evaluate"]
    return button.click().run()


# -- nothing to evaluate -------------------------------------------------------------------------


def test_an_empty_library_says_what_to_do() -> None:
    app = fine(page())
    assert "The library is empty" in words(app)
    assert "Evaluate" not in [button.label for button in app.button]


def test_tracks_without_labels_are_said(services: Services) -> None:
    assert "No two tracks share a composer" in words(fine(page()))


def test_lone_composers_can_be_evaluated_by_another_tag(services: Services) -> None:
    name(services, [f"Composer {number}" for number in range(16)])
    app = fine(page())
    [label] = [item for item in app.selectbox if item.label == "Find again"]
    assert [option.split(" ")[0] for option in label.options] == ["album", "work"]


def test_one_track(services: Services) -> None:
    ids = name(services, ["Ada"] * 16)
    services.storage.delete_tracks(ids[1:])
    assert "No two tracks share" in words(fine(page()))


def test_tracks_without_vectors_are_said(services: Services) -> None:
    ids = name(services, ["Ada"] * 16)
    tracks = services.storage.get_tracks(ids)
    services.storage.delete_tracks(ids)
    services.storage.put_tracks(tracks)
    assert "No track has vectors" in words(fine(page()))


# -- a run ---------------------------------------------------------------------------------------


def test_a_run_from_the_form_is_shown_at_once(named: Services) -> None:
    app = fine(evaluate(page(), Answers=3, Seed=7))
    [run] = named.evaluations.runs()
    assert run.body["options"] == {**plain(ONE), "k": 3, "seed": 7}
    assert run.body["reports"][0]["k"] == 3
    assert "Same composer, first 3 answers" in words(app)
    assert app.query_params["run"] == run.run_id
    again = fine(evaluate(app, Ranked=["cosine", "csls"]))
    newest = named.evaluations.runs()[0]
    assert len(newest.body["reports"]) == 2
    assert again.selectbox(key="evaluate_run").value == newest.run_id


def plain(options: Options) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(options).items()
    }


def test_the_headline_has_the_reports_numbers(named: Services) -> None:
    run = done(named)
    app = fine(page())
    [report] = run.body["reports"]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown == {
        title: f"{report[measure]['macro']:.2f}"
        for title, measure in (
            ("Precision@5", "precision@5"), ("Hit rate@5", "hit_rate@5"), ("nDCG@5", "ndcg@5"),
        )
    }  # fmt: skip
    said = words(app).replace("\\", "")
    assert (
        f"Of 5 answers, {5 * report['precision@5']['macro']:.2f} are by the same composer" in said
    )
    assert "With tracks of the same work, album and recording left out" in said
    for warning in report["warnings"]:
        assert warning in said
    facts = "\n".join(item.value for item in app.code)
    for fact in (run.body["library"]["sha256"], run.run_id, "numpy 1.26.4", '"k": 5'):
        assert fact in facts
    measures = next(table for table in tables(app) if "Best possible" in table)
    assert len(measures) == 35
    assert "has changed since" not in said


def test_a_label_that_half_the_tracks_have_is_warned_of(services: Services) -> None:
    name(services, ["Ada", "", "Ben", ""] * 4)
    done(services)
    said = words(fine(page())).replace("\\", "")
    assert "8 of 16 tracks have no composer" in said


def test_a_variant_that_asks_nobody_is_left_out(services: Services) -> None:
    name(services, ["Ada"] * 2 + [""] * 14)  # two tracks of one work
    done(services)
    app = fine(page())
    [variant] = [item for item in app.selectbox if item.label == "Variant"]
    assert variant.options == ["Plain", "Without the same album", "Without near-duplicates"]
    assert "Nothing relevant" not in app.subheader[0].value
    for section in ("confusion", "hubs", "compare"):
        go(app, section)


def test_from_a_label_to_its_queries_to_their_answers(named: Services) -> None:
    run = done(named)
    app = fine(page())
    classes, queries = tables(app)[1:]
    assert classes["label"].tolist() == ["Ada", HOSTILE, "Cyd", "Dag"]
    assert classes["queries"].tolist() == [7, 6, 2, 0]
    assert len(queries) == 7
    assert "Queries: Ada" in words(app)
    [report] = named.evaluations.reports(run.run_id)
    plain_values = report.variants["plain"].values[:, 2]
    own = sorted(plain_values[report.class_of == report.classes.index("Ada")])
    assert queries["ndcg"].tolist() == own
    assert "0 of 5 answers are right" in words(app) or own[0] > 0
    assert len(app.get("bidi_component")) == 2  # the query and its answers


def test_a_deep_link_may_draw_the_page_without_app_py(named: Services) -> None:
    done(named)
    app = AppTest.from_file(str(ROOT / "pages" / "evaluate.py"), default_timeout=60).run()
    assert "Same composer, first 5 answers" in words(fine(app))


def test_another_variant_and_every_section_of_a_run(named: Services) -> None:
    done(named, TWO)
    app = fine(page())
    for variant in ("controlled", "not_same_work", "not_near_duplicates"):
        [box] = [item for item in app.selectbox if item.label == "Variant"]
        app = fine(box.set_value(variant).run())
        assert tables(app)[1]["queries"].sum() > 0
    [system] = [item for item in app.selectbox if item.label == "Evaluated"]
    assert system.options == ["descriptors", "descriptors, csls"]
    app = fine(system.set_value(1).run())
    app = go(app, "confusion")
    assert "Most often taken for another" in words(app)
    app = go(app, "hubs")
    assert "Every track is in 5 answers on average" in words(app)
    assert tables(app)[-1]["System"].tolist() == ["descriptors", "descriptors, csls"]


def test_names_that_look_like_markup_are_text(named: Services) -> None:
    done(named)
    app = go(page(), "confusion")
    lines = [item.value for item in app.markdown if "→" in item.value]
    assert HOSTILE in lines[0].replace("\\", "")
    assert "*Bad*" not in lines[0]


# -- comparison ----------------------------------------------------------------------------------


def test_several_systems_of_a_run_are_compared(named: Services) -> None:
    run = done(named, TWO)
    app = go(page(), "compare")
    differences, by_class, queries = tables(app)[1:]
    kept = [
        item for item in run.body["comparisons"]["plain"]["differences"]
        if item["measure"] == "ndcg@5"
    ]  # fmt: skip
    assert differences["Difference"].tolist() == [kept[0]["macro"]]
    assert differences["p after Holm"].tolist() == [kept[0]["p_holm"]]
    assert list(by_class) == ["label", "queries", "descriptors", "descriptors, csls"]
    assert len(queries) == len(run.body["comparisons"]["plain"]["disagreements"][0]["queries"])
    [measure] = [item for item in app.selectbox if item.label == "Measure"]
    app = fine(measure.set_value("mrr").run())
    first, second = (report["mrr"]["macro"] for report in run.body["reports"])
    assert tables(app)[1]["Difference"][0] == pytest.approx(first - second, abs=1e-8)


def test_several_runs_are_compared(named: Services) -> None:
    csls = done(named, Options(("descriptors",), scorings=("csls",)))
    other_label = done(named, replace(ONE, label="album"))
    cosine = done(named)
    app = go(page(run=cosine.run_id), "compare")
    assert "One system was evaluated" in words(app)
    others = app.multiselect(key=f"evaluate_others_{cosine.run_id}")
    assert others.options == [csls.title]
    assert other_label.title not in others.options
    app = fine(others.set_value([csls.run_id]).run())
    assert tables(app)[1]["First"].tolist() == ["descriptors"]
    assert tables(app)[1]["Second"].tolist() == ["descriptors, csls"]


def test_runs_that_were_asked_differently_are_refused_in_words(named: Services) -> None:
    before = done(named)
    named.storage.delete_tracks([named.storage.list_tracks()[0].track_id])
    after = done(named)
    app = go(page(run=after.run_id), "compare")
    app = app.multiselect(key=f"evaluate_others_{after.run_id}").set_value([before.run_id]).run()
    assert not app.exception
    assert "not asked the same" in app.error[0].value


# -- kept runs -----------------------------------------------------------------------------------


def test_a_link_names_a_run_and_a_vanished_one_is_said(named: Services) -> None:
    first, second = done(named), done(named, replace(ONE, k=2))
    app = fine(page(run=first.run_id))
    assert app.selectbox(key="evaluate_run").value == first.run_id
    app = fine(page(run="<script>"))
    assert "names an evaluation that is not here" in words(app)
    assert app.query_params["run"] == second.run_id


def test_two_runs_of_the_same_second_can_be_told_apart(named: Services) -> None:
    body = done(named).body
    twin = "20260101-000000-000-0000"
    named.storage.put_document(Document("runs", twin, body | {"run_id": twin}))
    shutil.copytree(named.evaluations.folder / body["run_id"], named.evaluations.folder / twin)
    app = fine(page(run=twin))
    options = app.selectbox(key="evaluate_run").options
    assert len(set(options)) == 2
    assert go(app, "hubs").selectbox(key="evaluate_run").value == twin
    assert app.query_params["run"] == twin


def press(app: AppTest, label: str) -> AppTest:
    [button] = [item for item in app.button if item.label == label]
    return fine(button.click().run())


def test_starring_and_deleting(named: Services) -> None:
    first, second = done(named), done(named, replace(ONE, k=2))
    app = fine(page(run=first.run_id))
    app = press(app, "Star")
    assert [run.run_id for run in named.evaluations.runs()] == [first.run_id, second.run_id]
    assert app.selectbox(key="evaluate_run").options[0].startswith("★ descriptors · composer · k 5")
    app = press(app, "Unstar")
    app = press(app, "Delete it")
    assert [run.run_id for run in named.evaluations.runs()] == [second.run_id]
    assert app.selectbox(key="evaluate_run").value == second.run_id
    app = press(app, "Delete it")
    assert not app.subheader
    assert fine(page()).expander[0].label == "New evaluation"


def test_a_run_done_elsewhere_shows_its_numbers(named: Services) -> None:
    done(named, TWO)
    shutil.rmtree(named.evaluations.folder)
    app = fine(page())
    assert "not on this machine" in words(app)
    assert "Same composer, first 5 answers" in words(app)
    classes = tables(app)[1]
    assert classes["queries"].tolist() == [7, 6, 2, 0]
    [variant] = [item for item in app.selectbox if item.label == "Variant"]
    assert variant.options == ["Plain", "Leakage-controlled"]
    fine(variant.set_value("controlled").run())
    for section in ("confusion", "hubs", "compare"):
        app = go(app, section)
    assert len(tables(app)) == 4


def test_tracks_removed_since_are_said(named: Services) -> None:
    done(named)
    ids = [track.track_id for track in named.storage.list_tracks()]
    named.storage.delete_tracks(ids[::2])
    app = fine(page())
    assert "has changed since" in words(app)
    assert "no longer in the library" in words(app)
    assert "no longer in the library" in words(go(app, "hubs"))
    named.storage.delete_tracks(ids)
    app = fine(page())
    assert "The library is empty" in words(app)
    assert "Same composer, first 5 answers" in words(app)


# -- jobs ----------------------------------------------------------------------------------------


def test_options_that_cannot_be_evaluated_start_no_job(named: Services) -> None:
    app = evaluate(page(), Vector=["mean"], Ranked=["index"])
    assert "pool them as stored" in app.error[0].value
    app = evaluate(page(), Models=[])
    assert "at least one encoder" in app.error[0].value
    assert named.jobs.recent() == []


@pytest.mark.parametrize(
    ("state", "said"),
    [("failed", "It broke"), ("cancelled", "was stopped"), ("interrupted", "was interrupted")],
)
def test_a_job_that_did_not_end_well_is_said_and_resumed(
    named: Services, state: str, said: str
) -> None:
    run = done(named)
    params = asdict(replace(ONE, k=2))
    time = "2026-01-01T00:00:00.000+00:00"
    named.storage.put_job(
        JobRecord("j", "evaluate", state, params, message="It broke", created_at=time,
                  updated_at=time)
    )  # fmt: skip
    app = page()
    assert not app.exception
    assert said in words(app) + "".join(item.value for item in app.error)
    assert app.selectbox(key="evaluate_run").value == run.run_id  # nothing is lost
    app = press(app, "Resume")
    assert [item.body["options"]["k"] for item in named.evaluations.runs()] == [2, 5]
    assert "Same composer, first 2 answers" in words(app)
    assert said not in words(app)


def test_a_run_is_the_same_by_page_and_by_service(named: Services) -> None:
    fine(evaluate(page()))
    by_page, by_service = named.evaluations.runs()[0], done(named)
    assert by_page.body["reports"] == by_service.body["reports"]
    assert np.isfinite(by_page.body["duration_s"])
