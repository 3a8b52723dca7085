"""Log lines as JSON: one object a line, for programs that collect them.

A request's line has its id, method, the address as a template (never the ids in it), status,
milliseconds and the client's address. Keys, query texts and audio are not logged.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

requests = logging.getLogger("kindred.api.requests")


class JsonLines(logging.Formatter):
    """Formats a record as JSON; what it was given as ``extra={"fields": {...}}`` comes along."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def to_stderr(name: str = "") -> None:
    """Write requests, and warnings of what is under a logger, to standard error; all by default."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    requests.setLevel(logging.INFO)
