"""What a request that is refused gets: a status, and one body for every kind of refusal.

::

    {"error": {"type": "TrackNotFound", "message": "No track has ...", "request_id": "..."}}

``type`` is the name of an error of :mod:`kindred.errors`, or one of those below; audio that cannot
be used adds its ``code``. Statuses from 500 on are the server's own fault: the store is away, or a
bug, whose traceback is in the log under the request's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from kindred import errors

#: The first that fits counts; any other :class:`~kindred.errors.KindredError` is a 400.
STATUS: tuple[tuple[type[errors.KindredError], int], ...] = (
    (errors.TrackNotFound, 404),
    (errors.AudioError, 422),
    (errors.EncoderError, 409),
    (errors.LibraryBusy, 409),
    (errors.StorageError, 503),
    (errors.ArtifactError, 503),
    (errors.MissingPackage, 503),
)
_SHOWN = 80


class Refusal(Exception):
    """A request the API itself refuses: by its key, its body, or what is served."""

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.headers = status, kind, headers


def refuse(
    scope: Scope,
    status: int,
    kind: str,
    message: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response to a refused request."""
    error: dict[str, Any] = {
        "type": kind,
        "message": message,
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    if code is not None:
        error["code"] = code
    return JSONResponse({"error": error}, status, headers)


def install(app: FastAPI | Starlette) -> None:
    """Have an application answer every error in this form."""
    app.add_exception_handler(errors.KindredError, _kindred)
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _kindred(request: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 400)
    code = error.code if isinstance(error, errors.AudioError) else None
    return refuse(request.scope, status, type(error).__name__, str(error), code=code)


async def _refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return refuse(request.scope, error.status, error.kind, str(error), headers=error.headers)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    name = HTTPStatus(error.status_code).phrase
    message = {
        404: "There is nothing at this address. /api/docs lists what there is.",
        405: f"This address does not take {request.method}.",
    }.get(error.status_code, str(error.detail))
    kind = name.replace(" ", "")
    return refuse(request.scope, error.status_code, kind, message, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"][1:]) or "the request"
        got = "" if item["type"] == "missing" else f" (got {_short(item['input'])})"
        said.append(f"{name}: {item['msg']}{got}")
    return refuse(request.scope, 422, "InvalidRequest", "; ".join(said[:10]))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
