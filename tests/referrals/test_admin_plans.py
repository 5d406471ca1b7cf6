from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from onai_project import roles
from referrals import admin_plans
from referrals.models import CommissionPlan, Conversion, Decision, Earning, Referrer, ReferrerGroup
from referrals.plans import PlanReplaced, plan_change
from tests.onai_project.rows import make_user
from tests.referrals.helpers import MIDDLE, balances, tell, won

pytestmark = pytest.mark.django_db

ADD = "admin:referrals_commissionplan_add"
CHANGE = "admin:referrals_commissionplan_change"
RECALCULATE = "admin:referrals_recalculate"


@pytest.fixture
def manager(client: Client) -> Client:
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    return client


def terms(**fields: Any) -> dict[str, Any]:
    return {"name": "10 %", "kind": "percent", "value": "10", "valid_from": "01.01.2020", **fields}


def test_a_plan_of_tiers_needs_its_rates_and_forgets_the_value(manager):
    group = ReferrerGroup.objects.create(name="Блогеры")
    data = terms(kind="fixed_tiers", group=group.pk, rate_from_1="1000", rate_from_3="2000", rate_from_5="3000")
    page = manager.post(reverse(ADD), data).content.decode()
    assert "Для этого тарифа нужно заполнить." in page
    assert manager.post(reverse(ADD), {**data, "rate_from_8": "4000"}).status_code == 302
    plan = CommissionPlan.objects.get(group=group)
    assert (plan.value, plan.rate_from_8, str(plan.created_by)) == (None, 4000, "refs")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"value": "101"}, "Не больше 100 процентов."),
        ({"value": "-1"}, "Не меньше нуля."),
        ({"cap": "0"}, "Больше нуля или оставьте пустым."),
        ({"valid_to": "01.01.2020"}, "Заканчивается раньше, чем начинается."),
        ({}, "В часть этих дней для тех же людей уже действует другой тариф."),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_words(manager, fields, text):
    assert text in manager.post(reverse(ADD), terms(**fields)).content.decode()


def test_other_terms_are_saved_as_a_new_version_and_the_sales_keep_theirs(manager):
    tell(won(at=MIDDLE))
    plan = CommissionPlan.objects.get()
    page = manager.post(reverse(CHANGE, args=[plan.pk]), terms(value="20", valid_from="01.06.2025"), follow=True)
    text = page.content.decode()
    assert "Сохранена версия 2. У 1 продажи за её дни остались прежние условия." in text
    assert reverse(RECALCULATE) + "?first=2025-06-01" in text
    new = CommissionPlan.objects.get(replaces=plan)
    assert (new.value, new.valid_from, Conversion.objects.get().plan) == (20, date(2025, 6, 1), plan)


def test_a_plan_that_ended_is_changed_without_reviving_its_old_version(manager):
    plan = CommissionPlan.objects.get()
    CommissionPlan.objects.update(valid_to=date(2025, 1, 1))
    between = {"valid_from": date(2025, 1, 1), "valid_to": date(2025, 6, 1)}
    CommissionPlan.objects.create(name="Весна", kind="percent", value=5, **between)
    page = manager.post(reverse(CHANGE, args=[plan.pk]), terms(value="20", valid_from="01.03.2025"))
    assert "В часть этих дней для тех же людей уже действует другой тариф." in page.content.decode()
    assert manager.post(reverse(CHANGE, args=[plan.pk]), terms(value="20", valid_from="01.06.2025")).status_code == 302
    plan.refresh_from_db()
    assert (plan.valid_to, CommissionPlan.objects.get(replaces=plan).value) == (date(2025, 1, 1), 20)


@pytest.mark.parametrize("error", [IntegrityError("plan_no_overlap"), PlanReplaced("the plan has a newer version")])
def test_who_was_slower_reads_that_nothing_is_saved(manager, monkeypatch, error):
    def somebody_was_faster(**terms: Any) -> None:
        raise error

    monkeypatch.setattr(admin_plans, "plan_change", somebody_was_faster)
    plan = CommissionPlan.objects.get()
    page = manager.post(reverse(CHANGE, args=[plan.pk]), terms(value="20"), follow=True)
    assert "Ничего не сохранено" in page.content.decode()
    assert CommissionPlan.objects.get() == plan


