"""Stored deliveries in the worker's hands: locked, decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from webhooks import bulk
from webhooks.amocrm import events, form
from webhooks.merge import Seen
from webhooks.models import Source

_LOCK = f"""
SELECT id, {bulk.as_micros("received_at")}, received_at::text, source, body, content_type, attempts, status,
       error_message, processed_at IS NOT NULL
FROM webhook_deliveries WHERE id = ANY(%s::bigint[]) AND body IS NOT NULL ORDER BY id FOR UPDATE
"""  # noqa: S608


@dataclass(slots=True)
class Delivery:
    """A stored delivery in the worker's hands."""

    id: int
    received_micros: int
    received_at: str  # the same as PostgreSQL writes it
    source: str
    body: bytes
    content_type: str
    attempts: int
    status: str
    error_message: str
    was_processed: bool  # before: the log may have rows of it
    parsed: events.Parsed | None = None
    problem: str = ""  # why it cannot be processed at all

    def seen(self, index: int) -> Seen:
        """Return the place of its event `index` in the order of arrival."""
        return Seen(self.received_micros, self.id, index)

    @property
    def is_foreign(self) -> bool:
        """Return whether the body names an AmoCRM account that is not the configured one."""
        named = self.parsed.account.id if self.parsed else None
        return bool(settings.AMOCRM_ACCOUNT_ID and named and named != settings.AMOCRM_ACCOUNT_ID)

    def deal_events(self) -> Iterator[tuple[int, events.DealEvent]]:
        """Yield (index, event) of the events that tell of a deal of ours."""
        if self.parsed is None or self.is_foreign:
            return
        for index, event in enumerate(self.parsed.events):
            if isinstance(event, events.DealEvent):
                yield index, event


def lock_deliveries(delivery_ids: Sequence[int]) -> list[Delivery]:
    """Lock these rows and return them decoded, by id. They are locked before any deal (law 5).

    Those whose body was dropped (retention) are left out: there is nothing to read.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [bulk.ids(delivery_ids)])
        deliveries = [Delivery(*row) for row in cursor.fetchall()]
    for delivery in deliveries:
        _parse(delivery)
    return deliveries


def _parse(delivery: Delivery) -> None:
    try:
        tree = form.decode(bytes(delivery.body), delivery.content_type)
    except form.BodyError as error:
        delivery.problem = str(error)
        return
    delivery.parsed = events.parse(
        tree, utm_field_ids=settings.AMOCRM_UTM_FIELD_IDS, snapshot=delivery.source == Source.API
    )
