"""CLAP's text tower: words in the space of the audio vectors, so that words can be searched with.

Conventions: float32 rows of unit length, 512 dimensions, the audio encoder's own
:class:`EmbeddingSpace`; the cosine of a text and a track is in [-1, 1], higher is nearer. Between
text and audio it seldom exceeds 0.5 and says nothing by itself: it ranks.
A text longer than 77 tokens, the length the tower was trained on, is cut there. Texts of one length
go through the model together, so that nothing is padded and a text's vector does not depend on the
others.

A checkpoint may carry a text tower that gives every text the same vector
(``laion/larger_clap_music`` does, docs/decisions/0009-words.md). Such a tower is found when it is
loaded and refused, because its answers would look like any others.

References: Wu et al., "Large-scale contrastive language-audio pretraining with feature fusion and
keyword-to-caption augmentation", ICASSP 2023; Liu et al., "RoBERTa", arXiv:1907.11692.
"""

from __future__ import annotations

import logging
import pickle
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kindred.config import Settings
from kindred.embeddings.clap import ClapEncoder, complete_torchvision
from kindred.embeddings.clap import from_settings as audio_from_settings
from kindred.embeddings.clap_weights import COMMAND, is_checkpoint
from kindred.embeddings.encoder import Vector
from kindred.embeddings.hub_weights import Weights
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError, MissingPackage, WeightsMissing

logger = logging.getLogger(__name__)

#: What turns texts into unit rows, float32 [n, dims].
EncodeText = Callable[[Sequence[str]], Vector]

#: Files a tokenizer is read from: the first set that is whole.
TOKENIZER = (("tokenizer.json",), ("vocab.json", "merges.txt"))
#: Tokens of a text that are read, as in training.
MAX_TOKENS = 77
BATCH = 32
#: Mean cosine of unrelated phrases above which a tower tells no texts apart.
COLLAPSED = 0.98
#: Phrases that share no word and no meaning.
PROBE = (
    "a string quartet playing slowly",
    "heavy metal with distorted guitars",
    "rain",
    "children laughing outdoors",
    "upbeat electronic dance music at 128 beats per minute",
    "Gregorian chant",
)
#: Weights whose text towers others report to tell texts apart.
SOUND = (
    "laion/clap-htsat-unfused, laion/larger_clap_general, laion/larger_clap_music_and_speech or"
    " LAION's checkpoint music_audioset_epoch_15_esc_90.14.pt"
)


