"""What scorers are trained and validated on, checked, and projected as train clips say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError
from kindred.expressive.aspects import ASPECTS
from kindred.expressive.scoring import Floats
from kindred.expressive.statistics import KEPT, Summary, fit_summary
from kindred.expressive.validation import ndcg

Ints = NDArray[Any]

TRAIN, VALIDATION = 0, 1


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Clips to train and validate on; make one with :func:`training_set`.

    Attributes
    ----------
    summary : Summary
        Fitted on the train clips.
    inputs : float32 [n, layers, kept]
        Their summaries.
    levels : int8 [n, aspects]
        -1 where it is not known. For a placebo, a caller shuffles them with
        ``dataclasses.replace``.
    works, groups : int [n]
        Numbers of the clips' works and groups.
    splits : int [n]
        0 train, 1 validation.
    variant_of : int [n]
        The row of the clip that this is a nuisance variant of, else -1.
    triples : int [t, 4]
        People's judgements of train clips: rows of the query, of what is closer and of what is
        farther, and the number of the aspect (-1: overall).
    feature_id, version : str
        What the features come from, and which version of the data this is.
    """

    summary: Summary
    inputs: Floats
    levels: Ints
    works: Ints
    groups: Ints
    splits: Ints
    variant_of: Ints
    triples: Ints
    feature_id: str
    version: str

    def digest(self) -> str:
        """SHA-256 of all that training reads."""
        found = hashlib.sha256(f"{self.feature_id}\n{self.version}".encode())
        arrays: list[Ints] = [*self.summary.tensors().values(), self.inputs, self.levels]
        arrays += [self.works, self.groups, self.splits, self.variant_of, self.triples]
        for array in arrays:
            found.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def training_set(
    features: Floats,
    *,
    levels: Ints,
    works: Ints,
    groups: Ints,
    splits: Ints,
    variant_of: Ints,
    feature_id: str,
    version: str,
    triples: Ints | None = None,
    kept: int = KEPT,
) -> TrainingSet:
    """Check clips, fit the projection on those of train, and project all.

    Parameters
    ----------
    features : float [n, segments, layers, dims]
    levels, works, groups, splits, variant_of, triples, feature_id, version
        See :class:`TrainingSet`.
    kept : int
        Principal components of each layer.

    Raises
    ------
    ExpressiveError
        When lengths do not agree, a group or a clip and its variant are in both splits, a split has
        fewer than two groups or nothing to rank, a variant or a triple names a row that is not
        there, or a triple's clip is not of train.
    """
    n = len(features)
    levels = np.asarray(levels, np.int8)
    works, groups, splits, variant_of = (
        np.asarray(each, np.int64) for each in (works, groups, splits, variant_of)
    )
    triples = np.zeros((0, 4), np.int64) if triples is None else np.asarray(triples, np.int64)
    if levels.shape != (n, len(ASPECTS)) or any(
        each.shape != (n,) for each in (works, groups, splits, variant_of)
    ):
        raise ExpressiveError(
            f"There are features of {n} clips, so levels must be [{n}, {len(ASPECTS)}] and works,"
            f" groups, splits and variants [{n}]; got {list(levels.shape)} and"
            f" {[list(each.shape) for each in (works, groups, splits, variant_of)]}."
        )
    of_split = [set(groups[splits == split].tolist()) for split in (TRAIN, VALIDATION)]
    if not np.isin(splits, (TRAIN, VALIDATION)).all():
        raise ExpressiveError("Training takes clips of train (0) and validation (1) only.")
    if shared := of_split[0] & of_split[1]:
        raise ExpressiveError(
            f"Groups {sorted(shared)[:5]} have clips in train and in validation. Split by group."
        )
    if min(map(len, of_split)) < 2:
        raise ExpressiveError(
            "Training takes at least two groups of works in train and two in validation; there"
            f" are {len(of_split[0])} and {len(of_split[1])}. Make a larger set."
        )
    if variant_of.min() < -1 or variant_of.max() >= n:
        raise ExpressiveError(f"A variant names a row outside 0 to {n - 1}.")
    varied = np.flatnonzero(variant_of >= 0)
    if (splits[varied] != splits[variant_of[varied]]).any():
        raise ExpressiveError("A variant is in another split than its clip. Split by group.")
    for split in (TRAIN, VALIDATION):
        of = (splits == split) & (variant_of < 0)
        flat = np.zeros((of.sum(),) * 2, np.float32)
        if not any(
            ndcg(flat, levels[of, i], groups[of], aspect=i) >= 0 for i in range(len(ASPECTS))
        ):
            raise ExpressiveError(
                "No two clips of different groups have levels near each other in"
                f" {'train' if split == TRAIN else 'validation'}. Make a larger set."
            )
    if len(triples) and (
        triples.shape[1:] != (4,)
        or triples[:, :3].min() < 0
        or triples[:, :3].max() >= n
        or not np.isin(triples[:, 3], range(-1, len(ASPECTS))).all()
        or (splits[triples[:, :3]] != TRAIN).any()
    ):
        raise ExpressiveError(
            "Triples are [t, 4]: three rows of train clips, and an aspect or -1. Leave out those"
            " whose clips are not all in train."
        )
    summary = fit_summary(features[splits == TRAIN], kept=kept)
    return TrainingSet(
        summary=summary,
        inputs=summary(features),
        levels=levels,
        works=works,
        groups=groups,
        splits=splits,
        variant_of=variant_of,
        triples=triples,
        feature_id=feature_id,
        version=version,
    )
