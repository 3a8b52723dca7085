"""CLAP: LAION's contrastive language-audio model, its audio tower alone.

Conventions: mono float32 at 48 kHz in windows of exactly 10 s; 512 dimensions of unit length.
Windows never exceed the model's own length, so nothing is cropped at random and a window has one
vector, whatever other windows are encoded beside it.
The weights are data of their own: they lie in a folder or a checkpoint the user names, or are
fetched once from the Hugging Face hub into ``settings.models`` and read from there without network.

References: Wu et al., "Large-scale contrastive language-audio pretraining with feature fusion and
keyword-to-caption augmentation", ICASSP 2023; Chen et al., "HTS-AT", ICASSP 2022.
"""

from __future__ import annotations

import copy
import importlib
import logging
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kindred.config import Settings
from kindred.embeddings.clap_weights import is_checkpoint, locate
from kindred.embeddings.device import choose_device
from kindred.embeddings.encoder import Encoder, Vector
from kindred.embeddings.hub_weights import Weights
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError, MissingPackage

logger = logging.getLogger(__name__)

SAMPLE_RATE = 48_000
DIMS = 512
#: Raised whenever the spectrogram or the normalisation here changes the vectors.
CODE_VERSION = 2
#: Least cosine to the float32 vector of the same window that bfloat16 must keep to be used.
AGREEMENT = 0.999


class ClapEncoder(Encoder):
    """CLAP audio vectors; the model is loaded at the first window, once, by whichever thread asks.

    On a processor every window goes through the model alone, on one thread, as many windows side
    by side as there are cores: tensors stay in the cache, no thread waits for another, and a
    window's bits do not depend on its neighbours. A GPU takes the whole batch at once.

    Parameters
    ----------
    weights : Weights
        Where the weights lie and what names them.
    windows : int, optional
        Windows of a track that are heard, evenly spaced; all when left out.
    device : str
        ``"cpu"``, ``"cuda"``, or ``"auto"``, which takes a GPU when torch sees one.
    precision : str
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on a GPU or a processor that
        multiplies it natively, if on probe windows these weights then keep a cosine of 0.999 to
        float32. Once the model is loaded, the precision in use.
    """

    title = "CLAP"
    batch = 16

    def __init__(
        self,
        weights: Weights,
        *,
        windows: int | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.weights = weights
        self.count = windows
        self.precision = precision
        self.space = EmbeddingSpace(
            model="clap",
            revision=f"{weights.revision}+{CODE_VERSION}",
            sample_rate=SAMPLE_RATE,
            window=10.0,
            hop=10.0,
            pooling="mean" if windows is None else f"mean of {windows}",
            dims=DIMS,
        )
        self._device = device
        self._lock = threading.Lock()
        self._loaded: tuple[Any, FrontEnd] | None = None
        self._threads: ThreadPoolExecutor | None = None

    @property
    def device(self) -> str:
        """Where the model runs, ``"cuda"`` or ``"cpu"``.

        Raises
        ------
        EncoderError
            When a GPU is asked for and torch sees none.
        """
        return choose_device(self._device)

    def load(self) -> tuple[Any, FrontEnd]:
        """Load the model now rather than at the first window; gives it and its front end.

        Raises
        ------
        EncoderError
            When the weights cannot be read or lack a layer, or the device is not there.
        MissingPackage
            When torch or transformers is not installed.
        """
        with self._lock:
            if self._loaded is None:
                model, extractor = _load(self.weights)
                device = self.device
                front_end = FrontEnd(
                    extractor, fusion=bool(model.config.enable_fusion), device=device
                )
                self._threads = _one_thread_each() if device == "cpu" else None
                model = self._in_precision(model.to(device), front_end)
                self._loaded = model, front_end
                logger.info("CLAP runs on %s in %s", device, self.precision)
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
        if self._threads is None:
            vectors = _forward(model, front_end, batch)
        else:
            rows = [batch[i : i + 1] for i in range(len(batch))]
            vectors = np.concatenate(
                list(self._threads.map(lambda row: _forward(model, front_end, row), rows))
            )
        if not np.isfinite(vectors).all():
            raise EncoderError(f"The CLAP weights in {self.weights.file} gave values not finite.")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)

    def _in_precision(self, model: Any, front_end: FrontEnd) -> Any:
        """The model in the precision asked for; ``auto`` is settled by trying."""
        if self.precision == "float32":
            return model
        if self.precision == "auto" and not _multiplies_bfloat16(self.device):
            self.precision = "float32"
            return model
        shorter = _in_bfloat16(model)
        if self.precision == "auto":
            probe = _probe()
            exact, short = (_forward(each, front_end, probe) for each in (model, shorter))
            lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(short, axis=1)
            cosines = (exact * short).sum(axis=1) / np.maximum(lengths, 1e-12)
            if not cosines.min() >= AGREEMENT:  # not a number counts as disagreement
                logger.warning(
                    "CLAP stays in float32: in bfloat16 these weights keep a cosine of only %.5f",
                    cosines.min(),
                )
                self.precision = "float32"
                return model
        self.precision = "bfloat16"
        return shorter


