"""Commands that measure encoders on the library."""

from __future__ import annotations

from typing import Any

import click

from kindred.cli.common import answer, as_json_option, encoder_option, open_services, progress


def _one_of(module: str, name: str) -> Any:
    """A check of option values against a table, which is imported when there is one to check."""

    def check(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        from importlib import import_module

        known = list(getattr(import_module(module), name))
        for item in value if isinstance(value, tuple) else (value,):
            if item not in known:
                raise click.BadParameter(f"{item!r} is not one of {', '.join(known)}.")
        return value

    return check


_variant = click.option(
    "--variant",
    default="plain",
    metavar="NAME",
    callback=_one_of("kindred.evaluation.task", "VARIANTS"),
    help="What differences are shown of: plain, not_same_work, not_same_album,"
    " not_near_duplicates or controlled (all three left out).",
)


@click.group()
def evaluate() -> None:
    """Measure how well the encoders do on this library."""


@evaluate.command(name="text")
@encoder_option
@as_json_option
def evaluate_text(encoder: str | None, as_json: bool) -> None:
    """Score text to track retrieval on captions made of the tracks' tags."""
    with open_services() as services:
        report = services.evaluate_text(encoder)
        answer(as_json, report.to_dict(), "\n".join(report.lines()))


@evaluate.command()
@click.option(
    "--encoder", "encoders", multiple=True, help="Encoder; may be repeated. The active one if none."
)
@click.option("-k", type=click.IntRange(1), default=5, show_default=True, help="Answers a query.")
@click.option(
    "--label",
    default="composer",
    show_default=True,
    help="Tag to find again: composer, artist, album, genre, work, year, or any other tag.",
)
@click.option(
    "--scoring",
    "scorings",
    multiple=True,
    default=("cosine",),
    metavar="NAME",
    callback=_one_of("kindred.services.evaluations", "SCORINGS"),
    help="cosine (the default), csls, mutual_proximity or index; may be repeated.",
)
@click.option(
    "--pooling",
    "poolings",
    multiple=True,
    default=("stored",),
    metavar="NAME",
    callback=_one_of("kindred.services.evaluations", "POOLINGS"),
    help="stored (the default), mean, max or mean+std of a track's windows; may be repeated.",
)
@click.option("--seed", default=0, show_default=True, help="Of the intervals and tests.")
@_variant
@as_json_option
def composers(encoders: tuple[str, ...], variant: str, as_json: bool, **options: Any) -> None:
    """Ask every track for others of its composer, or of another label, and keep the result.

    The plain task leaves out the query itself and nothing else. Beside it stand the variants that
    leave out tracks of the same work, album or recording. With several encoders, scorings or
    poolings, all answer the same queries and are compared.
    """
    from kindred.services.evaluations import Options

    with open_services() as services, progress("evaluate", unit="query") as report:
        names = encoders or (services.active_encoder().name,)
        run = services.evaluations.run(Options(encoders=names, **options), progress=report)
        text = _text(services, run, variant)
    answer(as_json, run.document(), text)


@evaluate.command(name="list")
@as_json_option
def list_(as_json: bool) -> None:
    """List the evaluations that were kept, starred ones first."""
    with open_services(notice=False) as services:
        runs = services.evaluations.runs()
    found = [
        {"run_id": run.run_id, "title": run.title}
        | {name: run.body[name] for name in ("created_at", "starred", "options")}
        for run in runs
    ]
    lines = [f"{run.run_id}  {'* ' if run.body['starred'] else '  '}{run.title}" for run in runs]
    answer(as_json, {"runs": found}, "\n".join(lines) or "There are no evaluations yet.")


@evaluate.command()
@click.argument("run_id")
@_variant
@as_json_option
def show(run_id: str, variant: str, as_json: bool) -> None:
    """Print an evaluation that was kept."""
    with open_services(notice=False) as services:
        run = services.evaluations.get(run_id)
        answer(as_json, run.document(), _text(services, run, variant))


@evaluate.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@_variant
@as_json_option
def compare(run_ids: tuple[str, ...], variant: str, as_json: bool) -> None:
    """Compare all that some evaluations measured, query by query."""
    from kindred.evaluation.summary import comparison_lines

    with open_services(notice=False) as services:
        found = services.evaluations.compare(run_ids, variant).to_dict()
    answer(as_json, found, "\n".join([*comparison_lines(found), *found["warnings"]]))


@evaluate.command()
@click.argument("run_id")
@as_json_option
def delete(run_id: str, as_json: bool) -> None:
    """Remove an evaluation that was kept."""
    with open_services(notice=False) as services:
        services.evaluations.delete(run_id)
    answer(as_json, {"deleted": run_id}, f"Deleted {run_id}.")


def _text(services: Any, run: Any, variant: str) -> str:
    """A run for people: what each report found, how they differ, and where it is kept."""
    from kindred.evaluation.summary import comparison_lines, lines

    reports = run.body["reports"]
    parts = [lines(report) for report in reports]
    if len(reports) > 1 and all(report["variants"][variant]["queries"] for report in reports):
        parts.append(comparison_lines(services.evaluations.comparison([run.run_id], variant)))
    parts.append([f"Kept as {run.run_id} ({run.body['duration_s']:.1f} s)."])
    return "\n\n".join("\n".join(part) for part in parts)
