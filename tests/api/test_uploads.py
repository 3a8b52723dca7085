"""Audio that is sent: heard as a file is, bounded, and never left lying about."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Message

from kindred.api import uploads
from kindred.api.app import create_api, standalone
from kindred.cli import main
from kindred.services import Services, build
from tests.api.asgi import chunks, request, silence
from tests.api.conftest import Ask
from tests.conftest import tone

MIB = 1 << 20
ROUTES = ("/api/embed", "/api/search_by_audio")
BYTES = {"Content-Type": "application/octet-stream"}
FORM = {"Content-Type": "multipart/form-data; boundary=y"}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Three tones, and at most 1 MiB of audio in a request."""
    built = build(max_upload_mb=1)
    for number, composer in enumerate(("low", "middle", "high")):
        tone(tmp_path / "music" / f"{composer}.wav", hz=300 + 200 * number)
    built.ingest().run([tmp_path / "music"])
    yield built
    built.close()


@pytest.fixture
def app(services: Services) -> Starlette:
    return standalone(create_api(services))


@pytest.fixture
def client(app: Starlette) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tone(tmp_path / "clip.wav", hz=500, seconds=3)


def bodies(clip: Path) -> list[dict[str, Any]]:
    """The ways to send a file."""
    data = clip.read_bytes()
    return [
        {"files": {"file": (clip.name, data)}},
        {"files": {"file": (clip.name, data, "audio/wav")}},
        {"content": data, "headers": {"Content-Type": "audio/wav"}},
        {"content": data, "headers": {"Content-Type": "Application/Octet-Stream; x=1"}},
        {"content": data, "headers": {"Content-Type": "video/webm"}},
    ]


def test_embed_is_what_the_services_embed(
    client: TestClient, services: Services, clip: Path, temporary: Path
) -> None:
    wanted = services.embed_clip(clip)
    for number, body in enumerate(bodies(clip)):
        answer = client.post("/api/embed", **body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["space"] == wanted.space.to_dict()
        assert found["name"] == ("clip.wav" if number < 2 else "clip")
        assert np.array_equal(np.array(found["vector"], np.float32), wanted.vector)
    assert list(temporary.iterdir()) == []
    assert services.storage.count_tracks() == 3


def test_search_by_audio_is_what_the_command_says(client: TestClient, clip: Path) -> None:
    said = json.loads(CliRunner().invoke(main, ["similar", "--audio", str(clip), "--json"]).stdout)
    said["query"]["audio"] = "clip.wav"
    with clip.open("rb") as file:
        assert client.post("/api/search_by_audio", files={"file": file}).json() == said
    [first] = client.post(
        "/api/search_by_audio?k=1", content=clip.read_bytes(), headers={"Content-Type": "audio/x"}
    ).json()["hits"]
    assert first["title"] == said["hits"][0]["title"] == "middle"


def test_search_by_audio_takes_filters(ask: Ask, clip: Path) -> None:
    asked = {"composer": "composer 2", "genre": ["Folk", "Baroque"], "k": 100}
    found = ask("library").post("/api/search_by_audio", params=asked, **bodies(clip)[0])
    del asked["k"]
    listed = ask("library").get("/api/tracks", params=asked)
    ids = {hit["track_id"] for hit in found.json()["hits"]}
    assert ids == {track["track_id"] for track in listed.json()["tracks"]}
    assert len(ids) > 2


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"this is not music", "not-audio"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "not-audio"),
        (b"RIFF\xff\xff\xff\x7fWAVEfmt ", "damaged"),
    ],
)
def test_what_is_no_audio_is_refused_with_its_code(
    client: TestClient, temporary: Path, route: str, data: bytes, code: str
) -> None:
    for body in ({"files": {"file": ("<b>.wav", data)}}, {"content": data, "headers": BYTES}):
        answer = client.post(route, **body)  # type: ignore[arg-type]
        assert answer.status_code == 422, answer.text
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("AudioError", code)
        assert error["message"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("route", ROUTES)
def test_silence_has_a_code_too(client: TestClient, tmp_path: Path, route: str) -> None:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(22_050 * 2), 22_050, format="WAV")
    answer = client.post(route, content=buffer.getvalue(), headers=BYTES)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "silent")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 415, "curl -F"),
        ({"json": {"file": "x"}}, 415, "application/json"),
        ({"data": {"file": "x"}}, 415, "x-www-form-urlencoded"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"x", "headers": FORM}, 400, "form"),
        ({"content": b"--y\r\n\r\n", "headers": FORM}, 400, "form"),
        ({"files": {"audio": b"x"}}, 422, "`file`"),
        ({"files": {"file": b"x"}, "data": {"k": "5"}}, 422, "address"),
        ({"files": [("file", b"x"), ("file", b"y")]}, 400, "files"),
        ({"files": {"file": (None, b"x")}}, 422, "`file`"),
    ],
)  # fmt: skip
def test_what_is_sent_otherwise_is_refused_with_the_reason(
    client: TestClient, temporary: Path, body: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/api/embed", **body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-16", "hex", "rot13", "no-such", "\xff"])
