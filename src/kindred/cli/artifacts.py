"""Commands about versioned artifacts: the library's vectors as files for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from kindred.cli.common import (
    answer,
    as_json_option,
    encoder_option,
    open_services,
    progress,
)

_folder = click.Path(path_type=Path)


@click.group()
def artifacts() -> None:
    """Vectors, metadata, index and evaluation as a folder that other programs read."""


@artifacts.command()
@click.argument("directory", type=_folder)
@encoder_option
@click.option("--audio", is_flag=True, help="Also write every track as mono WAV.")
@click.option(
    "--audio-rate",
    default="16000",
    show_default=True,
    help="Hz of that audio, or `model` for what the encoder hears.",
)
@click.option("--index/--no-index", default=True, help="Whether to build an index.")
@click.option("--run", "run_id", help="The evaluation to put beside it; the latest by default.")
@as_json_option
def export(
    directory: Path,
    encoder: str | None,
    audio: bool,
    audio_rate: str,
    index: bool,
    run_id: str | None,
    as_json: bool,
) -> None:
    """Write DIRECTORY/v1_model_<MODEL>; what is there is replaced when the new one is whole."""
    if audio_rate != "model" and not audio_rate.isdecimal():
        raise click.UsageError(f"--audio-rate takes Hz or `model`, got {audio_rate!r}.")
    rate = None if audio_rate == "model" else int(audio_rate)
    with open_services() as services:
        with progress("export", unit="track") as report:
            made = services.export_artifact(
                directory,
                encoder,
                audio=audio,
                audio_rate=rate,
                index=index,
                run_id=run_id,
                progress=report,
            )
        answer(as_json, made.to_dict(), made.sentence())


@artifacts.command()
@click.argument("folder", type=_folder)
@as_json_option
def verify(folder: Path, as_json: bool) -> None:
    """Check every byte, row and number of an artifact; says which file is wrong."""
    from kindred.artifacts.verify import verify as check

    with progress("verify", unit="file") as report:
        artifact = check(folder, progress=report)
    found = {
        "path": str(artifact.path),
        "model": artifact.space.model,
        "tracks": len(artifact.track_ids),
        "dims": artifact.space.dims,
    }
    said = f"{folder} is whole: {found['tracks']:,} tracks, {found['model']}, {found['dims']} dims"
    answer(as_json, found, said)


@artifacts.command(name="import")
@click.argument("folder", type=_folder)
@click.option("--overwrite", is_flag=True, help="Take the artifact's metadata where they differ.")
@as_json_option
def import_(folder: Path, overwrite: bool, as_json: bool) -> None:
    """Bring an artifact's tracks and vectors into the library."""
    with open_services(notice=False) as services:
        with progress("import", unit="track") as report:
            made = services.import_artifact(folder, overwrite=overwrite, progress=report)
        answer(as_json, made.to_dict(), made.sentence())


@artifacts.command()
@click.argument("folder", type=_folder)
@click.argument("url")
@click.option("--overwrite", is_flag=True, help="Replace another artifact at this place.")
@as_json_option
def push(folder: Path, url: str, overwrite: bool, as_json: bool) -> None:
    """Send an artifact to s3://BUCKET/KEY; again sends what is missing.

    Credentials are found as the AWS tools find them; AWS_ENDPOINT_URL names another store.
    """
    from kindred.artifacts.transfer import push as send

    with progress("push", unit="B") as report:
        made = send(folder, url, overwrite=overwrite, progress=report)
    answer(as_json, made.to_dict(), made.sentence())


@artifacts.command()
@click.argument("url")
@click.argument("folder", type=_folder)
@as_json_option
def pull(url: str, folder: Path, as_json: bool) -> None:
    """Fetch an artifact from s3://BUCKET/KEY; again fetches what is missing."""
    from kindred.artifacts.transfer import pull as fetch

    with progress("pull", unit="B") as report:
        made = fetch(url, folder, progress=report)
    answer(as_json, made.to_dict(), made.sentence())


@artifacts.command()
@click.argument("a", type=_folder)
@click.argument("b", type=_folder)
@as_json_option
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Say how two artifacts differ: settings, tracks, metadata, vectors. Exit 1 when they do."""
    from kindred.artifacts.diff import diff as compare

    found = compare(a, b)
    answer(as_json, found.to_dict(), "\n".join(found.lines()))
    if not found.same:
        raise click.exceptions.Exit(1)
