"""The worker's loop: stored deliveries → deals → the apps → the log, in one transaction a batch.

The pending rows are the queue. Claiming them is a statement of its own, committed first: it counts the attempt and sets
when the next one is due, so a body that kills the process is counted, too (law 6). What failed once is processed alone;
what a process left behind when it or the database died is first tried again in small company, for most of it is well.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import connection

from webhooks import bulk, logbook, pulse, questions
from webhooks.amocrm import api
from webhooks.deals import LockedDeals
from webhooks.deliveries import Delivery, lock_deliveries
from webhooks.merge import contribution, observation
from webhooks.models import WebhookDelivery
from webhooks.reasons import CRASHED, RECEIVER_FAILED, WORKER_DIED, because, describe
from webhooks.signals import Failures, tell
from webhooks.transient import concerns_all, in_transaction

log = structlog.get_logger("webhooks")

# A batch's transaction stays well under a second, and a newcomer's wait with it.
BATCH = 500
# What a batch holds in memory is some ten times its bodies.
BATCH_BYTES = 16 * 1024 * 1024
# Batches that a process has in hand: while PostgreSQL writes one, the other is decoded. A third would wait for Python.
HANDS = 2
# How long a hand rests after a batch that was not full: a statement costs much, a row little, and people wait.
PAUSE_SECONDS = 0.05
# And how long one of those beside the first that found nothing.
SPARE_PAUSE_SECONDS = 0.5
# A claimed row leaves a dead entry in the index of the queue until the next vacuum, a minute away: under load a claim
# would read ten thousands of them. So a hand looks only at what became due since its last claim, and a little before,
# for a commit that took longer. At these intervals it looks at all of it, a spare hand only when it has nothing to do:
# under load that takes a second.
LATE_SECONDS = 1
WHOLE_SECONDS = 30.0
BEGINNING = "-infinity"
# How many of those that were left behind are tried again together (one that kills the process again delays the others),
# and how many of those that failed, each alone, before newcomers have their turn.
COMPANY = 20
# Seconds until the next attempt after the first, second, … one. After the last the delivery is dead.
RETRY_SECONDS = [5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600]
MAX_ATTEMPTS = len(RETRY_SECONDS) + 1

# Materialized: within a join the planner may run the inner query once for each row, and its LIMIT with it.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id, next_attempt_at FROM webhook_deliveries
    WHERE status IN ('received', 'failed') AND {which}
    ORDER BY next_attempt_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries AS delivery
SET attempts = attempts + 1,
    next_attempt_at = statement_timestamp() + make_interval(secs => (%(delays)s::int[])[least(attempts + 1, {last})])
FROM due WHERE delivery.id = due.id
RETURNING delivery.id, delivery.attempts, delivery.quiet, (SELECT max(next_attempt_at) FROM due)::text
"""
_MARK = """
UPDATE webhook_deliveries AS delivery
SET status = new.status, error_message = new.error_message, processed_at = now(), quiet = delivery.quiet OR new.quiet
FROM json_to_recordset(%s::json) AS new(id bigint, status text, error_message text, quiet boolean)
WHERE delivery.id = new.id
"""
# What a batch reads is in memory or on an SSD. At PostgreSQL's default, made for disks that turn, it would read young
# tables whole, for each batch again.
_BY_INDEX = "SET LOCAL random_page_cost = 1.1"
# Of a body that is stored apart the length is known without reading it.
_SIZES = "SELECT id, coalesce(octet_length(body), 0) FROM webhook_deliveries WHERE id = ANY(%s::bigint[])"
# A new one is due whatever the time it bears: a clock may have been set back since.
_CLAIM_NEW = _CLAIM.format(
    which="attempts = 0 AND next_attempt_at >= %(since)s::timestamptz - make_interval(secs => %(late)s)",
    last=len(RETRY_SECONDS),
)
_CLAIM_LEFT = _CLAIM.format(
    which="attempts = 1 AND status = 'received' AND next_attempt_at <= statement_timestamp()", last=len(RETRY_SECONDS)
)
_CLAIM_AGAIN = _CLAIM.format(
    which="attempts > 0 AND (attempts > 1 OR status = 'failed') AND next_attempt_at <= statement_timestamp()",
    last=len(RETRY_SECONDS),
)


