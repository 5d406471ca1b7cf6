from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from onai_project import roles
from onai_project.periods import Period, period_from_query, preset_period
from tests.onai_project.rows import make_sale, make_user
from traffic.dashboard import traffic_dashboard
from traffic.figures import Totals
from traffic.models import Targetologist

pytestmark = pytest.mark.django_db

DECEMBER = Period(date(2025, 12, 1), date(2025, 12, 31))
NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)


@pytest.fixture
def boss(db):
    return make_user("boss", superuser=True)


def person(slug: str) -> Targetologist:
    return Targetologist.objects.get(slug=slug)


def lines(dashboard) -> dict[str, Totals]:
    return {line.key: line.totals for line in dashboard.lines}


def test_it_sums_known_amounts_and_counts_the_unknown(boss):
    make_sale(1, when=NOON, sale_amount=Decimal(100_000))
    make_sale(2, when=NOON, sale_amount=Decimal(50_001))
    make_sale(3, when=NOON, sale_amount=None)
    totals = traffic_dashboard(DECEMBER, boss).totals
    assert (totals.sales, totals.revenue, totals.without_amount) == (3, Decimal(150_001), 1)
    assert totals.average == Decimal(75_001)  # 75 000.5, half up


def test_it_says_nothing_of_the_revenue_of_sales_without_any_amount(boss):
    make_sale(1, when=NOON, sale_amount=None)
    totals = traffic_dashboard(DECEMBER, boss).totals
    assert totals.revenue is None
    assert totals.average is None


def test_it_has_a_line_for_each_active_targetologist_then_unknown_then_referral(boss):
    Targetologist.objects.filter(slug="muha").update(active=False)
    Targetologist.objects.filter(slug="arystan").update(active=False)
    make_sale(1, when=NOON, targetologist=person("arystan"))
    dashboard = traffic_dashboard(DECEMBER, boss)
    assert [line.key for line in dashboard.lines] == ["kenesary", "arystan", "traf4", "unknown", "referral"]
    assert lines(dashboard)["kenesary"] == Totals()


def test_it_counts_each_sale_in_one_line_only(boss):
    make_sale(1, when=NOON, targetologist=person("kenesary"))
    make_sale(2, when=NOON)
    make_sale(3, when=NOON, channel="referral")
    dashboard = traffic_dashboard(DECEMBER, boss)
    assert {key: totals.sales for key, totals in lines(dashboard).items() if totals.sales} == {
        "kenesary": 1,
        "unknown": 1,
        "referral": 1,
    }
    assert sum((line.totals for line in dashboard.lines), Totals()) == dashboard.totals
    assert sum((day.totals for day in dashboard.days), Totals()) == dashboard.totals


def test_it_shows_what_was_taken_back_apart(boss):
    make_sale(1, when=NOON)
    make_sale(2, when=NOON, state="reversed", sale_amount=Decimal(7))
    dashboard = traffic_dashboard(DECEMBER, boss)
    assert dashboard.totals.sales == 1
    assert (dashboard.reversed.sales, dashboard.reversed.revenue) == (1, Decimal(7))
    assert [sale.lead_id for sale in dashboard.latest] == [1]


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2025, 12, 19, 18, 59, 59, tzinfo=UTC), date(2025, 12, 19)),  # UTC+5: 23:59:59
        (datetime(2025, 12, 19, 19, 0, tzinfo=UTC), date(2025, 12, 20)),
        (datetime(2024, 2, 28, 17, 59, 59, tzinfo=UTC), date(2024, 2, 28)),  # UTC+6 until 2024-03-01
        (datetime(2024, 2, 28, 18, 0, tzinfo=UTC), date(2024, 2, 29)),
    ],
)
def test_a_sale_belongs_to_its_day_in_almaty(boss, moment, day):
    make_sale(1, when=moment)
    dashboard = traffic_dashboard(Period(day, day), boss)
    assert dashboard.totals.sales == 1
    assert [(one.day, one.totals.sales) for one in dashboard.days] == [(day, 1)]


