"""Everything that the answers of a study say, so far or in the end.

::

    Results
    +-- progress       how far each stratum is heard
    +-- listeners      each one's reliability, and why their answers do not count
    +-- alpha          how far listeners agree
    +-- strengths      ab: who wins, and how strong each system is
    +-- grades, odd    graded, odd: what each system's candidates were given
    +-- agreement      each system's scores against people, and people against each other
    +-- disagreements  items to listen to

Practice never counts; catches and repeats count only towards a listener's reliability.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from kindred.audit.analysis.agreement import AgreementWithPeople, agreement
from kindred.audit.analysis.disagreements import Disagreements, disagreements
from kindred.audit.analysis.grades import SystemGrades, SystemOdd, system_grades, system_odd
from kindred.audit.analysis.intervals import Estimate
from kindred.audit.analysis.kept import Kept, checked
from kindred.audit.analysis.reliability import Listener, alpha, listeners
from kindred.audit.analysis.strengths import Strengths, strengths
from kindred.audit.judgement import Judgement
from kindred.audit.study import Study
from kindred.errors import AuditError

SCHEMA_VERSION = 1
#: With fewer listeners than this nothing is claimed about listeners in general.
FEW_LISTENERS = 5


@dataclass(frozen=True)
class Stratum:
    """How far a composer or cluster is heard.

    ``judgements`` counts answers of listeners who are kept, ``enough`` the items that as many
    listeners heard as the design asks for.
    """

    name: str
    items: int
    judgements: int
    enough: int


@dataclass(frozen=True)
class Results:
    """See the module. ``judgements`` counts answers of all kinds, ``kept`` those analysed."""

    study_id: str
    design_hash: str
    form: str
    aspect: str
    seed: int
    draws: int
    judgements: int
    kept: int
    progress: tuple[Stratum, ...]
    listeners: tuple[Listener, ...]
    alpha: Estimate
    strengths: Strengths | None
    grades: tuple[SystemGrades, ...]
    odd: tuple[SystemOdd, ...]
    agreement: AgreementWithPeople | None
    disagreements: Disagreements
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The results ready for JSON."""
        return {"schema": SCHEMA_VERSION, **asdict(self)}


def results(
    study: Study,
    judgements: list[Judgement],
    *,
    seed: int = 0,
    draws: int = 1_000,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Results | None:
    """Analyse a study, from every row of its judgements.

    Parameters
    ----------
    study : Study
        As it was opened.
    judgements : list of Judgement
        All rows, revisions too; rows of listeners who fail a rule are set aside, not lost.
    seed, draws : int
        Of every interval; the same seed, the same numbers.
    progress, cancelled
        Parts done of all; asked between parts.

    Returns
    -------
    Results or None
        ``None`` when it was cancelled.

    Raises
    ------
    AuditError
        When a judgement does not belong to the study, or there are too few draws.
    """
    if draws < 100:
        raise AuditError(f"Intervals take at least 100 draws, got {draws}.")
    counted = checked(study, judgements)
    people = listeners(study, counted)
    kept = {person.listener_id for person in people if not person.excluded}
    answers = Kept(
        study,
        {item.item_id: item for item in study.items},
        tuple(item for item in counted if item.kind == "real" and item.listener_id in kept),
    )
    form = study.design.form
    how: dict[str, Any] = {"draws": draws, "seed": seed}
    parts: dict[str, Callable[[], Any]] = {
        "agreement of listeners": lambda: alpha(answers, **how),
        "strengths": lambda: strengths(answers, **how) if form == "ab" else None,
        "grades": lambda: system_grades(answers, **how) if form == "graded" else (),
        "odd ones": lambda: system_odd(answers, **how) if form == "odd" else (),
        "agreement with systems": lambda: agreement(answers, **how),
    }
    found = []
    for done, (words, part) in enumerate(parts.items()):
        if cancelled():
            return None
        if progress:
            progress(done, len(parts), words)
        found.append(part())
    if progress:
        progress(len(parts), len(parts), "done")
    alpha_, strengths_, grades_, odd_, agreement_ = found
    return Results(
        study_id=study.study_id,
        design_hash=study.design_hash,
        form=form,
        aspect=study.design.aspect,
        seed=seed,
        draws=draws,
        judgements=len(counted),
        kept=len(answers.judgements),
        progress=_progress(answers),
        listeners=people,
        alpha=alpha_,
        strengths=strengths_,
        grades=grades_,
        odd=odd_,
        agreement=agreement_,
        disagreements=disagreements(answers, _best(strengths_, grades_, odd_)),
        warnings=_warnings(people, kept, answers) + (strengths_.warnings if strengths_ else ()),
    )


def _progress(answers: Kept) -> tuple[Stratum, ...]:
    """How far each stratum is heard, by name."""
    heard = Counter(
        item_id for item_id, _ in {(item.item_id, item.listener_id) for item in answers.judgements}
    )
    judged = Counter(answers.item(item).stratum for item in answers.judgements)
    items = answers.study.of_kind("real")
    overlap = answers.study.design.overlap
    enough = Counter(item.stratum for item in items if heard[item.item_id] >= overlap)
    sizes = Counter(item.stratum for item in items)
    return tuple(Stratum(name, sizes[name], judged[name], enough[name]) for name in sorted(sizes))


def _best(
    strengths_: Strengths | None, grades_: tuple[SystemGrades, ...], odd_: tuple[SystemOdd, ...]
) -> str | None:
    """The system people like best, ties by name; ``None`` while nothing is known."""
    values = {
        **{
            name: found.value
            for name, found in (strengths_.strengths if strengths_ else {}).items()
        },
        **{found.system: found.broad.value for found in grades_},
        **{found.system: found.share.value for found in odd_},
    }
    known = {name: value for name, value in values.items() if value is not None}
    return min(known, key=lambda name: (-known[name], name)) if known else None


def _warnings(people: tuple[Listener, ...], kept: set[str], answers: Kept) -> tuple[str, ...]:
    """What a reader of the numbers must know."""
    found = []
    if not people:
        found.append("Nobody has answered yet.")
    elif not kept:
        found.append("Every listener fails a rule of the design, so no answer counts.")
    elif len(kept) < FEW_LISTENERS:
        found.append(
            f"The answers of {len(kept)} listener{'s' if len(kept) > 1 else ''} count: that is too "
            "few to speak of listeners in general."
        )
    planned = answers.study.design.listeners
    if answers.study.state == "open" and 0 < len(people) < planned:
        found.append(
            f"So far: {len(people)} of the {planned} listeners planned have answered. A study that"
            " is stopped when it looks good finds differences that are not there; decide when all"
            " have answered."
        )
    untested = [person for person in people if not person.excluded and not person.catches]
    if untested and answers.study.design.catches:
        found.append(
            f"{len(untested)} of the listeners who count "
            f"{'have' if len(untested) > 1 else 'has'} not met a catch trial yet."
        )
    if people and not any(item.answer is not None for item in answers.judgements) and kept:
        found.append("No listener could tell in any trial.")
    return tuple(found)
