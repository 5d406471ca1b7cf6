from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from onai_project import roles
from referrals.models import Conversion, Referrer
from tests.onai_project.rows import make_conversion, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(client: Client) -> Client:
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    return client


@pytest.fixture
def noon() -> Iterator[None]:
    with time_machine.travel("2025-12-20T07:00:00Z", tick=False):
        yield


@pytest.fixture
def dana(db) -> Referrer:
    return Referrer.objects.create(code="ref_dana", name="Дана", claimed=True)


def test_the_list_of_referrers_has_balances(manager, dana, django_assert_max_num_queries):
    for lead_id in range(3):
        make_conversion(lead_id, dana)
    for number in range(10):
        Referrer.objects.create(code=f"ref_{number}")
    with django_assert_max_num_queries(8):
        page = manager.get(reverse("admin:referrals_referrer_changelist")).content.decode()
    assert "15\u2009000\u2009₸" in page


def test_claiming_a_code_releases_what_it_earned(manager, dana):
    nobody = Referrer.objects.create(code="ref_nobody")
    conversion = make_conversion(1, nobody, hold_reason="unclaimed")
    data = {"name": "Айгерим", "phone": "", "email": "", "claimed": "on", "active": "on"}
    assert manager.post(reverse("admin:referrals_referrer_change", args=[nobody.pk]), data).status_code == 302
    conversion.refresh_from_db()
    assert conversion.hold_reason == Conversion.Hold.NONE


def test_a_code_is_stored_in_lower_case(manager):
    manager.post(reverse("admin:referrals_referrer_add"), {"code": " REF_Aigerim ", "name": "Айгерим", "active": "on"})
    assert Referrer.objects.get().code == "ref_aigerim"


def test_a_code_that_is_left_empty_is_made_of_what_can_not_be_mistaken(manager):
    for number in range(3):
        data = {"name": f"Р{number}", "claimed": "on", "active": "on"}
        manager.post(reverse("admin:referrals_referrer_add"), data)
    codes = set(Referrer.objects.values_list("code", flat=True))
    assert len(codes) == 3
    assert all(re.fullmatch("ref_[34679acdefghjkmnpqrtwxy]{7}", code) for code in codes)


@pytest.mark.parametrize("code", ["aigerim", "ref_", "xref_a"])
def test_a_code_that_is_none_is_explained(manager, code):
    page = manager.post(reverse("admin:referrals_referrer_add"), {"code": code}).content.decode()
    assert "Код начинается с ref_, например ref_aigerim." in page


def test_a_code_stays(manager, dana):
    data = {"code": "ref_other", "name": "Д.", "claimed": "on", "active": "on"}
    assert manager.post(reverse("admin:referrals_referrer_change", args=[dana.pk]), data).status_code == 302
    dana.refresh_from_db()
    assert (dana.code, dana.name) == ("ref_dana", "Д.")


@pytest.mark.parametrize(
    ("fields", "days", "text"),
    [
        ({}, -1, "К выплате"),
        ({}, 1, "Доступно с 21.12.2025"),
        ({"hold_reason": "unclaimed"}, -1, "Удержано: код без владельца"),
        ({"hold_reason": "inactive"}, -1, "Удержано: реферер неактивен"),
        ({"hold_reason": "self_referral"}, -1, "Удержано: покупатель и есть реферер"),
        ({"sale_amount": None}, -1, "Сумма неизвестна"),
        ({"rejected": "это брат"}, -1, "Отклонено: это брат"),
        ({"state": "reversed", "hold_reason": "inactive"}, -1, "Отменено"),
    ],
)
def test_a_conversion_says_where_its_commission_is(noon, manager, dana, fields, days, text):
    make_conversion(1, dana, **fields)
    Conversion.objects.update(available_at=timezone.now() + timedelta(days=days))
    page = manager.get(reverse("admin:referrals_conversion_changelist")).content.decode()
    cell = page.split("field-payout")[1].split("</td>")[0]
    assert text in cell


@pytest.mark.parametrize("model", ["conversion", "earning"])
def test_a_code_finds_its_own_referrer_alone(manager, dana, model):
    make_conversion(1, dana)
    make_conversion(2, Referrer.objects.create(code="ref_dana2", claimed=True))
    url = reverse(f"admin:referrals_{model}_changelist")
    assert manager.get(url, {"q": "ref_dana"}).context["cl"].result_count == 1
    assert manager.get(url, {"q": "ref_dan"}).context["cl"].result_count == 2


@pytest.mark.parametrize("model", ["conversion", "earning"])
def test_history_can_not_be_written(manager, dana, model):
    conversion = make_conversion(1, dana)
    row = conversion if model == "conversion" else conversion.earnings.get()
    assert manager.get(reverse(f"admin:referrals_{model}_add")).status_code == 403
    assert manager.post(reverse(f"admin:referrals_{model}_change", args=[row.pk]), {}).status_code == 403
    assert manager.post(reverse(f"admin:referrals_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_a_conversion_shows_its_ledger(manager, dana):
    conversion = make_conversion(1, dana, state="reversed")
    page = manager.get(reverse("admin:referrals_conversion_change", args=[conversion.pk])).content.decode()
    assert "Начисление" in page
    assert "Сторно" in page
    assert "-5\u2009000\u2009₸" in page


def test_plans_that_overlap_are_refused_in_words(manager):
    data = {"name": "15 %", "kind": "percent", "value": "15", "valid_from": "01.01.2026"}
    page = manager.post(reverse("admin:referrals_commissionplan_add"), data).content.decode()
    assert "errornote" in page or "errors" in page
