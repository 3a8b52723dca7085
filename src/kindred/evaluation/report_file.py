"""Reports of retrieval on disk: arrays and one JSON text in an ``.npz`` file, nothing pickled."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from kindred.errors import QueryError
from kindred.evaluation.hubness import Hubness
from kindred.evaluation.report import Mean, Measure, RetrievalReport, Variant

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
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as out:
        np.savez_compressed(out, text=np.array(text), **arrays)
    os.replace(temporary, path)


def load_report(path: Path) -> RetrievalReport:
    """Read a report.

    Raises
    ------
    QueryError
        When it is not on this machine, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = dict(kept)
    except FileNotFoundError as error:
        raise QueryError(
            f"The answers of this evaluation are not on this machine ({path}). Run it again here."
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise QueryError(f"{path} is damaged ({error}). Run the evaluation again.") from error
    content = json.loads(str(arrays["text"]))
    hubness = content["hubness"] | {"hubs": [tuple(hub) for hub in content["hubness"]["hubs"]]}
    plain = {
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
