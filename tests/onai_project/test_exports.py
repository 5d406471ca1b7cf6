from __future__ import annotations

import csv
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO, StringIO

import pytest
from openpyxl import load_workbook

from onai_project.exports import csv_response, file_name, xlsx_response
from onai_project.periods import Period
from onai_project.tables import Column, Kind, Row, Table

COLUMNS = [
    Column("name", "Имя"),
    Column("sum", "Сумма", Kind.MONEY),
    Column("day", "День", Kind.DAY),
    Column("at", "Когда", Kind.MOMENT),
]


def table(name: str = "Курс", title: str = "Продажи") -> Table:
    row = Row(
        {"name": name, "sum": Decimal(70), "day": date(2025, 12, 20), "at": datetime(2025, 12, 19, 19, tzinfo=UTC)}
    )
    return Table("t", title, COLUMNS, [row, Row({"name": "б"})], total=Row({"name": "Итого", "sum": Decimal(70)}))


def csv_rows(response) -> list[list[str]]:
    text = response.content.decode()
    assert text.startswith("\ufeff")
    return list(csv.reader(StringIO(text[1:]), delimiter=";"))


def sheet(response, name: str = "Продажи"):
    return load_workbook(BytesIO(response.content))[name]


def test_csv_has_the_headings_the_rows_and_the_total():
    assert csv_rows(csv_response(table(), "x")) == [
        ["Имя", "Сумма", "День", "Когда"],
        ["Курс", "70", "20.12.2025", "20.12.2025 00:00"],
        ["б", "—", "—", "—"],
        ["Итого", "70", "—", "—"],
    ]


def test_xlsx_has_numbers_and_dates_and_says_what_is_unknown():
    rows = [[cell.value for cell in row] for row in sheet(xlsx_response([table()], "x"))]
    assert rows[1] == ["Курс", 70, datetime(2025, 12, 20), datetime(2025, 12, 20)]
    assert rows[2] == ["б", "—", "—", "—"]
    assert rows[3][:2] == ["Итого", 70]


def test_a_workbooks_sums_have_a_separator_of_thousands_as_the_readers_excel_has_it():
    assert sheet(xlsx_response([table()], "x"))["B2"].number_format == "#,##0"


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x","y")', "+1+1", "-1+1", "@SUM(A1)", "\t=1", "  =1", "＝1+1"])
def test_a_text_never_becomes_a_formula(text):
    assert csv_rows(csv_response(table(text), "x"))[1][0] == "'" + text
    cell = sheet(xlsx_response([table(text)], "x"))["A2"]
    assert (cell.data_type, cell.value) == ("s", text)


def test_what_a_workbook_can_not_hold_is_left_out():
    assert sheet(xlsx_response([table("a\x00\x0bb" + "я" * 40_000)], "x"))["A2"].value.startswith("abя")


def test_two_sheets_of_one_title_are_two_sheets():
    book = load_workbook(BytesIO(xlsx_response([table(title="a/b?" * 20), table(title="a/b?" * 20)], "x").content))
    assert len(book.sheetnames) == 2


def test_the_file_says_its_days():
    name = file_name("traffic", Period(date(2025, 12, 1), date(2025, 12, 31)))
    assert csv_response(table(), name)["Content-Disposition"] == (
        'attachment; filename="traffic-2025-12-01-2025-12-31.csv"'
    )
