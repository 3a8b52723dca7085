"""Making the constants again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kindred.embeddings import calibrate
from kindred.embeddings.descriptors import DIMENSIONS, FAMILIES, DescriptorEncoder
from kindred.errors import EncoderError
from tests.embeddings import sounds

RATE = calibrate.SAMPLE_RATE


def test_the_command_writes_constants_an_encoder_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        line = [tuple(rng.integers(40, 80, size=2)) for _ in range(20)]
        audio = sounds.notes(16_000, line, step=float(rng.uniform(0.2, 0.8)), seconds=11)
        soundfile.write(tmp_path / f"{i:02d}.wav", np.stack([audio, audio], axis=1), 16_000)
    output = tmp_path / "constants.json"
    assert calibrate.main([str(tmp_path), "--output", str(output)]) == 0
    assert "12 tracks" in capsys.readouterr().out
    encoder = DescriptorEncoder(constants=output)
    assert encoder.space.space_id != DescriptorEncoder().space.space_id
    weights = np.array(list(encoder.constants.weights.values()))
    assert np.mean(weights**2) == pytest.approx(1, abs=1e-3)


def test_too_little_music_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate.main([str(tmp_path)]) == 1
    assert "at least 10 tracks, got 0" in capsys.readouterr().out


def test_families_spread_equally_after_fitting() -> None:
    rng = np.random.default_rng(0)
    dims = len(DIMENSIONS)
    common = rng.standard_normal((300, 4))
    raw = rng.standard_normal((300, dims))
    # Timbre moves as one, so that without weights it would decide alone.
    raw[:, FAMILIES["timbre"]] += 3 * common[:, :1]
    table = calibrate.fit(list(raw.reshape(100, 3, dims)), material="numbers")
    mean = np.array([row["mean"] for row in table["dimensions"]])
    std = np.array([row["std"] for row in table["dimensions"]])
    assert mean == pytest.approx(raw.mean(axis=0), abs=0.1)
    values = np.clip((raw - mean) / std, -4, 4)
    spreads = []
    for family, part in FAMILIES.items():
        scaled = values[:, part] * table["weights"][family] / np.sqrt(part.stop - part.start)
        products = scaled @ scaled.T
        spreads.append(products[~np.eye(300, dtype=bool)].std())
    assert max(spreads) / min(spreads) < 1.1


def test_silence_around_a_piece_is_left_out() -> None:
    music = sounds.notes(RATE, [(60, 64, 67)], seconds=20)
    padded = np.concatenate((np.zeros(20 * RATE, np.float32), music))
    assert len(calibrate.window_descriptors(music)) == 2
    assert calibrate.window_descriptors(padded) == pytest.approx(
        calibrate.window_descriptors(music)
    )
    assert calibrate.window_descriptors(np.zeros(RATE, np.float32)).shape == (0, len(DIMENSIONS))


def test_an_empty_calibration_is_refused() -> None:
    with pytest.raises(EncoderError, match="at least 10"):
        calibrate.fit([np.empty((0, len(DIMENSIONS)), np.float32)] * 20, material="nothing")
