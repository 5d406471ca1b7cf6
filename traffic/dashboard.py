"""What the Traffic Dashboard says, as plain values: a few queries, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils.translation import gettext as _

from onai_project.periods import Period, zone
from traffic.models import Sale, SalesNotification, Targetologist

# A few screens of a phone; the list of sales has the rest.
LATEST = 20


def sales_visible_to(user: User | AnonymousUser) -> QuerySet[Sale]:
    """Return the sales that somebody may see: all with `traffic.view_all_sales`, else a targetologist's own."""
    return _own(Sale.objects.all(), user)


def notifications_visible_to(user: User | AnonymousUser) -> QuerySet[SalesNotification]:
    """Return the messages about the sales that somebody may see."""
    return _own(SalesNotification.objects.all(), user)


def _own(rows: QuerySet[Any], user: User | AnonymousUser) -> QuerySet[Any]:
    if user.has_perm("traffic.view_all_sales"):
        return rows
    return rows.filter(targetologist__user=user) if isinstance(user, User) else rows.none()


@dataclass(frozen=True, slots=True)
class Totals:
    """Sales, their known revenue in tenge, and how many of them lack an amount."""

    sales: int = 0
    known: Decimal = Decimal(0)
    without_amount: int = 0

    @property
    def revenue(self) -> Decimal | None:
        """The sum of the known amounts; None (shown "—") where there are sales and no amount is known."""
        return None if self.sales and self.sales == self.without_amount else self.known

    @property
    def average(self) -> Decimal | None:
        """Revenue by sale with a known amount, whole tenge; None where there is none."""
        priced = self.sales - self.without_amount
        return (self.known / priced).quantize(Decimal(1), ROUND_HALF_UP) if priced else None

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.sales + other.sales, self.known + other.known, self.without_amount + other.without_amount)


@dataclass(frozen=True, slots=True)
class Line:
    """The sales of one targetologist, or of nobody ("unknown"), or of the referrers ("referral")."""

    key: str
    name: str
    totals: Totals


@dataclass(frozen=True, slots=True)
class Day:
    """The sales of one business day."""

    day: date
    totals: Totals


@dataclass(frozen=True, slots=True)
class TrafficDashboard:
    """Everything on the page. `lines` and `days` each add up to `totals`; what was taken back is in `reversed`."""

    period: Period
    totals: Totals
    reversed: Totals
    lines: list[Line]
    days: list[Day]
    latest: list[Sale]


def traffic_dashboard(period: Period, user: User | AnonymousUser) -> TrafficDashboard:
    """Return the dashboard of a period as this user may see it."""
    sales = sales_visible_to(user).filter(sale_date__gte=period.start, sale_date__lt=period.end)
    won = sales.filter(state=Sale.State.WON)

    groups: dict[str, Totals] = {}
    taken_back = Totals()
    for row in _summed(sales.values("state", "channel", "targetologist_id")):
        if row["state"] == Sale.State.REVERSED:
            taken_back += _totals(row)
            continue
        key = "referral" if row["channel"] == Sale.Channel.REFERRAL else row["targetologist_id"] or "unknown"
        groups[key] = groups.get(key, Totals()) + _totals(row)

    by_day = {row["day"]: _totals(row) for row in _summed(won.values(day=TruncDate("sale_date", tzinfo=zone())))}
    return TrafficDashboard(
        period=period,
        totals=sum(groups.values(), Totals()),
        reversed=taken_back,
        lines=_lines(groups, user),
        days=[Day(day, by_day.get(day, Totals())) for day in period.days],
        latest=list(won.select_related("targetologist").order_by("-sale_date", "-pk")[:LATEST]),
    )


def _lines(groups: dict[str, Totals], user: User | AnonymousUser) -> list[Line]:
    """Return the active targetologists in their order (others if they sold), then nobody, then referrals."""
    sees_all = user.has_perm("traffic.view_all_sales")
    people = Targetologist.objects.all()
    if not sees_all:
        people = people.filter(user=user) if isinstance(user, User) else people.none()
    lines = [
        Line(person.slug, str(person), groups.get(person.slug, Totals()))
        for person in people
        if person.active or person.slug in groups
    ]
    if sees_all:
        lines.append(Line("unknown", str(Sale.Channel.UNKNOWN.label), groups.get("unknown", Totals())))
        lines.append(Line("referral", _("Referral"), groups.get("referral", Totals())))
    return lines


def _summed(rows: Any) -> Iterable[dict[str, Any]]:
    summed: Iterable[dict[str, Any]] = rows.annotate(
        sales=Count("pk"), priced=Count("sale_amount"), known=Sum("sale_amount")
    ).order_by()
    return summed


def _totals(row: dict[str, Any]) -> Totals:
    return Totals(row["sales"], row["known"] or Decimal(0), row["sales"] - row["priced"])
