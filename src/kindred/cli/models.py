"""Commands about model weights."""

from __future__ import annotations

import click

from kindred.cli.common import answer, as_json_option, open_services, progress


@click.group()
def models() -> None:
    """Look at and fetch model weights."""


@models.command(name="list")
@as_json_option
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
    answer(as_json, {"models": rows}, "\n".join(lines))


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
    with open_services() as services:
        with progress(f"embedding with {name}") as report:
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

    with progress(name) as report:
        registry.fetch(name, load_settings(), progress=report)
    click.echo(f"{name} is here. KINDRED_ENCODER={name} uses it.")
