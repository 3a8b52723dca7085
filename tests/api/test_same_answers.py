"""One question, one answer: from the API, the command, the page, the services and the artifact."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import streamlit as st
from click.testing import CliRunner
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from kindred.api.app import create_api
from kindred.api.artifact import ArtifactSource
from kindred.api.gallery import Gallery
from kindred.artifacts import layout
from kindred.artifacts.read import Artifact
from kindred.cli import main
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.evaluation.labels import Labels, labels_of
from kindred.evaluation.report import RetrievalReport, Variant
from kindred.evaluation.report_file import answer, hits
from kindred.evaluation.retrieval import evaluate_retrieval
from kindred.search.query import SimilarQuery, SimilarResult
from kindred.services import Services, build
from kindred.services.evaluations import Options
from kindred.storage.records import Track
from tests.api.conftest import Ask, World, tracks
from tests.browsing import ROOT
from tests.conftest import tone
from tests.evaluation.worlds import untidy

IDS = [track.track_id for track in tracks()]


def ask_for(client: TestClient, track_id: str, rest: str) -> Any:
    answer = client.get(f"/api/tracks/{quote(track_id, safe='')}/{rest}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def nearly(document: dict[str, Any]) -> dict[str, Any]:
    """The same document where similarities may differ in the last digit."""
    hits = [
        hit | {"similarity": pytest.approx(hit["similarity"], abs=1e-6)} for hit in document["hits"]
    ]
    return document | {"hits": hits}


@pytest.mark.parametrize("track_id", ["t000", "a/b", "ä♫𝄞", "t010", "t011"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_nearest_is_what_the_command_says(
    ask: Ask, world: World, monkeypatch: pytest.MonkeyPatch, track_id: str, k: int
) -> None:
    monkeypatch.setenv("KINDRED_HOME", str(world.home))
    said = CliRunner().invoke(main, ["similar", track_id, "-k", str(k), "--json"])
    assert said.exit_code == 0, said.output
    assert ask_for(ask("library"), track_id, f"nearest?k={k}") == json.loads(said.stdout)


def test_tracks_are_what_the_command_lists(
    ask: Ask, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINDRED_HOME", str(world.home))
    said = json.loads(CliRunner().invoke(main, ["tracks", "--json"]).stdout)["tracks"]
    found = ask("library").get("/api/tracks?limit=1000").json()["tracks"]
    assert [{name: track[name] for name in said[0]} for track in found] == said


def test_nearest_of_every_track_is_the_services_and_the_artifacts(
    ask: Ask, live_services: Services
) -> None:
    live, alone = ask("library"), ask("artifact")
    for track_id in IDS:
        wanted = live_services.similar(SimilarQuery(plus=(track_id,), k=20)).to_dict()
        assert ask_for(live, track_id, "nearest?k=20") == wanted
        assert ask_for(alone, track_id, "nearest?k=20") == nearly(wanted)


@pytest.mark.parametrize(
    ("asked", "query"),
    [
        ({"track_id": "t001"}, {"plus": ("t001",)}),
        ({"track_id": ["t001", "a/b"], "minus": "t002", "k": 60},
         {"plus": ("t001", "a/b"), "minus": ("t002",), "k": 60}),
        ({"track_id": "t001", "not_same": ["work", "album", "artist"], "k": 30},
         {"plus": ("t001",), "not_same": ("work", "album", "artist"), "k": 30}),
        ({"track_id": "t001", "diversity": 0.7, "k": 5},
         {"plus": ("t001",), "diversity": 0.7, "k": 5}),
        ({"track_id": ["t001", "t001"]}, {"plus": ("t001",)}),
    ],
)  # fmt: skip
def test_search_is_the_services_and_the_artifacts(
    ask: Ask, live_services: Services, asked: dict[str, Any], query: dict[str, Any]
) -> None:
    wanted = live_services.similar(SimilarQuery(**query)).to_dict()
    assert len(wanted["hits"]) > 4
    assert ask("library").get("/api/search", params=asked).json() == wanted
    assert ask("artifact").get("/api/search", params=asked).json() == nearly(wanted)


@pytest.mark.parametrize(
    "asked",
    [
        {"composer": "composer 3"},
        {"composer": ["Composer 3", "Composer 4"], "genre": "FOLK"},
        {"album": "Album 2", "artist": ["Artist 0", "Artist 1"]},
        {"composer": "Nobody"},
    ],
)
def test_filters_of_a_search(ask: Ask, asked: dict[str, Any]) -> None:
    asked = asked | {"track_id": "t030", "k": 100}
    found = ask("library").get("/api/search", params=asked).json()
    assert ask("artifact").get("/api/search", params=asked).json() == nearly(found)
    listed = {name: value for name, value in asked.items() if name not in ("track_id", "k")}
    there = ask("library").get("/api/tracks", params=listed | {"limit": 1000}).json()["tracks"]
    wanted = {track["track_id"] for track in there} - {"t030"}
    assert {hit["track_id"] for hit in found["hits"]} == wanted


def test_nearest_is_what_the_page_shows(
    ask: Ask, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[SimilarResult] = []
    similar = Services.similar

    def seen(self: Services, query: SimilarQuery, encoder: str | None = None) -> SimilarResult:
        shown.append(similar(self, query, encoder))
        return shown[-1]

    monkeypatch.setenv("KINDRED_HOME", str(world.home))
    st.cache_resource.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Services, "similar", seen)
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        app.query_params["track"] = "t001"
        app.switch_page("pages/similar.py").run()
    assert not app.exception
    st.cache_resource.clear()
    assert shown[0].matches
    wanted = ask_for(ask("library"), "t001", f"nearest?k={shown[0].query.k}")
    assert shown[0].to_dict() == wanted


# -- composer-eval: one query against the evaluation of all ----------------------------------------
def judged(report: RetrievalReport, variant: Variant, row: int) -> dict[str, Any]:
    """What the evaluation of all says of one query, as the API gives it."""

    def number(value: float) -> Any:
        return None if np.isnan(value) else pytest.approx(float(value), abs=1e-12)

    scores = {
        name: {
            "value": number(variant.values[row, at]),
            "chance": number(variant.chance[row, at]),
            "ceiling": number(variant.ceiling[row, at]),
        }
        for at, name in enumerate(("precision", "hit_rate", "ndcg"))
    }
    return scores | {"ids": answer(report, variant, row), "marks": hits(report, variant, row)}


def test_composer_eval_is_the_evaluation_of_all(
    ask: Ask, world: World, live_services: Services
) -> None:
    [report] = live_services.evaluations.reports(world.run_id)
    assert report.measure_names[:3] == ("precision@5", "hit_rate@5", "ndcg@5")
    clients = [ask("library"), ask("artifact")]
    queries = 0
    for row, track_id in enumerate(report.ids):
        for client in clients:
            body = ask_for(client, track_id, "composer-eval?k=5")
            nearest = ask_for(client, track_id, "nearest?k=5")["hits"]
            marked = [hit | {} for hit in body["plain"]["hits"]]
            assert [hit.pop("relevant") for hit in marked] == judged(
                report, report.variants["plain"], row
            )["marks"]
            assert marked == nearest
            for name in ("plain", "controlled"):
                found = body[name]
                wanted = judged(report, report.variants[name], row)
                assert [hit["track_id"] for hit in found["hits"]] == wanted.pop("ids")
                assert [hit["relevant"] for hit in found["hits"]] == wanted.pop("marks")
                assert {measure: found[measure] for measure in wanted} == wanted
                assert bool(body["reason"]) >= (found["precision"]["value"] is None)
                queries += found["precision"]["value"] is not None
    assert queries > 100


def tracks_of(labels: Labels) -> list[Track]:
    """Tracks that have these labels."""
    columns = zip(
        labels.ids, labels.values, labels.works, labels.albums, labels.recordings, strict=True
    )
    return [
        Track(track_id, composer=value, work=work, album=album, content_hash=copy)
        for track_id, value, work, album, copy in columns
    ]


@pytest.mark.parametrize("k", [1, 5, 40, 200])
def test_one_query_of_an_untidy_library_is_as_in_the_evaluation_of_all(k: int) -> None:
    vectors, labels = untidy()
    order = sorted(range(len(labels.ids)), key=labels.ids.__getitem__)
    made = [tracks_of(labels)[row] for row in order]
    vectors = vectors[order]
    ids = [track.track_id for track in made]
    report = evaluate_retrieval(vectors, ids, labels_of(made), k=k, draws=10)
    assert report is not None
    gallery = Gallery(EmbeddingSpace("x", "1", 8_000, 1, 1, "mean", 12), made, vectors)
    for row, track_id in enumerate(ids):
        for name, found in gallery.judge(track_id, k=k).items():
            wanted = judged(report, report.variants[name], row)
            assert [hit.track_id for hit, _ in found.hits] == wanted.pop("ids")
            assert [mark for _, mark in found.hits] == wanted.pop("marks")
            assert found.scores == wanted


def test_why_there_is_nothing_to_measure(ask: Ask, world: World) -> None:
    body = ask_for(ask("artifact"), "a/b", "composer-eval")  # the first track has no composer
    assert (body["composer"], body["plain"]["precision"]["value"]) == ("", None)
    assert "names no composer" in body["reason"]
    assert len(body["plain"]["hits"]) == 5


def test_a_gallery_needs_two_of_a_composer() -> None:
    space = EmbeddingSpace("x", "1", 8_000, 1, 1, "mean", 2)
    vectors = np.eye(2, dtype=np.float32)
    for composers in (("", ""), ("A", "B")):
        made = [Track("1", composer=composers[0]), Track("2", composer=composers[1])]
        gallery = Gallery(space, made, vectors)
        for _ in range(2):
            with pytest.raises(QueryError, match=r"composer"):
                gallery.judge("1", k=5)
    with pytest.raises(QueryError, match=r"None of 0 tracks"):
        Gallery(space, [], vectors[:0]).composer("1")


def test_a_library_without_composers_is_told_so(tmp_path: Path) -> None:
    services = build(home=tmp_path / "library")
    tone(tmp_path / "music" / "one.wav")
    services.ingest().run([tmp_path / "music"])
    [track] = services.storage.list_tracks()
    with TestClient(create_api(services)) as client:
        for _ in range(2):
            answer = client.get(f"/tracks/{track.track_id}/composer-eval")
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "QueryError")
            assert "composer" in answer.json()["error"]["message"]
        assert client.get("/eval/summary").status_code == 404
    services.close()


# -- eval/summary ----------------------------------------------------------------------------------
def test_the_summary_is_the_newest_evaluations(
    ask: Ask, world: World, live_services: Services
) -> None:
    [report] = live_services.evaluations.get(world.run_id).body["reports"]
    live, alone = (ask(name).get("/api/eval/summary").json() for name in ("library", "artifact"))
    assert live == alone
    [found] = live["evaluations"]
    assert (found["run_id"], found["name"], found["k"]) == (world.run_id, "descriptors", 5)
    for variant in ("plain", "controlled"):
        for measure in ("precision", "hit_rate", "ndcg"):
            kept = report["variants"][variant][f"{measure}@5"]
            wanted = {name: kept[name] for name in ("macro", "ci95", "chance", "ceiling", "micro")}
            assert found[variant][measure] == wanted


def test_an_evaluation_of_another_program_is_not_a_summary(world: World, tmp_path: Path) -> None:
    artifact = Artifact.open(Path(shutil.copytree(world.artifact, tmp_path / "artifact")))
    for content in ({"p@5": 0.5}, {"variants": []}, {"variants": {"plain": 1}, "k": 5}):
        (artifact.path / layout.EVAL).write_text(json.dumps(content), "utf-8")
        with TestClient(create_api(ArtifactSource(artifact))) as client:
            answer = client.get("/eval/summary")
        assert answer.status_code == 404
        assert "cannot read" in answer.json()["error"]["message"]


def test_the_newest_of_each_encoder_and_label_counts(tmp_path: Path, world: World) -> None:
    services = build(home=Path(shutil.copytree(world.home, tmp_path / "copy")))
    options = {"encoders": ("descriptors",)}
    second = services.evaluations.run(Options(**options, k=3))  # type: ignore[arg-type]
    third = services.evaluations.run(Options(**options, label="genre"))  # type: ignore[arg-type]
    assert second
    assert third
    services.evaluations.star(world.run_id)
    with TestClient(create_api(services)) as client:
        found = client.get("/eval/summary").json()["evaluations"]
    services.close()
    assert [(item["run_id"], item["label"], item["k"]) for item in found] == [
        (third.run_id, "genre", 5),
        (second.run_id, "composer", 3),
    ]
