"""What each (conversion, referrer) of the ledger has and should have. Reads everything, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from django.db import connection

from referrals.commissions import NOTHING, commission
from referrals.ledger import select_plans

CHUNK = 5000

_POSTED = """
SELECT conversion.lead_id, referrer.code, referrer.id = conversion.referrer_id AND conversion.state = 'won',
       conversion.sale_amount, conversion.plan_id, coalesce(sum(earning.amount), 0)
FROM referral_conversions AS conversion
LEFT JOIN referral_earnings AS earning ON earning.conversion_id = conversion.id
JOIN referrers AS referrer ON referrer.id = coalesce(earning.referrer_id, conversion.referrer_id)
GROUP BY conversion.id, referrer.id ORDER BY conversion.lead_id, referrer.code
"""


def wrong_balances() -> Iterator[tuple[int, str, Decimal, Decimal]]:
    """Yield (lead_id, code, posted, target) wherever the entries of a conversion and a referrer miss their target."""
    plans = {plan.id: plan for plan in select_plans()}
    with connection.cursor() as cursor:
        cursor.execute(_POSTED)
        while rows := cursor.fetchmany(CHUNK):
            for lead_id, code, earns, amount, plan, posted in rows:
                target = commission(amount, plans.get(plan)) if earns else NOTHING
                if posted != target:
                    yield lead_id, code, posted, target
