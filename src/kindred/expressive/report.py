"""What was found, as files: ``evaluation/`` with figures as JSON and tables for people.

::

    evaluation/
      ranking.json   every test, contender, view, measure and aspect: mean and interval
      gates.json     every gate with its numbers and the hash of the thresholds
      aspects.json   what each score follows, and what re-rendering moves
      report.md      the same as tables
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kindred.expressive import bundle
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.clips import TESTS
from kindred.expressive.gates import Gate, GateReport, plain
from kindred.expressive.measuring import Measured
from kindred.expressive.ranking import MACRO, Estimate, Table
from kindred.storage.whole_files import replacing

TITLES = {
    "works": "Held-out works",
    "composers": "Held-out composers",
    "soundfont": "Second soundfont",
    "programs": "Unseen instruments",
    "human": "People's performances",
}
_MEASURES = (
    ("ndcg", "clips", "nDCG@10"),
    ("ndcg", "clips, other works", "nDCG@10 without lures"),
    ("ndcg", "tracks", "nDCG@10 clip to track"),
    ("recall", "clips", "Recall@10"),
    ("mrr", "clips", "MRR"),
)


def write_report(folder: Path, report: GateReport, validation: Measured, *, features: str) -> Path:
    """Write ``evaluation/`` into a folder, file by file, each whole; files there are replaced.

    Parameters
    ----------
    folder : Path
    report : GateReport
    validation : Measured
        What thresholds were frozen on.
    features : str
        The title of the feature source, named wherever a figure stands.

    Returns
    -------
    Path
        Of the folder ``evaluation``.
    """
    target = folder / bundle.EVALUATION
    target.mkdir(parents=True, exist_ok=True)
    heading = {"features": features, "dataset": report.dataset, "model": report.model}
    both = (validation, report.measured)
    ranking = heading | {
        one.split: {
            test: {
                name: {
                    view: {
                        of: {aspect: asdict(estimate) for aspect, estimate in found.items()}
                        for of, found in measures.items()
                    }
                    for view, measures in table.items()
                }
                for name, table in tables.items()
            }
            for test, tables in one.tables.items()
        }
        for one in both
    }
    aspects = heading | {
        "aspects": KEYS,
        **{
            one.split: {gate: one.numbers[gate] for gate in ("faithfulness", "weights", "inputs")}
            for one in both
        },
    }
    _write(target / "ranking.json", _json(ranking))
    _write(target / "aspects.json", _json(aspects))
    _write(target / "gates.json", _json({"features": features} | report.to_dict()))
    _write(target / "report.md", markdown(report, features=features))
    return target


def markdown(report: GateReport, *, features: str) -> str:
    """The report as Markdown."""
    lines = [
        "# Expressive similarity: what was found",
        "",
        f"Features: {features}. Labels {report.dataset}, model {report.model}, seed"
        f" {report.released + 1} of the retriever's. Thresholds were frozen at {report.frozen_at}"
        f" (SHA-256 {report.thresholds_sha256[:12]}).",
        "",
        "**All gates that are needed pass.**"
        if report.passed
        else "**Not to be released:** " + ", ".join(gate.title for gate in report.failed) + ".",
        "",
        "## Gates",
        "",
        *_rows(
            ["gate", "", "what was found"],
            [[gate.title, _verdict(gate), gate.detail] for gate in report.gates],
        ),
        "",
        "## Ranking",
        "",
        "Mean over works, and over seeds where there are several, with a 95 % interval over works.",
    ]
    for test, _, _ in TESTS:
        if test in report.measured.tables:
            lines += ["", *ranking_tables(report.measured.tables[test], TITLES[test])]
    lines += ["", *matrix_tables(report.measured)]
    return "\n".join(lines) + "\n"


def ranking_tables(tables: Mapping[str, Table], title: str) -> list[str]:
    """nDCG@10 of every contender by aspect, and its other measures, as lines of Markdown."""
    columns = (*KEYS, MACRO)
    titles = [*(aspect.title for aspect in ASPECTS), "all"]
    chance = next(iter(tables.values()))
    by_aspect = [
        [name, *(_interval(table["clips"]["ndcg"][column]) for column in columns)]
        for name, table in tables.items()
    ]
    by_measure = [
        [
            name,
            *(_interval(table[view][of][MACRO]) for of, view, _ in _MEASURES),
            _number(table["clips"]["ndcg"][MACRO].spread),
        ]
        for name, table in tables.items()
    ]
    by_chance = [_number(chance["clips"]["ndcg"][column].chance) for column in columns]
    all_chance = [_number(chance[view][of][MACRO].chance) for of, view, _ in _MEASURES]
    return [
        f"### {title}",
        "",
        *_rows(["nDCG@10", *titles], [*by_aspect, ["chance", *by_chance]]),
        "",
        *_rows(
            ["all aspects", *(words for _, _, words in _MEASURES), "seeds differ by"],
            [*by_measure, ["chance", *all_chance, ""]],
        ),
    ]


def matrix_tables(measured: Measured) -> list[str]:
    """What scores follow and what moves them, as lines of Markdown."""
    lines: list[str] = []
    titles = [aspect.title for aspect in ASPECTS]
    for gate, heading, corner in (
        ("faithfulness", "What each score follows (partial Spearman)", "score"),
        ("weights", "Orders turned around by moving the weight", "between"),
        (
            "inputs",
            "What re-rendering one aspect moves (share of the score's range)",
            "re-rendered",
        ),
    ):
        if matrix := measured.numbers[gate].get("matrix"):
            body = [[title, *map(_number, row)] for title, row in zip(titles, matrix, strict=True)]
            lines += ["", f"## {heading}", "", *_rows([corner, *titles], body)]
    return lines[1:]


def _verdict(gate: Gate) -> str:
    if gate.passed is None:
        return "not judged" if gate.needed or gate.value is None else "reported"
    return "passed" if gate.passed else "failed"


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.mean):
        return "–"
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _rows(heading: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [heading, ["---"] * len(heading), *body]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _json(values: Any) -> str:
    return json.dumps(plain(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    with replacing(path) as out:
        out.write(text.encode())
