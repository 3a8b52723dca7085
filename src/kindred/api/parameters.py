"""What the API's routes take in the address; a name that is not among these is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from kindred.search.query import MAX_K
from kindred.storage.records import TrackFilter

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
K = Annotated[int, Field(ge=1, le=MAX_K, description="How many answers.")]
_MANY = 20


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")  # a name that is misspelt is not passed over


def _names(what: str) -> Any:
    return Field(default=[], max_length=_MANY, description=f"{what}; may be given several times.")


class _Filters(_Parameters):
    composer: list[Name] = _names("Only this composer, whole name, without regard to case")
    artist: list[Name] = _names("Only this artist")
    album: list[Name] = _names("Only this album")
    genre: list[Name] = _names("Only this genre")

    def where(self) -> TrackFilter:
        """The filter they make."""
        return TrackFilter(
            composers=tuple(self.composer),
            artists=tuple(self.artist),
            albums=tuple(self.album),
            genres=tuple(self.genre),
        )


class TracksParameters(_Filters):
    """Which tracks are listed."""

    limit: int = Field(100, ge=1, le=1000, description="Tracks on a page.")
    offset: int = Field(0, ge=0, le=2**53, description="Tracks before the page.")
    q: str = Field("", max_length=200, description="Text in the title, without regard to case.")


class NearestParameters(_Parameters):
    """How many answers."""

    k: K = 10


class EvaluationParameters(_Parameters):
    """How many answers are judged."""

    k: K = 5


class ClipParameters(_Filters):
    """What answers a clip."""

    k: K = 10


class SearchParameters(ClipParameters):
    """What is looked for."""

    track_id: list[Name] = Field(
        min_length=1, max_length=_MANY, description="A track to be near to; may be repeated."
    )
    minus: list[Name] = _names("A track to be far from")
    not_same: list[Literal["album", "artist", "work"]] = Field(
        default=[], max_length=3, description="What answers may not share with the tracks."
    )
    diversity: float = Field(
        0, ge=0, le=1, allow_inf_nan=False, description="0: nearest; 1: most unlike each other."
    )
