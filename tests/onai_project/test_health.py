from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from tests import bodies
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
    assert re.search(r"due for 10\d s", response.json()["queue"])


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
