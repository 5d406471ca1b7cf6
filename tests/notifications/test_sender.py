from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from notifications import sender as sender_module
from notifications import telegram
from notifications.models import TelegramChat
from notifications.pacing import Pacer
from notifications.sender import Sender, outbox_models, run
from tests import fakes
from tests.fakes import FakeBotApi
from traffic.models import SalesNotification

Outbox = Callable[..., SalesNotification]
Status = SalesNotification.Status


@pytest.fixture(autouse=True)
def short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is another file's matter."""
    monkeypatch.setattr(SalesNotification, "render", lambda self: f"<b>{self.lead_name}</b>")


def wait_for(condition: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def make_due(row: SalesNotification) -> None:
    SalesNotification.objects.filter(pk=row.pk).update(next_attempt_at=timezone.now() - timedelta(seconds=1))


def status(row: SalesNotification) -> str:
    row.refresh_from_db()
    return row.notification_status


# --- One message ---------------------------------------------------------------------------------


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

    def render(self: SalesNotification) -> str:  # after the row was chosen, before it is claimed
        SalesNotification.objects.filter(pk=self.pk).update(notification_status=Status.CANCELLED)
        return "text"

    monkeypatch.setattr(SalesNotification, "render", render)
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


# --- What Telegram answers -----------------------------------------------------------------------


def test_a_flooded_chat_pauses_and_the_others_go_on(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    other = TelegramChat.objects.create(chat_id=-200)
    api.will(fakes.too_many_requests(30), chat_id=-100)
    first, second, third = outbox(chat=chat), outbox(chat=chat), outbox(chat=other)
    sender.send_pending()
    assert [request["chat_id"] for request in api.requests] == [-100, -200]
    assert (status(first), status(second), status(third)) == (Status.PENDING, Status.PENDING, Status.SENT)
    assert first.attempts == 0  # not the message's fault
    assert "Flood control" in first.error
    chat.refresh_from_db()
    assert chat.paused_until is not None
    assert timedelta(seconds=25) < chat.paused_until - timezone.now() <= timedelta(seconds=30)


def test_a_paused_chat_gets_its_messages_after_the_pause(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    row = outbox(chat=chat)
    TelegramChat.objects.update(paused_until=timezone.now() + timedelta(minutes=1))
    assert sender.send_pending() == 0
    TelegramChat.objects.update(paused_until=timezone.now() - timedelta(seconds=1))
    assert sender.send_pending() == 1
    assert status(row) == Status.SENT


def test_a_pause_of_the_common_chat_holds_messages_without_a_chat(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    TelegramChat.objects.update(paused_until=timezone.now() + timedelta(minutes=1))
    outbox()
    other = outbox(chat=TelegramChat.objects.create(chat_id=5, kind=TelegramChat.Kind.TARGETOLOGIST))
    assert sender.send_pending() == 1
    assert status(other) == Status.SENT


def test_a_group_that_became_a_supergroup_keeps_getting_messages(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    api.will(fakes.migrated(-100500), chat_id=-100)
    first, second = outbox(chat=chat), outbox(chat=chat)
    sender.send_pending()
    assert (status(first), status(second)) == (Status.SENT, Status.SENT)
    chat.refresh_from_db()
    assert chat.chat_id == -100500
    assert [request["chat_id"] for request in api.requests] == [-100, -100500, -100500]


def test_a_group_that_became_one_that_is_entered_already_still_gets_its_message(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    TelegramChat.objects.create(chat_id=-100500)
    api.will(fakes.migrated(-100500), chat_id=-100)
    row = outbox(chat=chat)
    sender.send_pending()
    assert status(row) == Status.SENT


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(fakes.KICKED, "Forbidden: bot was kicked from the group chat"), (fakes.CHAT_NOT_FOUND, "Chat not found")],
    ids=["kicked", "not found"],
)
def test_a_chat_that_cannot_be_written_to_is_disabled_with_the_reason(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, reply: fakes.Reply, reason: str
):
    api.will(reply)
    rows = [outbox(chat=chat), outbox(chat=chat)]
    sender.send_pending()
    chat.refresh_from_db()
    assert (chat.active, chat.disabled_reason) == (False, reason)
    assert [(status(row), row.error) for row in rows] == [(Status.FAILED, reason)] * 2
    assert len(api.requests) == 1


def test_a_text_that_telegram_refuses_fails_alone(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    api.will(fakes.TOO_LONG)
    bad, good = outbox(chat=chat), outbox(chat=chat)
    sender.send_pending()
    assert (status(bad), bad.error) == (Status.FAILED, "Message is too long")
    assert status(good) == Status.SENT


def test_html_that_telegram_cannot_parse_arrives_as_plain_text(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    api.will(fakes.BAD_ENTITIES)
    row = outbox(chat=chat)
    sender.send_pending()
    assert status(row) == Status.SENT
    assert api.texts == ["Deal 1"]


@pytest.mark.parametrize("reply", [fakes.HANG, fakes.DROP, fakes.UNREADABLE], ids=["silence", "cut off", "unreadable"])
def test_what_may_have_been_delivered_is_uncertain_and_never_sent_again(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, reply: fakes.Reply
):
    api.will(reply)
    row = outbox(chat=chat)
    sender.send_pending()
    make_due(row)
    sender.send_pending()
    assert status(row) == Status.UNCERTAIN
    assert row.error
    assert len(api.requests) == 1


def test_a_server_error_is_tried_again_with_growing_delay_and_then_fails(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    api.will(*[fakes.BAD_GATEWAY] * 20)
    row = outbox(chat=chat)
    delays = []
    while status(row) == Status.PENDING:
        make_due(row)
        assert sender.send_pending() == 1
        row.refresh_from_db()
        delays.append(round((row.next_attempt_at - timezone.now()).total_seconds()))
    assert delays[:4] == [5, 30, 120, 600]
    assert delays[:-1] == sorted(delays[:-1])
    assert (status(row), row.attempts, len(api.requests)) == (Status.FAILED, 8, 8)
    assert "502" in row.error


def test_a_message_arrives_when_the_server_is_back(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    api.will(fakes.BAD_GATEWAY)
    row = outbox(chat=chat)
    sender.send_pending()
    make_due(row)
    sender.send_pending()
    assert (status(row), row.attempts, row.error) == (Status.SENT, 2, "")


def test_a_refused_token_pauses_everything_and_costs_no_attempt(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    api.will(fakes.UNAUTHORIZED)
    rows = [outbox(chat=chat), outbox(chat=TelegramChat.objects.create(chat_id=-200))]
    sender.send_pending()
    for row in rows:
        make_due(row)
    assert sender.send_pending() == 0
    assert len(api.requests) == 1
    assert [(status(row), row.attempts) for row in rows] == [(Status.PENDING, 0)] * 2
    assert "TELEGRAM_BOT_TOKEN" in rows[0].error
    sender.pacer.hold(0)
    sender.send_pending()
    assert [status(row) for row in rows] == [Status.SENT] * 2


def test_pacing_lets_one_message_a_second_into_a_chat_and_others_are_free(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    now = [0.0]
    sender.pacer = Pacer(clock=lambda: now[0])
    outbox(chat=chat), outbox(chat=chat), outbox(chat=TelegramChat.objects.create(chat_id=-200))
    sender.send_pending()
    assert [request["chat_id"] for request in api.requests] == [-100, -200]
    now[0] = 1.0
    sender.send_pending()
    assert [request["chat_id"] for request in api.requests] == [-100, -200, -100]


# --- Which chat ----------------------------------------------------------------------------------


def test_a_message_without_a_chat_goes_to_the_common_one_and_stays_without(
    api: FakeBotApi, sender: Sender, outbox: Outbox
):
    TelegramChat.objects.create(chat_id=-1, kind=TelegramChat.Kind.ADMIN)
    TelegramChat.objects.create(chat_id=-2, active=False)
    TelegramChat.objects.create(chat_id=-3)
    row = outbox()
    sender.send_pending()
    assert [request["chat_id"] for request in api.requests] == [-3]
    assert status(row) == Status.SENT
    assert row.chat is None  # one message per fact: the chat is part of the key


def test_the_common_chat_is_the_setting_until_one_is_entered(
    api: FakeBotApi, sender: Sender, outbox: Outbox, settings: Settings
):
    settings.TELEGRAM_CHAT_ID = "-777"
    outbox()
    sender.send_pending()
    TelegramChat.objects.filter(chat_id=-777).update(kind=TelegramChat.Kind.ADMIN)
    TelegramChat.objects.create(chat_id=-3)
    outbox()
    sender.send_pending()
    assert [request["chat_id"] for request in api.requests] == [-777, -3]


@pytest.mark.parametrize("setting", ["", "@not-a-number"])
def test_a_message_without_any_chat_fails_and_says_where_to_enter_one(
    api: FakeBotApi, sender: Sender, outbox: Outbox, settings: Settings, setting: str
):
    settings.TELEGRAM_CHAT_ID = setting
    row = outbox()
    sender.send_pending()
    assert status(row) == Status.FAILED
    assert "Telegram chats" in row.error
    assert "TELEGRAM_CHAT_ID" in row.error


def test_a_message_to_a_chat_switched_off_by_hand_fails_and_says_so(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    TelegramChat.objects.update(active=False)
    row = outbox(chat=chat)
    sender.send_pending()
    assert not api.requests
    assert (status(row), row.error) == (Status.FAILED, sender_module.CHAT_OFF)


def test_a_message_to_the_disabled_common_chat_fails_with_its_reason(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, settings: Settings
):
    settings.TELEGRAM_CHAT_ID = "-100"
    TelegramChat.objects.update(active=False, disabled_reason="kicked")
    row = outbox()
    sender.send_pending()
    assert (status(row), row.error) == (Status.FAILED, "kicked")


def test_without_a_token_the_message_is_printed_and_the_row_says_so(outbox: Outbox, capsys: pytest.CaptureFixture[str]):
    row = outbox(lead_name="A &amp; B")
    assert Sender(None).send_pending() == 1
    assert Sender(None).send_pending() == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == printed[-1] == "-" * 79
    assert "A & B" in printed
    assert status(row) == Status.CONSOLE
    assert row.error == "TELEGRAM_BOT_TOKEN is not set: printed to the worker's console"
    assert row.notified_at is None


# --- The loop ------------------------------------------------------------------------------------


def other_connection() -> dict[str, Any]:
    return {
        k: v
        for k, v in connection.get_connection_params().items()
        if k in {"dbname", "user", "password", "host", "port"}
    }


def lock_holders() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database() AND granted"
        )
        return int(cursor.fetchone()[0])


@contextmanager
def running(*, stop: threading.Event | None = None) -> Iterator[threading.Event]:
    stop = stop or threading.Event()
    thread = threading.Thread(target=run, args=[stop])
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(5)
        assert not thread.is_alive()


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


def test_an_outcome_that_cannot_be_stored_stops_nobody(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    bad, good = outbox(chat=chat), outbox(chat=chat)
    with monkeypatch.context() as patched:
        patched.setattr(sender_module, "_save_chat", lambda chat, outcome: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sender.send_pending()
    assert sender.recover() == 1
    sender.send_pending()
    assert (status(bad), status(good)) == (Status.UNCERTAIN, Status.SENT)
