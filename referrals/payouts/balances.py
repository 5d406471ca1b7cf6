"""What each (conversion, referrer) of the ledger has and should have. Reads everything, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from django.db import transaction

from referrals.conversions import select_conversions, select_judgements
from referrals.locks import lock_referrers
from referrals.models import Conversion, Referrer
from referrals.plans import select_plans
from referrals.posting import select_balances

CHUNK = 2000


def wrong_balances() -> Iterator[tuple[int, str, Decimal, Decimal]]:
    """Yield (lead_id, code, posted, target) wherever the entries of a conversion and a referrer miss their target.

    What looks wrong is read once more, locked against the workers: they may have posted between two of the reads.
    """
    after = 0
    while lead_ids := list(
        Conversion.objects.filter(lead_id__gt=after).order_by("lead_id").values_list("lead_id", flat=True)[:CHUNK]
    ):
        after = lead_ids[-1]
        suspects = {lead_id for lead_id, _, posted, target in _balances(lead_ids) if posted != target}
        if not suspects:
            continue
        with transaction.atomic():
            # Whoever posts to a conversion holds its referrer.
            lock_referrers([], Conversion.objects.filter(lead_id__in=suspects).values_list("referrer_id", flat=True))
            wrong = [row for row in _balances(sorted(suspects)) if row[2] != row[3]]
        codes = Referrer.objects.in_bulk({referrer for _, referrer, _, _ in wrong})
        for lead_id, referrer, posted, target in wrong:
            yield lead_id, codes[referrer].code, posted, target


def _balances(lead_ids: list[int]) -> list[tuple[int, int, Decimal, Decimal]]:
    conversions = select_conversions(lead_ids)
    return select_balances(conversions, select_plans(), select_judgements(conversions))
