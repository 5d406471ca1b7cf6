"""Is it alive, is it ready, and the numbers: for load balancers, monitors and Prometheus."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from notifications.outbox import outbox_models
from webhooks.models import Counter, Heartbeat, WebhookDelivery, WebhookRefusal
from webhooks.store import Deadline, NotStored

# A worker beats every 2 s; a batch takes less than a second.
HEARTBEAT_SECONDS = 15
# On an idle system a delivery waits 50 ms.
OVERDUE_SECONDS = 60

_OLDEST_DUE = """
SELECT extract(epoch FROM statement_timestamp() - next_attempt_at) FROM webhook_deliveries
WHERE status IN ('received', 'failed') AND next_attempt_at <= statement_timestamp()
ORDER BY next_attempt_at LIMIT 1
"""
_OLDEST_PENDING = """
SELECT extract(epoch FROM statement_timestamp() - min(received_at)) FROM webhook_deliveries
WHERE status IN ('received', 'failed')
"""
# Claimed twice and still `received`: a worker died of it, or with it. Each claim puts off when it is due, so that a
# worker that dies again and again leaves nothing due. Once may be a batch in work, of old ones put back by a person.
_LEFT_BEHIND = """
SELECT extract(epoch FROM statement_timestamp() - min(received_at)) FROM webhook_deliveries
WHERE status = 'received' AND attempts > 1
"""


def live(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers; asks nobody else."""
    return JsonResponse({"live": True})


def ready(request: HttpRequest) -> HttpResponse:
    """200 when deliveries are taken and worked on, else 503; either says what is well and what is not.

    A database that hangs is away after a second, or two where the connection must be opened first.
    """
    try:
        _reach_database()
        with Deadline(connection.connection.pgconn):
            heartbeat = Heartbeat.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()
            waiting = longest_wait_seconds()
        age = None if heartbeat is None else (datetime.now(UTC) - heartbeat).total_seconds()
        checks = {
            "database": "ok",
            "migrations": "ok" if _migrated() else "not applied: manage.py migrate",
            "worker": "ok" if age is not None and age < HEARTBEAT_SECONDS else f"no heartbeat for {age or '…'} s",
            "queue": "ok" if waiting < OVERDUE_SECONDS else f"a delivery has been waiting for {waiting:.0f} s",
        }
    except NotStored as error:
        connection.close()
        checks = {"database": f"hangs: {error}"}
    except DatabaseError as error:
        connection.close()
        checks = {"database": f"away: {type(error).__name__}"}
    well = all(state == "ok" for state in checks.values())
    return JsonResponse({"ready": well, **checks}, status=200 if well else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Return Prometheus' text. 403 for whoever is neither on this machine nor has METRICS_TOKEN; 503: no database."""
    if not _may_read_metrics(request):
        return HttpResponse("set METRICS_TOKEN and send it as Authorization: Bearer …\n", status=403)
    try:
        registry = CollectorRegistry()
        registry.register(_Collector())  # collects, to learn the names
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    except DatabaseError as error:
        connection.close()
        return HttpResponse(f"the database is away: {type(error).__name__}\n", content_type="text/plain", status=503)


def _reach_database() -> None:
    """Have a connection that answers; open a stale one again. Raises NotStored when the server hangs.

    Django's own look at a stale connection would take a server that hangs for one that is gone, and wait once more.
    """
    connection.ensure_connection()
    try:
        with Deadline(connection.connection.pgconn):
            connection.connection.execute("SELECT 1")
    except psycopg.Error:
        connection.close()
        connection.ensure_connection()


def longest_wait_seconds() -> float:
    """Return for how long a delivery has waited in vain: due and not taken, or taken and never got through.

    One that failed by itself and is to be tried again later does not count: if that never helps it ends dead, which has
    an alarm of its own.
    """
    return max(_seconds(_OLDEST_DUE), _seconds(_LEFT_BEHIND))


def _seconds(query: str) -> float:
    """Return the number that a query finds; 0 where it finds none."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
        return float(row[0] or 0) if row else 0.0


class _Collector:
    """Reads the numbers from the database, by its small tables and partial indexes: no log table is scanned."""

    def collect(self) -> Iterator[Metric]:
        deliveries = CounterMetricFamily("webhook_deliveries", "Processed deliveries", labels=["source", "outcome"])
        total = 0.0
        for source, outcome, value in Counter.objects.filter(name=Counter.Name.DELIVERIES).values_list(
            "source", "outcome", "value"
        ):
            deliveries.add_metric([source, outcome], value)
            total += value
        yield deliveries

        seconds = Counter.objects.filter(name=Counter.Name.SECONDS).aggregate(sum=Sum("value"))["sum"] or 0.0
        yield SummaryMetricFamily("webhook_processing_seconds", "Time of processing", int(total), seconds)

        refused = CounterMetricFamily("webhook_refused", "Refused requests", labels=["source", "reason"])
        for source, reason, count in WebhookRefusal.objects.values_list("source", "reason").annotate(Sum("count")):
            refused.add_metric([source, reason], count)
        yield refused

        waiting = GaugeMetricFamily("webhook_deliveries_waiting", "Stored, not processed", labels=["status"])
        status = WebhookDelivery.Status
        for state in (status.RECEIVED, status.FAILED, status.DEAD):
            waiting.add_metric([state], WebhookDelivery.objects.filter(status=state).count())
        yield waiting
        yield GaugeMetricFamily(
            "webhook_oldest_pending_seconds", "Age of the oldest delivery not processed", _seconds(_OLDEST_PENDING)
        )
        yield GaugeMetricFamily(
            "webhook_oldest_due_seconds", "For how long the oldest delivery has been due", _seconds(_OLDEST_DUE)
        )

        since = datetime.now(UTC) - timedelta(days=1)
        told = GaugeMetricFamily("notifications_last_day", "Messages of the last 24 hours", labels=["outbox", "status"])
        for model in outbox_models():
            recent = model._default_manager.filter(created_at__gte=since)
            for name, count in recent.values_list("notification_status").annotate(Count("pk")).order_by():
                told.add_metric([model._meta.label_lower, name], count)
        yield told

        for name, seen_at in Heartbeat.objects.values_list("name", "seen_at"):
            beat = GaugeMetricFamily(
                "worker_heartbeat_timestamp_seconds", "When the worker was last seen", labels=["loop"]
            )
            beat.add_metric([name], seen_at.timestamp())
            yield beat


def _may_read_metrics(request: HttpRequest) -> bool:
    """Whether the reader has the token, or is on this machine and did not come through a proxy."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if settings.METRICS_TOKEN and hmac.compare_digest(given.encode(), settings.METRICS_TOKEN.encode()):
        return True
    try:
        local = ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    return local and "HTTP_X_FORWARDED_FOR" not in request.META


def _migrated() -> bool:
    """Whether all migrations are applied. Once they are, they stay so for as long as the process lives."""
    known: Any = cache.get("migrated")
    if not known:
        executor = MigrationExecutor(connection)
        known = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        cache.set("migrated", known, timeout=None)
    return bool(known)
