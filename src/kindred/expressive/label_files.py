"""The files of ``labels_and_splits``: bytes, JSON, checksums and schemas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from kindred.errors import ExpressiveError

#: So many lines of a file are held against its schema, since all of them would take minutes.
SCHEMA_SAMPLE = 100


def line(values: Mapping[str, Any]) -> bytes:
    """A line of JSON; what is no JSON in it is written by its attributes."""
    return _ENCODER.encode(values).encode() + b"\n"


def pretty(values: Mapping[str, Any]) -> bytes:
    """JSON that people can read."""
    return json.dumps(values, indent=1, ensure_ascii=False).encode() + b"\n"


def sha256(content: bytes) -> str:
    """The checksum of a file, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def version_of(files: Mapping[str, str]) -> str:
    """SHA-256 of the names and checksums of files."""
    return sha256("".join(f"{name} {files[name]}\n" for name in sorted(files)).encode())


def read(folder: Path, name: str) -> bytes:
    """The content of a file; raises :class:`ExpressiveError` when it cannot be read."""
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise damaged(folder, name, f"cannot be read ({error.strerror})") from error


def parse(folder: Path, name: str, content: bytes) -> Any:
    """JSON in a file; raises :class:`ExpressiveError` for what is none."""
    try:
        return _DECODER.decode(content.decode())
    except ValueError as error:  # what is not UTF-8, too
        raise damaged(folder, name, f"is not JSON ({error})") from error


def parse_lines(folder: Path, name: str, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines of JSON, counted from 1; a sample of them is held against the schema first."""
    lines = content.splitlines()
    step = max(1, len(lines) // SCHEMA_SAMPLE)
    check_schema(folder, name, [parse(folder, name, one) for one in lines[::step]], step)
    for number, one in enumerate(lines, 1):
        values = parse(folder, name, one)
        if not isinstance(values, dict):
            raise damaged(folder, name, f"is no object in line {number}")
        yield number, values


def check_schema(folder: Path, name: str, values: Sequence[Any], step: int = 0) -> None:
    """Hold values against the schema of a file: its only one, or with ``step`` every such line."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    file = f"schemas/{Path(name).stem}.schema.json"
    schema = json.loads((resources.files("kindred.expressive") / file).read_text("utf-8"))
    validator = Draft202012Validator(schema)
    for number, value in enumerate(values):
        for error in validator.iter_errors(value):
            where = error.json_path.removeprefix("$").lstrip(".") or "it"
            which = f" in line {number * step + 1}" if step else ""
            raise damaged(
                folder, name, f"does not follow its schema at {where}{which}: {error.message[:200]}"
            )


def damaged(folder: Path, name: str, what: str) -> ExpressiveError:
    """The error for a file that is not as it was written."""
    return ExpressiveError(f"{folder / name} {what}. Write the labels again.")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=vars)
_DECODER = json.JSONDecoder(parse_constant=_refuse)
