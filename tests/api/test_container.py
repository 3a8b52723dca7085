"""The container files, as far as they can be checked without an engine.

Linters read them, their names are compared with what is there, and the entry script is run: it
fetches an artifact from an S3 store on this machine and serves it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from packaging.requirements import Requirement

from kindred.artifacts.transfer import push
from tests.api.conftest import World
from tests.api.server import serving_api
from tests.artifacts.s3_server import S3Server
from tests.browsing import ROOT

ENTRY = ROOT / "scripts" / "container-api"
SECRETS = re.compile(r"(?i)key|token|secret|password")


def instructions() -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage, each stage with those of the one it is built from."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages[name] = list(stages.get(image, [("FROM", image)]))
        elif word:
            stages[name].append((word, rest))
    return stages


STAGES = instructions()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = ("api", "app")


def of(stage: str, word: str) -> list[str]:
    return [rest for kind, rest in STAGES[stage] if kind == word]


@pytest.mark.parametrize(
    "command",
    [["hadolint", "--strict-labels", "Containerfile"], ["shellcheck", str(ENTRY)]],
    ids=lambda command: command[0],
)
def test_linters_find_nothing(command: list[str]) -> None:
    program = Path(sys.executable).with_name(command[0])
    if not program.exists():
        pytest.skip(f"{command[0]} is not made for this machine")
    done = subprocess.run(
        [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_entry_is_a_script_that_can_be_run() -> None:
    subprocess.run(["bash", "-n", ENTRY], check=True)
    assert os.access(ENTRY, os.X_OK)


def test_the_stages() -> None:
    assert list(STAGES) == ["base", "app", "api"]  # the last is built where none is named
    for stage in SERVICES:
        [image] = of(stage, "FROM")
        assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-[a-z]+", image)


@pytest.mark.parametrize("stage", SERVICES)
def test_it_does_not_run_as_root(stage: str) -> None:
    [user] = of(stage, "USER")
    assert user.isdecimal()
    assert int(user) >= 1_000
    assert any(f"--uid {user}" in line for line in of(stage, "RUN"))
    kinds = [kind for kind, _ in STAGES[stage]]
    assert "RUN" not in kinds[kinds.index("USER") :]
    assert not of(stage, "ADD")


@pytest.mark.parametrize("stage", SERVICES)
def test_it_says_whether_it_is_healthy(stage: str) -> None:
    [check] = of(stage, "HEALTHCHECK")
    command = json.loads(check[check.index("CMD") + 3 :])
    environment = dict(pair.split("=", 1) for line in of(stage, "ENV") for pair in line.split())
    assert f":{environment['KINDRED_PORT']}/api/health" in command[2]
    assert of(stage, "EXPOSE") == [environment["KINDRED_PORT"]]
    compile(command[2], "health", "exec")


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path from the build; its last matching line counts."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = [path, *map(str, Path(path).parents)]
        forms = (pattern, pattern.removeprefix("**/"))
        if any(fnmatch(part, form) for part in parts for form in forms):
            result = not line.startswith("!")
    return result


@pytest.mark.parametrize("stage", SERVICES)
def test_what_is_copied_is_there_and_nothing_else_is_sent(stage: str) -> None:
    copied = [
        name
        for line in of(stage, "COPY")
        for name in [word for word in line.split() if not word.startswith("--")][:-1]
    ]
    assert "src" in copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert not ignored(name), name
    kept_out = (
        ".env", ".git/config", "data/library/library.db", ".streamlit/secrets.toml",
        "tests/conftest.py", ".venv/bin/python", "src/kindred/__pycache__/x.pyc",
    )  # fmt: skip
    for name in kept_out:
        assert ignored(name), name


@pytest.mark.parametrize("stage", SERVICES)
def test_no_secret_is_baked_in(stage: str) -> None:
    for word in ("ENV", "ARG"):
        for line in of(stage, word):
            for pair in line.split():
                assert not SECRETS.search(pair.partition("=")[0]), pair


@pytest.mark.parametrize("name", SERVICES)
def test_compose_services(name: str) -> None:
    service: dict[str, Any] = COMPOSE["services"][name]
    assert service["build"] == {"context": ".", "dockerfile": "Containerfile", "target": name}
    assert re.fullmatch(rf"kindred-{name}:\d+\.\d+\.\d+", service["image"])
    assert service["image"].endswith(f":{metadata.version('kindred')}")
    [port] = service["ports"]
    inside = of(name, "EXPOSE")[0]
    assert port == f"${{KINDRED_PUBLISH:-127.0.0.1}}:{inside}:{inside}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "user" not in service
    assert "privileged" not in service
    for variable, value in service["environment"].items():
        assert value is None, variable  # passed on; nothing is written here
    volumes = [volume.rsplit(":", 2)[0] for volume in service["volumes"] if "$" not in volume]
    assert {volume.partition(":")[0] for volume in volumes} <= set(COMPOSE["volumes"])
    assert any(":/data" in volume for volume in service["volumes"])


# -- what the small image installs -----------------------------------------------------------------
def installed() -> list[str]:
    """The packages that the api image asks for."""
    [line] = [line for line in of("api", "RUN") if "-c pins.txt" in line]
    return line.partition("-c pins.txt")[2].split()


def test_pins_are_those_of_requirements(tmp_path: Path) -> None:
    for name in ("requirements.txt", "requirements-nodeps.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    [make] = [line for line in of("api", "RUN") if line.startswith("sed")]
    subprocess.run(["bash", "-c", make], cwd=tmp_path, check=True)
    run, pins = (
        [line for line in (tmp_path / name).read_text().splitlines() if line[:1] not in ("", "#")]
        for name in ("run.txt", "pins.txt")
    )
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.+]+", pin) for pin in pins)
    assert [re.sub(r"\[.*\]", "", line) for line in run] == pins
    names = {pin.partition("==")[0] for pin in pins}
    assert set(installed()) <= names
    assert {"streamlit", "torch", "librosa"} <= names
    assert not names & {"pytest", "moto", "playwright", "ruff"}


def closure(names: list[str]) -> set[str]:
    """Packages and all they depend on, as this installation has them."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo.append(needed.name)
    return found


