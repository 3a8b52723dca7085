"""The routes: read the parameters, ask the source, give its answer the documented form."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlencode

import anyio
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BeforeValidator, ValidationError

from kindred.api import models, parameters
from kindred.api.access import Access
from kindred.api.errors import Refusal
from kindred.api.source import Source
from kindred.api.uploads import BODY, received
from kindred.errors import TrackNotFound
from kindred.evaluation.summary import BESIDE, HEADLINE, in_words
from kindred.search.query import Clip, SimilarQuery
from kindred.storage.records import Track

T = TypeVar("T")
TrackId = Annotated[
    str,
    # The part of the path comes encoded, see kindred.api.middleware.
    BeforeValidator(lambda text: unquote(text) if isinstance(text, str) else text),
    Path(min_length=1, max_length=200, description="A track's id."),
]


def _may(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Statuses of refusal that a route documents."""
    return {status: {"model": models.ErrorAnswer} for status in statuses}


def build_routes(source: Source, access: Access) -> APIRouter:
    """The API's routes over a source."""
    open_to_all = APIRouter(responses=_may(422, 503))
    router = APIRouter(dependencies=[Depends(access.check)], responses=_may(401, 422, 503))

    @open_to_all.get("/health", response_model=models.Health)
    def health() -> dict[str, Any]:
        """Whether it can answer, how many tracks it has and which encoder is in use."""
        return source.health()

    @router.get("/models", response_model=models.Models)
    def list_models() -> dict[str, Any]:
        """The encoders there are and whether each can be used now."""
        return {"models": source.models()}

    _track_routes(router, source)
    _search_routes(router, source)
    _evaluation_routes(router, source)
    open_to_all.include_router(router)
    return open_to_all


def _one(source: Source, track_id: str) -> Track:
    found = source.get_tracks([track_id])
    if not found:
        raise TrackNotFound(track_id)
    return found[0]


def _track_routes(router: APIRouter, source: Source) -> None:
    @router.get("/tracks", response_model=models.TrackPage)
    def tracks(
        request: Request, asked: Annotated[parameters.TracksParameters, Query()]
    ) -> dict[str, Any]:
        """The tracks, by id; filters narrow them down."""
        ids = source.listing().find(asked.where(), asked.q)
        end = asked.offset + asked.limit
        following = None
        if end < len(ids):
            kept = [pair for pair in request.query_params.multi_items() if pair[0] != "offset"]
            following = f"{request.url.path}?{urlencode([*kept, ('offset', end)])}"
        return {
            "total": len(ids),
            "limit": asked.limit,
            "offset": asked.offset,
            "next": following,
            "tracks": list(map(models.TrackAnswer.of, source.get_tracks(ids[asked.offset : end]))),
        }

    @router.get("/tracks/{track_id}", response_model=models.TrackAnswer, responses=_may(404))
    def track(track_id: TrackId) -> models.TrackAnswer:
        """One track."""
        return models.TrackAnswer.of(_one(source, track_id))

    @router.get(
        "/tracks/{track_id}/cover",
        response_class=Response,
        responses={200: {"content": {"image/png": {}, "image/jpeg": {}}}, **_may(404)},
    )
    def cover(track_id: TrackId) -> Response:
        """The track's cover art as it came."""
        image = source.cover(track_id)
        if image is None:
            raise Refusal(404, "NoCover", "This track has no cover art here.")
        kind = "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"
        return Response(image, media_type=kind)


def _search_routes(router: APIRouter, source: Source) -> None:
    # Decoding and encoding take a core each: more at once would only take more memory.
    limiter = anyio.CapacityLimiter(os.cpu_count() or 1)

    @router.get(
        "/tracks/{track_id}/nearest",
        response_model=models.Matches,
        response_model_exclude_unset=True,
        responses=_may(400, 404),
    )
    def nearest(
        track_id: TrackId, asked: Annotated[parameters.NearestParameters, Query()]
    ) -> dict[str, Any]:
        """The tracks that sound most like one."""
        return source.similar(SimilarQuery(plus=(track_id,), k=asked.k)).to_dict()

    @router.get(
        "/search",
        response_model=models.Matches,
        response_model_exclude_unset=True,
        responses=_may(400, 404),
    )
    def search(asked: Annotated[parameters.SearchParameters, Query()]) -> dict[str, Any]:
        """The tracks that sound like some tracks, and unlike others."""
        query = SimilarQuery(
            plus=tuple(dict.fromkeys(asked.track_id)),
            minus=tuple(dict.fromkeys(asked.minus)),
            k=asked.k,
            where=asked.where(),
            not_same=tuple(asked.not_same),
            diversity=asked.diversity,
        )
        return source.similar(query).to_dict()

    async def heard(request: Request, answer: Callable[[Clip], T]) -> T:
        if not source.hears:
            raise Refusal(
                409,
                "ModelNeeded",
                "This server has an artifact and no model, so it cannot hear audio. Ask one that"
                " serves a library, or search by track_id.",
            )
        async with received(request, max_bytes=source.max_upload_bytes) as (path, name):
            return await anyio.to_thread.run_sync(
                lambda: answer(source.embed(path, name)), limiter=limiter
            )

    taking = _may(400, 408, 409, 413, 415)

    @router.post("/embed", response_model=models.Embedded, responses=taking, openapi_extra=BODY)
    async def embed(request: Request) -> dict[str, Any]:
        """Audio as a vector of the encoder in use; nothing is kept."""
        return await heard(
            request,
            lambda clip: {
                "name": clip.name,
                "space": clip.space.to_dict(),
                "vector": clip.vector.tolist(),
            },
        )

    @router.post(
        "/search_by_audio",
        response_model=models.Matches,
        response_model_exclude_unset=True,
        responses=taking,
        openapi_extra=BODY,
    )
    async def search_by_audio(
        request: Request, asked: Annotated[parameters.ClipParameters, Query()]
    ) -> dict[str, Any]:
        """The tracks that sound most like audio, which is not kept."""
        query = partial(SimilarQuery, k=asked.k, where=asked.where())
        return await heard(request, lambda clip: source.similar(query(clip=clip)).to_dict())


