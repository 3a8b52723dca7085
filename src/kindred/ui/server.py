"""One process for everything: pages at ``/``, the API under ``/api``, audio under ``/audio``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kindred.errors import ConfigError
from kindred.services import Services

#: Whether this process serves ``/audio``; False under plain ``streamlit run``.
_served = False


def is_served() -> bool:
    """Whether the pages run in a process that also serves audio by URL."""
    return _served


def find_script() -> Path:
    """Return the path of app.py.

    Raises
    ------
    ConfigError
        When it is neither beside the package's source nor in the working directory.
    """
    for folder in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (folder / "app.py").is_file():
            return folder / "app.py"
    raise ConfigError("app.py was not found. Run `kindred serve` in the Kindred folder.")


def create_app(services: Services) -> Any:
    """Build the ASGI application."""
    import streamlit as st
    from starlette.routing import Mount
    from streamlit.runtime.pages_manager import PagesManager

    from kindred.api.app import audio_route, create_api
    from kindred.ui import context

    # A folder named pages/ is taken for Streamlit's older page layout until st.navigation has run
    # once in the process; a deep link opened before that would run a page without app.py.
    PagesManager.uses_pages_directory = False
    global _served  # noqa: PLW0603
    _served = True
    context.share(services)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        services.close()

    return st.App(
        find_script(),
        routes=[Mount("/api", create_api(services)), audio_route(services)],
        lifespan=lifespan,
    )


def serve(services: Services, *, host: str, port: int) -> None:
    """Serve until interrupted.

    Raises
    ------
    ConfigError
        When the address is taken.
    """
    import socket

    import uvicorn

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Cannot listen on {host}:{port} ({error.strerror}). Stop what is there, or choose"
                " another port with --port or KINDRED_PORT."
            ) from error
    uvicorn.run(
        create_app(services),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        ws_max_size=64 << 20,
        timeout_graceful_shutdown=2,  # open pages would hold it for ever
    )
