"""What the Evaluate page calls things."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kindred.services.evaluations import Run
from kindred.ui.tracks import printable

VARIANTS = {
    "plain": "Plain",
    "controlled": "Leakage-controlled",
    "not_same_work": "Without the same work",
    "not_same_album": "Without the same album",
    "not_near_duplicates": "Without near-duplicates",
}
_TITLES = {
    "precision": ("Precision", "Share of the first {k} answers that are right."),
    "hit_rate": ("Hit rate", "Share of queries with a right answer among the first {k}."),
    "ndcg": ("nDCG", "Right answers count more the higher they stand; 1 is the best order."),
    "recall": ("Recall", "Share of all right tracks that are among the first {k}."),
    "mrr": ("MRR", "One over the rank of the first right answer."),
    "r_precision": ("R-precision", "Share of right answers among as many as there are to find."),
    "map": ("MAP", "Precision at the rank of every right track, averaged."),
}
#: Above this skewness hubs are likely, by scikit-hubness's rule of thumb.
_HUBS = 1.2
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|$:~])")


def plain_text(text: str) -> str:
    """Text for Streamlit's Markdown, in which no sign means anything."""
    return _MARKUP.sub(r"\\\1", printable(text))


def run_titles(runs: Sequence[Run]) -> dict[str, str]:
    """What to call each run in a list to choose from, by id; no two are called the same."""
    titles = {run.run_id: printable(run.title) for run in runs}
    times = Counter(titles.values())
    return {
        run.run_id: ("★ " if run.body["starred"] else "")
        + titles[run.run_id]
        + (f" ({run.run_id})" if times[titles[run.run_id]] > 1 else "")
        for run in runs
    }


def measure_title(name: str) -> str:
    """A measure for people: hit_rate@5 is Hit rate@5."""
    base, at, k = name.partition("@")
    return f"{_TITLES[base][0]}{at}{k}"


def measure_help(name: str) -> str:
    """What a measure is, in a sentence."""
    base, _, k = name.partition("@")
    return _TITLES[base][1].format(k=k)


def shown(value: float | None) -> str:
    """A value with two digits."""
    return "–" if value is None else f"{value:.2f}"


def ends_shown(ends: Sequence[float] | None, form: str = ".2f") -> str:
    """An interval with two digits, or nothing."""
    return "" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"


def hubs_in_words(hubness: Mapping[str, Any], tracks: int) -> str:
    """How unevenly tracks turn up in the answers."""
    k = hubness["k"]
    skewed = (
        "a few tracks turn up far too often: hubs"
        if hubness["skewness"] > _HUBS
        else "no marked hubs"
    )
    return (
        f"Every track is in {k} answers on average. The one that turns up most is in"
        f" {hubness['largest']} of {tracks - 1}, and {hubness['anti_hubs']:.0%} of the tracks are"
        f" in none. The skewness of these counts is {hubness['skewness']:.2f} (0 is even; above"
        f" {_HUBS} is a common sign of hubs): {skewed}."
    )
