"""What every command shares: the services, progress, and how an answer is printed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from kindred.errors import KindredError

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
encoder_option = click.option("--encoder", help="Encoder to use in place of the active one.")


class Group(click.Group):
    """Says our own errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KindredError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException("Stopped. Run it again to do the rest.") from None


@contextmanager
def open_services(notice: bool = True, **settings: Any) -> Iterator[Any]:
    """The services; a setting given here wins over the environment unless it is None."""
    from kindred.services import build

    given = {name: value for name, value in settings.items() if value is not None}
    built = build(**given)
    try:
        active = built.active_encoder()
        if notice and active.replaces:
            click.echo(f"{active.title} is used {active.reason}. {active.notice}", err=True)
        yield built
    finally:
        built.close()


@contextmanager
def progress(label: str, *, unit: str = "file") -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal, a line every few seconds elsewhere."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(desc=label, unit=unit, disable=not terminal, dynamic_ncols=True)
    last = time.monotonic()

    def report(done: int, total: int, name: str) -> None:
        nonlocal last
        bar.total = total
        bar.update(done - bar.n)
        if not terminal and (time.monotonic() - last > 5 or done == total > 0):
            last = time.monotonic()
            shown = name.encode("utf-8", "replace").decode()
            click.echo(f"{label}: {done} of {total} {shown}", err=True)

    with bar:
        yield report


def answer(as_json: bool, document: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(document, indent=2) if as_json else text)
