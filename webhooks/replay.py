"""Stored deliveries, once more: which ones, and how."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import QuerySet

from webhooks import inbox
from webhooks.models import WebhookDelivery, WebhookLog


def select_deliveries(
    *,
    ids: list[int] | None = None,
    status: list[str] | None = None,
    source: list[str] | None = None,
    lead: list[int] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[WebhookDelivery]:
    """Return the deliveries that meet every given condition; `until` itself is excluded."""
    deliveries = WebhookDelivery.objects.all()
    if ids:
        deliveries = deliveries.filter(pk__in=ids)
    if status:
        deliveries = deliveries.filter(status__in=status)
    if source:
        deliveries = deliveries.filter(source__in=source)
    if lead:
        deliveries = deliveries.filter(pk__in=WebhookLog.objects.filter(lead_id__in=lead).values("delivery"))
    if since:
        deliveries = deliveries.filter(received_at__gte=since)
    if until:
        deliveries = deliveries.filter(received_at__lt=until)
    return deliveries


def replay(deliveries: QuerySet[WebhookDelivery]) -> Iterator[int]:
    """Process these deliveries again by the same code as live ones, oldest first; yield how many each batch had.

    Nobody is told by message. It may be stopped at any time and run again: what is done twice changes nothing.
    """
    last = 0
    while batch := list(deliveries.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[: inbox.BATCH]):
        inbox.process(batch, live=False)
        last = batch[-1]
        yield len(batch)
