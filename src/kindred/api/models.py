"""What the API answers; with the parameters the OpenAPI description is made of these.

Similarity is the cosine in [-1, 1], higher is nearer.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from kindred.storage.records import Track


def track_dict(track: Track) -> dict[str, Any]:
    """A track as `kindred tracks --json` gives it."""
    return {
        "track_id": track.track_id,
        "title": track.title,
        "composer": track.composer,
        "album": track.album,
        "artist": track.artist,
        "path": track.path,
        "duration": track.duration,
    }


class ErrorDetail(BaseModel):
    """Why a request was refused."""

    type: str
    message: str
    request_id: str
    code: str | None = Field(None, description="Why audio cannot be used, e.g. `not-audio`.")


class ErrorAnswer(BaseModel):
    """The body of every answer from 400 on."""

    error: ErrorDetail


class Health(BaseModel):
    """Whether the API can answer, and from what."""

    status: Literal["ok"]
    version: str
    source: Literal["library", "artifact"]
    tracks: int
    encoder: str
    encoder_reason: str
    storage: str
    notice: str = Field(description="What is out of order; empty while all is well.")


class Model(BaseModel):
    """An encoder; `ready` says whether it can hear audio here and now."""

    name: str
    title: str
    dims: int
    ready: bool
    active: bool
    notice: str


class Models(BaseModel):
    """The encoders there are."""

    models: list[Model]


class TrackAnswer(BaseModel):
    """A track; `path` is its file on the server, empty where there is none."""

    track_id: str
    title: str
    composer: str
    album: str
    artist: str
    path: str
    duration: float = Field(description="Seconds.")
    work: str
    genre: str
    year: int | None

    @classmethod
    def of(cls, track: Track) -> TrackAnswer:
        """A track as the API gives it."""
        path = track.path.encode("utf-8", "backslashreplace").decode()  # names need not be UTF-8
        more = {"path": path, "work": track.work, "genre": track.genre, "year": track.year}
        return cls(**(track_dict(track) | more))


class TrackPage(BaseModel):
    """Some of the tracks, by id; `next` is the address of the next page, if there is one."""

    total: int
    limit: int
    offset: int
    next: str | None
    tracks: list[TrackAnswer]


class Space(BaseModel):
    """What makes vectors comparable; only vectors of one `space_id` are."""

    space_id: str
    model: str
    revision: str
    sample_rate: int
    window: float
    hop: float
    pooling: str
    dims: int


class Asked(BaseModel):
    """The query as it was understood."""

    track_ids: list[str]
    minus: list[str]
    k: int
    track_id: str | None = None
    audio: str | None = None


class Hit(BaseModel):
    """A track that answers."""

    track_id: str
    title: str
    composer: str
    album: str
    similarity: float


class Matches(BaseModel):
    """The nearest tracks, nearest first, as `kindred similar --json` gives them."""

    query: Asked
    space: Space
    index: str
    hits: list[Hit]


class Score(BaseModel):
    """A measure of one query, with what a random and a perfect order score; null: no query."""

    value: float | None
    chance: float | None
    ceiling: float | None


class JudgedHit(Hit):
    """A track that answers, and whether it is by the query's composer."""

    relevant: bool


class JudgedAnswer(BaseModel):
    """An answer, judged: `relevant` of the `gallery` tracks are by the query's composer."""

    relevant: int
    gallery: int
    precision: Score
    hit_rate: Score
    ndcg: Score
    hits: list[JudgedHit]


class ComposerEvaluation(BaseModel):
    """Whether a track's answer holds tracks of its composer.

    `plain` leaves out the track itself; `controlled` also the tracks of its work and album and its
    near-duplicates. `reason` says why there is nothing to measure, where there is not.
    """

    track_id: str
    composer: str
    k: int
    space: Space
    reason: str
    plain: JudgedAnswer
    controlled: JudgedAnswer


class MeanScore(BaseModel):
    """A mean over composers (macro) and over queries (micro); null where there is no query."""

    macro: float | None
    ci95: tuple[float, float] | None
    chance: float | None
    ceiling: float | None
    micro: float | None


class Means(BaseModel):
    """Means over `queries`; `singletons` had nothing relevant to find."""

    queries: int
    singletons: int
    precision: MeanScore
    hit_rate: MeanScore
    ndcg: MeanScore


class Evaluation(BaseModel):
    """What the newest evaluation of an encoder found."""

    name: str
    label: str
    k: int
    run_id: str
    created_at: str
    tracks: int
    sentence: str
    plain: Means
    controlled: Means
    warnings: list[str]


class Evaluations(BaseModel):
    """The newest evaluation of each encoder and label, newest first."""

    evaluations: list[Evaluation]


class Embedded(BaseModel):
    """Audio as a unit vector of a space."""

    name: str
    space: Space
    vector: list[float]
