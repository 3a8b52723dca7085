"""The commands about artifacts, on a library of tones: there and back again, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result

from kindred.cli import main
from tests.artifacts.s3_server import S3Server
from tests.conftest import tone


def kindred(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(item) for item in arguments])


def answered(*arguments: object) -> dict[str, object]:
    result = kindred(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """Three tones, as an artifact."""
    for number in range(3):
        tone(tmp_path / "music" / f"{number} Tone.wav", hz=300 + 200 * number)
    answered("ingest", tmp_path / "music")
    assert answered("artifacts", "export", tmp_path / "out")["tracks"] == 3
    return tmp_path / "out" / "v1_model_descriptors"


def test_an_artifact_makes_another_library(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answered("artifacts", "verify", artifact)["tracks"] == 3
    one = json.loads(kindred("tracks", "--json").stdout)["tracks"][0]["track_id"]
    hits = answered("similar", one)["hits"]
    monkeypatch.setenv("KINDRED_HOME", str(tmp_path / "other"))
    assert answered("artifacts", "import", artifact)["added"] == 3
    assert answered("similar", one)["hits"] == hits
    answered("artifacts", "export", tmp_path / "again")
    result = kindred("artifacts", "diff", artifact, tmp_path / "again" / artifact.name)
    assert result.exit_code == 0, result.output


def test_a_wrong_byte_is_named(artifact: Path) -> None:
    vectors = artifact / "embeddings" / "embeddings.f32"
    data = bytearray(vectors.read_bytes())
    data[5] ^= 1
    vectors.write_bytes(data)
    for command in ("verify", "import"):
        result = kindred("artifacts", command, artifact)
        assert result.exit_code == 1
        assert "embeddings/embeddings.f32" in result.output


def test_artifacts_that_differ_are_told(artifact: Path, tmp_path: Path) -> None:
    tone(tmp_path / "music" / "New.wav", hz=1000)
    answered("ingest", tmp_path / "music")
    answered("artifacts", "export", tmp_path / "more")
    result = kindred("artifacts", "diff", artifact, tmp_path / "more" / artifact.name, "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["added"]) == 1


def test_to_s3_and_back(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = S3Server()
    try:
        for name, value in (
            ("AWS_ENDPOINT_URL", server.url),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="kindred-cli")
        url = "s3://kindred-cli/v1_model_descriptors"
        assert answered("artifacts", "push", artifact, url)["moved"]
        assert answered("artifacts", "push", artifact, url)["moved"] == 0
        answered("artifacts", "pull", url, tmp_path / "pulled")
    finally:
        server.stop()
    assert answered("artifacts", "verify", tmp_path / "pulled")["tracks"] == 3
    assert kindred("artifacts", "diff", artifact, tmp_path / "pulled").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "nowhere"], "nowhere"),
        (["import", "nowhere"], "nowhere"),
        (["push", "nowhere", "s3://b/k"], "nowhere"),
        (["pull", "http://b/k", "x"], "s3://"),
        (["diff", "nowhere", "x"], "nowhere"),
        (["export", "out", "--encoder", "bert"], "bert"),
        (["export", "out", "--run", "none"], "none"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: list[str], said: str) -> None:
    result = kindred("artifacts", *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output
