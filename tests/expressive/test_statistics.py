"""Statistics know the order of segments, and their projection is the same on every run."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.errors import ExpressiveError
from kindred.expressive.statistics import STATISTICS, Summary, describe, fit_summary

RNG = np.random.default_rng(0)


def test_statistics_worked_out_by_hand() -> None:
    values = np.array([0, 2, 0, 2, 0, 2], np.float32)[None, :, None]
    mean, deviation, *moves, second, fourth, eighth = describe(values)[0]
    assert (mean, deviation) == (1, 1)
    assert moves == [2, 0, 0]  # one step there, two or four steps back
    assert (second, fourth) == (1, 1)
    assert eighth == 0  # six segments have no lag of eight


def test_the_same_segments_in_another_order_differ() -> None:
    slow = np.repeat([[0.0], [1.0]], 8, axis=0)[None]
    quick = np.tile([[0.0], [1.0]], (8, 1))[None]
    one, other = describe(slow)[0], describe(quick)[0]
    np.testing.assert_allclose(one[:2], other[:2])
    assert np.abs(one[2:] - other[2:]).min() > 0.1


def test_a_clip_of_five_segments_and_many_layers() -> None:
    features = RNG.normal(size=(40, 5, 13, 96)).astype(np.float16)
    summary = fit_summary(features, kept=16)
    found = summary(features)
    assert found.shape == (40, 13, 16)
    assert found.dtype == np.float32
    sizes = np.square(found).mean(axis=(0, 2))
    np.testing.assert_allclose(sizes, sizes[0], rtol=0.05)  # no layer drowns another


def test_padding_and_constants_are_dropped() -> None:
    features = RNG.normal(size=(30, 12, 2, 6)).astype(np.float32)
    features[:, :, 0, 4:] = 0
    features[:, :, 1, 5] = 7
    summary = fit_summary(features, kept=8)
    scale = summary.scale.reshape(2, STATISTICS, 6)
    assert not scale[0, :, 4:].any()
    assert not scale[1, :, 5].any()
    changed = features.copy()
    changed[:, :, 1, 5] = RNG.normal(size=(30, 12))
    np.testing.assert_array_equal(summary(changed), summary(features))


def test_fitting_again_gives_the_same_bytes_and_tensors_come_back() -> None:
    features = RNG.normal(size=(50, 9, 3, 40)).astype(np.float32)
    one, other = fit_summary(features, kept=12), fit_summary(features.copy(), kept=12)
    for key, value in one.tensors().items():
        assert value.tobytes() == other.tensors()[key].tobytes()
    again = Summary.of_tensors(one.tensors())
    np.testing.assert_array_equal(again(features), one(features))


def test_more_components_than_clips_are_zero() -> None:
    features = RNG.normal(size=(4, 9, 1, 10)).astype(np.float32)
    found = fit_summary(features, kept=32)(features)
    assert found.shape == (4, 1, 32)
    assert not found[:, :, 3:].any()


def test_one_odd_clip_is_cut_off() -> None:
    features = RNG.normal(size=(50, 9, 1, 4)).astype(np.float32)
    summary = fit_summary(features, kept=4)
    odd = features[:1] * 1e6
    assert np.abs(summary(odd)).max() < 100


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.zeros((1, 5, 2, 3)), "at least two clips"),
        (np.zeros((4, 5, 3)), "at least two clips"),
        (np.ones((4, 5, 2, 3)), "same features"),
        (np.full((4, 5, 2, 3), np.nan), "not numbers"),
    ],
    ids=["one clip", "three axes", "constant", "not a number"],
)
def test_features_that_cannot_be_fitted(features: np.ndarray, words: str) -> None:
    with pytest.raises(ExpressiveError, match=words):
        fit_summary(features.astype(np.float32))


def test_features_of_another_source_or_damaged_are_refused() -> None:
    features = RNG.normal(size=(20, 9, 2, 4)).astype(np.float32)
    summary = fit_summary(features, kept=4)
    with pytest.raises(ExpressiveError, match="another feature source"):
        summary(RNG.normal(size=(3, 9, 2, 5)).astype(np.float32))
    features[3, 2, 1, 0] = np.nan
    with pytest.raises(ExpressiveError, match="clip 3"):
        summary(features)
