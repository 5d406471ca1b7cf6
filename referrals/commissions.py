"""What a conversion earns. Pure: Decimal in, whole tenge out (law 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

TENGE = Decimal(1)
NOTHING = Decimal(0)
# From how many won conversions in the referrer's month each rate of a tiered plan applies: to every one of them.
TIERS = (1, 3, 5, 8)

# What is posted, by the day from which it can be paid.
Dated = Mapping[datetime, Decimal]


@dataclass(frozen=True, slots=True)
class Plan:
    """A version of a commission plan; valid from `valid_from` until the day before `valid_to` (None: without end)."""

    id: int
    name: str
    kind: str  # percent, fixed, percent_tiers, fixed_tiers
    value: Decimal | None  # percent of the amount, or tenge; None of a tiered plan
    valid_from: date
    valid_to: date | None
    rates: tuple[Decimal, ...] = ()  # of a tiered plan, one for each of TIERS
    cap: Decimal | None = None  # tenge for one sale
    first_sale_only: bool = False  # of a customer
    group: int | None = None  # for whom; neither: for everyone
    referrer: int | None = None

    @property
    def is_tiered(self) -> bool:
        """Return whether what a sale earns depends on the others of its month."""
        return self.kind.endswith("tiers")

    @property
    def is_percent(self) -> bool:
        """Return whether the rate is a percentage, else it is tenge."""
        return self.kind.startswith("percent")

    def rate(self, count: int) -> Decimal:
        """Return the rate, percent or tenge, where the referrer's month has `count` won conversions."""
        return self.rates[tier(count)] if self.value is None else self.value


def tier(count: int) -> int:
    """Return the index in TIERS that a number of won conversions reaches; the first one for none."""
    return max(sum(count >= start for start in TIERS) - 1, 0)


def plan_for(day: date, plans: Iterable[Plan], *, referrer: int | None = None, group: int | None = None) -> Plan | None:
    """Return the plan that held on a business day; None when there was none.

    The referrer's own plan comes before the group's, and that before everyone's. Plans of the same people do not
    overlap.
    """
    best: Plan | None = None
    for plan in plans:
        if not (plan.valid_from <= day and (plan.valid_to is None or day < plan.valid_to)):
            continue
        if plan.referrer is not None:
            if plan.referrer == referrer:
                return plan
        elif plan.group is None:
            best = best or plan
        elif plan.group == group:
            best = plan
    return best


def commission(amount: Decimal | None, plan: Plan | None, *, count: int = 1, refunded: Decimal = NOTHING) -> Decimal:
    """Return the commission in whole tenge, halves rounded up. An unknown amount, or no plan, earns nothing yet.

    `count` is the number of won conversions in the referrer's month; `refunded` is what the customer got back of the
    amount: all of it leaves nothing to earn, of a fixed sum either.
    """
    if amount is None or plan is None or (refunded and refunded >= amount):
        return NOTHING
    rate = plan.rate(count)
    earned = (amount - refunded) * rate / 100 if plan.is_percent else rate
    if plan.cap is not None:
        earned = min(earned, plan.cap)
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
