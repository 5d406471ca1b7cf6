"""What the page of referrals shows, its files and its API have: table by table, value by value."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from onai_project import roles
from onai_project.periods import zone
from onai_project.tables import Table, table_data
from referrals import dashboard, views
from referrals.models import Referrer
from referrals.reports import totals_table
from referrals.status import Status
from tests.onai_project.rows import make_conversion, make_user
from tests.referrals.sales import SALES, sell

pytestmark = pytest.mark.django_db

NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)
TABLES = ("totals", "lines", "days", "liability", "held", "unclaimed")
random = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def office(client: Client) -> Client:
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    return client


def csv_rows(answer: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.getvalue().decode("utf-8-sig")), delimiter=";"))


def in_csv(value: Any) -> str:
    if value is None or value == "":
        return "—"
    if isinstance(value, datetime):
        return value.astimezone(zone()).strftime("%d.%m.%Y %H:%M")
    if isinstance(value, date):
        return value.strftime("%d.%m.%Y")
    return str(value).replace(".", ",") if isinstance(value, Decimal) else str(value)


def in_cell(value: Any) -> Any:
    if value is None or value == "":
        return "—"
    if isinstance(value, datetime):
        return value.astimezone(zone()).replace(tzinfo=None)
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else value


def values(table: Table, shown: Any) -> list[list[Any]]:
    """Return the heading, the rows and the total of a table, as `shown` shows them."""
    rows = [*table.rows, *([table.total] if table.total else [])]
    keys = [column.key for column in table.columns]
    return [[column.title for column in table.columns], *([shown(row.values.get(key)) for key in keys] for row in rows)]


def cells(sheet: Any) -> list[list[Any]]:
    return [[as_seconds(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]


def as_seconds(value: Any) -> Any:
    # A workbook's day is a fraction: microseconds are lost.
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


def cells_of(table: Table) -> list[list[Any]]:
    return values(table, lambda value: as_seconds(in_cell(value)))


def on_screen(context: Any) -> dict[str, Table]:
    """Return the tables of the page; what it draws as cards instead, from the same numbers."""
    data = context["data"]
    tables = {**{key: context[key] for key in ("lines", "days", "held", "unclaimed")}, "totals": totals_table(data)}
    shown = tables["totals"].rows[0].values
    assert (shown["conversions"], shown["sales_sum"]) == (data.totals.conversions, data.totals.sales_sum)
    assert [shown[part] for part in ("accrued", "available", "waiting", "hold", "in_payout", "paid")] == [
        getattr(data.commission, part) for part in ("accrued", "available", "waiting", "hold", "in_payout", "paid")
    ]
    assert tables["totals"].rows[1].values["accrued"] == data.before.accrued
    assert tables["totals"].rows[2].values["conversions"] == data.reversed.conversions
    return tables


@contextmanager
def undone() -> Iterator[None]:
    """Each example begins with what the fixtures made."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@random
@given(SALES, st.dates(date(2025, 11, 28), date(2025, 12, 3)), st.integers(0, 4), st.sampled_from(["", "ref_a"]))
def test_every_table_is_the_same_on_the_page_in_files_and_in_the_api(office, rows, first, length, code):
    with undone():
        sell(rows)
        for name in ("ref_x", "ref_a"):
            Referrer.objects.get_or_create(code=name)
        query = {"from": first.isoformat(), "to": (first + timedelta(days=length)).isoformat()}
        query |= {"referrer": code} if code else {}
        page = office.get(reverse("referral-dashboard"), query).context
        tables, owed = on_screen(page), page["data"].liability
        for key, table in tables.items():
            assert csv_rows(office.get(reverse("referral-dashboard-csv", args=[key]), query)) == values(
                table, in_csv
            ), key
        liability = csv_rows(office.get(reverse("referral-dashboard-csv", args=["liability"]), query))
        assert liability[1:] == [[str(owed.owed), str(owed.in_payout), str(owed.paid)]]
        book = load_workbook(io.BytesIO(office.get(reverse("referral-dashboard-xlsx"), query).content))
        sheets = dict(zip(TABLES, book.worksheets, strict=True))
        for key, table in tables.items():
            assert cells(sheets[key]) == cells_of(table), key
        assert cells(sheets["liability"])[1:] == [[owed.owed, owed.in_payout, owed.paid]]
        api = office.get(reverse("api-referral-dashboard"), query).json()
        assert api["liability"] == {name: str(getattr(owed, name)) for name in ("owed", "in_payout", "paid")}
        for key, name in {"lines": "referrers", "days": "days", "held": "held", "unclaimed": "unclaimed"}.items():
            assert api[name] == table_data(tables[key]), key


