"""Reading in the Data API double: paging, sorting, nearest neighbours, projections, warnings."""

from __future__ import annotations

import base64
import json
from bisect import bisect_right
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tests.doubles.data_api_filters import Condition, Group, matches, parse
from tests.doubles.data_api_tables import Key, Row, Table
from tests.doubles.data_api_types import Refusal, database_refusal, shortest

if TYPE_CHECKING:
    from tests.doubles.data_api_commands import Knobs

#: Types on which these operators are slow even with an index, so that the API warns.
_SLOW_NOT_EQUAL = ("text", "ascii", "boolean", "blob", "uuid")
_SLOW_COMPARISON = ("text", "ascii", "boolean", "uuid")
_MAX_CONDITIONS = 64
_MAX_VECTOR_LIMIT = 1000


def find(table: Table, body: dict[str, Any], knobs: Knobs, *, single: bool) -> dict[str, Any]:
    """Answer ``find``, or ``findOne`` when ``single``.

    Raises
    ------
    Refusal
        The API answers with an error.
    """
    options, sort = body.get("options") or {}, body.get("sort") or {}
    where = parse(body.get("filter") or {}, table.columns)
    if (count := len(list(where.conditions()))) > _MAX_CONDITIONS:
        raise Refusal("FILTER_FIELDS_LIMIT_VIOLATION", f"{count} conditions", "FILTER")
    columns = _projection(table, body.get("projection") or {})
    limit, skip = (1 if single else options.get("limit")), options.get("skip") or 0
    if limit is not None and limit < 1:
        raise Refusal("COMMAND_FIELD_VALUE_INVALID", f"limit {limit}, not 1 or more")
    if skip and not sort:
        raise Refusal("COMMAND_FIELD_VALUE_INVALID", "skip without a sort clause")
    if unknown := [name for name in sort if name not in table.columns]:
        raise Refusal("CANNOT_SORT_UNKNOWN_COLUMNS", f"columns {unknown}", "SORT")

    warnings = _warnings(table, where)
    status: dict[str, Any] = {"projectionSchema": table.describe(columns)}
    scores: list[np.float32] = []
    state = None
    if any(not isinstance(direction, int) for direction in sort.values()):
        warnings.pop("ZERO_FILTER_OPERATIONS", None)
        column, query = _vector_sort(table, sort, limit, skip)
        if options.get("includeSortVector"):
            status["sortVector"] = shortest(query).tolist()
        # The database does not page nearest neighbours: they come in one page, whatever its size.
        found = table.nearest(column, query, limit or _MAX_VECTOR_LIMIT, where, knobs.recall)
        rows = [row for row, _ in found]
        if options.get("includeSimilarity"):
            scores = [score for _, score in found]
    elif (ways := _database_order(table, where, sort, skip, warnings)) is None:
        if options.get("pageState"):
            raise Refusal("UNSUPPORTED_PAGINATION_WITH_IN_MEMORY_SORTING", f"{sort}", "SORT")
        rows = _sorted(table, where, sort, knobs.max_sort)
        status["sortedRowCount"] = len(rows)
        # One page and no more, even when more were asked for.
        rows = rows[skip : skip + min(limit or knobs.page_size, knobs.page_size)]
    else:
        rows, state = _page(table, where, options.get("pageState"), limit, knobs.page_size, ways)

    documents = [table.dump(row, columns) for row in rows]
    if scores:
        similarities = shortest(np.array(scores, np.float32)).tolist()
        for document, similarity in zip(documents, similarities, strict=True):
            document["$similarity"] = similarity
    if warnings:
        status["warnings"] = [
            Refusal(code, message, "WARNING").as_error() for code, message in warnings.items()
        ]
    if single:
        return {"data": {"document": documents[0] if documents else None}, "status": status}
    return {"data": {"documents": documents, "nextPageState": state}, "status": status}


