"""Labels and groups of tracks; with gaps, odd spellings, unknown tags and ids that come twice."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.evaluation.labels import codes, labels_of
from kindred.storage.records import Track
from tests.evaluation.worlds import labels


def test_the_tag_may_be_a_field_or_an_extra() -> None:
    tracks = [
        Track("a", composer="Bach", genre="Baroque", year=1723, extra={"key": "C minor"}),
        Track("b", genre=" Late  Baroque ", extra={"key": "G"}),
    ]
    assert labels_of(tracks).values == ("Bach", "")
    assert labels_of(tracks).name == "composer"
    assert labels_of(tracks, "genre").values == ("Baroque", "Late Baroque")
    assert labels_of(tracks, "year").values == ("1723", "")
    assert labels_of(tracks, "key").values == ("C minor", "G")
    assert labels_of(tracks).min_works == 3
    assert labels_of(tracks, "key").min_works == 1


@pytest.mark.parametrize("tag", ["mood", "peaks", "extra", "paths", "", "__class__", "path"])
def test_a_tag_no_track_has(tag: str) -> None:
    with pytest.raises(QueryError, match="None of 1 tracks has the tag"):
        labels_of([Track("a", composer="Bach", peaks=b"x", paths=("x",))], tag)


def test_a_work_is_of_its_composer_and_an_album_has_a_name_or_an_id() -> None:
    tracks = [
        Track("a", composer="Bach", work="Suite No. 1", album="Suites", album_id="7"),
        Track("b", composer="Händel", work="Suite No. 1", album="SUITES "),
        Track("c", composer="bach", work="suite  no. 1", album_id="7"),
        Track("d", composer="Bach", album_id="7"),
        Track("e", composer="Bach", work=" "),
    ]
    found = labels_of(tracks)
    assert found.works[0] == found.works[2] != found.works[1]
    assert found.works[3:] == ("", "")
    assert found.albums == ("suites", "suites", "7", "7", "")


def test_near_duplicates() -> None:
    tracks = [
        Track("h2", content_hash="1", title="x", duration=5.0),
        Track("h1", content_hash="1", title="y", duration=90.0),
        Track("c", title="Air", artist="The Quartet", composer="Bach", duration=100.0),
        Track("b", title=" AIR", artist="the quartet", composer="Bach", duration=100.9),
        Track("a", title="Air", artist="The Quartet", composer="Bach", duration=101.9),
        Track("other length", title="Air", artist="The Quartet", composer="Bach", duration=103.0),
        Track("other artist", title="Air", artist="The Trio", composer="Bach", duration=100.0),
        Track("other composer", title="Air", artist="The Quartet", duration=100.0),
        Track("no length", title="Air", artist="The Quartet", composer="Bach"),
        Track("nor here", title="Air", artist="The Quartet", composer="Bach"),
        Track("no title", artist="The Quartet", duration=100.0, composer="x"),
        Track("nor this", artist="The Quartet", duration=100.0, composer="x"),
    ]
    assert labels_of(tracks).recordings == ("h1", "h1", "a", "a", "a", *[""] * 7)
    backwards = labels_of(tracks[::-1]).recordings[::-1]
    assert backwards == labels_of(tracks).recordings


def test_bytes_and_names_join_one_group() -> None:
    tracks = [
        Track("c", content_hash="1", title="x", duration=5.0, composer="B"),
        Track("b", content_hash="1", title="Air", duration=9.0, composer="B"),
        Track("a", content_hash="2", title="Air", duration=9.5, composer="B"),
    ]
    assert labels_of(tracks).recordings == ("a", "a", "a")


def test_codes_fold_case_and_keep_the_first_spelling() -> None:
    numbers, names = codes(["Bach", "", "BACH", " bach ", "Händel"])
    assert numbers.tolist() == [0, -1, 0, 0, 1]
    assert names == ["Bach", "Händel"]
    assert codes(["", ""])[1] == []
    assert codes([])[0].dtype == np.intp


def test_selecting_and_writing_rows() -> None:
    found = labels(["x", "y", "z"], works=["1", "2", "3"], recordings=["", "r", ""], min_works=3)
    some = found.select(["002", "001"])
    assert (some.ids, some.values, some.works) == (("002", "001"), ("z", "y"), ("3", "2"))
    assert (some.name, some.min_works) == ("composer", 3)
    assert some.rows()[1] == {
        "track_id": "001", "label": "y", "work": "2", "album": "", "recording": "r",
    }  # fmt: skip
    with pytest.raises(QueryError, match="1 of 2 tracks have no row of labels, the first is 'zzz'"):
        found.select(["000", "zzz"])


def test_ids_differ_and_columns_are_as_long() -> None:
    with pytest.raises(QueryError, match="come twice: a"):
        labels(["x", "y", "z"], ids=["a", "b", "a"])
    with pytest.raises(QueryError, match="come twice: 001"):
        labels(["x", "y"]).select(["001", "001"])
    with pytest.raises(QueryError, match="2 tracks need as many"):
        labels(["x", "y"], works=["1"])
