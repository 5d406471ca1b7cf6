"""The sums by day are those of the sales, at any moment: what triggers note and the job builds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from onai_project.periods import Period
from tests.onai_project.rows import make_sale, make_user
from traffic.dashboard import sales_sums
from traffic.day_totals import build_days, clean_days
from traffic.models import Sale, SaleDayBuilt, SaleDayChange, SaleDayTotal

pytestmark = pytest.mark.django_db

NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)
DAY = date(2025, 12, 20)
SPAN = Period(date(2025, 12, 10), date(2025, 12, 31))


def counted() -> dict[date, tuple[int, Decimal]]:
    sums = sales_sums(SPAN, make_user("boss", superuser=True))
    return {day: (totals.sales, totals.known) for day, totals in sums.by_day.items()}


def test_a_built_day_is_read_from_the_sums():
    make_sale(1, when=NOON)
    build_days()
    SaleDayTotal.objects.update(sales=5)
    assert counted() == {DAY: (5, Decimal(100_000))}


def test_a_day_that_changed_is_read_from_the_sales_until_it_is_built_again():
    make_sale(1, when=NOON)
    build_days()
    make_sale(2, when=NOON)
    assert DAY not in clean_days(SPAN.first, SPAN.last)
    assert counted() == {DAY: (2, Decimal(200_000))}
    build_days()
    assert DAY in clean_days(SPAN.first, SPAN.last)
    assert SaleDayTotal.objects.get().sales == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda: Sale.objects.filter(lead_id=1).update(sale_amount=7),
        lambda: Sale.objects.filter(lead_id=1).update(state="reversed"),
        lambda: Sale.objects.filter(lead_id=1).update(sale_date=NOON + timedelta(days=5)),
        lambda: Sale.objects.filter(lead_id=1).delete(),
    ],
    ids=["amount", "state", "date", "deletion"],
)
def test_a_change_by_any_way_is_noticed(change):
    make_sale(1, when=NOON)
    make_sale(2, when=NOON)
    build_days()
    change()
    changed = sales_sums(SPAN, make_user("boss", superuser=True))
    SaleDayBuilt.objects.all().delete()
    assert changed == sales_sums(SPAN, make_user("other", superuser=True))


def test_an_emptied_table_is_noticed():
    make_sale(1, when=NOON)
    build_days()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("TRUNCATE all_sales_tracking")
    assert counted() == {}


def test_sales_from_before_the_sums_are_built_at_first():
    make_sale(1, when=NOON)
    SaleDayChange.objects.all().delete()
    build_days()
    assert DAY in clean_days(SPAN.first, SPAN.last)
    assert SaleDayTotal.objects.get().day == DAY


def test_another_time_zone_builds_all_anew(settings):
    make_sale(1, when=datetime(2025, 12, 20, 20, tzinfo=UTC))
    build_days()
    assert SaleDayTotal.objects.get().day == date(2025, 12, 21)
    settings.TIME_ZONE = "UTC"
    assert clean_days(SPAN.first, SPAN.last) == set()
    build_days()
    assert SaleDayTotal.objects.get().day == DAY


def test_building_again_builds_nothing():
    make_sale(1, when=NOON)
    assert build_days()
    assert build_days() == 0
