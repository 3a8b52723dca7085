"""The commands: their JSON, their exit status (0, 1 or 2), one clear line where they refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from kindred.cli import main
from kindred.config import Settings
from kindred.services import build
from tests.conftest import tone


def kindred(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments])


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for number in range(3):
        tone(tmp_path / "music" / f"{number} Tone.wav", hz=300 + 200 * number)
    result = kindred("ingest", tmp_path / "music", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["added"] == 3
    return tmp_path / "music"


def test_tracks_json(library: Path) -> None:
    tracks = json.loads(kindred("tracks", "--json").stdout)["tracks"]
    assert len(tracks) == 3
    assert set(tracks[0]) == {
        "track_id", "title", "composer", "album", "artist", "path", "duration",
    }  # fmt: skip
    assert tracks[0]["duration"] == pytest.approx(2)


def test_similar_json_by_track_and_by_file(library: Path, tmp_path: Path) -> None:
    one = json.loads(kindred("tracks", "--json").stdout)["tracks"][0]["track_id"]
    answer = json.loads(kindred("similar", one, "-k", 1, "--json").stdout)
    assert set(answer) == {"query", "space", "index", "hits"}
    assert answer["query"]["track_id"] == one
    assert answer["space"]["model"] == "descriptors"
    [hit] = answer["hits"]
    assert set(hit) == {"track_id", "title", "composer", "album", "similarity"}
    assert hit["track_id"] != one
    clip = tone(tmp_path / "clip.wav", hz=500, seconds=3)
    answer = json.loads(kindred("similar", "--audio", clip, "--json").stdout)
    assert answer["hits"][0]["title"] == "1 Tone"
    assert len(answer["hits"]) == 3
    assert len(json.loads(kindred("tracks", "--json").stdout)["tracks"]) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["similar"],
        ["similar", "x", "--audio", "y.wav"],
        ["similar", "x", "-k", "0"],
        ["similar", "x", "-k", "many"],
        ["nonsense"],
        ["ingest"],
        ["ingest", "--nonsense"],
        ["import", "no-such.csv"],
    ],
)
def test_wrong_use_is_2(arguments: list[str]) -> None:
    assert kindred(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["similar", "nobody"], "No track has the id"),
        (["similar", "--audio", "no-such.wav"], "no-such.wav"),
        (["ingest", "no-such-folder"], "no file or folder"),
        (["similar", "x", "--encoder", "magic"], "magic"),
        (["models", "pull", "magic"], "magic"),
    ],
)
def test_refusals_are_1_with_one_line(arguments: list[str], words: str) -> None:
    result = kindred(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KINDRED_PORT", "high", "KINDRED_PORT"),
        ("KINDRED_ENCODER", "magic", "descriptors"),
        ("KINDRED_WORKERS", "-1", "KINDRED_WORKERS"),
        ("KINDRED_CLAP_WINDOWS", "some", "KINDRED_CLAP_WINDOWS: "),
        ("KINDRED_CLAP_WINDOWS", "0", "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    result = kindred("tracks")
    assert result.exit_code == 1
    assert words in result.stderr


def test_missing_clap_weights_are_said_and_descriptors_work(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINDRED_ENCODER", "clap")
    one = json.loads(kindred("tracks", "--json").stdout)["tracks"][0]["track_id"]
    result = kindred("similar", one, "--json")
    assert result.exit_code == 0
    assert "weights are missing" in result.stderr
    assert json.loads(result.stdout)["space"]["model"] == "descriptors"
    assert kindred("similar", one, "--encoder", "clap").exit_code == 1


def test_quarantine_prune_doctor_and_models(library: Path) -> None:
    (library / "empty.mp3").write_bytes(b"")
    kindred("ingest", library)
    [bad] = json.loads(kindred("quarantine", "--json").stdout)["quarantine"]
    assert bad["code"] == "empty"
    (library / "0 Tone.wav").unlink()
    kindred("ingest", library)
    assert json.loads(kindred("prune", "--json").stdout) == {"removed": 1}
    checks = json.loads(kindred("doctor", "--json").stdout)["checks"]
    named = {check["name"]: check for check in checks}
    assert named["Library (local)"]["found"].endswith("2 tracks")
    assert named["Encoder clap"]["remedy"].startswith("kindred models pull")
    assert named["Encoder descriptors"]["ok"]
    models = json.loads(kindred("models", "list", "--json").stdout)["models"]
    assert {row["name"]: row["ready"] for row in models} == {
        "descriptors": True,
        "clap": False,
        "mert": False,
        "expressive": False,
    }


def test_import_names_bad_rows(library: Path) -> None:
    table = library / "tracks_metadata.csv"
    table.write_text(
        "track_id,title,composer,audio_path\nt1,Air,J.S. Bach,0 Tone.wav\nt2,Gone,,none.wav\n"
    )
    result = kindred("import", table)
    assert result.exit_code == 0
    assert "1 rows imported" in result.stdout
    assert "line 3" in result.stdout
    tracks = json.loads(kindred("tracks", "--json").stdout)["tracks"]
    assert {"t1"} <= {track["track_id"] for track in tracks}
    assert len(tracks) == 3


def test_importing_kindred_is_quick_and_light() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import kindred, kindred.services;"
        "import kindred.cli;"
        "heavy = {'torch', 'faiss', 'umap', 'numba', 'librosa', 'transformers', 'streamlit'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- evaluate --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of 24 tones: composers of 9, 7, 5, 2 and 1 tracks, each in works of two."""
    home = tmp_path_factory.mktemp("composed")
    composers = ["Ada"] * 9 + ["Ben"] * 7 + ["Cyd"] * 5 + ["Dag"] * 2 + ["Eve"]
    order = np.random.default_rng(3).permutation(24)
    for number in range(24):
        tone(home / "music" / f"{number:02d}.wav", hz=150 * 1.15**number, seconds=1.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        services = build(home=str(home / "library"))
        services.ingest().run([home / "music"])
        tracks = sorted(services.storage.list_tracks(), key=lambda track: track.path)
        services.storage.put_tracks(
            replace(track, title=f"Piece {place}", composer=composers[place], work=f"{place // 2}",
                    artist="Fay" if place % 3 else "", album=f"Album {place % 5}")
            for track, place in zip(tracks, order.tolist(), strict=True)
        )  # fmt: skip
        services.close()
    return home / "library"


@pytest.fixture
def evaluated(composed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in use."""
    shutil.copytree(composed, tmp_path / "composed")
    monkeypatch.setenv("KINDRED_HOME", str(tmp_path / "composed"))
    return tmp_path / "composed"


def by_hand(k: int, *, same_work: bool = True) -> dict[str, dict[str, float]]:
    """Micro and macro means of a library, from its vectors and tags alone."""
    services = build()
    tracks = services.storage.list_tracks()
    space = services.encoder("descriptors").space
    ids, vectors = services.storage.get_embeddings(space, [track.track_id for track in tracks])
    assert ids == sorted(ids)
    services.close()
    composer = np.array([track.composer for track in tracks])
    group = np.array([f"{track.composer} {track.work}" for track in tracks])
    rows: dict[str, list[dict[str, float]]] = {}
    for query in range(len(ids)):
        gone = np.zeros(len(ids), bool) if same_work else group == group[query]
        gone[query] = True
        scores = np.where(gone, -np.inf, vectors.astype(float) @ vectors[query].astype(float))
        order = [row for row in np.argsort(-scores, kind="stable") if not gone[row]]
        right = composer[order] == composer[query]
        if not right.any():
            continue
        gains = 1 / np.log2(np.arange(2, k + 2))
        rows.setdefault(composer[query], []).append(
            {
                f"precision@{k}": right[:k].sum() / k,
                f"hit_rate@{k}": float(right[:k].any()),
                f"ndcg@{k}": gains[: len(right[:k])] @ right[:k] / gains[: right.sum()].sum(),
            }
        )
    every = [row for found in rows.values() for row in found]
    enough = [name for name in rows if len(set(group[composer == name])) >= 3]
    return {
        name: {
            "micro": float(np.mean([row[name] for row in every])),
            "macro": float(
                np.mean([np.mean([row[name] for row in rows[each]]) for each in enough])
            ),
        }
        for name in every[0]
    }


@pytest.mark.parametrize("k", [5, 30])
@pytest.mark.usefixtures("evaluated")
def test_composer_retrieval_in_json_is_what_plain_numpy_finds(k: int) -> None:
    result = kindred("evaluate", "composers", "--encoder", "descriptors", "-k", k, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    for name, means in by_hand(k).items():
        assert {"micro", "macro", "ci95", "chance", "ceiling"} <= set(document[name])
        assert document[name]["micro"] == pytest.approx(means["micro"], abs=1e-8)
        assert document[name]["macro"] == pytest.approx(means["macro"], abs=1e-8)
        low, high = document[name]["ci95"]
        assert low - 1e-9 <= means["macro"] <= high + 1e-9
        assert 0 < document[name]["chance"] <= document[name]["ceiling"] <= 1
    for name, means in by_hand(k, same_work=False).items():
        found = document["variants"]["not_same_work"][name]
        assert found["micro"] == pytest.approx(means["micro"], abs=1e-8)
        assert found["macro"] == pytest.approx(means["macro"], abs=1e-8)
    assert {f"recall@{k}", "mrr", "r_precision", "map"} <= set(document)
    assert set(document["variants"]) == {
        "plain", "not_same_work", "not_same_album", "not_near_duplicates", "controlled",
    }  # fmt: skip
    assert document["queries"] == 23
    assert document["singletons"] == 1
    for fact in ("run_id", "created_at", "versions", "git", "library", "seed", "duration_s"):
        assert fact in document
    assert document["options"]["encoders"] == ["descriptors"]


@pytest.mark.usefixtures("evaluated")
def test_composer_retrieval_for_people_has_the_headline_first() -> None:
    result = kindred("evaluate", "composers")
    assert result.exit_code == 0, result.output
    head, said, *rest = result.stdout.splitlines()
    assert head == "descriptors: 24 tracks, 5 labels (composer), the first 5 answers"
    assert said.startswith("Of 5 answers, ")
    assert "24 of 24 descriptors: queries answered" in result.stderr
    assert any("tells of these alone" in line for line in rest)  # 3 composers
    assert rest[-1].startswith("Kept as ")


@pytest.mark.usefixtures("evaluated")
def test_several_systems_are_compared_and_kept_runs_can_be_looked_at() -> None:
    several = kindred("evaluate", "composers", "--scoring", "cosine", "--scoring", "csls", "--json")
    document = json.loads(several.stdout)
    assert [report["name"] for report in document["reports"]] == [
        "descriptors", "descriptors, csls",
    ]  # fmt: skip
    assert set(document["comparisons"]) == {"plain", "controlled"}
    one = json.loads(kindred("evaluate", "composers", "--scoring", "csls", "--json").stdout)
    runs = json.loads(kindred("evaluate", "list", "--json").stdout)["runs"]
    assert {run["run_id"] for run in runs} == {document["run_id"], one["run_id"]}
    assert one["run_id"] in kindred("evaluate", "list").stdout
    assert json.loads(kindred("evaluate", "show", one["run_id"], "--json").stdout) == one
    for variant in ("plain", "not_same_work"):
        shown = kindred("evaluate", "show", document["run_id"], "--variant", variant).stdout
        assert f"{variant.replace('_', ' ')}, 14 works; differences" in shown
    both = kindred("evaluate", "compare", document["run_id"], one["run_id"], "--json")
    names = set(json.loads(both.stdout)["reports"])
    assert names == {
        "descriptors",
        f"descriptors, csls ({document['run_id']})",
        f"descriptors, csls ({one['run_id']})",
    }
    alone = kindred("evaluate", "compare", document["run_id"])
    assert "descriptors - descriptors, csls" in alone.stdout
    deleted = kindred("evaluate", "delete", one["run_id"], "--json")
    assert json.loads(deleted.stdout) == {"deleted": one["run_id"]}
    assert kindred("evaluate", "show", one["run_id"]).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["composers", "-k", "0"],
        ["composers", "-k", "five"],
        ["composers", "--scoring", "magic"],
        ["composers", "--pooling", "median"],
        ["composers", "--variant", "none"],
        ["show"],
        ["compare"],
        ["delete"],
    ],
)
def test_wrong_use_of_evaluate_is_2(arguments: list[str]) -> None:
    assert kindred("evaluate", *arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["composers", "--encoder", "magic"], "magic"),
        (["composers", "--label", "mood"], "has the tag 'mood'"),
        (["composers", "--label", "title"], "same title"),
        (["composers", "--scoring", "index", "--pooling", "mean"], "pool them as stored"),
        (["show", "nothing"], "There is no evaluation 'nothing'"),
        (["compare", "nothing"], "There is no evaluation 'nothing'"),
        (["delete", "nothing"], "There is no evaluation 'nothing'"),
    ],
)
@pytest.mark.usefixtures("evaluated")
def test_refusals_of_evaluate_are_1_with_one_line(arguments: list[str], words: str) -> None:
    result = kindred("evaluate", *arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_evaluating_an_empty_library_is_refused() -> None:
    result = kindred("evaluate", "composers")
    assert result.exit_code == 1
    assert "No track has vectors of descriptors" in result.stderr
    assert kindred("evaluate", "list").stdout == "There are no evaluations yet.\n"
