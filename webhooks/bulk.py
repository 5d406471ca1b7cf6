"""Many rows in one statement: all of them as one JSON parameter, one plan whatever their number.

Django's bulk_create builds a placeholder for each value of each row, and psycopg escapes arrays of texts one by one in
Python; for batches of 500 either is half of the worker's time. orjson is one call into native code. These functions
read names and types from the models, so that a migration is all that a new column needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import orjson
from django.db import connection, models

Row = Sequence[Any]


def upsert(
    model: type[models.Model],
    fields: tuple[str, ...],
    rows: Iterable[Row],
    *,
    key: tuple[str, ...],
    volatile: tuple[str, ...] = (),
) -> int:
    """Insert the rows, or update what has the same `key`; rows that say nothing new are not written at all.

    `fields` names the model's fields in the order of each row; `volatile` those that alone make no difference, such as
    updated_at. JSON fields take Python values. Returns the number of rows written.
    """
    return _execute(_upsert_sql(model, fields, key, volatile), model, fields, rows)


def insert(
    model: type[models.Model], fields: tuple[str, ...], rows: Iterable[Row], *, ignore_conflicts: bool = False
) -> int:
    """Insert the rows in their order; with `ignore_conflicts` one that is there already is left out.

    Returns the number of rows written.
    """
    return _execute(_insert_sql(model, fields) + " ON CONFLICT DO NOTHING" * ignore_conflicts, model, fields, rows)


def as_json(value: Any) -> str:
    """Return a value as JSON that PostgreSQL reads back exactly: times and sums go as texts."""
    return orjson.dumps(value, default=str).decode()


def ids(numbers: Iterable[int]) -> str:
    """Return integers as the text of a PostgreSQL array, for `%s::bigint[]`: psycopg would dump them one by one."""
    return f"{{{','.join(map(str, numbers))}}}"


def as_micros(column: str) -> str:
    """Return SQL for a time as unix microseconds, exact: a datetime costs more to load than the rest of its row."""
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


def _execute(sql: str, model: type[models.Model], fields: tuple[str, ...], rows: Iterable[Row]) -> int:
    columns = [_field(model, name).column for name in fields]
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    if not records:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(sql, [as_json(records)])
        return int(cursor.rowcount)


def _field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)  # not the reverse side of a relation
    return field


def _column(model: type[models.Model], name: str) -> str:
    return connection.ops.quote_name(str(_field(model, name).column))


def _records(model: type[models.Model], fields: tuple[str, ...]) -> str:
    typed = (f"{_column(model, name)} {_field(model, name).db_type(connection)}" for name in fields)
    return f"json_to_recordset(%s::json) AS new({', '.join(typed)})"


@lru_cache
def _insert_sql(model: type[models.Model], fields: tuple[str, ...]) -> str:
    names = ", ".join(_column(model, name) for name in fields)
    return f"INSERT INTO {model._meta.db_table} ({names}) SELECT {names} FROM {_records(model, fields)}"  # noqa: S608


@lru_cache
def _upsert_sql(
    model: type[models.Model], fields: tuple[str, ...], key: tuple[str, ...], volatile: tuple[str, ...]
) -> str:
    table = model._meta.db_table
    names = ", ".join(_column(model, name) for name in fields)
    telling = [_column(model, name) for name in fields if name not in key and name not in volatile]
    changed = [_column(model, name) for name in fields if name not in key]
    on_key = " AND ".join(f"old.{_column(model, name)} = new.{_column(model, name)}" for name in key)
    new = ", ".join(f"new.{_column(model, name)}" for name in fields)
    # ON CONFLICT alone would lock, and so write, the rows that do not change.
    return (
        f"INSERT INTO {table} ({names}) "  # noqa: S608
        f"SELECT {new} FROM {_records(model, fields)} LEFT JOIN {table} AS old ON {on_key} "
        f"WHERE old.{_column(model, key[0])} IS NULL "
        f"OR ({', '.join(f'old.{name}' for name in telling)}) "
        f"IS DISTINCT FROM ({', '.join(f'new.{name}' for name in telling)}) "
        f"ON CONFLICT ({', '.join(_column(model, name) for name in key)}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in changed)}"
    )
