from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from onai_project import roles
from onai_project.api import make_token
from onai_project.periods import Period, today
from referrals.dashboard import Commission, Liability, entries_of, referral_dashboard, select_liability
from referrals.models import Earning, Referrer
from referrals.payouts import batches
from referrals.payouts.models import BankDetails, Payout
from referrals.status import with_entry_status
from tests.onai_project.rows import make_conversion, make_user
from tests.referrals.payouts.conftest import confirm, due_conversion, pay, take_back
from tests.referrals.sales import SALES, sell

pytestmark = pytest.mark.django_db

DECEMBER = Period(date(2025, 12, 1), date(2025, 12, 31))
NOON = datetime(2025, 12, 20, 7, tzinfo=UTC)
LATER = NOON + timedelta(days=60)
YEAR = {"from": (today() - timedelta(days=300)).isoformat(), "to": today().isoformat()}


@pytest.fixture
def dana(db):
    dana = Referrer.objects.create(code="ref_dana", name="Дана", claimed=True)
    BankDetails.objects.create(referrer=dana, recipient="Дана", account="+77010000001")
    return dana


@pytest.fixture
def office(client: Client) -> Client:
    client.force_login(make_user("refs", role=roles.REFERRAL_MANAGER))
    return client


def commission(**parts: int) -> Commission:
    return Commission(**{name: Decimal(amount) for name, amount in parts.items()})


def test_it_sums_the_ledger_of_the_conversions_of_the_period(dana):
    make_conversion(1, dana, when=NOON)
    make_conversion(2, dana, when=NOON, sale_amount=None)
    make_conversion(3, dana, when=NOON - timedelta(days=40))
    dashboard = referral_dashboard(DECEMBER, LATER)
    assert (dashboard.totals.conversions, dashboard.totals.sales_sum, dashboard.totals.without_amount) == (2, 50_000, 1)
    assert dashboard.commission == commission(available=5_000)


def test_commission_waits_for_its_day(dana):
    make_conversion(1, dana, when=NOON)
    assert referral_dashboard(DECEMBER, NOON + timedelta(days=13)).commission == commission(waiting=5_000)


def test_commission_on_hold_is_apart_and_waits_for_a_decision(dana):
    make_conversion(1, dana, when=NOON, hold_reason="self_referral")
    make_conversion(2, dana, when=NOON, hold_reason="unclaimed")
    dashboard = referral_dashboard(DECEMBER, LATER)
    assert dashboard.commission == commission(hold=10_000)
    assert ([one.lead_id for one in dashboard.held], dashboard.held_count) == ([1], 1)


def test_what_is_being_paid_and_what_is_paid_is_apart(dana):
    manager = make_user("cashier")
    due_conversion(1, dana)
    payout = confirm(batches.batch_create(cutoff=today(), minimum=Decimal(1), by=manager), manager)[0]
    period = Period(today() - timedelta(days=60), today())
    assert referral_dashboard(period).commission == commission(in_payout=10_000)
    batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
    assert referral_dashboard(period).commission == commission(paid=10_000)


def test_a_debt_lessens_what_is_available(dana):
    conversion = due_conversion(1, dana)
    pay(make_user("cashier"))
    take_back(conversion)
    due_conversion(2, dana, 300_000)
    dashboard = referral_dashboard(Period(today() - timedelta(days=60), today()))
    assert dashboard.commission == commission(available=20_000, paid=10_000)
    assert dashboard.commission.accrued == 30_000


def test_what_was_taken_back_earns_nothing_and_is_shown_apart(dana):
    make_conversion(1, dana, when=NOON, state="reversed")
    dashboard = referral_dashboard(DECEMBER, LATER)
    assert dashboard.totals.conversions == 0
    assert dashboard.commission.accrued == 0
    assert (dashboard.reversed.conversions, dashboard.reversed.sales_sum) == (1, 50_000)
    assert dashboard.lines == []


def test_lines_and_days_add_up_to_the_totals(dana):
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
    assert sum(day.accrued for day in dashboard.days) == dashboard.commission.accrued


def test_it_compares_with_the_days_before(dana):
    make_conversion(1, dana, when=NOON)
    make_conversion(2, dana, when=NOON - timedelta(days=31), sale_amount=Decimal(80_000))
    before = referral_dashboard(DECEMBER, LATER).before
    assert (before.period.first, before.period.last) == (date(2025, 10, 31), date(2025, 11, 30))
    assert (before.totals.conversions, before.totals.sales_sum, before.accrued) == (1, 80_000, 8_000)


