"""What the tests of the inbox share."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from tests import bodies
from webhooks import inbox
from webhooks.models import WebhookDelivery


def store(body: bytes, **fields: Any) -> WebhookDelivery:
    """Store a delivery as the door does."""
    fields = {"source": "amocrm_traffic", "content_type": bodies.FORM, **fields}
    delivery = WebhookDelivery.objects.create(body=body, **fields)
    delivery.refresh_from_db()
    return delivery


def drain() -> None:
    while inbox.process_due():
        pass


def due_now() -> None:
    """Let the time of every retry come."""
    WebhookDelivery.objects.update(next_attempt_at=Now() - timedelta(seconds=1))


def until_another_waits_for(cursor: Any, what: str) -> None:
    """Return once some session waits for a lock that this cursor's holds; fail after ten seconds."""
    deadline = time.monotonic() + 10
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    while not cursor.execute(waiting).fetchall():
        assert time.monotonic() < deadline, f"nobody waits for {what}"
        time.sleep(0.01)
