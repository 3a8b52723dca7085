"""Scorers are read whole or not at all, and one vector serves any weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kindred.errors import ExpressiveError
from kindred.expressive import networks
from kindred.expressive.aspects import KEYS
from kindred.expressive.learner import TrainingOptions
from kindred.expressive.scorers import OracleScorer, RetrieverScorer, untrained
from kindred.expressive.scoring import total
from kindred.expressive.training import train_oracle, train_retriever
from tests.expressive.synthetic import made, new_works

OPTIONS = TrainingOptions(epochs=25, groups=2, clips=10, hidden=24, dims=4, rate=0.01, noise=0.3)
FEATURES, LEVELS, WORKS = new_works()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    data = made()
    train_oracle(data, folder / "oracle", OPTIONS)
    train_retriever(data, folder / "retriever", OPTIONS)
    return folder


@pytest.fixture(scope="module")
def retriever(folder: Path) -> RetrieverScorer:
    return RetrieverScorer.load(folder / "retriever")


@pytest.fixture(scope="module")
def oracle(folder: Path) -> OracleScorer:
    return OracleScorer.load(folder / "oracle")


def test_scores_are_symmetric_finite_and_the_same_in_any_block(
    oracle: OracleScorer, retriever: RetrieverScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scorer in (oracle, retriever):
        kept = scorer.represent(FEATURES)
        assert kept.shape == (len(FEATURES), len(KEYS), 4)
        scores = scorer.compare(kept[:7], kept)
        assert scores.shape == (len(KEYS), 7, len(FEATURES))
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(
            scorer.compare(kept, kept[:7]), scores.transpose(0, 2, 1), atol=1e-5
        )
        monkeypatch.setattr(networks, "_PAIRS", 3)
        np.testing.assert_allclose(scorer.compare(kept[:7], kept), scores, atol=1e-5)
        monkeypatch.undo()
        assert scorer.compare(kept[:0], kept).shape == (len(KEYS), 0, len(FEATURES))
        assert scorer.compare(kept, kept[:0]).shape == (len(KEYS), len(FEATURES), 0)
    assert (oracle.name, retriever.name) == ("oracle", "projection")
    assert retriever.feature_id == "planted"


def test_features_on_disk_in_half_precision_score_alike(retriever: RetrieverScorer) -> None:
    half = retriever.represent(FEATURES.astype(np.float16))
    np.testing.assert_allclose(half, retriever.represent(FEATURES), atol=0.02)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0.2, 3, 0, 0.7, 1]])
def test_one_dot_product_is_the_weighted_mean_of_scores(
    retriever: RetrieverScorer, weights: list[float]
) -> None:
    given = np.array(weights, np.float32)
    kept = retriever.represent(FEATURES)
    expected = total(retriever.compare(kept, kept), given) / given.sum()
    vectors = retriever.vectors(FEATURES, given)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0.2, 3, 0, 0.7, 1]])
def test_an_index_of_equal_weights_serves_any_weights_of_a_query(
    retriever: RetrieverScorer, weights: list[float]
) -> None:
    given = np.array(weights, np.float32)
    kept, index = retriever.represent(FEATURES), retriever.vectors(FEATURES)
    expected = total(retriever.compare(kept, kept), given)
    queries = retriever.query_vectors(index, given)
    found = queries @ index.T
    factor = 1 / (np.sqrt(len(KEYS)) * np.linalg.norm(given))
    np.testing.assert_allclose(found, expected * factor, atol=1e-5)


@pytest.mark.parametrize(
    "weights", [[1, 1], [0] * 5, [1, 1, 1, 1, -1], [1, 1, 1, 1, np.nan], [1, 1, 1, 1, np.inf]]
)
def test_weights_that_cannot_be_used(retriever: RetrieverScorer, weights: list[float]) -> None:
    with pytest.raises(ExpressiveError, match="Weights are 5 numbers"):
        retriever.vectors(FEATURES, np.array(weights, np.float32))
    with pytest.raises(ExpressiveError, match="Weights are 5 numbers"):
        retriever.query_vectors(retriever.vectors(FEATURES), np.array(weights, np.float32))


def test_the_moments_that_matched_are_found(
    oracle: OracleScorer, retriever: RetrieverScorer
) -> None:
    """The first half of a clip is of the query's instrument, the second of another."""
    rng = np.random.default_rng(0)
    timbre = LEVELS[:, 4]
    for scorer in (oracle, retriever):
        leads = []
        for query, level in enumerate(timbre):
            same = rng.choice(np.flatnonzero((timbre == level) & (WORKS[query] != WORKS)))
            other = rng.choice(np.flatnonzero(timbre != level))
            spliced = np.concatenate([FEATURES[same, :6], FEATURES[other, 6:]])
            found = scorer.segments(FEATURES[query], spliced, "timbre")
            assert found.shape == (12, 12)
            leads.append(found[:, :4].mean() - found[:, 8:].mean())
        assert np.mean(np.array(leads) > 0) > 0.8


