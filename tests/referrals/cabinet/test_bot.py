from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from notifications import sender as sender_module
from notifications.models import TelegramChat
from notifications.sender import Sender
from referrals.cabinet import bot, chats
from referrals.cabinet.models import AccessEvent, CabinetMessage, LinkedChat
from tests.fakes import FakeBotApi, update
from tests.onai_project.rows import make_conversion

pytestmark = pytest.mark.django_db


@pytest.fixture
def ask(sender: Sender, api: FakeBotApi) -> Callable[..., str]:
    """Write to the bot and return what it answers; "" for silence."""
    numbers = iter(range(1, 100))

    def write(text: str, **where) -> str:
        before = len(api.texts)
        bot.handle_update(update(next(numbers), text, **where))
        sender.send_pending()
        return "\n".join(api.texts[before:])

    return write


def start(referrer) -> str:
    return "/start " + chats.deep_link(referrer).partition("start=")[2]


def test_a_deep_link_links_the_chat_once(dana, ask):
    words = start(dana)
    assert "Здравствуйте, Дана!" in ask(words)
    assert LinkedChat.objects.get().referrer == dana
    assert AccessEvent.objects.get().kind == "chat_linked"
    answer = ask(words, chat_id=8)
    assert "Чтобы привязать этот чат" in answer
    assert LinkedChat.objects.get().chat.chat_id == 7


@pytest.mark.parametrize("words", ["/start made-up", "/start", "/balance", "/link", "/stop", "привет", ""])
def test_a_stranger_learns_nothing(dana, chat, ask, words):
    make_conversion(1, dana)
    answer = ask(words, chat_id=99)
    assert "Чтобы привязать этот чат" in answer
    assert "5\u2009000" not in answer
    assert "ref_dana" not in answer


def test_balance(dana, chat, ask):
    make_conversion(1, dana)
    assert "Ожидает: 5\u2009000\u2009₸" in ask("/balance")
    assert "К выплате: 0\u2009₸" in ask("/BALANCE@our_bot now")


def test_link(dana, chat, course, ask):
    assert "https://example.kz/course?lang=ru&amp;utm_source=ref_dana#top" in ask("/link")


def test_stop_and_start_switch_the_messages(chat, ask):
    assert "Сообщения выключены" in ask("/stop")
    linked = LinkedChat.objects.get()
    assert (linked.accruals, linked.reversals, linked.payouts) == (False, False, False)
    assert "Сообщения включены" in ask("/start")
    linked.refresh_from_db()
    assert (linked.accruals, linked.reversals, linked.payouts) == (True, True, True)


def test_anything_else_gets_a_hint(chat, ask):
    assert "/balance — сколько вы заработали" in ask("спасибо")


@pytest.mark.parametrize("kind", ["group", "supergroup", "channel"])
def test_it_is_silent_in_groups(chat, ask, kind):
    assert ask("/balance", chat_id=-100, kind=kind) == ""
    assert not TelegramChat.objects.filter(chat_id=-100).exists()


def test_the_same_update_is_answered_once(chat):
    for _ in range(3):
        bot.handle_update(update(5, "/balance"))
    assert CabinetMessage.objects.count() == 1


def test_who_writes_faster_than_they_are_answered_is_answered_less(chat):
    for number in range(20):
        bot.handle_update(update(number, "?"))
    assert CabinetMessage.objects.count() == bot.MOST_WAITING


def test_a_chat_that_was_blocked_works_again_when_its_owner_writes(chat, ask):
    TelegramChat.objects.update(active=False, disabled_reason="Forbidden: bot was blocked by the user")
    assert ask("/start") != ""
    chat.refresh_from_db()
    assert (chat.active, chat.disabled_reason) == (True, "")


def test_a_chat_that_a_manager_switched_off_stays_off(chat, ask):
    TelegramChat.objects.update(active=False)
    assert ask("/start") == ""
    chat.refresh_from_db()
    assert not chat.active


def test_a_new_chat_replaces_the_old_one_and_one_chat_has_one_cabinet(dana, erzhan, ask):
    ask(start(dana), chat_id=7)
    ask(start(dana), chat_id=8)
    assert LinkedChat.objects.get().chat.chat_id == 8
    ask(start(erzhan), chat_id=8)
    assert LinkedChat.objects.get().referrer == erzhan


# --- How updates come ----------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["", "wrong"])
def test_the_webhook_takes_nothing_without_the_secret(client: Client, chat, settings: Settings, secret):
    settings.TELEGRAM_WEBHOOK_SECRET = "s3cret"
    headers = {"X-Telegram-Bot-Api-Secret-Token": secret}
    answer = client.post("/r/bot/", json.dumps(update(1, "/stop")), "application/json", headers=headers)
    assert answer.status_code == 404
    settings.TELEGRAM_WEBHOOK_SECRET = ""
    assert client.post("/r/bot/", "{}", "application/json").status_code == 404
    assert not CabinetMessage.objects.exists()


