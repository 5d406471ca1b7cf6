"""The sums by day are those of the sales, at any moment: what triggers note and the job builds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from onai_project.periods import Period
from tests.onai_project.rows import make_sale, make_user
from traffic.dashboard import sales_sums
from traffic.day_totals import build_days, clean_days, whole_months
from traffic.filters import Filters
from traffic.models import Sale, SaleDayBuilt, SaleDayChange, SaleDayTotal, SaleLineTotal, SaleMonthTotal

pytestmark = pytest.mark.django_db

NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)
DAY = date(2025, 12, 20)
SPAN = Period(date(2025, 12, 10), date(2025, 12, 31))


def counted() -> dict[date, tuple[int, Decimal]]:
    sums = sales_sums(SPAN, make_user("boss", superuser=True))
    return {day: (totals.sales, totals.known) for day, totals in sums.by_day.items()}


MONTH = date(2025, 12, 1)
TWO_MONTHS = Period(date(2025, 11, 20), date(2025, 12, 31))


def by_hand(key: str) -> set[tuple[object, ...]]:
    """Return what the roll-up by this key must hold, added up here from the sums by day."""
    names = ["state", "channel", "targetologist"]
    if key == "month":
        names += ["utm_campaign", "utm_source", "utm_medium", "funnel_type"]
    found: dict[tuple[object, ...], list[Decimal]] = {}
    for total in SaleDayTotal.objects.all():
        when = total.day.replace(day=1) if key == "month" else total.day
        sums = found.setdefault((when, *(getattr(total, name) for name in names)), [Decimal(0)] * 4)
        for position, name in enumerate(("sales", "priced", "lacking", "known")):
            sums[position] += getattr(total, name)
    return {(*group, *sums) for group, sums in found.items()}


def rolled_up() -> bool:
    """Return whether both roll-ups are what the sums by day add up to."""
    sums = ("sales", "priced", "lacking", "known")
    lines = SaleLineTotal.objects.values_list("day", "state", "channel", "targetologist", *sums)
    months = SaleMonthTotal.objects.values_list(
        "month", "state", "channel", "targetologist", "utm_campaign", "utm_source", "utm_medium", "funnel_type", *sums
    )
    return (
        set(lines) == by_hand("day")
        and len(lines) == len(by_hand("day"))
        and set(months) == by_hand("month")
        and len(months) == len(by_hand("month"))
    )


def sell_two_months() -> None:
    for number in range(40):
        make_sale(
            number,
            when=NOON - timedelta(days=number),
            sale_amount=None if number % 7 == 0 else Decimal(number * 1000),
            state="reversed" if number % 5 == 0 else "won",
            utm_campaign=("a", "b")[number % 2],
        )


def test_the_roll_ups_are_the_sums_of_the_days_whatever_changes_those():
    sell_two_months()
    build_days()
    assert SaleLineTotal.objects.count() == 40
    assert SaleMonthTotal.objects.values("month").distinct().count() == 2
    assert rolled_up()
    Sale.objects.filter(lead_id__in=(3, 25)).update(sale_amount=7, sale_date=NOON - timedelta(days=33))
    make_sale(99, when=NOON, utm_campaign="c")
    build_days()
    assert rolled_up()
    for change in (
        lambda: SaleDayTotal.objects.filter(day=DAY).update(sales=5),
        lambda: SaleDayTotal.objects.filter(day=DAY).update(day=date(2025, 10, 3)),
        lambda: SaleDayTotal.objects.filter(day__lt=date(2025, 12, 5)).delete(),
    ):
        change()
        assert rolled_up()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE sale_day_totals")
    assert not SaleMonthTotal.objects.exists()
    assert not SaleLineTotal.objects.exists()


def test_a_whole_month_is_read_from_its_sums_and_the_days_around_it_from_theirs():
    sell_two_months()
    build_days()
    boss = make_user("boss", superuser=True)
    before = sales_sums(TWO_MONTHS, boss)
    SaleMonthTotal.objects.filter(month=MONTH, utm_campaign="a", state="won").update(known=10**9)
    SaleMonthTotal.objects.filter(month=date(2025, 11, 1)).update(known=10**10)  # begins before the period
    sums = sales_sums(TWO_MONTHS, boss)
    assert sums.by_value["a"].known > 10**9
    assert sums.by_value["a"].known < 10**10
    assert sums.by_value["b"] == before.by_value["b"]
    assert sums.by_day == before.by_day


def test_a_month_of_which_a_day_changed_is_read_day_by_day():
    sell_two_months()
    build_days()
    make_sale(99, when=NOON - timedelta(days=3), utm_campaign="a")
    SaleMonthTotal.objects.update(known=10**9)
    sums = sales_sums(TWO_MONTHS, make_user("boss", superuser=True))
    assert sums.by_value["a"].known < 10**9
    assert sums.by_day[DAY - timedelta(days=3)].sales == 2


def test_a_day_is_read_by_whose_it_is_only_where_nothing_finer_is_asked_for():
    sell_two_months()
    build_days()
    SaleLineTotal.objects.update(sales=5)
    boss = make_user("boss", superuser=True)
    assert sales_sums(SPAN, boss, Filters(line="unknown")).by_day[DAY - timedelta(days=1)].sales == 5
    for filters in (Filters(campaign="b"), Filters(source=""), Filters(funnel="express"), Filters(text="b")):
        assert sales_sums(SPAN, boss, filters).by_day[DAY - timedelta(days=1)].sales == 1


def test_a_month_is_built_whole_though_few_of_its_days_have_sales():
    make_sale(1, when=NOON)
    build_days()
    assert list(whole_months(clean_days(date(2025, 11, 30), date(2026, 1, 1)))) == [MONTH]


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
