"""Stored deliveries, or the states that they add up to, once more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from threading import Barrier
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from webhooks import inbox
from webhooks.deals import lock_deals
from webhooks.models import Deal, WebhookDelivery, WebhookLog
from webhooks.signals import Failures, tell
from webhooks.transient import in_transaction


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


def replay(deliveries: QuerySet[WebhookDelivery], *, after: int = 0) -> Iterator[tuple[int, int]]:
    """Process these deliveries again by the same code as live ones, oldest first; yield (how many, last id) by batch.

    Two batches are in hand: while PostgreSQL writes one, the other is decoded. Whatever order they end in, they are
    yielded in their own, so `after` a yielded id it can go on. It may be stopped at any time and run again: what is
    done twice changes nothing. Nobody is told by message.
    """
    with ThreadPoolExecutor(inbox.HANDS) as pool:
        in_hand: deque[tuple[list[int], Future[None]]] = deque()
        try:
            # What still waits is the worker's, and news: people are to be told of it.
            stored = deliveries.filter(body__isnull=False).exclude(status=WebhookDelivery.Status.RECEIVED)
            for batch in _batches(stored, after):
                in_hand.append((batch, pool.submit(inbox.process, batch, live=False)))
                if len(in_hand) > inbox.HANDS:
                    yield _ended(*in_hand.popleft())
            while in_hand:
                yield _ended(*in_hand.popleft())
        finally:
            together = Barrier(inbox.HANDS)
            for _ in range(inbox.HANDS):
                pool.submit(_close_connection, together)


def _ended(batch: list[int], work: Future[None]) -> tuple[int, int]:
    work.result()
    return len(batch), batch[-1]


def _tell(lead_ids: list[int], app: str) -> tuple[Failures, int]:
    return tell(lock_deals(lead_ids), live=False, only=app)


def _batches(rows: QuerySet[Any], after: int) -> Iterator[list[int]]:
    """Yield the rows' keys in their order, a batch at a time."""
    while batch := list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[: inbox.BATCH]):
        yield batch
        after = batch[-1]


def _close_connection(together: Barrier) -> None:
    """Close this thread's connection; nobody leaves before all are here, so each of them does it."""
    together.wait()
    connection.close()


def resync(app: str, *, after: int = 0) -> Iterator[tuple[int, int, Failures]]:
    """Tell one app's receivers the state of every deal, in the order of lead_id, a transaction a batch.

    Yields how many deals each batch had, the last one's id, and what failed in it. Needs no stored bodies; nobody is
    told by message.
    """
    for lead_ids in _batches(Deal.objects.all(), after):
        failures, _ = in_transaction(partial(_tell, lead_ids, app))
        yield len(lead_ids), lead_ids[-1], failures