@random
@given(SALES, st.sampled_from(["", "ref_a"]), st.sampled_from(["", *(status for status in Status if status)]))
def test_the_entries_are_the_same_on_the_page_in_files_and_in_the_api(office, rows, code, status):
    with undone():
        sell(rows)
        Referrer.objects.get_or_create(code="ref_a")
        query = {"from": "2025-11-29", "to": "2025-12-02", "status": status, "referrer": code}
        page = office.get(reverse("referral-dashboard-entries"), query).context
        table = page["table"]
        assert csv_rows(office.get(reverse("referral-dashboard-entries-csv"), query)) == values(table, in_csv)
        book = load_workbook(io.BytesIO(office.get(reverse("referral-dashboard-entries-xlsx"), query).content))
        assert cells(book.worksheets[0]) == cells_of(table)
        assert (len(table.rows), sum(row.values["amount"] for row in table.rows)) == (page["count"], page["total"])
        entries = office.get(reverse("api-referral-entries"), query).json()["entries"]
        titles = {str(one.value): str(one.label) for one in Status}
        assert [entry | {"status": titles[entry["status"]]} for entry in entries] == table_data(table)


@pytest.fixture
def many(db) -> list[int]:
    """More of everything that waits for a person than the page has room for; return the deals on hold by age."""
    for number in range(dashboard.LATEST + 3):
        referrer = Referrer.objects.create(code=f"ref_{number}", claimed=number % 2 == 0)
        make_conversion(number, referrer, when=NOON - timedelta(days=number), hold_reason="self_referral")
        make_conversion(
            100 + number, Referrer.objects.create(code=f"ref_un{number}"), sale_amount=Decimal(10 * number + 10)
        )
    make_conversion(99, Referrer.objects.get(code="ref_0"), when=NOON - timedelta(days=90), hold_reason="ad_campaign",
                    rejected="a sale of ours")  # fmt: skip
    return list(reversed(range(dashboard.LATEST + 3)))


def deals(table: Table) -> list[int]:
    return [int(str(row.values["deal"])) for row in table.rows]


def test_who_waits_longest_for_a_decision_comes_first_and_the_list_has_all(office, many):
    answer = office.get(reverse("referral-dashboard"))
    page = answer.content.decode()
    assert deals(answer.context["held"]) == many[: dashboard.LATEST]
    assert "Ждут решения: 23" in page
    assert "Показаны 20 самых давних." in page
    link = reverse("admin:referrals_conversion_changelist") + "?decision=waiting&o=0"
    assert link.replace("&", "&amp;") in page
    listed = office.get(link).context["cl"]
    assert [one.lead_id for one in listed.result_list] == many
    rows = csv_rows(office.get(reverse("referral-dashboard-csv", args=["held"])))
    assert [int(row[-1]) for row in rows[1:]] == many
    api = office.get(reverse("api-referral-dashboard")).json()
    assert [int(row["deal"]) for row in api["held"]] == many


def test_the_list_has_every_code_that_nobody_has_claimed(office, many):
    answer = office.get(reverse("referral-dashboard"))
    page, count = answer.content.decode(), Referrer.objects.filter(claimed=False).count()
    assert len(answer.context["unclaimed"].rows) == dashboard.LATEST
    assert f"Коды, которые никто не заявил: {count}" in page or f": {count}</h2>" in page
    link = reverse("admin:referrals_referrer_changelist") + "?claimed__exact=0"
    assert link in page
    assert office.get(link).context["cl"].result_count == count
    rows = csv_rows(office.get(reverse("referral-dashboard-csv", args=["unclaimed"])))
    assert len(rows) - 1 == count == len(office.get(reverse("api-referral-dashboard")).json()["unclaimed"])


def test_who_may_not_see_referrers_finds_no_codes_in_files_either(client, many):
    user = make_user("reader")
    user.user_permissions.add(Permission.objects.get(codename="view_conversion"))
    client.force_login(user)
    assert client.get(reverse("referral-dashboard-csv", args=["unclaimed"])).status_code == 404
    assert "unclaimed" not in client.get(reverse("api-referral-dashboard")).json()
    book = load_workbook(io.BytesIO(client.get(reverse("referral-dashboard-xlsx")).content))
    assert len(book.worksheets) == len(TABLES) - 1


def test_the_page_says_why_a_balance_is_not_compared(office):
    assert "По состоянию на сегодня." in office.get(reverse("referral-dashboard")).content.decode()


def test_more_entries_than_a_workbook_holds_are_in_the_csv_file(office, many, monkeypatch):
    monkeypatch.setattr(views, "MAX_XLSX", 22)
    monkeypatch.setattr(views, "CHUNK", 5)
    query = {"from": "2025-11-01", "to": "2025-12-31"}
    page = office.get(reverse("referral-dashboard-entries"), query).content.decode()
    assert "В файле Excel не больше 22 строк: возьмите CSV или выберите период короче." in page
    assert reverse("referral-dashboard-entries-csv") in page
    assert reverse("referral-dashboard-entries-xlsx") not in page
    assert len(csv_rows(office.get(reverse("referral-dashboard-entries-csv"), query))) == 24
    refused = office.get(reverse("referral-dashboard-entries-xlsx"), query)
    assert (refused.status_code, "возьмите CSV" in refused.content.decode()) == (400, True)
