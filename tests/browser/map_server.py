"""Serve the app with maps, a sound for every track and a cover for every other.

``python -m tests.browser.map_server PORT FOLDER``; the sound is written into the folder.
"""

from __future__ import annotations

import io
import sys
import wave
from pathlib import Path

import streamlit as st
import uvicorn
from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

SOUND = Path(sys.argv[2]) / "sound.wav"


def write_sound() -> None:
    """Ten seconds of a buzz."""
    with wave.open(str(SOUND), "wb") as file:
        file.setparams((1, 1, 8_000, 0, "NONE", ""))
        file.writeframes(bytes(128 + i % 40 for i in range(80_000)))


def audio(request: Request) -> FileResponse:
    return FileResponse(SOUND, media_type="audio/wav")


def thumbnail(request: Request) -> Response:
    if int(request.path_params["track_id"][:8], 16) % 2:
        return Response(status_code=404)
    out = io.BytesIO()
    Image.new("RGB", (192, 192), (40, 90, 120)).save(out, "WEBP")
    return Response(out.getvalue(), media_type="image/webp")


app = st.App(
    Path(__file__).with_name("map_app.py"),
    routes=[Route("/audio/{track_id}", audio), Route("/thumbnail/{track_id}", thumbnail)],
)

if __name__ == "__main__":
    write_sound()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
