"""Filters of the Data API double: what the API takes, and whether a row meets it.

Null meets no condition, not even ``$ne``. A filter that the API refuses raises ``Refusal``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tests.doubles.data_api_types import Column, Refusal


class Condition(NamedTuple):
    """One condition of a filter."""

    column: str
    operator: str
    value: Any


class Group(NamedTuple):
    """Conditions of which all must hold, or any."""

    any: bool
    parts: list[Any]

    def either(self) -> bool:
        """Whether there is an ``$or`` anywhere."""
        return self.any or any(isinstance(part, Group) and part.either() for part in self.parts)

    def conditions(self) -> Iterator[Condition]:
        """Every condition inside."""
        for part in self.parts:
            if isinstance(part, Condition):
                yield part
            else:
                yield from part.conditions()


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$in": lambda value, allowed: value in allowed,
    "$nin": lambda value, forbidden: value not in forbidden,
}


def parse(where: dict[str, Any], columns: Mapping[str, Column]) -> Group:
    """Read a filter.

    Raises
    ------
    Refusal
        An operator, a column or a value that the API does not take.
    """
    parts: list[Any] = []
    for name, value in where.items():
        if name in ("$and", "$or"):
            if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
                raise Refusal("FILTER_UNSUPPORTED_DATA_TYPE", f"{name}: {value}", "FILTER")
            parts.append(Group(name == "$or", [parse(part, columns) for part in value]))
        elif name.startswith("$"):
            raise Refusal("FILTER_UNSUPPORTED_OPERATOR", name, "FILTER")
        elif isinstance(value, dict) and not set(value) <= {"$binary", "$date"}:
            parts += [_condition(columns, name, test, operand) for test, operand in value.items()]
        else:
            parts.append(_condition(columns, name, "$eq", value))
    return Group(False, parts)


def matches(node: Any, values: Mapping[str, Any]) -> bool:
    """Whether a row's values meet a filter."""
    if isinstance(node, Condition):
        value = values.get(node.column)
        return value is not None and _TESTS[node.operator](value, node.value)
    some = any if node.any else all
    return some(matches(part, values) for part in node.parts)


def _condition(columns: Mapping[str, Column], name: str, test: str, operand: Any) -> Condition:
    if test not in _TESTS:
        raise Refusal("FILTER_UNSUPPORTED_OPERATOR", f"{name}: {test}", "FILTER")
    column = columns.get(name)
    if column is None:
        raise Refusal("UNKNOWN_TABLE_COLUMNS", f"no column {name}", "FILTER")
    if not column.scalar:
        raise Refusal("UNSUPPORTED_FILTERING_FOR_COLUMN_TYPES", f"column {name}", "FILTER")
    several = test in ("$in", "$nin")
    if several != isinstance(operand, list):
        raise Refusal("FILTER_INVALID_EXPRESSION", f"{name}: {test} {operand}", "FILTER")
    if several and len(operand) > 100:
        raise Refusal("FILTER_INVALID_EXPRESSION", f"{test} takes at most 100 values", "FILTER")
    if operand is None or (several and None in operand):
        raise Refusal("FILTER_UNSUPPORTED_DATA_TYPE", f"{name}: null", "FILTER")
    try:
        if several:
            return Condition(name, test, {column.parse(item) for item in operand})
        return Condition(name, test, column.parse(operand))
    except (ValueError, OverflowError) as error:
        raise Refusal(
            "INVALID_FILTER_COLUMN_VALUES", f"{name} ({column.kind}): {error}", "FILTER"
        ) from error
