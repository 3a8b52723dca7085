"""Vectors in pgvector's binary form: two 16-bit numbers (dims, 0), then float32; all big-endian."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format


class Vector:
    """A float32 vector as a parameter; say ``%b::vector`` where Postgres cannot infer the type."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values = values


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Vector) -> bytes:
        return struct.pack(">HH", len(obj.values), 0) + obj.values.astype(">f4").tobytes()


def adapt(connection: psycopg.Connection[Any]) -> None:
    """Let a connection take :class:`Vector`."""
    connection.adapters.register_dumper(Vector, _VectorDumper)


def matrix(sent: Sequence[bytes], dims: int) -> NDArray[np.float32]:
    """What ``vector_send`` gave, as float32 [n, dims]."""
    values = np.frombuffer(b"".join(item[4:] for item in sent), ">f4")
    return values.astype(np.float32).reshape(len(sent), dims)
