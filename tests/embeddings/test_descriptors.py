"""What the descriptors say of sounds made by formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kindred.embeddings.descriptors import (
    CONSTANTS_PATH,
    DIMENSIONS,
    FAMILIES,
    DescriptorEncoder,
    family_shares,
    family_similarities,
    raw_descriptors,
)
from kindred.embeddings.features import spectrum
from kindred.errors import EncoderError
from tests.embeddings import sounds

RATE = spectrum.SAMPLE_RATE
MAJOR = [(60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67)]
CLUSTER = [(60, 61, 62), (66, 67, 68), (61, 62, 63), (67, 68, 69)]


@pytest.fixture(scope="module")
def encoder() -> DescriptorEncoder:
    return DescriptorEncoder()


def transposed(chords: list[tuple[int, ...]], *, by: int) -> list[tuple[int, ...]]:
    return [tuple(pitch + by for pitch in chord) for chord in chords]


def value(audio: np.ndarray, name: str) -> float:
    return float(raw_descriptors(audio[None])[0, DIMENSIONS.index(name)])


def part(audio: np.ndarray, family: str) -> np.ndarray:
    return raw_descriptors(audio[None])[0, FAMILIES[family]]


def test_families_cover_the_vector() -> None:
    covered = np.concatenate([np.arange(s.start, s.stop) for s in FAMILIES.values()])
    assert covered.tolist() == list(range(len(DIMENSIONS)))
    assert len(set(DIMENSIONS)) == len(DIMENSIONS)


@pytest.mark.parametrize("gain", [0.25, 0.01, 3.0])
def test_gain_does_not_matter(encoder: DescriptorEncoder, gain: float) -> None:
    for audio in (sounds.notes(RATE, MAJOR), sounds.clicks(RATE, bpm=90), sounds.noise(RATE)):
        a, b = encoder.encode(np.stack([audio, np.float32(gain) * audio]))
        assert a @ b > 0.999


def test_an_offset_does_not_matter(encoder: DescriptorEncoder) -> None:
    audio = sounds.notes(RATE, MAJOR)
    a, b = encoder.encode(np.stack([audio, audio + np.float32(0.2)]))
    assert a @ b > 0.999


@pytest.mark.parametrize("rate", [44_100, 48_000, 32_000])
def test_the_rate_of_the_source_hardly_matters(encoder: DescriptorEncoder, rate: int) -> None:
    import soxr

    for make in (lambda r: sounds.notes(r, MAJOR), lambda r: sounds.notes(r, CLUSTER, step=0.3)):
        here = make(RATE)
        there = np.resize(soxr.resample(make(rate), rate, RATE), len(here)).astype(np.float32)
        a, b = encoder.encode(np.stack([here, there]))
        assert a @ b > 0.98


def test_a_sine_is_pure_and_noise_is_flat() -> None:
    tone, hiss = sounds.sine(RATE, frequency=1000), sounds.noise(RATE)
    assert value(tone, "timbre: flatness mean") < -5 < -1 < value(hiss, "timbre: flatness mean")
    assert value(tone, "timbre: centroid mean") == pytest.approx(0, abs=0.1)
    assert value(tone, "timbre: spread mean") < value(hiss, "timbre: spread mean")
    assert value(tone, "timbre: roll-off mean") < value(hiss, "timbre: roll-off mean")
    # Magnitudes of noise are even over 32 Hz to 10 kHz: 85% lie below 8.5 kHz.
    assert value(hiss, "timbre: roll-off mean") == pytest.approx(np.log2(8.5), abs=0.05)


def test_a_sine_has_its_pitch_class_whatever_the_tuning() -> None:
    classes = [DIMENSIONS.index(f"harmony: pitch class {i}") for i in range(12)]
    for cents in (-40, -20, 0, 20, 40):
        audio = sounds.sine(RATE, frequency=440 * 2 ** (cents / 1200))
        profile = raw_descriptors(audio[None])[0, classes]
        assert int(profile.argmax()) == 9
        assert profile.max() > 0.9


@pytest.mark.parametrize("bpm", [60, 100, 150])
def test_a_click_track_pulses_at_its_tempo(bpm: int) -> None:
    raw = raw_descriptors(sounds.clicks(RATE, bpm=bpm)[None])[0]
    names = [name for name in DIMENSIONS if name.startswith("rhythm: pulse") and "bpm" in name]
    pulses = np.array([raw[DIMENSIONS.index(name)] for name in names])
    tempi = np.array([float(name.split()[2]) for name in names])
    strong = tempi[pulses > 0.6 * pulses.max()]
    assert np.abs(np.log2(strong / bpm)).min() < 0.08
    # Regular clicks repeat at multiples of their period and never between two of them.
    assert np.abs(np.log2(tempi / (bpm * 1.5))).argmin() not in np.flatnonzero(pulses > 0.3)
    assert raw[DIMENSIONS.index("rhythm: onset rate")] == pytest.approx(np.log1p(bpm / 60), abs=0.1)
    assert raw[DIMENSIONS.index("rhythm: interval spread")] < 0.05


def test_tempo_shows_in_rhythm_and_hardly_in_timbre(encoder: DescriptorEncoder) -> None:
    slow, fast, slow_again = encoder.encode(
        np.stack(
            [
                sounds.clicks(RATE, bpm=66),
                sounds.clicks(RATE, bpm=170),
                sounds.clicks(RATE, bpm=66, seed=1),
            ]
        )
    )
    across, within = family_similarities(slow, fast), family_similarities(slow, slow_again)
    assert within["rhythm"] > 0.9 > 0.75 > across["rhythm"]
    assert slow @ slow_again > slow @ fast


def test_transposition_keeps_most_of_harmony(encoder: DescriptorEncoder) -> None:
    home, moved, other = encoder.encode(
        np.stack(
            [
                sounds.notes(RATE, MAJOR),
                sounds.notes(RATE, transposed(MAJOR, by=3)),
                sounds.notes(RATE, CLUSTER),
            ]
        )
    )
    near, far = family_similarities(home, moved), family_similarities(home, other)
    assert near["harmony"] > 0.4
    assert near["harmony"] > far["harmony"] + 0.3
    assert near["rhythm"] > 0.9


def test_key_free_dimensions_do_not_hear_a_transposition() -> None:
    names = [f"harmony: interval order {k}" for k in range(1, 7)]
    home, moved = sounds.notes(RATE, MAJOR), sounds.notes(RATE, transposed(MAJOR, by=5))
    for name in names:
        assert value(home, name) == pytest.approx(value(moved, name), abs=0.06)


def test_brightness_shows_in_timbre_and_not_in_harmony(encoder: DescriptorEncoder) -> None:
    dull, bright = encoder.encode(
        np.stack([sounds.notes(RATE, MAJOR, brightness=b) for b in (0.3, 0.9)])
    )
    similar = family_similarities(dull, bright)
    assert similar["timbre"] < min(similar["harmony"], similar["rhythm"], similar["dynamics"])


def test_dynamics_hear_a_crescendo() -> None:
    level = np.geomspace(0.05, 1, 10 * RATE).astype(np.float32)
    steady = sounds.notes(RATE, MAJOR, decay=0.5)
    assert value(steady * level, "dynamics: trend") > 5
    assert value(steady * level[::-1], "dynamics: trend") < -5
    assert value(steady, "dynamics: trend") == pytest.approx(0, abs=1)
    # Two equal halves: an arch is not a trend.
    assert value(steady, "dynamics: level std") < value(steady * level, "dynamics: level std")


def test_the_same_piece_and_sound_is_nearer_than_another(encoder: DescriptorEncoder) -> None:
    rng = np.random.default_rng(0)
    pieces = []
    for _ in range(6):
        scale = rng.choice([0, 2, 3, 4, 5, 7, 8, 9, 10], size=6, replace=False) + rng.integers(12)
        line = [tuple(48 + rng.choice(scale, size=rng.integers(1, 4))) for _ in range(32)]
        sound = {
            "step": float(rng.uniform(0.15, 0.8)),
            "decay": float(rng.uniform(0.5, 9)),
            "brightness": float(rng.uniform(0.2, 0.9)),
        }
        pieces.append(sounds.notes(RATE, line, seconds=20, **sound))
    windows = np.stack([half for piece in pieces for half in np.split(piece, 2)])
    similarity = encoder.encode(windows) @ encoder.encode(windows).T
    np.fill_diagonal(similarity, -1)
    assert similarity.argmax(axis=1).tolist() == [i ^ 1 for i in range(12)]


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values)).astype(np.float32)


def test_shares_sum_to_one_and_follow_the_dot_products() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (unit(rng.standard_normal(len(DIMENSIONS))) for _ in range(2))
        shares = family_shares(a, b)
        assert sum(shares.values()) == pytest.approx(1)
        assert min(shares.values()) >= 0
        assert shares == pytest.approx(family_shares(b, a))
        dots = {family: float(a[s] @ b[s]) for family, s in FAMILIES.items()}
        assert sum(dots.values()) == pytest.approx(float(a @ b), abs=1e-6)
        if max(dots.values()) > 0:
            assert all(shares[family] == 0 for family, dot in dots.items() if dot < 0)
            assert max(shares, key=shares.get) == max(dots, key=dots.get)


def test_shares_of_opposites_are_equal() -> None:
    a = unit(np.ones(len(DIMENSIONS)))
    assert family_shares(a, -a) == pytest.approx(dict.fromkeys(FAMILIES, 0.25))
    assert family_similarities(a, -a) == pytest.approx(dict.fromkeys(FAMILIES, -1.0))


def test_an_empty_family_has_no_similarity() -> None:
    a = np.zeros(len(DIMENSIONS), np.float32)
    a[FAMILIES["timbre"]] = 1
    assert family_similarities(a, a)["rhythm"] == 0
    assert family_shares(a, a)["timbre"] == 1


def test_vectors_of_another_space_are_refused() -> None:
    with pytest.raises(EncoderError, match="512"):
        family_shares(np.zeros(512, np.float32), np.zeros(512, np.float32))


def test_other_constants_name_another_space(tmp_path: Path) -> None:
    table = json.loads(CONSTANTS_PATH.read_text())
    table["dimensions"][0]["mean"] += 1
    other = tmp_path / "other.json"
    other.write_text(json.dumps(table))
    first, second = DescriptorEncoder().space, DescriptorEncoder(constants=other).space
    assert first.space_id == DescriptorEncoder().space.space_id
    assert first.space_id != second.space_id


@pytest.mark.parametrize("damage", ["missing", "cut", "short", "zero"])
def test_unusable_constants_say_how_to_make_them(tmp_path: Path, damage: str) -> None:
    path = tmp_path / f"{damage}.json"
    text = CONSTANTS_PATH.read_text()
    table = json.loads(text)
    if damage == "cut":
        path.write_text(text[:200])
    elif damage == "short":
        table["dimensions"].pop()
        path.write_text(json.dumps(table))
    elif damage == "zero":
        table["dimensions"][3]["std"] = 0
        path.write_text(json.dumps(table))
    with pytest.raises(EncoderError, match="calibrate FOLDER"):
        DescriptorEncoder(constants=path)


def test_mel_and_chroma_agree_with_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    from kindred.embeddings.features import timbre

    audio = sounds.notes(RATE, MAJOR)
    levelled = spectrum.level(audio[None])[0]
    ours = spectrum.spectrum(levelled)
    taper = np.hanning(spectrum.N_FFT + 1)[:-1]
    theirs = librosa.stft(
        levelled, n_fft=spectrum.N_FFT, hop_length=spectrum.HOP, center=False, window=taper
    )
    power = (np.abs(theirs.T[:, spectrum.BINS]) ** 2) / np.sum(taper**2) + spectrum.FLOOR
    assert ours.power == pytest.approx(power, rel=1e-3, abs=1e-4)
    cepstra = timbre.analyse(ours)[:, : timbre.N_MELS] @ timbre._DCT
    log_mel = np.log(power @ timbre._MEL)
    import scipy.fft

    expected = scipy.fft.dct(log_mel, norm="ortho", axis=1)[:, : timbre.N_MFCC]
    assert cepstra == pytest.approx(expected, abs=0.02)
