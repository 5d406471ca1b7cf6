from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from referrals.commissions import Plan, commission, movements, plan_for

amounts = st.integers(0, 10**12).map(Decimal)
percents = st.decimals(0, 100, places=2)


def plan(
    kind: str = "percent", value: str | Decimal = "10", start: date = date(2020, 1, 1), end: date | None = None
) -> Plan:
    return Plan(1, "p", kind, Decimal(value), start, end)


@pytest.mark.parametrize(
    ("amount", "value", "earned"),
    [(50_000, "10", 5000), (5, "10", 1), (4, "10", 0), (99_999, "12.5", 12500), (0, "10", 0)],
)
def test_percents_are_whole_tenge_with_halves_rounded_up(amount: int, value: str, earned: int):
    assert commission(Decimal(amount), plan(value=value)) == earned


def test_a_fixed_sum_is_earned_whatever_the_amount():
    assert commission(Decimal(1), plan("fixed", "3000")) == 3000


def test_an_unknown_amount_or_no_plan_earns_nothing():
    assert commission(None, plan()) == commission(None, plan("fixed", "5")) == commission(Decimal(5), None) == 0


@given(amounts, percents)
def test_a_percent_is_exact_to_half_a_tenge_and_never_more_than_the_amount(amount: Decimal, value: Decimal):
    earned = commission(amount, plan(value=value))
    assert earned == earned.to_integral_value()
    assert abs(earned - amount * value / 100) <= Decimal("0.5")
    assert 0 <= earned <= amount


@given(amounts, amounts, percents)
def test_more_never_earns_less(one: Decimal, other: Decimal, value: Decimal):
    less, more = sorted((one, other))
    assert commission(less, plan(value=value)) <= commission(more, plan(value=value))


def test_a_plan_holds_from_its_first_day_until_the_day_before_its_end():
    spring = plan(start=date(2025, 3, 1), end=date(2025, 6, 1))
    summer = plan(start=date(2025, 6, 1))
    for day, expected in (("2025-02-28", None), ("2025-03-01", spring), ("2025-05-31", spring), ("2025-06-01", summer)):
        assert plan_for(date.fromisoformat(day), [spring, summer]) is expected


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.lists(st.integers(1, 400), max_size=6))
def test_of_plans_without_overlap_exactly_the_one_that_covers_the_day_is_chosen(day: date, lengths: list[int]):
    start, plans = date(2021, 1, 1), []
    for length in lengths:
        plans.append(plan(start=start, end=start + timedelta(days=length)))
        start += timedelta(days=length)
    covering = [one for one in plans if one.valid_to and one.valid_from <= day < one.valid_to]
    assert plan_for(day, plans) == next(iter(covering), None)


days = st.integers(1, 5).map(lambda day: datetime(2026, 1, day, tzinfo=UTC))
sums = st.integers(0, 10_000).map(Decimal)


@given(st.dictionaries(days, sums), sums, days)
def test_movements_reach_the_target_and_leave_no_date_below_nothing(
    posted: dict[datetime, Decimal], target: Decimal, day: datetime
):
    after = dict(posted)
    for date_, amount in movements(posted, target, day):
        assert amount != 0
        after[date_] = after.get(date_, Decimal(0)) + amount
    assert sum(after.values()) == target
    assert all(amount >= 0 for amount in after.values())


def test_what_is_taken_back_has_the_date_of_what_can_be_paid_last():
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    posted = {first: Decimal(100), second: Decimal(30)}
    assert movements(posted, Decimal(60), second) == [(second, -30), (first, -40)]
    assert movements(posted, Decimal(130), second) == []
    assert movements({first: Decimal(5)}, Decimal(-2), second) == [(first, -5), (second, -2)]
