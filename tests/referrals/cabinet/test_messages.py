from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from notifications.models import TelegramChat
from referrals.cabinet.models import CabinetMessage, LinkedChat
from referrals.models import Earning
from tests import bodies, fakes
from webhooks import inbox
from webhooks.models import WebhookDelivery

# Each delivery in a transaction of its own: what a message tells is what its transaction posted.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seeded")]
NOW = int(time.time())


def tell(**fields: Any) -> None:
    hook = bodies.hook(
        fields.pop("lead_id", 1),
        **{"at": NOW, "price": 50_000, "utm_source": "ref_dana", "name": "Айдар Нурланов", **fields},
    )
    WebhookDelivery.objects.create(source="amocrm_referral", body=hook, content_type=bodies.FORM)
    while inbox.process_due():
        pass


def kinds() -> list[tuple[str, str]]:
    return list(CabinetMessage.objects.order_by("pk").values_list("kind", "notification_status"))


def test_a_new_commission_is_told_with_the_day_it_becomes_available(chat, sender, api):
    tell()
    sender.send_pending()
    (text,) = api.texts
    assert "Новое начисление: 5\u2009000\u2009₸" in text
    entry = Earning.objects.get()
    day = timezone.localtime(entry.conversion.sale_date + timedelta(days=14))
    assert f"Станет доступно <b>{day.day} " in text
    assert "А••• Н•••" in text
    assert "Нурланов" not in text
    assert api.sent[0]["chat_id"] == chat.chat_id


def test_a_commission_taken_back_is_told_with_the_reason(chat, sender, api):
    tell()
    sender.send_pending()
    tell(status=bodies.LOST, at=NOW + 60)
    sender.send_pending()
    assert "Начисление отменено: -5\u2009000\u2009₸" in api.texts[1]
    assert "Причина: продажа отменена" in api.texts[1]


def test_a_deal_without_a_name_is_told_by_its_number_alone(chat, sender, api):
    tell(name=None)
    sender.send_pending()
    lead_id = Earning.objects.get().conversion.lead_id
    assert f"Продажа: № {lead_id}, " in api.texts[0]


def test_what_was_taken_back_before_it_was_told_is_never_told(chat, sender, api):
    tell()
    tell(status=bodies.LOST, at=NOW + 60)
    assert kinds() == [("accrual", "cancelled")]
    sender.send_pending()
    assert api.texts == []


def test_a_fact_is_told_once(chat, sender, api):
    for _ in range(3):
        tell()
    assert kinds() == [("accrual", "pending")]


def test_nobody_else_hears_of_it(chat, erzhan, sender, api):
    other = TelegramChat.objects.create(chat_id=8, kind="referrer")
    LinkedChat.objects.create(referrer=erzhan, chat=other)
    tell()
    sender.send_pending()
    assert [message["chat_id"] for message in api.sent] == [chat.chat_id]


def test_without_a_chat_nothing_is_written(dana):
    tell()
    assert Earning.objects.count() == 1
    assert kinds() == []


@pytest.mark.parametrize(("off", "left"), [("accruals", ["reversal"]), ("reversals", ["accrual"])])
def test_each_kind_can_be_switched_off(chat, sender, api, off, left):
    LinkedChat.objects.update(**{off: False})
    tell()
    sender.send_pending()
    tell(status=bodies.LOST, at=NOW + 60)
    sender.send_pending()
    assert [kind for kind, _ in kinds()] == left


def test_an_old_sale_is_news_to_nobody_but_that_it_is_gone_is(chat):
    tell(at=NOW - 10 * 24 * 3600)
    assert kinds() == []
    tell(status=bodies.LOST)
    assert kinds() == [("reversal", "pending")]


def test_replay_and_resync_make_no_message(chat):
    tell()
    CabinetMessage.objects.all().delete()
    call_command("replay_webhooks", all=True)
    call_command("resync", "referrals")
    assert kinds() == []


def test_a_commission_on_hold_says_why(dana, chat, sender, api):
    dana.active = False
    dana.save()
    tell()
    sender.send_pending()
    assert "Приостановлено вместе с вашим участием" in api.texts[0]


def test_what_a_customer_is_called_breaks_no_message(dana, chat, sender, api):
    dana.name = "<b>Дана & Ко</b>"
    dana.save()
    tell(name="<script>&")
    CabinetMessage.objects.create(chat=chat, referrer=dana, kind="linked")
    sender.send_pending()
    assert "&lt;b&gt;Дана &amp; Ко&lt;/b&gt;" in "".join(api.texts)
    assert all("<script" not in text for text in api.texts)


def test_a_blocked_bot_switches_the_chat_off(chat, sender, api):
    api.will(fakes.Reply(403, "Forbidden: bot was blocked by the user"))
    tell()
    sender.send_pending()
    chat.refresh_from_db()
    assert not chat.active
    assert kinds() == [("accrual", "failed")]
