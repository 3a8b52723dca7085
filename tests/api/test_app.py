"""The API and the audio: ranges, what is not served, and refusals that say why."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from kindred.api.app import audio_route, create_api
from kindred.services import Services, build
from tests.conftest import tone


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    built = build()
    for number, suffix in enumerate(("wav", "flac", "aiff")):
        tone(tmp_path / "music" / f"tone {number}.{suffix}", hz=300 + 200 * number)
    built.ingest().run([tmp_path / "music"])
    yield built
    built.close()


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    routes = [Mount("/api", create_api(services)), audio_route(services)]
    with TestClient(Starlette(routes=routes)) as client:
        yield client


def track_id(services: Services, suffix: str = "wav") -> str:
    return next(t.track_id for t in services.storage.list_tracks() if t.format == suffix)


def test_health_says_what_answers(client: TestClient) -> None:
    body = client.get("/api/health").json()
    assert (body["status"], body["tracks"], body["encoder"]) == ("ok", 3, "descriptors")


def test_tracks_and_nearest(client: TestClient, services: Services) -> None:
    body = client.get("/api/tracks", params={"limit": 2}).json()
    assert (body["total"], len(body["tracks"])) == (3, 2)
    one = track_id(services)
    assert client.get(f"/api/tracks/{one}").json()["title"] == "tone 0"
    nearest = client.get(f"/api/tracks/{one}/nearest", params={"k": 5}).json()
    assert len(nearest["hits"]) == 2
    assert one not in {hit["track_id"] for hit in nearest["hits"]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/tracks/nobody", 404),
        ("/api/tracks/nobody/nearest", 404),
        ("/api/tracks/nobody/cover", 404),
        ("/api/tracks?limit=0", 422),
        ("/api/tracks?limit=x", 422),
        ("/api/nothing", 404),
    ],
)
def test_bad_requests_are_4xx(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_k_out_of_range(client: TestClient, services: Services) -> None:
    one = track_id(services)
    assert client.get(f"/api/tracks/{one}/nearest?k=0").status_code == 422
    assert client.get(f"/api/tracks/{one}/nearest?k=101").status_code == 422


def test_audio_whole_and_in_ranges(client: TestClient, services: Services) -> None:
    url = f"/audio/{track_id(services)}"
    whole = client.get(url)
    expected = services.storage.audio_path(track_id(services)).read_bytes()
    assert whole.status_code == 200
    assert whole.content == expected
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["accept-ranges"] == "bytes"
    part = client.get(url, headers={"Range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == expected[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(expected)}"
    tail = client.get(url, headers={"Range": "bytes=-50"})
    assert tail.content == expected[-50:]
    assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
    head = client.head(url)
    assert head.status_code == 200
    assert int(head.headers["content-length"]) == len(expected)


def test_what_browsers_cannot_play_is_served_as_flac(
    client: TestClient, services: Services
) -> None:
    one = track_id(services, "aiff")
    first = client.get(f"/audio/{one}")
    assert first.headers["content-type"] == "audio/flac"
    assert first.content.startswith(b"fLaC")
    info = soundfile.info(io.BytesIO(first.content))
    assert (info.channels, info.samplerate) == (2, 44_100)
    assert info.duration == pytest.approx(2, abs=0.01)
    assert client.get(f"/audio/{one}").content == first.content


@pytest.mark.parametrize(
    "name",
    ["../library.db", "..%2F..%2Fetc%2Fpasswd", "%2e%2e%2flibrary.db", "/etc/passwd", "library.db",
     "%00", "a" * 500],
)  # fmt: skip
def test_nothing_but_tracks_is_served(client: TestClient, name: str) -> None:
    response = client.get(f"/audio/{name}")
    assert response.status_code == 404
    assert b"SQLite" not in response.content
    assert b"root:" not in response.content


def test_a_track_whose_file_became_a_link_to_elsewhere_is_not_served(
    client: TestClient, services: Services, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_text("secret")
    one = track_id(services)
    path = services.storage.audio_path(one)
    path.unlink()
    path.symlink_to(secret)
    response = client.get(f"/audio/{one}")
    assert response.status_code == 404
    assert b"gone" in response.content
