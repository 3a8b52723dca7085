"""Audio that comes with a request: bounded while it is read, gone when the request is done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from kindred.api.errors import Refusal

#: A client that sends nothing for so many seconds is given up.
IDLE_SECONDS = 30.0
#: What a form may take besides its file.
_FORM_BYTES = 64 << 10
_PREFIX = "kindred-clip-"
#: How the OpenAPI description puts it.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "additionalProperties": False,
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@asynccontextmanager
async def received(request: Request, *, max_bytes: int) -> AsyncIterator[tuple[Path, str]]:
    """The audio of a request as a file, which is gone at the end, and its name.

    Raises
    ------
    Refusal
        413 when it is larger than ``max_bytes``, 415 when it is sent as something else, 400 when
        it does not come whole, 408 when it stops coming.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        path, name = Path(folder, "clip"), "clip"
        try:
            if kind == "multipart/form-data":
                name = await _form(request, path, max_bytes)
            elif kind == "application/octet-stream" or kind.startswith(("audio/", "video/")):
                with path.open("wb") as out:
                    async for chunk in _chunks(request, max_bytes, max_bytes):
                        out.write(chunk)
            else:
                raise Refusal(
                    415,
                    "UnsupportedMediaType",
                    "Send audio as the field `file` of a form (curl -F file=@song.mp3), or as the"
                    " body with its content type (curl -H 'Content-Type: audio/mpeg' --data-binary"
                    f" @song.mp3). This was sent as {kind[:80] or 'nothing'}.",
                )
        except ClientDisconnect as error:
            raise Refusal(400, "Aborted", "The audio did not come whole.") from error
        yield path, name


async def _chunks(request: Request, limit: int, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body, as long as it goes on and stays within ``limit`` bytes."""
    declared = request.headers.get("content-length", "")
    size = int(declared[:20]) if declared.isascii() and declared.isdecimal() else 0
    if size > limit:
        raise _too_large(max_bytes)
    size, stream = 0, request.stream()
    while True:
        try:
            with anyio.fail_after(IDLE_SECONDS):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            message = f"Nothing came for {IDLE_SECONDS:g} seconds. Send the audio again."
            raise Refusal(408, "Timeout", message) from error
        if chunk is None:
            return
        size += len(chunk)
        if size > limit:
            raise _too_large(max_bytes)
        yield chunk


async def _form(request: Request, path: Path, max_bytes: int) -> str:
    """Write the form's one file and return its name."""
    chunks = _chunks(request, max_bytes + _FORM_BYTES, max_bytes)
    try:
        form = await MultiPartParser(request.headers, chunks, max_files=1, max_fields=1).parse()
    except (MultiPartException, LookupError, UnicodeError) as error:
        message = f"The form cannot be read: {getattr(error, 'message', error)}"
        raise Refusal(400, "BadForm", message) from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile) or len(form) != 1:
            raise Refusal(
                422,
                "InvalidRequest",
                "The form has to have one field, `file`, with the audio as a file. Everything else"
                " goes into the address, such as ?k=5.",
            )
        if (file.size or 0) > max_bytes:
            raise _too_large(max_bytes)
        with path.open("wb") as out:
            await run_in_threadpool(shutil.copyfileobj, file.file, out)
        return _printable(file.filename or "clip")
    finally:
        await form.close()


def _printable(name: str) -> str:
    """A file's name as JSON can hold it: other characters may come by a charset of the client's."""
    return name.encode("utf-8", "replace").decode()[:200]


def _too_large(max_bytes: int) -> Refusal:
    size = f"{max_bytes >> 20} MiB" if max_bytes >> 20 else f"{max_bytes} bytes"
    return Refusal(
        413,
        "TooLarge",
        f"The audio is larger than {size}, the most that is taken here. Send a part of it, or raise"
        " KINDRED_MAX_UPLOAD_MB.",
    )
