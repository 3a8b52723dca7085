"""The commands about maps: what they print, the files they write, how they refuse.

Bad input: no map yet, an empty library, parameters out of range, a wrong ending, a folder that
cannot be written to, a map of three dimensions as a picture, ids that name no map, a damaged map.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kindred.services import build
from kindred.services.maps import Maps
from kindred.storage.records import Embedding, Track
from tests.evaluation.worlds import unit
from tests.test_cli import kindred

COUNT = 14
HOSTILE = "</script><img src=x>, \"'夜\n"


@pytest.fixture
def library() -> None:
    """Tracks with vectors of the descriptors, without audio."""
    services = build()
    space = services.encoder("descriptors").space
    rng = np.random.default_rng(0)
    vectors = unit(
        np.eye(space.dims)[np.arange(COUNT) % 2] + 0.01 * rng.standard_normal(space.dims)
    )
    vectors = unit(vectors + 0.02 * rng.standard_normal(vectors.shape))
    services.storage.put_tracks(
        Track(
            f"t{number:02d}",
            f"h{number}",
            title=HOSTILE if number == 0 else f"Piece {number}",
            composer=f"Composer {number % 2}",
            album="=1+1" if number == 0 else "",
            year=1900 + number,
        )
        for number in range(COUNT)
    )
    services.storage.put_embeddings(
        space,
        [
            Embedding(f"t{number:02d}", f"h{number}", vector, vector[None])
            for number, vector in enumerate(vectors)
        ],
    )
    services.close()


def built(*arguments: object) -> dict[str, Any]:
    result = kindred("map", "build", "--method", "pca", *arguments, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def refused(*arguments: object) -> str:
    """The one line of a refusal."""
    result = kindred("map", *arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    [line] = [line for line in result.stderr.strip().splitlines() if line.startswith("Error")]
    return line


@pytest.mark.usefixtures("library")
def test_build_says_what_was_made() -> None:
    document = built()
    assert set(document) == {
        "map_id", "title", "model", "options", "tracks", "created_at", "trustworthiness",
        "continuity", "preservation", "k", "ranked_points", "facts",
    }  # fmt: skip
    assert document["options"]["method"] == "pca"
    assert (document["model"], document["tracks"], document["k"]) == ("descriptors", COUNT, 10)
    assert 0 <= document["trustworthiness"] <= 1
    assert built()["map_id"] == document["map_id"]
    assert built("--again")["map_id"] != document["map_id"]
    said = kindred("map", "build", "--method", "pca").stdout
    assert f"PCA, 2-D: {COUNT} tracks" in said
    assert "trustworthiness" in said


@pytest.mark.usefixtures("library")
def test_every_parameter_reaches_the_map() -> None:
    result = kindred(
        "map", "build", "--method", "umap", "--neighbours", 4, "--min-dist", 0.3, "--metric",
        "euclidean", "--dims", 3, "--seed", 9, "--encoder", "descriptors", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["options"] == {
        "method": "umap", "neighbours": 4, "min_dist": 0.3, "perplexity": 30.0,
        "metric": "euclidean", "dims": 3, "seed": 9,
    }  # fmt: skip


def test_an_empty_library_has_an_empty_map(tmp_path: Path) -> None:
    assert built()["tracks"] == 0
    for suffix in (".png", ".svg", ".html", ".csv", ".parquet"):
        assert kindred("map", "export", tmp_path / f"none{suffix}").exit_code == 0


@pytest.mark.usefixtures("library")
def test_list_and_delete(home: Path) -> None:
    assert "There are no maps yet: `kindred map build`." in kindred("map", "list").stdout
    assert json.loads(kindred("map", "list", "--json").stdout) == {"maps": []}
    first, second = built(), built("--dims", 3)
    document = json.loads(kindred("map", "list", "--json").stdout)
    assert document["maps"] == [second, first]
    lines = kindred("map", "list").stdout.splitlines()
    assert lines[0].startswith(second["map_id"])
    assert f"descriptors · PCA, 3-D · {COUNT} tracks" in lines[0]
    (home / "maps" / f"{first['map_id']}.npz").write_bytes(b"damaged")
    result = kindred("map", "list", "--json")
    assert [item["map_id"] for item in json.loads(result.stdout)["maps"]] == [second["map_id"]]
    assert f"The map {first['map_id']} cannot be read" in result.stderr
    assert "cannot be read" in refused("export", "x.png", "--map", first["map_id"])
    answer = kindred("map", "delete", first["map_id"], "--json")
    assert json.loads(answer.stdout) == {"deleted": first["map_id"]}
    assert kindred("map", "delete", second["map_id"]).stdout == f"Deleted {second['map_id']}.\n"
    assert not list((home / "maps").iterdir())
    assert len(json.loads(kindred("tracks", "--json").stdout)["tracks"]) == COUNT


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("colour", ["composer", "year", "cluster", "trust"])
def test_pictures(tmp_path: Path, colour: str) -> None:
    built()
    png, svg = tmp_path / "new" / "map.PNG", tmp_path / "map.svg"
    for target, look in ((png, ["--dark", "--width", 400]), (svg, [])):
        result = kindred("map", "export", target, "--colour", colour, *look, "--json")
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert (document["file"], document["tracks"]) == (str(target), COUNT)
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(png.read_bytes()[16:20], "big") == 400
    assert svg.read_bytes().startswith(b"<?xml")
    assert b"<svg" in svg.read_bytes()


@pytest.mark.usefixtures("library")
def test_a_page_stands_alone(tmp_path: Path) -> None:
    built()
    target = tmp_path / "map.html"
    assert kindred("map", "export", target, "--colour", "year").exit_code == 0
    page = target.read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'" in page
    assert "<img src=x>" not in page
    assert set(re.findall(r"https?://([\w.-]+)", page)) <= {"www.w3.org"}  # names, not fetched
    assert not re.search(r"<script[^>]+src=|<link|@import|url\((?!['\"]?data:)", page)


@pytest.mark.usefixtures("library")
def test_tables(tmp_path: Path) -> None:
    built("--dims", 3)
    csv, parquet = tmp_path / "map.csv", tmp_path / "map.parquet"
    for target in (csv, parquet):
        assert kindred("map", "export", target).exit_code == 0
    table = pd.read_parquet(parquet)
    assert table["track_id"].tolist() == [f"t{number:02d}" for number in range(COUNT)]
    assert table["title"][0] == HOSTILE
    assert table["year"].tolist() == list(range(1900, 1900 + COUNT))
    assert np.isfinite(table[["x", "y", "z"]]).all(axis=None)
    read = pd.read_csv(csv)
    assert read["album"][0] == "'=1+1"  # no spreadsheet computes it
    assert pd.read_parquet(parquet)["album"][0] == "=1+1"
    assert list(read) == list(table)
    assert read["x"].to_numpy() == pytest.approx(table["x"].to_numpy())
    assert read["title"][1] == "Piece 1"
    assert table["preserved"].between(0, 10).all()


@pytest.mark.usefixtures("library")
def test_the_newest_map_is_written_unless_another_is_named(tmp_path: Path) -> None:
    first, second = built(), built("--again")
    for arguments, expected in (([], second), (["--map", first["map_id"]], first)):
        result = kindred("map", "export", tmp_path / "map.csv", *arguments, "--json")
        assert json.loads(result.stdout)["map_id"] == expected["map_id"]
    solid = built("--dims", 3)
    for name, expected in (("map.csv", solid), ("map.png", second)):  # a picture is flat
        result = kindred("map", "export", tmp_path / name, "--json")
        assert json.loads(result.stdout)["map_id"] == expected["map_id"]
    kindred("map", "delete", solid["map_id"])
    said = kindred("map", "export", tmp_path / "map.csv").stdout
    assert f"map.csv: {COUNT} tracks of descriptors · PCA, 2-D" in said


@pytest.mark.usefixtures("library")
def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert "There is no map yet. Build one with `kindred map build`." in refused("export", "x.png")
    built()
    for name, got in (("map.pdf", ".pdf"), ("map", "no ending"), ("png", "no ending")):
        line = refused("export", tmp_path / name)
        assert f".png, .svg, .html, .csv, .parquet, got {got}" in line
    assert "No track has a tag 'mood'" in refused("export", tmp_path / "x.png", "--colour", "mood")
    (tmp_path / "file").write_text("in the way")
    assert "map.csv cannot be written" in refused("export", tmp_path / "file" / "map.csv")
    solid = built("--dims", 3)["map_id"]
    for suffix in (".png", ".svg", ".html"):
        assert "A picture needs a map of 2 dimensions" in refused(
            "export", tmp_path / f"map{suffix}", "--map", solid
        )
    for map_id in ("gone", "../library", "a/b"):
        assert "There is no map" in refused("export", tmp_path / "x.png", "--map", map_id)
        assert "There is no map" in refused("delete", map_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "library"]


def test_an_ending_is_checked_before_a_picture_is_drawn(
    library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built()

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it was drawn")

    monkeypatch.setattr(Maps, "values", never)
    monkeypatch.setattr(Maps, "table", never)
    assert "got .gif" in refused("export", tmp_path / "map.gif")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--neighbours", "1"], "neighbours is a whole number from 2 to 200, not 1"),
        (["--min-dist", "nan"], "min_dist is a number from 0 to 1, not nan"),
        (["--perplexity", "1000"], "perplexity"),
        (["--seed", "-1"], "seed"),
        (["--encoder", "magic"], "magic"),
    ],
)
def test_parameters_out_of_range(arguments: list[str], words: str) -> None:
    assert words in refused("build", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [["build", "--method", "magic"], ["build", "--dims", "4"], ["export"], ["delete"],
     ["export", "x.png", "--width", "3"], ["nonsense"]],
)  # fmt: skip
def test_wrong_use_is_2(arguments: list[str]) -> None:
    assert kindred("map", *arguments).exit_code == 2


@pytest.mark.usefixtures("library")
def test_a_map_is_written_without_the_tracks_that_left(tmp_path: Path) -> None:
    built()
    services = build()
    services.storage.delete_tracks(["t03"])
    track = services.storage.get_tracks(["t04"])[0]
    services.storage.put_tracks([replace(track, title="Renamed")])
    services.close()
    assert kindred("map", "export", tmp_path / "map.csv").exit_code == 0
    table = pd.read_csv(tmp_path / "map.csv").set_index("track_id")
    assert "t03" not in table.index
    assert table["title"]["t04"] == "Renamed"
