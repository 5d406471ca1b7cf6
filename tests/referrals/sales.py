"""Random sales around the end of a month, for the tests of what pages and files make of them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from onai_project.periods import today
from referrals.models import Referrer
from referrals.payouts import batches
from referrals.payouts.models import Payout
from tests.onai_project.rows import make_conversion, make_user

MOMENTS = st.one_of(
    st.datetimes(datetime(2025, 11, 28), datetime(2025, 12, 3), timezones=st.just(UTC)),
    # Midnight in Almaty, a second before it and after it.
    st.sampled_from([datetime(2025, 11, 30, 18, 59, 59, tzinfo=UTC), datetime(2025, 11, 30, 19, tzinfo=UTC)]),
)
SALES = st.lists(
    st.tuples(
        st.sampled_from(["ref_a", "ref_b"]),
        MOMENTS,
        st.sampled_from([None, 10_000, 33_330, 990_000]),
        st.sampled_from(["won", "reversed"]),
        st.sampled_from(["", "unclaimed", "self_referral"]),
        st.booleans(),  # paid
    ),
    max_size=8,
)


def sell(rows: list[tuple[Any, ...]]) -> None:
    """Make these conversions, and the payouts of those that are paid."""
    manager = make_user("cashier")
    for number, (code, when, amount, state, hold, paid) in enumerate(rows):
        referrer, _ = Referrer.objects.get_or_create(code=code, defaults={"claimed": True})
        conversion = make_conversion(
            number, referrer, when=when, sale_amount=amount and Decimal(amount), state=state, hold_reason=hold
        )
        if paid and (entry := conversion.earnings.first()):
            batch = batches.batch_create(cutoff=today(), minimum=Decimal(1), by=manager)
            payout = Payout.objects.create(
                batch=batch, referrer=referrer, amount=entry.amount, recipient="x", account="x"
            )
            payout.items.create(earning=entry, amount=entry.amount)
            batches.payouts_mark_paid(payouts=[payout.pk], paid_on=today(), by=manager)
