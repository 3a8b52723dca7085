"""Reports of retrieval as files: whole, to be opened again, and as tables for other programs.

A whole report is an ``.npz`` file of arrays and one JSON text, with nothing pickled. Tables are CSV
in UTF-8 with the line ends of RFC 4180; a text that a spreadsheet could take for a formula gets a
leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from kindred.errors import QueryError
from kindred.evaluation.hubness import Hubness
from kindred.evaluation.report import Mean, Measure, RetrievalReport, Variant
from kindred.spreadsheet import guarded
from kindred.storage.whole_files import replacing

_ROWS = ("class_of", "cluster_of", "macro_of")
_TABLES = ("values", "chance", "ceiling", "top")


def save_report(path: Path, report: RetrievalReport) -> None:
    """Write a report; it is there whole or not at all."""
    plain = {
        item.name: getattr(report, item.name)
        for item in fields(report)
        if item.name not in (*_ROWS, "variants", "hubness")
    }
    variants = {
        name: {
            "queries": variant.queries,
            "singletons": variant.singletons,
            "measures": {key: asdict(value) for key, value in variant.measures.items()},
        }
        for name, variant in report.variants.items()
    }
    text = json.dumps({"plain": plain, "variants": variants, "hubness": asdict(report.hubness)})
    arrays: dict[str, Any] = {name: getattr(report, name) for name in _ROWS}
    for name, variant in report.variants.items():
        arrays |= {f"{name}/{table}": getattr(variant, table) for table in _TABLES}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as out:
        np.savez_compressed(out, text=np.array(text), **arrays)


def load_report(path: Path) -> RetrievalReport:
    """Read a report.

    Raises
    ------
    QueryError
        When it is not on this machine, or damaged.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return _report(dict(kept))
    except FileNotFoundError as error:
        raise QueryError(
            f"The answers of this evaluation are not on this machine ({path}). Run it again here."
        ) from error
    except (
        OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise QueryError(f"{path} is damaged ({error}). Run the evaluation again.") from error


def _report(arrays: dict[str, Any]) -> RetrievalReport:
    content = json.loads(str(arrays["text"]))
    hubness = content["hubness"] | {"hubs": [tuple(hub) for hub in content["hubness"]["hubs"]]}
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content["plain"].items()
    }
    return RetrievalReport(
        **plain,
        **{name: arrays[name] for name in _ROWS},
        variants={
            name: Variant(
                **{table: arrays[f"{name}/{table}"] for table in _TABLES},
                measures={key: _measure(value) for key, value in kept_as["measures"].items()},
                queries=kept_as["queries"],
                singletons=kept_as["singletons"],
            )
            for name, kept_as in content["variants"].items()
        },
        hubness=Hubness(**hubness),
    )


def _measure(kept: dict[str, Any]) -> Measure:
    return Measure(
        **{
            side: Mean(**(mean | {"ci95": tuple(mean["ci95"]) if mean["ci95"] else None}))
            for side, mean in kept.items()
        }
    )


def class_csv(reports: Sequence[RetrievalReport]) -> str:
    """One row a report, variant and class: its tracks, works, queries and mean measures."""
    return _csv(
        {"system": report.name, "variant": variant} | row
        for report in reports
        for variant in report.variants
        for row in report.per_class(variant)
    )


def query_csv(reports: Sequence[RetrievalReport], titles: Mapping[str, str]) -> str:
    """One row a report, variant and query: its measures, its hits, and the ids that were found.

    Parameters
    ----------
    reports : sequence of RetrievalReport
    titles : mapping of str to str
        By track id; a track that is missing has no title.

    Returns
    -------
    str
        ``hits`` is a text of 1 and 0, the first answer first, e.g. ``h10100``.
    """
    return _csv(
        {
            "system": report.name,
            "variant": name,
            "track_id": report.ids[row],
            "title": titles.get(report.ids[row], ""),
            "label": report.classes[report.class_of[row]],
            **dict(zip(report.measure_names, variant.values[row].round(9).tolist(), strict=True)),
            "hits": "h" + "".join("01"[hit] for hit in hits(report, variant, row)),
            **{f"answer_{n}": item for n, item in enumerate(answer(report, variant, row), 1)},
        }
        for report in reports
        for name, variant in report.variants.items()
        for row in np.flatnonzero(~np.isnan(variant.values[:, 0])).tolist()
    )


def answer(report: RetrievalReport, variant: Variant, row: int) -> list[str]:
    """Ids of what was found first for a query, given its row."""
    return [report.ids[found] for found in variant.top[row] if found >= 0]


def hits(report: RetrievalReport, variant: Variant, row: int) -> list[bool]:
    """Whether each of these is relevant."""
    found = variant.top[row][variant.top[row] >= 0]
    of_query = report.class_of[row]
    return [bool(of_query >= 0 and label == of_query) for label in report.class_of[found]]


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as CSV; the columns are those of all rows, as they first come."""
    made = list(rows)
    names = list(dict.fromkeys(name for row in made for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="")
    writer.writeheader()
    writer.writerows(
        {name: guarded(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in made
    )
    return out.getvalue()
