from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from referrals.models import CommissionPlan, Conversion, Earning, Referrer, ReferrerGroup
from referrals.payouts.balances import wrong_balances
from referrals.plans import plan_change
from tests import bodies
from tests.referrals.helpers import BEGINNING, DAY, MIDDLE, answer, balances, make_plan, next_month, tell, won
from webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db

TIERS = (1000, 2000, 3000, 4000)


@pytest.mark.parametrize(
    ("sales", "each"), [(1, 1000), (2, 1000), (3, 2000), (4, 2000), (5, 3000), (7, 3000), (8, 4000), (9, 4000)]
)
def test_the_months_number_of_sales_decides_the_rate_of_each(sales: int, each: int):
    make_plan("fixed_tiers", rates=TIERS)
    tell(*(won(number, at=MIDDLE + number) for number in range(1, sales + 1)))
    assert balances() == dict.fromkeys(range(1, sales + 1), each)


def test_a_tier_is_reached_and_lost_sale_by_sale():
    make_plan("percent_tiers", rates=(10, 20, 30, 40))
    for number in (1, 2, 3):
        tell(won(number, at=MIDDLE + number))
    assert balances() == {1: 10_000, 2: 10_000, 3: 10_000}
    tell(won(3, at=MIDDLE + DAY, status=143))
    assert balances() == {1: 5000, 2: 5000}
    last = Earning.objects.filter(conversion__lead_id=1).order_by("seq").last()
    assert last is not None
    assert (last.amount, last.reason) == (-5000, "another number of sales in the month: 2 · 10\u202f%")
    assert last.available_at == Earning.objects.get(conversion__lead_id=1, seq=1).available_at


def test_months_are_counted_apart_and_by_the_days_of_almaty():
    make_plan("fixed_tiers", rates=TIERS)
    midnight = 1_751_310_000  # 2025-07-01 00:00 in Almaty
    tell(won(1, at=midnight - 2), won(2, at=midnight - 1), won(3, at=midnight))
    assert balances() == {1: 1000, 2: 1000, 3: 1000}
    tell(answer(3, at=midnight + DAY, closed_at=midnight - 3))  # AmoCRM says that it was won before
    assert balances() == {1: 2000, 2: 2000, 3: 2000}


def test_the_month_that_a_deal_left_is_recomputed():
    make_plan("fixed_tiers", rates=TIERS)
    tell(*(won(number, at=MIDDLE + number) for number in (1, 2, 3)))
    tell(answer(3, at=next_month(MIDDLE)))
    assert balances() == {1: 1000, 2: 1000, 3: 1000}


def test_the_month_of_a_deal_that_goes_to_another_referrer_is_recomputed():
    make_plan("fixed_tiers", rates=TIERS)
    tell(*(won(number, at=MIDDLE + number) for number in (1, 2, 3)))
    tell(won(3, at=MIDDLE + DAY, action="update", utm_source="ref_b"))
    assert balances() == {1: 1000, 2: 1000, 3: 1000}


def test_only_the_first_sale_of_a_customer_earns_whoever_brought_it():
    make_plan("percent", 10, first_sale_only=True)
    tell(answer(2, at=MIDDLE + DAY, contact=7), answer(3, contact=8))
    assert balances() == {2: 5000, 3: 5000}
    tell(answer(1, at=MIDDLE, contact=7, utm_source="ref_b"))  # an earlier one comes to light
    assert balances() == {1: 5000, 3: 5000}
    assert Earning.objects.filter(conversion__lead_id=2).latest("seq").reason == "not the customer's first sale"
    tell(answer(1, at=MIDDLE + 2 * DAY, contact=7, utm_source="ref_b", status=143))
    assert balances() == {2: 5000, 3: 5000}


def test_a_customer_that_is_not_known_is_nobodys_second():
    make_plan("percent", 10, first_sale_only=True)
    tell(won(1), won(2))
    assert balances() == {1: 5000, 2: 5000}


