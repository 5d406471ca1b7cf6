"""What the Referral Dashboard says, as plain values: a few queries, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from onai_project.periods import Period, previous_period, zone
from referrals.commissions import NOTHING
from referrals.models import Conversion, Earning, Referrer
from referrals.payouts.models import Payout, PayoutItem
from referrals.status import Status, conversion_status, entry_status, last_payout

# A few screens of a phone; the lists have the rest.
LATEST = 20
# These two wait for the referrer, not for a decision about a sale.
_NO_DECISION = [Conversion.Hold.NONE, Conversion.Hold.UNCLAIMED, Conversion.Hold.INACTIVE]


@dataclass(frozen=True, slots=True)
class Totals:
    """Conversions, their known sales sum in tenge, and how many of them lack an amount."""

    conversions: int = 0
    known: Decimal = NOTHING
    without_amount: int = 0

    @property
    def sales_sum(self) -> Decimal | None:
        """The sum of the known amounts; None (shown "—") where there are conversions and no amount is known."""
        return None if self.conversions and self.conversions == self.without_amount else self.known

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.conversions + other.conversions,
            self.known + other.known,
            self.without_amount + other.without_amount,
        )


@dataclass(frozen=True, slots=True)
class Commission:
    """Whole tenge of the ledger, by what stands between it and the referrer; each tenge is in one part.

    What was paid and then taken back is a debt: it lessens `available`, as the next payout will.
    """

    hold: Decimal = NOTHING
    waiting: Decimal = NOTHING
    available: Decimal = NOTHING
    in_payout: Decimal = NOTHING
    paid: Decimal = NOTHING

    @property
    def accrued(self) -> Decimal:
        """All of it."""
        return self.hold + self.waiting + self.available + self.in_payout + self.paid

    @property
    def owed(self) -> Decimal:
        """All that is not paid."""
        return self.accrued - self.paid

    def __add__(self, other: Commission) -> Commission:
        return Commission(
            self.hold + other.hold,
            self.waiting + other.waiting,
            self.available + other.available,
            self.in_payout + other.in_payout,
            self.paid + other.paid,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One referrer's conversions and commission in the period, and the conversions of the one before."""

    referrer: Referrer
    totals: Totals
    commission: Commission
    before: Totals


@dataclass(frozen=True, slots=True)
class Day:
    """The conversions of one business day, and what they earned."""

    day: date
    totals: Totals
    accrued: Decimal = NOTHING


@dataclass(frozen=True, slots=True)
class Before:
    """The same numbers of the period before."""

    period: Period
    totals: Totals
    accrued: Decimal
    days: list[Day]


@dataclass(frozen=True, slots=True)
class ReferralDashboard:
    """Everything on the page. `lines` and `days` add up to the totals; `liability`, `unclaimed` and `held` are of all
    time, for they wait for a person."""

    period: Period
    referrer: Referrer | None
    totals: Totals
    commission: Commission
    reversed: Totals
    lines: list[Line]
    days: list[Day]
    before: Before
    latest: list[Any]  # conversions with `status`
    liability: Commission
    unclaimed: list[Any]  # referrers with `balance` and `won_conversions`
    held: list[Conversion]
    held_count: int


def referral_dashboard(
    period: Period, now: datetime | None = None, referrer: Referrer | None = None
) -> ReferralDashboard:
    """Return the dashboard of a period, of one referrer if it is given. `now` decides what is available already."""
    now = now or timezone.now()
    compared = previous_period(period, timezone.localdate(now, zone()))
    conversions = conversions_of(period, referrer)
    won = conversions.filter(state=Conversion.State.WON)
    by_referrer: dict[int, Totals] = {}
    taken_back = Totals()
    for row in _summed(conversions.values("state", "referrer_id")):
        if row["state"] == Conversion.State.REVERSED:
            taken_back += _totals(row)
        else:
            by_referrer[row["referrer_id"]] = _totals(row)
    before = conversions_of(compared, referrer).filter(state=Conversion.State.WON)
    before_by_referrer = {row["referrer_id"]: _totals(row) for row in _summed(before.values("referrer_id"))}
    commissions = _commissions(period, referrer, now)
    before_days = _days(compared, referrer, before)
    held = _held()
    latest = won.select_related("referrer").annotate(
        status=conversion_status(now), payout_number=last_payout("pk"), paid_on=last_payout("paid_on")
    )
    return ReferralDashboard(
        period=period,
        referrer=referrer,
        totals=sum(by_referrer.values(), Totals()),
        commission=sum(commissions.values(), Commission()),
        reversed=taken_back,
        lines=_lines(by_referrer, before_by_referrer, commissions),
        days=_days(period, referrer, won),
        before=Before(
            compared,
            sum(before_by_referrer.values(), Totals()),
            sum((day.accrued for day in before_days), NOTHING),
            before_days,
        ),
        latest=list(latest.order_by("-sale_date", "-pk")[:LATEST]),
        liability=select_liability(now),
        unclaimed=_unclaimed(),
        held=list(held.select_related("referrer").order_by("-sale_date", "-pk")[:LATEST]),
        held_count=held.count(),
    )


