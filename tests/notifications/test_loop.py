from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.models import F
from django.utils import timezone

from notifications import sender as sender_module
from notifications import telegram
from notifications.models import TelegramChat
from notifications.sender import Sender
from tests import fakes
from tests.fakes import FakeBotApi
from tests.notifications.helpers import (
    Outbox,
    Status,
    lock_holders,
    other_connection,
    running,
    status,
    wait_for,
)
from traffic.models import SalesNotification

pytestmark = pytest.mark.usefixtures("short_text")


@pytest.mark.django_db(transaction=True)
def test_the_loop_sends_a_new_message_at_once_and_ends_at_once(api: FakeBotApi, chat: TelegramChat, outbox: Outbox):
    with running() as stop:
        wait_for(lock_holders)
        row = outbox(chat=chat)
        wait_for(lambda: status(row) == Status.SENT, 1)
        stop.set()
        wait_for(lambda: not lock_holders(), 1)


@pytest.mark.django_db(transaction=True)
def test_two_senders_send_one_message(
    api: FakeBotApi, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sender_module, "LOCK_WAIT", 0.05)
    with running(), running():
        rows = [outbox(chat=TelegramChat.objects.create(chat_id=-n)) for n in range(1, 9)]
        wait_for(lambda: all(status(row) == Status.SENT for row in rows))
        assert lock_holders() == 1
    assert sorted(api.texts) == sorted(f"<b>{row.lead_name}</b>" for row in rows)


@pytest.mark.django_db(transaction=True)
def test_two_senders_without_a_lock_still_send_one_message(api: FakeBotApi, chat: TelegramChat, outbox: Outbox):
    """A lost connection may leave two at work for a moment: the claim is what counts then."""
    rows = [outbox(chat=TelegramChat.objects.create(chat_id=-n)) for n in range(1, 9)]
    start = threading.Barrier(2)

    def send() -> None:
        with telegram.Bot(fakes.TOKEN) as bot:
            start.wait(5)
            Sender(bot).send_pending()
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(api.texts) == sorted(f"<b>{row.lead_name}</b>" for row in rows)


@pytest.mark.django_db(transaction=True)
def test_another_sender_takes_over_and_leaves_the_dead_ones_message_uncertain(
    api: FakeBotApi, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sender_module, "LOCK_WAIT", 0.05)
    left, waiting = outbox(chat=chat, notification_status=Status.SENDING), outbox(chat=chat)
    with psycopg.connect(**other_connection()) as first:
        first.execute("SELECT pg_advisory_lock(%s)", [sender_module.LOCK])
        with running():
            time.sleep(0.3)
            assert (status(left), status(waiting)) == (Status.SENDING, Status.PENDING)
            first.close()  # what the server sees of a kill -9
            wait_for(lambda: status(waiting) == Status.SENT)
    assert status(left) == Status.UNCERTAIN
    assert "before sending it again" in left.error
    assert api.texts == [f"<b>{waiting.lead_name}</b>"]


@pytest.mark.django_db(transaction=True)
def test_another_sender_keeps_the_pace_of_the_one_before(
    api: FakeBotApi, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sender_module, "LOCK_WAIT", 0.05)
    for _ in range(20):  # what a group may get in a minute
        outbox(chat=chat, notification_status=Status.SENT, notified_at=timezone.now(), telegram_chat_id=chat.chat_id)
    SalesNotification.objects.update(telegram_message_id=F("id"))
    full, free = outbox(chat=chat), outbox(chat=TelegramChat.objects.create(chat_id=-200))
    with running():
        wait_for(lambda: status(free) == Status.SENT)
        time.sleep(1.2)  # longer than the pause between two messages to one chat
        assert status(full) == Status.PENDING
    assert api.texts == [f"<b>{free.lead_name}</b>"]


@pytest.mark.django_db(transaction=True)
def test_a_connection_lost_while_telegram_answered_loses_neither_the_answer_nor_the_next_message(
    api: FakeBotApi, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sender_module, "LOCK_WAIT", 0.05)
    killed: list[int] = []

    def kill(request: dict[str, Any]) -> None:
        if not killed:
            with psycopg.connect(**other_connection(), autocommit=True) as other:
                query = "SELECT pid, pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database ="
                found = other.execute(query + " (SELECT oid FROM pg_database WHERE datname = current_database())")
                killed.extend(pid for pid, done in found if done)

    api.on_request = kill
    first = outbox(chat=chat)
    second = outbox(chat=TelegramChat.objects.create(chat_id=-200))
    with running():
        wait_for(lambda: status(second) == Status.SENT)
    assert len(killed) == 1
    assert (status(first), first.telegram_message_id) == (Status.SENT, 1)
    assert api.texts == ["<b>Deal 1</b>", "<b>Deal 2</b>"]


@pytest.mark.django_db(transaction=True)
def test_the_loop_outlives_a_bug(api: FakeBotApi, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sender_module, "LOCK_WAIT", 0.05)
    real, failures = Sender.send_pending, iter([RuntimeError("bug"), OperationalError("gone")])

    def send_pending(self: Sender) -> int:
        for failure in failures:
            raise failure
        return real(self)

    monkeypatch.setattr(Sender, "send_pending", send_pending)
    row = outbox(chat=chat)
    with running():
        wait_for(lambda: status(row) == Status.SENT)