def test_one_referrer_alone(dana):
    make_conversion(1, dana, when=NOON)
    make_conversion(2, Referrer.objects.create(code="ref_other"), when=NOON)
    dashboard = referral_dashboard(DECEMBER, LATER, dana)
    assert (dashboard.totals.conversions, dashboard.commission.accrued) == (1, 5_000)
    assert [conversion.lead_id for conversion in dashboard.latest] == [1]


def test_the_liability_is_of_all_time_and_all_referrers(dana):
    due_conversion(1, dana)
    pay(make_user("cashier"))
    due_conversion(2, dana, 70_000, when=NOON - timedelta(days=2000))
    make_conversion(3, Referrer.objects.create(code="ref_other"), hold_reason="unclaimed")
    make_conversion(4, dana)
    liability = referral_dashboard(Period(today(), today())).liability
    assert liability == Liability(owed=Decimal(17_000), paid=Decimal(10_000))


def test_codes_without_an_owner_are_listed_whatever_the_period(dana):
    nobody = Referrer.objects.create(code="ref_nobody")
    make_conversion(1, nobody, when=NOON - timedelta(days=400))
    make_conversion(2, dana, when=NOON)
    unclaimed = referral_dashboard(DECEMBER, LATER).unclaimed
    assert [(one.code, one.balance, one.won_conversions) for one in unclaimed] == [("ref_nobody", 5_000, 1)]


def test_it_asks_the_database_as_often_for_many_conversions_as_for_one(dana, django_assert_num_queries):
    for lead_id in range(30):
        make_conversion(lead_id, Referrer.objects.create(code=f"ref_{lead_id}"), when=NOON)
    with django_assert_num_queries(19):
        dashboard = referral_dashboard(DECEMBER, LATER)
        assert len({conversion.referrer.code for conversion in dashboard.latest}) == 20


def test_the_page_shows_the_conversion_and_its_commission(office, dana):
    make_conversion(1, dana)
    page = office.get(reverse("referral-dashboard")).content.decode()
    assert "Сделка 1" in page
    assert "5\u2009000\u2009₸" in page


def test_an_empty_dashboard_says_what_to_do(office):
    assert (
        "<code>manage.py send_test_deal referral</code>" in office.get(reverse("referral-dashboard")).content.decode()
    )


def test_a_name_leads_to_the_entries_of_the_referrer(office, dana):
    make_conversion(1, dana)
    make_conversion(2, Referrer.objects.create(code="ref_other", name="Другой"))
    lines = office.get(reverse("referral-dashboard")).context["lines"]
    link = next(row.links["name"] for row in lines.rows if row.values["code"] == "ref_dana")
    page = office.get(link).content.decode()
    assert "10 %: 50000" in page
    assert "Другой" not in page


def test_entries_are_filtered_by_status(office, dana):
    make_conversion(1, dana)
    make_conversion(2, dana, hold_reason="inactive", sale_amount=Decimal(70_000))
    answer = office.get(reverse("referral-dashboard-entries"), {"status": "hold"})
    assert (answer.context["count"], answer.context["total"]) == (1, 7_000)


def test_a_referrer_that_there_is_not_is_explained(office, dana):
    assert "Такого реферера нет." in office.get(reverse("referral-dashboard"), {"referrer": "x\x00"}).content.decode()


def rows_of(answer) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.getvalue().decode("utf-8-sig")), delimiter=";"))


def test_a_file_of_entries_has_what_the_page_has(office, dana):
    for number in range(3):
        make_conversion(number, dana, lead_name="=1+1")
    rows = rows_of(office.get(reverse("referral-dashboard-entries-csv"), YEAR))
    assert len(rows) == 4
    assert rows[1][rows[0].index("Название сделки")] == "'=1+1"
    sheet = load_workbook(io.BytesIO(office.get(reverse("referral-dashboard-entries-xlsx"), YEAR).content)).worksheets[
        0
    ]
    assert [row[1] for row in sheet.iter_rows(min_row=2, values_only=True)] == [5000, 5000, 5000]


ADDRESSES = [
    "referral-dashboard",
    "referral-dashboard-entries",
    "referral-dashboard-entries-csv",
    "referral-dashboard-entries-xlsx",
    "referral-dashboard-xlsx",
    "api-referral-dashboard",
    "api-referral-entries",
]


@pytest.mark.parametrize("role", [roles.HEAD_OF_TRAFFIC, roles.TARGETOLOGIST])
def test_people_of_traffic_get_403(client: Client, role):
    client.force_login(make_user("someone", role=role))
    addresses = [*map(reverse, ADDRESSES), reverse("referral-dashboard-csv", args=["lines"])]
    assert {client.get(address).status_code for address in addresses} == {403}


