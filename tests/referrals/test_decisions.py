from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction

from notifications.models import TelegramChat
from referrals import decisions
from referrals.cabinet.models import CabinetMessage, LinkedChat
from referrals.decisions import Undecidable
from referrals.ledger import reconsider_referrer
from referrals.models import CommissionPlan, Conversion, Decision, Earning, Referrer
from referrals.plans import plan_change
from tests import bodies
from tests.referrals.helpers import DAY, MIDDLE, NOW, answer, balances, make_plan, tell, tenge, won
from webhooks import contacts

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana(db: None) -> Referrer:
    return Referrer.objects.create(code="ref_a", name="Дана", claimed=True, phone="+7 701 123-45-67", email="D@x.kz")


@pytest.fixture
def manager(db: None) -> User:
    return User.objects.create_user("refs")


def hold(lead_id: int = 1) -> str:
    return Conversion.objects.get(lead_id=lead_id).hold_reason


def customer(contact_id: int, **fields: Any) -> None:
    """Have the API tell of a customer."""
    values = [
        {"field_code": code, "field_name": code, "field_id": 1, "values": [{"value": value}]}
        for code, value in fields.items()
    ]
    contacts.save([{"id": contact_id, "name": "Тест", "custom_fields_values": values}])


@pytest.mark.parametrize(
    "fields", [{"PHONE": "8 (701) 123 45 67"}, {"PHONE": "77011234567"}, {"EMAIL": " d@X.kz "}], ids=str
)
@pytest.mark.parametrize("contact_first", [True, False])
def test_the_referrers_own_purchase_waits_for_a_person(dana, fields, contact_first):
    if contact_first:
        customer(7, **fields)
    tell(answer(1, contact=7))
    if not contact_first:
        assert hold() == ""
        customer(7, **fields)
    assert hold() == "self_referral"


def test_somebody_elses_purchase_does_not_wait(dana):
    tell(answer(1, contact=7), answer(2))
    customer(7, PHONE="+7 701 123-45-68", EMAIL="e@x.kz")
    assert (hold(1), hold(2)) == ("", "")


def test_a_referrer_whose_phone_is_entered_later_is_found(dana):
    Referrer.objects.update(phone="", email="")
    customer(7, PHONE="87011234567")
    tell(answer(1, contact=7))
    assert hold() == ""
    dana.save()
    reconsider_referrer(dana)
    assert hold() == "self_referral"


def test_a_campaign_of_a_targetologist_waits_for_a_person(dana):
    tell(won(1, utm_campaign="tripwire_17.12"), won(2, utm_campaign="совет подруги"))
    assert (hold(1), hold(2)) == ("ad_campaign", "")
    assert Conversion.objects.get(lead_id=1).campaign_owner == "Kenesary 👑"


def test_a_campaign_that_AmoCRM_corrects_waits_no_more(dana):
    tell(won(utm_campaign="tripwire"))
    tell(won(at=NOW + 1, action="update", utm_campaign="подруга"))
    assert hold() == ""


def test_a_manager_releases_and_the_hold_stays_off(dana, manager):
    tell(won(utm_campaign="tripwire"))
    decisions.conversion_release(lead_id=1, by=manager)
    assert hold() == ""
    tell(won(at=NOW + 1, action="update", price=60_000))
    assert (hold(), balances()) == ("", {1: 6000})


def test_one_release_takes_off_all_that_a_person_may_release(dana, manager):
    customer(7, PHONE=dana.phone)
    tell(answer(1, contact=7, utm_campaign="tripwire"))
    decisions.conversion_release(lead_id=1, by=manager)
    assert (hold(), Decision.objects.get().holds) == ("", ["self_referral", "ad_campaign"])


def test_a_code_without_an_owner_is_released_by_claiming_only(manager):
    tell(won())
    with pytest.raises(Undecidable, match="Nobody has claimed"):
        decisions.conversion_release(lead_id=1, by=manager)
    referrer = Referrer.objects.get()
    referrer.claimed = True
    referrer.save()
    reconsider_referrer(referrer)
    assert hold() == ""


