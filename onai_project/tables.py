"""Tables of the dashboards: one description that the page, the exports and the API show, so that they agree.

A dashboard builds a `Table` of plain values. `onai_project/table.html` draws it with headings that sort,
`onai_project/exports.py` writes it as CSV and XLSX, `table_data` makes it JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any

from django.utils import formats, timezone, translation

from onai_project.comparison import signed
from onai_project.money import THIN_SPACE, money
from onai_project.periods import zone

EMPTY = "—"

Value = str | int | Decimal | date | datetime | None


class Kind(StrEnum):
    """What a column holds, and so how it is shown."""

    TEXT = "text"
    COUNT = "count"  # int
    MONEY = "money"  # Decimal, whole tenge
    PERCENT = "percent"  # Decimal: a share of the whole
    CHANGE = "change"  # Decimal: percent against the period before
    RATIO = "ratio"  # Decimal: so many times
    DAY = "day"  # date
    MOMENT = "moment"  # aware datetime


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the key of its values, its heading, its kind. `sortable`: its heading is a link that sorts."""

    key: str
    title: str
    kind: Kind = Kind.TEXT
    sortable: bool = True

    @property
    def is_number(self) -> bool:
        """Whether it stands to the right and sorts from the greatest first."""
        return self.kind not in (Kind.TEXT, Kind.DAY, Kind.MOMENT)


@dataclass(frozen=True, slots=True)
class Row:
    """Values by column key; None is unknown and shown "—". `links` are addresses by column key."""

    values: Mapping[str, Value]
    links: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False  # drawn pale: nothing happened here
    fixed: bool = False  # stays below the others, however they are sorted


@dataclass(frozen=True, slots=True)
class Cell:
    """One value as people see it."""

    text: str
    link: str
    kind: Kind
    is_number: bool
    direction: str  # up or down, of a change


@dataclass(frozen=True, slots=True)
class Heading:
    """A column's heading: what a click on it changes in the query string, and whether it sorts now."""

    column: Column
    change: Mapping[str, str]
    order: str  # ascending, descending, or ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns, with a total. `key` names its sheet, its file and its parameter `<key>_sort` in the URL."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    total: Row | None = None
    sort: str = ""

    @property
    def headings(self) -> list[Heading]:
        """The headings: the first click sorts numbers from the greatest, texts and days from the first."""
        return [self._heading(column) for column in self.columns]

    @property
    def lines(self) -> list[tuple[Row, list[Cell]]]:
        """The rows with their cells."""
        return [(row, self._cells(row)) for row in self.rows]

    @property
    def total_cells(self) -> list[Cell]:
        """The cells of the total; none without one."""
        return self._cells(self.total) if self.total else []

    @property
    def can_sort(self) -> bool:
        """Whether there is anything to sort."""
        return len(self.rows) > 1

    def _heading(self, column: Column) -> Heading:
        ascending, descending = column.key, f"-{column.key}"
        first = descending if column.is_number else ascending
        second = ascending if column.is_number else descending
        order = {ascending: "ascending", descending: "descending"}.get(self.sort, "")
        return Heading(column, {f"{self.key}_sort": second if self.sort == first else first}, order)

    def _cells(self, row: Row) -> list[Cell]:
        return [
            Cell(
                text=shown(row.values.get(column.key), column.kind),
                link=row.links.get(column.key, ""),
                kind=column.kind,
                is_number=column.is_number,
                direction=_direction(row.values.get(column.key)) if column.kind is Kind.CHANGE else "",
            )
            for column in self.columns
        ]


def sort_table(table: Table, query: Mapping[str, str], default: str = "") -> Table:
    """Return the table in the order that a URL asks for (`<key>_sort=revenue` or `-revenue`), else in the `default`.

    What is unknown comes last either way, and rows that are `fixed` after everything. An order that there is not
    counts for nothing.
    """
    wanted = query.get(f"{table.key}_sort", "")
    columns = {column.key: column for column in table.columns if column.sortable}
    if wanted.removeprefix("-") not in columns:
        wanted = default
    key = wanted.removeprefix("-")
    if key not in columns:
        return table
    free = [row for row in table.rows if not row.fixed]
    known = [row for row in free if row.values.get(key) is not None]
    unknown = [row for row in free if row.values.get(key) is None]
    known.sort(key=lambda row: _order(row.values[key]), reverse=wanted.startswith("-"))
    return replace(table, rows=[*known, *unknown, *(row for row in table.rows if row.fixed)], sort=wanted)


def _order(value: Value) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _direction(value: Value) -> str:
    if not isinstance(value, Decimal) or not value:
        return ""
    return "up" if value > 0 else "down"


def shown(value: Value, kind: Kind) -> str:
    """Return a value as people see it on a page; "—" for an unknown one."""
    if value is None or value == "":
        return EMPTY
    match kind, value:
        case Kind.MONEY, Decimal():
            return money(value)
        case Kind.COUNT, int():
            return f"{value:,}".replace(",", THIN_SPACE)
        case Kind.CHANGE, Decimal():
            return signed(value)
        case Kind.PERCENT, Decimal():
            return f"{formats.number_format(value, use_l10n=True)}\u202f%"
        case Kind.RATIO, Decimal():
            return f"{formats.number_format(value, use_l10n=True)}\u202f×"
        case Kind.MOMENT, datetime():
            return formats.date_format(timezone.localtime(value, zone()), "SHORT_DATETIME_FORMAT")
        case Kind.DAY, date():
            return _day(value, translation.get_language())
    return str(value)


@lru_cache(maxsize=2000)
def _day(day: date, language: str | None) -> str:
    # A year of days is most of a page's dates, and the same on every page.
    return formats.date_format(day, "SHORT_DATE_FORMAT")


def table_data(table: Table) -> list[dict[str, Any]]:
    """Return the rows as JSON has them: money and ratios as strings of digits, days in ISO, unknown as null."""
    return [row_data(table.columns, row) for row in table.rows]


def row_data(columns: Iterable[Column], row: Row) -> dict[str, Any]:
    """Return one row as JSON has it."""
    return {column.key: _json(row.values.get(column.key)) for column in columns}


def _json(value: Value) -> Any:
    if isinstance(value, datetime):
        return timezone.localtime(value, zone()).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