def collect_less() -> None:
    """Set Python's collector for a process of batches, each of some 100 000 short-lived objects.

    At the default threshold of 700 objects it costs a fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run(stop: threading.Event, *, is_spare: bool = False) -> None:
    """Process whatever is due until `stop` is set. A lost database is raised: the worker begins again.

    A spare hand looks less often while there is nothing for it, and takes nothing that failed before: what kills the
    process again is then alone in it.
    """
    claimed: list[_Claimed] = []
    since = BEGINNING
    whole = time.monotonic()
    while not stop.is_set():
        if time.monotonic() >= whole and not (is_spare and claimed):
            since, whole = BEGINNING, time.monotonic() + WHOLE_SECONDS
        claimed = _claim(_CLAIM_NEW, BATCH, since)
        if claimed:
            since = claimed[0].until
        _process_claimed(claimed)
        again = 0 if is_spare else _process_again()
        pulse.beat()
        if len(claimed) < BATCH and not again:
            stop.wait(SPARE_PAUSE_SECONDS if is_spare and not claimed else PAUSE_SECONDS)


def process_due() -> int:
    """Process one batch of new deliveries and some of an earlier attempt; return how many there were."""
    return _process_claimed(_claim(_CLAIM_NEW, BATCH)) + _process_again()


class _Claimed(NamedTuple):
    id: int
    attempts: int  # this one included
    quiet: bool
    until: str  # until when all that was claimed with it was due


def _process_again() -> int:
    count = _process_claimed(_claim(_CLAIM_LEFT, COMPANY))
    for _ in range(COMPANY):
        if not _process_claimed(_claim(_CLAIM_AGAIN, 1)):
            break
        count += 1
    return count


def _claim(claim: str, limit: int, since: str = BEGINNING) -> list[_Claimed]:
    with connection.cursor() as cursor:
        cursor.execute(claim, {"delays": RETRY_SECONDS, "limit": limit, "since": since, "late": LATE_SECONDS})
        return [_Claimed(*row) for row in cursor.fetchall()]


def _process_claimed(claimed: Sequence[_Claimed]) -> int:
    left = [row for row in claimed if row.attempts <= MAX_ATTEMPTS]
    for row in claimed:
        if row.attempts > MAX_ATTEMPTS:
            _give_up(row.id, because(WORKER_DIED))
    process([row.id for row in left if not row.quiet])
    if history := [row.id for row in left if row.quiet]:
        process(history, quiet=True)
    return len(claimed)


def process(delivery_ids: Sequence[int], *, live: bool = True, quiet: bool = False) -> None:
    """Process these deliveries, in one transaction if all goes well; live, retried and replayed ones alike.

    Of `quiet` ones, and of those that are not `live`, nobody is told by message; AmoCRM is asked only about live ones.
    A batch that fails is halved until the bad delivery is alone: it is marked `failed` or `dead`, the others succeed.
    """
    for part in _parts(delivery_ids):
        _process(part, live=live, quiet=quiet)


def _parts(delivery_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the deliveries in their order, in parts whose bodies have BATCH_BYTES together or less."""
    if len(delivery_ids) * settings.WEBHOOK_MAX_BYTES <= BATCH_BYTES:
        yield from [delivery_ids] if delivery_ids else []
        return
    with connection.cursor() as cursor:
        cursor.execute(_SIZES, [bulk.ids(delivery_ids)])
        sizes = dict(cursor.fetchall())
    part: list[int] = []
    room = BATCH_BYTES
    for delivery_id in delivery_ids:
        size = sizes.get(delivery_id, 0)
        if part and size > room:
            yield part
            part, room = [], BATCH_BYTES
        part.append(delivery_id)
        room -= size
    yield part


def _process(delivery_ids: Sequence[int], *, live: bool, quiet: bool) -> None:
    try:
        _process_batch(delivery_ids, live, quiet)
    except Exception as error:
        if concerns_all(error):
            raise
        if len(delivery_ids) == 1:
            log.exception("Webhook: delivery failed", delivery=delivery_ids[0])
            _fail(delivery_ids[0], because(CRASHED, describe(error)), quiet=quiet or not live)
            return
        middle = len(delivery_ids) // 2
        _process(delivery_ids[:middle], live=live, quiet=quiet)
        _process(delivery_ids[middle:], live=live, quiet=quiet)


