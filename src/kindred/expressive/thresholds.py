"""What each gate asks for, frozen in a file before the test is read.

Every rule has a floor, written here. Its threshold is the floor, or, where the rule has a slack,
the stricter of the floor and the value on validation with that slack: so a model may not lose much
of what it had. ``thresholds.json`` names the data, features and models that it was made for, and
the seed that is to be released; once written it is not changed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kindred.errors import ExpressiveError
from kindred.storage.whole_files import replacing

FORMAT, VERSION = "kindred-expressive-thresholds", 1
#: How a value is held against its threshold.
DIRECTIONS = ("at least", "at most", "above", "below")


@dataclass(frozen=True)
class Rule:
    """One condition of a gate.

    Attributes
    ----------
    gate, number, title : str
        Which measured number, and its name for people.
    direction : str
        One of :data:`DIRECTIONS`.
    floor : float
        What is asked at least, whatever validation gave.
    slack : float or None
        How much worse than on validation is allowed; ``None``: the floor is the threshold.
    source : str
        The gate whose number on validation is meant, where validation has no such test.
    """

    gate: str
    number: str
    title: str
    direction: str
    floor: float
    slack: float | None = None
    source: str = ""

    def threshold(self, validation: float | None) -> float:
        """The stricter of the floor and the value on validation with slack."""
        if self.slack is None or validation is None:
            return self.floor
        if self.direction in ("at least", "above"):
            return max(self.floor, validation - self.slack)
        return min(self.floor, validation + self.slack)


def _ranking_rules(test: str, slack: float) -> tuple[Rule, ...]:
    gate, source = f"ranking-{test}", "ranking-works"
    return (
        Rule(gate, "over_cosine_low", "nDCG@10 over cosine, lower end", "above", 0.0),
        Rule(gate, "over_discovery_low", "nDCG@10 over discovery, lower end", "above", 0.0),
        Rule(gate, "recall", "Recall@10", "at least", 0.3, slack, source),
        Rule(gate, "mrr", "MRR", "at least", 0.5, slack, source),
        Rule(gate, "track_ndcg", "nDCG@10, clip to track", "at least", 0.55, slack, source),
    )


RULES = (
    Rule("splits", "shared", "what two splits share", "at most", 0),
    *_ranking_rules("works", 0.1),
    *_ranking_rules("composers", 0.15),
    *_ranking_rules("soundfont", 0.2),
    Rule("faithfulness", "diagonal", "own aspect, the lowest", "at least", 0.5, 0.1),
    Rule("faithfulness", "off_diagonal", "other aspects, the highest", "at most", 0.2, 0.1),
    Rule("weights", "share", "orders of re-rendered clips, three levels", "at least", 0.9, 0.05),
    Rule("weights", "two", "the same at two levels", "at least", 0.8, 0.05),
    Rule("weights", "across", "orders across works, by groups", "at least", 0.75, 0.1),
    Rule("inputs", "falls", "ordered pairs that fall, the lowest aspect", "at least", 0.8, 0.1),
    Rule("inputs", "moves", "other scores' move, the highest", "at most", 0.1),
    Rule("inputs", "controls", "moved by controls, the highest", "at most", 0.1),
    Rule("placebos", "strongest", "own aspect, the strongest placebo", "below", 0.5),
    Rule("invariance", "nuisance", "nDCG@10 lost to gain, offset and tilt", "at most", 0.02),
    Rule("invariance", "soundfont", "nDCG@10 lost across soundfonts", "at most", 0.1),
    Rule("shortcuts", "excess", "nDCG@10 over chance, the highest aspect", "at most", 0.1, 0.05),
    Rule("student", "ratio", "retriever / oracle, nDCG@10", "at least", 0.95),
    Rule("people", "low", "agreement with people, lower end", "above", 0.5),
)


@dataclass(frozen=True)
class Thresholds:
    """A frozen file.

    Attributes
    ----------
    dataset, feature_id, model : str
        What it was made for.
    released : int
        The retriever's seed, from 0, that was best on validation.
    frozen_at : str
        UTC, ISO 8601.
    values : dict of (str, str) to float
        Gate and number -> threshold.
    sha256 : str
        Of the file.
    """

    dataset: str
    feature_id: str
    model: str
    released: int
    frozen_at: str
    values: dict[tuple[str, str], float]
    sha256: str


def freeze(
    numbers: Mapping[str, Mapping[str, Any]],
    path: Path,
    *,
    dataset: str,
    feature_id: str,
    model: str,
    released: int,
) -> Thresholds:
    """Write thresholds from what was measured on validation; the same ones again change nothing.

    Raises
    ------
    ExpressiveError
        When the file is there with other content.
    """
    rules = []
    for rule in RULES:
        value = numbers.get(rule.source or rule.gate, {}).get(rule.number)
        known = None if value is None or math.isnan(value) else float(value)
        rules.append(asdict(rule) | {"validation": known, "threshold": rule.threshold(known)})
    content = {
        "format": FORMAT,
        "version": VERSION,
        "dataset": dataset,
        "feature_id": feature_id,
        "model": model,
        "released": released,
        "rules": rules,
    }
    if path.exists():
        kept = _read(path)
        kept.pop("frozen_at", None)
        if kept != content:
            raise ExpressiveError(
                f"{path} was frozen with other thresholds, and they are not changed. Judge another"
                " model in another folder."
            )
        return read_thresholds(path)
    content["frozen_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as out:
        out.write((json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return read_thresholds(path)


def read_thresholds(path: Path) -> Thresholds:
    """Read a frozen file.

    Raises
    ------
    ExpressiveError
        When it is missing, damaged, or made by other rules than these.
    """
    content = _read(path)
    try:
        rules = {(rule["gate"], rule["number"]): rule for rule in content["rules"]}
        found = Thresholds(
            dataset=content["dataset"],
            feature_id=content["feature_id"],
            model=content["model"],
            released=int(content["released"]),
            frozen_at=content["frozen_at"],
            values={key: float(rule["threshold"]) for key, rule in rules.items()},
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        own = {(rule.gate, rule.number): rule for rule in RULES}
        same = set(own) == set(rules) and all(
            value == rules[key][name]
            for key, rule in own.items()
            for name, value in asdict(rule).items()
        )
        kept = same and all(
            rule.threshold(rules[key]["validation"]) == found.values[key]
            for key, rule in own.items()
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExpressiveError(f"{path} is damaged ({error!r}). Freeze thresholds again.") from error
    if not kept:
        raise ExpressiveError(
            f"{path} was made by other rules, or changed by hand. Judge in a new folder."
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ExpressiveError(
            f"There are no thresholds in {path}. Freeze them on validation before the test is read."
        ) from error
    except (OSError, ValueError) as error:
        raise ExpressiveError(f"{path} cannot be read ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ExpressiveError(f"{path} holds no thresholds of this format.")
    if content.get("version") != VERSION:
        raise ExpressiveError(f"{path} has version {content.get('version')}, not {VERSION}.")
    return content
