from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from onai_project import roles
from onai_project.periods import Period
from referrals.dashboard import Commission, referral_dashboard
from referrals.models import Referrer
from tests.onai_project.rows import make_conversion, make_user

pytestmark = pytest.mark.django_db

DECEMBER = Period(date(2025, 12, 1), date(2025, 12, 31))
NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)
LATER = NOON + timedelta(days=60)


@pytest.fixture
def dana(db):
    return Referrer.objects.create(code="ref_dana", name="Дана", claimed=True)


def test_it_sums_the_ledger_of_the_conversions_of_the_period(dana):
    make_conversion(1, dana, when=NOON)
    make_conversion(2, dana, when=NOON, sale_amount=None)
    make_conversion(3, dana, when=NOON - timedelta(days=40))
    dashboard = referral_dashboard(DECEMBER, LATER)
    assert (dashboard.totals.conversions, dashboard.totals.sales_sum, dashboard.totals.without_amount) == (2, 50_000, 1)
    assert dashboard.commission == Commission(payable=Decimal(5_000))


def test_commission_waits_for_its_day(dana):
    make_conversion(1, dana, when=NOON)
    assert referral_dashboard(DECEMBER, NOON + timedelta(days=13)).commission == Commission(waiting=Decimal(5_000))


@pytest.mark.parametrize(("field", "held"), [("claimed", "unclaimed"), ("active", "inactive")])
def test_commission_is_held_with_the_reason(dana, field, held):
    Referrer.objects.update(**{field: False})
    make_conversion(1, dana, when=NOON)
    commission = referral_dashboard(DECEMBER, LATER).commission
    assert commission == Commission(**{held: Decimal(5_000)})
    assert commission.payable == 0


def test_what_was_taken_back_earns_nothing_and_is_shown_apart(dana):
    make_conversion(1, dana, when=NOON, state="reversed")
    dashboard = referral_dashboard(DECEMBER, LATER)
    assert dashboard.totals.conversions == 0
    assert dashboard.commission.accrued == 0
    assert (dashboard.reversed.conversions, dashboard.reversed.sales_sum) == (1, 50_000)
    assert dashboard.lines == []


def test_lines_add_up_to_the_totals(dana):
    other = Referrer.objects.create(code="ref_other")
    for lead_id in range(6):
        make_conversion(lead_id, other if lead_id % 3 else dana, when=NOON)
    dashboard = referral_dashboard(DECEMBER, LATER)
    assert [(line.referrer.code, line.totals.conversions) for line in dashboard.lines] == [
        ("ref_other", 4),
        ("ref_dana", 2),
    ]
    assert sum((line.commission for line in dashboard.lines), Commission()) == dashboard.commission
    assert sum(day.totals.conversions for day in dashboard.days) == 6


def test_codes_without_an_owner_are_listed_whatever_the_period(dana):
    nobody = Referrer.objects.create(code="ref_nobody")
    make_conversion(1, nobody, when=NOON - timedelta(days=400))
    make_conversion(2, dana, when=NOON)
    unclaimed = referral_dashboard(DECEMBER, LATER).unclaimed
    assert [(one.code, one.balance, one.won_conversions) for one in unclaimed] == [("ref_nobody", 5_000, 1)]


def test_it_asks_the_database_as_often_for_many_conversions_as_for_one(dana, django_assert_num_queries):
    for lead_id in range(30):
        make_conversion(lead_id, Referrer.objects.create(code=f"ref_{lead_id}"), when=NOON)
    with django_assert_num_queries(6):
        dashboard = referral_dashboard(DECEMBER, LATER)
        assert len({conversion.referrer.code for conversion in dashboard.latest}) == 20


def test_the_page_shows_the_conversion_and_its_commission(client: Client, dana):
    make_conversion(1, dana, when=None)
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    page = client.get(reverse("referral-dashboard")).content.decode()
    assert "Сделка 1" in page
    assert "5\u2009000\u2009₸" in page


def test_an_empty_dashboard_says_what_to_do(client: Client):
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    assert (
        "<code>manage.py send_test_deal referral</code>" in client.get(reverse("referral-dashboard")).content.decode()
    )


@pytest.mark.parametrize("role", [roles.HEAD_OF_TRAFFIC, roles.TARGETOLOGIST])
def test_people_of_traffic_get_403(client: Client, role):
    client.force_login(make_user("someone", role=role))
    assert client.get(reverse("referral-dashboard")).status_code == 403
