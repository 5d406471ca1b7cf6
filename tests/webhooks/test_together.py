from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from webhooks import store
from webhooks.models import WebhookDelivery
from webhooks.together import Together


def test_each_gets_its_own_result_and_groups_form_while_one_is_worked_on():
    groups: list[list[int]] = []
    at_once = threading.Semaphore(1)

    def work(items: Sequence[int]) -> list[int]:
        assert at_once.acquire(blocking=False), "two groups at once"
        groups.append(list(items))
        time.sleep(0.002)
        at_once.release()
        return [item * 10 for item in items]

    together = Together(work, 4)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(together.do, range(200))) == [item * 10 for item in range(200)]
    assert sorted(item for group in groups for item in group) == list(range(200))
    assert max(map(len, groups)) == 4
    assert together.do(7) == 70  # it is free again


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("webhooks.together.PATIENCE_SECONDS", seconds)
        yield


def test_a_group_waits_until_it_is_as_large_as_the_one_before_and_not_for_long():
    groups: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        groups.append(len(items))
        if 13 in items:
            begun.set()
            go_on.wait(5)
        return list(items)

    together = Together(work, 8)
    with ThreadPoolExecutor(4) as pool:
        pool.submit(together.do, 13)
        assert begun.wait(5)
        first = [pool.submit(together.do, number) for number in (1, 2, 3)]
        while len(together._waiting) < 3:
            time.sleep(0.001)
        go_on.set()
        assert [one.result(5) for one in first] == [1, 2, 3]
        with patience(60):  # nobody gives up waiting
            second = [pool.submit(together.do, number) for number in (4, 5)]
            time.sleep(0.1)
            assert not any(one.done() for one in second)
            started = time.monotonic()
            assert together.do(6) == 6
            assert time.monotonic() - started < 5, "it waits although they are enough"
            assert [one.result(5) for one in second] == [4, 5]
    assert groups == [1, 3, 3]
    assert together.do(7) == 7  # the first that comes alone waits a little, the next does not
    started = time.monotonic()
    with patience(60):
        assert together.do(8) == 8
    assert time.monotonic() - started < 5
    assert groups == [1, 3, 3, 1, 1]


def test_a_failure_reaches_those_who_wait_too_and_no_later_one():
    begun, go_on = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        if 13 in items:
            begun.set()
            go_on.wait(5)
            raise ValueError("thirteen")
        return list(items)

    together = Together(work, 8)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(together.do, 13)
        assert begun.wait(5)
        others = [pool.submit(together.do, number) for number in (1, 2, 3)]
        while len(together._waiting) < 3:
            time.sleep(0.001)
        go_on.set()
        for failed in (first, *others):
            with pytest.raises(ValueError, match="thirteen"):
                failed.result(5)
    assert together.do(1) == 1


class Odd(Exception):
    """One that cannot be made from its args."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} {second}")


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), Odd(1, 2)])
def test_whatever_ends_one_thread_leaves_nobody_waiting(error: BaseException):
    begun, go_on = threading.Event(), threading.Event()
    outcomes: list[tuple[int, BaseException]] = []

    def work(items: Sequence[int]) -> list[int]:
        if 13 in items:
            begun.set()
            go_on.wait(5)
            raise error
        return list(items)

    def do(item: int) -> None:
        try:
            together.do(item)
        except BaseException as raised:
            outcomes.append((item, raised))

    together = Together(work, 8)
    threads = [threading.Thread(target=do, args=[item], daemon=True) for item in (13, 1, 2)]
    threads[0].start()
    assert begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    while len(together._waiting) < 2:
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join(5)
    raised = dict(outcomes)
    assert raised[13] is error
    assert [type(raised[item]) for item in (1, 2)] == [RuntimeError, RuntimeError]
    assert together.do(1) == 1


def deliver(headers: str) -> int | str:
    try:
        return store.store_delivery(
            source="amocrm", body=b"a=1", content_type="", headers=headers, query="", remote_addr=None
        )
    except store.NotStored as error:
        return str(error)
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_what_postgresql_refuses_of_one_is_stored_of_the_others(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    together = threading.Barrier(6)
    whole = store._insert

    def insert(rows: Any) -> list[int]:
        sizes.append(len(rows))
        time.sleep(0.05)
        return whole(rows)

    def at_once(headers: str) -> int | str:
        together.wait(5)
        return deliver(headers)

    monkeypatch.setattr(store, "_insert", insert)
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(at_once, ['{"A": "1"}', '{"A": "2"}', "no json", '{"A": "4"}', '{"A": "5"}', "{}"]))
    assert max(sizes) > 1, "nothing was stored together"
    ids = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(set(ids)) == 5
    assert "invalid input syntax for type json" in str(outcomes[2])
    stored = dict(WebhookDelivery.objects.values_list("pk", "headers"))
    assert [stored[outcome].get("A") for outcome in outcomes if isinstance(outcome, int)] == ["1", "2", "4", "5", None]


@pytest.mark.django_db(transaction=True)
def test_one_that_gets_no_connection_fails_nobody_who_has_one(monkeypatch: pytest.MonkeyPatch):
    leads = threading.Event()
    full = "FATAL: sorry, too many clients already"
    whole = BaseDatabaseWrapper.ensure_connection

    def ensure_connection(self: BaseDatabaseWrapper) -> None:
        if threading.current_thread().name == "unlucky":
            leads.set()
            time.sleep(0.2)  # the others come meanwhile
            raise OperationalError(full)
        whole(self)

    def begin(name: str) -> threading.Thread:
        thread = threading.Thread(target=lambda: outcomes.update({name: have_connection_and_deliver(name)}), name=name)
        thread.start()
        return thread

    def have_connection_and_deliver(name: str) -> int | str:
        if name != "unlucky":
            connection.ensure_connection()
            assert leads.wait(5)
        return deliver("{}")

    outcomes: dict[str, int | str] = {}
    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", ensure_connection)
    threads = [begin("first"), begin("second"), begin("unlucky")]
    for thread in threads:
        thread.join(10)
    assert outcomes.pop("unlucky") == f"OperationalError: {full}"
    assert sorted(outcomes) == ["first", "second"]
    assert all(isinstance(outcome, int) for outcome in outcomes.values()), outcomes
