"""The commands: their JSON, their exit status (0, 1 or 2), one clear line where they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kindred.cli import main
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