def conversions_of(period: Period, referrer: Referrer | None = None) -> QuerySet[Conversion]:
    """Return the conversions of a period by the day of the sale, of one referrer if it is given."""
    conversions = Conversion.objects.filter(sale_date__gte=period.start, sale_date__lt=period.end)
    return conversions if referrer is None else conversions.filter(referrer=referrer)


def entries_of(period: Period, referrer: Referrer | None = None) -> QuerySet[Earning]:
    """Return the ledger entries of a period: an entry belongs to the day of its sale."""
    entries = Earning.objects.filter(conversion__sale_date__gte=period.start, conversion__sale_date__lt=period.end)
    return entries if referrer is None else entries.filter(referrer=referrer)


def select_liability(now: datetime) -> Commission:
    """Return what is owed to all referrers today, by what stands before it; `paid` is all that was ever paid."""
    unpaid = Earning.objects.exclude(
        pk__in=PayoutItem.objects.filter(live=True, payout__state=Payout.State.PAID).values("earning")
    )
    paid = Payout.objects.filter(state=Payout.State.PAID).aggregate(sum=Sum("amount"))["sum"]
    rows = unpaid.values(status=entry_status(now)).annotate(sum=Sum("amount")).order_by()
    return sum((_part(row) for row in rows), Commission(paid=paid or NOTHING))


def with_balance(referrers: QuerySet[Referrer]) -> QuerySet[Any]:
    """Annotate `balance` (sum of the ledger, tenge) and `won_conversions`."""
    balance = (
        Earning.objects.filter(referrer=OuterRef("pk"))
        .order_by()
        .values("referrer")
        .annotate(s=Sum("amount"))
        .values("s")
    )
    won = (
        Conversion.objects.filter(referrer=OuterRef("pk"), state=Conversion.State.WON)
        .order_by()
        .values("referrer")
        .annotate(n=Count("pk"))
        .values("n")
    )
    return referrers.annotate(
        balance=Coalesce(Subquery(balance), Value(Decimal(0))), won_conversions=Coalesce(Subquery(won), Value(0))
    )


def _held() -> QuerySet[Conversion]:
    """Return the conversions that a person has to release or reject."""
    return Conversion.objects.filter(state=Conversion.State.WON, rejected="").exclude(hold_reason__in=_NO_DECISION)


def _unclaimed() -> list[Any]:
    return list(with_balance(Referrer.objects.filter(claimed=False)).order_by("-balance", "code")[:LATEST])


def _lines(won: dict[int, Totals], before: dict[int, Totals], commissions: dict[int, Commission]) -> list[Line]:
    # A referrer whose only conversions were taken back has no line: their entries add up to nothing.
    shown = won.keys() | {key for key, commission in commissions.items() if commission.accrued or commission.owed}
    lines = [
        Line(
            referrer,
            won.get(referrer.pk, Totals()),
            commissions.get(referrer.pk, Commission()),
            before.get(referrer.pk, Totals()),
        )
        for referrer in Referrer.objects.filter(pk__in=shown)
    ]
    lines.sort(key=lambda line: (-line.commission.accrued, -line.totals.conversions, line.referrer.code))
    return lines


def _commissions(period: Period, referrer: Referrer | None, now: datetime) -> dict[int, Commission]:
    rows = (
        entries_of(period, referrer)
        .values("referrer_id", status=entry_status(now))
        .annotate(sum=Sum("amount"))
        .order_by()
    )
    sums: dict[int, Commission] = {}
    for row in rows:
        sums[row["referrer_id"]] = sums.get(row["referrer_id"], Commission()) + _part(row)
    return sums


def _part(row: Any) -> Commission:
    """Return a status's sum in its part; what is neither held nor waits is what the next payout counts."""
    own = (Status.HOLD, Status.WAITING, Status.IN_PAYOUT, Status.PAID)
    return Commission(**{row["status"] if row["status"] in own else "available": row["sum"]})


def _days(period: Period, referrer: Referrer | None, won: QuerySet[Conversion]) -> list[Day]:
    totals = {row["day"]: _totals(row) for row in _summed(won.values(day=TruncDate("sale_date", tzinfo=zone())))}
    accrued = {
        row["day"]: row["sum"]
        for row in entries_of(period, referrer)
        .values(day=TruncDate("conversion__sale_date", tzinfo=zone()))
        .annotate(sum=Sum("amount"))
        .order_by()
    }
    return [Day(day, totals.get(day, Totals()), accrued.get(day, NOTHING)) for day in period.days]


def _summed(rows: Any) -> Iterable[dict[str, Any]]:
    summed: Iterable[dict[str, Any]] = rows.annotate(
        count=Count("pk"), priced=Count("sale_amount"), known=Sum("sale_amount")
    ).order_by()
    return summed


def _totals(row: dict[str, Any]) -> Totals:
    return Totals(row["count"], row["known"] or NOTHING, row["count"] - row["priced"])
