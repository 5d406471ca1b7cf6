from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from notifications import sender as sender_module
from notifications.models import TelegramChat
from notifications.pacing import Pacer
from notifications.sender import Sender
from tests import fakes
from tests.fakes import FakeBotApi
from tests.notifications.helpers import (
    Outbox,
    Status,
    make_due,
    status,
)

pytestmark = pytest.mark.usefixtures("short_text")


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
