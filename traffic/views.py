"""The Traffic Dashboard, a page of the admin site."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from onai_project.charts import money_chart
from onai_project.periods import PRESETS, period_from_query
from traffic.dashboard import traffic_dashboard


def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the sales of a period (`?period=` or `?from=&to=`): all of them, or a targetologist's own."""
    if not request.user.has_perm("traffic.view_sale"):
        raise PermissionDenied
    period, problem = period_from_query(request.GET)
    data = traffic_dashboard(period, request.user)
    context = {
        **admin.site.each_context(request),
        "title": _("Traffic Dashboard"),
        "data": data,
        "presets": PRESETS,
        "problem": problem,
        "chart": money_chart(
            [(day.day, day.totals.known, day.totals.sales) for day in data.days], money=_("Revenue"), count=_("Sales")
        ),
    }
    return TemplateResponse(request, "traffic/dashboard.html", context)
