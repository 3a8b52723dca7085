"""Text in tables that people open in a spreadsheet.

A cell that one could take for a formula (after apostrophes and space it starts with ``=``, ``+``,
``-`` or ``@``, or their full-width twins) gets one leading apostrophe; no other text is changed.
OWASP, "CSV Injection".
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"['\s]*[=+\-@＝＋－＠]")


def guarded(text: str) -> str:
    """A cell's text as a spreadsheet shows it and does not compute it."""
    return f"'{text}" if _FORMULA.match(text) else text
