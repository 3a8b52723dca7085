"""Evaluations that are run and kept. Bad input: no vectors, no labels, unknown options, runs that
are not there or not on this machine, stops at any moment, a store that refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError, StorageError
from kindred.evaluation.labels import labels_of
from kindred.evaluation.retrieval import evaluate_retrieval
from kindred.services import evaluations as module
from kindred.services.evaluations import COLLECTION, Evaluations, Options, pooled, system_name
from kindred.storage.local import LocalBackend
from kindred.storage.records import Document, Embedding, Track
from tests.evaluation.worlds import unit

ONE = EmbeddingSpace("one", "1", 8_000, 1.0, 1.0, "mean", 6)
TWO = EmbeddingSpace("two", "1", 8_000, 1.0, 1.0, "mean", 4)
SPACES = {"one": ONE, "two": TWO}
PLAIN = Options(("one",))


def vectors(space: EmbeddingSpace, numbers: list[int], *, seed: int = 0) -> list[Embedding]:
    """Three windows a track that know a little of its composer."""
    rng = np.random.default_rng(seed)
    known = np.eye(space.dims)[[number % space.dims for number in numbers]]
    made = []
    for number, own in zip(numbers, known, strict=True):
        segments = unit(rng.standard_normal((3, space.dims)) + own)
        made.append(Embedding(f"t{number:02d}", "", unit(segments.mean(axis=0)), segments))
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalBackend]:
    """Forty tracks of eight composers, with vectors of ``one``, and most with those of ``two``."""
    with LocalBackend(tmp_path / "library") as made:
        made.put_tracks(
            Track(
                f"t{number:02d}",
                title=f"Piece {number}",
                composer=f"Composer {number % 8}",
                work=f"Work {number // 16}",
                album=f"Album {number % 7}",
                artist="Somebody" if number < 10 else "",
                extra={"key": "C" if number % 3 else "d minor"},
            )
            for number in range(40)
        )
        made.put_embeddings(ONE, vectors(ONE, list(range(40))))
        made.put_embeddings(TWO, vectors(TWO, list(range(5, 40)), seed=1))
        yield made


@pytest.fixture
def runs(store: LocalBackend, tmp_path: Path) -> Evaluations:
    return Evaluations(store, tmp_path / "answers", SPACES.__getitem__)


def done(runs: Evaluations, options: Options = PLAIN) -> module.Run:
    run = runs.run(options)
    assert run is not None
    return run


def test_a_run_is_kept_with_all_that_is_needed_to_do_it_again(
    runs: Evaluations, store: LocalBackend
) -> None:
    run = done(runs, Options(("one", "two"), k=3, seed=5))
    assert runs.get(run.run_id) == run
    assert runs.runs() == [run]
    body = run.body
    assert Options.from_dict(body["options"]) == Options(("one", "two"), k=3, seed=5)
    assert body["seed"] == 5
    assert body["spaces"] == {"one": ONE.to_dict(), "two": TWO.to_dict()}
    assert (body["library"]["tracks"], body["library"]["evaluated"]) == (40, 35)
    assert body["library"]["library_id"] == store.library_id()
    assert len(body["library"]["sha256"]) == 64
    assert set(body["versions"]) == {"kindred", "python", "numpy", "scipy", "faiss-cpu", "torch"}
    assert body["git"] == module.git_revision()
    assert body["duration_s"] >= 0
    assert body["created_at"].endswith("+00:00")
    assert json.loads(json.dumps(body)) == body
    kept = runs.reports(run.run_id)
    assert [report.to_dict() for report in kept] == body["reports"]
    assert [report.name for report in kept] == ["one", "two"]
    assert {report.seed for report in kept} == {5}


def test_the_same_again_gives_the_same_numbers(runs: Evaluations) -> None:
    first, second = done(runs), done(runs)
    assert first.run_id != second.run_id
    for name in ("reports", "options", "library", "spaces"):
        assert first.body[name] == second.body[name]
    assert runs.comparison([first.run_id, second.run_id])["disagreements"][0]["queries"] == []


@pytest.mark.parametrize("scoring", ["cosine", "csls", "mutual_proximity"])
def test_the_numbers_are_those_of_the_evaluation(
    runs: Evaluations, store: LocalBackend, scoring: str
) -> None:
    run = done(runs, Options(("one",), k=4, scorings=(scoring,), seed=2))
    tracks = store.list_tracks()
    ids, found = store.get_embeddings(ONE, [track.track_id for track in tracks])
    report = evaluate_retrieval(
        found, ids, labels_of(tracks), name=system_name("one", "stored", scoring), k=4,
        scoring=scoring, seed=2,
    )  # fmt: skip
    assert report is not None
    assert run.body["reports"] == [report.to_dict()]


def test_all_are_asked_about_the_tracks_that_all_have_embedded(runs: Evaluations) -> None:
    alone = done(runs)
    both = done(runs, Options(("one", "two")))
    assert alone.body["reports"][0]["tracks"] == 40
    assert [report["tracks"] for report in both.body["reports"]] == [35, 35]
    with pytest.raises(QueryError, match="not asked the same"):
        runs.compare([alone.run_id, both.run_id])


def test_poolings_of_windows(runs: Evaluations) -> None:
    run = done(runs, Options(("one",), poolings=("stored", "mean", "max", "mean+std")))
    stored, mean, largest, both = (report["map"]["micro"] for report in run.body["reports"])
    assert stored == mean  # these vectors are the mean of their windows
    assert len({mean, largest, both}) == 3
    names = [report["name"] for report in run.body["reports"]]
    assert names == ["one", "one, mean pooling", "one, max pooling", "one, mean+std pooling"]
    segments = np.array([[1, 0], [0, 1]], np.float32)
    assert pooled(segments, "mean") == pytest.approx(np.sqrt([1 / 2, 1 / 2]))
    assert pooled(segments[:1] * [1, 2], "max") == pytest.approx([1, 0])
    assert pooled(segments, "mean+std") == pytest.approx([1 / 2] * 4)
    with pytest.raises(QueryError, match="no window"):
        pooled(segments[:0], "mean")


def test_the_librarys_index_gives_what_exact_search_gives(runs: Evaluations) -> None:
    run = done(runs, Options(("one",), scorings=("cosine", "index")))
    exact, index = run.body["reports"]
    same = ("variants", "per_class", "confusion", "hubness", "precision@5")
    assert {key: exact[key] for key in same} == {key: index[key] for key in same}
    assert index["warnings"][-1] == "The library's index answered: exact."


def test_an_index_is_asked_deep_enough_and_says_what_it_was_not_asked(
    runs: Evaluations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_DEPTH", 1)
    run = done(runs, Options(("two",), k=2, scorings=("cosine", "index")))
    exact, index = run.body["reports"]
    # Two of a work, five of an album and two answers.
    assert "asked for 9 of 35 tracks" in index["warnings"][-1]
    for variant in exact["variants"]:
        for measure in ("precision@2", "hit_rate@2", "ndcg@2"):
            assert index["variants"][variant][measure] == exact["variants"][variant][measure]
    assert index["map"]["macro"] < exact["map"]["macro"]


def test_tracks_that_are_not_evaluated_take_no_place_in_an_index(
    runs: Evaluations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_DEPTH", 1)
    run = done(runs, Options(("two", "one"), k=2, scorings=("cosine", "index")))
    exact, index = run.body["reports"][2:]
    assert index["name"] == "one, index"
    for variant in exact["variants"]:
        assert index["variants"][variant]["ndcg@2"] == exact["variants"][variant]["ndcg@2"]


def test_a_label_can_be_any_tag(runs: Evaluations) -> None:
    assert done(runs, Options(("one",), label="key")).body["reports"][0]["classes"] == 2
    half = done(runs, Options(("one",), label="artist")).body["reports"][0]
    assert half["unlabelled"] == 30
    assert any("30 of 40 tracks have no artist" in text for text in half["warnings"])


def test_tags_that_can_be_found_again(runs: Evaluations, store: LocalBackend) -> None:
    found = {tag.name: (tag.tracks, tag.values) for tag in runs.tags()}
    assert found == {
        "composer": (40, 8), "artist": (10, 1), "album": (40, 7), "work": (40, 3), "key": (40, 2),
    }  # fmt: skip
    store.put_tracks([Track("x", genre="Alone", extra={"mood": "odd"})])
    assert list(found) == [tag.name for tag in runs.tags()]


# -- stopped, refused, damaged -------------------------------------------------------------------


def nothing_is_kept(runs: Evaluations) -> bool:
    return runs.runs() == [] and not (runs.folder.exists() and any(runs.folder.iterdir()))


def test_a_run_that_is_stopped_keeps_nothing(runs: Evaluations) -> None:
    options = Options(("one", "two"), scorings=("cosine", "index"))
    asked = 0

    def counting() -> bool:
        nonlocal asked
        asked += 1
        return False

    assert runs.run(options, cancelled=counting) is not None
    runs.delete(runs.runs()[0].run_id)

    def after(moment: int) -> Callable[[], bool]:
        left = iter(range(moment))
        return lambda: next(left, None) is None

    assert asked > 70
    for moment in (0, 1, 2, 20, 60, asked - 2, asked - 1):
        assert runs.run(options, cancelled=after(moment)) is None
        assert nothing_is_kept(runs)


def test_ctrl_c_and_a_store_that_refuses_keep_nothing(
    runs: Evaluations, store: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(Options(("one", "two")), progress=stop)
    assert nothing_is_kept(runs)

    def refuse(document: Document) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(store, "put_document", refuse)
    with pytest.raises(StorageError):
        runs.run(PLAIN)
    assert nothing_is_kept(runs)


def test_progress_counts_every_system_once(runs: Evaluations) -> None:
    seen: list[tuple[int, int, str]] = []
    options = Options(("two",), scorings=("cosine", "index"), poolings=("stored",))
    runs.run(options, progress=lambda *step: seen.append(step))
    done_so_far = [step[0] for step in seen]
    assert done_so_far == sorted(done_so_far)
    assert seen[-1][:2] == (70, 70)
    assert {step[1] for step in seen} == {70}
    assert {step[2].split(":")[0] for step in seen} == {"two", "two, index"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoders": ()}, "at least one encoder"),
        ({"scorings": ("magic",)}, "cosine, csls, mutual_proximity, index, got magic"),
        ({"scorings": ()}, "got none"),
        ({"poolings": ("stored", "median")}, "got median"),
        ({"k": 0}, "k must be at least 1"),
        ({"poolings": ("mean",), "scorings": ("index",)}, "index holds stored vectors"),
        ({"label": "mood"}, "has the tag 'mood'"),
        ({"label": "title"}, "No two of 40 tracks have the same title"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    runs: Evaluations, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(QueryError, match=words):
        runs.run(replace(PLAIN, **changes))
    assert nothing_is_kept(runs)


def test_no_vectors_one_track_and_no_common_track(tmp_path: Path) -> None:
    with LocalBackend(tmp_path / "empty") as store:
        runs = Evaluations(store, tmp_path / "answers", SPACES.__getitem__)
        with pytest.raises(QueryError, match="No track has vectors of one"):
            runs.run(PLAIN)
        store.put_tracks([Track("t00", composer="A"), Track("t01", composer="A")])
        store.put_embeddings(ONE, vectors(ONE, [0]))
        with pytest.raises(QueryError, match="at least 2"):
            runs.run(PLAIN)
        store.put_embeddings(TWO, vectors(TWO, [1]))
        with pytest.raises(QueryError, match="No track has vectors of one and two"):
            runs.run(Options(("one", "two")))
        assert nothing_is_kept(runs)


def test_an_option_given_twice_counts_once(runs: Evaluations) -> None:
    run = done(runs, Options(("one", "one"), scorings=("cosine", "cosine")))
    assert len(run.body["reports"]) == 1


# -- afterwards ----------------------------------------------------------------------------------


def test_starred_runs_come_first_then_the_newest(runs: Evaluations, store: LocalBackend) -> None:
    body = done(runs).body
    runs.delete(runs.runs()[0].run_id)
    for name in ("20250101-a", "20250102-b", "20250103-c"):
        store.put_document(Document(COLLECTION, name, body | {"run_id": name}))
    assert [run.run_id[-1] for run in runs.runs()] == ["c", "b", "a"]
    runs.star("20250101-a")
    assert [run.run_id[-1] for run in runs.runs()] == ["a", "c", "b"]
    runs.star("20250101-a", False)
    assert [run.run_id[-1] for run in runs.runs()] == ["c", "b", "a"]


def test_a_run_that_was_deleted_is_gone_with_its_answers(runs: Evaluations) -> None:
    gone, stays = done(runs), done(runs)
    runs.delete(gone.run_id)
    assert [run.run_id for run in runs.runs()] == [stays.run_id]
    assert [path.name for path in runs.folder.iterdir()] == [stays.run_id]
    for act in (runs.delete, runs.get, runs.star, runs.reports, runs.class_csv):
        with pytest.raises(QueryError, match="no evaluation"):
            act(gone.run_id)


def test_a_run_done_elsewhere_keeps_its_numbers(runs: Evaluations) -> None:
    run = done(runs, Options(("one", "two")))
    shutil.rmtree(runs.folder)
    assert runs.get(run.run_id) == run
    assert runs.comparison([run.run_id], "controlled")["variant"] == "controlled"
    for act in (
        runs.reports,
        runs.query_csv,
        lambda name: runs.comparison([name], "not_same_work"),
    ):
        with pytest.raises(QueryError, match="not on this machine"):
            act(run.run_id)
    runs.delete(run.run_id)
    assert runs.runs() == []


def test_two_runs_are_compared_as_one_would(runs: Evaluations) -> None:
    both = done(runs, Options(("one",), scorings=("cosine", "csls")))
    one, other = done(runs, PLAIN), done(runs, Options(("one",), scorings=("csls",)))
    for variant in ("plain", "controlled", "not_same_album"):
        apart = runs.comparison([one.run_id, other.run_id], variant)
        assert apart == runs.comparison([both.run_id], variant)
    assert runs.comparison([both.run_id]) == both.body["comparisons"]["plain"]
    assert [item["first"] for item in apart["differences"]] == ["one"] * 7


def test_one_system_on_two_days_is_told_apart_by_the_run(runs: Evaluations) -> None:
    one, other = done(runs), done(runs, replace(PLAIN, seed=3))
    [first, *_] = runs.compare([one.run_id, other.run_id]).differences
    assert (first.first, first.second) == (f"one ({one.run_id})", f"one ({other.run_id})")
    assert first.macro == 0
    with pytest.raises(QueryError, match="Two or more"):
        runs.compare([one.run_id, one.run_id])
    with pytest.raises(QueryError, match="not asked the same"):
        runs.compare([one.run_id, done(runs, replace(PLAIN, k=2)).run_id])


def test_a_changed_library_is_noticed(runs: Evaluations, store: LocalBackend) -> None:
    run, other = done(runs), done(runs, Options(("two",)))
    assert not runs.changed(run)
    extra = Track("new", composer="Composer 1")
    store.put_tracks([extra])
    assert runs.changed(run)
    store.delete_tracks(["new"])  # what is gone leaves no trace
    assert not runs.changed(run)
    store.put_embeddings(ONE, vectors(ONE, [0], seed=9))
    assert runs.changed(run)
    assert not runs.changed(other)  # vectors that it did not use


def test_one_report_stands_at_the_top_of_the_document(runs: Evaluations) -> None:
    one, two = done(runs), done(runs, Options(("one", "two")))
    document = one.document()
    assert document["precision@5"] == one.body["reports"][0]["variants"]["plain"]["precision@5"]
    assert "reports" not in document
    facts = {"run_id", "created_at", "versions", "git", "library", "seed", "duration_s", "options"}
    assert facts <= set(document)
    assert facts | {"reports", "comparisons"} <= set(two.document())
    assert set(two.body["comparisons"]) == {"plain", "controlled"}


def test_titles_say_what_was_evaluated(runs: Evaluations) -> None:
    assert done(runs).title.startswith("one · composer · k 5 · 20")
    assert done(runs, Options(("two", "one"), k=1)).title.startswith("two and 1 more · composer")


def test_tables_of_a_run(runs: Evaluations) -> None:
    run = done(runs, Options(("one", "two")))
    classes = list(csv.DictReader(io.StringIO(runs.class_csv(run.run_id), newline="")))
    assert {row["system"] for row in classes} == {"one", "two"}
    assert len(classes) == 2 * 5 * 8
    queries = list(csv.DictReader(io.StringIO(runs.query_csv(run.run_id), newline="")))
    assert queries[0]["title"] == "Piece 5"
    mean = np.mean(
        [float(row["ndcg@5"]) for row in queries if row["variant"] == "plain"
         and row["system"] == "two"]
    )  # fmt: skip
    assert mean == pytest.approx(run.body["reports"][1]["ndcg@5"]["micro"], abs=1e-8)
