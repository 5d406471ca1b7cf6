from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.format import ROOM, fitting
from notifications.models import TelegramChat
from notifications.pacing import Pacer
from notifications.sender import COMBINE_OVER, MOST_COMBINED, Sender
from tests import fakes
from tests.fakes import FakeBotApi
from tests.notifications.helpers import Outbox, Status, make_due, status
from traffic.models import SalesNotification

pytestmark = pytest.mark.usefixtures("short_text")
SIX = COMBINE_OVER + 1


def statuses(rows: Sequence[SalesNotification]) -> set[str]:
    return {status(row) for row in rows}


def test_five_that_wait_are_five_messages(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    for _ in range(COMBINE_OVER):
        outbox(chat=chat)
    sender.send_pending()
    assert api.texts == [f"<b>Deal {n}</b>" for n in range(1, 6)]


def test_more_than_five_that_wait_for_a_chat_are_one_message(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    rows = [outbox(chat=chat) for _ in range(SIX)]
    other = outbox(chat=TelegramChat.objects.create(chat_id=-200))
    assert sender.send_pending() == 2
    lines = "\n".join(f"<b>Deal {n}</b>" for n in range(1, 7))
    assert sorted(api.texts) == sorted([f"6 sales\n\n{lines}", "<b>Deal 7</b>"])
    assert statuses([*rows, other]) == {Status.SENT}
    assert {row.telegram_message_id for row in rows} == {1}
    assert {row.telegram_chat_id for row in rows} == {-100}


def test_those_without_a_chat_wait_for_the_common_one(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    rows = [outbox(chat=chat if n % 2 else None) for n in range(SIX)]
    sender.send_pending()
    assert len(api.texts) == 1
    assert statuses(rows) == {Status.SENT}


def test_what_waits_behind_the_pace_is_combined(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    now = [0.0]
    sender.pacer = Pacer(clock=lambda: now[0])
    for _ in range(3):
        outbox(chat=chat)
    sender.send_pending()
    for _ in range(4):
        outbox(chat=chat)
    now[0] = 1.0
    sender.send_pending()
    assert api.texts == ["<b>Deal 1</b>", "6 sales\n\n" + "\n".join(f"<b>Deal {n}</b>" for n in range(2, 8))]


def test_what_does_not_fit_into_one_message_goes_into_the_next(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    rows = [outbox(chat=chat, lead_name=f"{n:02}" + "🦁" * 200) for n in range(20)]
    sender.send_pending()
    assert [text.split()[0] for text in api.texts[:2]] == ["9", "9"]  # the two that are left go alone
    assert all(len(text.encode("utf-16-le")) // 2 <= ROOM for text in api.texts)
    assert statuses(rows) == {Status.SENT}
    told = "".join(api.texts)
    assert all(told.count(f"<b>{n:02}🦁") == 1 for n in range(20))


def test_a_long_queue_is_taken_piece_by_piece(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    rows = [outbox(chat=chat) for _ in range(MOST_COMBINED + SIX)]
    sender.send_pending()
    assert [text.split("\n")[0] for text in api.texts] == [f"{MOST_COMBINED} sales", f"{SIX} sales"]
    assert statuses(rows) == {Status.SENT}


def test_one_that_is_cancelled_or_has_nothing_to_tell_is_left_out(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    rows = [outbox(chat=chat) for _ in range(SIX)]
    monkeypatch.setattr(SalesNotification, "brief", lambda self: "" if self.lead_id == 2 else f"{self.lead_id}")
    sender.send_pending()
    assert api.texts == ["5 sales\n\n1\n3\n4\n5\n6"]
    assert status(rows[1]) == Status.CANCELLED


def test_one_that_is_left_of_many_is_told_whole(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    rows = [outbox(chat=chat) for _ in range(SIX)]
    monkeypatch.setattr(SalesNotification, "brief", lambda self: "short" if self.lead_id == 2 else "")
    sender.send_pending()
    assert api.texts == ["<b>Deal 2</b>"]
    assert [status(row) for row in rows].count(Status.CANCELLED) == 5


def test_one_that_cannot_be_rendered_fails_alone(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
):
    rows = [outbox(chat=chat, sale_amount=Decimal(n)) for n in range(SIX)]
    monkeypatch.setattr(SalesNotification, "brief", lambda self: f"{1 / self.sale_amount:.1f}")
    sender.send_pending()
    assert status(rows[0]) == Status.FAILED
    assert statuses(rows[1:]) == {Status.SENT}


def test_where_telegram_refuses_the_combined_text_only_the_bad_one_fails(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    rows = [outbox(chat=chat) for _ in range(SIX)]
    api.will(fakes.TOO_LONG, fakes.TOO_LONG)
    sender.send_pending()
    assert [status(row) for row in rows] == [Status.FAILED, *[Status.SENT] * 5]
    assert len(api.requests) == 1 + SIX
    assert not sender.alone


@pytest.mark.parametrize(
    ("reply", "expected", "requests"),
    [(fakes.HANG, Status.UNCERTAIN, 1), (fakes.DROP, Status.UNCERTAIN, 1), (fakes.KICKED, Status.FAILED, 1)],
)
def test_what_becomes_of_a_combined_message_becomes_of_each(
    api: FakeBotApi,
    sender: Sender,
    chat: TelegramChat,
    outbox: Outbox,
    reply: fakes.Reply,
    expected: str,
    requests: int,
):
    rows = [outbox(chat=chat) for _ in range(SIX)]
    api.will(reply)
    sender.send_pending()
    for row in rows:
        make_due(row)
    sender.send_pending()
    assert statuses(rows) == {expected}
    assert len(api.requests) == requests


def test_after_an_outage_what_waited_is_combined(api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox):
    rows = [outbox(chat=chat) for _ in range(SIX)]
    api.will(fakes.BAD_GATEWAY)
    sender.send_pending()
    assert {(status(row), row.attempts) for row in rows} == {(Status.PENDING, 1)}
    for row in rows:
        make_due(row)
    sender.send_pending()
    assert statuses(rows) == {Status.SENT}
    assert len(api.requests) == 2


def test_a_flooded_chats_messages_are_combined_after_the_pause(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    api.will(fakes.too_many_requests(30))
    rows = [outbox(chat=chat) for _ in range(SIX)]
    sender.send_pending()
    assert {(status(row), row.attempts) for row in rows} == {(Status.PENDING, 0)}
    TelegramChat.objects.update(paused_until=None)
    for row in rows:
        make_due(row)
    sender.send_pending()
    assert len(api.texts) == 1


@given(
    heading=st.text(max_size=50),
    parts=st.lists(st.text(alphabet="a🦁", min_size=1, max_size=30), min_size=1, max_size=30),
    room=st.integers(min_value=60, max_value=400),
)
def test_what_fits_is_never_too_long_and_never_less_than_could(heading: str, parts: list[str], room: int):
    def units(count: int) -> int:
        return len(f"{heading}\n\n{'--'.join(parts[:count])}".encode("utf-16-le", "surrogatepass")) // 2

    count = fitting(heading, parts, "--", room)
    assert 1 <= count <= len(parts)
    assert units(count) <= room or count == 1
    assert count == len(parts) or units(count + 1) > room


def test_a_new_sender_remembers_what_the_one_before_sent(
    api: FakeBotApi, sender: Sender, chat: TelegramChat, outbox: Outbox
):
    now = [100.0]
    for _ in range(2):
        outbox(chat=chat)
    sender.send_pending()
    SalesNotification.objects.filter(lead_id=1).update(notified_at="2020-01-01T00:00Z")
    successor: Any = Sender(sender.bot, pacer=Pacer(clock=lambda: now[0]))
    successor.learn_pace()
    assert list(successor.pacer.busy()) == [-100]
    assert len(successor.pacer._sent[-100]) == 1
    now[0] += timedelta(seconds=1).total_seconds()
    assert not successor.pacer.busy()
