"""The Python side of the player, the cards and the covers, without a browser."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from kindred.ui.cards import CardEvent, CardItem, _read_event, cards, percent_shares
from kindred.ui.covers import cover_uri, initials, placeholder_cover
from kindred.ui.player import PlayerTrack, encode_peaks
from tests.ui.scratch_audio import HOSTILE, items, make_files


def _svg(uri: str) -> ET.Element:
    head, body = uri.split(",", 1)
    assert head == "data:image/svg+xml;base64"
    return ET.fromstring(base64.b64decode(body))


def _served() -> None:
    from pathlib import Path

    from kindred.ui.cards import cards
    from kindred.ui.player import player
    from tests.ui.scratch_audio import items

    made = items(folder=Path("/nowhere"), url=lambda track_id: f"/audio/{track_id}")
    assert cards(made, key="results", served=True) is None
    assert cards(made[:1], key="query", served=True, kind="query", actions=()) is None
    player(served=True, track=made[0].to_player_track(), queue=[])


def _unserved(path: str) -> None:
    from kindred.ui.player import PlayerTrack, player

    player(
        served=False,
        track=PlayerTrack(track_id="a", title="*Stars* [x](y)", path=path),
        autoplay=True,
    )


def test_components_mount_without_a_browser() -> None:
    at = AppTest.from_function(_served).run(timeout=20)
    assert not at.exception
    assert len(at.get("bidi_component")) == 3


def test_components_mount_again_in_a_second_run() -> None:
    at = AppTest.from_function(_served).run(timeout=20).run(timeout=20)
    assert not at.exception


def test_without_a_route_streamlit_plays_the_file(tmp_path: Path) -> None:
    make_files(tmp_path)
    at = AppTest.from_function(_unserved, args=(str(tmp_path / "s01.wav"),)).run(timeout=20)
    assert not at.exception
    assert len(at.get("audio")) == 1
    assert at.text[0].value == "*Stars* [x](y)"


def test_without_a_route_a_missing_file_is_said(tmp_path: Path) -> None:
    at = AppTest.from_function(_unserved, args=(str(tmp_path / "gone.wav"),)).run(timeout=20)
    assert not at.exception
    assert at.warning[0].value == "This file can no longer be found."


def test_paths_stay_on_the_server() -> None:
    for item in items(folder=Path("/secret/music"), url=lambda track_id: f"/audio/{track_id}"):
        assert "secret" not in repr(item.to_dict())
        assert "secret" not in repr(item.to_player_track().to_dict())


def test_peaks_travel_as_bytes() -> None:
    assert base64.b64decode(encode_peaks([0, 128, 255])) == b"\x00\x80\xff"
    assert encode_peaks(b"") == ""
    with pytest.raises(ValueError):
        encode_peaks([256])


def test_subtitle_names_each_person_once() -> None:
    assert CardItem(track_id="a", composer="Satie", artist="Satie").subtitle == "Satie"
    assert CardItem(track_id="a", composer="Satie", artist="Rogé").subtitle == "Satie · Rogé"
    assert CardItem(track_id="a").subtitle == ""


def test_shares_sum_to_a_hundred() -> None:
    third = {"timbre": 1 / 3, "harmony": 1 / 3, "rhythm": 1 / 3}
    assert percent_shares(third) == {"timbre": 34, "harmony": 33, "rhythm": 33, "dynamics": 0}
    assert percent_shares({"timbre": 3, "dynamics": 1}) == {
        "timbre": 75,
        "harmony": 0,
        "rhythm": 0,
        "dynamics": 25,
    }
    assert percent_shares({"timbre": 0.0}) is None


@pytest.mark.parametrize("bad", [{"mood": 1.0}, {"timbre": -0.1}, {"timbre": float("nan")}])
def test_shares_that_mean_nothing_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        percent_shares(bad)


def test_events_are_checked() -> None:
    known, allowed = {"a"}, {"more", "play"}
    good = {"action": "more", "track_id": "a", "nonce": "1"}
    assert _read_event(good, known=known, allowed=allowed) == CardEvent("more", "a", "1")
    for bad in (
        None,
        "more",
        {"action": "remove", "track_id": "a"},
        {"action": "more", "track_id": "b"},
        {"action": ["more"], "track_id": "a"},
        {"action": "more", "track_id": {}},
    ):
        assert _read_event(bad, known=known, allowed=allowed) is None


def test_cards_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(ValueError, match="at most 100"):
        cards([CardItem(track_id=str(i)) for i in range(101)], key="k", served=True)
    with pytest.raises(ValueError, match="Unknown actions"):
        cards([], key="k", served=True, actions=("play",))
    with pytest.raises(ValueError, match="Unknown kind"):
        cards([], key="k", served=True, kind="wall")  # type: ignore[arg-type]


def test_the_player_track_of_a_card_has_a_cover() -> None:
    track = CardItem(track_id="a", title="So What", artist="Miles Davis").to_player_track()
    assert isinstance(track, PlayerTrack)
    assert track.subtitle == "Miles Davis"
    assert track.cover == placeholder_cover("a", "So What")


def test_placeholders_are_stable_and_differ() -> None:
    assert placeholder_cover("a", "So What") == placeholder_cover("a", "So What")
    assert len({placeholder_cover(str(i), "So What") for i in range(40)}) == 40


@pytest.mark.parametrize(
    "title", ["", HOSTILE, "& <", "夜想曲", "ليالي", "\x00\x07 \x1b", "ß", "𝄞 clef"]
)
def test_placeholders_are_wellformed_for_any_title(title: str) -> None:
    root = _svg(placeholder_cover("a", title))
    assert root.tag.endswith("svg")
    assert not root.findall(".//{*}script")


def test_initials() -> None:
    assert initials("So What") == "SW"
    assert initials("(untitled) [demo] 7") == "UD"
    assert initials("— !") == ""


def test_covers_by_their_first_bytes() -> None:
    assert str(cover_uri(b"RIFF\x00\x00\x00\x00WEBPVP8 ")).startswith(
        "data:image/webp;base64,UklGR"
    )
    assert str(cover_uri(b"\x89PNG\r\n\x1a\n")).startswith("data:image/png;base64,")
    assert cover_uri(b"<svg onload=x>") is None
    assert cover_uri(b"") is None
    assert cover_uri(None) is None