def test_the_hold_of_an_inactive_referrer_ends_when_they_are_active_again(dana, manager):
    Referrer.objects.update(active=False)
    tell(won())
    with pytest.raises(Undecidable, match="make them active"):
        decisions.conversion_release(lead_id=1, by=manager)
    assert hold() == "inactive"
    dana.save()
    reconsider_referrer(dana)
    assert hold() == ""


def test_a_release_of_an_inactive_referrers_hold_in_old_books_counts_for_nothing(dana, manager):
    tell(won())
    conversion = Conversion.objects.get()
    Decision.objects.create(conversion=conversion, referrer=dana, kind="release", holds=["inactive"], by=manager)
    dana.active = False
    dana.save()
    reconsider_referrer(dana)
    assert hold() == "inactive"


def test_an_outcome_is_marked_by_what_it_stands_for(dana, manager):
    tell(won(1), won(2))
    shown = [
        decisions.conversion_correct(lead_id=lead_id, by=manager, reason=reason, amount=tenge(700), preview=True).mark
        for lead_id, reason in ((1, "x"), (2, "x"), (1, "y"), (1, "x"))
    ]
    assert len(set(shown)) == 3
    assert shown[0] == shown[3]


def test_a_release_is_of_one_referrer(dana, manager):
    tell(won(utm_campaign="tripwire"))
    decisions.conversion_release(lead_id=1, by=manager)
    Referrer.objects.create(code="ref_b", claimed=True)
    tell(won(at=NOW + 1, action="update", utm_source="ref_b", utm_campaign="tripwire"))
    assert hold() == "ad_campaign"


def test_nothing_to_release_is_said(dana, manager):
    tell(won())
    with pytest.raises(Undecidable, match="holds this conversion"):
        decisions.conversion_release(lead_id=1, by=manager)


def test_a_rejected_conversion_earns_nothing_and_says_why_and_by_whom(dana, manager):
    tell(won())
    decisions.conversion_reject(lead_id=1, by=manager, reason="Это сам реферер")
    entry = Earning.objects.get(seq=2)
    assert (entry.kind, entry.amount, entry.reason) == ("reversal", -5000, "rejected: Это сам реферер")
    assert (entry.by, entry.delivery) == (manager, None)
    assert (Conversion.objects.get().rejected, balances()) == ("Это сам реферер", {})
    tell(won(at=NOW + 1, action="update", price=70_000))
    assert balances() == {}


def test_a_rejection_can_be_withdrawn(dana, manager):
    tell(won())
    decisions.conversion_reject(lead_id=1, by=manager, reason="x")
    decisions.conversion_reopen(lead_id=1, by=manager, reason="Ошибка")
    assert (balances(), Earning.objects.get(seq=3).reason) == ({1: 5000}, "the rejection was withdrawn: Ошибка")


def test_a_rejected_sale_does_not_count_for_the_tier(dana, manager):
    make_plan("fixed_tiers", rates=(1000, 2000, 3000, 4000))
    tell(*(won(number, at=MIDDLE + number) for number in (1, 2, 3)))
    outcome = decisions.conversion_reject(lead_id=3, by=manager, reason="x")
    assert (outcome.total, balances()) == (-4000, {1: 1000, 2: 1000})


def test_a_rejected_sale_is_nobodys_first(dana, manager):
    make_plan("percent", 10, first_sale_only=True)
    tell(answer(1, contact=7), answer(2, at=MIDDLE + DAY, contact=7))
    decisions.conversion_reject(lead_id=1, by=manager, reason="x")
    assert balances() == {2: 5000}


def test_a_rejection_is_of_one_referrer(dana, manager):
    tell(won())
    decisions.conversion_reject(lead_id=1, by=manager, reason="x")
    tell(won(at=NOW + 1, action="update", utm_source="ref_b"))
    assert (Conversion.objects.get().rejected, balances()) == ("", {1: 5000})


def test_what_is_refunded_earns_nothing(dana, manager):
    tell(won())
    decisions.conversion_refund(lead_id=1, by=manager, reason="Вернули модуль", amount=tenge(20_000))
    entry = Earning.objects.get(seq=2)
    assert (entry.amount, entry.reason) == (-2000, "refund to the customer: Вернули модуль")
    decisions.conversion_refund(lead_id=1, by=manager, reason="И второй", amount=tenge(30_000))
    assert balances() == {}
    with pytest.raises(Undecidable, match="More than"):
        decisions.conversion_refund(lead_id=1, by=manager, reason="x", amount=tenge(1))


