"""Evaluations of the library: run, kept with all that is needed to repeat them, compared."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import kindred
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Document, TrackVectors

if TYPE_CHECKING:
    from kindred.evaluation.compare import Comparison
    from kindred.evaluation.report import RetrievalReport

#: How a track's windows become its vector: as stored, or pooled anew and brought to unit length.
POOLINGS = ("stored", "mean", "max", "mean+std")
#: How tracks are ranked: exact cosine, two rescalings against hubs, the library's own index.
SCORINGS = ("cosine", "csls", "mutual_proximity", "index")
COLLECTION = "runs"
#: Beyond k, what the index is asked for, so that k are left when a variant leaves tracks out.
_BEYOND = 50

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Options:
    """What is evaluated: every encoder with every pooling and scoring, on the same queries."""

    encoders: tuple[str, ...]
    k: int = 5
    label: str = "composer"
    poolings: tuple[str, ...] = ("stored",)
    scorings: tuple[str, ...] = ("cosine",)
    seed: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Options:
        """Inverse of ``asdict``, from what JSON made of it."""
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**made)

    def check(self) -> None:
        """Raise :class:`QueryError` for what cannot be evaluated."""
        for given, known, what in (
            (self.poolings, POOLINGS, "pooling"),
            (self.scorings, SCORINGS, "scoring"),
        ):
            if not given or (unknown := [item for item in given if item not in known]):
                raise QueryError(f"A {what} is one of {', '.join(known)}, got {unknown}.")
        if not self.encoders:
            raise QueryError("Name at least one encoder to evaluate.")
        if set(self.poolings) != {"stored"} and "index" in self.scorings:
            raise QueryError("The library's index holds stored vectors: pool them as stored.")


@dataclass(frozen=True)
class Run:
    """An evaluation that was done; ``body`` is what `kindred evaluate composers --json` prints."""

    run_id: str
    body: dict[str, Any]

    @property
    def title(self) -> str:
        """What was evaluated, and when, in words."""
        options = self.body["options"]
        encoders = ", ".join(options["encoders"])
        return f"{encoders} by {options['label']}, k = {options['k']} ({self.body['created_at']})"


class Evaluations:
    """Runs evaluations and keeps them.

    Parameters
    ----------
    storage : StorageBackend
        Keeps the runs; the answers to every query stay in ``folder``, on this machine.
    folder : Path
    space_of : callable
        The space of an encoder, by name.
    """

    def __init__(
        self, storage: StorageBackend, folder: Path, space_of: Callable[[str], EmbeddingSpace]
    ) -> None:
        self.storage, self.folder, self.space_of = storage, folder, space_of

    def run(
        self,
        options: Options,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Run | None:
        """Evaluate, and keep the run; ``None`` when it was cancelled.

        All encoders are asked about the tracks that every one of them has embedded.

        Raises
        ------
        QueryError
            When there is nothing to evaluate.
        EncoderError
            When an encoder cannot be used.
        """
        from kindred.evaluation.compare import compare
        from kindred.evaluation.labels import labels_of
        from kindred.evaluation.report_file import save_report

        options.check()
        start = time.monotonic()
        spaces = {name: self.space_of(name) for name in options.encoders}
        embedded = [self.storage.embedded_hashes(space).keys() for space in spaces.values()]
        common = set.intersection(*map(set, embedded))
        tracks = [track for track in self.storage.list_tracks() if track.track_id in common]
        if not tracks:
            raise QueryError(
                f"No track has vectors of {' and '.join(spaces)}. The Models page, or"
                " `kindred models use NAME`, embeds the library."
            )
        labels = labels_of(tracks, options.label)
        reports: list[RetrievalReport] = []
        systems = [
            (encoder, pooling, scoring)
            for encoder in options.encoders
            for pooling in options.poolings
            for scoring in options.scorings
        ]
        for number, system in enumerate(systems):

            def step(
                done: int, total: int, what: str, at: int = number, name: str = system_name(*system)
            ) -> None:
                if progress:
                    progress(at * total + done, len(systems) * total, f"{name}: {what}")

            report = self._report(system, spaces[system[0]], labels, options, step, cancelled)
            if report is None:
                return None
            reports.append(report)
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        for number, report in enumerate(reports):
            save_report(self._file(run_id, number), report)
        body = self._facts(options, spaces, len(tracks)) | {
            "run_id": run_id,
            "duration_s": round(time.monotonic() - start, 3),
            "starred": False,
            "reports": [report.to_dict() for report in reports],
            "comparisons": {
                variant: compare(reports, variant=variant, seed=options.seed).to_dict()
                for variant in ("plain", "controlled")
                if len(reports) > 1 and all(item.variants[variant].queries for item in reports)
            },
        }
        self.storage.put_document(Document(COLLECTION, run_id, body))
        return Run(run_id, body)

    def _report(
        self,
        system: tuple[str, str, str],
        space: EmbeddingSpace,
        labels: Any,
        options: Options,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> RetrievalReport | None:
        from kindred.evaluation.retrieval import evaluate_lists, evaluate_retrieval

        _, pooling, scoring = system
        common: dict[str, Any] = {
            "name": system_name(*system),
            "k": options.k,
            "seed": options.seed,
            "cancelled": cancelled,
        }
        if scoring == "index":
            lists = self._index_answers(space, labels.ids, options.k, progress, cancelled)
            if lists is None:
                return None
            return evaluate_lists(lists, labels.ids, labels, **common)
        vectors = self._vectors(space, labels.ids, pooling)
        common |= {"scoring": scoring, "progress": progress}
        return evaluate_retrieval(vectors, labels.ids, labels, **common)

    def _vectors(
        self, space: EmbeddingSpace, ids: Sequence[str], pooling: str
    ) -> NDArray[np.float32]:
        if pooling == "stored":
            found, vectors = self.storage.get_embeddings(space, ids)
            assert found == list(ids)
            return vectors
        rows = []
        for start in range(0, len(ids), 200):
            keys = [f"{space.space_id}/{track_id}" for track_id in ids[start : start + 200]]
            for row in self.storage.read_rows("embeddings", keys):
                assert isinstance(row.record, TrackVectors)
                rows.append(pooled(row.record.embedding.segments, pooling))
        return np.stack(rows)

    def _index_answers(
        self,
        space: EmbeddingSpace,
        ids: Sequence[str],
        k: int,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> list[list[str]] | None:
        _, vectors = self.storage.get_embeddings(space, ids)
        known = set(ids)
        lists = []
        for number, (track_id, vector) in enumerate(zip(ids, vectors, strict=True)):
            if cancelled():
                return None
            hits, _ = self.storage.search_embeddings(
                space, vector, k=k + _BEYOND, exclude=[track_id]
            )
            lists.append([hit.track_id for hit in hits if hit.track_id in known])
            progress(number + 1, len(ids), "searched")
        return lists

    def _facts(
        self, options: Options, spaces: dict[str, EmbeddingSpace], tracks: int
    ) -> dict[str, Any]:
        """What is needed to tell what was evaluated, and to do it again."""
        packages = ("numpy", "scipy", "faiss-cpu", "torch")
        return {
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "options": asdict(options),
            "spaces": {name: space.to_dict() for name, space in spaces.items()},
            "library": {
                "place": self.storage.place,
                "library_id": self.storage.library_id(),
                "sha256": self._library_hash(spaces.values()),
                "tracks": self.storage.count_tracks(),
                "evaluated": tracks,
            },
            "versions": {
                "kindred": kindred.__version__,
                "git": git_revision(),
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in packages},
            },
        }

    def _library_hash(self, spaces: Any) -> str:
        """SHA-256 of the digests of all tracks, and of the vectors in some spaces."""
        total = hashlib.sha256()
        wanted = tuple(f"{space.space_id}/" for space in spaces)
        for key, entry in sorted(self.storage.entries("tracks").items()):
            total.update(f"{key} {entry.digest}\n".encode())
        for key, entry in sorted(self.storage.entries("embeddings").items()):
            if key.startswith(wanted):
                total.update(f"{key} {entry.digest}\n".encode())
        return total.hexdigest()

    def _file(self, run_id: str, number: int) -> Path:
        return self.folder / run_id / f"{number}.npz"

    # -- runs that were done ---------------------------------------------------------------
    def runs(self) -> list[Run]:
        """The runs, starred ones first, then newest first."""
        found = [Run(item.key, item.body) for item in self.storage.list_documents(COLLECTION)]
        found.sort(key=lambda run: run.run_id, reverse=True)
        return sorted(found, key=lambda run: not run.body["starred"])

    def get(self, run_id: str) -> Run:
        """One run; raise :class:`QueryError` when there is none."""
        found = self.storage.get_document(COLLECTION, run_id)
        if found is None:
            raise QueryError(f"There is no evaluation {run_id!r}. `kindred evaluate list` has all.")
        return Run(run_id, found.body)

    def reports(self, run_id: str) -> list[RetrievalReport]:
        """The reports of a run with every query's answers.

        Raises
        ------
        QueryError
            When there is no such run, or it was done on another machine.
        """
        from kindred.evaluation.report_file import load_report

        count = len(self.get(run_id).body["reports"])
        return [load_report(self._file(run_id, number)) for number in range(count)]

    def star(self, run_id: str, starred: bool = True) -> None:
        """Mark a run as worth keeping in sight."""
        body = self.get(run_id).body | {"starred": starred}
        self.storage.put_document(Document(COLLECTION, run_id, body))

    def delete(self, run_id: str) -> None:
        """Remove a run and its answers."""
        import shutil

        self.get(run_id)
        self.storage.delete_document(COLLECTION, run_id)
        shutil.rmtree(self.folder / run_id, ignore_errors=True)

    def compare(self, run_ids: Sequence[str], variant: str = "plain") -> Comparison:
        """Compare all that some runs evaluated, query by query.

        Raises
        ------
        QueryError
            When they were not asked the same.
        """
        from kindred.evaluation.compare import compare

        reports = [report for run_id in run_ids for report in self.reports(run_id)]
        names = [report.name for report in reports]
        if len(set(names)) < len(names):  # one encoder on two days
            reports = [
                replace(report, name=f"{report.name} ({run_id})")
                for run_id in run_ids
                for report in self.reports(run_id)
            ]
        return compare(reports, variant=variant)


def system_name(encoder: str, pooling: str, scoring: str) -> str:
    """What an encoder is called with its pooling and scoring."""
    more = [*([] if pooling == "stored" else [f"{pooling} pooling"])]
    more += [] if scoring == "cosine" else [scoring.replace("_", " ")]
    return ", ".join([encoder, *more])


def pooled(segments: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """Window vectors float32 [n, dims] as one unit vector: [dims], twice that for "mean+std"."""
    if pooling == "mean+std":
        vector = np.concatenate([segments.mean(axis=0), segments.std(axis=0)])
    else:
        vector = segments.max(axis=0) if pooling == "max" else segments.mean(axis=0)
    unit: NDArray[np.float32] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit.astype(np.float32)


def git_revision() -> str:
    """Commit of the source tree Kindred runs from; empty when it is not one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
