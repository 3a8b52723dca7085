"""Audits from design to labels. Bad input: unknown systems, too few tracks, a clip that cannot be
made, stops at any moment, blank names, days that cannot be, a lost secret, nobody answering."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import kindred
from kindred.audit.clips import ClipMaker
from kindred.audit.labels import read_labels
from kindred.audit.study import FORMS, Study
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import AuditError, InvitationRefused
from kindred.services.audits import JUDGEMENTS, STUDIES, Audits
from kindred.storage.local import LocalBackend
from kindred.storage.records import Row
from kindred.storage.replicate.copier import synchronise
from tests.audit.library import COMPOSERS, design, first_system, opened, plant, sit
from tests.audit.studies import given

SPACES = {
    name: EmbeddingSpace(name, "1", 8_000, 1.0, 1.0, "mean", dims)
    for name, dims in {"one": 8, "two": 12}.items()
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where music and clips lie that tests share: most draw the same study."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def store(tmp_path: Path, shared: Path) -> Iterator[LocalBackend]:
    with LocalBackend(tmp_path / "library") as made:
        plant(made, shared / "music", *SPACES.values())
        yield made


def audits_of(store: LocalBackend, folder: Path) -> Audits:
    return Audits(store, folder, SPACES.__getitem__, lambda: list(SPACES))


@pytest.fixture
def audits(store: LocalBackend, tmp_path: Path, shared: Path) -> Audits:
    made = audits_of(store, tmp_path / "audit")
    made.clips = ClipMaker(store.audio_path, shared / "clips")
    return made


@pytest.fixture
def study(audits: Audits) -> Study:
    return opened(audits, "one", "two")


def judged(audits: Audits, study: Study) -> list[dict[str, Any]]:
    """Two listeners sit through a study and prefer its first system."""
    invited = audits.invite(study.study_id, ["Ears", "More ears"])
    return [sit(audits, link, first_system) for _, link in invited]


# -- design --------------------------------------------------------------------------------------


def test_systems_are_encoders_and_how_they_rank(audits: Audits) -> None:
    systems = audits.systems()
    assert len(systems) == 6
    assert systems["one"] == ("one", "cosine")
    assert systems["two, csls"] == ("two", "csls")


def test_without_vectors_there_are_no_systems(store: LocalBackend, tmp_path: Path) -> None:
    none = Audits(store, tmp_path / "audit", SPACES.__getitem__, list)
    assert none.systems() == {}
    with pytest.raises(AuditError, match="no system one, two here"):
        none.draw(design("one", "two"))


@pytest.mark.parametrize("form", list(FORMS))
def test_a_draft_says_where_it_came_from(audits: Audits, store: LocalBackend, form: Any) -> None:
    told: list[tuple[int, int, str]] = []
    found = audits.draw(
        design("one", "two, csls", form=form), progress=lambda *now: told.append(now)
    )
    assert found is not None
    study, drawn = found
    assert audits.store.study(study.study_id) == study
    assert (study.state, len(study.of_kind("real")), len(study.items)) == ("draft", 3, 5)
    facts = study.facts
    assert facts["kindred"] == kindred.__version__
    assert facts["library"] == store.library_id()
    assert facts["library_version"] == store.version()
    assert facts["spaces"] == {"one": SPACES["one"].to_dict(), "two, csls": SPACES["two"].to_dict()}
    assert facts["strata"] == drawn.strata
    assert sum(drawn.strata.values()) == 3
    assert (facts["asked"], facts["skipped"]) == (drawn.asked, drawn.skipped)
    assert json.loads(json.dumps(facts)) == facts
    assert [now[0] for now in told] == sorted(now[0] for now in told)
    assert told[-1][:2] == (100, 100)
    assert audits.clips.prepare(study).made == 0


def test_queries_are_drawn_evenly_from_clusters(audits: Audits) -> None:
    study = opened(audits, "one", "two", stratify="cluster")
    assert all(item.stratum.startswith("cluster ") for item in study.of_kind("real"))


def test_real_candidates_are_what_the_systems_answered(store: LocalBackend, study: Study) -> None:
    for item in study.of_kind("real"):
        assert item.reference is not None
        for candidate in item.candidates:
            for name, placed in candidate.systems.items():
                own = item.reference.track_id
                [query] = store.get_embeddings(SPACES[name], [own])[1]
                hits = store.search_embeddings(SPACES[name], query, k=20, exclude=[own])[0]
                hit = hits[placed.rank - 1]
                assert hit.track_id == candidate.clip.track_id
                assert hit.similarity == pytest.approx(placed.score, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"systems": ("one", "magic")}, "no system magic here. Systems are one, two"),
        ({"systems": ("one", "one")}, "at least 2 different systems"),
        ({"trials": 100}, "of the 100 real trials"),
        ({"catches": 40}, "of 40 catch and 1 practice"),
        ({"trials": 2, "repeats": 3}, "3 repeats need as many trials"),
        ({"clip_choice": "loudest"}, "matching or random, got 'loudest'"),
        ({"stratify": "mood"}, "composer, cluster or none, got 'mood'"),
    ],
)
def test_what_cannot_be_drawn_is_said(audits: Audits, values: dict[str, Any], words: str) -> None:
    with pytest.raises(AuditError, match=words):
        audits.draw(design(*values.pop("systems", ("one", "two")), **values))
    assert audits.store.studies() == []


def test_tracks_whose_files_are_gone_are_named_and_no_draft_is_kept(
    store: LocalBackend, audits: Audits, tmp_path: Path
) -> None:
    audits.clips = ClipMaker(lambda track_id: tmp_path / track_id, tmp_path / "clips")
    with pytest.raises(AuditError, match="clips cannot be made: track t"):
        audits.draw(design("one", "two"))
    assert audits.store.studies() == []


@pytest.mark.parametrize("after", [0, 1, 5])
def test_stopped_no_draft_is_kept(audits: Audits, after: int) -> None:
    asked = count()
    assert audits.draw(design("one", "two"), cancelled=lambda: next(asked) >= after) is None
    assert audits.store.studies() == []


def test_the_same_design_draws_the_same_items(audits: Audits) -> None:
    one, two = (audits.draw(design("one", "two", seed=3)) for _ in range(2))
    assert one is not None
    assert two is not None
    assert one[0].design_hash == two[0].design_hash
    assert one[0].study_id != two[0].study_id


# -- running -------------------------------------------------------------------------------------


def test_links_are_unlike_each_other_and_can_be_shown_again(audits: Audits, study: Study) -> None:
    made = audits.invite(study.study_id, ["Ears", "More ears", "Ears"])
    links = [link for _, link in made]
    assert len(set(links)) == 3
    assert all(link.startswith("/listen/") for link in links)
    assert not any(study.study_id in link or "Ears" in link for link in links)
    again = audits_of(audits.storage, audits.folder)  # type: ignore[arg-type]
    assert [again.link(item) for item in again.store.invitations(study.study_id)] == links
    assert made[0][0].listener_id == made[2][0].listener_id != made[1][0].listener_id


@pytest.mark.parametrize("names", [["Ears", "  "], ["Ears", "x" * 201]])
def test_where_one_cannot_be_invited_nobody_is(
    audits: Audits, study: Study, names: list[str]
) -> None:
    with pytest.raises(AuditError, match="name or a label"):
        audits.invite(study.study_id, names)
    assert audits.store.invitations() == []


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e12])
def test_days_that_cannot_be(audits: Audits, study: Study, days: float) -> None:
    with pytest.raises(AuditError, match="good for up to"):
        audits.invite(study.study_id, ["Ears"], days=days)


def test_a_draft_takes_no_listeners(audits: Audits) -> None:
    found = audits.draw(design("one", "two"))
    assert found is not None
    with pytest.raises(AuditError, match="Invite to an open study"):
        audits.invite(found[0].study_id, ["Ears"])


@pytest.mark.parametrize("act", [lambda a, i: a.link(i), lambda a, i: a.invite(i.study_id, ["B"])])
def test_a_secret_that_was_lost_is_not_made_anew(
    audits: Audits, study: Study, act: Callable[[Audits, Any], object]
) -> None:
    [(invitation, _)] = audits.invite(study.study_id, ["Ears"])
    (audits.folder / "secret").unlink()
    again = audits_of(audits.storage, audits.folder)  # type: ignore[arg-type]
    with pytest.raises(AuditError, match="from a backup"):
        act(again, invitation)
    with pytest.raises(AuditError, match="from a backup"):
        again.sittings.view("x")
    assert not (audits.folder / "secret").exists()
    assert len(again.store.invitations()) == 1


def test_attendance(audits: Audits, study: Study) -> None:
    invited = audits.invite(study.study_id, ["Ears", "More ears", "No ears"])
    audits.sittings.view(invited[2][1].rpartition("/")[2])  # looked in, did not begin
    sit(audits, invited[0][1])
    sit(audits, invited[1][1], until=2)
    assert vars(audits.attendance(study.study_id)) == {
        "invited": 3, "begun": 2, "finished": 1, "judgements": 4 + 1 + 2,
    }  # fmt: skip


# -- afterwards ----------------------------------------------------------------------------------


def test_nobody_has_answered(audits: Audits, study: Study, tmp_path: Path) -> None:
    found = audits.results(study.study_id, draws=100)
    assert found is not None
    assert (found.judgements, found.listeners) == (0, ())
    assert "Nobody has answered yet." in found.warnings
    assert audits.excluded(found) == {}
    with pytest.raises(AuditError, match="gives no labels"):
        audits.write_labels(study.study_id, tmp_path / "labels")
    audits.export(study.study_id, tmp_path / "tables")
    assert (tmp_path / "tables" / "judgements.jsonl").read_text().split() == []


def test_results_can_be_stopped(audits: Audits, study: Study) -> None:
    assert audits.results(study.study_id, cancelled=lambda: True) is None


def test_unknown_studies(audits: Audits, tmp_path: Path) -> None:
    for act in (
        lambda: audits.results("nothing"),
        lambda: audits.close("nothing"),
        lambda: audits.keep("nothing"),
        lambda: audits.invite("nothing", ["Ears"]),
        lambda: audits.export("nothing", tmp_path / "x"),
        lambda: audits.write_labels("nothing", tmp_path / "x"),
    ):
        with pytest.raises(AuditError, match="No listening study has the id 'nothing'"):
            act()


@pytest.mark.parametrize("form", list(FORMS))
def test_from_a_design_to_labels(audits: Audits, tmp_path: Path, form: Any) -> None:
    study = opened(audits, "one", "two", form=form)
    assert [view["stage"] for view in judged(audits, study)] == ["done", "done"]
    found = audits.results(study.study_id, draws=100)
    assert found is not None
    assert (found.judgements, found.kept, audits.excluded(found)) == (10, 6, {})
    if form == "ab":
        assert found.strengths is not None
        [pair] = found.strengths.pairs
        assert (pair.system, pair.wins, pair.losses) == ("one", 6, 0)
    paths = audits.export(study.study_id, tmp_path / "tables")
    assert sorted(path.name for path in paths) == [
        "codebook.md", "judgements.csv", "judgements.jsonl", "judgements.parquet",
    ]  # fmt: skip
    with (tmp_path / "tables" / "judgements.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    codebook = (tmp_path / "tables" / "codebook.md").read_text()
    assert all(f"`{name}`" in codebook for name in rows[0])
    written = audits.write_labels(study.study_id, tmp_path / "labels", used_for_training=["t00"])
    read = read_labels(tmp_path / "labels" / "labels_and_splits")
    assert read.version == written.version
    assert read.header["provenance"]["listeners"] == 2
    assert read.pairs or form == "odd"
    assert read.triples
    assert {line.split for line in read.triples} <= {None, "train", "validation", "test"}
    with pytest.raises(AuditError, match="is there already"):
        audits.write_labels(study.study_id, tmp_path / "labels")


def test_who_fails_the_rules_is_left_out_of_labels_and_named_in_tables(
    audits: Audits, tmp_path: Path
) -> None:
    study = opened(audits, "one", "two", catches=2)
    [(_, good), (bad, link)] = audits.invite(study.study_id, ["Ears", "No ears"])
    sit(audits, good, first_system)
    sit(audits, link, first_system, until=1)
    _answer_wrongly(audits, link)
    found = audits.results(study.study_id, draws=100)
    assert found is not None
    assert list(audits.excluded(found)) == [bad.listener_id]
    labels = audits.write_labels(study.study_id, tmp_path)
    assert labels.header["provenance"]["listeners"] == 1
    audits.export(study.study_id, tmp_path / "tables")
    lines = (tmp_path / "tables" / "judgements.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["listener_id"] for row in rows if row["excluded"]} == {bad.listener_id}
    assert len(rows) == 12


def _answer_wrongly(audits: Audits, link: str) -> None:
    token = link.rpartition("/")[2]
    view = audits.sittings.view(token)
    while view["stage"] != "done":
        view = audits.sittings.answer(token, given(view, {"point": 0}))


def test_a_closed_study_is_kept_with_the_library(
    audits: Audits, study: Study, store: LocalBackend, tmp_path: Path
) -> None:
    judged(audits, study)
    link = audits.link(audits.store.invitations()[0])
    assert store.list_documents(STUDIES) == []
    closed = audits.close(study.study_id)
    assert closed.state == "closed"
    with pytest.raises(InvitationRefused):
        audits.sittings.view(link.rpartition("/")[2])
    [document] = store.list_documents(STUDIES)
    assert Study.from_dict(document.body) == closed
    kept = {item.key: item.body for item in store.list_documents(JUDGEMENTS)}
    made = {item.judgement_id: asdict(item) for item in audits.store.judgements(study.study_id)}
    assert kept == json.loads(json.dumps(made))
    assert len(kept) == 10
    version = store.version()
    assert audits.keep(study.study_id) == 0
    assert {item.key: item.body for item in store.list_documents(JUDGEMENTS)} == kept
    assert store.version() == version
    with LocalBackend(tmp_path / "elsewhere") as other:
        synchronise(store, other, home=tmp_path)
        assert other.list_documents(STUDIES) == [document]
        assert {item.key: item.body for item in other.list_documents(JUDGEMENTS)} == kept


def test_closing_again_keeps_what_could_not_be_kept(
    audits: Audits, study: Study, store: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(audits, study)

    write = store.write_rows

    def full(changes: Sequence[Row]) -> None:
        if len(changes) > 1:
            raise OSError("the disk is full")
        write(changes)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_rows", full)
        with pytest.raises(OSError, match="full"):
            audits.close(study.study_id)
    assert store.list_documents(JUDGEMENTS) == []
    closed = audits.close(study.study_id)
    assert len(store.list_documents(JUDGEMENTS)) == 10
    assert closed == audits.store.study(study.study_id)


def test_a_draft_cannot_be_closed(audits: Audits) -> None:
    found = audits.draw(design("one", "two"))
    assert found is not None
    with pytest.raises(AuditError, match="Only an open study can be closed"):
        audits.close(found[0].study_id)
    assert audits.storage.list_documents(STUDIES) == []


def test_composers_are_drawn_evenly(audits: Audits) -> None:
    study = opened(audits, "one", "two", trials=COMPOSERS)
    assert study.facts["strata"] == {f"Composer {number}": 1 for number in range(COMPOSERS)}
