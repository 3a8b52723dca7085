"""The Data API double, driven by astrapy over HTTP as an adapter would drive the service."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from astrapy import DataAPIClient, Database, Table
from astrapy.api_options import APIOptions, SerdesOptions
from astrapy.authentication import UsernamePasswordTokenProvider
from astrapy.constants import Environment, SortMode, VectorMetric
from astrapy.data_types import DataAPIVector
from astrapy.exceptions import (
    DataAPIException,
    DataAPIHttpException,
    DataAPIResponseException,
    DataAPITimeoutException,
    TableInsertManyException,
    UnexpectedDataAPIResponseException,
)
from astrapy.info import (
    AlterTableAddColumns,
    ColumnType,
    CreateTableDefinition,
    TableScalarColumnTypeDescriptor,
    TableVectorIndexOptions,
)

from tests.doubles.data_api import (
    FAULTS,
    SERVER_ERRORS,
    Call,
    DataApiDouble,
    astrapy_clients_closed,
)
from tests.doubles.data_api_types import shortest

DIMS = 8
Rows = Table[dict[str, Any]]
DEFINITION = (
    CreateTableDefinition.builder()
    .add_column("song_id", ColumnType.UUID)
    .add_column("model", ColumnType.TEXT)
    .add_column("part", ColumnType.INT)
    .add_column("genre", ColumnType.TEXT)
    .add_column("bpm", ColumnType.DOUBLE)
    .add_column("loud", ColumnType.FLOAT)
    .add_column("plays", ColumnType.BIGINT)
    .add_column("live", ColumnType.BOOLEAN)
    .add_column("at", ColumnType.TIMESTAMP)
    .add_column("audio", ColumnType.BLOB)
    .add_map_column("tags", ColumnType.TEXT, ColumnType.TEXT)
    .add_set_column("moods", ColumnType.TEXT)
    .add_list_column("beats", ColumnType.DOUBLE)
    .add_vector_column("vector", dimension=DIMS)
    .add_vector_column("other", dimension=DIMS)
    .add_partition_by(["song_id"])
    .add_partition_sort({"model": SortMode.ASCENDING, "part": SortMode.DESCENDING})
    .build()
)
PLAIN = APIOptions(serdes_options=SerdesOptions(custom_datatypes_in_reading=False))


@pytest.fixture
def double() -> Iterator[DataApiDouble]:
    with DataApiDouble() as running, astrapy_clients_closed():
        yield running


@pytest.fixture
def database(double: DataApiDouble) -> Database:
    client = DataAPIClient(environment=Environment.HCD, api_options=PLAIN)
    return client.get_database(double.url, token=double.token, keyspace="default_keyspace")


@pytest.fixture
def table(double: DataApiDouble, database: Database) -> Rows:
    made = database.create_table("songs", definition=DEFINITION)
    made.create_vector_index(
        "songs_ann", column="vector", options=TableVectorIndexOptions(metric=VectorMetric.COSINE)
    )
    made.create_index("songs_genre", column="genre")
    double.log.clear()
    return made


def song(number: int, **columns: Any) -> dict[str, Any]:
    return {"song_id": uuid.UUID(int=number), "model": "clap", "part": 0, **columns}


def numbers(rows: Any) -> list[int]:
    return [row["song_id"].int for row in rows]


def code(error: pytest.ExceptionInfo[Any]) -> str:
    raised = error.value
    if isinstance(raised, TableInsertManyException):
        raised = raised.exceptions[0]
    return raised.error_descriptors[0].error_code or ""


def post(double: DataApiDouble, path: str, body: Any, token: str | None = None) -> httpx.Response:
    return httpx.post(double.url + path, json=body, headers={"Token": token or double.token})


def ask(double: DataApiDouble, command: str, **body: Any) -> dict[str, Any]:
    answer = post(double, "/v1/default_keyspace/songs", {command: body}).json()
    assert isinstance(answer, dict)
    return answer


def test_tables_and_indexes_are_described_as_they_were_made(
    database: Database, table: Rows
) -> None:
    assert database.list_table_names() == ["songs"]
    for described in (database.list_tables()[0].definition, table.definition()):
        assert described.columns == DEFINITION.columns
        assert described.primary_key == DEFINITION.primary_key
    indexes = {index.name: index.as_dict() for index in table.list_indexes()}
    assert sorted(table.list_index_names()) == ["songs_ann", "songs_genre"]
    assert indexes["songs_ann"]["indexType"] == "vector"
    assert indexes["songs_ann"]["definition"]["options"]["metric"] == "cosine"
    assert indexes["songs_genre"]["definition"]["column"] == "genre"


def test_making_twice_is_refused_unless_asked_to_tolerate_it(
    database: Database, table: Rows
) -> None:
    table.insert_one(song(1))
    database.create_table("songs", definition=DEFINITION, if_not_exists=True)
    table.create_index("songs_genre", column="genre", if_not_exists=True)
    assert table.find_one({"song_id": uuid.UUID(int=1)}) is not None
    with pytest.raises(DataAPIResponseException) as error:
        database.create_table("songs", definition=DEFINITION)
    assert code(error) == "CANNOT_ADD_EXISTING_TABLE"
    with pytest.raises(DataAPIResponseException) as error:
        table.create_index("songs_genre", column="live")
    assert code(error) == "CANNOT_ADD_EXISTING_INDEX"
    database.drop_table_index("songs_genre")
    database.drop_table("songs")
    assert database.list_table_names() == []
    database.drop_table("songs", if_exists=True)
    with pytest.raises(DataAPIResponseException) as error:
        database.drop_table("songs")
    assert code(error) == "CANNOT_DROP_UNKNOWN_TABLE"


def test_a_column_is_added_to_rows_that_exist(table: Rows) -> None:
    table.insert_one(song(1))
    year = TableScalarColumnTypeDescriptor(ColumnType.INT)
    table.alter(AlterTableAddColumns(columns={"year": year}))
    table.insert_one(song(1, year=1999))
    row = table.find_one({"song_id": uuid.UUID(int=1)})
    assert row is not None
    assert row["year"] == 1999


def test_every_type_comes_back(table: Rows) -> None:
    vector = np.random.default_rng(0).normal(size=DIMS).astype(np.float32)
    sent = song(
        1,
        genre="jäzz",
        bpm=0.1,
        loud=0.1,
        plays=2**53 + 1,
        live=False,
        at=datetime(2026, 1, 2, 3, 4, 5, 123_999, tzinfo=UTC),
        audio=bytes(range(256)),
        tags={"key": "value", "": "ünïcode"},
        moods={"sad", "calm"},
        beats=[0.5, 0.25, float("inf")],
        vector=DataAPIVector(vector.tolist()),
    )
    inserted = table.insert_many([sent])
    assert inserted.inserted_ids == [{"song_id": uuid.UUID(int=1), "model": "clap", "part": 0}]
    row = table.find_one({"song_id": uuid.UUID(int=1)})
    assert row is not None
    assert np.array(row.pop("vector"), np.float32).tobytes() == vector.tobytes()
    assert row == {
        **{name: value for name, value in sent.items() if name != "vector"},
        "at": datetime(2026, 1, 2, 3, 4, 5, 123_000, tzinfo=UTC),
        "other": None,
    }


def test_vectors_are_answered_as_the_shortest_decimals(double: DataApiDouble, table: Rows) -> None:
    table.insert_one(song(1, vector=DataAPIVector([0.1, 1e-8, -3.0, 1 / 3, 0, 0, 0, 1])))
    text = json.dumps(ask(double, "find", filter={}))
    assert '"vector": [0.1, 1e-08, -3.0, 0.33333334, 0.0, 0.0, 0.0, 1.0]' in text
    rng = np.random.default_rng(1)
    many = (rng.normal(size=5_000) * 10.0 ** rng.uniform(-10, 8, 5_000)).astype(np.float32)
    assert shortest(many).tolist() == [float(str(value)) for value in many]
    extremes = np.array([0, -0.0, 1e-45, 3.4e38, np.inf, 1.1754944e-38], np.float32)
    assert shortest(extremes).astype(np.float32).tobytes() == extremes.tobytes()


@pytest.mark.parametrize(("page_size", "pages"), [(20, [20] * 6), (50, [50, 50, 20])])
def test_paging_gives_every_row_once(
    double: DataApiDouble, table: Rows, page_size: int, pages: list[int]
) -> None:
    double.page_size = page_size
    table.insert_many([song(number) for number in range(120)])
    double.log.clear()
    found = numbers(table.find({}, projection={"song_id": True}))
    assert sorted(found) == list(range(120))
    assert found != list(range(120))  # partitions are read in the order of their hash
    got = [call.rows for call in double.log]
    assert got == pages + [0] * (pages[-1] == page_size)  # after a full page, there may be more


def test_a_limit_spans_pages_and_rows_may_come_and_go_between_them(
    double: DataApiDouble, table: Rows
) -> None:
    table.insert_many([song(number, genre="jazz") for number in range(120)])
    assert len(table.find({"genre": "jazz"}, limit=70).to_list()) == 70
    cursor = table.find({"genre": "jazz"}, projection={"song_id": True})
    first = [next(cursor) for _ in range(50)]
    table.delete_one({key: first[-1].get(key, value) for key, value in song(0).items()})
    assert len({*numbers(first), *numbers(cursor)}) == 120


def vectors_of(table: Rows, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    matrix = np.random.default_rng(2).normal(size=(count, DIMS)).astype(np.float32)
    table.insert_many(
        [
            song(number, genre=f"genre {number % 4}", vector=DataAPIVector(vector.tolist()))
            for number, vector in enumerate(matrix)
        ]
    )
    return matrix


def test_nearest_neighbours_are_exact_and_scored_as_the_service_does(table: Rows) -> None:
    matrix = vectors_of(table, 200)
    query = matrix[17] + matrix[18]
    cosine = matrix @ query / np.linalg.norm(matrix, axis=1) / np.linalg.norm(query)
    sort = {"vector": DataAPIVector(query.tolist())}
    cursor = table.find(sort=sort, limit=100, include_similarity=True, include_sort_vector=True)
    rows = cursor.to_list()
    assert numbers(rows) == np.argsort(-cosine)[:100].tolist()
    scores = [row["$similarity"] for row in rows]
    np.testing.assert_allclose(scores, (1 + np.sort(cosine)[::-1][:100]) / 2, atol=1e-6)
    allowed = [number for number in np.argsort(-cosine).tolist() if number % 4 == 1]
    found = table.find({"genre": "genre 1"}, sort=sort, limit=5)
    assert numbers(found) == allowed[:5]
    found = table.find({"genre": {"$in": ["genre 1"]}, "bpm": {"$gt": 1}}, sort=sort, limit=5)
    assert numbers(found) == []
    best = table.find_one(sort=sort, include_similarity=True)
    assert best is not None
    assert best["$similarity"] == scores[0]


def test_neighbours_come_in_one_page_whatever_its_size(double: DataApiDouble, table: Rows) -> None:
    vectors_of(table, 120)
    double.log.clear()
    found = table.find(sort={"vector": DataAPIVector([1.0] * DIMS)}).to_list()
    assert len(found) == 120
    assert [call.rows for call in double.log] == [120]


def test_recall_below_one_loses_the_same_share_each_time(
    double: DataApiDouble, table: Rows
) -> None:
    matrix = vectors_of(table, 500)

    def ask_all() -> list[list[int]]:
        sorts = [{"vector": DataAPIVector(query.tolist())} for query in matrix[:20]]
        return [numbers(table.find(sort=sort, limit=20)) for sort in sorts]

    exact = ask_all()
    double.recall = 0.8
    approximate = ask_all()
    assert approximate == ask_all()
    shared = [len({*one} & {*two}) / 20 for one, two in zip(exact, approximate, strict=True)]
    assert 0.7 < np.mean(shared) < 0.9
    assert all(len(found) == 20 for found in approximate)


def test_a_deleted_or_cleared_vector_is_no_neighbour(table: Rows) -> None:
    matrix = vectors_of(table, 10)
    sort = {"vector": DataAPIVector(matrix[3].tolist())}
    table.delete_one(song(3))
    table.insert_one(song(4, vector=None))
    assert sorted(numbers(table.find(sort=sort, limit=10))) == [0, 1, 2, 5, 6, 7, 8, 9]
    table.insert_one(song(11, vector=DataAPIVector(matrix[3].tolist())))
    assert numbers(table.find(sort=sort, limit=1)) == [11]


def test_a_partition_is_read_in_clustering_order(double: DataApiDouble, table: Rows) -> None:
    double.page_size = 2
    keys = [("b", 1), ("a", 1), ("a", 3), ("b", 7), ("a", 2)]
    table.insert_many([song(1, model=model, part=part) for model, part in keys])

    def read(sort: dict[str, int] | None = None) -> list[tuple[str, int]]:
        found = table.find({"song_id": uuid.UUID(int=1)}, sort=sort)
        return [(row["model"], row["part"]) for row in found]

    assert read() == [("a", 3), ("a", 2), ("a", 1), ("b", 7), ("b", 1)]
    assert read({"model": 1}) == read()
    assert read({"model": -1}) == read()[::-1]
    assert len(read({"part": 1})) == 2  # sorted in memory: one page and no more
    with pytest.raises(DataAPIResponseException) as error:
        read({"model": 1, "part": 1})
    assert code(error) == "INVALID_DATABASE_QUERY"


def test_sorting_in_memory_warns_and_has_its_limits(double: DataApiDouble, table: Rows) -> None:
    bpms: list[float | None] = [3.0, 1.0, None, 2.0]
    table.insert_many([song(number, bpm=bpm) for number, bpm in enumerate(bpms)])
    assert numbers(table.find({}, sort={"bpm": -1})) == [0, 3, 1, 2]
    assert numbers(table.find({}, sort={"bpm": -1}, skip=1, limit=2)) == [3, 1]
    status = ask(double, "find", filter={}, sort={"bpm": 1})["status"]
    assert status["sortedRowCount"] == 4
    assert [warning["errorCode"] for warning in status["warnings"]] == [
        "ZERO_FILTER_OPERATIONS",
        "IN_MEMORY_SORTING_DUE_TO_NON_PARTITION_SORTING",
    ]
    double.max_sort = 3
    with pytest.raises(DataAPIResponseException) as error:
        table.find({}, sort={"bpm": 1}).to_list()
    assert code(error) == "OVERLOADED_SORT_ROW_LIMIT"


@pytest.mark.parametrize(
    ("where", "expected", "warnings"),
    [
        ({"genre": "jazz"}, [1, 2], []),
        ({"genre": {"$in": ["jazz", "folk"]}}, [1, 2, 3], []),
        ({"genre": {"$ne": "jazz"}}, [3], ["NOT_EQUALS_UNSUPPORTED_BY_INDEXING"]),
        ({"genre": {"$nin": ["folk"]}}, [1, 2], ["NOT_IN_FILTER_UNSUPPORTED_BY_INDEXING"]),
        ({"genre": {"$gte": "g"}}, [1, 2], ["COMPARISON_FILTER_UNSUPPORTED_BY_INDEXING"]),
        ({"bpm": {"$gt": 100, "$lte": 120}}, [2], ["MISSING_INDEX"]),
        ({"$and": [{"genre": "jazz"}, {"bpm": {"$lt": 120}}]}, [1], ["MISSING_INDEX"]),
        ({"$or": [{"genre": "folk"}, {"bpm": 120}]}, [2, 3], ["MISSING_INDEX"]),
        ({"$or": [{"genre": "folk"}, {"genre": "jazz"}]}, [1, 2, 3], []),
        ({"$or": []}, [], ["ZERO_FILTER_OPERATIONS"]),
        ({"at": datetime(2026, 1, 1, tzinfo=UTC)}, [3], ["MISSING_INDEX"]),
        ({"audio": b"abc"}, [3], ["MISSING_INDEX"]),
        ({"live": True}, [4], ["MISSING_INDEX"]),
        ({"song_id": uuid.UUID(int=2)}, [2], []),
        ({"song_id": uuid.UUID(int=2), "genre": "jazz"}, [2], ["MISSING_INDEX"]),
        ({"song_id": uuid.UUID(int=2), "part": 0}, [2], ["INCOMPLETE_PRIMARY_KEY_FILTER"]),
        ({"model": "clap"}, [1, 2, 3, 4], ["INCOMPLETE_PRIMARY_KEY_FILTER"]),
        ({}, [1, 2, 3, 4], ["ZERO_FILTER_OPERATIONS"]),
    ],
)
def test_filters(table: Rows, where: Any, expected: list[int], warnings: list[str]) -> None:
    table.insert_many(
        [
            song(1, genre="jazz", bpm=100),
            song(2, genre="jazz", bpm=120),
            song(3, genre="folk", at=datetime(2026, 1, 1, 0, 0, 0, 999, UTC), audio=b"abc"),
            song(4, live=True),  # null meets no condition
        ]
    )
    cursor = table.find(where)
    assert sorted(numbers(cursor)) == expected
    status = cursor._last_response_status or {}
    assert [warning["errorCode"] for warning in status.get("warnings", [])] == warnings


def test_projections(table: Rows) -> None:
    table.insert_one(song(1, genre="jazz", audio=b"long"))
    assert table.find_one({}, projection={"genre": True}) == {"genre": "jazz"}
    row = table.find_one({}, projection={"audio": False})
    assert row is not None
    assert "audio" not in row
    assert set(row) == {*DEFINITION.columns} - {"audio"}


def test_insert_is_upsert_that_keeps_what_is_left_out_and_clears_nulls(table: Rows) -> None:
    table.insert_one(song(1, genre="jazz", bpm=100, tags={"a": "b"}))
    table.insert_many([song(1, bpm=None), song(1, tags={})])
    row = table.find_one({"genre": "jazz"})
    assert row is not None
    assert (row["genre"], row["bpm"], row["tags"]) == ("jazz", None, {})
    table.insert_one(song(1, genre=None))
    assert table.find_one({"genre": "jazz"}) is None
    assert len(table.find({}).to_list()) == 1


def test_update_sets_unsets_and_makes_rows(table: Rows) -> None:
    table.update_one(song(1), {"$set": {"genre": "jazz", "bpm": 90}})
    table.update_one(song(1), {"$unset": {"bpm": ""}})
    row = table.find_one({"genre": "jazz"})
    assert row is not None
    assert row["bpm"] is None
    table.update_one(song(1), {"$set": {"genre": None}})
    table.update_one(song(2), {"$unset": {"bpm": ""}})
    assert table.find_one({}) is None  # a row only ever updated goes with its last value


def test_deletes_take_a_key_a_prefix_of_it_or_everything(table: Rows) -> None:
    keys = [(1, "a", 1), (1, "a", 2), (1, "b", 1), (2, "a", 1), (3, "a", 1)]
    table.insert_many([song(song_id, model=model, part=part) for song_id, model, part in keys])
    table.delete_one(song(1, model="a", part=2))
    table.delete_one(song(9))
    assert len(table.find({}).to_list()) == 4
    table.delete_many({"song_id": uuid.UUID(int=1), "model": "a"})
    assert sorted(numbers(table.find({}))) == [1, 2, 3]
    table.delete_many({"song_id": {"$in": [uuid.UUID(int=1), uuid.UUID(int=2)]}})
    assert numbers(table.find({})) == [3]
    table.delete_many({})
    assert table.find_one({}) is None


@pytest.mark.parametrize("ordered", [False, True])
def test_an_insert_reports_which_rows_failed(
    double: DataApiDouble, table: Rows, ordered: bool
) -> None:
    zeros = DataAPIVector([0.0] * DIMS)
    bad = [song(2, plays=0.5), song(4, vector=zeros), song(6, plays=0.5)]
    rows = [song(1), bad[0], song(3), bad[1], song(5), bad[2]]
    with pytest.raises(TableInsertManyException) as error:
        table.insert_many(rows, ordered=ordered)
    kept = [1] if ordered else [1, 3, 5]
    assert numbers(error.value.inserted_ids) == kept
    assert sorted(numbers(table.find({}))) == kept
    (raised,) = error.value.exceptions
    assert isinstance(raised, DataAPIResponseException)
    responses = raised.raw_response["status"]["documentResponses"]
    skipped = "SKIPPED" if ordered else "OK"
    last = "SKIPPED" if ordered else "ERROR"
    assert [response["status"] for response in responses] == (
        ["OK", "ERROR", skipped, last, skipped, "ERROR"]
    )
    codes = [descriptor.error_code for descriptor in raised.error_descriptors]
    assert codes == ["INVALID_COLUMN_VALUES"] + ["INVALID_DATABASE_QUERY"] * (not ordered)
    assert responses[1]["errorsIdx"] == responses[5]["errorsIdx"] == 0


ONES = DataAPIVector([1.0] * DIMS)
REFUSALS: dict[str, list[Callable[[Rows], Any]]] = {
    "COMMAND_FIELD_VALUE_INVALID": [
        lambda t: t.insert_many([song(number) for number in range(101)], chunk_size=101),
        lambda t: t.find({}, skip=3).to_list(),
    ],
    "UNKNOWN_TABLE_COLUMNS": [
        lambda t: t.insert_one(song(1, gnere="jazz")),
        lambda t: t.find_one({"gnere": "jazz"}),
        lambda t: t.find_one({}, projection={"gnere": True}),
        lambda t: t.update_one(song(1), {"$set": {"gnere": "jazz"}}),
    ],
    "MISSING_PRIMARY_KEY_COLUMNS": [
        lambda t: t.insert_one({"song_id": uuid.UUID(int=1), "model": "clap"}),
        lambda t: t.insert_one(song(1, part=None)),
    ],
    "INVALID_COLUMN_VALUES": [
        lambda t: t.insert_one(song(1, vector=DataAPIVector([1.0] * 7))),
        lambda t: t.insert_one(song(1, vector=[1.0] * 9)),
        lambda t: t.insert_one(song(1, genre=3)),
        lambda t: t.insert_one(song(1, bpm="fast")),
        lambda t: t.insert_one(song(1, live=1)),
        lambda t: t.insert_one(song(1, plays=2**63)),
        lambda t: t.insert_one(song(1, part=2**31)),
        lambda t: t.insert_one(song(1, part=float("inf"))),
        lambda t: t.insert_one(song(1, at="2026-01-01T00:00:00")),
        lambda t: t.insert_one(song(1, at="yesterday")),
        lambda t: t.insert_one(song(1, audio="abc")),
        lambda t: t.insert_one(song(1, tags=["a"])),
        lambda t: t.insert_one(song(1, tags={"a": None})),
        lambda t: t.insert_one(song(1, moods="sad")),
        lambda t: t.insert_one({**song(1), "song_id": "not a uuid"}),
    ],
    "INVALID_DATABASE_QUERY": [
        lambda t: t.insert_one(song(1, vector=DataAPIVector([0.0] * DIMS))),
        lambda t: t.find_one(sort={"vector": DataAPIVector([0.0] * DIMS)}),
        lambda t: t.update_one(song(1), {"$set": {"vector": [1e-7] * DIMS}}),
        lambda t: t.find({}, initial_page_state="bm90IG91cnM=").to_list(),
    ],
    "FILTER_INVALID_EXPRESSION": [
        lambda t: t.find_one({"part": {"$in": list(range(101))}}),
        lambda t: t.find_one({"part": [1, 2]}),
    ],
    "FILTER_UNSUPPORTED_OPERATOR": [
        lambda t: t.find_one({"part": {"$exists": True}}),
        lambda t: t.find_one({"$where": "part"}),
    ],
    "FILTER_UNSUPPORTED_DATA_TYPE": [lambda t: t.find_one({"genre": None})],
    "FILTER_FIELDS_LIMIT_VIOLATION": [
        lambda t: t.find_one({"$or": [{"part": number} for number in range(65)]})
    ],
    "INVALID_FILTER_COLUMN_VALUES": [
        lambda t: t.find_one({"part": "one"}),
        lambda t: t.find_one({"song_id": {"$in": ["one"]}}),
    ],
    "UNSUPPORTED_FILTERING_FOR_COLUMN_TYPES": [
        lambda t: t.find_one({"tags": {"$in": [["a", "b"]]}}),
        lambda t: t.find_one({"vector": ONES}),
    ],
    "CANNOT_SORT_UNKNOWN_COLUMNS": [lambda t: t.find_one(sort={"vektor": ONES})],
    "INVALID_REGULAR_SORT_EXPRESSION": [lambda t: t.find_one(sort={"bpm": 2})],
    "CANNOT_VECTOR_SORT_WITH_LIMIT_EXCEEDS_MAX": [
        lambda t: t.find(sort={"vector": ONES}, limit=1001).to_list()
    ],
    "CANNOT_VECTOR_SORT_WITH_SKIP_OPTION": [
        lambda t: t.find(sort={"vector": ONES}, skip=1).to_list()
    ],
    "CANNOT_SORT_ON_MULTIPLE_VECTORS": [
        lambda t: t.find_one(sort={"vector": ONES, "other": ONES}),
    ],
    "CANNOT_SORT_VECTOR_AND_NON_VECTOR_COLUMNS": [
        lambda t: t.find_one(sort={"vector": ONES, "bpm": 1}),
    ],
    "CANNOT_VECTOR_SORT_NON_VECTOR_COLUMNS": [lambda t: t.find_one(sort={"genre": ONES})],
    "CANNOT_VECTOR_SORT_NON_INDEXED_VECTOR_COLUMNS": [lambda t: t.find_one(sort={"other": ONES})],
    "CANNOT_VECTOR_SORT_ON_MISMATCHED_VECTOR_DIMENSIONS": [
        lambda t: t.find_one(sort={"vector": DataAPIVector([1.0])})
    ],
    "MISSING_FILTER_FOR_UPDATE_DELETE": [lambda t: t.delete_one({})],
    "MISSING_FULL_PRIMARY_KEY_FOR_UPDATE_DELETE": [
        lambda t: t.delete_one({"song_id": uuid.UUID(int=1)}),
        lambda t: t.update_one({"song_id": uuid.UUID(int=1)}, {"$set": {"bpm": 1}}),
    ],
    "UNSUPPORTED_NON_PRIMARY_KEY_FILTER_FOR_UPDATE_DELETE": [
        lambda t: t.delete_many({"genre": "jazz"}),
        lambda t: t.delete_one(song(1, genre="jazz")),
    ],
    "UNSUPPORTED_FILTER_FOR_UPDATE_ONE_DELETE_ONE": [
        lambda t: t.delete_one(song(1, part={"$in": [0]}))
    ],
    "INVALID_PRIMARY_KEY_FILTER": [
        lambda t: t.delete_many({"model": "clap"}),
        lambda t: t.delete_many({"song_id": uuid.UUID(int=1), "part": 0}),
    ],
    "MISSING_UPDATE_OPERATIONS": [lambda t: t.update_one(song(1), {"$set": {}})],
    "UNSUPPORTED_UPDATE_OPERATIONS_FOR_TABLE": [
        lambda t: t.update_one(song(1), {"$inc": {"plays": 1}})
    ],
    "UNSUPPORTED_OVERLAPPING_UPDATE_OPERATIONS": [
        lambda t: t.update_one(song(1), {"$set": {"bpm": 1}, "$unset": {"bpm": ""}})
    ],
    "UNSUPPORTED_UPDATE_FOR_PRIMARY_KEY_COLUMNS": [
        lambda t: t.update_one(song(1), {"$set": {"part": 1}})
    ],
    "INVALID_UPDATE_COLUMN_VALUES": [lambda t: t.update_one(song(1), {"$set": {"bpm": "x"}})],
    "UNKNOWN_INDEX_COLUMN": [lambda t: t.create_index("i", column="gnere")],
    "UNSUPPORTED_INDEXING_FOR_DATA_TYPES": [lambda t: t.create_index("i", column="tags")],
    "UNSUPPORTED_VECTOR_INDEX_FOR_DATA_TYPES": [
        lambda t: t.create_vector_index("i", column="genre")
    ],
    "UNSUPPORTED_SCHEMA_NAME": [lambda t: t.create_index("songs-genre", column="genre")],
    "UNSUPPORTED_TABLE_COMMAND": [lambda t: t.count_documents({}, upper_bound=10)],
    "COLLECTION_NOT_EXIST": [lambda t: t.database.get_table("nowhere").find_one({})],
    "UNKNOWN_KEYSPACE": [
        lambda t: t.database.get_table("songs", keyspace="elsewhere").find_one({}),
        lambda t: t.database.list_table_names(keyspace="elsewhere"),
    ],
}


@pytest.mark.parametrize(
    ("expected", "attempt"),
    [(expected, attempt) for expected, attempts in REFUSALS.items() for attempt in attempts],
)
def test_refusals(table: Rows, expected: str, attempt: Callable[[Rows], Any]) -> None:
    with pytest.raises((DataAPIResponseException, TableInsertManyException)) as error:
        attempt(table)
    assert code(error) == expected
    assert table.find_one({}) is None


def test_commands_that_tables_lack_are_refused(double: DataApiDouble, table: Rows) -> None:
    for command in ("countDocuments", "estimatedDocumentCount", "updateMany"):
        assert ask(double, command)["errors"][0]["errorCode"] == "UNSUPPORTED_TABLE_COMMAND"
    assert ask(double, "selectAll")["errors"][0]["errorCode"] == "COMMAND_UNKNOWN"


def test_older_servers_take_20_rows(double: DataApiDouble, table: Rows) -> None:
    double.max_insert = 20
    with pytest.raises(TableInsertManyException) as error:
        table.insert_many([song(number) for number in range(40)])
    assert code(error) == "COMMAND_FIELD_VALUE_INVALID"
    assert error.value.inserted_ids == []
    assert len(table.insert_many(map(song, range(40)), chunk_size=20).inserted_ids) == 40


def test_a_body_above_20_mb_is_refused(table: Rows) -> None:
    with pytest.raises(DataAPIHttpException) as error:
        table.insert_one(song(1, audio=bytes(16 * 2**20)))
    assert error.value.response.status_code == 413
    table.insert_one(song(1, audio=bytes(14 * 2**20)))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("write", [False, True])
def test_each_fault_raises_what_the_service_makes_astrapy_raise(
    double: DataApiDouble, table: Rows, fault: str, write: bool
) -> None:
    table.insert_one(song(1))
    double.fail(fault)
    if write:
        attempt: Callable[[], Any] = partial(table.insert_many, [song(2)], request_timeout_ms=500)
    else:
        attempt = partial(table.find_one, song(1), request_timeout_ms=500)
    with pytest.raises((DataAPIException, httpx.TransportError)) as error:
        attempt()
    raised = error.value
    if fault in SERVER_ERRORS:
        assert type(raised) is (TableInsertManyException if write else DataAPIResponseException)
        assert code(error) == fault
    elif fault == "not-json":
        assert type(raised) is UnexpectedDataAPIResponseException
    elif fault == "commit-then-timeout":
        assert type(raised) is DataAPITimeoutException
    elif fault in ("dropped", "commit-then-drop"):
        assert type(raised) is httpx.RemoteProtocolError  # raw: no DataAPIException
    else:
        assert isinstance(raised, DataAPIHttpException)
        assert raised.response.status_code == int(fault[:3])
        if fault == "503-resuming":
            assert raised.response.json() == {
                "message": "Resuming your database, please try again shortly."
            }
    assert table.find_one(song(1)) is not None  # the fault is spent
    carried_out = write and fault.startswith("commit-")
    assert (table.find_one(song(2)) is not None) == carried_out
    assert [call.fault for call in double.log] == ["", fault, "", ""]


def test_faults_can_be_aimed_at_a_command_and_repeated(double: DataApiDouble, table: Rows) -> None:
    double.fail("429", times=2, command="insertMany")
    assert table.find_one({}) is None
    for _ in range(2):
        with pytest.raises(DataAPIHttpException):
            table.insert_many([song(1)])
    table.insert_many([song(1), song(2)])
    assert double.log == [
        Call("findOne", "songs", 0, ""),
        Call("insertMany", "songs", 1, "429"),
        Call("insertMany", "songs", 1, "429"),
        Call("insertMany", "songs", 2, ""),
    ]
    assert double.requests == 4
    with pytest.raises(ValueError, match="503-resuming"):
        double.fail("503")


def test_random_faults_follow_their_seed(double: DataApiDouble, table: Rows) -> None:
    def draw(seed: int) -> list[str]:
        double.log.clear()
        double.fail_randomly({"429": 0.3, "dropped": 0.2}, seed=seed)
        for _ in range(60):
            try:
                table.find_one({})
            except (DataAPIHttpException, httpx.RemoteProtocolError):
                pass
        return [call.fault for call in double.log]

    first = draw(1)
    assert {"", "429", "dropped"} == set(first)
    assert draw(1) == first
    assert draw(2) != first
    double.fail_randomly({})
    assert table.find_one({}) is None
    with pytest.raises(ValueError, match="no fault"):
        double.fail_randomly({"earthquake": 1.0})


def test_a_database_hibernates_and_wakes(double: DataApiDouble, table: Rows) -> None:
    table.insert_one(song(1))
    double.pause()
    for _ in range(3):
        with pytest.raises(DataAPIHttpException) as error:
            table.find_one({})
        assert error.value.response.status_code == 503
    double.resume()
    assert table.find_one({}) is not None


def test_a_server_goes_down_and_comes_back_with_its_data(
    double: DataApiDouble, table: Rows
) -> None:
    table.insert_one(song(1))
    url = double.url
    double.stop()
    double.stop()
    with pytest.raises(httpx.ConnectError):  # raw: no DataAPIException
        table.find_one({})
    double.start()
    assert double.url == url
    assert numbers(table.find({})) == [1]


def test_tokens(double: DataApiDouble, table: Rows) -> None:
    client = DataAPIClient(environment=Environment.HCD)
    named = UsernamePasswordTokenProvider("cassandra", "cassandra")
    database = client.get_database(double.url, token=named, keyspace="default_keyspace")
    assert database.list_table_names() == ["songs"]
    wrong = UsernamePasswordTokenProvider("cassandra", "guess")
    for token in (wrong, "AstraCS:guess"):
        database = client.get_database(double.url, token=token, keyspace="default_keyspace")
        with pytest.raises(DataAPIHttpException) as error:
            database.list_table_names()
        assert error.value.response.status_code == 401
        assert error.value.error_descriptors[0].error_code == "UNAUTHENTICATED_REQUEST"


def test_the_paths_of_astra_lead_to_the_same_tables(double: DataApiDouble, table: Rows) -> None:
    astra = DataAPIClient().get_database(double.url, token=double.token)
    found = astra.get_table("songs")
    found.insert_one(song(1))
    assert numbers(table.find({})) == [1]


def test_keyspaces_of_a_self_hosted_server(double: DataApiDouble, database: Database) -> None:
    admin = database.get_database_admin()
    admin.create_keyspace("music")
    assert admin.list_keyspaces() == ["default_keyspace", "music"]
    assert database.list_table_names(keyspace="music") == []


def test_what_is_no_command_is_refused(double: DataApiDouble) -> None:
    for content in (b"", b"[]", b"{", b"{}"):
        answer = httpx.post(double.url + "/v1/x", content=content, headers={"Token": double.token})
        assert answer.json()["errors"][0]["errorCode"] == "REQUEST_NOT_JSON"


def test_it_runs_by_itself() -> None:
    command = [sys.executable, "-m", "tests.doubles.data_api", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, *_, token = process.stdout.readline().split()
        with astrapy_clients_closed():
            database = DataAPIClient().get_database(url, token=token)
            assert database.list_table_names() == []
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
