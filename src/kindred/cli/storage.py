"""Commands about where the library is kept."""

from __future__ import annotations

from typing import Any

import click

from kindred.cli.common import answer, as_json_option, open_services, progress

_STORE = "local, postgres, astra, or the folder of a local library."
_prefer = click.option(
    "--prefer", type=click.Choice(["a", "b"]), help="The side that wins every conflict."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would change and write nothing.")


@click.group()
def storage() -> None:
    """Where the library is kept: on this computer, in Postgres, in Astra DB.

    STORAGE_BACKEND chooses; stores are named local, postgres, astra, or by the folder of a local
    library.
    """


@storage.command()
@click.argument("store", required=False)
@as_json_option
def init(store: str | None, as_json: bool) -> None:
    """Make the tables and indexes of a store (the one in use by default); again without harm."""
    from kindred.config import load_settings
    from kindred.services.stores import make_ready

    settings = load_settings()
    name = store or settings.storage_backend
    place = make_ready(settings, name)
    _print_ready(as_json, name, place)


def _print_ready(as_json: bool, name: str, place: str) -> None:
    answer(as_json, {"store": name, "place": place}, f"{name} is ready: {place}")


@storage.command()
@click.argument("store", required=False)
@as_json_option
def check(store: str | None, as_json: bool) -> None:
    """Try a store: settings, credentials, schema, dimensions, latency, and what to do."""
    from kindred.config import load_settings
    from kindred.storage.check import check_store

    settings = load_settings()
    name = store or settings.storage_backend
    checks = check_store(settings, name)
    good = all(item.ok for item in checks)
    lines = [
        f"{'ok ' if item.ok else '!! '} {item.name}: {item.found}"
        + (f"\n      {item.remedy}" if item.remedy else "")
        for item in checks
    ]
    document = {"store": name, "ok": good, "checks": [vars(item) for item in checks]}
    answer(as_json, document, "\n".join(lines))
    if not good:
        raise click.exceptions.Exit(1)


@storage.command()
@as_json_option
def status(as_json: bool) -> None:
    """Say which store answers, what waits for it, and how every store stands."""
    with open_services(notice=False) as services:
        now = services.storage.status()
        states = services.stores.overview()
        document = {
            "active": services.storage.name,
            "online": now.online,
            "notice": now.notice,
            "waiting": now.waiting,
            "stores": [vars(state) for state in states],
        }
        lines = [f"In use: {services.storage.name}, {services.storage.place}"]
        lines += [now.notice] if now.notice else []
        lines += [f"{now.waiting} writes wait to be sent"] if now.waiting else []
        for state in states:
            if not state.configured:
                lines.append(f"{state.title}: not set up")
                continue
            found = f"{state.tracks:,} tracks" if not state.problem else state.problem
            lines.append(f"{state.title} ({state.place or 'not reached'}): {found}")
        answer(as_json, document, "\n".join(lines))


@storage.command()
@click.option("--from", "source", required=True, metavar="A", help=_STORE)
@click.option("--to", "target", required=True, metavar="B", help=_STORE)
@_prefer
@_dry_run
@as_json_option
def migrate(source: str, target: str, **options: Any) -> None:
    """Copy all of store A to store B and read it back; B's own rows stay.

    A row that both have changed is left as B has it unless --prefer says otherwise.
    """
    _move(source, target, migrate=True, **options)


@storage.command()
@click.argument("a")
@click.argument("b")
@_prefer
@_dry_run
@as_json_option
def sync(a: str, b: str, **options: Any) -> None:
    """Bring two stores to the same state: additions, changes and deletions of both.

    Of a row that both have changed the later version wins; the other one is kept and listed by
    `kindred storage conflicts`.
    """
    _move(a, b, migrate=False, **options)


def _move(a: str, b: str, *, migrate: bool, prefer: Any, dry_run: bool, as_json: bool) -> None:
    with open_services(notice=False) as services:
        if dry_run:
            plan = services.stores.plan(a, b, migrate=migrate, prefer=prefer)
            answer(as_json, plan.to_dict(), "\n".join(plan.lines()))
            return
        with progress("migrate" if migrate else "sync", unit="row") as report:
            moved = services.stores.move(a, b, migrate=migrate, prefer=prefer, progress=report)
        answer(as_json, moved.to_dict(), "\n".join(moved.lines()))
        if not moved.right:
            raise click.ClickException("Not everything is the same on both sides; see above.")


@storage.command()
@click.option("--keep", nargs=2, metavar="ID winner|loser", help="Settle one for a version.")
@as_json_option
def conflicts(keep: tuple[str, str] | None, as_json: bool) -> None:
    """List the versions that lost when two stores had changed the same row; or settle one."""
    with open_services(notice=False) as services:
        if keep is not None:
            if keep[1] not in ("winner", "loser"):
                raise click.UsageError("Say which version to keep: winner or loser.")
            services.stores.resolve(keep[0], keep=keep[1])
        found = [conflict.to_dict() for conflict in services.stores.conflicts()]
        lines = [
            f"{item['conflict_id']}  {item['kind']} {item['title'] or item['key']}"
            for item in found
        ]
        answer(as_json, {"conflicts": found}, "\n".join(lines) or "There are no conflicts.")


@storage.command()
@as_json_option
def deliver(as_json: bool) -> None:
    """Send the writes that wait for the store, and list those it refused."""
    from kindred.storage.shared.backend import SharedBackend

    with open_services(notice=False) as services:
        store = services.storage
        if not isinstance(store, SharedBackend):
            answer(as_json, {"waiting": 0, "refused": []}, "A local library has nothing to send.")
            return
        with progress("deliver", unit="write") as report:
            store.deliver(progress=report)
        refused = [vars(note) for note in store.refused()]
        waiting = store.status().waiting
        lines = [f"{waiting} writes wait."]
        lines += [f"refused {note['number']}: {note['reason']}" for note in refused]
        answer(as_json, {"waiting": waiting, "refused": refused}, "\n".join(lines))
