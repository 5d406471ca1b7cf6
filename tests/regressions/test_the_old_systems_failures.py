"""Each failure of the system that this one replaces, by its number; each made impossible, and held so here.

Failures 16 (a hook that is gone), 17 (a paged import) and the tiers of 18 concern what does not exist yet.
"""

from __future__ import annotations

import ast
import importlib
import threading
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.urls import get_resolver

from notifications.models import TelegramChat
from notifications.sender import Sender
from notifications.telegram import Bot
from onai_project import settings as production
from referrals.models import CommissionPlan, Conversion, Earning, Referrer
from referrals.seeds import seed as seed_plans
from tests import bodies, fakes
from traffic.models import AttributionRule, Sale, SalesNotification, Targetologist
from traffic.seeds import seed
from webhooks import inbox, registry
from webhooks.models import Deal, WebhookDelivery, WebhookLog

TRAFFIC = "/webhook/amocrm/traffic"
REFERRAL = "/webhook/amocrm/referral"
needs_database = pytest.mark.django_db


def send(path: str, body: bytes, content_type: str = bodies.FORM) -> int:
    """Post a body and process it; return the status."""
    status = Client().generic("POST", path, body, content_type).status_code
    while inbox.process_due():
        pass
    return status


def now() -> int:
    return int(time.time())


@needs_database
def test_01_a_form_body_reaches_the_handler():
    assert send(TRAFFIC, bodies.payload("won-status-coded-utm.txt")) == 200
    assert Sale.objects.get().targetologist_id == "kenesary"


@needs_database
def test_02_leads_as_an_index_object_are_read():
    body = b'{"leads": {"status": {"0": {"id": "1", "status_id": "142", "pipeline_id": "10418746", "price": "5"}}}}'
    assert send(TRAFFIC, body, "application/json") == 200
    assert Sale.objects.get().sale_amount == 5


@needs_database
def test_03_custom_fields_keep_their_depth():
    send(TRAFFIC, bodies.payload("won-status-coded-utm.txt"))
    sale = Sale.objects.get()
    assert (sale.utm_source, sale.utm_campaign, sale.utm_medium) == ("kenesary_test", "tripwire_17.12", "cpc")


@needs_database
def test_04_a_status_sent_as_text_is_the_number_142_and_a_skip_is_logged():
    send(TRAFFIC, bodies.hook(1, at=now(), status=142))
    send(TRAFFIC, bodies.hook(2, at=now(), status=141))
    assert Sale.objects.get().lead_id == 1
    skipped = WebhookLog.objects.get(lead_id=2)
    assert (skipped.routing_decision, skipped.error_message) == ("ignored", "the deal is not won: 141")


@needs_database
@pytest.mark.parametrize("name", ["won-status-coded-utm.txt", "v4-shape.json"])
def test_05_both_names_of_custom_fields_are_read(name: str):
    send(TRAFFIC, bodies.payload(name), bodies.content_type(name))
    assert Sale.objects.get().channel == "targetologist"


@needs_database
def test_06_one_handler_a_url_and_no_default_price():
    routes = [str(pattern.pattern) for pattern in get_resolver("webhooks.urls").url_patterns]
    assert len(routes) == len(set(routes)) == 4 * len(registry.endpoints())
    send(TRAFFIC, bodies.hook(1, at=now(), utm_campaign="arystan_1"))
    assert Sale.objects.get().sale_amount is None
    assert SalesNotification.objects.get().sale_amount is None
    assert WebhookLog.objects.get().processing_status == "success"


@needs_database
@pytest.mark.parametrize("action", ["status", "add", "update"])
def test_07_every_action_that_tells_a_win_is_taken(action: str):
    assert send(TRAFFIC, bodies.hook(1, action=action, at=now())) == 200
    assert Sale.objects.count() == 1


@needs_database
@pytest.mark.parametrize(
    "name",
    ["note.txt", "account-only.txt", "empty.txt", "contact-linked-leads.txt", "unsorted.json",
     "several-leads-and-entities-with-gaps.txt", "digital-pipeline-widget.txt", "delete-id-only.json"],
)  # fmt: skip
def test_08_no_valid_body_is_refused_so_nothing_is_retried_without_end(name: str):
    assert send(TRAFFIC, bodies.payload(name), bodies.content_type(name)) == 200


