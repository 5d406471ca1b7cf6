"""What a payout consists of, sale by sale: for the referrer and for the file. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from referrals.cabinet.selectors import masked
from referrals.commissions import NOTHING
from referrals.payouts.models import Payout


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One ledger entry in a payout, with the sale it is about; the customer masked."""

    number: int
    day: datetime
    customer: str
    sale_amount: Decimal | None
    reason: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Statement:
    """A payout with its lines; their sum is the payout's, frozen when it was confirmed."""

    payout: Payout
    lines: list[StatementLine]

    @property
    def accrued(self) -> Decimal:
        """What was earned."""
        return sum((line.amount for line in self.lines if line.amount > 0), NOTHING)

    @property
    def deducted(self) -> Decimal:
        """What was taken back, at most nothing."""
        return sum((line.amount for line in self.lines if line.amount < 0), NOTHING)


def select_statement(payout: Payout) -> Statement:
    """Return the statement of a payout, by the day of the sale."""
    items = payout.items.select_related("earning__conversion").order_by("earning__conversion__sale_date", "earning_id")
    return Statement(
        payout,
        [
            StatementLine(
                number=item.earning.conversion.lead_id,
                day=item.earning.conversion.sale_date,
                customer=masked(item.earning.conversion.lead_name),
                # Of a deal that went to somebody else the amount is not theirs to see.
                sale_amount=item.earning.conversion.sale_amount
                if item.earning.conversion.referrer_id == payout.referrer_id
                else None,
                reason=item.earning.reason,
                amount=item.amount,
            )
            for item in items
        ],
    )
