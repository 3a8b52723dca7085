"""Commands about blind listening audits."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import click

from kindred.cli.common import answer, as_json_option, open_services, progress
from kindred.errors import AuditError


@click.group()
def audit() -> None:
    """Blind listening audits: design, invite, serve, read, export."""


def _study_argument(command: Any) -> Any:
    return click.argument("study_id")(command)


@audit.command()
@click.argument("title")
@click.option("--system", "systems", multiple=True, help="What is compared; `audit systems` lists.")
@click.option("--form", type=click.Choice(["ab", "graded", "odd"]), default="ab", show_default=True)
@click.option("--aspect", default="overall", show_default=True, help="overall, tempo, timbre, ...")
@click.option("--trials", type=int, default=20, show_default=True, help="Real trials of a sitting.")
@click.option("--catches", type=int, default=6, show_default=True, help="Trials of known answer.")
@click.option("--repeats", type=int, default=4, show_default=True, help="Trials asked twice.")
@click.option("--practice", type=int, default=2, show_default=True)
@click.option("--listeners", type=int, default=10, show_default=True, help="How many you expect.")
@click.option("--overlap", type=int, default=3, show_default=True, help="Listeners an item, least.")
@click.option("--clip-seconds", type=float, default=10.0, show_default=True)
@click.option(
    "--clip-choice",
    type=click.Choice(["matching", "random"]),
    default="matching",
    show_default=True,
)
@click.option(
    "--stratify",
    type=click.Choice(["composer", "cluster", "none"]),
    default="composer",
    show_default=True,
)
@click.option("-k", type=int, default=5, show_default=True, help="How deep answers are looked at.")
@click.option("--no-loudness", is_flag=True, help="Leave levels, as is done for dynamics.")
@click.option("--seed", type=click.IntRange(min=0), help="Of what is drawn; random if not given.")
@click.option("--min-catches", type=float, help="Share that must be right.  [default: 5/6]")
@click.option("--power-only", is_flag=True, help="Say what such a study could find; make nothing.")
@as_json_option
def new(
    as_json: bool, power_only: bool, no_loudness: bool, min_catches: float | None, **given: Any
) -> None:
    """Draw a study's items from the library, prepare its clips, and keep it as a draft."""
    from kindred.audit.power import summary
    from kindred.audit.study import Design, Exclusions

    rules = Exclusions() if min_catches is None else Exclusions(min_catches=min_catches)
    if given["seed"] is None:
        given["seed"] = secrets.randbelow(1_000_000)
    match = not no_loudness and given["aspect"] != "dynamics"
    design = Design(match_loudness=match, exclusions=rules, **given)
    design.check()
    said = list(summary(design))
    if power_only:
        answer(as_json, {"power": said}, "\n".join(said))
        return
    with open_services() as services, progress("audit", unit="%") as report:
        study, drawn = services.audits.draw(design, progress=report)
    facts = {
        "study_id": study.study_id,
        "design_hash": study.design_hash,
        "items": len(study.items),
        "strata": drawn.strata,
        "warnings": list(drawn.warnings),
        "power": said,
    }
    lines = [f"Draft {study.study_id}: {len(study.items)} items", *drawn.warnings, *said]
    lines.append(
        f"Open it with `kindred audit open {study.study_id}`; it cannot change afterwards."
    )
    answer(as_json, facts, "\n".join(lines))


@audit.command()
@as_json_option
def systems(as_json: bool) -> None:
    """List the systems that can be compared on this library."""
    with open_services() as services:
        names = list(services.audits.systems())
    answer(as_json, {"systems": names}, "\n".join(names) or "No encoder has vectors here yet.")


@audit.command(name="list")
@as_json_option
def list_(as_json: bool) -> None:
    """List the studies and how far they are."""
    with open_services(notice=False) as services:
        found = [
            {
                "study_id": study.study_id,
                "title": study.design.title,
                "state": study.state,
                "form": study.design.form,
                **vars(services.audits.attendance(study.study_id)),
            }
            for study in services.audits.store.studies()
        ]
    lines = [
        f"{item['study_id']}  {item['state']:6}  {item['title']}: {item['finished']} of"
        f" {item['invited']} sittings finished, {item['judgements']} answers"
        for item in found
    ]
    answer(as_json, {"studies": found}, "\n".join(lines) or "There are no studies yet.")


