"""What the Traffic Dashboard says, as plain values: a few queries, whatever the number of sales."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.utils.translation import gettext as _

from onai_project.periods import Period, previous_period, today
from traffic.day_totals import COLUMNS, FRESH, LINE_COLUMNS, OF_DAYS, clean_days, spans, whole_months
from traffic.day_totals import LACKING as _LACKING
from traffic.figures import Figures, Totals
from traffic.filters import DIMENSIONS, NO_FILTERS, REFERRAL, UNKNOWN, Filters, condition, visible_slugs
from traffic.filters import notifications_visible_to as notifications_visible_to
from traffic.filters import sales_visible_to as sales_visible_to
from traffic.models import Sale, Targetologist
from traffic.spend.entries import Spend, spend_of

# A few screens of a phone; the list of sales has the rest.
LATEST = 20
# What waits for a person is short, or it is not the dashboard's matter.
LACKING = 10

_TOTALS = "sum(sales), sum(sales) - sum(priced), sum(lacking), coalesce(sum(known), 0)"
# Won and taken back, by line and by value of the breakdown, then by day. Whole months are read as such; by day and by
# line alone the days are rolled up. What is not built is added up from the sales.
_SUMS = """
WITH fresh AS MATERIALIZED ({fresh}),
parts AS (
    SELECT {columns}, sales, priced, lacking, known FROM sale_month_totals WHERE month = ANY(%(months)s::date[])
    UNION ALL SELECT {columns}, sales, priced, lacking, known FROM sale_day_totals WHERE day = ANY(%(other)s::date[])
    UNION ALL SELECT {columns}, sales, priced, lacking, known FROM fresh
),
days AS (
    SELECT day, {by_day}, sales, priced, lacking, known FROM {day_totals} WHERE day = ANY(%(built)s::date[])
    UNION ALL SELECT day, {by_day}, sales, priced, lacking, known FROM fresh
)
SELECT GROUPING(line, {dimension}), state, line, {dimension}, NULL::date, {totals}
FROM (
    SELECT *, CASE WHEN channel = 'referral' THEN 'referral' ELSE coalesce(targetologist, 'unknown') END AS line
    FROM parts WHERE {condition}
) AS lined
GROUP BY GROUPING SETS ((state, line), (state, {dimension}))
UNION ALL
SELECT {of_day}, state, NULL, NULL, day, {totals} FROM days WHERE {condition} GROUP BY state, day
"""
_OF_LINE, _OF_VALUE, _OF_DAY = 0b01, 0b10, 0b11
_IDS = """
SELECT id FROM {of_days}
WHERE state = %(state)s AND {condition}
ORDER BY sale_date DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s
"""


@dataclass(frozen=True, slots=True)
class Sums:
    """The sales of one period: won ones by line, by day and by what the breakdown is by; what was taken back by day."""

    by_line: dict[str, Totals]
    by_day: dict[date, Totals]
    by_value: dict[str, Totals]
    reversed_by_day: dict[date, Totals]

    @property
    def totals(self) -> Totals:
        """All won sales."""
        return sum(self.by_line.values(), Totals())

    @property
    def reversed(self) -> Totals:
        """All that was taken back."""
        return sum(self.reversed_by_day.values(), Totals())


@dataclass(frozen=True, slots=True)
class Line:
    """The sales of one targetologist, or of nobody ("unknown"), or of the referrers ("referral")."""

    key: str
    name: str
    totals: Totals
    before: Totals
    spend: Decimal | None

    @property
    def figures(self) -> Figures:
        """Its sales beside its spend."""
        return Figures(self.totals, self.spend)


@dataclass(frozen=True, slots=True)
class Day:
    """The sales of one business day."""

    day: date
    totals: Totals
    spend: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The sales of one campaign, source, medium or funnel; `value` "" is what lacks it."""

    value: str
    totals: Totals
    before: Totals
    spend: Decimal | None

    @property
    def figures(self) -> Figures:
        """Its sales beside its spend."""
        return Figures(self.totals, self.spend)


@dataclass(frozen=True, slots=True)
class TrafficDashboard:
    """Everything on the page. `lines`, `days` and `parts` each add up to `totals`; what was taken back is apart.

    `before` is the previous period's; `undivided` is the spend that was entered of no campaign.
    """

    period: Period
    filters: Filters
    by: str
    totals: Totals
    spend: Decimal | None
    reversed: Totals
    lines: list[Line]
    days: list[Day]
    parts: list[Part]
    latest: list[Sale]
    lacking: list[Sale]
    undivided: Decimal | None
    compared: Period
    before: Figures
    days_before: list[Day]
    reversed_before: Totals

    @property
    def figures(self) -> Figures:
        """All sales beside all spend."""
        return Figures(self.totals, self.spend)

    @property
    def without_spend(self) -> list[str]:
        """The targetologists who sold while nothing was entered of what their ads cost, where anything was."""
        if self.spend is None:
            return []
        return [
            line.name
            for line in self.lines
            if line.key not in (UNKNOWN, REFERRAL) and line.totals.sales and line.spend is None
        ]


