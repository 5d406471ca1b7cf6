"""What a URL asks the Traffic Dashboard for: the state that the page, its files and the API share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from django.contrib.auth.models import AnonymousUser, User
from django.http import QueryDict
from django.utils.translation import gettext as _

from onai_project.periods import Period, period_from_query
from traffic.dashboard import sales_sums
from traffic.figures import Totals
from traffic.filters import DIMENSIONS, Filters, filters_from_query, visible_slugs

KINDS = ("won", "lacking", "reversed")


@dataclass(frozen=True, slots=True)
class Screen:
    """What a URL asks for, and "" or what is wrong with its period; `kind` and `page` are the list of sales'."""

    period: Period
    problem: str
    filters: Filters
    by: str
    kind: str
    page: int


def read_screen(query: QueryDict) -> Screen:
    """Return the state that a query string holds; what it does not say or says wrongly is the default."""
    period, problem = period_from_query(query)
    by, kind, page = query.get("by", ""), query.get("show", ""), query.get("page", "")
    return Screen(
        period,
        problem,
        filters_from_query(query),
        by if by in DIMENSIONS else "campaign",
        kind if kind in KINDS else "won",
        max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
    )


def own_screen(screen: Screen, user: User | AnonymousUser) -> Screen:
    """Return the screen as somebody may see it: a link that filters by another's sales shows their own, and says so."""
    slugs = visible_slugs(user)
    if slugs is None or screen.filters.line is None or screen.filters.line in slugs:
        return screen
    problem = screen.problem
    if slugs:
        problem = problem or _("This link shows somebody else's sales. Here are your own.")
    return replace(screen, filters=replace(screen.filters, line=None), problem=problem)


def counted_sales(screen: Screen, user: User | AnonymousUser) -> tuple[dict[date, Totals], int]:
    """Return the sums by day of the sales that the list shows, for `find_sales`, and how many they are."""
    sums = sales_sums(screen.period, user, screen.filters)
    if screen.kind == "reversed":
        return sums.reversed_by_day, sums.reversed.sales
    return sums.by_day, sums.totals.lacking if screen.kind == "lacking" else sums.totals.sales
