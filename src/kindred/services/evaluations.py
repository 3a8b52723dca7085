"""Evaluations of the library: run, kept with all that is needed to repeat them, compared."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import kindred
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import QueryError
from kindred.library.measures import FIELDS
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Document, TrackVectors
from kindred.work import Progress, new_id

if TYPE_CHECKING:
    from kindred.evaluation.compare import Comparison
    from kindred.evaluation.labels import Labels
    from kindred.evaluation.report import RetrievalReport

#: How a track's windows become its vector: as stored, or pooled anew and brought to unit length.
POOLINGS = ("stored", "mean", "max", "mean+std")
#: How tracks are ranked: exact cosine, two rescalings against hubs, the library's own index.
SCORINGS = ("cosine", "csls", "mutual_proximity", "index")
COLLECTION = "runs"
#: The tags offered as labels, besides those in a track's ``extra``.
TAGS = ("composer", "artist", "album", "genre", "work", "year")
#: An index is asked for at least so much of every answer.
_LEAST_DEPTH = 200


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

    @property
    def systems(self) -> list[tuple[str, str, str]]:
        """Every (encoder, pooling, scoring), each once."""
        return list(dict.fromkeys(product(self.encoders, self.poolings, self.scorings)))

    def check(self) -> None:
        """Raise :class:`QueryError` for what cannot be evaluated."""
        for given, known, what in (
            (self.poolings, POOLINGS, "pooling"),
            (self.scorings, SCORINGS, "scoring"),
        ):
            if not given or (unknown := [item for item in given if item not in known]):
                raise QueryError(
                    f"A {what} is one of {', '.join(known)}, got"
                    f" {', '.join(unknown) if given else 'none'}."
                )
        if not self.encoders:
            raise QueryError("Name at least one encoder to evaluate.")
        if self.k < 1:
            raise QueryError(f"k must be at least 1, got {self.k}.")
        if set(self.poolings) != {"stored"} and "index" in self.scorings:
            raise QueryError("The library's index holds stored vectors: pool them as stored.")


@dataclass(frozen=True)
class Tag:
    """A tag that tracks can be told by: how many have it, and how many different values."""

    name: str
    tracks: int
    values: int


@dataclass(frozen=True)
class Run:
    """An evaluation that was done.

    ``body`` has the facts (settings, versions, git revision, library, seed, duration), ``reports``
    (:meth:`~kindred.evaluation.report.RetrievalReport.to_dict` of each) and ``comparisons``.
    """

    run_id: str
    body: dict[str, Any]

    @property
    def title(self) -> str:
        """What was evaluated, and when, in words."""
        options, names = self.body["options"], [item["name"] for item in self.body["reports"]]
        what = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        when = self.body["created_at"][:19].replace("T", " ")
        return f"{what} · {options['label']} · k {options['k']} · {when} UTC"

    def document(self) -> dict[str, Any]:
        """The run ready for JSON; what was found stands at the top where it is one report."""
        if len(self.body["reports"]) > 1:
            return self.body
        facts = {k: v for k, v in self.body.items() if k not in ("reports", "comparisons")}
        return {**self.body["reports"][0], **facts}


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
        facts = self._facts(options, spaces, len(tracks))
        labels = labels_of(tracks, options.label)
        reports: list[RetrievalReport] = []
        count = len(options.systems)
        for number, system in enumerate(options.systems):

            def step(
                done: int, total: int, what: str, at: int = number, name: str = system_name(*system)
            ) -> None:
                if progress:
                    progress(at * total + done, count * total, f"{name}: {what}")

            report = self._report(system, spaces[system[0]], labels, options, step, cancelled)
            if report is None:
                return None
            reports.append(report)
        comparisons = {}
        for variant in ("plain", "controlled"):
            if cancelled():
                return None
            if count > 1 and all(item.variants[variant].queries for item in reports):
                comparisons[variant] = _brief(compare(reports, variant=variant, seed=options.seed))
        now = datetime.now(UTC)
        run_id = new_id(now)
        body = facts | {
            "run_id": run_id,
            "created_at": now.isoformat(timespec="seconds"),
            "duration_s": round(time.monotonic() - start, 3),
            "starred": False,
            "reports": [report.to_dict() for report in reports],
            "comparisons": comparisons,
        }
        body = json.loads(json.dumps(body))  # as it will be read again
        try:
            for number, report in enumerate(reports):
                save_report(self._file(run_id, number), report)
            self.storage.put_document(Document(COLLECTION, run_id, body))
        except BaseException:
            shutil.rmtree(self.folder / run_id, ignore_errors=True)
            raise
        return Run(run_id, body)

    def _report(
        self,
        system: tuple[str, str, str],
        space: EmbeddingSpace,
        labels: Labels,
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
            lists, note = self._index_answers(space, labels, options.k, progress, cancelled)
            found = lists and evaluate_lists(lists, labels.ids, labels, **common)
            return replace(found, warnings=(*found.warnings, note)) if found else None
        progress(0, len(labels.ids), "reading vectors")
        vectors = self._vectors(space, labels.ids, pooling)
        common |= {"scoring": scoring, "progress": progress}
        return evaluate_retrieval(vectors, labels.ids, labels, **common)

    def _vectors(
        self, space: EmbeddingSpace, ids: Sequence[str], pooling: str
    ) -> NDArray[np.float32]:
        if pooling == "stored":
            return self.storage.get_embeddings(space, ids)[1]
        rows = []
        for start in range(0, len(ids), 200):
            keys = [f"{space.space_id}/{track_id}" for track_id in ids[start : start + 200]]
            found = (row.record for row in self.storage.read_rows("embeddings", keys))
            rows += [
                pooled(record.embedding.segments, pooling)
                for record in found
                if isinstance(record, TrackVectors)
            ]
        return np.stack(rows)

    def _index_answers(
        self,
        space: EmbeddingSpace,
        labels: Labels,
        k: int,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> tuple[list[list[str]] | None, str]:
        """What the library's index answers to every track, and what to know of it."""
        ids, known = labels.ids, set(labels.ids)
        total = len(self.storage.embedded_hashes(space))
        # So deep that k are left when all other tracks of a work, an album and a recording, and
        # all tracks that are not evaluated, are left out.
        groups = (labels.works, labels.albums, labels.recordings)
        largest = [max(Counter(filter(None, group)).values(), default=0) for group in groups]
        depth = min(total, max(_LEAST_DEPTH, k + sum(largest)) + total - len(ids))
        _, vectors = self.storage.get_embeddings(space, ids)
        lists, index = [], ""
        for number, (track_id, vector) in enumerate(zip(ids, vectors, strict=True)):
            if cancelled():
                return None, ""
            hits, index = self.storage.search_embeddings(space, vector, k=depth, exclude=[track_id])
            lists.append([hit.track_id for hit in hits if hit.track_id in known])
            progress(number + 1, len(ids), "queries searched")
        note = f"The library's index answered: {index}."
        if depth < total:
            note += (
                f" It was asked for {depth} of {total} tracks; MRR, R-precision, MAP and recall"
                " count what lies beyond as not found."
            )
        return lists, note

    def _facts(
        self, options: Options, spaces: dict[str, EmbeddingSpace], tracks: int
    ) -> dict[str, Any]:
        """What is needed to tell what was evaluated, and to do it again."""
        packages = ("numpy", "scipy", "faiss-cpu", "torch")
        return {
            "options": asdict(options),
            "seed": options.seed,
            "spaces": {name: space.to_dict() for name, space in spaces.items()},
            "library": {
                "place": self.storage.place,
                "library_id": self.storage.library_id(),
                "sha256": self._library_hash(spaces.values()),
                "tracks": self.storage.count_tracks(),
                "evaluated": tracks,
            },
            "git": git_revision(),
            "versions": {
                "kindred": kindred.__version__,
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in packages},
            },
        }

    def _library_hash(self, spaces: Iterable[EmbeddingSpace]) -> str:
        """SHA-256 of the digests of all tracks, and of the vectors in some spaces."""
        total = hashlib.sha256()
        wanted = tuple(f"{space.space_id}/" for space in spaces)
        for key, entry in sorted(self.storage.entries("tracks").items()):
            if not entry.deleted:
                total.update(f"{key} {entry.digest}\n".encode())
        for key, entry in sorted(self.storage.entries("embeddings").items()):
            if key.startswith(wanted) and not entry.deleted:
                total.update(f"{key} {entry.digest}\n".encode())
        return total.hexdigest()

    def _file(self, run_id: str, number: int) -> Path:
        return self.folder / run_id / f"{number}.npz"

    def tags(self) -> list[Tag]:
        """Tags that at least two tracks share a value of, the usual ones first."""
        from kindred.evaluation.labels import labels_of

        tracks = self.storage.list_tracks()
        named = {name for track in tracks for name in track.extra}
        extra = sorted(named - {*TAGS, *FIELDS, "imported"})
        found = []
        for name in (*TAGS, *extra):
            try:
                values = labels_of(tracks, name).values
            except QueryError:  # no track has it
                continue
            counts = Counter(value.casefold() for value in values if value)
            if max(counts.values()) > 1:
                found.append(Tag(name, counts.total(), len(counts)))
        return found

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

    def changed(self, run: Run) -> bool:
        """Whether tracks or vectors are not those that the run was done on."""
        spaces = map(EmbeddingSpace.from_dict, run.body["spaces"].values())
        return self._library_hash(spaces) != str(run.body["library"]["sha256"])

    def star(self, run_id: str, starred: bool = True) -> None:
        """Mark a run as worth keeping in sight."""
        body = self.get(run_id).body | {"starred": starred}
        self.storage.put_document(Document(COLLECTION, run_id, body))

    def delete(self, run_id: str) -> None:
        """Remove a run and its answers."""
        self.get(run_id)
        self.storage.delete_document(COLLECTION, run_id)
        shutil.rmtree(self.folder / run_id, ignore_errors=True)

    def compare(self, run_ids: Sequence[str], variant: str = "plain") -> Comparison:
        """Compare all that some runs evaluated, query by query.

        Raises
        ------
        QueryError
            When they were not asked the same, or are not all on this machine.
        """
        from kindred.evaluation.compare import compare

        run_ids = list(dict.fromkeys(run_ids))
        reports = [(run_id, report) for run_id in run_ids for report in self.reports(run_id)]
        names = Counter(report.name for _, report in reports)
        return compare(
            [  # one encoder on two days
                replace(item, name=f"{item.name} ({run_id})") if names[item.name] > 1 else item
                for run_id, item in reports
            ],
            variant=variant,
            seed=reports[0][1].seed if reports else 0,
        )

    def comparison(self, run_ids: Sequence[str], variant: str = "plain") -> dict[str, Any]:
        """What :meth:`compare` finds besides the reports; as a run has kept it, where it has."""
        if len(set(run_ids)) == 1:
            kept: dict[str, Any] = self.get(run_ids[0]).body["comparisons"]
            if variant in kept:
                return dict(kept[variant])
        return _brief(self.compare(run_ids, variant))

    def class_csv(self, run_id: str) -> str:
        """What was found for each label, as a table."""
        from kindred.evaluation.report_file import class_csv

        return class_csv(self.reports(run_id))

    def query_csv(self, run_id: str) -> str:
        """What was found for each query, as a table."""
        from kindred.evaluation.report_file import query_csv

        titles = {track.track_id: track.title for track in self.storage.list_tracks()}
        return query_csv(self.reports(run_id), titles)


