from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from django.urls import reverse
from django.utils import translation
from pytest_django import Settings

from traffic.messages import sale_message
from traffic.models import Sale, SalesNotification, Targetologist

pytestmark = pytest.mark.django_db
NASTY = "<b>&\"_*'`[x](y)"
NASTY_ESCAPED = "&lt;b&gt;&amp;&quot;_*&#x27;`[x](y)"
FACTS: dict[str, Any] = {
    "lead_id": 36021,
    "lead_name": "TEST WEBHOOK - Kenesary Dec20",
    "sale_amount": Decimal(100_000),
    "utm_source": "kenesary_test",
    "utm_medium": "cpc",
    "utm_campaign": "tripwire_webhook_test",
    "sale_date": datetime(2025, 12, 20, 20, 22, 59, tzinfo=UTC),
}


@pytest.fixture(autouse=True)
def installation(settings: Settings) -> None:
    settings.LANGUAGE_CODE = "en"
    settings.SITE_URL = "https://sales.example"
    settings.AMOCRM_BASE_URL = "https://onai.example"


@pytest.fixture
def kenesary() -> Targetologist:
    return Targetologist.objects.update_or_create(slug="kenesary", defaults={"name": "Kenesary", "emoji": "👑"})[0]


def sale_of(**columns: Any) -> Sale:
    defaults = {"pipeline_id": 10418746, "status_id": 142, "channel": "unknown", "funnel_type": "express"}
    return Sale.objects.create(**{**FACTS, **defaults, "state": Sale.State.WON, **columns})


def notification_of(**columns: Any) -> SalesNotification:
    return SalesNotification(**{**FACTS, **columns})


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
    sale = sale_of(targetologist=kenesary, channel="targetologist")
    page = reverse("admin:traffic_sale_change", args=[sale.pk])
    assert sale_message(notification_of()) == (
        "🎉 <b>New sale</b>\n"
        "\n"
        "Targetologist: <b>Kenesary 👑</b>\n"
        "Deal: TEST WEBHOOK - Kenesary Dec20\n"
        "Amount: <b>100\u2009000\u2009₸</b>\n"
        "Campaign: tripwire_webhook_test\n"
        "Source: kenesary_test\n"
        "Medium: cpc\n"
        "Sale date: 21.12.2025 01:22\n"  # Almaty: UTC+5 since March 2024
        "\n"
        '<a href="https://onai.example/leads/detail/36021">Deal in AmoCRM</a>\n'
        f'<a href="https://sales.example{page}">Sale in the dashboard</a>'
    )


def test_everything_from_outside_is_escaped(kenesary: Targetologist):
    Targetologist.objects.filter(pk=kenesary.pk).update(name=NASTY)
    names = dict.fromkeys(("lead_name", "utm_source", "utm_medium", "utm_campaign"), NASTY)
    sale_of(targetologist=kenesary, channel="targetologist", **names)
    text = sale_message(notification_of())
    assert text.count(NASTY_ESCAPED) == 5
    assert shown(text).count(NASTY) == 5


def test_a_sale_before_march_2024_is_dated_in_the_time_of_then():
    sale_of(sale_date=datetime(2024, 2, 1, 20, 0, tzinfo=UTC))
    assert "Sale date: 02.02.2024 02:00\n" in sale_message(notification_of())


def test_it_says_what_the_sale_says_now():
    sale_of(lead_name="New name", sale_amount=Decimal(5))
    text = sale_message(notification_of(lead_name="Old name", sale_amount=None))
    assert "Deal: New name\nAmount: <b>5\u2009₸</b>" in text


def test_without_a_sale_the_notification_speaks(kenesary: Targetologist):
    text = sale_message(notification_of(targetologist=kenesary))
    assert "Targetologist: <b>Kenesary 👑</b>\nDeal: TEST WEBHOOK" in text
    assert "https://onai.example/leads/detail/36021" in text
    assert "https://sales.example" not in text


@pytest.mark.parametrize(("channel", "name"), [("unknown", "Unknown ❓"), ("referral", "Referral")])
def test_nobodys_sale_says_why(channel: str, name: str):
    sale_of(channel=channel)
    assert f"Targetologist: <b>{name}</b>\n" in sale_message(notification_of())


def test_what_is_not_known_is_a_dash():
    sale_of(sale_amount=None, utm_source="", utm_medium="", utm_campaign="", lead_name="")
    text = sale_message(notification_of())
    assert "Deal: —\nAmount: <b>—</b>\nCampaign: —\nSource: —\nMedium: —\n" in text


@pytest.mark.parametrize("character", ["x", "&", '"', "🦁", "😀<"])
def test_the_longest_names_are_cut_and_the_tags_stay_whole(character: str, kenesary: Targetologist):
    Targetologist.objects.filter(pk=kenesary.pk).update(name=character * (100 // len(character)))
    names = dict.fromkeys(("lead_name", "utm_source", "utm_medium", "utm_campaign"), character * 5000)
    sale_of(targetologist=kenesary, channel="targetologist", **names)
    text = sale_message(notification_of())
    assert len(text.encode("utf-16-le")) // 2 <= 4096
    assert shown(text).count("…") >= 4
    assert not re.search(r"&[#\w]*…", text)


def test_it_speaks_the_installations_language_whoever_asks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("traffic.messages._", lambda text: f"{text} in {translation.get_language()}")
    with translation.override("ru"):
        assert "New sale in en" in sale_message(notification_of())
        assert translation.get_language() == "ru"
