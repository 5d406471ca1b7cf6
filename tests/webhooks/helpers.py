"""What the tests of the inbox share."""

from __future__ import annotations

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