def test_a_name_is_no_new_version(manager):
    plan = CommissionPlan.objects.get()
    manager.post(reverse(CHANGE, args=[plan.pk]), terms(name="Общий"))
    assert CommissionPlan.objects.get().name == "Общий"


def test_an_old_version_is_only_shown(manager):
    plan = CommissionPlan.objects.get()
    plan_change(plan=plan, by=None, value=20)
    assert manager.post(reverse(CHANGE, args=[plan.pk]), terms(value="30")).status_code == 403


def test_the_list_says_what_is_in_force(manager):
    plan_change(plan=CommissionPlan.objects.get(), by=None, value=20, valid_from=date(2025, 6, 1))
    page = manager.get(reverse("admin:referrals_commissionplan_changelist")).content.decode()
    assert "Действует" in page
    assert "Завершён" in page
    assert "31.05.2025" in page


def test_a_recalculation_is_shown_before_it_is_done(manager):
    tell(won(at=MIDDLE))
    plan_change(plan=CommissionPlan.objects.get(), by=None, value=20)
    data = {"first": "2025-06-01", "last": "2025-06-30", "reason": "Новая ставка"}
    page = manager.post(reverse(RECALCULATE), data)
    assert "1 продажа перейдёт на другой тариф." in page.content.decode()
    assert "5\u2009000\u2009₸" in page.content.decode()
    assert balances() == {1: 5000}
    agreed = {**data, "confirm": "1", "expected": page.context["outcome"].mark}
    assert manager.post(reverse(RECALCULATE), agreed).status_code == 302
    assert balances() == {1: 10_000}
    page = manager.post(reverse(RECALCULATE), agreed).content.decode()
    assert "Ничего не изменится." in page


@pytest.mark.parametrize("data", [{"reason": ""}, {"last": "2025-05-01"}, {"last": "2027-01-01"}])
def test_a_recalculation_needs_days_and_a_reason(manager, data):
    page = manager.post(reverse(RECALCULATE), {"first": "2025-06-01", "last": "2025-06-30", "reason": "x", **data})
    assert page.context["form"].errors


@pytest.mark.parametrize("role", [roles.HEAD_OF_TRAFFIC, roles.TARGETOLOGIST])
def test_only_who_keeps_plans_recalculates_and_decides(client, role):
    tell(won())
    client.force_login(make_user("other", role=role))
    decide = reverse("admin:referrals_conversion_decide", args=[Conversion.objects.get().pk, "reject"])
    for url in (reverse(RECALCULATE), decide, reverse("admin:referrals_referrer_import")):
        assert client.get(url).status_code == 403
        assert client.post(url, {"reason": "x", "confirm": "1"}).status_code == 403
    assert not Decision.objects.exists()


def decide_url(kind: str) -> str:
    return reverse("admin:referrals_conversion_decide", args=[Conversion.objects.get().pk, kind])


def test_a_refund_is_shown_before_it_is_posted(manager):
    Referrer.objects.create(code="ref_a", claimed=True)
    tell(won())
    data = {"amount": "20000", "reason": "Вернули модуль"}
    page = manager.post(decide_url("refund"), data)
    assert "-2\u2009000\u2009₸" in page.content.decode()
    assert balances() == {1: 5000}
    manager.post(decide_url("refund"), {**data, "confirm": "1"})  # of what was not looked at nothing is confirmed
    assert balances() == {1: 5000}
    assert manager.post(decide_url("refund"), confirmed(page, **data)).status_code == 302
    entry = Earning.objects.get(seq=2)
    assert (balances(), str(entry.by)) == ({1: 3000}, "refs")


def confirmed(page: Any, **data: str) -> dict[str, str]:
    """Return what the second click sends after a preview."""
    return {**data, "confirm": "1", "expected": page.context["outcome"].mark}


