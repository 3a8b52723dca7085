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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kindred.errors import ExpressiveError
from kindred.expressive.learner import Learner, TrainingOptions
from kindred.expressive.model_files import (
    CURVES,
    FORMAT,
    MODEL,
    TRAINING,
    write_json,
    write_model,
)
from kindred.expressive.networks import Weights
from kindred.expressive.training_set import TRAIN, VALIDATION, TrainingSet
from kindred.storage.whole_files import replacing
from kindred.work import Progress

CHECKPOINT = "checkpoint.pt"


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
    """One training run in its folder; its state is what :meth:`_save` writes."""

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
        (self.folder / CHECKPOINT).unlink(missing_ok=True)  # when a kill came just before that
        return done

    def _another(self) -> ExpressiveError:
        return ExpressiveError(
            f"{self.folder} holds a run with other data or options. Name another folder, or"
            " remove that one."
        )

    def _start(self) -> None:
        teacher = self._teacher_weights(self.teacher) if self.teacher else None
        self.learner = Learner(self.kind, self.data, self.options, teacher)
        self.epoch = 0
        self.curves: list[dict[str, Any]] = []
        self.best, self.best_value, self.best_epoch = self.learner.copy(), -1.0, 0
        if (self.folder / CHECKPOINT).exists():
            self._resume()

    def _teacher_weights(self, teacher: Path) -> Weights:
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
        return {key: stored[key] for key in stored if key not in own}

    def _done(self) -> bool:
        return (
            self.epoch >= self.options.epochs
            or self.epoch - self.best_epoch >= self.options.patience
        )

    def _epoch(self) -> None:
        lost = self.learner.epoch()
        self.epoch += 1
        found = self.learner.validate()
        self.curves.append({"epoch": self.epoch, "losses": lost, "validation": found})
        if found["macro"] > self.best_value:
            self.best, self.best_value = self.learner.copy(), found["macro"]
            self.best_epoch = self.epoch

    def _save(self) -> None:
        import torch

        with replacing(self.folder / CHECKPOINT) as out:
            torch.save(
                {
                    "key": self.key,
                    **self.learner.state(),
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
        self.learner.restore(state)
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
        write_json(self.folder / CURVES, self.curves)
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
        write_json(self.folder / TRAINING, done)  # last: it says that the others are whole
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return done


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
