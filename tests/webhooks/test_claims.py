"""What a hand of the worker takes from the queue, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from tests import bodies
from tests.webhooks.helpers import drain, store
from traffic.models import Sale
from webhooks import inbox
from webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db
T = 1766217600
Status = WebhookDelivery.Status


def sizes_of_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that the sizes of all batches from now on are added to."""
    batches: list[int] = []
    process = inbox.process

    def counted(ids: Sequence[int]) -> None:
        batches.append(len(ids))
        process(ids)

    monkeypatch.setattr(inbox, "process", counted)
    return batches


@pytest.mark.parametrize(("attempts", "status"), [(1, Status.FAILED), (2, Status.RECEIVED)])
def test_what_failed_once_or_was_left_behind_twice_is_processed_alone(
    monkeypatch: pytest.MonkeyPatch, attempts: int, status: str
):
    store(bodies.hook(1, at=T), attempts=attempts, status=status)
    with connection.cursor() as cursor:  # for a table of one row the planner joins so that a LIMIT within was repeated
        cursor.execute("ANALYZE webhook_deliveries")
        for choice in ("hashjoin", "mergejoin", "material", "memoize"):
            cursor.execute(f"SET LOCAL enable_{choice} = off")
    for lead in range(2, 5):
        store(bodies.hook(lead, at=T), attempts=attempts, status=status)
    store(bodies.hook(9, at=T))
    batches = sizes_of_batches(monkeypatch)
    drain()
    assert max(batches) == 1
    assert Sale.objects.count() == 5


def test_what_was_left_behind_once_is_tried_again_in_small_company(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inbox, "COMPANY", 3)
    for lead in range(1, 6):
        store(bodies.hook(lead, at=T), attempts=1)
    batches = sizes_of_batches(monkeypatch)
    drain()
    assert [size for size in batches if size] == [3, 2]
    assert Sale.objects.count() == 5


def test_what_failed_waits_until_it_is_due():
    delivery = store(bodies.hook(1, at=T), attempts=1, status=Status.FAILED)
    WebhookDelivery.objects.update(next_attempt_at=Now() + timedelta(minutes=1))
    assert inbox.process_due() == 0
    delivery.refresh_from_db()
    assert delivery.status == Status.FAILED


def test_a_new_delivery_does_not_wait_for_a_clock_that_was_set_back():
    store(bodies.hook(1, at=T))
    WebhookDelivery.objects.update(next_attempt_at=Now() + timedelta(days=1))
    assert inbox.process_due() == 1
    assert Sale.objects.count() == 1


def test_many_that_failed_are_tried_again_each_alone_in_one_turn(monkeypatch: pytest.MonkeyPatch):
    for lead in range(1, inbox.COMPANY + 3):
        store(bodies.hook(lead, at=T), attempts=1, status=Status.FAILED)
    batches = sizes_of_batches(monkeypatch)
    assert inbox.process_due() == inbox.COMPANY
    assert [size for size in batches if size] == [1] * inbox.COMPANY
    assert inbox.process_due() == 2


class Turns(threading.Event):
    """A stop that calls `at_rest` whenever the loop rests, and is set after so many rests."""

    def __init__(self, most: int, at_rest: Callable[[int], None]) -> None:
        super().__init__()
        self.rests, self.most, self.at_rest = 0, most, at_rest

    def wait(self, timeout: float | None = None) -> bool:
        self.rests += 1
        self.at_rest(self.rests)
        if self.rests == self.most:
            self.set()
        return self.is_set()


@pytest.mark.parametrize("is_spare", [False, True])
def test_what_was_committed_late_is_found_when_a_hand_looks_at_all_of_the_queue(
    monkeypatch: pytest.MonkeyPatch, is_spare: bool
):
    store(bodies.hook(1, at=T))
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    found: list[int] = []

    def at_rest(rest: int) -> None:
        nonlocal clock
        if rest == 1:  # a commit that took longer than LATE_SECONDS
            late = store(bodies.hook(2, at=T))
            WebhookDelivery.objects.filter(pk=late.pk).update(next_attempt_at=Now() - timedelta(seconds=10))
        elif not found and Sale.objects.count() == 2:
            found.append(rest)
        if rest == 2:
            clock += 30

    inbox.run(Turns(5, at_rest), is_spare=is_spare)
    assert found == [3]


def test_what_was_committed_a_little_late_is_claimed_at_the_next_turn():
    begun = datetime.now(UTC)
    sales: list[int] = []

    def at_rest(rest: int) -> None:
        sales.append(Sale.objects.count())
        late = store(bodies.hook(1 + rest, at=T))
        WebhookDelivery.objects.filter(pk=late.pk).update(next_attempt_at=begun - timedelta(seconds=0.5 * rest))

    WebhookDelivery.objects.filter(pk=store(bodies.hook(1, at=T)).pk).update(next_attempt_at=begun)
    inbox.run(Turns(3, at_rest))
    assert sales == [1, 2, 3]


def test_what_arrives_after_a_claim_is_claimed_at_the_next_turn():
    store(bodies.hook(1, at=T))
    sales: list[int] = []

    def at_rest(rest: int) -> None:
        sales.append(Sale.objects.count())
        store(bodies.hook(1 + rest, at=T))

    inbox.run(Turns(3, at_rest), is_spare=True)
    assert sales == [1, 2, 3]


def test_what_was_tried_before_is_found_beside_a_long_queue():
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(source="amocrm", body=b"a=1", content_type=bodies.FORM) for _ in range(5_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE webhook_deliveries")
        cursor.execute(f"EXPLAIN {inbox._CLAIM_AGAIN}", {"delays": inbox.RETRY_SECONDS, "limit": 1})
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "delivery_again" in plan
    assert "delivery_pending" not in plan
