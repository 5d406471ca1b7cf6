"""Replay, deliveries a second in one worker: all rows new, then unchanged.

    python bench/replay.py [10000 100000 …]

Needs DATABASE_URL of an empty database that may be filled; it is migrated and emptied first.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "onai_project.settings")
os.environ.setdefault("DEBUG", "off")
os.environ.setdefault("SECRET_KEY", "bench")
os.environ.setdefault("AMOCRM_WEBHOOK_SECRETS", "bench")
os.environ.setdefault("LOG_LEVEL", "ERROR")

import django

django.setup()

from django.core.management import call_command
from django.db import connection

from bench.deals import won_deal
from webhooks import inbox

TABLES = (
    "webhook_deliveries, webhook_logs, deals, deal_transitions, all_sales_tracking, sales_notifications, "
    "referral_earnings, referral_conversions, referrers"
)


def fill(count: int, first: int) -> list[int]:
    """Store `count` won deals of ids from `first` on, as processed deliveries, so that no worker takes them."""
    now = int(time.time())
    with connection.cursor() as cursor:
        ids = []
        for start in range(first, first + count, 5000):
            bodies = [won_deal(lead, now) for lead in range(start, min(start + 5000, first + count))]
            cursor.execute(
                "INSERT INTO webhook_deliveries (source, body, content_type, headers, query, status) "
                "SELECT 'amocrm_traffic', body, 'application/x-www-form-urlencoded', '{}', '', 'processed' "
                "FROM unnest(%s::bytea[]) AS body RETURNING id",
                [bodies],
            )
            ids += [row[0] for row in cursor.fetchall()]
        return ids


def timed(ids: list[int]) -> float:
    """Return deliveries a second of processing these again, in batches, and show the rate of each tenth."""
    started = time.monotonic()
    for position in range(0, len(ids), inbox.BATCH):
        inbox.process(ids[position : position + inbox.BATCH], live=False)
    return len(ids) / (time.monotonic() - started)


def main() -> None:
    """Fill, replay, replay again, for each size; the tables grow from one to the next."""
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")
    total = 0
    for size in map(int, sys.argv[1:] or ["10000"]):
        ids = fill(size - total, total + 1)
        total = size
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        sample = ids[-20_000:] if len(ids) > 40_000 else ids
        rest = ids[: len(ids) - len(sample)]
        if rest:
            timed(rest)
        new = timed(sample)
        unchanged = timed(sample)
        print(f"{size:>9} stored: all rows new {new:7.0f}/s   unchanged {unchanged:7.0f}/s", flush=True)


if __name__ == "__main__":
    main()