def check_vector(table: Table, column: str, vector: NDArray[np.float32]) -> None:
    """Refuse what the column's index cannot hold.

    Raises
    ------
    Refusal
        A vector of zeros meets an index with the cosine metric.
    """
    if table.metric(column) == "cosine" and float(np.abs(vector).max()) <= 1e-6:
        raise database_refusal(
            "Zero and near-zero vectors cannot be indexed or queried with cosine similarity"
        )


def _projection(table: Table, projection: dict[str, Any]) -> list[str]:
    wanted = [name for name, value in projection.items() if value]
    if not projection or wanted == ["*"]:
        return list(table.columns)
    if wanted and len(wanted) < len(projection):
        raise Refusal("UNSUPPORTED_PROJECTION_PARAM", "both wanted and unwanted", "PROJECTION")
    columns = [name for name in table.columns if (name in projection) == bool(wanted)]
    if not columns:
        raise Refusal("UNKNOWN_TABLE_COLUMNS", f"columns {list(projection)}", "PROJECTION")
    return columns


def _warnings(table: Table, where: Group) -> dict[str, str]:
    """Warnings about a filter: code and message."""
    conditions = list(where.conditions())
    names = {condition.column for condition in conditions}
    warnings: dict[str, str] = {}
    if not names:
        return {"ZERO_FILTER_OPERATIONS": "no filter"}
    if not names <= set(table.key_columns):
        bare = sorted(name for name in names if not table.indexed(name))
        if bare:
            warnings["MISSING_INDEX"] = f"columns {bare}"
    else:
        given = [name in names for name in table.clustering]
        if not names.issuperset(table.partition) or given != sorted(given, reverse=True):
            warnings["INCOMPLETE_PRIMARY_KEY_FILTER"] = f"only columns {sorted(names)}"
    for code, operators, kinds in (
        ("NOT_EQUALS_UNSUPPORTED_BY_INDEXING", ("$ne",), _SLOW_NOT_EQUAL),
        (
            "COMPARISON_FILTER_UNSUPPORTED_BY_INDEXING",
            ("$gt", "$gte", "$lt", "$lte"),
            _SLOW_COMPARISON,
        ),
        ("NOT_IN_FILTER_UNSUPPORTED_BY_INDEXING", ("$nin",), _SLOW_COMPARISON),
    ):
        slow = sorted(
            condition.column
            for condition in conditions
            if condition.operator in operators
            and table.indexed(condition.column)
            and table.columns[condition.column].kind in kinds
        )
        if slow:
            warnings[code] = f"columns {slow}"
    return warnings


def _vector_sort(
    table: Table, sort: dict[str, Any], limit: int | None, skip: int
) -> tuple[str, NDArray[np.float32]]:
    vectors = [name for name, value in sort.items() if not isinstance(value, int)]
    if (limit or 0) > _MAX_VECTOR_LIMIT:
        raise Refusal("CANNOT_VECTOR_SORT_WITH_LIMIT_EXCEEDS_MAX", f"limit {limit}", "SORT")
    if skip:
        raise Refusal("CANNOT_VECTOR_SORT_WITH_SKIP_OPTION", f"skip {skip}", "SORT")
    if len(vectors) > 1:
        raise Refusal("CANNOT_SORT_ON_MULTIPLE_VECTORS", f"columns {vectors}", "SORT")
    if len(sort) > 1:
        raise Refusal("CANNOT_SORT_VECTOR_AND_NON_VECTOR_COLUMNS", f"{list(sort)}", "SORT")
    name = vectors[0]
    column, value = table.columns[name], sort[name]
    if column.kind != "vector":
        raise Refusal("CANNOT_VECTOR_SORT_NON_VECTOR_COLUMNS", f"column {name}", "SORT")
    if isinstance(value, str):
        code = "CANNOT_VECTORIZE_SORT_WHEN_MISSING_VECTORIZE_DEFINITION"
        raise Refusal(code, f"column {name}", "SORT")
    if table.metric(name) is None:
        raise Refusal("CANNOT_VECTOR_SORT_NON_INDEXED_VECTOR_COLUMNS", f"column {name}", "SORT")
    try:
        query: NDArray[np.float32] = column.parse(value)
    except ValueError as error:
        code = "CANNOT_VECTOR_SORT_ON_MISMATCHED_VECTOR_DIMENSIONS"
        raise Refusal(code, f"{name}: {error}", "SORT") from error
    check_vector(table, name, query)
    return name, query


