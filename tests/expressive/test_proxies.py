"""Audio proxies: each follows its aspect, in sounds whose truth is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.expressive.aspects import KEYS
from kindred.expressive.proxies import NAMES, proxies
from kindred.expressive.scoring import Floats
from tests.embeddings import sounds
from tests.expressive.playing import SAMPLES, steady, swaying, tones

RATE = 22_050


def measured(name: str, *clips: Floats) -> list[float]:
    return [float(value) for value in proxies(np.stack(clips), RATE)[:, NAMES.index(name)]]


def test_the_first_five_are_the_aspects() -> None:
    assert NAMES[:5] == KEYS
    assert len(NAMES) == 8


def test_tempo_is_the_rate_of_onsets() -> None:
    clips = [tones(steady(rate)) for rate in (2, 4, 6)]
    assert measured("tempo", *clips) == pytest.approx([2, 4, 6], rel=0.08)


def test_phrasing_grows_with_rubato() -> None:
    found = measured("phrasing", *(tones(swaying(3, depth=depth)) for depth in (0, 0.2, 0.4)))
    assert found[0] < 0.02
    assert found == sorted(found)
    assert found[2] > 0.1
    # Another tempo by itself is no rubato.
    assert max(measured("phrasing", tones(steady(2)), tones(steady(5)))) < 0.02


def test_dynamics_is_the_deviation_of_the_smoothed_level() -> None:
    times = steady(6, first=0.0)
    # A sine of 6 dB has a deviation of 4.2 dB, of which a mean over 1 s of 4 keeps 90 %.
    swells = [10 ** (depth * np.sin(2 * np.pi * times / 4) / 20) for depth in (0, 3, 6)]
    found = measured("dynamics", *(tones(times, length=0.1, loud=swell) for swell in swells))
    assert found[0] < 0.5
    assert found[1:] == pytest.approx([1.9, 3.8], rel=0.15)


def test_articulation_is_the_dip_between_onsets() -> None:
    found = measured("articulation", *(tones(steady(3), length=each) for each in (0.1, 0.3, 0.34)))
    assert found == sorted(found, reverse=True)
    assert found[0] > 40 > 6 > found[2]


def test_timbre_is_the_centroid_in_octaves_around_1_khz() -> None:
    low, high = measured(
        "timbre", *(sounds.sine(RATE, frequency=each, seconds=12) for each in (500.0, 4000.0))
    )
    assert low < -0.7
    assert high > 1.7


def test_loudness_and_seconds_of_sound() -> None:
    tone = sounds.sine(RATE, frequency=1000, seconds=12)
    half = tone.copy()
    half[SAMPLES // 2 :] = 0
    # A sine of full scale at about 1 kHz has -3.01 LUFS; this one has half its amplitude.
    assert measured("loudness", tone, tone / 10) == pytest.approx([-9.0, -29.0], abs=0.1)
    assert measured("seconds", tone, half) == pytest.approx([12, 6], abs=0.15)
    assert measured("loudness", np.zeros(SAMPLES, np.float32)) == [-70]
    assert measured("seconds", np.zeros(SAMPLES, np.float32)) == [0]


def test_gain_moves_loudness_alone() -> None:
    plain = tones(steady(3))
    one, other = proxies(np.stack([plain, plain / 4]), RATE)
    moved = NAMES.index("loudness")
    assert other[moved] - one[moved] == pytest.approx(-12.04, abs=0.01)
    assert np.delete(other, moved) == pytest.approx(np.delete(one, moved), abs=0.01)


def test_a_row_is_of_its_clip_alone_and_another_rate_says_the_same() -> None:
    import soxr

    clips = np.stack([tones(steady(3)), tones(steady(5))])
    rows = proxies(clips, RATE)
    assert np.array_equal(rows[1], proxies(clips[1:], RATE)[0])
    again = proxies(soxr.resample(clips.T, RATE, 44_100).T, 44_100)
    assert again == pytest.approx(rows, rel=0.05, abs=0.05)


@pytest.mark.parametrize("name", sounds.odd(RATE))
def test_odd_sounds_give_finite_numbers(name: str) -> None:
    clip = np.resize(sounds.odd(RATE)[name], SAMPLES)
    assert np.isfinite(proxies(clip[None], RATE)).all()


def test_clips_that_are_no_clips_are_refused() -> None:
    assert proxies(np.zeros((0, SAMPLES), np.float32), RATE).shape == (0, 8)
    for shape in ((SAMPLES,), (1, 3 * RATE)):
        with pytest.raises(ValueError, match="at least 4 s"):
            proxies(np.zeros(shape, np.float32), RATE)
