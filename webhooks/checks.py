"""System checks: a receiver that cannot take what is sent is found by `manage.py check`, not by a sale."""

from __future__ import annotations

import inspect
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from webhooks import signals

_SENT: dict[str, Any] = {"signal": signals.deals_changed, "sender": None, "deals": [], "live": True, "only": None}
_RIGHT = "Write `def f(deals: Sequence[DealState], *, live: bool) -> None` under both decorators, the signal's outside"
_HINT = f"{_RIGHT}: docs/adding-a-receiver.md."


@register()
def check_receivers(**kwargs: Any) -> list[CheckMessage]:
    """Call each receiver's signature, without the receiver, with what the signal sends."""
    return [message for receiver in signals.receivers() if (message := _check(receiver))]


def _check(receiver: Any) -> CheckMessage | None:
    handle = getattr(receiver, "handle", None)
    function = signals.written(handle or receiver)
    name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    try:
        if handle:
            inspect.signature(handle).bind([], live=True)
        else:
            inspect.signature(receiver).bind(**_SENT)
    except TypeError as error:
        return Error(f"{name} cannot take what deals_changed sends: {error}.", hint=_HINT, id="webhooks.E001")
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(called) for is_kind in kinds for called in (function, type(function).__call__)):
        what = "is async or a generator: it would be called and never run"
        return Error(f"{name} {what}.", hint=_HINT, id="webhooks.E002")
    if not handle:
        what = "receives deals_changed without @deal_by_deal_on_failure: one bad deal fails a batch"
        return Warning(f"{name} {what}.", hint=_HINT, id="webhooks.W001")
    return None
