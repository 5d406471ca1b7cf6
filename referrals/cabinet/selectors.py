"""What a referrer sees, read from the ledger. Every function takes the referrer and answers of nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import connection
from django.db.models import F, Q, QuerySet, Sum
from django.utils import timezone

from onai_project.periods import day_start, today, zone
from referrals.commissions import NOTHING, Plan
from referrals.models import CommissionPlan, Conversion, Earning, Referrer
from referrals.parts import POSTED, SUMS
from referrals.payouts import preview as payout_preview
from referrals.payouts.models import Payout
from referrals.payouts.preview import Why
from referrals.plans import plan_of, select_plans
from referrals.status import Status, page_with_status, with_entry_status, with_status

# The chart: a year, this month included.
MONTHS = 12
_BALANCE = f"SELECT {SUMS} FROM ({POSTED} WHERE entry.referrer_id = %(referrer)s) AS posted"  # noqa: S608
# Months are counted from 1 by their first moments, which is quicker than to ask each row for its month in a time zone.
_MONTHS = """
SELECT month, sum(earned), sum(won)::int
FROM (
    SELECT width_bucket(sale_date, %(starts)s::timestamptz[]) AS month, 0 AS earned, count(*) AS won
    FROM referral_conversions
    WHERE referrer_id = %(referrer)s AND state = 'won' AND sale_date >= (%(starts)s::timestamptz[])[1]
    GROUP BY 1
    UNION ALL
    SELECT width_bucket(sale.sale_date, %(starts)s::timestamptz[]), sum(entry.amount), 0
    FROM referral_earnings AS entry JOIN referral_conversions AS sale ON sale.id = entry.conversion_id
    WHERE entry.referrer_id = %(referrer)s AND sale.sale_date >= (%(starts)s::timestamptz[])[1]
    GROUP BY 1
) AS sold GROUP BY month
"""


@dataclass(frozen=True, slots=True)
class Balance:
    """What a referrer earned, in whole tenge, by what stands between it and them. Each tenge is in one part."""

    hold: Decimal = NOTHING
    waiting: Decimal = NOTHING
    available: Decimal = NOTHING
    in_payout: Decimal = NOTHING
    failed: Decimal = NOTHING  # in payouts that the bank did not transfer, of which the last says …
    paid: Decimal = NOTHING
    failure: str = ""  # … why
    next_at: datetime | None = None  # when the first of what waits becomes available …
    next_amount: Decimal = NOTHING  # … and how much that is

    @property
    def owed(self) -> Decimal:
        """All that is not paid yet."""
        return self.hold + self.waiting + self.available + self.in_payout + self.failed


@dataclass(frozen=True, slots=True)
class Month:
    """A month's won conversions and what they earned, by the day of the sale."""

    first: date
    earned: Decimal = NOTHING
    conversions: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """The plan that holds today for the referrer, and the month so far."""

    plan: Plan | None
    won_in_month: int


@dataclass(frozen=True, slots=True)
class Sale:
    """One conversion as its referrer may see it: no name, no phone of the customer."""

    number: int
    initials: str
    day: datetime
    amount: Decimal | None
    commission: Decimal
    status: str  # referrals.status
    open_status: str  # … of what is in no payout
    hold: str
    available_at: datetime
    # The parts of the commission: in no payout (below nothing: to be deducted), paid, on its way, not transferred.
    open: Decimal = NOTHING
    paid: Decimal = NOTHING
    moving: Decimal = NOTHING
    failed: Decimal = NOTHING
    paid_in: int | None = None  # the last payout that brought some of it …
    paid_on: date | None = None  # … and when that was transferred
    moving_in: int | None = None
    failed_in: int | None = None
    failure: str = ""  # why the bank did not transfer that one
    deducted_in: int | None = None  # the last payout that is less by what was taken back
    rejected: str = ""  # why, by a manager
    plan: CommissionPlan | None = None
    entries: Sequence[Earning] = field(default_factory=list)


