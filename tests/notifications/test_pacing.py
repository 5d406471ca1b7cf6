from __future__ import annotations

from notifications.pacing import Limits, Pacer


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_chat_gets_one_message_a_second_and_others_are_free():
    clock = Clock()
    pacer = Pacer(clock=clock)
    pacer.record(5)
    assert list(pacer.busy()) == [5]
    clock.now += 1
    assert not pacer.busy()


def test_a_group_gets_twenty_messages_a_minute():
    clock = Clock()
    pacer = Pacer(clock=clock)
    for _ in range(20):
        pacer.record(-5)
        clock.now += 1
    assert list(pacer.busy()) == [-5]
    clock.now += 39.9
    assert list(pacer.busy()) == [-5]
    clock.now += 0.2
    assert not pacer.busy()


def test_a_person_may_get_more_than_twenty_messages_a_minute():
    clock = Clock()
    pacer = Pacer(clock=clock)
    for _ in range(30):
        pacer.record(5)
        clock.now += 1
    assert not pacer.busy()


def test_all_chats_together_get_twenty_five_messages_a_second():
    clock = Clock()
    pacer = Pacer(Limits(), clock=clock)
    for chat_id in range(1, 26):
        assert not pacer.closed()
        pacer.record(chat_id)
    assert pacer.closed()
    clock.now += 1
    assert not pacer.closed()


def test_a_hold_stops_everything_until_it_is_over():
    clock = Clock()
    pacer = Pacer(clock=clock)
    pacer.hold(60)
    clock.now += 59
    assert pacer.closed()
    clock.now += 1
    assert not pacer.closed()
