from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.core import signing
from django.db import connection
from django.test.utils import CaptureQueriesContext
from openpyxl import Workbook, load_workbook

from referrals.models import Referrer
from referrals.payouts import bank, batches
from referrals.payouts.models import Payout
from tests.referrals.payouts.conftest import IBAN, confirm, due_conversion, today

pytestmark = pytest.mark.django_db


@pytest.fixture
def payouts(batch, manager, make_referrer) -> list[Payout]:
    for number, code in enumerate(("ref_a", "ref_b", "ref_c")):
        due_conversion(number, make_referrer(code), 300_000 - number * 100_000)
    return confirm(batch, manager)


def table(rows: list[list[object]], *, encoding: str = "utf-8-sig", delimiter: str = ";") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode(encoding)


def read(content: bytes, batch) -> bank.Results:
    return bank.results_read(content=content, batch=batch)


def errors(rows: list[list[object]], batch) -> list[tuple[int, str]]:
    return read(table(rows), batch).errors


def test_the_file_has_what_the_bank_needs_of_what_is_to_be_transferred(payouts, batch, manager):
    batches.payouts_mark_paid(payouts=[payouts[0].pk], paid_on=today(), by=manager)
    heading, *rows = csv.reader(io.StringIO(bank.bank_csv(batch).decode("utf-8-sig")), delimiter=";")
    assert heading == ["Выплата", "Получатель", "ИИН", "Счёт", "Сумма, ₸", "Назначение платежа"]
    second = payouts[1]
    assert rows[0] == [
        str(second.pk), "B Тестова", "", IBAN, "20000",
        f"Вознаграждение по реферальной программе, выплата № {second.pk}",
    ]  # fmt: skip
    assert len(rows) == 2


def test_the_workbook_has_the_same_with_sums_as_numbers_and_no_formula(payouts, batch):
    Payout.objects.bulk_create(
        [Payout(batch=batch, referrer=_another(), amount=7000, recipient="=cmd()", account="+77010000001")]
    )
    sheet = load_workbook(io.BytesIO(bank.bank_xlsx(batch))).worksheets[0]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
    assert rows == [[row[0], row[1], None, *row[3:]] for row in bank.bank_table(batch)[1:]]
    assert [sheet[5][column].data_type for column in (0, 1, 3, 4)] == ["n", "s", "s", "n"]


def _another() -> Referrer:
    return Referrer.objects.create(code="ref_formula", claimed=True)


def test_results_are_previewed_then_applied(payouts, batch, manager):
    day = today() - timedelta(days=1)
    content = table(
        [
            ["Выплата", "Сумма", "Результат", "Дата", "Документ", "Причина"],
            [payouts[0].pk, "30 000", "Исполнено", day.strftime("%d.%m.%Y"), "П-5", ""],
            [payouts[1].pk, "20000,00", "отказ", "", "", "Счёт закрыт"],
            [payouts[2].pk, "10000", "", "", "", ""],
        ]
    )
    results = read(content, batch)
    assert (results.errors, len(results.news)) == ([], 2)
    assert set(Payout.objects.values_list("state", flat=True)) == {"confirmed"}
    assert bank.results_apply(token=results.token, by=manager) == (1, 1)
    stored = [(one.state, one.paid_on, one.reference, one.reason) for one in Payout.objects.order_by("pk")]
    assert stored == [
        ("paid", day, "П-5", ""),
        ("failed", None, "", "Счёт закрыт"),
        ("confirmed", None, "", ""),
    ]


def test_all_referrers_of_a_file_are_locked_at_once_before_anything_is_written(payouts, batch, manager):
    """Law 5: line by line they would be locked in the file's order, and meet the workers' the other way round."""
    content = table(
        [
            ["payout", "result", "document"],
            [payouts[2].pk, "paid", "1"],
            [payouts[0].pk, "failed", ""],
            [payouts[1].pk, "paid", "2"],
        ]
    )
    token = read(content, batch).token
    with CaptureQueriesContext(connection) as queries:
        bank.results_apply(token=token, by=manager)
    told = [query["sql"] for query in queries]
    first_write = next(at for at, sql in enumerate(told) if sql.startswith(("UPDATE", "INSERT")))
    locks = next(sql for sql in told[:first_write] if "FROM referrers" in sql and "FOR NO KEY UPDATE" in sql)
    assert all(str(payout.referrer_id) in locks for payout in payouts)


