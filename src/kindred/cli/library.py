"""Commands about what is in the library: fill it, list it, ask it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import click

from kindred.cli.common import answer, as_json_option, encoder_option, open_services, progress


@click.command()
@as_json_option
@click.option("--if-empty", is_flag=True, help="Do nothing when the library has tracks.")
def demo(as_json: bool, if_empty: bool) -> None:
    """Render the demo library and ingest it."""
    with open_services() as services:
        count = services.storage.count_tracks()
        if if_empty and count:
            answer(as_json, {"tracks": count}, f"The library has {count} tracks already.")
            return
        with progress("demo library") as report:
            summary = services.demo(progress=report)
        answer(as_json, summary.to_dict(), summary.sentence())
        if summary.cancelled:
            raise KeyboardInterrupt


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@as_json_option
@encoder_option
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
    with open_services(clap_windows=windows, device=device) as services:
        if not paths and not services.ingest(encoder).known_places():
            raise click.UsageError("Name a folder or file: the library has none on record yet.")

        def once() -> bool:
            with progress("ingest") as report:
                summary = services.read(paths, encoder=encoder, retry=retry, progress=report)
            answer(as_json, summary.to_dict(), summary.sentence())
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


@click.command(name="import")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--audio-root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@as_json_option
def import_(table: Path, audio_root: Path | None, as_json: bool) -> None:
    """Bring in a tracks_metadata.csv, then ingest the audio it names."""
    with open_services() as services:
        with progress("import") as report:
            outcome, summary = services.import_table(table, audio_root, progress=report)
        document = {
            "imported": outcome.imported,
            "problems": [{"line": line, "reason": reason} for line, reason in outcome.problems],
            "ingest": summary.to_dict(),
        }
        lines = [f"  line {line}: {reason}" for line, reason in outcome.problems]
        text = f"{outcome.imported} rows imported, {len(lines)} left out; {summary.sentence()}"
        answer(as_json, document, "\n".join([text, *lines]))
        if summary.cancelled:
            raise KeyboardInterrupt


@click.command()
@as_json_option
def tracks(as_json: bool) -> None:
    """List the library's tracks."""
    from kindred.api.app import track_dict

    with open_services(notice=False) as services:
        found = services.storage.list_tracks()
        document = {"tracks": [track_dict(track) for track in found]}
        lines = [
            f"{track.track_id}  {_clock(track.duration):>6}  {track.title}"
            + (f" · {track.composer}" if track.composer else "")
            for track in found
        ]
        empty = "The library is empty. `kindred demo` or `kindred ingest FOLDER` fills it."
        answer(as_json, document, "\n".join(lines) or empty)


@click.command()
@as_json_option
def quarantine(as_json: bool) -> None:
    """List the files that could not be used, and why."""
    with open_services(notice=False) as services:
        found = services.storage.list_quarantine()
        document = {
            "quarantine": [
                {"path": item.path, "code": item.code, "reason": item.reason} for item in found
            ]
        }
        lines = [f"{_shown(item.path)}\n    {item.code}: {item.reason}" for item in found]
        answer(as_json, document, "\n".join(lines) or "No file is in quarantine.")


@click.command()
@as_json_option
def prune(as_json: bool) -> None:
    """Remove the tracks whose files are all gone."""
    with open_services(notice=False) as services:
        count = services.catalogue.remove_missing()
        answer(as_json, {"removed": count}, f"{count} tracks without a file were removed.")


@click.command()
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
@encoder_option
@as_json_option
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

    with open_services() as services:
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
        answer(as_json, result.to_dict(), "\n".join([head, *lines]))


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")
