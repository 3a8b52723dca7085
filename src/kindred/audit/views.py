"""Where a listener stands, and what their browser is told of it.

A :class:`Standing` is derived from what is stored and nothing else, so a link goes on where it
stopped, on any device. A view holds no word of systems, tracks, kinds, scores or other listeners.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kindred.audit.judgement import Judgement, chosen, counting
from kindred.audit.plan import Trial
from kindred.audit.signing import opaque
from kindred.audit.store import Sitting
from kindred.audit.study import ASPECTS, Clip, Item, Study

View = dict[str, Any]

#: Tones of the sound check.
TONES = 3
#: A listener plays each clip this often, and takes so many seconds to answer: for the estimate.
_PLAYS, _DECIDING = 1.3, 8.0

_ASKED = {
    "ab": "the one that is closer",
    "graded": "the most similar one",
    "odd": "the odd one out",
}
_THANKS = "Thank you! All your answers are stored. You can close this page."


@dataclass(frozen=True)
class Standing:
    """A sitting with everything that decides what comes next.

    Attributes
    ----------
    study : Study
    sitting : Sitting
    trials : tuple of Trial
        By position.
    judgements : tuple of Judgement
        Of this sitting, in the order in which they were stored.
    """

    study: Study
    sitting: Sitting
    trials: tuple[Trial, ...]
    judgements: tuple[Judgement, ...]

    @cached_property
    def answered(self) -> dict[int, Judgement]:
        """Position -> the answer that counts."""
        return {item.position: item for item in counting(list(self.judgements))}

    @cached_property
    def next(self) -> Trial | None:
        """The first trial without an answer."""
        return next((item for item in self.trials if item.position not in self.answered), None)

    @cached_property
    def stage(self) -> str:
        """``consent``, ``sound_check``, ``instructions``, ``practice``, ``trial``, ``break`` or
        ``done``."""
        sitting = self.sitting
        if not sitting.consented_at:
            return "consent"
        if not sitting.checked_at:
            return "sound_check"
        if not sitting.begun_at:
            return "instructions"
        if self.next is None:
            return "done"
        if self.next.position < 0:
            return "practice"
        rest = self.study.design.break_after
        if rest and self.next.position == rest and not sitting.rested_at:
            return "break"
        return "trial"

    @cached_property
    def current(self) -> Trial | None:
        """The trial on the screen: the next one, or the one before it after ``back``."""
        if self.stage not in {"practice", "trial"}:
            return None
        if self.sitting.back_to is None:
            return self.next
        return self.at(self.sitting.back_to)

    @cached_property
    def previous(self) -> Trial | None:
        """Where ``back`` leads to: the main trial before, unless it was changed already."""
        if self.stage != "trial" or self.sitting.back_to is not None or self.next is None:
            return None
        answer = self.answered.get(self.next.position - 1)
        if self.next.position == 0 or answer is None or answer.revision:
            return None
        return self.at(self.next.position - 1)

    def at(self, position: int) -> Trial:
        """The trial at a position."""
        return next(item for item in self.trials if item.position == position)

    def item(self, trial: Trial) -> Item:
        """What a trial asks."""
        return next(item for item in self.study.items if item.item_id == trial.item_id)

    def clips(self, trial: Trial) -> dict[str, Clip]:
        """Slot -> clip, as shown: ``reference`` where there is one, then ``a, b`` or ``1, 2``."""
        item = self.item(trial)
        first = {"reference": item.reference} if item.reference else {}
        names = slots(self.study)
        return first | {
            names[place]: item.candidates[index].clip for place, index in enumerate(trial.order)
        }

    @property
    def sides(self) -> list[str]:
        """The sides of the sound check's tones, drawn from the sitting's seed; never all alike."""
        drawn = hashlib.sha256(self.sitting.seed + b"sides").digest()[0] % (2**TONES - 2) + 1
        return ["right" if drawn >> tone & 1 else "left" for tone in range(TONES)]


def slots(study: Study) -> tuple[str, ...]:
    """What the places of candidates are called."""
    return ("a", "b") if study.design.form == "ab" else ("1", "2", "3", "4", "5")


def trial_name(secret: bytes, sitting: Sitting, position: int) -> str:
    """What a trial is called outside."""
    return opaque(secret, "trial", sitting.sitting_id, position)


def clip_name(secret: bytes, sitting: Sitting, position: int, slot: str) -> str:
    """What a clip is called outside: another name in each trial of each sitting."""
    return opaque(secret, "clip", sitting.sitting_id, position, slot)


def make_view(standing: Standing, *, secret: bytes, token: str) -> View:
    """What the browser is told; URLs are relative to ``/listen/``."""
    study, main = standing.study, [item for item in standing.trials if item.position >= 0]
    design = study.design
    view: View = {
        "stage": standing.stage,
        "study": {
            "question": design.question,
            "aspect": design.aspect,
            "aspect_help": ASPECTS[design.aspect][1],
            "form": design.form,
            "minutes": _minutes(standing),
        },
        "progress": {
            "done": sum(item.position in standing.answered for item in main),
            "of": len(main),
        },
    }
    if standing.stage == "sound_check":
        view["sound_check"] = {"sides": standing.sides}
    if standing.stage == "done":
        view["thanks"] = _THANKS
    if standing.current is not None:
        view["trial"] = _trial_view(standing, standing.current, secret=secret, token=token)
    words = _feedback(standing)
    if words:
        view["feedback"] = words
    return view


def _trial_view(standing: Standing, trial: Trial, *, secret: bytes, token: str) -> View:
    sitting = standing.sitting
    before = standing.answered.get(trial.position)
    return {
        "id": trial_name(secret, sitting, trial.position),
        "practice": trial.position < 0,
        "form": standing.study.design.form,
        "clips": [
            {
                "slot": slot,
                "url": f"{token}/clip/{clip_name(secret, sitting, trial.position, slot)}",
            }
            for slot in standing.clips(trial)
        ],
        "answer": before.answer if before else None,
        "comment": before.comment if before else "",
        "can_go_back": standing.previous is not None,
    }


def _minutes(standing: Standing) -> int:
    """How long all trials take, about."""
    seconds = sum(
        len(trial.order) + (standing.study.design.form != "odd") for trial in standing.trials
    ) * (standing.study.design.clip_seconds * _PLAYS)
    return max(1, math.ceil((seconds + len(standing.trials) * _DECIDING) / 60))


def _feedback(standing: Standing) -> str:
    """Words on the practice answer just given, until the next one."""
    if standing.stage not in {"practice", "trial", "done"} or not standing.judgements:
        return ""
    last = standing.judgements[-1]
    item = standing.item(standing.at(last.position))
    if last.kind != "practice" or item.expected is None:
        return ""
    form = standing.study.design.form
    name = slots(standing.study)[last.order.index(item.expected)].upper()
    if chosen(form, last) == item.expected:
        return f"Yes: {name} is {_ASKED[form]}."
    return f"Here {name} is {_ASKED[form]}. You can listen for it in the next ones."
