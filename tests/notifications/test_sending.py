from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications import outbox as outbox_module
from notifications.models import TelegramChat
from notifications.outbox import outbox_models
from notifications.sender import Sender
from tests.fakes import FakeBotApi
from tests.notifications.helpers import (
    Outbox,
    Status,
    other_connection,
    status,
)
from traffic.models import SalesNotification

pytestmark = pytest.mark.usefixtures("short_text")


def test_it_sends_a_message_once_and_says_so(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    row = outbox(chat=chat)
    assert sender.send_pending() == 1
    assert sender.send_pending() == 0
    assert api.texts == ["<b>Deal 1</b>"]
    row.refresh_from_db()
    assert (row.notification_status, row.telegram_message_id, row.attempts, row.error) == (Status.SENT, 1, 1, "")
    assert row.notified_at is not None
    assert abs(row.notified_at - timezone.now()) < timedelta(minutes=1)


def test_it_sends_the_oldest_first(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    late, early = outbox(chat=chat), outbox(chat=chat)
    SalesNotification.objects.filter(pk=early.pk).update(next_attempt_at=late.next_attempt_at - timedelta(hours=1))
    sender.send_pending()
    assert api.texts == ["<b>Deal 2</b>", "<b>Deal 1</b>"]


def test_it_does_not_send_what_is_not_due(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    outbox(chat=chat, next_attempt_at=timezone.now() + timedelta(minutes=1))
    assert sender.send_pending() == 0
    assert not api.requests


@pytest.mark.parametrize("state", [s for s in Status if s is not Status.PENDING])
def test_it_sends_only_what_is_waiting(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, state: SalesNotification.Status
):
    row = outbox(chat=chat, notification_status=state)
    sender.send_pending()
    assert not api.requests
    assert status(row) == state


def test_it_does_not_send_what_is_cancelled_at_the_last_moment(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    row = outbox(chat=chat)

    def waiting_with(self: Sender, *args: Any) -> list[Any]:  # after the row was chosen, before it is claimed
        SalesNotification.objects.filter(pk=row.pk).update(notification_status=Status.CANCELLED)
        return [row]

    monkeypatch.setattr(Sender, "_waiting_with", waiting_with)
    sender.send_pending()
    assert not api.requests
    assert status(row) == Status.CANCELLED


def test_a_message_that_has_nothing_to_tell_any_more_is_cancelled(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    row = outbox(chat=chat)
    monkeypatch.setattr(SalesNotification, "render", lambda self: "")
    sender.send_pending()
    assert not api.requests
    assert status(row) == Status.CANCELLED


@pytest.mark.django_db(transaction=True)
def test_it_has_committed_sending_and_holds_no_transaction_while_telegram_is_asked(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    seen: list[tuple[str, str]] = []

    def look(request: dict[str, Any]) -> None:
        with psycopg.connect(**other_connection()) as other:
            found = other.execute(
                "SELECT n.notification_status, a.state FROM sales_notifications n, pg_stat_activity a WHERE a.pid = %s",
                [pid],
            ).fetchone()
            assert found is not None
            seen.append(found)

    outbox(chat=chat)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    api.on_request = look
    sender.send_pending()
    assert seen == [("sending", "idle")]


def test_a_message_that_cannot_be_rendered_fails_and_stops_nobody(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    bad, good = outbox(chat=chat), outbox(chat=chat)

    def render(self: SalesNotification) -> str:
        if self.pk == bad.pk:
            raise ValueError("no such thing")
        return "good"

    monkeypatch.setattr(SalesNotification, "render", render)
    sender.send_pending()
    assert (status(bad), bad.error) == (Status.FAILED, "ValueError: no such thing")
    assert status(good) == Status.SENT


def test_it_finds_the_outboxes_of_all_apps():
    assert SalesNotification in outbox_models()


def test_a_long_queue_of_a_chat_that_rests_costs_nothing(chat: TelegramChat, outbox: Outbox):
    """The query reads as few pages behind 5 000 rows as behind ten."""
    other = TelegramChat.objects.create(chat_id=-200)
    row = outbox(chat=other, next_attempt_at=timezone.now() - timedelta(seconds=1))

    def pages() -> int:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE sales_notifications")
            query = outbox_module._OLDEST_DUE.format(table="sales_notifications")
            values: dict[str, Any] = {"resting": [chat.pk], "is_common_resting": True}
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", values)
            plan = cursor.fetchone()[0][0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    def fill(first: int, last: int) -> None:
        SalesNotification.objects.bulk_create(
            SalesNotification(lead_id=n, chat=chat if n % 2 else None, sale_date=timezone.now())
            for n in range(first, last)
        )

    fill(1_000, 1_010)
    before = pages()
    fill(2_000, 7_000)
    assert pages() <= before + 10
    found = outbox_module.oldest_due(SalesNotification, resting=[chat.pk], is_common_resting=True)
    assert found == row


@pytest.mark.parametrize("to_common", [True, False])
def test_the_oldest_of_a_long_queue_are_read_without_the_others(chat: TelegramChat, to_common: bool):
    SalesNotification.objects.bulk_create(
        SalesNotification(lead_id=n, chat=None if to_common else chat, sale_date=timezone.now()) for n in range(5_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sales_notifications")
    with CaptureQueriesContext(connection) as queries:
        due = outbox_module.due_of_chat(SalesNotification, None if to_common else chat.pk, 30)
    assert [row.pk for row in due] == list(SalesNotification.objects.order_by("pk").values_list("pk", flat=True)[:30])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {queries.captured_queries[-1]['sql']}")
        plan = json.dumps(cursor.fetchone()[0])
    assert "salesnotification_waiting" in plan
    assert "Sort" not in plan
