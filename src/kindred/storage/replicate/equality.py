"""Whether two libraries are the same, by their content, and answer alike.

Rows are read back from both sides and hashed anew: what a store says of its digests is not
believed. Vectors are part of the content, byte by byte. Tombstones do not count.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.embeddings.space import EmbeddingSpace
from kindred.storage import rows
from kindred.storage.backend import LibraryStore
from kindred.storage.records import Kind
from kindred.storage.replicate.moves import Direction, shared_kinds
from kindred.storage.replicate.patience import Patience

_BATCH: dict[Kind, int] = {
    "tracks": 500, "covers": 50, "embeddings": 50, "audio": 1, "documents": 100,
}  # fmt: skip
_NAMES = 10
_NEAREST = 10


@dataclass
class Verification:
    """Rows of two libraries, compared by their content.

    Attributes
    ----------
    compared : dict
        Rows read from both sides, by kind.
    missing, different, damaged : dict
        How many rows one side lacks, have other content, or have not the digest their store says.
    examples : list of str
        The first rows that are not alike, with what is wrong.
    """

    compared: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    different: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    cancelled: bool = False

    @property
    def equal(self) -> bool:
        """Whether everything that was compared is alike."""
        return not (self.cancelled or self.missing or self.different or self.damaged)

    def to_dict(self) -> dict[str, Any]:
        """The result ready for JSON."""
        return {**vars(self), "equal": self.equal}

    def lines(self) -> list[str]:
        """The result in words."""
        counted = ", ".join(f"{count:,} {kind}" for kind, count in self.compared.items())
        lines = [f"{counted or 'nothing'} read back: " + ("equal" if self.equal else "NOT equal")]
        return lines + [f"  {example}" for example in self.examples]

    def note(self, kind: Kind, which: str, key: str, words: str) -> None:
        """Count a fault: ``which`` is the name of one of the counts."""
        counts: dict[str, int] = getattr(self, which)
        counts[kind] = counts.get(kind, 0) + 1
        if len(self.examples) < _NAMES:
            self.examples.append(f"{kind} {key}: {words}")


@dataclass(frozen=True)
class SameAnswers:
    """How two libraries answer the same questions.

    Attributes
    ----------
    questions : int
        Tracks asked for their neighbours.
    overlap : float
        Share of the neighbours that both gave, in [0, 1]; 1 where nothing was asked.
    difference : float
        The largest difference between two similarities of the same track.
    """

    questions: int
    overlap: float
    difference: float


def verify(
    a: LibraryStore,
    b: LibraryStore,
    kinds: Sequence[Kind] | None = None,
    *,
    direction: Direction = "both",
    sample: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, words: None,
    patience: Patience = Patience(),
) -> Verification:
    """Read rows back from both sides and compare them.

    Parameters
    ----------
    kinds : sequence of str, optional
        All by default.
    direction : str
        With ``"a->b"`` what B alone has is left out.
    sample : int, optional
        So many rows of each kind, picked at random; all by default.
    """
    result = Verification()
    for kind in kinds or shared_kinds(a, b):
        entries = patience(partial(a.entries, kind))
        keys = {key for key, entry in entries.items() if not entry.deleted}
        if direction == "both":
            entries = patience(partial(b.entries, kind))
            keys |= {key for key, entry in entries.items() if not entry.deleted}
        del entries
        chosen = sorted(keys)
        if sample is not None and sample < len(chosen):
            chosen = sorted(random.Random(0).sample(chosen, sample))
        result.compared[kind] = 0
        for start in range(0, len(chosen), _BATCH[kind]):
            progress(start, len(chosen), f"reading {kind} back")
            if patience.cancelled():
                result.cancelled = True
                return result
            part = chosen[start : start + _BATCH[kind]]
            for fault in patience(partial(_faults, kind, part, a, b)):
                result.note(kind, *fault)
            result.compared[kind] += len(part)
    return result


def same_answers(
    a: LibraryStore,
    b: LibraryStore,
    space: EmbeddingSpace,
    n: int = 20,
    *,
    patience: Patience = Patience(),
) -> SameAnswers:
    """Ask both libraries for the nearest ten of some of A's tracks, picked at random."""
    ids = sorted(patience(lambda: a.embedded_hashes(space)))
    asked = sorted(random.Random(0).sample(ids, min(n, len(ids))))
    asked, vectors = patience(lambda: a.get_embeddings(space, asked))
    shares, difference = [1.0] * (not asked), 0.0
    for track_id, vector in zip(asked, vectors, strict=True):
        mine, theirs = (
            patience(partial(_nearest, store, space, vector, track_id)) for store in (a, b)
        )
        shared = mine.keys() & theirs.keys()
        shares.append(len(shared) / max(len(mine), len(theirs), 1) if mine or theirs else 1.0)
        difference = max([difference, *(abs(mine[item] - theirs[item]) for item in shared)])
    return SameAnswers(len(asked), sum(shares) / len(shares), difference)


def _nearest(
    store: LibraryStore, space: EmbeddingSpace, vector: NDArray[np.float32], track_id: str
) -> dict[str, float]:
    hits, _ = store.search_embeddings(space, vector, k=_NEAREST, exclude=[track_id])
    return {hit.track_id: hit.similarity for hit in hits}


def _faults(
    kind: Kind, keys: Sequence[str], a: LibraryStore, b: LibraryStore
) -> list[tuple[str, str, str]]:
    """What is wrong with some rows: which count, the key, and words."""
    digests: list[dict[str, str]] = []
    faults: list[tuple[str, str, str]] = []
    for letter, store in (("A", a), ("B", b)):
        found = {row.key: rows.entry(row).digest for row in store.read_rows(kind, keys)}
        said = store.entries(kind, keys)
        faults += [
            ("damaged", key, f"its content in {letter} does not have its digest")
            for key, digest in found.items()
            if key not in said or said[key].digest != digest
        ]
        digests.append(found)
    for key in keys:
        mine, theirs = (found.get(key) for found in digests)
        if mine is None and theirs is None:
            continue  # deleted since
        if mine is None or theirs is None:
            faults.append(("missing", key, f"not in {'A' if mine is None else 'B'}"))
        elif mine != theirs:
            faults.append(("different", key, "differs"))
    return faults
