"""The overview: what needs a person, to those who may see it, each with a link to exactly that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from notifications.models import Alarm, AlarmMessage, ChatMessage, TelegramChat
from notifications.outbox import outbox_models
from onai_project import roles
from referrals.cabinet.models import CabinetMessage
from tests.onai_project.rows import make_delivery, make_sale, make_user
from traffic.models import Digest, SalesNotification

pytestmark = pytest.mark.django_db


def waiting(client: Client) -> dict[str, int]:
    """Return what the page tells, after looking that each link shows exactly as many."""
    found = {}
    for matter in client.get(reverse("admin:index")).context["matters"]:
        context = client.get(matter.url).context
        shown = context["count"] if "cl" not in context else len(context["cl"].result_list)
        assert shown == matter.count, matter
        found[matter.text] = matter.count
    return found


@pytest.fixture
def boss(client: Client) -> Client:
    client.force_login(make_user("boss", superuser=True))
    return client


UNATTRIBUTED = "Продажи за 90 дней, для которых не нашлось правила"
LACKING = "Продажи за 90 дней без суммы или без кампании и источника"


def test_it_tells_of_deliveries(boss):
    make_delivery(1, status="dead")
    make_delivery(2, status="failed")
    make_delivery(3, status="failed")
    make_delivery(4, status="processed")
    assert list(waiting(boss).values()) == [1, 2]


def test_it_tells_of_sales_that_lack_what_the_dashboard_says_they_lack(boss):
    whose: dict[str, Any] = {"channel": "targetologist", "targetologist_id": "muha"}
    make_sale(1, **whose, utm_campaign="a")
    make_sale(2, **whose, utm_source="b")
    make_sale(3, **whose, utm_campaign="a", sale_amount=None)
    make_sale(4, **whose, utm_medium="cpc")
    make_sale(5, **whose, utm_medium="cpc", state="reversed")
    make_sale(6, **whose, when=timezone.now() - timedelta(days=100))
    assert waiting(boss) == {LACKING: 2}


def test_a_sale_that_a_person_gave_to_nobody_waits_for_nobody(boss):
    make_sale(1, utm_campaign="a")
    make_sale(2, utm_campaign="a", matched_field="override")
    assert waiting(boss) == {UNATTRIBUTED: 1}


def write(model: Any, status: str) -> None:
    """Put a message into an outbox."""
    now = timezone.now()
    chat, _ = TelegramChat.objects.get_or_create(chat_id=-100)
    rows: dict[Any, dict[str, Any]] = {
        SalesNotification: {"lead_id": 1, "win_number": len(status), "sale_date": now},
        Digest: {"kind": "daily", "date": now - timedelta(days=len(status))},
        AlarmMessage: {"alarm": Alarm.objects.create(name=status, text="Беда", ended_at=now), "kind": "ended"},
        ChatMessage: {"about": chat, "kind": "test", "occurred_at": now},
        CabinetMessage: {"kind": "hint"},
    }
    model.objects.create(chat=chat, notification_status=status, **rows[model])


@pytest.mark.parametrize("status", ["failed", "uncertain"])
@pytest.mark.parametrize("model", outbox_models())
def test_it_tells_of_the_messages_of_every_outbox(boss, model, status):
    write(model, status)
    if model is not ChatMessage:
        write(model, "sent")
    assert list(waiting(boss).values()) == [1]


def test_failed_and_uncertain_messages_are_told_apart(boss):
    write(Digest, "failed")
    write(Digest, "uncertain")
    assert waiting(boss) == {"Сводки продаж: не отправлены": 1, "Сводки продаж: неизвестно, дошли ли": 1}


def test_a_chat_whose_next_test_arrives_waits_no_more(boss):
    write(ChatMessage, "failed")
    write(ChatMessage, "failed")
    assert list(waiting(boss).values()) == [1]
    write(ChatMessage, "sent")
    assert waiting(boss) == {}


def test_each_role_is_told_of_what_it_may_see(client: Client):
    make_delivery(1, status="dead")
    make_sale(1, sale_amount=None)
    for model in outbox_models():
        write(model, "failed")
    told = {}
    for role in (roles.HEAD_OF_TRAFFIC, roles.REFERRAL_MANAGER, roles.ADMINISTRATOR):
        client.force_login(make_user(role, role=role))
        told[role] = set(waiting(client))
    sales, chats = "Сообщения о продажах: не отправлены", "Чаты: последняя проверка или сообщение о чате могли не дойти"
    traffic = {UNATTRIBUTED, LACKING, sales, "Сводки продаж: не отправлены", chats}
    referrals = {"Сообщения реферерам: не отправлены"}
    rest = {
        "Доставки, попытки обработать которые исчерпаны: обработайте их заново",
        "Сообщения о тревогах: не отправлены",
    }
    assert told == {
        roles.HEAD_OF_TRAFFIC: traffic,
        roles.REFERRAL_MANAGER: referrals,
        roles.ADMINISTRATOR: traffic | referrals | rest,
    }
