"""The signal that other apps live on. A published contract: docs/adding-a-receiver.md.

`deals_changed` is sent by the inbox, once a batch, inside its transaction, when deals were touched. Receivers are
level-triggered: they get the merged state of each deal, not the event, and make their own tables agree with it; a
second call with the same states must change nothing. Keywords:

`deals: Sequence[webhooks.merge.DealState]`
    Every deal that the batch touched, in the order of lead_id, each once; their rows are locked.
`live: bool`
    True for what just arrived. False for replay and resync, of which nobody is told by message.
`only: str | None`
    The app (`traffic`) that alone is meant, when its tables are made anew from the deals (resync); the decorator sees
    to it. None for everybody.

A receiver wears both decorators, the signal's outside:

    @receiver(deals_changed)
    @deal_by_deal_on_failure
    def keep_my_table(deals: Sequence[DealState], *, live: bool) -> None: ...
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from webhooks.merge import DealState
from webhooks.reasons import describe
from webhooks.transient import concerns_all

deals_changed = Signal()

# What went wrong by lead_id, a text for each receiver that failed.
Failures = dict[int, list[str]]


def deal_by_deal_on_failure(handle: Callable[..., None]) -> Callable[..., Failures]:
    """Run `handle(deals, live=…)` in a savepoint, and if it fails once more deal by deal (law 6).

    The receiver made of it returns {lead_id: [error]} of the deals that failed alone; the others' effects stand.
    A deadlock or a lost connection is raised (transient.concerns_all): the whole batch is tried again.
    """

    app = written(handle).__module__.split(".")[0]

    def receiver(sender: Any, deals: Sequence[DealState], live: bool, only: str | None = None, **_: Any) -> Failures:
        if only not in (None, app):
            return {}
        failure = _attempt(handle, app, deals, live)
        if failure is None:
            return {}
        if len(deals) == 1:
            return {deals[0].lead_id: [failure]}
        one_by_one = ((deal.lead_id, _attempt(handle, app, [deal], live)) for deal in deals)
        return {lead_id: [failure] for lead_id, failure in one_by_one if failure is not None}

    receiver.handle = handle  # type: ignore[attr-defined]
    receiver.app = app  # type: ignore[attr-defined]
    # Django would read the signature of `handle`, which takes no **kwargs, through __wrapped__.
    functools.update_wrapper(receiver, handle)
    del receiver.__wrapped__  # type: ignore[attr-defined]
    return receiver


def receivers() -> list[Any]:
    """Return what is connected to deals_changed, in the order of connection."""
    references = [entry[1] for entry in deals_changed.receivers or ()]
    called = [entry() if isinstance(entry, weakref.ReferenceType) else entry for entry in references]
    return [receiver for receiver in called if receiver is not None]


def apps() -> list[str]:
    """Return the apps that can be meant alone (`only`), by name."""
    return sorted({receiver.app for receiver in receivers() if hasattr(receiver, "app")})


def written(handle: Any) -> Any:
    """Return what an app wrote: of a functools.partial, which bears no name of its own, what it calls."""
    while isinstance(handle, functools.partial):
        handle = handle.func
    return handle


def _attempt(handle: Callable[..., None], app: str, deals: Sequence[DealState], live: bool) -> str | None:
    """Return None when `handle` succeeded, else what it raised; its writes are then rolled back."""
    try:
        with transaction.atomic():
            handle(deals, live=live)
    except Exception as error:
        if concerns_all(error):
            raise
        return f"{app}: {describe(error)}".replace("\x00", "")[:500]
    return None


def tell(deals: Sequence[DealState], *, live: bool, only: str | None = None) -> tuple[Failures, int]:
    """Send `deals_changed`; return what failed, by deal, and how many receivers there are.

    Raises what a receiver raised that wears no deal_by_deal_on_failure: the whole batch failed.
    """
    failures: Failures = {}
    responses = deals_changed.send_robust(sender=None, deals=deals, live=live, only=only)
    for _, outcome in responses:
        if isinstance(outcome, Exception):
            raise outcome
        for lead_id, failed in (outcome or {}).items():
            failures.setdefault(lead_id, []).extend(failed)
    return failures, len(responses)
