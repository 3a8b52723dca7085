"""How much goes into one request: rows, values of a filter, bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
#: A row as astrapy sends and returns it; absent values are None.
Document = dict[str, Any]
#: Values of one ``$in``, and rows of one request; older servers take 20 rows.
MOST_VALUES, MOST_ROWS, FEW_ROWS = 100, 100, 20
#: Keys asked for at once: one fewer than a page has on newer servers, as after a full page another
#: is asked for. On servers with smaller pages it only takes more of them.
KEYS_AT_ONCE = 49
#: Bytes of one request's rows; a body may have 20 MB.
MOST_BYTES = 4 * 2**20


def chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Consecutive parts of at most ``size`` items."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def batches(documents: Iterable[Document], most_rows: int) -> Iterator[list[Document]]:
    """Consecutive parts bounded in rows and in the bytes they take in a request."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        weight = encoded_size(document)
        if batch and (len(batch) == most_rows or size + weight > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += weight
    if batch:
        yield batch


def encoded_size(document: Document) -> int:
    """Bytes a row takes in a request; at most a few too many."""
    size = 2
    for name, value in document.items():
        size += len(name) + 4
        if isinstance(value, bytes):
            size += 4 * ((len(value) + 2) // 3) + 14  # {"$binary":"..."}
        elif isinstance(value, str):
            # A quote takes two bytes, a control character six.
            size += len(value.encode()) + value.count('"') + value.count("\\") + 2
            size += 5 * sum(character < " " for character in value)
        else:
            size += 24
    return size