def from_settings(settings: Settings) -> ClapEncoder:
    """Encoder as the settings say; reads no more of the weights than their headers.

    Raises
    ------
    WeightsMissing
        When they are not on this machine; the message says how to fetch them.
    EncoderError
        When a file of theirs is damaged; the message names it.
    """
    windows = None if settings.clap_windows == "all" else settings.clap_windows
    return ClapEncoder(locate(settings), windows=windows, device=settings.device)


class FrontEnd:
    """Log-mel spectrogram as ClapFeatureExtractor makes it, twenty times as fast.

    The extractor works in float64, one window at a time, and chooses a window at random to be
    treated as longer when it feeds a fused model; here the batch goes through one float32
    transform on the model's own device, and no window is longer than the model hears.

    Parameters
    ----------
    extractor : ClapFeatureExtractor
        Says how the spectrogram is made.
    fusion : bool
        Whether the model is a fused one, which takes four channels.
    device : str
        Where the spectrogram is made.
    """

    def __init__(self, extractor: Any, *, fusion: bool, device: str = "cpu") -> None:
        import torch

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
        # No filter reaches above 14 kHz: the bins there need not be computed.
        self.bins = 1 + int(np.flatnonzero(bank.any(axis=1)).max())
        self.filters = torch.tensor(bank[: self.bins], dtype=torch.float32, device=device)
        self.taper = torch.hann_window(self.n_fft, device=device)
        self.channels = 4 if fusion else 1

    def __call__(self, batch: Any) -> Any:
        """Decibels, a float32 tensor [n, channels, T, mels], of a float32 tensor [n, samples]."""
        import torch

        clean = torch.nan_to_num(batch, nan=0.0, posinf=0.0, neginf=0.0)[:, None]
        padded = torch.nn.functional.pad(clean, (self.n_fft // 2,) * 2, mode="reflect")[:, 0]
        frames = padded.unfold(1, self.n_fft, self.hop) * self.taper
        spectrum = torch.view_as_real(torch.fft.rfft(frames))[:, :, : self.bins]
        power = spectrum.square().sum(dim=-1)
        decibels = 10 * torch.log10(torch.clamp(power @ self.filters, min=1e-10))
        return decibels[:, None].repeat(1, self.channels, 1, 1)


def _forward(model: Any, front_end: FrontEnd, batch: Vector) -> Vector:
    """Vectors as the model gives them, float32 [n, 512]."""
    import torch

    with torch.inference_mode():
        # A copy, because torch takes no array that is read-only or runs backwards.
        features = front_end(torch.from_numpy(batch.copy()).to(model.device))
        longer = torch.zeros((len(batch), 1), dtype=torch.bool, device=model.device)
        output = model(input_features=features, is_longer=longer)
    return np.asarray(output.audio_embeds.float().cpu().numpy(), np.float32)


def _one_thread_each() -> ThreadPoolExecutor:
    """A pool with a thread for each core, in which torch itself uses one thread.

    torch keeps the number for each thread, but sets the default of later threads as well: it is
    set back once every thread of the pool runs.
    """
    import torch

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    before = torch.get_num_threads()
    ready = threading.Barrier(cores + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(cores, thread_name_prefix="kindred-clap", initializer=begin)
    for _ in range(cores):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(before)
    return pool


def _multiplies_bfloat16(device: str) -> bool:
    """Whether the device has instructions for it; where it is emulated it is slower."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _in_bfloat16(model: Any) -> Any:
    """A copy in bfloat16, but for the normalisation of its input: decibels need more digits."""
    import torch

    shorter = copy.deepcopy(model).to(torch.bfloat16)
    tower = shorter.audio_model.audio_encoder
    tower.batch_norm.float()
    tower.patch_embed.register_forward_pre_hook(
        lambda module, inputs: (inputs[0].to(torch.bfloat16), *inputs[1:])
    )
    return shorter


def _probe() -> Vector:
    """Three windows made by formula: a chord, clicks and noise, float32 [3, 480000]."""
    time = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(len(time))
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.2, 329.6, 1318.5)) / 8
    clicks = noise * np.exp(-8 * (time % 0.5)) / 4
    return np.asarray(np.stack([chord, clicks, noise / 8]), np.float32)


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
    if is_checkpoint(weights):
        from kindred.embeddings.clap_laion import read_checkpoint

        return read_checkpoint(weights.file)
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
