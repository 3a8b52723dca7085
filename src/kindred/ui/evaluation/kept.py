"""Evaluations as the pages read them: what is heavy is read once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from kindred.errors import QueryError
from kindred.evaluation.report import RetrievalReport
from kindred.services import Services
from kindred.services.evaluations import Run


def reports_of(services: Services, run: Run) -> list[RetrievalReport] | None:
    """The reports of a run with every answer, or ``None`` where they are not on this machine."""
    try:
        return _reports(services.storage.place, run.run_id, services)
    except QueryError:
        return None


@st.cache_resource(max_entries=4, show_spinner="Reading the answers")
def _reports(place: str, run_id: str, _services: Services) -> list[RetrievalReport]:
    return _services.evaluations.reports(run_id)


def per_class(services: Services, run: Run, variant: str) -> list[list[dict[str, Any]]]:
    """The rows of every label, by report.

    Raises
    ------
    QueryError
        When the run's answers are not here and it has not kept those of the variant.
    """
    reports = reports_of(services, run)
    if reports is not None:
        return [report.per_class(variant) for report in reports]
    tables = [report["per_class"] for report in run.body["reports"]]
    if variant not in tables[0]:
        raise QueryError(
            f"The answers of {run.title} are not on this machine. Choose plain or"
            " leakage-controlled, or evaluate again here."
        )
    return [table[variant] for table in tables]


def comparison_of(services: Services, runs: Sequence[Run], variant: str) -> dict[str, Any]:
    """The comparison of all that some runs evaluated; raises :class:`QueryError`."""
    return _compared(services.storage.place, tuple(run.run_id for run in runs), variant, services)


@st.cache_data(max_entries=16, show_spinner="Comparing")
def _compared(
    place: str, run_ids: tuple[str, ...], variant: str, _services: Services
) -> dict[str, Any]:
    return _services.evaluations.comparison(run_ids, variant)


def has_changed(services: Services, run: Run) -> bool:
    """Whether the library is not what a run was done on."""
    storage = services.storage
    return _changed(storage.place, storage.version(), run.run_id, services)


@st.cache_data(max_entries=16, show_spinner=False)
def _changed(place: str, version: int, run_id: str, _services: Services) -> bool:
    return _services.evaluations.changed(_services.evaluations.get(run_id))


def labels_here(services: Services) -> dict[str, str]:
    """What can be looked for, with how many tracks have it."""
    return _labels(services.storage.place, services.storage.version(), services)


@st.cache_data(max_entries=2, show_spinner="Looking for labels")
def _labels(place: str, version: int, _services: Services) -> dict[str, str]:
    total = _services.storage.count_tracks()
    return {
        tag.name: f"{tag.name} · {tag.tracks:,} of {total:,} tracks, {tag.values:,} values"
        for tag in _services.evaluations.tags()
    }
