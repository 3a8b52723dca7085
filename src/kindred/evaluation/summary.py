"""What an evaluation found, said shortly: the headline first, in plain words.

Reads what :meth:`kindred.evaluation.report.RetrievalReport.to_dict` gives, so that it also speaks
of an evaluation whose answers are not on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: What people read first.
HEADLINE = ("precision", "hit_rate", "ndcg")
#: The two variants that stand beside each other.
BESIDE = ("plain", "controlled")
#: Below this p two systems are said to be told apart.
_SURE = 0.05


def relation(label: str) -> str:
    """How a right answer is related to its query: "by the same composer", "of the same key"."""
    by = label in ("composer", "artist")
    return f"{'by' if by else 'of'} the same {label}"


def in_words(report: dict[str, Any], variant: str = "plain") -> str:
    """One or two sentences: how many answers are right on average, by chance, at best."""
    k, found = report["k"], report["variants"][variant]
    item = found[f"precision@{k}"]
    if item["macro"] is None:
        return "Nothing relevant is left for any query, so there is nothing to measure."
    right = relation(report["label"])
    count = f"Of {k} answers" if k > 1 else "Of one answer"
    said = f"{count}, {_count(k, item['macro'])} are {right} on average"
    said += f"; by chance it would be {_count(k, item['chance'])}"
    if item["ceiling"] < 1:
        said += f", and at best {_count(k, item['ceiling'])}"
    if item["ci95"] is None:
        return f"{said}."
    low, high = item["ci95"]
    said += f". The 95% interval, {_count(k, low)} to {_count(k, high)},"
    if low > item["chance"]:
        return f"{said} lies above chance."
    if high < item["chance"]:
        return f"{said} lies below chance."
    return f"{said} includes chance: this is not told apart from a random order."


def several_in_words(
    reports: Sequence[dict[str, Any]], comparison: dict[str, Any] | None
) -> list[str]:
    """How several systems did on the same queries, and which of them are told apart."""
    one = reports[0]
    k, item = one["k"], one["variants"]["plain"][f"precision@{one['k']}"]
    if item["macro"] is None or comparison is None:
        return [in_words(one)]
    each = [
        f"{_count(k, report['variants']['plain'][f'precision@{k}']['macro'])} with {report['name']}"
        for report in reports
    ]
    said = (
        f"Of {k} answers, so many are {relation(one['label'])} on average: {'; '.join(each)}. By"
        f" chance it would be {_count(k, item['chance'])}, and at best"
        f" {_count(k, item['ceiling'])}."
    )
    found = [
        (a, b) if item["macro"] > 0 else (b, a)
        for item in comparison["differences"]
        if item["measure"] == f"ndcg@{k}" and item["p_holm"] < _SURE
        for a, b in [(item["first"], item["second"])]
    ]
    if not found:
        return [said, f"By nDCG@{k} no two of them are told apart (p after Holm at least {_SURE})."]
    pairs = "; ".join(f"{better} over {worse}" for better, worse in found)
    return [said, f"Told apart by nDCG@{k} (p after Holm below {_SURE}): {pairs}."]


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people at a terminal: the headline, then every measure, then warnings."""
    rows = [
        f"{report['name']}: {report['tracks']} tracks, {report['classes']} labels"
        f" ({report['label']}), the first {report['k']} answers",
        in_words(report),
        report["macro_rule"],
    ]
    for variant in BESIDE:
        found = report["variants"][variant]
        rows.append(
            f"{variant}: {found['queries']} queries, {found['singletons']} with nothing to find"
        )
        for name, item in found.items():
            if isinstance(item, dict):
                rows.append(
                    f"  {name:13} {_mean(item)}   micro {_number(item['micro'])}"
                    f"   chance {_number(item['chance'])}   ceiling {_number(item['ceiling'])}"
                )
    hubs = report["hubness"]
    rows.append(
        f"hubs: skewness {hubs['skewness']:.2f}, largest N_{hubs['k']} {hubs['largest']}, never"
        f" found {hubs['anti_hubs']:.0%}"
    )
    return [*rows, *report["warnings"]]


def comparison_lines(comparison: dict[str, Any]) -> list[str]:
    """A comparison for people at a terminal: one line a measure and pair."""
    rows = [
        f"{comparison['variant'].replace('_', ' ')}, {comparison['works']} works; differences are"
        " the first minus the second"
    ]
    for item in comparison["differences"]:
        ends = "" if item["ci95"] is None else " [{:+.3f}, {:+.3f}]".format(*item["ci95"])
        rows.append(
            f"  {item['measure']:13} {item['first']} - {item['second']}: {item['macro']:+.3f}{ends}"
            f"  p {item['p']:.4f}, Holm {item['p_holm']:.4f}"
        )
    return rows


def _mean(item: dict[str, Any]) -> str:
    if item["macro"] is None:
        return "-"
    ends = "" if item["ci95"] is None else " [{:.3f}, {:.3f}]".format(*item["ci95"])
    return f"{item['macro']:.3f}{ends}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(k: int, share: float) -> str:
    return f"{k * share:.2f}"
