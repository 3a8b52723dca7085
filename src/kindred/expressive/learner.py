"""The weights in training: batches, losses, steps, and how well they do on validation works.

Every number that is drawn comes from one generator, in one order; nothing global is read or set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kindred.expressive import losses, networks
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.training_set import TRAIN, VALIDATION, TrainingSet
from kindred.expressive.validation import ndcg

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


class Learner:
    """An oracle's or a retriever's weights, and what changes with them.

    Parameters
    ----------
    kind : {"oracle", "projection", "distilled"}
    data : TrainingSet
    options : TrainingOptions
    teacher : dict of str to tensor, optional
        Weights of the oracle that "distilled" learns from, on the options' device.
    """

    def __init__(
        self,
        kind: str,
        data: TrainingSet,
        options: TrainingOptions,
        teacher: networks.Weights | None = None,
    ) -> None:
        import torch

        self.kind, self.data, self.options, self.teacher = kind, data, options, teacher
        self.generator = torch.Generator().manual_seed(options.seed)
        layers, kept = data.inputs.shape[1:]
        first = networks.new_weights(
            aspects=len(ASPECTS),
            layers=layers,
            kept=kept,
            hidden=options.hidden,
            dims=options.dims,
            pairs=kind == "oracle",
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
        self.taught: Any = None  # its embeddings of all clips
        if teacher is not None:
            with torch.no_grad():
                self.taught = networks.embed(teacher, self.x)

    def copy(self) -> networks.Weights:
        """The weights as they are now."""
        return {key: value.detach().clone() for key, value in self.weights.items()}

    def state(self) -> dict[str, Any]:
        """All that an epoch changes; :meth:`restore` takes it back."""
        return {
            "weights": self.copy(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The opposite of :meth:`state`."""
        import torch

        with torch.no_grad():
            for key, value in state["weights"].items():
                self.weights[key].copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])

    def epoch(self) -> dict[str, float]:
        """Go once through the train clips; the mean of each loss over batches."""
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
        return {key: value / len(batches) for key, value in sums.items()}

    def validate(self) -> dict[str, float]:
        """nDCG@10 on validation works by aspect, of those that can be asked, and their "macro"."""
        import torch

        data = self.data
        rows = np.flatnonzero((data.splits == VALIDATION) & (data.variant_of < 0))
        with torch.no_grad():
            e = networks.embed(self.weights, self.x[rows])
            scores = networks.compare(self.weights, e, e).cpu().numpy()
        found = {}
        for i, key in enumerate(KEYS):
            value = ndcg(scores[i], data.levels[rows, i], data.works[rows], aspect=i)
            if np.isfinite(value):
                found[key] = value
        return found | {"macro": float(np.mean(list(found.values())))}

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
        if self.teacher is not None:
            with torch.no_grad():
                taught = networks.within(self.teacher, self.taught[every])
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
