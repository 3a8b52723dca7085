"""The command line. Thin: parse, call a service, print.

Exit status: 0 on success, 2 on wrong use, 1 with one clear line otherwise. With ``--json`` the
answer is one JSON document on standard output; progress and notices go to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

import kindred
from kindred.errors import KindredError

Function = TypeVar("Function", bound=Callable[..., Any])

_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
_encoder = click.option("--encoder", help="Encoder to use in place of the active one.")


class _Group(click.Group):
    """Says our own errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KindredError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException("Stopped. Run it again to do the rest.") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kindred.__version__)
def main() -> None:
    """Explore a music library by ear. KINDRED_HOME names the library folder."""


@contextmanager
def _services(notice: bool = True, **settings: Any) -> Iterator[Any]:
    """The services; a setting given here wins over the environment unless it is None."""
    from kindred.services import build

    given = {name: value for name, value in settings.items() if value is not None}
    services = build(**given)
    try:
        active = services.active_encoder()
        if notice and active.replaces:
            click.echo(f"{active.title} is used {active.reason}. {active.notice}", err=True)
        yield services
    finally:
        services.close()


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal, a line every few seconds elsewhere."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(desc=label, unit="file", disable=not terminal, dynamic_ncols=True)
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


def _print(as_json: bool, document: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(document, indent=2) if as_json else text)


@main.command()
@_json
@click.option("--if-empty", is_flag=True, help="Do nothing when the library has tracks.")
def demo(as_json: bool, if_empty: bool) -> None:
    """Render the demo library and ingest it."""
    with _services() as services:
        count = services.storage.count_tracks()
        if if_empty and count:
            _print(as_json, {"tracks": count}, f"The library has {count} tracks already.")
            return
        with _progress("demo library") as report:
            summary = services.demo(progress=report)
        _print(as_json, summary.to_dict(), summary.sentence())
        if summary.cancelled:
            raise KeyboardInterrupt


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_json
@_encoder
@click.option("--watch", is_flag=True, help="Stay and take in what changes, until Ctrl-C.")
@click.option("--retry", is_flag=True, help="Try quarantined files again.")
@click.option("--windows", help="Windows CLAP hears of a track: all, or how many.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where models run.")
def ingest(
    paths: tuple[Path, ...],
    as_json: bool,
    encoder: str | None,
    watch: bool,
    retry: bool,
    windows: str | None,
    device: str | None,
) -> None:
    """Read what is new in folders or files; without PATHS, in every place read before.

    The number of windows is part of what the vectors are: set KINDRED_CLAP_WINDOWS for the app to
    use them too.
    """
    with _services(clap_windows=windows, device=device) as services:
        if not paths and not services.ingest(encoder).known_places():
            raise click.UsageError("Name a folder or file: the library has none on record yet.")

        def once() -> bool:
            with _progress("ingest") as report:
                summary = services.read(paths, encoder=encoder, retry=retry, progress=report)
            _print(as_json, summary.to_dict(), summary.sentence())
            if summary.quarantined and not as_json:
                click.echo("`kindred quarantine` lists the files that could not be used and why.")
            return bool(summary.cancelled)

        if once():
            raise KeyboardInterrupt
        if watch:
            _watch(paths or tuple(Path(root) for root in services.storage.roots()), once)


def _watch(paths: tuple[Path, ...], once: Callable[[], bool]) -> None:
    from watchfiles import watch as changes

    click.echo("Watching for changes; Ctrl-C stops.", err=True)
    stop = threading.Event()
    # A settling time, because a file that is being copied changes many times.
    for _ in changes(*paths, debounce=2_000, step=500, stop_event=stop, raise_interrupt=False):
        if once():
            return


@main.command(name="import")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--audio-root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_json
def import_(table: Path, audio_root: Path | None, as_json: bool) -> None:
    """Bring in a tracks_metadata.csv, then ingest the audio it names."""
    with _services() as services:
        with _progress("import") as report:
            outcome, summary = services.import_table(table, audio_root, progress=report)
        document = {
            "imported": outcome.imported,
            "problems": [{"line": line, "reason": reason} for line, reason in outcome.problems],
            "ingest": summary.to_dict(),
        }
        lines = [f"  line {line}: {reason}" for line, reason in outcome.problems]
        text = f"{outcome.imported} rows imported, {len(lines)} left out; {summary.sentence()}"
        _print(as_json, document, "\n".join([text, *lines]))
        if summary.cancelled:
            raise KeyboardInterrupt


@main.command()
@_json
def tracks(as_json: bool) -> None:
    """List the library's tracks."""
    from kindred.api.app import track_dict

    with _services(notice=False) as services:
        found = services.storage.list_tracks()
        document = {"tracks": [track_dict(track) for track in found]}
        lines = [
            f"{track.track_id}  {_clock(track.duration):>6}  {track.title}"
            + (f" · {track.composer}" if track.composer else "")
            for track in found
        ]
        empty = "The library is empty. `kindred demo` or `kindred ingest FOLDER` fills it."
        _print(as_json, document, "\n".join(lines) or empty)


@main.command()
@_json
def quarantine(as_json: bool) -> None:
    """List the files that could not be used, and why."""
    with _services(notice=False) as services:
        found = services.storage.list_quarantine()
        document = {
            "quarantine": [
                {"path": item.path, "code": item.code, "reason": item.reason} for item in found
            ]
        }
        lines = [f"{_shown(item.path)}\n    {item.code}: {item.reason}" for item in found]
        _print(as_json, document, "\n".join(lines) or "No file is in quarantine.")


