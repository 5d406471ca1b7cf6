from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.http import QueryDict

from onai_project.comparison import Change, signed
from onai_project.filters import address_with
from onai_project.tables import Column, Kind, Row, Table, shown, sort_table, table_data

TABLE = Table(
    "lines",
    "По таргетологам",
    [Column("name", "Имя"), Column("sum", "Сумма", Kind.MONEY), Column("fixed", "Нет", sortable=False)],
    [
        Row({"name": "Б", "sum": None}),
        Row({"name": "я", "sum": Decimal(5)}),
        Row({"name": "А", "sum": Decimal(70)}),
        Row({"name": "Рефералы", "sum": Decimal(1)}, fixed=True),
    ],
)


def names(table: Table) -> list[object]:
    return [row.values["name"] for row in table.rows]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("-sum", ["А", "я", "Б", "Рефералы"]),
        ("sum", ["я", "А", "Б", "Рефералы"]),
        ("name", ["А", "Б", "я", "Рефералы"]),
        ("-name", ["я", "Б", "А", "Рефералы"]),
        ("fixed", ["Б", "я", "А", "Рефералы"]),
        ("nonsense", ["Б", "я", "А", "Рефералы"]),
    ],
)
def test_the_url_sorts_what_is_unknown_last_and_what_is_fixed_after_it(sort, order):
    assert names(sort_table(TABLE, {"lines_sort": sort})) == order


def test_without_a_wish_the_default_sorts():
    assert names(sort_table(TABLE, {}, default="-sum")) == ["А", "я", "Б", "Рефералы"]


def test_a_second_click_on_a_heading_turns_the_order():
    heading = TABLE.headings[1]
    assert (heading.change, heading.order) == ({"lines_sort": "-sum"}, "")
    sorted_by = sort_table(TABLE, {"lines_sort": "-sum"}).headings[1]
    assert (sorted_by.change, sorted_by.order) == ({"lines_sort": "sum"}, "descending")


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, Kind.MONEY, "—"),
        ("", Kind.TEXT, "—"),
        (Decimal(0), Kind.MONEY, "0\u2009₸"),
        (12345, Kind.COUNT, "12\u2009345"),
        (Decimal("12.5"), Kind.PERCENT, "12,5\u202f%"),
        (Decimal("2.50"), Kind.RATIO, "2,50\u202f×"),
        (Decimal(-5), Kind.CHANGE, "−5\u202f%"),
        (date(2025, 12, 20), Kind.DAY, "20.12.2025"),
        (datetime(2025, 12, 19, 19, tzinfo=UTC), Kind.MOMENT, "20.12.2025 00:00"),
    ],
)
def test_a_value_is_shown(value, kind, text):
    assert shown(value, kind) == text


def test_json_has_digits_and_null():
    assert table_data(TABLE)[:2] == [
        {"name": "Б", "sum": None, "fixed": None},
        {"name": "я", "sum": "5", "fixed": None},
    ]


@pytest.mark.parametrize(
    ("now", "before", "text", "direction"),
    [
        (150, 100, "+50\u202f%", "up"),
        (Decimal(50), Decimal(100), "−50\u202f%", "down"),
        (3, 3, "0\u202f%", "same"),
        (3, 0, "—", "up"),
        (None, 3, "—", ""),
        (3, None, "—", ""),
        (Decimal(-50), Decimal(-100), "+50\u202f%", "up"),
    ],
)
def test_growth_is_told_where_there_is_something_to_grow_from(now, before, text, direction):
    change = Change(now, before)
    assert (signed(change.percent), change.direction) == (text, direction)


def test_an_address_keeps_the_rest_and_goes_to_the_first_page():
    query = QueryDict("period=month&campaign=a%26b&page=3")
    assert address_with(query, {"period": None, "source": "вк"}) == "?campaign=a%26b&source=%D0%B2%D0%BA"
    assert address_with(query, {"page": 4}) == "?period=month&campaign=a%26b&page=4"
