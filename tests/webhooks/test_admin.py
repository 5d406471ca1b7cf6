from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from onai_project.admin_base import reason_text
from tests.onai_project.rows import BODY, make_delivery, make_user
from webhooks import reasons
from webhooks.models import WebhookDelivery, WebhookLog

pytestmark = pytest.mark.django_db

DELIVERIES = "admin:webhooks_webhookdelivery_changelist"
LOG = "admin:webhooks_webhooklog_changelist"


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(make_user("boss", superuser=True))
    return client


def ids(answer) -> list[int]:
    return [row.pk for row in answer.context["cl"].result_list]


@pytest.mark.parametrize("view", [DELIVERIES, LOG])
def test_the_long_tables_are_never_counted(admin, view):
    make_delivery(1)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert admin.get(reverse(view)).status_code == 200
    counted = [query["sql"] for query in queries if "COUNT(" in query["sql"].upper()]
    assert counted == []


@pytest.mark.parametrize("view", [DELIVERIES, LOG])
def test_the_lists_ask_no_more_for_more_rows(admin, view, django_assert_num_queries):
    make_delivery(1)
    with CaptureQueriesContext(connection) as one:
        admin.get(reverse(view))
    for lead_id in range(2, 12):
        make_delivery(lead_id)
    with django_assert_num_queries(len(one)):
        admin.get(reverse(view))


def test_pages_go_on_as_long_as_there_are_rows(admin):
    newest = [make_delivery(n).pk for n in range(101)][::-1]
    first = admin.get(reverse(DELIVERIES))
    assert ids(first) == newest[:50]
    assert 'rel="next"' in first.content.decode()
    assert 'rel="prev"' not in first.content.decode()
    last = admin.get(reverse(DELIVERIES) + "?p=3")
    assert ids(last) == newest[100:]
    assert 'rel="next"' not in last.content.decode()


def test_a_full_last_page_has_no_next_one(admin):
    for n in range(50):
        make_delivery(n)
    assert 'rel="next"' not in admin.get(reverse(DELIVERIES)).content.decode()


@pytest.mark.parametrize("view", [DELIVERIES, LOG])
def test_it_finds_by_the_number_of_the_deal(admin, view):
    make_delivery(31)
    wanted = make_delivery(32)
    found = admin.get(reverse(view) + "?q=32")
    assert ids(found) == ([wanted.pk] if view == DELIVERIES else [wanted.logs.get().pk])
    assert ids(admin.get(reverse(view) + "?q=3")) == []


def test_it_finds_a_delivery_by_its_own_number(admin):
    make_delivery(900_001)
    wanted = make_delivery(900_002)
    assert ids(admin.get(reverse(DELIVERIES) + f"?q=%23{wanted.pk}")) == [wanted.pk]


@pytest.mark.parametrize("term", ["abc", "9" * 40, "٣٢", "'"])
@pytest.mark.parametrize("view", [DELIVERIES, LOG])
def test_a_search_for_what_is_no_number_finds_nothing(admin, view, term):
    make_delivery(32)
    assert ids(admin.get(reverse(view), {"q": term})) == []


def test_search_by_deal_uses_the_index():
    sql = str(WebhookLog.objects.filter(lead_id=32).query)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + sql)
        assert "log_lead" in "\n".join(row[0] for row in cursor.fetchall())


def test_the_date_filter_has_whole_days_of_almaty(admin):
    rows = {}
    for moment in ("2025-12-19T18:59:59Z", "2025-12-19T19:00:00Z", "2025-12-20T18:59:59Z", "2025-12-20T19:00:00Z"):
        rows[moment] = make_delivery(1, received_at=moment).pk
    answer = admin.get(reverse(DELIVERIES), {"received_at_from": "20.12.2025", "received_at_to": "2025-12-20"})
    assert sorted(ids(answer)) == [rows["2025-12-19T19:00:00Z"], rows["2025-12-20T18:59:59Z"]]


def test_a_date_that_is_none_filters_nothing(admin):
    delivery = make_delivery(1)
    answer = admin.get(reverse(DELIVERIES), {"received_at_from": "soon", "received_at_to": "99999999-01-01"})
    assert ids(answer) == [delivery.pk]


