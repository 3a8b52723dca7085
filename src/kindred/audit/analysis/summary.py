"""Results in words: what the command prints and the page leads with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kindred.audit.analysis.intervals import Estimate
from kindred.audit.analysis.results import Results
from kindred.audit.analysis.strengths import Pair


def said(estimate: Estimate, digits: int = 2) -> str:
    """A number with its interval, such as ``0.61 [0.48, 0.73]``."""
    if estimate.value is None:
        return "not known"
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def headline(found: Results) -> str:
    """The one sentence that the study was made for."""
    if found.strengths and found.strengths.pairs:
        sure, rate, winner, other, p = max(
            (_won(pair) for pair in found.strengths.pairs),
            key=lambda won: (won[0], won[1].value or 0.0),
        )
        if sure:
            return f"Listeners prefer {winner} to {other} in {said(rate)} of judgements."
        why = f", p {p:.2f} among all pairs" if p is not None and (rate.low or 0) > 0.5 else ""
        return f"No preference can be told yet: {winner} against {other} {said(rate)}{why}."
    if graded := _ranked({item.system: item.broad for item in found.grades}):
        return f"Mean grades, 0 to 2: {graded}."
    if odd := _ranked({item.system: item.share for item in found.odd}):
        return f"How often people choose a system's odd one (chance 0.33): {odd}."
    return "Nothing can be said yet."


def _won(pair: Pair) -> tuple[bool, Estimate, str, str, float | None]:
    """Whether a pair's winner is sure of it, its share, its name and the loser's, and p.

    Sure: the interval lies above one half, and p says so among all pairs too.
    """
    rate, names = pair.rate, (pair.system, pair.other)
    if rate.value is not None and rate.value < 0.5:
        low = None if rate.high is None else 1 - rate.high
        high = None if rate.low is None else 1 - rate.low
        rate, names = Estimate(1 - rate.value, low, high, rate.n), (pair.other, pair.system)
    sure = rate.low is not None and rate.low > 0.5
    return sure and (pair.p_holm is None or pair.p_holm < 0.05), rate, *names, pair.p_holm


def _ranked(values: Mapping[str, Estimate]) -> str:
    """Systems with their numbers, the highest first; empty where nothing is known."""
    known = {name: item for name, item in values.items() if item.value is not None}
    ordered = sorted(known, key=lambda name: -(known[name].value or 0.0))
    return ", ".join(f"{name} {said(known[name])}" for name in ordered)


def lines(found: Results) -> list[str]:
    """The results for people, intervals 95 %."""
    kept = [person for person in found.listeners if not person.excluded]
    text = [
        headline(found),
        f"{found.kept} of {found.judgements} answers count, of {len(kept)} of"
        f" {len(found.listeners)} listeners; Krippendorff's alpha {said(found.alpha)}.",
    ]
    if found.strengths:
        text += _table(
            ("systems", "prefer the first", "wins/ties/losses", "p (Holm)"),
            [
                (
                    f"{pair.system} : {pair.other}",
                    said(pair.rate),
                    f"{pair.wins}/{pair.ties}/{pair.losses}",
                    "" if pair.p_holm is None else f"{pair.p_holm:.3f}",
                )
                for pair in found.strengths.pairs
            ],
        )
        text += _table(
            ("system", "strength"),
            [(name, said(value)) for name, value in found.strengths.strengths.items()],
        )
    text += _table(
        ("system", "broad 0-2", "fine 0-100", "nDCG@5", "judged@5"),
        [
            (g.system, said(g.broad), said(g.fine, 0), said(g.ndcg), said(g.judged))
            for g in found.grades
        ],
    )
    text += _table(
        ("system", "its odd one chosen (chance 0.33)"),
        [(item.system, said(item.share)) for item in found.odd],
    )
    if found.agreement and found.kept:
        text += _table(
            ("system", "Spearman", "AUC", "order", "less the ceiling"),
            [
                (a.system, said(a.spearman), said(a.auc), said(a.order), said(a.gap))
                for a in found.agreement.systems
            ],
        )
        text.append(f"Ceiling, one listener against the others: {said(found.agreement.ceiling)}")
    text += [
        f"Left out: {person.listener_id[:8]}: {'; '.join(person.reasons)}"
        for person in found.listeners
        if person.excluded
    ]
    return text + list(found.warnings)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *rows]
    ]
