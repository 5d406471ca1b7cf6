from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from referrals.models import Conversion
from referrals.payouts.preview import Why, select_preview
from tests.referrals.payouts.conftest import days_ago, due_conversion, pay, take_back, today

pytestmark = pytest.mark.django_db


def preview(minimum: int = 5000):
    return select_preview(cutoff=today(), minimum=Decimal(minimum))


def reasons(minimum: int = 5000) -> dict[str, str]:
    return {line.referrer.code: line.why for line in preview(minimum).unpaid}


def test_what_is_available_is_summed_by_referrer(dana, make_referrer):
    due_conversion(1, dana)
    due_conversion(2, dana, 50_000)
    due_conversion(3, make_referrer("ref_other"))
    assert [(line.referrer.code, line.payable, len(line.entries)) for line in preview().paid] == [
        ("ref_dana", 15_000, 2),
        ("ref_other", 10_000, 1),
    ]
    assert preview().total == 25_000


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"claimed": False}, Why.UNCLAIMED), ({"active": False}, Why.INACTIVE), ({"details": False}, Why.NO_DETAILS)],
)
def test_who_is_not_paid_is_listed_with_the_reason(make_referrer, fields, why):
    due_conversion(1, make_referrer("ref_a", **fields))
    assert reasons() == {"ref_a": why}
    assert preview().paid == []


def test_less_than_the_minimum_waits_for_more(dana):
    due_conversion(1, dana, 49_990)
    assert reasons() == {"ref_dana": Why.MINIMUM}
    assert reasons(minimum=4999) == {}


def test_what_is_not_available_yet_waits(dana):
    due_conversion(1, dana, when=days_ago(1))
    assert reasons() == {"ref_dana": Why.WAITING}
    assert preview().unpaid[0].waiting == 10_000


def test_available_at_any_time_of_the_cutoff_day_in_almaty_is_due(dana):
    midnight = datetime(2025, 12, 20, 19, tzinfo=UTC)
    due_conversion(1, dana, 70_000, when=midnight - timedelta(days=14, seconds=1))
    due_conversion(2, dana, when=midnight - timedelta(days=14))
    assert [line.payable for line in select_preview(cutoff=date(2025, 12, 20), minimum=Decimal(1)).paid] == [7000]


def test_a_held_conversion_is_not_paid_and_the_others_are(dana):
    due_conversion(1, dana)
    due_conversion(2, dana, 70_000, hold_reason="self_ref")
    line = preview().paid[0]
    assert (line.payable, line.held) == (10_000, 7_000)


def test_who_has_only_held_conversions_is_told_so(dana):
    due_conversion(1, dana, hold_reason="self_ref")
    assert reasons() == {"ref_dana": Why.HELD}


def test_what_was_paid_is_not_due_again(dana, manager):
    due_conversion(1, dana)
    pay(manager)
    assert (preview().paid, preview().unpaid) == ([], [])


def test_taken_back_after_the_payment_is_a_debt_that_is_carried_forward(dana, manager):
    conversion = due_conversion(1, dana)
    pay(manager)
    take_back(conversion)
    assert reasons() == {"ref_dana": Why.OWES}
    due_conversion(2, dana, 40_000)
    assert reasons() == {"ref_dana": Why.OWES}
    due_conversion(3, dana, 200_000)
    line = preview().paid[0]
    assert (line.payable, len(line.entries)) == (14_000, 3)


def test_a_hold_does_not_hide_a_debt(dana, manager):
    conversion = due_conversion(1, dana)
    pay(manager)
    take_back(conversion)
    Conversion.objects.update(hold_reason="self_ref")
    due_conversion(2, dana, 300_000)
    assert preview().paid[0].payable == 20_000


def test_a_sale_taken_back_before_it_was_paid_needs_nobody(dana):
    take_back(due_conversion(1, dana))
    assert (preview().paid, preview().unpaid) == ([], [])


def test_another_referrers_activity_does_not_hold_what_one_earned(dana, make_referrer, manager):
    """The hold of a conversion that moved is its present referrer's."""
    conversion = due_conversion(1, dana)
    pay(manager)
    Conversion.objects.update(referrer=make_referrer("ref_left", active=False), hold_reason="inactive")
    take_back(Conversion.objects.get(pk=conversion.pk), 10_000)
    due_conversion(2, dana)
    assert [(line.referrer.code, line.payable) for line in preview().paid] == [("ref_dana", 10_000)]


def test_it_asks_the_database_three_times_whatever_the_number(make_referrer, django_assert_num_queries):
    for number in range(12):
        due_conversion(number, make_referrer(f"ref_{number}"))
    with django_assert_num_queries(3):
        assert len(preview().paid) == 12
