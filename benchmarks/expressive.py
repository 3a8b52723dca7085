"""Whether the learned retriever finds what is played alike better than a cosine does.

A run is made from nothing: scores are played with known levels of five aspects, features are
extracted, five seeds trained and judged on works, composers, a soundfont and instruments that
training never had. Features are Kindred's layered descriptors, without learned weights.

  ours  macro nDCG@10 of the distilled retriever on held-out works, mean over works, aspects, seeds
  peer  the same of the cosine of the features as they are

The table also has the cosine with layers weighed for each aspect (discovery), the oracle, and the
retriever trained from labels, with 95 % intervals over works, and which gates passed.
``--quick`` makes a small run. KINDRED_EXPRESSIVE_HOME names a folder in which the run is kept, and
gone on with when it was stopped.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from report import finish, options, say

from kindred.config import load_settings
from kindred.expressive.run import RunOptions
from kindred.services.expressive import Expressive, Run
from kindred.storage.local import LocalBackend

SHOWN = ("random", "cosine", "discovery", "descriptors", "oracle", "projection", "distilled")


def made(home: Path, *, quick: bool, tell: Callable[[str], None]) -> Run:
    """The run there is in a home, or a new one, done to its end."""
    storage = LocalBackend(home)
    try:
        room = Expressive(load_settings(home=home), storage)
        size = "small" if quick else "full"
        kept = [run.run_id for run in room.runs() if run.record.options.size == size]
        run_id = kept[0] if kept else room.begin(RunOptions(size=size, source="layers"))
        last = time.monotonic()

        def report(done: int, total: int, words: str) -> None:
            nonlocal last
            if time.monotonic() - last > 20:
                last = time.monotonic()
                tell(f"  {done:3d} of {total}  {words}")

        room.go_on(run_id, progress=report)
        return room.run(run_id)
    finally:
        storage.close()


def macro(run: Run, test: str, scorer: str) -> dict[str, float]:
    """Estimate of macro nDCG@10, clip to clip, with lures."""
    found: dict[str, float] = run.ranking["test"][test][scorer]["clips"]["ndcg"]["macro"]
    return found


def main() -> None:
    args = options(__doc__)
    kept = os.environ.get("KINDRED_EXPRESSIVE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        run = made(Path(kept or folder), quick=args.quick, tell=partial(say, args))
        wall = time.monotonic() - start
    say(args, f"{run.title}; {wall / 60:.1f} minutes, features: {run.ranking['features']}\n")
    table: dict[str, dict[str, dict[str, float]]] = {}
    say(args, f"{'macro nDCG@10':<20}" + "".join(f"{name:>22}" for name in SHOWN))
    for test in run.ranking["test"]:
        table[test] = {name: macro(run, test, name) for name in SHOWN}
        cells = [f"{e['mean']:.3f} [{e['low']:.3f}, {e['high']:.3f}]" for e in table[test].values()]
        say(args, f"{test:<20}" + "".join(f"{cell:>22}" for cell in cells))
    say(args, "\n" + "\n".join(run.gate_lines()))
    ours, peer = (macro(run, "works", name)["mean"] for name in ("distilled", "cosine"))
    finish(
        "expressive", ours=ours, peer=peer, ratio=ours / peer, passed=run.passed,
        failed=run.failed, table=table, seconds=dict(run.record.seconds), wall_s=round(wall),
    )  # fmt: skip


if __name__ == "__main__":
    main()
