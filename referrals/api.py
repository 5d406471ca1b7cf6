"""The numbers of the Referral Dashboard for programs, read only: /api/referrals/…"""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from onai_project.api import ReadView
from onai_project.tables import row_data, table_data
from referrals import reports
from referrals.dashboard import referral_dashboard
from referrals.views import CODES, PER_PAGE, PERMISSION, entries_page, read_screen, select_entries

PERIOD = [
    OpenApiParameter("period", description="today, yesterday, 7days (the default), month or last_month"),
    OpenApiParameter("from", OpenApiTypes.DATE, description="instead of period: the first day, Almaty time"),
    OpenApiParameter("to", OpenApiTypes.DATE, description="the last day"),
    OpenApiParameter("referrer", description="a referrer's code"),
]


class DashboardView(ReadView):
    """Conversions and commissions of a period."""

    permission = PERMISSION

    @extend_schema(parameters=PERIOD, responses=OpenApiTypes.OBJECT, operation_id="referral_dashboard")
    def get(self, request: Request) -> Response:
        """Return what the Referral Dashboard shows; sums are strings of whole tenge, an unknown one is null."""
        screen = read_screen(request._request.GET)
        if screen.problem:
            return Response({"detail": screen.problem}, status=400)
        data = referral_dashboard(screen.period, referrer=screen.referrer, waiting=None)
        totals = reports.totals_table(data)
        now, before, taken_back = (row_data(totals.columns[1:], row) for row in totals.rows)
        answer: dict[str, Any] = {
            "from": screen.period.first.isoformat(),
            "to": screen.period.last.isoformat(),
            "compared_from": data.before.period.first.isoformat(),
            "compared_to": data.before.period.last.isoformat(),
            "totals": now,
            "before": before,
            "reversed": taken_back,
            "referrers": table_data(reports.lines_table(data)),
            "days": table_data(reports.days_table(data)),
            "liability": table_data(reports.liability_table(data))[0],
            "held": table_data(reports.held_table(data)),
        }
        if request.user.has_perm(CODES):
            answer["unclaimed"] = table_data(reports.unclaimed_table(data))
        return Response(answer)


class EntriesView(ReadView):
    """The ledger entries behind the dashboard."""

    permission = "referrals.view_earning"

    @extend_schema(
        parameters=[
            *PERIOD,
            OpenApiParameter(
                "status", description="reversed, failed, paid, in_payout, hold, unknown, waiting or available"
            ),
            OpenApiParameter("page", OpenApiTypes.INT, description="from 1 on"),
        ],
        responses=OpenApiTypes.OBJECT,
        operation_id="referral_entries",
    )
    def get(self, request: Request) -> Response:
        """Return a page of entries, the latest sale first; `next` is the number of the next page, or null."""
        screen = read_screen(request._request.GET)
        if screen.problem:
            return Response({"detail": screen.problem}, status=400)
        number = request.query_params.get("page", "")
        page = max(1, int(number)) if number.isascii() and number.isdigit() and len(number) < 7 else 1
        first = (page - 1) * PER_PAGE
        found = entries_page(select_entries(screen), first, PER_PAGE + 1)
        table = reports.entries_table(found[:PER_PAGE], {key: key for key in reports.status_titles()})
        return Response({"entries": table_data(table), "next": page + 1 if len(found) > PER_PAGE else None})
