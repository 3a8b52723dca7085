"""Studies, invitations, sittings and judgements in one SQLite file, safe for what happens.

::

    studies      a draft may be replaced; once open, a trigger refuses any change of it
    invitations  a link for one listener, until it expires or is revoked
    sittings     one for each invitation: how far its listener has come
    trials       what each sitting asks (:mod:`kindred.audit.plan`), drawn at its first view
    judgements   rows are only added: triggers refuse a change or a removal

Judgements are ordered by row, never by time: the clock may jump.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kindred.audit.database import Database, utc
from kindred.audit.judgement import Heard, Judgement
from kindred.audit.plan import Trial, check_pool
from kindred.audit.study import Study
from kindred.errors import AuditError, StorageError


@dataclass(frozen=True)
class Invitation:
    """A link for one listener.

    ``listener`` is the name or label the organiser gave, ``listener_id`` says nothing and is what
    judgements carry: the same label in a study, the same id. Times are UTC, ISO 8601; empty: never.
    """

    invitation_id: str
    study_id: str
    listener: str
    listener_id: str
    created_at: str
    expires_at: str
    revoked_at: str = ""
    seen_at: str = ""


@dataclass(frozen=True)
class Sitting:
    """How far a listener has come; a stage not yet passed has an empty time.

    ``back_to`` is the position of the trial that is being answered again.
    """

    sitting_id: str
    study_id: str
    invitation_id: str
    listener_id: str
    seed: bytes
    device: dict[str, Any]
    started_at: str
    consented_at: str = ""
    checked_at: str = ""
    begun_at: str = ""
    rested_at: str = ""
    finished_at: str = ""
    back_to: int | None = None


class AuditStore(Database):
    """Everything about a library's listening studies that is stored."""

    def __init__(
        self,
        path: Path,
        *,
        patience: float = 30.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(path, patience=patience, clock=clock)
        self._opened: dict[tuple[str, str], Study] = {}

    # -- studies ---------------------------------------------------------------------------
    def put_draft(self, study: Study) -> None:
        """Store a draft, in place of an earlier one of its id.

        Raises
        ------
        AuditError
            When that study is no draft any more.
        """
        if study.state != "draft":
            raise AuditError("Only a draft can be stored; open and close it here.")
        with self.transaction():
            found = self._all("SELECT state FROM studies WHERE study_id = ?", (study.study_id,))
            if found and found[0]["state"] != "draft":
                raise AuditError(
                    f"The study {study.study_id} was opened and stays as it is. Make a new one."
                )
            self._run(
                "INSERT OR REPLACE INTO studies VALUES (?, 'draft', ?, '', '', ?, ?)",
                (
                    study.study_id,
                    study.created_at or self.now(),
                    study.design_hash,
                    json.dumps(study.to_dict()),
                ),
            )

    def drop_draft(self, study_id: str) -> None:
        """Remove a draft; an opened study is refused."""
        with self.transaction():
            self.study(study_id)
            self._run("DELETE FROM studies WHERE study_id = ?", (study_id,))

    def open_study(self, study_id: str) -> Study:
        """Freeze a draft, so that listeners can be invited.

        Raises
        ------
        AuditError
            When it is no draft, or its design or pool cannot be a study.
        """
        with self.transaction():
            study = self.study(study_id)
            if study.state != "draft":
                raise AuditError(f"The study {study_id} is {study.state} already.")
            study.design.check()
            check_pool(study)
            self._run(
                "UPDATE studies SET state = 'open', opened_at = ? WHERE study_id = ?",
                (self.now(), study_id),
            )
            return self.study(study_id)

    def close_study(self, study_id: str) -> Study:
        """End an open study: its links are refused from now on."""
        with self.transaction():
            study = self.study(study_id)
            if study.state != "open":
                raise AuditError(f"Only an open study can be closed; {study_id} is {study.state}.")
            self._run(
                "UPDATE studies SET state = 'closed', closed_at = ? WHERE study_id = ?",
                (self.now(), study_id),
            )
            return self.study(study_id)

    def study(self, study_id: str) -> Study:
        """A study as it stands.

        Raises
        ------
        AuditError
            When there is none.
        StorageError
            When it is not the one that was stored: its hash does not match.
        """
        found = self._all(
            "SELECT study_id, state, created_at, opened_at, closed_at, design_hash FROM studies"
            " WHERE study_id = ?",
            (study_id,),
        )
        if not found:
            raise AuditError(f"No listening study has the id {study_id!r}.")
        values = dict(found[0])
        key = study_id, values.pop("design_hash")
        study = self._opened.get(key) or self._read_study(study_id)
        if values["state"] != "draft":
            self._opened[key] = study
        return replace(study, **values)

    def design_hash(self, study_id: str) -> str:
        """The stored hash of a study, which :meth:`study` checks; empty when there is none."""
        found = self._all("SELECT design_hash FROM studies WHERE study_id = ?", (study_id,))
        return str(found[0][0]) if found else ""

    def _read_study(self, study_id: str) -> Study:
        row = self._all(
            "SELECT design_hash, document FROM studies WHERE study_id = ?", (study_id,)
        )[0]
        try:
            study = Study.from_dict(json.loads(row["document"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"The study {study_id} in {self.path} cannot be read.") from error
        if study.design_hash != row["design_hash"]:
            raise StorageError(
                f"The study {study_id} in {self.path} is not the one that was stored: its hash does"
                " not match. Put the file back from a backup."
            )
        return study

    def studies(self) -> list[Study]:
        """Every study, the first made first."""
        return [
            self.study(row[0])
            for row in self._all("SELECT study_id FROM studies ORDER BY created_at, 1")
        ]

    # -- invitations -----------------------------------------------------------------------
    def invite(self, study_id: str, listener: str, expires_at: datetime) -> Invitation:
        """Make a listener's invitation to an open study.

        Parameters
        ----------
        listener : str
            A name or label, for organisers only.
        expires_at : datetime
            With its zone.

        Raises
        ------
        AuditError
        """
        listener = " ".join(listener.split())
        if not 1 <= len(listener) <= 200:
            raise AuditError("Give the listener a name or a label of at most 200 characters.")
        if expires_at.tzinfo is None or utc(expires_at) <= self.now():
            raise AuditError("An invitation ends at a time to come, given with its time zone.")
        with self.transaction():
            study = self.study(study_id)
            if study.state != "open":
                raise AuditError(f"Invite to an open study; {study_id} is {study.state}.")
            known = self._all(
                "SELECT listener_id FROM invitations WHERE study_id = ? AND listener = ?",
                (study_id, listener),
            )
            made = Invitation(
                invitation_id=uuid.uuid4().hex,
                study_id=study_id,
                listener=listener,
                listener_id=known[0][0] if known else uuid.uuid4().hex,
                created_at=self.now(),
                expires_at=utc(expires_at),
            )
            self._insert("invitations", asdict(made))
        return made

    def revoke(self, invitation_id: str) -> Invitation:
        """Make a link invalid; what was answered through it stays."""
        with self.transaction():
            found = self.invitation(invitation_id)
            if found is None:
                raise AuditError(f"There is no invitation {invitation_id!r}.")
            if not found.revoked_at:
                found = replace(found, revoked_at=self.now())
                self._run(
                    "UPDATE invitations SET revoked_at = ? WHERE invitation_id = ?",
                    (found.revoked_at, invitation_id),
                )
        return found

    def seen(self, invitation_id: str) -> None:
        """Note that a link was used now."""
        with self.transaction():
            self._run(
                "UPDATE invitations SET seen_at = ? WHERE invitation_id = ?",
                (self.now(), invitation_id),
            )

    def invitation(self, invitation_id: str) -> Invitation | None:
        """An invitation, or ``None``."""
        found = self._all("SELECT * FROM invitations WHERE invitation_id = ?", (invitation_id,))
        return Invitation(**dict(found[0])) if found else None

    def invitations(self, study_id: str | None = None) -> list[Invitation]:
        """Invitations of a study, or all, the first made first."""
        found = self._all(
            "SELECT * FROM invitations WHERE ? IN (study_id, '') ORDER BY rowid", (study_id or "",)
        )
        return [Invitation(**dict(row)) for row in found]

    # -- sittings --------------------------------------------------------------------------
    def start_sitting(self, sitting: Sitting, trials: Sequence[Trial]) -> None:
        """Store a new sitting with its plan."""
        with self.transaction():
            self._insert("sittings", {**vars(sitting), "device": json.dumps(sitting.device)})
            for trial in trials:
                self._run(
                    "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, '')",
                    (
                        sitting.sitting_id,
                        trial.position,
                        trial.item_id,
                        trial.kind,
                        json.dumps(trial.order),
                        trial.repeats,
                    ),
                )

    def change_sitting(self, sitting_id: str, **changes: object) -> None:
        """Set attributes of a :class:`Sitting`."""
        if "device" in changes:
            changes["device"] = json.dumps(changes["device"])
        names = ", ".join(f"{name} = ?" for name in changes)
        with self.transaction():
            self._run(
                f"UPDATE sittings SET {names} WHERE sitting_id = ?",
                (*changes.values(), sitting_id),
            )

    def sitting_of(self, invitation_id: str) -> Sitting | None:
        """The sitting of an invitation; ``None`` before its first view."""
        found = self._all("SELECT * FROM sittings WHERE invitation_id = ?", (invitation_id,))
        return _sitting(found[0]) if found else None

    def sittings(self, study_id: str) -> list[Sitting]:
        """Sittings of a study, the first begun first."""
        found = self._all("SELECT * FROM sittings WHERE study_id = ? ORDER BY rowid", (study_id,))
        return [_sitting(row) for row in found]

    def trials(self, sitting_id: str) -> list[Trial]:
        """The plan of a sitting, by position."""
        found = self._all(
            "SELECT * FROM trials WHERE sitting_id = ? ORDER BY position", (sitting_id,)
        )
        return [
            Trial(
                row["position"],
                row["item_id"],
                row["kind"],
                tuple(json.loads(row["shown_order"])),
                row["repeats"],
            )
            for row in found
        ]

    def set_shown(self, sitting_id: str, position: int) -> None:
        """Note that a trial is on its listener's screen now."""
        with self.transaction():
            self._run(
                "UPDATE trials SET shown_at = ? WHERE sitting_id = ? AND position = ?",
                (self.now(), sitting_id, position),
            )

    def shown_at(self, sitting_id: str, position: int) -> str:
        """When a trial was last on its listener's screen; empty: never."""
        found = self._all(
            "SELECT shown_at FROM trials WHERE sitting_id = ? AND position = ?",
            (sitting_id, position),
        )
        return str(found[0][0]) if found else ""

    def assigned(self, study_id: str, listener_id: str | None = None) -> Mapping[str, int]:
        """Item id -> in how many sittings of a study, or of one listener in it, it is asked."""
        found = self._all(
            "SELECT item_id, COUNT(DISTINCT sitting_id) FROM trials JOIN sittings USING"
            " (sitting_id) WHERE study_id = ? AND ? IN (listener_id, '') GROUP BY item_id",
            (study_id, listener_id or ""),
        )
        return {row[0]: row[1] for row in found}

    # -- judgements ------------------------------------------------------------------------
    def append(self, judgement: Judgement) -> bool:
        """Store a judgement; on the disk when this returns.

        Returns
        -------
        bool
            False when it was there already, with the same content.

        Raises
        ------
        AuditError
            When its id is there with another content, or its position has this revision; what was
            stored first stays.
        """
        with self.transaction():
            known = self.judgement(judgement.judgement_id)
            if known is not None:
                if _given(known) != _given(judgement):
                    raise AuditError(
                        "An answer with this id, but another content, is stored already; the first"
                        " one stays. Load the page again."
                    )
                return False
            self._run(
                "INSERT INTO judgements (judgement_id, study_id, sitting_id, position, revision,"
                " document) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    judgement.judgement_id,
                    judgement.study_id,
                    judgement.sitting_id,
                    judgement.position,
                    judgement.revision,
                    json.dumps(asdict(judgement), allow_nan=False),
                ),
            )
            return True

    def judgement(self, judgement_id: str) -> Judgement | None:
        """A judgement, or ``None``."""
        found = self._all("SELECT document FROM judgements WHERE judgement_id = ?", (judgement_id,))
        return _judgement(found[0][0]) if found else None

    def judgements(self, study_id: str) -> list[Judgement]:
        """Every judgement of a study, every revision, in the order in which they were stored."""
        found = self._all(
            "SELECT document FROM judgements WHERE study_id = ? ORDER BY row", (study_id,)
        )
        return [_judgement(row[0]) for row in found]

    def count_judgements(self, study_id: str) -> int:
        """How many judgements of a study are stored, every revision counted."""
        found = self._all("SELECT COUNT(*) FROM judgements WHERE study_id = ?", (study_id,))
        return int(found[0][0])

    def judgements_in(self, sitting_id: str) -> list[Judgement]:
        """Every judgement of a sitting, in the order in which they were stored."""
        found = self._all(
            "SELECT document FROM judgements WHERE sitting_id = ? ORDER BY row", (sitting_id,)
        )
        return [_judgement(row[0]) for row in found]


def _sitting(row: sqlite3.Row) -> Sitting:
    return Sitting(**{**dict(row), "device": json.loads(row["device"])})


def _given(judgement: Judgement) -> Judgement:
    """What the listener gave, without what the server adds to it."""
    return replace(judgement, revision=0, shown_at="", answered_at="", device={})


def _judgement(document: str) -> Judgement:
    values = json.loads(document)
    values["order"] = tuple(values["order"])
    values["heard"] = tuple(Heard(**item) for item in values["heard"])
    return Judgement(**values)
