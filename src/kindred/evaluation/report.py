"""What an evaluation of retrieval found: means with their company, and what every query got.

A macro mean averages classes (composers), a micro mean queries. Beside each stand its 95% interval,
what a random order of the same galleries scores, and what a perfect one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kindred.evaluation import statistics
from kindred.evaluation.hubness import Hubness
from kindred.evaluation.measures import measure_names
from kindred.evaluation.ranks import Floats, Ints


@dataclass(frozen=True)
class Mean:
    """One way to average a measure: the mean, its interval, chance and ceiling.

    ``None`` where there is no query, and for the interval where all are of one work.
    """

    value: float | None
    ci95: tuple[float, float] | None
    chance: float | None
    ceiling: float | None


@dataclass(frozen=True)
class Measure:
    """A measure averaged over classes (macro, the headline) and over queries (micro)."""

    macro: Mean
    micro: Mean

    def to_dict(self) -> dict[str, Any]:
        """The macro mean with its company, and the micro mean with its own."""
        return {
            "macro": _rounded(self.macro.value),
            "ci95": _pair(self.macro.ci95),
            "chance": _rounded(self.macro.chance),
            "ceiling": _rounded(self.macro.ceiling),
            "micro": _rounded(self.micro.value),
            "micro_ci95": _pair(self.micro.ci95),
            "micro_chance": _rounded(self.micro.chance),
            "micro_ceiling": _rounded(self.micro.ceiling),
        }


@dataclass(frozen=True)
class Variant:
    """One variant of the task.

    Attributes
    ----------
    values, chance, ceiling : float64 [n, 7]
        Of every track in the order of the report's ids, a column a measure; not a number where it
        was no query.
    top : intp [n, min(k, n)]
        Rows of the first k of every track's answer; -1 where there are fewer.
    measures : dict of Measure
    queries, singletons : int
        Labelled tracks with something relevant in their gallery, and those without.
    """

    values: Floats
    chance: Floats
    ceiling: Floats
    top: Ints
    measures: dict[str, Measure]
    queries: int
    singletons: int

    def to_dict(self) -> dict[str, Any]:
        """Counts and measures."""
        measures = {name: item.to_dict() for name, item in self.measures.items()}
        return {"queries": self.queries, "singletons": self.singletons, **measures}


@dataclass(frozen=True)
class RetrievalReport:
    """How well one space, or one way to search it, agrees with a label.

    Attributes
    ----------
    name : str
        What was evaluated, e.g. the encoder.
    label : str
    k : int
    ids : tuple of str
        Every track, ascending.
    classes : tuple of str
        Distinct labels.
    class_of, cluster_of, macro_of : intp [n]
        See :class:`~kindred.evaluation.task.Task`.
    macro_rule : str
        Which classes are in the macro mean, in words.
    variants : dict of Variant
        By name, see :mod:`kindred.evaluation.retrieval`.
    hubness : Hubness
        Of the plain variant.
    warnings : tuple of str
        What the figures cannot say.
    seed, draws : int
        Of the bootstrap.
    """

    name: str
    label: str
    k: int
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    class_of: Ints
    cluster_of: Ints
    macro_of: Ints
    macro_rule: str
    variants: dict[str, Variant]
    hubness: Hubness
    warnings: tuple[str, ...]
    seed: int
    draws: int

    @property
    def measure_names(self) -> tuple[str, ...]:
        """Names of the columns of every variant's values."""
        return measure_names(self.k)

    def per_class(self, variant: str = "plain") -> list[dict[str, Any]]:
        """One row a class, the largest first: tracks, works, queries, and the measures' means.

        A mean is ``None`` where the class has no query.
        """
        found, rows = self.variants[variant], []
        for number, name in enumerate(self.classes):
            own = self.class_of == number
            values = found.values[own & ~np.isnan(found.values[:, 0])]
            row: dict[str, Any] = {
                "label": name,
                "tracks": int(own.sum()),
                "works": len(np.unique(self.cluster_of[own])),
                "queries": len(values),
                "in_macro": bool((self.macro_of == number).any()),
            }
            average = values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
            row |= {n: _rounded(v) for n, v in zip(self.measure_names, average, strict=True)}
            rows.append(row)
        return sorted(rows, key=lambda row: (-row["tracks"], row["label"]))

    def confusion(
        self, variant: str = "plain", *, limit: int = 30
    ) -> tuple[list[str], list[str], Floats]:
        """Of what is among the first k for queries of a class, the share that is of each class.

        Parameters
        ----------
        variant : str
        limit : int
            The largest classes are shown; the columns "other" and "unlabelled" have the rest.

        Returns
        -------
        rows, columns : list of str
        shares : float64 [rows, columns]
            Every row sums to 1, or to 0 where nothing was found.
        """
        sizes = np.bincount(self.class_of[self.class_of >= 0], minlength=len(self.classes))
        shown = np.lexsort((np.arange(len(sizes)), -sizes))[:limit]
        column = np.full(len(sizes) + 1, len(shown))  # other
        column[shown] = np.arange(len(shown))
        column[-1] = len(shown) + 1  # unlabelled
        top = self.variants[variant].top
        counts = np.zeros((len(shown), len(shown) + 2))
        for row, number in enumerate(shown):
            found = top[self.class_of == number]
            found_columns = column[self.class_of[found[found >= 0]]]
            counts[row] = np.bincount(found_columns, minlength=counts.shape[1])
        names = [self.classes[number] for number in shown]
        total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return names, [*names, "other", "unlabelled"], counts / total

    def to_dict(self) -> dict[str, Any]:
        """The report ready for JSON; the measures of the plain variant stand at the top."""
        rows, columns, shares = self.confusion()
        variants = {name: self._variant_dict(name) for name in self.variants}
        return {
            "name": self.name,
            "label": self.label,
            "k": self.k,
            "tracks": len(self.ids),
            "unlabelled": int((self.class_of < 0).sum()),
            "classes": len(self.classes),
            "works": len(np.unique(self.cluster_of[self.class_of >= 0])),
            "macro_classes": len(np.unique(self.macro_of[self.macro_of >= 0])),
            "macro_rule": self.macro_rule,
            "confidence": statistics.CONFIDENCE,
            "seed": self.seed,
            "draws": self.draws,
            "warnings": list(self.warnings),
            **variants["plain"],
            "variants": variants,
            "per_class": {name: self.per_class(name) for name in ("plain", "controlled")},
            "confusion": {"rows": rows, "columns": columns, "shares": shares.round(6).tolist()},
            "hubness": self.hubness.to_dict(),
        }

    def _variant_dict(self, name: str) -> dict[str, Any]:
        """A variant, with ``macro_all`` beside every macro mean: over all classes with a query."""
        found = self.variants[name].to_dict()
        rows = [row for row in self.per_class(name) if row["queries"]]
        for measure in self.measure_names:
            values = [row[measure] for row in rows]
            found[measure]["macro_all"] = _rounded(float(np.mean(values))) if values else None
        return found

    def lines(self) -> list[str]:
        """The report for people."""
        lines = [
            f"{self.name}: same {self.label} among the first {self.k}, {len(self.ids)} tracks,"
            f" {len(self.classes)} labels",
            self.macro_rule,
        ]
        for name, variant in self.variants.items():
            left = f"{variant.queries} queries, {variant.singletons} with nothing to find"
            lines.append(f"{name.replace('_', ' ')}: {left}")
            for title, item in variant.measures.items():
                lines.append(f"  {title:13} {_text(item.macro)}   micro {_text(item.micro)}")
        hubs = self.hubness
        lines.append(
            f"hubs: skewness {hubs.skewness:.2f}, largest N_{hubs.k} {hubs.largest}, never found"
            f" {hubs.anti_hubs:.0%}"
        )
        return [*lines, *self.warnings]


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 9)


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [round(end, 9) for end in interval]


def _text(mean: Mean) -> str:
    if mean.value is None:
        return "-"
    interval = "" if mean.ci95 is None else f" [{mean.ci95[0]:.3f}, {mean.ci95[1]:.3f}]"
    return f"{mean.value:.3f}{interval} chance {mean.chance:.3f} ceiling {mean.ceiling:.3f}"