def test_a_correction_stays_while_the_sale_stands(dana, manager):
    tell(won())
    decisions.conversion_correct(lead_id=1, by=manager, reason="Бонус", amount=tenge(700))
    tell(won(at=NOW + 1, action="update", price=60_000))
    assert balances() == {1: 6700}
    tell(won(at=NOW + 2, status=bodies.LOST))
    assert balances() == {}


def test_of_a_sale_taken_back_nothing_is_decided(dana, manager):
    tell(won())
    tell(won(at=NOW + 1, status=bodies.LOST))
    with pytest.raises(Undecidable, match="taken back"):
        decisions.conversion_reject(lead_id=1, by=manager, reason="x")


def test_a_preview_shows_what_would_be_and_leaves_nothing(dana, manager):
    tell(won())
    outcome = decisions.conversion_refund(lead_id=1, by=manager, reason="x", amount=tenge(20_000), preview=True)
    assert outcome.total == -2000
    assert (balances(), Decision.objects.exists()) == ({1: 5000}, False)


def test_recalculating_moves_sales_to_the_plan_that_holds_now(dana, manager):
    tell(won(1, at=MIDDLE), won(2, at=MIDDLE - 60 * DAY), won(3, at=MIDDLE, utm_source="ref_b"))
    old = CommissionPlan.objects.get()
    new = plan_change(plan=old, by=manager, value=20)
    days: dict[str, Any] = {"first": date(2025, 6, 1), "last": date(2025, 6, 30), "by": manager, "referrer": dana}
    reason = "Новая ставка с начала лета"
    seen = decisions.conversions_recalculate(**days, reason=reason, preview=True)
    assert (seen.recalculated, seen.total, balances()) == (1, 5000, {1: 5000, 2: 5000, 3: 5000})
    with pytest.raises(Undecidable, match="Something changed"):
        decisions.conversions_recalculate(**days, reason="Другое", expected=seen.mark)
    decisions.conversions_recalculate(**days, reason=reason, expected=seen.mark)
    assert balances() == {1: 10_000, 2: 5000, 3: 5000}
    assert Conversion.objects.get(lead_id=1).plan == new
    entry = Earning.objects.get(conversion__lead_id=1, seq=2)
    assert (entry.reason, entry.by) == ("recalculated: Новая ставка с начала лета", manager)
    with pytest.raises(Undecidable, match="Nothing would change"):
        decisions.conversions_recalculate(**days, reason="again")


def test_a_recalculation_that_is_another_by_now_is_not_done(dana, manager):
    tell(won(1, at=MIDDLE))
    plan_change(plan=CommissionPlan.objects.get(), by=manager, value=20)
    days: dict[str, Any] = {"first": date(2025, 6, 1), "last": date(2025, 6, 30), "by": manager}
    seen = decisions.conversions_recalculate(**days, reason="x", preview=True)
    tell(won(1, at=MIDDLE + 1, action="update", price=60_000))
    with pytest.raises(Undecidable, match="Something changed"):
        decisions.conversions_recalculate(**days, reason="x", expected=seen.mark)
    assert balances() == {1: 6000}


def test_the_referrer_hears_of_a_rejection(dana, manager):
    chat = TelegramChat.objects.create(chat_id=7, kind=TelegramChat.Kind.REFERRER)
    LinkedChat.objects.create(referrer=dana, chat=chat)
    tell(won(at=MIDDLE))
    decisions.conversion_reject(lead_id=1, by=manager, reason="Это сам реферер")
    message = CabinetMessage.objects.get()
    assert (message.kind, message.earning) == (CabinetMessage.Kind.REVERSAL, Earning.objects.get(seq=2))


@pytest.mark.parametrize("statement", ["UPDATE referral_decisions SET reason = 'y'", "DELETE FROM referral_decisions"])
def test_the_database_refuses_to_change_a_decision(dana, manager, statement):
    tell(won())
    decisions.conversion_reject(lead_id=1, by=manager, reason="x")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_database_refuses_a_rejection_without_a_reason(dana, manager):
    tell(won())
    with pytest.raises(DatabaseError, match="decision_says_why"):
        decisions.conversion_reject(lead_id=1, by=manager, reason="")