def _brief(comparison: Comparison) -> dict[str, Any]:
    """A comparison ready for JSON, without what its reports say of themselves."""
    reports = ("reports", "per_class", "hubness", "warnings")
    return {key: value for key, value in comparison.to_dict().items() if key not in reports}


def system_name(encoder: str, pooling: str, scoring: str) -> str:
    """What an encoder is called with its pooling and scoring."""
    more = [*([] if pooling == "stored" else [f"{pooling} pooling"])]
    more += [] if scoring == "cosine" else [scoring.replace("_", " ")]
    return ", ".join([encoder, *more])


def pooled(segments: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """Window vectors float32 [n, dims] as one unit vector: [dims], twice that for "mean+std".

    Raises
    ------
    QueryError
        When there are none.
    """
    if not len(segments):
        raise QueryError("A track has no window vectors to pool. Pool them as stored.")
    if pooling == "mean+std":
        vector = np.concatenate([segments.mean(axis=0), segments.std(axis=0)])
    else:
        vector = segments.max(axis=0) if pooling == "max" else segments.mean(axis=0)
    unit: NDArray[np.float32] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit.astype(np.float32)


def git_revision() -> str:
    """Commit Kindred runs from, with "-dirty" after it where files were changed since.

    Empty where it is not run from its own source tree.
    """
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
