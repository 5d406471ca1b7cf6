"""Tables as files: CSV for Excel, XLSX. Texts from outside never become formulas in either."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from io import SEEK_END, BytesIO, StringIO
from typing import Any, TypeVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from onai_project.periods import Period, zone
from onai_project.tables import EMPTY, Column, Kind, Row, Table, Value

Response = TypeVar("Response", bound=HttpResponseBase)

CSV = "text/csv; charset=utf-8"
# Lines of a CSV file that are sent at once: a few packets.
LINES = 200
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# A spreadsheet takes a text that begins so for a formula (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# What Excel takes no more of in a cell, in a sheet's name.
MAX_TEXT = 32_767
MAX_TITLE = 31
NUMBER_FORMATS = {Kind.MONEY: "#,##0", Kind.COUNT: "#,##0", Kind.RATIO: "0.00", Kind.PERCENT: "0.0", Kind.CHANGE: "0"}


def csv_response(table: Table, name: str) -> HttpResponse:
    """Return one table as a file that Excel opens: semicolons, a byte order mark; the total is the last line.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    return _csv_file(HttpResponse(_csv_text(table.columns, _rows(table)), content_type=CSV), name)


def csv_stream(columns: Sequence[Column], rows: Iterable[Row], name: str) -> StreamingHttpResponse:
    """Return the same of rows that are made while they are sent, however many."""
    return _csv_file(StreamingHttpResponse(_csv_text(columns, rows), content_type=CSV), name)


def xlsx_response(tables: Iterable[Table], name: str) -> HttpResponse:
    """Return tables as the sheets of a workbook: numbers are numbers, dates are dates, and texts are always texts."""
    book = Workbook(write_only=True)
    titles: set[str] = set()
    for table in tables:
        title = _sheet_title(table.title, titles)
        titles.add(title)
        sheet = book.create_sheet(title)
        sheet.freeze_panes = "A2"
        for number, column in enumerate(table.columns, start=1):
            sheet.column_dimensions[get_column_letter(number)].width = 14 if column.is_number else 24
        sheet.append([_xlsx(sheet, column.title, Kind.TEXT, bold=True) for column in table.columns])
        for row in _rows(table):
            bold = row is table.total
            sheet.append([_xlsx(sheet, _of(row, column), column.kind, bold=bold) for column in table.columns])
    content = BytesIO()
    book.save(content)
    response = HttpResponse(content.getvalue(), content_type=XLSX)
    response["Content-Disposition"] = f'attachment; filename="{name}.xlsx"'
    return response


def _csv_file(response: Response, name: str) -> Response:
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _csv_text(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """Yield the text of a CSV file, some hundred lines at a time."""
    keys = [column.key for column in columns]
    out = StringIO("\ufeff", newline="")
    out.seek(0, SEEK_END)
    writer = csv.writer(out, delimiter=";")
    writer.writerow([_csv(column.title) for column in columns])
    for number, row in enumerate(rows, 1):
        writer.writerow([_csv(row.values.get(key)) for key in keys])
        if number % LINES == 0:
            yield out.getvalue()
            out = StringIO(newline="")
            writer = csv.writer(out, delimiter=";")
    yield out.getvalue()


def file_name(prefix: str, period: Period) -> str:
    """Return a name that says which days are in it, without its ending."""
    return f"{prefix}-{period.first.isoformat()}-{period.last.isoformat()}"


def _rows(table: Table) -> list[Row]:
    return [*table.rows, *([table.total] if table.total else [])]


def _of(row: Row, column: Column) -> Value:
    return row.values.get(column.key)


def _csv(value: Value) -> str:
    match value:
        case None | "":
            return EMPTY
        case datetime():
            return timezone.localtime(value, zone()).strftime("%d.%m.%Y %H:%M")
        case date():
            return value.strftime("%d.%m.%Y")
        case Decimal():
            return f"{value:f}".replace(".", ",")
        case str():
            text = value.replace("\x00", "")
            return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text
    return str(value)


def _xlsx(sheet: Any, value: Value, kind: Kind, *, bold: bool) -> Any:
    match value:
        case None | "":
            content: Any = EMPTY
        case datetime():
            content = timezone.localtime(value, zone()).replace(tzinfo=None)
        case str():
            content = ILLEGAL_CHARACTERS_RE.sub("", value)[:MAX_TEXT]
        case _:
            content = value
    cell = WriteOnlyCell(sheet, value=content)
    if isinstance(content, str):
        cell.data_type = "s"  # openpyxl would make a formula of what begins with "="
    elif isinstance(content, date):
        cell.number_format = "DD.MM.YYYY HH:MM" if isinstance(content, datetime) else "DD.MM.YYYY"
    else:
        cell.number_format = NUMBER_FORMATS.get(kind, "General")
    if bold:
        cell.font = Font(bold=True)
    return cell


def _sheet_title(title: str, taken: set[str]) -> str:
    title = re.sub(r"[\[\]:*?/\\]", " ", title)[:MAX_TITLE].strip() or "—"
    if title not in taken:
        return title
    return next(name for n in range(2, 100) if (name := f"{title[: MAX_TITLE - 3]} {n}") not in taken)