def test_referral_people_open_all_of_it_and_nothing_of_traffic(office):
    assert {office.get(reverse(name)).status_code for name in ADDRESSES} == {200}
    assert office.get(reverse("traffic-dashboard")).status_code == 403


def test_with_both_roles_both_dashboards_open(client):
    user = make_user("both", role=roles.REFERRAL_MANAGER)
    user.groups.add(Group.objects.get(name=roles.HEAD_OF_TRAFFIC))
    client.force_login(user)
    assert {client.get(reverse(name)).status_code for name in ("referral-dashboard", "traffic-dashboard")} == {200}


def test_the_api_answers_to_a_key(client, dana):
    make_conversion(1, dana)
    token = make_token(user=make_user("refs", role=roles.REFERRAL_MANAGER))
    answer = client.get(reverse("api-referral-dashboard"), headers={"Authorization": f"Bearer {token}"}).json()
    assert answer["totals"]["accrued"] == "5000"
    assert answer["referrers"][0]["code"] == "ref_dana"
    assert client.get(reverse("api-referral-dashboard")).status_code == 401


def test_the_api_refuses_what_it_does_not_understand(office):
    answer = office.get(reverse("api-referral-dashboard"), {"from": "gestern"})
    assert (answer.status_code, "detail" in answer.json()) == (400, True)


def test_the_api_pages_entries(office, dana):
    for number in range(51):
        make_conversion(number, dana)
    first = office.get(reverse("api-referral-entries")).json()
    second = office.get(reverse("api-referral-entries"), {"page": first["next"]}).json()
    assert (len(first["entries"]), len(second["entries"]), second["next"]) == (50, 1, None)
    assert first["entries"][0]["status"] == "waiting"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(SALES, st.dates(date(2025, 11, 28), date(2025, 12, 3)), st.integers(0, 4))
def test_page_files_api_and_sql_agree(office, rows, first, length):
    """Whatever was sold when, and whatever of it is paid."""
    period = Period(first, first + timedelta(days=length))
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT example")
    sell(rows)
    query = {"from": period.first.isoformat(), "to": period.last.isoformat()}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE state = 'won'), coalesce(sum(sale_amount) FILTER (WHERE state = 'won'), 0) "
            "FROM referral_conversions WHERE (sale_date AT TIME ZONE 'Asia/Almaty')::date BETWEEN %s AND %s",
            [period.first, period.last],
        )
        won, known = cursor.fetchone()
        cursor.execute(
            "SELECT coalesce(sum(e.amount), 0), coalesce(sum(e.amount) FILTER (WHERE i.id IS NOT NULL), 0) "
            "FROM referral_earnings e JOIN referral_conversions c ON c.id = e.conversion_id "
            "LEFT JOIN referral_payout_items i ON i.earning_id = e.id "
            "WHERE (c.sale_date AT TIME ZONE 'Asia/Almaty')::date BETWEEN %s AND %s",
            [period.first, period.last],
        )
        accrued, paid_sum = cursor.fetchone()
    page = office.get(reverse("referral-dashboard"), query).context["data"]
    assert (page.totals.conversions, page.totals.known) == (won, known)
    assert (page.commission.accrued, page.commission.paid) == (accrued, paid_sum)
    assert sum((day.accrued for day in page.days), Decimal(0)) == accrued
    entries = with_entry_status(entries_of(period), datetime.now(UTC))
    statuses = entries.values("status").annotate(sum=Sum("amount")).order_by()
    one_by_one = {row["status"]: row["sum"] for row in statuses}
    for part in ("hold", "waiting", "in_payout", "paid"):
        assert getattr(page.commission, part) == one_by_one.get(part, 0)
    api = office.get(reverse("api-referral-dashboard"), query).json()
    assert (api["totals"]["conversions"], api["totals"]["accrued"]) == (won, str(accrued))
    assert sum(int(line["accrued"]) for line in api["referrers"]) == accrued
    lines = rows_of(office.get(reverse("referral-dashboard-csv", args=["lines"]) + "?" + urlencode(query)))
    assert lines[-1][lines[0].index("Комиссия")] == str(accrued)
    listed = rows_of(office.get(reverse("referral-dashboard-entries-csv"), query))
    assert sum(int(row[1]) for row in listed[1:]) == accrued
    owed = sum(Earning.objects.values_list("amount", flat=True)) - sum(Payout.objects.values_list("amount", flat=True))
    assert select_liability().owed == owed
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK TO SAVEPOINT example")
