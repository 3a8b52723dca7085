"""An answer as a listener's browser sends it, checked for what holds whatever was asked."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any, Self

from kindred.audit.judgement import MAX_COMMENT, Heard
from kindred.errors import AuditError

#: A player's or browser's clock beyond this is no listening any more, in seconds.
_LONGEST = 7 * 86_400.0
_OFTEN = 10_000
_NEEDED = {"id", "trial", "answer", "heard", "seconds"}
_FREE = {"comment", "deciding_seconds", "blurred"}


@dataclass(frozen=True)
class Given:
    """An answer as a browser sends it; the attributes are those of
    :class:`~kindred.audit.judgement.Judgement`, ``trial`` is the trial's name in the view."""

    judgement_id: str
    trial: str
    answer: dict[str, Any] | None
    comment: str = ""
    heard: tuple[Heard, ...] = ()
    seconds: float = 0.0
    deciding_seconds: float = 0.0
    blurred: int = 0

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Read what JSON made of the body: ``id`` is the judgement's.

        Raises
        ------
        AuditError
            Naming what is missing, unknown or of another kind.
        """
        if not isinstance(values, dict):
            raise AuditError("An answer is a JSON object.")
        if not _NEEDED <= set(values) <= _NEEDED | _FREE:
            raise AuditError(
                f"An answer has {', '.join(sorted(_NEEDED))} and may have"
                f" {', '.join(sorted(_FREE))}; got {', '.join(sorted(map(str, values)))}."
            )
        heard = values["heard"]
        if not isinstance(heard, list) or not all(
            isinstance(item, dict) and set(item) == {"plays", "seconds", "whole"} for item in heard
        ):
            raise AuditError("heard lists plays, seconds and whole of each clip.")
        rest = {name: value for name, value in values.items() if name not in {"id", "heard"}}
        made = cls(judgement_id=values["id"], heard=tuple(Heard(**item) for item in heard), **rest)
        made.check()
        return made

    def check(self) -> None:
        """Raise :class:`AuditError` for values that cannot be, whatever was asked."""
        if not isinstance(self.trial, str) or not _is_uuid(self.judgement_id):
            raise AuditError("id is a UUID in lower case, and trial a text.")
        if not isinstance(self.comment, str) or len(self.comment) > MAX_COMMENT:
            raise AuditError(
                f"A comment is a text of at most {MAX_COMMENT} characters. Shorten it; nothing of"
                " this answer was stored yet."
            )
        if not _is_count(self.blurred):
            raise AuditError(f"blurred is a whole number of at most {_OFTEN}.")
        times = {"seconds": self.seconds, "deciding_seconds": self.deciding_seconds}
        for number, item in enumerate(self.heard, start=1):
            if not _is_count(item.plays) or not isinstance(item.whole, bool):
                raise AuditError(f"plays of clip {number} is a whole number, whole a yes or no.")
            times[f"seconds of clip {number}"] = item.seconds
        for name, value in times.items():
            number_like = isinstance(value, int | float) and not isinstance(value, bool)
            if not number_like or not math.isfinite(value) or not 0 <= value <= _LONGEST:
                raise AuditError(f"{name} is a number of seconds, got {value!r}.")


def _is_uuid(text: object) -> bool:
    try:
        return isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _OFTEN
