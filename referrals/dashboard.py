"""What the Referral Dashboard says, as plain values: a few queries, whatever the number of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from onai_project.periods import Period, day_start, previous_period, zone
from referrals.commissions import NOTHING
from referrals.models import UNDECIDED, Conversion, Earning, Referrer
from referrals.parts import POSTED, SUMS
from referrals.payouts.models import Payout
from referrals.status import page_with_status

# A few screens of a phone; the lists have the rest.
LATEST = 20

# A year of sales is grouped in memory; with PostgreSQL's default it would be sorted on disk.
_ROOM = "SET LOCAL work_mem = '32MB'"
# Days are counted from 1 by their midnights: a time zone asked for each row would take longer than all the rest.
_CONVERSIONS = """
SELECT GROUPING(referrer_id), state, referrer_id, day, count(*), count(sale_amount), sum(sale_amount)
FROM (
    SELECT state, referrer_id, sale_amount, width_bucket(sale_date, %(midnights)s::timestamptz[]) AS day
    FROM referral_conversions
    WHERE sale_date >= %(start)s AND sale_date < %(end)s AND coalesce(referrer_id = %(referrer)s::bigint, true)
) AS sold
GROUP BY GROUPING SETS ((state, referrer_id), (state, day))
HAVING GROUPING(referrer_id) = 0 OR state = 'won'
"""
# In two parts, hashed each; grouped by both at once, a year of entries would be sorted.
_OF_PERIOD = """
WHERE sale.sale_date >= %(start)s AND sale.sale_date < %(end)s
  AND coalesce(entry.referrer_id = %(referrer)s::bigint, true)
