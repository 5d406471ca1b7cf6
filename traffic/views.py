"""The Traffic Dashboard: a page of the admin site, the list behind its numbers, and both as files."""

from __future__ import annotations

from datetime import date

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from onai_project.charts import money_chart
from onai_project.comparison import Change
from onai_project.exports import csv_response, file_name, xlsx_response
from onai_project.filters import Filter
from onai_project.periods import PRESETS
from onai_project.tables import Table
from traffic import reports
from traffic.dashboard import TrafficDashboard, find_sales, traffic_dashboard
from traffic.figures import Totals
from traffic.filters import DIMENSIONS, REFERRAL, UNKNOWN, Filters, visible_slugs
from traffic.models import Sale, Targetologist
from traffic.screen import Screen, counted_sales, own_screen, read_screen
from traffic.spend.entries import is_spend_known

# More rows nobody reads on a page; the search finds the rest, and the files have all.
PARTS_SHOWN = 50
PER_PAGE = 50
# More than that takes longer than people wait for a file: a shorter period, please.
MAX_EXPORTED = 50_000


def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the sales of a period (`?period=` or `?from=&to=`) and filters: all of them, or a targetologist's own."""
    screen, data = _open(request)
    shown = filters_shown(request, screen.filters)
    context = {
        **admin.site.each_context(request),
        "title": _("Traffic Dashboard"),
        "data": data,
        "presets": PRESETS,
        "problem": screen.problem,
        "filters": shown,
        "active": [one.name for one in shown if one.active],
        "is_connected": visible_slugs(request.user) != [],
        "is_spend_known": is_spend_known(screen.filters),
        "changes": {
            name: Change(getattr(data.figures.totals, name), getattr(data.before.totals, name))
            for name in ("sales", "revenue", "average")
        }
        | {
            name: Change(getattr(data.figures, name), getattr(data.before, name))
            for name in ("spend", "cpa", "roas", "profit")
        },
        "chart": money_chart(
            [(day.day, day.totals.known, day.totals.sales) for day in data.days],
            money=_("Revenue"),
            count=_("Sales"),
            before=[day.totals.known for day in data.days_before],
            before_name=_("Revenue before"),
        ),
        "days": reports.days_table(data, request.GET),
        "lines": reports.lines_table(data, request.GET),
        "parts": reports.parts_table(data, request.GET, first=PARTS_SHOWN),
        "parts_left": max(0, len(data.parts) - PARTS_SHOWN),
        "tabs": reports.dimension_titles(),
        "by": screen.by,
        "latest": reports.sales_table("latest", _("Latest sales"), data.latest),
        "lacking": reports.sales_table("lacking", _("Sales that lack data"), data.lacking),
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "traffic/dashboard.html", context)


def sales(request: HttpRequest) -> HttpResponse:
    """Show every sale behind the dashboard's numbers, page by page; `?show=reversed` or `lacking` for those."""
    screen, by_day, count = _listed(request)
    page = screen.page
    found = find_sales(
        by_day, request.user, screen.filters, kind=screen.kind, limit=PER_PAGE, offset=(page - 1) * PER_PAGE
    )
    context = {
        **admin.site.each_context(request),
        "title": _("Sales of the dashboard"),
        "data": {"period": screen.period},
        "presets": PRESETS,
        "problem": screen.problem,
        "filters": filters_shown(request, screen.filters),
        "kind": screen.kind,
        "kinds": _kinds(),
        "table": reports.sales_table("sales", _kinds()[screen.kind], found),
        "count": count,
        "first": (page - 1) * PER_PAGE + 1,
        "last": (page - 1) * PER_PAGE + len(found),
        "newer": page - 1,
        "older": page + 1 if page * PER_PAGE < count else 0,
        "too_many": count > MAX_EXPORTED,
        "max_exported": MAX_EXPORTED,
        "query": request.GET.urlencode(),
    }
    return TemplateResponse(request, "traffic/sales.html", context)


def dashboard_csv(request: HttpRequest, table: str) -> HttpResponse:
    """Give one table of the dashboard as the page has it, all its rows: totals, lines, parts or days."""
    screen, data = _open(request)
    tables = {one.key: one for one in _tables(data, request.GET)}
    if table not in tables:
        raise Http404
    return csv_response(tables[table], file_name(f"traffic-{table}", screen.period))


def dashboard_xlsx(request: HttpRequest) -> HttpResponse:
    """Give all tables of the dashboard as one workbook, with the filters that it was made with."""
    screen, data = _open(request)
    shown = {one.title: one.shown for one in filters_shown(request, screen.filters) if one.active}
    return xlsx_response(
        [*_tables(data, request.GET), reports.filters_table(shown)], file_name("traffic", screen.period)
    )


def sales_file(request: HttpRequest, ending: str) -> HttpResponse:
    """Give the list of sales as a file: csv or xlsx."""
    screen, by_day, count = _listed(request)
    if count > MAX_EXPORTED:
        raise Http404
    found = find_sales(by_day, request.user, screen.filters, kind=screen.kind, limit=MAX_EXPORTED)
    table = reports.sales_table("sales", _kinds()[screen.kind], found)
    name = file_name("sales", screen.period)
    return csv_response(table, name) if ending == "csv" else xlsx_response([table], name)


def filters_shown(request: HttpRequest, filters: Filters) -> list[Filter]:
    """Return the filters of the page; a targetologist is not offered colleagues."""
    titles = reports.value_titles()
    shown = [Filter(name, titles[name], getattr(filters, name), empty_title=_("none")) for name in DIMENSIONS]
    shown.append(Filter("q", _("Search"), filters.text or None))
    if visible_slugs(request.user) is not None:
        return shown
    people = [
        (person.slug, str(person))
        for person in Targetologist.objects.filter(Q(active=True) | Q(slug=filters.line or ""))
    ]
    options = [*people, (UNKNOWN, str(Sale.Channel.UNKNOWN.label)), (REFERRAL, _("Referral"))]
    return [Filter("targetologist", _("Targetologist"), filters.line, options), *shown]


def _open(request: HttpRequest) -> tuple[Screen, TrafficDashboard]:
    if not request.user.has_perm("traffic.view_sale"):
        raise PermissionDenied
    screen = own_screen(read_screen(request.GET), request.user)
    return screen, traffic_dashboard(screen.period, request.user, screen.filters, by=screen.by)


def _listed(request: HttpRequest) -> tuple[Screen, dict[date, Totals], int]:
    if not request.user.has_perm("traffic.view_sale"):
        raise PermissionDenied
    screen = own_screen(read_screen(request.GET), request.user)
    return screen, *counted_sales(screen, request.user)


def _tables(data: TrafficDashboard, query: QueryDict) -> list[Table]:
    return [
        reports.totals_table(data),
        reports.lines_table(data, query),
        reports.parts_table(data, query),
        reports.days_table(data, query),
    ]


def _kinds() -> dict[str, str]:
    return {"won": _("Won"), "lacking": _("Lack data"), "reversed": _("Taken back")}
