"""The command line. Thin: parse, call a service, print.

Exit status: 0 on success, 2 on wrong use, 1 with one clear line otherwise. With ``--json`` the
answer is one JSON document on standard output; progress and notices go to standard error.
"""

from __future__ import annotations

import click

import kindred
from kindred.cli import (
    api,
    artifacts,
    audit,
    evaluate,
    expressive,
    library,
    maps,
    models,
    program,
    storage,
)
from kindred.cli.common import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kindred.__version__)
def main() -> None:
    """Explore a music library by ear. KINDRED_HOME names the library folder."""


for command in (
    library.demo,
    library.ingest,
    library.import_,
    library.tracks,
    library.quarantine,
    library.prune,
    library.similar,
    evaluate.evaluate,
    maps.map_,
    audit.audit,
    expressive.expressive,
    models.models,
    storage.storage,
    artifacts.artifacts,
    api.api,
    program.serve,
    program.doctor,
    program.job,
):
    main.add_command(command)