def test_the_webhook_answers(client: Client, chat, settings: Settings):
    settings.TELEGRAM_WEBHOOK_SECRET = "s3cret"
    headers = {"X-Telegram-Bot-Api-Secret-Token": "s3cret"}
    for body in (
        json.dumps(update(1, "/stop")),
        "no json",
        "[]",
        '{"update_id": 2}',
        '{"update_id": 3, "message": {}}',
    ):
        assert client.post("/r/bot/", body, "application/json", headers=headers).status_code == 200
    assert CabinetMessage.objects.get().kind == "stop"


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Start bot loops in threads; all are stopped at the end."""
    monkeypatch.setattr(bot, "LOCK_WAIT", 0.05)
    monkeypatch.setattr(bot, "ERROR_WAIT", 0.1)
    monkeypatch.setattr(bot, "POLL_SECONDS", 0)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start_one() -> None:
        threads.append(threading.Thread(target=bot.run, args=(stop,)))
        threads[-1].start()

    yield start_one
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("run", [bot.run, sender_module.run])
def test_the_lock_of_a_machine_that_vanished_is_freed_soon(api, run):
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with CaptureQueriesContext(connection) as asked:
        run(stop)
    statements = [query["sql"] for query in asked.captured_queries]
    locked = next(number for number, sql in enumerate(statements) if "pg_try_advisory_lock" in sql)
    assert "tcp_keepalives_idle = 1" in statements[locked + 1]


@pytest.mark.django_db(transaction=True)
def test_one_of_two_pollers_asks_and_each_update_is_answered_once(chat, api, loop):
    loop()
    loop()
    wait_for(lambda: any(method == "getUpdates" for method, _ in api.calls))
    for text in ("/balance", "/link"):
        api.writes(text)
    wait_for(lambda: CabinetMessage.objects.count() == 2)
    time.sleep(0.3)
    assert [method for method, _ in api.calls].count("deleteWebhook") == 1
    assert sorted(CabinetMessage.objects.values_list("kind", flat=True)) == ["balance", "links"]
    assert len({request["path"] for _, request in api.calls if "getUpdates" in request["path"]}) == 1


def methods(api: FakeBotApi) -> list[str]:
    return [method for method, _ in api.calls]


def lose_the_lock() -> None:
    """Let the connection die that holds the bot's lock, as if its machine had."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() "
            "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert cursor.fetchall() == [(True,)]


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each loop that polls or keeps the webhook just now."""
    busy: list[int] = []

    def watched(work: Callable[..., None]) -> Callable[..., None]:
        def wrapper(*args: Any) -> None:
            busy.append(1)
            try:
                work(*args)
            finally:
                busy.pop()

        return wrapper

    for name in ("_poll", "_keep_webhook"):
        monkeypatch.setattr(bot, name, watched(getattr(bot, name)))
    return busy


@pytest.mark.django_db(transaction=True)
def test_with_a_secret_the_webhook_is_set_and_nobody_polls(api, loop, at_work, settings: Settings):
    settings.TELEGRAM_WEBHOOK_SECRET = "s3cret"
    settings.SITE_URL = "https://school.example.kz"
    loop()
    loop()
    wait_for(lambda: api.calls)
    time.sleep(0.3)
    assert methods(api) == ["setWebhook"]
    assert api.calls[0][1]["url"] == "https://school.example.kz/r/bot/"
    assert api.calls[0][1]["secret_token"] == "s3cret"
    lose_the_lock()
    wait_for(lambda: methods(api) == ["setWebhook"] * 2 and len(at_work) == 1)


@pytest.mark.django_db(transaction=True)
def test_a_webhook_that_somebody_took_away_is_set_again(api, loop, monkeypatch, settings: Settings):
    monkeypatch.setattr(bot, "WEBHOOK_AGAIN", 0.2)
    settings.TELEGRAM_WEBHOOK_SECRET = "s3cret"
    loop()
    wait_for(lambda: len(api.calls) >= 3)
    assert set(methods(api)) == {"setWebhook"}


@pytest.mark.django_db(transaction=True)
def test_a_poller_that_lost_its_lock_stops_and_one_goes_on(chat, api, loop, at_work):
    loop()
    loop()
    wait_for(lambda: "getUpdates" in methods(api))
    # Nothing is written meanwhile that would have the old one find out by its own work.
    lose_the_lock()
    wait_for(lambda: methods(api).count("deleteWebhook") == 2 and len(at_work) == 1)
    api.writes("/balance")
    wait_for(lambda: CabinetMessage.objects.exists())
    time.sleep(0.3)
    assert (CabinetMessage.objects.count(), len(at_work)) == (1, 1)