def test_it_asks_the_database_as_often_for_many_sales_as_for_one(boss, django_assert_num_queries):
    for lead_id in range(30):
        make_sale(lead_id, when=NOON, targetologist=person(("kenesary", "arystan", "muha")[lead_id % 3]))
    with django_assert_num_queries(11):
        dashboard = traffic_dashboard(DECEMBER, boss)
        assert len({str(sale.targetologist) for sale in dashboard.latest}) == 3
    assert len(dashboard.latest) == 20


def test_a_targetologist_sees_only_their_own_sales():
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    make_sale(1, when=NOON, targetologist=person("muha"))
    make_sale(2, when=NOON, targetologist=person("kenesary"))
    make_sale(3, when=NOON)
    make_sale(4, when=NOON, targetologist=person("kenesary"), state="reversed")
    dashboard = traffic_dashboard(DECEMBER, user)
    assert [line.key for line in dashboard.lines] == ["muha"]
    assert dashboard.totals.sales == 1
    assert dashboard.reversed.sales == 0
    assert [sale.lead_id for sale in dashboard.latest] == [1]


def test_the_page_of_a_targetologist_names_nobody_elses_deal(client: Client):
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    make_sale(1, targetologist=person("muha"), lead_name="Моя сделка")
    make_sale(2, targetologist=person("kenesary"), lead_name="Чужая сделка")
    client.force_login(user)
    page = client.get(reverse("traffic-dashboard")).content.decode()
    assert "Моя сделка" in page
    assert "Чужая сделка" not in page
    assert "Kenesary" not in page


def test_a_sale_without_an_amount_has_a_dash(client: Client, boss):
    make_sale(1, sale_amount=None)
    client.force_login(boss)
    page = client.get(reverse("traffic-dashboard")).content.decode()
    assert '<td class="n">—</td>' in page
    assert "<dt>Выручка</dt><dd>—</dd>" in page


def test_an_empty_dashboard_says_what_to_do(client: Client, boss):
    client.force_login(boss)
    page = client.get(reverse("traffic-dashboard")).content.decode()
    assert "<code>manage.py send_test_deal traffic</code>" in page
    assert "<canvas" not in page


@pytest.mark.parametrize("query", ["from=yesterday&to=2025-12-20", "from=2025-12-20&to=2025-12-01", "period=century"])
def test_a_wrong_period_is_said_and_the_default_shown(client: Client, boss, query):
    client.force_login(boss)
    answer = client.get(reverse("traffic-dashboard") + "?" + query)
    assert answer.status_code == 200
    assert answer.context["data"].period.preset == "7days"
    assert 'role="alert"' in answer.content.decode()


@pytest.mark.parametrize("query", [{"from": "0001-01-01", "to": "0001-01-02"}, {"to": "9999-12-31"}])
def test_a_period_at_the_edge_of_the_calendar_breaks_nothing(query):
    period, problem = period_from_query(query, date(2025, 12, 20))
    assert problem
    assert period.preset == "7days"


@pytest.mark.parametrize(
    ("preset", "first", "last"),
    [
        ("today", date(2025, 1, 1), date(2025, 1, 1)),
        ("yesterday", date(2024, 12, 31), date(2024, 12, 31)),
        ("7days", date(2024, 12, 26), date(2025, 1, 1)),
        ("month", date(2025, 1, 1), date(2025, 1, 1)),
        ("last_month", date(2024, 12, 1), date(2024, 12, 31)),
    ],
)
def test_presets_count_from_the_day(preset, first, last):
    period = preset_period(preset, date(2025, 1, 1))
    assert (period.first, period.last) == (first, last)


def test_a_person_who_may_not_see_sales_gets_403(client: Client):
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    assert client.get(reverse("traffic-dashboard")).status_code == 403


def test_nobody_is_sent_to_the_login_page(client: Client):
    answer = client.get(reverse("traffic-dashboard"))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")