@main.command()
@_json
def prune(as_json: bool) -> None:
    """Remove the tracks whose files are all gone."""
    with _services(notice=False) as services:
        count = services.catalogue.remove_missing()
        _print(as_json, {"removed": count}, f"{count} tracks without a file were removed.")


@main.command()
@click.argument("track_id", required=False)
@click.option("--audio", type=click.Path(path_type=Path), help="A file that need not be known.")
@click.option("--text", help='Words, such as "warm strings:2; not drums" (needs CLAP).')
@click.option("-k", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--plus", multiple=True, metavar="TRACK_ID", help="A further track to be near to.")
@click.option("--minus", multiple=True, metavar="TRACK_ID", help="A track to be far from.")
@click.option("--composer", multiple=True, help="Only this composer (may be repeated).")
@click.option("--genre", multiple=True, help="Only this genre (may be repeated).")
@click.option(
    "--not-same",
    multiple=True,
    type=click.Choice(["album", "artist", "work"]),
    help="Leave out tracks that share this with the query.",
)
@click.option("--diversity", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@_encoder
@_json
def similar(
    track_id: str | None,
    audio: Path | None,
    text: str | None,
    k: int,
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    composer: tuple[str, ...],
    genre: tuple[str, ...],
    not_same: tuple[str, ...],
    diversity: float,
    encoder: str | None,
    as_json: bool,
) -> None:
    """Find what sounds like a track of the library, like a file, or like words."""
    if [track_id, audio, text].count(None) != 2:
        raise click.UsageError("Give one of TRACK_ID, --audio FILE and --text WORDS.")
    from kindred.search.query import SimilarQuery
    from kindred.storage.records import TrackFilter

    with _services() as services:
        clip = services.embed_clip(audio, encoder=encoder) if audio else None
        if text is not None:
            clip = services.words(text, encoder)
        query = SimilarQuery(
            plus=((track_id,) if track_id else ()) + plus,
            minus=minus,
            clip=clip,
            k=k,
            where=TrackFilter(composers=composer, genres=genre),
            not_same=not_same,
            diversity=diversity,
        )
        result = services.similar(query, encoder)
        lines = [
            f"{match.similarity:6.3f}  {match.track.track_id}  {match.track.title}"
            + (f" · {match.track.composer}" if match.track.composer else "")
            for match in result.matches
        ]
        head = f"{result.space.model} ({result.space.dims} dimensions), {result.index} search"
        _print(as_json, result.to_dict(), "\n".join([head, *lines]))


@main.command()
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


@main.group()
def evaluate() -> None:
    """Measure how well the encoders do on this library."""


@evaluate.command(name="text")
@_encoder
@_json
def evaluate_text(encoder: str | None, as_json: bool) -> None:
    """Score text to track retrieval on captions made of the tracks' tags."""
    with _services() as services:
        report = services.evaluate_text(encoder)
        _print(as_json, report.to_dict(), "\n".join(report.lines()))


@main.group()
def models() -> None:
    """Look at and fetch model weights."""


@models.command(name="list")
@_json
def list_models(as_json: bool) -> None:
    """List the encoders and whether each can be used now."""
    from kindred.config import load_settings
    from kindred.embeddings import registry

    settings = load_settings()
    rows = []
    for info in registry.available():
        status = registry.encoder_status(info.name, settings)
        rows.append(
            {"name": info.name, "title": info.title, "licence": info.licence, "dims": info.dims,
             "ready": status.ready, "notice": status.notice, "command": status.command}
        )  # fmt: skip
    lines = [
        f"{row['name']:12} {'ready' if row['ready'] else 'missing':8} {row['title']},"
        f" {row['dims']} dimensions, {row['licence']}. {row['notice']}".rstrip()
        for row in rows
    ]
    _print(as_json, {"models": rows}, "\n".join(lines))


@models.command(name="remove")
@click.argument("name")
def remove_model(name: str) -> None:
    """Remove the weights of a model that `kindred models pull` fetched."""
    from kindred.config import load_settings
    from kindred.embeddings import registry

    freed = registry.remove(name, load_settings())
    click.echo(f"{freed / 1e6:,.0f} MB freed. Vectors made with {name} stay in the library.")


@models.command()
@click.argument("name")
def use(name: str) -> None:
    """Embed the library with a model, then let it answer; the old one serves until then."""
    with _services() as services:
        with _progress(f"embedding with {name}") as report:
            summary = services.use_encoder(name, progress=report)
        click.echo(f"{name} is in use." if not summary.cancelled else "Stopped; run it again.")
        if summary.cancelled:
            raise KeyboardInterrupt


@models.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch the weights of a model."""
    from kindred.config import load_settings
    from kindred.embeddings import registry

    with _progress(name) as report:
        registry.fetch(name, load_settings(), progress=report)
    click.echo(f"{name} is here. KINDRED_ENCODER={name} uses it.")


@main.command()
@_json
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
    _print(as_json, document, "\n".join(lines))


@main.command(hidden=True)
@click.argument("job_id")
def job(job_id: str) -> None:
    """Do the work of a background job (started by the pages)."""
    with _services(notice=False) as services:
        done = services.jobs.run(job_id)
        click.echo(f"job {job_id} {done.state}: {done.message or done.result}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")
