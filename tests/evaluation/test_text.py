"""Retrieval by words in worlds whose truth is known: perfect words score 1, random ones chance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError, SpaceMismatch
from kindred.evaluation.text import Caption, captions, evaluate_text
from kindred.storage.backend import StorageBackend
from kindred.storage.local import LocalBackend
from kindred.storage.records import Embedding, Track

GENRES = [f"genre{number}" for number in range(12)]
SPACE = EmbeddingSpace("axes", "1", 8000, 1.0, 1.0, "mean", len(GENRES))


@pytest.fixture
def store(home: Path) -> Iterator[StorageBackend]:
    store = LocalBackend(home)
    yield store
    store.close()


def fill(store: StorageBackend, vector: Callable[[int], np.ndarray], *, count: int) -> None:
    """Tracks of one genre each, in turn; their ids are in another order than their genres."""
    for number in range(count):
        track_id = f"{(number * 37) % 101:03d}"
        row = np.asarray(vector(number), np.float32)
        store.put_tracks([Track(track_id, title=track_id, genre=GENRES[number % len(GENRES)])])
        store.put_embeddings(SPACE, [Embedding(track_id, "", row, row[None])])


def one_hot(number: int) -> np.ndarray:
    return np.eye(len(GENRES), dtype=np.float32)[number % len(GENRES)]


def genre_of(texts: Sequence[str]) -> np.ndarray:
    """The axis of the genre a caption names."""
    axes = [next(word for word in text.split() if word in GENRES) for text in texts]
    return np.stack([one_hot(GENRES.index(axis)) for axis in axes])


def test_words_that_know_all_score_one(store: StorageBackend) -> None:
    fill(store, one_hot, count=60)
    report = evaluate_text(store, SPACE, genre_of, draws=100)
    assert (report.tracks, report.captions, report.single, report.left_out) == (60, 12, 0, 0)
    assert list(report.measures) == ["hit@1", "hit@5", "hit@10", "MRR", "nDCG@10"]
    for measure in report.measures.values():
        assert measure.value == measure.low == measure.high == pytest.approx(1)
        assert measure.chance < 0.7
    assert report.measures["hit@1"].chance == pytest.approx(5 / 60)
    assert report.made_of == {"genre": (12, 1.0, pytest.approx(report.measures["MRR"].chance))}


def test_words_that_point_elsewhere_score_nothing(store: StorageBackend) -> None:
    fill(store, one_hot, count=60)
    report = evaluate_text(store, SPACE, lambda texts: -genre_of(texts), draws=10)
    assert report.measures["hit@10"].value == 0
    assert report.measures["MRR"].value == pytest.approx(1 / 56)


def test_words_that_know_nothing_score_chance(store: StorageBackend) -> None:
    rng = np.random.default_rng(0)

    def unit(*shape: int) -> np.ndarray:
        rows = rng.standard_normal((*shape, len(GENRES)))
        return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)

    fill(store, lambda number: unit(), count=96)
    reports = [
        evaluate_text(store, SPACE, lambda texts: unit(len(texts)), draws=10) for _ in range(150)
    ]
    for name, measure in reports[0].measures.items():
        values = [report.measures[name].value for report in reports]
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - measure.chance) < 4 * error, name


def test_an_interval_holds_the_mean_and_follows_the_seed(store: StorageBackend) -> None:
    fill(store, one_hot, count=60)

    def half(texts: Sequence[str]) -> np.ndarray:
        rows = genre_of(texts)
        rows[::2] *= -1
        return rows

    report = evaluate_text(store, SPACE, half, draws=2_000)
    hit = report.measures["hit@1"]
    assert hit.value == 0.5
    # Six of twelve: a binomial's 2.5% and 97.5% points.
    assert (hit.low, hit.high) == (pytest.approx(3 / 12, abs=1e-9), pytest.approx(9 / 12, abs=1e-9))
    assert evaluate_text(store, SPACE, half, draws=2_000) == report
    other = evaluate_text(store, SPACE, half, draws=2_000, seed=1)
    assert other.measures["MRR"].value == report.measures["MRR"].value
    assert other.seed == 1


def test_the_report_is_json(store: StorageBackend) -> None:
    fill(store, one_hot, count=24)
    report = evaluate_text(store, SPACE, genre_of, draws=50, seed=7, hits=(2,), ndcg=3)
    document = json.loads(json.dumps(report.to_dict()))
    assert document["space"]["space_id"] == SPACE.space_id
    assert document["seed"] == 7
    assert document["draws"] == 50
    assert set(document["measures"]) == {"hit@2", "MRR", "nDCG@3"}
    assert set(document["measures"]["MRR"]) == {"value", "low", "high", "chance"}
    assert set(document["versions"]) >= {"kindred", "numpy", "torch", "transformers"}
    assert document["captions"] == 12
    assert document["by_tags"]["genre"]["captions"] == 12
    assert len(report.lines()) == 1 + 3 + 1


def test_tracks_without_a_vector_are_not_in_the_gallery(store: StorageBackend) -> None:
    fill(store, one_hot, count=24)
    store.put_tracks([Track("zzz", genre="genre0"), Track("zzy", genre="unheard")])
    report = evaluate_text(store, SPACE, genre_of, draws=10)
    assert (report.tracks, report.captions) == (24, 12)
    assert report.measures["nDCG@10"].value == pytest.approx(1)


def test_a_caption_every_track_fits_is_left_out_and_one_of_a_single_track_kept(
    store: StorageBackend,
) -> None:
    for number, genre in enumerate(["genre0", "genre0", "genre1"]):
        row = one_hot(GENRES.index(genre))
        store.put_tracks([Track(str(number), genre=genre, artist="The Quartet")])
        store.put_embeddings(SPACE, [Embedding(str(number), "", row, row[None])])
    report = evaluate_text(store, SPACE, genre_of, draws=10)
    assert (report.captions, report.single, report.left_out) == (2, 1, 1)
    assert report.measures["MRR"].value == 1


def test_nothing_to_evaluate(store: StorageBackend) -> None:
    with pytest.raises(QueryError, match="No track has a axes vector"):
        evaluate_text(store, SPACE, genre_of)
    row = one_hot(0)
    store.put_tracks([Track("a"), Track("b")])
    store.put_embeddings(SPACE, [Embedding(name, "", row, row[None]) for name in "ab"])
    with pytest.raises(QueryError, match="no caption that tells tracks apart"):
        evaluate_text(store, SPACE, genre_of)


def test_texts_of_another_space_are_refused(store: StorageBackend) -> None:
    fill(store, one_hot, count=24)
    with pytest.raises(SpaceMismatch, match="12 dimensions"):
        evaluate_text(store, SPACE, lambda texts: genre_of(texts)[:, :5])


def test_captions_of_tags() -> None:
    tracks = [
        Track("a", genre="Baroque; Sacred", composer="Bach", artist="Choir", year=1723),
        Track("b", genre="baroque", composer="Bach", year=1700),
        Track("c", genre="Jazz", artist="Choir", year=1959),
        Track("d"),
    ]
    found = {(caption.made_of, caption.relevant): caption.text for caption in captions(tracks)}
    assert len(found) == len(captions(tracks))
    only = {key: text for key, text in found.items() if key[0] == "genre"}
    assert {key[1] for key in only} == {frozenset("ab"), frozenset("a"), frozenset("c")}
    assert "Baroque" in only["genre", frozenset("ab")]
    assert "Bach" in found["composer", frozenset("ab")]
    assert "Choir" in found["artist", frozenset("ac")]
    assert "17th century" in found["century", frozenset("b")]
    assert "18th century" in found["century", frozenset("a")]
    assert "20th century" in found["century", frozenset("c")]
    # "Baroque by Choir" is the piece "Baroque" and "Choir" do not single out alone.
    assert "Choir" in found["genre+artist", frozenset("a")]
    # Baroque by Bach says no more than Baroque; Baroque of the 17th no more than the 17th.
    assert not [key for key in found if key[0] in ("genre+composer", "genre+century")]


def test_captions_do_not_depend_on_the_order_of_tracks() -> None:
    tracks = [Track(str(n), genre=("ROCK", "Rock")[n % 2], year=1990 + n) for n in range(6)]
    assert captions(tracks) == captions(tracks[::-1])
    assert all(isinstance(caption, Caption) for caption in captions(tracks))
    assert captions([]) == []


@pytest.mark.parametrize(
    ("year", "century"),
    [(1, "1st"), (150, "2nd"), (250, "3rd"), (1050, "11th"), (1150, "12th"), (1250, "13th"),
     (1800, "18th"), (1801, "19th"), (2001, "21st")],
)  # fmt: skip
def test_centuries(year: int, century: str) -> None:
    (caption,) = captions([Track("a", year=year)])
    assert f"{century} century" in caption.text


@pytest.mark.parametrize("year", [0, -50, None])
def test_years_without_a_century(year: int | None) -> None:
    assert captions([Track("a", year=year)]) == []
