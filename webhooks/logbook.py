"""One row of `webhook_logs` for each deal event, and one for a delivery without any: what it said and became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from webhooks import bulk, registry
from webhooks.amocrm.events import DealEvent, OtherEvent
from webhooks.deliveries import Delivery
from webhooks.merge import DealState, Observation, Seen, observation, won_pipelines
from webhooks.models import WebhookLog
from webhooks.reasons import (
    BROKEN_DEAL,
    DOUBTFUL,
    EMPTY_BODY,
    FOREIGN_ACCOUNT,
    NO_DEAL,
    NO_STAGE,
    NOBODYS,
    NOT_WON,
    RECEIVER_FAILED,
    because,
)
from webhooks.signals import Failures

Routing = WebhookLog.Routing
Processing = WebhookLog.Processing

_FIELDS = (
    "delivery", "index", "received_at", "source", "action", "lead_id", "pipeline_id", "status_id", "deal_data",
    "utm_source", "utm_campaign", "routing_decision", "processing_status", "error_message", "processed_at",
)  # fmt: skip
_STALE = """
DELETE FROM webhook_logs AS entry WHERE delivery_id = ANY(%(ids)s::bigint[]) AND NOT EXISTS (
    SELECT FROM json_to_recordset(%(keys)s::json) AS written(delivery bigint, index int)
    WHERE written.delivery = entry.delivery_id AND written.index = entry.index
)
"""


def write(
    deliveries: Sequence[Delivery],
    states: Mapping[int, DealState],
    stages: Mapping[int, Sequence[Observation]],
    failures: Failures,
    receivers: int,
) -> None:
    """Write the rows of a batch; on replay only those that say something new.

    `states` and `stages` are of the deals touched; `failures` tells by deal what of the `receivers` many failed.
    """
    now = datetime.now(UTC)
    rows = [
        (delivery.id, index, delivery.received_at, delivery.source, *entry, now)
        for delivery in deliveries
        for index, entry in _entries(delivery, states, stages, failures, receivers)
    ]
    bulk.upsert(WebhookLog, _FIELDS, rows, key=("delivery", "index"), volatile=("processed_at",))
    if again := [delivery.id for delivery in deliveries if delivery.was_processed]:
        _drop_stale(again, [row[:2] for row in rows])


def _drop_stale(delivery_ids: Sequence[int], written: Sequence[tuple[int, int]]) -> None:
    """Drop rows that these deliveries once wrote and no longer do: a setting was mended, or the code."""
    keys = bulk.as_json([{"delivery": delivery, "index": index} for delivery, index in written])
    with connection.cursor() as cursor:
        cursor.execute(_STALE, {"ids": bulk.ids(delivery_ids), "keys": keys})


def _entries(
    delivery: Delivery,
    states: Mapping[int, DealState],
    stages: Mapping[int, Sequence[Observation]],
    failures: Failures,
    receivers: int,
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    parsed = delivery.parsed
    if parsed is None:
        yield 0, _no_deal("", Processing.ERROR, delivery.problem)
        return
    action = parsed.events[0].name_of_action if parsed.events else ""
    if delivery.is_foreign:
        yield 0, _no_deal(action, Processing.IGNORED, because(FOREIGN_ACCOUNT, parsed.account.id))
        return
    count = 0
    for index, event in enumerate(parsed.events):
        if isinstance(event, DealEvent):
            count += 1
            seen = delivery.seen(index)
            yield index, _deal_entry(event, seen, states, stages, failures.get(event.lead_id, ()), receivers)
        elif event.problem:
            count += 1
            yield index, _no_deal(event.name_of_action, Processing.ERROR, because(BROKEN_DEAL, event.problem))
    if not count:
        others = ", ".join(sorted({e.name_of_action for e in parsed.events if isinstance(e, OtherEvent)}))
        detail = others or ", ".join(parsed.keys)
        reason = because(NO_DEAL, detail) if detail else because(EMPTY_BODY)
        yield 0, _no_deal(action, Processing.IGNORED, reason)


def _no_deal(action: str, result: Processing, reason: str) -> tuple[Any, ...]:
    return (action, None, None, None, {}, "", "", Routing.IGNORED, result, reason)


def _deal_entry(
    event: DealEvent,
    seen: Seen,
    states: Mapping[int, DealState],
    stages: Mapping[int, Sequence[Observation]],
    failed: Sequence[str],
    receivers: int,
) -> tuple[Any, ...]:
    deal = states[event.lead_id]
    routing, reason = _route(event, seen, deal, stages.get(event.lead_id, ()))
    result = Processing.IGNORED if routing in (Routing.IGNORED, Routing.UNKNOWN) else Processing.SUCCESS
    if event.problems:
        reason = "; ".join(filter(None, (reason, because(DOUBTFUL, "; ".join(event.problems)))))
    if failed:
        result = Processing.ERROR if len(failed) >= receivers else Processing.PARTIAL
        reason = because(RECEIVER_FAILED, "; ".join(failed))
    return (
        event.name_of_action, event.lead_id, event.pipeline_id, event.status_id, _deal_data(event),
        event.utm.get("utm_source", ""), event.utm.get("utm_campaign", ""), routing, result, reason,
    )  # fmt: skip


def _route(event: DealEvent, seen: Seen, deal: DealState, stages: Sequence[Observation]) -> tuple[Routing, str]:
    """Decide whose business an event was: that of the apps that a deal, won by then, concerns.

    It is judged as of the event, so that a replay decides the same; what the event does not say comes from the deal.
    """
    own = observation(event, seen)
    until = own[:3] if own else (seen.received_at, -1, seen)
    pipelines = {pipeline or deal.pipeline_id or 0 for pipeline in won_pipelines(stages, until)}
    if not pipelines:
        if event.status_id is None and event.action != "delete":
            return Routing.IGNORED, because(NO_STAGE)
        return Routing.IGNORED, because(NOT_WON, event.action if event.action == "delete" else event.status_id)
    utm_source = event.utm.get("utm_source") or deal.utm_source
    concerned = [endpoint.name for endpoint in registry.endpoints() if endpoint.concerns(pipelines, utm_source)]
    if not concerned:
        return Routing.UNKNOWN, because(NOBODYS, ", ".join(map(str, sorted(pipelines))))
    return (Routing(concerned[0]) if len(concerned) == 1 else Routing.BOTH), ""


def _deal_data(event: DealEvent) -> dict[str, Any]:
    """Return what the event said, normalised, without what it did not say."""
    data: dict[str, Any] = {
        "name": event.name,
        "price": None if event.price is None else str(event.price),
        "old_status_id": event.old_status_id,
        "old_pipeline_id": event.old_pipeline_id,
        "responsible_user_id": event.responsible_user_id,
        "created_at": event.created_at,
        "updated_at": event.updated_at,
        "closed_at": event.closed_at,
        "tags": event.tags or None,
        "utm": event.utm or None,
        "custom_fields": [{"id": field.id, "name": field.name, "values": field.values} for field in event.custom_fields]
        or None,
    }
    return {name: value for name, value in data.items() if value is not None}
