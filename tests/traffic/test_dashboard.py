from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from openpyxl import load_workbook

from onai_project import roles
from onai_project.periods import Period, day_start, period_from_query, preset_period, previous_period
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


COMMAND = "<code>manage.py send_test_deal traffic</code>"


def test_an_empty_dashboard_says_what_to_do(client: Client, boss):
    client.force_login(boss)
    page = client.get(reverse("traffic-dashboard")).content.decode()
    assert COMMAND in page
    assert "<canvas" not in page


@pytest.mark.parametrize("role", [roles.HEAD_OF_TRAFFIC, roles.TARGETOLOGIST])
def test_who_has_no_access_to_the_webhook_is_not_told_to_connect_it(client: Client, role):
    user = make_user("someone", role=role)
    Targetologist.objects.filter(slug="muha").update(user=user)
    client.force_login(user)
    page = client.get(reverse("traffic-dashboard")).content.decode()
    assert COMMAND not in page
    assert "вебхук" not in page
    assert "сообщите администратору номер сделки" in page


@pytest.mark.parametrize(
    ("query", "is_known"),
    [
        ("", True), ("targetologist=muha", True), ("campaign=a", True), ("campaign=", False), ("source=vk", False),
        ("medium=cpc", False), ("funnel=express", False), ("q=a", False), ("targetologist=unknown", False),
    ],
)  # fmt: skip
def test_missing_spend_is_asked_for_only_where_it_could_be_entered(client: Client, boss, query, is_known):
    client.force_login(boss)
    page = client.get(reverse("traffic-dashboard") + "?" + query).content.decode()
    assert ("Расходы на рекламу здесь не внесены" in page) is is_known
    assert ("с этими фильтрами CPA, ROAS и прибыль неизвестны" in page) is not is_known


SOMEBODY_ELSES = "Эта ссылка на чужие продажи. Показаны ваши."
NOT_CONNECTED = "Ваша учётная запись ещё не связана с таргетологом"


@pytest.fixture
def muha(client: Client) -> Client:
    """Muha, who sold one; a colleague sold another, and a third is nobody's."""
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    make_sale(1, targetologist=person("muha"), lead_name="Моя сделка")
    make_sale(2, targetologist=person("kenesary"), lead_name="Чужая сделка")
    make_sale(3, lead_name="Чужая сделка")
    client.force_login(user)
    return client


@pytest.mark.parametrize("line", ["kenesary", "unknown", "referral", "no_such"])
@pytest.mark.parametrize("view", ["traffic-dashboard", "traffic-dashboard-sales"])
def test_a_colleagues_link_shows_a_targetologist_their_own_sales_and_says_so(muha, view, line):
    page = muha.get(reverse(view), {"targetologist": line}).content.decode()
    assert SOMEBODY_ELSES in page
    assert "Моя сделка" in page
    assert "Чужая сделка" not in page
    assert NOT_CONNECTED not in page
    assert SOMEBODY_ELSES not in muha.get(reverse(view), {"targetologist": "muha"}).content.decode()


def test_the_files_of_a_colleagues_link_are_those_of_the_page(muha):
    query = {"targetologist": "kenesary"}
    lines = muha.get(reverse("traffic-dashboard-csv", args=["lines"]), query).content.decode()
    assert "Muha" in lines
    assert "Kenesary" not in lines
    sales = muha.get(reverse("traffic-dashboard-sales-file", args=["csv"]), query).content.decode()
    assert "Моя сделка" in sales


def test_an_account_without_a_targetologist_is_told_so_whatever_the_filters(client: Client):
    client.force_login(make_user("new", role=roles.TARGETOLOGIST))
    for query in ({}, {"campaign": "a"}, {"targetologist": "kenesary"}):
        page = client.get(reverse("traffic-dashboard"), query).content.decode()
        assert NOT_CONNECTED in page
        assert SOMEBODY_ELSES not in page


def test_the_filter_by_somebody_who_left_is_seen(client: Client, boss):
    Targetologist.objects.filter(slug="muha").update(active=False)
    client.force_login(boss)
    pill = '<a href="?targetologist=muha" class="panel-pill"'
    assert pill not in client.get(reverse("traffic-dashboard")).content.decode()
    page = client.get(reverse("traffic-dashboard"), {"targetologist": "muha"}).content.decode()
    assert pill + ' aria-current="true"' in page


@pytest.mark.parametrize(
    ("today", "alone"),
    [("2025-12-15", [date(2025, 10, 31)]), ("2026-03-15", [date(2026, 1, day) for day in (29, 30, 31)])],
)
def test_the_period_before_by_day_adds_up_to_its_total_where_it_is_longer(client: Client, boss, today, alone):
    """Each day of the month before has another sum, so that a day too few or twice can't add up."""
    client.force_login(boss)
    with time_machine.travel(f"{today}T07:00:00Z", tick=False):
        period = preset_period("last_month", date.fromisoformat(today))
        for number, day in enumerate([*period.days, *previous_period(period, date.fromisoformat(today)).days]):
            make_sale(number, when=day_start(day) + timedelta(hours=9), sale_amount=Decimal(2**day.day))
        page = client.get(reverse("traffic-dashboard"), {"period": "last_month"})
        book = client.get(reverse("traffic-dashboard-xlsx"), {"period": "last_month"})
    data, days = page.context["data"], page.context["days"]
    total = days.total.values
    for name, expected in (("revenue", data.totals.known), ("before", data.before.totals.known)):
        assert sum(row.values.get(name) or 0 for row in days.rows) == total[name] == expected
    surplus = [row.values for row in days.rows if "day" not in row.values]
    assert [values["day_before"] for values in surplus] == alone
    assert all("sales" not in values for values in surplus)
    sheet: list[list[Any]] = [[cell.value for cell in row] for row in load_workbook(BytesIO(book.content))["По дням"]]
    _headings, *rows, last = sheet
    assert sum(row[-1] for row in rows if row[-1] != "—") == last[-1] == data.before.totals.known
    assert [row[0] for row in rows[-len(alone) :]] == ["—"] * len(alone)
    chart = json.loads(page.context["chart"].value)
    revenue, before = chart["datasets"][:2]
    assert (sum(revenue["data"]), sum(before["data"])) == (data.totals.known, data.before.totals.known)
    assert len(chart["labels"]) == len(before["data"])


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