def process_again(delivery_ids: Sequence[int]) -> int:
    """Put these deliveries back into the queue, due now, their attempts forgotten; return how many there were.

    Those whose body was dropped (retention) are left as they are: there is nothing to read.
    """
    return WebhookDelivery.objects.filter(pk__in=delivery_ids, body__isnull=False).update(
        status=WebhookDelivery.Status.RECEIVED, attempts=0, next_attempt_at=datetime.now(UTC), error_message=""
    )


def _process_batch(delivery_ids: Sequence[int], live: bool, quiet: bool) -> None:
    started = time.monotonic()
    outcomes = in_transaction(lambda: _process_locked(delivery_ids, live, quiet))
    pulse.count(outcomes, time.monotonic() - started)


def _process_locked(delivery_ids: Sequence[int], live: bool, quiet: bool) -> list[tuple[str, str]]:
    """Do the batch's work inside its transaction; return (source, outcome) of each delivery."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_INDEX)
    deliveries = lock_deliveries(delivery_ids)
    told = [(delivery, index, event) for delivery in deliveries for index, event in delivery.deal_events()]
    failures: Failures = {}
    stages = {}
    states = {}
    receivers = 0
    if told:
        deals = LockedDeals(event.lead_id for _, _, event in told)
        for delivery, index, event in told:
            seen = delivery.seen(index)
            deals.learn(event.lead_id, contribution(event, seen), observation(event, seen))
        changed = deals.save()
        if live and api.configured():
            answered = {event.lead_id for _, _, event in told if event.is_snapshot}
            hooked = {event.lead_id for _, _, event in told if not event.is_snapshot}
            questions.follow(changed, deals.wanting(), answered=answered, hooked=hooked)
        stages = deals.stages
        states = {deal.lead_id: deal for deal in changed}
        failures, receivers = tell(changed, live=live and not quiet)
    logbook.write(deliveries, states, stages, failures, receivers)
    return _mark(deliveries, failures, quiet=quiet or not live)


def _mark(deliveries: Sequence[Delivery], failures: Failures, *, quiet: bool) -> list[tuple[str, str]]:
    """Save what became of each delivery; one that already says the same is not written (replay).

    What fails quietly stays quiet: the worker tries a failed replay again, and nobody is told by that, either.
    """
    rows = []
    outcomes = []
    for delivery in deliveries:
        lead_ids = {event.lead_id for _, event in delivery.deal_events()} if failures else set()
        failed = sorted(lead_ids & failures.keys())
        if delivery.problem:
            outcome = (WebhookDelivery.Status.INVALID, delivery.problem)
        elif failed:
            status = WebhookDelivery.Status.DEAD if delivery.attempts >= MAX_ATTEMPTS else WebhookDelivery.Status.FAILED
            outcome = (
                status,
                because(RECEIVER_FAILED, "; ".join(text for lead_id in failed for text in failures[lead_id])),
            )
            what = "is dead" if status == WebhookDelivery.Status.DEAD else "failed"
            log.error(f"Webhook: delivery {what}", delivery=delivery.id, leads=failed)
        else:
            outcome = (WebhookDelivery.Status.PROCESSED, "")
        outcomes.append((delivery.source, str(outcome[0])))
        if outcome != (delivery.status, delivery.error_message):
            row = {"id": delivery.id, "status": outcome[0], "error_message": outcome[1]}
            rows.append(row | {"quiet": quiet and bool(failed)})
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_MARK, [bulk.as_json(rows)])
    return outcomes


def _fail(delivery_id: int, error: str, *, quiet: bool) -> None:
    """Save that processing this delivery raised; its next attempt is already set by the claim."""
    delivery = WebhookDelivery.objects.only("attempts", "quiet").get(pk=delivery_id)
    if delivery.attempts >= MAX_ATTEMPTS:
        _give_up(delivery_id, error)
        return
    WebhookDelivery.objects.filter(pk=delivery_id).update(
        status=WebhookDelivery.Status.FAILED, error_message=error, quiet=quiet or delivery.quiet
    )


def _give_up(delivery_id: int, error: str) -> None:
    """Mark a delivery dead: kept for ever, tried no more until a person says so."""
    WebhookDelivery.objects.filter(pk=delivery_id).update(status=WebhookDelivery.Status.DEAD, error_message=error)
    log.error("Webhook: delivery is dead", delivery=delivery_id, error=error)
