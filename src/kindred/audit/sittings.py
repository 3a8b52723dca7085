"""One listener's way through a study: the rules of a blind sitting.

::

    consent -> sound_check -> instructions -> practice -> trial ... break ... trial -> done

The caller holds a token and nothing else; each call looks up afresh whether its invitation stands,
and returns the view of where the listener now is. Calls of a stage already passed change nothing,
so a click sent twice does no harm. An answer and what follows from it are one transaction.
"""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from kindred.audit.given import Given
from kindred.audit.judgement import Judgement, check_answer
from kindred.audit.plan import Trial, plan_sitting
from kindred.audit.signing import read_token
from kindred.audit.store import AuditStore, Invitation, Sitting
from kindred.audit.study import Clip, Study
from kindred.audit.views import TONES, Standing, View, clip_name, make_view, trial_name
from kindred.errors import AuditError, InvitationRefused

__all__ = ["Given", "Media", "NoSuchClip", "NotThisTrial", "Sittings"]

#: Share of a clip's length that must have played for it to have been heard whole.
HEARD_SHARE = 0.9
_HEARD_BEFORE = 1_000_000  # items of a listener's own earlier sittings come last


class NotThisTrial(AuditError):
    """The trial is not the one that is asked now; ``view`` is where the listener is."""

    def __init__(self, view: View) -> None:
        super().__init__(
            "This trial is not the one that is asked now; it was answered in another window, or"
            " the page is old. It goes on where you are."
        )
        self.view = view


class NoSuchClip(AuditError):
    """The current trial has no clip of this name."""


class Media(Protocol):
    """Where prepared clips come from."""

    def path(self, clip: Clip, *, seconds: float, fade: float, match_loudness: bool) -> Path:
        """A file ready to be sent; raises a :class:`~kindred.errors.KindredError` where none is."""


