"""A run: from scores to a gate report, in stages of which each is kept.

::

    <home>/expressive/audio/                clips, by content; shared by all runs
    <home>/expressive/features/<source>/    their features, by content; shared by all runs
    <home>/expressive/runs/<run_id>.json    a run's options, where it stands, seconds of stages
    <home>/expressive/runs/<run_id>/
      labels_and_splits/     what is known of the clips
      oracle_scorer/         the best of the seeds; the others in seeds/<n>/
      projection_retriever/  likewise, distilled; from_labels/<n>/ and placebo/ are compared with it
      evaluation/            thresholds frozen on validation, then rankings, gates and the report
      manifest.json          written last: the run is whole

Killed or cancelled anywhere, a run that is started again goes on and ends with the same bytes, but
for times.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kindred.audit.study import Clip as Segment
from kindred.config import Settings
from kindred.errors import AudioError, ExpressiveError, KindredError, LibraryError, StorageError
from kindred.expressive import bundle
from kindred.expressive.aspects import KEYS
from kindred.expressive.clips import TESTS, Clip
from kindred.expressive.model_files import TRAINING
from kindred.expressive.scoring import Floats
from kindred.processes import shared_out
from kindred.storage.whole_files import replacing
from kindred.work import Progress, within

if TYPE_CHECKING:
    from kindred.expressive.human_labels import HumanItems
    from kindred.expressive.learner import TrainingOptions
    from kindred.expressive.measuring import Judged
    from kindred.expressive.sources import FeatureSource
    from kindred.expressive.training_set import TrainingSet

Cancelled = Callable[[], bool]
Hear = Callable[["FeatureSource", str, float], Floats]

#: Shares of a full run's time, in per cent of the whole, and what they are called.
STAGES = {
    "render": (0, 20, "playing scores"),
    "features": (20, 45, "listening to clips"),
    "labels": (45, 48, "writing labels and splits"),
    "train": (48, 88, "training"),
    "judge": (88, 100, "judging"),
}
#: The layer weights that were found on train works.
DISCOVERY = f"{bundle.EVALUATION}/discovery.npz"
#: While a model is trained, the epochs that are done.
_EPOCHS = "epochs.txt"
#: Seeds and epochs of a run, by size: a smaller set has fewer steps in an epoch.
_EFFORT = {"full": (5, 40), "small": (2, 120), "tiny": (2, 12)}
SIZES = tuple(_EFFORT)


@dataclass(frozen=True)
class RunOptions:
    """What a run is made of.

    Attributes
    ----------
    size : {"full", "small", "tiny"}
        How many works and clips; "small" is for a look, "tiny" for tests.
    source : {"auto", "layers", "mert"}
        Where features come from; "auto" takes MERT when its weights are here.
    seed : int
        Of the clips, the splits and the lines of labels.
    seeds, epochs : int
        Trained so many times, for at most so many epochs; 0 takes what is usual for the size.
    midi : str
        Folder of people's performances as MIDI, or empty.
    judgements : tuple of str
        Folders of labels that listening studies exported.
    """

    size: str = "full"
    source: str = "auto"
    seed: int = 0
    seeds: int = 0
    epochs: int = 0
    midi: str = ""
    judgements: tuple[str, ...] = ()

    def filled(self) -> RunOptions:
        """With what is usual in place of 0, and folders as they are found from anywhere.

        Raises
        ------
        ExpressiveError
            When an option cannot be used.
        """
        if self.size not in SIZES:
            raise ExpressiveError(f"A run is {', '.join(SIZES)}; got {self.size!r}.")
        seeds, epochs = _EFFORT[self.size]
        if not 0 <= self.seeds <= 20 or not 0 <= self.epochs <= 1_000:
            raise ExpressiveError(
                f"A run has 1 to 20 seeds and 1 to 1,000 epochs; got {self.seeds} and"
                f" {self.epochs}."
            )
        for folder in (self.midi, *self.judgements):
            if folder and not Path(folder).is_dir():
                raise ExpressiveError(f"There is no folder {folder}.")
        return replace(
            self,
            seeds=self.seeds or seeds,
            epochs=self.epochs or epochs,
            midi=self.midi and str(Path(self.midi).absolute()),
            judgements=tuple(str(Path(folder).absolute()) for folder in self.judgements),
        )


@dataclass(frozen=True)
class RunRecord:
    """Where a run stands: ``state`` is "made" or the stage it is in; ``seconds`` by stage."""

    run_id: str
    options: RunOptions
    created_at: str
    feature_id: str
    source: str
    state: str
    seconds: Mapping[str, float]
    versions: Mapping[str, str]


def read_record(folder: Path) -> RunRecord:
    """Read the record of a run, by its folder.

    Raises
    ------
    ExpressiveError
        When there is none or it cannot be read.
    """
    try:
        values = json.loads(_record(folder).read_text("utf-8"))
        options = values["options"] | {"judgements": tuple(values["options"]["judgements"])}
        return RunRecord(**(values | {"options": RunOptions(**options)}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExpressiveError(
            f"There is no run {folder.name}, or {_record(folder)} is damaged. See `kindred"
            " expressive list`."
        ) from error


def begin(folder: Path, options: RunOptions, settings: Settings) -> RunRecord:
    """Write the record of a new run.

    Raises
    ------
    ExpressiveError
        When an option cannot be used, or the source is not ready.
    """
    from kindred.expressive.sources import choose_source

    options = options.filled()
    source = choose_source(settings, options.source)
    record = RunRecord(
        run_id=folder.name,
        options=options,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        feature_id=source.feature_id,
        source=source.name,
        state="render",
        seconds={},
        versions={name: metadata.version(name) for name in ("kindred", "torch", "numpy")},
    )
    folder.mkdir(parents=True)
    _write(folder, record)
    return record


def go_on(
    folder: Path,
    settings: Settings,
    *,
    hear: Hear | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled = lambda: False,
) -> bool:
    """Do what is left of a run; whether it is made now.

    Parameters
    ----------
    folder : Path
        In which :func:`begin` wrote its record.
    hear : callable, optional
        Features of a clip of a library track, by source, track and start: what people judged.
        Tracks that raise are left out, as is all that people said of them.
    progress : callable, optional
        In per cent.

    Raises
    ------
    ExpressiveError
        When something cannot be made; what was done is kept.
    """
    from kindred.expressive.sources import choose_source

    record = read_record(folder)
    source = choose_source(settings, record.source)
    if source.feature_id != record.feature_id:
        raise ExpressiveError(
            f"{folder.name} was begun with features {record.feature_id}, and {source.title} now"
            f" gives {source.feature_id}. Start a new run."
        )
    work = _Stages(folder, record, settings, source, hear, workers, progress, cancelled)
    return work.all()


class _Stages:
    """The stages of one run, and what they hand on."""

    def __init__(
        self,
        folder: Path,
        record: RunRecord,
        settings: Settings,
        source: FeatureSource,
        hear: Hear | None,
        workers: int | None,
        progress: Progress | None,
        cancelled: Cancelled,
    ) -> None:
        self.folder, self.record, self.source = folder, record, source
        self.options, self.hear, self.cancelled = record.options, hear, cancelled
        self.workers, self._progress = workers, progress
        self.home = settings.library / "expressive"
        self.human = Path(self.options.midi) if self.options.midi else None
        self.device = settings.device

    def all(self) -> bool:
        from kindred.expressive.plan import make_plan

        if self.record.state == "made":
            return True
        clips = make_plan(self.options.size, seed=self.options.seed, human=self.human)
        for stage in STAGES:
            start = time.monotonic()
            try:
                whole = getattr(self, f"_{stage}")(clips)
            except KindredError:
                if not self.cancelled():
                    raise
                whole = False  # it was stopped in the middle
            if not whole:
                return False
            spent = self.record.seconds.get(stage, 0.0) + time.monotonic() - start
            seconds = {**self.record.seconds, stage: round(spent, 1)}
            later = [*STAGES, "made"][[*STAGES].index(stage) + 1]
            self.record = replace(self.record, state=later, seconds=seconds)
            _write(self.folder, self.record)
        return True

    def _part(self, stage: str) -> Progress:
        low, high, words = STAGES[stage]

        def report(done: int, total: int, what: str) -> None:
            if self._progress:
                at = round(low + (high - low) * done / max(total, 1))
                self._progress(at, 100, f"{words}: {what}" if what else words)

        report(0, 1, "")
        return report

    def _render(self, clips: Sequence[Clip]) -> bool:
        from kindred.expressive.render import render

        render(
            clips,
            self.home / "audio",
            human=self.human,
            workers=self.workers,
            progress=self._part("render"),
            cancelled=self.cancelled,
        )
        return not self.cancelled()

    def _features(self, clips: Sequence[Clip]) -> bool:
        from kindred.expressive.features import extract

        extract(
            clips,
            self.home / "audio",
            self.home / "features",
            self.source,
            workers=self.workers,
            progress=self._part("features"),
            cancelled=self.cancelled,
        )
        return not self.cancelled()

    def _labels(self, clips: Sequence[Clip]) -> bool:
        from kindred.expressive.labels import write_labels

        self._part("labels")
        judgements = [Path(folder) for folder in self.options.judgements]
        write_labels(self.folder / bundle.LABELS, clips, seed=self.options.seed, human=judgements)
        return not self.cancelled()

    def _train(self, clips: Sequence[Clip]) -> bool:
        data = self._training_set(clips)
        tasks = [_Task(self.folder, seed, self._effort(seed)) for seed in self._seeds()]
        tasks.append(_Task(self.folder, 0, self._effort(0), placebo=True))
        report = self._part("train")
        total = sum(len(task.folders) * task.options.epochs for task in tasks)

        def tick() -> None:
            done = sum(_epochs(folder, task) for task in tasks for folder in task.folders)
            report(done, total, f"{self.options.seeds} seeds, at most {self.options.epochs} epochs")

        work = partial(train_seed, data=data)
        # Never in this process: there it could be neither stopped nor watched in the middle.
        workers = max(2, self.workers or min(8, os.cpu_count() or 1))
        for _ in shared_out(work, tasks, workers=workers, cancelled=self.cancelled, tick=tick):
            tick()
        return not self.cancelled()

    def _seeds(self) -> range:
        return range(self.options.seeds)

    def _effort(self, seed: int) -> TrainingOptions:
        from kindred.embeddings.device import choose_device
        from kindred.expressive.learner import TrainingOptions

        device = choose_device(self.device)
        return TrainingOptions(
            seed=seed,
            epochs=self.options.epochs,
            patience=max(1, self.options.epochs // 4),
            device=device,
        )

    def _training_set(self, clips: Sequence[Clip]) -> TrainingSet:
        """Factorial clips of train and validation, nuisances of train, and what people judged."""
        from kindred.expressive.features import load
        from kindred.expressive.labels import read_labels
        from kindred.expressive.training_set import training_set

        labels = read_labels(self.folder / bundle.LABELS)
        chosen = [
            clip
            for clip in clips
            if (clip.set == "factorial" and clip.split in ("train", "validation"))
            or (clip.set == "nuisance" and clip.split == "train")
        ]
        features: Any = load(chosen, self.home / "features", self.source).array
        row = {clip.clip_id: number for number, clip in enumerate(chosen)}
        judged = labels.human.within("train")
        heard = self._heard(judged)
        place = {segment: len(chosen) + number for number, segment in enumerate(heard)}
        aspects = {key: number for number, key in enumerate(KEYS)}
        triples = [
            (
                place[one.reference],
                place[one.closer],
                place[one.farther],
                aspects.get(one.aspect, -1),
            )
            for one in judged.triples
            if {one.reference, one.closer, one.farther} <= set(heard)
        ]
        if heard:
            features = np.concatenate([features, np.stack([*heard.values()]).astype(np.float16)])
        tracks = [f"track {segment.track_id}" for segment in heard]
        unknown = [(-1,) * len(KEYS)] * len(heard)
        return training_set(
            features,
            levels=np.array([*(clip.levels for clip in chosen), *unknown], np.int8),
            works=_codes([*(clip.work for clip in chosen), *tracks]),
            groups=_codes([*(clip.group for clip in chosen), *tracks]),
            splits=np.array([*(c.split == "validation" for c in chosen), *(0 for _ in heard)]),
            variant_of=np.array(
                [*(row[clip.base] if clip.base else -1 for clip in chosen), *(-1 for _ in heard)]
            ),
            triples=np.array(triples, np.int64).reshape(-1, 4),
            feature_id=self.source.feature_id,
            version=labels.version,
        )

    def _heard(self, judged: HumanItems) -> dict[Segment, Floats]:
        """Features of the clips that people judged, of those tracks that can still be heard."""
        segments = {
            one
            for line in (*judged.pairs, *judged.triples)
            for one in vars(line).values()
            if isinstance(one, Segment)
        }
        found: dict[Segment, Floats] = {}
        for segment in sorted(segments, key=lambda one: (one.track_id, one.start)):
            if self.hear is not None:
                with suppress(AudioError, LibraryError, StorageError, ExpressiveError):
                    found[segment] = self.hear(self.source, segment.track_id, segment.start)
        return found

    def _judge(self, clips: Sequence[Clip]) -> bool:
        from kindred.expressive.gates import freeze_thresholds, run_gates
        from kindred.expressive.report import write_report
        from kindred.expressive.scorers import RetrieverScorer

        judged = self._judged(clips)
        evaluation = self.folder / bundle.EVALUATION
        frozen, validation = freeze_thresholds(
            judged,
            evaluation / "thresholds.json",
            progress=within(self._part("judge"), 0, 25),
            cancelled=self.cancelled,
        )
        report = run_gates(
            judged,
            evaluation / "thresholds.json",
            progress=within(self._part("judge"), 25, 95),
            cancelled=self.cancelled,
        )
        for part in (bundle.ORACLE, bundle.RETRIEVER):
            for file in (self.folder / part / "seeds" / str(frozen.released)).iterdir():
                with replacing(self.folder / part / file.name) as out:
                    out.write(file.read_bytes())
        retriever = RetrieverScorer.load(self.folder / bundle.RETRIEVER)
        of_tests = [(set_, split) for _, set_, split in TESTS]
        rows = np.flatnonzero([(clip.set, clip.split) in of_tests for clip in judged.clips])
        vectors = np.concatenate(
            [
                retriever.vectors(np.asarray(judged.features[block], np.float32))
                for block in np.array_split(rows, max(1, len(rows) // 256))
            ]
        )
        bundle.write_vectors(self.folder, [judged.clips[row].clip_id for row in rows], vectors)
        write_report(self.folder, report, validation, features=self.source.title)
        bundle.write_manifest(self.folder)
        return True

    def _judged(self, clips: Sequence[Clip]) -> Judged:
        """All that is compared: every seed of what was trained, the baselines, the placebos."""
        from kindred.expressive.baselines import WeighedLayers, fit_baselines
        from kindred.expressive.features import load
        from kindred.expressive.labels import read_labels
        from kindred.expressive.measuring import Judged
        from kindred.expressive.scorers import OracleScorer, RetrieverScorer, untrained

        labels = read_labels(self.folder / bundle.LABELS)
        features: Any = load(clips, self.home / "features", self.source)
        train = np.flatnonzero([(c.set, c.split) == ("factorial", "train") for c in clips])
        baselines = fit_baselines(
            [clips[row] for row in train], features.array[train], features.proxies[train]
        )
        retriever = self.folder / bundle.RETRIEVER
        folders = {name: self.folder / place for name, place in bundle.MODELS.items()}
        loads = {"oracle": OracleScorer.load}
        trained: dict[str, list[Any]] = {
            name: [loads.get(name, RetrieverScorer.load)(folder / str(n)) for n in self._seeds()]
            for name, folder in folders.items()
        }
        [discovery] = [
            each
            for each in baselines
            if isinstance(each, WeighedLayers) and each.name == "discovery"
        ]
        (self.folder / DISCOVERY).parent.mkdir(exist_ok=True)
        with replacing(self.folder / DISCOVERY) as out:
            np.savez(out, mean=discovery.mean, scale=discovery.scale, weights=discovery.weights)
        people = labels.human.within("test")
        return Judged(
            dataset=labels.version,
            feature_id=self.source.feature_id,
            model=bundle.models_digest(self.folder),
            clips=tuple(clips),
            features=features.array,
            proxies=features.proxies,
            contenders={**{each.name: [each] for each in baselines}, **trained},
            placebos={
                "shuffled levels": RetrieverScorer.load(retriever / "placebo"),
                "untrained": untrained(self.options.seed, like=retriever / "seeds" / "0"),
            },
            people=people,
            heard=self._heard(people),
        )


@dataclass(frozen=True)
class _Task:
    """What one process trains: a seed's oracle and retrievers, or the placebo."""

    folder: Path
    seed: int
    options: TrainingOptions
    placebo: bool = False

    @property
    def folders(self) -> tuple[Path, ...]:
        """The oracle's folder, the distilled retriever's, and that of the one from labels."""
        if self.placebo:
            return (self.folder / bundle.RETRIEVER / "placebo",)
        return tuple(self.folder / place / str(self.seed) for place in bundle.MODELS.values())


