"""Answers for tests of the analysis, given by hand."""

from __future__ import annotations

from typing import Any

from kindred.audit.analysis.kept import Kept, checked
from kindred.audit.judgement import Judgement
from kindred.audit.study import Candidate, Clip, Design, Exclusions, Form, Item, Placed, Study


def make_item(
    name: str,
    *systems: dict[str, tuple[int, float]],
    kind: Any = "real",
    query: str = "",
    expected: int | None = None,
    form: Form = "ab",
) -> Item:
    """An item; each candidate says which systems placed it, at which rank, with which score."""
    return Item(
        name,
        kind,
        "Bach",
        None if form == "odd" else Clip(query or f"query of {name}", 0.0, 10.0),
        tuple(
            Candidate(
                Clip(f"{name}/{at}", 0.0, 10.0),
                {system: Placed(*placed) for system, placed in named.items()},
            )
            for at, named in enumerate(systems)
        ),
        expected,
    )


def make_study(
    *items: Item, form: Form = "ab", systems: tuple[str, ...] = ("x", "y"), **exclusions: float
) -> Study:
    """A study of these items."""
    design = Design("T", form=form, systems=systems, exclusions=Exclusions(**exclusions))
    return Study("study", design, items, "open")


class Sitting:
    """Collects one listener's answers, trial after trial."""

    def __init__(self, study: Study, listener: str) -> None:
        self.study, self.listener = study, listener
        self.judgements: list[Judgement] = []
        self._hash = study.design_hash

    def gives(
        self,
        item_id: str,
        answer: Any,
        *,
        kind: str = "real",
        order: tuple[int, ...] | None = None,
        deciding: float = 2.0,
        **values: Any,
    ) -> Sitting:
        """Answer an item; a whole number is a point, a list broad grades (ten times as fine)."""
        form = self.study.design.form
        if isinstance(answer, int):
            answer = {"point" if form == "ab" else "odd": answer}
        elif isinstance(answer, list):
            fine = [None if grade is None else 10 * grade for grade in answer]
            answer = {"broad": answer, "fine": fine}
        item = next((one for one in self.study.items if one.item_id == item_id), None)
        position = len(self.judgements)
        made = {
            "judgement_id": f"{self.listener}-{position}",
            "study_id": self.study.study_id,
            "design_hash": self._hash,
            "sitting_id": f"sitting of {self.listener}",
            "listener_id": self.listener,
            "item_id": item_id,
            "kind": kind,
            "position": position,
            "order": order or tuple(range(len(item.candidates) if item else 2)),
            "answer": answer,
            "deciding_seconds": deciding,
        }
        self.judgements.append(Judgement(**{**made, **values}))
        return self


def gathered(study: Study, *sittings: Sitting) -> Kept:
    """What counts for the analysis, nobody excluded."""
    counted = checked(study, [one for sitting in sittings for one in sitting.judgements])
    real = tuple(one for one in counted if one.kind == "real")
    return Kept(study, {item.item_id: item for item in study.items}, real)
