"""The admin's log and the worker's claim beside ten million rows."""

from __future__ import annotations

import time

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings

from bench import harness
from webhooks import inbox

LIMIT_MS = 300
# As in life: two years of rows, nearly all processed, one in a hundred won, one in a thousand wrong.
_DELIVERIES = """
INSERT INTO webhook_deliveries (received_at, source, body, content_type, headers, query, status, processed_at)
SELECT now() - (%(rows)s - n) * interval '6 seconds', 'amocrm', NULL, 'application/x-www-form-urlencoded', '{}', '',
       CASE WHEN n %% 1000 = 0 THEN 'dead' ELSE 'processed' END, now()
FROM generate_series(1, %(rows)s) AS n
"""
_LOGS = """
INSERT INTO webhook_logs (received_at, source, delivery_id, index, action, lead_id, pipeline_id, status_id, deal_data,
                          utm_source, utm_campaign, routing_decision, processing_status, error_message, processed_at)
SELECT received_at, source, id, 0, 'status_lead', id / 7 + 1000000, 10418746, 142, '{"name": "a deal"}',
       'source', 'campaign',
       CASE WHEN id %% 100 = 0 THEN 'traffic' ELSE 'ignored' END,
       CASE WHEN id %% 1000 = 0 THEN 'error' ELSE 'success' END, '', received_at
FROM webhook_deliveries
"""


# Pages ask where each file lies; collectstatic would have to run first.
STORAGES = {
    **settings.STORAGES,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}


@override_settings(STORAGES=STORAGES)
def log(short: bool) -> None:
    """List, filters and search of the admin, and the claim, each the slowest of five."""
    rows = 20_000 if short else 10_000_000
    started = time.monotonic()
    harness.execute(_DELIVERIES, rows=rows)
    harness.execute(_LOGS)
    harness.execute("VACUUM ANALYZE webhook_deliveries")
    harness.execute("VACUUM ANALYZE webhook_logs")
    print(f"  {rows} deliveries and log rows made in {time.monotonic() - started:.0f} s", flush=True)
    user = get_user_model().objects.create_superuser("bench", "bench@example.org", "bench")
    client = harness.web_client()
    client.force_login(user)
    lead = rows // 14 + 1_000_000
    pages = {
        "log, list": "/admin/webhooks/webhooklog/",
        "log, search by deal": f"/admin/webhooks/webhooklog/?q={lead}",
        "log, search that finds nothing": "/admin/webhooks/webhooklog/?q=999999999999",
        "log, errors": "/admin/webhooks/webhooklog/?processing_status__exact=error",
        "log, decision": "/admin/webhooks/webhooklog/?routing_decision__exact=unknown",
        "log, page 100": "/admin/webhooks/webhooklog/?p=100",
        "log, one row": f"/admin/webhooks/webhooklog/{harness.value('SELECT max(id) FROM webhook_logs')}/change/",
        "deliveries, list": "/admin/webhooks/webhookdelivery/",
        "deliveries, search by deal": f"/admin/webhooks/webhookdelivery/?q={lead}",
        "deliveries, dead": "/admin/webhooks/webhookdelivery/?status__exact=dead",
    }
    for name, url in pages.items():
        client.get(url)
        times = []
        for _ in range(5):
            started = time.perf_counter()
            with CaptureQueriesContext(connection) as queries:
                response = client.get(url)
            times.append((time.perf_counter() - started) * 1000)
            if response.status_code != 200:
                raise RuntimeError(f"{url} answered {response.status_code}")
        _report(name, max(times))
        if max(times) > LIMIT_MS:
            for query in sorted(queries.captured_queries, key=lambda query: -float(query["time"]))[:1]:
                print(f"    {query['time']} s: {query['sql'][:400]}")
    harness.execute("UPDATE webhook_deliveries SET status = 'received', processed_at = NULL WHERE mod(id, 20000) = 0")
    for name, claim in (
        ("claim of 100", inbox._CLAIM_NEW),
        ("claim of what was left behind", inbox._CLAIM_LEFT),
        ("claim of what failed", inbox._CLAIM_AGAIN),
    ):
        _measure_claim(name, claim)


def _measure_claim(name: str, claim: str) -> None:
    values = {"delays": inbox.RETRY_SECONDS, "limit": 100, "since": inbox.BEGINNING, "late": 0}
    with connection.cursor() as cursor:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            cursor.execute(claim, values)
            cursor.fetchall()
            times.append((time.perf_counter() - started) * 1000)
        cursor.execute("EXPLAIN " + claim, values)
        plan = [row[0] for row in cursor.fetchall()]
    _report(name, max(times))
    print("    " + next((line.strip() for line in plan if "Scan using" in line or "Index Scan on" in line), "no index"))


def _report(name: str, milliseconds: float) -> None:
    print(
        f"  {name:32} {milliseconds:6.0f} ms [{LIMIT_MS}]{'' if milliseconds <= LIMIT_MS else '  TOO SLOW'}", flush=True
    )