def _database_order(
    table: Table, where: Group, sort: dict[str, int], skip: int, warnings: dict[str, str]
) -> int | None:
    """1 or -1 when the database reads in this order or its reverse; ``None``: sort in memory."""
    if bad := {name: way for name, way in sort.items() if way not in (1, -1)}:
        raise Refusal("INVALID_REGULAR_SORT_EXPRESSION", f"{bad}", "SORT")
    if not sort:
        return 1
    names = list(sort)
    fixed = {part.column for part in where.parts if _pins(part)}
    if skip:
        reason = "SKIP_OPTIONS"
    elif not set(names) <= set(table.clustering):
        reason = "TO_NON_PARTITION_SORTING"
    elif names != list(table.clustering)[: len(names)]:
        reason = "TO_OUT_OF_ORDER_PARTITION_SORTING"
    elif not fixed.issuperset(table.partition):
        reason = "TO_PARTITION_KEY_NOT_RESTRICTED"
    else:
        ways = {way * table.clustering[name] for name, way in sort.items()}
        if len(ways) > 1:
            raise database_refusal(f"unsupported order {sort} on clustering {table.clustering}")
        return ways.pop()
    warnings[f"IN_MEMORY_SORTING_DUE_{reason}"] = f"sort {sort}"
    return None


def _pins(part: Condition | Group) -> bool:
    if isinstance(part, Group):
        return False
    return part.operator == "$eq" or (part.operator == "$in" and len(part.value) == 1)


def _sorted(table: Table, where: Group, sort: dict[str, int], most: int) -> list[Row]:
    rows = table.scan(where)
    if len(rows) > most:
        raise Refusal("OVERLOADED_SORT_ROW_LIMIT", f"more than {most} rows", "SORT")
    rows = sorted(rows, key=lambda row: row.position)
    for name, way in reversed(sort.items()):

        def rank(row: Row, name: str = name) -> tuple[bool, Any]:
            return name in row.values, row.values.get(name)

        rows.sort(key=rank, reverse=way < 0)
    return rows


def _page(
    table: Table, where: Group, state: str | None, limit: int | None, page_size: int, way: int
) -> tuple[list[Row], str | None]:
    """One page, and the state with which the next one is asked for.

    As in Cassandra, a page that is full has a next one, which may turn out empty.
    """
    after: Key | None = None
    if state:
        try:
            key, limit = json.loads(base64.urlsafe_b64decode(state))
            after = table.position(tuple(key))
        except (ValueError, TypeError) as error:
            raise database_refusal(f"page state {state!r} is not one of ours") from error
    size = page_size if limit is None else min(page_size, limit)
    found = table.select(where)
    rows: Iterable[Row]
    if found is None:
        start = 0 if after is None else bisect_right(table.order, after, key=_position)
        rows = (table.order[place] for place in range(start, len(table.order)))
        rows = (row for row in rows if matches(where, row.values))
    else:
        found.sort(key=_position, reverse=way < 0)
        rows = (row for row in found if after is None or _beyond(row.position, after, way))
    page = list(islice(rows, size))
    left = None if limit is None else limit - len(page)
    if len(page) < size or left == 0:
        return page, None
    token = json.dumps([page[-1].key, left]).encode()
    return page, base64.urlsafe_b64encode(token).decode()


def _beyond(position: Key, after: Key, way: int) -> bool:
    return after < position if way > 0 else position < after


def _position(row: Row) -> Key:
    return row.position
