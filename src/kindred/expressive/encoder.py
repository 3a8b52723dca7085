"""The released retriever as an encoder: every page that shows a space can show this one.

Conventions: mono float32 at the feature source's rate in windows of exactly 12 s; vectors hold a
part for each aspect, all of the same weight, 80 dimensions of unit length. The space's revision
follows weights and configuration, so that vectors of two releases never meet.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import numpy as np

from kindred.artifacts import layout
from kindred.config import Settings
from kindred.embeddings import mert_weights
from kindred.embeddings.encoder import Encoder, Vector
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import ArtifactError, EncoderError, ExpressiveError, WeightsMissing
from kindred.expressive import bundle
from kindred.expressive.clips import SECONDS
from kindred.expressive.model_files import CONFIG, MODEL
from kindred.expressive.release import Released, check_released, released

if TYPE_CHECKING:
    from kindred.expressive.scorers import RetrieverScorer
    from kindred.expressive.sources import FeatureSource

#: Five aspects of 16 dimensions: what the table of encoders says before anything is released.
DIMS = 80
COMMAND = "kindred expressive train"
_NOT_RELEASED = (
    "No expressive retriever has been released on this machine. Train one, and release it once it"
    " has passed its gates."
)


class ExpressiveEncoder(Encoder):
    """A released retriever; its weights are read at the first window.

    Parameters
    ----------
    record : Released
        What is out.
    source : FeatureSource
        Of the features that the retriever was trained on.

    Raises
    ------
    EncoderError
        When the retriever hears other features, or has another number of dimensions.
    """

    title = "Expressive"
    batch = 8

    def __init__(self, record: Released, source: FeatureSource) -> None:
        if record.feature_id != source.feature_id:
            raise EncoderError(
                f"The released retriever {record.run_id} hears features {record.feature_id},"
                f" {source.title} gives {source.feature_id}. Train and release one anew."
            )
        if record.dims != DIMS:
            raise EncoderError(
                f"The released retriever {record.run_id} gives {record.dims} dimensions, not"
                f" {DIMS}. Train one with the usual dimensions."
            )
        self.record, self.source = record, source
        self.space = EmbeddingSpace(
            "expressive", revision(record), source.sample_rate, SECONDS, SECONDS, "mean", DIMS
        )
        self._lock = threading.Lock()
        self._loaded: RetrieverScorer | None = None

    def load(self) -> RetrieverScorer:
        """Load the retriever now rather than at the first window, and return it.

        Raises
        ------
        EncoderError
            When a released file has other bytes than were measured.
        """
        from kindred.expressive.scorers import RetrieverScorer

        with self._lock:
            if self._loaded is None:
                try:
                    check_released(self.record)
                    self._loaded = RetrieverScorer.load(self.record.retriever)
                except ExpressiveError as error:
                    raise EncoderError(str(error)) from error
            return self._loaded

    def encode(self, batch: Vector) -> Vector:
        """Encode windows; two runs give the same bits.

        Parameters
        ----------
        batch : float32 [n, samples of 12 s]

        Returns
        -------
        float32 [n, 80]
            Of unit length.

        Raises
        ------
        EncoderError
            When the windows have another length, or the retriever cannot be loaded.
        """
        if batch.ndim != 2 or batch.shape[1] != self.space.window_samples:
            raise EncoderError(
                f"The expressive encoder needs windows of {self.space.window_samples} samples, got"
                f" an array of shape {batch.shape}."
            )
        retriever = self.load()
        clean = np.nan_to_num(batch, nan=0.0, posinf=0.0, neginf=0.0)
        try:
            return retriever.vectors(self.source.layers(clean))
        except ExpressiveError as error:
            raise EncoderError(str(error)) from error


def from_settings(settings: Settings) -> ExpressiveEncoder:
    """Encoder over what is released in the library's folder; reads no weights.

    Raises
    ------
    WeightsMissing
        When nothing is released, or the features' own weights are not on this machine.
    EncoderError
        When what is released is damaged, or cannot be used here.
    """
    from kindred.expressive.sources import choose_source

    try:
        record = released(settings.library)
        if record is None:
            raise WeightsMissing(f"{_NOT_RELEASED} Begin with `{COMMAND}`.")
        return ExpressiveEncoder(record, choose_source(settings, _source_name(record)))
    except ExpressiveError as error:
        raise EncoderError(str(error)) from error


def readiness(settings: Settings) -> tuple[bool, str, str]:
    """Whether the encoder can be used, why or why not, and the command that helps."""
    try:
        record = released(settings.library)
        if record is None:
            return False, _NOT_RELEASED, COMMAND
        if _source_name(record) == "mert":
            ready, notice, command = mert_weights.readiness(settings)
            if not ready:
                return False, f"Run {record.run_id} is released and hears MERT. {notice}", command
        from_settings(settings)
    except (ExpressiveError, EncoderError) as error:
        return False, str(error), ""
    return True, f"Run {record.run_id}, whose gates passed on {record.measured_at[:10]}.", ""


def _source_name(record: Released) -> str:
    """The feature source, with which the features' id begins."""
    return record.feature_id.partition("-")[0]


def revision(record: Released) -> str:
    """Twelve digits that differ whenever weights or configuration do."""
    try:
        text = layout.manifest_bytes(record.folder)
        files = bundle.parse_manifest(text, record.folder).files
    except ArtifactError as error:
        raise EncoderError(str(error)) from error
    parts = [files[f"{bundle.RETRIEVER}/{name}"].sha256 for name in (MODEL, CONFIG)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]
