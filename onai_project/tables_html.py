"""The rows of a dashboard's table as HTML, written in Python: a template takes ten times as long for a year of days."""

from __future__ import annotations

from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

from onai_project.tables import EMPTY, Cell, Kind, Row, Table


def body_html(table: Table) -> SafeString:
    """Return the `<tr>`s of the body, every value escaped; the first column names its row."""
    return mark_safe("".join(_row(row, cells) for row, cells in table.lines))  # noqa: S308


def total_html(table: Table) -> SafeString:
    """Return the `<tr>` of the total; a column that has none is empty."""
    first, *rest = table.total_cells
    cells = "".join(f'<td class="{_class(cell)}">{_total(cell)}</td>' for cell in rest)
    return mark_safe(f'<tr><th scope="row">{conditional_escape(first.text)}</th>{cells}</tr>')  # noqa: S308


def _row(row: Row, cells: list[Cell]) -> str:
    first, *rest = cells
    head = f'<th scope="row"{_nowrap(first)}>{_content(first)}</th>'
    body = "".join(f'<td class="{_class(cell)}">{_content(cell)}</td>' for cell in rest)
    quiet = ' class="panel-quiet"' if row.quiet else ""
    return f"<tr{quiet}>{head}{body}</tr>\n"


def _class(cell: Cell) -> str:
    if cell.direction:
        return f"n panel-{cell.direction}"
    if cell.is_number:
        return "n"
    return "" if cell.kind is Kind.TEXT else "nowrap"


def _nowrap(cell: Cell) -> str:
    return "" if cell.kind is Kind.TEXT else ' class="nowrap"'


def _total(cell: Cell) -> str:
    return conditional_escape(cell.text) if cell.is_number or cell.text != EMPTY else ""


def _content(cell: Cell) -> str:
    text = conditional_escape(cell.text)
    if not cell.link:
        return text
    outside = "://" in cell.link
    more, arrow = (' target="_blank" rel="noopener"', " ↗") if outside else ("", "")
    return f'<a href="{conditional_escape(cell.link)}" class="panel-link"{more}>{text}{arrow}</a>'
