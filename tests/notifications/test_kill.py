"""The sender dies by kill -9: real workers, a real Bot API over HTTP, at most one message whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from notifications.models import TelegramChat
from tests import fakes
from tests.fakes import TOKEN, FakeBotApi
from tests.notifications.helpers import Status, status, wait_for
from tests.system import LiveSystem
from traffic.models import SalesNotification

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("seeded")]
TAKEOVER_SECONDS = 5


@pytest.fixture
def bot_api() -> Iterator[FakeBotApi]:
    with FakeBotApi() as api:
        yield api


def environment(api: FakeBotApi) -> dict[str, str]:
    return {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_API_URL": api.url, "TELEGRAM_CHAT_ID": ""}


def message(lead_id: int, chat: TelegramChat) -> SalesNotification:
    return SalesNotification.objects.create(lead_id=lead_id, chat=chat, sale_date=datetime.now(UTC))


def test_killed_between_sending_and_saving_the_message_is_uncertain_and_never_sent_twice(
    live_system: LiveSystem, bot_api: FakeBotApi
):
    """Telegram has the message, the sender dies before it reads the answer, and another worker takes over."""
    chat = TelegramChat.objects.create(chat_id=-100)
    arrived = threading.Event()
    bot_api.on_request = lambda request: arrived.set()
    bot_api.will(fakes.HANG)
    first = live_system.start_worker(**environment(bot_api))
    sent = message(1, chat)
    assert arrived.wait(10)
    live_system.kill(first)
    killed = time.monotonic()
    assert status(sent) == Status.SENDING
    live_system.start_worker(**environment(bot_api))
    wait_for(lambda: status(sent) == Status.UNCERTAIN, 30)
    waiting = message(2, chat)
    wait_for(lambda: status(waiting) == Status.SENT, 10)
    assert [request["text"].count("detail/1") for request in bot_api.requests] == [1, 0]
    assert status(sent) == Status.UNCERTAIN
    assert time.monotonic() - killed < 40


def test_another_worker_takes_over_within_five_seconds(live_system: LiveSystem, bot_api: FakeBotApi):
    chat = TelegramChat.objects.create(chat_id=-100)
    workers: list[Any] = [live_system.start_worker(**environment(bot_api)) for _ in range(2)]
    wait_for(lambda: any(b"sender is active" in worker.log.read_bytes() for worker in workers), 10)
    active = next(worker for worker in workers if b"sender is active" in worker.log.read_bytes())
    live_system.kill(active)
    killed = time.monotonic()
    waiting = message(1, chat)
    wait_for(lambda: status(waiting) == Status.SENT, 10)
    assert time.monotonic() - killed < TAKEOVER_SECONDS
    assert len(bot_api.requests) == 1
