"""Messages that ended without being sent, sent again by a person."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from notifications.models import TelegramChat
from notifications.outbox import resend_messages
from notifications.sender import Sender
from onai_project import roles
from tests import fakes
from tests.fakes import FakeBotApi
from tests.notifications.helpers import Outbox, Status, make_due, status
from tests.onai_project.rows import make_sale, make_user
from traffic.models import SalesNotification, Targetologist

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_text")]
LIST = "admin:traffic_salesnotification_changelist"


def button(row: SalesNotification) -> str:
    return reverse("admin:traffic_salesnotification_send_this_again", args=[row.pk])


def choose(client: Client, *rows: SalesNotification) -> str:
    data = {"action": "send_again", "_selected_action": [row.pk for row in rows]}
    return client.post(reverse(LIST), data, follow=True).content.decode()


@pytest.mark.parametrize("state", ["failed", "uncertain", "console"])
def test_what_ended_is_sent_again(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, state: str, client: Client
):
    row = outbox(chat=chat, notification_status=state, attempts=8, error="502")
    client.force_login(make_user("boss", superuser=True))
    client.post(button(row), {"_form_submitted": "on"})
    sender.send_pending()
    assert (status(row), row.attempts, row.error) == (Status.SENT, 1, "")
    assert len(api.texts) == 1


@pytest.mark.parametrize("state", ["pending", "sending", "sent", "cancelled"])
def test_nothing_else_is(chat: TelegramChat, outbox: Outbox, state: str, client: Client):
    row = outbox(chat=chat, notification_status=state)
    client.force_login(make_user("boss", superuser=True))
    assert client.post(button(row), {"_form_submitted": "on"}).status_code == 403
    assert resend_messages(model=SalesNotification, ids=[row.pk], of=[state]) == 0
    assert status(row) == state


def test_of_several_only_those_that_never_arrived_are(chat: TelegramChat, outbox: Outbox, client: Client):
    states = ("failed", "console", "uncertain", "sent", "cancelled")
    rows = [outbox(chat=chat, notification_status=state) for state in states]
    client.force_login(make_user("boss", superuser=True))
    shown = choose(client, *rows)
    assert [status(row) for row in rows] == ["pending", "pending", "uncertain", "sent", "cancelled"]
    assert "Ещё раз отправятся 2 сообщения." in shown
    assert "могли дойти" in shown


def test_a_message_that_failed_for_good_arrives_when_it_is_sent_again(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, client: Client
):
    api.will(*[fakes.BAD_GATEWAY] * 8)
    row = outbox(chat=chat)
    while status(row) == Status.PENDING:
        make_due(row)
        sender.send_pending()
    assert status(row) == Status.FAILED
    client.force_login(make_user("head", role=roles.HEAD_OF_TRAFFIC))
    client.post(button(row), {"_form_submitted": "on"})
    sender.send_pending()
    assert status(row) == Status.SENT


def test_a_targetologist_sends_nothing_again(chat: TelegramChat, outbox: Outbox, client: Client):
    user = make_user("muha", role=roles.TARGETOLOGIST)
    Targetologist.objects.filter(slug="muha").update(user=user)
    row = outbox(chat=chat, notification_status="failed")
    make_sale(row.lead_id, targetologist=Targetologist.objects.get(slug="muha"))
    client.force_login(user)
    assert len(client.get(reverse(LIST)).context["cl"].result_list) == 1
    assert client.post(button(row), {"_form_submitted": "on"}).status_code == 403
    choose(client, row)
    assert status(row) == Status.FAILED
