"""Each baseline finds what is planted for it, and is fitted on training clips only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS
from kindred.expressive.baselines import (
    WHITENED,
    Cosine,
    Descriptors,
    Random,
    WeighedLayers,
    fit_baselines,
    pooled,
)
from kindred.expressive.clips import Clip
from kindred.expressive.ranking import judge
from kindred.expressive.scoring import Floats, Scorer
from tests.expressive.judging import clips_of_world, proxies_of

NAMES = ("random", "cosine", "centred", "whitened", "best layer", "discovery", "descriptors")


def of_split(clips: list[Clip], split: str) -> list[Clip]:
    return [one for one in clips if (one.set, one.split) == ("factorial", split)]


def layered(clips: list[Clip], seed: int = 0) -> Floats:
    """Layer i holds aspect i, as five soft indicators; layers 5 and 6 the work, and nothing."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(len(clips), 4, 7, 6)) * 0.3 + 2  # an offset that all clips share
    for row, one in enumerate(clips):
        for aspect, level in enumerate(one.levels):
            made[row, :, aspect, :5] += 3 * np.exp(-0.5 * (np.arange(5) - level) ** 2)
        made[row, :, 5] += np.random.default_rng(int(one.work.split()[1])).normal(size=6) * 4
    return made.astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Scorer]:
    train = of_split(clips_of_world(), "train")
    return {one.name: one for one in fit_baselines(train, layered(train), proxies_of(train))}


def test_there_are_all_that_the_table_names(fitted: dict[str, Scorer]) -> None:
    assert tuple(fitted) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_scores_have_their_shape_and_are_finite_and_symmetric(
    name: str, fitted: dict[str, Scorer]
) -> None:
    clips = of_split(clips_of_world(), "test")
    of = fitted[name].represent(proxies_of(clips) if name == "descriptors" else layered(clips))
    scores = fitted[name].compare(of[:7], of)
    assert scores.shape == (len(ASPECTS), 7, len(clips))
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert np.allclose(scores, fitted[name].compare(of, of[:7]).transpose(0, 2, 1), atol=1e-5)


def test_the_layer_that_holds_an_aspect_is_found_and_used(fitted: dict[str, Scorer]) -> None:
    best, discovery = fitted["best layer"], fitted["discovery"]
    assert isinstance(best, WeighedLayers)
    assert isinstance(discovery, WeighedLayers)
    assert best.weights.argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    assert best.weights.sum() == 5
    assert discovery.weights.argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    assert discovery.weights.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (discovery.weights >= 0).all()
    assert discovery.weights[:, 5].max() < 0.1  # the work ranks lures first


def test_layers_rank_better_than_the_rest_and_random_as_chance(fitted: dict[str, Scorer]) -> None:
    clips = of_split(clips_of_world(), "test")
    features, proxies = layered(clips), proxies_of(clips)
    found = {
        name: judge(one, clips, proxies if name == "descriptors" else features)
        for name, one in fitted.items()
    }
    macro = {name: one.macro() for name, one in found.items()}
    assert macro["best layer"] > macro["descriptors"] > 0.5
    assert macro["discovery"] > macro["cosine"] + 0.1
    assert macro["descriptors"] > macro["random"] + 0.1
    chance = found["random"].aspects(chance=True).mean()
    assert macro["random"] == pytest.approx(chance, abs=0.05)


def test_nothing_of_the_test_is_fitted() -> None:
    clips = clips_of_world()
    train, test = of_split(clips, "train"), of_split(clips, "test")
    both = [*train, test[0]]
    with pytest.raises(ExpressiveError, match="train only, not of test"):
        fit_baselines(both, layered(both), proxies_of(both))
    with pytest.raises(ExpressiveError, match="at least two clips of train, got 1"):
        fit_baselines(train[:1], layered(train[:1]), proxies_of(train[:1]))


def test_the_same_clips_fit_the_same_baselines(fitted: dict[str, Scorer]) -> None:
    train = of_split(clips_of_world(), "train")
    features = layered(train)
    again = {one.name: one for one in fit_baselines(train, features, proxies_of(train))}
    for name in set(NAMES) - {"descriptors"}:
        one, two = fitted[name].represent(features[:3]), again[name].represent(features[:3])
        assert np.array_equal(one, two), name


def test_half_precision_on_disk_is_taken() -> None:
    train = of_split(clips_of_world(), "train")
    half = layered(train).astype(np.float16)
    assert len(fit_baselines(train, half, proxies_of(train))) == len(NAMES)


def test_whitening_gives_equal_variance_and_centring_takes_the_offset(
    fitted: dict[str, Scorer],
) -> None:
    train = of_split(clips_of_world(), "train")
    features = layered(train)
    whitened, centred = fitted["whitened"], fitted["centred"]
    assert isinstance(whitened, Cosine)
    assert isinstance(centred, Cosine)
    flat = pooled(features).reshape(len(train), -1)
    assert whitened.directions is not None
    assert whitened.directions.shape[1] <= WHITENED
    placed = (flat - whitened.mean) @ whitened.directions
    assert placed.std(axis=0) == pytest.approx(1, abs=1e-3)
    raw, less = Cosine(), centred
    spread = [
        one.compare(one.represent(features), one.represent(features))[0].std()
        for one in (raw, less)
    ]
    assert spread[1] > 3 * spread[0]


def test_random_is_the_same_for_a_clip_and_another_for_each_aspect() -> None:
    features = np.random.default_rng(0).normal(size=(50, 2, 2, 3)).astype(np.float32)
    of = Random().represent(features)
    assert np.array_equal(
        of, np.concatenate([Random().represent(features[i : i + 1]) for i in range(50)])
    )
    scores = Random().compare(of, of)
    upper = np.triu_indices(50, 1)
    across = np.corrcoef([each[upper] for each in scores])
    assert abs(across[~np.eye(5, dtype=bool)]).max() < 0.15


def test_descriptors_read_their_own_proxy_only() -> None:
    proxies = np.zeros((2, 8), np.float32)
    proxies[1] = [0, 3, 0, 0, 0, 9, 9, 9]
    scorer = Descriptors(np.full(5, 2, np.float32))
    of = scorer.represent(proxies)
    assert scorer.compare(of[:1], of[1:])[:, 0, 0].tolist() == [0, -1.5, 0, 0, 0]


def test_silence_and_padding_are_no_error() -> None:
    train = [replace(one) for one in of_split(clips_of_world(), "train")]
    features = np.zeros((len(train), 4, 2, 3), np.float32)
    for one in fit_baselines(train, features, np.zeros((len(train), 8), np.float32)):
        values = np.zeros((3, 8), np.float32) if one.name == "descriptors" else features[:3]
        of = one.represent(values)
        assert np.isfinite(one.compare(of, of)).all(), one.name
