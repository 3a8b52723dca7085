"""Commands about expressive similarity: train, gates, release, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kindred.cli.common import answer, as_json_option, open_services, progress


@click.group()
def expressive() -> None:
    """Expressive similarity: learned, tested by construction, gated."""


@expressive.command()
@click.option(
    "--size",
    type=click.Choice(["full", "small", "tiny"]),
    default="full",
    show_default=True,
    help="full: about half an hour on two cores; small: a look; tiny: to see that all works.",
)
@click.option(
    "--source",
    type=click.Choice(["auto", "layers", "mert"]),
    default="auto",
    show_default=True,
    help="Where features come from; auto takes MERT when its weights are here.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of clips and splits.")
@click.option("--seeds", type=click.IntRange(0, 20), default=0, help="How often; 0: as usual.")
@click.option("--epochs", type=click.IntRange(0, 1000), default=0, help="At most; 0: as usual.")
@click.option(
    "--midi",
    type=click.Path(exists=True, file_okay=False),
    help="People's performances as MIDI files, for a test of their own.",
)
@click.option(
    "--judgements",
    type=click.Path(exists=True, file_okay=False),
    multiple=True,
    help="Labels that `kindred audit export --labels` wrote; may be given again.",
)
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped.")
@as_json_option
def train(resume: str | None, midi: str | None, as_json: bool, **options: Any) -> None:
    """From scores to a gate report: play, listen, label, train, and judge."""
    from kindred.expressive.run import RunOptions

    if midi:
        from kindred.expressive.human import survey

        for name, why in survey(Path(midi)).left_out:
            click.echo(f"{name} is left out: {why}", err=True)
    with open_services(notice=False) as services, progress("expressive", unit="%") as report:
        room = services.expressive
        run_id = resume or room.begin(RunOptions(midi=midi or "", **options))
        click.echo(f"Run {run_id}; stopped, it goes on with --resume {run_id}.", err=True)
        room.go_on(run_id, progress=report)
        run = room.run(run_id)
    answer(as_json, run.to_dict(), "\n".join(run.lines()))


@expressive.command(name="list")
@as_json_option
def list_(as_json: bool) -> None:
    """List runs, newest first, and which one is released."""
    with open_services(notice=False) as services:
        runs = services.expressive.runs()
    document = {"runs": [run.to_dict() for run in runs]}
    text = "\n".join(run.title for run in runs)
    answer(as_json, document, text or "There are no runs yet: `kindred expressive train`.")


@expressive.command()
@click.argument("run_id", required=False)
@as_json_option
def gates(run_id: str | None, as_json: bool) -> None:
    """Say which gates a run passed and which it did not, with the numbers.

    Exits with 1 when a gate is not passed.
    """
    with open_services(notice=False) as services:
        run = services.expressive.judged(run_id)
    answer(as_json, run.gates, "\n".join(run.gate_lines()))
    if not run.passed:
        raise SystemExit(1)


@expressive.command()
@click.argument("run_id", required=False)
@as_json_option
def release(run_id: str | None, as_json: bool) -> None:
    """Let a retriever that passed its gates be used on Similar and Map."""
    with open_services(notice=False) as services:
        released = services.expressive.release(run_id)
    answer(
        as_json,
        {"run_id": released},
        f"Released {released}. Embed the library with it: `kindred models use expressive`.",
    )


@expressive.command()
@as_json_option
def withdraw(as_json: bool) -> None:
    """Take the released retriever back; its vectors stay until another is used."""
    with open_services(notice=False) as services:
        services.expressive.withdraw()
    answer(as_json, {"run_id": None}, "No expressive retriever is released now.")


@expressive.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option("--run", "run_id", help="Which one; the newest that is whole if not given.")
@as_json_option
def export(target: Path, run_id: str | None, as_json: bool) -> None:
    """Write a run to TARGET: labels, scorers, evaluation, with checksums of every file."""
    with open_services(notice=False) as services, progress("export") as report:
        files = services.expressive.export(run_id, target, progress=report)
    answer(as_json, {"folder": str(target), "files": files}, f"{target}: {files} files")


@expressive.command()
@as_json_option
def analyse(as_json: bool) -> None:
    """Listen to up to eight clips of each track, for the Expressive page."""
    with open_services(notice=False) as services, progress("tracks", unit="track") as report:
        clips = services.expressive.analyse(progress=report)
    text = [f"{len(clips.places)} tracks, {len(clips)} clips of 12 s", *clips.unread.values()]
    document = {"tracks": len(clips.places), "clips": len(clips), "unread": clips.unread}
    answer(as_json, document, "\n".join(text))


@expressive.command()
@as_json_option
def aspects(as_json: bool) -> None:
    """Say what is learned: each aspect, its unit, its levels and how it is heard."""
    from dataclasses import asdict

    from kindred.expressive.aspects import ASPECTS

    lines = [
        f"{aspect.title}: {aspect.meaning}\n"
        f"  levels  {', '.join(f'{step:g}' for step in aspect.steps)} ({aspect.unit})\n"
        f"  played  {aspect.rendered}\n"
        f"  heard   {aspect.proxy} ({aspect.proxy_unit})"
        for aspect in ASPECTS
    ]
    answer(as_json, {"aspects": [asdict(aspect) for aspect in ASPECTS]}, "\n".join(lines))