class ClapTextEncoder:
    """CLAP text vectors; the tower is loaded at the first text, once, by whichever thread asks.

    It runs on the processor in float32: a query is a few short texts.

    Parameters
    ----------
    weights : Weights
        Those of the audio encoder.
    space : EmbeddingSpace, optional
        The audio encoder's space; when left out, that of one which hears every window.
    """

    def __init__(self, weights: Weights, *, space: EmbeddingSpace | None = None) -> None:
        self.weights = weights
        self.space = space or ClapEncoder(weights).space
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def check_files(self) -> None:
        """Raise :class:`WeightsMissing` unless a tokenizer lies beside the weights; reads none."""
        folder = self.weights.folder
        absent = [[name for name in names if not (folder / name).is_file()] for names in TOKENIZER]
        if all(absent):
            raise WeightsMissing(
                f"CLAP's text tower needs {_either(TOKENIZER)}; {folder} lacks {_either(absent)}."
                f" {self._advice()}"
            )

    def load(self) -> None:
        """Load the tower now rather than at the first text.

        Raises
        ------
        WeightsMissing
            When the tokenizer's files are not there.
        EncoderError
            When the weights cannot be read, lack a layer, or hold a tower that gives unrelated
            texts the same vector.
        MissingPackage
            When torch or transformers is not installed.
        """
        self._model()

    def encode_text(self, texts: Sequence[str]) -> Vector:
        """Encode texts; two runs give the same bits.

        Parameters
        ----------
        texts : sequence of str

        Returns
        -------
        float32 [n, dims]
            Of unit length. Row i depends on text i alone.

        Raises
        ------
        EncoderError
            As :meth:`load`, or when the tower gives values that are not finite.
        """
        if not len(texts):
            return np.zeros((0, self.space.dims), np.float32)
        return _forward(*self._model(), texts, self.weights.file)

    def _model(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self.check_files()
                model, tokenizer = self._read()
                self._check_tower(model, tokenizer)
                self._loaded = model, tokenizer
            return self._loaded

    def _read(self) -> tuple[Any, Any]:
        """The tower and its tokenizer, read without network."""
        try:
            complete_torchvision()
            from safetensors import SafetensorError
            from transformers import RobertaTokenizer
            from transformers.utils import logging as reports
        except ImportError as error:
            raise MissingPackage(
                f"CLAP needs torch and transformers ({error});"
                " install them with `pip install -r requirements.txt`."
            ) from error
        verbosity, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
        # The audio tower's weights are in the file and not wanted here; the report says so.
        reports.set_verbosity_error()
        reports.disable_progress_bar()
        try:
            tokenizer = RobertaTokenizer.from_pretrained(
                str(self.weights.folder), local_files_only=True
            )
            laion = is_checkpoint(self.weights)
            model = _from_checkpoint(self.weights.file) if laion else _from_folder(self.weights)
        except (
            OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError,
            SafetensorError, EOFError, pickle.UnpicklingError,
        ) as error:  # fmt: skip
            raise EncoderError(
                f"The CLAP text tower in {self.weights.file} cannot be loaded"
                f" ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
                f" {self._advice()}"
            ) from error
        finally:
            reports.set_verbosity(verbosity)
            if bars:
                reports.enable_progress_bar()
        config = model.config
        if config.projection_dim != self.space.dims or len(tokenizer) > config.vocab_size:
            raise EncoderError(
                f"The CLAP text tower in {self.weights.file} gives {config.projection_dim}"
                f" dimensions and knows {config.vocab_size} tokens; {self.space.dims} dimensions"
                f" and the tokenizer's {len(tokenizer)} tokens are needed. {self._advice()}"
            )
        return model.eval(), tokenizer

    def _check_tower(self, model: Any, tokenizer: Any) -> None:
        vectors = _forward(model, tokenizer, PROBE, self.weights.file)
        cosine = float((vectors @ vectors.T)[np.triu_indices(len(PROBE), k=1)].mean())
        if cosine <= COLLAPSED:
            return
        projection = model.text_projection
        untrained = not (projection.linear1.bias.any() or projection.linear2.bias.any())
        cause = (
            " Its projection's biases are all zero, as in a layer that was never trained."
            if untrained
            else ""
        )
        raise EncoderError(
            f"The text tower in {self.weights.file} ({self.weights.revision}) tells no texts apart:"
            f" unrelated phrases have a mean cosine of {cosine:.4f}.{cause} Sounds can still be"
            f" searched with it; for words name other weights in KINDRED_CLAP_MODEL, e.g. {SOUND},"
            " and let the library be embedded again."
        )

    def _advice(self) -> str:
        if not self.weights.revision.startswith(("folder@", "checkpoint@")):
            return f"Fetch them with `{COMMAND}`."
        return (
            "Copy them there (CLAP's are those of roberta-base), or name a Hugging Face id in"
            f" KINDRED_CLAP_MODEL and fetch it with `{COMMAND}`."
        )


def from_settings(settings: Settings) -> ClapTextEncoder:
    """Text encoder beside the audio encoder the settings name; reads no more than headers.

    Raises
    ------
    WeightsMissing
        When weights or tokenizer are not on this machine; the message says how to fetch them.
    EncoderError
        When a file of theirs is damaged; the message names it.
    """
    audio = audio_from_settings(settings)
    encoder = ClapTextEncoder(audio.weights, space=audio.space)
    encoder.check_files()
    return encoder


def _forward(model: Any, tokenizer: Any, texts: Sequence[str], file: Path) -> Vector:
    """Unit rows, float32 [n, dims]."""
    import torch

    config = model.config
    longest = min(MAX_TOKENS, config.max_position_embeddings - config.pad_token_id - 1)
    tokens = [tokenizer(text)["input_ids"] for text in texts]
    rows: dict[int, list[int]] = defaultdict(list)
    for row, ids in enumerate(tokens):
        if len(ids) > longest:
            logger.warning("Only %d of the %d tokens of a text are read", longest, len(ids))
            tokens[row] = [*ids[: longest - 1], ids[-1]]
        rows[len(tokens[row])].append(row)
    vectors = np.empty((len(texts), config.projection_dim), np.float32)
    with torch.inference_mode():
        for same in rows.values():
            for start in range(0, len(same), BATCH):
                part = same[start : start + BATCH]
                ids = torch.tensor([tokens[row] for row in part])
                output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
                vectors[part] = output.text_embeds.numpy()
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise EncoderError(
            f"The CLAP text tower in {file} gave values that are zero or not finite."
        )
    return np.asarray(vectors / norms, np.float32)


def _from_folder(weights: Weights) -> Any:
    """The tower of a folder as transformers writes it."""
    import torch
    from transformers import ClapTextModelWithProjection

    model, report = ClapTextModelWithProjection.from_pretrained(
        str(weights.folder),
        local_files_only=True,
        use_safetensors=weights.file.suffix == ".safetensors",
        output_loading_info=True,
        dtype=torch.float32,
    )
    # transformers fills what is missing with random numbers.
    _refuse_gaps(weights.file, [*report["missing_keys"], *report.get("mismatched_keys", [])])
    return model


def _from_checkpoint(file: Path) -> Any:
    """The tower of a checkpoint of LAION's: RoBERTa, then two layers, sizes as the tensors have."""
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    from kindred.embeddings.clap_laion import read_state

    names = {
        "text_branch.": "text_model.",
        "text_projection.0.": "text_projection.linear1.",
        "text_projection.2.": "text_projection.linear2.",
    }
    state = {
        new + key.removeprefix(old): value
        for key, value in read_state(file).items()
        for old, new in names.items()
        if key.startswith(old)
    }
    words = state["text_model.embeddings.word_embeddings.weight"]
    layers = {key.split(".")[3] for key in state if key.startswith("text_model.encoder.layer.")}
    config = ClapTextConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, words.shape[1] // 64),
        intermediate_size=len(state["text_model.encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(state["text_model.embeddings.position_embeddings.weight"]),
        layer_norm_eps=1e-5,  # RoBERTa's own, which LAION trained with
        projection_dim=len(state["text_projection.linear2.weight"]),
    )
    model = ClapTextModelWithProjection(config)
    result = model.load_state_dict(state, strict=False)
    counters = ("position_ids", "token_type_ids")
    _refuse_gaps(file, [key for key in result.missing_keys if not key.endswith(counters)])
    return model


def _refuse_gaps(file: Path, missing: list[Any]) -> None:
    if missing:
        raise EncoderError(
            f"The CLAP text tower in {file} lacks {len(missing)} layers that fit,"
            f" e.g. {missing[0]}. For words name other weights in KINDRED_CLAP_MODEL, e.g. {SOUND}."
        )


def _either(sets: Sequence[Sequence[str]]) -> str:
    """``"a.json, or b.json and c.txt"``."""
    return ", or ".join(" and ".join(names) for names in sets)
