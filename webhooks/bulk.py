"""Many rows in one statement: parameters as arrays, one plan whatever the number of rows.

Django's bulk_create builds a placeholder for each value of each row; for batches of 500 that is half of the worker's
time. These functions read names and types from the models, so that a migration is all that a new column needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

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
    columns = _as_columns(model, fields, rows)
    if not columns:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_upsert_sql(model, fields, key, volatile), columns)
        return int(cursor.rowcount)


def insert(
    model: type[models.Model], fields: tuple[str, ...], rows: Iterable[Row], *, ignore_conflicts: bool = False
) -> None:
    """Insert the rows in their order; with `ignore_conflicts` one that is there already is left out."""
    columns = _as_columns(model, fields, rows)
    if columns:
        with connection.cursor() as cursor:
            cursor.execute(_insert_sql(model, fields) + " ON CONFLICT DO NOTHING" * ignore_conflicts, columns)


def _as_columns(model: type[models.Model], fields: tuple[str, ...], rows: Iterable[Row]) -> list[list[Any]]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    for position, name in enumerate(fields):
        if columns and isinstance(model._meta.get_field(name), models.JSONField):
            columns[position] = [json.dumps(value, ensure_ascii=False) for value in columns[position]]
    return columns


def _column(model: type[models.Model], name: str) -> str:
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)  # not the reverse side of a relation
    return connection.ops.quote_name(str(field.column))


def _unnest(model: type[models.Model], fields: tuple[str, ...]) -> str:
    # Without the length, which the column checks itself.
    types = (str(model._meta.get_field(name).db_type(connection)).split("(")[0] for name in fields)
    arrays = ", ".join(f"%s::{kind}[]" for kind in types)
    return f"unnest({arrays}) AS new({', '.join(_column(model, name) for name in fields)})"


@lru_cache
def _insert_sql(model: type[models.Model], fields: tuple[str, ...]) -> str:
    names = ", ".join(_column(model, name) for name in fields)
    return f"INSERT INTO {model._meta.db_table} ({names}) SELECT * FROM {_unnest(model, fields)}"  # noqa: S608


@lru_cache
def _upsert_sql(
    model: type[models.Model], fields: tuple[str, ...], key: tuple[str, ...], volatile: tuple[str, ...]
) -> str:
    table = model._meta.db_table
    names = ", ".join(_column(model, name) for name in fields)
    telling = [_column(model, name) for name in fields if name not in key and name not in volatile]
    changed = [_column(model, name) for name in fields if name not in key]
    on_key = " AND ".join(f"old.{_column(model, name)} = new.{_column(model, name)}" for name in key)
    # ON CONFLICT alone would lock, and so write, the rows that do not change.
    return (
        f"INSERT INTO {table} ({names}) "  # noqa: S608
        f"SELECT new.* FROM {_unnest(model, fields)} LEFT JOIN {table} AS old ON {on_key} "
        f"WHERE old.{_column(model, key[0])} IS NULL "
        f"OR ({', '.join(f'old.{name}' for name in telling)}) "
        f"IS DISTINCT FROM ({', '.join(f'new.{name}' for name in telling)}) "
        f"ON CONFLICT ({', '.join(_column(model, name) for name in key)}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in changed)}"
    )
