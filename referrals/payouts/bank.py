"""Files for and from the bank: what to transfer (CSV, XLSX), and what became of it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zipfile import BadZipFile

from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from openpyxl import Workbook, load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from onai_project.csv_rows import CsvError, csv_rows, decoded
from onai_project.periods import parse_day, today
from referrals.payouts.batches import payout_mark_failed, payouts_lock, payouts_mark_paid
from referrals.payouts.models import Payout, PayoutBatch

State = Payout.State
# A batch has hundreds of payouts; a file with more rows is another file.
MAX_ROWS = 5000
MAX_BYTES = 2 * 1024 * 1024
# What the purpose says, in the bank's own language: results are matched by it.
_PURPOSE = gettext_noop("Referral commission, payout %(number)s")
_NUMBER = re.compile(r"(\d+)\s*$")
_COLUMNS = {
    "payout": {
        "payout",
        "выплата",
        "выплата №",
        "№ выплаты",
        "номер выплаты",
        "purpose",
        "назначение",
        "назначение платежа",
    },
    "result": {"result", "результат", "статус", "status"},
    "amount": {"amount", "сумма", "amount, ₸", "сумма, ₸"},
    "paid_on": {"date", "дата", "paid on", "дата перевода"},
    "reference": {"document", "документ", "номер документа", "reference"},
    "reason": {"reason", "причина", "примечание", "note"},
}
_PAID = {"paid", "ok", "да", "выплачено", "выплачена", "исполнено", "исполнен", "проведено", "проведен", "переведено"}
_FAILED = {"failed", "нет", "отказ", "отклонено", "отклонен", "не переведено", "не исполнено", "возврат", "ошибка"}


def bank_table(batch: PayoutBatch) -> list[list[Any]]:
    """Return the rows of the bank's file, a heading first: the payouts of a batch that are still to be transferred."""
    rows: list[list[Any]] = [
        [_("Payout"), _("Recipient"), _("IIN"), _("Account"), _("Amount, ₸"), _("Purpose")],
    ]
    for payout in Payout.objects.filter(batch=batch, state=State.CONFIRMED).order_by("pk"):
        purpose = _(_PURPOSE) % {"number": f"№ {payout.pk}"}
        rows.append([payout.pk, payout.recipient, payout.iin, payout.account, int(payout.amount), purpose])
    return rows


def bank_csv(batch: PayoutBatch) -> bytes:
    """Return the bank's file as CSV that Excel opens: semicolons, a byte order mark."""
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows(bank_table(batch))
    return ("\ufeff" + out.getvalue()).encode()


def bank_xlsx(batch: PayoutBatch) -> bytes:
    """Return the bank's file as a workbook. Texts stay texts, whatever they begin with."""
    book = Workbook()
    sheet = book.worksheets[0]
    for number, row in enumerate(bank_table(batch), 1):
        for column, value in enumerate(row, 1):
            cell = sheet.cell(number, column, value)
            if isinstance(value, str):
                cell.data_type = "s"
    for letter, width in zip("ABCDEF", (10, 36, 16, 26, 14, 48), strict=True):
        sheet.column_dimensions[letter].width = width
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class Result:
    """What a line of the bank's file says of one payout; `news`: it is not known yet."""

    payout: int
    paid: bool
    paid_on: str  # ISO, "" for failed
    reference: str
    reason: str
    news: bool


@dataclass(frozen=True, slots=True)
class Results:
    """A file that was read: what it says, and by line number what is wrong with it. With errors nothing is applied."""

    results: list[Result]
    errors: list[tuple[int, str]]

    @property
    def news(self) -> list[Result]:
        """What would change."""
        return [result for result in self.results if result.news]

    @property
    def token(self) -> str:
        """The results, signed, to be applied by the next request."""
        return signing.dumps([asdict(result) for result in self.results], salt="payouts.results", compress=True)


