from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from pytest_django import Settings

from notifications import telegram
from notifications.models import TelegramChat
from notifications.pacing import Limits, Pacer
from notifications.sender import Sender
from tests.fakes import TOKEN, FakeBotApi
from traffic.models import SalesNotification

READ_TIMEOUT = 0.4


@pytest.fixture
def api(settings: Settings) -> Iterator[FakeBotApi]:
    with FakeBotApi() as server:
        settings.TELEGRAM_API_URL = server.url
        settings.TELEGRAM_BOT_TOKEN = TOKEN
        settings.TELEGRAM_CHAT_ID = ""
        yield server


@pytest.fixture
def bot(api: FakeBotApi) -> Iterator[telegram.Bot]:
    with telegram.Bot(TOKEN, read_timeout=READ_TIMEOUT) as bot:
        yield bot


@pytest.fixture
def sender(bot: telegram.Bot) -> Sender:
    """A sender in no hurry to respect Telegram's limits: pacing has tests of its own."""
    return Sender(bot, pacer=Pacer(Limits(chat_seconds=0, group_per_minute=1000, total_per_second=1000)))


@pytest.fixture
def chat(db: None) -> TelegramChat:
    return TelegramChat.objects.create(chat_id=-100, title="Sales")


@pytest.fixture
def outbox(db: None) -> Callable[..., SalesNotification]:
    """Make one due notification; keyword arguments are its columns."""
    leads = count(1)

    def make(**columns: Any) -> SalesNotification:
        lead_id = next(leads)
        return SalesNotification.objects.create(
            **{
                "lead_id": lead_id,
                "lead_name": f"Deal {lead_id}",
                "sale_amount": Decimal(100_000),
                "sale_date": datetime(2025, 12, 20, 13, 22, tzinfo=UTC),
                **columns,
            }
        )

    return make


@pytest.fixture
def short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is another file's matter."""
    monkeypatch.setattr(SalesNotification, "render", lambda self: f"<b>{self.lead_name}</b>")
    monkeypatch.setattr(SalesNotification, "brief", lambda self: f"<b>{self.lead_name}</b>")
    monkeypatch.setattr(SalesNotification, "heading", classmethod(lambda cls, count: f"{count} sales"))
