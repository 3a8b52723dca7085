"""Commands about maps of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kindred.cli.common import answer, as_json_option, encoder_option, open_services, progress


@click.group(name="map")
def map_() -> None:
    """Maps of the library: build, list, export."""


@map_.command()
@encoder_option
@click.option(
    "--method", type=click.Choice(["umap", "tsne", "pca"]), default="umap", show_default=True
)
@click.option("--neighbours", type=int, default=15, show_default=True, help="UMAP: how local.")
@click.option("--min-dist", type=float, default=0.1, show_default=True, help="UMAP: how dense.")
@click.option("--perplexity", type=float, default=30.0, show_default=True, help="t-SNE.")
@click.option(
    "--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine", show_default=True
)
@click.option("--dims", type=click.Choice(["2", "3"]), default="2", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--again", is_flag=True, help="Build even if this very map is there already.")
@as_json_option
def build(encoder: str | None, again: bool, as_json: bool, dims: str, **options: Any) -> None:
    """Lay the library out on a map, measure how far it can be trusted, and keep it."""
    from kindred.maps.options import MapOptions

    with open_services() as services, progress("map", unit="%") as report:
        made = services.maps.build(
            encoder or services.active_encoder().name,
            MapOptions.from_dict({"dims": int(dims), **options}),
            again=again,
            progress=report,
        )
    answer(as_json, _facts(made), "\n".join(made.lines()))


@map_.command(name="list")
@as_json_option
def list_(as_json: bool) -> None:
    """List the maps that are kept, newest first."""
    with open_services(notice=False) as services:
        made = services.maps.kept()
        for problem in services.maps.damaged():
            click.echo(problem, err=True)
    lines = [f"{item.map_id}  {item.title} · {len(item.track_ids):,} tracks" for item in made]
    document = {"maps": [_facts(item) for item in made]}
    answer(as_json, document, "\n".join(lines) or "There are no maps yet: `kindred map build`.")


@map_.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--map", "map_id", help="Which one; the newest that can be drawn if not given.")
@encoder_option
@click.option(
    "--colour", default="composer", show_default=True, help="What points are coloured by."
)
@click.option("--dark", is_flag=True, help="On a dark ground.")
@click.option("--width", type=click.IntRange(200, 8_000), default=1_600, show_default=True)
@as_json_option
def export(
    target: Path, map_id: str | None, encoder: str | None, as_json: bool, **look: Any
) -> None:
    """Write a map to TARGET: .png, .svg, .html that opens offline, .csv or .parquet."""
    from kindred.ui.map_files import TABLES, write_map

    with open_services(notice=False) as services:
        made = services.maps.get(map_id) if map_id else None
        if made is None:
            name = encoder or services.active_encoder().name
            maps = services.maps.of_encoder(name)
            flat = [item for item in maps if item.positions.shape[1] == 2]
            wanted = maps if target.suffix.lower() in TABLES else flat or maps
            made = next(iter(wanted), None)
        if made is None:
            raise click.ClickException("There is no map yet. Build one with `kindred map build`.")
        view = services.maps.view(made)
        write_map(services, view, target, by=look["colour"], dark=look["dark"], width=look["width"])
    document = {"map_id": made.map_id, "file": str(target), "tracks": len(view.track_ids)}
    answer(as_json, document, f"{target}: {len(view.track_ids):,} tracks of {made.title}")


@map_.command()
@click.argument("map_id")
@as_json_option
def delete(map_id: str, as_json: bool) -> None:
    """Remove a map that was kept; the library stays as it is."""
    with open_services(notice=False) as services:
        services.maps.delete(map_id)
    answer(as_json, {"deleted": map_id}, f"Deleted {map_id}.")


def _facts(made: Any) -> dict[str, Any]:
    trust = made.trust
    return {
        "map_id": made.map_id,
        "title": made.title,
        "model": made.space.model,
        "options": made.options.to_dict(),
        "tracks": len(made.track_ids),
        "created_at": made.created_at,
        "trustworthiness": trust.trustworthiness,
        "continuity": trust.continuity,
        "preservation": trust.preservation,
        "k": trust.k,
        "ranked_points": trust.sampled,
        "facts": made.facts,
    }
