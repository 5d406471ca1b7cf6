from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import given
from hypothesis import strategies as st

from referrals.models import Conversion, Earning
from tests import bodies
from traffic.models import Sale, SalesNotification
from webhooks import inbox
from webhooks.models import Deal, DealTransition, WebhookDelivery, WebhookLog
from webhooks.replay import resync
from webhooks.sales_file import FileError, OldSale, Problem, decode_file, read_sales

ALMATY = ZoneInfo("Asia/Almaty")
NOW = datetime(2026, 11, 25, tzinfo=UTC)
HEAD = "lead_id;sale_date;price;name;utm_source;utm_campaign"


def read(text: str, *, pipeline_id: int | None = 5, **columns: str) -> tuple[list[OldSale], list[Problem]]:
    return read_sales(text, columns=columns, pipeline_id=pipeline_id, zone=ALMATY, now=NOW)


def one(row: str) -> OldSale:
    (sale,), problems = read(f"{HEAD}\n{row}\n")
    assert problems == []
    return sale


def wrong(*rows: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.text) for problem in read("\n".join([HEAD, *rows]))[1]]


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2024-02-29", datetime(2024, 2, 29, 12, tzinfo=ALMATY)),
        ("20.12.2024", datetime(2024, 12, 20, 12, tzinfo=ALMATY)),
        ("20.12.2024 13:22", datetime(2024, 12, 20, 13, 22, tzinfo=ALMATY)),
        ("2024-12-20 13:22:05", datetime(2024, 12, 20, 13, 22, 5, tzinfo=ALMATY)),
        ("2024-12-20T13:22:05Z", datetime(2024, 12, 20, 13, 22, 5, tzinfo=UTC)),
    ],
)
def test_dates_are_read_as_people_write_them(written: str, moment: datetime):
    assert one(f"1;{written};;;;").sold_at == moment


@pytest.mark.parametrize(
    ("written", "price"),
    [("100 000", 100_000), ("1\u00a0234,50", 1235), ("0", 0), ("", None), ("99.4", 99)],
)
def test_sums_are_whole_tenge_and_an_empty_one_is_unknown(written: str, price: int | None):
    assert one(f"1;2024-01-01;{written};;;").price == (None if price is None else Decimal(price))


@pytest.mark.parametrize("written", ["490,000", "490.000"])
def test_a_sum_that_can_be_read_in_two_ways_is_refused(written: str):
    assert wrong(f"1;2024-01-01;{written};;;") == [
        (2, f"price can be read in two ways: '{written}'; write 490000, or two digits behind")
    ]


def test_every_error_is_told_with_its_line():
    assert wrong("x;2024-01-01;;;;", "2;soon;ten;;;", "3;2024-01-01", "", "4;2024-01-01;5;;;", "4;2024-01-01;5;;;") == [
        (2, "lead_id is no deal's number: 'x'"),
        (3, "sale_date is no date: 'soon'; write 2024-12-20 or 20.12.2024 13:22"),
        (3, "price is no sum: 'ten'"),
        (4, "2 columns instead of 6"),
        (7, "deal 4 is in line 6 already"),
    ]
    assert wrong("1;2030-01-01;;;;", "2;1999-01-01;;;;", "3;2024-01-01;-5;;;") == [
        (2, "sale_date is not in the past: '2030-01-01'"),
        (3, "sale_date is not in the past: '1999-01-01'"),
        (4, "price is no sum: '-5'"),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found(separator: str):
    sales, problems = read(separator.join(["lead_id", "sale_date"]) + "\r\n" + separator.join(["1", "2024-01-01"]))
    assert (len(sales), problems) == (1, [])


def test_columns_may_have_other_names():
    sales, _ = read('Сделка,Дата,"Сумма, тг"\n7,2024-01-01,"5"', lead_id="Сделка", sale_date="Дата", price="Сумма, тг")
    assert (sales[0].lead_id, sales[0].price, sales[0].pipeline_id) == (7, 5, 5)


@pytest.mark.parametrize(
    ("text", "columns", "says"),
    [
        ("", {}, "empty"),
        ("id,sale_date\n", {}, "no column 'lead_id'.*there are: id, sale_date.*--column lead_id=NAME"),
        ("lead_id,sale_date\n", {"price": "Сумма"}, "no column 'Сумма' for price"),
        ("lead_id,lead_id,sale_date\n", {}, "two columns"),
        ('lead_id,sale_date\n1,"2024', {}, "line 2"),
    ],
)
def test_a_file_that_makes_no_sense_says_what_to_do(text: str, columns: dict[str, Any], says: str):
    with pytest.raises(FileError, match=says):
        read(text, **columns)


def test_without_a_pipeline_nothing_is_guessed():
    with pytest.raises(FileError, match="--pipeline"):
        read("lead_id,sale_date\n", pipeline_id=None)


def test_excels_files_are_read():
    assert decode_file("\ufeffимя".encode()) == decode_file("имя".encode("cp1251")) == "имя"
    with pytest.raises(FileError, match="UTF-8"):
        decode_file(b"\x98\xff")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str):
    try:
        read(text)
        read(HEAD + "\n" + text)
    except FileError:
        pass