def _evaluation_routes(router: APIRouter, source: Source) -> None:
    @router.get(
        "/tracks/{track_id}/composer-eval",
        response_model=models.ComposerEvaluation,
        responses=_may(400, 404),
    )
    def composer_eval(
        track_id: TrackId, asked: Annotated[parameters.EvaluationParameters, Query()]
    ) -> dict[str, Any]:
        """Whether the nearest tracks are by the same composer, with chance and ceiling."""
        _one(source, track_id)
        gallery = source.gallery()
        composer, judged = gallery.composer(track_id), gallery.judge(track_id, k=asked.k)
        reason = ""
        if not composer:
            reason = "This track names no composer, so nothing is relevant to it."
        elif not judged["plain"].relevant:
            reason = f"No other track is by {composer}, so there is nothing to find."
        elif not judged["controlled"].relevant:
            reason = (
                f"Every other track by {composer} is of the same work or album or a near-duplicate,"
                " so the controlled variant has nothing to find."
            )
        return {
            "track_id": track_id,
            "composer": composer,
            "k": asked.k,
            "space": gallery.space.to_dict(),
            "reason": reason,
        } | {
            variant: {
                "relevant": found.relevant,
                "gallery": found.gallery,
                **found.scores,
                "hits": _hits(source, found.hits),
            }
            for variant, found in judged.items()
        }

    @router.get("/eval/summary", response_model=models.Evaluations, responses=_may(404))
    def eval_summary() -> dict[str, Any]:
        """What the newest evaluation of each encoder found."""
        return {"evaluations": _newest(source.reports())}


def _hits(source: Source, found: Sequence[tuple[Any, bool]]) -> list[dict[str, Any]]:
    tracks = {t.track_id: t for t in source.get_tracks([hit.track_id for hit, _ in found])}
    return [
        {
            "track_id": hit.track_id,
            "title": track.title,
            "composer": track.composer,
            "album": track.album,
            "similarity": round(hit.similarity, 6),
            "relevant": relevant,
        }
        for hit, relevant in found
        if (track := tracks.get(hit.track_id)) is not None  # one may have been removed since
    ]


def _newest(reports: Sequence[dict[str, Any]]) -> list[models.Evaluation]:
    """The newest report of each system and label.

    Raises
    ------
    Refusal
        When there is none.
    """
    found: dict[tuple[str, str], models.Evaluation] = {}
    for report in reports:
        try:
            evaluation = _evaluation(report)
        except (KeyError, TypeError, AttributeError, ValidationError):
            continue  # an artifact may hold what another program measured
        found.setdefault((evaluation.name, evaluation.label), evaluation)
    if not found:
        what = "an evaluation this server cannot read" if reports else "no evaluation"
        raise Refusal(
            404,
            "NoEvaluation",
            f"There is {what}. `kindred evaluate composers` makes one, and an artifact that is"
            " exported then takes it along.",
        )
    return list(found.values())


def _evaluation(report: dict[str, Any]) -> models.Evaluation:
    variants: dict[str, Any] = {}
    for variant in BESIDE:
        found = report["variants"][variant]
        variants[variant] = {
            "queries": found["queries"],
            "singletons": found["singletons"],
            **{name: found[f"{name}@{report['k']}"] for name in HEADLINE},
        }
    same = ("name", "label", "k", "run_id", "created_at", "tracks", "warnings")
    values = {name: report[name] for name in same} | variants
    return models.Evaluation.model_validate({**values, "sentence": in_words(report)})
