"""Columns of the Data API double: a JSON value becomes what the table keeps, and back.

Kept are plain values, so that equality is a dictionary look-up: text and uuid as ``str``, blob as
canonical base64, timestamp as milliseconds since 1970, vector as float32 ``[dimension]``.
Follows the codecs of the open-source Data API (github.com/stargate/data-api, filters/table/codecs).
"""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Refusal(Exception):
    """The API refuses a command: ``code``, ``scope`` and ``family`` are those of its errors.yaml.

    The text is ours; a client should read the code.
    """

    def __init__(self, code: str, message: str, scope: str = "", family: str = "REQUEST") -> None:
        super().__init__(message)
        self.code, self.message, self.scope, self.family = code, message, scope, family

    def as_error(self) -> dict[str, str]:
        """The error object of the answer."""
        return {
            "id": str(uuid.uuid4()),
            "family": self.family,
            "scope": self.scope,
            "errorCode": self.code,
            "title": self.code.replace("_", " ").capitalize(),
            "message": self.message,
        }


def database_refusal(message: str, code: str = "INVALID_DATABASE_QUERY") -> Refusal:
    """What the API answers when the database behind it refuses a query or is in trouble."""
    return Refusal(code, message, "DATABASE", "SERVER")


def shortest(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Doubles whose shortest decimals are the shortest that give back the float32, as Java prints.

    Below 1e-13 and above 1e22 some decimals may be longer than need be; they still give it back.
    """
    wide = values.astype(np.float64)
    size = np.abs(wide)
    plain = np.isfinite(wide) & (size > 1e-30) & (size < 1e30)
    power = np.floor(np.log10(np.where(plain, size, 1.0)))
    out = wide.copy()
    for digits in (9, 8, 7, 6):
        exponent = digits - 1 - power
        up, down = 10.0 ** np.maximum(exponent, 0), 10.0 ** np.maximum(-exponent, 0)
        rounded = np.rint(np.where(plain, wide, 0.0) * up / down) / up * down
        out = np.where(plain & (rounded.astype(np.float32) == values), rounded, out)
    return out


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


def _ascii(value: Any) -> str:
    if not _text(value).isascii():
        raise ValueError("not ASCII")
    return _text(value)


def _uuid(value: Any) -> str:
    if not _UUID.fullmatch(_text(value)):
        raise ValueError("not a UUID")
    return _text(value).lower()


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not a boolean")
    return value


def _number(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_NUMBERS:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return float(value)


def _integer(bits: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("not a whole number")
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise ValueError(f"more than {bits} bits")
        return value

    return parse


def _timestamp(value: Any) -> int:
    if isinstance(value, dict) and set(value) == {"$date"}:
        return _integer(64)(value["$date"])
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError("a timestamp without an offset")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _instant(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    part = f".{milliseconds % 1000:03d}" if milliseconds % 1000 else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{part}Z"


def _binary(value: Any) -> bytes:
    if not isinstance(value, dict) or set(value) != {"$binary"}:
        raise ValueError("not a $binary object")
    return base64.b64decode(_text(value["$binary"]), validate=True)


def _pairs(value: Any) -> list[list[Any]]:
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in value
    ):
        raise ValueError("neither an object nor an array of pairs")
    return value


_PARSE: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "ascii": _ascii,
    "uuid": _uuid,
    "boolean": _boolean,
    "tinyint": _integer(8),
    "smallint": _integer(16),
    "int": _integer(32),
    "bigint": _integer(64),
    "double": _number,
    "float": lambda value: float(shortest(np.array([_number(value)], np.float32))[0]),
    "timestamp": _timestamp,
    "blob": lambda value: base64.b64encode(_binary(value)).decode(),
}


def _dump_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_DUMP: dict[str, Callable[[Any], Any]] = {
    "timestamp": _instant,
    "blob": lambda value: {"$binary": value},
    "double": _dump_number,
    "float": _dump_number,
}


@dataclass(frozen=True)
class Column:
    """A column's type; ``key`` and ``value`` are the types inside map, set and list."""

    kind: str
    key: str = ""
    value: str = ""
    dimension: int = 0

    @staticmethod
    def from_definition(definition: Any) -> Column:
        """Read ``"uuid"`` or ``{"type": ...}``.

        Raises
        ------
        Refusal
            The type is unknown, or one that this double does not hold.
        """

        def part(name: str) -> str:
            inner = definition.get(name, "")
            return str(inner.get("type") if isinstance(inner, dict) else inner)

        if isinstance(definition, str):
            definition = {"type": definition}
        kind = definition.get("type")
        column = Column(str(kind), part("keyType"), part("valueType"), 0)
        if kind in _PARSE:
            return Column(str(kind))
        if kind == "vector":
            dimension = definition.get("dimension")
            if not isinstance(dimension, int) or dimension < 1:
                raise Refusal("UNSUPPORTED_VECTOR_DIMENSION", f"dimension {dimension}", "SCHEMA")
            return Column("vector", dimension=dimension)
        if kind == "map" and column.key in ("text", "ascii") and column.value in _PARSE:
            return column
        if kind in ("set", "list") and column.value in _PARSE and not column.key:
            return column
        if kind in ("map", "set", "list"):
            code = f"UNSUPPORTED_{str(kind).upper()}_DEFINITION"
            raise Refusal(code, f"type {definition}", "SCHEMA")
        raise Refusal("UNKNOWN_PRIMITIVE_DATA_TYPE", f"type {definition}", "SCHEMA")

    @property
    def scalar(self) -> bool:
        """Whether the column can be filtered on, indexed and part of a key."""
        return self.kind in _PARSE

    def definition(self) -> dict[str, Any]:
        """The type as schemas of answers spell it."""
        parts = {"keyType": self.key, "valueType": self.value, "dimension": self.dimension}
        return {"type": self.kind, **{name: part for name, part in parts.items() if part}}

    def parse(self, value: Any) -> Any:
        """What the table keeps; ``None`` for null and, as in Cassandra, for an empty collection.

        Raises
        ------
        ValueError
            The column's type does not take the value.
        """
        if value is None:
            return None
        if self.kind == "vector":
            return self._vector(value)
        if self.kind == "map":
            pairs = value.items() if isinstance(value, dict) else _pairs(value)
            parse_key, parse_value = _PARSE[self.key], _PARSE[self.value]
            return {parse_key(key): parse_value(item) for key, item in pairs} or None
        if self.kind in ("set", "list"):
            if not isinstance(value, list):
                raise ValueError("not an array")
            items = [_PARSE[self.value](item) for item in value]
            return (sorted(set(items)) if self.kind == "set" else items) or None
        return _PARSE[self.kind](value)

    def dump(self, value: Any) -> Any:
        """The JSON of a kept value."""
        if self.kind == "vector":
            return shortest(value).tolist()
        inner = _DUMP.get(self.value, lambda item: item)
        if self.kind == "map":
            return {key: inner(item) for key, item in value.items()}
        if self.kind in ("set", "list"):
            return [inner(item) for item in value]
        return _DUMP.get(self.kind, lambda item: item)(value)

    def _vector(self, value: Any) -> NDArray[np.float32]:
        if isinstance(value, list):
            vector = np.array([_number(item) for item in value], np.float32)
        else:
            vector = np.frombuffer(_binary(value), ">f4").astype(np.float32)
        if len(vector) != self.dimension:
            raise ValueError(f"{len(vector)} dimensions, not {self.dimension}")
        if not np.isfinite(vector).all():
            raise ValueError("numbers that are not finite")
        return vector
