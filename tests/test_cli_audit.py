"""`kindred audit`, command by command. Bad input: ids of nothing, other forms, unknown systems, a
seed, days and files that cannot be, a folder that is there, a secret that was lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kindred.cli import main
from kindred.config import Settings
from kindred.services import build
from tests.audit.library import SMALL, any_one, plant, sit

SYSTEMS = ("--system", "descriptors", "--system", "descriptors, csls")
COUNTS = [
    part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", str(value))
]


def kindred(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["audit", *(str(item) for item in arguments)])


def answered(*arguments: object) -> Any:
    result = kindred(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def said(*arguments: object) -> str:
    result = kindred(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a draft that the command drew, to be copied; with what the command said."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Settings.model_config, "env_file", None)
        patch.setenv("KINDRED_HOME", str(folder / "library"))
        patch.setenv("KINDRED_MODEL_DIR", str(folder / "models"))
        services = build()
        plant(services.storage, folder / "music", services.space())
        services.close()
        document = answered("new", "A title", *SYSTEMS, *COUNTS)
    (folder / "said.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def draft(drawn: Path, home: Path) -> str:
    """The draft's id; its library is this test's own."""
    shutil.copytree(drawn / "library", home)
    return str(json.loads((drawn / "said.json").read_text())["study_id"])


@pytest.fixture
def study(draft: str) -> str:
    answered("open", draft)
    return draft


def sat(study: str, *names: str) -> list[dict[str, str]]:
    """Invite and answer everything."""
    made: list[dict[str, str]] = answered("invite", study, *names)["invitations"]
    services = build()
    for item in made:
        sit(services.audits, item["link"], any_one)
    services.close()
    return made


def test_new_says_what_was_drawn(drawn: Path, draft: str) -> None:
    document = json.loads((drawn / "said.json").read_text())
    assert set(document) == {
        "study_id", "design_hash", "items", "strata", "warnings", "power",
    }  # fmt: skip
    assert document["items"] == 5
    assert sum(document["strata"].values()) == 3
    assert len(document["design_hash"]) == 64
    [listed] = answered("list")["studies"]
    assert listed == {
        "study_id": draft, "title": "A title", "state": "draft", "form": "ab",
        "invited": 0, "begun": 0, "finished": 0, "judgements": 0,
    }  # fmt: skip


def test_power_alone_makes_nothing(home: Path) -> None:
    document = answered("new", "T", *SYSTEMS, "--listeners", 24, "--power-only")
    text = said("new", "T", *SYSTEMS, "--listeners", 24, "--power-only")
    assert document["power"] == text.strip().splitlines()
    assert "24 listeners with 20 real trials each" in text
    assert not home.exists()


def test_an_empty_library() -> None:
    assert answered("systems") == {"systems": []}
    assert "No encoder has vectors here yet." in said("systems")
    assert answered("list") == {"studies": []}
    assert "There are no studies yet." in said("list")
    assert "There is no system" in kindred("new", "T", *SYSTEMS).stderr


def test_systems(draft: str) -> None:
    names = ["descriptors", "descriptors, csls", "descriptors, mutual proximity"]
    assert answered("systems") == {"systems": names}
    assert said("systems").splitlines() == names


def test_a_draft_is_opened_once(draft: str) -> None:
    document = answered("open", draft)
    assert document["study_id"] == draft
    assert len(document["design_hash"]) == 64
    again = kindred("open", draft)
    assert again.exit_code == 1
    assert "is open already" in again.stderr


def test_links(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = answered("invite", study, "Ears", "More ears")["invitations"]
    assert [item["listener"] for item in made] == ["Ears", "More ears"]
    assert all(item["link"].startswith("http://127.0.0.1:8501/listen/") for item in made)
    monkeypatch.setenv("KINDRED_PUBLIC_URL", "https://ears.example.org/")
    name, link, invitation = said("invite", study, "Others").strip().split("\t")
    assert name == "Others"
    assert link.startswith("https://ears.example.org/listen/")
    assert answered("revoke", invitation) == {"revoked": invitation}
    services = build()
    [found] = [i for i in services.audits.store.invitations() if i.revoked_at]
    services.close()
    assert found.invitation_id == invitation


def test_results_before_anybody_answered(study: str) -> None:
    assert "Nobody has answered yet." in said("results", study)
    assert answered("results", study)["judgements"] == 0


def test_from_answers_to_files(study: str, tmp_path: Path) -> None:
    sat(study, "Ears", "More ears")
    assert "2 of 2 sittings finished, 10 answers" in said("list")
    found = answered("results", study)
    assert (found["judgements"], found["kept"]) == (10, 6)
    assert "6 of 10 answers count, of 2 of 2 listeners" in said("results", study)
    files = answered("export", study, tmp_path / "tables")["files"]
    assert [Path(name).is_file() for name in files] == [True] * 4
    used = tmp_path / "used.json"
    used.write_text('["t01"]')
    header = answered("export", study, tmp_path / "labels", "--labels", "--used-for-training", used)
    assert header["counts"]["judgements"] == 6
    assert (tmp_path / "labels" / "labels_and_splits" / "labels.json").is_file()
    again = kindred("export", study, tmp_path / "labels", "--labels")
    assert again.exit_code == 1
    assert "is there already" in again.stderr
    assert answered("close", study) == {"closed": study}
    assert "closed" in said("list")
    assert kindred("invite", study, "Late").exit_code == 1
    assert answered("close", study) == {"closed": study}  # again changes nothing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["open", "nothing"], "No listening study has the id 'nothing'"),
        (["close", "nothing"], "No listening study"),
        (["invite", "nothing", "Ears"], "No listening study"),
        (["results", "nothing"], "No listening study"),
        (["export", "nothing", "folder"], "No listening study"),
        (["export", "nothing", "folder", "--labels"], "No listening study"),
        (["revoke", "nothing"], "no invitation 'nothing'"),
        (["new", "T"], "at least 2 different systems"),
        (["new", " ", *SYSTEMS], "give it a title"),
        (["new", "T", *SYSTEMS, "--aspect", "smell"], "the aspect is one of"),
        (["new", "T", *SYSTEMS, "--trials", "0"], "trials lies between"),
        (["new", "T", *SYSTEMS, "--clip-seconds", "nan"], "clip_seconds lies between"),
        (["new", "T", *SYSTEMS, "--min-catches", "2"], "min_catches cannot be"),
        (["new", "T", *SYSTEMS, "--overlap", "20"], "20 listeners cannot hear"),
        (["new", "T", "--system", "magic", "--system", "descriptors"], "no system magic"),
    ],
)
def test_refusals_are_1_with_one_line(draft: str, arguments: list[str], words: str) -> None:
    result = kindred(*arguments)
    assert result.exit_code == 1, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("folder").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["new"],
        ["new", "T", "--form", "xy"],
        ["new", "T", "--seed", "-1"],
        ["new", "T", "--stratify", "mood"],
        ["invite", "x"],
        ["export", "x"],
        ["export", "x", "y", "--used-for-training", "no-such.json"],
        ["serve", "--port", "0"],
        ["nonsense"],
    ],
)
def test_wrong_use_is_2(arguments: list[str]) -> None:
    assert kindred(*arguments).exit_code == 2


@pytest.mark.parametrize("days", ["0", "-1", "nan", "1e12"])
def test_days_that_cannot_be(study: str, days: str) -> None:
    result = kindred("invite", study, "Ears", "--days", days)
    assert result.exit_code == 1
    assert "good for up to" in result.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b'{"t01": 1}', "no JSON list of track ids"),
        (b"[1, 2]", "no JSON list of track ids"),
    ],
)
def test_a_list_of_tracks_that_cannot_be_read(
    study: str, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "used.json").write_bytes(content)
    result = kindred(
        "export", study, tmp_path / "x", "--labels", "--used-for-training", tmp_path / "used.json"
    )
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "x").exists()


def test_serving_with_a_lost_secret_is_refused(study: str, home: Path) -> None:
    answered("invite", study, "Ears")
    (home / "audit" / "secret").unlink()
    result = kindred("serve")
    assert result.exit_code == 1
    assert "Put the file back from a backup" in result.stderr
