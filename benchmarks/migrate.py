"""A library of 10,000 tracks through every kind of store under faults, and how fast it moves.

First the round trip: local, the double of Astra's Data API, Postgres, another local folder. Every
leg has processes killed with SIGKILL and requests that are dropped, lose their answer, time out or
meet 429 and 503; after each every row is read back from both sides and compared by its hash, and
twenty questions are asked of both. It ends with an error unless all is equal.

Then, without faults, local to Postgres against a loop that reads and writes a row at a time, in
rows a second. Tracks and vectors are random numbers: this says nothing of quality.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from report import finish, options, say
from tests.doubles.postgres import PostgresServer
from tests.storage.round_trip import fill, round_trip

from kindred.storage import replicate
from kindred.storage.backend import LibraryStore
from kindred.storage.local import LocalBackend
from kindred.storage.postgres.backend import PostgresStore
from kindred.storage.records import KINDS


def a_row_at_a_time(source: LibraryStore, target: LibraryStore) -> None:
    """What a script would do."""
    for kind in KINDS:
        for key in source.entries(kind):
            target.write_rows(source.read_rows(kind, [key]))


def main() -> None:
    args = options(__doc__)
    count, few = (500, 100) if args.quick else (10_000, 1_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = PostgresServer()

        def tell(text: str) -> None:
            if "killed" in text:  # progress is left out
                say(args, text)

        legs = round_trip(folder, server, count, say=tell)
        with LocalBackend(folder / "speed") as local:
            fill(local, few)
            rows = sum(len(local.entries(kind)) for kind in KINDS)
            seconds = []
            for copy in (_ours, a_row_at_a_time):
                with PostgresStore(server.new_database()) as store:
                    store.init()
                    start = time.perf_counter()
                    copy(local, store)
                    seconds.append(time.perf_counter() - start)
                    assert replicate.verify(local, store).equal
        server.remove()
    ours, peer = (rows / taken for taken in seconds)
    finish(
        "migrate", ours=ours, peer=peer, ratio=ours / peer, tracks=count, equal=True,
        killed=sum(leg.killed for leg in legs), faults=sum(leg.faults for leg in legs),
        seconds={leg.name: round(leg.seconds, 1) for leg in legs},
    )  # fmt: skip


def _ours(source: LibraryStore, target: LibraryStore) -> None:
    with tempfile.TemporaryDirectory() as home:
        replicate.synchronise(source, target, home=Path(home), direction="a->b")


if __name__ == "__main__":
    main()