ALONE = """
import sys
absent, artifact = set(sys.argv[1].split(",")), sys.argv[2]

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Absent())
import uvicorn
import kindred.artifacts.transfer, kindred.artifacts.s3_client, boto3
from pathlib import Path
from kindred.artifacts.verify import verify
from kindred.api.app import create_api, standalone
from kindred.api.artifact import ArtifactSource
from kindred.cli import main
source = ArtifactSource(verify(Path(artifact)))
standalone(create_api(source)).build_middleware_stack()
from kindred.search.query import SimilarQuery
print(len(source.similar(SimilarQuery(plus=("t001",))).matches))
print(len(source.gallery().judge("t001", k=5)))
"""


def test_the_api_image_has_all_that_serving_an_artifact_imports(world: World) -> None:
    there = closure(installed())
    absent = [
        module
        for module, packages in metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in packages} & {*there, "kindred"}
    ]
    assert {"torch", "scipy", "streamlit", "faiss", "soundfile"} <= set(absent)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, ",".join(absent), str(world.artifact)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["10", "2"]


# -- the entry -------------------------------------------------------------------------------------
@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    server = S3Server()
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "KINDRED_API_KEY": "key",
        "KINDRED_ARTIFACT": str(tmp_path / "data" / "artifact"),
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def tracks(url: str) -> int:
    asked = urllib.request.Request(f"{url}/tracks", headers={"X-API-Key": "key"})
    with urllib.request.urlopen(asked) as answer:
        return int(json.load(answer)["total"])


def test_the_entry_fetches_an_artifact_and_serves_it(
    store: S3Server, world: World, tmp_path: Path
) -> None:
    boto3.client("s3").create_bucket(Bucket="models")
    push(world.artifact, "s3://models/one")
    env = {"KINDRED_ARTIFACT_URL": "s3://models/one"}
    log = tmp_path / "log"
    with serving_api(log=log, env=env, command=[str(ENTRY)]) as url:
        assert tracks(url) == 60
    assert len(store.seen("GET", "embeddings.f32")) == 1

    with serving_api(log=log, env=env, command=[str(ENTRY)]) as url:
        assert tracks(url) == 60
    assert len(store.seen("GET", "embeddings.f32")) == 1  # it was there

    gone = env | {"KINDRED_ARTIFACT_URL": "s3://models/no-such"}
    with serving_api(log=log, env=gone, command=[str(ENTRY)]) as url:
        assert tracks(url) == 60
    assert "the one fetched before is served" in log.read_text()

    with serving_api(log=log, env={}, command=[str(ENTRY)]) as url:  # a folder that is mounted
        assert tracks(url) == 60


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "Set KINDRED_ARTIFACT_URL"),
        ({"KINDRED_ARTIFACT_URL": "s3://models/no-such"}, "holds no whole artifact"),
        ({"KINDRED_ARTIFACT_URL": "https://example.org"}, "s3://"),
    ],
)
def test_the_entry_does_not_start_without_an_artifact(
    store: S3Server, tmp_path: Path, env: dict[str, str], said: str
) -> None:
    boto3.client("s3").create_bucket(Bucket="models")
    done = subprocess.run(
        [ENTRY], env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
