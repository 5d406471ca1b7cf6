"""What a conversion earns. Pure: Decimal in, whole tenge out (law 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

TENGE = Decimal(1)
NOTHING = Decimal(0)


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
