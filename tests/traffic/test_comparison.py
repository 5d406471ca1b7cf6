"""The numbers beside the period before, sorting and the sections of the page, on sales made by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from onai_project import roles
from tests.onai_project.rows import make_sale, make_user
from traffic.models import AdSpend, Targetologist

pytestmark = pytest.mark.django_db

# Ten days, and the ten before: 1.–10.12. and 21.–30.11.
PERIOD = {"from": "2025-12-01", "to": "2025-12-10"}
NOW, BEFORE = datetime(2025, 12, 5, 7, tzinfo=UTC), datetime(2025, 11, 25, 7, tzinfo=UTC)
LONG_BEFORE, AFTER = datetime(2025, 11, 20, 7, tzinfo=UTC), datetime(2025, 12, 11, 7, tzinfo=UTC)


@pytest.fixture
def _sales() -> None:
    """Muha: 300 of two sales, 200 of one before. Kenesary: 100 of one, 400 of two before. Nobody: 100 before."""
    rows: list[tuple[datetime, str | None, int, str]] = [
        (NOW, "muha", 100, "a"), (NOW, "muha", 200, "b"), (NOW, "kenesary", 100, "a"),
        (BEFORE, "muha", 200, "a"), (BEFORE, "kenesary", 300, "a"), (BEFORE, "kenesary", 100, "c"),
        (BEFORE, None, 100, "d"), (LONG_BEFORE, "muha", 9000, "a"), (AFTER, "muha", 9000, "a"),
    ]  # fmt: skip
    for number, (when, slug, amount, campaign) in enumerate(rows):
        channel = "targetologist" if slug else "unknown"
        make_sale(
            number, when=when, sale_amount=Decimal(amount), utm_campaign=campaign, targetologist_id=slug,
            channel=channel, lead_name=f"Сделка {number}",
        )  # fmt: skip
    for when, amount in ((NOW, 50), (BEFORE, 100)):
        AdSpend.objects.create(date=when.date(), targetologist_id="muha", campaign="a", amount=amount)
        AdSpend.objects.create(date=when.date(), targetologist_id="kenesary", campaign="a", amount=amount)


@pytest.fixture
def head(client: Client, _sales: None) -> Client:
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    return client


@pytest.fixture
def muha(client: Client, _sales: None) -> Client:
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    client.force_login(user)
    return client


def board(client: Client, **query: str) -> Any:
    return client.get(reverse("traffic-dashboard"), {**PERIOD, **query})


def api(client: Client) -> Any:
    return client.get(reverse("api-traffic-dashboard"), PERIOD).json()


def rows_of(table: Any, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values.get(column) for column in columns) for row in table.rows]


def test_the_page_has_each_number_beside_the_period_before(head):
    answer = board(head)
    assert {
        name: (change.now, change.before, change.percent) for name, change in answer.context["changes"].items()
    } == {
        "sales": (3, 4, -25),
        "revenue": (400, 700, -43),
        "average": (133, 175, -24),
        "spend": (100, 200, -50),
        "cpa": (33, 50, -34),
        "roas": (4, Decimal("3.5"), 14),
        "profit": (300, 500, -40),
    }
    page = answer.content.decode()
    assert "Сравнение с 21.11.2025 – 30.11.2025." in page
    assert '<span class="panel-down">−43\u202f%</span> <span>было: 700\u2009₸</span>' in page
    # That less was spent is neither good nor bad.
    assert "<span>−50\u202f%</span> <span>было: 200\u2009₸</span>" in page


def test_lines_and_campaigns_have_their_share_and_trend(head):
    context = board(head).context
    assert rows_of(context["lines"], "name", "revenue", "share", "trend")[:3] == [
        ("Kenesary 👑", 100, 25, -75), ("Arystan 🦁", 0, 0, None), ("Muha 🚀", 300, 75, 50),
    ]  # fmt: skip
    assert context["lines"].total.values["trend"] == -43
    assert rows_of(context["parts"], "name", "revenue", "share", "trend") == [
        ("a", 200, 50, -60),
        ("b", 200, 50, None),
    ]


def test_the_api_has_the_same_comparison(head):
    answer = api(head)
    assert answer["compared"] == {"first": "2025-11-21", "last": "2025-11-30"}
    before = answer["before"]
    assert (before["sales"], before["revenue"], before["spend"], before["roas"]) == (4, "700", "200", "3.50")
    lines = {line["key"]: (line["before"]["sales"], line["before"]["revenue"]) for line in answer["lines"]}
    assert lines == {
        "kenesary": (2, "400"), "arystan": (0, "0"), "muha": (1, "200"), "traf4": (0, "0"), "unknown": (1, "100"),
        "referral": (0, "0"),
    }  # fmt: skip
    assert {part["value"]: part["before"]["revenue"] for part in answer["parts"]} == {"a": "500", "b": "0"}


def test_a_targetologist_is_compared_with_their_own_sales_alone(muha):
    context = board(muha).context
    changes = {name: (change.now, change.before) for name, change in context["changes"].items()}
    assert (changes["sales"], changes["revenue"], changes["spend"]) == ((2, 1), (300, 200), (50, 100))
    assert rows_of(context["lines"], "name", "share", "trend") == [("Muha 🚀", 100, 50)]
    assert rows_of(context["parts"], "name", "share", "trend") == [
        ("b", Decimal("66.7"), None),
        ("a", Decimal("33.3"), -50),
    ]
    assert sum(row.values["before"] or 0 for row in context["days"].rows) == 200
    answer = api(muha)
    assert (answer["before"]["revenue"], answer["before"]["spend"]) == ("200", "100")
    assert [(line["key"], line["before"]["revenue"]) for line in answer["lines"]] == [("muha", "200")]
    assert {part["value"]: part["before"]["revenue"] for part in answer["parts"]} == {"b": "0", "a": "200"}


@pytest.mark.parametrize(
    ("table", "sort", "column", "first"),
    [
        ("lines", "revenue", "name", ["Arystan 🦁", "Traf4 ⚡", "Kenesary 👑", "Muha 🚀"]),
        ("lines", "-revenue", "name", ["Muha 🚀", "Kenesary 👑", "Arystan 🦁", "Traf4 ⚡"]),
        ("lines", "-name", "name", ["Traf4 ⚡", "Muha 🚀", "Kenesary 👑", "Arystan 🦁"]),
        ("parts", "name", "name", ["a", "b"]),
        ("parts", "-name", "name", ["b", "a"]),
        ("days", "-revenue", "sales", [3, 0]),
        ("days", "revenue", "sales", [0, 0]),
    ],
)
def test_the_address_sorts_a_table_of_the_page(head, table, sort, column, first):
    answer = board(head, **{f"{table}_sort": sort})
    assert [values[0] for values in rows_of(answer.context[table], column)][: len(first)] == first
    order = "descending" if sort.startswith("-") else "ascending"
    assert answer.content.decode().count(f'aria-sort="{order}"') >= 1
    # The file is sorted as the page is.
    file = head.get(reverse("traffic-dashboard-csv", args=[table]), {**PERIOD, f"{table}_sort": sort})
    if column == "name":
        lines = file.content.decode().splitlines()[1 : len(first) + 1]
        assert [line.split(";")[0] for line in lines] == first


def test_what_lacks_data_and_what_was_taken_back_stand_apart(head):
    page = board(head).content.decode()
    assert "Продажи, где не хватает данных" not in page
    assert "не входит в суммы" in page
    make_sale(50, when=NOW, sale_amount=None, utm_campaign="a", lead_name="Без суммы")
    make_sale(51, when=NOW, sale_amount=Decimal(5), lead_name="Без меток")
    make_sale(52, when=NOW, sale_amount=Decimal(777), utm_campaign="a", state="reversed", lead_name="Возврат")
    answer = board(head)
    page = answer.content.decode()
    assert "Продажи, где не хватает данных: 2" in page
    assert {row.values["lead_name"] for row in answer.context["lacking"].rows} == {"Без суммы", "Без меток"}
    assert "<dt>Отменено</dt><dd>1 <small>777\u2009₸</small></dd>" in page
    assert "Возврат" not in page
    for kind, names in (("lacking", {"Без суммы", "Без меток"}), ("reversed", {"Возврат"})):
        link = f"{reverse('traffic-dashboard-sales')}?from=2025-12-01&amp;to=2025-12-10&amp;show={kind}"
        assert f'href="{link}"' in page
        table = head.get(link.replace("&amp;", "&")).context["table"]
        assert {row.values["lead_name"] for row in table.rows} == names


def test_the_chart_is_an_image_with_a_label_and_a_table_behind_it(head):
    page = board(head).content.decode()
    (canvas,) = [part.split(">")[0] for part in page.split("<canvas")[1:]]
    assert 'role="img"' in canvas
    assert 'aria-label="График выручки и продаж по дням; те же числа — в таблице ниже."' in canvas
    assert '<div class="panel-scroll" tabindex="0" role="region" aria-label="По дням">' in page