@pytest.mark.parametrize(
    ("view", "field", "value"),
    [
        (DELIVERIES, "status__exact", "dead"),
        (DELIVERIES, "source__exact", "amocrm_traffic"),
        (LOG, "routing_decision__exact", "ignored"),
        (LOG, "processing_status__exact", "ignored"),
    ],
)
def test_it_filters_by(admin, view, field, value):
    make_delivery(1)
    other = make_delivery(2, status="processed", source="amocrm")
    other.logs.update(routing_decision="traffic", processing_status="success")
    assert len(ids(admin.get(reverse(view)))) == 2
    assert len(ids(admin.get(reverse(view), {field: value}))) == 1


def body_of(admin: Client, body: bytes) -> str:
    delivery = make_delivery(31, body=body)
    return admin.get(reverse("admin:webhooks_webhookdelivery_change", args=[delivery.pk])).content.decode()


def test_the_body_is_shown_decoded_and_as_bytes(admin):
    page = body_of(admin, BODY)
    assert "leads[status][0][name] = Курс" in page
    assert "leads%5Bstatus%5D%5B0%5D%5Bname%5D=%D0%9A%D1%83%D1%80%D1%81" in page


def test_a_json_body_is_indented(admin):
    assert "&quot;name&quot;: &quot;Курс&quot;" in body_of(admin, '{"leads":[{"name":"\\u041a\\u0443рс"}]}'.encode())


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"{broken", b"", b"&".join([b"a=1"] * 30_000)])
def test_any_body_can_be_looked_at(admin, body):
    assert 'class="panel-pre"' in body_of(admin, body + b"\x00x")


def test_a_body_is_escaped(admin):
    page = body_of(admin, b"name=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_long_body_is_cut_and_says_so(admin):
    page = body_of(admin, b"a=" + b"x" * 100_000)
    assert "65536 из 100002" in page
    assert page.count("x" * 65_000) == 2


def test_the_page_has_the_log_and_the_reason_in_russian(admin):
    page = body_of(admin, BODY)
    assert "сделка не закрыта успешно: 143" in page


def test_a_reason_keeps_its_detail():
    assert reason_text(reasons.because(reasons.CRASHED, "ValueError: x")) == "сбой обработки: ValueError: x"
    assert reason_text("something unheard of") == "something unheard of"
    assert reason_text("") == "—"


@pytest.mark.parametrize("reason", reasons.EXPLAINED)
def test_every_reason_has_russian_words(reason):
    assert re.search("[а-я]", reason_text(reason))


def test_process_again_puts_the_chosen_deliveries_into_the_queue(admin):
    chosen, other = make_delivery(1), make_delivery(2)
    admin.post(reverse(DELIVERIES), {"action": "process_again", "_selected_action": [chosen.pk]})
    chosen.refresh_from_db()
    other.refresh_from_db()
    assert (chosen.status, other.status) == ("received", "dead")


def test_process_again_of_one_delivery_needs_a_post(admin):
    delivery = make_delivery(1)
    url = reverse("admin:webhooks_webhookdelivery_process_this_again", args=[delivery.pk])
    admin.get(url)
    delivery.refresh_from_db()
    assert delivery.status == "dead"
    admin.post(url, {"_form_submitted": "on"})
    delivery.refresh_from_db()
    assert delivery.status == "received"


def test_who_may_only_look_can_not_process_again(client):
    user = make_user("looker")
    user.user_permissions.add(Permission.objects.get(codename="view_webhookdelivery"))
    client.force_login(user)
    delivery = make_delivery(1)
    page = client.get(reverse("admin:webhooks_webhookdelivery_change", args=[delivery.pk])).content.decode()
    assert "process_this_again" not in page
    url = reverse("admin:webhooks_webhookdelivery_process_this_again", args=[delivery.pk])
    assert client.post(url, {"_form_submitted": "on"}).status_code == 403
    client.post(reverse(DELIVERIES), {"action": "process_again", "_selected_action": [delivery.pk]})
    assert WebhookDelivery.objects.get().status == "dead"
