from __future__ import annotations

import pytest
from pytest_django import Settings

from notifications import sender as sender_module
from notifications.models import TelegramChat
from notifications.sender import Sender
from tests.fakes import FakeBotApi
from tests.notifications.helpers import (
    Outbox,
    Status,
    status,
)

pytestmark = pytest.mark.usefixtures("short_text")


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
