"""Commands that measure encoders on the library."""

from __future__ import annotations

import click

from kindred.cli.common import answer, as_json_option, encoder_option, open_services


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
