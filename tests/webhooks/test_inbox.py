from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from django.db import OperationalError, connection

from tests import bodies
from tests.webhooks.helpers import drain, due_now, store
from traffic.models import Sale
from webhooks import deliveries, inbox
from webhooks.enrichment import database_now
from webhooks.merge import DealState
from webhooks.models import Deal, DealTransition, WebhookDelivery, WebhookLog
from webhooks.replay import resync
from webhooks.signals import deal_by_deal_on_failure, deals_changed

pytestmark = pytest.mark.django_db
T = 1766217600
Status = WebhookDelivery.Status


def row_versions(table: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ctid, xmin, * FROM {table} ORDER BY 3")
        return cursor.fetchall()


@pytest.fixture
def receiver() -> Iterator[Any]:
    """Connect a receiver for the length of a test."""
    connected = []

    def connect(handle: Any) -> None:
        wrapped = deal_by_deal_on_failure(handle)
        connected.append(wrapped)
        deals_changed.connect(wrapped, weak=False)

    yield connect
    for wrapped in connected:
        deals_changed.disconnect(wrapped)


def test_a_won_deal_is_processed_and_logged():
    delivery = store(bodies.payload("won-status-coded-utm.txt"))
    assert inbox.process_due() == 1
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.error_message) == (Status.PROCESSED, 1, "")
    assert delivery.processed_at is not None
    deal = Deal.objects.get()
    assert (deal.lead_id, deal.status_id, deal.price, deal.utm_campaign) == (5000001, 142, 100000, "tripwire_17.12")
    log = WebhookLog.objects.get()
    assert (log.delivery, log.index, log.action, log.lead_id) == (delivery, 0, "leads.status", 5000001)
    assert (log.routing_decision, log.processing_status, log.error_message) == ("traffic", "success", "")
    assert log.received_at == delivery.received_at
    assert log.deal_data["utm"]["utm_medium"] == "cpc"
    assert DealTransition.objects.get().at.timestamp() == T


@pytest.mark.parametrize(
    ("name", "action", "reason"),
    [
        ("note.txt", "leads.note", "no deal in it: leads.note"),
        ("contact-linked-leads.txt", "contacts.update", "no deal in it: contacts.update"),
        ("digital-pipeline-widget.txt", "", "no deal in it: event, action, subdomain, account_id"),
        ("account-only.txt", "", "no deal in it: account"),
        ("empty.txt", "", "the body is empty"),
    ],
)
def test_a_delivery_without_a_deal_is_ignored_and_says_why(name: str, action: str, reason: str):
    store(bodies.payload(name))
    drain()
    log = WebhookLog.objects.get()
    assert (log.action, log.routing_decision, log.processing_status, log.error_message) == (
        action, "ignored", "ignored", reason,
    )  # fmt: skip
    assert WebhookDelivery.objects.get().status == Status.PROCESSED


def test_a_deal_that_is_not_won_is_ignored_and_says_why():
    store(bodies.hook(1, status=bodies.OPEN, at=T))
    drain()
    log = WebhookLog.objects.get()
    assert (log.processing_status, log.error_message) == ("ignored", f"the deal is not won: {bodies.OPEN}")


@pytest.mark.parametrize(
    ("pipeline", "utm", "decision"),
    [
        (bodies.PIPELINE, "kenesary", "traffic"),
        (999, "REF_aru", "referral"),
        (bodies.PIPELINE, "ref_aru", "both"),
        (999, "facebook", "unknown"),
    ],
)
def test_the_decision_says_whose_business_a_won_deal_is(pipeline: int, utm: str, decision: str):
    store(bodies.hook(1, pipeline=pipeline, at=T, utm_source=utm))
    drain()
    log = WebhookLog.objects.get()
    assert log.routing_decision == decision
    assert (log.processing_status == "ignored") == (decision == "unknown")


def test_what_takes_a_win_back_is_the_same_apps_business():
    store(bodies.hook(1, at=T))
    store(bodies.hook(1, status=bodies.LOST, at=T + 9))
    store(bodies.hook(1, action="delete"))
    drain()
    assert list(WebhookLog.objects.order_by("id").values_list("routing_decision", flat=True)) == ["traffic"] * 3