def test_moments_are_of_known_aspects_and_clips_of_any_length(retriever: RetrieverScorer) -> None:
    assert retriever.segments(FEATURES[0, :1], FEATURES[1, :5], "tempo").shape == (1, 5)
    whole = retriever.compare(*(retriever.represent(FEATURES[i : i + 1, :1]) for i in (0, 1)))
    found = retriever.segments(FEATURES[0, :1], FEATURES[1, :1], "timbre")
    np.testing.assert_allclose(found, whole[4], atol=1e-6)
    with pytest.raises(ExpressiveError, match="Aspects are tempo"):
        retriever.segments(FEATURES[0], FEATURES[1], "harmony")


def test_an_untrained_scorer_has_the_shape_of_another_and_follows_its_seed(folder: Path) -> None:
    for part, kind in (("oracle", OracleScorer), ("retriever", RetrieverScorer)):
        like = kind.load(folder / part)
        one, same, other = (untrained(seed, like=folder / part) for seed in (0, 0, 1))
        assert isinstance(one, kind)
        assert one.name == "untrained"
        kept = one.represent(FEATURES)
        assert kept.shape == like.represent(FEATURES).shape
        np.testing.assert_array_equal(same.represent(FEATURES), kept)
        assert np.abs(other.represent(FEATURES) - kept).max() > 0.1


def test_a_scorer_is_not_another_kind_of_scorer(folder: Path) -> None:
    with pytest.raises(ExpressiveError, match="'oracle', not projection or distilled"):
        RetrieverScorer.load(folder / "oracle")
    with pytest.raises(ExpressiveError, match="'projection', not oracle"):
        OracleScorer.load(folder / "retriever")


def damaged(folder: Path, target: Path, **config: object) -> Path:
    target.mkdir()
    values = json.loads((folder / "retriever" / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(values))
    model = (folder / "retriever" / "model.safetensors").read_bytes()
    (target / "model.safetensors").write_bytes(model)
    return target


def test_folders_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExpressiveError, match="holds no trained scorer"):
        RetrieverScorer.load(tmp_path / "none")
    cut = damaged(folder, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ExpressiveError, match="damaged"):
        RetrieverScorer.load(cut)
    (cut / "model.safetensors").unlink()
    with pytest.raises(ExpressiveError, match="holds no trained scorer"):
        RetrieverScorer.load(cut)
    text = damaged(folder, tmp_path / "text")
    (text / "config.json").write_text("{")
    with pytest.raises(ExpressiveError, match="damaged"):
        RetrieverScorer.load(text)
    for name, config, words in (
        ("format", {"format": 2}, "of format 2"),
        ("aspects", {"aspects": ["pitch"]}, "scores pitch"),
        ("shape", {"dims": 5}, "not of the same shapes"),
        ("kind", {"kind": "oracle"}, "not of the same shapes"),
        ("options", {"options": None}, "damaged"),
    ):
        with pytest.raises(ExpressiveError, match=words):
            RetrieverScorer.load(damaged(folder, tmp_path / name, **config))


def test_features_of_another_source_are_refused(retriever: RetrieverScorer) -> None:
    with pytest.raises(ExpressiveError, match="another feature source"):
        retriever.represent(FEATURES[..., :5])
