from __future__ import annotations

from typing import Any

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


def test_a_right_receiver_is_fine():
    def right(deals: Any, *, live: bool) -> None: ...

    assert messages(deal_by_deal_on_failure(right)) == []