def test_a_foreign_account_is_stored_and_ignored(settings: Any):
    settings.AMOCRM_ACCOUNT_ID = "1"
    store(bodies.payload("won-status-coded-utm.txt"))
    drain()
    assert WebhookLog.objects.get().error_message == "another AmoCRM account: 31000001"
    assert not Deal.objects.exists()


def test_our_own_account_is_not_foreign(settings: Any):
    settings.AMOCRM_ACCOUNT_ID = "31000001"
    store(bodies.payload("won-status-coded-utm.txt"))
    drain()
    assert Deal.objects.exists()


def test_each_deal_event_of_a_body_has_a_row():
    store(bodies.payload("several-leads-and-entities-with-gaps.txt"))
    drain()
    assert list(WebhookLog.objects.order_by("index").values_list("index", "action", "lead_id")) == [
        (0, "leads.add", 5000010), (1, "leads.add", 5000011), (2, "leads.status", 5000010),
    ]  # fmt: skip


def test_a_deal_whose_id_cannot_be_read_is_an_error_that_is_seen():
    store(bodies.hook("abc"))
    drain()
    log = WebhookLog.objects.get()
    assert (log.processing_status, log.error_message) == ("error", "the deal cannot be read: id is not a number: abc")


def test_a_price_that_cannot_be_read_leaves_it_unknown_and_says_so():
    store(bodies.hook(1, at=T, price="NaN"))
    drain()
    assert Sale.objects.get().sale_amount is None
    assert "price is not a sum: NaN" in WebhookLog.objects.get().error_message


def test_nul_bytes_do_not_stop_it():
    store(bodies.hook(1, at=T, name="a\x00b", utm_source="\x00ref_x"))
    drain()
    assert Deal.objects.get().name == "a\ufffdb"


def test_unchanged_deliveries_write_nothing_when_processed_again():
    delivery = store(bodies.payload("several-leads-and-entities-with-gaps.txt"))
    drain()
    tables = ("webhook_logs", "deals", "deal_transitions", "all_sales_tracking", "sales_notifications")
    before = {table: row_versions(table) for table in tables}
    inbox.process([delivery.pk], live=False)
    assert {table: row_versions(table) for table in tables} == before


def test_a_batch_is_one_transaction_and_counts_the_attempt_of_each():
    for lead in range(1, 20):
        store(bodies.hook(lead, at=T))
    assert inbox.process_due() == 19
    assert set(WebhookDelivery.objects.values_list("status", "attempts")) == {(Status.PROCESSED, 1)}


# --- what goes wrong (law 6) --------------------------------------------------------------------


def test_a_receiver_that_raises_for_one_deal_stops_no_other(receiver: Any):
    told: list[int] = []

    def picky(deals: Sequence[DealState], *, live: bool) -> None:
        for deal in deals:
            if deal.lead_id == 2:
                raise RuntimeError("no")
            told.append(deal.lead_id)

    receiver(picky)
    for lead in (1, 2, 3):
        store(bodies.hook(lead, at=T))
    drain()
    assert told[-2:] == [1, 3]
    assert Sale.objects.count() == 3
    assert list(WebhookLog.objects.order_by("lead_id").values_list("processing_status", flat=True)) == [
        "success", "partial", "success",
    ]  # fmt: skip
    failed = WebhookDelivery.objects.get(status=Status.FAILED)
    assert "RuntimeError: no" in failed.error_message
    assert failed.next_attempt_at > failed.received_at


def test_an_error_of_many_words_is_still_one_apps(receiver: Any):
    def fails(deals: Any, *, live: bool) -> None:
        raise ValueError("no; not; this; way")

    receiver(fails)
    store(bodies.hook(1, at=1766217600))
    inbox.process_due()
    assert WebhookLog.objects.get().processing_status == "partial"


def test_a_retry_completes_a_partial_one(receiver: Any):
    broken = True

    def sometimes(deals: Sequence[DealState], *, live: bool) -> None:
        if broken:
            raise RuntimeError("not yet")

    receiver(sometimes)
    store(bodies.hook(1, at=T))
    drain()
    assert WebhookDelivery.objects.get().status == Status.FAILED
    broken = False
    due_now()
    drain()
    assert WebhookDelivery.objects.get().status == Status.PROCESSED
    assert (WebhookLog.objects.get().processing_status, WebhookLog.objects.get().error_message) == ("success", "")


