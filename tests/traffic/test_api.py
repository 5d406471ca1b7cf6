from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from onai_project import roles
from onai_project.api import make_token
from tests.onai_project.rows import make_sale, make_user
from traffic.models import AdSpend, Targetologist

pytestmark = pytest.mark.django_db

DASHBOARD = "/api/traffic/dashboard/"
SALES = "/api/traffic/sales/"
NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)
DECEMBER = {"from": "2025-12-01", "to": "2025-12-31"}


@pytest.fixture
def sales() -> None:
    make_sale(
        1, when=NOON, channel="targetologist", targetologist_id="muha", sale_amount=Decimal(100), utm_campaign="a"
    )
    make_sale(
        2, when=NOON, channel="targetologist", targetologist_id="kenesary", sale_amount=Decimal(50), utm_campaign="b"
    )
    make_sale(3, when=NOON, sale_amount=None)
    AdSpend.objects.create(date=NOON.date(), targetologist_id="muha", campaign="a", amount=40)


@pytest.fixture
def head(client: Client, sales: None) -> Client:
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    return client


def test_the_dashboard_has_its_sums_lines_days_and_parts(head):
    answer = head.get(DASHBOARD, DECEMBER).json()
    assert answer["totals"] == {
        "sales": 3,
        "revenue": "150",
        "average": "75",
        "without_amount": 1,
        "lacking": 1,
        "spend": "40",
        "cpa": "13",
        "roas": "3.75",
        "profit": "110",
    }
    lines = {line["key"]: line for line in answer["lines"]}
    assert (lines["muha"]["roas"], lines["kenesary"]["roas"], lines["unknown"]["revenue"]) == ("2.50", None, None)
    assert len(answer["days"]) == 31
    assert {part["value"]: part["revenue"] for part in answer["parts"]} == {"": None, "a": "100", "b": "50"}


def test_filters_hold_together(head):
    assert head.get(DASHBOARD, {**DECEMBER, "targetologist": "muha", "campaign": "a"}).json()["totals"]["sales"] == 1
    assert head.get(DASHBOARD, {**DECEMBER, "targetologist": "muha", "campaign": "b"}).json()["totals"]["sales"] == 0


def test_sales_come_page_by_page(head):
    answer = head.get(SALES, DECEMBER).json()
    assert (answer["count"], answer["page"], answer["pages"]) == (3, 1, 1)
    assert answer["results"][1] | {"sale_date": ""} == {
        "lead_id": 2,
        "lead_name": "Сделка 2",
        "sale_date": "",
        "sale_amount": "50",
        "currency": "KZT",
        "state": "won",
        "channel": "targetologist",
        "targetologist": "kenesary",
        "utm_source": "",
        "utm_medium": "",
        "utm_campaign": "b",
        "utm_content": "",
        "utm_term": "",
        "funnel_type": "express",
        "pipeline_id": 10418746,
        "moved": False,
    }
    assert head.get(SALES, {**DECEMBER, "page": "2"}).json()["results"] == []


@pytest.mark.parametrize("view", [DASHBOARD, SALES])
def test_a_period_that_is_none_is_a_400(head, view):
    assert head.get(view, {"from": "yesterday"}).status_code == 400


@pytest.mark.parametrize("view", [DASHBOARD, SALES])
def test_nobody_and_who_may_not_see_sales_get_nothing(client, sales, view):
    assert client.get(view).status_code == 401
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    assert client.get(view).status_code == 403


@pytest.mark.parametrize("view", [DASHBOARD, SALES])
def test_nothing_can_be_written(head, view):
    for method in (head.post, head.put, head.patch, head.delete):
        assert method(view).status_code in (403, 405)


def test_a_key_reads_a_targetologists_own_sales_and_no_others(client, sales):
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    headers = {"Authorization": f"Bearer {make_token(user=user)}"}
    answer = client.get(SALES, DECEMBER, headers=headers).json()
    assert [sale["lead_id"] for sale in answer["results"]] == [1]
    board = client.get(DASHBOARD, DECEMBER, headers=headers)
    assert board.json()["totals"]["revenue"] == "100"
    assert "kenesary" not in board.content.decode()
    other = client.get(DASHBOARD, {**DECEMBER, "targetologist": "kenesary"}, headers=headers).json()
    assert (other["totals"]["sales"], other["lines"], other["totals"]["spend"]) == (0, [], None)


def test_the_schema_describes_them(client):
    client.force_login(make_user("boss", superuser=True))
    schema = client.get(reverse("api-schema"), {"format": "json"}).json()
    assert {DASHBOARD, SALES} <= schema["paths"].keys()
    parameters = {one["name"] for one in schema["paths"][DASHBOARD]["get"]["parameters"]}
    assert {"period", "from", "to", "targetologist", "campaign", "by", "q"} <= parameters
    totals = schema["components"]["schemas"]["Figures"]["properties"]
    assert totals["roas"]["nullable"]
    assert {"bearer"} == {one["scheme"] for one in schema["components"]["securitySchemes"].values() if "scheme" in one}
