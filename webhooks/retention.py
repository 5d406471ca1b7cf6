"""Bodies and headers are dropped after a while; the log, the deals and the money stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db import connection

# A batch holds its row locks for some ten milliseconds.
BATCH = 1000

# What still wants processing is kept, and looked at again the next time. An index has the others.
_DROP = """
WITH old AS (
    SELECT id FROM webhook_deliveries
    WHERE body IS NOT NULL AND id > %(after)s AND received_at < %(before)s AND status IN ('processed', 'invalid')
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), dropped AS (
    UPDATE webhook_deliveries AS delivery SET body = NULL, headers = '{}', query = '', remote_addr = NULL
    FROM old WHERE delivery.id = old.id RETURNING delivery.id
)
SELECT (SELECT max(id) FROM old), (SELECT count(*) FROM dropped)
"""


def drop_bodies(before: datetime) -> Iterator[int]:
    """Drop body, headers and address of deliveries received before a moment; yield how many each batch had.

    Each batch is a transaction of its own and passes by rows that somebody works on, so it runs beside live traffic.
    Replay leaves out what it can no longer read; `resync` works without bodies.
    """
    after = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_DROP, {"after": after, "before": before, "limit": BATCH})
            last, count = cursor.fetchone()
            if last is None:
                return
            after = last
            yield count
