"""What the worker says of itself: a heartbeat, and counts for /metrics. Both are saved every few seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Iterable

from django.db import connection

from webhooks.models import Counter, Heartbeat

BEAT_SECONDS = 2.0

_BEAT = """
INSERT INTO worker_heartbeats (name, seen_at) VALUES (%s, statement_timestamp())
ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at
"""
_ADD = """
INSERT INTO webhook_counters (name, source, outcome, value)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[])
ON CONFLICT (name, source, outcome) DO UPDATE SET value = webhook_counters.value + excluded.value
"""

# Of this process.
_lock = threading.Lock()
_tally: Tally[tuple[str, str, str]] = Tally()
_seconds = 0.0
_last_beat = 0.0


def count(outcomes: Iterable[tuple[str, str]], seconds: float) -> None:
    """Count processed deliveries by (source, outcome), and the time that they took together."""
    global _seconds
    with _lock:
        _tally.update((Counter.Name.DELIVERIES.value, source, outcome) for source, outcome in outcomes)
        _seconds += seconds


def beat() -> None:
    """Save the heartbeat and the counts, if the last time is long enough ago."""
    if time.monotonic() - _last_beat >= BEAT_SECONDS:
        with _lock:
            _save()


def _save() -> None:
    global _seconds, _last_beat
    rows = [(*key, float(number)) for key, number in sorted(_tally.items())]
    if rows:
        rows.append((Counter.Name.SECONDS.value, "", "", _seconds))
    with connection.cursor() as cursor:
        cursor.execute(_BEAT, [Heartbeat.Name.INBOX])
        if rows:
            cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])
    _tally.clear()
    _seconds = 0.0
    _last_beat = time.monotonic()
