"""Expressive similarity: runs and their gates, what is released, and clips to listen to."""

from __future__ import annotations

import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kindred.config import Settings
from kindred.embeddings.encoder import Encoder
from kindred.errors import ExpressiveError, GateRefused, TrackNotFound
from kindred.expressive import bundle, release
from kindred.expressive.aspects import ASPECTS, KEYS
from kindred.expressive.clips import TESTS, Clip
from kindred.expressive.encoder import revision
from kindred.expressive.model_files import CURVES
from kindred.expressive.run import (
    DISCOVERY,
    RunOptions,
    RunRecord,
    begin,
    go_on,
    read_record,
)
from kindred.expressive.scoring import checked_weights
from kindred.storage.backend import StorageBackend
from kindred.storage.records import Track
from kindred.work import Progress, new_id

if TYPE_CHECKING:
    from kindred.expressive.hearing import LibraryClips
    from kindred.expressive.library import Ranking
    from kindred.expressive.scoring import Floats, Scorer
    from kindred.expressive.sources import FeatureSource

Cancelled = Callable[[], bool]

#: Who answers side by side on the page, and what they are.
ANSWERING = {
    "cosine": "Cosine of the features as they are",
    "discovery": "Cosine with layers weighed for each aspect",
    "oracle": "The slow scorer, learned",
    "retriever": "The fast one, distilled from it",
}


@dataclass(frozen=True)
class Run:
    """A run as it stands.

    Attributes
    ----------
    record : RunRecord
    gates, ranking : dict
        ``evaluation/gates.json`` and ``ranking.json``; empty until it is judged.
    released : bool
    """

    record: RunRecord
    gates: dict[str, Any] = field(default_factory=dict)
    ranking: dict[str, Any] = field(default_factory=dict)
    released: bool = False

    @property
    def run_id(self) -> str:
        """Its name, which sorts by time."""
        return self.record.run_id

    @property
    def is_whole(self) -> bool:
        """Whether it was judged and its manifest is written."""
        return self.record.state == "made"

    @property
    def passed(self) -> bool:
        """Whether it passed every gate that could be run."""
        return bool(self.gates.get("passed"))

    @property
    def title(self) -> str:
        """One line that tells it from others."""
        options = self.record.options
        parts = [self.run_id, options.size, self.record.source, f"{options.seeds} seeds"]
        if not self.is_whole:
            parts.append(f"stopped at {self.record.state}")
        elif self.passed:
            parts.append("passed" + (", released" if self.released else ""))
        else:
            parts.append(f"failed {', '.join(self.failed)}")
        return " · ".join(parts)

    @property
    def failed(self) -> list[str]:
        """Names of the gates that stop a release."""
        return [gate["name"] for gate in self.gates.get("gates", ()) if release.stops(gate)]

    def lines(self) -> list[str]:
        """What a command prints of it."""
        minutes = sum(self.record.seconds.values()) / 60
        lines = [self.title, f"{minutes:.1f} minutes: {_spent(self.record.seconds)}"]
        return [*lines, *self.gate_lines()] if self.is_whole else lines

    def gate_lines(self) -> list[str]:
        """One line a gate: whether it passed, and the numbers."""
        words = {True: "passed", False: "FAILED", None: "not judged"}
        return [
            f"{words[gate['passed']]:<11}{gate['title']}: {gate['detail']}"
            for gate in self.gates.get("gates", ())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run_id": self.run_id,
            "record": asdict(self.record),
            "passed": self.passed,
            "released": self.released,
            "gates": self.gates,
        }


@dataclass(frozen=True)
class Found:
    """A rendered clip that a scorer found, with what is known of it.

    Attributes
    ----------
    total : float
        The weighted score.
    aspects : dict of str to float
        Each aspect's score.
    grades : dict of str to int
        How near it is in truth, 0 to 3.
    """

    clip: Clip
    total: float
    aspects: dict[str, float]
    grades: dict[str, int]


