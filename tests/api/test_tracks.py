"""Lists of tracks: pages, filters, ids that addresses do not like, a library that changes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from kindred.api.app import create_api, standalone
from kindred.api.listing import LiveListing
from kindred.services import Services, build
from kindred.storage.local import LocalBackend
from kindred.storage.records import FileRecord, Track, TrackFilter
from tests.api.conftest import ODD, tracks


def pages(client: TestClient, address: str) -> list[str]:
    """Ids of every page from an address on, by its links."""
    found: list[str] = []
    while address:
        body = client.get(address).json()
        found += [track["track_id"] for track in body["tracks"]]
        address = body["next"]
    return found


@pytest.mark.parametrize("limit", [1, 7, 59, 60, 1000])
def test_links_lead_through_all_pages_once(either: TestClient, limit: int) -> None:
    first = either.get("/api/tracks", params={"limit": limit}).json()
    assert (first["total"], first["limit"], first["offset"]) == (60, limit, 0)
    wanted = sorted(track.track_id for track in tracks())
    assert pages(either, f"/api/tracks?limit={limit}") == wanted


def test_a_page_beyond_the_end_is_empty(either: TestClient) -> None:
    body = either.get("/api/tracks?offset=60").json()
    assert (body["total"], body["tracks"], body["next"]) == (60, [], None)
    assert either.get(f"/api/tracks?offset={2**53}").json()["tracks"] == []


@pytest.mark.parametrize(
    ("asked", "where", "text"),
    [
        ({"composer": "COMPOSER 3"}, TrackFilter(composers=("Composer 3",)), ""),
        ({"composer": ["composer 3", "Composer 1"]},
         TrackFilter(composers=("Composer 3", "Composer 1")), ""),
        ({"composer": "Composer"}, TrackFilter(composers=("Composer",)), ""),
        ({"genre": "folk", "artist": "artist 1"},
         TrackFilter(genres=("Folk",), artists=("Artist 1",)), ""),
        ({"album": "ALBUM 5", "q": "pRÉLUDE"}, TrackFilter(albums=("Album 5",)), "prélude"),
        ({"q": "No. 1"}, TrackFilter(), "no. 1"),
        ({"q": "%"}, TrackFilter(), "%"),
    ],
)  # fmt: skip
def test_filters(either: TestClient, asked: dict[str, str], where: TrackFilter, text: str) -> None:
    body = either.get("/api/tracks", params=asked | {"limit": 1000}).json()
    wanted = [
        track.track_id
        for track in tracks()
        if where.accepts(track) and text in track.title.casefold()
    ]
    assert [track["track_id"] for track in body["tracks"]] == sorted(wanted)
    assert body["total"] == len(wanted)


def test_the_next_page_keeps_every_filter(either: TestClient) -> None:
    asked = {"composer": ["Composer 1", "Composer 2"], "limit": 3, "q": "No."}
    first = either.get("/api/tracks", params=asked).json()
    whole = either.get("/api/tracks", params=asked | {"limit": 1000}).json()["tracks"]
    assert len(whole) > 6
    assert first["next"].count("composer=") == 2
    assert pages(either, "/api/tracks?composer=Composer+1&composer=Composer+2&limit=3&q=No.") == [
        track["track_id"] for track in whole
    ]


@pytest.mark.parametrize("track_id", ODD)
@pytest.mark.parametrize("route", ["", "/nearest?k=1", "/composer-eval"])
def test_odd_ids_stand_for_themselves(either: TestClient, track_id: str, route: str) -> None:
    answer = either.get(f"/api/tracks/{quote(track_id, safe='')}{route}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.get("query", body)["track_id"] == track_id


@pytest.mark.parametrize(
    "track_id", ["a/b/", "A/B", "nobody", "a%2525b", "x" * 199, "\0", "\ud7ff", "..%2f..", "t001 "]
)
def test_other_ids_are_of_no_track(either: TestClient, track_id: str) -> None:
    answer = either.get(f"/api/tracks/{quote(track_id, safe='')}")
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "TrackNotFound"


def test_bytes_that_are_no_text_are_of_no_track(either: TestClient) -> None:
    for raw in ("%FF", "%ED%A0%80", "%C0%AF"):
        assert either.get(f"/api/tracks/{raw}").status_code == 404
        assert either.get(f"/api/tracks/{raw}/nearest").status_code == 404


def test_an_id_is_at_most_200_characters(either: TestClient) -> None:
    answer = either.get("/api/tracks/" + "x" * 201)
    assert answer.status_code == 422
    assert "track_id" in answer.json()["error"]["message"]
    assert len(answer.text) < 400
    assert either.get("/api/tracks/" + quote("𝄞" * 200)).status_code == 404


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    services = build(home=tmp_path / "library")
    services.storage.put_tracks([Track("one", title="One")])
    path = os.fsdecode(b"/music/na\xefve.wav")
    services.storage.put_files([FileRecord(path, 1, 1, "", "one")])
    with TestClient(standalone(create_api(services))) as client:
        found = client.get("/api/tracks/one").json()
        assert found["path"] == "/music/na\\udcefve.wav"
        assert client.get("/api/tracks").json()["tracks"] == [found]
    services.close()


class Counting(LocalBackend):
    """A library that counts the tracks that are read of it."""

    read = 0

    def get_tracks(self, track_ids: object) -> list[Track]:
        found = super().get_tracks(track_ids)  # type: ignore[arg-type]
        self.read += len(found)
        return found

    def list_tracks(self, where: TrackFilter = TrackFilter()) -> list[Track]:
        found = super().list_tracks(where)
        self.read += len(found)
        return found


def test_only_tracks_that_changed_are_read_again(tmp_path: Path) -> None:
    store = Counting(tmp_path)
    made = tracks()
    store.put_tracks(made)
    listing = LiveListing(store)
    assert listing.now().find() == sorted(track.track_id for track in made)
    assert listing.now() is listing.now()
    store.read = 0
    store.put_tracks([replace(made[3], title="Another"), Track("new", title="Another")])
    store.delete_tracks([made[5].track_id])
    assert listing.now().find(text="another") == sorted([made[3].track_id, "new"])
    assert made[5].track_id not in listing.now().facts
    assert store.read == 2
    store.put_setting("any", "thing")  # the version moves, the tracks do not
    before = listing.now()
    assert (listing.now() is before, store.read) == (True, 2)
    store.close()


def test_a_page_reads_its_own_tracks_alone(
    live_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = type(live_services.storage).get_tracks

    def counted(self: LocalBackend, track_ids: list[str]) -> list[Track]:
        read.append(len(track_ids))
        return whole(self, track_ids)

    with TestClient(standalone(create_api(live_services))) as client:
        client.get("/api/tracks?limit=1")
        monkeypatch.setattr(LocalBackend, "get_tracks", counted)
        monkeypatch.setattr(LocalBackend, "list_tracks", None)
        client.get("/api/tracks?limit=5&offset=10")
        client.get("/api/tracks?composer=Composer 1&limit=3")
    assert read == [5, 3]
