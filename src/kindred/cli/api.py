"""The command that serves the API alone."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Serve this artifact alone, without a library, audio or a model.",
)
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
def api(artifacts: Path | None, host: str | None, port: int | None) -> None:
    """Serve the HTTP API alone, of the library or of an artifact; see /api/docs.

    Beyond localhost it needs KINDRED_API_KEY. Requests are logged as JSON to standard error.
    """
    # Read when numpy is imported, below. Many searches at once, each on all cores, get in each
    # other's way; one core each answers more of them a second (docs/decisions/0016-http-api.md).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from kindred.api import logs, serving
    from kindred.api.access import Access
    from kindred.api.app import create_api, standalone
    from kindred.config import load_settings

    settings = load_settings()
    host, port = host or settings.host, port or settings.port
    access = Access.at(host, settings.api_key)
    access.demand(host)
    with ExitStack() as stack:
        source: Any
        if artifacts is not None:
            from kindred.api.artifact import ArtifactSource
            from kindred.artifacts.read import Artifact

            source = ArtifactSource(Artifact.open(artifacts))
        else:
            from kindred.services import build

            source = stack.enter_context(closing(build(settings)))
        serving.check_address(host, port)
        click.echo(f"Kindred's API is at http://{host}:{port}/api (Ctrl-C stops it)")
        logs.to_stderr()
        serving.serve(standalone(create_api(source, access)), host=host, port=port)
