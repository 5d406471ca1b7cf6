"""What the tests of the sender share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from notifications.models import OutboxMessage
from notifications.sender import run
from traffic.models import SalesNotification

Outbox = Callable[..., SalesNotification]
Status = SalesNotification.Status


def wait_for(condition: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def make_due(row: OutboxMessage) -> None:
    type(row)._default_manager.filter(pk=row.pk).update(next_attempt_at=timezone.now() - timedelta(seconds=1))


def status(row: OutboxMessage) -> str:
    row.refresh_from_db()
    return row.notification_status


def other_connection() -> dict[str, Any]:
    return {
        k: v
        for k, v in connection.get_connection_params().items()
        if k in {"dbname", "user", "password", "host", "port"}
    }


def lock_holders() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database() AND granted"
        )
        return int(cursor.fetchone()[0])


@contextmanager
def running(*, stop: threading.Event | None = None) -> Iterator[threading.Event]:
    stop = stop or threading.Event()
    thread = threading.Thread(target=run, args=[stop])
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(5)
        assert not thread.is_alive()