def test_a_database_error_in_a_receiver_leaves_the_batch_usable(receiver: Any):
    def breaks(deals: Sequence[DealState], *, live: bool) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

    receiver(breaks)
    store(bodies.hook(1, at=T))
    drain()
    assert Sale.objects.count() == 1
    assert WebhookLog.objects.get().processing_status == "partial"


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("SET LOCAL statement_timeout = 50; SELECT pg_sleep(5)", "statement timeout"),
        ("DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '55P03'; END $$", "not now"),
        ("DO $$ BEGIN RAISE EXCEPTION 'temp_file_limit' USING ERRCODE = '53400'; END $$", "temp_file_limit"),
        ("DO $$ BEGIN RAISE EXCEPTION '$libdir/its' USING ERRCODE = '58P01'; END $$", "$libdir/its"),
    ],
)
def test_a_statement_that_postgresql_gave_up_is_one_receivers_failure(receiver: Any, statement: str, text: str):
    broken = True

    def slow(deals: Sequence[DealState], *, live: bool) -> None:
        if broken and any(deal.lead_id == 2 for deal in deals):
            with connection.cursor() as cursor:
                cursor.execute(statement)

    receiver(slow)
    for lead in (1, 2, 3):
        store(bodies.hook(lead, at=T))
    assert inbox.process_due() == 3
    assert Sale.objects.count() == 3
    assert list(WebhookLog.objects.order_by("lead_id").values_list("processing_status", flat=True)) == [
        "success", "partial", "success",
    ]  # fmt: skip
    assert text in WebhookDelivery.objects.get(status=Status.FAILED).error_message
    broken = False
    due_now()
    drain()
    assert not WebhookDelivery.objects.exclude(status=Status.PROCESSED).exists()


@pytest.mark.parametrize("state", ["08006", "40001", "40P01", "53100", "53200", "53300", "57P01", "57P03", "58030"])
def test_what_concerns_the_whole_database_is_no_deliverys_failure(receiver: Any, state: str):
    def unlucky(deals: Sequence[DealState], *, live: bool) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'the server' USING ERRCODE = '{state}'; END $$")

    receiver(unlucky)
    store(bodies.hook(1, at=T))
    with pytest.raises(OperationalError, match="the server"):
        inbox.process_due()
    assert WebhookDelivery.objects.get().status == Status.RECEIVED


def test_a_connection_that_is_lost_is_no_deliverys_failure(receiver: Any):
    def unlucky(deals: Sequence[DealState], *, live: bool) -> None:
        raise OperationalError("consuming input failed")  # the driver's own: no SQLSTATE

    receiver(unlucky)
    store(bodies.hook(1, at=T))
    with pytest.raises(OperationalError, match="consuming"):
        inbox.process_due()
    assert WebhookDelivery.objects.get().status == Status.RECEIVED


def test_a_delivery_that_breaks_processing_is_found_among_good_ones(monkeypatch: pytest.MonkeyPatch):
    for lead in range(1, 12):
        store(bodies.hook(lead, at=T))
    whole = deliveries.lock_deliveries

    def poisoned(ids: Sequence[int]) -> Any:
        locked = whole(ids)
        if any(b"[id]=7&" in bytes(delivery.body).replace(b"%5B", b"[").replace(b"%5D", b"]") for delivery in locked):
            raise ValueError("poison")
        return locked

    monkeypatch.setattr(inbox, "lock_deliveries", poisoned)
    drain()
    assert Sale.objects.count() == 10
    bad = WebhookDelivery.objects.exclude(status=Status.PROCESSED).get()
    assert (bad.status, bad.attempts) == (Status.FAILED, 1)
    assert bad.error_message == "processing failed: ValueError: poison"


@pytest.mark.parametrize(
    "statement", ["SELECT repeat('ab', 1000000000)", "SET LOCAL statement_timeout = 50; SELECT pg_sleep(5)"]
)
def test_a_delivery_that_is_too_much_for_the_database_is_found_among_good_ones(
    monkeypatch: pytest.MonkeyPatch, statement: str
):
    for lead in range(1, 12):
        store(bodies.hook(lead, at=T))
    whole = deliveries.lock_deliveries
    seventh = WebhookDelivery.objects.order_by("pk")[6].pk

    def locked(ids: Sequence[int]) -> Any:
        if seventh in ids:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        return whole(ids)

    monkeypatch.setattr(inbox, "lock_deliveries", locked)
    drain()
    assert Sale.objects.count() == 10
    bad = WebhookDelivery.objects.exclude(status=Status.PROCESSED).get()
    assert (bad.pk, bad.status, bad.attempts) == (seventh, Status.FAILED, 1)


