from __future__ import annotations

import functools
from typing import Any

import pytest
from django.core.checks import CheckMessage

from webhooks.checks import check_receivers
from webhooks.signals import deal_by_deal_on_failure, deals_changed


def found(receiver: Any) -> list[CheckMessage]:
    deals_changed.connect(receiver, weak=False)
    try:
        return check_receivers()
    finally:
        deals_changed.disconnect(receiver)


def messages(receiver: Any) -> list[str]:
    return [message.id or "" for message in found(receiver)]


def test_the_projects_own_receivers_are_fine():
    assert check_receivers() == []


def test_a_receiver_that_cannot_take_what_is_sent_is_an_error():
    def wrong(deals: Any) -> None: ...

    assert messages(deal_by_deal_on_failure(wrong)) == ["webhooks.E001"]


def test_a_receiver_without_the_decorator_is_a_warning():
    def bare(sender: Any, **kwargs: Any) -> None: ...

    assert messages(bare) == ["webhooks.W001"]


def plain(deals: Any, *, live: bool) -> None: ...


async def waiting(deals: Any, *, live: bool) -> None: ...


def yielding(deals: Any, *, live: bool) -> Any:
    yield deals


class Callable:
    def __call__(self, sender: Any, **kwargs: Any) -> None: ...


class Constructed:
    def __init__(self, sender: Any, **kwargs: Any) -> None: ...


class Waiting:
    async def __call__(self, deals: Any, *, live: bool) -> None: ...


def test_a_bare_receiver_that_would_fail_every_delivery_is_an_error():
    assert messages(lambda sender, deals, live: None) == ["webhooks.E001"]
    assert messages(functools.partial(plain, live=True)) == ["webhooks.E001"]


@pytest.mark.parametrize("never_run", [waiting, yielding, Waiting(), functools.partial(waiting)])
def test_a_receiver_that_would_never_run_is_an_error(never_run: Any):
    assert messages(deal_by_deal_on_failure(never_run)) == ["webhooks.E002"]


def test_whatever_can_be_called_is_looked_at():
    assert messages(Callable()) == ["webhooks.W001"]
    assert messages(Constructed) == ["webhooks.W001"]
    assert messages(functools.partial(lambda sender, **kwargs: None)) == ["webhooks.W001"]


def test_it_names_the_function_that_would_be_called():
    def wrong(deals: Any) -> None: ...

    (partial,) = found(deal_by_deal_on_failure(functools.partial(wrong)))
    assert partial.msg.startswith(f"{__name__}.{wrong.__qualname__} cannot take")
    assert "def f(deals" in (partial.hint or "")
    (instance,) = found(Callable())
    assert instance.msg.startswith(f"{__name__}.Callable receives")


@pytest.mark.parametrize("handle", [plain, functools.partial(plain), Waiting()])
def test_its_app_is_where_its_function_is_written(handle: Any):
    assert deal_by_deal_on_failure(handle).app == "tests"  # type: ignore[attr-defined]


def test_a_right_receiver_is_fine():
    def right(deals: Any, *, live: bool) -> None: ...

    assert messages(deal_by_deal_on_failure(right)) == []
