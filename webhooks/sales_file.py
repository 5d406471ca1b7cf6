"""A file of old sales → deals as AmoCRM would have told them. Pure: text in, rows and errors out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from webhooks.amocrm.events import UTM_NAMES, WON

# What a column may be, and what every row must have.
FIELDS = ("lead_id", "sale_date", "price", "name", "pipeline_id", *UTM_NAMES)
REQUIRED = ("lead_id", "sale_date")
# What AmoCRM gives to deals, and what the database can hold.
_LEAD_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)
_PRICE = re.compile(r"\d{1,13}(?:[.,]\d{1,4})?", re.ASCII)
# 490 to one person, 490 000 to another.
_AMBIGUOUS_PRICE = re.compile(r"\d+[.,]\d{3}", re.ASCII)
_SPACES = re.compile(r"[\s\u00a0\u202f]")
_DATES = ("%Y-%m-%d", "%d.%m.%Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S")
FIRST_YEAR = 2000


class FileError(ValueError):
    """The file cannot be read at all; the text says what to do."""


@dataclass(frozen=True, slots=True)
class OldSale:
    """One row: a deal that was won. An unknown price is None; `utm` has only what is not empty."""

    line: int
    lead_id: int
    sold_at: datetime
    price: Decimal | None
    name: str
    pipeline_id: int
    utm: Mapping[str, str]

    def as_deal(self) -> dict[str, Any]:
        """Return the deal in AmoCRM's shape: created in "won" at the moment of the sale."""
        moment = int(self.sold_at.timestamp())
        deal: dict[str, Any] = {
            "id": self.lead_id,
            "status_id": WON,
            "pipeline_id": self.pipeline_id,
            "created_at": moment,
            "updated_at": moment,
        }
        if self.name:
            deal["name"] = self.name
        if self.price is not None:
            deal["price"] = str(self.price)
        if self.utm:
            deal["custom_fields"] = [
                {"name": name, "code": name.upper(), "values": [{"value": value}]} for name, value in self.utm.items()
            ]
        return deal


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line cannot be taken."""

    line: int
    text: str


def read_sales(
    text: str, *, columns: Mapping[str, str], pipeline_id: int | None, zone: tzinfo, now: datetime
) -> tuple[list[OldSale], list[Problem]]:
    """Return the sales of a CSV file with a head, and what is wrong, by line (the head is line 1).

    `columns` maps fields to the names of columns; those that it does not name are called as the field is. Without a
    column `pipeline_id` all are of `pipeline_id`. Raises FileError where the file or its head makes no sense.
    """
    rows = _rows(text)
    try:
        _, head = next(rows)
    except StopIteration:
        raise FileError("the file is empty") from None
    places = _places(head, columns)
    if "pipeline_id" not in places and pipeline_id is None:
        raise FileError("say the pipeline: a column pipeline_id, or --pipeline")
    sales: list[OldSale] = []
    problems: list[Problem] = []
    first: dict[int, int] = {}
    for line, cells in rows:
        if len(cells) != len(head):
            problems.append(Problem(line, f"{len(cells)} columns instead of {len(head)}"))
            continue
        row = {field: cells[place].strip() for field, place in places.items()}
        sale, found = _sale(line, row, pipeline_id, zone, now)
        if sale is not None and first.setdefault(sale.lead_id, line) != line:
            found, sale = [f"deal {sale.lead_id} is in line {first[sale.lead_id]} already"], None
        problems += [Problem(line, text) for text in found]
        if sale is not None:
            sales.append(sale)
    return sales, problems


def decode_file(raw: bytes) -> str:
    """Return the text of a file: UTF-8, with or without a mark, or what Russian Excel writes (Windows-1251)."""
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise FileError("the file is neither UTF-8 nor Windows-1251; save it as “CSV UTF-8”")


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of every row that is not empty; the separator is the one that the head has most of."""
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise FileError(f"line {reader.line_num}: {error}") from None


def _places(head: list[str], columns: Mapping[str, str]) -> dict[str, int]:
    names = [name.strip() for name in head]
    places = {}
    for field in FIELDS:
        name = columns.get(field, field)
        if name in names:
            if names.count(name) > 1:
                raise FileError(f"there are two columns {name!r}")
            places[field] = names.index(name)
        elif field in columns or field in REQUIRED:
            raise FileError(
                f"there is no column {name!r} for {field}; there are: {', '.join(names)}. Say --column {field}=NAME"
            )
    return places


def _sale(
    line: int, row: Mapping[str, str], pipeline_id: int | None, zone: tzinfo, now: datetime
) -> tuple[OldSale | None, list[str]]:
    problems = []
    if not _LEAD_ID.fullmatch(row["lead_id"]):
        problems.append(f"lead_id is no deal's number: {row['lead_id'][:40]!r}")
    sold_at = _moment(row["sale_date"], zone)
    if sold_at is None:
        problems.append(f"sale_date is no date: {row['sale_date'][:40]!r}; write 2024-12-20 or 20.12.2024 13:22")
    elif sold_at > now or sold_at.year < FIRST_YEAR:
        problems.append(f"sale_date is not in the past: {row['sale_date'][:40]!r}")
    price = _SPACES.sub("", row.get("price", ""))
    if price and not _PRICE.fullmatch(price):
        problems.append(f"price is no sum: {row['price'][:40]!r}")
    elif _AMBIGUOUS_PRICE.fullmatch(price):
        whole = re.sub(r"[.,]", "", price)
        problems.append(f"price can be read in two ways: {row['price'][:40]!r}; write {whole}, or two digits behind")
    pipeline = row.get("pipeline_id") or str(pipeline_id or "")
    if not _LEAD_ID.fullmatch(pipeline):
        problems.append(f"pipeline_id is no pipeline's number: {pipeline[:40]!r}")
    if "\x00" in "".join(row.values()):
        problems.append("there is a NUL in it")
    if problems or sold_at is None:
        return None, problems
    return (
        OldSale(
            line=line,
            lead_id=int(row["lead_id"]),
            sold_at=sold_at,
            price=Decimal(price.replace(",", ".")).quantize(Decimal(1), ROUND_HALF_UP) if price else None,
            name=row.get("name", ""),
            pipeline_id=int(pipeline),
            utm={name: row[name] for name in UTM_NAMES if row.get(name)},
        ),
        [],
    )


def _moment(text: str, zone: tzinfo) -> datetime | None:
    """Return the moment that a cell says, in business time where it names no zone; a day alone is its noon."""
    try:
        if (moment := datetime.fromisoformat(text)).tzinfo:
            return moment.astimezone(UTC)
    except ValueError:
        pass
    for day in _DATES:
        for time in _TIMES:
            try:
                moment = datetime.strptime(text, day + time)
            except ValueError:
                continue
            return (moment if time else moment.replace(hour=12)).replace(tzinfo=zone)
    return None
