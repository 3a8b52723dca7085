"""Moves and synchronises libraries between any two stores.

:func:`plan` says what would change, :func:`apply` does it, :func:`synchronise` both until nothing
is left, :func:`verify` reads everything back. See ``docs/decisions/0015-sync.md``.
"""

from kindred.storage.replicate.conflict import Conflict, conflicts, resolve
from kindred.storage.replicate.copier import apply, synchronise
from kindred.storage.replicate.equality import SameAnswers, Verification, same_answers, verify
from kindred.storage.replicate.machine import adopt_audio, carry_machine
from kindred.storage.replicate.patience import Patience
from kindred.storage.replicate.planning import Plan, drift, plan
from kindred.storage.replicate.report import Report
from kindred.storage.replicate.state import Drift, SyncState

__all__ = [
    "Conflict",
    "Drift",
    "Patience",
    "Plan",
    "Report",
    "SameAnswers",
    "SyncState",
    "Verification",
    "adopt_audio",
    "apply",
    "carry_machine",
    "conflicts",
    "drift",
    "plan",
    "resolve",
    "same_answers",
    "synchronise",
    "verify",
]
