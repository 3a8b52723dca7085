"""One process for everything: pages at ``/``, API, audio, thumbnails, listeners' sittings."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
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


def create_app(services: Services, *, host: str = "127.0.0.1") -> Any:
    """Build the ASGI application.

    Parameters
    ----------
    services : Services
    host : str
        Where it will listen. Beyond localhost pages, audio and API ask for the key, and are closed
        until there is one (:mod:`kindred.ui.gate`).
    """
    import streamlit as st
    from starlette.middleware import Middleware
    from starlette.routing import Mount
    from streamlit.runtime.pages_manager import PagesManager

    from kindred.api.access import Access
    from kindred.api.app import audio_route, clip_route, create_api, thumbnail_route
    from kindred.api.listening.serving import Lazily
    from kindred.ui import context
    from kindred.ui.gate import Gate, has_oidc, is_member, mode_of

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

    key = services.settings.api_key
    mode = mode_of(host, services.settings, oidc=has_oidc())
    return st.App(
        find_script(),
        routes=[
            Mount("/api", create_api(services, Access.at(host, key))),
            audio_route(services),
            thumbnail_route(services),
            clip_route(services),
            Mount("/listen", Lazily(lambda: services.audits.sittings)),
        ],
        middleware=[
            Middleware(
                Gate,
                mode=mode,
                key=key.get_secret_value(),
                admits=partial(is_member, services.settings),
            )
        ],
        lifespan=lifespan,
    )


def serve(services: Services, *, host: str, port: int) -> None:
    """Serve until interrupted.

    Raises
    ------
    ConfigError
        When the address is taken.
    """
    import uvicorn

    from kindred.api import logs
    from kindred.api.access import Access
    from kindred.api.serving import check_address

    check_address(host, port)
    logs.to_stderr("kindred.api")
    if Access.at(host, services.settings.api_key).is_closed:
        print(
            f"The API is closed, and so are the pages unless people sign in by OIDC: {host} is"
            " reached from other machines and KINDRED_API_KEY is not set.",
            file=sys.stderr,
        )
    uvicorn.run(
        create_app(services, host=host),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        ws_max_size=64 << 20,
        timeout_graceful_shutdown=2,  # open pages would hold it for ever
    )
