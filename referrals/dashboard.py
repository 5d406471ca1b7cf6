"""What the Referral Dashboard says, as plain values: a few queries, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Case, CharField, Count, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from onai_project.periods import Period, zone
from referrals.models import Conversion, Earning, Referrer

# A few screens of a phone; the lists have the rest.
LATEST = 20

PAYABLE = "payable"


@dataclass(frozen=True, slots=True)
class Totals:
    """Conversions, their known sales sum in tenge, and how many of them lack an amount."""

    conversions: int = 0
    known: Decimal = Decimal(0)
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
    """Whole tenge of the ledger: what can be paid now, and what waits and why."""

    payable: Decimal = Decimal(0)
    unclaimed: Decimal = Decimal(0)
    inactive: Decimal = Decimal(0)
    waiting: Decimal = Decimal(0)

    @property
    def accrued(self) -> Decimal:
        """All of it."""
        return self.payable + self.on_hold

    @property
    def on_hold(self) -> Decimal:
        """What cannot be paid now, for whatever reason."""
        return self.unclaimed + self.inactive + self.waiting

    def __add__(self, other: Commission) -> Commission:
        return Commission(
            self.payable + other.payable,
            self.unclaimed + other.unclaimed,
            self.inactive + other.inactive,
            self.waiting + other.waiting,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One referrer's conversions and commission in the period."""

    referrer: Referrer
    totals: Totals
    commission: Commission


@dataclass(frozen=True, slots=True)
class Day:
    """The conversions of one business day."""

    day: date
    totals: Totals


@dataclass(frozen=True, slots=True)
class ReferralDashboard:
    """Everything on the page. Sums of `lines` are the totals; `unclaimed` is of all time, for it waits for a person."""

    period: Period
    totals: Totals
    commission: Commission
    reversed: Totals
    lines: list[Line]
    days: list[Day]
    latest: list[Conversion]
    unclaimed: list[Any]  # referrers with `balance` and `won_conversions`


def referral_dashboard(period: Period, now: datetime | None = None) -> ReferralDashboard:
    """Return the dashboard of a period. `now` decides what is payable already."""
    in_period = Q(sale_date__gte=period.start, sale_date__lt=period.end)
    conversions = Conversion.objects.filter(in_period)
    won = conversions.filter(state=Conversion.State.WON)

    by_referrer: dict[int, Totals] = {}
    taken_back = Totals()
    for row in _summed(conversions.values("state", "referrer_id")):
        if row["state"] == Conversion.State.REVERSED:
            taken_back += _totals(row)
        else:
            by_referrer[row["referrer_id"]] = _totals(row)
    commissions = _commissions(period, now or timezone.now())
    by_day = {row["day"]: _totals(row) for row in _summed(won.values(day=TruncDate("sale_date", tzinfo=zone())))}

    # A referrer whose only conversions were taken back has no line: their entries add up to nothing.
    shown = by_referrer.keys() | {key for key, commission in commissions.items() if commission.accrued}
    lines = [
        Line(referrer, by_referrer.get(referrer.pk, Totals()), commissions.get(referrer.pk, Commission()))
        for referrer in Referrer.objects.filter(pk__in=shown)
    ]
    lines.sort(key=lambda line: (-line.commission.accrued, -line.totals.conversions, line.referrer.code))
    return ReferralDashboard(
        period=period,
        totals=sum(by_referrer.values(), Totals()),
        commission=sum(commissions.values(), Commission()),
        reversed=taken_back,
        lines=lines,
        days=[Day(day, by_day.get(day, Totals())) for day in period.days],
        latest=list(won.select_related("referrer").order_by("-sale_date", "-pk")[:LATEST]),
        unclaimed=list(with_balance(Referrer.objects.filter(claimed=False)).order_by("-balance", "code")[:LATEST]),
    )


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


def _commissions(period: Period, now: datetime) -> dict[int, Commission]:
    """Return the ledger's sums of the period's conversions by referrer; the entries belong to the day of the sale."""
    hold = Case(
        When(referrer__claimed=False, then=Value("unclaimed")),
        When(referrer__active=False, then=Value("inactive")),
        When(conversion__available_at__gt=now, then=Value("waiting")),
        default=Value(PAYABLE),
        output_field=CharField(),
    )
    rows = (
        Earning.objects.filter(conversion__sale_date__gte=period.start, conversion__sale_date__lt=period.end)
        .values("referrer_id", hold=hold)
        .annotate(sum=Sum("amount"))
        .order_by()
    )
    sums: dict[int, Commission] = {}
    for row in rows:
        part = Commission(**{row["hold"]: row["sum"]})
        sums[row["referrer_id"]] = sums.get(row["referrer_id"], Commission()) + part
    return sums


def _summed(rows: Any) -> Iterable[dict[str, Any]]:
    summed: Iterable[dict[str, Any]] = rows.annotate(
        count=Count("pk"), priced=Count("sale_amount"), known=Sum("sale_amount")
    ).order_by()
    return summed


def _totals(row: dict[str, Any]) -> Totals:
    return Totals(row["count"], row["known"] or Decimal(0), row["count"] - row["priced"])
