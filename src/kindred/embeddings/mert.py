"""MERT: a HuBERT trained on music alone; every layer hears something else.

Conventions: mono float32 at 24 kHz in windows of exactly 5 s, the length it was trained on, each
brought to zero mean and unit variance. Of each window the model gives hidden states [13, T, 768]
(layer 0 is what enters the transformer, layer i what its i-th block gives), which are averaged over
time. A track vector is the mean and the standard deviation over windows of a mean of layers: 1536
dimensions of unit length. The layers by themselves belong to :attr:`MertEncoder.layer_space`.

References: Li et al., "MERT: Acoustic music understanding model with large-scale self-supervised
training", ICLR 2024; Hsu et al., "HuBERT", IEEE/ACM TASLP 2021.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.config import Settings
from kindred.embeddings import hub_weights
from kindred.embeddings.device import choose_device
from kindred.embeddings.encoder import Encoder, Vector
from kindred.embeddings.hub_weights import Weights
from kindred.embeddings.layered import LayeredSink, LayeredStore
from kindred.embeddings.mert_weights import SAMPLE_RATE, hub_model, load_hubert, read_config
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import ConfigError, EncoderError

#: Raised whenever the normalisation or the pooling here changes the vectors.
CODE_VERSION = 1
#: The middle of the model: a choice to start from, not one that was measured.
LAYERS = "3-9"


class MertEncoder(Encoder):
    """MERT vectors; the model is loaded at the first window, once, by whichever thread asks.

    Parameters
    ----------
    weights : Weights
        Where the weights lie and what names them.
    layers : str
        Layers whose mean makes the track vector, e.g. ``"3-9"`` or ``"4,6-8"``; 0 is the input of
        the transformer.
    windows : int, optional
        Windows of a track that are heard, evenly spaced; all when left out.
    device : str
        ``"cpu"``, ``"cuda"``, or ``"auto"``, which takes a GPU when torch sees one.

    Raises
    ------
    EncoderError
        When the configuration is not one HuBERT can hold.
    ConfigError
        When a layer is asked for that the model has not.
    """

    title = "MERT"
    batch = 16

    def __init__(
        self,
        weights: Weights,
        *,
        layers: str = LAYERS,
        windows: int | None = None,
        device: str = "auto",
    ) -> None:
        self.weights = weights
        self.count = windows
        self.config, self.normalise = read_config(weights)
        self.width = int(self.config["hidden_size"])
        self.layer_count = int(self.config["num_hidden_layers"]) + 1
        self.layers = parse_layers(layers, count=self.layer_count)
        names = ",".join(map(str, self.layers))
        heard = "" if windows is None else f", {windows} windows"
        common = (f"{weights.revision}+{CODE_VERSION}", SAMPLE_RATE, 5.0, 5.0)
        self.space = EmbeddingSpace(
            "mert", *common, pooling=f"mean+std of layers {names}{heard}", dims=2 * self.width
        )
        #: Space of what :meth:`encode_layers` gives, the same whatever layers a track vector takes.
        self.layer_space = EmbeddingSpace(
            "mert-layers", *common, pooling=f"mean of each layer{heard}", dims=self.width
        )
        self._device = device
        self._lock = threading.Lock()
        self._loaded: Any = None

    @property
    def device(self) -> str:
        """Where the model runs, ``"cuda"`` or ``"cpu"``.

        Raises
        ------
        EncoderError
            When a GPU is asked for and torch sees none.
        """
        return choose_device(self._device)

    def load(self) -> Any:
        """Load the model now rather than at the first window, and return it.

        Raises
        ------
        EncoderError
            When the weights cannot be read or lack a layer.
        MissingPackage
            When torch or transformers is not installed.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = load_hubert(self.weights, self.config).to(self.device)
            return self._loaded

    def encode_layers(self, batch: Vector) -> Vector:
        """Every layer's mean over time, of each window; two runs give the same bits.

        Parameters
        ----------
        batch : float32 [n, 120000]

        Returns
        -------
        float32 [n, 13, 768]

        Raises
        ------
        EncoderError
            When the windows have another length, or the weights cannot be loaded.
        """
        if batch.ndim != 2 or batch.shape[1] != self.space.window_samples:
            raise EncoderError(
                f"MERT needs windows of {self.space.window_samples} samples,"
                f" got an array of shape {batch.shape}."
            )
        model = self.load()
        import torch

        # One window at a time costs a processor no speed, half the memory, and makes a window's
        # bits independent of its neighbours. Reduced precision would do the reverse on a GPU.
        step = 1 if self.device == "cpu" else max(1, len(batch))
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        parts = [np.zeros((0, self.layer_count, self.width), np.float32)]
        with torch.inference_mode(), exact:
            for start in range(0, len(batch), step):
                some = batch[start : start + step]
                values = torch.from_numpy(standardise(some) if self.normalise else _finite(some))
                states = model(values.to(model.device), output_hidden_states=True).hidden_states
                means = torch.stack([state.float().mean(dim=1) for state in states], dim=1)
                parts.append(means.cpu().numpy())
        layers = np.concatenate(parts)
        if not np.isfinite(layers).all():
            raise EncoderError(f"The MERT weights in {self.weights.folder} gave values not finite.")
        return layers

    def encode(self, batch: Vector) -> Vector:
        """Encode windows: see :meth:`rows`.

        Parameters
        ----------
        batch : float32 [n, 120000]

        Returns
        -------
        float32 [n, 1536]
            Of unit length.
        """
        return self.rows(self.encode_layers(batch))

    def encode_more(self, batch: Vector) -> tuple[Vector, Vector | None]:
        """Encode windows and give their layers too, for the work of once."""
        layers = self.encode_layers(batch)
        return self.rows(layers), layers

    def rows(self, layers: NDArray[np.floating]) -> Vector:
        """Window vectors from layers: those of tracks of one window, whose deviation is zero.

        Parameters
        ----------
        layers : float [n, 13, 768]

        Returns
        -------
        float32 [n, 1536]
        """
        mean = np.asarray(layers)[:, list(self.layers)].mean(axis=1, dtype=np.float64)
        norms = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        rows = np.concatenate([mean / norms, np.zeros_like(mean)], axis=1)
        return np.asarray(rows, np.float32)

    def pool(self, segments: Vector) -> Vector:
        """Mean and standard deviation over windows, together of unit length.

        Parameters
        ----------
        segments : float32 [n, 1536]
            As :meth:`encode` gives them.

        Returns
        -------
        float32 [1536]

        Raises
        ------
        EncoderError
            When there is no segment, or the values are zero or not finite.
        """
        if segments.ndim != 2 or not len(segments):
            raise EncoderError(f"Pooling needs at least one segment, got shape {segments.shape}.")
        values = segments[:, : self.width].astype(np.float64)
        vector = np.concatenate([values.mean(axis=0), values.std(axis=0)])
        norm = float(np.linalg.norm(vector))
        if not np.isfinite(norm) or norm < 1e-12:
            raise EncoderError("The encoder gave no usable vector (zero or not finite).")
        return np.asarray(vector / norm, np.float32)

    def sink(self, folder: Path) -> LayeredSink:
        """Where an ingest run puts the layers :meth:`encode_more` gives."""
        store = LayeredStore(folder)
        store.sweep()  # what earlier runs left when they were killed
        return LayeredSink(store, space=self.layer_space)


