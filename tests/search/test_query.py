"""Queries by example, with bad input: nothing given, k of 0 and 101, a track both wanted and not,
a vanished track, a track without a vector, a clip of another space, examples that cancel out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError, SpaceMismatch, TrackNotFound
from kindred.search.query import Clip, Search, SimilarQuery
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track, TrackFilter

SPACE = EmbeddingSpace("plane", "1", 8000, 1.0, 1.0, "mean", 2)


def at(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


@pytest.fixture
def search(home: Path) -> Iterator[Search]:
    """Nine tracks on a circle, about ten degrees apart (never equally), two to an album."""
    store = LocalBackend(home)
    for number in range(9):
        track_id = f"a{number * 10:02d}"
        store.put_tracks(
            [
                Track(
                    track_id,
                    title=track_id,
                    album=f"Album {number // 2}",
                    artist="X" if number < 4 else "Y",
                    composer="C",
                    work=f"W{number // 3}",
                )
            ]
        )
        vector = at(10 * number + 0.05 * number**2)
        store.put_embeddings(SPACE, [Embedding(track_id, "", vector, vector[None])])
    yield Search(store, descriptors=SPACE, reasons=lambda a, b: {"timbre": float(a @ b)})
    store.close()


def ids(search: Search, **query: object) -> list[str]:
    result = search.similar(SimilarQuery(**query), SPACE)  # type: ignore[arg-type]
    return [match.track.track_id for match in result.matches]


def test_nearest_first_without_the_query(search: Search) -> None:
    result = search.similar(SimilarQuery(plus=("a40",), k=4), SPACE)
    assert [match.track.track_id for match in result.matches] == ["a30", "a50", "a20", "a60"]
    assert result.matches[0].similarity == pytest.approx(np.cos(np.radians(10.35)), abs=1e-6)
    assert result.index == "exact"
    assert result.matches[0].reasons["timbre"] == pytest.approx(0.9837, abs=1e-3)


def test_two_tracks_meet_in_the_middle(search: Search) -> None:
    assert ids(search, plus=("a00", "a40"), k=1) == ["a20"]


def test_an_unwanted_track_pushes_away(search: Search) -> None:
    assert ids(search, plus=("a40",), minus=("a50",), k=2) == ["a30", "a20"]
    # q = a40 - a50 / 2 points to about 31 degrees, and neither example answers.
    assert "a50" not in ids(search, plus=("a40",), minus=("a50",), k=9)


def test_a_clip_is_a_query_and_may_return_every_track(search: Search) -> None:
    clip = Clip("hum.wav", SPACE, at(1))
    result = search.similar(SimilarQuery(clip=clip, k=9), SPACE)
    assert [match.track.track_id for match in result.matches][:2] == ["a00", "a10"]
    assert len(result.matches) == 9
    assert result.to_dict()["query"] == {"track_ids": [], "minus": [], "k": 9, "audio": "hum.wav"}


@pytest.mark.parametrize(
    ("not_same", "expected"), [("album", "a30"), ("artist", "a30"), ("work", "a20")]
)
def test_not_the_same_album_artist_or_work(search: Search, not_same: str, expected: str) -> None:
    assert ids(search, plus=("a40",), not_same=(not_same,), k=1) == [expected]


def test_filters_apply(search: Search) -> None:
    assert ids(search, plus=("a40",), where=TrackFilter(albums=("album 0",))) == ["a10", "a00"]
    assert ids(search, plus=("a40",), where=TrackFilter(albums=("no such",))) == []


def test_diversity_spreads_the_results(search: Search) -> None:
    near = ids(search, plus=("a40",), k=3)
    spread = ids(search, plus=("a40",), k=3, diversity=0.7)
    assert spread[0] == near[0] == "a30"
    angles = sorted(int(item[1:]) for item in spread)
    assert angles[-1] - angles[0] > 30


def test_the_answer_as_json(search: Search) -> None:
    document = search.similar(SimilarQuery(plus=("a40",), k=1), SPACE).to_dict()
    assert document["query"]["track_id"] == "a40"
    assert document["space"]["space_id"] == SPACE.space_id
    assert document["index"] == "exact"
    assert document["hits"] == [
        {"track_id": "a30", "title": "a30", "composer": "C", "album": "Album 1",
         "similarity": 0.983729}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (SimilarQuery(), "nothing was given"),
        (SimilarQuery(plus=("a40",), k=0), "1 to 100"),
        (SimilarQuery(plus=("a40",), k=101), "1 to 100"),
        (SimilarQuery(plus=("a40",), minus=("a40",)), "wanted and unwanted"),
        (SimilarQuery(plus=("a40",), diversity=2), "0 to 1"),
        (SimilarQuery(plus=("a40",), not_same=("mood",)), "mood"),
    ],
)
def test_bad_queries_are_refused(search: Search, query: SimilarQuery, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        search.similar(query, SPACE)


def test_vanished_tracks_missing_vectors_and_other_spaces(search: Search) -> None:
    with pytest.raises(TrackNotFound, match="gone"):
        ids(search, plus=("gone",))
    search.storage.put_tracks([Track("mute")])
    with pytest.raises(QueryError, match="kindred ingest"):
        ids(search, plus=("mute",))
    other = replace(SPACE, revision="2")
    with pytest.raises(SpaceMismatch, match="revision"):
        ids(search, clip=Clip("x", other, at(0)))


def test_examples_that_cancel_out(search: Search) -> None:
    half = at(40.8) * -0.5
    vector = half / np.linalg.norm(half)
    search.storage.put_tracks([Track("anti")])
    search.storage.put_embeddings(SPACE, [Embedding("anti", "", vector, vector[None])])
    with pytest.raises(QueryError, match="cancel"):
        ids(search, plus=("a40", "anti"))
