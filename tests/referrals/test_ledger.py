from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from referrals.ledger import reconsider_referrer
from referrals.models import CommissionPlan, Conversion, Earning, Referrer
from referrals.payouts.preview import select_preview
from tests import bodies
from webhooks import inbox
from webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db
NOW = int(time.time())
DAY = 86_400


def tell(body: bytes) -> None:
    WebhookDelivery.objects.create(source="amocrm_referral", body=body, content_type=bodies.FORM)
    while inbox.process_due():
        pass


def won(lead_id: int = 1, at: int = NOW, **fields: Any) -> bytes:
    return bodies.hook(lead_id, at=at, **{"price": 50_000, "utm_source": "ref_a", "pipeline": 7, **fields})


def entries() -> list[tuple[str, str, int]]:
    rows = Earning.objects.order_by("conversion", "seq").values_list("referrer__code", "kind", "amount")
    return [(code, kind, int(amount)) for code, kind, amount in rows]


def test_a_won_referral_in_any_pipeline_is_a_conversion_and_ten_percent():
    tell(won(utm_source="REF_Aru ", name="Deal"))
    conversion = Conversion.objects.get()
    assert (conversion.referrer.code, conversion.utm_source, conversion.sale_amount) == ("ref_aru", "REF_Aru", 50_000)
    assert (conversion.state, conversion.pipeline_id, conversion.lead_name) == ("won", 7, "Deal")
    assert conversion.available_at == conversion.sale_date + timedelta(days=14)
    assert entries() == [("ref_aru", "accrual", 5000)]


def test_an_unknown_code_is_recorded_accrued_and_held_until_claimed():
    tell(won())
    referrer = Referrer.objects.get()
    assert (referrer.claimed, Conversion.objects.get().hold_reason) == (False, "unclaimed")
    referrer.claimed = True
    referrer.save()
    reconsider_referrer(referrer)
    assert Conversion.objects.get().hold_reason == ""
    tell(won(2))
    assert Conversion.objects.get(lead_id=2).hold_reason == ""


def test_a_code_that_grows_when_it_is_normalised_is_cut():
    tell(won(utm_source="ref_" + "\ufdfa" * 400))  # one character that NFKC makes eighteen of
    assert len(Referrer.objects.get().code) == 200
    assert len(entries()) == 1


def test_a_deal_without_a_referral_source_is_no_conversion():
    tell(won(utm_source="facebook"))
    assert not Conversion.objects.exists()


@pytest.mark.parametrize("how", [{"status": bodies.LOST}, {"status": bodies.OPEN}, {"action": "delete"}])
def test_taken_back_is_a_reversal_entry(how: dict[str, Any]):
    tell(won())
    tell(won(at=NOW + 1, **how))
    assert entries() == [("ref_a", "accrual", 5000), ("ref_a", "reversal", -5000)]
    assert Conversion.objects.get().state == "reversed"


def test_an_entry_says_from_when_it_can_be_paid_and_what_takes_it_back_has_its_date():
    tell(won(at=NOW - 2 * DAY))
    tell(won(at=NOW - DAY, status=bodies.LOST))
    tell(won(at=NOW))
    first, second, third = Earning.objects.order_by("seq")
    assert first.available_at == second.available_at == datetime.fromtimestamp(NOW, UTC) + timedelta(days=12)
    assert third.available_at == first.available_at + timedelta(days=2)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_sale_won_again_is_paid_a_fortnight_after_the_win_that_stands(at_once: bool):
    Referrer.objects.create(code="ref_a", claimed=True)
    first = NOW - 16 * DAY
    tell(won(at=first))
    again = [won(at=first + DAY, status=bodies.LOST), won(at=first + 5 * DAY)]
    for body in again:
        WebhookDelivery.objects.create(source="amocrm_referral", body=body, content_type=bodies.FORM)
        if not at_once:
            inbox.process_due()
    inbox.process_due()
    due = datetime.fromtimestamp(first + 19 * DAY, UTC).astimezone(ZoneInfo("Asia/Almaty")).date()
    assert Conversion.objects.get().sale_date == datetime.fromtimestamp(first + 5 * DAY, UTC)
    assert payable(due - timedelta(days=1)) == 0
    assert payable(due) == 5000


def payable(cutoff: date) -> Decimal:
    preview = select_preview(cutoff=cutoff, minimum=Decimal(1))
    return sum((line.payable for line in [*preview.paid, *preview.unpaid]), Decimal(0))


def test_an_entry_names_the_delivery_that_led_to_it():
    tell(won())
    tell(won(at=NOW + 1, action="update", price=70_000))
    tell(won(at=NOW + 2, status=bodies.LOST))
    deliveries = list(WebhookDelivery.objects.order_by("pk").values_list("pk", flat=True))
    assert list(Earning.objects.order_by("seq").values_list("delivery", flat=True)) == deliveries


