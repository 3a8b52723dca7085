"""Studies for tests, made without a library: items whose tracks exist in name only."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kindred.audit.given import Given
from kindred.audit.judgement import Heard
from kindred.audit.signing import load_secret, make_token
from kindred.audit.sittings import Sittings
from kindred.audit.store import AuditStore
from kindred.audit.study import FORMS, Candidate, Clip, Design, Form, Item, Placed, Study

SYSTEMS = ("clap", "mert")
SECONDS = 10.0


def make_item(name: str, kind: Any, *, form: Form = "ab", query: str = "", **values: Any) -> Item:
    """An item whose candidate 0 came from the first system, candidate 1 from the second, ..."""
    count = FORMS[form][1]
    return Item(
        item_id=name,
        kind=kind,
        stratum=values.get("stratum", "one"),
        reference=None if form == "odd" else Clip(query or f"query-{name}", 1.0, SECONDS),
        candidates=tuple(
            Candidate(
                Clip(f"track-{name}-{at}", 2.0, SECONDS),
                {SYSTEMS[at % len(SYSTEMS)]: Placed(at + 1, 0.5)},
            )
            for at in range(count)
        ),
        expected=values.get("expected"),
    )


def make_study(
    *,
    form: Form = "ab",
    real: int = 24,
    catches: int = 6,
    practice: int = 2,
    study_id: str = "study",
    **design: Any,
) -> Study:
    """A draft whose strata take turns through the items."""
    count = FORMS[form][1]
    return Study(
        study_id,
        Design(
            "A study",
            form=form,
            systems=SYSTEMS,
            catches=catches,
            practice=practice,
            clip_seconds=SECONDS,
            **design,
        ),
        (
            *(
                make_item(f"real-{at}", "real", form=form, stratum=f"stratum-{at % 4}")
                for at in range(real)
            ),
            *(
                make_item(f"catch-{at}", "catch", form=form, expected=at % count)
                for at in range(catches)
            ),
            *(
                make_item(f"practice-{at}", "practice", form=form, expected=at % count)
                for at in range(practice)
            ),
        ),
    )


class Clock:
    """A clock that tests set; it may go back."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def add(self, **parts: float) -> None:
        self.time += timedelta(**parts)


class NamedFiles:
    """Media whose files are named after their tracks, so a test sees which clip was served."""

    def path(self, clip: Clip, *, seconds: float, fade: float, match_loudness: bool) -> Path:
        return Path("/clips") / clip.track_id


class Room:
    """A store with an open study, its sittings and their invitations, in a folder."""

    def __init__(self, folder: Path, study: Study | None = None) -> None:
        self.clock = Clock()
        self.store = AuditStore(folder / "audit.db", clock=self.clock)
        self.secret = load_secret(folder / "secret")
        self.sittings = Sittings(self.store, NamedFiles(), self.secret)
        study = study or make_study()
        self.store.put_draft(study)
        self.study = self.store.open_study(study.study_id)

    def invite(self, listener: str = "Listener 1", *, days: float = 7) -> str:
        """The token of a new invitation."""
        made = self.store.invite(
            self.study.study_id, listener, self.clock.time + timedelta(days=days)
        )
        return make_token(self.secret, made.invitation_id)

    def begin(self, token: str) -> dict[str, Any]:
        """Go to the first practice trial."""
        self.sittings.view(token)
        view = self.sittings.consent(token, {"width": 1_200, "touch": False})
        self.sittings.sound_check(token, True, view["sound_check"]["sides"])
        return self.sittings.begin(token)

    def to_trial(self, token: str) -> dict[str, Any]:
        """Go to the first main trial."""
        view = self.begin(token)
        while view["stage"] == "practice":
            view = self.sittings.answer(token, given(view))
        return view

    def to_end(self, token: str, view: dict[str, Any]) -> dict[str, Any]:
        """Answer everything from here on."""
        while view["stage"] != "done":
            if view["stage"] == "break":
                view = self.sittings.begin(token)
            else:
                view = self.sittings.answer(token, given(view))
        return view


def whole(view: dict[str, Any]) -> tuple[Heard, ...]:
    """Every clip of the trial heard once, to its end."""
    return tuple(Heard(1, SECONDS, True) for _ in view["trial"]["clips"])


def given(view: dict[str, Any], answer: Any = ..., **values: Any) -> Given:
    """An answer to the trial of a view."""
    answers = {
        "ab": {"point": 1},
        "odd": {"odd": 0},
        "graded": {"broad": [2, 1, 0, None, 1], "fine": [90, 50, 0, None, 51]},
    }
    plain: dict[str, Any] = {
        "judgement_id": str(uuid.uuid4()),
        "trial": view["trial"]["id"],
        "answer": answers[view["trial"]["form"]] if answer is ... else answer,
        "heard": whole(view),
        "seconds": 34.5,
        "deciding_seconds": 2.5,
    }
    return Given(**(plain | values))
