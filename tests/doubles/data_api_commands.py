"""Commands of the Data API double on keyspaces and tables: what is refused, done and answered.

Follows the open-source Data API (github.com/stargate/data-api: the command resolvers,
WhereCQLClauseAnalyzer, TableCqlSortClauseResolver, InsertDBTaskPage, errors.yaml), at a version in
which filters and indexes on map, set and list columns are still refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.doubles.data_api_filters import Group, parse
from tests.doubles.data_api_find import check_vector, find
from tests.doubles.data_api_tables import Key, Table
from tests.doubles.data_api_types import Column, Refusal

Body = dict[str, Any]
Answer = dict[str, Any]
_OK: Answer = {"status": {"ok": 1}}
_NOT_FOR_TABLES = ("countDocuments", "estimatedDocumentCount", "updateMany")


@dataclass
class Knobs:
    """What differs between servers; may be changed at any time.

    ``page_size``: 50, before v1.0.47 20. ``max_insert``: 100, on older servers 20. ``max_sort``:
    rows sorted in memory. ``recall``: below 1, the share of true neighbours that ANN finds.
    """

    page_size: int = 50
    max_insert: int = 100
    max_sort: int = 10_000
    recall: float = 1.0


class Database:
    """Keyspaces, tables and their rows."""

    def __init__(self, keyspaces: tuple[str, ...], knobs: Knobs) -> None:
        self.keyspaces: dict[str, dict[str, Table]] = {name: {} for name in keyspaces}
        self.knobs = knobs

    def run(self, keyspace: str, table: str, command: str, body: Body) -> Answer:
        """Run one command; an empty ``keyspace`` or ``table`` is the level above.

        Raises
        ------
        Refusal
            The API answers with an error.
        """
        if not keyspace:
            return self._on_database(command, body)
        if keyspace not in self.keyspaces:
            raise Refusal("UNKNOWN_KEYSPACE", f"no keyspace {keyspace}", "SCHEMA")
        tables = self.keyspaces[keyspace]
        if not table:
            return self._on_keyspace(keyspace, tables, command, body)
        if table not in tables:
            raise Refusal("COLLECTION_NOT_EXIST", f"no table {table} in {keyspace}", "SCHEMA")
        if command in _NOT_FOR_TABLES:
            raise Refusal("UNSUPPORTED_TABLE_COMMAND", f"{command} on table {table}")
        if command in ("find", "findOne"):
            return find(tables[table], body, self.knobs, single=command == "findOne")
        if command in ("createIndex", "createVectorIndex"):
            return _create_index(tables, tables[table], command, body)
        commands: dict[str, Callable[[Table, Body], Answer]] = {
            "insertOne": _insert_one,
            "insertMany": self._insert_many,
            "updateOne": _update_one,
            "deleteOne": _delete_one,
            "deleteMany": _delete_many,
            "alterTable": _alter_table,
            "listIndexes": _list_indexes,
        }
        if command not in commands:
            raise Refusal("COMMAND_UNKNOWN", f"{command} is no command on tables")
        return commands[command](tables[table], body)

    def _on_database(self, command: str, body: Body) -> Answer:
        if command == "findKeyspaces":
            return {"status": {"keyspaces": sorted(self.keyspaces)}}
        if command == "createKeyspace":
            self.keyspaces.setdefault(_schema_name("keyspace", body["name"]), {})
            return _OK
        raise Refusal("COMMAND_UNKNOWN", f"{command} is no command on databases")

    def _on_keyspace(
        self, keyspace: str, tables: dict[str, Table], command: str, body: Body
    ) -> Answer:
        options, name = body.get("options") or {}, str(body.get("name", ""))
        if command == "createTable":
            if name not in tables:
                tables[name] = _table(keyspace, _schema_name("table", name), body["definition"])
            elif not options.get("ifNotExists"):
                raise Refusal("CANNOT_ADD_EXISTING_TABLE", f"table {name} exists", "SCHEMA")
        elif command == "dropTable":
            if tables.pop(name, None) is None and not options.get("ifExists"):
                raise Refusal("CANNOT_DROP_UNKNOWN_TABLE", f"no table {name}", "SCHEMA")
        elif command == "dropIndex":
            if not any(
                table.indexes.pop(name, None) for table in tables.values()
            ) and not options.get("ifExists"):
                raise Refusal("CANNOT_DROP_UNKNOWN_INDEX", f"no index {name}", "SCHEMA")
        elif command == "listTables":
            shown = [tables[name] for name in sorted(tables)]
            explain = options.get("explain")
            listed = [_describe(table) if explain else table.name for table in shown]
            return {"status": {"tables": listed}}
        else:
            raise Refusal("COMMAND_UNKNOWN", f"{command} is no command on keyspaces")
        return _OK

    def _insert_many(self, table: Table, body: Body) -> Answer:
        documents, options = body["documents"], body.get("options") or {}
        if not 0 < len(documents) <= self.knobs.max_insert:
            raise Refusal(
                "COMMAND_FIELD_VALUE_INVALID",
                f"{len(documents)} documents, not 1 to {self.knobs.max_insert}",
            )
        # The API reads every document before it writes the first: all that it cannot read are
        # errors, also behind the place where an ordered insert stops.
        rows: list[tuple[Key, Body] | Refusal] = []
        for document in documents:
            try:
                rows.append(_read_row(table, document))
            except Refusal as refusal:
                rows.append(refusal)
        results: list[Body] = []
        errors: list[Refusal] = []
        for row in rows:
            if isinstance(row, Refusal):
                results.append(_failed([], row, errors))
            elif errors and options.get("ordered"):
                results.append({"_id": _dump_key(table, row[0]), "status": "SKIPPED"})
            else:
                key = _dump_key(table, row[0])
                try:
                    _write(table, *row, insert=True)
                    results.append({"_id": key, "status": "OK"})
                except Refusal as refusal:
                    results.append(_failed(key, refusal, errors))
        answer: Answer = {"status": {"primaryKeySchema": table.describe(table.key_columns)}}
        if options.get("returnDocumentResponses"):
            answer["status"]["documentResponses"] = results
        else:
            answer["status"]["insertedIds"] = [
                result["_id"] for result in results if result["status"] == "OK"
            ]
        if errors:
            answer["errors"] = [error.as_error() for error in errors]
        return answer


def _failed(key: list[Any], refusal: Refusal, errors: list[Refusal]) -> Body:
    seen = [(error.code, error.message) for error in errors]
    if (refusal.code, refusal.message) not in seen:
        seen.append((refusal.code, refusal.message))
        errors.append(refusal)
    index = seen.index((refusal.code, refusal.message))
    return {"_id": key, "status": "ERROR", "errorsIdx": index}


def _schema_name(what: str, name: str) -> str:
    if not re.fullmatch(r"\w{1,48}", name, re.ASCII):
        raise Refusal("UNSUPPORTED_SCHEMA_NAME", f"{what} {name!r}", "SCHEMA")
    return name


def _table(keyspace: str, name: str, definition: Body) -> Table:
    columns = {
        column: Column.from_definition(kind) for column, kind in definition["columns"].items()
    }
    key = definition["primaryKey"]
    key = {"partitionBy": [key]} if isinstance(key, str) else key
    partition, clustering = list(key["partitionBy"]), dict(key.get("partitionSort") or {})
    if not partition:
        raise Refusal("MISSING_PARTITION_COLUMNS", f"table {name}", "SCHEMA")
    for code, names in (("PARTITION", partition), ("PARTITION_SORT", clustering)):
        if unknown := [column for column in names if column not in columns]:
            raise Refusal(f"UNKNOWN_{code}_COLUMNS", f"columns {unknown}", "SCHEMA")
    if not all(columns[column].scalar for column in (*partition, *clustering)):
        raise Refusal("PRIMARY_KEY_DEFINITION_INCORRECT", f"key {key}", "SCHEMA")
    return Table(keyspace, name, columns, partition, clustering)


def _describe(table: Table) -> Body:
    key = {"partitionBy": table.partition, "partitionSort": table.clustering}
    columns = table.describe(list(table.columns))
    return {"name": table.name, "definition": {"columns": columns, "primaryKey": key}}


def _create_index(tables: dict[str, Table], table: Table, command: str, body: Body) -> Answer:
    name, column = _schema_name("index", body["name"]), body["definition"]["column"]
    options = dict(body["definition"].get("options") or {})
    # Index names are unique in a keyspace: IF NOT EXISTS asks for the name, not for the column.
    if any(name in other.indexes for other in tables.values()):
        if (body.get("options") or {}).get("ifNotExists"):
            return _OK
        raise Refusal("CANNOT_ADD_EXISTING_INDEX", f"index {name} exists", "SCHEMA")
    if column not in table.columns:
        raise Refusal("UNKNOWN_INDEX_COLUMN", f"column {column}", "SCHEMA")
    if command == "createVectorIndex":
        if table.columns[column].kind != "vector":
            raise Refusal("UNSUPPORTED_VECTOR_INDEX_FOR_DATA_TYPES", f"column {column}", "SCHEMA")
        options = {"metric": "cosine", "sourceModel": "other", **options}
        if options["metric"] not in ("cosine", "dot_product", "euclidean"):
            raise Refusal("UNKNOWN_VECTOR_METRIC", f"metric {options['metric']}", "SCHEMA")
    elif not table.columns[column].scalar:
        raise Refusal("UNSUPPORTED_INDEXING_FOR_DATA_TYPES", f"column {column}", "SCHEMA")
    elif table.columns[column].kind in ("text", "ascii"):
        options = {"ascii": False, "caseSensitive": True, "normalize": False, **options}
        if options != {"ascii": False, "caseSensitive": True, "normalize": False}:
            raise Refusal("INVALID_INDEX_DEFINITION", "the double analyses no text", "SCHEMA")
    table.add_index(name, {"column": column, "options": options})
    return _OK


def _list_indexes(table: Table, body: Body) -> Answer:
    if not (body.get("options") or {}).get("explain"):
        return {"status": {"indexes": list(table.indexes)}}
    listed = [
        {
            "name": name,
            "definition": definition,
            "indexType": "vector" if "metric" in definition["options"] else "regular",
        }
        for name, definition in table.indexes.items()
    ]
    return {"status": {"indexes": listed}}


def _alter_table(table: Table, body: Body) -> Answer:
    added = (body["operation"].get("add") or {}).get("columns") or {}
    if not added:
        raise Refusal("MISSING_ALTER_TABLE_OPERATIONS", "the double only adds columns", "SCHEMA")
    if known := [name for name in added if name in table.columns]:
        raise Refusal("CANNOT_ADD_EXISTING_COLUMNS", f"columns {known}", "SCHEMA")
    columns = {name: Column.from_definition(kind) for name, kind in added.items()}
    for name, column in columns.items():
        table.add_column(name, column)
    return _OK


def _read_row(table: Table, document: Body) -> tuple[Key, Body]:
    values = _read_values(table, document, "DOCUMENT", "INVALID_COLUMN_VALUES")
    if missing := [name for name in table.key_columns if values.get(name) is None]:
        raise Refusal("MISSING_PRIMARY_KEY_COLUMNS", f"columns {missing}", "DOCUMENT")
    return tuple(values.pop(name) for name in table.key_columns), values


def _read_values(table: Table, document: Body, scope: str, invalid: str) -> Body:
    if unknown := [name for name in document if name not in table.columns]:
        raise Refusal("UNKNOWN_TABLE_COLUMNS", f"{table.name} has no columns {unknown}", scope)
    values = {}
    for name, value in document.items():
        column = table.columns[name]
        try:
            values[name] = column.parse(value)
        except (ValueError, OverflowError) as error:
            raise Refusal(invalid, f"{name} ({column.kind}): {error}", scope) from error
    return values


def _write(table: Table, key: Key, values: Body, *, insert: bool) -> None:
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            check_vector(table, name, value)
    table.write(key, values, insert=insert)


def _dump_key(table: Table, key: Key) -> list[Any]:
    dumped = [
        table.columns[name].dump(value) for name, value in zip(table.key_columns, key, strict=True)
    ]
    return [value["$binary"] if isinstance(value, dict) else value for value in dumped]


def _insert_one(table: Table, body: Body) -> Answer:
    key, values = _read_row(table, body["document"])
    _write(table, key, values, insert=True)
    schema = table.describe(table.key_columns)
    return {"status": {"insertedIds": [_dump_key(table, key)], "primaryKeySchema": schema}}


def _check_key_filter(table: Table, where: Group) -> set[str]:
    """Columns of a filter that may only name key columns."""
    if not where.parts:
        raise Refusal("MISSING_FILTER_FOR_UPDATE_DELETE", "no filter", "FILTER")
    names = {condition.column for condition in where.conditions()}
    if others := sorted(names - set(table.key_columns)):
        raise Refusal(
            "UNSUPPORTED_NON_PRIMARY_KEY_FILTER_FOR_UPDATE_DELETE", f"columns {others}", "FILTER"
        )
    if where.either():
        raise Refusal("FILTER_INVALID_EXPRESSION", "$or in an update or delete", "FILTER")
    return names


def _one_key(table: Table, body: Body) -> Key:
    where = parse(body.get("filter") or {}, table.columns)
    names = _check_key_filter(table, where)
    if missing := [name for name in table.key_columns if name not in names]:
        raise Refusal("MISSING_FULL_PRIMARY_KEY_FOR_UPDATE_DELETE", f"columns {missing}", "FILTER")
    conditions = list(where.conditions())
    if any(condition.operator != "$eq" for condition in conditions):
        raise Refusal("UNSUPPORTED_FILTER_FOR_UPDATE_ONE_DELETE_ONE", "only $eq", "FILTER")
    values = {condition.column: condition.value for condition in conditions}
    return tuple(values[name] for name in table.key_columns)


def _update_one(table: Table, body: Body) -> Answer:
    key, update = _one_key(table, body), body.get("update") or {}
    if others := sorted(set(update) - {"$set", "$unset"}):
        raise Refusal("UNSUPPORTED_UPDATE_OPERATIONS_FOR_TABLE", f"{others}", "UPDATE")
    changed, cleared = update.get("$set") or {}, update.get("$unset") or {}
    if not changed and not cleared:
        raise Refusal("MISSING_UPDATE_OPERATIONS", "nothing to change", "UPDATE")
    if twice := sorted(set(changed) & set(cleared)):
        raise Refusal("UNSUPPORTED_OVERLAPPING_UPDATE_OPERATIONS", f"columns {twice}", "UPDATE")
    document = {**changed, **dict.fromkeys(cleared)}
    values = _read_values(table, document, "UPDATE", "INVALID_UPDATE_COLUMN_VALUES")
    if keys := [name for name in values if name in table.key_columns]:
        raise Refusal("UNSUPPORTED_UPDATE_FOR_PRIMARY_KEY_COLUMNS", f"columns {keys}", "UPDATE")
    _write(table, key, values, insert=False)
    return {"status": {"matchedCount": 1, "modifiedCount": 1}}


def _delete_one(table: Table, body: Body) -> Answer:
    row = table.rows.get(_one_key(table, body))
    if row is not None:
        table.remove(row)
    return {"status": {"deletedCount": -1}}


def _delete_many(table: Table, body: Body) -> Answer:
    where = parse(body.get("filter") or {}, table.columns)
    if not where.parts:
        table.truncate()
        return {"status": {"deletedCount": -1}}
    names = _check_key_filter(table, where)
    given = [name in names for name in table.clustering]
    if not names.issuperset(table.partition) or given != sorted(given, reverse=True):
        raise Refusal("INVALID_PRIMARY_KEY_FILTER", f"only columns {sorted(names)}", "FILTER")
    for row in table.scan(where):
        table.remove(row)
    return {"status": {"deletedCount": -1}}
