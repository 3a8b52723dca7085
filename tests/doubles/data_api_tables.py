"""Tables of the Data API double: rows, key and secondary indexes, nearest vectors.

Rows are read in the order of Cassandra: partitions by a hash of their key, so in no order a client
may count on, and rows of one partition by its clustering columns. Equality on key columns and on
indexed columns is a look-up; other filters are tested row by row.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.doubles.data_api_filters import Condition, Group, matches
from tests.doubles.data_api_types import Column

Slots = NDArray[np.intp]
Key = tuple[Any, ...]


class _Descending:
    """A clustering value that sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]


class Row:
    """A row: its key, its place in the table's order, its slot in the vector matrices."""

    __slots__ = ("inserted", "key", "position", "slot", "values")

    def __init__(self, key: Key, position: Key, slot: int) -> None:
        self.key, self.position, self.slot = key, position, slot
        self.values: dict[str, Any] = {}
        self.inserted = False


class Vectors:
    """One vector column: float32 ``[slots, dimension]``, grown by doubling."""

    def __init__(self, dimension: int) -> None:
        self.matrix = np.zeros((0, dimension), np.float32)
        self.norms = np.zeros(0, np.float32)
        self.present = np.zeros(0, np.bool_)

    def put(self, slot: int, vector: NDArray[np.float32] | None) -> None:
        """Set or, with ``None``, clear the vector of a slot."""
        if slot >= len(self.matrix):
            if vector is None:
                return
            more = max(1024, len(self.matrix), slot + 1 - len(self.matrix))
            self.matrix = np.concatenate(
                [self.matrix, np.zeros((more, self.matrix.shape[1]), np.float32)]
            )
            self.norms = np.concatenate([self.norms, np.zeros(more, np.float32)])
            self.present = np.concatenate([self.present, np.zeros(more, np.bool_)])
        self.present[slot] = vector is not None
        if vector is not None:
            self.matrix[slot] = vector
            self.norms[slot] = np.linalg.norm(vector)

    def get(self, slot: int) -> NDArray[np.float32] | None:
        """The vector of a slot."""
        return self.matrix[slot] if slot < len(self.present) and self.present[slot] else None

    def nearest(
        self, query: NDArray[np.float32], k: int, *, metric: str, recall: float, among: Slots | None
    ) -> tuple[Slots, NDArray[np.float32]]:
        """The slots of the ``k`` most similar vectors, best first, and their similarities.

        Exact, unless ``recall`` is below 1: then that share of the true neighbours is kept, which
        ones depending on the query and the slot alone, and others follow in their place.
        """
        slots = np.flatnonzero(self.present)
        if among is not None:
            slots = among[among < len(self.present)]
            slots = slots[self.present[slots]]
        if metric == "cosine":
            slots = slots[self.norms[slots] > 0]
        if not len(slots) or len(slots) < len(self.matrix) // 4:
            dots = self.matrix[slots] @ query
        else:
            dots = (self.matrix[: slots.max() + 1] @ query)[slots]
        if metric == "cosine":
            similarity = (1 + dots / (self.norms[slots] * np.linalg.norm(query))) / 2
        elif metric == "dot_product":
            similarity = (1 + dots) / 2
        else:
            apart = self.norms[slots] ** 2 + query @ query - 2 * dots
            similarity = 1 / (1 + np.maximum(apart, 0))
        pool = min(len(slots), k if recall >= 1 else 2 * int(np.ceil(k / recall)) + 50)
        if pool < len(slots):
            best = np.argpartition(-similarity, pool)[:pool]
            slots, similarity = slots[best], similarity[best]
        order = np.lexsort((slots, -similarity))
        if recall < 1:
            lot = hashlib.blake2b(query.tobytes(), digest_size=8).digest()
            order = order[[_draw(lot + b"%d" % slot) < recall for slot in slots[order]]]
        return slots[order[:k]], similarity[order[:k]].astype(np.float32)


