"""What chats read, to the letter, in Russian: the language of the installation."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
import time_machine
from django.urls import reverse
from django.utils import translation
from pytest_django import Settings

from notifications.models import TelegramChat
from traffic import messages
from traffic.models import AttributionRule, Pipeline, Sale, SalesNotification, Targetologist

pytestmark = pytest.mark.django_db
NASTY = "<b>&\"_*'`[x](y)"
NASTY_ESCAPED = "&lt;b&gt;&amp;&quot;_*&#x27;`[x](y)"
NOW = datetime(2025, 12, 20, 20, 22, 59, tzinfo=UTC)  # 21 December, 01:22 in Almaty: UTC+5 since March 2024
FACTS: dict[str, Any] = {
    "lead_id": 36021,
    "lead_name": "Айгерим +7 700 000 00 01",
    "sale_amount": Decimal(100_000),
    "utm_source": "kenesary_test",
    "utm_medium": "cpc",
    "utm_campaign": "tripwire_webhook_test",
    "sale_date": NOW,
}


@pytest.fixture(autouse=True)
def installation(settings: Settings) -> Any:
    settings.LANGUAGE_CODE = "ru"
    settings.SITE_URL = "https://sales.example"
    settings.AMOCRM_BASE_URL = "https://onai.example"
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def kenesary() -> Targetologist:
    return Targetologist.objects.update_or_create(slug="kenesary", defaults={"name": "Kenesary", "emoji": "👑"})[0]


def sale_of(**columns: Any) -> Sale:
    owner = columns.get("targetologist")
    defaults: dict[str, Any] = {"pipeline_id": 10418746, "status_id": 142, "funnel_type": "express", "state": "won"}
    defaults["channel"] = "targetologist" if owner else "unknown"
    if owner:
        rule = AttributionRule.objects.filter(pattern="tripwire", field="campaign_or_source").get()
        defaults |= {"matched_rule": rule, "matched_field": "utm_campaign", "matched_text": "tripwire"}
    return Sale.objects.create(**{**FACTS, **defaults, **columns})


def notification_of(**columns: Any) -> SalesNotification:
    return SalesNotification(**{**FACTS, **columns})


def taken_back(told: str = "sent", **columns: Any) -> SalesNotification:
    SalesNotification.objects.create(**FACTS, notification_status=told, **columns)
    return notification_of(kind="taken_back", **columns)


def page_of(sale: Sale) -> str:
    return "https://sales.example" + reverse("admin:traffic_sale_change", args=[sale.pk])


def shown(text: str) -> str:
    """What Telegram counts and shows: no tags, entities resolved. Fails on a tag that is not closed."""
    out: list[str] = []
    opened: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            assert tag in {"a", "b"}
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

        def handle_data(self, data: str) -> None:
            out.append(data)

    reader = Reader(convert_charrefs=True)
    reader.feed(text)
    reader.close()
    assert not opened
    return "".join(out)


def test_a_sale_reads_like_this(kenesary: Targetologist):
    sale = sale_of(targetologist=kenesary)
    sale_of(
        lead_id=2, targetologist=kenesary, sale_date=datetime(2025, 12, 1, tzinfo=UTC), sale_amount=Decimal(250_000)
    )
    assert messages.message(notification_of()) == (
        "🎉 <b>Новая продажа: 100\u2009000\u2009₸</b>\n"
        "\n"
        "Таргетолог: <b>Kenesary 👑</b>\n"
        "Продукт: Экспресс\n"
        "Кампания: tripwire_webhook_test\n"
        "Источник: kenesary_test\n"
        "Почему: utm_campaign содержит «tripwire»\n"
        "\n"
        "Сегодня: 1 продажа, 100\u2009000\u2009₸\n"
        "Этот месяц: 2 продажи, 350\u2009000\u2009₸\n"
        "\n"
        '<a href="https://onai.example/leads/detail/36021">Сделка в AmoCRM № 36021</a>\n'
        f'<a href="{page_of(sale)}">Продажа в дашборде</a>'
    )


def test_a_sale_that_nobody_has_reads_like_this():
    sale = sale_of(utm_campaign="Random Campaign", utm_source="facebook")
    queue = messages.queue_url().replace("&", "&amp;")
    assert messages.message(notification_of()) == (
        "❓ <b>Продажа без таргетолога: 100\u2009000\u2009₸</b>\n"
        "\n"
        "Продукт: Экспресс\n"
        "Кампания: Random Campaign\n"
        "Источник: facebook\n"
        "Medium: cpc\n"
        "\n"
        "Ни одно правило не подошло. Укажите, чья она:\n"
        f'<a href="{queue}">Очередь продаж без таргетолога</a>\n'
        '<a href="https://onai.example/leads/detail/36021">Сделка в AmoCRM № 36021</a>\n'
        f'<a href="{page_of(sale)}">Продажа в дашборде</a>'
    )


def test_a_sale_taken_back_reads_like_this(kenesary: Targetologist):
    sale = sale_of(targetologist=kenesary, state="reversed")
    assert messages.message(taken_back()) == (
        "↩️ <b>Продажа отменена: 100\u2009000\u2009₸</b>\n"
        "\n"
        "Таргетолог: <b>Kenesary 👑</b>\n"
        "\n"
        "Сегодня: 0 продаж, 0\u2009₸\n"
        "Этот месяц: 0 продаж, 0\u2009₸\n"
        "\n"
        '<a href="https://onai.example/leads/detail/36021">Сделка в AmoCRM № 36021</a>\n'
        f'<a href="{page_of(sale)}">Продажа в дашборде</a>'
    )


def test_a_sale_taken_back_from_nobody_reads_like_this():
    sale = sale_of(state="reversed", sale_amount=None)
    assert messages.message(taken_back()) == (
        "↩️ <b>Продажа отменена: —</b>\n"
        "\n"
        '<a href="https://onai.example/leads/detail/36021">Сделка в AmoCRM № 36021</a>\n'
        f'<a href="{page_of(sale)}">Продажа в дашборде</a>'
    )


def test_several_read_like_this(kenesary: Targetologist):
    deal = '<a href="https://onai.example/leads/detail/36021">№ 36021</a>'
    assert messages.heading(12) == "🔔 <b>Новости о продажах: 12</b>"
    sale = sale_of(targetologist=kenesary)
    assert messages.line(notification_of()) == (
        f"🎉 <b>100\u2009000\u2009₸</b> · Kenesary 👑 · tripwire_webhook_test · {deal}"
    )
    Sale.objects.filter(pk=sale.pk).update(state="reversed")
    assert messages.line(taken_back()) == (
        f"↩️ <b>100\u2009000\u2009₸</b> · отменена · Kenesary 👑 · tripwire_webhook_test · {deal}"
    )
    Sale.objects.filter(pk=sale.pk).update(state="won", targetologist=None, channel="unknown", utm_campaign="")
    queue = messages.queue_url().replace("&", "&amp;")
    assert messages.line(notification_of()) == (
        f'❓ <b>100\u2009000\u2009₸</b> · <a href="{queue}">без таргетолога</a> · {deal}'
    )


def test_everything_from_outside_is_escaped(kenesary: Targetologist):
    Targetologist.objects.filter(pk=kenesary.pk).update(name=NASTY)
    kenesary.refresh_from_db()
    names = dict.fromkeys(("lead_name", "utm_source", "utm_medium", "utm_campaign", "matched_text"), NASTY)
    sale = sale_of(targetologist=kenesary, **names)
    text = messages.message(notification_of())
    assert text.count(NASTY_ESCAPED) == 4
    assert shown(text).count(NASTY) == 4
    assert shown(messages.line(notification_of())).count(NASTY) == 2
    Sale.objects.filter(pk=sale.pk).update(state="reversed")
    back = taken_back()
    assert shown(messages.message(back)).count(NASTY) == 1
    assert shown(messages.line(back)).count(NASTY) == 2
    Sale.objects.filter(pk=sale.pk).update(state="won", targetologist=None, channel="unknown")
    assert shown(messages.message(notification_of())).count(NASTY) == 3


def test_no_text_has_the_deals_name_which_is_a_customers(kenesary: Targetologist):
    sale = sale_of(targetologist=kenesary)
    texts = [messages.message(notification_of()), messages.line(notification_of())]
    Sale.objects.update(targetologist=None, channel="unknown")
    texts += [messages.message(notification_of()), messages.line(notification_of())]
    Sale.objects.update(state="reversed")
    back = taken_back()
    texts += [messages.message(back), messages.line(back)]
    sale.delete()
    texts.append(messages.message(notification_of()))
    for text in texts:
        assert text
        assert "Айгерим" not in text
        assert "700" not in text


def test_a_sale_of_another_day_says_when(kenesary: Targetologist):
    sale_of(targetologist=kenesary, sale_date=datetime(2025, 12, 20, 18, 59, tzinfo=UTC))
    text = messages.message(notification_of())
    assert "\nДата продажи: 20.12.2025 23:59\n" in text
    assert "\nСегодня: 0 продаж, 0\u2009₸\n" in text


def test_a_sale_before_march_2024_is_dated_in_the_time_of_then():
    sale_of(sale_date=datetime(2024, 2, 1, 20, 0, tzinfo=UTC))
    assert "Дата продажи: 02.02.2024 02:00\n" in messages.message(notification_of())


def test_the_totals_are_of_the_business_day_and_month(kenesary: Targetologist):
    for number, at in enumerate(("2025-12-20 19:00", "2025-12-20 18:59", "2025-11-30 19:00", "2025-11-30 18:59")):
        sale_of(lead_id=number, targetologist=kenesary, sale_date=datetime.fromisoformat(f"{at}+00:00"))
    sale_of(lead_id=10, targetologist=Targetologist.objects.get(slug="muha"))
    sale_of(lead_id=11, targetologist=kenesary, state="reversed")
    text = messages.message(notification_of(lead_id=0))
    assert "Сегодня: 1 продажа, 100\u2009000\u2009₸\nЭтот месяц: 3 продажи, 300\u2009000\u2009₸\n" in text


def test_totals_without_a_known_amount_are_a_dash(kenesary: Targetologist):
    sale_of(targetologist=kenesary, sale_amount=None)
    text = messages.message(notification_of())
    assert text.startswith("🎉 <b>Новая продажа: —</b>\n")
    assert "Сегодня: 1 продажа, —\n" in text


def test_it_says_what_the_sale_says_now():
    sale_of(utm_campaign="new", sale_amount=Decimal(5))
    text = messages.message(notification_of(utm_campaign="old", sale_amount=None))
    assert text.startswith("❓ <b>Продажа без таргетолога: 5\u2009₸</b>")
    assert "Кампания: new\n" in text


def test_without_a_sale_the_notification_speaks(kenesary: Targetologist):
    text = messages.message(notification_of(targetologist=kenesary))
    assert "Таргетолог: <b>Kenesary 👑</b>\nКампания: tripwire" in text
    assert "https://onai.example/leads/detail/36021" in text
    assert "https://sales.example" not in text


def test_what_is_not_known_is_a_dash():
    sale_of(sale_amount=None, utm_source="", utm_medium="", utm_campaign="")
    assert "Кампания: —\nИсточник: —\nMedium: —\n" in messages.message(notification_of())


def test_a_rule_that_is_gone_still_says_what_it_found(kenesary: Targetologist):
    sale_of(targetologist=kenesary, matched_rule=None)
    assert "Почему: utm_campaign «tripwire»\n" in messages.message(notification_of())


def test_a_person_who_said_whose_it_is_stands_above_the_rules(kenesary: Targetologist):
    sale_of(targetologist=kenesary, matched_rule=None, matched_field="override", matched_text="")
    assert "Почему: назначено вручную\n" in messages.message(notification_of())


def test_the_product_is_the_one_that_is_entered_for_the_pipeline():
    Pipeline.objects.create(pipeline_id=10418746, name="Воронка", product=NASTY)
    sale_of()
    assert f"Продукт: {NASTY_ESCAPED}\n" in messages.message(notification_of())


def test_there_is_nothing_to_tell_of_a_sale_that_was_taken_back():
    sale_of(state="reversed")
    assert messages.message(notification_of()) == messages.line(notification_of()) == ""


@pytest.mark.parametrize("told", ["pending", "failed", "cancelled"])
def test_there_is_nothing_to_take_back_where_nobody_heard_of_the_sale(told: str):
    sale_of(state="reversed")
    assert messages.message(taken_back(told)) == ""


def test_there_is_nothing_to_take_back_of_a_sale_that_stands_again():
    sale_of()
    assert messages.message(taken_back()) == ""


def test_the_next_win_does_not_hide_that_the_first_was_taken_back():
    sale_of(win_number=2, sale_date=NOW + timedelta(seconds=9))
    assert messages.message(taken_back()).startswith("↩️")


def test_a_late_attempt_does_not_take_back_the_next_win_that_was_told_since():
    sale_of(win_number=2, sale_date=NOW + timedelta(seconds=9))
    back = taken_back()
    SalesNotification.objects.create(**FACTS, win_number=2, notification_status="sent")
    assert messages.message(back) == ""


def restored(back: str = "sent", **columns: Any) -> SalesNotification:
    SalesNotification.objects.create(**FACTS, notification_status="sent", **columns)
    SalesNotification.objects.create(**FACTS, kind="taken_back", notification_status=back, **columns)
    return notification_of(kind="restored", win_number=2, **columns)


def test_a_sale_restored_reads_like_this(kenesary: Targetologist):
    sale = sale_of(targetologist=kenesary)
    again = restored()
    assert messages.message(again) == (
        "✅ <b>Продажа восстановлена: 100\u2009000\u2009₸</b>\n"
        "\n"
        "Таргетолог: <b>Kenesary 👑</b>\n"
        "\n"
        "Сегодня: 1 продажа, 100\u2009000\u2009₸\n"
        "Этот месяц: 1 продажа, 100\u2009000\u2009₸\n"
        "\n"
        '<a href="https://onai.example/leads/detail/36021">Сделка в AmoCRM № 36021</a>\n'
        f'<a href="{page_of(sale)}">Продажа в дашборде</a>'
    )
    assert messages.line(again) == (
        "✅ <b>100\u2009000\u2009₸</b> · восстановлена · Kenesary 👑 · tripwire_webhook_test · "
        '<a href="https://onai.example/leads/detail/36021">№ 36021</a>'
    )


@pytest.mark.parametrize("back", ["pending", "failed", "cancelled"])
def test_there_is_nothing_to_restore_where_nobody_heard_of_the_taking_back(back: str):
    sale_of()
    assert messages.message(restored(back)) == ""


def test_there_is_nothing_to_restore_of_a_sale_that_was_taken_back_again():
    sale_of(state="reversed")
    assert messages.message(restored()) == ""


def test_a_taking_back_that_waits_is_not_told_after_the_restoring():
    sale_of(sale_date=NOW + timedelta(seconds=9))
    restored("uncertain").save()
    assert messages.message(SalesNotification.objects.get(kind="taken_back")) == ""


# --- In a targetologist's own chat ---------------------------------------------------------------


@pytest.fixture
def kenesarys(kenesary: Targetologist) -> TelegramChat:
    chat = TelegramChat.objects.create(chat_id=-20, kind="targetologist")
    Targetologist.objects.filter(pk=kenesary.pk).update(chat=chat)
    return chat


def test_a_sale_that_became_anothers_is_not_told_in_the_chat_of_the_one_before(kenesarys: TelegramChat):
    sale_of(targetologist=Targetologist.objects.get(slug="muha"))
    told = notification_of(chat=kenesarys)
    assert messages.message(told) == messages.line(told) == messages.message(restored(chat=kenesarys)) == ""


def test_a_sale_taken_back_after_it_became_anothers_shows_the_chats_owner_nobody_elses_figures(
    kenesary: Targetologist, kenesarys: TelegramChat
):
    sale_of(lead_id=1, targetologist=kenesary, sale_amount=Decimal(7))
    muha = Targetologist.objects.get(slug="muha")
    sale_of(lead_id=2, targetologist=muha, sale_amount=Decimal(55_555))
    sale = sale_of(targetologist=muha, state="reversed")
    back = taken_back(chat=kenesarys)
    assert messages.message(back) == (
        "↩️ <b>Продажа отменена: 100\u2009000\u2009₸</b>\n"
        "\n"
        "Сегодня: 1 продажа, 7\u2009₸\n"
        "Этот месяц: 1 продажа, 7\u2009₸\n"
        "\n"
        '<a href="https://onai.example/leads/detail/36021">Сделка в AmoCRM № 36021</a>\n'
        f'<a href="{page_of(sale)}">Продажа в дашборде</a>'
    )
    assert "Muha" not in messages.line(back)


def test_a_chat_of_two_is_told_of_the_sales_of_both(kenesary: Targetologist, kenesarys: TelegramChat):
    Targetologist.objects.filter(slug="muha").update(chat=kenesarys)
    sale_of(targetologist=Targetologist.objects.get(slug="muha"))
    assert "Таргетолог: <b>Muha 🚀</b>" in messages.message(notification_of(chat=kenesarys))


def test_the_common_chat_is_told_whose_the_sale_is_now(kenesarys: TelegramChat):
    sale_of(targetologist=Targetologist.objects.get(slug="muha"), state="reversed")
    common = TelegramChat.objects.create(chat_id=-1)
    for chat in (None, common):
        assert "Таргетолог: <b>Muha 🚀</b>" in messages.message(taken_back(chat=chat))


@pytest.mark.parametrize("character", ["x", "&", '"', "🦁", "😀<"])
def test_the_longest_names_are_cut_and_the_tags_stay_whole(character: str, kenesary: Targetologist):
    Targetologist.objects.filter(pk=kenesary.pk).update(name=character * (100 // len(character)))
    kenesary.refresh_from_db()
    names = dict.fromkeys(("lead_name", "utm_source", "utm_medium", "utm_campaign"), character * 5000)
    sale_of(targetologist=kenesary, matched_text=character * (200 // len(character)), **names)
    texts = [messages.message(notification_of())]
    Sale.objects.update(targetologist=None, channel="unknown")
    texts.append(messages.message(notification_of()))
    for text in texts:
        assert len(text.encode("utf-16-le")) // 2 <= 4096
        assert shown(text).count("…") >= 2
        assert not re.search(r"&[#\w]*…", text)


def test_it_speaks_the_installations_language_whoever_asks(settings: Settings):
    settings.LANGUAGE_CODE = "en"
    sale_of()
    with translation.override("ru"):
        assert messages.message(notification_of()).startswith("❓ <b>Sale without a targetologist")
        assert translation.get_language() == "ru"
