"""How many judgements a study needs, and what it can find.

A preference is the share of answers, "equal" and "cannot tell" aside, that go to the better of two
systems. The test is the exact binomial one against one half. Its power is not monotonic in the
number of answers, but saw-toothed (Chernick and Liu, The American Statistician 56(2), 2002): the
numbers here are the smallest from which on the power never falls below what is asked.

Answers of one listener are alike. ``m`` of them with an intraclass correlation ``rho`` are worth
``m / (1 + (m - 1) rho)`` independent ones (Kish, "Survey Sampling", 1965).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kindred.audit.study import FORMS, Design
from kindred.errors import AuditError

POWER, ALPHA, RHO = 0.8, 0.05, 0.1
#: Most judgements that are looked at; a preference that needs more is as good as none.
_MOST = 1_000_000


def items_wanted(design: Design) -> int:
    """The most real items of which each is heard by ``overlap`` listeners or more."""
    return max(design.trials, design.trials * design.listeners // design.overlap)


def power_of_binomial(
    judgements: int | NDArray[np.int64],
    true_preference: float,
    *,
    alpha: float = ALPHA,
    two_sided: bool = False,
) -> NDArray[np.float64]:
    """Chance that the exact test finds a preference, of the shape of ``judgements``."""
    from scipy.stats import binom

    count = np.asarray(judgements)
    tail = alpha / 2 if two_sided else alpha
    # The fewest answers for one side that chance gives at most so often.
    needed = binom.isf(tail, count, 0.5) + 1
    found = binom.sf(needed - 1, count, true_preference)
    if two_sided:
        found = found + binom.cdf(count - needed, count, true_preference)
    return np.asarray(found, np.float64)


def judgements_needed(
    true_preference: float, *, power: float = POWER, alpha: float = ALPHA, two_sided: bool = False
) -> int:
    """Independent judgements from which on a preference is found with the power asked for.

    Parameters
    ----------
    true_preference : float
        Between 0.5 and 1.
    power, alpha : float
        Between 0 and 1.

    Raises
    ------
    AuditError
        For numbers out of these ranges, or a preference so small that a million are not enough.

    Examples
    --------
    >>> [judgements_needed(preference) for preference in (0.60, 0.65, 0.70, 0.75)]
    [169, 76, 42, 28]
    """
    if not 0.5 < true_preference <= 1:
        raise AuditError(f"A preference lies above 0.5 and up to 1, got {true_preference}.")
    for name, value in (("power", power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise AuditError(f"{name} lies between 0 and 1, got {value}.")
    if power <= alpha:
        raise AuditError(f"A power of {power} is had by chance at an alpha of {alpha}.")
    # The normal approximation tells where to look; the teeth are far narrower than four times it.
    from scipy.stats import norm

    tail = alpha / 2 if two_sided else alpha
    spread = norm.isf(tail) / 2 + norm.ppf(power) * math.sqrt(
        true_preference * (1 - true_preference)
    )
    last = 4 * math.ceil((max(spread, 0) / (true_preference - 0.5)) ** 2) + 100
    if last > _MOST:
        raise AuditError(
            f"A preference of {true_preference} needs more than {_MOST // 4} judgements; ask for a"
            " larger one."
        )
    counts = np.arange(1, last + 1)
    enough = power_of_binomial(counts, true_preference, alpha=alpha, two_sided=two_sided) >= power
    return int(counts[~enough][-1]) + 1


def design_effect(per_listener: float, rho: float) -> float:
    """How many times more judgements are needed when each listener gives ``per_listener``."""
    if per_listener < 1 or not 0 <= rho <= 1:
        raise AuditError(
            f"A listener gives at least 1 judgement, and rho lies between 0 and 1; got"
            f" {per_listener} and {rho}."
        )
    return 1 + (per_listener - 1) * rho


def comparisons(design: Design) -> int:
    """Pairs of systems among which the judgements are divided."""
    return max(1, math.comb(len(design.systems), 2))


def listeners_needed(
    design: Design,
    true_preference: float,
    *,
    rho: float = RHO,
    power: float = POWER,
    alpha: float = ALPHA,
) -> int:
    """Listeners who find a preference between two of the systems, with the design's trials."""
    each = max(1.0, design.trials / comparisons(design))
    judgements = judgements_needed(true_preference, power=power, alpha=alpha)
    needed = judgements * design_effect(each, rho) * comparisons(design) / design.trials
    return math.ceil(needed - 1e-9)


