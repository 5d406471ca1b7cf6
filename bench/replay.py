"""Replay: all rows new, then unchanged, at growing tables."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import connection

from bench import harness
from bench.deals import won_deal
from webhooks import inbox
from webhooks.models import WebhookDelivery
from webhooks.replay import replay as again

# The rate is that of so many at the end of each size: of equally many, for the second process's start is in it.
SAMPLE = 10_000


def fill(count: int, first: int, body: Callable[[int], bytes] | None = None) -> list[int]:
    """Store `count` won deals of ids from `first` on, as processed deliveries, so that no worker takes them."""
    now = int(time.time())
    with connection.cursor() as cursor:
        ids = []
        for start in range(first, first + count, 5000):
            leads = range(start, min(start + 5000, first + count))
            bodies = [body(lead) if body else won_deal(lead, now) for lead in leads]
            cursor.execute(
                "INSERT INTO webhook_deliveries (source, body, content_type, headers, query, status) "
                "SELECT 'amocrm_traffic', body, 'application/x-www-form-urlencoded', '{}', '', 'processed' "
                "FROM unnest(%s::bytea[]) AS body RETURNING id",
                [bodies],
            )
            ids += [row[0] for row in cursor.fetchall()]
        return ids


def timed(ids: list[int]) -> float:
    """Return deliveries a second of replaying these."""
    started = time.monotonic()
    done = sum(count for count, _ in again(WebhookDelivery.objects.filter(pk__lte=ids[-1]), after=ids[0] - 1))
    if done != len(ids):
        raise RuntimeError(f"{done} of {len(ids)} deliveries were replayed")
    return len(ids) / (time.monotonic() - started)


def replay(short: bool) -> None:
    """Deliveries a second of a replay, and how the rate holds while the tables grow to a million."""
    inbox.collect_less()
    total = 0
    for size in (600,) if short else (10_000, 100_000, 1_000_000):
        ids = fill(size - total, total + 1)
        total = size
        harness.execute("VACUUM ANALYZE")
        sample = ids[-SAMPLE:]
        if rest := ids[: len(ids) - len(sample)]:
            timed(rest)
        new = timed(sample)
        unchanged = timed(sample)
        print(f"  {size:>9} stored: all rows new {new:7.0f}/s [4000]   unchanged {unchanged:7.0f}/s [6000]", flush=True)