def test_a_cap_bounds_each_sale():
    make_plan("percent", 10, cap=3000)
    tell(won(1), won(2, price=20_000))
    assert balances() == {1: 3000, 2: 2000}


def test_the_referrers_plan_comes_before_the_groups_and_that_before_everyones():
    group = ReferrerGroup.objects.create(name="Блогеры")
    own = Referrer.objects.create(code="ref_own", claimed=True, group=group)
    Referrer.objects.create(code="ref_grouped", claimed=True, group=group)
    make_plan("fixed", 100, group=group)
    make_plan("fixed", 200, referrer=own)
    tell(*(won(number, utm_source=code) for number, code in enumerate(["ref_own", "ref_grouped", "ref_else"], 1)))
    assert balances() == {1: 200, 2: 100, 3: 5000}


def test_an_unclaimed_code_has_everyones_plan():
    group = ReferrerGroup.objects.create(name="Блогеры")
    Referrer.objects.create(code="ref_a", group=group)
    make_plan("fixed", 100, group=group)
    tell(won())
    assert balances() == {1: 5000}


@pytest.mark.parametrize("audience", ["everyone", "group", "referrer"])
def test_plans_of_the_same_people_can_not_overlap(audience: str):
    CommissionPlan.objects.all().delete()
    everybody: dict[str, dict[str, Any]] = {
        "everyone": {},
        "group": {"group": ReferrerGroup.objects.create(name="g")},
        "referrer": {"referrer": Referrer.objects.create(code="ref_a")},
    }
    who = everybody[audience]
    make_plan("fixed", 1, valid_from=BEGINNING, valid_to=date(2026, 1, 2), **who)
    with pytest.raises(IntegrityError, match="plan_no_overlap"), transaction.atomic():
        make_plan("fixed", 1, valid_from=date(2026, 1, 1), **who)
    make_plan("fixed", 1, valid_from=date(2026, 1, 2), **who)