@dataclass(frozen=True)
class Bench:
    """Clips of a test, which no scorer was trained on, and what each scorer keeps of them."""

    clips: tuple[Clip, ...]
    features: Floats
    kept: dict[str, Floats]

    def row(self, clip_id: str) -> int:
        """Place of a clip.

        Raises
        ------
        ExpressiveError
            When it is not among them.
        """
        for row, clip in enumerate(self.clips):
            if clip.clip_id == clip_id:
                return row
        raise ExpressiveError(f"There is no clip {clip_id!r} in this test.")


class Expressive:
    """Expressive similarity of one library. Runs lie on this machine.

    Parameters
    ----------
    settings : Settings
    storage : StorageBackend
    """

    def __init__(self, settings: Settings, storage: StorageBackend) -> None:
        self.settings, self.storage, self.home = settings, storage, settings.library
        self._lock = threading.Lock()
        self._scorers: dict[str, dict[str, Scorer]] = {}
        self._benches: dict[tuple[str, str], Bench] = {}
        self._clips: dict[str, tuple[Clip, ...]] = {}
        self._library: tuple[tuple[str, int, int], LibraryClips, dict[str, Floats]] | None = None

    # -- runs ------------------------------------------------------------------------------
    def begin(self, options: RunOptions) -> str:
        """Begin a run and return its name; :meth:`go_on` does the work."""
        run_id = new_id(datetime.now(UTC))
        begin(self._folder(run_id), options, self.settings)
        return run_id

    def go_on(
        self,
        run_id: str,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled = lambda: False,
    ) -> bool:
        """Do what is left of a run; whether it is made now. Errors are those of :func:`go_on`."""
        return go_on(
            self._folder(run_id),
            self.settings,
            hear=self._hear,
            progress=progress,
            cancelled=cancelled,
        )

    def runs(self) -> list[Run]:
        """All runs that can be read, newest first."""
        found = []
        for path in sorted(bundle.runs_folder(self.home).glob("*.json"), reverse=True):
            with suppress(ExpressiveError):  # a damaged record is told by `run`
                found.append(self.run(path.stem))
        return found

    def damaged(self) -> list[str]:
        """Runs whose record cannot be read, newest first."""
        known = {run.run_id for run in self.runs()}
        paths = sorted(bundle.runs_folder(self.home).glob("*.json"), reverse=True)
        return [path.stem for path in paths if path.stem not in known]

    def run(self, run_id: str | None = None) -> Run:
        """A run by its name; without one the newest that is whole, else the newest.

        Raises
        ------
        ExpressiveError
            When there is none.
        """
        if run_id is None:
            runs = self.runs()
            whole = [run for run in runs if run.is_whole] or runs
            if not whole:
                raise ExpressiveError("There are no runs yet: `kindred expressive train`.")
            return whole[0]
        folder = self._folder(run_id)
        record = read_record(folder)
        out = self.released()
        return Run(
            record,
            gates=_json(folder / bundle.GATES, {}),
            ranking=_json(folder / bundle.EVALUATION / "ranking.json", {}),
            released=out is not None and out.run_id == run_id,
        )

    def judged(self, run_id: str | None = None) -> Run:
        """A run as :meth:`run` finds it, if it is whole.

        Raises
        ------
        ExpressiveError
            When there is none, or it was not judged yet.
        """
        run = self.run(run_id)
        if not run.is_whole:
            raise ExpressiveError(_not_whole(run.run_id))
        return run

    def curves(self, run_id: str) -> dict[str, list[list[dict[str, Any]]]]:
        """Curves of each kind of model, a seed each: what was measured after every epoch."""
        folder = self._folder(run_id)
        return {
            name: [
                _json(folder / place / str(seed) / CURVES, [])
                for seed in range(self.run(run_id).record.options.seeds)
            ]
            for name, place in bundle.MODELS.items()
        }

    def report(self, run_id: str) -> str:
        """The report of a run that was judged, as Markdown; empty where there is none."""
        path = self._folder(run_id) / bundle.EVALUATION / "report.md"
        return path.read_text("utf-8") if path.is_file() else ""

    def export(self, run_id: str | None, target: Path, *, progress: Progress | None = None) -> int:
        """Write a whole run to a folder, and return how many files it has.

        Raises
        ------
        ExpressiveError, ArtifactError
            When there is no whole run, a file of it is damaged, or something else is in the folder.
        """
        run = self.judged(run_id)
        bundle.export(self._folder(run.run_id), target, progress=progress)
        return sum(path.is_file() for path in target.rglob("*"))

    def delete(self, run_id: str) -> None:
        """Remove a run; what is released of it stays out."""
        folder = self._folder(run_id)
        read_record(folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.json").unlink()

    def _folder(self, run_id: str) -> Path:
        if not bundle.is_run_id(run_id):
            raise ExpressiveError(f"{run_id!r} is not the name of a run.")
        return bundle.runs_folder(self.home) / run_id

    # -- release ---------------------------------------------------------------------------
    def released(self) -> release.Released | None:
        """What is out, if anything is. A damaged release counts as none: its encoder says so."""
        try:
            return release.released(self.home)
        except ExpressiveError:
            return None

    def release(self, run_id: str | None) -> str:
        """Let the retriever of a run out, and return the run's name.

        Raises
        ------
        GateRefused
            When it has not passed its gates.
        """
        run = self.run(run_id)
        if not run.is_whole:
            raise GateRefused(_not_whole(run.run_id))
        release.release(self._folder(run.run_id), self.home)
        return run.run_id

    def is_current(self, encoder: Encoder | None) -> bool:
        """Whether an encoder that was loaded is the one that is out now."""
        out = self.released()
        return encoder is not None and out is not None and revision(out) == encoder.space.revision

    def withdraw(self) -> None:
        """Take back what is out."""
        release.withdraw(self.home)

    # -- scorers ---------------------------------------------------------------------------
    def scorers(self, run_id: str) -> dict[str, Scorer]:
        """Those of :data:`ANSWERING`, as a run trained and fitted them."""
        from kindred.expressive.baselines import Cosine, WeighedLayers
        from kindred.expressive.scorers import OracleScorer, RetrieverScorer

        with self._lock:
            if run_id not in self._scorers:
                folder = self._folder(run_id)
                try:
                    with np.load(folder / DISCOVERY) as fitted:
                        discovery = WeighedLayers("discovery", **fitted)
                except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
                    raise ExpressiveError(
                        f"Run {run_id} is damaged: {DISCOVERY} cannot be read ({error}). Train"
                        " again."
                    ) from error
                self._scorers[run_id] = {
                    "cosine": Cosine(),
                    "discovery": discovery,
                    "oracle": OracleScorer.load(folder / bundle.ORACLE),
                    "retriever": RetrieverScorer.load(folder / bundle.RETRIEVER),
                }
            return self._scorers[run_id]

    def source(self, run_id: str) -> FeatureSource:
        """Where a run's features come from.

        Raises
        ------
        EncoderError
            When its weights are not here any more.
        ExpressiveError
            When they give other features now than the run knows.
        """
        from kindred.expressive.sources import choose_source

        record = read_record(self._folder(run_id))
        source = choose_source(self.settings, record.source)
        if source.feature_id != record.feature_id:
            raise ExpressiveError(
                f"Run {run_id} knows the features {record.feature_id}, and {source.title} now gives"
                f" {source.feature_id}. Train again."
            )
        return source

    # -- rendered clips --------------------------------------------------------------------
    def bench(self, run_id: str, test: str = "works") -> Bench:
        """Clips of a test of a run, and what its scorers keep of them; kept after the first call.

        Raises
        ------
        ExpressiveError
            When the run is not whole, or its clips' features are gone.
        """
        from kindred.expressive.features import load
        from kindred.expressive.ranking import represent

        key = (run_id, test)
        if key not in self._benches:
            self.judged(run_id)
            [(set_, split)] = [(each, of) for name, each, of in TESTS if name == test]
            clips = [
                clip for clip in self._labelled(run_id) if (clip.set, clip.split) == (set_, split)
            ]
            folder = self.home / "expressive" / "features"
            features = load(clips, folder, self.source(run_id)).array.astype(np.float32)
            kept = {
                name: represent(scorer, features) for name, scorer in self.scorers(run_id).items()
            }
            self._benches[key] = Bench(tuple(clips), features, kept)
        return self._benches[key]

    def find(
        self,
        run_id: str,
        clip_id: str,
        weights: Sequence[float],
        *,
        test: str = "works",
        k: int = 5,
    ) -> dict[str, list[Found]]:
        """The clips of other performances nearest to one, by each scorer.

        Parameters
        ----------
        weights : sequence of float
            Of the aspects, 0 or more, not all 0.
        """
        bench = self.bench(run_id, test)
        row = bench.row(clip_id)
        asked = bench.clips[row]
        given = _weights(weights)
        other = np.array([clip.performance != asked.performance for clip in bench.clips])
        found = {}
        for name, scorer in self.scorers(run_id).items():
            scores = scorer.compare(bench.kept[name][[row]], bench.kept[name])[:, 0]
            totals = given @ scores
            order = [i for i in np.lexsort((np.arange(len(totals)), -totals)) if other[i]][:k]
            found[name] = [
                Found(
                    bench.clips[i],
                    float(totals[i]),
                    dict(zip(KEYS, map(float, scores[:, i]), strict=True)),
                    {
                        aspect.key: aspect.grade(one, two)
                        for aspect, one, two in zip(
                            ASPECTS, asked.levels, bench.clips[i].levels, strict=True
                        )
                    },
                )
                for i in order
            ]
        return found

    def sweeps(self, run_id: str) -> tuple[Clip, ...]:
        """Test clips that vary another in one aspect or control, and those they vary.

        Only those whose sound is here; none before the run has its labels.
        """
        from kindred.expressive.render import audio_path

        audio = self.home / "expressive" / "audio"
        return tuple(
            clip
            for clip in self._labelled(run_id)
            if (clip.set, clip.split) == ("sweep", "test")
            and audio_path(audio, clip.clip_id).is_file()
        )

    def _labelled(self, run_id: str) -> tuple[Clip, ...]:
        """The clips of a run; none before it has its labels. Kept after the first call."""
        from kindred.expressive.labels import read_labels

        folder = self._folder(run_id) / bundle.LABELS
        if run_id not in self._clips and folder.is_dir():
            self._clips[run_id] = read_labels(folder).clips
        return self._clips.get(run_id, ())

    def clip_path(self, clip_id: str) -> Path:
        """The sound of a rendered clip.

        Raises
        ------
        TrackNotFound
            When there is none of this name.
        """
        from kindred.expressive.render import audio_path

        path = audio_path(self.home / "expressive" / "audio", clip_id)
        if not clip_id.isalnum() or not path.is_file():
            raise TrackNotFound(clip_id)
        return path

    # -- the library -----------------------------------------------------------------------
    def analyse(
        self,
        run_id: str | None = None,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled = lambda: False,
    ) -> LibraryClips:
        """Listen to the library's tracks that were not heard yet, as a run's scorers need it."""
        from kindred.expressive.hearing import analyse

        run = self.run(run_id)
        return analyse(
            self._tracks(),
            self.source(run.run_id),
            self._heard_folder,
            audio_path=self.storage.audio_path,
            workers=self.settings.workers,
            progress=progress,
            cancelled=cancelled,
        )

    def library(self, run_id: str) -> LibraryClips:
        """The library's clips that were heard."""
        return self._of_library(run_id)[0]

    def rank_library(
        self, run_id: str, track_id: str, start: float, weights: Sequence[float], *, k: int = 5
    ) -> dict[str, Ranking]:
        """Tracks nearest to a clip of a track that was heard, by each scorer.

        The oracle compares the tracks that the retriever puts first.

        Raises
        ------
        ExpressiveError
            When the clip was not heard.
        """
        from kindred.expressive import library

        clips, kept = self._of_library(run_id)
        query = clips.features([self._place(clips, track_id, start)])
        given = np.asarray(_weights(weights), np.float32)
        scorers = self.scorers(run_id)
        ranked = {
            name: library.rank(scorers[name], query, clips, given, kept=kept[name], own=track_id)
            for name in kept
        }
        ranked["oracle"] = library.rerank(
            scorers["oracle"], query, clips, given, ranked["retriever"]
        )
        return {name: replace(ranked[name], hits=ranked[name].hits[:k]) for name in scorers}

    def _of_library(self, run_id: str) -> tuple[LibraryClips, dict[str, Floats]]:
        """The clips that were heard, and what every scorer but the slow one keeps of them."""
        from kindred.expressive import hearing, library

        heard = self._heard_folder / self.source(run_id).feature_id / hearing.UNREAD
        ended = heard.stat().st_mtime_ns if heard.exists() else 0  # of the last analysis
        key = (run_id, self.storage.version(), ended)
        with self._lock:
            if self._library is not None and self._library[0] == key:
                return self._library[1], self._library[2]
        clips = hearing.analysed(self._tracks(), self.source(run_id), self._heard_folder)
        kept: dict[str, Floats] = {}
        if len(clips):
            kept = {
                name: library.represent(scorer, clips)
                for name, scorer in self.scorers(run_id).items()
                if name != "oracle"
            }
            with self._lock:
                self._library = (key, clips, kept)
        return clips, kept

    @staticmethod
    def _place(clips: LibraryClips, track_id: str, start: float) -> int:
        for place in clips.places.get(track_id, ()):
            if abs(clips.starts[place] - start) < 0.01:
                return place
        raise ExpressiveError("This clip was not heard yet. Analyse the library again.")

    def _tracks(self) -> list[Track]:
        return self.storage.list_tracks()

    @property
    def _heard_folder(self) -> Path:
        return self.home / "expressive" / "library"

    def _hear(self, source: FeatureSource, track_id: str, start: float) -> Floats:
        """Features of a clip of a track: float32 [segments, layers, dims]."""
        from kindred.expressive.hearing import clip_features

        path = self.storage.audio_path(track_id)
        return np.asarray(clip_features(path, source, start=start)[0], np.float32)

    # -- why -------------------------------------------------------------------------------
    def matched(self, run_id: str, one: Floats, other: Floats, aspect: str) -> Floats:
        """How much each pair of moments speaks for likeness, by the retriever.

        Parameters
        ----------
        one, other : float32 [segments, layers, dims]
        aspect : str

        Returns
        -------
        float32 [segments, segments]
        """
        from kindred.expressive.scorers import RetrieverScorer

        retriever = self.scorers(run_id)["retriever"]
        assert isinstance(retriever, RetrieverScorer)
        return np.asarray(retriever.segments(one, other, aspect), np.float32)

    def moments(self, run_id: str) -> tuple[float, ...]:
        """The middle of each segment of a clip, in seconds from its beginning."""
        return tuple((first + last) / 2 for first, last in self.source(run_id).spans)


def _not_whole(run_id: str) -> str:
    return (
        f"Run {run_id} was not judged yet. Go on with it: `kindred expressive train --resume"
        f" {run_id}`."
    )


def _weights(weights: Sequence[float]) -> NDArray[np.float64]:
    """Weights of the aspects that sum to 1."""
    given = checked_weights(weights)
    return np.asarray(given / given.sum())


def _json(path: Path, otherwise: Any) -> Any:
    """What a JSON file holds, and ``otherwise`` where there is none or it is damaged.

    Then a run counts as failed, and the page says that its gates cannot be read.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return otherwise
    return found if isinstance(found, type(otherwise)) else otherwise


def _spent(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {spent:.0f} s" for stage, spent in seconds.items())
