"""Stored deliveries, or the states that they add up to, once more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Q, QuerySet

from webhooks import inbox, second_process
from webhooks.deals import lock_deals
from webhooks.models import Deal, WebhookDelivery, WebhookLog
from webhooks.signals import Failures, tell
from webhooks.transient import in_transaction

# Batches that the second process of a replay has: one in work and one to go on with.
GIVEN = 2


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


def untold() -> Q:
    """Return what failed when it came, and whatever else tells of the same deals: the worker tries it again.

    Until then it is news: by a replay its sale would be there and nobody told. What failed quietly is told by none.
    """
    failed = WebhookDelivery.objects.filter(status=WebhookDelivery.Status.FAILED, quiet=False)
    leads = WebhookLog.objects.filter(delivery__in=failed, lead_id__isnull=False).values("lead_id")
    # Read once: each batch of a replay would look for them in the whole log.
    others = list(WebhookLog.objects.filter(lead_id__in=leads).values_list("delivery", flat=True).distinct())
    return Q(status=WebhookDelivery.Status.FAILED, quiet=False) | Q(pk__in=others)


def replay(deliveries: QuerySet[WebhookDelivery], *, after: int = 0) -> Iterator[tuple[int, int]]:
    """Process these deliveries again by the same code as live ones, oldest first; yield (how many, last id) by batch.

    A second process takes what it can; the first batch, and what that one has no hand for, is processed here. Whatever
    order they end in, they are yielded in their own, so `after` a yielded id it can go on. It may be stopped at any
    time and run again: what is done twice changes nothing. Nobody is told by message.
    """
    # What still waits is the worker's, and news: people are to be told of it.
    stored = deliveries.filter(body__isnull=False).exclude(status=WebhookDelivery.Status.RECEIVED)
    with second_process.pool() as second:
        in_hand: deque[tuple[list[int], Future[None] | None]] = deque()
        for place, batch in enumerate(_batches(stored, after)):
            given = sum(work is not None and not work.done() for _, work in in_hand)
            if place and given < GIVEN:
                in_hand.append((batch, second.submit(second_process.process, batch)))
            else:
                inbox.process(batch, live=False)
                in_hand.append((batch, None))
            while in_hand and _is_done(in_hand[0][1]):
                yield _ended(*in_hand.popleft())
        while in_hand:
            yield _ended(*in_hand.popleft())


def _is_done(work: Future[None] | None) -> bool:
    return work is None or work.done()


def _ended(batch: list[int], work: Future[None] | None) -> tuple[int, int]:
    if work is not None:
        work.result()
    return len(batch), batch[-1]


def _tell(lead_ids: list[int], app: str) -> tuple[Failures, int]:
    return tell(lock_deals(lead_ids), live=False, only=app)


def _batches(rows: QuerySet[Any], after: int) -> Iterator[list[int]]:
    """Yield the rows' keys in their order, a batch at a time."""
    while batch := list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[: inbox.BATCH]):
        yield batch
        after = batch[-1]


def resync(app: str, *, after: int = 0) -> Iterator[tuple[int, int, Failures]]:
    """Tell one app's receivers the state of every deal, in the order of lead_id, a transaction a batch.

    Yields how many deals each batch had, the last one's id, and what failed in it. Needs no stored bodies; nobody is
    told by message.
    """
    for lead_ids in _batches(Deal.objects.all(), after):
        failures, _ = in_transaction(partial(_tell, lead_ids, app))
        yield len(lead_ids), lead_ids[-1], failures