def test_won_again_accrues_again():
    tell(won())
    tell(won(at=NOW + 1, status=bodies.LOST))
    tell(won(at=NOW + 2, price=60_000))
    assert [amount for _, _, amount in entries()] == [5000, -5000, 6000]


def test_another_price_is_an_adjustment():
    tell(won())
    tell(won(at=NOW + 1, action="update", price=40_000))
    assert entries() == [("ref_a", "accrual", 5000), ("ref_a", "adjustment", -1000)]


def test_another_referrer_gets_it_and_the_first_one_does_not():
    tell(won())
    tell(won(at=NOW + 1, action="update", utm_source="ref_b"))
    assert sorted(entries()) == [("ref_a", "accrual", 5000), ("ref_a", "reversal", -5000), ("ref_b", "accrual", 5000)]


def test_an_unknown_price_accrues_nothing_until_it_is_known():
    tell(won(price=None))
    assert (Conversion.objects.get().sale_amount, entries()) == (None, [])
    tell(won(at=NOW + 1, action="update"))
    assert entries() == [("ref_a", "accrual", 5000)]


def test_a_sale_no_longer_a_referral_is_taken_back():
    tell(won())
    tell(won(at=NOW + 1, action="update", utm_source="facebook"))
    assert (Conversion.objects.get().state, sum(amount for _, _, amount in entries())) == ("reversed", 0)
    assert Earning.objects.get(seq=2).reason == "the deal is no longer by a referral link"
    tell(won(at=NOW + 2, action="update"))
    tell(won(at=NOW + 3, status=bodies.LOST, utm_source="facebook"))
    assert Earning.objects.get(seq=4).reason == "the sale was taken back"


def test_unchanged_deals_post_nothing():
    tell(won())
    tell(won())
    assert len(entries()) == 1


@pytest.mark.parametrize("statement", ["UPDATE referral_earnings SET amount = 1", "DELETE FROM referral_earnings"])
def test_the_database_refuses_to_change_the_ledger(statement: str):
    tell(won())
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_database_refuses_an_entry_of_nothing_and_a_second_of_one_number():
    tell(won())
    first = Earning.objects.get()
    for seq, amount in ((2, 0), (1, 5)):
        with pytest.raises(IntegrityError), transaction.atomic():
            Earning.objects.create(
                conversion=first.conversion,
                referrer=first.referrer,
                seq=seq,
                amount=amount,
                kind="accrual",
                reason="x",
                available_at=first.available_at,
            )


def test_the_database_refuses_plans_that_overlap():
    with pytest.raises(IntegrityError), transaction.atomic():
        CommissionPlan.objects.create(name="x", kind="fixed", value=1, valid_from=date(2025, 1, 1))


def test_the_plan_of_the_business_day_of_the_sale_is_used():
    CommissionPlan.objects.update(valid_to=date(2025, 12, 21))
    CommissionPlan.objects.create(name="new", kind="percent", value=20, valid_from=date(2025, 12, 21))
    midnight = 1766257200  # 2025-12-21 00:00 in Almaty
    tell(won(1, at=midnight - 1))
    tell(won(2, at=midnight))
    assert [amount for _, _, amount in entries()] == [5000, 10_000]


steps = st.tuples(
    st.integers(1, 2),  # deal
    st.integers(0, 3),  # second
    st.sampled_from([bodies.WON, bodies.LOST, bodies.OPEN]),
    st.sampled_from([None, 0, 1000, 33_335]),
    st.sampled_from(["ref_a", "ref_b", "facebook"]),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.lists(steps, min_size=1, max_size=3), max_size=5))
def test_balances_equal_the_fold_of_the_final_state(batches: list[list[tuple[int, int, int, int | None, str]]]):
    with transaction.atomic():
        for batch in batches:
            for lead_id, second, status, price, source in batch:
                body = bodies.hook(lead_id, at=NOW + second, status=status, price=price, utm_source=source)
                WebhookDelivery.objects.create(source="amocrm_referral", body=body, content_type=bodies.FORM)
            inbox.process_due()
        balances: dict[str, Decimal] = {}
        for code, _, amount in entries():
            balances[code] = balances.get(code, Decimal(0)) + amount
        expected: dict[str, Decimal] = {}
        for conversion in Conversion.objects.filter(state="won").select_related("referrer"):
            earned = ((conversion.sale_amount or 0) * 10 + 50) // 100  # halves up, without the code under test
            expected[conversion.referrer.code] = expected.get(conversion.referrer.code, Decimal(0)) + earned
        assert {code: sum_ for code, sum_ in balances.items() if sum_} == {c: s for c, s in expected.items() if s}
        transaction.set_rollback(True)
