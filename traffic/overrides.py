"""A person's word about whose sales they are: above the rules, and for good."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from traffic.decisions import decide_sales, lock_sales, write_outcomes
from traffic.models import SaleOverride, Targetologist

Action = SaleOverride.Action


def override_sales(
    *, lead_ids: Collection[int], action: str, targetologist: Targetologist | None, reason: str, author: User
) -> int:
    """Say whose these sales are (SaleOverride.Action); return how many of the deals have one.

    It stands against rules, edits, resync and re-attribution, until somebody decides anew; RELEASE gives the sales back
    to the rules. Nobody is told by message. Raises IntegrityError without a reason, or a targetologist to assign to.
    """
    with transaction.atomic():
        sales = lock_sales(list(lead_ids))
        SaleOverride.objects.bulk_create(
            SaleOverride(
                lead_id=lead_id, action=action, targetologist=targetologist, reason=reason.strip(), author=author
            )
            for lead_id in sales
        )
        write_outcomes(decide_sales(sales))
    return len(sales)


def overrides_of(lead_id: int) -> QuerySet[SaleOverride]:
    """Return what people decided about a deal, the latest first: that one counts."""
    return SaleOverride.objects.filter(lead_id=lead_id).select_related("targetologist", "author").order_by("-pk")