@pytest.mark.parametrize(("kind", "amount", "left"), [("refund", "20000", 3000), ("correction", "700", 5700)])
def test_a_second_click_decides_nothing_more(manager, kind, amount, left):
    tell(won())
    data = {"amount": amount, "reason": "Вернули модуль"}
    agreed = confirmed(manager.post(decide_url(kind), data), **data)
    assert manager.post(decide_url(kind), agreed).status_code == 302
    assert "Это уже решено минуту назад" in manager.post(decide_url(kind), agreed).content.decode()
    assert (balances(), Decision.objects.count()) == ({1: left}, 1)


def test_a_refund_that_moves_no_sum_is_written_down_once_as_well(manager):
    CommissionPlan.objects.update(valid_to=date(2020, 1, 1))
    CommissionPlan.objects.create(name="x", kind="fixed", value=777, valid_from=date(2020, 1, 1))
    tell(won())
    data = {"amount": "20000", "reason": "Вернули модуль"}
    agreed = confirmed(manager.post(decide_url("refund"), data), **data)
    for _ in range(2):
        manager.post(decide_url("refund"), agreed)
    assert Decision.objects.count() == 1


@pytest.mark.parametrize("other", [{"amount": "30000"}, {"reason": "Другое"}])
def test_what_is_confirmed_is_what_was_shown(manager, other):
    tell(won())
    data = {"amount": "20000", "reason": "Вернули модуль"}
    page = manager.post(decide_url("refund"), data)
    fields = page.context["form"].fields
    assert all(f'<input type="hidden" name="{name}"' in page.content.decode() for name in fields)
    page = manager.post(decide_url("refund"), confirmed(page, **{**data, **other})).content.decode()
    assert "С тех пор кое-что изменилось." in page
    assert not Decision.objects.exists()


def test_what_was_shown_can_be_gone_back_on(manager):
    tell(won())
    page = manager.post(decide_url("reject"), {"reason": "Сам у себя", "edit": "1"})
    assert '<input type="text" name="reason" value="Сам у себя"' in page.content.decode()
    assert page.context["outcome"] is None


def test_a_rejection_needs_a_reason(manager):
    tell(won())
    assert manager.post(decide_url("reject"), {"confirm": "1"}).context["form"].errors
    page = manager.post(decide_url("reject"), {"reason": "Сам у себя"})
    manager.post(decide_url("reject"), confirmed(page, reason="Сам у себя"))
    assert Conversion.objects.get().rejected == "Сам у себя"


def test_what_makes_no_sense_is_said(manager):
    tell(won())
    page = manager.post(decide_url("refund"), {"amount": "60000", "reason": "x"}).content.decode()
    assert "Больше, чем заплатил покупатель." in page


def test_a_conversion_offers_what_may_be_decided_of_it(manager):
    Referrer.objects.create(code="ref_a", claimed=True)
    tell(won(utm_campaign="tripwire"))
    url = reverse("admin:referrals_conversion_change", args=[Conversion.objects.get().pk])
    page = manager.get(url).content.decode()
    assert all(decide_url(kind) in page for kind in ("release", "reject", "refund", "correction"))
    assert manager.post(decide_url("release"), {}).status_code == 302
    page = manager.get(url).content.decode()
    assert decide_url("release") not in page
    assert "Снято удержание" in page


@pytest.mark.parametrize(
    ("fields", "text"),
    [({"claimed": False}, "У кода нет владельца"), ({"claimed": True, "active": False}, "Реферер неактивен: сделайте")],
)
def test_a_hold_of_the_referrers_own_is_not_offered_for_release(manager, fields, text):
    Referrer.objects.create(code="ref_a", **fields)
    tell(won(utm_campaign="tripwire"))
    page = manager.get(reverse("admin:referrals_conversion_change", args=[Conversion.objects.get().pk]))
    assert decide_url("release") not in page.content.decode()
    assert text in manager.post(decide_url("release"), {}).content.decode()
    assert not Decision.objects.exists()
