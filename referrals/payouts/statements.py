"""What a payout consists of, sale by sale: for the referrer and for the file. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from onai_project.periods import zone
from onai_project.stored_reasons import reason_text
from referrals.cabinet.selectors import masked
from referrals.commissions import NOTHING
from referrals.payouts.models import Payout

_OF_SALE = ("lead_id", "sale_date", "lead_name", "sale_amount", "referrer_id")


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One ledger entry in a payout, with the sale it is about; the customer masked."""

    number: str
    day: str
    customer: str
    sale_amount: Decimal | None
    why: str
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


def select_statement(payout: Payout, *, lines: int | None = None) -> Statement:
    """Return the statement of a payout by the day of the sale, texts in the reader's language; its first `lines`."""
    items = (
        payout.items.order_by("earning__conversion__sale_date", "earning_id").values_list(
            *(f"earning__conversion__{name}" for name in _OF_SALE), "earning__reason", "amount"
        )
    )[:lines]
    # A referrer of thousands of sales has a dozen different reasons.
    why = cache(reason_text)
    return Statement(
        payout,
        [
            StatementLine(
                number=str(lead_id),
                day=at.astimezone(zone()).strftime("%d.%m.%Y"),
                customer=masked(name),
                # Of a deal that went to somebody else the amount is not theirs to see.
                sale_amount=sale_amount if referrer_id == payout.referrer_id else None,
                why=why(reason),
                amount=amount,
            )
            for lead_id, at, name, sale_amount, referrer_id, reason, amount in items
        ],
    )
