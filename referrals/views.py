"""The Referral Dashboard: a page of the admin site, the ledger behind its numbers, and both as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from onai_project.charts import money_chart
from onai_project.comparison import Change
from onai_project.exports import csv_response, csv_stream, file_name, xlsx_response
from onai_project.filters import Filter
from onai_project.periods import PRESETS, Period, period_from_query
from onai_project.tables import Table
from referrals import reports
from referrals.commissions import NOTHING
from referrals.dashboard import LATEST, ReferralDashboard, entries_of, referral_dashboard
from referrals.models import Earning, Referrer
from referrals.status import with_entry_status

PERMISSION = "referrals.view_conversion"
# Codes that nobody has claimed are referrers.
CODES = "referrals.view_referrer"
# More rows nobody reads on a page; the files have all.
LINES_SHOWN = 50
PER_PAGE = 50
# A workbook is made whole before it is sent; more than that takes longer than people wait.
MAX_XLSX = 50_000
# Rows of a long CSV file that are in memory at once.
CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Screen:
    """What a URL asks the dashboard for, and "" or what is wrong with it."""

    period: Period
    problem: str
    referrer: Referrer | None
    status: str


def read_screen(query: QueryDict) -> Screen:
    """Return the state that a query string holds; what it does not say or says wrongly is the default."""
    period, problem = period_from_query(query)
    code = query.get("referrer", "").replace("\x00", "")[:500]
    referrer = Referrer.objects.filter(code=code).first() if code else None
    if code and referrer is None:
        problem = problem or _("There is no such referrer. All of them are shown.")
    status = query.get("status", "")
    return Screen(period, problem, referrer, status if status in reports.status_titles() else "")


def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the conversions and commissions of a period (`?period=` or `?from=&to=`), of one `?referrer=` if given."""
    screen, data = _open(request)
    lines = reports.lines_table(data, request.GET)
    context = {
        **admin.site.each_context(request),
        "title": _("Referral Dashboard"),
        "data": data,
        "presets": PRESETS,
        "problem": screen.problem,
        "filters": _filters(screen),
        "changes": {
            "conversions": Change(data.totals.conversions, data.before.totals.conversions),
            "sales_sum": Change(data.totals.sales_sum, data.before.totals.sales_sum),
            "accrued": Change(data.commission.accrued, data.before.accrued),
        },
        "chart": money_chart(
            [(day.day, day.totals.known, day.totals.conversions) for day in data.days],
            money=_("Sales sum"),
            count=_("Conversions"),
            before=[day.totals.known for day in data.before.days],
            before_name=_("Sales sum before"),
        ),
        "days": reports.days_table(data, request.GET),
        "lines": _cut(lines, LINES_SHOWN),
        "lines_left": max(0, len(lines.rows) - LINES_SHOWN),
        "latest": reports.conversions_table("latest", _("Latest conversions"), data.latest),
        "held": reports.held_table(data),
        "unclaimed": reports.unclaimed_table(data),
        "shown": LATEST,
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "referrals/dashboard.html", context)


def entries(request: HttpRequest) -> HttpResponse:
    """Show the ledger entries behind the dashboard's numbers, page by page; `?status=` those of one status."""
    screen, found = _listed(request)
    whole = found.aggregate(count=Count("pk"), sum=Sum("amount"))
    count, total = whole["count"], whole["sum"]
    number = _number(request.GET.get("page", ""))
    first = (number - 1) * PER_PAGE
    page = entries_page(found, first, PER_PAGE)
    titles = reports.status_titles()
    context = {
        **admin.site.each_context(request),
        "title": _("Entries of the dashboard"),
        "data": {"period": screen.period},
        "presets": PRESETS,
        "problem": screen.problem,
        "filters": [*_filters(screen), Filter("status", _("State"), screen.status or None, list(titles.items()))],
        "table": reports.entries_table(page, titles),
        "count": count,
        "total": total or NOTHING,
        "first": first + 1,
        "last": first + len(page),
        "newer": number - 1,
        "older": number + 1 if first + PER_PAGE < count else 0,
        "too_many": count > MAX_XLSX,
        "max_xlsx": MAX_XLSX,
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "referrals/entries.html", context)