def effective_judgements(design: Design, rho: float = RHO) -> int:
    """Independent judgements that a study's answers are worth, for each pair of systems."""
    each = design.trials / comparisons(design)
    return math.floor(design.listeners * each / design_effect(max(1.0, each), rho) + 1e-9)


def power_of(
    design: Design, true_preference: float, *, rho: float = RHO, alpha: float = ALPHA
) -> float:
    """Chance that a study finds a preference between two of its systems."""
    return float(power_of_binomial(effective_judgements(design, rho), true_preference, alpha=alpha))


def smallest_preference(
    design: Design, *, rho: float = RHO, power: float = POWER, alpha: float = ALPHA
) -> float | None:
    """The smallest preference, in hundredths, that a study finds; ``None`` when it finds none."""
    for hundredths in range(51, 101):
        if power_of(design, hundredths / 100, rho=rho, alpha=alpha) >= power:
            return hundredths / 100
    return None


def catch_pass_rate(design: Design, *, candidates: int | None = None) -> float:
    """Chance that a listener who answers at random passes the catch trials.

    Parameters
    ----------
    candidates : int, optional
        Candidates of a catch trial; 2, 5 or 3 by the form. "Equal" is never answered.
    """
    from scipy.stats import binom

    chance = 1 / (candidates or FORMS[design.form][1])
    needed = math.ceil(design.exclusions.min_catches * design.catches - 1e-9)
    return float(binom.sf(needed - 1, design.catches, chance)) if design.catches else 1.0


def summary(design: Design, *, rho: float = RHO) -> tuple[str, ...]:
    """What a design asks of listeners and what it can find, in sentences for its organiser."""
    pairs, items = comparisons(design), items_wanted(design)
    answers = design.trials * design.listeners
    sentences = [
        f"{design.listeners} listeners with {design.trials} real trials each give {answers}"
        f" judgements of {items} items; each item is heard by"
        f" {answers / items:.3g} listeners on average."
    ]
    if design.form != "graded" and len(design.systems) > 1:
        of_each = f" for each of {pairs} pairs of systems" if pairs > 1 else ""
        sentences.append(
            f"Since one listener's answers are alike (rho {rho:g}), they are worth"
            f" {effective_judgements(design, rho)} independent ones{of_each}."
        )
        smallest = smallest_preference(design, rho=rho)
        found = (
            f"finds a preference of {smallest:.2f} or more"
            if smallest
            else "cannot find even a preference of 1.00"
        )
        sentences.append(
            f"With a power of {POWER:.0%} and a one-sided alpha of {ALPHA:g}, answers of"
            f' "equal" aside, the study {found}.'
            " A two-sided verdict takes about a quarter more answers."
        )
        needed = ", ".join(
            f"{preference:.2f} needs {listeners_needed(design, preference, rho=rho)}"
            for preference in (0.6, 0.65, 0.7, 0.75)
        )
        sentences.append(f"Listeners for a preference: {needed}.")
    if design.catches:
        needed_catches = math.ceil(design.exclusions.min_catches * design.catches - 1e-9)
        sentences.append(
            f"Somebody who answers at random passes {needed_catches} of {design.catches} catch"
            f" trials {_percent(catch_pass_rate(design))} of the time."
        )
    else:
        sentences.append("Without catch trials, nobody who answers at random is found by them.")
    return tuple(sentences)


def _percent(share: float) -> str:
    """A share that may be small: never "0%"."""
    return "less than 1%" if 0 < share < 0.01 else f"{share:.0%}"
