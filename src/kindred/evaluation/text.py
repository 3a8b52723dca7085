"""Retrieval by words: captions made of the library's tags, asked of its vectors.

Conventions: a caption is relevant to every track that has all of its tags; tracks are ordered by
(-cosine, track_id), as the search orders them, over every track that has a vector. Means are over
captions, every caption counting alike; intervals are percentile bootstraps over captions, in
[0, 1] like the measures.

What makes a caption: genre, composer, artist (often an ensemble), century, and genre with each of
the other three. One combination of tags gives one caption, worded in one of several ways that a
checksum of its tags picks: paraphrases would look like more evidence than there is. For the same
reason a pair of tags that means the very tracks one of them means alone gives none.

A caption every track fits is left out, since any order answers it. One that fits a single track is
kept, the question "find this one" being a fair one. Both are counted in the report.

Tags are what somebody wrote, not what can be heard: a name of a composer asks the text tower for
what it has read of them, and a track that fits but lacks the tag counts as wrong. So scores
compare encoders on one library; they do not say how well words work elsewhere.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.clap_text import EncodeText
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError, SpaceMismatch
from kindred.evaluation import metrics, statistics
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Track

_TEMPLATES: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("genre",): ("{genre} music", "a recording of {genre} music", "this is {genre} music"),
    ("composer",): (
        "music by {composer}", "a piece composed by {composer}", "a work of {composer}",
    ),
    ("artist",): (
        "music played by {artist}", "a recording by {artist}", "a performance by {artist}",
    ),
    ("century",): ("music of the {century}", "a piece from the {century}"),
    ("genre", "century"): ("{genre} music of the {century}", "{genre}, {century}"),
    ("genre", "composer"): ("{genre} music by {composer}", "a {genre} piece by {composer}"),
    ("genre", "artist"): ("{genre} music played by {artist}", "{artist} playing {genre} music"),
}  # fmt: skip


class Caption(NamedTuple):
    """Words, the ids of the tracks they fit, and what they are made of, e.g. "genre+century"."""

    text: str
    relevant: frozenset[str]
    made_of: str


@dataclass(frozen=True)
class Measure:
    """A mean over captions, its 95% interval, and what a random order would score."""

    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True)
class TextReport:
    """How well words find tracks in one space.

    Attributes
    ----------
    space : EmbeddingSpace
    tracks : int
        Tracks in the gallery, all that have a vector.
    captions : int
        Captions asked.
    single : int
        Those of them that fit one track.
    left_out : int
        Captions that fit every track, and were not asked.
    measures : dict
        By name: hit@k, MRR, nDCG@k.
    made_of : dict
        The number of captions by the tags they are made of, their MRR and its chance.
    seed, draws : int
        Of the bootstrap.
    versions : dict
        Of Kindred and the packages the vectors came through.
    """

    space: EmbeddingSpace
    tracks: int
    captions: int
    single: int
    left_out: int
    measures: dict[str, Measure]
    made_of: dict[str, tuple[int, float, float]]
    seed: int
    draws: int
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The report ready for JSON."""
        return {
            "space": self.space.to_dict(),
            "versions": self.versions,
            "tracks": self.tracks,
            "captions": self.captions,
            "captions_of_one_track": self.single,
            "captions_left_out": self.left_out,
            "seed": self.seed,
            "draws": self.draws,
            "confidence": statistics.CONFIDENCE,
            "measures": {
                name: {key: round(value, 6) for key, value in vars(measure).items()}
                for name, measure in self.measures.items()
            },
            "by_tags": {
                name: {"captions": count, "mrr": round(mrr, 6), "chance": round(chance, 6)}
                for name, (count, mrr, chance) in self.made_of.items()
            },
        }

    def lines(self) -> list[str]:
        """The report for people: one line a measure."""
        head = (
            f"{self.captions} captions ({self.single} of a single track, {self.left_out} that fit"
            f" every track left out), {self.tracks} tracks, {self.space.model}"
            f" {self.space.revision}"
        )
        rows = [
            f"{name:8} {m.value:.3f}  [{m.low:.3f}, {m.high:.3f}]  chance {m.chance:.3f}"
            for name, m in self.measures.items()
        ]
        parts = [
            f"  MRR of {name}: {mrr:.3f}, chance {chance:.3f}, {count} captions"
            for name, (count, mrr, chance) in self.made_of.items()
        ]
        return [head, *rows, *parts]


def captions(tracks: Sequence[Track]) -> list[Caption]:
    """Captions of the tracks' tags, each with the tracks it fits.

    Parameters
    ----------
    tracks : sequence of Track

    Returns
    -------
    list of Caption
        Ordered by their tags; those that fit every track or only one are among them. Spellings
        that differ in case alone are one tag. Years give centuries: 1750 is of the 18th.
    """
    spelled: dict[tuple[str, str], str] = {}
    fits: dict[tuple[tuple[str, str], ...], set[str]] = defaultdict(set)
    for track in sorted(tracks, key=lambda track: track.track_id):
        tags = _tags(track)
        for made_of in _TEMPLATES:
            for values in product(*(tags[name] for name in made_of)):
                key = tuple(
                    (name, value.casefold()) for name, value in zip(made_of, values, strict=True)
                )
                fits[key].add(track.track_id)
                for part, value in zip(key, values, strict=True):
                    spelled.setdefault(part, value)
    found = []
    for key, relevant in sorted(fits.items()):
        if len(key) > 1 and any(fits[(part,)] == relevant for part in key):
            continue
        wordings = _TEMPLATES[tuple(name for name, _ in key)]
        wording = wordings[zlib.crc32(repr(key).encode()) % len(wordings)]
        text = wording.format(**{part[0]: spelled[part] for part in key})
        found.append(Caption(text, frozenset(relevant), "+".join(name for name, _ in key)))
    return found


