"""What every benchmark shares: its two options and its last line, one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def options(description: str | None) -> argparse.Namespace:
    """Read ``--quick`` (small and fast) and ``--json`` (the last line alone)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small run, for a look")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    return parser.parse_args()


def say(args: argparse.Namespace, text: str) -> None:
    """Print for people: on standard output, or on standard error beside ``--json``."""
    print(text, file=sys.stderr if args.json else sys.stdout, flush=True)


def finish(name: str, *, ours: float, peer: float, ratio: float, **more: Any) -> None:
    """Print the last line; a ratio above 1 is better than the peer."""
    line = {"name": name, "ours": round(ours, 3), "peer": round(peer, 3), "ratio": round(ratio, 2)}
    print(json.dumps(line | more))
