from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.models import Count
from django.test import Client

from onai_project import health
from onai_project.alarms import queue
from tests import bodies
from traffic.models import SalesNotification
from webhooks import inbox, pulse
from webhooks.models import Counter, Heartbeat, WebhookDelivery

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_last_beat", -1000.0)
    pulse._tally.clear()
    cache.clear()


def deliver(body: bytes, path: str = "/webhook/amocrm/traffic") -> int:
    return Client().generic("POST", path, body, bodies.FORM).status_code


def metric(text: str, name: str) -> float:
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def test_live_asks_no_database(client: Client, django_assert_num_queries: Any):
    with django_assert_num_queries(0):
        assert client.get("/health/live").json() == {"live": True}


def test_ready_with_a_worker_and_an_empty_queue(client: Client):
    pulse.beat()
    response = client.get("/health/ready")
    assert (response.status_code, response.json()) == (
        200, {"ready": True, "database": "ok", "migrations": "ok", "worker": "ok", "queue": "ok"},
    )  # fmt: skip


@pytest.mark.parametrize("age", [None, 20])
def test_not_ready_without_a_living_worker(client: Client, age: int | None):
    if age:
        Heartbeat.objects.create(name="inbox", seen_at=datetime.now(UTC) - timedelta(seconds=age))
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    assert "no heartbeat" in response.json()["worker"]


def test_not_ready_with_an_old_delivery_due(client: Client):
    pulse.beat()
    deliver(bodies.hook(1))
    WebhookDelivery.objects.update(next_attempt_at=datetime.now(UTC) - timedelta(seconds=100))
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert re.search(r"waiting for 10\d s", response.json()["queue"])


def pending(*, status: str = "received", attempts: int, hours: int = 9, due_in: float) -> WebhookDelivery:
    """Store a delivery that came hours ago and is due some seconds from now."""
    now = datetime.now(UTC)
    return WebhookDelivery.objects.create(
        source="amocrm",
        body=b"",
        status=status,
        attempts=attempts,
        received_at=now - timedelta(hours=hours),
        next_attempt_at=now + timedelta(seconds=due_in),
    )


def test_not_ready_when_a_worker_dies_again_and_again_although_nothing_is_due(client: Client):
    pulse.beat()
    for _ in range(3):
        pending(attempts=7, due_in=6 * 3600)
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert re.search(r"waiting for 3240\d s", response.json()["queue"])
    text = client.get("/metrics").content.decode()
    assert metric(text, "webhook_oldest_due_seconds") == 0
    assert 32400 <= metric(text, "webhook_oldest_pending_seconds") < 32460
    assert "540" in queue()


@pytest.mark.parametrize(
    "row",
    [
        {"status": "failed", "attempts": 5, "due_in": 3000},  # failed by itself: it ends dead, which is told
        {"status": "received", "attempts": 1, "due_in": 4},  # in work, or left behind a moment ago
    ],
)
def test_ready_with_an_old_delivery_that_has_its_turn(client: Client, row: dict[str, Any]):
    pulse.beat()
    pending(**row)
    assert client.get("/health/ready").json()["queue"] == "ok"
    assert queue() == ""
    assert metric(client.get("/metrics").content.decode(), "webhook_oldest_pending_seconds") >= 32400


def test_ready_when_an_old_delivery_is_put_back(client: Client):
    pulse.beat()
    delivery = pending(status="dead", attempts=8, due_in=0)
    inbox.process_again([delivery.pk])
    assert client.get("/health/ready").json()["queue"] == "ok"
    inbox._claim(inbox._CLAIM_NEW, 1)
    assert client.get("/health/ready").json()["queue"] == "ok"


def test_what_waits_is_found_by_the_queues_index_beside_many_processed_rows():
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhook_deliveries (source, body, content_type, headers, query, status) "
            "SELECT 'amocrm', 'a=1', '', '{}', '', 'processed' FROM generate_series(1, 20000)"
        )
        for number in range(20):
            pending(status=("received", "failed")[number % 2], attempts=number % 4, due_in=60)
        cursor.execute("ANALYZE webhook_deliveries")
        for query in (health._OLDEST_DUE, health._OLDEST_PENDING, health._LEFT_BEHIND):
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert re.search("delivery_(pending|again)", plan), plan
            assert "Seq Scan" not in plan


def test_not_ready_with_migrations_to_apply(client: Client, monkeypatch: pytest.MonkeyPatch):
    pulse.beat()
    monkeypatch.setattr("onai_project.health.MigrationExecutor.migration_plan", lambda *args: ["one"])
    assert "manage.py migrate" in client.get("/health/ready").json()["migrations"]


