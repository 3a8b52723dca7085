"""Gates: what a retriever must show before it is released, and whether it does.

A gate passes when all its rules (:data:`~kindred.expressive.thresholds.RULES`) hold on the test;
"not known" holds nothing. Thresholds are frozen on validation first: :func:`freeze_thresholds`,
then :func:`run_gates`, which refuses without them, or with those of other data or models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kindred.errors import ExpressiveError
from kindred.evaluation.statistics import DRAWS
from kindred.expressive.measuring import Judged, Measured, Numbers, measure
from kindred.expressive.thresholds import RULES, Rule, Thresholds, freeze, read_thresholds
from kindred.work import Progress


@dataclass(frozen=True)
class _Kind:
    """A gate before it is judged. ``missing`` says why there may be nothing to judge it by."""

    name: str
    title: str
    question: str
    missing: str
    needed: bool = True


_BEATS = "Does it rank better than cosine and than discovery-guided cosine, by clips and by tracks"
GATES = (
    _Kind(
        "splits",
        "Splits share nothing",
        "Is there a group, work, score or composer in two splits?",
        "There are no clips.",
    ),
    _Kind("ranking-works", "Held-out works", f"{_BEATS}?", "There are no test works."),
    _Kind(
        "ranking-composers",
        "Held-out composers",
        f"{_BEATS}, of composers it never heard?",
        "There are no works of held-out composers.",
    ),
    _Kind(
        "ranking-soundfont",
        "Second soundfont",
        f"{_BEATS}, played by another synthesiser?",
        "Nothing was rendered in the second soundfont.",
    ),
    _Kind(
        "ranking-programs",
        "Unseen instruments",
        "How well does it rank on instruments it never heard?",
        "Nothing was rendered on unseen instruments.",
        needed=False,
    ),
    _Kind(
        "ranking-human",
        "People's performances",
        "How well does it rank what people played?",
        "No folder of performances was given.",
        needed=False,
    ),
    _Kind(
        "faithfulness",
        "Each score follows its aspect",
        "Does it follow its own aspect, and no other, between works?",
        "There are no pairs of works.",
    ),
    _Kind(
        "weights",
        "Weights turn the order around",
        "Does moving the weight from one aspect to another exchange who comes first?",
        "There are no clips that are alike in one aspect and apart in another.",
    ),
    _Kind(
        "inputs",
        "Re-rendering moves one score",
        "Does changing one aspect alone lower its score step by step, and leave the others?",
        "Nothing was rendered that changes one thing alone.",
    ),
    _Kind(
        "placebos",
        "Placebos fail",
        "Do permuted aspects, an untrained head and shuffled levels fail to follow aspects?",
        "No placebos were trained.",
    ),
    _Kind(
        "invariance",
        "What must not matter",
        "Does ranking stay when gain, start, equaliser or soundfont of the query change?",
        "There are no variants of test clips, or none in the second soundfont.",
    ),
    _Kind(
        "shortcuts",
        "No shortcut in the data",
        "Do loudness, seconds and centroid (but for timbre) alone rank near chance?",
        "There are no training clips.",
    ),
    _Kind(
        "student",
        "Retriever against oracle",
        "Does the retriever keep what its best teacher can?",
        "There is no oracle.",
    ),
    _Kind(
        "people",
        "People agree",
        "Does it order pairs as listeners did?",
        "Fewer than two test tracks were judged by people; hold a listening study and give labels.",
        needed=False,
    ),
)


@dataclass(frozen=True)
class Gate:
    """A gate and what became of it.

    Attributes
    ----------
    name, title, question : str
    passed : bool or None
        ``None``: not judged; ``detail`` says why.
    value, threshold : float or None
        Of the first rule that does not hold, else of the first.
    direction : str
        How the value is held against the threshold, "" where there is none.
    detail : str
        All rules in words.
    numbers : dict
        All that was measured.
    needed : bool
        Whether a gate that was not judged stops a release.
    """

    name: str
    title: str
    question: str
    passed: bool | None
    value: float | None
    threshold: float | None
    direction: str
    detail: str
    numbers: dict[str, Any]
    needed: bool = True


@dataclass(frozen=True)
class GateReport:
    """What the gates say of a model.

    Attributes
    ----------
    gates : tuple of Gate
    measured : Measured
        The test.
    dataset, feature_id, model, frozen_at, thresholds_sha256 : str
    released : int
        The retriever's seed that was judged, from 0.
    """

    gates: tuple[Gate, ...]
    measured: Measured
    dataset: str
    feature_id: str
    model: str
    frozen_at: str
    thresholds_sha256: str
    released: int

    @property
    def passed(self) -> bool:
        """Whether the retriever may be released: no gate fails, and all that are needed pass."""
        return not self.failed

    @property
    def failed(self) -> tuple[Gate, ...]:
        """Gates that stop a release."""
        return tuple(
            gate
            for gate in self.gates
            if gate.passed is False or (gate.needed and gate.passed is None)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what is not a number is ``None``."""
        found = {
            "passed": self.passed,
            "dataset": self.dataset,
            "feature_id": self.feature_id,
            "model": self.model,
            "released": self.released,
            "frozen_at": self.frozen_at,
            "thresholds_sha256": self.thresholds_sha256,
            "gates": [asdict(gate) for gate in self.gates],
        }
        return dict(plain(found))


