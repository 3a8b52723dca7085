"""One answer of one listener, as it is kept for ever.

What a listener gave is kept as it was shown, with the order in which candidates were shown; what it
means for the candidates is computed (:func:`chosen`, :func:`preference`, :func:`grades`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kindred.audit.study import Form
from kindred.errors import AuditError

SCHEMA_VERSION = 1
#: Longest comment kept, in characters.
MAX_COMMENT = 2_000


@dataclass(frozen=True)
class Heard:
    """What was played of one clip, as the player told: plays begun, seconds, whether to its end."""

    plays: int
    seconds: float
    whole: bool


@dataclass(frozen=True)
class Judgement:
    """One answer. Rows are only ever added: a changed answer is a new row of a higher revision.

    Attributes
    ----------
    judgement_id : str
        Made by the listener's browser, unique: sent twice, it counts once.
    study_id, design_hash, sitting_id, listener_id, item_id : str
    kind : str
        ``"real"``, ``"catch"``, ``"practice"`` or ``"repeat"`` (a real item asked again).
    position : int
        Place in the sitting, from 0; practice counts from -practice.
    revision : int
        0 for the first answer at this position, 1 for the next, ...: the highest counts.
    order : tuple of int
        The candidates' indices as they were shown, first to last.
    answer : dict or None
        As shown. ``ab``: ``{"point": -2..2}``, negative towards the one shown first.
        ``graded``: ``{"broad": [0..2 or None, ...], "fine": [0..100 or None, ...]}``.
        ``odd``: ``{"odd": place}``. ``None`` for "cannot tell".
    comment : str
    heard : tuple of Heard
        The reference first, where there is one, then the candidates as shown.
    seconds : float
        From when the trial was shown to the answer, by the browser's monotonic clock.
    deciding_seconds : float
        From when the last clip had been heard to the answer, by the same clock.
    blurred : int
        How often the page lost the focus meanwhile.
    shown_at, answered_at : str
        UTC by the server's clock, ISO 8601 with milliseconds.
    device : dict
        ``{"width", "touch", "headphones"}`` as far as known.
    """

    judgement_id: str
    study_id: str
    design_hash: str
    sitting_id: str
    listener_id: str
    item_id: str
    kind: str
    position: int
    order: tuple[int, ...]
    answer: dict[str, Any] | None
    revision: int = 0
    comment: str = ""
    heard: tuple[Heard, ...] = ()
    seconds: float = 0.0
    deciding_seconds: float = 0.0
    blurred: int = 0
    shown_at: str = ""
    answered_at: str = ""
    device: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION


def check_answer(form: Form, answer: object, count: int) -> None:
    """Raise :class:`AuditError` unless an answer is one of the form, for ``count`` candidates.

    ``None`` ("cannot tell") is an answer of every form.
    """
    if answer is None:
        return
    if isinstance(answer, dict):
        if form == "ab" and set(answer) == {"point"} and _whole(answer["point"], -2, 2):
            return
        if form == "odd" and set(answer) == {"odd"} and _whole(answer["odd"], 0, count - 1):
            return
        if form == "graded" and set(answer) == {"broad", "fine"}:
            both = [answer["broad"], answer["fine"]]
            if all(isinstance(given, list) and len(given) == count for given in both) and all(
                (broad is None and fine is None) or (_whole(broad, 0, 2) and _whole(fine, 0, 100))
                for broad, fine in zip(*both, strict=True)
            ):
                return
    raise AuditError(f"{answer!r} is no answer to a trial of the form {form} with {count} clips.")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def counting(judgements: list[Judgement]) -> list[Judgement]:
    """The answers that count: the last revision at each position of each sitting, in order."""
    last: dict[tuple[str, int], Judgement] = {}
    for item in judgements:
        key = (item.sitting_id, item.position)
        if key not in last or item.revision >= last[key].revision:
            last[key] = item
    return sorted(last.values(), key=lambda item: (item.sitting_id, item.position))


def preference(judgement: Judgement) -> int | None:
    """``ab``: -2 (candidate 0 is much closer) to 2 (candidate 1 is); ``None``: cannot tell."""
    if judgement.answer is None:
        return None
    point = int(judgement.answer["point"])
    return point if judgement.order[0] == 0 else -point


def grades(judgement: Judgement) -> dict[int, tuple[int, int]]:
    """``graded``: candidate -> (broad 0..2, fine 0..100), without those that got no grade."""
    if judgement.answer is None:
        return {}
    given = zip(judgement.order, judgement.answer["broad"], judgement.answer["fine"], strict=True)
    return {index: (broad, fine) for index, broad, fine in given if broad is not None}


def chosen(form: Form, judgement: Judgement) -> int | None:
    """The candidate chosen: closer, most similar, or odd; ``None`` when none stands out."""
    if judgement.answer is None:
        return None
    if form == "odd":
        return judgement.order[int(judgement.answer["odd"])]
    if form == "ab":
        point = preference(judgement) or 0
        return None if point == 0 else int(point > 0)
    found = sorted(grades(judgement).items(), key=lambda item: item[1], reverse=True)
    if not found or (len(found) > 1 and found[0][1] == found[1][1]):
        return None
    return found[0][0]
