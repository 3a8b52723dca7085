"""Names for the regions of a map: where a cluster lies on it, and which tags set it apart.

A value of a field is distinctive of a cluster when all of this holds:

- at least :data:`MIN_TRACKS` of its tracks and :data:`MIN_SHARE` of them have the value;
- its share among them is at least :data:`MIN_LIFT` times that of all other tracks;
- chance does not explain that: were the cluster drawn at random, it would hold so many with a
  probability (hypergeometric, as in Fisher's exact test) below :data:`CHANCE`, divided by the
  number of pairs of a cluster and a value that could have been (Bonferroni).

The order is by share * log2(lift), what a value adds to the divergence of the two distributions
(the pointwise measure of Tomokiyo and Hurst, "A language model approach to keyphrase extraction",
2003): it weighs how common a value is against how telling. Without a distinctive value a region has
no label. Tracks without a value count as having none of them, never as evidence.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.errors import QueryError

MIN_TRACKS = 3
MIN_SHARE = 0.25
MIN_LIFT = 1.5
CHANCE = 0.01
#: A label joins two values where both fit into this many characters.
LABEL_LENGTH = 32
#: Neighbours that a track hangs together with; a piece's density takes at least as many.
_NEAR = 10

Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Region:
    """A cluster on the map.

    Attributes
    ----------
    x, y : float
        A track's place: the densest of the cluster's largest piece.
    z : float or None
        On a map of three dimensions.
    cluster : int
    size : int
        Tracks in the cluster, those of smaller pieces too.
    label : str
        Up to two distinctive values, such as ``Bach · chorale``; empty where there is none.
    terms : tuple of (field, value, share, lift)
        All distinctive values, best first: the share of the cluster's tracks that have it, and how
        many times that of the other tracks this is.
    """

    x: float
    y: float
    cluster: int
    size: int
    label: str = ""
    terms: tuple[tuple[str, str, float, float], ...] = ()
    z: float | None = None


def name_regions(
    positions: NDArray[np.float32],
    clusters: NDArray[np.integer],
    tags: Mapping[str, Sequence[str]],
) -> list[Region]:
    """Place and name every cluster, in the order of their numbers.

    Parameters
    ----------
    positions : float32 [n, 2 or 3]
    clusters : int [n]
        Number of each track's cluster; negative for none.
    tags : mapping
        For each field (composer, genre, decade, ...) the value of every track, empty where it is
        not known. Values that differ in case, outer spaces or Unicode composition are one. The
        order of the fields is that in labels.

    Raises
    ------
    QueryError
        When lengths differ or a position is not finite.
    """
    places, numbers = np.asarray(positions, np.float64), np.asarray(clusters)
    if places.ndim != 2 or numbers.shape != (len(places),):
        raise QueryError(
            "Regions need positions [n, 2 or 3] and clusters [n], got "
            f"{list(places.shape)} and {list(numbers.shape)}."
        )
    if not np.isfinite(places).all():
        raise QueryError("A position on the map is not finite. Compute the map again.")
    for name, values in tags.items():
        if len(values) != len(places):
            raise QueryError(
                f"{len(values)} values of {name!r} were given for {len(places)} tracks."
            )
    members = {
        int(number): np.flatnonzero(numbers == number)
        for number in np.unique(numbers[numbers >= 0])
    }
    terms = _distinctive(members, len(places), tags)
    regions = []
    for number, rows in members.items():
        x, y, *z = places[_densest(places, rows)]
        regions.append(
            Region(
                x=float(x),
                y=float(y),
                cluster=number,
                size=len(rows),
                label=_label(terms[number], list(tags)),
                terms=tuple(terms[number]),
                z=float(z[0]) if z else None,
            )
        )
    return regions


def _distinctive(
    members: Mapping[int, Ints], n: int, tags: Mapping[str, Sequence[str]]
) -> dict[int, list[tuple[str, str, float, float]]]:
    """The terms of each cluster, best first."""
    from scipy.stats import hypergeom

    common, pairs = [], 0
    for name, values in tags.items():
        keys = [unicodedata.normalize("NFC", value or "").strip().casefold() for value in values]
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        for key, value in zip(keys, values, strict=True):
            if key:
                spellings[key][unicodedata.normalize("NFC", value).strip()] += 1
        pairs += len(members) * sum(s.total() >= MIN_TRACKS for s in spellings.values())
        for number, rows in members.items():
            inside = Counter(key for row in rows if (key := keys[row]))
            common += [
                (number, name, spellings[key], count)
                for key, count in inside.items()
                if count >= max(MIN_TRACKS, MIN_SHARE * len(rows))
            ]
    terms: dict[int, list[tuple[str, str, float, float]]] = {number: [] for number in members}
    for number, name, spelling, count in common:
        size, everywhere = len(members[number]), spelling.total()
        chance = hypergeom.sf(count - 1, n, everywhere, size)
        share = count / size
        # As if one more track outside had it: where none has, that is no proof that none would.
        outside = (everywhere - count + 1) / (n - size + 1)
        if share / outside >= MIN_LIFT and chance < CHANCE / pairs:
            value = min(spelling, key=lambda text: (-spelling[text], text))
            terms[number].append((name, value, float(share), float(share / outside)))
    for found in terms.values():
        found.sort(key=lambda term: -term[2] * np.log2(term[3]))
    return terms


def _label(terms: Sequence[tuple[str, str, float, float]], fields: Sequence[str]) -> str:
    """The best value, and the next that says something else, in the order of their fields."""
    if not terms:
        return ""
    name, first, _, _ = terms[0]
    for other_name, other, _, _ in terms[1:]:
        repeats = other.casefold() in first.casefold() or first.casefold() in other.casefold()
        if not repeats and len(first) + len(other) + 3 <= LABEL_LENGTH:
            later = fields.index(other_name) < fields.index(name)
            return " · ".join((other, first) if later else (first, other))
    return first if len(first) <= LABEL_LENGTH else first[: LABEL_LENGTH - 1].rstrip() + "…"


def _densest(places: NDArray[np.float64], rows: Ints) -> int:
    """The row of a cluster's largest piece with a tenth of it, 10 to 50 tracks, nearest around."""
    from scipy.spatial import cKDTree

    piece = _largest_piece(places, rows)
    own = places[piece]
    rank = min(len(piece), int(np.clip(len(piece) // 10, _NEAR, 5 * _NEAR)))
    distance, _ = cKDTree(own, balanced_tree=False).query(own, k=[rank])
    return int(piece[np.argmin(distance)])


def _largest_piece(places: NDArray[np.float64], rows: Ints) -> Ints:
    """Those of a cluster's rows that hang together as each other's nearest on the map."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    own = places[rows]
    size, width = len(own), min(_NEAR, len(own))
    # A list of ranks, so that a lone place has a row of neighbours as well: itself.
    _, near = cKDTree(own, balanced_tree=False).query(own, k=list(range(1, width + 1)))
    edges = (np.repeat(np.arange(size), width), near.ravel())
    graph = coo_matrix((np.ones(near.size), edges), shape=(size, size))
    _, piece = connected_components(graph, directed=False)
    return np.asarray(rows[piece == np.bincount(piece).argmax()])