OLD = f"""{HEAD}
1;20.12.2023 13:22;100 000;Курс;facebook;tripwire_1
2;21.12.2023;;Без суммы;facebook;arystan
3;22.12.2023;50000;Реферал;ref_dana;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    file = tmp_path / "old.csv"
    file.write_text(OLD)
    return file


def run(file: Path, **options: Any) -> str:
    out = StringIO()
    call_command("import_sales", str(file), stdout=out, **{"pipeline": bodies.PIPELINE, **options})
    while inbox.process_due():
        pass
    return out.getvalue()


def sales() -> list[Any]:
    rows = Sale.objects.order_by("lead_id")
    return list(rows.values_list("lead_id", "sale_amount", "targetologist_id", "sale_date", "state"))


@pytest.mark.django_db
def test_history_is_there_with_its_dates_and_nobody_is_told(old: Path):
    assert run(old).startswith("3 sales, 150000 in all, 1 without a price; 0 of the deals are known already\n")
    noon = {day: datetime(2023, 12, day, 12, tzinfo=ALMATY) for day in (21, 22)}
    assert sales() == [
        (1, 100_000, "kenesary", datetime(2023, 12, 20, 13, 22, tzinfo=ALMATY), "won"),
        (2, None, "arystan", noon[21], "won"),
        (3, 50_000, None, noon[22], "won"),
    ]
    assert not SalesNotification.objects.exists()
    assert Conversion.objects.get().sale_date == noon[22]
    assert set(WebhookLog.objects.values_list("source", "action")) == {("import", "leads.add")}


@pytest.mark.django_db
def test_a_sale_of_yesterday_makes_no_message_either(tmp_path: Path):
    file = tmp_path / "new.csv"
    file.write_text(f"lead_id,sale_date\n1,{datetime.now(ALMATY).replace(microsecond=0).isoformat()}\n")
    run(file)
    assert Sale.objects.count() == 1
    assert not SalesNotification.objects.exists()


@pytest.mark.django_db
def test_a_second_import_replay_and_resync_change_nothing(old: Path):
    run(old)
    before, money = sales(), Earning.objects.count()
    assert "3 of the deals are known already" in run(old)
    inbox.process(list(WebhookDelivery.objects.values_list("pk", flat=True)), live=False)
    for app in ("traffic", "referrals"):
        list(resync(app))
    assert (sales(), Earning.objects.count()) == (before, money)
    Deal.objects.update(merge={}, wins={}, won_at=None)
    DealTransition.objects.all().delete()
    Sale.objects.all().delete()
    inbox.process(list(WebhookDelivery.objects.values_list("pk", flat=True)), live=False)
    assert sales() == before


@pytest.mark.django_db
def test_what_amocrm_says_of_the_same_deal_wins(old: Path):
    at = int(datetime(2024, 1, 5, tzinfo=ALMATY).timestamp())
    hooks = [bodies.hook(1, at=at, price=7, name="Из AmoCRM"), bodies.hook(2, at=at, status=bodies.LOST)]
    WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=hooks[0])
    run(old)
    WebhookDelivery.objects.create(source="amocrm", content_type=bodies.FORM, body=hooks[1])
    while inbox.process_due():
        pass
    assert [(lead_id, amount, state) for lead_id, amount, _, _, state in sales()] == [
        (1, 7, "won"),
        (2, None, "reversed"),
        (3, 50_000, "won"),
    ]


@pytest.mark.django_db
def test_one_wrong_line_and_nothing_is_stored(old: Path):
    old.write_text(OLD + "4;never;;;;\n")
    with pytest.raises(CommandError, match=re.escape("1 error\nline 5: sale_date is no date: 'never'")):
        run(old)
    assert not WebhookDelivery.objects.exists()


@pytest.mark.django_db
def test_a_dry_run_stores_nothing(old: Path):
    assert run(old, dry_run=True).count("\n") == 1
    assert not WebhookDelivery.objects.exists()


@pytest.mark.django_db
def test_many_sales_are_many_small_deliveries(tmp_path: Path):
    file = tmp_path / "many.csv"
    file.write_text("lead_id,sale_date\n" + "".join(f"{number},2024-01-01\n" for number in range(1, 402)))
    assert "stored in 3 deliveries" in run(file)
    assert Sale.objects.count() == 401


@pytest.mark.django_db
@pytest.mark.parametrize("column", [["price"], ["colour=x"]])
def test_a_column_that_is_no_field_is_refused(old: Path, column: list[str]):
    with pytest.raises(CommandError, match="write FIELD=NAME"):
        run(old, column=column)


@pytest.mark.django_db
def test_columns_are_named_on_the_command_line(tmp_path: Path):
    file = tmp_path / "old.csv"
    file.write_text("Номер,Когда\n1,2024-01-01\n")
    run(file, column=["lead_id=Номер", "sale_date=Когда"])
    assert Sale.objects.get().lead_id == 1


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(CommandError, match=r"no\.csv"):
        run(tmp_path / "no.csv")