def traffic_dashboard(
    period: Period,
    user: User | AnonymousUser,
    filters: Filters = NO_FILTERS,
    *,
    by: str = "campaign",
    now: date | None = None,
) -> TrafficDashboard:
    """Return the dashboard of a period as this user may see it; `by` is a key of DIMENSIONS, `now` the day it is."""
    compared = previous_period(period, now or today())
    sums, before = sales_sums(period, user, filters, by=by), sales_sums(compared, user, filters, by=by)
    spend, spend_before = spend_of(period, user, filters), spend_of(compared, user, filters)
    by_campaign = spend.by_campaign if by == "campaign" else {}
    values = sums.by_value.keys() | {campaign for campaign in by_campaign if campaign}
    return TrafficDashboard(
        period=period,
        filters=filters,
        by=by,
        totals=sums.totals,
        spend=spend.total,
        reversed=sums.reversed,
        lines=_lines(sums, before, spend, user, filters),
        days=[Day(day, sums.by_day.get(day, Totals()), spend.by_day.get(day)) for day in period.days],
        parts=[
            Part(
                value,
                sums.by_value.get(value, Totals()),
                before.by_value.get(value, Totals()),
                by_campaign.get(value) if value else None,
            )
            for value in sorted(values)
        ],
        latest=find_sales(sums.by_day, user, filters, limit=LATEST),
        lacking=find_sales(sums.by_day, user, filters, kind="lacking", limit=LACKING) if sums.totals.lacking else [],
        undivided=by_campaign.get(""),
        compared=compared,
        before=Figures(before.totals, spend_before.total),
        days_before=[Day(day, before.by_day.get(day, Totals()), spend_before.by_day.get(day)) for day in compared.days],
        reversed_before=before.reversed,
    )


def sales_sums(
    period: Period, user: User | AnonymousUser, filters: Filters = NO_FILTERS, *, by: str = "campaign"
) -> Sums:
    """Return the sums of a period in one query: built days from their sums, the others from the sales."""
    clean = clean_days(period.first, period.last)
    months = whole_months(clean)
    where, values = condition(filters, visible_slugs(user))
    query = _SUMS.format(
        fresh=FRESH, columns=COLUMNS, dimension=DIMENSIONS[by], condition=where, totals=_TOTALS, of_day=_OF_DAY,
        **({"day_totals": "sale_line_totals", "by_day": LINE_COLUMNS} if filters.of_line_alone else
           {"day_totals": "sale_day_totals", "by_day": COLUMNS}),
    )  # fmt: skip
    days = {
        **spans([day for day in period.days if day not in clean]),
        "built": sorted(clean),
        "months": list(months),
        "other": sorted(clean.difference(*months.values())),
    }
    sums = Sums({}, {}, {}, {})
    with connection.cursor() as cursor:
        cursor.execute(query, {**values, **days})
        for kind, state, line, value, day, sales, without_amount, lacking, known in cursor.fetchall():
            totals = Totals(int(sales), Decimal(known), int(without_amount), int(lacking))
            if state == Sale.State.REVERSED:
                if kind == _OF_DAY:
                    sums.reversed_by_day[day] = totals
            elif kind == _OF_DAY:
                sums.by_day[day] = totals
            elif kind == _OF_LINE:
                sums.by_line[line] = totals
            else:
                sums.by_value[value] = totals
    return sums


def find_sales(
    by_day: dict[date, Totals],
    user: User | AnonymousUser,
    filters: Filters = NO_FILTERS,
    *,
    kind: str = "won",
    limit: int,
    offset: int = 0,
) -> list[Sale]:
    """Return the sales that these sums count, the latest first: `kind` won, reversed or lacking.

    `by_day` are the sums of that kind's state. They say on which days to look, so that the last page of a year takes
    no longer than the first.
    """
    days: list[date] = []
    left = limit
    for day in sorted(by_day, reverse=True):
        count = by_day[day].lacking if kind == "lacking" else by_day[day].sales
        if not days and offset >= count:
            offset -= count
            continue
        if count:
            days.append(day)
            left -= count - (offset if len(days) == 1 else 0)
        if left <= 0:
            break
    if not days:
        return []
    where, values = condition(filters, visible_slugs(user))
    if kind == "lacking":
        where += f" AND {_LACKING}"
    state = Sale.State.REVERSED if kind == "reversed" else Sale.State.WON
    more: dict[str, Any] = {**spans(days), "state": state, "limit": limit, "offset": offset}
    with connection.cursor() as cursor:
        cursor.execute(_IDS.format(of_days=OF_DAYS, condition=where), {**values, **more})
        ids = [row[0] for row in cursor.fetchall()]
    found = Sale.objects.select_related("targetologist").in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]


def _lines(sums: Sums, before: Sums, spend: Spend, user: User | AnonymousUser, filters: Filters) -> list[Line]:
    """Return the active targetologists in their order (others if they sold), then nobody, then referrals."""
    slugs = visible_slugs(user)
    people = Targetologist.objects.all()
    if slugs is not None:
        people = people.filter(slug__in=slugs)
    names = [(person.slug, str(person), person.active) for person in people]
    if slugs is None:
        names += [(UNKNOWN, str(Sale.Channel.UNKNOWN.label), True), (REFERRAL, _("Referral"), True)]
    # A colleague who neither sold nor spent is told of only where nobody asked for one of them.
    return [
        Line(key, name, sums.by_line.get(key, Totals()), before.by_line.get(key, Totals()), spend.by_line.get(key))
        for key, name, active in names
        if key in sums.by_line or key in spend.by_line or (active and filters.line in (None, key))
    ]