def train_seed(task: _Task, *, data: TrainingSet) -> None:
    """Train what a task names, or go on with it; may be killed at any moment."""
    from kindred.expressive.training import train_oracle, train_retriever

    def report(folder: Path) -> Progress:
        def note(done: int, total: int, words: str) -> None:
            (folder / _EPOCHS).write_text(str(done))

        return note

    if task.placebo:
        [folder] = task.folders
        shuffled = np.random.default_rng(task.seed).permutation(data.levels, axis=0)
        data = replace(data, levels=shuffled)
        train_retriever(data, folder, task.options, progress=report(folder))
    else:
        oracle, distilled, from_labels = task.folders
        train_oracle(data, oracle, task.options, progress=report(oracle))
        train_retriever(data, distilled, task.options, teacher=oracle, progress=report(distilled))
        train_retriever(data, from_labels, task.options, progress=report(from_labels))
    for folder in task.folders:
        (folder / _EPOCHS).unlink(missing_ok=True)


def _epochs(folder: Path, task: _Task) -> int:
    """Epochs that are done, as training writes them; all of them when it is finished."""
    if (folder / TRAINING).exists():
        return task.options.epochs
    try:
        return int((folder / _EPOCHS).read_text())
    except (OSError, ValueError):  # not begun, or being written
        return 0


def _codes(names: Sequence[str]) -> np.ndarray:
    return np.unique(names, return_inverse=True)[1]


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _write(folder: Path, record: RunRecord) -> None:
    with replacing(_record(folder)) as out:
        out.write(json.dumps(asdict(record), indent=1).encode() + b"\n")
