"""Zero-shot tags: the words of a vocabulary that lie nearest to a track's vector.

Conventions: vectors are float32 rows of unit length in the space of the text encoder. Within a kind
(genre, mood, instrument) a tag's score is ::

    softmax over the kind's tags of (logit_scale * cosine(track, prompt))

as CLIP classifies (Radford et al., "Learning transferable visual models from natural language
supervision", ICML 2021). Scores of a kind sum to 1, so they rank tags against each other; they are
no probabilities of truth: of a vocabulary that holds no fitting tag, one is first all the same.
Ties order by tag.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import threading
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.clap_text import EncodeText
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import EncoderError, ImportRejected, SpaceMismatch

KINDS = ("genre", "mood", "instrument")
COLUMNS = ("kind", "tag", "prompt")
MAX_ENTRIES = 2_000
MAX_PROMPT = 200
#: 1 / 0.07, the inverse temperature CLIP and CLAP begin their training with.
LOGIT_SCALE = 1 / 0.07

#: For each kind, tags with their scores, the highest first.
Tags = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class Entry:
    """A tag of a kind, and the sentence that is given to the text tower for it."""

    kind: str
    tag: str
    prompt: str


@dataclass(frozen=True)
class Vocabulary:
    """Entries, no tag twice within a kind."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """Sixteen digits that differ when the prompts or their order do."""
        text = json.dumps([entry.prompt for entry in self.entries])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_vocabulary(path: Path | None = None) -> Vocabulary:
    """Read a vocabulary, by default the one that ships with Kindred.

    Parameters
    ----------
    path : Path, optional
        CSV in UTF-8 with the columns kind (genre, mood or instrument), tag and prompt.

    Raises
    ------
    ImportRejected
        When the file cannot be read or a line cannot be used; ``problems`` names each line.
    """
    name = str(path or "the vocabulary of Kindred")
    try:
        source = path or files("kindred.search").joinpath("vocabulary.csv")
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ImportRejected(
            f"{name} cannot be read as a vocabulary ({error}). A CSV file in UTF-8 with the columns"
            f" {', '.join(COLUMNS)} is needed."
        ) from error
    reader = csv.DictReader(StringIO(text, newline=""))
    try:
        header, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        # The reader counts a line once it has read it.
        line = reader.line_num + 1
        raise ImportRejected(
            f"{name} is not CSV: line {line}: {error}.", [(line, str(error))]
        ) from error
    if absent := [column for column in COLUMNS if column not in header]:
        message = f"lacks the columns {', '.join(absent)}; it has {', '.join(header) or 'none'}"
        raise ImportRejected(f"{name}: line 1 {message}.", [(1, message)])
    entries: list[Entry] = []
    problems: list[tuple[int, str]] = []
    seen: dict[tuple[str, str], int] = {}
    for line, row in rows:
        entry = Entry(*(" ".join((row[column] or "").split()) for column in COLUMNS))
        problem = _problem(entry, extra=None in row)
        if not problem and (entry.kind, entry.tag.casefold()) in seen:
            first = seen[entry.kind, entry.tag.casefold()]
            problem = f"{entry.kind} {entry.tag!r} stands in line {first} already"
        if problem:
            problems.append((line, problem))
        else:
            seen[entry.kind, entry.tag.casefold()] = line
            entries.append(entry)
    if not rows:
        problems.append((1, "no tag follows"))
    if len(rows) > MAX_ENTRIES:
        problems.append((rows[MAX_ENTRIES][0], f"a vocabulary holds at most {MAX_ENTRIES} tags"))
    if problems:
        told = "; ".join(f"line {line}: {problem}" for line, problem in problems[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ImportRejected(f"{name} has lines that cannot be used: {told}{more}.", problems)
    return Vocabulary(tuple(entries))


class Tagger:
    """Tags tracks with the words of a vocabulary, whose vectors are made at the first track.

    Parameters
    ----------
    vocabulary : Vocabulary
    encode_text : callable
        Turns n texts into float32 [n, dims] of unit length.
    space : EmbeddingSpace, optional
        The space of the vectors; needed with ``cache``.
    cache : Path, optional
        Folder in which the vocabulary's vectors are kept, by a hash of space and prompts, so that
        they are made once and anew when either changes.
    logit_scale : float
        How sharply scores differ; it changes no order.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        encode_text: EncodeText,
        *,
        space: EmbeddingSpace | None = None,
        cache: Path | None = None,
        logit_scale: float = LOGIT_SCALE,
    ) -> None:
        self.vocabulary = vocabulary
        self.encode_text = encode_text
        self.space = space
        self.cache = cache
        self.logit_scale = logit_scale
        self._lock = threading.Lock()
        self._prompts: NDArray[np.float32] | None = None

    def tags(self, vectors: NDArray[np.float32], *, top: int = 3) -> list[Tags]:
        """Tags of tracks.

        Parameters
        ----------
        vectors : float32 [n, dims]
            Of unit length, in the text encoder's space.
        top : int
            Tags of each kind, at least 1.

        Returns
        -------
        list of dict
            For each track, by kind, ``(tag, score)`` with scores in [0, 1], the highest first.

        Raises
        ------
        SpaceMismatch
            When the vectors have another number of dimensions than the prompts'.
        EncoderError
            When a vector is not finite, or ``top`` is below 1.
        """
        if top < 1:
            raise EncoderError(f"At least one tag of a kind must be asked for, got top={top}.")
        prompts = self._vectors()
        if vectors.ndim != 2 or vectors.shape[1] != prompts.shape[1]:
            raise SpaceMismatch(
                f"Tags need vectors of shape [n, {prompts.shape[1]}], got {vectors.shape}."
                " Embed the tracks with the encoder the text tower belongs to."
            )
        if not np.isfinite(vectors).all():
            raise EncoderError("Vectors to be tagged must be finite. Embed the tracks again.")
        logits = self.logit_scale * (vectors.astype(np.float64) @ prompts.T.astype(np.float64))
        found: list[Tags] = [{} for _ in vectors]
        for kind in KINDS:
            # Sorted, so that a stable sort by score leaves ties in the order of their tags.
            columns = sorted(
                (entry.tag, column)
                for column, entry in enumerate(self.vocabulary.entries)
                if entry.kind == kind
            )
            if not columns:
                continue
            scores = _softmax(logits[:, [column for _, column in columns]])
            best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
            for tags, row, order in zip(found, scores, best, strict=True):
                tags[kind] = [(columns[place][0], float(row[place])) for place in order]
        return found

    def _vectors(self) -> NDArray[np.float32]:
        with self._lock:
            if self._prompts is None:
                self._prompts = self._cached()
            return self._prompts

    def _cached(self) -> NDArray[np.float32]:
        prompts = [entry.prompt for entry in self.vocabulary.entries]
        if self.cache is None:
            return self.encode_text(prompts)
        if self.space is None:
            raise EncoderError("A cache of tags needs the space its vectors belong to.")
        file = self.cache / f"{self.space.space_id}-{self.vocabulary.digest}.npy"
        try:
            kept = np.load(file, allow_pickle=False)
            if kept.dtype == np.float32 and kept.shape == (len(prompts), self.space.dims):
                return np.asarray(kept, np.float32)
        except (OSError, ValueError, EOFError):
            pass  # absent or damaged: it is made anew
        vectors = self.encode_text(prompts)
        _keep(file, vectors)
        return vectors


def _keep(file: Path, vectors: NDArray[np.float32]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with temporary.open("wb") as stream:
        np.save(stream, vectors)
    os.replace(temporary, file)


def _problem(entry: Entry, *, extra: bool) -> str:
    """Why a line cannot be used; empty when it can."""
    if extra:
        return "it has more than the header's columns; put quotes round a text that holds a comma"
    if entry.kind not in KINDS:
        return f"kind must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {entry.kind!r}"
    if not entry.tag or not entry.prompt:
        return "tag and prompt must not be empty"
    if len(entry.prompt) > MAX_PROMPT:
        return f"a prompt has at most {MAX_PROMPT} characters, this one {len(entry.prompt)}"
    return ""


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)