def from_settings(settings: Settings) -> MertEncoder:
    """Encoder over the weights the settings name; reads no more than their headers.

    Raises
    ------
    WeightsMissing
        When they are not on this machine; the message says how to fetch them.
    EncoderError
        When a file of theirs is damaged; the message names it.
    """
    weights = hub_weights.locate(settings.models, hub_model(settings))
    windows = settings.mert_windows
    return MertEncoder(
        weights,
        layers=settings.mert_layers,
        windows=None if windows == "all" else windows,
        device=settings.device,
    )


def parse_layers(text: str, *, count: int) -> tuple[int, ...]:
    """Layers of a text such as ``"3-9"`` or ``"4,6-8"``, in order and each once.

    Raises
    ------
    ConfigError
        When the text is no such list or names a layer outside 0 to ``count - 1``.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})(?:\s*-\s*(\d{1,3}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= count:
            raise ConfigError(
                f"KINDRED_MERT_LAYERS must name layers from 0 to {count - 1}, such as 3-9 or 4,6-8"
                f" where there are as many; got {text!r}."
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def standardise(batch: Vector) -> Vector:
    """Zero mean and unit variance of each window, as Wav2Vec2FeatureExtractor makes it.

    x' = (x - mean(x)) / sqrt(var(x) + 1e-7); values that are not finite count as 0.
    """
    values = _finite(batch).astype(np.float64)
    centred = values - values.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt(centred.var(axis=1, keepdims=True) + 1e-7)
    return np.asarray(scaled, np.float32)


def _finite(batch: Vector) -> Vector:
    return np.asarray(np.nan_to_num(batch, nan=0.0, posinf=0.0, neginf=0.0), np.float32)