@audit.command(name="open")
@_study_argument
@as_json_option
def open_(study_id: str, as_json: bool) -> None:
    """Freeze a draft, so that listeners can be invited."""
    with open_services(notice=False) as services:
        study = services.audits.store.open_study(study_id)
    document = {"study_id": study_id, "design_hash": study.design_hash}
    answer(as_json, document, f"{study_id} is open; its design is {study.design_hash[:16]}.")


@audit.command()
@_study_argument
@as_json_option
def close(study_id: str, as_json: bool) -> None:
    """End a study; its links stop working, its answers are kept with the library."""
    with open_services(notice=False) as services:
        services.audits.close(study_id)
    answer(as_json, {"closed": study_id}, f"{study_id} is closed.")


@audit.command()
@_study_argument
@click.argument("listeners", nargs=-1, required=True)
@click.option("--days", type=float, default=30, show_default=True, help="Until the link ends.")
@as_json_option
def invite(study_id: str, listeners: tuple[str, ...], days: float, as_json: bool) -> None:
    """Invite LISTENERS, each by a name or label that only you see; print their links and ids."""
    with open_services(notice=False) as services:
        base = services.public_url()
        made = [
            {"listener": item.listener, "invitation_id": item.invitation_id, "link": base + path}
            for item, path in services.audits.invite(study_id, listeners, days=days)
        ]
    lines = [f"{item['listener']}\t{item['link']}\t{item['invitation_id']}" for item in made]
    answer(as_json, {"invitations": made}, "\n".join(lines))


@audit.command()
@click.argument("invitation_id")
@as_json_option
def revoke(invitation_id: str, as_json: bool) -> None:
    """Make an invitation's link invalid; what was answered through it stays."""
    with open_services(notice=False) as services:
        services.audits.store.revoke(invitation_id)
    answer(as_json, {"revoked": invitation_id}, f"{invitation_id} is revoked.")


@audit.command()
@_study_argument
@as_json_option
def results(study_id: str, as_json: bool) -> None:
    """Print what the answers say, so far or at the end."""
    from kindred.audit.analysis.summary import lines

    with open_services(notice=False) as services, progress("results", unit="part") as report:
        found = services.audits.results(study_id, progress=report)
    answer(as_json, found.to_dict(), "\n".join(lines(found)))


@audit.command()
@_study_argument
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--labels", is_flag=True, help="As labels_and_splits, for training and evaluation.")
@click.option(
    "--used-for-training",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON list of track ids that something was trained on: they stay out of the test split.",
)
@as_json_option
def export(
    study_id: str, folder: Path, labels: bool, used_for_training: Path | None, as_json: bool
) -> None:
    """Write a study's answers to FOLDER: CSV, Parquet and JSONL with a codebook, or labels."""
    with open_services(notice=False) as services:
        if labels:
            used = _track_ids(used_for_training) if used_for_training else []
            made = services.audits.write_labels(study_id, folder, used_for_training=used)
            text = f"{len(made.pairs)} pairs and {len(made.triples)} triples, {made.version[:16]}"
            answer(as_json, made.header, text)
            return
        paths = [str(path) for path in services.audits.export(study_id, folder)]
    answer(as_json, {"files": paths}, "\n".join(paths))


def _track_ids(path: Path) -> list[str]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AuditError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise AuditError(f"{path} is no JSON list of track ids.")
    return found


@audit.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8600, show_default=True)
def serve(host: str, port: int) -> None:
    """Serve the sittings alone: no pages, no library, no API. Fit to be reached by listeners."""
    from kindred.api.listening.serving import serve as run

    with open_services(notice=False) as services:
        sittings = services.audits.sittings
        click.echo(f"Sittings are at http://{host}:{port}/listen/... (Ctrl-C stops it)")
        run(sittings, host=host, port=port)
