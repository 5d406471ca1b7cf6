"""Chats that Telegram refuses, how administrators hear of it, and the way back."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from notifications import chats
from notifications.models import ChatMessage, TelegramChat
from notifications.sender import Sender
from onai_project import roles
from tests import fakes
from tests.fakes import FakeBotApi
from tests.notifications.helpers import Outbox, Status, running, status, wait_for
from tests.onai_project.rows import make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_text")]
NASTY = '<b>&"_*'


@pytest.fixture
def admins(db: None) -> TelegramChat:
    return TelegramChat.objects.create(chat_id=-5, kind=TelegramChat.Kind.ADMIN, title="Админы")


@pytest.mark.parametrize("reply", [fakes.KICKED, fakes.CHAT_NOT_FOUND], ids=["kicked", "not found"])
def test_administrators_are_told_once_of_a_chat_that_telegram_refuses(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, admins: TelegramChat, outbox: Outbox, reply: fakes.Reply
):
    api.will(reply, reply, chat_id=-100)
    for _ in range(3):
        outbox(chat=chat)
    sender.send_pending()
    outbox(chat=chat)
    sender.send_pending()
    assert [request["chat_id"] for request in api.requests] == [-100, -5]


def test_each_refused_chat_is_told_of_even_while_another_is_refused(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, admins: TelegramChat, outbox: Outbox
):
    api.will(fakes.KICKED, chat_id=-100)
    api.will(fakes.KICKED, chat_id=-200)
    outbox(chat=chat)
    outbox(chat=TelegramChat.objects.create(chat_id=-200, title="Вторая"))
    sender.send_pending()
    assert len(api.texts) == 2
    assert "Вторая" in "".join(api.texts)


def test_a_chat_refused_again_after_it_worked_is_told_of_again(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, admins: TelegramChat, outbox: Outbox
):
    api.will(fakes.KICKED, chat_id=-100)
    outbox(chat=chat)
    sender.send_pending()
    chats.enable_chat(chat=chat)
    api.will(fakes.KICKED, chat_id=-100)
    outbox(chat=chat)
    sender.send_pending()
    assert len(api.texts) == 2


def test_what_administrators_read(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, admins: TelegramChat, outbox: Outbox, settings: Settings
):
    settings.SITE_URL = "https://sales.example"
    TelegramChat.objects.filter(pk=chat.pk).update(title=NASTY)
    chat.refresh_from_db()
    api.will(fakes.KICKED, chat_id=-100)
    outbox(chat=chat)
    sender.send_pending()
    assert api.texts == [
        "🔴 <b>Больше нельзя писать в чат: &lt;b&gt;&amp;&quot;_*</b>\n"
        "\n"
        "Бота удалили из группы\n"
        "Сообщения туда не доходят. Верните бота в чат, затем нажмите «Отправить проверку» на его странице.\n"
        "\n"
        f'<a href="https://sales.example/admin/notifications/telegramchat/{chat.pk}/change/">Чат в админке</a>'
    ]


def test_a_referrer_who_blocks_the_bot_is_nobodys_matter(
    api: FakeBotApi, sender: Sender, admins: TelegramChat, outbox: Outbox
):
    api.will(fakes.KICKED, chat_id=7)
    outbox(chat=TelegramChat.objects.create(chat_id=7, kind=TelegramChat.Kind.REFERRER))
    sender.send_pending()
    assert api.sent == []
    assert not TelegramChat.objects.get(chat_id=7).active


def test_a_test_that_arrives_switches_a_refused_chat_on_again(api: FakeBotApi, sender: Sender, chat: TelegramChat):
    chats.disable_chat(chat=chat, reason="kicked")
    test = chats.test_chat(chat=chat)
    sender.send_pending()
    chat.refresh_from_db()
    assert (chat.active, chat.disabled_reason, chat.disabled_at) == (True, "", None)
    assert status(test) == Status.SENT
    assert api.texts == ["✅ Проверка: сообщения в этот чат доходят."]


def test_a_test_that_telegram_refuses_leaves_the_chat_off_and_tells_nobody_again(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, admins: TelegramChat
):
    chats.disable_chat(chat=chat, reason="kicked")
    sender.send_pending()
    api.will(fakes.CHAT_NOT_FOUND, chat_id=-100)
    test = chats.test_chat(chat=chat)
    sender.send_pending()
    chat.refresh_from_db()
    assert (chat.active, chat.disabled_reason) == (False, "Chat not found")
    assert status(test) == Status.FAILED
    assert len(api.texts) == 1


def test_a_test_leaves_a_chat_that_somebody_switched_off_as_it_is(api: FakeBotApi, sender: Sender, chat: TelegramChat):
    TelegramChat.objects.update(active=False)
    test = chats.test_chat(chat=TelegramChat.objects.get())
    sender.send_pending()
    assert status(test) == Status.SENT
    assert not TelegramChat.objects.get().active


def test_the_database_keeps_a_chat_that_is_on_without_a_reason(chat: TelegramChat):
    with pytest.raises(IntegrityError, match="chat_active_has_no_reason"), transaction.atomic():
        TelegramChat.objects.update(disabled_reason="kicked")


# --- In the admin --------------------------------------------------------------------------------


def page(chat: TelegramChat) -> str:
    return reverse("admin:notifications_telegramchat_change", args=[chat.pk])


def button(chat: TelegramChat) -> str:
    return reverse("admin:notifications_telegramchat_send_test", args=[chat.pk])


@pytest.mark.django_db(transaction=True)
def test_the_button_sends_a_test_and_says_that_it_arrived(api: FakeBotApi, chat: TelegramChat, client: Client):
    client.force_login(make_user("boss", superuser=True))
    with running():
        answer = client.post(button(chat), {"_form_submitted": "on"})
    assert answer.headers["HX-Refresh"] == "true"
    assert api.texts == ["✅ Проверка: сообщения в этот чат доходят."]
    shown = client.get(page(chat)).content.decode()
    assert "Проверочное сообщение дошло." in shown


@pytest.mark.django_db(transaction=True)
def test_the_button_says_why_a_test_did_not_arrive_and_the_chat_is_red(
    api: FakeBotApi, chat: TelegramChat, client: Client
):
    client.force_login(make_user("boss", superuser=True))
    api.will(fakes.KICKED)
    with running():
        client.post(button(chat), {"_form_submitted": "on"})
    shown = client.get(page(chat)).content.decode()
    assert "не дошло: Бота удалили из группы" in shown
    assert '<span class="panel-wrong">Бота удалили из группы</span>' in shown
    assert "Telegram не пускает" in client.get(reverse("admin:notifications_telegramchat_changelist")).content.decode()


def test_without_a_worker_the_button_says_so(chat: TelegramChat, client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chats.outcome_of, "__kwdefaults__", {"seconds": 0.1})
    client.force_login(make_user("boss", superuser=True))
    client.post(button(chat), {"_form_submitted": "on"})
    assert "запущен ли worker" in client.get(page(chat)).content.decode()
    assert ChatMessage.objects.get().notification_status == "pending"


def test_looking_at_the_button_sends_nothing(chat: TelegramChat, client: Client):
    client.force_login(make_user("boss", superuser=True))
    client.get(button(chat))
    assert not ChatMessage.objects.exists()


def test_the_button_is_the_administrators(chat: TelegramChat, client: Client):
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    assert client.get(page(chat)).status_code == 200
    assert "send_test" not in client.get(page(chat)).content.decode()
    assert client.post(button(chat), {"_form_submitted": "on"}).status_code == 403
    assert not ChatMessage.objects.exists()


def test_a_chat_switched_on_by_hand_forgets_why_it_was_off(chat: TelegramChat, client: Client):
    chats.disable_chat(chat=chat, reason="kicked")
    client.force_login(make_user("boss", superuser=True))
    form = {"title": "Sales", "kind": "common", "chat_id": -100, "topic": "", "active": "on"}
    inline = {f"messages-{name}_FORMS": 0 for name in ("TOTAL", "INITIAL", "MIN_NUM", "MAX_NUM")}
    assert client.post(page(chat), {**form, **inline}).status_code == 302
    chat.refresh_from_db()
    assert (chat.active, chat.disabled_reason, chat.disabled_at) == (True, "", None)


def test_a_chat_that_was_only_tested_can_be_deleted(chat: TelegramChat, client: Client):
    chats.test_chat(chat=chat)
    client.force_login(make_user("boss", superuser=True))
    client.post(reverse("admin:notifications_telegramchat_delete", args=[chat.pk]), {"post": "yes"})
    assert not TelegramChat.objects.exists()


def test_a_worker_answers_the_waiting_page_while_it_waits(chat: TelegramChat):
    test = chats.test_chat(chat=chat)
    ChatMessage.objects.update(notification_status="sent")
    wait_for(lambda: chats.outcome_of(message=test).notification_status == "sent")
