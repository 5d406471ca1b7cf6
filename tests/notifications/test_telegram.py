from __future__ import annotations

import socket
import time

import pytest

from notifications import telegram
from notifications.models import TelegramChat
from notifications.telegram import Bot, Outcome, Scope, Status, plain, send
from tests import fakes
from tests.fakes import TOKEN, FakeBotApi

CHAT = TelegramChat(chat_id=-100, topic=7)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_sends_html_to_the_topic_without_a_link_preview(api: FakeBotApi, bot: Bot):
    assert send(bot, CHAT, "<b>1 &lt; 2</b>") == Outcome(Status.SENT, message_id=1)
    assert api.sent == [
        {
            "path": f"/bot{TOKEN}/sendMessage",
            "chat_id": -100,
            "message_thread_id": "7",
            "text": "<b>1 &lt; 2</b>",
            "parse_mode": "HTML",
            "link_preview_options": '{"is_disabled": true}',
        }
    ]


def test_it_asks_telegram_nothing_but_the_message(api: FakeBotApi, bot: Bot):
    send(bot, CHAT, "one")
    send(bot, CHAT, "two")
    assert [request["text"] for request in api.requests] == ["one", "two"]


@pytest.mark.parametrize(
    ("reply", "status", "scope"),
    [
        (fakes.too_many_requests(7), Status.RETRY, Scope.CHAT),
        (fakes.UNAUTHORIZED, Status.RETRY, Scope.BOT),
        (fakes.Reply(404, "Not Found"), Status.RETRY, Scope.BOT),
        (fakes.KICKED, Status.FAILED, Scope.CHAT),
        (fakes.CHAT_NOT_FOUND, Status.FAILED, Scope.CHAT),
        (fakes.Reply(400, "Bad Request: message thread not found"), Status.FAILED, Scope.CHAT),
        (
            fakes.Reply(400, "Bad Request: not enough rights to send text messages to the chat"),
            Status.FAILED,
            Scope.CHAT,
        ),
        (fakes.TOO_LONG, Status.FAILED, Scope.MESSAGE),
        (fakes.BAD_GATEWAY, Status.RETRY, Scope.MESSAGE),
        (fakes.Reply(500, "Internal Server Error"), Status.RETRY, Scope.MESSAGE),
        (fakes.GATEWAY_TIMEOUT, Status.UNCERTAIN, Scope.MESSAGE),
        (fakes.HANG, Status.UNCERTAIN, Scope.MESSAGE),
        (fakes.DROP, Status.UNCERTAIN, Scope.MESSAGE),
        (fakes.UNREADABLE, Status.UNCERTAIN, Scope.MESSAGE),
    ],
    ids=lambda value: f"{value.status} {value.description}" if isinstance(value, fakes.Reply) else value.value,
)
def test_it_tells_what_became_of_the_message(
    api: FakeBotApi, bot: Bot, reply: fakes.Reply, status: Status, scope: Scope
):
    api.will(reply)
    outcome = send(bot, CHAT, "text")
    assert (outcome.status, outcome.scope, outcome.message_id) == (status, scope, None)
    assert outcome.reason
    assert len(api.requests) == 1


def test_it_tells_how_long_a_flooded_chat_waits(api: FakeBotApi, bot: Bot):
    api.will(fakes.too_many_requests(7))
    assert send(bot, CHAT, "text").after == 7


def test_it_tells_how_long_a_refused_token_waits(api: FakeBotApi, bot: Bot):
    api.will(fakes.UNAUTHORIZED)
    assert send(bot, CHAT, "text").after == telegram.TOKEN_PAUSE


def test_it_retries_where_nobody_listens():
    with Bot(TOKEN, base_url=f"http://127.0.0.1:{closed_port()}/bot") as bot:
        outcome = send(bot, CHAT, "text")
    assert (outcome.status, outcome.scope) == (Status.RETRY, Scope.MESSAGE)
    assert outcome.reason.startswith("ConnectError")


def test_it_retries_where_no_connection_comes_about(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telegram, "CONNECT_TIMEOUT", 0.2)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # the backlog is full: the next connection hangs
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        time.sleep(0.05)
        with Bot(TOKEN, base_url=f"http://127.0.0.1:{full.getsockname()[1]}/bot", read_timeout=5) as bot:
            outcome = send(bot, CHAT, "text")
    assert (outcome.status, outcome.scope) == (Status.RETRY, Scope.MESSAGE)
    assert outcome.reason.startswith("ConnectTimeout")


def test_it_follows_a_group_that_became_a_supergroup(api: FakeBotApi, bot: Bot):
    api.will(fakes.migrated(-100500), chat_id=-100)
    assert send(bot, CHAT, "text") == Outcome(Status.SENT, message_id=1, moved_to=-100500)
    assert [request["chat_id"] for request in api.requests] == [-100, -100500]


def test_it_keeps_the_new_id_even_if_the_second_request_fails(api: FakeBotApi, bot: Bot):
    api.will(fakes.migrated(-100500), fakes.BAD_GATEWAY)
    outcome = send(bot, CHAT, "text")
    assert (outcome.status, outcome.moved_to) == (Status.RETRY, -100500)


def test_it_follows_a_chat_only_once(api: FakeBotApi, bot: Bot):
    api.will(fakes.migrated(-2), fakes.migrated(-3))
    assert send(bot, CHAT, "text").status is Status.FAILED
    assert len(api.requests) == 2


def test_it_sends_plain_text_where_telegram_cannot_parse_the_html(api: FakeBotApi, bot: Bot):
    api.will(fakes.BAD_ENTITIES)
    assert send(bot, CHAT, "<b>A &amp; B</b>").status is Status.SENT
    assert [(request["text"], request.get("parse_mode")) for request in api.requests] == [
        ("<b>A &amp; B</b>", "HTML"),
        ("A & B", None),
    ]


def test_it_gives_up_on_plain_text_that_telegram_cannot_parse(api: FakeBotApi, bot: Bot):
    api.will(fakes.BAD_ENTITIES, fakes.BAD_ENTITIES)
    assert send(bot, CHAT, "text").status is Status.FAILED
    assert len(api.requests) == 2


def test_it_keeps_token_and_addresses_out_of_reasons(api: FakeBotApi, bot: Bot):
    api.will(fakes.Reply(400, f"Bad Request: see https://api.telegram.org/bot{TOKEN}/x or {TOKEN}\0 " + "x" * 9000))
    reason = send(bot, CHAT, "text").reason
    assert "See … or …" in reason or "see … or …" in reason
    assert "fake-token" not in reason
    assert "\0" not in reason
    assert len(reason) <= 500


def test_it_logs_no_token(api: FakeBotApi, bot: Bot, caplog: pytest.LogCaptureFixture):
    api.will(fakes.BAD_GATEWAY, fakes.HANG, fakes.UNAUTHORIZED)
    for _ in range(4):
        send(bot, CHAT, "text")
    ours = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]  # that is the fake's own log
    assert not [line for line in ours if "fake-token" in line]


def test_plain_text_keeps_names_and_addresses():
    assert plain('<b>&lt;b&gt;&amp;&quot;_*</b> 1 &lt; 2\n<a href="http://x/?a=1&amp;b=2">Deal</a>') == (
        '<b>&"_* 1 < 2\nDeal: http://x/?a=1&b=2'
    )