"""
_ACCRUED = f"""
SELECT 1, NULL::bigint, day, sum(amount), 0, 0, 0, 0
FROM (
    SELECT entry.amount, width_bucket(sale.sale_date, %(midnights)s::timestamptz[]) AS day
    FROM referral_conversions AS sale JOIN referral_earnings AS entry ON entry.conversion_id = sale.id
    {_OF_PERIOD}
) AS dated
GROUP BY day
"""  # noqa: S608
_ENTRIES = f"""
SELECT 0, referrer_id, NULL::int, {SUMS} FROM ({POSTED} {_OF_PERIOD}) AS posted GROUP BY referrer_id
UNION ALL {_ACCRUED}
"""  # noqa: S608


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
class Liability:
    """What is owed to all referrers, how much of it is in payouts already, and all that was ever paid."""

    owed: Decimal = NOTHING
    in_payout: Decimal = NOTHING
    paid: Decimal = NOTHING


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
class _Sums:
    """One period: won conversions and commission by referrer and by day, and what was taken back.

    `commissions` is empty where nobody asked what stands between them and the referrers.
    """

    by_referrer: dict[int, Totals]
    by_day: dict[date, Totals]
    commissions: dict[int, Commission]
    accrued_by_day: dict[date, Decimal]
    reversed: Totals

    def days(self, period: Period) -> list[Day]:
        """Return every day of the period."""
        return [Day(day, self.by_day.get(day, Totals()), self.accrued_by_day.get(day, NOTHING)) for day in period.days]


@dataclass(frozen=True, slots=True)
class ReferralDashboard:
    """Everything on the page. `lines` and `days` add up to the totals; `liability`, `unclaimed` and `held` are of all
    time, for they wait for a person: who waits longest first, and the codes by what is at stake."""

    period: Period
    referrer: Referrer | None
    totals: Totals
    commission: Commission
    reversed: Totals
    lines: list[Line]
    days: list[Day]
    before: Before
    latest: list[Any]  # conversions with `status`
    liability: Liability
    held: list[Conversion]
    held_count: int
    unclaimed: list[Any]  # referrers with `balance` and `won_conversions`
    unclaimed_count: int


def referral_dashboard(
    period: Period, now: datetime | None = None, referrer: Referrer | None = None, *, waiting: int | None = LATEST
) -> ReferralDashboard:
    """Return the dashboard of a period, of one referrer if it is given. `now` decides what is available already.

    Of `held` and `unclaimed` it has the first `waiting`; None: all, for files.
    """
    now = now or timezone.now()
    compared = previous_period(period, timezone.localdate(now, zone()))
    conversions = conversions_of(period, referrer)
    won = conversions.filter(state=Conversion.State.WON)
    sums, before = _sums(period, referrer, now), _sums(compared, referrer)
    held, unclaimed = _held(), Referrer.objects.filter(claimed=False)
    latest = list(won.order_by("-sale_date", "-pk").values_list("pk", flat=True)[:LATEST])
    return ReferralDashboard(
        period=period,
        referrer=referrer,
        totals=sum(sums.by_referrer.values(), Totals()),
        commission=sum(sums.commissions.values(), Commission()),
        reversed=sums.reversed,
        lines=_lines(sums, before),
        days=sums.days(period),
        before=Before(
            compared,
            sum(before.by_referrer.values(), Totals()),
            sum(before.accrued_by_day.values(), NOTHING),
            before.days(compared),
        ),
        latest=page_with_status(latest, now),
        liability=select_liability(),
        held=list(held.select_related("referrer").order_by("sale_date", "pk")[:waiting]),
        held_count=held.count(),
        unclaimed=list(with_balance(unclaimed).order_by("-balance", "code")[:waiting]),
        unclaimed_count=unclaimed.count(),
    )


def conversions_of(period: Period, referrer: Referrer | None = None) -> QuerySet[Conversion]:
    """Return the conversions of a period by the day of the sale, of one referrer if it is given."""
    conversions = Conversion.objects.filter(sale_date__gte=period.start, sale_date__lt=period.end)
    return conversions if referrer is None else conversions.filter(referrer=referrer)


def entries_of(period: Period, referrer: Referrer | None = None) -> QuerySet[Earning]:
    """Return the ledger entries of a period: an entry belongs to the day of its sale."""
    entries = Earning.objects.filter(conversion__sale_date__gte=period.start, conversion__sale_date__lt=period.end)
    return entries if referrer is None else entries.filter(referrer=referrer)


def select_liability() -> Liability:
    """Return what is owed to all referrers today: all that was ever posted, less what was paid."""
    rows = Payout.objects.values("state").annotate(sum=Sum("amount")).order_by()
    payouts = {row["state"]: row["sum"] for row in rows}
    paid = payouts.get(Payout.State.PAID, NOTHING)
    in_payout = payouts.get(Payout.State.CONFIRMED, NOTHING) + payouts.get(Payout.State.FAILED, NOTHING)
    accrued = Earning.objects.aggregate(sum=Sum("amount"))["sum"] or NOTHING
    return Liability(accrued - paid, in_payout, paid)


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
    return Conversion.objects.filter(UNDECIDED)


def _lines(sums: _Sums, before: _Sums) -> list[Line]:
    won, commissions = sums.by_referrer, sums.commissions
    # A referrer whose only conversions were taken back has no line: their entries add up to nothing.
    shown = won.keys() | {key for key, commission in commissions.items() if commission.accrued or commission.owed}
    lines = [
        Line(
            referrer,
            won.get(referrer.pk, Totals()),
            commissions.get(referrer.pk, Commission()),
            before.by_referrer.get(referrer.pk, Totals()),
        )
        for referrer in Referrer.objects.filter(pk__in=shown)
    ]
    lines.sort(key=lambda line: (-line.commission.accrued, -line.totals.conversions, line.referrer.code))
    return lines


def _sums(period: Period, referrer: Referrer | None, now: datetime | None = None) -> _Sums:
    """Read a period in two queries, its conversions and its entries, each by referrer and by day at once.

    Without `now`, what the entries add up to by day alone.
    """
    values: dict[str, Any] = {
        "start": period.start,
        "end": period.end,
        "midnights": [day_start(day) for day in period.days],
        "now": now,
        "referrer": None if referrer is None else referrer.pk,
    }
    sums = _Sums({}, {}, {}, {}, Totals())
    days = dict(enumerate(period.days, 1))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ROOM)
        cursor.execute(_CONVERSIONS, values)
        for of_day, state, key, day, count, priced, known in cursor.fetchall():
            totals = Totals(count, known or NOTHING, count - priced)
            if of_day:
                sums.by_day[days[day]] = totals
            elif state == Conversion.State.REVERSED:
                sums = replace(sums, reversed=sums.reversed + totals)
            else:
                sums.by_referrer[key] = totals
        cursor.execute(_ACCRUED if now is None else _ENTRIES, values)
        for of_day, key, day, accrued, paid, in_payout, hold, waiting in cursor.fetchall():
            if of_day:
                sums.accrued_by_day[days[day]] = accrued
            else:
                available = accrued - paid - in_payout - hold - waiting
                sums.commissions[key] = Commission(hold, waiting, available, in_payout, paid)
    return sums