class Sittings:
    """What listeners may do.

    Parameters
    ----------
    store : AuditStore
    media : Media
    secret : bytes
        From :func:`~kindred.audit.signing.load_secret`.

    Raises
    ------
    InvitationRefused
        From every method: the token is forged or unknown, expired or revoked, or its study is not
        open.
    StorageUnavailable
        From every method: nothing was stored, the same call may work later.
    """

    def __init__(self, store: AuditStore, media: Media, secret: bytes) -> None:
        self._store = store
        self._media = media
        self._secret = secret

    # -- the way through -------------------------------------------------------------------
    def view(self, token: str) -> View:
        """Where the listener is; the first view draws the sitting's plan."""
        standing, invitation = self._enter(token)
        now = self._store.now()
        if invitation.seen_at[:16] != now[:16]:  # once a minute is enough to know
            self._store.seen(invitation.invitation_id)
        return self._view(standing, token)

    def consent(self, token: str, device: Mapping[str, Any]) -> View:
        """The listener takes part.

        Parameters
        ----------
        device : mapping
            ``width`` in pixels and ``touch``, and where known ``headphones``.

        Raises
        ------
        AuditError
            When the device is described otherwise.
        """
        kinds = {"width": int, "touch": bool, "headphones": bool}
        if not all(type(value) is kinds.get(name) for name, value in device.items()) or not (
            0 <= device.get("width", 0) <= 100_000
        ):
            raise AuditError(
                "A device is described by width (whole pixels), touch and headphones (yes or no)."
            )
        return self._step(token, "consent", "consented_at", device=dict(device))

    def sound_check(self, token: str, volume_ok: bool, sides: Sequence[str]) -> View:
        """The listener set the volume and told on which side each tone was.

        Raises
        ------
        AuditError
            When the volume is not set, or fewer than all but one tone were told right.
        """
        standing, _ = self._enter(token)
        if standing.stage == "sound_check":
            if volume_ok is not True:
                raise AuditError("Set the volume so that the tones are pleasant and confirm it.")
            if not isinstance(sides, list | tuple) or len(sides) != TONES:
                raise AuditError(
                    f"Tell for each of the {TONES} tones whether it was left or right."
                )
            right = sum(said == side for said, side in zip(sides, standing.sides, strict=True))
            if right < TONES - 1:
                raise AuditError(
                    "Left and right did not come through. Use headphones, see that they are the"
                    " right way round and that sound is not mono, and try again."
                )
        return self._step(token, "sound_check", "checked_at")

    def begin(self, token: str) -> View:
        """The instructions were read, or the break is over."""
        standing, _ = self._enter(token)
        if standing.stage == "break":
            return self._step(token, "break", "rested_at")
        return self._step(token, "instructions", "begun_at")

    def shown(self, token: str, trial: str) -> View:
        """The trial is on the listener's screen now.

        Raises
        ------
        NotThisTrial
        """
        with self._store.transaction():
            standing, _ = self._enter(token)
            current = self._current(standing, trial, token)
            self._store.set_shown(standing.sitting.sitting_id, current.position)
        return self._view(standing, token)

    def answer(self, token: str, given: Given) -> View:
        """Store an answer and move on; on the disk when this returns. Sent twice, it counts once.

        Raises
        ------
        NotThisTrial
            When another trial is asked now.
        AuditError
            When the answer is none of the form, or a clip was not heard to its end; nothing was
            stored. Also when this id was stored with another content.
        """
        given.check()
        with self._store.transaction():
            standing, _ = self._enter(token)
            known = self._store.judgement(given.judgement_id)
            if known is not None and known.sitting_id == standing.sitting.sitting_id:
                asked = standing.at(known.position)
                if given.trial != trial_name(self._secret, standing.sitting, known.position):
                    self._not_this(standing, token)
            else:
                asked = self._current(standing, given.trial, token)
            self._check(standing, asked, given)
            if self._store.append(self._judgement(standing, asked, given)):
                standing = self._moved_on(standing)
        return self._view(standing, token)

    def back(self, token: str) -> View:
        """Return to the main trial before, once, to change its answer.

        Raises
        ------
        AuditError
            When there is none, or its answer was changed already.
        """
        with self._store.transaction():
            standing, _ = self._enter(token)
            if standing.sitting.back_to is None:
                if standing.previous is None:
                    raise AuditError("From here there is no way back to an earlier trial.")
                self._store.change_sitting(
                    standing.sitting.sitting_id, back_to=standing.previous.position
                )
                standing, _ = self._enter(token)
        return self._view(standing, token)

    def clip(self, token: str, name: str) -> Path:
        """The file of a clip of the current trial, or of the one ``back`` leads to.

        Raises
        ------
        NoSuchClip
            For any other name.
        """
        standing, _ = self._enter(token)
        for trial in (standing.current, standing.previous):
            if trial is None:
                continue
            for slot, clip in standing.clips(trial).items():
                own = clip_name(self._secret, standing.sitting, trial.position, slot)
                if secrets.compare_digest(own.encode(), name.encode("utf-8", "replace")):
                    design = standing.study.design
                    return self._media.path(
                        clip,
                        seconds=design.clip_seconds,
                        fade=design.fade_seconds,
                        match_loudness=design.match_loudness,
                    )
        raise NoSuchClip("The trial that is asked now has no such clip.")

    # -- behind it -------------------------------------------------------------------------
    def _enter(self, token: str) -> tuple[Standing, Invitation]:
        """Check the invitation and gather where its sitting stands, beginning it if need be."""
        invitation_id = read_token(self._secret, token)
        invitation = self._store.invitation(invitation_id) if invitation_id else None
        if invitation is None:
            raise InvitationRefused(
                "unknown", "This link is not valid. Check that it was copied whole."
            )
        if invitation.revoked_at:
            raise InvitationRefused("revoked", "This invitation was withdrawn.")
        study = self._store.study(invitation.study_id)
        if study.state != "open":
            raise InvitationRefused("closed", "This study is closed. Thank you for your interest.")
        if self._store.now() >= invitation.expires_at:
            raise InvitationRefused(
                "expired", "This invitation has expired. Ask for a new one; answers are kept."
            )
        sitting = self._store.sitting_of(invitation.invitation_id)
        if sitting is None:
            sitting = self._start(invitation, study)
        return self._standing(study, sitting), invitation

    def _start(self, invitation: Invitation, study: Study) -> Sitting:
        """Draw a sitting's plan; what is counted and what is drawn are one transaction."""
        with self._store.transaction():
            found = self._store.sitting_of(invitation.invitation_id)
            if found is not None:  # another window was faster
                return found
            counts = Counter(self._store.assigned(study.study_id))
            for item_id in self._store.assigned(study.study_id, invitation.listener_id):
                counts[item_id] += _HEARD_BEFORE
            sitting = Sitting(
                sitting_id=uuid.uuid4().hex,
                study_id=study.study_id,
                invitation_id=invitation.invitation_id,
                listener_id=invitation.listener_id,
                seed=secrets.token_bytes(16),
                device={},
                started_at=self._store.now(),
            )
            self._store.start_sitting(sitting, plan_sitting(study, sitting.seed, counts))
            return sitting

    def _standing(self, study: Study, sitting: Sitting) -> Standing:
        return Standing(
            study,
            sitting,
            tuple(self._store.trials(sitting.sitting_id)),
            tuple(self._store.judgements_in(sitting.sitting_id)),
        )

    def _step(self, token: str, stage: str, column: str, **changes: object) -> View:
        """Pass a stage; at any other stage nothing changes."""
        with self._store.transaction():
            standing, _ = self._enter(token)
            if standing.stage == stage:
                changes[column] = self._store.now()
                self._store.change_sitting(standing.sitting.sitting_id, **changes)
                standing, _ = self._enter(token)
        return self._view(standing, token)

    def _view(self, standing: Standing, token: str) -> View:
        return make_view(standing, secret=self._secret, token=token)

    def _current(self, standing: Standing, trial: str, token: str) -> Trial:
        current = standing.current
        if current is None or trial != trial_name(self._secret, standing.sitting, current.position):
            self._not_this(standing, token)
        return current

    def _not_this(self, standing: Standing, token: str) -> NoReturn:
        raise NotThisTrial(self._view(standing, token))

    def _check(self, standing: Standing, trial: Trial, given: Given) -> None:
        design, clips = standing.study.design, standing.clips(trial)
        check_answer(design.form, given.answer, len(trial.order))
        if len(given.heard) != len(clips):
            raise AuditError(f"There are {len(clips)} clips, {len(given.heard)} were told of.")
        for (slot, clip), heard in zip(clips.items(), given.heard, strict=True):
            least = HEARD_SHARE * min(clip.seconds, design.clip_seconds)
            if not heard.whole or heard.plays < 1 or heard.seconds < least:
                raise AuditError(
                    f"Listen to {slot.upper() if len(slot) == 1 else 'the reference'} to its end"
                    " before you answer."
                )

    def _judgement(self, standing: Standing, trial: Trial, given: Given) -> Judgement:
        sitting = standing.sitting
        before = standing.answered.get(trial.position)
        return Judgement(
            judgement_id=given.judgement_id,
            study_id=sitting.study_id,
            design_hash=self._store.design_hash(sitting.study_id),
            sitting_id=sitting.sitting_id,
            listener_id=sitting.listener_id,
            item_id=trial.item_id,
            kind=trial.kind,
            position=trial.position,
            order=trial.order,
            answer=given.answer,
            revision=before.revision + 1 if before else 0,
            # Half of a character that UTF-16 writes in two cannot be stored as UTF-8.
            comment=given.comment.encode("utf-8", "replace").decode(),
            heard=given.heard,
            seconds=given.seconds,
            deciding_seconds=given.deciding_seconds,
            blurred=given.blurred,
            shown_at=self._store.shown_at(sitting.sitting_id, trial.position),
            answered_at=self._store.now(),
            device=sitting.device,
        )

    def _moved_on(self, standing: Standing) -> Standing:
        """What follows from an answer just stored."""
        sitting_id = standing.sitting.sitting_id
        after = self._standing(standing.study, standing.sitting)
        changes: dict[str, object] = {"back_to": None}
        if after.next is None:
            changes["finished_at"] = self._store.now()
        self._store.change_sitting(sitting_id, **changes)
        sitting = self._store.sitting_of(standing.sitting.invitation_id)
        return self._standing(standing.study, sitting or standing.sitting)
