"""Serve the scratch app and its audio: ``python -m tests.ui.scratch_server PORT``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import streamlit as st
import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route


def audio(request: Request) -> FileResponse:
    """Answer with one file, in ranges."""
    file = Path(os.environ["KINDRED_SCRATCH"]) / f"{Path(request.path_params['track_id']).name}.wav"
    if not file.is_file():
        raise HTTPException(404)
    return FileResponse(file, media_type="audio/wav")


app = st.App(Path(__file__).with_name("scratch_app.py"), routes=[Route("/audio/{track_id}", audio)])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
