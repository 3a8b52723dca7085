"""What was done between two libraries, for people and for JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """What was done.

    Attributes
    ----------
    written : dict
        Rows by what was done to which side, e.g. ``"tracks add b"``.
    conflicts : int
        Versions that lost and were kept.
    kept : int
        Rows left as they are on both sides: B has changed them and nothing prefers A.
    later : int
        Rows that somebody changed meanwhile: the next run takes them up.
    refused : list of str
        Rows that are damaged or that a store would not take, with the reason.
    size : int
        Bytes copied, roughly.
    cancelled : bool
    """

    written: dict[str, int] = field(default_factory=dict)
    conflicts: int = 0
    kept: int = 0
    later: int = 0
    refused: list[str] = field(default_factory=list)
    size: int = 0
    cancelled: bool = False

    @property
    def rows(self) -> int:
        """Rows written."""
        return sum(self.written.values())

    def to_dict(self) -> dict[str, Any]:
        """The report ready for JSON."""
        return {**vars(self), "rows": self.rows}

    def lines(self) -> list[str]:
        """The report in words."""
        stopped = "; stopped before the end" if self.cancelled else ""
        lines = [f"{self.rows:,} rows written, {self.size / 1e6:,.1f} MB{stopped}"]
        lines += [f"  {name}: {count:,}" for name, count in sorted(self.written.items())]
        for count, words in (
            (self.conflicts, "conflicts; the versions that lost are kept"),
            (self.kept, "rows left as they are on both sides"),
            (self.later, "rows changed meanwhile; synchronise again"),
        ):
            lines += [f"{count:,} {words}"] if count else []
        return lines + [f"not taken: {text}" for text in self.refused]
