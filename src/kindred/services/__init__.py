"""The composition root: everything a page, the API or a command needs, built from the settings.

Services are safe to share between threads. Encoders are loaded when first used and kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kindred.audit.study import Design
from kindred.config import Settings, load_settings
from kindred.embeddings import registry
from kindred.embeddings.encoder import Encoder
from kindred.embeddings.space import EmbeddingSpace
from kindred.errors import AudioError, ConfigError, EncoderError, QueryError
from kindred.jobs.runner import JobControl, Jobs
from kindred.library.catalogue import Catalogue, ImportSummary
from kindred.library.ingest import Ingest, IngestSummary, Progress, library_lock
from kindred.library.uploads import Uploads
from kindred.maps.options import MapOptions
from kindred.search.query import Clip, Search, SimilarQuery, SimilarResult
from kindred.services.audits import Audits
from kindred.services.evaluations import Evaluations, Options
from kindred.services.expressive import Expressive
from kindred.services.maps import Maps
from kindred.services.stores import Stores
from kindred.storage.backend import StorageBackend
from kindred.storage.factory import open_storage
from kindred.storage.records import JobRecord

if TYPE_CHECKING:
    from kindred.artifacts.export import ExportSummary
    from kindred.artifacts.importing import ArtifactImport
    from kindred.evaluation.text import TextReport


@dataclass(frozen=True)
class ActiveEncoder:
    """The encoder in use and, in words, why; ``notice`` says what is missing, if anything."""

    name: str
    title: str
    reason: str
    notice: str = ""
    command: str = ""
    replaces: str = ""
    """The encoder that was asked for and cannot be used."""
    fetch: str = ""
    """The encoder whose weights, once fetched, would change that."""


@dataclass(frozen=True)
class ModelState:
    """An encoder as it stands: ``size`` in bytes, ``covered`` of ``total`` tracks embedded."""

    name: str
    title: str
    description: str
    licence: str
    dims: int
    ready: bool
    notice: str
    command: str
    size: int
    revision: str
    removable: bool
    active: bool
    covered: int
    total: int
    needs_weights: bool


class Services:
    """What Kindred can do, for one library.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.storage: StorageBackend = open_storage(settings)
        self.catalogue = Catalogue(self.storage)
        self.uploads = Uploads(
            self.storage, home=settings.library, max_bytes=settings.max_upload_mb << 20
        )
        self.stores = Stores(settings, self.storage)
        self.evaluations = Evaluations(
            self.storage, settings.library / "evaluations", lambda name: self.encoder(name).space
        )
        self.maps = Maps(
            self.storage, settings.library / "maps", lambda name: self.encoder(name).space
        )
        self.audits = Audits(
            self.storage,
            settings.library / "audit",
            lambda name: self.encoder(name).space,
            self.embedded_encoders,
        )
        self.expressive = Expressive(settings, self.storage)
        self.jobs = Jobs(
            self.storage,
            settings.library,
            {
                "ingest": self._ingest_job,
                "uploads": self._uploads_job,
                "import": self._import_job,
                "demo": self._demo_job,
                "fetch-model": self._fetch_job,
                "change-encoder": self._change_job,
                "migrate": self._move_job,
                "sync": self._move_job,
                "evaluate": self._evaluate_job,
                "map": self._map_job,
                "audit": self._audit_job,
                "expressive": self._expressive_job,
                "analyse": self._analyse_job,
            },
        )
        self._encoders: dict[str, Encoder] = {}
        self._texts: dict[str, registry.TextEncoder] = {}
        self._text_faults: dict[str, EncoderError] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Release the storage."""
        self.storage.close()

    def public_url(self) -> str:
        """The address under which listeners reach their sittings, without a slash at the end."""
        found = self.settings.public_url.rstrip("/")
        return found or f"http://{self.settings.host}:{self.settings.port}"

    # -- encoders --------------------------------------------------------------------------
    def active_encoder(self) -> ActiveEncoder:
        """Say which encoder is in use and why.

        The one that was asked for (by KINDRED_ENCODER, else by the library's own choice), unless
        its weights are missing: then ``descriptors``, which needs none, and a notice.
        """
        chosen = self.storage.get_setting("encoder")
        if "encoder" in self.settings.model_fields_set:
            wanted, reason = self.settings.encoder, "chosen by KINDRED_ENCODER"
        elif chosen:
            wanted, reason = chosen, "chosen for this library"
        else:
            wanted, reason = self.settings.encoder, "the default, needs no download"
        infos = {info.name: info for info in registry.available()}
        titles = {name: info.title for name, info in infos.items()}
        status = registry.encoder_status(wanted, self.settings)
        if status.ready:
            notice, command = "", ""
            if wanted == "descriptors":
                clap = registry.encoder_status("clap", self.settings)
                notice, command = ("", "") if clap.ready else (clap.notice, clap.command)
            fetch = "clap" if notice else ""
            return ActiveEncoder(wanted, titles[wanted], reason, notice, command, fetch=fetch)
        weights = infos[wanted].needs_weights
        why = "whose weights are missing" if weights else "which is not ready"
        return ActiveEncoder(
            "descriptors",
            titles["descriptors"],
            f"in place of {titles[wanted]}, {why}",
            status.notice,
            status.command,
            replaces=wanted,
            fetch=wanted if weights else "",
        )

    def models(self) -> list[ModelState]:
        """Every encoder, with its weights and how much of the library it has embedded."""
        active = self.active_encoder().name
        total = self.storage.count_tracks()
        states = []
        for info in registry.available():
            status = registry.encoder_status(info.name, self.settings)
            weights = registry.weights(info.name, self.settings)
            states.append(
                ModelState(
                    name=info.name,
                    title=info.title,
                    description=info.description,
                    licence=info.licence,
                    dims=info.dims,
                    ready=status.ready,
                    notice=status.notice,
                    command=status.command,
                    size=weights.size,
                    revision=weights.revision,
                    removable=weights.removable,
                    active=info.name == active,
                    covered=self.coverage(info.name)[0] if status.ready else 0,
                    total=total,
                    needs_weights=info.needs_weights,
                )
            )
        return states

    def remove_weights(self, name: str) -> None:
        """Remove an encoder's weights from this machine.

        Raises
        ------
        EncoderError
            When there are none, or they were not put there by Kindred.
        """
        with self._lock:
            self._encoders.pop(name, None)
            self._texts.pop(name, None)
            self._text_faults.pop(name, None)
        registry.remove(name, self.settings)

    def coverage(self, name: str) -> tuple[int, int]:
        """Tracks that have vectors of an encoder, and tracks in all."""
        hashes = self.storage.embedded_hashes(self.encoder(name).space)
        return len(hashes), self.storage.count_tracks()

    def embedded_encoders(self) -> list[str]:
        """Names of the encoders that can be used now and have vectors of this library."""
        embedded = [space for space, _ in self.storage.spaces()]
        spaces = {space.space_id for space in embedded}
        models = {space.model for space in embedded}
        return [
            info.name
            for info in registry.available()
            if info.name in models
            and registry.encoder_status(info.name, self.settings).ready
            and self.encoder(info.name).space.space_id in spaces
        ]

    def use_encoder(
        self,
        name: str,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> IngestSummary:
        """Embed the library with an encoder, then let it answer; the old one serves until then."""
        summary = self.read(encoder=name, progress=progress, cancelled=cancelled)
        if not summary.cancelled:
            self.storage.put_setting("encoder", name)
        return summary

    def change_encoder(self, name: str) -> JobRecord:
        """Start the job that embeds the library anew; the old encoder serves until it is done."""
        self.encoder(name)  # fails here, not in the job, when it cannot be used
        return self.jobs.start("change-encoder", {"encoder": name})

    def encoder(self, name: str | None = None) -> Encoder:
        """Load an encoder, the active one by default.

        Raises
        ------
        UnknownEncoder, WeightsMissing
        """
        name = name or self.active_encoder().name
        with self._lock:
            if name == "expressive" and not self.expressive.is_current(self._encoders.get(name)):
                self._encoders.pop(name, None)  # another retriever was released, or none is
            if name not in self._encoders:
                self._encoders[name] = registry.load_encoder(name, self.settings)
            return self._encoders[name]

    def space(self) -> EmbeddingSpace:
        """The space of the active encoder."""
        return self.encoder().space

    # -- library ---------------------------------------------------------------------------
    def ingest(self, encoder: str | None = None) -> Ingest:
        """The ingest into this library."""
        return Ingest(
            self.storage,
            self.encoder(encoder),
            home=self.settings.library,
            workers=self.settings.workers,
        )

    def read(
        self,
        paths: Sequence[str | Path] = (),
        *,
        encoder: str | None = None,
        retry: bool = False,
        names: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> IngestSummary:
        """Ingest with an encoder, and with ``descriptors``, which say why tracks match.

        Parameters and errors are those of :meth:`kindred.library.ingest.Ingest.run`.
        """
        summary = self.ingest(encoder).run(
            paths, names=names, retry=retry, progress=progress, cancelled=cancelled
        )
        if self.encoder(encoder).space.model != "descriptors" and not summary.cancelled:
            beside = self.ingest("descriptors").run(paths, progress=progress, cancelled=cancelled)
            summary.cancelled = beside.cancelled
        return summary

    def demo(
        self,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> IngestSummary:
        """Render the demo library, where it is not there yet, and ingest it."""
        from kindred.demo import render_demo

        folder = self.settings.library / "demo"

        def rendering(done: int, total: int, name: str) -> None:
            if cancelled():
                raise KeyboardInterrupt
            if progress:
                progress(done, 2 * total, f"rendering {name}")

        def ingesting(done: int, total: int, name: str) -> None:
            if progress:
                progress(total + done, 2 * total, f"listening to {name}")

        try:
            render_demo(folder, progress=rendering)
        except KeyboardInterrupt:
            return IngestSummary(cancelled=True)
        return self.read([folder], progress=ingesting, cancelled=cancelled)

    def import_table(
        self,
        table: Path,
        audio_root: Path | None,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[ImportSummary, IngestSummary]:
        """Bring in a table of metadata and the audio it names.

        Raises
        ------
        ImportRejected
            When the file as a whole is not such a table.
        LibraryBusy
            When another process is writing.
        """
        with library_lock(self.settings.library):
            outcome = self.catalogue.import_csv(
                table, audio_root=audio_root, progress=progress, cancelled=cancelled
            )
        if cancelled() or not outcome.paths:
            return outcome, IngestSummary(cancelled=cancelled())
        summary = self.read(outcome.paths, progress=progress, cancelled=cancelled)
        return outcome, summary

    def upload_table(self, table: bytes, audio_root: str) -> JobRecord:
        """Take an uploaded table and start the job that brings it in."""
        batch = self.uploads.stage([("tracks_metadata.csv", BytesIO(table))])
        return self.jobs.start("import", {"batch": batch, "audio_root": audio_root})

    def upload(self, files: list[tuple[str, BinaryIO]]) -> JobRecord:
        """Take uploaded files and start the job that ingests them."""
        return self.jobs.start("uploads", {"batch": self.uploads.stage(files)})

    # -- search ----------------------------------------------------------------------------
    def similar(self, query: SimilarQuery, encoder: str | None = None) -> SimilarResult:
        """Answer a query in the space of its clip, the encoder named, or the active one."""
        from kindred.embeddings.descriptors import family_shares

        search = Search(
            self.storage, descriptors=self.encoder("descriptors").space, reasons=family_shares
        )
        if encoder is None and query.clip is not None:
            return search.similar(query, query.clip.space)
        return search.similar(query, self.encoder(encoder).space)

    # -- words -----------------------------------------------------------------------------
    def words_encoder(self) -> str:
        """Name of an encoder that understands words and has vectors of this library.

        Raises
        ------
        EncoderError
            When there is none; the message says what to do.
        """
        active = self.active_encoder().name
        able = [name for name in self.embedded_encoders() if registry.understands_words(name)]
        if active in able:
            return active
        if able:
            return able[0]
        raise EncoderError(
            "Words need CLAP vectors of the library: fetch CLAP and embed the library with it, on"
            " the Models page or by `kindred models pull clap` and `kindred models use clap`."
        )

    def text_encoder(self, name: str | None = None) -> registry.TextEncoder:
        """Load a text tower, by default that of :meth:`words_encoder`.

        Raises
        ------
        EncoderError, WeightsMissing
        """
        name = name or self.words_encoder()
        with self._lock:
            if name in self._text_faults:  # reading a tower takes seconds: not twice in vain
                raise self._text_faults[name]
            if name not in self._texts:
                text = registry.load_text_encoder(name, self.settings)
                text.check_files()
                try:
                    text.encode_text(["music"])
                except EncoderError as error:
                    self._text_faults[name] = error
                    raise
                self._texts[name] = text
            return self._texts[name]

    def words(self, text: str, encoder: str | None = None) -> Clip:
        """Turn words into an example to search by: "warm strings:2; not drums".

        Raises
        ------
        QueryError
            When the words cannot be used.
        EncoderError
            When no encoder here understands words.
        """
        from kindred.search.words import parse_words, words_vector

        phrases = parse_words(text)
        tower = self.text_encoder(encoder)
        return Clip(text.strip(), tower.space, words_vector(phrases, tower.encode_text), "text")

    def tags_of(self, track_id: str) -> dict[str, list[tuple[str, float]]]:
        """Zero-shot tags of a track, by kind; empty where no encoder understands words.

        The vocabulary is ``vocabulary.csv`` in the library folder, else the one that ships.

        Raises
        ------
        EncoderError
            When the text tower that should do it cannot be used.
        ImportRejected
            When the vocabulary cannot be read.
        """
        from kindred.search.tagging import Tagger, load_vocabulary

        try:
            name = self.words_encoder()
        except EncoderError:
            return {}
        tower = self.text_encoder(name)
        own = self.settings.library / "vocabulary.csv"
        vocabulary = load_vocabulary(own if own.is_file() else None)
        tagger = Tagger(
            vocabulary,
            tower.encode_text,
            space=tower.space,
            cache=self.settings.library / "vocabulary",
        )
        found, vectors = self.storage.get_embeddings(tower.space, [track_id])
        return dict(tagger.tags(vectors)[0]) if found else {}

    def evaluate_text(self, encoder: str | None = None) -> TextReport:
        """Score how well words find the library's tracks, by captions made of their tags."""
        from kindred.evaluation.text import evaluate_text

        tower = self.text_encoder(encoder)
        return evaluate_text(self.storage, tower.space, tower.encode_text)

    # -- artifacts -------------------------------------------------------------------------
    def export_artifact(
        self,
        directory: Path,
        encoder: str | None = None,
        *,
        audio: bool = False,
        audio_rate: int | None = 16_000,
        index: bool = True,
        run_id: str | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> ExportSummary:
        """Write ``directory/v1_model_<MODEL>``: an encoder's vectors as files for other programs.

        The newest evaluation of the encoder as it is, or the one named, goes with it.

        Raises
        ------
        ArtifactError
            When something that is no artifact stands in its place.
        QueryError
            When the evaluation that was named is not there, or not of this encoder.
        """
        from kindred.artifacts.export import export_artifact
        from kindred.artifacts.layout import folder_name

        name = encoder or self.active_encoder().name
        space = self.encoder(name).space
        return export_artifact(
            self.storage,
            space,
            directory / folder_name(space),
            audio=audio,
            audio_rate=audio_rate,
            index=index,
            ann_threshold=self.settings.ann_threshold,
            evaluation=self._evaluation_of(name, run_id),
            progress=progress,
            cancelled=cancelled,
        )

    def _evaluation_of(self, encoder: str, run_id: str | None) -> dict[str, Any] | None:
        """An evaluation of an encoder's stored vectors by cosine: the one named, or the newest."""
        runs = [self.evaluations.get(run_id)] if run_id else self.evaluations.runs()
        for run in sorted(runs, key=lambda run: run.run_id, reverse=True):
            for report in run.body["reports"]:
                if report["name"] == encoder:
                    facts = ("run_id", "created_at", "options", "library", "versions")
                    found: dict[str, Any] = report | {name: run.body[name] for name in facts}
                    return found
        if run_id:
            raise QueryError(f"The evaluation {run_id} is not of the vectors of {encoder}.")
        return None

    def import_artifact(
        self,
        folder: Path,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> ArtifactImport:
        """Bring an artifact's tracks and vectors into the library.

        Raises
        ------
        ArtifactError
            When it is not whole.
        LibraryBusy
            When another process is writing.
        """
        from kindred.artifacts.importing import import_artifact

        with library_lock(self.settings.library):
            return import_artifact(
                self.storage, folder, overwrite=overwrite, progress=progress, cancelled=cancelled
            )

    # -- clips -----------------------------------------------------------------------------
    def embed_clip(
        self, path: Path, *, name: str = "", encoder: str | None = None, seconds: float = 600
    ) -> Clip:
        """Embed a clip without adding it to the library; its first ``seconds`` are heard.

        Raises
        ------
        AudioError
            When it cannot be used as audio.
        """
        from kindred.audio.decode import decode

        loaded = self.encoder(encoder)
        name = name or path.name
        try:
            audio = decode(path, sample_rate=loaded.space.sample_rate, max_seconds=seconds)
        except AudioError as error:
            raise AudioError(error.code, f"{name}: {error}") from error
        return Clip(name, loaded.space, loaded.embed(audio).vector)

    # -- jobs ------------------------------------------------------------------------------
    def _ingest_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        summary = self.read(
            params.get("paths", ()),
            encoder=params.get("encoder"),
            retry=params.get("retry", False),
            progress=control.progress,
            cancelled=control.cancelled,
        )
        return summary.to_dict() | {"sentence": summary.sentence()}

    def _uploads_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        outcome = self.uploads.ingest(
            params["batch"],
            self.read,
            progress=control.progress,
            cancelled=control.cancelled,
        )
        summary = outcome.summary
        return summary.to_dict() | {"sentence": summary.sentence(), "refused": outcome.refused}

    def _change_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        name = params["encoder"]
        summary = self.use_encoder(name, progress=control.progress, cancelled=control.cancelled)
        if summary.cancelled:
            return summary.to_dict()
        done, total = self.coverage(name)
        sentence = f"{name} is in use; {done} of {total} tracks have its vectors"
        return summary.to_dict() | {"sentence": sentence}

    def _import_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        table = self.uploads.folder(params["batch"]) / "0"
        outcome, summary = self.import_table(
            table,
            Path(params["audio_root"]),
            progress=control.progress,
            cancelled=control.cancelled,
        )
        sentence = f"{outcome.imported} rows imported, {len(outcome.problems)} left out"
        refused = [(f"Line {line}", reason) for line, reason in outcome.problems]
        return summary.to_dict() | {
            "sentence": f"{sentence}; {summary.sentence()}",
            "refused": refused,
        }

    def _demo_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        summary = self.demo(progress=control.progress, cancelled=control.cancelled)
        return summary.to_dict() | {"sentence": summary.sentence()}

    def _move_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        moved = self.stores.move(
            params["a"],
            params["b"],
            migrate=params.get("migrate", False),
            prefer=params.get("prefer"),
            progress=control.progress,
            cancelled=control.cancelled,
        )
        lines = moved.lines()
        return moved.to_dict() | {
            "cancelled": moved.report.cancelled,
            "sentence": "; ".join(lines[:2]),
            "refused": [("Refused", reason) for reason in moved.report.refused],
        }

    def _evaluate_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        options = Options.from_dict(params)
        run = self.evaluations.run(options, progress=control.progress, cancelled=control.cancelled)
        if run is None:
            return {"cancelled": True}
        return {"run_id": run.run_id, "sentence": run.title}

    def _map_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        made = self.maps.build(
            params["encoder"],
            MapOptions.from_dict(params["options"]),
            again=params.get("again", False),
            progress=control.progress,
            cancelled=control.cancelled,
        )
        if made is None:
            return {"cancelled": True}
        return {"map_id": made.map_id, "sentence": "; ".join(made.lines())}

    def _expressive_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        run_id = params["run_id"]
        made = self.expressive.go_on(run_id, progress=control.progress, cancelled=control.cancelled)
        if not made:
            return {"cancelled": True}
        return {"run_id": run_id, "sentence": self.expressive.run(run_id).title}

    def _analyse_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        clips = self.expressive.analyse(
            params["run_id"], progress=control.progress, cancelled=control.cancelled
        )
        sentence = f"{len(clips.places)} tracks, {len(clips)} clips of 12 s"
        if clips.unread:
            sentence += f"; {len(clips.unread)} could not be read"
        return {"cancelled": control.cancelled(), "sentence": sentence}

    def _audit_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        found = self.audits.draw(
            Design.from_dict(params["design"]),
            progress=control.progress,
            cancelled=control.cancelled,
        )
        if found is None:
            return {"cancelled": True}
        study, drawn = found
        return {
            "study_id": study.study_id,
            "sentence": f"{study.design.title}: {len(study.items)} items drawn, their clips made",
            "warnings": list(drawn.warnings),
        }

    def _fetch_job(self, params: dict[str, Any], control: JobControl) -> dict[str, Any]:
        def report(done: int, total: int, message: str) -> None:
            control.progress(done, total, message)
            if control.cancelled():
                raise _Cancelled

        try:
            registry.fetch(params["name"], self.settings, progress=report)
        except _Cancelled:
            return {"cancelled": True}
        return {"sentence": f"{params['name']} is here. The Models page puts it to use."}


class _Cancelled(Exception):
    """A download was asked to stop."""


def build(settings: Settings | None = None, **overrides: Any) -> Services:
    """Build the services from the environment.

    Raises
    ------
    ConfigError
        When a setting cannot be used.
    StorageError
        When the library cannot be opened.
    """
    settings = settings or load_settings(**overrides)
    names = [info.name for info in registry.available()]
    if settings.encoder not in names:
        raise ConfigError(f"KINDRED_ENCODER takes {' or '.join(names)}, got {settings.encoder!r}.")
    return Services(settings)
