"""What the cabinet takes from webhooks: when the ledger may have moved."""

from __future__ import annotations

from collections.abc import Sequence

from django.dispatch import receiver

from referrals.cabinet.news import tell_of_entries
from webhooks.merge import DealState
from webhooks.signals import deal_by_deal_on_failure, deals_changed


@receiver(deals_changed)
@deal_by_deal_on_failure
def tell_referrers(deals: Sequence[DealState], *, live: bool) -> None:
    """Referrers hear of what just happened; replay and resync make no message (law 8)."""
    if live:
        tell_of_entries(lead_ids=[deal.lead_id for deal in deals])
