"""Sums of sales by business day: a year of a million sales is added up in milliseconds. How they stay right:

Triggers note the day (UTC) of every change of `all_sales_tracking`, in the transaction that makes it. A business day
is read from the sums only when it was built in today's TIME_ZONE and no change is noted on its UTC day or the two
beside it; every other day is added up from the sales themselves. So the figures are those of the sales at any moment,
whether the job that builds days runs or not; it only makes them fast. Triggers of the sums in turn keep them rolled up
by month, and by whose they are: a month may be read instead of its days where each of these may be read.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from onai_project.periods import day_start

# Days that one transaction builds: some thousands of sales each.
BATCH = 31

LACKING = "(sale_amount IS NULL OR (utm_campaign = '' AND utm_source = ''))"
LINE_COLUMNS = "state, channel, targetologist"
COLUMNS = f"{LINE_COLUMNS}, utm_campaign, utm_source, utm_medium, funnel_type"
# The sales of some days. OFFSET 0 keeps the planner to one short scan of the index a day.
OF_DAYS = """
unnest(%(days)s::date[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS d (day, start, "end")
CROSS JOIN LATERAL (
    SELECT * FROM all_sales_tracking WHERE sale_date >= d.start AND sale_date < d."end" OFFSET 0
) AS sale
"""
# The same, summed as `sale_day_totals` has them.
FRESH = f"""
SELECT d.day, {COLUMNS}, count(*) AS sales, count(sale_amount) AS priced, count(*) FILTER (WHERE {LACKING}) AS lacking,
       coalesce(sum(sale_amount), 0) AS known
FROM {OF_DAYS} GROUP BY d.day, {COLUMNS}
"""  # noqa: S608
_CLEAN = """
SELECT day FROM sale_days_built
WHERE zone = %(zone)s AND day BETWEEN %(first)s AND %(last)s AND NOT EXISTS (
    SELECT FROM sale_day_changes WHERE utc_day BETWEEN day - 1 AND day + 1
)
"""
# Days without sales are built, too, so that their months are whole.
_UNBUILT = """
SELECT d.at::date FROM unnest(%s::date[]) AS month
CROSS JOIN LATERAL generate_series(month, month + interval '1 month - 1 day', '1 day') AS d (at)
WHERE NOT EXISTS (SELECT FROM sale_days_built WHERE day = d.at::date)
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('sale_day_totals'))"
_BUILD = f"INSERT INTO sale_day_totals (day, {COLUMNS}, sales, priced, lacking, known) {FRESH} ORDER BY day"


def clean_days(first: date, last: date) -> set[date]:
    """Return the days from `first` to `last` whose sums are right at this moment."""
    with connection.cursor() as cursor:
        cursor.execute(_CLEAN, {"zone": settings.TIME_ZONE, "first": first, "last": last})
        return {row[0] for row in cursor.fetchall()}


def whole_months(days: Collection[date]) -> dict[date, list[date]]:
    """Return the months all of whose days are among these: their days by their first one."""
    months: defaultdict[date, list[date]] = defaultdict(list)
    for day in sorted(days):
        months[day.replace(day=1)].append(day)
    return {month: found for month, found in months.items() if len(found) == monthrange(month.year, month.month)[1]}


def spans(days: Sequence[date]) -> dict[str, Any]:
    """Return the parameters of FRESH for these days."""
    starts = [day_start(day) for day in days]
    ends = [day_start(day + timedelta(days=1)) for day in days]
    return {"days": list(days), "starts": starts, "ends": ends}


def build_days() -> int:
    """Build the days that changed, and at first (or after another TIME_ZONE) all; return how many. Safe to run twice.

    A change that commits meanwhile stays noted, and its day is read from the sales until the next run.
    """
    last = _begin()
    built = 0
    while days := _build_some(last):
        built += days
    return built


@transaction.atomic
def _begin() -> int:
    """Return the last note to look at; where nothing is built yet, note every day that has sales."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
        cursor.execute("SELECT EXISTS (SELECT FROM sale_days_built WHERE zone = %s)", [settings.TIME_ZONE])
        if not cursor.fetchone()[0]:
            cursor.execute("DELETE FROM sale_days_built")
            cursor.execute("DELETE FROM sale_day_totals")
            cursor.execute(
                "INSERT INTO sale_day_changes (utc_day) "
                "SELECT DISTINCT (sale_date AT TIME ZONE 'UTC')::date FROM all_sales_tracking"
            )
        cursor.execute("SELECT coalesce(max(id), 0) FROM sale_day_changes")
        return int(cursor.fetchone()[0])


@transaction.atomic
def _build_some(last: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
        cursor.execute(
            "SELECT DISTINCT utc_day FROM sale_day_changes WHERE id <= %s ORDER BY utc_day LIMIT %s", [last, BATCH]
        )
        changed = [row[0] for row in cursor.fetchall()]
        if not changed:
            return 0
        # First the notes, then the sums, each with its own view of the table: what commits between them stays noted.
        cursor.execute("DELETE FROM sale_day_changes WHERE utc_day = ANY(%s)", [changed])
        near = {day + timedelta(days=n) for day in changed for n in (-1, 0, 1)}
        cursor.execute(_UNBUILT, [sorted({day.replace(day=1) for day in near})])
        days = sorted(near | {row[0] for row in cursor.fetchall()})
        cursor.execute("DELETE FROM sale_day_totals WHERE day = ANY(%s)", [days])
        cursor.execute(_BUILD, spans(days))
        cursor.execute(
            "INSERT INTO sale_days_built (day, zone) SELECT unnest(%s::date[]), %s ON CONFLICT (day) DO NOTHING",
            [days, settings.TIME_ZONE],
        )
    return len(days)
