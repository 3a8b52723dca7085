"""Training the oracle and the retriever.

A run is a folder. It depends on its data, options, seed and teacher only: the same give the same
bytes on one kind of device, also when a run was killed and started again, since everything that
changes (weights, optimiser, random state, curves, the best so far) is in a checkpoint that is
written whole. All sums run on one thread, and no global random state is read or set.

::

    model.safetensors   the weights, with the projection of features fitted on train clips
    config.json         what loading takes: kind, aspects, shapes, feature source, options
    curves.json         an epoch a line: losses, and nDCG@10 on validation works per aspect
    training.json       seed, epochs, the best one, data version, teacher
    checkpoint.pt       while it is not finished
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.errors import ExpressiveError
from kindred.expressive import losses, networks
from kindred.expressive.aspects import ASPECTS, KEYS, TOP_GRADE
from kindred.expressive.statistics import KEPT, Summary, fit_summary
from kindred.storage.whole_files import replacing
from kindred.work import Progress

Floats = NDArray[np.float32]
Ints = NDArray[Any]

MODEL, CONFIG, CURVES, TRAINING, CHECKPOINT = (
    "model.safetensors",
    "config.json",
    "curves.json",
    "training.json",
    "checkpoint.pt",
)
TRAIN, VALIDATION = 0, 1
#: Raised when a folder's files change their meaning.
FORMAT = 1
_CUT = 10
#: Of people's triples, in a batch.
_JUDGED = 64


@dataclass(frozen=True)
class TrainingOptions:
    """How a scorer is trained.

    Attributes
    ----------
    seed : int
        Of the first weights, of batches and of dropout.
    epochs, patience : int
        At most so many; training stops when the last ``patience`` brought nothing on validation.
    groups, clips : int
        A batch has so many groups of works and so many clips of each.
    rate, decay : float
        Learning rate and weight decay of AdamW.
    hidden, dims : int
        Of an aspect's network: units of its hidden layer, and of the embedding.
    dropout, noise : float
        Share of units dropped, and deviation of noise that is added to the standardised input.
    checkpoint_every : int
        Epochs.
    device : {"cpu", "cuda"}
        See :func:`kindred.embeddings.device.choose_device`.
    """

    seed: int = 0
    epochs: int = 40
    patience: int = 10
    groups: int = 8
    clips: int = 12
    rate: float = 3e-3
    decay: float = 0.05
    hidden: int = 64
    dims: int = 16
    dropout: float = 0.1
    noise: float = 0.6
    checkpoint_every: int = 5
    device: str = "cpu"


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
        When lengths do not agree, a group is in both splits, a split has fewer than two groups, a
        variant or a triple names a row that is not there, or a triple's clip is not of train.
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
    for split in (TRAIN, VALIDATION):
        of = splits == split
        if not any(
            ndcg(np.zeros((of.sum(),) * 2, np.float32), levels[of, i], groups[of], ordered=True)
            >= 0
            for i in range(len(ASPECTS))
        ):
            raise ExpressiveError(
                "No two clips of different groups have levels near each other in"
                f" {'train' if split == TRAIN else 'validation'}. Make a larger set."
            )
    if variant_of.min() < -1 or variant_of.max() >= n:
        raise ExpressiveError(f"A variant names a row outside 0 to {n - 1}.")
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


def train_oracle(
    data: TrainingSet,
    folder: Path,
    options: TrainingOptions | None = None,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train the slow scorer, or go on with it, in a folder of its own.

    Parameters
    ----------
    data : TrainingSet
    folder : Path
        Made when it is not there.
    options : TrainingOptions, optional
    progress : callable, optional
        Called after every epoch with how many are done, how many there are at most, and words.
    cancelled : callable, optional
        Asked after every epoch; when true, the checkpoint is written and the run stops.

    Returns
    -------
    dict
        ``training.json``; ``finished`` is false when it was cancelled.

    Raises
    ------
    ExpressiveError
        When the folder holds another run.
    """
    return _Run("oracle", data, folder, options or TrainingOptions(), None).go(progress, cancelled)


