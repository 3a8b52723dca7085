"""CLAP: LAION's contrastive language-audio model, its audio tower alone.

Conventions: mono float32 at 48 kHz in windows of exactly 10 s; 512 dimensions of unit length.
Windows never exceed the model's own length, so nothing is cropped at random and a window has one
vector.
The weights are data of their own: they lie in a folder the user names, or are fetched once from
the Hugging Face hub into ``settings.models`` and read from there without network.

References: Wu et al., "Large-scale contrastive language-audio pretraining with feature fusion and
keyword-to-caption augmentation", ICASSP 2023; Chen et al., "HTS-AT", ICASSP 2022.
"""

from __future__ import annotations

import importlib
import pickle
import threading
from typing import Any

import numpy as np

from kindred.config import Settings
from kindred.embeddings.clap_weights import Weights, locate
from kindred.embeddings.encoder import Encoder, Vector
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError, MissingPackage

SAMPLE_RATE = 48_000
DIMS = 512
#: Raised whenever the spectrogram or the normalisation here changes the vectors.
CODE_VERSION = 1


class ClapEncoder(Encoder):
    """CLAP audio vectors; the model is loaded at the first window, once, by whichever thread asks.

    Parameters
    ----------
    weights : Weights
        Where the weights lie and what names them.
    """

    title = "CLAP"
    batch = 8

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.space = EmbeddingSpace(
            model="clap",
            revision=f"{weights.revision}+{CODE_VERSION}",
            sample_rate=SAMPLE_RATE,
            window=10.0,
            hop=10.0,
            pooling="mean",
            dims=DIMS,
        )
        self._lock = threading.Lock()
        self._loaded: tuple[Any, FrontEnd] | None = None

    @property
    def device(self) -> str:
        """Where the model runs: ``"cuda"`` when torch sees a GPU, else ``"cpu"``."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def load(self) -> tuple[Any, FrontEnd]:
        """Load the model now rather than at the first window; gives it and its front end.

        Raises
        ------
        EncoderError
            When the weights cannot be read or lack a layer.
        MissingPackage
            When torch or transformers is not installed.
        """
        with self._lock:
            if self._loaded is None:
                model, extractor = _load(self.weights)
                front_end = FrontEnd(extractor, fusion=bool(model.config.enable_fusion))
                self._loaded = model.to(self.device), front_end
            return self._loaded

    def encode(self, batch: Vector) -> Vector:
        """Encode windows; two runs give the same bits.

        Parameters
        ----------
        batch : float32 [n, 480000]

        Returns
        -------
        float32 [n, 512]
            Of unit length.

        Raises
        ------
        EncoderError
            When the windows have another length, or the weights cannot be loaded.
        """
        if batch.ndim != 2 or batch.shape[1] != self.space.window_samples:
            raise EncoderError(
                f"CLAP needs windows of {self.space.window_samples} samples,"
                f" got an array of shape {batch.shape}."
            )
        model, front_end = self.load()
        import torch

        features = torch.from_numpy(front_end(batch)).to(model.device)
        longer = torch.zeros((len(batch), 1), dtype=torch.bool, device=model.device)
        with torch.inference_mode():
            output = model(input_features=features, is_longer=longer)
        vectors = output.audio_embeds.float().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise EncoderError(f"The CLAP weights in {self.weights.folder} gave values not finite.")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


def from_settings(settings: Settings) -> ClapEncoder:
    """Encoder over the weights the settings name; reads no more than their headers.

    Raises
    ------
    WeightsMissing
        When they are not on this machine; the message says how to fetch them.
    EncoderError
        When a file of theirs is damaged; the message names it.
    """
    return ClapEncoder(locate(settings))


class FrontEnd:
    """Log-mel spectrogram as ClapFeatureExtractor makes it, three times as fast.

    The extractor works in float64, one window at a time, and chooses a window at random to be
    treated as longer when it feeds a fused model; here the whole batch goes through one float32
    transform and no window is longer than the model hears.
    """

    def __init__(self, extractor: Any, *, fusion: bool) -> None:
        if (extractor.sampling_rate, extractor.max_length_s) != (SAMPLE_RATE, 10):
            raise EncoderError(
                f"CLAP weights for windows of 10 s at {SAMPLE_RATE} Hz are needed, these hear"
                f" {extractor.max_length_s} s at {extractor.sampling_rate} Hz."
            )
        self.n_fft = int(extractor.fft_window_size)
        self.hop = int(extractor.hop_length)
        # The two trainings used two filterbanks, told apart by this option alone.
        bank = (
            extractor.mel_filters
            if extractor.truncation == "fusion"
            else extractor.mel_filters_slaney
        )
        self.filters = np.asarray(bank, np.float32)
        self.taper = np.hanning(self.n_fft + 1)[:-1].astype(np.float32)
        self.channels = 4 if fusion else 1

    def __call__(self, batch: Vector) -> Vector:
        """Decibels, float32 [n, channels, T, mels], of windows float32 [n, samples]."""
        from scipy.fft import rfft

        clean = np.nan_to_num(batch, nan=0.0, posinf=0.0, neginf=0.0)
        padded = np.pad(clean, ((0, 0), (self.n_fft // 2,) * 2), mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft, axis=1)
        mels = []
        for view in views[:, :: self.hop]:
            bins = rfft(view * self.taper, axis=-1, overwrite_x=True)
            power = np.square(bins.real) + np.square(bins.imag)
            mels.append(power @ self.filters)
        decibels = 10 * np.log10(np.maximum(np.stack(mels), np.float32(1e-10)))
        repeated = np.repeat(decibels[:, None], self.channels, axis=1)
        return np.ascontiguousarray(repeated, np.float32)


def _load(weights: Weights) -> tuple[Any, Any]:
    """Model and feature extractor of a folder, read without network."""
    try:
        import torch

        complete_torchvision()
        from safetensors import SafetensorError
        from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor
        from transformers.utils import logging
    except ImportError as error:
        raise MissingPackage(
            f"CLAP needs torch and transformers ({error});"
            " install them with `pip install -r requirements.txt`."
        ) from error
    folder = str(weights.folder)
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    # The text tower's weights are in the file and not wanted here; the report says so at length.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
        model, report = ClapAudioModelWithProjection.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=weights.file.suffix == ".safetensors",
            output_loading_info=True,
            dtype=torch.float32,
        )
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError,
        EOFError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise EncoderError(
            f"The CLAP weights in {weights.file} cannot be loaded ({type(error).__name__}:"
            f" {str(error).splitlines()[0] if str(error) else ''}). Fetch them again."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    missing = [*report["missing_keys"], *report.get("mismatched_keys", [])]
    if missing or model.config.projection_dim != DIMS:
        reason = (
            f"lack {len(missing)} layers that fit, e.g. {missing[0]}"
            if missing
            else f"give {model.config.projection_dim} dimensions, not {DIMS}"
        )
        raise EncoderError(f"The CLAP weights in {weights.file} {reason}.")
    return model.eval(), extractor


def complete_torchvision() -> None:
    """Let transformers import torchvision beside a torch its compiled operators do not fit.

    transformers imports torchvision when it is installed, though CLAP needs nothing from it. A
    torchvision built for another torch fails at import, where it registers shapes for two
    operators that were never declared; declaring them lets the rest import.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
        importlib.import_module("torchvision")


#: Declarations live as long as the object that made them.
_kept: list[Any] = []
