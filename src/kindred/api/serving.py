"""Listening: whether an address is free, and the API in a process of its own."""

from __future__ import annotations

import socket

from starlette.types import ASGIApp

from kindred.errors import ConfigError


def check_address(host: str, port: int) -> None:
    """Raise :class:`ConfigError` when nothing can listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Cannot listen on {host}:{port} ({error.strerror}). Stop what is there, or choose"
                " another port with --port or KINDRED_PORT."
            ) from error


def serve(app: ASGIApp, *, host: str, port: int) -> None:
    """Serve an application until interrupted; it logs as the process does."""
    import uvicorn

    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