def test_a_name_in_any_charset(client: TestClient, clip: Path, charset: str) -> None:
    body = b'--y\r\nContent-Disposition: form-data; name="file"; filename="\\ud800"\r\n\r\n'
    answer = client.post(
        "/api/embed",
        content=body + clip.read_bytes() + b"\r\n--y--\r\n",
        headers={
            "Content-Type": f"multipart/form-data; boundary=y; charset={charset}".encode("latin-1")
        },
    )
    assert answer.status_code in (200, 400, 422), answer.text
    answer.json()


@pytest.mark.parametrize("size", [MIB, MIB + 1])
def test_the_largest_audio(client: TestClient, temporary: Path, size: int) -> None:
    data = b"x" * size
    taken = 422 if size == MIB else 413  # heard, and no audio; or not even heard
    for body in ({"files": {"file": data}}, {"content": data, "headers": BYTES}):
        answer = client.post("/api/embed", **body)  # type: ignore[arg-type]
        assert answer.status_code == taken, answer.text
    assert list(temporary.iterdir()) == []


def test_too_much_is_refused_before_it_is_read(app: Starlette) -> None:
    answer = request(app, chunks(b"x"), headers=BYTES | {"Content-Length": str(MIB + 1)})
    assert (answer.status, answer.taken) == (413, 0)
    assert "1 MiB" in answer.error["message"]
    assert "KINDRED_MAX_UPLOAD_MB" in answer.error["message"]
    huge = request(app, chunks(b"x"), headers=BYTES | {"Content-Length": "9" * 5_000})
    assert huge.status == 413


HEAD = b'--y\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(("headers", "head"), [(BYTES, b""), (FORM, HEAD)])
def test_too_much_without_a_length_is_refused_while_it_comes(
    app: Starlette, temporary: Path, headers: dict[str, str], head: bytes
) -> None:
    part = b"x" * (MIB // 4)

    async def endless() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": head, "more_body": True}
        while True:
            yield {"type": "http.request", "body": part, "more_body": True}

    answer = request(app, endless(), headers=headers)
    assert (answer.status, answer.error["type"]) == (413, "TooLarge")
    assert answer.taken < 8
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("headers", "head"), [(BYTES, b""), (FORM, HEAD)])
def test_an_upload_that_stops_is_given_up(
    app: Starlette,
    temporary: Path,
    headers: dict[str, str],
    head: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.05)
    answer = request(app, silence(head, b"x" * 100_000), headers=headers)
    assert (answer.status, answer.error["type"]) == (408, "Timeout")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("headers", "head"), [(BYTES, b""), (FORM, HEAD)])
def test_an_upload_that_breaks_off_leaves_nothing(
    app: Starlette, temporary: Path, headers: dict[str, str], head: bytes
) -> None:
    gone: Message = {"type": "http.disconnect"}
    answer = request(app, chunks(head, b"x" * 100_000, end=gone), headers=headers)
    assert (answer.status, answer.error["type"]) == (400, "Aborted")
    assert list(temporary.iterdir()) == []


def test_a_request_that_is_cancelled_leaves_nothing(app: Starlette, temporary: Path) -> None:
    async def cancelled() -> None:
        body = silence(b"x" * 100_000)
        scope = {
            "type": "http", "method": "POST", "path": "/api/embed", "raw_path": b"/api/embed",
            "query_string": b"", "headers": [(b"content-type", b"audio/wav")], "root_path": "",
        }  # fmt: skip
        waiting = asyncio.Event()

        async def receive() -> Message:
            waiting.set()
            return await anext(body)

        async def send(message: Message) -> None:
            raise AssertionError(message)

        task = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]
        await waiting.wait()
        assert len(list(temporary.iterdir())) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("route", ROUTES)
def test_an_artifact_cannot_hear(ask: Ask, clip: Path, route: str) -> None:
    for body in bodies(clip):
        answer = ask("artifact").post(route, **body)
        assert answer.status_code == 409
        assert answer.json()["error"]["type"] == "ModelNeeded"
