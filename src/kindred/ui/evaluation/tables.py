"""Evaluations as tables, and answers as cards with hit and miss marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from kindred.evaluation.report import RetrievalReport
from kindred.evaluation.report_file import hits
from kindred.ui.cards import CardItem
from kindred.ui.evaluation.words import VARIANTS, ends_shown, measure_title
from kindred.ui.tracks import printable


def measures_table(reports: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Every measure of every report and variant, with its company."""
    rows = []
    for report in reports:
        for variant, title in VARIANTS.items():
            found = report["variants"][variant]
            for name, item in found.items():
                if isinstance(item, dict):
                    rows.append(
                        {
                            "System": printable(report["name"]),
                            "Variant": title,
                            "Measure": measure_title(name),
                            "Macro": item["macro"],
                            "95% interval": ends_shown(item["ci95"], ".3f"),
                            "Chance": item["chance"],
                            "Best possible": item["ceiling"],
                            "Micro": item["micro"],
                            "95% interval (micro)": ends_shown(item["micro_ci95"], ".3f"),
                            "Queries": found["queries"],
                        }
                    )
    return pd.DataFrame(rows)


def class_table(rows: Sequence[Mapping[str, Any]], k: int) -> pd.DataFrame:
    """Per class: what it has, and its headline measures."""
    return pd.DataFrame(
        {
            "label": [printable(row["label"]) for row in rows],
            "tracks": [row["tracks"] for row in rows],
            "works": [row["works"] for row in rows],
            "queries": [row["queries"] for row in rows],
            **{
                name: pd.array([row[f"{name}@{k}"] for row in rows], dtype="Float64")
                for name in ("precision", "hit_rate", "ndcg")
            },
            "in_macro": [row["in_macro"] for row in rows],
        }
    )


def queries_of(report: RetrievalReport, variant: str, label: str) -> list[int]:
    """Rows of the queries of a label, the worst first: by nDCG, then MAP, then id."""
    values = report.variants[variant].values
    names = report.measure_names
    own = report.class_of == report.classes.index(label)
    rows = np.flatnonzero(own & ~np.isnan(values[:, 0]))
    keys = (values[rows, names.index("map")], values[rows, names.index(f"ndcg@{report.k}")])
    return [int(row) for row in rows[np.lexsort(keys)]]


def query_table(
    report: RetrievalReport, variant: str, rows: Sequence[int], names: Mapping[str, str]
) -> pd.DataFrame:
    """Queries: what they are, how many of their answers are right, where the first one stands."""
    found = report.variants[variant]
    mrr = report.measure_names.index("mrr")
    ndcg = report.measure_names.index(f"ndcg@{report.k}")
    marks = [hits(report, found, row) for row in rows]
    first = [found.values[row, mrr] for row in rows]
    return pd.DataFrame(
        {
            "track": [names.get(report.ids[row], report.ids[row]) for row in rows],
            "marks": ["".join("✗✓"[hit] for hit in item[:20]) for item in marks],
            "hits": [f"{sum(item)} of {report.k}" for item in marks],
            "ndcg": [found.values[row, ndcg] for row in rows],
            "first": pd.array([round(1 / x) if x else None for x in first], dtype="Int32"),
        }
    )


def verdicts(report: RetrievalReport, query: str, answers: Sequence[str]) -> list[bool]:
    """Whether each answer to a query is right; tracks are given by id."""
    label = dict(zip(report.ids, report.class_of.tolist(), strict=True))
    return [label[query] >= 0 and label[item] == label[query] for item in answers]


def marked(
    items: Sequence[CardItem], report: RetrievalReport, query: str, answers: Sequence[str]
) -> list[CardItem]:
    """Cards of answers to a query, with their rank, hit or miss, and why.

    Parameters
    ----------
    items : sequence of CardItem
        Of those answers that are still in the library.
    report : RetrievalReport
    query : str
        Its track id.
    answers : sequence of str
        Ids in the order of the answer.
    """
    number = dict(zip(report.ids, report.class_of.tolist(), strict=True))
    right = verdicts(report, query, answers)
    ranked = {item: (rank, right[rank - 1]) for rank, item in enumerate(answers, 1)}
    made = []
    for item in items:
        rank, hit = ranked[item.track_id]
        of_item = number[item.track_id]
        other = printable(report.classes[of_item]) if of_item >= 0 else f"no {report.label}"
        note = f"same {report.label}" if hit else other
        made.append(replace(item, rank=rank, verdict="hit" if hit else "miss", note=note))
    return made


def difference_table(differences: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Differences of one measure: the first minus the second."""
    return pd.DataFrame(
        {
            "First": [printable(item["first"]) for item in differences],
            "Second": [printable(item["second"]) for item in differences],
            "Difference": [item["macro"] for item in differences],
            "95% interval": [ends_shown(item["ci95"], "+.3f") for item in differences],
            "p": [item["p"] for item in differences],
            "p after Holm": [item["p_holm"] for item in differences],
            "Micro difference": [item["micro"] for item in differences],
        }
    )


def class_comparison(
    tables: Mapping[str, Sequence[Mapping[str, Any]]], measure: str
) -> pd.DataFrame:
    """One row a class: its queries, and a measure by report."""
    first = next(iter(tables.values()))
    columns = {
        printable(name): {row["label"]: row[measure] for row in rows}
        for name, rows in tables.items()
    }
    return pd.DataFrame(
        {
            "label": [printable(row["label"]) for row in first],
            "queries": [row["queries"] for row in first],
            **{
                name: pd.array([values.get(row["label"]) for row in first], dtype="Float64")
                for name, values in columns.items()
            },
        }
    )


def confusions(
    rows: Sequence[str],
    columns: Sequence[str],
    shares: np.ndarray,
    tracks: Mapping[str, int],
    *,
    most: int = 6,
) -> list[tuple[str, str, float]]:
    """The most frequent wrong answers: (label of the query, of the answers, share of them).

    ``tracks`` is how many queries a label has: what is wrong often comes before what is wrong in
    a larger share of few.
    """
    wrong = [
        (row, column, float(shares[i, j]))
        for i, row in enumerate(rows)
        for j, column in enumerate(columns[: len(rows)])
        if i != j and shares[i, j] > 0
    ]
    return sorted(wrong, key=lambda item: (-item[2] * tracks[item[0]], *item[:2]))[:most]


def hub_table(reports: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """How uneven the answers of every report are."""
    found = [report["hubness"] for report in reports]
    return pd.DataFrame(
        {
            "System": [printable(report["name"]) for report in reports],
            "Skewness": [round(item["skewness"], 2) for item in found],
            "In most answers": [item["largest"] for item in found],
            "Never found": [f"{item['anti_hubs']:.0%}" for item in found],
        }
    )


def hub_cards(items: Sequence[CardItem], hubness: Mapping[str, Any]) -> list[CardItem]:
    """Cards of hubs, with how often they turn up and how often wrongly."""
    found = {hub["track_id"]: hub for hub in hubness["hubs"]}
    made = []
    for item in items:
        hub = found[item.track_id]
        note = f"in {hub['occurrences']} answers"
        if hub["wrong"] is not None:
            note += f", {hub['wrong']:.0%} of them wrong"
        made.append(replace(item, note=note))
    return made
