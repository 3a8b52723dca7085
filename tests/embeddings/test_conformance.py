"""What every registered encoder promises."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.config import Settings
from kindred.embeddings import registry
from kindred.embeddings.encoder import Encoder
from kindred.errors import EncoderError
from tests.embeddings import sounds


@pytest.fixture
def batch(encoder: Encoder) -> np.ndarray:
    rate = encoder.space.sample_rate
    kinds = [
        sounds.sine(rate),
        sounds.noise(rate),
        sounds.clicks(rate, bpm=120),
        sounds.notes(rate, [(60, 64, 67), (65, 69, 72)]),
    ]
    return np.stack([np.resize(sound, encoder.space.window_samples) for sound in kinds])


def test_shape_type_and_length(encoder: Encoder, batch: np.ndarray) -> None:
    vectors = encoder.encode(batch)
    assert vectors.shape == (4, encoder.space.dims)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_the_space_is_what_the_registry_says(encoder: Encoder) -> None:
    (info,) = [info for info in registry.available() if info.name == encoder.space.model]
    assert (info.dims, info.title) == (encoder.space.dims, encoder.title)


def test_same_bits_twice(encoder: Encoder, batch: np.ndarray) -> None:
    assert np.array_equal(encoder.encode(batch), encoder.encode(batch))


def test_a_row_depends_on_its_window_alone(encoder: Encoder, batch: np.ndarray) -> None:
    together = encoder.encode(batch)
    for i in range(len(batch)):
        assert encoder.encode(batch[i : i + 1])[0] == pytest.approx(together[i], abs=1e-5)
    assert encoder.encode(batch[::-1])[::-1] == pytest.approx(together, abs=1e-5)


def test_the_input_is_left_alone(encoder: Encoder, batch: np.ndarray) -> None:
    before = batch.copy()
    batch.flags.writeable = False
    encoder.encode(batch)
    assert np.array_equal(batch, before)


@pytest.mark.parametrize("kind", sorted(sounds.odd(400)))
def test_odd_windows_give_finite_vectors(encoder: Encoder, kind: str) -> None:
    sound = sounds.odd(encoder.space.sample_rate)[kind]
    window = np.resize(sound, encoder.space.window_samples)
    vectors = encoder.encode(window[None])
    assert np.isfinite(vectors).all()
    assert np.isfinite(encoder.embed(window).vector).all()


def test_a_track_vector_has_unit_length(encoder: Encoder) -> None:
    rate = encoder.space.sample_rate
    result = encoder.embed(sounds.noise(rate, seconds=2.3 * encoder.space.window))
    assert result.segments.shape == (3, encoder.space.dims)
    assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-6)


def test_windows_of_another_length_are_refused(encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match="samples"):
        encoder.encode(np.zeros((1, 1000), np.float32))


def test_no_window_gives_no_vector(encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match="no audio"):
        encoder.embed(np.zeros(0, np.float32))


def test_space_ids_are_stable_and_differ(settings: Settings) -> None:
    names = [info.name for info in registry.available()]
    first = [registry.load_encoder(name, settings).space.space_id for name in names]
    again = [registry.load_encoder(name, settings).space.space_id for name in names]
    assert first == again
    assert len(set(first)) == len(first)
