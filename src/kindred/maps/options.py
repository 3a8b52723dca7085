"""How a map is made: the method and its parameters."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal

from kindred.errors import QueryError

Method = Literal["umap", "tsne", "pca"]
Metric = Literal["cosine", "euclidean"]

METHODS: dict[str, str] = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
METRICS = ("cosine", "euclidean")
#: The parameters that each method uses.
_USED = {
    "umap": ("neighbours", "min_dist", "metric", "dims", "seed"),
    "tsne": ("perplexity", "metric", "dims", "seed"),
    "pca": ("dims",),
}


@dataclass(frozen=True)
class MapOptions:
    """The method of a map and its parameters; a method ignores those of the others.

    Attributes
    ----------
    method : {"umap", "tsne", "pca"}
    neighbours : int
        UMAP: tracks that a track is held close to, 2 to 200. Few show detail, many the whole.
    min_dist : float
        UMAP: how near neighbours may come to each other, 0 to 1.
    perplexity : float
        t-SNE: tracks that a track is held close to, softly, 2 to 100.
    metric : {"cosine", "euclidean"}
        Distance between unit vectors, 1 - cosine or the length of their difference. Both order
        neighbours alike; they differ in how fast these fade.
    dims : {2, 3}
    seed : int
        At least 0. The same seed gives the same map; PCA needs none.
    """

    method: Method = "umap"
    neighbours: int = 15
    min_dist: float = 0.1
    perplexity: float = 30.0
    metric: Metric = "cosine"
    dims: Literal[2, 3] = 2
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`QueryError` when a parameter cannot be used."""
        if self.method not in METHODS:
            raise QueryError(f"A map is made by {', '.join(METHODS)}, not by {self.method!r}.")
        if self.metric not in METRICS:
            raise QueryError(f"A map's metric is {' or '.join(METRICS)}, not {self.metric!r}.")
        if isinstance(self.dims, bool) or self.dims not in (2, 3):
            raise QueryError(f"A map has 2 or 3 dimensions, not {self.dims!r}.")
        for name, kind, low, high in (
            ("neighbours", Integral, 2, 200),
            ("min_dist", Real, 0, 1),
            ("perplexity", Real, 2, 100),
            ("seed", Integral, 0, 2**31 - 1),
        ):
            value = getattr(self, name)
            known = isinstance(value, kind) and not isinstance(value, bool)
            if not known or not math.isfinite(value) or not low <= value <= high:
                what = "a whole number" if kind is Integral else "a number"
                raise QueryError(f"A map's {name} is {what} from {low} to {high}, not {value!r}.")

    @property
    def used(self) -> dict[str, Any]:
        """The method, and the parameters that it uses."""
        return {"method": self.method} | {name: getattr(self, name) for name in _USED[self.method]}

    @property
    def key(self) -> str:
        """12 hexadecimal digits; alike for options that give the same map."""
        used = {
            name: float(value) if name in ("min_dist", "perplexity") else value
            for name, value in self.used.items()
        }
        return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """The method and its parameters in words."""
        words = {
            "neighbours": f"{self.neighbours} neighbours",
            "min_dist": f"min_dist {self.min_dist:g}",
            "perplexity": f"perplexity {self.perplexity:g}",
            "metric": self.metric,
            "dims": f"{self.dims}-D",
            "seed": f"seed {self.seed}",
        }
        return ", ".join([METHODS[self.method], *(words[name] for name in _USED[self.method])])

    def to_dict(self) -> dict[str, Any]:
        """Every parameter, as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MapOptions:
        """Options from what :meth:`to_dict` gave; what is missing has its default.

        Raises
        ------
        QueryError
            When a parameter is unknown or cannot be used.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise QueryError(f"A map has no parameter {', '.join(map(repr, unknown))}.")
        options = cls(**values)
        options.check()
        return options
