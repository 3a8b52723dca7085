"""Regions: where a cluster lies on a map, and names from planted tags."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from kindred.errors import QueryError
from kindred.maps.regions import Region, name_regions


def blob(x: float, y: float, n: int, *, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal([x, y], spread, (n, 2))


PLACES = np.concatenate([blob(0, 0, 60), blob(20, 0, 30, seed=1), blob(0, 20, 30, seed=2)])
NUMBERS = np.repeat([0, 1, 2], [60, 30, 30])


def named(**tags: list[str]) -> dict[int, Region]:
    return {region.cluster: region for region in name_regions(PLACES, NUMBERS, tags)}


def test_planted_tags_name_their_cluster() -> None:
    regions = named(
        composer=["Bach"] * 50 + ["Holst"] * 10 + ["Haydn"] * 30 + ["Bach"] * 2 + ["Joplin"] * 28,
        genre=["chorale"] * 40 + [""] * 20 + ["symphony", "song"] * 15 + ["song"] * 2 + [""] * 28,
    )
    assert [regions[number].size for number in range(3)] == [60, 30, 30]
    assert regions[0].label == "Bach · chorale"
    assert regions[1].label == "Haydn · symphony"
    assert regions[2].label == "Joplin"
    terms = {(field, value): (share, lift) for field, value, share, lift in regions[0].terms}
    share, lift = terms["composer", "Bach"]
    assert share == pytest.approx(50 / 60)
    assert lift == pytest.approx(50 / 60 / (3 / 61))
    assert ("composer", "Holst") not in terms  # a sixth of the cluster is not enough


def test_labels_follow_the_order_of_the_fields() -> None:
    composer = ["Bach"] * 60 + ["Haydn"] * 60
    genre = ["chorale"] * 60 + ["trio"] * 60
    assert named(composer=composer, genre=genre)[0].label == "Bach · chorale"
    assert named(genre=genre, composer=composer)[0].label == "chorale · Bach"


def test_what_is_common_everywhere_names_nothing() -> None:
    regions = named(composer=["Bach"] * 120, key=["C", "G", "D", "A"] * 30)
    assert all(region.label == "" and region.terms == () for region in regions.values())


@pytest.mark.parametrize("seed", range(20))
def test_tags_by_chance_name_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    clusters = random.integers(12, size=400)
    tags = {
        "composer": random.choice(["a", "b", "c", "d"], 400).tolist(),
        "album": [f"album {number}" for number in random.integers(60, size=400)],
    }
    regions = name_regions(random.standard_normal((400, 2)), clusters, tags)
    assert [region.label for region in regions] == [""] * 12


def test_one_or_two_tracks_name_no_cluster() -> None:
    numbers = [0] * 40 + [1] * 4 + [2]
    places = np.random.default_rng(0).standard_normal((45, 2))
    values = ["x"] * 40 + ["rare", "rare", "", ""] + ["single"]
    regions = name_regions(places, numbers, {"artist": values})
    assert [region.label for region in regions] == ["x", "", ""]


def test_spellings_of_one_value_are_one_and_the_commonest_is_shown() -> None:
    dvorak = ["Dvořák"] * 30 + ["Dvor\u030ca\u0301k"] * 10 + [" dvořák "] * 20
    regions = named(composer=dvorak + ["滝廉太郎"] * 30 + ["A$AP _x_"] * 30)
    assert [regions[number].label for number in range(3)] == ["Dvořák", "滝廉太郎", "A$AP _x_"]
    assert regions[0].terms[0][2] == 1


def test_a_label_does_not_say_a_thing_twice_and_stays_short() -> None:
    rest = [""] * 60
    bach = named(composer=["J. S. Bach"] * 60 + rest, artist=["j. s. bach"] * 60 + rest)[0]
    assert bach.label == "J. S. Bach"
    assert len(bach.terms) == 2
    long = named(album=["The Complete Works for Organ, Volume Two"] * 60 + rest)[0]
    assert long.label == "The Complete Works for Organ, V…"
    both = named(
        composer=["Johann Sebastian Bach"] * 60 + rest, album=["Orgelbüchlein!"] * 60 + rest
    )
    assert both[0].label in {"Johann Sebastian Bach", "Orgelbüchlein!"}


def test_without_tags_regions_have_places_alone() -> None:
    for tags in ({}, {"composer": [""] * 120}, {"composer": ["  "] * 120}):
        regions = name_regions(PLACES, NUMBERS, tags)
        assert [region.label for region in regions] == ["", "", ""]
        for region, centre in zip(regions, [(0, 0), (20, 0), (0, 20)], strict=True):
            assert np.hypot(region.x - centre[0], region.y - centre[1]) < 1.5
            assert region.z is None


def test_a_torn_cluster_is_named_at_its_largest_piece() -> None:
    # The small piece is denser, and the mean of both lies in another cluster.
    places = np.concatenate(
        [blob(0, 0, 70), blob(30, 0, 40, spread=0.1, seed=1), blob(11, 0, 50, seed=2)]
    )
    torn, other = name_regions(places, np.repeat([0, 1], [110, 50]), {})
    assert np.hypot(torn.x, torn.y) < 2
    assert torn.size == 110
    assert np.hypot(other.x - 11, other.y) < 2


def test_a_crescent_is_named_on_itself() -> None:
    random = np.random.default_rng(0)
    angle = random.normal(0, 1, 300)
    ring = np.stack([10 * np.cos(angle), 10 * np.sin(angle)], axis=1)
    ring += random.standard_normal((300, 2)) / 2
    (region,) = name_regions(ring, np.zeros(300, int), {})
    assert 8.5 < np.hypot(region.x, region.y) < 11.5
    assert [region.x, region.y] in ring.tolist()
    assert np.hypot(region.x - 10, region.y) < 7


def test_three_dimensions_and_tracks_of_no_cluster() -> None:
    places = np.arange(18, dtype=np.float32).reshape(6, 3)
    regions = name_regions(places, [4, 4, -1, 1, 1, 1], {"genre": ["a"] * 6})
    assert [(region.cluster, region.size) for region in regions] == [(1, 3), (4, 2)]
    for region, rows in zip(regions, (slice(3, 6), slice(0, 2)), strict=True):
        assert [region.x, region.y, region.z] in places[rows].tolist()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_maps(n: int) -> None:
    regions = name_regions(np.zeros((n, 2)), np.arange(n), {"composer": ["Bach"] * n})
    assert [(region.x, region.y, region.size, region.label) for region in regions] == [
        (0, 0, 1, "")
    ] * n


def test_equal_places_are_a_place() -> None:
    (region,) = name_regions(np.ones((50, 2)), np.zeros(50, int), {})
    assert (region.x, region.y, region.size) == (1, 1, 50)


def test_a_region_is_plain_values() -> None:
    region = named(composer=["Bach"] * 60 + [""] * 60)[0]
    kept = json.loads(json.dumps(asdict(region)))
    kept["terms"] = tuple(tuple(term) for term in kept["terms"])
    assert Region(**kept) == region


def test_bad_input_is_refused() -> None:
    with pytest.raises(QueryError, match="119 values of 'composer' were given for 120 tracks"):
        named(composer=["x"] * 119)
    with pytest.raises(QueryError, match=r"\[120, 2\] and \[119\]"):
        name_regions(PLACES, NUMBERS[:119], {})
    places = PLACES.copy()
    places[5, 0] = np.nan
    with pytest.raises(QueryError, match="not finite"):
        name_regions(places, NUMBERS, {})
