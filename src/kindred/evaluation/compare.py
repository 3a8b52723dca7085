"""Several encoders, indexes, poolings or rescalings on the same queries.

For every measure and every pair: the difference of their means with its 95% interval, where both
hear of the same redrawn works, and the p-value of a sign-flip test on works, adjusted by Holm over
the pairs of that measure. Differences are the first minus the second, so above 0 the first is
better. See :mod:`kindred.evaluation.statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from kindred.errors import QueryError
from kindred.evaluation import statistics
from kindred.evaluation.report import RetrievalReport, Variant
from kindred.evaluation.task import VARIANTS


@dataclass(frozen=True)
class Difference:
    """One measure of two reports, ``first`` minus ``second``; intervals as ``Mean`` has them."""

    measure: str
    first: str
    second: str
    macro: float
    ci95: tuple[float, float] | None
    micro: float
    micro_ci95: tuple[float, float] | None
    p: float
    p_holm: float


@dataclass(frozen=True)
class Disagreement:
    """A query two reports answer with different success: the measure and the answers of each."""

    track_id: str
    label: str
    values: tuple[float, float]
    answers: tuple[list[str], list[str]]


@dataclass(frozen=True)
class Comparison:
    """What tells several reports apart.

    Attributes
    ----------
    reports : tuple of RetrievalReport
    variant : str
    works : int
        Works the queries are of.
    differences : list of Difference
        By measure, then pair in the order of the reports.
    seed, draws : int
        Of bootstrap and test.
    """

    reports: tuple[RetrievalReport, ...]
    variant: str
    works: int
    differences: list[Difference]
    seed: int
    draws: int

    def per_class(self, measure: str) -> list[dict[str, Any]]:
        """One row a class, the largest first: its tracks, queries, and the measure by report."""
        tables = [report.per_class(self.variant) for report in self.reports]
        return [
            {key: rows[0][key] for key in ("label", "tracks", "works", "queries", "in_macro")}
            | {item.name: row[measure] for item, row in zip(self.reports, rows, strict=True)}
            for rows in zip(*tables, strict=True)
        ]

    def disagreements(
        self, first: str, second: str, *, measure: str | None = None, limit: int = 20
    ) -> list[Disagreement]:
        """Queries on which two reports differ most, the greatest difference first, ties by id.

        Parameters
        ----------
        first, second : str
            Names of reports.
        measure : str, optional
            nDCG@k unless told otherwise.
        limit : int
        """
        pair = tuple(self._report(name) for name in (first, second))
        one = pair[0]
        column = one.measure_names.index(measure or f"ndcg@{one.k}")
        left, right = (report.variants[self.variant] for report in pair)
        gaps = abs(left.values[:, column] - right.values[:, column])
        order = np.argsort(-np.nan_to_num(gaps), kind="stable")[:limit]
        return [
            Disagreement(
                track_id=one.ids[row],
                label=one.classes[one.class_of[row]],
                values=(float(left.values[row, column]), float(right.values[row, column])),
                answers=(_answer(one, left, row), _answer(one, right, row)),
            )
            for row in order
            if gaps[row] > 0
        ]

    def _report(self, name: str) -> RetrievalReport:
        for report in self.reports:
            if report.name == name:
                return report
        names = ", ".join(report.name for report in self.reports)
        raise QueryError(f"{name!r} is not compared. Choose from {names}.")

    def to_dict(self) -> dict[str, Any]:
        """Measures of each, differences, classes, hubs and disagreements, ready for JSON."""
        one = self.reports[0]
        return {
            "label": one.label,
            "k": one.k,
            "variant": self.variant,
            "works": self.works,
            "seed": self.seed,
            "draws": self.draws,
            "macro_rule": one.macro_rule,
            "warnings": list(one.warnings),
            "reports": {
                report.name: report.variants[self.variant].to_dict() for report in self.reports
            },
            "differences": [_rounded(vars(item)) for item in self.differences],
            "per_class": {name: self.per_class(name) for name in one.measure_names},
            "hubness": {report.name: report.hubness.to_dict() for report in self.reports},
            "disagreements": [
                {"first": a.name, "second": b.name, "measure": f"ndcg@{one.k}"}
                | {"queries": [_rounded(vars(q)) for q in self.disagreements(a.name, b.name)]}
                for a, b in combinations(self.reports, 2)
            ],
        }

    def lines(self) -> list[str]:
        """The comparison for people: one line a measure and pair."""
        lines = [
            f"{self.variant.replace('_', ' ')}, {self.works} works; {self.reports[0].macro_rule}"
        ]
        for item in self.differences:
            ends = "" if item.ci95 is None else f" [{item.ci95[0]:+.3f}, {item.ci95[1]:+.3f}]"
            lines.append(
                f"  {item.measure:13} {item.first} - {item.second}: {item.macro:+.3f}{ends}"
                f"  p {item.p:.4f}, Holm {item.p_holm:.4f}"
            )
        return [*lines, *self.reports[0].warnings]


def compare(
    reports: Sequence[RetrievalReport],
    *,
    variant: str = "plain",
    draws: int = statistics.DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare reports of the same tracks and labels.

    Parameters
    ----------
    reports : sequence of RetrievalReport
        Two or more, each with its own name.
    variant : str
        Name of a variant of the task.
    draws, seed : int
        Of bootstrap and test.

    Raises
    ------
    QueryError
        When there are fewer than two, names are not unique, tracks, labels or k differ, or the
        variant has no query.
    """
    names = [report.name for report in reports]
    if len(reports) < 2 or len(set(names)) < len(names):
        raise QueryError(f"Two or more reports of different names can be compared, got {names}.")
    if variant not in VARIANTS:
        raise QueryError(f"There is no variant {variant!r}. Choose from {', '.join(VARIANTS)}.")
    one = reports[0]
    for other in reports[1:]:
        same = one.ids == other.ids and (one.label, one.k) == (other.label, other.k)
        if not same or any(
            not np.array_equal(getattr(one, column), getattr(other, column))
            for column in ("class_of", "cluster_of", "macro_of")
        ):
            raise QueryError(
                f"{one.name} and {other.name} were not asked the same: {len(one.ids)} and"
                f" {len(other.ids)} tracks by {one.label} and {other.label} at {one.k} and"
                f" {other.k}. Evaluate both on the tracks that both have vectors of."
            )
    tables = [report.variants[variant].values for report in reports]
    asked = ~np.isnan(tables[0][:, 0])
    if not asked.any():
        raise QueryError(f"{variant.replace('_', ' ')}: nothing relevant is left for any query.")
    pairs = list(combinations(range(len(reports)), 2))
    gaps = np.hstack([tables[a][asked] - tables[b][asked] for a, b in pairs])
    clusters, macro_of = one.cluster_of[asked], one.macro_of[asked]
    works = len(np.unique(clusters))
    drawn = statistics.bootstrap(gaps, clusters, macro_of, draws=draws, seed=seed)
    micro, macro = statistics.means(gaps, macro_of)
    ends = [statistics.interval(side) if works > 1 else [None] * len(micro) for side in drawn]
    p = statistics.sign_flips(gaps, clusters, draws=draws, seed=seed)
    width = len(one.measure_names)
    adjusted = np.concatenate([statistics.holm(p[first::width]) for first in range(width)])
    found = []
    for column, measure in enumerate(one.measure_names):
        for number, (a, b) in enumerate(pairs):
            place = number * width + column
            found.append(
                Difference(
                    measure=measure,
                    first=names[a],
                    second=names[b],
                    macro=float(macro[place]),
                    ci95=ends[1][place],
                    micro=float(micro[place]),
                    micro_ci95=ends[0][place],
                    p=float(p[place]),
                    p_holm=float(adjusted[column * len(pairs) + number]),
                )
            )
    return Comparison(tuple(reports), variant, works, found, seed, draws)


def _answer(report: RetrievalReport, variant: Variant, row: int) -> list[str]:
    return [report.ids[found] for found in variant.top[row] if found >= 0]


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields ready for JSON."""
    return {key: _plain(value) for key, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if np.isnan(value) else round(value, 9)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
