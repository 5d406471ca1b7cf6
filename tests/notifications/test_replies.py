"""A sale taken back answers the message that told of it, where that stands."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from notifications.models import TelegramChat
from notifications.sender import Sender
from notifications.telegram import Bot, Status, send
from tests import fakes
from tests.fakes import FakeBotApi
from tests.notifications.helpers import status
from tests.onai_project.rows import make_sale
from traffic.models import Sale, SalesNotification

pytestmark = pytest.mark.django_db


def message(chat: TelegramChat | None, kind: str = "sale", **columns: Any) -> SalesNotification:
    return SalesNotification.objects.create(lead_id=1, chat=chat, kind=kind, sale_date=datetime.now(UTC), **columns)


def told_and_taken_back(sender: Sender, chat: TelegramChat | None) -> SalesNotification:
    make_sale(1)
    message(chat)
    sender.send_pending()
    Sale.objects.update(state="reversed")
    return message(chat, "taken_back")


def replies(api: FakeBotApi) -> list[Any]:
    return [json.loads(request.get("reply_parameters", "null")) for request in api.requests]


@pytest.mark.parametrize("own", [True, False])
def test_it_answers_the_message_that_told_of_the_sale(api: FakeBotApi, sender: Sender, chat: TelegramChat, own: bool):
    back = told_and_taken_back(sender, chat if own else None)
    sender.send_pending()
    assert status(back) == "sent"
    # Deleted by now, it is no reason to say nothing.
    assert replies(api) == [None, {"message_id": 1, "allow_sending_without_reply": True}]


def test_a_sale_restored_answers_the_message_that_told_of_it_and_so_does_its_second_taking_back(
    api: FakeBotApi, sender: Sender, chat: TelegramChat
):
    told_and_taken_back(sender, chat)
    sender.send_pending()
    for kind, state in (("restored", "won"), ("taken_back", "reversed")):
        Sale.objects.update(state=state)
        message(chat, kind, win_number=2)
        sender.send_pending()
    assert replies(api)[1:] == [{"message_id": 1, "allow_sending_without_reply": True}] * 3


def test_in_another_common_chat_it_answers_nothing(api: FakeBotApi, sender: Sender, chat: TelegramChat):
    """Messages are numbered chat by chat: the number would be somebody else's message there."""
    told_and_taken_back(sender, None)
    TelegramChat.objects.update(active=False)
    TelegramChat.objects.create(chat_id=-300)
    sender.send_pending()
    assert [request["chat_id"] for request in api.requests] == [-100, -300]
    assert replies(api) == [None, None]


def test_in_a_group_that_became_a_supergroup_it_answers_nothing(api: FakeBotApi, bot: Bot):
    api.will(fakes.migrated(-100500), chat_id=-100)
    assert send(bot, TelegramChat(chat_id=-100), "text", reply_to=7).status is Status.SENT
    assert replies(api) == [{"message_id": 7, "allow_sending_without_reply": True}, None]


def test_a_sale_that_perhaps_arrived_is_taken_back_without_an_answer(
    api: FakeBotApi, sender: Sender, chat: TelegramChat
):
    api.will(fakes.DROP)
    back = told_and_taken_back(sender, chat)
    sender.send_pending()
    assert status(back) == "sent"
    assert replies(api) == [None, None]


def test_a_sale_taken_back_while_its_message_waited_for_another_attempt_is_not_told_at_all(
    api: FakeBotApi, sender: Sender, chat: TelegramChat
):
    api.will(fakes.BAD_GATEWAY)
    back = told_and_taken_back(sender, chat)
    SalesNotification.objects.update(next_attempt_at="2020-01-01T00:00Z")
    sender.send_pending()
    assert status(back) == "cancelled"
    assert not SalesNotification.objects.exclude(notification_status="cancelled").exists()
    assert api.sent == []
