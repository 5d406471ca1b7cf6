"""Stored deliveries, or the states that they add up to, once more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from webhooks import inbox
from webhooks.deals import lock_deals
from webhooks.models import Deal, WebhookDelivery, WebhookLog
from webhooks.signals import Failures, tell


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
    while batch := list(
        deliveries.filter(body__isnull=False, pk__gt=last).order_by("pk").values_list("pk", flat=True)[: inbox.BATCH]
    ):
        inbox.process(batch, live=False)
        last = batch[-1]
        yield len(batch)


def resync(app: str) -> Iterator[tuple[int, Failures]]:
    """Tell one app's receivers the state of every deal, in the order of lead_id, a transaction a batch.

    Yields how many deals each batch had, and what failed in it. Needs no stored bodies; nobody is told by message.
    """
    last = 0
    while lead_ids := list(Deal.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[: inbox.BATCH]):
        with transaction.atomic():
            failures, _ = tell(lock_deals(lead_ids), live=False, only=app)
        last = lead_ids[-1]
        yield len(lead_ids), failures