def dashboard_csv(request: HttpRequest, table: str) -> HttpResponse:
    """Give one table of the dashboard as the page has it, all its rows."""
    screen, data = _open(request, waiting=None)
    tables = {one.key: one for one in _tables(data, request)}
    if table not in tables:
        raise Http404
    return csv_response(tables[table], file_name(f"referrals-{table}", screen.period))


def dashboard_xlsx(request: HttpRequest) -> HttpResponse:
    """Give all tables of the dashboard as one workbook."""
    screen, data = _open(request, waiting=None)
    return xlsx_response(_tables(data, request), file_name("referrals", screen.period))


def entries_file(request: HttpRequest, ending: str) -> HttpResponseBase:
    """Give the list of entries as a file: csv of any length, or xlsx."""
    screen, found = _listed(request)
    name, titles = file_name("referral-entries", screen.period), reports.status_titles()
    if ending == "csv":
        rows = reports.entries_rows(_shown(found).iterator(CHUNK), titles, linked=False)
        return csv_stream(reports.entries_columns(), rows, name)
    if found.count() > MAX_XLSX:
        text = _("An Excel file holds at most %(max)s rows: take the CSV file or choose a shorter period.")
        return HttpResponse(text % {"max": MAX_XLSX}, status=400, content_type="text/plain; charset=utf-8")
    return xlsx_response([reports.entries_table(_shown(found), titles, linked=False)], name)


def select_entries(screen: Screen) -> QuerySet[Any]:
    """Return the entries that a screen lists, the latest sale first, with `status` and `payout_number`."""
    found = with_entry_status(entries_of(screen.period, screen.referrer), timezone.now(), only=screen.status)
    return found.order_by("-conversion__sale_date", "-pk")


def entries_page(found: QuerySet[Any], first: int, size: int) -> list[Any]:
    """Return that many of `select_entries`, from the index `first` on; what is passed over is not looked at."""
    pks = list(found.values_list("pk", flat=True)[first : first + size])
    rows = _shown(with_entry_status(Earning.objects.filter(pk__in=pks), timezone.now())).in_bulk()
    return [rows[pk] for pk in pks]


def _shown(entries: QuerySet[Any]) -> QuerySet[Any]:
    return entries.select_related("conversion", "referrer")


def _open(request: HttpRequest, *, waiting: int | None = LATEST) -> tuple[Screen, ReferralDashboard]:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    screen = read_screen(request.GET)
    return screen, referral_dashboard(screen.period, referrer=screen.referrer, waiting=waiting)


def _listed(request: HttpRequest) -> tuple[Screen, QuerySet[Earning]]:
    if not (request.user.has_perm(PERMISSION) and request.user.has_perm("referrals.view_earning")):
        raise PermissionDenied
    screen = read_screen(request.GET)
    return screen, select_entries(screen)


def _filters(screen: Screen) -> list[Filter]:
    # No list to choose from, for there may be thousands; the table leads to each.
    return [Filter("referrer", _("Referrer"), str(screen.referrer) if screen.referrer else None)]


def _tables(data: ReferralDashboard, request: HttpRequest) -> list[Table]:
    tables = [
        reports.totals_table(data),
        reports.lines_table(data, request.GET),
        reports.days_table(data, request.GET),
        reports.liability_table(data),
        reports.held_table(data),
    ]
    return [*tables, reports.unclaimed_table(data)] if request.user.has_perm(CODES) else tables


def _cut(table: Table, rows: int) -> Table:
    return Table(table.key, table.title, table.columns, table.rows[:rows], table.total, table.sort)


def _number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1