@needs_database
def test_09_a_failing_table_is_an_error_that_is_seen_and_retried(monkeypatch: pytest.MonkeyPatch):
    def broken(*args: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO all_sales_tracking DEFAULT VALUES")

    monkeypatch.setattr("traffic.receivers.converge_sales", broken)
    assert send(TRAFFIC, bodies.hook(1, at=now(), utm_source="ref_a", price=100)) == 200
    log = WebhookLog.objects.get()
    assert (log.processing_status, WebhookDelivery.objects.get().status) == ("partial", "failed")
    assert "traffic: IntegrityError" in log.error_message
    assert Conversion.objects.count() == 1


@needs_database
def test_10_skipped_unparsable_and_crashed_deliveries_leave_a_trace(monkeypatch: pytest.MonkeyPatch):
    send(TRAFFIC, bodies.payload("account-only.txt"))
    assert send(TRAFFIC, b"{") == 400
    monkeypatch.setattr(inbox, "lock_deliveries", lambda ids: 1 / 0)
    send(TRAFFIC, bodies.hook(1, at=now()))
    traces = list(WebhookDelivery.objects.order_by("id").values_list("status", "error_message"))
    assert [status for status, _ in traces] == ["processed", "invalid", "failed"]
    assert "not JSON" in traces[1][1]
    assert "ZeroDivisionError" in traces[2][1]
    assert WebhookLog.objects.get().error_message == "no deal in it: account"


@needs_database
def test_11_a_retry_is_neither_lost_nor_a_second_sale_or_message():
    body = bodies.hook(1, at=now(), price=100)
    for _ in range(3):
        assert send(TRAFFIC, body) == 200
    assert WebhookDelivery.objects.filter(status="processed").count() == 3
    assert (Sale.objects.count(), SalesNotification.objects.count()) == (1, 1)


@needs_database
def test_12_a_moved_group_is_followed_and_underscores_arrive_as_they_are(settings: Any):
    chat = TelegramChat.objects.create(chat_id=-5, kind="common")
    send(TRAFFIC, bodies.hook(1, at=now(), price=100, utm_campaign="tripwire_*_<b>&"))
    with fakes.FakeBotApi() as api:
        settings.TELEGRAM_API_URL = api.url
        api.will(fakes.migrated(-1005), chat_id=-5)
        with Bot(fakes.TOKEN) as bot:
            Sender(bot, stop=threading.Event()).send_pending()
        assert len(api.sent) == 1
        assert "tripwire_*_&lt;b&gt;&amp;" in api.texts[0]
    chat.refresh_from_db()
    assert chat.chat_id == -1005
    assert SalesNotification.objects.get().notification_status == "sent"


@needs_database
def test_12_without_a_token_nothing_claims_to_be_sent(settings: Any):
    settings.TELEGRAM_BOT_TOKEN = ""
    send(TRAFFIC, bodies.hook(1, at=now()))
    Sender(None, stop=threading.Event()).send_pending()
    notification = SalesNotification.objects.get()
    assert notification.notification_status == "console"
    assert "TELEGRAM_BOT_TOKEN is not set" in notification.error


@needs_database
def test_13_a_sale_is_dated_by_the_crm_and_its_money_is_whole_and_known():
    won = now() - 2 * 86400
    send(TRAFFIC, bodies.hook(1, at=won, price="100000.50", utm_source="ref_a"))
    sale, conversion = Sale.objects.get(), Conversion.objects.get()
    assert sale.sale_date == conversion.sale_date == datetime.fromtimestamp(won, UTC)
    assert sale.sale_amount == conversion.sale_amount == Decimal(100001)
    assert Earning.objects.get().amount == Decimal(10000)


@needs_database
def test_13_the_business_day_is_almatys_and_its_offset_changed_in_2024(settings: Any):
    zone = ZoneInfo(settings.TIME_ZONE)
    assert datetime(2024, 2, 1, tzinfo=zone).utcoffset() == timedelta(hours=6)
    assert datetime(2025, 2, 1, tzinfo=zone).utcoffset() == timedelta(hours=5)
    at = datetime(2025, 12, 20, 19, 30, tzinfo=UTC)  # half past midnight in Almaty
    send(REFERRAL, bodies.hook(1, at=int(at.timestamp()), price=100, utm_source="ref_a"))
    assert Conversion.objects.get().sale_date.astimezone(zone).date() == date(2025, 12, 21)


@needs_database
def test_14_the_hook_has_a_secret(settings: Any, client: Client):
    settings.AMOCRM_WEBHOOK_SECRETS = ["s"]
    for url, status in ((TRAFFIC, 403), (f"{TRAFFIC}?key=s", 200)):
        assert client.generic("POST", url, b"a=1", bodies.FORM).status_code == status


def test_14_production_refuses_to_start_without_a_secret(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"DEBUG": "off", "SECRET_KEY": "x", "DATABASE_URL": "postgres://a@b/c"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AMOCRM_WEBHOOK_SECRETS", raising=False)
    with pytest.raises(ImproperlyConfigured, match="AMOCRM_WEBHOOK_SECRETS"):
        importlib.reload(production)
    monkeypatch.undo()
    importlib.reload(production)


def test_15_the_attribution_rule_is_one_function():
    root = Path(registry.__file__).parent.parent
    defined = [
        path.relative_to(root).as_posix()
        for app in ("webhooks", "traffic", "referrals", "notifications", "onai_project")
        for path in (root / app).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and "attribute" in node.name.split("_") and node.name != "has_attribute"
    ]
    assert defined == ["traffic/attribution.py"]


@pytest.mark.django_db(transaction=True)
def test_18_two_workers_with_the_same_referral_make_one_conversion():
    seed(Targetologist, AttributionRule)
    seed_plans(CommissionPlan)
    for number in range(20):
        for _ in range(2):
            Client().generic(
                "POST", REFERRAL, bodies.hook(number // 2 + 1, at=now(), price=1000, utm_source=f"ref_{number % 3}"),
                bodies.FORM,
            )  # fmt: skip

    def work() -> None:
        try:
            while inbox.process_due():
                pass
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert Conversion.objects.count() == Deal.objects.count() == 10
    assert sum(Earning.objects.values_list("amount", flat=True)) == 10 * 100
    assert Referrer.objects.count() <= 3


@needs_database
def test_18_a_lost_deal_takes_the_commission_back():
    send(REFERRAL, bodies.hook(1, at=now(), price=50_000, utm_source="ref_a"))
    send(REFERRAL, bodies.hook(1, at=now() + 1, price=50_000, utm_source="ref_a", status=bodies.LOST))
    assert list(Earning.objects.order_by("seq").values_list("kind", "amount")) == [
        ("accrual", Decimal(5000)), ("reversal", Decimal(-5000)),
    ]  # fmt: skip
    assert Conversion.objects.get().state == "reversed"