class Table:
    """One table; ``clustering`` maps columns to 1 or -1."""

    def __init__(
        self,
        keyspace: str,
        name: str,
        columns: dict[str, Column],
        partition: list[str],
        clustering: dict[str, int],
    ) -> None:
        self.keyspace, self.name = keyspace, name
        self.columns, self.partition, self.clustering = columns, partition, clustering
        self.key_columns = [*partition, *clustering]
        #: Definitions of secondary indexes by name, as they were asked for.
        self.indexes: dict[str, dict[str, Any]] = {}
        self.truncate()

    def truncate(self) -> None:
        """Remove every row."""
        self.rows: dict[Key, Row] = {}
        self.order: list[Row] = []
        self._by_slot: list[Row | None] = []
        self._free: list[int] = []
        self._slots_of: dict[str, dict[Any, set[int]]] = {name: {} for name in self.key_columns}
        for definition in self.indexes.values():
            self._slots_of.setdefault(definition["column"], {})
        self.vectors = {
            name: Vectors(column.dimension)
            for name, column in self.columns.items()
            if column.kind == "vector"
        }

    def describe(self, columns: list[str]) -> dict[str, Any]:
        """Types of some columns, as answers spell them."""
        return {name: self.columns[name].definition() for name in columns}

    def indexed(self, column: str) -> bool:
        """Whether a secondary index covers the column."""
        return any(definition["column"] == column for definition in self.indexes.values())

    def metric(self, column: str) -> str | None:
        """The metric of the column's vector index, if it has one."""
        for definition in self.indexes.values():
            if definition["column"] == column and "metric" in definition["options"]:
                return str(definition["options"]["metric"])
        return None

    def add_index(self, name: str, definition: dict[str, Any]) -> None:
        """Cover a column by a secondary index."""
        self.indexes[name] = definition
        column = definition["column"]
        if column not in self._slots_of and self.columns[column].scalar:
            values = self._slots_of[column] = {}
            for row in self.order:
                if column in row.values:
                    values.setdefault(row.values[column], set()).add(row.slot)

    def add_column(self, name: str, column: Column) -> None:
        """Add a column, null in every row."""
        self.columns[name] = column
        if column.kind == "vector":
            self.vectors[name] = Vectors(column.dimension)

    def position(self, key: Key) -> Key:
        """Where a key stands in the order of the table."""
        width = len(self.partition)
        token = hashlib.blake2b(repr(key[:width]).encode(), digest_size=8).digest()
        directions = zip(key[width:], self.clustering.values(), strict=True)
        return token, *(value if way > 0 else _Descending(value) for value, way in directions)

    def write(self, key: Key, changes: dict[str, Any], *, insert: bool) -> None:
        """Upsert: columns left out keep their value, ``None`` clears.

        As in Cassandra, a row that was only ever updated vanishes with its last value.
        """
        row = self.rows.get(key)
        if row is None:
            slot = self._free.pop() if self._free else len(self._by_slot)
            row = Row(key, self.position(key), slot)
            if slot == len(self._by_slot):
                self._by_slot.append(None)
            self._by_slot[slot] = row
            self.rows[key] = row
            insort(self.order, row, key=_position)
            for name, value in zip(self.key_columns, key, strict=True):
                self._set(row, name, value)
        row.inserted |= insert
        for name, value in changes.items():
            if name in self.vectors:
                self.vectors[name].put(row.slot, value)
            elif name not in self.key_columns:
                self._set(row, name, value)
        if not (row.inserted or len(row.values) > len(key) or self._has_vector(row)):
            self.remove(row)

    def remove(self, row: Row) -> None:
        """Delete a row."""
        del self.rows[row.key]
        del self.order[bisect_left(self.order, row.position, key=_position)]
        for name in list(row.values):
            self._set(row, name, None)
        for vectors in self.vectors.values():
            vectors.put(row.slot, None)
        self._by_slot[row.slot] = None
        self._free.append(row.slot)

    def dump(self, row: Row, columns: list[str]) -> dict[str, Any]:
        """Some columns as JSON, nulls dropped."""
        out = {}
        for name in columns:
            value = (
                self.vectors[name].get(row.slot) if name in self.vectors else row.values.get(name)
            )
            if value is not None:
                out[name] = self.columns[name].dump(value)
        return out

    def select(self, where: Group) -> list[Row] | None:
        """Rows that meet a filter, in no order; ``None`` when no index finds them."""
        slots, exact = self._candidates(where)
        if slots is None:
            return None
        rows = [row for slot in slots if (row := self._by_slot[slot]) is not None]
        return rows if exact else [row for row in rows if matches(where, row.values)]

    def scan(self, where: Group) -> list[Row]:
        """Rows that meet a filter, in no order, found by an index or one by one."""
        found = self.select(where)
        if found is None:
            return [row for row in self.order if matches(where, row.values)]
        return found

    def nearest(
        self, column: str, query: NDArray[np.float32], k: int, where: Group, recall: float
    ) -> list[tuple[Row, np.float32]]:
        """The ``k`` most similar rows that meet the filter, with their similarities."""
        slots, exact = self._candidates(where)
        if not exact:
            slots = {row.slot for row in self.scan(where)}
        best, similarity = self.vectors[column].nearest(
            query,
            k,
            metric=self.metric(column) or "cosine",
            recall=recall,
            among=None if slots is None else np.fromiter(slots, np.intp, len(slots)),
        )
        return [
            (row, score)
            for slot, score in zip(best, similarity, strict=True)
            if (row := self._by_slot[slot]) is not None
        ]

    def _has_vector(self, row: Row) -> bool:
        return any(vectors.get(row.slot) is not None for vectors in self.vectors.values())

    def _set(self, row: Row, name: str, value: Any) -> None:
        slots_of = self._slots_of.get(name)
        if slots_of is not None and name in row.values:
            slots = slots_of[row.values[name]]
            slots.discard(row.slot)
            if not slots:
                del slots_of[row.values[name]]
        if value is None:
            row.values.pop(name, None)
            return
        row.values[name] = value
        if slots_of is not None:
            slots_of.setdefault(value, set()).add(row.slot)

    def _candidates(self, node: Any) -> tuple[set[int] | None, bool]:
        """Slots that may meet a filter (``None``: any), and whether they all do."""
        if isinstance(node, Condition):
            slots_of = self._slots_of.get(node.column)
            if slots_of is None or node.operator not in ("$eq", "$in"):
                return None, False
            if node.operator == "$eq":
                return slots_of.get(node.value, set()), True
            return set().union(*(slots_of.get(value, ()) for value in node.value)), True
        found = [self._candidates(part) for part in node.parts]
        exact = all(part_exact for _, part_exact in found)
        known = sorted((slots for slots, _ in found if slots is not None), key=len)
        if node.any:
            return (set().union(*known), exact) if len(known) == len(found) else (None, False)
        if not known:
            return None, exact
        return known[0].intersection(*known[1:]) if known[1:] else known[0], exact


def _position(row: Row) -> Key:
    return row.position


def _draw(data: bytes) -> float:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest()) / 2**32
