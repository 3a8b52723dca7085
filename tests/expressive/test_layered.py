"""Layered descriptors: what each layer says of sounds whose truth is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.expressive import layered
from kindred.expressive.layered import DIMS, LAYERS, MOST_SHIFT, NAMES, SEGMENTS, describe
from kindred.expressive.onsets import HOP, analyse
from kindred.expressive.scoring import Floats
from kindred.expressive.swells import PERIODS
from tests.embeddings import sounds
from tests.expressive.playing import SAMPLES, steady, swaying, tones

RATE = 22_050


def layer(features: Floats, name: str) -> Floats:
    return features[:, LAYERS.index(name)]


def value(features: Floats, name: str, dimension: str) -> Floats:
    return layer(features, name)[:, NAMES[name].index(dimension)]


@pytest.fixture(scope="module")
def plain() -> Floats:
    return tones(steady(3))


@pytest.fixture(scope="module")
def described(plain: Floats) -> Floats:
    return describe(plain)


def test_shape_names_and_padding(described: Floats) -> None:
    assert (described.shape, described.dtype) == ((SEGMENTS, len(LAYERS), DIMS), np.float32)
    assert len({*LAYERS}) == len(LAYERS)
    for index, name in enumerate(LAYERS):
        assert len({*NAMES[name]}) == len(NAMES[name]) <= DIMS
        assert described[:, index, : len(NAMES[name])].any()
        assert not described[:, index, len(NAMES[name]) :].any()


@pytest.mark.parametrize("rate", [1.5, 3, 6])
def test_onsets_are_where_tones_begin(rate: float) -> None:
    times = steady(rate)
    found = (analyse(tones(times)).onsets * HOP + 1024) / RATE
    assert len(found) == pytest.approx(len(times), abs=1)
    nearest = np.abs(found[:, None] - times).min(axis=1)
    assert nearest.max() < 0.05


def test_bound_tones_of_one_level_have_onsets_by_their_pitch() -> None:
    times = steady(3)
    found = analyse(tones(times, length=1 / 3 + 0.02)).onsets
    assert len(found) == pytest.approx(len(times), abs=2)


def test_rate_and_interval_follow_the_tempo(described: Floats) -> None:
    fast = describe(tones(steady(6)))
    for features, rate in ((described, 3), (fast, 6)):
        assert np.exp(value(features, "onsets", "median log interval")) == pytest.approx(
            1 / rate, rel=0.05
        )
        assert np.expm1(value(features, "onsets", "log rate")) == pytest.approx(rate, rel=0.15)


def test_pulse_peaks_at_the_beat(described: Floats) -> None:
    mean = layer(described, "pulse").mean(axis=0)
    assert layered.LAGS[mean.argmax()] == pytest.approx(1 / 3, rel=0.07)


def test_a_change_of_tempo_is_a_shift() -> None:
    # 20 % faster from the middle on: the two seconds before lie 2.6 steps along the lags.
    half = steady(3)[steady(3) < 6]
    faster = np.concatenate([half, np.arange(6, 11.9, 1 / 3.6)])
    step = np.log(layered.LAGS[1] / layered.LAGS[0])
    moved = np.log(3 / 3.6) / step
    at = layer(describe(tones(faster)), "shift 2 s")[:, : 2 * MOST_SHIFT + 1].argmax(axis=1)
    shift = at - MOST_SHIFT
    assert (shift[:5] == 0).all()  # before the change
    assert (shift[-2:] == 0).all()  # and after it
    assert np.abs(shift).max() == pytest.approx(abs(moved), abs=1)
    assert shift[np.abs(shift).argmax()] < 0  # shorter lags


def test_rubato_moves_the_shift_layers_and_a_steady_beat_does_not(described: Floats) -> None:
    swings = describe(tones(swaying(3, depth=0.4)))
    name = "moved by 0"
    for shift in ("shift 0.5 s", "shift 1 s", "shift 2 s"):
        assert value(described, shift, name).min() > value(swings, shift, name).mean()
    assert value(described, "shift 2 s", name).mean() > 0.9


def test_a_swell_is_in_the_level_layer() -> None:
    times = steady(6)
    swell = 10 ** (6 * np.sin(2 * np.pi * times / 4) / 20)  # 12 dB from soft to loud
    flat, swelling = describe(tones(times)), describe(tones(times, loud=swell))
    for name in ("energy", "mean of notes", "band from 240 Hz"):
        assert np.ptp(value(flat, "level", name)) < 3  # a scale does not fill a band evenly
        assert np.ptp(value(swelling, "level", name)) == pytest.approx(12, abs=3)


def test_short_tones_dip_and_bound_ones_do_not() -> None:
    times = steady(3)
    played = [describe(tones(times, length=length)) for length in (0.1, 0.2, 0.34)]
    dips = [value(each, "articulation", "median dip").mean() for each in played]
    held = [value(each, "articulation", "median held").mean() for each in played]
    assert dips[0] > 40 > 6 > dips[2]
    assert held[0] < 0.35 < held[1] < 0.65 < 0.95 < held[2]


def test_brighter_tones_have_another_timbre_and_shape() -> None:
    chords = [(60, 64, 67)]
    dull, bright = (
        describe(sounds.notes(RATE, chords, brightness=share, seconds=12)) for share in (0.3, 0.9)
    )
    centroid = [value(each, "shape", "centroid mean").mean() for each in (dull, bright)]
    assert centroid[1] - centroid[0] > 0.5  # octaves
    assert np.abs(layer(bright, "timbre") - layer(dull, "timbre")).max() > 1


def test_gain_and_offset_drop_out(plain: Floats, described: Floats) -> None:
    for gain in (1e-3, 7.0):
        moved = describe((plain * np.float32(gain) + np.float32(0.01 * gain)).astype(np.float32))
        assert moved == pytest.approx(described, abs=0.05)


def test_two_runs_give_the_same_bits(plain: Floats, described: Floats) -> None:
    assert np.array_equal(describe(plain), described)


@pytest.mark.parametrize("name", sounds.odd(RATE))
def test_odd_sounds_give_finite_numbers(name: str) -> None:
    clip = np.resize(sounds.odd(RATE)[name], SAMPLES)
    before = clip.copy()
    features = describe(clip)
    assert np.isfinite(features.astype(np.float16)).all()
    assert np.array_equal(clip, before, equal_nan=True)


def test_a_hole_of_nan_and_infinite_samples_counts_as_silence(plain: Floats) -> None:
    hole, silent = plain.copy(), plain.copy()
    hole[5000:9000] = np.nan
    hole[9000:9100] = -np.inf
    silent[5000:9100] = 0
    assert np.array_equal(describe(hole), describe(silent))


def test_silence_has_no_onset() -> None:
    assert not len(analyse(np.zeros(SAMPLES, np.float32)).onsets)


@pytest.mark.parametrize("shape", [(0,), (SAMPLES - 1,), (SAMPLES + 1,), (1, SAMPLES)])
def test_clips_of_another_length_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="264600 samples"):
        describe(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="at least"):
        analyse(np.zeros(100, np.float32))


@pytest.mark.parametrize(("depth", "period"), [(0, 4), (3, 4), (6, 4), (6, 2.5)])
def test_a_swell_is_a_wave_of_the_peaks_of_notes(depth: float, period: float) -> None:
    time = np.arange(SAMPLES) / RATE
    played = tones(steady(5)) * 10 ** (depth * np.sin(2 * np.pi * time / period) / 20)
    found = describe(played.astype(np.float32))
    greatest = value(found, "swell", "greatest wave of peaks of notes")
    assert np.ptp(greatest) == 0  # of the whole clip
    assert greatest[0] == pytest.approx(depth, abs=0.6)
    if depth:
        names = [name for name in NAMES["swell"] if name.startswith("wave") and "peaks" in name]
        waves = [value(found, "swell", name)[0] for name in names]
        assert names[int(np.argmax(waves))] == names[abs(PERIODS - period).argmin()]
