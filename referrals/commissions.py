"""What a conversion earns. Pure: Decimal in, whole tenge out (law 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

TENGE = Decimal(1)
NOTHING = Decimal(0)

# What is posted, by the day from which it can be paid.
Dated = Mapping[datetime, Decimal]


@dataclass(frozen=True, slots=True)
class Plan:
    """A commission plan; valid from `valid_from` until the day before `valid_to` (None: without end)."""

    id: int
    name: str
    kind: str  # percent, fixed
    value: Decimal  # percent of the amount, or tenge
    valid_from: date
    valid_to: date | None


def plan_for(day: date, plans: Iterable[Plan]) -> Plan | None:
    """Return the plan that held on a business day; None when there was none. Plans do not overlap."""
    return next(
        (plan for plan in plans if plan.valid_from <= day and (plan.valid_to is None or day < plan.valid_to)), None
    )


def commission(amount: Decimal | None, plan: Plan | None) -> Decimal:
    """Return the commission in whole tenge, halves rounded up. An unknown amount, or no plan, earns nothing yet."""
    if amount is None or plan is None:
        return NOTHING
    earned = plan.value if plan.kind == "fixed" else amount * plan.value / 100
    return earned.quantize(TENGE, ROUND_HALF_UP)


def movements(posted: Dated, target: Decimal, available_at: datetime) -> list[tuple[datetime, Decimal]]:
    """Return what to post, (available at, amount), so that the sum of `posted` becomes `target`.

    What is added can be paid from `available_at` on. What is taken back has the date of what it takes back, the latest
    first: so no date's sum falls below nothing while another's can be paid out.
    """
    missing = target - sum(posted.values(), NOTHING)
    if missing > 0:
        return [(available_at, missing)]
    result = []
    for date_, amount in sorted(posted.items(), reverse=True):
        if missing < 0 < amount:
            part = max(missing, -amount)
            result.append((date_, part))
            missing -= part
    # More than ever was there, by a person's correction.
    return [*result, (available_at, missing)] if missing else result
