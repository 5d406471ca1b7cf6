"""The Referral Dashboard, a page of the admin site."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from onai_project.charts import money_chart
from onai_project.periods import PRESETS, period_from_query
from referrals.dashboard import referral_dashboard


def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the conversions and commissions of a period (`?period=` or `?from=&to=`)."""
    if not request.user.has_perm("referrals.view_conversion"):
        raise PermissionDenied
    period, problem = period_from_query(request.GET)
    data = referral_dashboard(period)
    context = {
        **admin.site.each_context(request),
        "title": _("Referral Dashboard"),
        "data": data,
        "presets": PRESETS,
        "problem": problem,
        "chart": money_chart(
            [(day.day, day.totals.known, day.totals.conversions) for day in data.days],
            money=_("Sales sum"),
            count=_("Conversions"),
        ),
    }
    return TemplateResponse(request, "referrals/dashboard.html", context)
