"""Commands about the program itself: serve it, look it over."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser

import click

from kindred.cli.common import answer, as_json_option, open_services


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--open", "open_browser", is_flag=True, help="Open a browser, where there is one.")
def serve(host: str | None, port: int | None, open_browser: bool) -> None:
    """Serve the pages, the API and the audio from one process."""
    from kindred.services import build
    from kindred.ui.server import serve as run

    services = build()
    host, port = host or services.settings.host, port or services.settings.port
    click.echo(f"Kindred is at http://{host}:{port} (Ctrl-C stops it)")
    if open_browser and (sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY")):
        # Once the server has had time to bind; a page opened too early shows an error.
        threading.Timer(2, webbrowser.open, [f"http://{host}:{port}"]).start()
    run(services, host=host, port=port)


@click.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Say what is installed and reachable, and what to do about what is not."""
    from kindred.doctor import examine

    checks = examine()
    lines = [
        f"{'ok ' if check.ok else '!! '} {check.name}: {check.found}"
        + (f"\n      {check.remedy}" if check.remedy else "")
        for check in checks
    ]
    document = {"ok": all(check.ok for check in checks), "checks": [vars(c) for c in checks]}
    answer(as_json, document, "\n".join(lines))


@click.command(hidden=True)
@click.argument("job_id")
def job(job_id: str) -> None:
    """Do the work of a background job (started by the pages)."""
    with open_services(notice=False) as services:
        done = services.jobs.run(job_id)
        click.echo(f"job {job_id} {done.state}: {done.message or done.result}")