def select_balance(referrer: Referrer) -> Balance:
    """Return the parts of the referrer's balance."""
    entries = Earning.objects.filter(referrer=referrer)
    with connection.cursor() as cursor:
        cursor.execute(_BALANCE, {"now": timezone.now(), "referrer": referrer.pk})
        accrued, paid, in_payout, hold, waits = cursor.fetchone()
    refused = list(
        Payout.objects.filter(referrer=referrer, state=Payout.State.FAILED)
        .order_by("-pk")
        .values_list("amount", "reason")
    )
    failed = sum((amount for amount, _reason in refused), NOTHING)
    sums = {
        "hold": hold,
        "waiting": waits,
        "available": accrued - paid - in_payout - hold - waits,
        "in_payout": in_payout - failed,
        "failed": failed,
        "paid": paid,
    }
    next_at, next_amount = None, NOTHING
    waiting = (
        with_entry_status(entries, timezone.now(), only=Status.WAITING)
        .values(at=F("conversion__available_at"))
        .annotate(sum=Sum("amount"))
        .filter(sum__gt=0)
        .order_by("at")
    )
    for row in waiting:
        day = timezone.localdate(row["at"], zone())
        if next_at is not None and day != timezone.localdate(next_at, zone()):
            break
        next_at, next_amount = next_at or row["at"], next_amount + row["sum"]
    failure = refused[0][1] if refused else ""
    return Balance(**sums, failure=failure, next_at=next_at, next_amount=next_amount)


def select_why(referrer: Referrer) -> Why:
    """Return why a batch of today, with the minimum that batches have, would pass the referrer over; PAID: it won't."""
    return payout_preview.select_why(referrer, cutoff=today(), minimum=Decimal(settings.REFERRAL_PAYOUT_MINIMUM))


def select_sales(referrer: Referrer, *, status: str = "") -> list[int]:
    """Return the keys of the referrer's conversions, the latest first; of those of one status if it is given.

    A deal that is counted for somebody else now is still there if this referrer's ledger knows it.
    """
    mine = Earning.objects.filter(referrer=referrer)
    rows = Conversion.objects.filter(Q(referrer=referrer) | Q(pk__in=mine.values("conversion")))
    if status:
        rows = with_status(rows, timezone.now(), referrer, only=status)
    return list(rows.order_by("-sale_date", "-pk").values_list("pk", flat=True))


def sales_of(referrer: Referrer, pks: Sequence[int]) -> list[Sale]:
    """Return these, a page or all of `select_sales`, with the referrer's own ledger entries."""
    entries: dict[int, list[Earning]] = {}
    for entry in Earning.objects.filter(referrer=referrer, conversion__in=pks).order_by("seq"):
        entries.setdefault(entry.conversion_id, []).append(entry)
    return [
        Sale(
            number=row.lead_id,
            initials=masked(row.lead_name),
            day=row.sale_date,
            # Of a deal that went to somebody else only what this referrer's ledger says is theirs to see.
            amount=row.sale_amount if row.referrer_id == referrer.pk else None,
            commission=row.commission,
            status=row.status,
            open_status=row.open_status,
            hold=row.hold_reason,
            available_at=row.available_at,
            open=row.open,
            paid=row.paid,
            moving=row.moving,
            failed=row.failed,
            paid_in=row.paid_in,
            paid_on=row.paid_on,
            moving_in=row.moving_in,
            failed_in=row.failed_in,
            failure=row.failure or "",
            deducted_in=row.deducted_in,
            rejected=row.rejected if row.referrer_id == referrer.pk else "",
            plan=row.plan,
            entries=entries.get(row.pk, []),
        )
        for row in page_with_status(pks, timezone.now(), referrer)
    ]


def select_months(referrer: Referrer) -> list[Month]:
    """Return the last twelve months, the oldest first, those without a sale too."""
    firsts = [today().replace(day=1)]
    while len(firsts) < MONTHS:
        firsts.insert(0, (firsts[0] - timedelta(days=1)).replace(day=1))
    with connection.cursor() as cursor:
        cursor.execute(_MONTHS, {"referrer": referrer.pk, "starts": [day_start(first) for first in firsts]})
        found = {number: (earned, count) for number, earned, count in cursor.fetchall()}
    return [Month(first, *found.get(number, ())) for number, first in enumerate(firsts, 1)]


def select_terms(referrer: Referrer) -> Terms:
    """Return what a sale of today earns."""
    start = day_start(today().replace(day=1))
    won = Conversion.objects.filter(
        referrer=referrer, state=Conversion.State.WON, rejected="", sale_date__gte=start
    ).count()
    return Terms(plan_of(today(), referrer, referrer.group_id, select_plans()), won)


def select_payouts(referrer: Referrer) -> QuerySet[Payout]:
    """Return the referrer's payouts, the latest first; one that was made void never was, for them."""
    return Payout.objects.filter(referrer=referrer).exclude(state=Payout.State.VOID).order_by("-pk")


def masked(name: str) -> str:
    """Return a deal's name with all but the first letters of its first two words hidden; "" where there are none.

    Enough to recognise one's own acquaintance, nothing for anybody else; digits never stay.
    """
    words = [word.strip("«»\"'()[].,") for word in name.split()]
    letters = [word[0].upper() for word in words if word[:1].isalpha()]
    return " ".join(f"{letter}•••" for letter in letters[:2])
