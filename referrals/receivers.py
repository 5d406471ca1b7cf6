"""What referrals take from webhooks: their endpoint and the deals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.dispatch import receiver

from referrals.ledger import converge_conversions
from webhooks.merge import DealState
from webhooks.models import Source
from webhooks.registry import Endpoint, register
from webhooks.signals import deal_by_deal_on_failure, deals_changed
from webhooks.utm import referral_code


@receiver(deals_changed)
@deal_by_deal_on_failure
def keep_conversions(deals: Sequence[DealState], *, live: bool) -> None:
    """Conversions and the ledger follow deals."""
    converge_conversions(deals)


def _concerns(pipelines: Collection[int], utm_source: str) -> bool:
    return referral_code(utm_source) is not None


register(
    Endpoint(
        name="referral",
        source=Source.REFERRAL,
        title="Referral",
        message="Referral webhook endpoint is active",
        concerns=_concerns,
    )
)
