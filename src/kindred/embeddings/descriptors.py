"""Descriptors: an encoder that needs no weights, from hand-made features of four families.

Conventions: timbre, harmony, rhythm and dynamics each fill one slice (:data:`FAMILIES`) of a
vector. Every dimension is standardised by the mean and deviation it had over a calibration library
and clipped to +-4; a family is divided by the root of its number of dimensions and multiplied by a
weight that makes its dot products spread equally; the vector has unit length. A cosine is therefore
the sum of the families' dot products, which says why two tracks are near (:func:`family_shares`).

The constants lie in ``descriptors.json`` beside this module and are made again by
``python -m kindred.embeddings.calibrate FOLDER``. Another file makes another space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from kindred.config import Settings
from kindred.embeddings.encoder import Encoder, Vector
from kindred.embeddings.features import dynamics, harmony, rhythm, timbre
from kindred.embeddings.features.spectrum import SAMPLE_RATE, frame_count, level, spectrum
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError

#: Raised whenever the features change, so that older vectors are not mixed with new ones.
CODE_VERSION = 1
#: Constants that ship with the package.
CONSTANTS_PATH = Path(__file__).with_name("descriptors.json")
#: Standardised values are clipped here: one odd dimension must not decide alone.
CLIP = 4.0

_NAMES: dict[str, tuple[str, ...]] = {
    "timbre": timbre.NAMES,
    "harmony": harmony.NAMES,
    "rhythm": rhythm.NAMES,
    "dynamics": dynamics.NAMES,
}
_ends = np.cumsum([len(names) for names in _NAMES.values()]).tolist()
#: Where each family lies in a vector.
FAMILIES: dict[str, slice] = {
    family: slice(end - len(names), end)
    for (family, names), end in zip(_NAMES.items(), _ends, strict=True)
}
#: What each dimension measures, e.g. ``"rhythm: onset rate"``.
DIMENSIONS: tuple[str, ...] = tuple(
    f"{family}: {name}" for family, names in _NAMES.items() for name in names
)


@dataclass(frozen=True)
class Constants:
    """How raw descriptors become comparable.

    Attributes
    ----------
    mean, std : float32 [dims]
        Of each raw dimension over the calibration library.
    weights : mapping of str to float
        Weight of each family; their squares sum to the number of families.
    revision : str
        Names the code and these constants.
    """

    mean: Vector
    std: Vector
    weights: Mapping[str, float]
    revision: str

    @property
    def scale(self) -> Vector:
        """Factor of each standardised dimension, float32 [dims]."""
        scale = np.empty(len(DIMENSIONS), np.float32)
        for family, part in FAMILIES.items():
            scale[part] = self.weights[family] / np.sqrt(part.stop - part.start)
        return scale


@lru_cache(maxsize=4)
def load_constants(path: Path = CONSTANTS_PATH) -> Constants:
    """Read the constants file.

    Raises
    ------
    EncoderError
        When the file is missing or does not fit this version of the code.
    """
    again = "Make it again with `python -m kindred.embeddings.calibrate FOLDER`."
    try:
        content = path.read_bytes()
        table = json.loads(content)
        dimensions = [row["name"] for row in table["dimensions"]]
        mean = np.array([row["mean"] for row in table["dimensions"]], np.float32)
        std = np.array([row["std"] for row in table["dimensions"]], np.float32)
        weights = {family: float(table["weights"][family]) for family in FAMILIES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(f"The constants in {path} cannot be read: {error!r}. {again}") from error
    if tuple(dimensions) != DIMENSIONS:
        raise EncoderError(
            f"The constants in {path} are for {len(dimensions)} other dimensions than the"
            f" {len(DIMENSIONS)} this version computes. {again}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise EncoderError(f"The constants in {path} hold values that are not usable. {again}")
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Constants(mean=mean, std=std, weights=weights, revision=f"{CODE_VERSION}-{digest}")


def raw_descriptors(batch: Vector) -> Vector:
    """Descriptors before standardisation, each in its own unit.

    Parameters
    ----------
    batch : float32 [n, samples]
        Windows of at least two seconds at 22,050 Hz.

    Returns
    -------
    float32 [n, len(DIMENSIONS)]
    """
    levelled = level(batch)
    n, samples = levelled.shape
    frames = frame_count(samples)
    tones = np.empty((n, frames, timbre.N_COLUMNS), np.float32)
    profiles = np.empty((n, frames, harmony.N_COLUMNS), np.float32)
    # The spectrum of one window fits the processor's cache and that of a batch does not: going
    # window by window here is faster, and makes a row the same whatever stands beside it.
    for i, window in enumerate(levelled):
        shape = spectrum(window)
        tones[i] = timbre.analyse(shape)
        profiles[i] = harmony.analyse(shape)
    parts = (
        timbre.summarise(tones),
        harmony.summarise(profiles),
        rhythm.summarise(tones[..., : timbre.N_MELS]),
        dynamics.summarise(levelled),
    )
    return np.concatenate(parts, axis=1)


class DescriptorEncoder(Encoder):
    """Timbre, harmony, rhythm and dynamics of 10 s windows; ready without any download.

    Parameters
    ----------
    constants : Path
        File made by ``python -m kindred.embeddings.calibrate``.

    Raises
    ------
    EncoderError
        When the constants cannot be used.
    """

    title = "Descriptors"

    def __init__(self, *, constants: Path = CONSTANTS_PATH) -> None:
        self.constants = load_constants(constants)
        self.space = EmbeddingSpace(
            model="descriptors",
            revision=self.constants.revision,
            sample_rate=SAMPLE_RATE,
            window=10.0,
            hop=10.0,
            pooling="mean",
            dims=len(DIMENSIONS),
        )

    def encode(self, batch: Vector) -> Vector:
        """Encode windows; gain does not matter, silence and noise give finite vectors.

        Parameters
        ----------
        batch : float32 [n, 220500]

        Returns
        -------
        float32 [n, 189]
            Of unit length.

        Raises
        ------
        EncoderError
            When the windows have another length.
        """
        return self.encode_more(batch)[0]

    def encode_more(self, batch: Vector) -> tuple[Vector, Vector]:
        """Encode windows, and give their raw descriptors; see :func:`raw_descriptors`."""
        if batch.ndim != 2 or batch.shape[1] != self.space.window_samples:
            raise EncoderError(
                f"Descriptors need windows of {self.space.window_samples} samples,"
                f" got an array of shape {batch.shape}."
            )
        constants = self.constants
        raw = raw_descriptors(batch)
        values = (raw - constants.mean) / constants.std
        values = np.clip(values, -CLIP, CLIP) * constants.scale
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        return np.asarray(values / np.maximum(norms, 1e-9), np.float32), raw


def from_settings(settings: Settings) -> DescriptorEncoder:
    """The encoder with the constants that ship; no setting changes it."""
    return DescriptorEncoder()


def readiness(settings: Settings) -> tuple[bool, str, str]:
    """Whether the encoder can be used, why or why not, and the command that helps."""
    try:
        constants = load_constants()
    except EncoderError as error:
        return False, str(error), "python -m kindred.embeddings.calibrate FOLDER"
    return True, f"Descriptors {constants.revision}; nothing to fetch.", ""


def family_shares(a: Vector, b: Vector) -> dict[str, float]:
    """Share of each family in what makes two tracks near.

    Parameters
    ----------
    a, b : float32 [dims]
        Unit vectors of the descriptors' space.

    Returns
    -------
    dict of str to float
        Each family's dot product where it is positive, else 0, over their sum. The shares sum to
        1. When no family speaks for nearness, all are equal: none explains it more than another.

    Raises
    ------
    EncoderError
        When a vector does not have the descriptors' length.
    """
    _check(a, b)
    gains = {family: max(0.0, float(a[part] @ b[part])) for family, part in FAMILIES.items()}
    total = sum(gains.values())
    if total <= 0:
        return dict.fromkeys(FAMILIES, 1 / len(FAMILIES))
    return {family: gain / total for family, gain in gains.items()}


def family_similarities(a: Vector, b: Vector) -> dict[str, float]:
    """Cosine within each family, in [-1, 1]; 0 where a vector has nothing in the family.

    Parameters
    ----------
    a, b : float32 [dims]
        Vectors of the descriptors' space.

    Raises
    ------
    EncoderError
        When a vector does not have the descriptors' length.
    """
    _check(a, b)
    result = {}
    for family, part in FAMILIES.items():
        norm = float(np.linalg.norm(a[part])) * float(np.linalg.norm(b[part]))
        cosine = float(a[part] @ b[part]) / norm if norm > 1e-12 else 0.0
        result[family] = min(1.0, max(-1.0, cosine))
    return result


def _check(a: Vector, b: Vector) -> None:
    for vector in (a, b):
        if vector.shape != (len(DIMENSIONS),):
            raise EncoderError(
                f"Families are known for vectors of {len(DIMENSIONS)} descriptors,"
                f" got shape {vector.shape}."
            )
