"""Where a clip's features come from: Kindred's layered descriptors, or the layers of MERT.

Both give float32 [n, segments, layers, dims] of clips of 12 s; nothing else needs to know which it
is. Features of two sources, or of two revisions of one, never meet: ``feature_id`` differs whenever
a number may.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kindred.config import Settings
from kindred.embeddings.mert import MertEncoder, from_settings
from kindred.embeddings.mert_weights import SAMPLE_RATE as MERT_RATE
from kindred.errors import ExpressiveError, WeightsMissing
from kindred.expressive import layered
from kindred.expressive.clips import SAMPLE_RATE, SECONDS
from kindred.expressive.onsets import FRAME_RATE
from kindred.expressive.scoring import Floats

SOURCES = ("auto", "layers", "mert")


class FeatureSource(Protocol):
    """Turns clips into segments by layers by dimensions.

    Attributes
    ----------
    name, title : str
        The name in settings and files, and the one that people read.
    revision : str
        Of the code or the weights.
    sample_rate : int
        Hz it hears.
    shape : tuple of int
        Segments, layers and dimensions.
    layer_names : tuple of str
    spans : tuple of (float, float)
        Seconds of the clip that each segment hears, from and to.
    feature_id : str
        Fit for a folder's name; another one whenever a number may be another.
    forks : bool
        Whether it may work in several processes at once; else it is asked for batches in one.
    """

    name: str
    title: str
    revision: str
    sample_rate: int
    shape: tuple[int, int, int]
    layer_names: tuple[str, ...]
    spans: tuple[tuple[float, float], ...]
    feature_id: str
    forks: bool

    def layers(self, batch: Floats) -> Floats:
        """Features of clips.

        Parameters
        ----------
        batch : float32 [n, samples]
            Of 12 s at ``sample_rate``.

        Returns
        -------
        float32 [n, segments, layers, dims]
            A clip's row depends on that clip alone.

        Raises
        ------
        ExpressiveError
            When the clips have another length.
        """


class Layered:
    """Kindred's layered descriptors; see :mod:`kindred.expressive.layered`."""

    name = "layers"
    title = "Kindred's layered descriptors (no learned weights)"
    sample_rate = SAMPLE_RATE
    shape = (layered.SEGMENTS, len(layered.LAYERS), layered.DIMS)
    layer_names = layered.LAYERS
    spans = tuple(
        (at * layered.STEP / FRAME_RATE, (at * layered.STEP + layered.SEGMENT) / FRAME_RATE)
        for at in range(layered.SEGMENTS)
    )
    forks = True

    def __init__(self) -> None:
        self.revision = str(layered.REVISION)
        self.feature_id = f"layers-{self.revision}"

    def layers(self, batch: Floats) -> Floats:
        """See :meth:`FeatureSource.layers`."""
        _check(batch, self)
        rows = [layered.describe(clip) for clip in batch]
        return np.stack(rows) if rows else np.zeros((0, *self.shape), np.float32)


class MertLayers:
    """The layers of MERT over windows of 5 s, one every 1.75 s: five in a clip.

    Parameters
    ----------
    encoder : MertEncoder
        Its weights are loaded at the first clip.
    """

    name = "mert"
    title = "MERT"
    sample_rate = MERT_RATE
    forks = False
    #: Raised whenever the windows here change.
    code = 1
    hop = 1.75

    def __init__(self, encoder: MertEncoder) -> None:
        self.encoder = encoder
        self.window = encoder.space.window_samples
        step, samples = round(self.hop * MERT_RATE), round(SECONDS * MERT_RATE)
        self._starts = range(0, samples - self.window + 1, step)
        self.shape = (len(self._starts), encoder.layer_count, encoder.width)
        self.layer_names = tuple(f"layer {layer}" for layer in range(encoder.layer_count))
        self.spans = tuple((at / MERT_RATE, (at + self.window) / MERT_RATE) for at in self._starts)
        self.revision = f"{encoder.weights.revision}+{self.code}"
        self.feature_id = f"mert-{encoder.layer_space.space_id}-{self.code}"

    def layers(self, batch: Floats) -> Floats:
        """See :meth:`FeatureSource.layers`; EncoderError when the weights cannot be used."""
        _check(batch, self)
        windows = np.stack([batch[:, at : at + self.window] for at in self._starts], axis=1)
        layers = self.encoder.encode_layers(windows.reshape(-1, self.window))
        return np.asarray(layers, np.float32).reshape(len(batch), *self.shape)


def choose_source(settings: Settings, name: str = "auto") -> FeatureSource:
    """The source of a name.

    Parameters
    ----------
    name : {"auto", "layers", "mert"}
        ``"auto"`` takes MERT when its weights are on this machine.

    Raises
    ------
    ExpressiveError
        When there is no such source.
    WeightsMissing
        When MERT is asked for and its weights are missing; the message names what fetches them.
    EncoderError
        When MERT's weights are here and damaged, with ``"auto"`` too.
    """
    if name not in SOURCES:
        raise ExpressiveError(f"A source of features is one of {', '.join(SOURCES)}; got {name!r}.")
    if name == "layers":
        return Layered()
    try:
        return MertLayers(from_settings(settings))
    except WeightsMissing:
        if name == "mert":
            raise
    return Layered()


def _check(batch: Floats, source: FeatureSource) -> None:
    samples = round(SECONDS * source.sample_rate)
    if batch.ndim != 2 or batch.shape[1] != samples:
        raise ExpressiveError(
            f"{source.title} hears clips of {SECONDS:g} s, {samples} samples at"
            f" {source.sample_rate} Hz; got an array of shape {batch.shape}."
        )
