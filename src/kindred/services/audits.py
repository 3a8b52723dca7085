"""Listening audits of the library: designed, held blind, read, turned into labels."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import kindred
from kindred.audit.clips import ClipMaker
from kindred.audit.sampling import Drawn, draw_items
from kindred.audit.signing import load_secret, make_token
from kindred.audit.sittings import Sittings
from kindred.audit.store import AuditStore, Invitation
from kindred.audit.stretches import Segments
from kindred.audit.study import Design, Study
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import AuditError
from kindred.services.evaluations import system_name
from kindred.storage import rows
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Document, Hit
from kindred.work import Progress, within

if TYPE_CHECKING:
    from kindred.audit.analysis.results import Results
    from kindred.audit.labels import Labels

Cancelled = Callable[[], bool]

#: How systems rank beside plain cosine.
SCORINGS = ("cosine", "csls", "mutual_proximity")
#: Documents under which a closed study is kept with the library, so that it moves with it.
STUDIES, JUDGEMENTS = "studies", "judgements"
MAX_DAYS = 3_650


@dataclass(frozen=True)
class Attendance:
    """How far the sittings of a study are."""

    invited: int
    begun: int
    finished: int
    judgements: int


class Audits:
    """What organisers do, and the sittings themselves.

    Parameters
    ----------
    storage : StorageBackend
    folder : Path
        ``audit.db``, the secret of the links, and the prepared clips.
    space_of : callable
        The space of an encoder, by name.
    embedded : callable
        Names of the encoders that have vectors of this library.
    """

    def __init__(
        self,
        storage: StorageBackend,
        folder: Path,
        space_of: Callable[[str], EmbeddingSpace],
        embedded: Callable[[], list[str]],
    ) -> None:
        self.storage, self.folder = storage, folder
        self.space_of, self.embedded = space_of, embedded

    @cached_property
    def store(self) -> AuditStore:
        """Studies, sittings and judgements."""
        return AuditStore(self.folder / "audit.db")

    @cached_property
    def clips(self) -> ClipMaker:
        """Prepares what listeners hear."""
        return ClipMaker(self.storage.audio_path, self.folder / "clips")

    @cached_property
    def _secret(self) -> bytes:
        """What links are signed with; made once, and never again when links are out."""
        return load_secret(self.folder / "secret", make=not self.store.invitations())

    @cached_property
    def sittings(self) -> Sittings:
        """What listeners may do."""
        return Sittings(self.store, self.clips, self._secret)

    # -- design ----------------------------------------------------------------------------
    def systems(self) -> dict[str, tuple[str, str]]:
        """Systems that can be compared here: name -> (encoder, scoring)."""
        return {
            system_name(encoder, "stored", scoring): (encoder, scoring)
            for scoring in SCORINGS
            for encoder in self.embedded()
        }

    def draw(
        self,
        design: Design,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled = lambda: False,
    ) -> tuple[Study, Drawn] | None:
        """Draw a study's items, prepare its clips and keep it as a draft; ``None``: cancelled.

        Raises
        ------
        AuditError
            When the design cannot be a study of this library.
        """
        design.check()
        known = self.systems()
        if unknown := [name for name in design.systems if name not in known]:
            raise AuditError(
                f"There is no system {', '.join(unknown)} here. Systems are {', '.join(known)}."
            )
        rankings = _Rankings(
            self.storage, {name: known[name] for name in design.systems}, self.space_of
        )

        drawn = draw_items(
            design,
            tracks=rankings.tracks,
            ask=rankings.ask,
            segments=rankings.segments,
            clusters=rankings.clusters(design.seed) if design.stratify == "cluster" else None,
            progress=within(progress, 0, 30),
            cancelled=cancelled,
        )
        if drawn is None:
            return None
        study = Study(
            study_id=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}",
            design=design,
            items=drawn.items,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            facts={
                "kindred": kindred.__version__,
                "library": self.storage.library_id(),
                "library_version": self.storage.version(),
                "spaces": {
                    name: self.space_of(known[name][0]).to_dict() for name in design.systems
                },
                "asked": drawn.asked,
                "skipped": drawn.skipped,
                "strata": drawn.strata,
                "warnings": list(drawn.warnings),
            },
        )
        prepared = self.clips.prepare(
            study, progress=within(progress, 30, 100), cancelled=cancelled
        )
        if prepared.stopped:
            return None
        self.store.put_draft(study)
        return study, drawn

    # -- running ---------------------------------------------------------------------------
    def close(self, study_id: str) -> Study:
        """End a study; it and its answers are kept with the library from now on.

        Closed already, what the library lacks of it is kept.
        """
        study = self.store.study(study_id)
        if study.state != "closed":
            study = self.store.close_study(study_id)
        self.keep(study_id)
        return study

    def keep(self, study_id: str) -> int:
        """Put a study and its answers among the library's documents; return how many were new."""
        study = self.store.study(study_id)
        self.storage.put_document(Document(STUDIES, study_id, study.to_dict()))
        made = [
            rows.make(Document(JUDGEMENTS, item.judgement_id, json.loads(json.dumps(asdict(item)))))
            for item in self.store.judgements(study_id)
        ]
        known = self.storage.entries("documents", [row.key for row in made])
        new = [row for row in made if row.key not in known]
        self.storage.write_rows(new)
        return len(new)

    def invite(
        self, study_id: str, listeners: Sequence[str], *, days: float = 30
    ) -> list[tuple[Invitation, str]]:
        """Invite listeners, each by a name or label; return their invitations and link paths.

        Raises
        ------
        AuditError
            When one of them cannot be invited; then nobody is.
        """
        if not 0 < days <= MAX_DAYS:
            raise AuditError(f"A link is good for up to {MAX_DAYS} days, got {days:g}.")
        until = datetime.now(UTC) + timedelta(days=days)
        secret = self._secret  # made before the first invitation is out
        with self.store.transaction():
            made = [self.store.invite(study_id, name, until) for name in listeners]
        return [(item, _link(secret, item)) for item in made]

    def link(self, invitation: Invitation) -> str:
        """The path of an invitation's link."""
        return _link(self._secret, invitation)

    def attendance(self, study_id: str) -> Attendance:
        """How far the sittings of a study are."""
        sittings = self.store.sittings(study_id)
        return Attendance(
            invited=len(self.store.invitations(study_id)),
            begun=sum(bool(item.consented_at) for item in sittings),
            finished=sum(bool(item.finished_at) for item in sittings),
            judgements=self.store.count_judgements(study_id),
        )

    # -- afterwards ------------------------------------------------------------------------
    def results(
        self,
        study_id: str,
        *,
        draws: int = 1_000,
        progress: Progress | None = None,
        cancelled: Cancelled = lambda: False,
    ) -> Results | None:
        """What the answers say, so far or at the end; ``None`` when it was cancelled."""
        from kindred.audit.analysis.results import results

        study = self.store.study(study_id)
        return results(
            study,
            self.store.judgements(study_id),
            seed=study.design.seed,
            draws=draws,
            progress=progress,
            cancelled=cancelled,
        )

    def excluded(self, results: Results) -> dict[str, str]:
        """Listeners whose answers do not count, and why."""
        return {
            person.listener_id: "; ".join(person.reasons)
            for person in results.listeners
            if person.excluded
        }

    def export(self, study_id: str, folder: Path) -> list[Path]:
        """Write every answer as CSV, Parquet and JSONL, with a codebook; nothing is left out."""
        from kindred.audit.tables import write_tables

        found = self.results(study_id, draws=100)
        assert found is not None  # nobody cancels
        return write_tables(
            self.store.study(study_id),
            self.store.judgements(study_id),
            folder,
            excluded=self.excluded(found),
        )

    def write_labels(
        self, study_id: str, folder: Path, *, used_for_training: Sequence[str] = ()
    ) -> Labels:
        """Write what listeners said as ``labels_and_splits``, for training and evaluation.

        Raises
        ------
        AuditError
            When nothing that counts was judged, or the folder is there.
        """
        from kindred.audit.labels import write_labels

        found = self.results(study_id, draws=100)
        assert found is not None  # nobody cancels
        excluded = self.excluded(found)
        return write_labels(
            folder,
            self.store.study(study_id),
            [item for item in self.store.judgements(study_id) if item.listener_id not in excluded],
            tracks=self.storage.list_tracks(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            excluded=excluded,
            alpha=found.alpha.value,
            used_for_training=used_for_training,
        )


def _link(secret: bytes, invitation: Invitation) -> str:
    return f"/listen/{make_token(secret, invitation.invitation_id)}"


class _Rankings:
    """What the systems answer, over the tracks that all of them have embedded."""

    def __init__(
        self,
        storage: StorageBackend,
        systems: Mapping[str, tuple[str, str]],
        space_of: Callable[[str], EmbeddingSpace],
    ) -> None:
        self.storage, self.systems = storage, systems
        self.spaces = {encoder: space_of(encoder) for encoder, _ in systems.values()}
        self.first_space = self.spaces[next(iter(systems.values()))[0]]
        common = set.intersection(
            *(set(storage.embedded_hashes(space)) for space in self.spaces.values())
        )
        self.tracks = [track for track in storage.list_tracks() if track.track_id in common]
        self.ids = [track.track_id for track in self.tracks]
        self.row = {track_id: row for row, track_id in enumerate(self.ids)}
        self._rankers: dict[str, Any] = {}

    def _vectors(self, encoder: str) -> NDArray[np.float32]:
        return self.storage.get_embeddings(self.spaces[encoder], self.ids)[1]

    def ask(self, system: str, track_ids: Sequence[str], k: int) -> dict[str, list[Hit]]:
        """What a system answers to some queries: the k nearest, nearest first, by its score."""
        from kindred.evaluation.retrieval import SCORINGS as RANKERS

        if system not in self._rankers:
            encoder, scoring = self.systems[system]
            self._rankers[system] = RANKERS[scoring](self._vectors(encoder))
        ranker, answers = self._rankers[system], {}
        for track_id in track_ids:
            row = self.row[track_id]
            scores = ranker.scores(row, row + 1)[0].copy()
            scores[row] = -np.inf
            order = np.argsort(-scores, kind="stable")[: min(k, len(scores) - 1)]
            answers[track_id] = [Hit(self.ids[found], float(scores[found])) for found in order]
        return answers

    @property
    def segments(self) -> Segments:
        """Tracks' windows in the first system's space."""
        space = self.first_space
        return Segments(
            lambda track_id: self.storage.get_segments(space, track_id), space.hop, space.window
        )

    def clusters(self, seed: int) -> dict[str, int]:
        """The first system's own groups of tracks."""
        from kindred.maps.clusters import cluster

        encoder = next(iter(self.systems.values()))[0]
        return dict(zip(self.ids, cluster(self._vectors(encoder), seed=seed).tolist(), strict=True))
