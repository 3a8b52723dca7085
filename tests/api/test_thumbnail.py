"""Small covers for the map: what there is, what there is not, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from kindred.api.app import thumbnail_route
from kindred.services import Services, build
from kindred.storage.records import Track

WEBP = b"RIFF\x00\x00\x00\x00WEBPsmall"


@pytest.fixture
def services() -> Iterator[Services]:
    built = build()
    built.storage.put_tracks([Track("plain"), Track("a/b ä"), Track("bare")])
    for track_id in ("plain", "a/b ä"):
        built.storage.put_cover(track_id, b"large", WEBP)
    yield built
    built.close()


@pytest.fixture
def client(services: Services) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=[thumbnail_route(services)])) as client:
        yield client


@pytest.mark.parametrize("address", ["plain", "a/b ä", "a%2Fb%20%C3%A4"])
def test_a_small_cover(client: TestClient, address: str) -> None:
    answer = client.get(f"/thumbnail/{address}")
    assert (answer.status_code, answer.content) == (200, WEBP)
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "private" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "address",
    ["bare", "nobody", "", "..%2Flibrary.db", "%00", "'; DROP TABLE covers; --", "x" * 5000],
)
def test_no_cover(client: TestClient, address: str) -> None:
    assert client.get(f"/thumbnail/{address}").status_code == 404


def test_a_library_that_does_not_answer_is_no_cover(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kindred.errors import StorageError

    def away(track_ids: object) -> dict[str, bytes]:
        raise StorageError("The database is away.")

    monkeypatch.setattr(services.storage, "get_thumbnails", away)
    answer = client.get("/thumbnail/plain")
    assert answer.status_code == 404
    assert "away" in answer.text