def test_a_file_read_twice_changes_nothing(payouts, batch, manager):
    content = table([["payout", "result"], [payouts[0].pk, "paid"], [payouts[1].pk, "failed"]])
    assert bank.results_apply(token=read(content, batch).token, by=manager) == (1, 1)
    again = read(content, batch)
    assert (again.errors, again.news) == ([], [])
    assert bank.results_apply(token=again.token, by=manager) == (0, 0)


def test_a_payout_is_found_by_the_purpose_too(payouts, batch):
    purpose = bank.bank_table(batch)[1][5]
    (result,) = read(table([["Назначение платежа", "Статус"], [purpose, "проведено"]]), batch).results
    assert (result.payout, result.paid) == (payouts[0].pk, True)


@pytest.mark.parametrize(("encoding", "delimiter"), [("cp1251", ";"), ("utf-8", ","), ("utf-8-sig", "\t")])
def test_the_habits_of_banks_are_read(payouts, batch, encoding, delimiter):
    content = table([["Выплата", "Результат"], [payouts[0].pk, "Выплачено"]], encoding=encoding, delimiter=delimiter)
    assert read(content, batch).results[0].paid


def test_a_mac_files_ends_of_lines_are_read(payouts, batch):
    (result,) = read(f"Выплата;Результат\r{payouts[0].pk};Выплачено\r".encode(), batch).results
    assert (result.payout, result.paid) == (payouts[0].pk, True)


def test_a_line_that_can_not_be_read_is_said(payouts, batch):
    results = read(f'Выплата;Результат\n{payouts[0].pk};Выплачено\n{payouts[1].pk};"{"x" * 140_000}\n'.encode(), batch)
    assert [(line, text[:18]) for line, text in results.errors] == [(3, "Это не прочитать: ")]
    assert results.results == []


def test_a_workbook_is_read(payouts, batch):
    book = Workbook()
    for row in ([], ["Выплата", "Результат", "Дата"], [payouts[0].pk, "исполнено", today()]):
        book.worksheets[0].append(row)
    out = io.BytesIO()
    book.save(out)
    (result,) = read(out.getvalue(), batch).results
    assert (result.payout, result.paid_on) == (payouts[0].pk, today().isoformat())


def test_each_wrong_line_is_named(payouts, batch, manager):
    batches.payout_void(payout=payouts[2].pk, reason="x", by=manager)
    number = payouts[0].pk
    rows: list[list[object]] = [
        ["Выплата", "Сумма", "Результат", "Дата"],
        [999_999, "", "да", ""],
        [number, "29999", "да", ""],
        [number, "много", "да", ""],
        [number, "", "наверное", ""],
        [number, "", "да", (today() + timedelta(days=1)).isoformat()],
        [payouts[2].pk, "", "да", ""],
        [payouts[1].pk, "", "да", ""],
        [payouts[1].pk, "", "да", ""],
    ]
    found = errors(rows, batch)
    assert [line for line, _ in found] == [2, 3, 4, 5, 6, 7, 9]
    for words, (_, text) in zip(
        ["такой выплаты", "в файле 29999", "не сумма", "непонятный", "не наступил", "окончательно", "дважды"],
        found,
        strict=True,
    ):
        assert words in text


def test_another_batchs_payout_is_refused(payouts, batch, manager):
    other = batches.batch_create(cutoff=today(), minimum=batch.minimum, by=manager)
    rows: list[list[object]] = [["Выплата", "Результат"], [payouts[0].pk, "да"]]
    assert errors(rows, other)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "нет столбца"),
        (b"a;b\n1;2", "нет столбца «Выплата»"),
        ("Выплата;Сумма\n1;2".encode(), "нет столбца «Результат»"),
        ("Выплата;Результат\n".encode(), "нет ни одной"),
        (b"PK\x03\x04 not a zip", "не CSV и не XLSX"),
    ],
)
def test_a_file_that_is_none_is_explained(payouts, batch, content, words):
    assert words in read(content, batch).errors[0][1]


def test_what_is_applied_is_what_was_shown(payouts, batch, manager):
    token = read(table([["Выплата", "Результат"], [payouts[0].pk, "да"]]), batch).token
    with pytest.raises(signing.BadSignature):
        bank.results_apply(token=token[:-2] + "xx", by=manager)
    batches.payout_void(payout=payouts[0].pk, reason="x", by=manager)
    with pytest.raises(batches.PayoutError):
        bank.results_apply(token=token, by=manager)
