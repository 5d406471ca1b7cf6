"""What the cabinet takes from webhooks and the ledger: when there may be news for referrers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver

from referrals.cabinet import access
from referrals.cabinet.news import tell_of_entries
from referrals.signals import entries_posted
from webhooks.merge import DealState
from webhooks.signals import deal_by_deal_on_failure, deals_changed


@receiver(deals_changed)
@deal_by_deal_on_failure
def tell_referrers(deals: Sequence[DealState], *, live: bool) -> None:
    """Referrers hear of what just happened; replay and resync make no message (law 8)."""
    if live:
        tell_of_entries(lead_ids=[deal.lead_id for deal in deals])


@receiver(entries_posted)
def tell_of_decisions(lead_ids: Collection[int], *, of_history: bool, **_: Any) -> None:
    """Referrers hear of what a person decided, however old the sale is."""
    tell_of_entries(lead_ids=lead_ids, decided=not of_history)


@receiver(user_logged_out)
def end_views(user: User | None, **_: Any) -> None:
    """A manager who signs out of the admin looks into no cabinet any more."""
    if user is not None:
        access.views_end(user)