def evaluate_text(
    storage: StorageBackend,
    space: EmbeddingSpace,
    encode_text: EncodeText,
    *,
    hits: Sequence[int] = (1, 5, 10),
    ndcg: int = 10,
    draws: int = statistics.DRAWS,
    seed: int = 0,
) -> TextReport:
    """Ask the library for captions of its own tags.

    Parameters
    ----------
    storage : StorageBackend
    space : EmbeddingSpace
        In which the library was embedded and into which ``encode_text`` leads.
    encode_text : callable
        Turns n texts into float32 [n, dims] of unit length.
    hits : sequence of int
        The k of every hit@k.
    ndcg : int
        The k of nDCG@k.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    TextReport

    Raises
    ------
    QueryError
        When no track has a vector, or their tags give no caption that could be missed.
    SpaceMismatch
        When the texts' vectors have another number of dimensions than the tracks'.
    """
    tracks = storage.list_tracks()
    ids, vectors = storage.get_embeddings(space, [track.track_id for track in tracks])
    if not ids:
        raise QueryError(
            f"No track has a {space.model} vector in this space. Run `kindred ingest"
            f" --encoder {space.model}` first."
        )
    gallery = set(ids)
    every = captions([track for track in tracks if track.track_id in gallery])
    asked = [caption for caption in every if len(caption.relevant) < len(ids)]
    if not asked:
        raise QueryError(
            f"The tags of {len(ids)} tracks give no caption that tells tracks apart. Give the"
            " tracks genres, composers, artists or years, e.g. with `kindred import`."
        )
    texts = encode_text([caption.text for caption in asked])
    if texts.shape != (len(asked), vectors.shape[1]):
        raise SpaceMismatch(
            f"{len(asked)} captions gave vectors of shape {texts.shape}, the tracks have"
            f" {vectors.shape[1]} dimensions. Use the text tower of the encoder they came from."
        )
    values, chances = _measure(asked, texts, ids, vectors, hits=hits, ndcg=ndcg)
    each, one_class = np.arange(len(asked)), np.zeros(len(asked), np.intp)
    table = np.column_stack(list(values.values()))
    drawn, _ = statistics.bootstrap(table, each, one_class, draws=draws, seed=seed)
    ends = np.percentile(drawn, statistics.TAILS, axis=0)
    measures = {
        name: Measure(float(rows.mean()), float(low), float(high), float(chances[name].mean()))
        for (name, rows), low, high in zip(values.items(), *ends, strict=True)
    }
    kinds = np.array([caption.made_of for caption in asked])
    made_of = {
        str(kind): (
            int((kinds == kind).sum()),
            float(values["MRR"][kinds == kind].mean()),
            float(chances["MRR"][kinds == kind].mean()),
        )
        for kind in dict.fromkeys(kinds)
    }
    return TextReport(
        space=space,
        tracks=len(ids),
        captions=len(asked),
        single=sum(len(caption.relevant) == 1 for caption in asked),
        left_out=len(every) - len(asked),
        measures=measures,
        made_of=made_of,
        seed=seed,
        draws=draws,
        versions=dict(_versions()),
    )


_Rows = dict[str, NDArray[np.float64]]


def _measure(
    asked: Sequence[Caption],
    texts: NDArray[np.float32],
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    *,
    hits: Sequence[int],
    ndcg: int,
) -> tuple[_Rows, _Rows]:
    """By measure, its value for every caption and what a random order would score."""
    places = np.empty(len(ids), np.int64)
    places[np.argsort(np.array(ids), kind="stable")] = np.arange(len(ids))
    got: dict[str, list[float]] = defaultdict(list)
    chance: dict[str, list[float]] = defaultdict(list)
    for caption, text in zip(asked, texts, strict=True):
        order = metrics.ranking(vectors @ text, places)
        gains = np.array([ids[place] in caption.relevant for place in order], np.float64)
        n, relevant = len(ids), len(caption.relevant)
        for k in hits:
            got[f"hit@{k}"].append(metrics.hit_at_k(gains, k=k))
            chance[f"hit@{k}"].append(metrics.chance_hit_at_k(n, relevant, k=k))
        got["MRR"].append(metrics.reciprocal_rank(gains))
        chance["MRR"].append(metrics.chance_reciprocal_rank(n, relevant))
        got[f"nDCG@{ndcg}"].append(metrics.ndcg_at_k(gains, k=ndcg))
        chance[f"nDCG@{ndcg}"].append(metrics.chance_ndcg_at_k(n, relevant, k=ndcg))
    return (
        {name: np.array(rows) for name, rows in got.items()},
        {name: np.array(rows) for name, rows in chance.items()},
    )


def _tags(track: Track) -> dict[str, list[str]]:
    """Values by facet, each value once; several composers or genres are separated by ``;``."""

    def values(text: str) -> list[str]:
        parts = (" ".join(part.split()) for part in text.split(";"))
        return list({part.casefold(): part for part in parts if part}.values())

    return {
        "genre": values(track.genre),
        "composer": values(track.composer),
        "artist": values(track.artist),
        "century": [_century(track.year)] if track.year and track.year > 0 else [],
    }


def _century(year: int) -> str:
    number = (year - 1) // 100 + 1
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 != 1 else 0, "th")
    return f"{number}{ending} century"


def _versions(
    names: Iterable[str] = ("kindred", "numpy", "torch", "transformers"),
) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"
