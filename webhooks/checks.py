"""System checks: a receiver that cannot take what is sent is found by `manage.py check`, not by a sale."""

from __future__ import annotations

import inspect
import weakref
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from webhooks.signals import deals_changed


@register()
def check_receivers(**kwargs: Any) -> list[CheckMessage]:
    """Call each receiver's signature, without the receiver, with what the signal sends."""
    messages: list[CheckMessage] = []
    for entry in deals_changed.receivers or ():
        reference = entry[1]
        receiver = reference() if isinstance(reference, weakref.ReferenceType) else reference
        if receiver is None:
            continue
        name = f"{receiver.__module__}.{receiver.__qualname__}"
        handle = getattr(receiver, "handle", None)
        if handle is None:
            messages.append(
                Warning(
                    f"{name} receives deals_changed without @deal_by_deal_on_failure: one bad deal fails a batch.",
                    hint="Put the decorator between @receiver and the function; see docs/adding-a-receiver.md.",
                    id="webhooks.W001",
                )
            )
            continue
        try:
            inspect.signature(handle).bind([], live=True)
        except TypeError as error:
            messages.append(
                Error(
                    f"{name} cannot take what deals_changed sends: {error}.",
                    hint="Define it as (deals: Sequence[DealState], *, live: bool) -> None.",
                    id="webhooks.E001",
                )
            )
    return messages