def test_metrics_tell_what_happened(client: Client, settings: Any):
    settings.AMOCRM_WEBHOOK_SECRETS = ["s"]
    assert deliver(b"a=1") == 403
    settings.AMOCRM_WEBHOOK_SECRETS = []
    deliver(bodies.hook(1))
    deliver(b"a=1", "/webhook/amocrm")
    WebhookDelivery.objects.create(source="amocrm", body=b"", status="dead")
    inbox.process_due()
    deliver(bodies.hook(2))
    pulse.beat()
    text = client.get("/metrics").content.decode()
    assert metric(text, 'webhook_deliveries_total{outcome="processed",source="amocrm_traffic"}') == 1
    assert metric(text, 'webhook_deliveries_total{outcome="processed",source="amocrm"}') == 1
    assert metric(text, 'webhook_refused_total{reason="secret",source="amocrm_traffic"}') == 1
    assert metric(text, 'webhook_deliveries_waiting{status="received"}') == 1
    assert metric(text, 'webhook_deliveries_waiting{status="dead"}') == 1
    assert 0 <= metric(text, "webhook_oldest_due_seconds") < 60
    assert metric(text, "webhook_processing_seconds_count") == 2
    assert metric(text, "webhook_processing_seconds_sum") > 0
    assert 'worker_heartbeat_timestamp_seconds{loop="inbox"}' in text


def test_the_messages_of_a_day_are_counted_without_those_of_years():
    sent = SalesNotification.objects.create(lead_id=0, sale_date=datetime.now(UTC), notification_status="sent")
    given = {"lead_id": "n", "created_at": "now() - (200000 - n) * interval '5 minutes'"}
    columns = [str(field.column) for field in SalesNotification._meta.concrete_fields if field.column != "id"]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO sales_notifications ({', '.join(columns)}) "
            f"SELECT {', '.join(given.get(name, name) for name in columns)} "
            f"FROM sales_notifications CROSS JOIN generate_series(1, 200000) AS n ORDER BY n"
        )
        sent.delete()
        cursor.execute("SELECT brin_summarize_new_values('salesnotification_created')")  # as autovacuum does
        cursor.execute("ANALYZE sales_notifications")
        cursor.execute("SELECT relpages FROM pg_class WHERE relname = 'sales_notifications'")
        (pages,) = cursor.fetchone()
    recent = SalesNotification.objects.filter(created_at__gte=datetime.now(UTC) - timedelta(days=1))
    counts = recent.values_list("notification_status").annotate(Count("pk")).order_by()
    assert list(counts) == [("sent", 288)]
    plan = json.loads(counts.explain(format="json", analyze=True, buffers=True))[0]["Plan"]
    assert "salesnotification_created" in json.dumps(plan)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < pages / 10


def test_counts_add_up_over_beats(monkeypatch: pytest.MonkeyPatch):
    for _ in range(2):
        pulse.count([("amocrm", "processed")] * 3, 0.5)
        monkeypatch.setattr(pulse, "_last_beat", -1000.0)
        pulse.beat()
    assert Counter.objects.get(name="deliveries").value == 6
    assert Counter.objects.get(name="seconds").value == 1


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.0.0.1", {"HTTP_X_FORWARDED_FOR": "1.2.3.4"}, 403),
        ("1.2.3.4", {}, 403),
        ("1.2.3.4", {"HTTP_AUTHORIZATION": "Bearer t0ken"}, 200),
        ("1.2.3.4", {"HTTP_AUTHORIZATION": "Bearer wrong"}, 403),
        ("", {}, 403),
    ],
)
def test_metrics_are_for_this_machine_or_a_token(
    client: Client, settings: Any, address: str, headers: dict[str, Any], status: int
):
    settings.METRICS_TOKEN = "t0ken"
    assert client.get("/metrics", REMOTE_ADDR=address, **headers).status_code == status


def test_an_unknown_webhook_address_is_404_in_json(client: Client, settings: Any):
    settings.DEBUG = False
    response = client.post("/webhook/amocrm/trafic")
    assert (response.status_code, response.json()["success"]) == (404, False)


def test_a_wrong_host_is_400_in_json(client: Client, settings: Any):
    settings.ALLOWED_HOSTS = ["right.example"]
    response = client.get("/webhook/amocrm/traffic/test", HTTP_HOST="wrong.example")
    assert (response.status_code, response.json()["success"]) == (400, False)
    assert "ALLOWED_HOSTS" in response.json()["error"]