def results_read(*, content: bytes, batch: PayoutBatch) -> Results:
    """Read a file of results (CSV or XLSX) and compare it with the payouts of a batch; write nothing.

    Columns are found by their headings; needed are the payout's number (or the purpose, which ends with it) and the
    result. A line that repeats what is known is no news, so a file may be read twice.
    """
    try:
        lines = _lines(content)
    except CsvError as error:
        return Results([], [(error.line, str(error))])
    except (UnicodeDecodeError, BadZipFile, InvalidFileException, KeyError, ValueError):
        return Results([], [(0, _("This is neither a CSV nor an XLSX file."))])
    if len(lines) > MAX_ROWS:
        return Results([], [(0, _("The file has more than %(count)d lines.") % {"count": MAX_ROWS})])
    columns = _find_columns(lines[0][1] if lines else [])
    for needed, name in (("payout", _("Payout")), ("result", _("Result"))):
        if needed not in columns:
            return Results([], [(1, _("There is no column “%(name)s” in the heading.") % {"name": name})])
    payouts = {payout.pk: payout for payout in Payout.objects.filter(batch=batch)}
    results: list[Result] = []
    errors: list[tuple[int, str]] = []
    seen: set[int] = set()
    for number, cells in lines[1:]:
        row = {name: cells[at].strip() if at < len(cells) else "" for name, at in columns.items()}
        if not row["result"] and not any(row[name] for name in ("reference", "reason", "paid_on") if name in row):
            continue  # Nothing is known of this one yet.
        try:
            result = _result(row, payouts)
            if result.payout in seen:
                raise ValidationError(_("This payout is in the file twice."))
        except ValidationError as error:
            errors.append((number, error.messages[0]))
        else:
            seen.add(result.payout)
            results.append(result)
    if not results and not errors:
        errors.append((0, _("The file tells of no payout.")))
    return Results(results, errors)


def results_apply(*, token: str, by: User) -> tuple[int, int]:
    """Note what a read file said; return how many payouts became paid and how many failed, all or nothing.

    Raises PayoutError where a payout has changed since, and signing.BadSignature for a token that is not ours.
    """
    results = [Result(**result) for result in signing.loads(token, salt="payouts.results", max_age=3600)]
    groups: dict[tuple[str, str], list[int]] = {}
    for result in results:
        if result.paid:
            groups.setdefault((result.paid_on, result.reference), []).append(result.payout)
    paid = failed = 0
    with transaction.atomic():
        payouts_lock(payouts=[result.payout for result in results])
        for (day, reference), payouts in sorted(groups.items()):
            paid += payouts_mark_paid(payouts=payouts, paid_on=date.fromisoformat(day), by=by, reference=reference)
        for result in results:
            if not result.paid:
                failed += payout_mark_failed(payout=result.payout, reason=result.reason, by=by)
    return paid, failed


def _lines(content: bytes) -> list[tuple[int, list[str]]]:
    """Return the rows that are not empty, with their numbers from 1."""
    rows: Iterable[tuple[int, Sequence[Any]]]
    if content.startswith(b"PK"):
        sheet = load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        rows = enumerate(sheet.iter_rows(max_row=MAX_ROWS + 2, max_col=40, values_only=True), 1)
    else:
        rows = csv_rows(decoded(content))
    numbered = ((number, [_cell(value) for value in row]) for number, row in rows)
    return [(number, row) for number, row in numbered if any(row)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).replace("\x00", "").strip()


def _find_columns(heading: Sequence[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for at, title in enumerate(heading):
        for name, titles in _COLUMNS.items():
            if title.casefold() in titles:
                columns.setdefault(name, at)
    return columns


def _result(row: dict[str, str], payouts: dict[int, Payout]) -> Result:
    """Return what a row says. Raises ValidationError, in words for the person who made the file."""
    found = _NUMBER.search(row["payout"])
    payout = payouts.get(int(found[1])) if found else None
    if payout is None:
        raise ValidationError(_("“%(text)s” is no payout of this batch.") % {"text": row["payout"][:100]})
    outcome = row["result"].casefold().rstrip(".")
    if outcome not in _PAID | _FAILED:
        raise ValidationError(_("“%(text)s” is no result: write “paid” or “failed”.") % {"text": row["result"][:100]})
    _check_amount(row.get("amount", ""), payout)
    reference, reason = row.get("reference", "")[:100], row.get("reason", "")[:300]
    if outcome in _FAILED:
        if payout.state in (State.PAID, State.VOID):
            raise ValidationError(_already(payout))
        return Result(payout.pk, False, "", "", reason or _("The bank did not say why."), payout.state != State.FAILED)
    if payout.state == State.VOID:
        raise ValidationError(_already(payout))
    day = parse_day(row.get("paid_on", "")) or today()
    if day > today():
        raise ValidationError(_("The day of the transfer lies in the future."))
    return Result(payout.pk, True, day.isoformat(), reference, "", payout.state != State.PAID)


def _check_amount(text: str, payout: Payout) -> None:
    if not text:
        return
    try:
        amount = Decimal(re.sub(r"[\s₸]", "", text).replace(",", "."))
    except InvalidOperation:
        raise ValidationError(_("“%(text)s” is no amount.") % {"text": text[:100]}) from None
    if amount != payout.amount:
        raise ValidationError(
            _("Payout %(payout)s is of %(sum)s ₸, the file says %(amount)s.")
            % {"payout": payout, "sum": payout.amount, "amount": text[:40]}
        )


def _already(payout: Payout) -> str:
    return _("Payout %(payout)s is %(state)s, and that is final.") % {
        "payout": payout,
        "state": payout.get_state_display().lower(),
    }
