from __future__ import annotations

import functools
from typing import Any

import pytest

from webhooks.checks import check_receivers
from webhooks.signals import deal_by_deal_on_failure, deals_changed


def messages(receiver: Any) -> list[str]:
    deals_changed.connect(receiver, weak=False)
    try:
        return [message.id or "" for message in check_receivers()]
    finally:
        deals_changed.disconnect(receiver)


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


def test_a_bare_receiver_that_would_fail_every_delivery_is_an_error():
    assert messages(lambda sender, deals, live: None) == ["webhooks.E001"]
    assert messages(functools.partial(plain, live=True)) == ["webhooks.E001"]


@pytest.mark.parametrize("never_run", [waiting, yielding])
def test_a_receiver_that_would_never_run_is_an_error(never_run: Any):
    assert messages(deal_by_deal_on_failure(never_run)) == ["webhooks.E002"]


def test_whatever_can_be_called_is_looked_at():
    assert messages(Callable()) == ["webhooks.W001"]
    assert messages(functools.partial(lambda sender, **kwargs: None)) == ["webhooks.W001"]


def test_a_right_receiver_is_fine():
    def right(deals: Any, *, live: bool) -> None: ...

    assert messages(deal_by_deal_on_failure(right)) == []
