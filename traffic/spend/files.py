"""Reading a file of ad spend: CSV with date, targetologist, campaign, amount. Pure: bytes in, entries, errors out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from django.utils.translation import gettext as _

from onai_project.csv_rows import CsvError, checked_text, csv_rows
from traffic.spend.entries import SpendLine

# A year of a hundred campaigns; more is a wrong file.
MAX_LINES = 50_000
MAX_CAMPAIGN = 500
MAX_AMOUNT = Decimal(10) ** 12
# What people call the columns.
HEADINGS = {
    "date": ("date", "day", "дата", "день"),
    "targetologist": ("targetologist", "таргетолог"),
    "campaign": ("campaign", "utm_campaign", "кампания"),
    "amount": ("amount", "spend", "cost", "сумма", "расход", "расходы", "затраты"),
}
NEEDED = ("date", "targetologist", "amount")
DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y")
# Digits in threes, or without spaces; a comma or a point before the fraction.
_AMOUNT = re.compile(r"(?:\d{1,3}(?: \d{3})+|\d+)(?:[.,]\d+)?")
# 25 to one person, 25 000 to another.
_AMBIGUOUS = re.compile(r".*[.,]\d{3}")


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with a line; lines are counted from 1, the headings are the first."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class SpendFile:
    """What a file says: its entries, and what is wrong with it. With any error nothing of it should be entered."""

    lines: list[SpendLine] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)

    @property
    def total(self) -> Decimal:
        """The sum of its entries in tenge."""
        return sum((line.amount for line in self.lines), Decimal(0))


def read_spend(content: bytes, slugs: Mapping[str, str]) -> SpendFile:
    """Return the entries of a CSV file: UTF-8 or Windows-1251, with `;`, `,` or tabs between.

    `slugs` leads from what a targetologist may be called (in lower case) to the slug. Amounts are rounded half up to
    whole tenge. A day, targetologist and campaign may stand there once.
    """
    try:
        rows = list(csv_rows(checked_text(content)))
    except CsvError as error:
        return _wrong(error.line, str(error))
    if not rows or not any(cell.strip() for cell in rows[0][1]):
        return _wrong(1, _("The file is empty."))
    if len(rows) > MAX_LINES:
        return _wrong(MAX_LINES, _("The file has more than 50 000 lines."))
    columns = _columns(rows[0][1])
    if missing := [name for name in NEEDED if name not in columns]:
        return _wrong(1, _("There is no column %(names)s.") % {"names": ", ".join(missing)})
    found = SpendFile()
    seen: dict[tuple[date, str, str], int] = {}
    for number, row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        cells = {name: row[index].strip() if index < len(row) else "" for name, index in columns.items()}
        try:
            line = _line(cells, slugs)
        except ValueError as error:
            found.errors.append(LineError(number, str(error)))
            continue
        key = (line.date, line.targetologist, line.campaign)
        if key in seen:
            found.errors.append(LineError(number, _("The same as line %(line)s.") % {"line": seen[key]}))
            continue
        seen[key] = number
        found.lines.append(line)
    if not found.lines and not found.errors:
        found.errors.append(LineError(1, _("There is nothing below the headings.")))
    return found


def _wrong(line: int, text: str) -> SpendFile:
    return SpendFile(errors=[LineError(line, text)])


def _columns(headings: list[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for index, heading in enumerate(headings):
        called = heading.strip().casefold()
        for name, names in HEADINGS.items():
            if called in names:
                columns.setdefault(name, index)
    return columns


def _line(cells: Mapping[str, str], slugs: Mapping[str, str]) -> SpendLine:
    """Return the entry. Raises ValueError with a sentence for people."""
    who = slugs.get(cells["targetologist"].casefold())
    if who is None:
        raise ValueError(_("There is no targetologist “%(name)s”.") % {"name": cells["targetologist"]})
    campaign = cells.get("campaign", "")
    if len(campaign) > MAX_CAMPAIGN:
        raise ValueError(_("The campaign is longer than 500 characters."))
    return SpendLine(_day(cells["date"]), who, campaign, _amount(cells["amount"]))


def _day(text: str) -> date:
    for form in DATE_FORMATS:
        try:
            day = datetime.strptime(text, form).date()
        except ValueError:
            continue
        if 2000 <= day.year < 2100:
            return day
    raise ValueError(_("“%(text)s” is not a date.") % {"text": text})


def _amount(text: str) -> Decimal:
    plain = re.sub(r"[\s\u2009\u202f]+", " ", text).removesuffix("₸").strip()
    if not _AMOUNT.fullmatch(plain):
        raise ValueError(_("“%(text)s” is not an amount in tenge.") % {"text": text})
    if _AMBIGUOUS.fullmatch(plain):
        whole = re.sub(r"\D", "", plain)
        said = _("“%(text)s” can be read in two ways: write %(whole)s, or at most two digits after the comma.")
        raise ValueError(said % {"text": text, "whole": whole})
    try:
        amount = Decimal(plain.replace(" ", "").replace(",", ".")).quantize(Decimal(1), ROUND_HALF_UP)
    except InvalidOperation:
        amount = MAX_AMOUNT
    if amount >= MAX_AMOUNT:
        raise ValueError(_("“%(text)s” is too much.") % {"text": text})
    return amount