def freeze_thresholds(
    judged: Judged,
    path: Path,
    *,
    draws: int = DRAWS,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Thresholds, Measured]:
    """Measure validation, choose the seed to release, and freeze thresholds.

    Raises
    ------
    ExpressiveError
        When other thresholds are there, or nothing can be measured.
    """
    found = measure(judged, "validation", draws=draws, progress=progress, cancelled=cancelled)
    frozen = freeze(
        found.numbers,
        path,
        dataset=judged.dataset,
        feature_id=judged.feature_id,
        model=judged.model,
        released=found.released,
    )
    return frozen, found


def run_gates(
    judged: Judged,
    path: Path,
    *,
    draws: int = DRAWS,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> GateReport:
    """Measure the test and hold it against the frozen thresholds.

    Raises
    ------
    ExpressiveError
        When thresholds are missing, damaged, or made for other data or models.
    """
    frozen = read_thresholds(path)
    for what in ("dataset", "feature_id", "model"):
        if (theirs := getattr(frozen, what)) != (ours := getattr(judged, what)):
            raise ExpressiveError(
                f"{path} was frozen for {what} {theirs}, not {ours}. Freeze thresholds"
                " for this one on validation, in a folder of its own."
            )
    found = measure(
        judged,
        "test",
        released=frozen.released,
        draws=draws,
        progress=progress,
        cancelled=cancelled,
    )
    return GateReport(
        gates=decide(found.numbers, frozen),
        measured=found,
        dataset=judged.dataset,
        feature_id=judged.feature_id,
        model=judged.model,
        frozen_at=frozen.frozen_at,
        thresholds_sha256=frozen.sha256,
        released=frozen.released,
    )


def decide(numbers: Numbers, frozen: Thresholds) -> tuple[Gate, ...]:
    """Hold numbers against thresholds, gate by gate."""
    return tuple(_decide(kind, numbers.get(kind.name, {}), frozen) for kind in GATES)


def _decide(kind: _Kind, numbers: dict[str, Any], frozen: Thresholds) -> Gate:
    rules = [rule for rule in RULES if rule.gate == kind.name]
    known = [
        (rule, float(numbers[rule.number]), frozen.values[rule.gate, rule.number])
        for rule in rules
        if numbers.get(rule.number) is not None
    ]
    held = [_holds(value, rule, limit) for rule, value, limit in known]
    words = [
        f"{rule.title}: {value:.3g} ({rule.direction} {limit:.3g}{'' if holds else ', missed'})"
        for (rule, value, limit), holds in zip(known, held, strict=True)
    ]
    passed: bool | None = all(held)
    if passed and (len(known) < len(rules) or not rules):
        passed = None
        words.append("Reported, not a condition." if numbers and not rules else kind.missing)
    value, limit, direction = numbers.get("ndcg"), None, ""
    if known:
        rule, value, limit = known[held.index(False) if False in held else 0]
        direction = rule.direction
    if "words" in numbers:
        words.append(numbers["words"])
    return Gate(
        name=kind.name,
        title=kind.title,
        question=kind.question,
        passed=passed,
        value=value,
        threshold=limit,
        direction=direction,
        detail="; ".join(words),
        numbers=numbers,
        needed=kind.needed,
    )


def _holds(value: float, rule: Rule, limit: float) -> bool:
    """Whether a value is where it must be; what is not a number is nowhere."""
    return {
        "at least": value >= limit,
        "at most": value <= limit,
        "above": value > limit,
        "below": value < limit,
    }[rule.direction]


def plain(value: Any) -> Any:
    """The same with ``None`` for what is no number, for JSON."""
    if isinstance(value, dict):
        return {key: plain(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [plain(of) for of in value]
    return None if isinstance(value, float) and math.isnan(value) else value
