from __future__ import annotations

import re
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from notifications.models import TelegramChat
from referrals import decisions
from referrals.cabinet import access, chats, tokens
from referrals.cabinet.models import CabinetMessage, LinkedChat, OneTimeToken
from referrals.models import CommissionPlan, Earning, Referrer
from tests import bodies, fakes
from tests.onai_project.rows import make_user
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


def test_of_a_commission_that_shrank_before_it_was_told_what_stands_is_told(chat, sender, api):
    tell()
    tell(price=40_000, at=NOW + 60)
    assert kinds() == [("accrual", "pending")]
    sender.send_pending()
    (text,) = api.texts
    assert "Новое начисление: 4\u2009000\u2009₸" in text
    tell(price=30_000, at=NOW + 120)
    sender.send_pending()
    assert "-1\u2009000\u2009₸" in api.texts[1]
    tell(status=bodies.LOST, at=NOW + 180)
    sender.send_pending()
    assert "-3\u2009000\u2009₸" in api.texts[2]


def test_what_shrank_and_then_went_before_it_was_told_is_never_told(chat, sender, api):
    tell()
    tell(price=40_000, at=NOW + 60)
    tell(status=bodies.LOST, at=NOW + 120)
    assert kinds() == [("accrual", "cancelled")]


def test_more_that_was_taken_than_the_last_message_adds_leaves_the_first_one_to_tell_it(chat, sender, api):
    tell()
    tell(price=60_000, at=NOW + 60)
    tell(price=30_000, at=NOW + 120)
    assert kinds() == [("accrual", "pending"), ("accrual", "cancelled")]
    sender.send_pending()
    (text,) = api.texts
    assert "Новое начисление: 3\u2009000\u2009₸" in text


def test_where_reversals_are_off_a_commission_that_went_is_not_told_as_one(chat, sender, api):
    tell()
    LinkedChat.objects.update(reversals=False)
    Earning.objects.filter(amount__gt=0).get().conversion.earnings.create(
        referrer=chat_owner(), seq=2, kind="reversal", amount=-5_000, reason="x", available_at=timezone.now()
    )
    sender.send_pending()
    assert (api.texts, kinds()) == ([], [("accrual", "cancelled")])


def test_nothing_goes_to_a_chat_that_is_the_referrers_no_more(dana, chat, sender, api):
    tell()
    access.link_request(address="ref_dana", place="x")
    chats.chat_unlink(referrer=dana)
    assert kinds() == [("accrual", "cancelled"), ("sign_in", "cancelled")]


def test_a_new_chat_gets_nothing_that_waited_for_the_old_one_nor_does_the_old_one(dana, erzhan, chat, sender, api):
    other = TelegramChat.objects.create(chat_id=8, kind="referrer")
    LinkedChat.objects.create(referrer=erzhan, chat=other)
    CabinetMessage.objects.create(chat=other, referrer=erzhan, kind="balance")
    CabinetMessage.objects.create(chat=other, kind="hint")
    access.link_request(address="ref_dana", place="x")
    token = tokens.token_issue(referrer=dana, purpose=OneTimeToken.Purpose.LINK_CHAT)
    assert chats.chat_link(chat=other, token=token) is not None
    assert kinds() == [("balance", "cancelled"), ("hint", "pending"), ("sign_in", "cancelled")]


@pytest.mark.parametrize("kind", ["sign_in", "balance", "linked"])
def test_a_message_looks_once_more_whose_the_chat_is(dana, chat, sender, api, kind):
    CabinetMessage.objects.create(chat=chat, referrer=dana, kind=kind)
    LinkedChat.objects.all().delete()
    sender.send_pending()
    assert (api.texts, kinds()) == ([], [(kind, "cancelled")])
    assert not OneTimeToken.objects.exists()


def test_many_messages_in_one_hold_one_sign_in_link_that_works(dana, chat, sender, api):
    for number in range(3):
        access.link_request(address="ref_dana", place="x")
        CabinetMessage.objects.create(chat=chat, referrer=dana, kind="balance", update_id=2 * number)
        CabinetMessage.objects.create(chat=chat, referrer=dana, kind="links", update_id=2 * number + 1)
    sender.send_pending()
    (text,) = api.texts
    (token,) = re.findall(r"/r/open/\?t=([\w-]+)", text)
    assert tokens.token_alive(token, OneTimeToken.Purpose.SIGN_IN)


def chat_owner() -> Referrer:
    return LinkedChat.objects.get().referrer


def decide(what: str, **more: Any) -> None:
    """Let a manager decide of the one conversion."""
    lead_id = Earning.objects.first().conversion.lead_id  # type: ignore[union-attr]
    by = User.objects.filter(username="refs").first() or make_user("refs")
    getattr(decisions, f"conversion_{what}")(lead_id=lead_id, by=by, reason="Проверено", **more)


def test_what_a_person_gives_back_or_adds_is_news_of_an_old_sale_too(chat, sender, api):
    tell(at=NOW - 10 * 24 * 3600)
    decide("reject")
    decide("reopen")
    decide("correct", amount=Decimal(700))
    assert kinds() == [("reversal", "pending"), ("accrual", "pending"), ("accrual", "pending")]
    sender.send_pending()
    assert "Новое начисление: 5\u2009000\u2009₸" in api.texts[1]
    assert "Новое начисление: 700\u2009₸" in api.texts[2]


def test_a_recalculation_of_old_sales_is_history(chat):
    tell(at=NOW - 10 * 24 * 3600)
    day = timezone.localdate() - timedelta(days=20)
    CommissionPlan.objects.update(valid_to=day)
    CommissionPlan.objects.create(name="Больше", kind="percent", value=50, valid_from=day)
    decisions.conversions_recalculate(
        first=day, last=timezone.localdate(), by=make_user("refs"), reason="Новые условия"
    )
    assert Earning.objects.count() == 2
    assert kinds() == []


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


@pytest.mark.parametrize("command", [["replay_webhooks", "--all"], ["resync", "referrals"]])
def test_replay_and_resync_make_no_message(chat, command):
    """Also where they post what is new: here nobody had entered the terms when the sale came."""
    CommissionPlan.objects.all().delete()
    tell()
    assert not Earning.objects.exists()
    CommissionPlan.objects.create(name="Лето", kind="percent", value=10, valid_from="2020-01-01")
    call_command(*command)
    assert Earning.objects.count() == 1
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