def test_plans_of_different_people_may_hold_at_once():
    one, other = (ReferrerGroup.objects.create(name=name) for name in "ab")
    make_plan("fixed", 1, group=one)
    make_plan("fixed", 1, group=other)
    make_plan("fixed", 1, referrer=Referrer.objects.create(code="ref_a"))
    assert CommissionPlan.objects.count() == 4


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("plan_has_its_rates", {"kind": "percent", "rates": (1, 2, 3, 4)}),
        ("plan_has_its_rates", {"kind": "fixed_tiers", "value": 1}),
        ("plan_has_its_rates", {"kind": "fixed_tiers", "rates": (1, 2)}),
        ("plan_percent_at_most_100", {"value": 101}),
        ("plan_percents_at_most_100", {"kind": "percent_tiers", "rates": (1, 2, 3, 101)}),
        ("plan_value_not_negative", {"value": -1}),
        ("plan_value_not_negative", {"kind": "fixed_tiers", "rates": (-1, 2, 3, 4)}),
        ("plan_cap_positive", {"value": 1, "cap": 0}),
        ("plan_dates", {"value": 1, "valid_to": date(2019, 1, 1)}),
    ],
)
def test_the_database_refuses_a_plan_that_makes_no_sense(constraint: str, fields: dict[str, object]):
    CommissionPlan.objects.all().delete()
    with pytest.raises(DatabaseError, match=constraint):
        make_plan(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("terms", [{"value": 11}, {"kind": "fixed"}, {"valid_from": date(2019, 1, 1)}, {"cap": 1}])
def test_the_database_refuses_to_change_the_terms_of_a_plan(terms: dict[str, object]):
    with pytest.raises(DatabaseError, match="make a new version"), transaction.atomic():
        CommissionPlan.objects.update(**terms)


def test_other_terms_from_a_day_on_are_a_new_version():
    old = CommissionPlan.objects.get()
    new = plan_change(plan=old, by=None, value=20, valid_from=date(2025, 6, 1))
    old.refresh_from_db()
    assert (old.valid_to, new.version, new.replaces, new.valid_to) == (date(2025, 6, 1), 2, old, None)
    tell(won(1, at=MIDDLE), won(2, at=MIDDLE - 60 * DAY))
    assert balances() == {1: 10_000, 2: 5000}


def test_a_new_version_moves_nothing_that_is_posted_and_its_own_sales_keep_their_plan():
    tell(won(at=MIDDLE))
    old = CommissionPlan.objects.get()
    plan_change(plan=old, by=None, value=20)
    assert CommissionPlan.objects.get(pk=old.pk).valid_to == old.valid_from  # it never held
    tell(won(at=MIDDLE + DAY, action="update", price=60_000))
    assert (Conversion.objects.get().plan, balances()) == (old, {1: 6000})
    tell(won(2, at=MIDDLE))
    assert balances() == {1: 6000, 2: 10_000}


def test_a_plan_changed_meanwhile_is_not_changed_twice():
    old = CommissionPlan.objects.get()
    plan_change(plan=old, by=None, value=20)
    with pytest.raises(ValueError, match="newer"):
        plan_change(plan=old, by=None, value=30)


def causes(lead_id: int) -> list[int | None]:
    """Return the numbers, in the order of arrival, of the deliveries that a deal's entries name."""
    order = list(WebhookDelivery.objects.order_by("pk").values_list("pk", flat=True))
    entries = Earning.objects.filter(conversion__lead_id=lead_id).order_by("seq")
    return [order.index(entry.delivery_id) + 1 if entry.delivery_id else None for entry in entries]


def test_what_a_tier_moves_names_the_delivery_of_the_deal_that_reached_or_lost_it():
    make_plan("fixed_tiers", rates=TIERS)
    tell(won(1, at=MIDDLE), won(2, at=MIDDLE + 1))
    tell(won(3, at=MIDDLE + 2))
    tell(won(3, at=MIDDLE + 3, status=bodies.LOST))
    assert [causes(lead_id) for lead_id in (1, 2, 3)] == [[1, 3, 4], [2, 3, 4], [3, 4]]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_customer_who_had_bought_without_a_link_has_no_first_sale_left(order: tuple[int, int], at_once: bool):
    make_plan("percent", 10, first_sale_only=True)
    told = {1: answer(1, at=MIDDLE, contact=7, utm_source="facebook"), 2: answer(2, at=MIDDLE + DAY, contact=7)}
    for bodies_ in [[told[one] for one in order]] if at_once else [[told[one]] for one in order]:
        tell(*bodies_)
    assert balances() == {}
    assert not list(wrong_balances())


@pytest.mark.parametrize(
    "change", [{"status": bodies.LOST}, {"contact": 8}, {"contact": None}, {"status": bodies.OPEN}], ids=str
)
def test_a_sale_is_the_first_once_the_earlier_one_is_taken_back_or_somebody_elses(change: dict[str, Any]):
    make_plan("percent", 10, first_sale_only=True)
    earlier: dict[str, Any] = {"at": MIDDLE, "contact": 7, "utm_source": "facebook"}
    tell(answer(1, **earlier), answer(2, at=MIDDLE + DAY, contact=7))
    tell(answer(1, **{**earlier, "at": MIDDLE + 2 * DAY, "closed_at": MIDDLE, **change}))
    assert balances() == {2: 5000}
    tell(answer(1, **{**earlier, "at": MIDDLE + 3 * DAY, "closed_at": MIDDLE}))
    assert balances() == {}


def test_what_an_earlier_sale_takes_names_the_delivery_of_that_sale():
    make_plan("percent", 10, first_sale_only=True)
    tell(answer(2, at=MIDDLE + DAY, contact=7))
    tell(answer(1, at=MIDDLE, contact=7))
    assert (balances(), causes(2)) == ({1: 5000}, [1, 2])
