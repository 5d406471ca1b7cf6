"""The page, its files, the API, the digest and plain SQL say the same, whatever was sold when, filtered and built how.

The days are those around Almaty's midnights, and around 2024-03-01, when Almaty moved from UTC+6 to UTC+5.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from io import BytesIO, StringIO
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from onai_project.money import money
from onai_project.periods import Period
from tests.onai_project.rows import make_sale, make_user
from traffic.dashboard import traffic_dashboard
from traffic.day_totals import build_days
from traffic.digest import select_facts
from traffic.filters import DIMENSIONS, Filters
from traffic.models import AdSpend, Sale, Targetologist

pytestmark = pytest.mark.django_db

# UTC+6 until the last second of February 2024 in UTC+6, UTC+5 since: its last day has 25 hours.
MIDNIGHTS = [
    datetime(2024, 2, 28, 18, tzinfo=UTC),
    datetime(2024, 2, 29, 18, tzinfo=UTC),  # the change itself, an hour before midnight
    datetime(2024, 2, 29, 19, tzinfo=UTC),
    datetime(2024, 3, 1, 19, tzinfo=UTC),
]
MOMENTS = st.builds(
    lambda midnight, seconds: midnight + timedelta(seconds=seconds),
    st.sampled_from(MIDNIGHTS),
    st.sampled_from([-86400, -3601, -1, 0, 1, 3599, 40000]),
)
DAYS = st.sampled_from([date(2024, 2, 28) + timedelta(days=n) for n in range(5)])
# Some days, or spans with whole months in them, which are read as such once they are built.
SPANS = st.tuples(DAYS, DAYS).map(sorted) | st.sampled_from(
    [[date(2024, 2, 1), date(2024, 3, 31)], [date(2024, 2, 29), date(2024, 4, 2)]]
)
# What breaks SQL, HTML, CSV and spreadsheets, and what a search must take as it is.
TEXTS = st.sampled_from(["", "a", "A", "tripwire_17.12", "=1+1", "100%", '<b>;"', "запуск", "\\"])
WHOSE = st.sampled_from(
    [("targetologist", "kenesary"), ("targetologist", "muha"), ("unknown", None), ("referral", None)]
)
PART_TITLES = {
    "campaign": "По кампаниям",
    "source": "По источникам",
    "medium": "По каналам",
    "funnel": "По воронкам",
}


@dataclass(frozen=True)
class Sold:
    when: datetime
    amount: Decimal | None
    whose: tuple[str, str | None]
    campaign: str
    source: str
    medium: str
    funnel: str
    state: str


SALES = st.lists(
    st.builds(
        Sold,
        when=MOMENTS,
        amount=st.none() | st.integers(0, 10**9).map(Decimal),
        whose=WHOSE,
        campaign=TEXTS,
        source=TEXTS,
        medium=TEXTS,
        funnel=st.sampled_from(["express", "challenge3d"]),
        state=st.sampled_from(["won", "won", "won", "reversed"]),
    ),
    max_size=12,
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "targetologist": st.sampled_from(["kenesary", "muha", "unknown", "referral", "nobody"]),
        "campaign": TEXTS,
        "source": TEXTS,
        "medium": TEXTS,
        "funnel": st.just("express"),
        "q": st.sampled_from(["a", "%", "_", "\\", "=", "ЗАП"]),
    },
)
SPEND = st.lists(
    st.tuples(DAYS, st.sampled_from(["kenesary", "muha"]), TEXTS, st.integers(0, 10**6)),
    max_size=4,
    unique_by=lambda entry: entry[:3],
)


def sell(sold: Sequence[Sold], first: int) -> None:
    for number, sale in enumerate(sold, start=first):
        make_sale(
            number,
            when=sale.when,
            sale_amount=sale.amount,
            channel=sale.whose[0],
            targetologist_id=sale.whose[1],
            utm_campaign=sale.campaign,
            utm_source=sale.source,
            utm_medium=sale.medium,
            funnel_type=sale.funnel,
            state=sale.state,
            lead_name="=cmd|x",
        )


def in_sql(first: date, last: date, query: dict[str, str], by: str) -> dict[str, Any]:
    """Return what PostgreSQL says by itself, with a time zone database of its own, of the raw sales."""
    where = ["state = 'won'", "(sale_date AT TIME ZONE 'Asia/Almaty')::date BETWEEN %(first)s AND %(last)s"]
    line = "CASE WHEN channel = 'referral' THEN 'referral' ELSE coalesce(targetologist, 'unknown') END"
    columns = {"targetologist": line, **DIMENSIONS}
    where += [f"{columns[name]} = %({name})s" for name in query.keys() & columns.keys()]
    if "q" in query:
        where.append(
            "(strpos(lower(utm_campaign), lower(%(q)s)) > 0 OR strpos(lower(utm_source), lower(%(q)s)) > 0 "
            "OR strpos(lower(utm_medium), lower(%(q)s)) > 0)"
        )
    found: dict[str, Any] = {}
    keys = {"lines": line, "days": "(sale_date AT TIME ZONE 'Asia/Almaty')::date::text", "parts": DIMENSIONS[by]}
    with connection.cursor() as cursor:
        for name, key in keys.items():
            cursor.execute(
                f"SELECT {key}, count(*), CASE WHEN count(sale_amount) > 0 THEN sum(sale_amount) END, "
                f"count(*) - count(sale_amount) FROM all_sales_tracking WHERE {' AND '.join(where)} GROUP BY 1",
                {"first": first, "last": last, **query},
            )
            found[name] = {row[0]: (row[1], row[2], row[3]) for row in cursor.fetchall()}
    return found


class Tables(HTMLParser):
    """Collects the cells of every row of every table, by the table's region."""

    def __init__(self) -> None:
        super().__init__()
        self.regions: dict[str, list[list[str]]] = {}
        self.rows: list[list[str]] = []
        self.reading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("role") == "region":
            self.rows = self.regions.setdefault(str(values["aria-label"]), [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.reading = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.reading = False

    def handle_data(self, data: str) -> None:
        if self.reading:
            self.rows[-1][-1] += data


def plain(text: object) -> str:
    """Return a cell without what a form of showing adds: spaces, signs of currency and percent, an apostrophe."""
    if isinstance(text, datetime):
        return text.strftime("%d.%m.%Y")
    shown = str(text).replace("−", "-").replace("\u202f×", "")
    if re.fullmatch(r"\+?-?[\d\s.,\u2009\u202f]+[₸%]?", shown):
        number = re.sub(r"[^\d,.-]", "", shown).replace(",", ".")
        return number if number.count(".") > 1 else f"{Decimal(number):.2f}"
    return shown.strip().removeprefix("'").strip()


def body(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    return [[plain(cell) for cell in row] for row in rows[1:]]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    early=SALES,
    late=SALES,
    spend=SPEND,
    query=FILTERS,
    by=st.sampled_from(list(DIMENSIONS)),
    days=SPANS,
    built=st.booleans(),
)
@example(
    early=[
        Sold(MIDNIGHTS[number], Decimal(number), ("unknown", None), "a", "", "", "express", "won")
        for number in range(4)
    ],
    late=[Sold(MIDNIGHTS[0], Decimal(9), ("unknown", None), "a", "", "", "express", "won")],
    spend=[],
    query={},
    by="campaign",
    days=[date(2024, 2, 1), date(2024, 3, 31)],
    built=True,
)
@example(
    early=[Sold(MIDNIGHTS[1], Decimal(1), ("unknown", None), "a", "", "", "express", "won")],
    late=[Sold(MIDNIGHTS[2], Decimal(2), ("unknown", None), "a", "", "", "express", "won")],
    spend=[],
    query={},
    by="campaign",
    days=[date(2024, 2, 29), date(2024, 2, 29)],
    built=True,
)
def test_all_say_the_same(client: Client, early, late, spend, query, by, days, built):
    with transaction.atomic():
        check(client, early, late, spend, query, by, days, built)
        transaction.set_rollback(True)


def check(client: Client, early, late, spend, query, by, days, built) -> None:
    boss = make_user("boss", superuser=True)
    client.force_login(boss)
    sell(early, 1)
    if built:
        build_days()
    sell(late, 1000)
    Sale.objects.filter(lead_id=1).update(sale_amount=77)
    AdSpend.objects.bulk_create(
        AdSpend(date=day, targetologist_id=slug, campaign=campaign.strip(), amount=amount)
        for day, slug, campaign, amount in spend
    )
    first, last = days
    expected = in_sql(first, last, query, by)
    names = {"targetologist": "line", "q": "text"}
    filters = Filters(**{names.get(name, name): value for name, value in query.items()})

    data = traffic_dashboard(Period(first, last), boss, filters, by=by)
    sums = {
        "lines": {line.key: line.totals for line in data.lines if line.totals.sales},
        "days": {day.day.isoformat(): day.totals for day in data.days if day.totals.sales},
        "parts": {part.value: part.totals for part in data.parts if part.totals.sales},
    }
    for name, totals in sums.items():
        assert {key: (t.sales, t.revenue, t.without_amount) for key, t in totals.items()} == expected[name], name
        assert data.totals.sales == sum(t.sales for t in totals.values())
        assert data.totals.known == sum(t.known for t in totals.values())

    if not query:  # a digest has no filters
        facts = select_facts(Period(first, last))
        slugs = {str(person): person.slug for person in Targetologist.objects.all()}
        groups = {slugs[name]: totals for name, totals in facts.ranking}
        groups |= {"unknown": facts.unattributed, "referral": facts.referrals}
        assert {key: (t.sales, t.revenue, t.without_amount) for key, t in groups.items() if t.sales} == expected[
            "lines"
        ]
        assert facts.totals.known == data.totals.known

    address = {**query, "by": by, "from": first.isoformat(), "to": last.isoformat()}
    answer = client.get(reverse("api-traffic-dashboard"), address).json()
    keys = {"lines": "key", "days": "day", "parts": "value"}
    for name, key in keys.items():
        told = {
            row[key]: (row["sales"], row["revenue"] and Decimal(row["revenue"]), row["without_amount"])
            for row in answer[name]
            if row["sales"]
        }
        assert told == expected[name], name
    assert answer["totals"]["sales"] == data.totals.sales
    assert answer["totals"]["spend"] == (None if data.spend is None else str(data.spend))

    page = client.get(reverse("traffic-dashboard"), address).content.decode()
    assert f"<dd>{money(data.totals.revenue)}</dd>" in page
    tables = Tables()
    tables.feed(page)
    book = load_workbook(BytesIO(client.get(reverse("traffic-dashboard-xlsx"), address).content))
    lists = {"Последние продажи", "Продажи, где не хватает данных"}
    assert tables.regions.keys() - lists <= set(book.sheetnames)
    titles = {"lines": "По таргетологам", "days": "По дням", "parts": PART_TITLES[by]}
    for name, title in titles.items():
        if title not in tables.regions:
            continue  # nothing was sold: the page says so instead
        shown = body(tables.regions[title])
        file = client.get(reverse("traffic-dashboard-csv", args=[name]), address).content.decode()[1:]
        in_csv = body(list(csv.reader(StringIO(file), delimiter=";")))
        in_book = body([[cell.value for cell in row] for row in book[title]])
        assert in_csv == in_book
        # One line needs no total on the page.
        assert shown == (in_csv if len(shown) > 1 else in_csv[:1])


def test_the_list_behind_the_numbers_has_as_many_sales(client: Client):
    """Every sale of every page of the list, in the page and in the API, is counted once."""
    client.force_login(make_user("boss", superuser=True))
    moment = datetime(2024, 2, 29, 18, 30, tzinfo=UTC)
    for number in range(120):
        state, amount = ("reversed" if number % 10 == 0 else "won"), (None if number % 7 == 0 else Decimal(number))
        make_sale(number + 1, when=moment + timedelta(minutes=number), state=state, sale_amount=amount, utm_source="x")
    for kind, count in (("won", 108), ("reversed", 12), ("lacking", 16)):
        address = {"from": "2024-02-29", "to": "2024-03-01", "show": kind}
        seen: list[int] = []
        for number in (1, 2, 3):
            page = client.get(reverse("traffic-dashboard-sales"), {**address, "page": str(number)})
            assert page.context["count"] == count
            seen += [int(row.values["lead_id"]) for row in page.context["table"].rows]
        assert len(seen) == len(set(seen)) == count
        assert seen == sorted(seen, reverse=True)
        answer = client.get(reverse("api-traffic-sales"), address).json()
        assert answer["count"] == count
        assert [sale["lead_id"] for sale in answer["results"]] == seen[:100]
        file = client.get(reverse("traffic-dashboard-sales-file", args=["csv"]), address).content.decode()
        assert len(file.splitlines()) == count + 1


def test_sums_of_a_targetologist_are_their_own(client: Client):
    user = make_user("muha")
    Targetologist.objects.filter(slug="muha").update(user=user)
    make_sale(1, when=timezone.now(), targetologist_id="muha", sale_amount=Decimal(5))
    make_sale(2, when=timezone.now(), targetologist_id="kenesary", sale_amount=Decimal(70))
    period = Period(timezone.localdate() - timedelta(days=1), timezone.localdate() + timedelta(days=1))
    for built in (False, True):
        if built:
            build_days()
        data = traffic_dashboard(period, user)
        assert data.totals.known == 5
        assert [line.key for line in data.lines] == ["muha"]
        assert traffic_dashboard(period, user, Filters(line="kenesary")).totals.sales == 0