def test_large_bodies_are_processed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    stored = [store(bodies.hook(lead, at=T, name="n" * 300_000 * (lead in (2, 3)))) for lead in range(1, 6)]
    monkeypatch.setattr(inbox, "BATCH_BYTES", 400_000)
    whole = deliveries.lock_deliveries
    parts = []

    def locked(ids: Sequence[int]) -> Any:
        parts.append(list(ids))
        return whole(ids)

    monkeypatch.setattr(inbox, "lock_deliveries", locked)
    drain()
    one, two, three, four, five = (delivery.pk for delivery in stored)
    assert parts == [[one, two], [three, four, five]]
    assert Sale.objects.count() == 5


def test_it_is_dead_after_the_last_attempt_and_works_again_when_a_person_says_so(receiver: Any):
    broken = True

    def always(deals: Sequence[DealState], *, live: bool) -> None:
        if broken:
            raise RuntimeError("no")

    receiver(always)
    delivery = store(bodies.hook(1, at=T))
    delays = []
    said = []
    for _ in range(inbox.MAX_ATTEMPTS):
        with structlog.testing.capture_logs() as logs:
            drain()
        said += [line["event"] for line in logs if line["log_level"] == "error"]
        delivery.refresh_from_db()
        delays.append(round((delivery.next_attempt_at - database_now()).total_seconds()))
        due_now()
    assert (delivery.status, delivery.attempts) == (Status.DEAD, inbox.MAX_ATTEMPTS)
    assert said == ["Webhook: delivery failed"] * (inbox.MAX_ATTEMPTS - 1) + ["Webhook: delivery is dead"]
    assert delays[:-1] == pytest.approx([5, 30, 120, 600, 3600, 10_800, 21_600], abs=2)
    drain()
    assert WebhookDelivery.objects.get().attempts == inbox.MAX_ATTEMPTS
    broken = False
    assert inbox.process_again([delivery.pk]) == 1
    drain()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error_message) == (Status.PROCESSED, "")


def test_a_body_that_kills_the_process_ends_dead(monkeypatch: pytest.MonkeyPatch):
    delivery = store(bodies.hook(1, at=T))

    def killed(delivery_ids: Sequence[int]) -> None:
        if delivery_ids:
            raise SystemExit

    monkeypatch.setattr(inbox, "process", killed)
    for _ in range(inbox.MAX_ATTEMPTS):
        with pytest.raises(SystemExit):
            inbox.process_due()
        due_now()
    monkeypatch.undo()
    drain()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error_message) == (Status.DEAD, "the worker died while processing it")


def test_the_date_of_a_sale_stays_when_the_deal_moves_on_and_when_it_is_taken_back():
    closed = datetime.fromtimestamp(1766217600, UTC)
    told = closed + timedelta(hours=12)
    store(bodies.hook(1), received_at=told)  # without a time
    lead = bodies.api_lead(1, at=int(told.timestamp()), price=5, closed_at=int(closed.timestamp()), utm_source="ref_x")
    store(bodies.answer(lead), source="amocrm_api", content_type="application/json", received_at=told)
    drain()
    assert Sale.objects.get().sale_date == closed
    at = int(told.timestamp()) + 86_400
    store(bodies.hook(1, at=at, pipeline=999, status=bodies.OPEN), received_at=told + timedelta(days=1))
    drain()
    assert Sale.objects.filter(state="won", moved=True, sale_date=closed).exists()
    store(bodies.hook(1, at=at + 60, pipeline=999, status=bodies.LOST), received_at=told + timedelta(days=2))
    drain()
    assert Sale.objects.filter(state="reversed", sale_date=closed).exists()
    Sale.objects.all().delete()
    list(resync("traffic"))
    assert Sale.objects.filter(state="reversed", sale_date=closed).exists()