def train_retriever(
    data: TrainingSet,
    folder: Path,
    options: TrainingOptions | None = None,
    *,
    teacher: Path | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train the fast scorer: from labels ("projection"), or from an oracle's folder ("distilled").

    Parameters
    ----------
    teacher : Path, optional
        Folder of a trained oracle, on the same features.
    data, folder, options, progress, cancelled
        As of :func:`train_oracle`, and so is what returns and raises.
    """
    run = _Run(
        "distilled" if teacher else "projection",
        data,
        folder,
        options or TrainingOptions(),
        teacher,
    )
    return run.go(progress, cancelled)


class _Run:
    """One training run; its state is what :meth:`_save` writes."""

    def __init__(
        self,
        kind: str,
        data: TrainingSet,
        folder: Path,
        options: TrainingOptions,
        teacher: Path | None,
    ) -> None:
        self.kind, self.data, self.folder, self.options = kind, data, folder, options
        self.teacher = teacher
        if teacher and not (teacher / MODEL).exists():
            raise ExpressiveError(f"{teacher} holds no trained oracle. Train one first.")
        self.teacher_digest = (
            hashlib.sha256((teacher / MODEL).read_bytes()).hexdigest() if teacher else ""
        )
        self.key = hashlib.sha256(
            json.dumps([FORMAT, kind, asdict(options), data.digest(), self.teacher_digest]).encode()
        ).hexdigest()

    def go(self, progress: Progress | None, cancelled: Callable[[], bool]) -> dict[str, Any]:
        if (self.folder / TRAINING).exists():
            return self._finished()
        self.folder.mkdir(parents=True, exist_ok=True)
        with single_thread():
            self._start()
            options = self.options
            while not self._done():
                self._epoch()
                done = self.epoch
                stopped = cancelled()
                if stopped or done % options.checkpoint_every == 0:
                    self._save()
                if progress:
                    last = self.curves[-1]["validation"]["macro"]
                    progress(done, options.epochs, f"{self.kind}: validation nDCG@10 {last:.3f}")
                if stopped:
                    return {"finished": False, "epochs": done}
            return self._finish()

    def _finished(self) -> dict[str, Any]:
        done: dict[str, Any] = json.loads((self.folder / TRAINING).read_text())
        if done.get("key") != self.key:
            raise self._another()
        return done

    def _another(self) -> ExpressiveError:
        return ExpressiveError(
            f"{self.folder} holds a run with other data or options. Name another folder, or"
            " remove that one."
        )

    def _start(self) -> None:
        import torch

        options, data = self.options, self.data
        self.generator = torch.Generator().manual_seed(options.seed)
        layers, kept = data.inputs.shape[1:]
        first = networks.new_weights(
            aspects=len(ASPECTS),
            layers=layers,
            kept=kept,
            hidden=options.hidden,
            dims=options.dims,
            pairs=self.kind == "oracle",
            generator=self.generator,
        )
        self.weights = {
            key: value.to(options.device).requires_grad_() for key, value in first.items()
        }
        self.optimiser = torch.optim.AdamW(
            list(self.weights.values()), lr=options.rate, weight_decay=options.decay
        )
        self.x = torch.from_numpy(data.inputs).to(options.device)
        self.levels = torch.from_numpy(data.levels.astype(np.int64)).to(options.device)
        self.groups = torch.from_numpy(data.groups).to(options.device)
        self.ordered = torch.tensor([each.ordered for each in ASPECTS], device=options.device)
        self.taught = self._teacher_embeddings(self.teacher) if self.teacher else None
        self.epoch = 0
        self.curves: list[dict[str, Any]] = []
        self.best, self.best_value, self.best_epoch = self._copy(), -1.0, 0
        if (self.folder / CHECKPOINT).exists():
            self._resume()

    def _teacher_embeddings(self, teacher: Path) -> Any:
        import torch
        from safetensors.torch import load_file

        stored = load_file(teacher / MODEL, device=self.options.device)
        own = self.data.summary.tensors()
        if "pair.direct" not in stored or any(
            not np.array_equal(stored[key].cpu().numpy(), value) for key, value in own.items()
        ):
            raise ExpressiveError(
                f"{teacher} is no oracle that was trained on these clips and features. Name the"
                " folder of one that was."
            )
        self.teacher_weights = {key: stored[key] for key in stored if key not in own}
        with torch.no_grad():
            return networks.embed(self.teacher_weights, self.x)

    def _done(self) -> bool:
        return (
            self.epoch >= self.options.epochs
            or self.epoch - self.best_epoch >= self.options.patience
        )

    def _copy(self) -> dict[str, Any]:
        return {key: value.detach().clone() for key, value in self.weights.items()}

    def _epoch(self) -> None:
        import torch

        sums: dict[str, float] = {}
        batches = self._batches()
        for rows, variants in batches:
            parts = self._losses(rows, variants)
            loss = sum(parts.values())
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach())
        self.epoch += 1
        with torch.no_grad():
            found = self._validate()
        self.curves.append(
            {
                "epoch": self.epoch,
                "losses": {key: value / len(batches) for key, value in sums.items()},
                "validation": found,
            }
        )
        if found["macro"] > self.best_value:
            self.best, self.best_value, self.best_epoch = self._copy(), found["macro"], self.epoch

    def _batches(self) -> list[tuple[Any, Any]]:
        """Rows of clips and of their variants: a few groups each, so that there are lures."""
        import torch

        data, options = self.data, self.options
        base = np.flatnonzero(
            (data.splits == TRAIN) & (data.variant_of < 0) & (data.levels >= 0).any(axis=1)
        )
        chunks = []
        for group in np.unique(data.groups[base]):
            rows = base[data.groups[base] == group]
            rows = rows[torch.randperm(len(rows), generator=self.generator).numpy()]
            chunks += [rows[i : i + options.clips] for i in range(0, len(rows), options.clips)]
        order = torch.randperm(len(chunks), generator=self.generator).tolist()
        variant = np.full(len(data.levels), -1)
        varied = np.flatnonzero(data.variant_of >= 0)
        variant[data.variant_of[varied]] = varied
        found = []
        for start in range(0, len(order), options.groups):
            rows = np.concatenate([chunks[i] for i in order[start : start + options.groups]])
            with_variant = np.flatnonzero(variant[rows] >= 0)
            found.append((rows, (with_variant, variant[rows[with_variant]])))
        return found

    def _losses(self, rows: Any, variants: tuple[Any, Any]) -> dict[str, Any]:
        import torch

        of, varied = variants
        every = torch.from_numpy(np.concatenate([rows, varied])).to(self.x.device)
        pairs = losses.pairs_of(self.levels[every], self.groups[every], self.ordered)
        e = self._embed(self.x[every])
        scores = networks.within(self.weights, e)
        if self.kind != "oracle":
            scores = (1 + scores) / 2
        found = {}
        if self.taught is not None:
            with torch.no_grad():
                taught = networks.within(self.teacher_weights, self.taught[every])
            found["margins"] = 10 * losses.margins(scores, taught, pairs, self.generator)
            found["listwise"] = losses.listwise(scores, taught, pairs)
        else:
            found["distance"] = losses.distance(scores, pairs)
            found["listwise"] = losses.listwise(scores, pairs.target, pairs)
            found["lures"] = losses.lures(scores, pairs, self.generator)
        if self.kind == "oracle":
            found["ranking"] = losses.ranking(scores, pairs, self.generator)
        else:
            found["contrast"] = 0.3 * losses.contrast(scores, pairs)
        if len(self.data.triples):
            found["judged"] = 0.3 * self._judged()
        if len(varied):
            found["invariance"] = 0.3 * losses.invariance(e[of], e[len(rows) :])
        return found

    def _judged(self) -> Any:
        import torch

        triples = torch.from_numpy(self.data.triples)
        some = triples[torch.randperm(len(triples), generator=self.generator)[:_JUDGED]]
        some = some.to(self.x.device)
        query, closer, farther = (self._embed(self.x[some[:, i]]) for i in range(3))
        return losses.judged(
            networks.read_pairs(self.weights, query, closer),
            networks.read_pairs(self.weights, query, farther),
            some[:, 3],
        )

    def _embed(self, x: Any) -> Any:
        import torch

        options = self.options
        x = x + options.noise * torch.randn(x.shape, generator=self.generator).to(x.device)

        def drop(values: Any) -> Any:
            kept = torch.rand(values.shape, generator=self.generator) >= options.dropout
            return values * kept.to(values.device) / (1 - options.dropout)

        return networks.embed(self.weights, x, drop)

    def _validate(self) -> dict[str, float]:
        data = self.data
        rows = np.flatnonzero((data.splits == VALIDATION) & (data.variant_of < 0))
        e = networks.embed(self.weights, self.x[rows])
        scores = networks.compare(self.weights, e, e).cpu().numpy()
        found = {}
        for i, key in enumerate(KEYS):
            value = ndcg(
                scores[i], data.levels[rows, i], data.works[rows], ordered=ASPECTS[i].ordered
            )
            if np.isfinite(value):
                found[key] = value
        return found | {"macro": float(np.mean(list(found.values())))}

    def _save(self) -> None:
        import torch

        with replacing(self.folder / CHECKPOINT) as out:
            torch.save(
                {
                    "key": self.key,
                    "weights": self._copy(),
                    "optimiser": self.optimiser.state_dict(),
                    "generator": self.generator.get_state(),
                    "epoch": self.epoch,
                    "curves": self.curves,
                    "best": self.best,
                    "best_value": self.best_value,
                    "best_epoch": self.best_epoch,
                },
                out,
            )

    def _resume(self) -> None:
        import torch

        path = self.folder / CHECKPOINT
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ExpressiveError(
                f"{path} is damaged. Remove it, and training starts from the beginning."
            ) from error
        if state["key"] != self.key:
            raise self._another()
        with torch.no_grad():
            for key, value in state["weights"].items():
                self.weights[key].copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.epoch, self.curves = state["epoch"], state["curves"]
        self.best_value, self.best_epoch = state["best_value"], state["best_epoch"]
        self.best = {key: value.to(self.options.device) for key, value in state["best"].items()}

    def _finish(self) -> dict[str, Any]:
        data, options = self.data, self.options
        write_model(
            self.folder,
            kind=self.kind,
            weights=self.best,
            summary=data.summary,
            feature_id=data.feature_id,
            options=options,
        )
        _write_json(self.folder / CURVES, self.curves)
        done = {
            "finished": True,
            "key": self.key,
            "kind": self.kind,
            "seed": options.seed,
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "validation": self.curves[self.best_epoch - 1]["validation"],
            "data_version": data.version,
            "data_digest": data.digest(),
            "teacher": self.teacher_digest,
            "train_clips": int((data.splits == TRAIN).sum()),
            "validation_clips": int((data.splits == VALIDATION).sum()),
            "device": options.device,
        }
        _write_json(self.folder / TRAINING, done)  # last: it says that the others are whole
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return done


def write_model(
    folder: Path,
    *,
    kind: str,
    weights: dict[str, Any],
    summary: Summary,
    feature_id: str,
    options: TrainingOptions,
) -> None:
    """Write ``model.safetensors`` and ``config.json``."""
    from safetensors.numpy import save

    layers, kept, _ = summary.components.shape
    tensors = {key: value.cpu().numpy() for key, value in weights.items()} | summary.tensors()
    with replacing(folder / MODEL) as out:
        out.write(save({key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)}))
    _write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "kind": kind,
            "aspects": list(KEYS),
            "feature_id": feature_id,
            "layers": layers,
            "kept": kept,
            "dims": options.dims,
            "options": asdict(options),
        },
    )


def ndcg(scores: Floats, levels: Ints, works: Ints, *, ordered: bool) -> float:
    """Graded nDCG@10 of every clip against all others: mean over works of their queries' means.

    Grades are those of :meth:`kindred.expressive.aspects.Aspect.grade`; the query's own work at
    another level is a lure of grade 0, at the same level it is left out. Ties order by row.

    Parameters
    ----------
    scores : float32 [n, n]
    levels, works : int [n]
    ordered : bool

    Returns
    -------
    float
        Not a number when no query has a candidate with a grade.
    """
    apart = np.abs(levels[:, None].astype(int) - levels[None].astype(int))
    grade = np.maximum(0, TOP_GRADE - (apart if ordered else apart * TOP_GRADE))
    known = (levels[:, None] >= 0) & (levels[None] >= 0)
    own = works[:, None] == works[None]
    grade[own | ~known] = 0
    offered = known & ~(own & (apart == 0))
    ranked = np.argsort(np.where(offered, -scores, np.inf), axis=1, kind="stable")[:, :_CUT]
    discount = 1 / np.log2(np.arange(2, ranked.shape[1] + 2))
    gained = np.take_along_axis(grade, ranked, axis=1) @ discount
    best = -np.sort(-grade, axis=1)[:, :_CUT] @ discount
    asked = best > 0
    each = gained[asked] / best[asked]
    _, work = np.unique(works[asked], return_inverse=True)
    if not len(each):
        return float("nan")
    return float((np.bincount(work, each) / np.bincount(work)).mean())


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch on one thread and with deterministic kernels, as it was before at the end."""
    import torch

    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as out:
        out.write((json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
