"""Looks a store over: settings, credentials, schema, dimensions, latency; and what to do."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from kindred.config import Settings
from kindred.errors import KindredError
from kindred.storage.backend import LibraryStore
from kindred.storage.factory import open_store

#: Milliseconds; above it a page that asks three times would feel slow.
_SLOW = 100
_PROBES = 7


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``remedy`` says what to do, and is empty where there is nothing."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def check_store(settings: Settings, name: str) -> list[Check]:
    """Look one store over; never raises for what it finds, and stops where nothing more can be."""
    try:
        store = open_store(settings, name)
    except KindredError as error:
        return [Check("Settings", False, "not complete", str(error))]
    with store:
        checks = [Check("Settings", True, store.place)]
        for title, probe in (
            ("Schema", _schema),
            ("Dimensions", _dimensions),
            ("Latency", _latency),
        ):
            try:
                checks.append(probe(store))
            except KindredError as error:
                return [*checks, Check(title, False, "cannot be read", str(error))]
    return checks


def _schema(store: LibraryStore) -> Check:
    store.check_schema()
    return Check("Schema", True, f"up to date, {store.count_tracks():,} tracks")


def _dimensions(store: LibraryStore) -> Check:
    spaces = [f"{space.model} {space.dims} ({count:,})" for space, count in store.spaces()]
    return Check("Dimensions", True, ", ".join(spaces) or "no vectors yet")


def _latency(store: LibraryStore) -> Check:
    times = []
    for _ in range(_PROBES):
        start = time.perf_counter()
        store.version()
        times.append(1_000 * (time.perf_counter() - start))
    middle = statistics.median(times)
    found = f"{middle:.1f} ms in the middle of {_PROBES}, {max(times):.1f} ms at most"
    slow = "Pages will feel slow: choose a database, or run Kindred, nearer to it."
    return Check("Latency", middle <= _SLOW, found, "" if middle <= _SLOW else slow)
